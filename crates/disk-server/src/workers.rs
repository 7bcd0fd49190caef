//! `Workers`: the threads of a connection that wait for drives. They are started as they are needed, and end
//! with the connection.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use block::nbd::Request;

use crate::limits::{WAITING_BYTES_MAX, WAITING_MAX, WORKERS_MAX};
use crate::work::{Work, size};

#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Request>,
    /// How much room the waiting requests and those in the hands of workers take.
    bytes: usize,
    /// Workers that wait for a request.
    free: usize,
    /// Will no further request come?
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    work: Arc<Work>,
    queue: Mutex<Queue>,
    /// Called when a request waits, or none will come any more.
    wanted: Condvar,
    /// Called when there is room for a request.
    room: Condvar,
}

/// The workers of a connection.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic aborts the process, so nobody ever sees a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// No worker yet.
    #[must_use]
    pub fn new(work: &Arc<Work>) -> Workers {
        Workers {
            shared: Arc::new(Shared {
                work: Arc::clone(work),
                queue: Mutex::default(),
                wanted: Condvar::new(),
                room: Condvar::new(),
            }),
            threads: Mutex::default(),
        }
    }

    /// Has a worker do a request. Waits until there is room for it.
    ///
    /// # Errors
    /// There is no worker, and the host gives no thread.
    pub fn push(&self, request: Request) -> io::Result<()> {
        let size = size(&request);
        let is_full = |queue: &mut Queue| {
            let many = queue.requests.len() >= WAITING_MAX;
            many || (queue.bytes > 0 && queue.bytes + size > WAITING_BYTES_MAX)
        };
        let queue = lock(&self.shared.queue);
        let mut queue = self
            .shared
            .room
            .wait_while(queue, is_full)
            .unwrap_or_else(PoisonError::into_inner);
        queue.bytes += size;
        queue.requests.push_back(request);
        let more = queue.free < queue.requests.len();
        drop(queue);
        self.shared.wanted.notify_one();
        let mut threads = lock(&self.threads);
        if more && threads.len() < WORKERS_MAX {
            let shared = Arc::clone(&self.shared);
            match thread::Builder::new()
                .name("worker".into())
                .spawn(move || shared.serve())
            {
                Ok(thread) => threads.push(thread),
                Err(error) if threads.is_empty() => return Err(error),
                // The workers that there are do the request later.
                Err(error) => tracing::warn!("a connection lacks a thread: {error}"),
            }
        }
        Ok(())
    }

    /// Waits until all requests are done.
    pub fn finish(self) {
        lock(&self.shared.queue).closed = true;
        self.shared.wanted.notify_all();
        for thread in lock(&self.threads).drain(..) {
            // A panic aborts the process, so a thread that can be joined has ended well.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self) {
        let mut out = Vec::new();
        while let Some(request) = self.next() {
            let size = size(&request);
            let done = self.work.carry_out(request, &mut out);
            let sent = match done {
                Ok(()) => self.work.send(&out).is_ok(),
                Err(_) => false,
            };
            out.clear();
            if !sent {
                self.work.close();
            }
            lock(&self.queue).bytes -= size;
            self.room.notify_one();
        }
    }

    fn next(&self) -> Option<Request> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(request) = queue.requests.pop_front() {
                self.room.notify_one();
                return Some(request);
            }
            if queue.closed {
                return None;
            }
            queue.free += 1;
            queue = self.wanted.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.free -= 1;
        }
    }
}
