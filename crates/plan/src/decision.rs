//! `Action` and `Decision`: what the planner says of one VM at one look. The agent carries an action out,
//! shows the reasons, and comes back with what it sees then.
//!
//! An action is an order that the VM's process would take in the state that was seen (docs/control.md). It
//! may still refuse: then the next look shows that.

use messages::time::{Span, Time};
use messages::vm_name::VmName;

use crate::backoff::Backoff;
use crate::health::Cause;
use crate::host::{self, Host, HostName};
use crate::limits::{ASK_PATIENCE, OPERATION_MAX};
use crate::moment::{Now, Wall};
use crate::operation::{Kind, Operation, Outcome};
use crate::vm::Vm;
use crate::why::Why;

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

/// What is done for a VM, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The one thing to be done.
    pub action: Action,
    /// Why that is done, or not more than that.
    pub reasons: Vec<Why>,
    /// How the VM's operation has ended; `None`: it goes on, or there is none.
    pub ended: Option<Outcome>,
    /// The VM cannot be taken away from a host that is drained. The agent tells the others (`Held::stuck`),
    /// so that the next VM has its turn.
    pub stuck: bool,
    /// Something of the VM's operation goes on: the agent notes the time in `Operation::progress`.
    pub goes_on: bool,
}

impl Decision {
    /// An order is given.
    pub(crate) fn order(action: Action) -> Decision {
        Decision {
            goes_on: true,
            ..Decision::wait(Vec::new(), None).with(action)
        }
    }

    /// Nothing is to be done.
    pub(crate) fn nothing() -> Decision {
        Decision::wait(Vec::new(), None).with(Action::Nothing)
    }

    /// It is waited, for these reasons.
    pub(crate) fn wait(reasons: Vec<Why>, until: Option<Time>) -> Decision {
        Decision {
            action: Action::Wait { until },
            reasons,
            ended: None,
            stuck: false,
            goes_on: false,
        }
    }

    pub(crate) fn with(self, action: Action) -> Decision {
        Decision { action, ..self }
    }

    pub(crate) fn stuck(self, stuck: bool) -> Decision {
        Decision { stuck, ..self }
    }

    pub(crate) fn going_on(self) -> Decision {
        Decision {
            goes_on: true,
            ..self
        }
    }

    pub(crate) fn ending(self, outcome: Outcome) -> Decision {
        Decision {
            ended: Some(outcome),
            ..self
        }
    }
}

/// What an agent knows beside its VMs.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// This agent's host.
    pub me: &'a HostName,
    /// All hosts of the site, this one too.
    pub hosts: &'a [Host],
    /// What the arbiter is and for how long it has not answered this agent; `None`: it answers.
    pub arbiter_away: Option<(&'a str, Span)>,
    /// When the site's directory was read last; `None`: it can be read.
    pub directory_away: Option<Wall>,
    /// Clones that may leave this host at once.
    pub clones_max: u32,
}

/// All that is looked at to decide on one VM.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub now: Now,
    pub site: &'a Site<'a>,
    pub vm: &'a Vm,
    pub backoff: &'a Backoff,
    /// The VM whose clone must be over before this one's begins; `None`: it may begin.
    pub first: Option<&'a VmName>,
    /// What somebody has asked for; `None`: nothing, or it has just ended.
    pub operation: Option<&'a Operation>,
}

impl<'a> Look<'a> {
    /// A look at this VM, without an operation and with no clone that must be over first.
    pub fn at(now: Now, site: &'a Site<'a>, vm: &'a Vm, backoff: &'a Backoff) -> Look<'a> {
        Look {
            now,
            site,
            vm,
            backoff,
            first: None,
            operation: None,
        }
    }

    /// Is this agent's host being drained?
    pub fn drains_here(&self) -> bool {
        self.is_drained(self.site.me)
    }

    /// Is this host being drained?
    pub fn is_drained(&self, host: &HostName) -> bool {
        host::find(self.site.hosts, host).is_some_and(|host| host.draining.is_some())
    }

    /// The request for a reservation that is under way, and until when it is waited for; `None`: there is
    /// none, or it has gone on for too long.
    pub fn asking(&self) -> Option<(&'a HostName, Time)> {
        let (host, since) = self.vm.seen.asking.as_ref()?;
        let until = since.after(ASK_PATIENCE);
        (until > self.now.time).then_some((host, until))
    }

    /// The host that has granted a reservation which still holds; `None`: there is none.
    pub fn prepared(&self) -> Option<&'a HostName> {
        let prepared = self.vm.seen.prepared.as_ref()?;
        (prepared.until > self.now.time).then_some(&prepared.host)
    }

    /// Is a clone of the VM under way or about to begin?
    pub fn is_cloning(&self) -> bool {
        let here = self.vm.seen.here.as_ref();
        here.is_some_and(|view| view.process.clone.is_some())
            || self.asking().is_some()
            || self.prepared().is_some()
    }

    /// What somebody has asked for, as its kind; `None`: nothing.
    pub fn kind(&self) -> Option<&'a Kind> {
        self.operation.map(|operation| &operation.kind)
    }

    /// The reason that an operation has made no progress for too long.
    pub fn overdue(&self) -> Option<Outcome> {
        let operation = self
            .operation
            .filter(|operation| operation.is_overdue(self.now))?;
        let minutes = self.now.since_wall(operation.since).0 / 60_000_000_000;
        Some(Outcome::Failed(vec![Why::Tries {
            count: 1,
            last: format!(
                "it has not ended in {minutes} min, and gets {} min without progress",
                OPERATION_MAX.0 / 60_000_000_000
            ),
            next: None,
        }]))
    }
}
