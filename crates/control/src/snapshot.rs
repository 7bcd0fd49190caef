//! What is said while a snapshot is on its way over a control socket.
//!
//! Behind the answer to the request the connection carries [`Part`]s, each a line of JSON; a line that says
//! so is followed by bytes of the file. Whoever hangs up wants the snapshot no more.

use serde::{Deserialize, Serialize};

/// What is said while a snapshot is on its way. In a line the variant's name is the field `snapshot`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "snapshot", rename_all = "kebab-case")]
pub enum Part {
    /// It is of this step; so many pages follow, of which those that are zero take no place.
    Step {
        /// The guest's step.
        step: u64,
        /// Pages of memory.
        pages: u64,
        /// Disks that the guest has, of which nothing follows.
        disks: u64,
        /// Whether the guest's requests to its disks wait for [`Part::GoOn`].
        quiet: bool,
    },
    /// Bytes of the file follow this line.
    Bytes {
        /// How many, at most [`crate::limits::PIECE_LEN_MAX`].
        length: u64,
        /// Pages that have left with them and before.
        pages: u64,
    },
    /// That was the whole file.
    Done {
        /// Milliseconds for which the guest stood since hardly more pages could be kept for it.
        stood_ms: f64,
    },
    /// It comes to nothing.
    Failed {
        /// Why, as a clause.
        why: String,
    },
    /// The program to the VM: the disks are kept.
    GoOn,
}
