//! One VMM's connection: frames in, frames out, and the bytes that wait because it reads slowly.

use super::super::stream::{FrameReader, HEADER_LEN, reserve_frame};
use super::limits;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};

/// A connected VMM socket of either kind.
#[derive(Debug)]
pub enum PeerStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl PeerStream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }
}

impl Read for PeerStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for PeerStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What one `read` of a peer brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes; there may be more.
    Some,
    /// Nothing for now.
    Nothing,
    /// The peer is gone.
    End,
}

/// One connected VMM.
#[derive(Debug)]
pub struct Peer {
    stream: PeerStream,
    pub reader: FrameReader,
    /// Frames not yet written; `written..` waits.
    queue: Vec<u8>,
    written: usize,
    /// For messages.
    pub name: String,
    /// Whether connections wait for this queue to drain.
    pub awaited: bool,
    /// MAC addresses it owns.
    pub macs: usize,
}

impl Peer {
    /// Registers the stream and starts with empty queues.
    pub fn new(mut stream: PeerStream, name: String, registry: &Registry, token: Token) -> io::Result<Self> {
        registry.register(stream.source(), token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            reader: FrameReader::default(),
            queue: Vec::new(),
            written: 0,
            name,
            awaited: false,
            macs: 0,
        })
    }

    /// Reads once into `reader`.
    pub fn receive(&mut self) -> io::Result<Received> {
        loop {
            match self.reader.read_from(&mut self.stream) {
                Ok(0) => return Ok(Received::End),
                Ok(_) => return Ok(Received::Some),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Bytes that wait.
    pub fn backlog(&self) -> usize {
        self.queue.len() - self.written
    }

    /// Room for one more frame, unless that would take the backlog over `limit`.
    pub fn enqueue(&mut self, length: usize, limit: usize) -> Option<&mut [u8]> {
        if self.backlog() + HEADER_LEN + length > limit {
            return None;
        }
        reserve_frame(&mut self.queue, length).ok()
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.written < self.queue.len() {
            match self.stream.write(&self.queue[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.tidy();
        Ok(())
    }

    fn tidy(&mut self) {
        if self.written == self.queue.len() {
            self.queue.clear();
            self.written = 0;
            self.queue.shrink_to(limits::PEER_LOW_WATER);
        } else if self.written > limits::PEER_HIGH_WATER {
            // Keeps the memory within the backlog and one high-water mark, at the price of one copy of the backlog.
            self.queue.drain(..self.written);
            self.written = 0;
        }
    }
}
