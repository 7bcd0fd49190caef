//! `Lane`: the queue and the threads of one disk. A disk that hangs holds up no other.
//!
//! A request that waits for its disk to get well is kept here and tried again; people hear of the trouble
//! once, and once more when all is well again. A lock that a later epoch has taken ends this replica, as
//! the other side has gone live.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use machine::{DiskRequest, DiskStatus};
use replica::{DiskAnswer, Span, Time};

use super::policy::{self, Ailment, Outcome};
use super::{Disk, Holder, LockError, guard};
use crate::limits::{DISK_RETRY, DISK_THREADS, DISK_TROUBLES_MAX};
use os::sandbox::{self, Kind};
use os::sys::clock;
use os::wake::Waker;

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
    /// Time at which the first request met the trouble.
    pub since: Time,
}

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
}

/// One disk with its queue.
#[derive(Debug)]
pub(super) struct Lane {
    index: u8,
    pub disk: Disk,
    queue: Mutex<Queue>,
    work: Condvar,
    sender: Sender<Completion>,
    waker: Waker,
    sizes: Mutex<Sizes>,
    /// Whether a thread is to look at the size, or does.
    measuring: AtomicBool,
    /// Whether the lock of any disk is lost: then nothing more may begin at any of them.
    fenced: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Jobs that met trouble, each with the time of its next attempt: requests, and one comparison at most.
    waiting: Vec<(Instant, Job)>,
    /// Whether a thread is taking the lock; requests that were queued behind that job must wait for it.
    locking: bool,
    /// Jobs in the hands of threads.
    serving: usize,
    /// Whether the lane is closed, so that nothing new is begun.
    closed: bool,
    illness: Illness,
}

/// Sizes of the disk in sectors.
#[derive(Debug)]
struct Sizes {
    /// Size that the guest knows, as far as this lane has heard of it; 0: it has heard of none.
    guest: u64,
    /// Size of the storage as it was told last.
    told: u64,
    /// Whether a comparison is queued or waits for its next attempt.
    queued: bool,
    /// Whether the last comparison has found the storage too small.
    short: bool,
}

/// What people have been told about the disk's state.
#[derive(Debug, Default)]
struct Illness {
    /// Requests that have met trouble and are not done.
    requests: usize,
    since: Time,
    told: Vec<String>,
}

impl Lane {
    /// A lane without threads.
    pub fn new(
        index: u8,
        disk: Disk,
        sender: Sender<Completion>,
        waker: Waker,
        fenced: Arc<AtomicBool>,
    ) -> Lane {
        Lane {
            index,
            sizes: Mutex::new(Sizes {
                guest: 0,
                told: disk.config().sectors,
                queued: false,
                short: false,
            }),
            measuring: AtomicBool::new(false),
            disk,
            queue: Mutex::default(),
            work: Condvar::new(),
            sender,
            waker,
            fenced,
        }
    }

    /// Starts the lane's threads, named after the disk.
    ///
    /// # Errors
    /// The host gives no more threads.
    pub fn start(lane: &Arc<Lane>) -> io::Result<Vec<JoinHandle<()>>> {
        let start = |number| {
            let name = format!("disk{}.{number}", lane.index);
            let lane = Arc::clone(lane);
            sandbox::try_spawn(Kind::Disk, name, move || lane.serve())
        };
        (1..=DISK_THREADS).map(start).collect()
    }

    /// Queues a job.
    pub fn push(&self, job: Job) {
        guard(&self.queue).jobs.push_back(job);
        self.work.notify_one();
    }

    /// Has a thread look at the size of the storage, unless one does already.
    pub fn measure(&self) {
        if !self.measuring.swap(true, Ordering::SeqCst) {
            self.push(Job::Measure);
        }
    }

    /// Notes that the guest knows the disk with so many sectors, and has a thread look whether it has them.
    pub fn guest_knows(&self, sectors: u64) {
        let mut sizes = guard(&self.sizes);
        if sectors <= sizes.guest {
            return;
        }
        sizes.guest = sectors;
        sizes.told = sectors;
        if !std::mem::replace(&mut sizes.queued, true) {
            self.push(Job::Compare);
        }
    }

    /// Closes the lane: from now on nothing is begun.
    pub fn close(&self) {
        let mut queue = guard(&self.queue);
        queue.closed = true;
        queue.jobs.clear();
        queue.waiting.clear();
        self.work.notify_all();
    }

