//! The Noise handshake of a link, on a socket: reads the other end's parts and writes ours.
//!
//! `talk` knows what is said. `replica` has a handshake of its own, about the VM, which is spoken over the
//! link that this one makes. The handshake never blocks and never reads further than its own bytes: a
//! listener has many handshakes at once, most of them with strangers, and gives each a limited time for all
//! of it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use replica::Time;
use rustix::event::PollFlags;

use super::agreement::{Agreement, End};
use super::bulk::connection::Connection;
use super::heartbeat::Heartbeats;
use super::key::Security;
use super::talk::{PART_LEN_MAX, Talk};
use super::{Link, LinkError};
use crate::limits::HANDSHAKE_TIMEOUT;
use os::sys::clock;

/// The link that a handshake has made.
#[derive(Debug)]
pub enum Made {
    /// A main link.
    Main(Box<Link>),
    /// A bulk link.
    Bulk(Connection),
}

/// One end of a Noise handshake that is going on.
#[derive(Debug)]
pub struct NoiseHandshake {
    stream: TcpStream,
    talk: Talk,
    /// Bytes that have come of the part that is waited for.
    arrived: Vec<u8>,
    deadline: Time,
}

impl NoiseHandshake {
    /// Begins on a fresh connection. The whole handshake must be over within [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// The connection is broken already, or the host gives no random numbers.
    pub fn new(stream: TcpStream, end: End, security: &Security) -> Result<NoiseHandshake, LinkError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let io = |peer| move |source| LinkError::Io { peer, source };
        let peer = stream.peer_addr().map_err(io(unknown))?;
        let local = stream.local_addr().map_err(io(peer))?;
        stream.set_nonblocking(true).map_err(io(peer))?;
        stream.set_nodelay(true).map_err(io(peer))?;
        Ok(NoiseHandshake {
            stream,
            talk: Talk::new(peer, local, end, security).map_err(io(peer))?,
            arrived: Vec::new(),
            deadline: clock::now().after(HANDSHAKE_TIMEOUT),
        })
    }

    /// Has the heartbeats of a main link go through this socket instead of one that is made for it.
    pub fn use_datagrams(&mut self, datagrams: Option<UdpSocket>) {
        self.talk.datagrams = datagrams;
    }

    /// Address of the other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.talk.peer
    }

    /// Time at which the patience with the other end is over.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// Has the other end shown that it has the key?
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.talk.is_authenticated()
    }

    /// Readiness of the socket that [`NoiseHandshake::advance`] waits for.
    #[must_use]
    pub fn wants(&self) -> PollFlags {
        if self.talk.outgoing.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        }
    }

    /// Goes on as far as it can without waiting. `true`: both ends have said everything, and
    /// [`NoiseHandshake::finish`] makes the link.
    ///
    /// # Errors
    /// The other end is a stranger, of another version, has another key or another mode, shows a token that
    /// nobody expects, or hung up.
    pub fn advance(&mut self) -> Result<bool, LinkError> {
        loop {
            self.write()?;
            match self.talk.agreement() {
                Some(Agreement::Main { .. }) => return Ok(true),
                // A main link sends what is left over; a bulk link has nowhere to keep it.
                Some(Agreement::Bulk { .. }) => return Ok(self.talk.outgoing.is_empty()),
                None => {}
            }
            if !self.read()? {
                return Ok(false);
            }
            let part = std::mem::take(&mut self.arrived);
            let result = self.talk.on_part(&part);
            if result.is_err() {
                // The other side's operator is told as well, if the connection still takes the words.
                let _ = self.write();
            }
            result?;
        }
    }

    /// Sends as much as the kernel takes, and reads nothing yet.
    ///
    /// # Errors
    /// The other end has hung up.
    pub fn greet(&mut self) -> Result<(), LinkError> {
        self.write()
    }

    /// The error of a handshake whose time is over.
    #[must_use]
    pub fn silence(&self) -> LinkError {
        LinkError::Silent { peer: self.talk.peer }
    }

    /// The link, once both ends have said everything.
    ///
    /// # Errors
    /// The handshake is not over, or the connection has broken since.
    pub fn finish(self) -> Result<Made, LinkError> {
        let Talk {
            peer,
            outgoing,
            security,
            end,
            ..
        } = &self.talk;
        let (peer, party, security, unsent) = (*peer, end.party(), security.clone(), outgoing.clone());
        let made = match self.talk.into_agreement() {
            Some(Agreement::Main {
                cipher,
                session,
                peer_port,
                socket,
            }) => {
                let mut target = peer;
                target.set_port(peer_port);
                Heartbeats::new(socket, target, party, &security, &session)
                    .and_then(|heartbeats| Link::new(self.stream, peer, cipher, heartbeats, unsent))
                    .map(|link| Made::Main(Box::new(link)))
            }
            Some(Agreement::Bulk { keys, token }) => {
                Connection::new(self.stream, peer, keys, token).map(Made::Bulk)
            }
            None => return Err(LinkError::Silent { peer }),
        };
        made.map_err(|source| LinkError::Io { peer, source })
    }

    fn write(&mut self) -> Result<(), LinkError> {
        while !self.talk.outgoing.is_empty() {
            match self.stream.write(&self.talk.outgoing) {
                Ok(0) => return Err(self.talk.hung_up()),
                Ok(length) => drop(self.talk.outgoing.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.talk.io(error)),
            }
        }
        Ok(())
    }

    /// Reads what has come of the present part; `true`: the part is whole.
    fn read(&mut self) -> Result<bool, LinkError> {
        let mut buffer = [0; PART_LEN_MAX];
        loop {
            let missing = self
                .talk
                .part_len(&self.arrived)?
                .saturating_sub(self.arrived.len());
            if missing == 0 {
                return Ok(true);
            }
            match self.stream.read(&mut buffer[..missing]) {
                Ok(0) => return Err(self.talk.hung_up()),
                Ok(length) => self.arrived.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.talk.io(error)),
            }
        }
    }
}

impl AsFd for NoiseHandshake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
