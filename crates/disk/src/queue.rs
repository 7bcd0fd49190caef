//! `Queue`: what the threads of one disk have to do, and what they do. `pool` puts jobs in, and `lane` hands
//! them to its threads; the lane has one lock around all of it.
//!
//! Nothing here touches storage.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use machine::DiskRequest;

use super::Holder;
use super::illness::{Illness, UnderWay};
use os::sys::clock;

/// A job for a disk's threads.
#[derive(Debug)]
pub(super) enum Job {
    /// A request of the guest.
    Request {
        /// The request.
        request: DiskRequest,
        /// Whether the request has met trouble before.
        waited: bool,
    },
    /// The order to become the disk's writer.
    BecomeWriter {
        /// The VM, epoch and process that the lock will name.
        holder: Holder,
        /// Whether another process was the writer: then what is remembered of the disk is void.
        takeover: bool,
        /// Number of disks of which this process is not yet the writer.
        left: Arc<AtomicUsize>,
    },
    /// The order to look whether the storage has another size than before.
    Measure,
    /// The order to look whether the storage is as large as the guest knows it.
    Compare,
    /// The order to look whether the storage can be read, at a side that is not live.
    Probe,
}

/// What a disk's threads have to do, and how the disk is.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub jobs: VecDeque<Job>,
    /// Jobs that met trouble, each with the time of its next attempt: requests, and one comparison at most.
    pub waiting: Vec<(Instant, Job)>,
    /// Whether a thread is taking the lock; requests that were queued behind that job must wait for it.
    pub locking: bool,
    /// Jobs in the hands of threads.
    pub serving: usize,
    /// The same jobs, each since when.
    pub under_way: UnderWay,
    /// Whether the lane is closed, so that nothing new is begun.
    pub closed: bool,
    pub illness: Illness,
    pub probe: Probe,
}

/// How far this side looks whether the storage can be read.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// Whether a thread is to look, or does.
    pub queued: bool,
    /// Whether the last look has met trouble, which is counted by the illness.
    pub ill: bool,
    /// Whether this side is the disk's writer, whose requests tell more than a probe.
    pub needless: bool,
}

impl Queue {
    /// Notes that a thread begins with a job, and gives the job a number.
    pub fn begin(&mut self, job: &Job) -> u64 {
        self.serving += 1;
        self.locking = matches!(job, Job::BecomeWriter { .. });
        let waited = matches!(job, Job::Request { waited: true, .. });
        self.under_way.begin(clock::now(), waited)
    }
}
