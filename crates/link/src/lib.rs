//! The link between two replicas: messages over TCP, encrypted with a shared key, and heartbeats over UDP.
//!
//! The guest thread owns the link and never blocks on it (FT 3.5-c): `send` collects, `flush` writes what the
//! kernel takes, `receive` gives the next whole message if it has arrived. On the wire a message is a 4-byte
//! little-endian length and its bytes; with a key this stream is cut into Noise records, each a 2-byte
//! little-endian length and at most 65535 bytes.
//!
//! What the messages say is `replica`'s business. Nothing here decides who is primary, and no byte of a peer
//! without the key is believed.
//!
//! `talk` and `noise` are the handshake, `agreement` is what they begin with and end with, `listen` and
//! `connect` are the two ways to a link, `heartbeat` is what travels beside it, `bulk` is a second connection
//! for what is large and can wait, and `key` is the secret.
#![forbid(unsafe_code)]

mod agreement;
pub mod bulk;
pub mod connect;
pub mod error;
mod greeting;
pub mod heartbeat;
pub mod key;
pub mod limits;
pub mod listen;
mod noise;
mod talk;
pub mod tunnel;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

pub use bulk::token::{Token, Tokens};
pub use connect::{Attempt, connect, connect_from, datagrams_to};
pub use error::LinkError;
pub use heartbeat::Heartbeats;
pub use key::{Key, KeyError, KeyFile, Security};
pub use listen::{Arrival, Incoming, Listener};
pub use tunnel::Tunnel;

use replica::Span;
use rustix::net::sockopt;

use crate::limits::{
    LINK_BACKLOG_MAX, LINK_PROBE_AFTER, LINK_PROBE_EVERY, LINK_READ_LEN, LINK_USER_TIMEOUT,
    LINK_USER_TIMEOUTS, MESSAGE_LEN_MAX,
};

/// Longest Noise record in bytes; `RECORD_TAG_LEN` of them are not content.
const RECORD_LEN_MAX: usize = 65_535;
const RECORD_TAG_LEN: usize = 16;
const LENGTH_LEN: usize = 4;

/// How bytes become records on the wire.
#[derive(Debug)]
enum Cipher {
    Plain,
    Noise(Box<snow::TransportState>),
}

impl Cipher {
    /// Is this the peer's next record, and is it empty?
    fn opens_empty(&mut self, record: &[u8]) -> bool {
        match self {
            Cipher::Plain => false,
            Cipher::Noise(noise) => noise.read_message(record, &mut []) == Ok(0),
        }
    }
}

/// A link after its Noise handshake.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    peer: SocketAddr,
    cipher: Cipher,
    /// Messages with their lengths in front, not yet in records.
    collected: Vec<u8>,
    /// Bytes for the kernel; those before `written` are gone.
    outgoing: Vec<u8>,
    written: usize,
    /// Bytes from the kernel, not yet opened.
    arrived: Vec<u8>,
    /// Messages with their lengths in front; those before `taken` are gone.
    opened: Vec<u8>,
    taken: usize,
    scratch: Box<[u8]>,
    /// Whether the last read did not fill `scratch`. Then the kernel most likely has no more, and another
    /// read would be a system call for nothing on the way of every acknowledgement.
    short: bool,
    heartbeats: Heartbeats,
    /// Bytes on the wire, counted since the link began.
    wire: Traffic,
}

/// Bytes counted on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent to the peer.
    pub sent: u64,
    /// Bytes received from the peer.
    pub received: u64,
}

