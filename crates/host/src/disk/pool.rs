//! Threads that do disk requests, so that the guest thread never waits for a disk.
//!
//! Errors reach the guest as a disk's IO error, as from hardware. Two do not: a full file system makes the
//! request wait and try again until there is room (what QEMU's `werror=enospc` does: the guest stands rather than
//! loses a write), and a lock that a later epoch has taken ends this replica (D6).

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use machine::{DiskOperation, DiskRequest, DiskStatus};
use replica::DiskAnswer;

use super::{Disk, Holder, LockError, SECTOR_LEN};
use crate::limits::{DISK_CLOSE_PATIENCE, DISK_REQUEST_LEN_MAX, DISK_RETRY, DISK_THREADS};
use crate::sandbox::{self, Kind};
use crate::wake::Waker;

/// What a thread has to say.
#[derive(Debug)]
pub enum Completion {
    /// A request is finished.
    Done(DiskAnswer),
    /// This process is the writer of all disks.
    Writer,
    /// This process must not write any more: it has to end.
    Fenced(LockError),
}

/// The threads and their queue.
#[derive(Debug)]
pub struct DiskPool {
    shared: Arc<Shared>,
    completions: Receiver<Completion>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    disks: Vec<Disk>,
    queue: Mutex<Queue>,
    work: Condvar,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Requests that met a full disk, and when to try again.
    waiting: Vec<(Instant, DiskRequest)>,
    /// A thread is taking the locks; requests queued behind must wait for it.
    locking: bool,
    /// Jobs in the hands of threads.
    serving: usize,
    /// Nothing new is begun.
    closed: bool,
}

#[derive(Debug)]
enum Job {
    Request(DiskRequest),
    BecomeWriter(Holder),
}

enum Outcome {
    Answer(DiskStatus, Vec<u8>),
    NoSpace,
    Fenced(LockError),
}

impl DiskPool {
    /// Starts the threads; none for a guest without disks.
    #[must_use]
    pub fn new(disks: Vec<Disk>, waker: Waker) -> DiskPool {
        let count = if disks.is_empty() { 0 } else { DISK_THREADS };
        let shared = Arc::new(Shared {
            disks,
            queue: Mutex::default(),
            work: Condvar::new(),
            waker,
        });
        let (sender, completions) = channel();
        let threads = (0..count)
            .map(|number| {
                let (shared, sender) = (Arc::clone(&shared), sender.clone());
                sandbox::spawn(Kind::Disk, format!("disk {number}"), move || {
                    shared.serve(&sender);
                })
            })
            .collect();
        DiskPool {
            shared,
            completions,
            threads,
        }
    }

    /// Begins a request.
    pub fn submit(&self, request: DiskRequest) {
        assert!(
            usize::from(request.disk) < self.shared.disks.len(),
            "a request for disk {}",
            request.disk
        );
        self.push(Job::Request(request));
    }

    /// Becomes the writer of all disks before anything submitted after this call (FT 2.3-e). Answered by
    /// [`Completion::Writer`]. Storage that cannot be reached is tried until it can.
    pub fn become_writer(&self, holder: Holder) {
        if !self.threads.is_empty() {
            self.push(Job::BecomeWriter(holder));
        }
    }

    /// The next completion.
    pub fn completion(&self) -> Option<Completion> {
        self.completions.try_recv().ok()
    }

    /// The disks.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        &self.shared.disks
    }

    fn push(&self, job: Job) {
        self.shared.queue().jobs.push_back(job);
        self.shared.work.notify_one();
    }
}

