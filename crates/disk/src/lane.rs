//! `Lane`: the queue and the threads of one disk. A disk that hangs holds up no other.
//!
//! A request that waits for its disk to get well is kept here and tried again; people hear of the trouble
//! once, and once more when all is well again (`illness`). A lock that a later epoch has taken ends this
//! replica, as the other side has gone live.
//!
//! The disk of a side that is not live gets no requests: a probe now and then shows whether it could be read.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use machine::{DiskRequest, DiskStatus};
use replica::{DiskAnswer, Time};

use super::completion::{Completion, Size, Trouble};
use super::policy::{self, Ailment, Outcome};
use super::queue::{Job, Probe, Queue};
use super::{Disk, Holder, LockError};
use crate::guard::guard;
use crate::limits::DISK_RETRY;
use os::sandbox::{self, Kind};
use os::sys::clock;
use os::wake::Waker;

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
        if let Some(attendant) = lane.disk.backend.attendant() {
            // It ends with the backend, and nobody waits for it: it may be calling a server that is away.
            let name = format!("disk{}.0", lane.index);
            drop(sandbox::try_spawn(Kind::Caller, name, attendant)?);
        }
        (1..=lane.disk.backend.threads()).map(start).collect()
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

    /// Has a thread look whether the storage can be read, unless one does already or this side writes to it.
    pub fn probe(&self) {
        let mut queue = guard(&self.queue);
        if !queue.probe.needless && !std::mem::replace(&mut queue.probe.queued, true) {
            queue.jobs.push_back(Job::Probe);
            self.work.notify_one();
        }
    }

    /// Tells, once, of each job that the storage has not answered for too long. `is_live`: the guest's
    /// requests are done here.
    pub fn look_for_silence(&self, is_live: bool) {
        let mut queue = guard(&self.queue);
        for (since, first) in queue.under_way.hanging(clock::now()) {
            let ailment = policy::silent_ailment(&self.disk, is_live);
            self.note(&mut queue, ailment, first, since);
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
        while let Some((number, job)) = self.next() {
            let was_locking = matches!(job, Job::BecomeWriter { .. });
            match job {
                Job::Request { request, .. } => self.serve_request(request, number),
                Job::BecomeWriter {
                    holder,
                    takeover,
                    left,
                } => self.become_writer(&holder, takeover, &left, number),
                Job::Measure => {
                    self.look_at_size();
                    self.measuring.store(false, Ordering::SeqCst);
                }
                Job::Compare => self.compare_sizes(),
                Job::Probe => self.serve_probe(number),
            }
            if self.ends(number) {
                self.get_well();
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

    /// Waits for a job and gives it a number; `None`: the lane is closed.
    fn next(&self) -> Option<(u64, Job)> {
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
                let (_, job) = queue.waiting.swap_remove(index);
                return Some((queue.begin(&job), job));
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some((queue.begin(&job), job));
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

    fn serve_request(&self, request: DiskRequest, number: u64) {
        let outcome = policy::carry_out(&self.disk, &request.operation);
        // Whether the illness counts this request.
        let waited = self.ends(number);
        let (status, data, ailment) = match outcome {
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
    fn become_writer(&self, holder: &Holder, takeover: bool, left: &AtomicUsize, number: u64) {
        self.disk.set_alone();
        let disk = &self.disk;
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
            let first = guard(&self.queue).under_way.count(number);
            self.fall_ill(ailment, first);
            if self.pause() {
                return;
            }
        }
        if self.ends(number) {
            self.get_well();
        }
        // From here on the guest's requests show how the disk is.
        let needless = Probe {
            needless: true,
            ..Probe::default()
        };
        let probe = std::mem::replace(&mut guard(&self.queue).probe, needless);
        if probe.ill {
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
        guard(&self.queue).probe.needless = false;
    }

    /// Looks whether the storage can be read. What was wrong stays wrong until a later look finds it well, or
    /// this side becomes the disk's writer.
    fn serve_probe(&self, number: u64) {
        let probed = self.disk.probe();
        let mut queue = guard(&self.queue);
        let hung = queue.under_way.end(number);
        let is_ill = probed.is_err() && !queue.probe.needless;
        let was_ill = queue.probe.ill;
        (queue.probe.queued, queue.probe.ill) = (false, is_ill);
        if let Err(error) = probed
            && is_ill
        {
            let ailment = policy::probe_ailment(&self.disk, &error);
            self.note(&mut queue, ailment, !hung && !was_ill, clock::now());
        }
        drop(queue);
        // A probe of a disk that was ill and then hung is counted twice.
        let counted = u8::from(hung) + u8::from(was_ill);
        for _ in 0..counted.saturating_sub(u8::from(is_ill)) {
            self.get_well();
        }
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

    /// Notes that the storage has answered a job; whether the illness counts the job.
    fn ends(&self, number: u64) -> bool {
        guard(&self.queue).under_way.end(number)
    }

    /// Tells that a job has met trouble; `first`: for the first time, and the job waits.
    fn fall_ill(&self, ailment: Ailment, first: bool) {
        self.note(&mut guard(&self.queue), ailment, first, clock::now());
    }

    /// The same, with the queue in hand and the time since when the job is in trouble.
    fn note(&self, queue: &mut Queue, ailment: Ailment, first: bool, since: Time) {
        let Some(since) = queue.illness.note(&ailment, first, since) else {
            return;
        };
        let Ailment { what, sentence } = ailment;
        self.tell(Completion::Trouble(Trouble {
            disk: self.index,
            path: self.disk.path.clone(),
            what,
            sentence,
            since,
            waits: queue.illness.waits(),
        }));
    }

    /// Notes that a job that had met trouble is done, and tells when it was the last.
    fn get_well(&self) {
        let Some(since) = guard(&self.queue).illness.relieve() else {
            return;
        };
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
