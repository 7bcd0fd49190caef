//! `DiskPool`: all disks of a guest, so that the guest thread never waits for one. Each disk has a lane of
//! threads.
//!
//! `World` of crate `host` has the pool: it submits the requests that the node gives out, and takes the
//! completions when the waker has called the guest thread. The pool gives each request to the `lane` of its
//! disk, which does everything else.
//!
//! The pool must never make the guest thread wait, except at the end ([`DISK_CLOSE_PATIENCE`]); nor put
//! requests in an order, which the node has done before (FT 3.4-a).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use machine::DiskRequest;

use super::completion::Completion;
use super::lane::Lane;
use super::queue::Job;
use super::{Disk, Holder};
use crate::limits::DISK_CLOSE_PATIENCE;
use os::wake::Waker;

/// The disks of a guest and their threads.
#[derive(Debug)]
pub struct DiskPool {
    lanes: Vec<(Arc<Lane>, Vec<JoinHandle<()>>)>,
    completions: Receiver<Completion>,
}

impl DiskPool {
    /// Starts the threads of each disk; `waker` is called when there is a completion.
    ///
    /// # Errors
    /// The host gives no more threads.
    pub fn new(disks: Vec<Disk>, waker: &Waker) -> io::Result<DiskPool> {
        let (sender, completions) = channel();
        let fenced = Arc::new(AtomicBool::new(false));
        let mut pool = DiskPool {
            lanes: Vec::new(),
            completions,
        };
        // At most 64 devices (`replica::limits::DEVICES_MAX`).
        for (index, disk) in (0_u8..).zip(disks) {
            let lane = Lane::new(index, disk, sender.clone(), waker.clone(), Arc::clone(&fenced));
            let lane = Arc::new(lane);
            let threads = Lane::start(&lane)?;
            pool.lanes.push((lane, threads));
        }
        Ok(pool)
    }

    /// Begins a request.
    pub fn submit(&self, request: DiskRequest) {
        let lane = self.lanes.get(usize::from(request.disk));
        assert!(lane.is_some(), "a request for disk {}", request.disk);
        if let Some((lane, _)) = lane {
            lane.push(Job::Request {
                request,
                waited: false,
            });
        }
    }

    /// Makes this process the writer of each disk before anything that is submitted to it after this call (FT
    /// 2.3-e). With `takeover` another process was the writer: each disk is opened anew, so that nothing is
    /// read that this host remembers from before. [`Completion::Writer`] answers when all disks are ready.
    /// Storage that cannot be reached is tried until it can, and keeps no other disk waiting.
    pub fn become_writer(&self, holder: &Holder, takeover: bool) {
        let left = Arc::new(AtomicUsize::new(self.lanes.len()));
        for (lane, _) in &self.lanes {
            lane.push(Job::BecomeWriter {
                holder: holder.clone(),
                takeover,
                left: Arc::clone(&left),
            });
        }
    }

    /// Ends that this process is the writer of the disks, in favour of `next`. No request may be at a disk.
    pub fn stand_by(&self, next: &Holder) {
        for (lane, _) in &self.lanes {
            lane.stand_by(next);
        }
    }

    /// Are there no disks?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Has each disk looked at whether its storage has another size than before; [`Completion::Size`] tells
    /// of those that have. Storage that hangs is looked at once.
    pub fn measure(&self) {
        for (lane, _) in &self.lanes {
            lane.measure();
        }
    }

    /// Has each disk looked at whether it can be read; for a side that is not live, whose disks get no
    /// requests. A disk of which this process is the writer is left alone, and storage that hangs is probed
    /// once. What is wrong is a [`Completion::Trouble`].
    pub fn probe(&self) {
        for (lane, _) in &self.lanes {
            lane.probe();
        }
    }

    /// Tells, by a [`Completion::Trouble`], of each disk that has not answered for a while. Call it often.
    /// `is_live`: the guest's requests are done here, else they would be after a takeover.
    pub fn look_for_silence(&self, is_live: bool) {
        for (lane, _) in &self.lanes {
            lane.look_for_silence(is_live);
        }
    }

    /// Tells that the guest knows a disk with so many sectors; a smaller number than before is ignored, and
    /// so is the number of a disk that is not there. Storage that has fewer is a [`Completion::Trouble`]
    /// until it has them.
    pub fn guest_knows(&self, disk: u8, sectors: u64) {
        if let Some((lane, _)) = self.lanes.get(usize::from(disk)) {
            lane.guest_knows(sectors);
        }
    }

    /// The next completion, if there is one.
    pub fn completion(&self) -> Option<Completion> {
        self.completions.try_recv().ok()
    }
}

impl Drop for DiskPool {
    /// Requests that a thread has begun are finished, requests that wait are not begun, and the locks are
    /// given back. A thread that hangs in dead storage is left behind: the end of a replica must not wait for
    /// it.
    fn drop(&mut self) {
        for (lane, _) in &self.lanes {
            lane.close();
        }
        let deadline = Instant::now() + DISK_CLOSE_PATIENCE;
        for (lane, threads) in self.lanes.drain(..) {
            let idle = lane.is_idle(deadline);
            lane.disk.backend.close();
            if idle {
                for thread in threads {
                    // A panic aborts the process, so a thread that can be joined has ended well.
                    let _ = thread.join();
                }
            }
        }
    }
}
