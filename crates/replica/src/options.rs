//! How a node runs its guest, and how one half of a pair runs. A world fills these in and gives them to a new
//! [`crate::Node`]; nothing may change them afterwards.

use crate::event::{Epoch, PeerId};
use crate::limits;
use crate::log::header::Header;
use crate::time::Span;

/// How a node runs its guest, in every role.
#[derive(Clone, Debug)]
pub struct Options {
    /// Steps between two digests in the log; `None`: none.
    pub digest_every: Option<u64>,
    /// Write a log file that begins with this header; its bytes come as [`crate::Action::Append`].
    pub record: Option<Header>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            digest_every: Some(limits::DIGEST_EVERY_DEFAULT),
            record: None,
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
    /// The process that has `epoch` at the arbiter: the primary of this pair, on both sides.
    pub primary: u128,
    /// The link to the other half of the pair.
    pub peer: PeerId,
    /// Silence for this long is suspicion. At least 100 ms, default 500 ms; equal on both sides.
    pub timeout: Span,
    /// How the guest runs, as for one that runs alone.
    pub run: Options,
}
