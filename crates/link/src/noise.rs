//! The Noise handshake of a link: a plain greeting, then Noise with the shared key.
//!
//! `replica` has a handshake of its own, about the VM, which is spoken over the link that this one makes.
//!
//! ```text
//! both       greeting: "LOCKSTEP", version, mode, 16 random bytes
//! initiator  Noise message 1 (psk, e), content: UDP port          2-byte length in front
//! responder  1 byte: 0 accepted, 1 another key; Noise message 2 (e, ee), content: UDP port
//! initiator  an empty record: proof that it is alive and no recording
//! ```
//! Without a key the contents travel as they are. The handshake never blocks and never reads further than its
//! own bytes: a listener has many handshakes at once, most of them with strangers, and gives each a limited
//! time for all of it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use replica::Time;
use rustix::event::PollFlags;
use snow::{Builder, HandshakeState, TransportState};

use super::heartbeat::{Heartbeats, Party};
use super::key::Security;
use super::{Cipher, Link, LinkError};
use crate::limits::HANDSHAKE_TIMEOUT;
use os::sys::clock;

const MAGIC: [u8; 8] = *b"LOCKSTEP";
const VERSION: u8 = 1;
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const GREETING_LEN: usize = 26;
/// Bytes of a greeting that must be right before the rest is worth waiting for: magic, version, mode.
const GREETING_HEAD_LEN: usize = 10;
const ACCEPTED: u8 = 0;
const ANOTHER_KEY: u8 = 1;
const PORT_LEN: usize = 2;
const NOISE_HEADER_LEN: usize = 2;
const PROOF_LEN: usize = NOISE_HEADER_LEN + super::RECORD_TAG_LEN;
/// Longest Noise message of a handshake: an ephemeral key, a port, a tag.
const NOISE_LEN_MAX: usize = 128;
/// Longest part of the handshake that is read at once.
const PART_LEN_MAX: usize = 1 + NOISE_HEADER_LEN + NOISE_LEN_MAX;

/// Which part of the other end's the handshake waits for.
#[derive(Debug)]
enum Stage {
    /// The other end's greeting; ours is on its way.
    Greeting { ours: [u8; GREETING_LEN] },
    /// The other end's UDP port, when there is no key.
    Port { session: Vec<u8>, socket: UdpSocket },
    /// Noise message 1, by which the caller proves to the responder that it has the key.
    First { state: Box<HandshakeState> },
    /// The responder's answer to message 1, and Noise message 2; the initiator waits for them.
    Second {
        state: Box<HandshakeState>,
        socket: UdpSocket,
    },
    /// The empty record by which the caller proves to the responder that it is no recording.
    Proof {
        transport: Box<TransportState>,
        session: Vec<u8>,
        peer_port: u16,
        socket: UdpSocket,
    },
    /// No part: both ends have said everything.
    Agreed(Agreement),
    /// No part: the handshake has failed.
    Over,
}

/// What both ends know after the handshake.
#[derive(Debug)]
struct Agreement {
    cipher: Cipher,
    session: Vec<u8>,
    peer_port: u16,
    socket: UdpSocket,
}

/// One end of a Noise handshake that is going on.
#[derive(Debug)]
pub struct NoiseHandshake {
    stream: TcpStream,
    peer: SocketAddr,
    party: Party,
    security: Security,
    stage: Stage,
    /// Bytes that have come of the part that is waited for.
    arrived: Vec<u8>,
    /// Bytes that the kernel has not taken yet.
    outgoing: Vec<u8>,
    deadline: Time,
}

