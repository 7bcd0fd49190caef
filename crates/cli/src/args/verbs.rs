//! What the commands take that ask and tell running VMs: `status`, `protect`, `move-backup`, `unprotect`,
//! `protection`, `failover`, `pause`, `resume`, `stop`, `reset`, `snapshot`, `events`. `vm_verbs` does them.
//! Nothing here looks for a VM.

use std::path::PathBuf;
use std::time::Duration;

use arbiter::Place;
use clap::{Args, Subcommand, ValueHint};
use replica::VmName;

use super::site::{DryRunArgs, Patience};
use crate::values;

#[derive(Args)]
pub struct StatusArgs {
    /// Name of the VM; left out: all VMs of this user on this host
    #[arg(value_parser = values::value(values::name))]
    pub name: Option<VmName>,
    /// Print one line of JSON for each process
    #[arg(long)]
    pub json: bool,
    /// Go on and show each change, until Ctrl-C; needs an agent
    ///
    /// On a terminal the table is drawn anew in its place. Elsewhere each change of a VM is a line, with
    /// `--json` an object. An agent that does not answer is called again.
    #[arg(long, short)]
    pub watch: bool,
}

#[derive(Args)]
pub struct ConsoleArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// Watch, and type nothing
    #[arg(long)]
    pub view: bool,
    /// Take the console from whoever types there, who watches from then on
    #[arg(long, conflicts_with = "view")]
    pub force: bool,
}

#[derive(Args)]
pub struct ProtectArgs {
    #[command(flatten)]
    pub backup: BackupOfArgs,
    /// The host that is to have the backup [default: whichever suits the VM best]
    ///
    /// Without an agent, or for a process that was started by hand: HOST:PORT, where the process waits that
    /// is to be the backup (`lockstep backup --listen`).
    #[arg(long, value_name = "HOST")]
    pub to: Option<String>,
}

/// Which VM gets a backup, and how long the command waits for that.
#[derive(Args)]
pub struct BackupOfArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// Do not wait until the VM is protected
    #[arg(long)]
    pub no_wait: bool,
    /// Wait at most so long, such as 90s or 10m; what was begun goes on
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = caller::patience)]
    pub timeout: Duration,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

impl BackupOfArgs {
    /// How long the command waits.
    pub fn patience(&self) -> Patience {
        Patience {
            no_wait: self.no_wait,
            timeout: self.timeout,
        }
    }
}

#[derive(Subcommand)]
pub enum ProtectionCommand {
    /// Dismiss the backup of a VM, and remember its host
    ///
    /// As `lockstep unprotect`, but the VM's process remembers where it has called the backup, as long as it
    /// runs. Nothing is kept on that host. For work on the other host, or on the network.
    Suspend(OrderArgs),
    /// Make a backup again where it was
    ///
    /// As `lockstep protect`, with the address that the VM's process has called last. A process has to wait
    /// there for it.
    Resume(BackupOfArgs),
}

#[derive(Args)]
pub struct NameArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

#[derive(Args)]
pub struct StopArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// Pull the guest's plug, on both sides of a pair
    ///
    /// The guest does not notice, and loses what it has not written to its disks.
    #[arg(long)]
    pub hard: bool,
    /// Do not ask for the VM's name; needed without a terminal
    #[arg(long)]
    pub yes: bool,
    /// Wait at most so long until the VM is off, such as 90s or 10m; what was begun goes on
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = caller::patience)]
    pub timeout: Duration,
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

#[derive(Args)]
pub struct OrderArgs {
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
pub struct SnapshotArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// Where to write the snapshot, on the host where the command is given
    pub file: PathBuf,
    /// Replace the file if it is there already
    #[arg(long)]
    pub replace: bool,
    /// Run this in a shell while the disks are quiet, to copy them or have the storage keep them
    ///
    /// No request of the guest is at a disk while the command runs, and what was written is there. The guest
    /// runs on, and its requests wait for the command, at most 60 s. LOCKSTEP_VM and LOCKSTEP_STEP say of
    /// what it is. If the command fails, so does the snapshot.
    #[arg(long, value_name = "COMMAND")]
    pub disks_hook: Option<String>,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct EventsOfArgs {
    /// Name of the VM; left out: all VMs and hosts of the site
    #[arg(value_parser = values::value(values::name))]
    pub name: Option<VmName>,
    /// Go on with what happens from now on, until the VM's process ends
    #[arg(long, short)]
    pub follow: bool,
}

#[derive(Args)]
pub struct ReleaseArgs {
    /// Name of the VM
    #[arg(value_parser = values::value(values::name))]
    pub name: VmName,
    /// The epoch to close, which the refused start has named
    #[arg(long, value_name = "N", value_parser = values::value(values::number))]
    pub epoch: u64,
    /// The arbiter with the VM's record [default: that of the site, if an agent looks after the VM]
    ///
    /// A directory or an etcd, as for `lockstep run`.
    #[arg(long, value_name = "PLACE", value_hint = ValueHint::DirPath,
        value_parser = values::value(values::arbiter))]
    pub arbiter: Option<Place>,
    /// Do not ask for the VM's name; needed without a terminal
    #[arg(long)]
    pub yes: bool,
}
