//! `Caller`: one that is connected to a control socket, as the server's thread has it: what it is about, what
//! was read of it, and what it has not taken yet. Nothing here waits.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::console::ConsoleWish;
use crate::desk::CallerId;
use crate::limits::{PATIENCE, READ_LEN, REQUEST_LEN_MAX, WATCHER_PATIENCE};
use crate::protocol::{Answer, Response, line};
use crate::request_id::RequestId;

/// A caller that is connected.
pub struct Caller {
    pub id: CallerId,
    pub stream: UnixStream,
    /// What was read of its next request.
    pub input: Vec<u8>,
    /// What it has not taken yet.
    pub output: Vec<u8>,
    pub phase: Phase,
    /// When it was last heard, or took something.
    pub heard: Instant,
}

/// What a caller is about.
pub enum Phase {
    /// Nothing was asked, or not wholly.
    Idle,
    /// The guest's thread has its request, of this number, since this time, when so many lines of events had
    /// come.
    Waits {
        id: RequestId,
        since: Instant,
        lines: u64,
        is_status: bool,
        /// What follows the answer on its connection.
        then: Then,
    },
    /// It gets a snapshot, and its connection goes to the guest's thread once it has the answer; and whether
    /// it keeps the guest's disks.
    Passes(bool),
    /// It gets events from this number on, to the end or as they come.
    Reads { next: u64, follow: bool },
    /// It is at the guest's console.
    Watches(Watcher),
    /// It is sent away once it has taken what it was told.
    Leaves,
    /// It is gone.
    Gone,
}

/// What follows the answer to a request on its connection, if the answer is that it does.
#[derive(Clone, Debug)]
pub enum Then {
    /// Nothing: the caller may send the next request.
    Nothing,
    /// A snapshot; and whether the caller keeps the guest's disks along with it.
    Snapshot(bool),
    /// The guest's console.
    Console(ConsoleWish),
}

/// A caller at the guest's console.
#[derive(Debug)]
pub struct Watcher {
    /// Who it is, as others may see it.
    pub by: String,
    /// The number of the person's session.
    pub session: RequestId,
    /// Does it type?
    pub types: bool,
    /// When it came, in nanoseconds since 1970.
    pub since_wall_ns: u64,
    /// The number of the next byte of the guest for it.
    pub next: u64,
    /// When something was said to it last.
    pub told: Instant,
}

impl Caller {
    /// May it say something now? Then what it says has a bound: of what comes before a request, all is taken.
    pub fn is_listened_to(&self) -> bool {
        match self.phase {
            // What it types waits with the kernel while the guest takes none of it.
            Phase::Watches(_) => self.input.len() < REQUEST_LEN_MAX,
            _ => self.may_ask(),
        }
    }

    /// May it send a request?
    pub fn may_ask(&self) -> bool {
        matches!(self.phase, Phase::Idle) && self.output.is_empty()
    }

    /// Does it owe something: the rest of a request, or that it takes what it is told? And for how long may
    /// it?
    pub fn owes(&self) -> Option<Duration> {
        let is_halfway = !self.input.is_empty() && matches!(self.phase, Phase::Idle);
        match self.phase {
            Phase::Watches(_) => (!self.output.is_empty()).then_some(WATCHER_PATIENCE),
            _ => (!self.output.is_empty() || is_halfway).then_some(PATIENCE),
        }
    }

    /// Reads what has come, as far as it may be one request.
    pub fn read(&mut self, now: Instant) {
        let mut buffer = [0; READ_LEN];
        match self.stream.read(&mut buffer) {
            Ok(0) => {
                self.phase = match self.output.is_empty() {
                    true => Phase::Gone,
                    false => Phase::Leaves,
                };
            }
            Ok(length) => {
                // A request that is begun and not ended has its patience from its first byte on.
                if self.input.is_empty() {
                    self.heard = now;
                }
                self.input
                    .extend_from_slice(buffer.get(..length).unwrap_or_default());
            }
            Err(error) if is_transient(&error) => {}
            Err(_) => self.phase = Phase::Gone,
        }
    }

    /// Writes what the caller takes now.
    pub fn write(&mut self, now: Instant) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(written @ 1..) => {
                    self.output.drain(..written);
                    self.heard = now;
                }
                Err(error) if is_transient(&error) => return,
                Ok(0) | Err(_) => {
                    self.phase = Phase::Gone;
                    self.output.clear();
                }
            }
        }
    }

    /// Says something, and leaves the rest of it for later if the caller does not take it now.
    pub fn say(&mut self, id: RequestId, answer: Answer) {
        let now = Instant::now();
        if self.output.is_empty() {
            self.heard = now;
        }
        self.output.extend(line(&Response { id, answer }));
        self.write(now);
    }

    /// Answers its request; it may send the next one.
    pub fn answer(&mut self, id: RequestId, answer: Answer) {
        self.phase = Phase::Idle;
        self.say(id, answer);
    }

    /// Answers what could not be read, and sends the caller away.
    pub fn refuse(&mut self, sentence: String) {
        self.input.clear();
        self.phase = Phase::Leaves;
        self.say(RequestId::default(), Answer::failed(sentence));
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
