//! What is wanted of a VM and what is seen of it: the two things that planner and face compare. `Desired` is
//! what people have said, `Seen` what the VM's processes and other agents have answered.
//!
//! The agent fills these in at each look. Nothing in them is remembered from one look to the next by this
//! crate, so an agent that has just started sees the same as one that has run for a year.

use messages::time::{Span, Time};
use messages::vm_name::VmName;
use report::{FlagWord, GuestWord, PhaseWord, Protection, RoleWord};

use crate::action::Action;
use crate::hang::Hang;
use crate::health::{Swap, Watch};
use crate::host::HostName;
use crate::limits::FAILURES_FORGOTTEN;
use crate::moment::{Now, Wall};
use crate::operation::Operation;
use crate::placement::Need;
use crate::why::{End, Loss, Why};

/// That somebody has asked for something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Name of the person.
    pub by: String,
    /// When it was asked for.
    pub at: Wall,
    /// Why, in that person's words; empty: nothing was said.
    pub comment: String,
}

/// Whether a guest shall run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It shall run.
    On,
    /// It shall stand.
    Paused,
    /// It shall be off.
    Off {
        /// Is its plug pulled, instead of asking the guest to switch off?
        hard: bool,
    },
}

/// Whether a VM shall have a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected {
    /// It shall.
    On,
    /// It shall not for now, and shall again later.
    Suspended,
    /// It shall not.
    Off,
}

/// What is wanted of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Whether its guest shall run.
    pub power: Power,
    /// Who has asked for that, and when.
    pub power_asked: Asked,
    /// Whether it shall have a backup.
    pub protected: Protected,
    /// Who has asked for that, and when; `None`: nobody, its settings say so.
    pub protected_asked: Option<Asked>,
    /// Is it started anew, without anybody's word, when it has died?
    pub starts_cold: bool,
    /// Is it handed over by itself to a backup that is better off?
    pub swaps_for_health: bool,
    /// Is its guest reset by itself when it hangs?
    pub resets_hung: bool,
}

/// A clone that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloning {
    /// The host that is to be the backup.
    pub to: HostName,
    /// How far it is.
    pub phase: PhaseWord,
    /// Bytes of memory that were copied.
    pub done_bytes: u64,
    /// Bytes of memory that are to be copied in all, as far as is known.
    pub total_bytes: u64,
    /// Bytes a second; `None`: not known yet.
    pub bytes_per_second: Option<u64>,
    /// How far that host is behind.
    pub lag: Span,
    /// Outputs of before that have not left.
    pub outputs: u64,
}

/// A disk of the backup that is brought up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syncing {
    /// Name of the disk.
    pub disk: String,
    /// Bytes that were copied.
    pub done_bytes: u64,
    /// Bytes that are to be copied in all.
    pub total_bytes: u64,
    /// Bytes a second; `None`: not known yet.
    pub bytes_per_second: Option<u64>,
}

/// What a process says of its VM: the part of its status (docs/control.md) that matters here, with hosts by
/// name where the status has addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Number of the process on its host: another one means that it is another process.
    pub number: u64,
    /// What the process is to the VM; `None` before it is anything.
    pub role: Option<RoleWord>,
    /// What the guest does.
    pub guest: GuestWord,
    /// Does the operator want the guest to stand?
    pub is_paused: bool,
    /// How the VM's protection stands.
    pub protection: Protection,
    /// The epoch of the VM at its arbiter.
    pub epoch: u64,
    /// The VM's epoch when this process came to hold its guest; `None`: its release does not tell.
    pub first_epoch: Option<u64>,
    /// The host of the other half; `None`: there is none.
    pub peer: Option<HostName>,
    /// The clone that is under way; `None`: there is none.
    pub clone: Option<Cloning>,
    /// A disk of the backup that is brought up to date; `None`: each is.
    pub sync: Option<Syncing>,
    /// Is the backup being dismissed?
    pub is_dismissing: bool,
    /// Is the VM being handed over, or has it just come here, so that it cannot be handed over again yet?
    pub is_swapping: bool,
    /// Is a snapshot being taken, so that there can be no clone and no hand-over?
    pub has_snapshot: bool,
    /// Has the VM an arbiter and a key, without which there can be no backup?
    pub can_have_backup: bool,
    /// Has the board a power button, by which the guest can be asked to switch off?
    pub has_power_button: bool,
    /// What the guest's kernel wrote when it panicked; `None`: it has not, or was reset.
    pub panic: Option<String>,
    /// Delay of outputs, 99th of a hundred; `None`: not measured.
    pub output_delay: Option<Span>,
}

impl Process {
    /// Is it this process that shows the guest to the world?
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.role, Some(RoleWord::Solo | RoleWord::Primary))
    }

    /// Has the guest ended, so that the process is about to end?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.role == Some(RoleWord::Halted) || self.guest == GuestWord::Off
    }

    /// The host of the backup; `None`: there is none, or this process is not the primary.
    #[must_use]
    pub fn member(&self) -> Option<&HostName> {
        self.peer
            .as_ref()
            .filter(|_| self.role == Some(RoleWord::Primary))
    }
}

