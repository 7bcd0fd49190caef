//! What `lockstep log` takes.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub enum LogCommand {
    /// Print every entry, one per line
    Dump {
        /// The log whose entries are printed
        log: PathBuf,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Print counts, bytes and rates by kind of entry
    Stat {
        /// The log whose entries are counted
        log: PathBuf,
        /// Print as one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Find the first entry in which two logs differ; exit code 1 if there is one
    Diff {
        /// The log that is compared
        left: PathBuf,
        /// The log that it is compared with
        right: PathBuf,
        /// Print as one line of JSON
        #[arg(long)]
        json: bool,
    },
}
