//! How a node runs its guest, and how one half of a pair runs. A world fills these in and gives them to a new
//! [`crate::Node`]. Afterwards only the node changes them, and only `epoch` and `primary`, when it has won a
//! claim.

use crate::event::{Epoch, PeerId};
use crate::limits;
use messages::time::Span;
use vmlog::header::Header;

/// How a node runs its guest, in every role.
#[derive(Clone, Debug)]
pub struct Options {
    /// Steps between two digests in the log; `None`: none.
    pub digest_every: Option<u64>,
    /// Write a log file that begins with this header; its bytes come as [`crate::Action::Append`].
    pub record: Option<Header>,
    /// For how long the guest was not run before it goes on here, as one of a snapshot: so much of its time
    /// passes at once, as for a computer that was asleep. Zero for a guest that boots.
    pub asleep: Span,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            digest_every: Some(limits::DIGEST_EVERY_DEFAULT),
            record: None,
            asleep: Span(0),
        }
    }
}

/// How one half of a pair runs.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// The pair's epoch, granted by the arbiter. A side that suspects the other claims the one after it.
    pub epoch: Epoch,
    /// This process, as the arbiter knows it: a random number drawn at its start.
    pub owner: u128,
    /// The process that has `epoch` at the arbiter: the primary of this pair, on both sides, or this process
    /// if its guest runs alone.
    pub primary: u128,
    /// The backup's process; 0 for an owner whose guest runs alone.
    pub backup: u128,
    /// The link to the other half of the pair. It means nothing for an owner whose guest runs alone.
    pub peer: PeerId,
    /// Silence for this long is suspicion. At least 100 ms, default 500 ms; equal on both sides.
    pub timeout: Span,
    /// What is said, and believed, of a process of the pair that ends without a word.
    pub notice: Notice,
    /// What becomes of a backup that is too slow, while this side is the primary.
    pub on_slow: OnSlow,
    /// How the guest runs, as for one that runs alone.
    pub run: Options,
}

/// What becomes of a backup that is too slow (FT 3.2-e).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSlow {
    /// It is dropped: once the guest could run at less than so many percent of its speed on the mean of
    /// [`limits::SPEED_SECONDS`] seconds, or at hardly any for [`limits::SLOW_DROP`]. With 0 the mean drops
    /// none.
    Drop(u32),
    /// It is kept however slow it is, and the guest runs as fast as it can follow.
    Follow,
}

impl Default for OnSlow {
    fn default() -> OnSlow {
        OnSlow::Drop(limits::SPEED_MIN_DEFAULT)
    }
}

/// What the host of a process may tell the other side when the process has ended (docs/protocol.md, "Death
/// notices").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notice {
    /// Nothing, and nothing is believed: a process that dies is found out by the timeout, as a host is.
    #[default]
    TimeoutOnly,
    /// That the process has ended, and with it all that its kernel did for it at its disks.
    Settled,
    /// That the process has ended. A write that the process had handed to its kernel may still reach a disk.
    Unsettled,
}