    /// Waits until `deadline` for jobs that the lane's threads have begun; whether all threads are free.
    pub fn is_idle(&self, deadline: Instant) -> bool {
        let patience = deadline.saturating_duration_since(Instant::now());
        let (queue, _) = self
            .work
            .wait_timeout_while(guard(&self.queue), patience, |queue| queue.serving > 0)
            .unwrap_or_else(PoisonError::into_inner);
        queue.serving == 0
    }

    fn is_closed(&self, queue: &Queue) -> bool {
        queue.closed || self.fenced.load(Ordering::SeqCst)
    }

    fn serve(&self) {
        while let Some(job) = self.next() {
            let was_locking = matches!(job, Job::BecomeWriter { .. });
            match job {
                Job::Request { request, waited } => self.serve_request(request, waited),
                Job::BecomeWriter {
                    holder,
                    takeover,
                    left,
                } => self.become_writer(&holder, takeover, &left),
                Job::Measure => {
                    self.look_at_size();
                    self.measuring.store(false, Ordering::SeqCst);
                }
                Job::Compare => self.compare_sizes(),
            }
            // The queue goes on only after the words are out, so that "writer" comes before what was queued
            // behind it.
            let mut queue = guard(&self.queue);
            queue.serving -= 1;
            queue.locking &= !was_locking;
            if was_locking || self.is_closed(&queue) {
                self.work.notify_all();
            }
        }
    }

