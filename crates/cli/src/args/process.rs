//! The flags of a process that runs a guest or connects guests: which rights it keeps, what it writes for
//! programs while it runs, and what it measures. The commands in `args` take them.
//!
//! The first paragraph of a flag's comment is what `-h` says of the flag, all of it what `--help` says. Only
//! [`SandboxArgs::begin`] does something: it is the first step of each such process.

use std::path::PathBuf;

use clap::Args;
use os::sandbox::{self, User};

use crate::help::{DIAGNOSIS, MACHINE, OUTPUT, RIGHTS};
use crate::values;

/// What a process gives up.
#[derive(Args)]
#[command(next_help_heading = RIGHTS)]
pub struct SandboxArgs {
    /// Become this user before anything is opened; for root
    ///
    /// A name, a number, or both numbers as UID:GID. Disks, arbiter, keys and sockets must be the user's.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Keep every right that the user has: for debugging only
    #[arg(long, hide_short_help = true)]
    pub no_sandbox: bool,
    /// End when this process, which has started this one, ends: for programs that start replicas
    #[arg(long, value_name = "PID", hide = true)]
    pub ends_with: Option<u32>,
}

impl SandboxArgs {
    /// The first thing that one half of a pair does: as [`SandboxArgs::begin`], and it asks to be served
    /// soon.
    pub fn begin_half(&self) -> anyhow::Result<()> {
        sandbox::ask_to_be_served_soon();
        self.begin()
    }

    /// The first thing that a process does: who it is, and what it asks of its host.
    pub fn begin(&self) -> anyhow::Result<()> {
        let user = self.user.as_deref().map(User::find).transpose()?;
        // Before: root may ask for more.
        sandbox::ask_to_stay_in_memory();
        if let Some(user) = &user {
            sandbox::become_user(user)?;
        }
        // After: the kernel forgets this when a process becomes another user.
        if let Some(parent) = self.ends_with
            && !os::parent::end_with(parent)?
        {
            anyhow::bail!("process {parent}, with which this one was to end, is not its parent any more");
        }
        Ok(())
    }
}

/// What to learn about a run.
#[derive(Args)]
#[command(next_help_heading = DIAGNOSIS)]
pub struct ProfileArgs {
    /// Tell at the end where the guest spent its steps and what the translator did; in FILE if it is given,
    /// else on standard error
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true,
        hide_short_help = true)]
    pub profile: Option<Option<PathBuf>>,
    /// Steps from one sample of the profile to the next [default: 12373]
    #[arg(long, value_name = "STEPS", requires = "profile", hide_short_help = true,
        value_parser = values::value(values::steps))]
    pub profile_every: Option<u64>,
    /// Names for the guest's kernel: a System.map, a copy of its /proc/kallsyms, or an ELF file; may be given
    /// several times
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub symbols: Vec<PathBuf>,
    /// Write /tmp/perf-PID.map, so that `perf report` names generated code
    #[arg(long, hide_short_help = true)]
    pub perf_map: bool,
}

/// What programs read of a VM while it runs.
#[derive(Args)]
#[command(next_help_heading = OUTPUT)]
pub struct EventsArgs {
    /// Write what happens to this file, one JSON object per line
    ///
    /// The last line has the figures. docs/events.md explains every line. At 64 MiB the file becomes FILE.1,
    /// and a new one is begun.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Write figures among the events every so many milliseconds, at least 10 [default: only at the end]
    #[arg(long, value_name = "MS", requires = "events", hide_short_help = true,
        value_parser = values::value(values::figures_every_ms))]
    pub figures_every: Option<u64>,
}

/// What a guest goes on from instead of booting.
#[derive(Args)]
pub struct OriginArgs {
    /// Go on from this file of `lockstep snapshot`, instead of booting
    ///
    /// Memory, harts, images, command line and addresses are those of the snapshot, and so is the VM's name
    /// unless another one is given. Disks and networks must be given as the guest has them, the disks with
    /// the content that belongs to the snapshot. The guest's clock jumps forward to the present time.
    #[arg(long, value_name = "FILE", help_heading = MACHINE, hide_short_help = true)]
    pub from: Option<PathBuf>,
}
