//! `Health`: how a process is off on its host, for whoever compares the two sides of a VM and hands it over
//! to the better one. The crate `health` makes it, and a status carries it (docs/control.md).
//!
//! It is a description of one side and nothing more: no replica decides anything by it.

use serde::{Deserialize, Serialize};

/// How a process is off on its host. All times are nanoseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Does every network port of the VM that is plugged in lead nowhere from here? Null: this side cannot
    /// know, as a backup whose gateway has no key. False for a VM without such a port.
    pub net_down: Option<bool>,
    /// Since when the ports lead nowhere; null: they do not, or it is not known.
    pub net_down_since_wall_ns: Option<u64>,
    /// Why the ports lead nowhere, as a clause; null: they do not, or it is not known.
    pub net_down_why: Option<String>,
    /// The disks that do not do what they are asked, in the order of their numbers.
    pub disks_away: Vec<DiskAway>,
    /// Since when the arbiter does not answer this process; null: it does, or there is none.
    pub arbiter_away_since_wall_ns: Option<u64>,
    /// Does the guest's thread get less of the processor than it wants, for some seconds now?
    pub loaded: bool,
    /// Since when it does; null: it does not.
    pub loaded_since_wall_ns: Option<u64>,
}

/// A disk that does not do what it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskAway {
    /// Number of the disk, from 0.
    pub disk: u8,
    /// Path of the disk.
    pub path: String,
    /// When the first request that waits for the disk was begun, or met trouble.
    pub since_wall_ns: u64,
    /// What is wrong, as words that follow the disk's name in a sentence.
    pub why: String,
}