impl Link {
    /// A link over a connected stream; `unsent` are bytes of the handshake that the kernel has not taken.
    fn new(
        stream: TcpStream,
        peer: SocketAddr,
        cipher: Cipher,
        heartbeats: Heartbeats,
        unsent: Vec<u8>,
    ) -> io::Result<Link> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        if let Err(error) = resend_soon_and_notice_death(&stream) {
            // On a kernel that lacks one of the options the link is as good as any other connection.
            tracing::debug!("the link to {peer} has not all options that it should: {error}");
        }
        Ok(Link {
            stream,
            peer,
            cipher,
            collected: Vec::new(),
            outgoing: unsent,
            written: 0,
            arrived: Vec::new(),
            opened: Vec::new(),
            taken: 0,
            scratch: vec![0; LINK_READ_LEN].into_boxed_slice(),
            short: false,
            heartbeats,
            wire: Traffic::default(),
        })
    }

    /// Address of the peer.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Keeps the kernel from breaking the link before this failure-detection timeout, on which both sides
    /// have agreed, is over.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn outlast(&self, timeout: Span) -> io::Result<()> {
        let patience = LINK_USER_TIMEOUT.max(Span(timeout.0.saturating_mul(LINK_USER_TIMEOUTS)));
        let ms = u32::try_from(patience.0 / 1_000_000).unwrap_or(u32::MAX);
        Ok(sockopt::set_tcp_user_timeout(&self.stream, ms)?)
    }

    /// Whether a whole message, or the end of the link, is here already. Then the kernel has nothing to show,
    /// and whoever waits for the socket waits in vain: call [`Link::receive`] first.
    #[must_use]
    pub fn has_message(&self) -> bool {
        let bytes = &self.opened[self.taken..];
        let Some((header, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
            return false;
        };
        let length = u32::from_le_bytes(*header) as usize;
        length > MESSAGE_LEN_MAX || rest.len() >= length
    }

    /// The heartbeats, which travel over UDP beside the link.
    pub fn heartbeats(&mut self) -> &mut Heartbeats {
        &mut self.heartbeats
    }

    /// The socket of the heartbeats, to wait for.
    #[must_use]
    pub fn heartbeats_fd(&self) -> BorrowedFd<'_> {
        self.heartbeats.as_fd()
    }

    /// Another descriptor of the socket of the heartbeats, for somebody else who is to speak through it.
    ///
    /// # Errors
    /// The host gives no more descriptors.
    pub fn datagrams(&self) -> io::Result<UdpSocket> {
        self.heartbeats.datagrams()
    }

    /// Bytes on the wire so far, without heartbeats.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.wire
    }

    /// Puts a message into the queue. Nothing leaves before [`Link::flush`].
    ///
    /// # Errors
    /// The peer has not read for too long.
    pub fn send(&mut self, message: &[u8]) -> Result<(), LinkError> {
        assert!(
            message.len() <= MESSAGE_LEN_MAX,
            "a message of {} bytes",
            message.len()
        );
        if self.backlog() + message.len() > LINK_BACKLOG_MAX {
            return Err(LinkError::Backlog { peer: self.peer });
        }
        // The length is below MESSAGE_LEN_MAX, so it fits.
        self.collected
            .extend_from_slice(&(message.len() as u32).to_le_bytes());
        self.collected.extend_from_slice(message);
        Ok(())
    }

    /// Writes what the kernel takes. `true`: nothing is left to write; `false`: call again when the link is
    /// writable.
    ///
    /// # Errors
    /// The link is gone.
    pub fn flush(&mut self) -> Result<bool, LinkError> {
        self.seal()?;
        while self.written < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.written..]) {
                Ok(0) => return Err(LinkError::Closed { peer: self.peer }),
                Ok(length) => {
                    self.written += length;
                    self.wire.sent += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.outgoing.drain(..self.written);
                    self.written = 0;
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.io(source)),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(true)
    }

    /// Bytes that wait for the peer.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.collected.len() + self.outgoing.len() - self.written
    }

    /// The next whole message. `None`: none is there now; wait until the link is readable and call again.
    /// Reads no further than it must.
    ///
    /// # Errors
    /// The link is gone, or the peer sent garbage. Messages that had arrived whole before were given out
    /// first.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        loop {
            if let Some(message) = self.next_opened()? {
                return Ok(Some(message));
            }
            if std::mem::take(&mut self.short) {
                return Ok(None);
            }
            match self.stream.read(&mut self.scratch) {
                Ok(0) => return Err(LinkError::Closed { peer: self.peer }),
                Ok(length) => {
                    self.wire.received += length as u64;
                    self.short = length < self.scratch.len();
                    self.open(length)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.io(source)),
            }
        }
    }

    /// Blocks until everything is written; for the last words before the end, never while the guest runs.
    ///
    /// # Errors
    /// The link is gone, or the peer does not read for the given time.
    pub fn drain(&mut self, patience: std::time::Duration) -> Result<(), LinkError> {
        self.seal()?;
        let result = (|| {
            self.stream.set_nonblocking(false)?;
            self.stream.set_write_timeout(Some(patience))?;
            self.stream.write_all(&self.outgoing[self.written..])?;
            self.stream.set_nonblocking(true)
        })();
        self.outgoing.clear();
        self.written = 0;
        result.map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> LinkError {
        LinkError::from_io(self.peer, source)
    }

    fn garbage(&self, what: &'static str) -> LinkError {
        LinkError::Garbage {
            peer: self.peer,
            what,
        }
    }

    /// Moves the collected messages into `outgoing`, as records if there is a key.
    fn seal(&mut self) -> Result<(), LinkError> {
        match &mut self.cipher {
            Cipher::Plain if self.outgoing.is_empty() => {
                std::mem::swap(&mut self.outgoing, &mut self.collected);
            }
            Cipher::Plain => self.outgoing.append(&mut self.collected),
            Cipher::Noise(noise) => {
                for content in self.collected.chunks(RECORD_LEN_MAX - RECORD_TAG_LEN) {
                    if seal_record(noise, content, &mut self.outgoing).is_err() {
                        return Err(self.garbage("the cipher has used up its numbers"));
                    }
                }
            }
        }
        self.collected.clear();
        Ok(())
    }

    /// Moves `length` bytes of `scratch` into `opened`.
    fn open(&mut self, length: usize) -> Result<(), LinkError> {
        self.opened.drain(..self.taken);
        self.taken = 0;
        let Cipher::Noise(noise) = &mut self.cipher else {
            self.opened.extend_from_slice(&self.scratch[..length]);
            return Ok(());
        };
        self.arrived.extend_from_slice(&self.scratch[..length]);
        let mut rest = &self.arrived[..];
        while let Some((header, tail)) = rest.split_first_chunk::<2>() {
            let record_len = usize::from(u16::from_le_bytes(*header));
            let Some((record, tail)) = tail.split_at_checked(record_len) else {
                break;
            };
            let start = self.opened.len();
            self.opened.resize(start + record_len, 0);
            match noise.read_message(record, &mut self.opened[start..]) {
                Ok(content_len) => self.opened.truncate(start + content_len),
                Err(_) => return Err(self.garbage("it is not encrypted with the key of this link")),
            }
            rest = tail;
        }
        let left = rest.len();
        self.arrived.drain(..self.arrived.len() - left);
        Ok(())
    }

    fn next_opened(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        let bytes = &self.opened[self.taken..];
        let Some((header, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MESSAGE_LEN_MAX {
            return Err(self.garbage("it claims to be longer than any message"));
        }
        let Some(message) = rest.get(..length).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.taken += LENGTH_LEN + length;
        Ok(Some(message))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Sets what the kernel does about lost packets, and about a peer that is gone (docs/protocol.md, "The
/// link").
fn resend_soon_and_notice_death(stream: &TcpStream) -> io::Result<()> {
    // Acknowledgements and signs of life are a thin stream: with a few packets under way, the pause between
    // two attempts to resend does not double with each.
    sockopt::set_tcp_thin_linear_timeouts(stream, true)?;
    let ms = u32::try_from(LINK_USER_TIMEOUT.0 / 1_000_000).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, ms)?;
    // While a side builds its machine it is silent for long, and its host may die in that time.
    sockopt::set_tcp_keepidle(stream, LINK_PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, LINK_PROBE_EVERY)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

/// Appends one record with its length.
fn seal_record(
    noise: &mut snow::TransportState,
    content: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), snow::Error> {
    let start = out.len() + 2;
    out.resize(start + content.len() + RECORD_TAG_LEN, 0);
    let length = noise.write_message(content, &mut out[start..])?;
    out.truncate(start + length);
    // A record is at most RECORD_LEN_MAX long, by the size of `content`.
    out[start - 2..start].copy_from_slice(&(length as u16).to_le_bytes());
    Ok(())
}

/// Parts of the crate that only a fuzzer looks at by themselves (docs/style.md N7).
#[cfg(feature = "parts")]
pub mod parts {
    pub use crate::bulk::codec::{Encoder, decode};
    pub use crate::bulk::order::Order;
    pub use crate::bulk::refusal::Refusal;
    pub use crate::bulk::seal::Opener;
}