impl NoiseHandshake {
    /// Begins on a fresh connection. The whole handshake must be over within [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// The connection is broken already, or the host gives no random numbers.
    pub fn new(stream: TcpStream, party: Party, security: &Security) -> Result<NoiseHandshake, LinkError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let io = |peer| move |source| LinkError::Io { peer, source };
        let peer = stream.peer_addr().map_err(io(unknown))?;
        stream.set_nonblocking(true).map_err(io(peer))?;
        stream.set_nodelay(true).map_err(io(peer))?;
        let mut ours = [0; GREETING_LEN];
        ours[..8].copy_from_slice(&MAGIC);
        ours[8] = VERSION;
        ours[9] = u8::from(matches!(security, Security::Key(_)));
        getrandom::fill(&mut ours[GREETING_HEAD_LEN..]).map_err(|error| io(peer)(error.into()))?;
        Ok(NoiseHandshake {
            stream,
            peer,
            party,
            security: security.clone(),
            stage: Stage::Greeting { ours },
            arrived: Vec::new(),
            outgoing: ours.to_vec(),
            deadline: clock::now().after(HANDSHAKE_TIMEOUT),
        })
    }

    /// Address of the other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Time at which the patience with the other end is over.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// Has the other end shown that it has the key?
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        matches!(self.stage, Stage::Proof { .. })
    }

    /// Readiness of the socket that [`NoiseHandshake::advance`] waits for.
    #[must_use]
    pub fn wants(&self) -> PollFlags {
        if self.outgoing.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        }
    }

    /// Goes on as far as it can without waiting. `true`: both ends have said everything, and
    /// [`NoiseHandshake::into_link`] makes the link.
    ///
    /// # Errors
    /// The other end is a stranger, of another version, has another key or another mode, or hung up.
    pub fn advance(&mut self) -> Result<bool, LinkError> {
        loop {
            self.write()?;
            if matches!(self.stage, Stage::Agreed(_)) {
                return Ok(true);
            }
            if !self.read()? {
                return Ok(false);
            }
            let part = std::mem::take(&mut self.arrived);
            let result = self.on_part(&part);
            if result.is_err() {
                // The other side's operator is told as well, if the connection still takes the words.
                let _ = self.write();
            }
            self.stage = result?;
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
        LinkError::Silent { peer: self.peer }
    }

    /// The link, once both ends have said everything.
    ///
    /// # Errors
    /// The handshake is not over, or the connection has broken since.
    pub fn into_link(self) -> Result<Link, LinkError> {
        let peer = self.peer;
        let Stage::Agreed(agreement) = self.stage else {
            return Err(LinkError::Silent { peer });
        };
        let mut target = peer;
        target.set_port(agreement.peer_port);
        Heartbeats::new(
            agreement.socket,
            target,
            self.party,
            &self.security,
            &agreement.session,
        )
        .and_then(|heartbeats| Link::new(self.stream, peer, agreement.cipher, heartbeats, self.outgoing))
        .map_err(|source| LinkError::Io { peer, source })
    }

    fn write(&mut self) -> Result<(), LinkError> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(0) => return Err(self.hung_up()),
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
        Ok(())
    }

    /// Reads what has come of the present part; `true`: the part is whole.
    fn read(&mut self) -> Result<bool, LinkError> {
        let mut buffer = [0; PART_LEN_MAX];
        loop {
            let missing = self.part_len()?.saturating_sub(self.arrived.len());
            if missing == 0 {
                return Ok(true);
            }
            match self.stream.read(&mut buffer[..missing]) {
                Ok(0) => return Err(self.hung_up()),
                Ok(length) => self.arrived.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
    }

    /// Length in bytes of the present part, as far as its beginning tells; at most [`PART_LEN_MAX`].
    fn part_len(&self) -> Result<usize, LinkError> {
        match &self.stage {
            Stage::Greeting { ours } => match self.arrived.first_chunk() {
                None => Ok(GREETING_HEAD_LEN),
                Some(head) => self.check_greeting(ours, head).map(|()| GREETING_LEN),
            },
            Stage::Port { .. } => Ok(PORT_LEN),
            Stage::First { .. } => self.noise_len(&self.arrived),
            Stage::Second { .. } => match self.arrived.split_first() {
                None => Ok(1),
                Some((&ACCEPTED, rest)) => Ok(1 + self.noise_len(rest)?),
                Some(_) => Err(LinkError::WrongKey { peer: self.peer }),
            },
            Stage::Proof { .. } => Ok(PROOF_LEN),
            Stage::Agreed(_) => Ok(0),
            Stage::Over => Err(self.hung_up()),
        }
    }

    fn noise_len(&self, beginning: &[u8]) -> Result<usize, LinkError> {
        let Some(header) = beginning.first_chunk() else {
            return Ok(NOISE_HEADER_LEN);
        };
        let length = usize::from(u16::from_le_bytes(*header));
        if length > NOISE_LEN_MAX {
            return Err(LinkError::Garbage {
                peer: self.peer,
                what: "its handshake is too long",
            });
        }
        Ok(NOISE_HEADER_LEN + length)
    }

    fn check_greeting(&self, ours: &[u8], theirs: &[u8; GREETING_HEAD_LEN]) -> Result<(), LinkError> {
        let peer = self.peer;
        if theirs[..8] != MAGIC {
            return Err(LinkError::Stranger { peer });
        }
        if theirs[8] != VERSION {
            return Err(LinkError::Version {
                peer,
                ours: VERSION,
                theirs: theirs[8],
            });
        }
        if theirs[9] != ours[9] {
            return Err(LinkError::Mode {
                peer,
                theirs: theirs[9] != 0,
            });
        }
        Ok(())
    }

    /// Takes the part that was waited for, now whole, and gives the stage that comes next.
    fn on_part(&mut self, part: &[u8]) -> Result<Stage, LinkError> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Greeting { ours } => self.on_greeting(&ours, part),
            Stage::Port { session, socket } => Ok(Stage::Agreed(Agreement {
                cipher: Cipher::Plain,
                session,
                peer_port: self.port(part)?,
                socket,
            })),
            Stage::First { state } => self.on_first(state, part),
            Stage::Second { state, socket } => {
                let noise = part.get(1..).unwrap_or_default();
                self.on_second(state, socket, noise)
            }
            Stage::Proof {
                mut transport,
                session,
                peer_port,
                socket,
            } => {
                let record = part.get(NOISE_HEADER_LEN..).unwrap_or_default();
                if transport.read_message(record, &mut []) != Ok(0) {
                    return Err(LinkError::WrongKey { peer: self.peer });
                }
                Ok(Stage::Agreed(Agreement {
                    cipher: Cipher::Noise(transport),
                    session,
                    peer_port,
                    socket,
                }))
            }
            Stage::Agreed(_) | Stage::Over => Err(self.hung_up()),
        }
    }

    fn on_greeting(&mut self, ours: &[u8], theirs: &[u8]) -> Result<Stage, LinkError> {
        // Noise mixes both greetings in, the initiator's first, so that later messages count only in this one
        // talk.
        let prologue = match self.party {
            Party::Initiator => [ours, theirs].concat(),
            Party::Responder => [theirs, ours].concat(),
        };
        Ok(match (&self.security, self.party) {
            (Security::Insecure, _) => {
                let (socket, port) = self.udp_socket()?;
                self.outgoing.extend_from_slice(&port.to_le_bytes());
                Stage::Port {
                    session: prologue,
                    socket,
                }
            }
            (Security::Key(key), Party::Responder) => Stage::First {
                state: self.noise(key.bytes(), &prologue)?,
            },
            (Security::Key(key), Party::Initiator) => {
                let mut state = self.noise(key.bytes(), &prologue)?;
                let (socket, port) = self.udp_socket()?;
                self.send_noise(&mut state, port)?;
                Stage::Second { state, socket }
            }
        })
    }

    /// The responder on Noise message 1. Only a caller that has the key gets further than this, and only for
    /// such a caller is a socket for heartbeats opened.
    fn on_first(&mut self, mut state: Box<HandshakeState>, part: &[u8]) -> Result<Stage, LinkError> {
        let peer_port = match self.open_noise(&mut state, part) {
            Err(error) => {
                self.outgoing.push(ANOTHER_KEY);
                return Err(error);
            }
            Ok(port) => port,
        };
        let (socket, port) = self.udp_socket()?;
        self.outgoing.push(ACCEPTED);
        self.send_noise(&mut state, port)?;
        let session = state.get_handshake_hash().to_vec();
        Ok(Stage::Proof {
            transport: self.transport(state)?,
            session,
            peer_port,
            socket,
        })
    }

    fn on_second(
        &mut self,
        mut state: Box<HandshakeState>,
        socket: UdpSocket,
        part: &[u8],
    ) -> Result<Stage, LinkError> {
        let peer_port = self.open_noise(&mut state, part)?;
        let session = state.get_handshake_hash().to_vec();
        let mut transport = self.transport(state)?;
        super::seal_record(&mut transport, &[], &mut self.outgoing)
            .map_err(|error| self.io(io::Error::other(error)))?;
        Ok(Stage::Agreed(Agreement {
            cipher: Cipher::Noise(transport),
            session,
            peer_port,
            socket,
        }))
    }

    /// The responder's heartbeats use the number of its TCP port if it is free, so that one firewall rule
    /// does for both; the number is told to the peer in any case.
    fn udp_socket(&self) -> Result<(UdpSocket, u16), LinkError> {
        let bind = || {
            let local = self.stream.local_addr()?;
            let own = match self.party {
                Party::Responder => UdpSocket::bind(local).ok(),
                Party::Initiator => None,
            };
            let socket = match own {
                Some(socket) => socket,
                None => UdpSocket::bind(SocketAddr::new(local.ip(), 0))?,
            };
            let port = socket.local_addr()?.port();
            Ok((socket, port))
        };
        bind().map_err(|source| self.io(source))
    }

    fn noise(&self, key: &[u8; 32], prologue: &[u8]) -> Result<Box<HandshakeState>, LinkError> {
        let build = || {
            let builder = Builder::new(PATTERN.parse()?).prologue(prologue)?.psk(0, key)?;
            match self.party {
                Party::Initiator => builder.build_initiator(),
                Party::Responder => builder.build_responder(),
            }
        };
        build()
            .map(Box::new)
            .map_err(|error: snow::Error| self.io(io::Error::other(error)))
    }

    fn transport(&self, state: Box<HandshakeState>) -> Result<Box<TransportState>, LinkError> {
        state
            .into_transport_mode()
            .map(Box::new)
            .map_err(|error| self.io(io::Error::other(error)))
    }

    fn send_noise(&mut self, state: &mut HandshakeState, port: u16) -> Result<(), LinkError> {
        let mut message = [0; NOISE_LEN_MAX];
        let length = state
            .write_message(&port.to_le_bytes(), &mut message)
            .map_err(|error| self.io(io::Error::other(error)))?;
        // The length is at most NOISE_LEN_MAX.
        self.outgoing.extend_from_slice(&(length as u16).to_le_bytes());
        self.outgoing.extend_from_slice(&message[..length]);
        Ok(())
    }

    /// The port in a Noise message that has its length in front.
    fn open_noise(&self, state: &mut HandshakeState, part: &[u8]) -> Result<u16, LinkError> {
        let message = part.get(NOISE_HEADER_LEN..).unwrap_or_default();
        let mut port = [0; PORT_LEN];
        match state.read_message(message, &mut port) {
            Ok(PORT_LEN) => Ok(u16::from_le_bytes(port)),
            _ => Err(LinkError::WrongKey { peer: self.peer }),
        }
    }

    fn port(&self, part: &[u8]) -> Result<u16, LinkError> {
        let port = part.first_chunk().ok_or_else(|| self.hung_up())?;
        Ok(u16::from_le_bytes(*port))
    }

    /// Before anything is known of the other end, a connection that it ends is no more than silence.
    fn hung_up(&self) -> LinkError {
        let peer = self.peer;
        match self.stage {
            Stage::Greeting { .. } => LinkError::Silent { peer },
            _ => LinkError::Closed { peer },
        }
    }

    fn io(&self, source: io::Error) -> LinkError {
        match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                self.hung_up()
            }
            _ => LinkError::Io {
                peer: self.peer,
                source,
            },
        }
    }
}

impl AsFd for NoiseHandshake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
