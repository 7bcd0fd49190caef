//! `Snapshots`: what a world knows of the snapshots of its guest that are under way. `keeping` takes and
//! judges them. Nothing here draws anything but the stream from which `keeping` draws.

use std::collections::BTreeMap;

use replica::{SnapshotOrder, Time};
use toy::hash::mix;

use toy::random::Random;
use toy_outside::names::ProcessId;

use crate::subject::Subject;

/// The snapshots that are under way.
#[derive(Debug)]
pub struct Snapshots<G> {
    /// Where the draws of snapshots come from.
    pub random: Random,
    /// For each process the one that it was asked for last, until that is over.
    pub kept: BTreeMap<ProcessId, Kept<G>>,
    /// Until when something comes that belongs to an earlier snapshot of a process.
    pub settled: BTreeMap<ProcessId, Time>,
}

/// A snapshot under way.
#[derive(Debug)]
pub struct Kept<G> {
    /// How it is to be taken.
    pub order: SnapshotOrder,
    /// Bytes for which there is room at a time.
    pub room: u64,
    /// A guest that is made of what has left, and what it must be in the end; `None`: nothing has left.
    pub copy: Option<(G, u64)>,
    /// Until when no request may go to the disk.
    pub quiet_until: Time,
}

impl<G: Subject> Snapshots<G> {
    /// No snapshots, in the world of this seed.
    pub fn new(seed: u64) -> Snapshots<G> {
        Snapshots {
            random: Random::new(mix(seed, 0x5a95_0001)),
            kept: BTreeMap::new(),
            settled: BTreeMap::new(),
        }
    }
}
