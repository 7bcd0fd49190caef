//! `Operation`: something that somebody has asked for and that takes time. How far it is follows from what is
//! seen of the VM, never from a step that is remembered: an agent that was killed in the middle, or the agent
//! of the host to which the VM went, goes on where the process is.
//!
//! The agent keeps operations where their next controller finds them, and ends them as the planner says.

use crate::host::HostName;
use crate::limits::{OPERATION_LONGEST, OPERATION_MAX};
use crate::moment::{Now, Wall};
use crate::why::Why;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The VM's two sides change their roles. It ends when another host than `from` is live with a backup, or
    /// another process on that host: nobody keeps people from having both sides there.
    Failover {
        /// The owner's host when the operation began.
        from: HostName,
        /// The VM's epoch then.
        epoch: u64,
    },
    /// The VM runs on another host. It ends when it is live there with a backup.
    Move {
        /// That host.
        to: HostName,
    },
    /// The VM has another backup.
    MoveBackup {
        /// The host of the backup when the operation began; `None`: there was none.
        from: Option<HostName>,
        /// The host that is to have it; `None`: whichever suits the VM best.
        to: Option<HostName>,
    },
    /// The owner's process is killed, as if its host had died. It ends when the VM has gone on elsewhere and
    /// has a backup again.
    TestFailover {
        /// The owner's host when the operation began.
        from: HostName,
        /// The VM's epoch then.
        epoch: u64,
    },
    /// The backup's process is killed, as if its host had died. It ends when the VM has a backup again.
    TestBackup {
        /// The host of the backup when the operation began.
        host: HostName,
        /// The VM's epoch then.
        epoch: u64,
    },
    /// The guest's reset button is pressed.
    Reset,
    /// The VM has a backup.
    Protect {
        /// The host that is to have it; `None`: whichever suits the VM best.
        to: Option<HostName>,
    },
    /// The guest runs, as is wanted of it (`Desired`); this kind and the next two only tell when it is so.
    Start,
    /// The guest is off.
    Stop,
    /// The VM has no backup.
    Unprotect,
}

impl Kind {
    /// The host that somebody has asked for; `None`: none is named.
    #[must_use]
    pub fn named(&self) -> Option<&HostName> {
        match self {
            Kind::Move { to } => Some(to),
            Kind::MoveBackup { to, .. } | Kind::Protect { to } => to.as_ref(),
            _ => None,
        }
    }
}

/// Something that somebody has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What is to be done.
    pub kind: Kind,
    /// When it began.
    pub since: Wall,
    /// When it was last seen to make progress (`Decision::goes_on`); at first the same.
    pub progress: Wall,
    /// Has the process confirmed the order for a step that leaves no trace in a status, such as a reset? The
    /// order has the operation's number, so giving it again does nothing. Of a test: is it decided, so that
    /// it is not cancelled any more?
    pub is_confirmed: bool,
}

/// How an operation ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was wanted is so.
    Done,
    /// It is not, and is not tried any more; the VM goes on as it is.
    Failed(Vec<Why>),
}

impl Operation {
    /// Has it made no progress for too long, or gone on for far too long?
    #[must_use]
    pub fn is_overdue(&self, now: Now) -> bool {
        now.since_wall(self.progress) > OPERATION_MAX || now.since_wall(self.since) > OPERATION_LONGEST
    }
}
