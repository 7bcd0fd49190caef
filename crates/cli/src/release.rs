//! `lockstep release`: a person says that the owner of a VM's last epoch is surely off, and the record of
//! that epoch is closed at the arbiter, so that the VM can be started again.
//!
//! It closes nothing that can be seen to be wrong: an epoch that is not the last one, or whose process lives
//! on this host.

use std::io::{IsTerminal, Write};

use anyhow::{Result, anyhow};
use arbiter::{Arbiter, Closing, DirectoryArbiter, Process};
use os::identity;
use replica::Epoch;

use crate::args::ReleaseArgs;
use crate::usage;

/// A command that a check has refused, so that nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

/// Closes the record.
pub fn run(args: &ReleaseArgs) -> Result<()> {
    if !args.yes && !std::io::stdin().is_terminal() {
        return Err(usage::mark(anyhow!("`release` needs `--yes` without a terminal")));
    }
    let (vm, epoch) = (&args.name, args.epoch);
    let mut arbiter = DirectoryArbiter::open(&args.arbiter, Process::here(None))?;
    let Some(last) = arbiter.last(vm)? else {
        return Err(anyhow!(
            "the arbiter directory {} knows no VM '{vm}'; check the name and the directory",
            args.arbiter.display()
        ));
    };
    if last.epoch != Epoch(epoch) {
        let state = match &last.closed {
            Some(why) => format!("which is closed: {}", why.sentence()),
            None => format!("which runs {}", last.whereabouts()),
        };
        let last = last.epoch.0;
        return Err(Refused(format!(
            "epoch {epoch} is not the last one of {vm}, that is epoch {last}, {state}; nothing was changed"
        ))
        .into());
    }
    if let Some(why) = &last.closed {
        say!("epoch {epoch} of {vm} is closed already: {}", why.sentence());
        return Ok(());
    }
    if last.lives_here() {
        return Err(Refused(format!(
            "{vm} runs as epoch {epoch} {}, and that process lives; stop it instead, nothing was changed",
            last.whereabouts()
        ))
        .into());
    }
    if !args.yes && !is_confirmed(args, &last.whereabouts())? {
        return Err(Refused(format!("that is not the name {vm}; nothing was changed")).into());
    }
    let by = format!("{} on {}", identity::user_name(), identity::host_name());
    arbiter.close(vm, last.epoch, last.owner, &Closing::Released { by })?;
    say!("epoch {epoch} of {vm} is released; it can be started again");
    Ok(())
}

/// Has the person at the terminal type the VM's name.
fn is_confirmed(args: &ReleaseArgs, whereabouts: &str) -> Result<bool> {
    let (vm, epoch) = (&args.name, args.epoch);
    let mut terminal = std::io::stderr().lock();
    write!(
        terminal,
        "{vm} runs as epoch {epoch} {whereabouts}.\nIf that is still so, two copies of it will run. If it \
         surely runs no more, type its name: "
    )?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == vm.as_str())
}