/// A process, as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The host on which the process runs.
    pub host: HostName,
    /// What the process said.
    pub process: Process,
    /// How old that is by now.
    pub age: Span,
}

/// A host's answer to the request for a reservation: a backup process waits there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The host.
    pub host: HostName,
    /// When the reservation ends.
    pub until: Time,
}

/// What the arbiter's record says of a VM that has no process here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The arbiter was not asked, or has not answered.
    Unknown,
    /// The VM never ran, or its last owner is known to have ended.
    Closed,
    /// Nobody knows whether its last owner has ended.
    Open {
        /// The owner's epoch.
        epoch: u64,
        /// The owner's host.
        host: HostName,
    },
}

/// How a VM came to have no process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How that came about.
    pub how: End,
    /// When it did.
    pub at: Wall,
    /// How old the news is that it still has none.
    pub age: Span,
}

/// That the VM has lost its backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The host of the backup; `None`: not known.
    pub host: Option<HostName>,
    /// When it was lost.
    pub at: Wall,
    /// How it was lost.
    pub how: Loss,
}

/// An order that was given to the process here, of which its status shows nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// When it was given.
    pub at: Time,
    /// Has the process answered that it does it?
    pub is_taken: bool,
}

/// An order that the process here has refused, as often as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The order.
    pub action: Action,
    /// How often, and why.
    pub failures: Failures,
}

/// Failures in a row of the same order to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: u32,
    /// What the process said last, as a clause.
    pub last: String,
    /// When that was.
    pub at: Time,
}

impl Failures {
    /// One more at this time, after those of `before` unless these are long ago.
    pub(crate) fn another(before: Option<Failures>, now: Time, why: &str) -> Failures {
        let recent = before.filter(|before| !before.are_forgotten(now));
        Failures {
            count: recent.map_or(0, |before| before.count).saturating_add(1),
            last: why.to_owned(),
            at: now,
        }
    }

    /// These failures as a reason, with when the next try is.
    pub(crate) fn tries(&self, now: Now, next: Time) -> Why {
        Why::Tries {
            count: self.count,
            last: self.last.clone(),
            next: Some(now.wall_of(next)),
        }
    }

    /// Was the last one so long ago that nothing follows from them any more?
    pub(crate) fn are_forgotten(&self, now: Time) -> bool {
        now.since(self.at) >= FAILURES_FORGOTTEN
    }
}

/// What is seen of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The process on this agent's host; `None`: there is none.
    pub here: Option<View>,
    /// The process on another host that shows the guest to the world, as its agent has told; `None`: none was
    /// seen.
    pub elsewhere: Option<View>,
    /// The process of the VM's other half, as its agent has told; `None`: none was seen.
    pub member: Option<View>,
    /// How the VM came to have no process; `None`: it has one, or it is not known.
    pub ended: Option<Ended>,
    /// Since when no process of it has been seen on any host; `None`: one is seen, or it never ran.
    pub gone_since: Option<Time>,
    /// What the arbiter's record says, where the VM has no process here.
    pub ownership: Ownership,
    /// When a process was started here that has not answered yet; `None`: none was.
    pub starting: Option<Time>,
    /// The host that is being asked for a reservation, and since when; `None`: none is.
    pub asking: Option<(HostName, Time)>,
    /// The host that has granted a reservation; `None`: none has.
    pub prepared: Option<Prepared>,
    /// The last order to the process here; `None`: each is carried out, or has failed.
    pub ordered: Option<Given>,
    /// The order that the process here has refused last; `None`: it has taken the last one.
    pub refused: Option<Refused>,
    /// Failed hand-overs in a row to the present backup, on this host; `None`: the last one did not fail.
    pub not_handed_over: Option<(HostName, Failures)>,
    /// How the VM lost its last backup; `None`: it has one, or never had.
    pub lost: Option<Lost>,
    /// How owner and member are off.
    pub health: Watch,
    /// Changes of its owner within the last hour, from the site's store.
    pub swaps: Vec<Swap>,
    /// Does whoever holds its disks refuse what an earlier owner still writes, for each of them? Nobody does
    /// that yet, so an agent says no; the rule that waits for it is written and tested.
    pub is_fenced: bool,
    /// The epoch that this host's process has lost, and the host that won it; `None`: it has lost none since
    /// another process of the VM was seen.
    pub outdone: Option<(u64, Option<HostName>)>,
    /// What this agent has found amiss with the pair: a flag, and what its sentence names. It may be
    /// `one-path`, `unfenced`, `insecure` or `skewed`.
    pub amiss: Vec<(FlagWord, String)>,
    /// Whether its guest hangs, and when it was reset for that.
    pub hang: Hang,
}

/// A VM, as an agent knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// What it needs of a host. `owner` is where it runs, ran last, or is to be started; `member` and
    /// `barred` are filled in by the planner.
    pub need: Need,
    /// What is wanted of it.
    pub desired: Desired,
    /// What is seen of it.
    pub seen: Seen,
    /// The operation that somebody has begun and that has not ended; `None`: there is none.
    pub operation: Option<Operation>,
}

impl Vm {
    /// Name of the VM.
    #[must_use]
    pub fn name(&self) -> &VmName {
        &self.need.vm
    }
}