    /// Waits for a job; `None`: the lane is closed.
    fn next(&self) -> Option<Job> {
        let mut queue = guard(&self.queue);
        loop {
            if self.is_closed(&queue) {
                return None;
            }
            if queue.locking {
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = Instant::now();
            if let Some(index) = queue.waiting.iter().position(|(at, _)| *at <= now) {
                queue.serving += 1;
                let (_, job) = queue.waiting.swap_remove(index);
                return Some(job);
            }
            if let Some(job) = queue.jobs.pop_front() {
                queue.serving += 1;
                queue.locking = matches!(job, Job::BecomeWriter { .. });
                return Some(job);
            }
            queue = match queue.waiting.iter().map(|(at, _)| *at).min() {
                Some(at) => {
                    self.work
                        .wait_timeout(queue, at - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn serve_request(&self, request: DiskRequest, waited: bool) {
        let (status, data, ailment) = match policy::carry_out(&self.disk, &request.operation) {
            Outcome::Answer(status, data) => (status, data, None),
            Outcome::Failed(ailment) => (DiskStatus::Failed, Vec::new(), Some(ailment)),
            Outcome::Wait(ailment) => {
                self.fall_ill(ailment, !waited);
                return self.try_later(Job::Request {
                    request,
                    waited: true,
                });
            }
            Outcome::Stand(ailment) => return self.fall_ill(ailment, !waited),
            Outcome::Fenced(error) => return self.fence(error),
        };
        let DiskRequest { disk, id, .. } = request;
        self.tell(Completion::Done(DiskAnswer {
            disk,
            id,
            status,
            data,
        }));
        if waited {
            self.get_well();
        }
        if let Some(ailment) = ailment {
            // Nothing waits for the disk to get well, so the trouble is only told.
            self.fall_ill(ailment, false);
        }
    }

    /// Takes the lock, however long the storage is away, and opens the disk anew if it had another writer.
    /// That the path leads to the right file is looked at before the lock is taken, and once more behind it.
    fn become_writer(&self, holder: &Holder, takeover: bool, left: &AtomicUsize) {
        self.disk.set_alone();
        let disk = &self.disk;
        let mut waited = false;
        loop {
            let reopen_ailment = |error| policy::reopen_ailment(disk, &error);
            let found = match takeover {
                true => disk.look_for().map_err(reopen_ailment),
                false => Ok(()),
            };
            let ready = found.and_then(|()| match disk.lock(holder) {
                Ok(()) if takeover => disk.reopen().map_err(reopen_ailment).map(|()| None),
                Ok(()) => Ok(None),
                Err(error) if error.is_passing() => Err(policy::lock_ailment(disk, &error)),
                Err(error) => Ok(Some(error)),
            });
            let ailment = match ready {
                Ok(None) => break,
                Ok(Some(error)) => return self.fence(error),
                Err(ailment) => ailment,
            };
            self.fall_ill(ailment, !std::mem::replace(&mut waited, true));
            if self.pause() {
                return;
            }
        }
        if waited {
            self.get_well();
        }
        // The disk may have grown while the other side had it.
        self.look_at_size();
        if left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tell(Completion::Writer);
        }
    }

    /// Ends that this process is the writer of the disk, in favour of `next`.
    pub fn stand_by(&self, next: &Holder) {
        self.disk.stand_by(next);
    }

    /// Tells the size of the storage if it is another one than before.
    fn look_at_size(&self) {
        // If the storage cannot be looked at, the next request says what is wrong with it.
        let Ok(sectors) = self.disk.measure() else { return };
        let before = std::mem::replace(&mut guard(&self.sizes).told, sectors);
        if sectors != before {
            self.tell(Completion::Size(Size {
                disk: self.index,
                path: self.disk.path.clone(),
                sectors,
                before,
            }));
        }
    }

    /// Looks whether the storage is as large as the guest knows it. A backup that opens a copy of its own may
    /// have a smaller one, and people must hear of that before the guest needs what is missing.
    fn compare_sizes(&self) {
        // Whoever hears of a larger size while this thread looks has the size looked at once more.
        guard(&self.sizes).queued = false;
        let measured = self.disk.measure();
        let mut sizes = guard(&self.sizes);
        // If the storage cannot be looked at, the next request says what is wrong with it.
        let ailment = match measured {
            Ok(has) if has < sizes.guest => {
                sizes.told = has;
                Some(policy::short_ailment(&self.disk, has, sizes.guest))
            }
            _ => None,
        };
        let short = ailment.is_some() || (measured.is_err() && sizes.short);
        let was_short = std::mem::replace(&mut sizes.short, short);
        let again = short && !std::mem::replace(&mut sizes.queued, true);
        drop(sizes);
        if let Some(ailment) = ailment {
            self.fall_ill(ailment, !was_short);
        }
        if was_short && !short {
            self.get_well();
        }
        if again {
            self.try_later(Job::Compare);
        }
    }

    /// Queues a job that met trouble for its next attempt.
    fn try_later(&self, job: Job) {
        guard(&self.queue)
            .waiting
            .push((Instant::now() + DISK_RETRY, job));
        // Another thread must watch the clock while this one does something else.
        self.work.notify_one();
    }

    /// Waits for the time of the next attempt; whether the lane is closed.
    fn pause(&self) -> bool {
        let (queue, _) = self
            .work
            .wait_timeout_while(guard(&self.queue), DISK_RETRY, |queue| !self.is_closed(queue))
            .unwrap_or_else(PoisonError::into_inner);
        self.is_closed(&queue)
    }

    /// Tells that this replica ends; until it has ended, nothing may begin.
    fn fence(&self, error: LockError) {
        self.fenced.store(true, Ordering::SeqCst);
        self.tell(Completion::Fenced(error));
    }

    /// Tells that a request has met trouble; `first`: for the first time.
    fn fall_ill(&self, ailment: Ailment, first: bool) {
        let Ailment { what, sentence } = ailment;
        let mut queue = guard(&self.queue);
        let illness = &mut queue.illness;
        if illness.requests == 0 {
            illness.since = clock::now();
        }
        illness.requests += usize::from(first);
        if illness.told.contains(&what) || illness.told.len() >= DISK_TROUBLES_MAX {
            return;
        }
        illness.told.push(what.clone());
        let since = illness.since;
        drop(queue);
        self.tell(Completion::Trouble(Trouble {
            disk: self.index,
            path: self.disk.path.clone(),
            what,
            sentence,
            since,
        }));
    }

    /// Notes that a request that had met trouble is done, and tells when it was the last.
    fn get_well(&self) {
        let mut queue: MutexGuard<'_, Queue> = guard(&self.queue);
        queue.illness.requests -= 1;
        if queue.illness.requests > 0 {
            return;
        }
        let since = std::mem::take(&mut queue.illness).since;
        drop(queue);
        let path = self.disk.path.clone();
        let lasted = clock::now().since(since);
        self.tell(Completion::Recovered {
            disk: self.index,
            path,
            lasted,
        });
    }

    fn tell(&self, completion: Completion) {
        // Only while the pool is being dropped does nobody listen any more.
        let _ = self.sender.send(completion);
        self.waker.wake();
    }
}