impl Drop for DiskPool {
    /// What a thread has begun is finished, what waits is not begun, and the locks are given back. A thread
    /// that hangs in dead storage is left behind: the end of a replica must not wait for it.
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.closed = true;
        queue.jobs.clear();
        queue.waiting.clear();
        self.shared.work.notify_all();
        let (queue, _) = self
            .shared
            .work
            .wait_timeout_while(queue, DISK_CLOSE_PATIENCE, |queue| queue.serving > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if queue.serving > 0 {
            return;
        }
        drop(queue);
        for thread in self.threads.drain(..) {
            // A panic aborts the process, so a thread that can be joined has ended well.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, sender: &Sender<Completion>) {
        while let Some(job) = self.next() {
            let (completion, was_locking) = match job {
                Job::Request(request) => (self.serve_request(request), false),
                Job::BecomeWriter(holder) => (self.lock_all(&holder), true),
            };
            let mut queue = self.queue();
            if let Some(completion) = completion {
                if matches!(completion, Completion::Fenced(_)) {
                    // The node will be told to end; nothing may slip through until then.
                    queue.closed = true;
                }
                // Sent before others may go on, so that "writer" comes before what was queued behind it.
                // Nobody listens any more only while the pool is being dropped.
                let _ = sender.send(completion);
                self.waker.wake();
            }
            queue.serving -= 1;
            queue.locking &= !was_locking;
            if was_locking || queue.closed {
                self.work.notify_all();
            }
        }
    }

    /// Waits for a job; `None`: the pool is closed.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            if queue.locking {
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = Instant::now();
            if let Some(index) = queue.waiting.iter().position(|(at, _)| *at <= now) {
                queue.serving += 1;
                return Some(Job::Request(queue.waiting.swap_remove(index).1));
            }
            if let Some(job) = queue.jobs.pop_front() {
                queue.serving += 1;
                queue.locking = matches!(job, Job::BecomeWriter(_));
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

    fn serve_request(&self, request: DiskRequest) -> Option<Completion> {
        let disk = &self.disks[usize::from(request.disk)];
        match carry_out(disk, &request.operation) {
            Outcome::Answer(status, data) => Some(Completion::Done(DiskAnswer {
                disk: request.disk,
                id: request.id,
                status,
                data,
            })),
            Outcome::NoSpace => {
                let path = disk.path().display();
                tracing::warn!("no space left for the disk {path}: the guest's write waits; free some space");
                self.queue().waiting.push((Instant::now() + DISK_RETRY, request));
                None
            }
            Outcome::Fenced(error) => Some(Completion::Fenced(error)),
        }
    }

    /// Takes all locks, however long the storage is away.
    fn lock_all(&self, holder: &Holder) -> Option<Completion> {
        loop {
            match self.disks.iter().try_for_each(|disk| disk.lock(holder)) {
                Ok(()) => break Some(Completion::Writer),
                Err(error) if error.is_passing() => {
                    tracing::warn!("{}; trying again", crate::error::chain(&error));
                    let queue = self.queue();
                    let pause = self
                        .work
                        .wait_timeout_while(queue, DISK_RETRY, |queue| !queue.closed);
                    if pause.unwrap_or_else(PoisonError::into_inner).0.closed {
                        break None;
                    }
                }
                Err(error) => break Some(Completion::Fenced(error)),
            }
        }
    }
}

fn carry_out(disk: &Disk, operation: &DiskOperation) -> Outcome {
    if !matches!(operation, DiskOperation::Read { .. }) {
        if disk.read_only {
            return Outcome::Answer(DiskStatus::Failed, Vec::new());
        }
        if let Err(error) = disk.may_write() {
            if error.is_passing() {
                tracing::error!("{}", crate::error::chain(&error));
                return Outcome::Answer(DiskStatus::Failed, Vec::new());
            }
            return Outcome::Fenced(error);
        }
    }
    match attempt(disk, operation) {
        Ok(data) => Outcome::Answer(DiskStatus::Ok, data),
        Err(error) if is_full(&error) => Outcome::NoSpace,
        Err(error) => {
            tracing::error!("the disk {} failed: {error}", disk.path().display());
            Outcome::Answer(DiskStatus::Failed, Vec::new())
        }
    }
}

fn attempt(disk: &Disk, operation: &DiskOperation) -> io::Result<Vec<u8>> {
    match operation {
        DiskOperation::Read { sector, bytes } => {
            let offset = offset(disk, *sector, u64::from(*bytes))?;
            if *bytes > DISK_REQUEST_LEN_MAX {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let mut data = vec![0; *bytes as usize];
            disk.backend.read(offset, &mut data)?;
            return Ok(data);
        }
        DiskOperation::Write { sector, data } => {
            disk.backend
                .write(offset(disk, *sector, data.len() as u64)?, data)?;
        }
        DiskOperation::Flush => disk.backend.flush()?,
        DiskOperation::Discard { sector, sectors } => {
            let length = u64::from(*sectors) * SECTOR_LEN;
            disk.backend.discard(offset(disk, *sector, length)?, length)?;
        }
        DiskOperation::WriteZeroes {
            sector,
            sectors,
            unmap,
        } => {
            let length = u64::from(*sectors) * SECTOR_LEN;
            disk.backend
                .write_zeroes(offset(disk, *sector, length)?, length, *unmap)?;
        }
    }
    Ok(Vec::new())
}

/// The device checks ranges against the capacity the guest was told; this disk may be another one.
fn offset(disk: &Disk, sector: u64, length: u64) -> io::Result<u64> {
    let offset = sector.checked_mul(SECTOR_LEN);
    let end = offset.and_then(|offset| offset.checked_add(length));
    match (offset, end) {
        (Some(offset), Some(end)) if end <= disk.backend.capacity() => Ok(offset),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
