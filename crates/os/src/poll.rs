//! Waiting, on the guest thread: for as long as it takes while the guest is idle, and not at all while it
//! runs.
//!
//! All sockets are in one `epoll`. An idle guest thread waits in it, so that an event costs one wake-up and
//! no hand-over (FT 3.5-c). The thread sleeps only after [`AWAKE`], since being woken takes longer than most
//! answers. In a pair, while answers come quickly, it sleeps only after [`AWAKE_LONG`], a time in which the
//! other replica and a client can do their part.
//!
//! While the guest runs, its engine asks [`Look`] every few ten thousand steps whether the run shall end.
//! Every [`LOOK_EVERY`] this asks the kernel, which takes a tenth of a microsecond. So an event waits that
//! long at most, events that come together are taken together, and no other thread is woken for any of them:
//! with two replicas and their clients on a few processors, that would interrupt somebody else's guest each
//! time.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use machine::Cut;
use replica::{Span, Time};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::thread::sched_yield;

use crate::limits::{AWAKE, AWAKE_LONG, LOOK_EVERY};
use crate::sys::clock;

/// The name of a source in the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// Which readiness of a source is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Only the end of the connection.
    Nothing,
    /// Bytes to read.
    Read,
    /// Bytes to read, or room to write.
    ReadWrite,
    /// Room to write.
    Write,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Interest::Nothing => EventFlags::empty(),
            Interest::Read => EventFlags::IN,
            Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
            Interest::Write => EventFlags::OUT,
        }
    }
}

/// Number of sources in one answer of the kernel.
const EVENTS: usize = 16;

/// The sources that the guest thread waits for.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
    /// Time to look before sleeping, at the next wait, if there is a peer.
    awake: Span,
}

/// What the guest's engine asks while it runs.
pub struct Look<'a> {
    epoll: &'a OwnedFd,
    /// Time at which to ask the kernel again.
    due: Cell<Time>,
    /// Whether something has come that the kernel does not show.
    at_once: bool,
}

impl Cut for Look<'_> {
    /// Whether a source is ready. The answer is up to [`LOOK_EVERY`] old.
    fn is_wanted(&self) -> bool {
        if self.at_once {
            return true;
        }
        let now = clock::now();
        if now < self.due.get() {
            return false;
        }
        let mut event = [const { MaybeUninit::<Event>::uninit() }];
        let ready = epoll::wait(self.epoll, &mut event, Some(&clock::timespec(0)));
        if ready.is_ok_and(|(ready, _)| !ready.is_empty()) {
            return true;
        }
        self.due.set(now.after(LOOK_EVERY));
        false
    }
}

impl Poller {
    /// A poller without sources.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new() -> io::Result<Poller> {
        Ok(Poller {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            awake: AWAKE,
        })
    }

    /// Adds a source. Closing it removes it.
    ///
    /// # Errors
    /// The source cannot be waited for.
    pub fn add(&self, source: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            source,
            EventData::new_u64(token.0),
            interest.flags(),
        )?)
    }

    /// Waits for a source no longer. Needed before a source is closed of which another descriptor stays open:
    /// the kernel goes on waiting for what is behind both.
    ///
    /// # Errors
    /// The source was not added.
    pub fn remove(&self, source: &impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Changes which readiness of a source is waited for.
    ///
    /// # Errors
    /// The source was not added.
    pub fn modify(&self, source: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            source,
            EventData::new_u64(token.0),
            interest.flags(),
        )?)
    }

    /// Waits on this thread until a source is ready or the time is over, and gives the ready sources. Looks
    /// for a while, letting other threads go first, before it sleeps; longer where there is a peer.
    ///
    /// # Errors
    /// As the kernel gives them, never for a signal.
    pub fn wait(
        &mut self,
        timeout: Option<Span>,
        has_peer: bool,
    ) -> io::Result<impl Iterator<Item = Token> + use<'_>> {
        self.events.clear();
        let begin = clock::now();
        let mut now = begin;
        let awake = now.after(if has_peer { self.awake } else { AWAKE });
        let end = timeout.map(|timeout| now.after(timeout));
        loop {
            let rest = end.map(|end| end.since(now));
            let timeout = if now < awake { Some(Span(0)) } else { rest };
            self.ask(timeout)?;
            if !self.events.is_empty() || timeout == rest {
                break;
            }
            sched_yield();
            now = clock::now();
        }
        if timeout != Some(Span(0)) {
            self.awake = awake_after(clock::now().since(begin), !self.events.is_empty());
        }
        Ok(self.events.drain(..).map(|event| Token(event.data.u64())))
    }

    fn ask(&mut self, timeout: Option<Span>) -> io::Result<()> {
        let timeout = timeout.map(|span| clock::timespec(span.0));
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The look of a run that begins now, right after [`Poller::wait`]. `at_once`: the run ends as soon as
    /// the engine asks, since something has come already that no source shows any more.
    #[must_use]
    pub fn look(&self, at_once: bool) -> Look<'_> {
        Look {
            epoll: &self.epoll,
            due: Cell::new(clock::now().after(LOOK_EVERY)),
            at_once,
        }
    }
}

/// Time to look before sleeping, after a wait that took `waited` and ended with an event or without.
fn awake_after(waited: Span, event: bool) -> Span {
    if event && waited < AWAKE_LONG {
        AWAKE_LONG
    } else {
        AWAKE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn until_cut(look: &Look<'_>) {
        while !look.is_wanted() {}
    }

    #[test]
    fn a_run_ends_when_a_source_was_ready_before_it_or_becomes_so() {
        let mut poller = Poller::new().unwrap();
        let (mut left, mut right) = UnixStream::pair().unwrap();
        poller.add(&right, Token(7), Interest::Read).unwrap();
        for before in [false, true, false, true] {
            if before {
                left.write_all(b"x").unwrap();
            }
            assert!(poller.look(true).is_wanted());
            let look = poller.look(false);
            if !before {
                assert!(!look.is_wanted());
                left.write_all(b"x").unwrap();
            }
            until_cut(&look);
            assert!(look.is_wanted(), "as long as nobody takes it");
            let ready: Vec<_> = poller.wait(Some(Span(0)), true).unwrap().collect();
            assert_eq!(ready, [Token(7)]);
            right.read_exact(&mut [0]).unwrap();
            assert_eq!(poller.wait(Some(Span(0)), true).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_source_nobody_asked_for_neither_cuts_nor_wakes() {
        let mut poller = Poller::new().unwrap();
        let (mut left, right) = UnixStream::pair().unwrap();
        let (mut other, quiet) = UnixStream::pair().unwrap();
        poller.add(&right, Token(7), Interest::Read).unwrap();
        poller.add(&quiet, Token(8), Interest::Nothing).unwrap();
        other.write_all(b"x").unwrap();
        let look = poller.look(false);
        let until = look.due.get();
        while clock::now() <= until {}
        assert!(!look.is_wanted());
        left.write_all(b"x").unwrap();
        until_cut(&look);
        assert_eq!(poller.wait(None, true).unwrap().collect::<Vec<_>>(), [Token(7)]);
        poller.modify(&quiet, Token(8), Interest::ReadWrite).unwrap();
        assert_eq!(poller.wait(None, true).unwrap().count(), 2);
    }

    #[test]
    fn who_was_answered_quickly_looks_longer_the_next_time() {
        let quick = Span(AWAKE_LONG.0 - 1);
        assert_eq!(awake_after(quick, true), AWAKE_LONG);
        assert_eq!(awake_after(quick, false), AWAKE);
        assert_eq!(awake_after(AWAKE_LONG, true), AWAKE);
    }
}
