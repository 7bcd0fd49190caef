//! `Wire`: one connection that carries frames, at either end. It holds what waits to be written and what has
//! arrived, in the clear or sealed.
//!
//! A wire never blocks and never decides who may connect; `keyed` has done that before, if there is a key.
//! The wire's owner bounds what waits.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use super::keyed::{self, CONTENT_LEN_MAX, KeyedError, Records};
use super::stream::{FrameError, FrameReader, HEADER_LEN, Item, Word, reserve_frame, write_word};

/// Bytes asked from the kernel in one read of a sealed stream.
const READ_LEN: usize = 64 * 1024;
/// Bytes of memory that an empty queue keeps.
const KEEP_LEN: usize = 128 * 1024;
/// Bytes that may be gone from the front of a queue before the rest is moved there.
const GONE_LEN_MAX: usize = 512 * 1024;

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The kernel gave an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other end has closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// The stream makes no sense.
    #[error("bad framing: {0}")]
    Framing(FrameError),
    /// The other end has another key, or no correct record came.
    #[error(transparent)]
    Keyed(#[from] KeyedError),
}

/// What one `read` brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Bytes came; there may be more.
    Some,
    /// Nothing came for now.
    Nothing,
}

/// One connection with what waits in it.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    /// The cipher of the connection; `None`: the stream is in the clear.
    records: Option<Records>,
    /// Bytes that have arrived; take frames out with [`Wire::pop`] after each [`Wire::receive`].
    pub reader: FrameReader,
    /// Frames and words in the clear; those before `begun` are written or sealed.
    queue: Vec<u8>,
    begun: usize,
    /// Sealed records; those before `written` are gone.
    sealed: Vec<u8>,
    written: usize,
}

impl<S> Wire<S> {
    /// A connection on which everything is agreed. `records` is its cipher, if it is sealed.
    #[must_use]
    pub fn new(stream: S, records: Option<Records>) -> Wire<S> {
        Wire {
            stream,
            records,
            reader: FrameReader::default(),
            queue: Vec::new(),
            begun: 0,
            sealed: Vec::new(),
            written: 0,
        }
    }

    /// The socket of the connection.
    #[must_use]
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Takes the socket out; what waits is dropped.
    #[must_use]
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Whether the connection has a key, so that words can be said.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.records.is_some()
    }

    /// Bytes that wait for the other end.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.queue.len() - self.begun + self.sealed.len() - self.written
    }

    /// Room for one more frame, unless that would take the backlog over `limit`.
    pub fn reserve(&mut self, length: usize, limit: usize) -> Option<&mut [u8]> {
        if self.backlog() + HEADER_LEN + length > limit {
            return None;
        }
        reserve_frame(&mut self.queue, length).ok()
    }

    /// Answers a [`Word::Ping`], unless the backlog is over `limit`: a peer that asks and never reads gets no
    /// more answers.
    pub fn answer(&mut self, limit: usize) {
        if self.backlog() < limit {
            self.say(Word::Pong);
        }
    }

    /// Queues a word. A connection in the clear has no words, and then this does nothing. The caller bounds
    /// the number of words: see [`Wire::answer`].
    pub fn say(&mut self, word: Word) {
        if self.is_keyed() {
            write_word(&mut self.queue, word);
        }
    }

    /// The next frame or word that has arrived.
    ///
    /// # Errors
    /// The stream makes no sense.
    pub fn pop<'a>(reader: &'a mut FrameReader, is_keyed: bool) -> Result<Option<Item<'a>>, WireError> {
        if is_keyed {
            return reader.pop_item().map_err(WireError::Framing);
        }
        if keyed::is_greeting(reader.waiting()) && reader.waiting().len() >= HEADER_LEN {
            return Err(KeyedError::GatewayWantsKey.into());
        }
        Ok(reader.pop().map_err(WireError::Framing)?.map(Item::Frame))
    }
}

impl<S: Read + Write> Wire<S> {
    /// Reads once.
    ///
    /// # Errors
    /// The connection is over.
    pub fn receive(&mut self) -> Result<Received, WireError> {
        loop {
            let read = match &mut self.records {
                None => self.reader.read_from(&mut self.stream),
                Some(records) => {
                    let inbox = records.inbox();
                    self.stream
                        .read(inbox.room(READ_LEN))
                        .inspect(|&length| inbox.add(length))
                }
            };
            match read {
                Ok(0) => return Err(WireError::Closed),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(records) = &mut self.records {
            records.open(&mut self.reader)?;
        }
        Ok(Received::Some)
    }

    /// Writes what the socket takes. `true`: nothing is left.
    ///
    /// # Errors
    /// The connection is over.
    pub fn flush(&mut self) -> Result<bool, WireError> {
        let all = match &mut self.records {
            None => write_some(&mut self.stream, &self.queue, &mut self.begun)?,
            Some(records) => loop {
                if !write_some(&mut self.stream, &self.sealed, &mut self.written)? {
                    break false;
                }
                self.sealed.clear();
                self.written = 0;
                if self.begun == self.queue.len() {
                    break true;
                }
                let end = self.queue.len().min(self.begun + CONTENT_LEN_MAX);
                records.seal(&self.queue[self.begun..end], &mut self.sealed)?;
                self.begun = end;
            },
        };
        self.tidy();
        Ok(all)
    }

    fn tidy(&mut self) {
        if self.begun == self.queue.len() {
            self.queue.clear();
            self.begun = 0;
            self.queue.shrink_to(KEEP_LEN);
        } else if self.begun > GONE_LEN_MAX {
            // This keeps the memory within the backlog and this constant, at the price of one copy of the
            // backlog.
            self.queue.drain(..self.begun);
            self.begun = 0;
        }
    }
}

/// Writes `bytes` from `written` on, as far as the socket takes them. `true`: all are written.
fn write_some(stream: &mut impl Write, bytes: &[u8], written: &mut usize) -> Result<bool, WireError> {
    while *written < bytes.len() {
        match stream.write(&bytes[*written..]) {
            Ok(0) => return Err(WireError::Closed),
            Ok(length) => *written += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Has the kernel notice within about two seconds that the path of a connection without a key is cut. With a
/// key both ends ask each other, which is faster. Does nothing to a Unix socket.
pub fn notice_cuts(stream: &impl AsFd) {
    use rustix::net::sockopt;
    let second = Duration::from_secs(1);
    // A failure leaves a connection whose end is noticed later.
    let _ = sockopt::set_tcp_keepidle(stream, second);
    let _ = sockopt::set_tcp_keepintvl(stream, second);
    let _ = sockopt::set_tcp_keepcnt(stream, 1);
    let _ = sockopt::set_tcp_user_timeout(stream, 1_000);
    let _ = sockopt::set_socket_keepalive(stream, true);
}
