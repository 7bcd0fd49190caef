//! What the threads of a disk tell the guest thread: answers to requests, and how the disk is.
//!
//! `lane` tells it and `pool` hands it on; `world` of crate `host` makes events of it.

use std::path::PathBuf;

use replica::{DiskAnswer, Span, Time};

use super::LockError;

/// What a thread of a lane tells the guest thread.
#[derive(Debug)]
pub enum Completion {
    /// A request is finished.
    Done(DiskAnswer),
    /// The storage of a disk has another size than before.
    Size(Size),
    /// This process is the writer of all disks.
    Writer,
    /// This process must not write any more: it has to end.
    Fenced(LockError),
    /// A disk is ill. Told once for each thing that is wrong with it.
    Trouble(Trouble),
    /// All requests that had to wait for a disk are done.
    Recovered {
        /// Number of the disk, from 0.
        disk: u8,
        /// Path of the disk that is well again.
        path: PathBuf,
        /// Time for which the first of the requests waited.
        lasted: Span,
    },
}

/// The new size of a disk's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Number of the disk, from 0.
    pub disk: u8,
    /// Path of the disk.
    pub path: PathBuf,
    /// Whole sectors that the storage has now.
    pub sectors: u64,
    /// Whole sectors that it had when it was looked at before.
    pub before: u64,
}

/// What is wrong with a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Number of the disk, from 0.
    pub disk: u8,
    /// Path of the disk.
    pub path: PathBuf,
    /// What is wrong, to go on after the disk's name.
    pub what: String,
    /// What is wrong, what happens now and what to do, as a sentence.
    pub sentence: String,
    /// Time at which the first request met the trouble, or was begun that has no answer.
    pub since: Time,
    /// Whether a request waits for the disk, or would wait after a takeover. Else the guest was told that its
    /// request failed, and that is all.
    pub waits: bool,
}
