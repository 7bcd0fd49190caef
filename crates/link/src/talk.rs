//! What the two ends of a link say before there is one: a plain greeting, then Noise with the shared key.
//!
//! ```text
//! both       greeting: "LOCKSTEP", version, mode, 16 random bytes
//! initiator  Noise message 1 (psk, e), content: purpose           2-byte length in front
//! responder  1 byte: 0 accepted, 1 another key; Noise message 2 (e, ee), content: UDP port
//! initiator  an empty record: proof that it is alive and no recording
//! responder  of a bulk link: a record of 1 byte: 0 admitted, 1 nobody expects this token
//! ```
//! The initiator's purpose (`greeting`) says whether it wants a main link or a bulk link. Without a key the
//! contents travel as they are. Nothing here reads or writes the connection: `noise` does. No part is longer
//! than `PART_LEN_MAX`, and nothing is done for a caller that costs more than it has shown.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use snow::{Builder, HandshakeState, TransportState};

use super::agreement::{Agreement, End};
use super::bulk::seal::{Keys, open_word, seal_word};
use super::bulk::token::Token;
use super::greeting::{self, GREETING_HEAD_LEN, GREETING_LEN, PORT_LEN, PURPOSE_LEN_MAX, Purpose};
use super::heartbeat::Party;
use super::key::Security;
use super::{Cipher, LinkError};

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const ACCEPTED: u8 = 0;
const ANOTHER_KEY: u8 = 1;
const ADMITTED: u8 = 0;
const UNINVITED: u8 = 1;
const NOISE_HEADER_LEN: usize = 2;
const PROOF_LEN: usize = NOISE_HEADER_LEN + super::RECORD_TAG_LEN;
/// Longest Noise message of a handshake: an ephemeral key, a purpose, a tag.
const NOISE_LEN_MAX: usize = 128;
/// Longest part of the handshake that is read at once.
pub const PART_LEN_MAX: usize = 1 + NOISE_HEADER_LEN + NOISE_LEN_MAX;
const _: () = assert!(32 + PURPOSE_LEN_MAX + super::RECORD_TAG_LEN <= NOISE_LEN_MAX);

/// Which part of the other end's the handshake waits for.
#[derive(Debug)]
enum Stage {
    /// The other end's greeting; ours is on its way.
    Greeting { ours: [u8; GREETING_LEN] },
    /// The initiator's purpose, when there is no key; the responder waits for it.
    Purpose { session: Vec<u8> },
    /// The responder's UDP port, when there is no key; the initiator of a main link waits for it.
    Port { session: Vec<u8>, socket: UdpSocket },
    /// Noise message 1, by which the caller proves to the responder that it has the key.
    First { state: Box<HandshakeState> },
    /// The responder's answer to message 1, and Noise message 2; the initiator waits for them. It has a
    /// socket for heartbeats if it wants a main link, and a token if it wants a bulk link.
    Second {
        state: Box<HandshakeState>,
        wanted: Wanted,
    },
    /// The empty record by which the caller proves to the responder that it is no recording.
    Proof { agreement: Agreement },
    /// The word that the responder admits the bulk link; the initiator waits for it.
    Admission { keys: Keys, token: Token },
    /// No part: both ends have said everything.
    Agreed(Agreement),
    /// No part: the handshake has failed.
    Over,
}

/// What an initiator has ready for the link that it wants.
#[derive(Debug)]
enum Wanted {
    /// A main link: the socket of its heartbeats.
    Main(UdpSocket),
    /// A bulk link: its token.
    Bulk(Token),
}

/// What one end of a handshake says, and waits to hear.
#[derive(Debug)]
pub struct Talk {
    /// Address of the other end.
    pub(super) peer: SocketAddr,
    /// Address of this end.
    local: SocketAddr,
    pub(super) end: End,
    pub(super) security: Security,
    stage: Stage,
    /// Bytes that are to be written.
    pub(super) outgoing: Vec<u8>,
    /// The socket that heartbeats will go through; `None`: one is made when it is needed.
    pub(super) datagrams: Option<UdpSocket>,
}

