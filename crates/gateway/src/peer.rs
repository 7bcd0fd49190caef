//! One VMM that is connected: its frames in and out, what it may do, and when it was heard last.
//!
//! `switch` holds the peers and decides between them; nothing here knows another peer.

use cable::wire::Wire;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use smoltcp::wire::EthernetAddress;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// The number of a peer, never used twice: the later one has connected later.
pub type PeerId = u64;

/// A connected VMM socket of either kind.
#[derive(Debug)]
pub enum PeerStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl PeerStream {
    /// Has `token` stand for this socket's readiness from here on.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

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

impl AsFd for PeerStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// The right of a VMM with a key to show its guest. Of two VMMs with the same guest the higher one shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Live {
    /// Epoch that the arbiter gave to the VMM.
    pub epoch: u64,
    /// Number that counts up with each connection that says it is live. Of two in the same epoch the later
    /// one counts, since its VMM has connected again.
    pub order: u64,
}

/// What a VMM may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The peer has no key: it may use addresses that nobody with a key has.
    Plain {
        /// Whether nothing has come from the peer: it may yet turn out to have a key.
        is_new: bool,
    },
    /// The peer has this key, and may use the key's addresses when it is live.
    Keyed {
        /// Number of the key.
        key: usize,
        /// The peer's right to show its guest; `None`: it only probes.
        live: Option<Live>,
    },
}

impl Standing {
    /// Whether both may use the same addresses, which is so if they have the same key, or neither has one.
    pub fn is_alike(self, other: Standing) -> bool {
        match (self, other) {
            (Standing::Keyed { key, .. }, Standing::Keyed { key: other, .. }) => key == other,
            (Standing::Plain { .. }, Standing::Plain { .. }) => true,
            _ => false,
        }
    }
}

/// One connected VMM.
#[derive(Debug)]
pub struct Peer {
    pub wire: Wire<PeerStream>,
    pub standing: Standing,
    /// Name of the peer, for messages.
    pub name: String,
    /// Whether connections wait for this queue to drain.
    pub awaited: bool,
    /// Number of MAC addresses that the peer owns.
    pub macs: usize,
    /// When something last came from the peer; `None`: nothing has come yet.
    pub heard: Option<Instant>,
    /// Whether the peer has asked if the gateway is there, and so will go on asking as long as it can.
    pub asks: bool,
    /// The MAC address that another peer has taken over from this one.
    pub lost: Option<EthernetAddress>,
}

impl Peer {
    /// A peer from which nothing has come.
    pub fn new(wire: Wire<PeerStream>, standing: Standing, name: String) -> Self {
        Self {
            wire,
            standing,
            name,
            awaited: false,
            macs: 0,
            heard: None,
            asks: false,
            lost: None,
        }
    }

    /// Whether frames that are for everybody are for this peer too.
    pub fn takes_frames(&self) -> bool {
        !matches!(self.standing, Standing::Keyed { live: None, .. })
    }
}
