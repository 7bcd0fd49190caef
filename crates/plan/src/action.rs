//! `Action`: the one thing that an agent does next for a VM, as the planner says.
//!
//! Most are orders that the VM's process would take in the state that was seen (docs/control.md). It may
//! still refuse: then the next look shows that.

use messages::time::Time;

use crate::health::Cause;
use crate::host::HostName;

/// What an agent does next for a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a process of the VM on this host.
    Start,
    /// Ask the agent of `host` for a reservation, and to have a backup process wait there.
    Prepare {
        /// The host that is asked.
        host: HostName,
    },
    /// Tell the process to make the one that waits at `to` its backup.
    Protect {
        /// The host that has granted a reservation.
        to: HostName,
    },
    /// Tell the process to have the one that waits at `to` as its backup in place of the present one.
    MoveBackup {
        /// The host that has granted a reservation.
        to: HostName,
    },
    /// Tell the process to change roles with its backup.
    HandOver {
        /// Why, for the `Swap` that the next controller must know.
        cause: Cause,
    },
    /// Tell the process to dismiss its backup, or to send away the process that is to be it.
    Dismiss,
    /// Tell the process to end the guest.
    Stop {
        /// Is the plug pulled, instead of asking the guest?
        hard: bool,
    },
    /// Tell the process to press the guest's reset button, under the number of the operation, or of the note.
    Reset,
    /// Write down that the guest is reset since it hangs (`Hang::reset`), which a later look orders.
    NoteReset,
    /// Write down that the test of the VM's protection is not cancelled any more.
    Decide,
    /// Kill the process of this host that is a half of the VM, as if the host had died.
    Kill {
        /// The VM's epoch. A process of any other one lives on.
        epoch: u64,
    },
    /// Tell the process to have the guest stand.
    Pause,
    /// Tell the process to have the guest run on.
    Resume,
    /// Nothing can be done now, though something is wanted.
    Wait {
        /// When to look again at the latest; `None`: something must be seen first.
        until: Option<Time>,
    },
    /// All is as it is wanted, or it is not this agent's business.
    Nothing,
}
