//! What the commands take that an agent does: `create`, `delete`, `start`, `move`, `drain`, `undrain`,
//! `check`, `hosts`, `operations`, `cancel`, `wait`, `test`. `site` does them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use replica::VmName;

use crate::values;

/// How long a command waits for what it has begun.
#[derive(Args, Clone)]
pub struct Patience {
    /// Do not wait until it is done
    #[arg(long)]
    pub no_wait: bool,
    /// Wait at most so long, such as 90s or 10m; what was begun goes on
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = caller::patience)]
    pub timeout: Duration,
}

impl Patience {
    /// As long as commands wait that have no such flags.
    pub fn usual() -> Patience {
        Patience {
            no_wait: false,
            timeout: Duration::from_secs(600),
        }
    }
}

/// Whether a change is only judged.
#[derive(Args, Clone, Copy, Default)]
pub struct DryRunArgs {
    /// Say what would be done, or why it is refused, and change nothing
    ///
    /// This needs an agent that looks after the VM. Where a host must be found, each is judged.
    #[arg(long = "dry-run")]
    pub is_wanted: bool,
}

/// Why something is wished.
#[derive(Args)]
pub struct CommentArgs {
    /// Why, for whoever looks at the VM later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub comment: String,
}

#[derive(Args)]
pub struct CreateArgs {
    /// Description of the machine, as `lockstep run` takes it; with a name
    ///
    /// What belongs to the site is left out: arbiter, key and backup. Paths in it are those of the host that
    /// starts the VM; what the backup's host lacks of the images travels.
    #[arg(value_name = "VM.toml")]
    pub file: PathBuf,
    /// The VM is to have no backup
    #[arg(long)]
    pub unprotected: bool,
    #[command(flatten)]
    pub comment: CommentArgs,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

#[derive(Args)]
pub struct DeleteArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// Do not ask for the VM's name; needed without a terminal
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

#[derive(Args)]
pub struct StartVmArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// The host on which it is started [default: where it ran last, or this one]
    #[arg(long, value_name = "HOST")]
    pub on: Option<String>,
    /// Wait until the VM is so
    #[arg(long, value_name = "STATE")]
    pub wait_for: Option<Wanted>,
    #[command(flatten)]
    pub comment: CommentArgs,
    #[command(flatten)]
    pub patience: Patience,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

#[derive(Args)]
pub struct MoveArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// The host to which it goes
    #[arg(long, value_name = "HOST")]
    pub to: String,
    #[command(flatten)]
    pub patience: Patience,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

#[derive(Args)]
pub struct DrainArgs {
    /// Name of the host
    pub host: String,
    #[command(flatten)]
    pub comment: CommentArgs,
    #[command(flatten)]
    pub patience: Patience,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

#[derive(Args)]
pub struct HostArgs {
    /// Name of the host
    pub host: String,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

#[derive(Args)]
pub struct CheckArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// The host that is meant; left out: each is judged
    #[arg(long, value_name = "HOST")]
    pub to: Option<String>,
    /// Print one line of JSON for each host
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct JsonArgs {
    /// Print one line of JSON for each
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct CancelArgs {
    /// Number of the operation
    pub id: String,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

#[derive(Args)]
pub struct WaitArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// What is waited for
    #[arg(long = "for", value_name = "STATE", default_value = "protected")]
    pub wanted: Wanted,
    /// Wait at most so long, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = caller::patience)]
    pub timeout: Duration,
}

#[derive(Subcommand)]
pub enum TestCommand {
    /// Kill the process that runs a VM, as if its host had died
    ///
    /// The backup goes on with the guest, as it would if that host had lost its power: with the detection,
    /// the old primary's lease and the claim at the arbiter, all of which is told. The VM gets another backup
    /// by itself, and the command ends when it has it.
    Failover(TestArgs),
    /// Kill the process that is a VM's backup, as if its host had died
    ///
    /// The guest goes on where it is, and the command ends when the VM has another backup.
    Backup(TestArgs),
}

#[derive(Args)]
pub struct TestArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// Do not ask for the VM's name; needed without a terminal
    #[arg(long)]
    pub yes: bool,
    /// Do it even if no third host is left that could take a new backup
    #[arg(long)]
    pub anyway: bool,
    /// Connect to this TCP port of the VM every 5 ms meanwhile, and tell the longest gap
    ///
    /// A forward of a gateway takes connections though no guest answers them: give `--probe-line` as well.
    #[arg(long, value_name = "HOST:PORT", value_parser = values::text(values::host_port))]
    pub probe: Option<String>,
    /// Send this line every 5 ms on one connection instead, to which the service answers, such as PING
    #[arg(long, value_name = "TEXT", requires = "probe")]
    pub probe_line: Option<String>,
    /// Wait at most so long, such as 90s or 10m; the VM is protected again by itself
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = caller::patience)]
    pub timeout: Duration,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What a VM is waited for to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// It has a backup
    Protected,
    /// Its guest runs
    Running,
    /// It is off
    Off,
}
