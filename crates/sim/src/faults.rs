//! What can go wrong in a world, and when: words only.
//!
//! `draw.rs` draws faults from a seed, `options.rs` prints them with the rest of a world, `mishap.rs` has
//! them happen. A fault says what happens to whom; it must not know how.

use std::fmt;

use machine::Control;
use replica::Span;

use crate::pair::SideName;

/// How a side dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process dies: its kernel still sends what it was given and then closes the link.
    Process,
    /// The host dies: nothing comes from it any more, and its page cache is lost.
    Host,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A side dies.
    Crash(SideName, Death),
    /// A side's process stands still for a while, and events queue up.
    Stall(SideName, Span),
    /// Nothing arrives from the other side at this one for a while, be it over the link or beside it.
    Cut(SideName, Span),
    /// Nothing arrives from the other side at either one for a while.
    CutBoth(Span),
    /// Nothing arrives over the link at this side for a while; heartbeats do.
    LinkStuck(SideName, Span),
    /// The link breaks.
    Reset,
    /// All heartbeats get lost for a while.
    HeartbeatsLost(Span),
    /// This side's network ports lead nowhere for a while: no frame passes.
    PortsLost(SideName, Span),
    /// The operator wants this side to leave the VM to the other one.
    Leave(SideName),
    /// Nobody reaches the arbiter for a while.
    ArbiterAway(Span),
    /// Nobody reaches the disk for a while.
    DiskAway(Span),
    /// This side runs at so many thousandths of its speed from now on.
    Slow(SideName, u64),
    /// The operator acts on the machine.
    Operator(Control),
    /// The next flush of this side fails, and its host forgets what it could not write.
    FlushFails(SideName),
    /// Both hosts and the drive lose their power: the end of the guest.
    PowerCut,
}

/// The doing of a side to which a fault is tied that has no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The fault happens instead of, or in the middle of, action number n of the side, from 1.
    Action(u64),
    /// The fault happens right after the side has carried out number n of its releases and disk requests,
    /// from 1: the outside knows of that, and nobody else does yet.
    Deed(u64),
    /// The fault happens right after number n of all that went into the side's guest or came out of it, from
    /// 1; nothing that the guest did in the same slice becomes visible.
    Entry(u64),
}

/// A fault tied to a side's doings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armed {
    /// The side whose doing it is.
    pub side: SideName,
    /// The doing.
    pub trigger: Trigger,
    /// The fault: a crash or a stall of the same side.
    pub fault: Fault,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash(side, Death::Process) => write!(f, "{side}'s process dies"),
            Fault::Crash(side, Death::Host) => write!(f, "{side}'s host dies"),
            Fault::Stall(side, span) => write!(f, "{side} stands still for {}", show(*span)),
            Fault::Cut(side, span) => write!(f, "path towards {side} cut for {}", show(*span)),
            Fault::CutBoth(span) => write!(f, "path cut for {}", show(*span)),
            Fault::LinkStuck(side, span) => write!(f, "link towards {side} stuck for {}", show(*span)),
            Fault::PortsLost(side, span) => write!(f, "{side}'s ports lead nowhere for {}", show(*span)),
            Fault::Leave(side) => write!(f, "operator: {side} shall leave"),
            Fault::Reset => write!(f, "link reset"),
            Fault::HeartbeatsLost(span) => write!(f, "heartbeats lost for {}", show(*span)),
            Fault::ArbiterAway(span) => write!(f, "arbiter away for {}", show(*span)),
            Fault::DiskAway(span) => write!(f, "disk away for {}", show(*span)),
            Fault::Slow(side, permille) => write!(f, "{side} runs at {permille} thousandths"),
            Fault::Operator(control) => write!(f, "operator: {control:?}"),
            Fault::FlushFails(side) => write!(f, "{side}'s next flush fails"),
            Fault::PowerCut => write!(f, "power cut: hosts and drive"),
        }
    }
}

/// A length of time as people read it.
pub(crate) fn show(span: Span) -> String {
    format!("{}.{:03} ms", span.0 / 1_000_000, span.0 / 1000 % 1000)
}
