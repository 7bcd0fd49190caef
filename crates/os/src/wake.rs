//! `Waker`: how other threads call the guest thread, wherever it is.
//!
//! A waker is an eventfd in the guest thread's `epoll` (poll.rs). The threads of disks, consoles, network
//! ports and the arbiter call it when they have something for the guest thread, and `World` of crate `host`
//! answers by looking into all their queues. A call must never carry anything: it says only "look", and what
//! there is to see stands in the caller's own queue before the call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Calls the guest thread. Clones call the same thread.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The eventfd, readable from `wake` to `clear`.
    event: OwnedFd,
    /// Whether `event` is readable already, so that a burst of calls costs one system call.
    pending: AtomicBool,
}

impl Waker {
    /// A new waker, not yet called.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new() -> io::Result<Waker> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Waker {
            shared: Arc::new(Shared {
                event,
                pending: AtomicBool::new(false),
            }),
        })
    }

    /// Calls the guest thread. What that thread shall see must be in the caller's queue before.
    pub fn wake(&self) {
        if !self.shared.pending.swap(true, Ordering::SeqCst) {
            // The counter of an eventfd has room for 2^64 calls, and nothing else can fail.
            let _ = rustix::io::write(&self.shared.event, &1_u64.to_ne_bytes());
        }
    }

    /// Tells the waker that the guest thread has come and will look into all queues after this call.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.shared.event, &mut [0_u8; 8]);
        self.shared.pending.store(false, Ordering::SeqCst);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(waker: &Waker) -> bool {
        let mut fds = [rustix::event::PollFd::new(waker, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&crate::sys::clock::timespec(0))).unwrap() == 1
    }

    #[test]
    fn a_call_is_seen_until_it_is_cleared() {
        let waker = Waker::new().unwrap();
        assert!(!readable(&waker));
        waker.clone().wake();
        waker.wake();
        assert!(readable(&waker));
        waker.clear();
        assert!(!readable(&waker));
        waker.wake();
        assert!(readable(&waker));
    }
}
