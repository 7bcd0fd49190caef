//! The handshake of a link: a plain greeting, then Noise with the shared key.
//!
//! ```text
//! both       greeting: "LOCKSTEP", version, mode, 16 random bytes
//! initiator  Noise message 1 (psk, e), content: UDP port          2-byte length in front
//! responder  1 byte: 0 accepted, 1 another key; Noise message 2 (e, ee), content: UDP port
//! initiator  an empty record: proof that it is alive and no recording
//! ```
//! Without a key the contents travel as they are. It blocks, with a time limit, and runs before the guest.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use snow::{Builder, HandshakeState};

use super::heartbeat::{Heartbeats, Side};
use super::key::Security;
use super::{Cipher, Link, LinkError};
use crate::limits::HANDSHAKE_TIMEOUT;

const MAGIC: [u8; 8] = *b"LOCKSTEP";
const VERSION: u8 = 1;
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const GREETING_LEN: usize = 26;
const ACCEPTED: u8 = 0;
const ANOTHER_KEY: u8 = 1;
/// Longest Noise message of a handshake: an ephemeral key, a port, a tag.
const HANDSHAKE_LEN_MAX: usize = 128;

/// Makes a link of a fresh connection.
///
/// # Errors
/// The peer is a stranger, another version, has another key or another mode, or does not answer in time.
pub fn handshake(stream: TcpStream, side: Side, security: &Security) -> Result<Link, LinkError> {
    let peer = stream.peer_addr().map_err(|source| LinkError::Io {
        peer: SocketAddr::from(([0, 0, 0, 0], 0)),
        source,
    })?;
    Handshake {
        stream,
        peer,
        side,
        security,
    }
    .run()
}

struct Handshake<'a> {
    stream: TcpStream,
    peer: SocketAddr,
    side: Side,
    security: &'a Security,
}

/// What both ends know after it.
struct Agreement {
    cipher: Cipher,
    session: Vec<u8>,
    peer_port: u16,
}