impl Talk {
    /// Begins with the greeting.
    ///
    /// # Errors
    /// The host gives no random numbers.
    pub fn new(peer: SocketAddr, local: SocketAddr, end: End, security: &Security) -> io::Result<Talk> {
        let ours = greeting::draw(security)?;
        Ok(Talk {
            peer,
            local,
            end,
            security: security.clone(),
            stage: Stage::Greeting { ours },
            outgoing: ours.to_vec(),
            datagrams: None,
        })
    }

    /// Has the other end shown that it has the key?
    pub fn is_authenticated(&self) -> bool {
        matches!(self.stage, Stage::Proof { .. })
    }

    /// What both ends know, once they have said everything.
    pub fn agreement(&self) -> Option<&Agreement> {
        match &self.stage {
            Stage::Agreed(agreement) => Some(agreement),
            _ => None,
        }
    }

    /// What both ends know, once they have said everything.
    pub fn into_agreement(self) -> Option<Agreement> {
        match self.stage {
            Stage::Agreed(agreement) => Some(agreement),
            _ => None,
        }
    }

    /// Length in bytes of the part that is waited for, as far as what has arrived of it tells; at most
    /// [`PART_LEN_MAX`].
    ///
    /// # Errors
    /// The other end is a stranger, of another version, or has another key or another mode.
    pub fn part_len(&self, arrived: &[u8]) -> Result<usize, LinkError> {
        match &self.stage {
            Stage::Greeting { ours } => match arrived.first_chunk() {
                None => Ok(GREETING_HEAD_LEN),
                Some(head) => greeting::check(self.peer, ours, head).map(|()| GREETING_LEN),
            },
            Stage::Purpose { .. } => Ok(Purpose::len(arrived)),
            Stage::Port { .. } => Ok(PORT_LEN),
            Stage::First { .. } => self.noise_len(arrived),
            Stage::Second { .. } => match arrived.split_first() {
                None => Ok(1),
                Some((&ACCEPTED, rest)) => Ok(1 + self.noise_len(rest)?),
                Some(_) => Err(LinkError::WrongKey { peer: self.peer }),
            },
            Stage::Proof { .. } => Ok(PROOF_LEN),
            Stage::Admission { keys: None, .. } => Ok(1),
            Stage::Admission { keys: Some(_), .. } => Ok(1 + PROOF_LEN),
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

    /// Takes the part that was waited for, now whole. What there is to answer is then in `outgoing`, also
    /// after an error.
    ///
    /// # Errors
    /// The other end has another key, shows a token that nobody expects, or hung up.
    pub fn on_part(&mut self, part: &[u8]) -> Result<(), LinkError> {
        self.stage = self.next_stage(part)?;
        Ok(())
    }

    fn next_stage(&mut self, part: &[u8]) -> Result<Stage, LinkError> {
        let peer = self.peer;
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Greeting { ours } => self.on_greeting(&ours, part),
            Stage::Purpose { session } => self.on_purpose(session, part),
            Stage::Port { session, socket } => Ok(Stage::Agreed(Agreement::Main {
                cipher: Cipher::Plain,
                session,
                peer_port: self.port(part)?,
                socket,
            })),
            Stage::First { state } => self.on_first(state, part),
            Stage::Second { state, wanted } => {
                let noise = part.get(1..).unwrap_or_default();
                self.on_second(state, wanted, noise)
            }
            Stage::Proof { mut agreement } => {
                let record = part.get(NOISE_HEADER_LEN..).unwrap_or_default();
                let proven = match &mut agreement {
                    Agreement::Main { cipher, .. } => cipher.opens_empty(record),
                    Agreement::Bulk { keys, .. } => {
                        open_word(keys, record).is_some_and(|word| word.is_empty())
                    }
                };
                if !proven {
                    return Err(LinkError::WrongKey { peer });
                }
                self.grant(agreement)
            }
            Stage::Admission { keys, token } => match self.word(&keys, part)?[..] {
                [ADMITTED] => Ok(Stage::Agreed(Agreement::Bulk { keys, token })),
                [UNINVITED] => Err(LinkError::Uninvited { peer }),
                _ => Err(LinkError::Garbage {
                    peer,
                    what: "it neither admits the bulk link nor refuses it",
                }),
            },
            Stage::Agreed(_) | Stage::Over => Err(self.hung_up()),
        }
    }

    fn on_greeting(&mut self, ours: &[u8], theirs: &[u8]) -> Result<Stage, LinkError> {
        // Noise mixes both greetings in, the initiator's first, so that later messages count only in this one
        // talk.
        let prologue = match self.end.party() {
            Party::Initiator => [ours, theirs].concat(),
            Party::Responder => [theirs, ours].concat(),
        };
        let (wanted, purpose) = match &self.end {
            End::CallsForMain => {
                let (socket, port) = self.udp_socket()?;
                (Wanted::Main(socket), Purpose::Main { port })
            }
            &End::CallsForBulk(token) => (Wanted::Bulk(token), Purpose::Bulk { token }),
            End::Listens(_) => {
                return Ok(match &self.security {
                    Security::Insecure => Stage::Purpose { session: prologue },
                    Security::Key(key) => Stage::First {
                        state: self.noise(key.bytes(), &prologue)?,
                    },
                });
            }
        };
        let mut content = Vec::new();
        purpose.encode(&mut content);
        if let Security::Key(key) = &self.security {
            let mut state = self.noise(key.bytes(), &prologue)?;
            self.send_noise(&mut state, &content)?;
            return Ok(Stage::Second { state, wanted });
        }
        self.outgoing.append(&mut content);
        Ok(match wanted {
            Wanted::Main(socket) => Stage::Port {
                session: prologue,
                socket,
            },
            Wanted::Bulk(token) => Stage::Admission { keys: None, token },
        })
    }

    /// The responder on the initiator's purpose, when there is no key.
    fn on_purpose(&mut self, session: Vec<u8>, part: &[u8]) -> Result<Stage, LinkError> {
        match self.purpose(part)? {
            Purpose::Main { port: peer_port } => {
                let (socket, port) = self.udp_socket()?;
                self.outgoing.extend_from_slice(&port.to_le_bytes());
                Ok(Stage::Agreed(Agreement::Main {
                    cipher: Cipher::Plain,
                    session,
                    peer_port,
                    socket,
                }))
            }
            Purpose::Bulk { token } => self.grant(Agreement::Bulk { keys: None, token }),
        }
    }

    /// The responder on Noise message 1. Only a caller that has the key gets further than this, and only for
    /// such a caller is a socket for heartbeats opened.
    fn on_first(&mut self, mut state: Box<HandshakeState>, part: &[u8]) -> Result<Stage, LinkError> {
        let content = match self.open_noise(&mut state, part) {
            Err(error) => {
                self.outgoing.push(ANOTHER_KEY);
                return Err(error);
            }
            Ok(content) => content,
        };
        let purpose = self.purpose(&content)?;
        self.outgoing.push(ACCEPTED);
        let agreement = match purpose {
            Purpose::Main { port: peer_port } => {
                let (socket, port) = self.udp_socket()?;
                self.send_noise(&mut state, &port.to_le_bytes())?;
                let session = state.get_handshake_hash().to_vec();
                Agreement::Main {
                    cipher: Cipher::Noise(self.transport(state)?),
                    session,
                    peer_port,
                    socket,
                }
            }
            Purpose::Bulk { token } => {
                self.send_noise(&mut state, &0_u16.to_le_bytes())?;
                let keys = self.bulk_keys(state)?;
                Agreement::Bulk { keys, token }
            }
        };
        Ok(Stage::Proof { agreement })
    }

    fn on_second(
        &mut self,
        mut state: Box<HandshakeState>,
        wanted: Wanted,
        part: &[u8],
    ) -> Result<Stage, LinkError> {
        let content = self.open_noise(&mut state, part)?;
        let peer_port = self.port(&content)?;
        let session = state.get_handshake_hash().to_vec();
        match wanted {
            Wanted::Main(socket) => {
                let mut transport = self.transport(state)?;
                super::seal_record(&mut transport, &[], &mut self.outgoing)
                    .map_err(|error| self.io(io::Error::other(error)))?;
                Ok(Stage::Agreed(Agreement::Main {
                    cipher: Cipher::Noise(transport),
                    session,
                    peer_port,
                    socket,
                }))
            }
            Wanted::Bulk(token) => {
                let keys = self.bulk_keys(state)?;
                seal_word(&keys, &[], &mut self.outgoing);
                Ok(Stage::Admission { keys, token })
            }
        }
    }

    /// The responder, on what both ends could agree on now: a main link is granted, a bulk link if its token
    /// is expected. The token is used up only here, by an initiator that is alive.
    fn grant(&mut self, agreement: Agreement) -> Result<Stage, LinkError> {
        if let (Agreement::Bulk { keys, token }, End::Listens(tokens)) = (&agreement, &self.end) {
            let expected = tokens.redeem(token);
            let word = if expected { ADMITTED } else { UNINVITED };
            seal_word(keys, &[word], &mut self.outgoing);
            if !expected {
                return Err(LinkError::Intruder { peer: self.peer });
            }
        }
        Ok(Stage::Agreed(agreement))
    }

    /// The content of a word of the responder's, sealed if there is a key.
    fn word(&self, keys: &Keys, part: &[u8]) -> Result<Vec<u8>, LinkError> {
        let sealed = match keys {
            Some(_) => part.get(NOISE_HEADER_LEN..).unwrap_or_default(),
            None => part,
        };
        open_word(keys, sealed).ok_or(LinkError::WrongKey { peer: self.peer })
    }

    fn purpose(&self, content: &[u8]) -> Result<Purpose, LinkError> {
        Purpose::decode(content).ok_or(LinkError::Garbage {
            peer: self.peer,
            what: "it does not say which link it wants",
        })
    }

    /// The responder's heartbeats use the number of its TCP port if it is free, so that one firewall rule
    /// does for both; the number is told to the peer in any case.
    fn udp_socket(&mut self) -> Result<(UdpSocket, u16), LinkError> {
        let given = self.datagrams.take();
        let bind = || {
            let local = self.local;
            let own = match (given, self.end.party()) {
                (Some(given), _) => Some(given),
                (None, Party::Responder) => UdpSocket::bind(local).ok(),
                (None, Party::Initiator) => None,
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
            match self.end.party() {
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

    fn bulk_keys(&self, state: Box<HandshakeState>) -> Result<Keys, LinkError> {
        let keys = state.into_stateless_transport_mode();
        let keys = keys.map_err(|error| self.io(io::Error::other(error)))?;
        Ok(Some(Arc::new(keys)))
    }

    fn send_noise(&mut self, state: &mut HandshakeState, content: &[u8]) -> Result<(), LinkError> {
        let mut message = [0; NOISE_LEN_MAX];
        let length = state
            .write_message(content, &mut message)
            .map_err(|error| self.io(io::Error::other(error)))?;
        // The length is at most NOISE_LEN_MAX.
        self.outgoing.extend_from_slice(&(length as u16).to_le_bytes());
        self.outgoing.extend_from_slice(&message[..length]);
        Ok(())
    }

    /// The content of a Noise message that has its length in front.
    fn open_noise(&self, state: &mut HandshakeState, part: &[u8]) -> Result<Vec<u8>, LinkError> {
        let message = part.get(NOISE_HEADER_LEN..).unwrap_or_default();
        let mut content = vec![0; NOISE_LEN_MAX];
        match state.read_message(message, &mut content) {
            Ok(length) => {
                content.truncate(length);
                Ok(content)
            }
            Err(_) => Err(LinkError::WrongKey { peer: self.peer }),
        }
    }

    fn port(&self, part: &[u8]) -> Result<u16, LinkError> {
        let port = part.first_chunk().ok_or_else(|| self.hung_up())?;
        Ok(u16::from_le_bytes(*port))
    }

    /// Before anything is known of the other end, a connection that it ends is no more than silence.
    pub(super) fn hung_up(&self) -> LinkError {
        let peer = self.peer;
        match self.stage {
            Stage::Greeting { .. } => LinkError::Silent { peer },
            _ => LinkError::Closed { peer },
        }
    }

    pub(super) fn io(&self, source: io::Error) -> LinkError {
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
