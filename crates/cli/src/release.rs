//! `lockstep release`: a person says that the owner of a VM's last epoch is surely off, and the record of
//! that epoch is closed at the arbiter, so that the VM can be started again.
//!
//! It closes nothing that can be seen to be wrong: an epoch that is not the last one, or whose process lives
//! on this host.

use std::io::IsTerminal;
use std::process::ExitCode;

use agent::releasing::{NotReleased, Releasable, releasable, release};
use anyhow::{Result, anyhow};
use arbiter::{Place, Process};
use caller::VerbError;
use os::identity;

use crate::args::ReleaseArgs;
use crate::site::{self, Site};
use crate::usage;
use crate::vm_verbs;

/// Closes the record: at the arbiter of the site if an agent looks after the VM, else at the one that is
/// given.
pub fn run(args: &ReleaseArgs) -> Result<ExitCode> {
    if !args.yes && !std::io::stdin().is_terminal() {
        return Err(usage::mark(anyhow!("`release` needs `--yes` without a terminal")));
    }
    if let Some(place) = &args.arbiter {
        return at(place, args);
    }
    let Some(site) = Site::of(&args.name)? else {
        let sentence = anyhow!(
            "no agent looks after {}; say with `--arbiter PLACE` where its record is",
            args.name
        );
        return Err(usage::mark(sentence));
    };
    site::release(&site, &args.name, args.epoch, |whereabouts| {
        confirm(args, whereabouts)
    })
}

fn at(place: &Place, args: &ReleaseArgs) -> Result<ExitCode> {
    let (vm, epoch) = (&args.name, args.epoch);
    let mut arbiter = place.open(Process::here(None))?;
    let record = match releasable(&mut *arbiter, vm, epoch) {
        Ok(Releasable::Open(record)) => record,
        Ok(Releasable::Already(why)) => {
            say!("epoch {epoch} of {vm} is closed already: {why}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(error @ NotReleased::Refused(_)) => return Err(VerbError::Refused(error.to_string()).into()),
        Err(error) => return Err(error.into()),
    };
    confirm(args, &record.whereabouts())?;
    let by = format!("{} on {}", identity::user_name(), identity::host_name());
    release(&mut *arbiter, &record, by)?;
    say!("epoch {epoch} of {vm} is released; it can be started again");
    Ok(ExitCode::SUCCESS)
}

/// Has the person type the VM's name. `whereabouts`: where the record says that it runs.
fn confirm(args: &ReleaseArgs, whereabouts: &str) -> Result<()> {
    let (vm, epoch) = (&args.name, args.epoch);
    let warning = format!(
        "{vm} runs as epoch {epoch} {whereabouts}.\nIf that is still so, two copies of it will run. If it \
         surely runs no more"
    );
    vm_verbs::confirm("release", vm, args.yes, &warning)
}
