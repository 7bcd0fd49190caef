//! Waiting, on the guest thread while the guest is idle and beside it while the guest runs.
//!
//! All sockets are in one `epoll`. An idle guest thread sleeps in it, so that an event costs one wake-up and no
//! hand-over (FT 3.5-c). While the guest runs, a watcher thread sleeps on that same `epoll` through another
//! one; when anything becomes ready it sets the cut flag, and the guest thread comes to look at the next block
//! edge. The watcher is armed for one call and armed again only after it has called.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use replica::Span;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::sys::clock;
use crate::wake::Waker;

/// Names a source in the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Only its end.
    Nothing,
    /// Bytes to read.
    Read,
    /// Bytes to read, or room to write.
    ReadWrite,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Interest::Nothing => EventFlags::empty(),
            Interest::Read => EventFlags::IN,
            Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
        }
    }
}

/// Sources in one answer.
const EVENTS: usize = 16;
const TOKEN_INNER: u64 = 0;
const TOKEN_STOP: u64 = 1;

/// The sources and the watcher.
pub struct Poller {
    epoll: Arc<OwnedFd>,
    events: Vec<Event>,
    watcher: Watcher,
}

#[derive(Debug)]
struct Watcher {
    /// Holds `Poller::epoll` for one call at a time, and `stop`.
    outer: Arc<OwnedFd>,
    stop: OwnedFd,
    /// Set by the thread when it has called: it must be armed again.
    fired: Arc<AtomicBool>,
    /// Armed and, unless `fired`, watching.
    armed: bool,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    /// Starts the watcher, which sets the cut flag of `waker`.
    ///
    /// # Errors
    /// No file descriptors or threads could be had.
    pub fn new(waker: Waker) -> io::Result<Poller> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let outer = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        epoll::add(&outer, &stop, EventData::new_u64(TOKEN_STOP), EventFlags::IN)?;
        epoll::add(
            &outer,
            &epoll,
            EventData::new_u64(TOKEN_INNER),
            EventFlags::ONESHOT,
        )?;
        let fired = Arc::new(AtomicBool::new(false));
        let thread = {
            let (outer, fired, waker) = (Arc::clone(&outer), Arc::clone(&fired), waker.clone());
            thread::Builder::new()
                .name("watcher".into())
                .spawn(move || watch(&outer, &fired, &waker))?
        };
        Ok(Poller {
            epoll,
            events: Vec::with_capacity(EVENTS),
            watcher: Watcher {
                outer,
                stop,
                fired,
                armed: false,
                waker,
                thread: Some(thread),
            },
        })
    }

    /// Adds a source. Closing it removes it.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn add(&self, source: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            source,
            EventData::new_u64(token.0),
            interest.flags(),
        )?)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// It was not added.
    pub fn modify(&self, source: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            source,
            EventData::new_u64(token.0),
            interest.flags(),
        )?)
    }

    /// Waits on this thread until a source is ready or the time is over, and gives the ready ones.
    ///
    /// # Errors
    /// As the kernel gives them, never for a signal.
    pub fn wait(&mut self, timeout: Option<Span>) -> io::Result<impl Iterator<Item = Token>> {
        if timeout != Some(Span(0)) {
            self.watcher.disarm(&self.epoll)?;
        }
        let timeout = timeout.map(|span| clock::timespec(span.0));
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.drain(..).map(|event| Token(event.data.u64())))
    }

    /// Call before the guest runs: from here on the cut flag is set as soon as a source is ready.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn arm(&mut self) -> io::Result<()> {
        self.watcher.arm(&self.epoll)
    }
}

impl Watcher {
    fn arm(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        if self.armed && !self.fired.load(Ordering::SeqCst) && !self.waker.cut().load(Ordering::SeqCst) {
            return Ok(());
        }
        // In this order: what becomes ready, or was left ready, after the flag was cleared sets it again,
        // because arming looks at the present state.
        self.fired.store(false, Ordering::SeqCst);
        self.waker.cut().store(false, Ordering::SeqCst);
        self.armed = true;
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        Ok(epoll::modify(
            &self.outer,
            epoll,
            EventData::new_u64(TOKEN_INNER),
            flags,
        )?)
    }

    /// An idle guest thread needs no watcher, and each of its wake-ups would cost time on another core.
    fn disarm(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        if !std::mem::take(&mut self.armed) || self.fired.load(Ordering::SeqCst) {
            return Ok(());
        }
        Ok(epoll::modify(
            &self.outer,
            epoll,
            EventData::new_u64(TOKEN_INNER),
            EventFlags::ONESHOT,
        )?)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // A counter of 2^64 calls is never full, and nothing else can fail.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(outer: &OwnedFd, fired: &AtomicBool, waker: &Waker) {
    let mut events = Vec::with_capacity(2);
    loop {
        events.clear();
        match epoll::wait(outer, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!("the watcher cannot wait: {error}");
                return;
            }
        }
        for event in &events {
            if event.data.u64() == TOKEN_STOP {
                return;
            }
            // The flag first: who sees `fired` and arms again has seen, and clears, the flag.
            waker.cut().store(true, Ordering::SeqCst);
            fired.store(true, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn until_cut(waker: &Waker) {
        while !waker.cut().load(Ordering::SeqCst) {
            thread::yield_now();
        }
    }

    #[test]
    fn the_watcher_cuts_when_a_source_is_ready_before_or_after_it_is_armed() {
        let waker = Waker::new().unwrap();
        let mut poller = Poller::new(waker.clone()).unwrap();
        let (mut left, mut right) = UnixStream::pair().unwrap();
        poller.add(&right, Token(7), Interest::Read).unwrap();
        for before in [false, true, false, true] {
            if before {
                left.write_all(b"x").unwrap();
                poller.arm().unwrap();
            } else {
                poller.arm().unwrap();
                left.write_all(b"x").unwrap();
            }
            until_cut(&waker);
            let ready: Vec<_> = poller.wait(Some(Span(0))).unwrap().collect();
            assert_eq!(ready, [Token(7)]);
            right.read_exact(&mut [0]).unwrap();
            assert_eq!(poller.wait(Some(Span(0))).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_source_nobody_asked_for_neither_cuts_nor_wakes() {
        let waker = Waker::new().unwrap();
        let mut poller = Poller::new(waker.clone()).unwrap();
        let (mut left, right) = UnixStream::pair().unwrap();
        let (mut other, quiet) = UnixStream::pair().unwrap();
        poller.add(&right, Token(7), Interest::Read).unwrap();
        poller.add(&quiet, Token(8), Interest::Nothing).unwrap();
        other.write_all(b"x").unwrap();
        left.write_all(b"x").unwrap();
        poller.arm().unwrap();
        until_cut(&waker);
        assert_eq!(poller.wait(None).unwrap().collect::<Vec<_>>(), [Token(7)]);
        poller.modify(&quiet, Token(8), Interest::ReadWrite).unwrap();
        assert_eq!(poller.wait(None).unwrap().count(), 2);
    }
}
