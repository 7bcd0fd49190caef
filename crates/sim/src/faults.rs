//! What can go wrong in a world, and when: words only.
//!
//! `draw.rs` draws faults from a seed, `options.rs` prints them with the rest of a world, `mishap.rs` has
//! them happen. A fault says what happens to whom; it must not know how.

use std::fmt;

use machine::Control;
use replica::{Phase, Span};
use toy_site::Mishap;

use toy_outside::names::{HostId, ProcessId};

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process dies: its kernel still sends what it was given and then closes the link.
    Process,
    /// The host dies with all its processes: nothing comes from it any more, and its page cache is lost.
    Host,
}

/// A part that one process or another plays, when a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The process where the guest lives.
    Owner,
    /// The process that was started last: the backup, or what is on its way to be one.
    Newest,
    /// The oldest backup of the guest's owner; if that has none, as `Newest`.
    Backup,
}

/// A fault that strikes in a clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InClone {
    /// In which clone of the world, from 1.
    pub clone: u64,
    /// After the owner has told that the clone is so far.
    pub phase: Phase,
    /// So long after that.
    pub after: Span,
    /// What goes wrong.
    pub fault: Fault,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process dies.
    Crash(ProcessId, Death),
    /// A process stands still for a while, and events queue up.
    Stall(ProcessId, Span),
    /// Nothing arrives from any other process at this one for a while, be it over a link or beside it.
    Cut(ProcessId, Span),
    /// Nothing arrives from any process at any other for a while.
    CutAll(Span),
    /// Nothing arrives over links at this process for a while; heartbeats do.
    LinkStuck(ProcessId, Span),
    /// All links break.
    Reset,
    /// All heartbeats get lost for a while.
    HeartbeatsLost(Span),
    /// The network ports of this process's host lead nowhere for a while: no frame passes.
    PortsLost(ProcessId, Span),
    /// The operator wants this process to leave the VM to its peer.
    Leave(ProcessId),
    /// The operator wants no backup for the guest that runs in this process.
    Unprotect(ProcessId),
    /// The operator wants this process and its backup to change their roles.
    HandOver(ProcessId),
    /// The operator wants the backup of the guest that runs in this process replaced by one on another host.
    Replace(ProcessId),
    /// The operator wants the guest that runs in this process to stand for a while.
    Pause(ProcessId),
    /// The operator wants a snapshot of the guest of this process.
    Snapshot(ProcessId),
    /// Nobody reaches the arbiter for a while.
    ArbiterAway(Span),
    /// Nobody reaches the disk for a while.
    DiskAway(Span),
    /// This process runs at so many thousandths of its speed from now on.
    Slow(ProcessId, u64),
    /// The operator acts on the machine.
    Operator(Control),
    /// The next flush of this process's host fails, and the host forgets what it could not write.
    FlushFails(ProcessId),
    /// All hosts and the drive lose their power: the end of the guest.
    PowerCut,
    /// The fault happens to the process that plays this part then, whatever process the fault itself names.
    Part(Part, Box<Fault>),
    /// Nothing arrives over any bulk link for a while.
    BulkCut(Span),
    /// All bulk links break, and no other.
    BulkReset,
    /// Something goes wrong with the agents that look after the guest, or somebody wants something of them.
    Site(Mishap),
    /// A host that died is there again, with no process on it and nothing in its page cache.
    Return(HostId),
}

impl Fault {
    /// The process to which the fault happens; `None`: it happens to no single one, or that is seen later.
    #[must_use]
    pub fn process(&self) -> Option<ProcessId> {
        match *self {
            Fault::Crash(who, _)
            | Fault::Stall(who, _)
            | Fault::Cut(who, _)
            | Fault::LinkStuck(who, _)
            | Fault::PortsLost(who, _)
            | Fault::Leave(who)
            | Fault::Unprotect(who)
            | Fault::HandOver(who)
            | Fault::Replace(who)
            | Fault::Pause(who)
            | Fault::Snapshot(who)
            | Fault::Slow(who, _)
            | Fault::FlushFails(who) => Some(who),
            Fault::CutAll(_)
            | Fault::Reset
            | Fault::HeartbeatsLost(_)
            | Fault::ArbiterAway(_)
            | Fault::DiskAway(_)
            | Fault::Operator(_)
            | Fault::PowerCut
            | Fault::Part(..)
            | Fault::BulkCut(_)
            | Fault::BulkReset
            | Fault::Site(_)
            | Fault::Return(_) => None,
        }
    }

