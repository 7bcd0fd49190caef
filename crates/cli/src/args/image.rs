//! What `lockstep image` takes.

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;

use crate::values;

#[derive(Subcommand)]
pub enum ImageCommand {
    /// Make a guest of one service that keeps its files in memory: in seconds, without root
    ///
    /// An initramfs with Debian's kernel, busybox and Redis, or with packages of your own. It prints the
    /// lines of `VM.toml` that name the files. The guest goes off when the service ends. The installation
    /// scripts of packages are not run; what that leaves undone is told (docs/recipes).
    Appliance {
        /// Another Debian package to put in; may be given several times
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        package: Vec<String>,
        /// Line of shell that starts the service, instead of Redis
        #[arg(long, value_name = "COMMAND", value_parser = NonEmptyStringValueParser::new())]
        run: Option<String>,
        /// Build again even if there is one
        #[arg(long)]
        rebuild: bool,
        /// Print where the files are as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a disk with a full Debian 13 and systemd
    ///
    /// It prints the lines of `VM.toml` that name the files. The disk in the cache is the original: copy it
    /// to where both hosts reach it, and name the copy.
    Debian {
        /// Another Debian package to put in; may be given several times
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        package: Vec<String>,
        /// Size of the disk
        #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = values::value(values::size))]
        size: u64,
        /// Build again even if there is one
        #[arg(long)]
        rebuild: bool,
        /// Print where the files are as JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch U-Boot, which boots a disk by itself, and the OpenSBI below it
    ///
    /// Both are Debian's, as they are. `--firmware uboot` fetches them by itself on a host without U-Boot:
    /// this is for hosts that have no network later. It prints the lines of `VM.toml` that name the files.
    Uboot {
        /// Fetch again even if they are there
        #[arg(long)]
        rebuild: bool,
        /// Print where the files are as JSON
        #[arg(long)]
        json: bool,
    },
}
