//! A person says that the owner of a VM's last epoch is surely off, and its record is closed, so that the VM
//! can be started again. Nothing is closed that can be seen to be wrong: an epoch that is not the last one,
//! or whose process lives on this host.

use arbiter::{Arbiter, ArbiterError, Closing, Record};
use messages::vm_name::VmName;

/// An epoch that a person may release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Releasable {
    /// Its record is closed already, for this reason (behind "is closed already: ").
    Already(String),
    /// It is open.
    Open(Box<Record>),
}

/// Why an epoch is not released.
#[derive(Debug, thiserror::Error)]
pub enum NotReleased {
    /// The arbiter has no record of a VM of this name.
    #[error("the arbiter ({arbiter}) knows no VM '{vm}'; check the name and the directory")]
    NoVm {
        /// Name of the VM.
        vm: VmName,
        /// The flag by which a command is told of the arbiter.
        arbiter: String,
    },
    /// A check has refused it, and nothing was changed.
    #[error("{0}; nothing was changed")]
    Refused(String),
    /// The arbiter could not be asked.
    #[error(transparent)]
    Arbiter(#[from] ArbiterError),
}

/// Looks whether a person may release this epoch of a VM.
///
/// # Errors
/// It is not the VM's last one, its process lives on this host, or the arbiter cannot be asked.
pub fn releasable(arbiter: &mut dyn Arbiter, vm: &VmName, epoch: u64) -> Result<Releasable, NotReleased> {
    let Some(last) = arbiter.last(vm)? else {
        let (vm, arbiter) = (vm.clone(), arbiter.flag());
        return Err(NotReleased::NoVm { vm, arbiter });
    };
    if last.epoch.0 != epoch {
        let state = match &last.closed {
            Some(why) => format!("which is closed: {}", why.sentence()),
            None => format!("which runs {}", last.whereabouts()),
        };
        return Err(NotReleased::Refused(format!(
            "epoch {epoch} is not the last one of {vm}, that is epoch {}, {state}",
            last.epoch.0
        )));
    }
    if let Some(why) = &last.closed {
        return Ok(Releasable::Already(why.sentence()));
    }
    if last.lives_here() {
        return Err(NotReleased::Refused(format!(
            "{vm} runs as epoch {epoch} {}, and that process lives; stop it instead",
            last.whereabouts()
        )));
    }
    Ok(Releasable::Open(Box::new(last)))
}

/// Closes the record of an epoch, as `by` (a user at a host) wants.
///
/// # Errors
/// The arbiter cannot be asked, or the record has changed meanwhile.
pub fn release(arbiter: &mut dyn Arbiter, record: &Record, by: String) -> Result<(), ArbiterError> {
    let why = Closing::Released { by };
    arbiter.close(&record.vm, record.epoch, record.owner, &why)
}