    /// The same fault, happening to this process if it happens to one.
    #[must_use]
    pub fn of(&self, who: ProcessId) -> Fault {
        match *self {
            Fault::Crash(_, death) => Fault::Crash(who, death),
            Fault::Stall(_, span) => Fault::Stall(who, span),
            Fault::Cut(_, span) => Fault::Cut(who, span),
            Fault::LinkStuck(_, span) => Fault::LinkStuck(who, span),
            Fault::PortsLost(_, span) => Fault::PortsLost(who, span),
            Fault::Leave(_) => Fault::Leave(who),
            Fault::Unprotect(_) => Fault::Unprotect(who),
            Fault::HandOver(_) => Fault::HandOver(who),
            Fault::Replace(_) => Fault::Replace(who),
            Fault::Pause(_) => Fault::Pause(who),
            Fault::Snapshot(_) => Fault::Snapshot(who),
            Fault::Slow(_, permille) => Fault::Slow(who, permille),
            Fault::FlushFails(_) => Fault::FlushFails(who),
            ref other => other.clone(),
        }
    }
}

impl Part {
    /// The fault, happening to whoever plays this part when it strikes.
    #[must_use]
    pub fn gets(self, fault: Fault) -> Fault {
        Fault::Part(self, Box::new(fault))
    }
}

/// The doing of a process to which a fault is tied that has no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The fault happens instead of, or in the middle of, action number n of the process, from 1.
    Action(u64),
    /// The fault happens right after the process has carried out number n of its releases and disk requests,
    /// from 1: the outside knows of that, and nobody else does yet.
    Deed(u64),
    /// The fault happens right after number n of all that went into the process's guest or came out of it,
    /// from 1; nothing that the guest did in the same slice becomes visible.
    Entry(u64),
    /// A crash happens instead of action number n of the process's handshakes, from 1, a stall with that
    /// action in its hand, and any other fault right after the action.
    Word(u64),
}

/// A fault tied to a process's doings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armed {
    /// The process whose doing it is.
    pub who: ProcessId,
    /// The doing.
    pub trigger: Trigger,
    /// The fault: a crash or a stall of the same process; for a [`Trigger::Word`] any.
    pub fault: Fault,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash(who, Death::Process) => write!(f, "{who}'s process dies"),
            Fault::Crash(who, Death::Host) => write!(f, "{who}'s host dies"),
            Fault::Stall(who, span) => write!(f, "{who} stands still for {}", show(*span)),
            Fault::Cut(who, span) => write!(f, "path towards {who} cut for {}", show(*span)),
            Fault::CutAll(span) => write!(f, "path cut for {}", show(*span)),
            Fault::LinkStuck(who, span) => write!(f, "link towards {who} stuck for {}", show(*span)),
            Fault::PortsLost(who, span) => write!(f, "{who}'s ports lead nowhere for {}", show(*span)),
            Fault::Leave(who) => write!(f, "operator: {who} shall leave"),
            Fault::Unprotect(who) => write!(f, "operator: {who} shall dismiss its backup"),
            Fault::HandOver(who) => write!(f, "operator: {who} shall change roles with its backup"),
            Fault::Replace(who) => write!(f, "operator: {who} shall get another backup in place of its own"),
            Fault::Pause(who) => write!(f, "operator: the guest of {who} shall stand"),
            Fault::Snapshot(who) => write!(f, "operator: a snapshot of {who} shall be taken"),
            Fault::Reset => write!(f, "link reset"),
            Fault::HeartbeatsLost(span) => write!(f, "heartbeats lost for {}", show(*span)),
            Fault::ArbiterAway(span) => write!(f, "arbiter away for {}", show(*span)),
            Fault::DiskAway(span) => write!(f, "disk away for {}", show(*span)),
            Fault::Slow(who, permille) => write!(f, "{who} runs at {permille} thousandths"),
            Fault::Operator(control) => write!(f, "operator: {control:?}"),
            Fault::FlushFails(who) => write!(f, "{who}'s next flush fails"),
            Fault::PowerCut => write!(f, "power cut: hosts and drive"),
            Fault::Part(part, fault) => write!(f, "{part:?} in place of: {fault}"),
            Fault::BulkCut(span) => write!(f, "bulk links cut for {}", show(*span)),
            Fault::BulkReset => write!(f, "bulk links reset"),
            Fault::Site(mishap) => mishap.fmt(f),
            Fault::Return(host) => write!(f, "{host} returns"),
        }
    }
}

/// A length of time as people read it.
pub(crate) fn show(span: Span) -> String {
    format!("{}.{:03} ms", span.0 / 1_000_000, span.0 / 1000 % 1000)
}
