//! The checkers: what may never happen, whatever goes wrong.
//!
//! The world shows each of them every action (`carry.rs`), the guests' tapes (`subject.rs`), or what is left
//! in the end (`run.rs`). None may trust a node's word, and none may change a world.

pub mod clock;
pub mod disk;
pub mod durability;
pub mod guard;
pub mod lockstep;
pub mod logfile;
pub mod memory;
pub mod oracle;
pub mod output;
pub mod paused;
pub mod single_primary;
pub mod still;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which check noticed.
    pub check: Check,
    /// What it saw.
    pub what: String,
}

/// What each check demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// What the outside sees is one uninterrupted run: no contradiction, no loss, no gap.
    Output,
    /// At most one process shows effects, and it owns the epoch at the arbiter.
    SinglePrimary,
    /// An output waits for every process that may claim, and no other process claims.
    Guard,
    /// At equal points of the log both guests are equal.
    Lockstep,
    /// The disk is what the guest's requests, in their order, make of it.
    Disk,
    /// What was completed is what is read, and what was flushed stays, whatever dies.
    Durability,
    /// Guest time never goes back, and never gets ahead of the clocks that it follows.
    Clock,
    /// No buffer of a replica grows beyond its limit.
    Memory,
    /// A clone does not stop the guest.
    Still,
    /// A paused guest stands until somebody has it run on.
    Paused,
    /// A process that stopped does nothing any more.
    Halt,
    /// A reference run with the survivor's inputs shows what the outside saw, and so does its log file.
    Oracle,
    /// In a healed world the client gets its answers.
    Liveness,
    /// No agent does what none may do: both halves on one host, what nobody wants, what was not granted.
    Agents,
    /// No process halts for a reason that cannot be, and none spins.
    Sanity,
}

impl Violation {
    /// The news that a rule was broken.
    pub fn new(check: Check, what: impl Into<String>) -> Violation {
        Violation {
            check,
            what: what.into(),
        }
    }
}

/// Fails with a violation unless `holds`.
///
/// # Errors
/// If it does not hold.
pub fn ensure(holds: bool, check: Check, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation::new(check, what()))
    }
}
