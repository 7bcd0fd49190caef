//! `lockstep release`: a person says that the owner of a VM's last epoch is surely off, and the record of
//! that epoch is closed at the arbiter, so that the VM can be started again.
//!
//! It closes nothing that can be seen to be wrong: an epoch that is not the last one, or whose process lives
//! on this host.

use std::io::IsTerminal;

use anyhow::{Result, anyhow};
use arbiter::{Arbiter, Closing, DirectoryArbiter, Process};
use control::VerbError;
use os::identity;
use replica::Epoch;

use crate::args::ReleaseArgs;
use crate::usage;
use crate::vm_verbs;

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
        return Err(VerbError::Refused(format!(
            "epoch {epoch} is not the last one of {vm}, that is epoch {last}, {state}; nothing was changed"
        ))
        .into());
    }
    if let Some(why) = &last.closed {
        say!("epoch {epoch} of {vm} is closed already: {}", why.sentence());
        return Ok(());
    }
    if last.lives_here() {
        return Err(VerbError::Refused(format!(
            "{vm} runs as epoch {epoch} {}, and that process lives; stop it instead, nothing was changed",
            last.whereabouts()
        ))
        .into());
    }
    let warning = format!(
        "{vm} runs as epoch {epoch} {}.\nIf that is still so, two copies of it will run. If it surely \
         runs no more",
        last.whereabouts()
    );
    vm_verbs::confirm("release", vm, args.yes, &warning)?;
    let by = format!("{} on {}", identity::user_name(), identity::host_name());
    arbiter.close(vm, last.epoch, last.owner, &Closing::Released { by })?;
    say!("epoch {epoch} of {vm} is released; it can be started again");
    Ok(())
}