impl Handshake<'_> {
    fn run(mut self) -> Result<Link, LinkError> {
        self.prepare().map_err(|source| self.io(source))?;
        let prologue = self.greet()?;
        let heartbeats = self.udp_socket().map_err(|source| self.io(source))?;
        let port = heartbeats.local_addr().map_err(|source| self.io(source))?.port();
        let agreement = match self.security {
            Security::Insecure => self.agree_plain(port, prologue)?,
            Security::Key(key) => {
                let state = self.noise(key.bytes(), &prologue)?;
                match self.side {
                    Side::Initiator => self.initiate(state, port)?,
                    Side::Responder => self.respond(state, port)?,
                }
            }
        };
        let mut target = self.peer;
        target.set_port(agreement.peer_port);
        let heartbeats = Heartbeats::new(heartbeats, target, self.side, self.security, &agreement.session)
            .map_err(|source| self.io(source))?;
        let peer = self.peer;
        Link::new(self.stream, peer, agreement.cipher, heartbeats)
            .map_err(|source| LinkError::Io { peer, source })
    }

    fn prepare(&self) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_nodelay(true)?;
        self.stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
        self.stream.set_write_timeout(Some(HANDSHAKE_TIMEOUT))
    }

    /// The responder's heartbeats use the number of its TCP port if it is free, so that one firewall rule
    /// does for both; the number is told to the peer in any case.
    fn udp_socket(&self) -> io::Result<UdpSocket> {
        let local = self.stream.local_addr()?;
        if self.side == Side::Responder
            && let Ok(socket) = UdpSocket::bind(local)
        {
            return Ok(socket);
        }
        UdpSocket::bind(SocketAddr::new(local.ip(), 0))
    }

    /// Exchanges greetings; gives both, the initiator's first.
    fn greet(&mut self) -> Result<Vec<u8>, LinkError> {
        let peer = self.peer;
        let mut ours = [0; GREETING_LEN];
        ours[..8].copy_from_slice(&MAGIC);
        ours[8] = VERSION;
        ours[9] = u8::from(matches!(self.security, Security::Key(_)));
        getrandom::fill(&mut ours[10..]).map_err(|e| self.io(e.into()))?;
        self.write(&ours)?;
        let mut theirs = [0; GREETING_LEN];
        // Before anything is known of the other end, its silence or early end makes it a stranger.
        self.stream
            .read_exact(&mut theirs[..10])
            .map_err(|_| LinkError::Stranger { peer })?;
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
        self.read(&mut theirs[10..])?;
        Ok(match self.side {
            Side::Initiator => [ours, theirs].concat(),
            Side::Responder => [theirs, ours].concat(),
        })
    }

    fn agree_plain(&mut self, port: u16, session: Vec<u8>) -> Result<Agreement, LinkError> {
        self.write(&port.to_le_bytes())?;
        let mut theirs = [0; 2];
        self.read(&mut theirs)?;
        Ok(Agreement {
            cipher: Cipher::Plain,
            session,
            peer_port: u16::from_le_bytes(theirs),
        })
    }

    fn noise(&self, key: &[u8; 32], prologue: &[u8]) -> Result<HandshakeState, LinkError> {
        let build = || {
            let builder = Builder::new(PATTERN.parse()?).prologue(prologue)?.psk(0, key)?;
            match self.side {
                Side::Initiator => builder.build_initiator(),
                Side::Responder => builder.build_responder(),
            }
        };
        build().map_err(|error: snow::Error| self.io(io::Error::other(error)))
    }

    fn initiate(&mut self, mut state: HandshakeState, port: u16) -> Result<Agreement, LinkError> {
        self.write_noise(&mut state, &[], port)?;
        let mut answer = [0];
        self.read(&mut answer)?;
        if answer[0] != ACCEPTED {
            return Err(LinkError::WrongKey { peer: self.peer });
        }
        let peer_port = self.read_noise(&mut state)?;
        let session = state.get_handshake_hash().to_vec();
        let mut transport = self.transport(state)?;
        let mut proof = Vec::new();
        super::seal_record(&mut transport, &[], &mut proof).map_err(|e| self.io(io::Error::other(e)))?;
        self.write(&proof)?;
        Ok(Agreement {
            cipher: Cipher::Noise(Box::new(transport)),
            session,
            peer_port,
        })
    }

    fn respond(&mut self, mut state: HandshakeState, port: u16) -> Result<Agreement, LinkError> {
        let peer_port = match self.read_noise(&mut state) {
            Err(error @ LinkError::WrongKey { .. }) => {
                // Tell the other side's operator too; if it does not hear, so be it.
                let _ = self.stream.write_all(&[ANOTHER_KEY]);
                return Err(error);
            }
            other => other?,
        };
        self.write_noise(&mut state, &[ACCEPTED], port)?;
        let session = state.get_handshake_hash().to_vec();
        let mut transport = self.transport(state)?;
        let mut proof = [0; 2 + super::RECORD_TAG_LEN];
        self.read(&mut proof)?;
        if transport.read_message(&proof[2..], &mut []) != Ok(0) {
            return Err(LinkError::WrongKey { peer: self.peer });
        }
        Ok(Agreement {
            cipher: Cipher::Noise(Box::new(transport)),
            session,
            peer_port,
        })
    }

    fn transport(&self, state: HandshakeState) -> Result<snow::TransportState, LinkError> {
        state
            .into_transport_mode()
            .map_err(|error| self.io(io::Error::other(error)))
    }

    fn write_noise(&mut self, state: &mut HandshakeState, prefix: &[u8], port: u16) -> Result<(), LinkError> {
        let mut message = [0; HANDSHAKE_LEN_MAX];
        let length = state
            .write_message(&port.to_le_bytes(), &mut message)
            .map_err(|error| self.io(io::Error::other(error)))?;
        // At most HANDSHAKE_LEN_MAX.
        let header = (length as u16).to_le_bytes();
        self.write(&[prefix, &header, &message[..length]].concat())
    }

    fn read_noise(&mut self, state: &mut HandshakeState) -> Result<u16, LinkError> {
        let mut header = [0; 2];
        self.read(&mut header)?;
        let mut message = [0; HANDSHAKE_LEN_MAX];
        let Some(message) = message.get_mut(..usize::from(u16::from_le_bytes(header))) else {
            return Err(LinkError::Garbage {
                peer: self.peer,
                what: "its handshake is too long",
            });
        };
        self.read(message)?;
        let mut port = [0; 2];
        match state.read_message(message, &mut port) {
            Ok(2) => Ok(u16::from_le_bytes(port)),
            _ => Err(LinkError::WrongKey { peer: self.peer }),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.stream.write_all(bytes).map_err(|source| self.io(source))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), LinkError> {
        self.stream.read_exact(bytes).map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> LinkError {
        let peer = self.peer;
        match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                LinkError::Closed { peer }
            }
            _ => LinkError::Io { peer, source },
        }
    }
}
