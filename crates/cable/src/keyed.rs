//! The connection between a VMM and a gateway that share a key: the Noise handshake, and the records after
//! it.
//!
//! ```text
//! VMM      greeting: "LOCKGATE", version, 1 (it has a key), 16 random bytes
//! gateway  greeting, the same
//! VMM      Noise message 1 (psk, e), no content                      2-byte length in front
//! gateway  1 byte: 0 accepted, 1 another key; Noise message 2 (e, ee)
//! both     records: a 2-byte length and at most 65535 bytes; their contents are the stream of `stream`
//! ```
//! Lengths are little-endian. The messages authenticate both greetings, so that a recording of message 1 is
//! of no use: a VMM that sent a good message 1 has the key. The gateway tries each of its keys, which costs
//! no Diffie-Hellman, and knows the VMM by the key that fits.
//!
//! A greeting's first byte is never the first byte of a plain frame's length, and an end without keys answers
//! a greeting with its own: each side can tell its operator what is wrong with the other. This file holds no
//! socket and never blocks. Bytes of the other end are nothing but claims until a record was opened.

use snow::{Builder, HandshakeState, TransportState};

use super::stream::{FrameReader, Inbox};
use link::Key;

const MAGIC: [u8; 8] = *b"LOCKGATE";
const VERSION: u8 = 1;
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Bytes of a greeting.
pub const GREETING_LEN: usize = 26;
/// Bytes of a Noise message of the handshake: an ephemeral key and a tag.
const MESSAGE_LEN: usize = 48;
const LENGTH_LEN: usize = 2;
const ACCEPTED: u8 = 0;
const ANOTHER_KEY: u8 = 1;
/// Longest record in bytes; `TAG_LEN` of them are not content.
const RECORD_LEN_MAX: usize = 65_535;
const TAG_LEN: usize = 16;
/// Bytes of content that are sealed at once.
pub const CONTENT_LEN_MAX: usize = 32 * 1024;
const _: () = assert!(CONTENT_LEN_MAX + TAG_LEN <= RECORD_LEN_MAX);

/// Why two ends do not come together, as one side's sentence about the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyedError {
    /// The other end speaks something else.
    #[error("it does not speak Lockstep's framing; check the address and port")]
    Stranger,
    /// The other end is another release.
    #[error(
        "it speaks version {theirs} of the framing and this side version {VERSION}; install the same \
         release on both hosts"
    )]
    Version {
        /// Version that the other end speaks.
        theirs: u8,
    },
    /// A VMM met a gateway without keys.
    #[error(
        "it runs without a key; start it with `--key FILE`, or write `insecure` behind the VM's \
         `gateway=HOST:PORT`"
    )]
    GatewayHasNoKey,
    /// A VMM without a key met a gateway that wants one.
    #[error(
        "it wants a key; write `key=FILE` behind the VM's `gateway=..`, or start the gateway with \
         `--insecure`"
    )]
    GatewayWantsKey,
    /// A gateway met a VMM without a key.
    #[error(
        "it sends plain frames, and this gateway takes only peers with a key; give the VM the key, or start \
         the gateway with `--insecure`"
    )]
    PeerHasNoKey,
    /// A gateway without keys met a VMM with one.
    #[error(
        "it has a key and this gateway has none; start the gateway with `--key FILE`, or write `insecure` \
         behind the VM's `gateway=HOST:PORT`"
    )]
    PeerWantsKey,
    /// The keys differ.
    #[error("it has another key; give the gateway and both replicas of the VM the same key file")]
    AnotherKey,
    /// What arrived was not sealed with the key of this connection.
    #[error("it sent a record that was not sealed with the key of this connection")]
    Forged,
    /// The host gives no random numbers, or a cipher has used up its numbers.
    #[error("the cipher cannot go on; this host gives no random numbers")]
    Cipher,
}

impl From<snow::Error> for KeyedError {
    fn from(_: snow::Error) -> KeyedError {
        KeyedError::Cipher
    }
}

/// Whether a stream that begins with these bytes is a greeting rather than plain frames. Wants at least one
/// byte.
#[must_use]
pub fn is_greeting(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().zip(&MAGIC).all(|(byte, magic)| byte == magic)
}

/// The greeting of one side.
///
/// # Errors
/// This host gives no random numbers.
pub fn greeting(has_key: bool) -> Result<[u8; GREETING_LEN], KeyedError> {
    let mut bytes = [0; GREETING_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = VERSION;
    bytes[9] = u8::from(has_key);
    getrandom::fill(&mut bytes[10..]).map_err(|_| KeyedError::Cipher)?;
    Ok(bytes)
}

/// What the caller of `take` does next, after some bytes of the other end were taken in.
#[derive(Debug)]
pub enum Next {
    /// Wait for more bytes.
    More,
    /// Send these bytes, and wait for more.
    Send(Vec<u8>),
    /// The handshake is over.
    Done(Done),
}

/// What the handshake has agreed on.
#[derive(Debug)]
pub struct Done {
    /// The cipher of all network frames from here on.
    pub records: Records,
    /// Number of the gateway's key that the VMM has; 0 at the VMM.
    pub key: usize,
    /// Bytes to be sent before anything else.
    pub send: Vec<u8>,
}

/// The VMM's side of the handshake.
#[derive(Debug)]
pub struct Caller {
    ours: [u8; GREETING_LEN],
    key: Key,
    arrived: Vec<u8>,
    /// The Noise handshake, once the greetings were exchanged.
    noise: Option<Box<HandshakeState>>,
}

impl Caller {
    /// Begins a handshake. The greeting that is returned has to be sent first.
    ///
    /// # Errors
    /// This host gives no random numbers.
    pub fn new(key: &Key) -> Result<(Caller, [u8; GREETING_LEN]), KeyedError> {
        let ours = greeting(true)?;
        let caller = Caller {
            ours,
            key: key.clone(),
            arrived: Vec::new(),
            noise: None,
        };
        Ok((caller, ours))
    }

    /// Takes in what the gateway sent.
    ///
    /// # Errors
    /// The other end is no gateway that this VMM can talk to.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Next, KeyedError> {
        self.arrived.extend_from_slice(bytes);
        let Some(mut noise) = self.noise.take() else {
            let Some(theirs) = split_greeting(&mut self.arrived)? else {
                return Ok(Next::More);
            };
            if !has_key(&theirs) {
                return Err(KeyedError::GatewayHasNoKey);
            }
            let prologue = [self.ours, theirs].concat();
            let mut noise = Box::new(builder(&prologue, &self.key)?.build_initiator()?);
            let message = framed(&mut noise, &[])?;
            self.noise = Some(noise);
            return Ok(Next::Send(message));
        };
        match self.arrived.first() {
            Some(&ACCEPTED) => {}
            Some(&ANOTHER_KEY) => return Err(KeyedError::AnotherKey),
            Some(_) => return Err(KeyedError::Stranger),
            None => {
                self.noise = Some(noise);
                return Ok(Next::More);
            }
        }
        let Some(message) = message(&self.arrived[1..])? else {
            self.noise = Some(noise);
            return Ok(Next::More);
        };
        noise
            .read_message(message, &mut [])
            .map_err(|_| KeyedError::AnotherKey)?;
        Ok(Next::Done(Done {
            records: Records::new(noise.into_transport_mode()?),
            key: 0,
            send: Vec::new(),
        }))
    }
}

/// The gateway's side of the handshake.
#[derive(Debug, Default)]
pub struct Callee {
    arrived: Vec<u8>,
    /// Both greetings, after they were exchanged.
    prologue: Option<Vec<u8>>,
}

impl Callee {
    /// Takes in what the VMM sent. `keys` may be empty.
    ///
    /// # Errors
    /// The other end is no VMM that may connect. [`Callee::last_words`] tells the VMM why.
    pub fn take(&mut self, bytes: &[u8], keys: &[Key]) -> Result<Next, KeyedError> {
        self.arrived.extend_from_slice(bytes);
        let Some(prologue) = &self.prologue else {
            if self.arrived.first() == Some(&0) {
                return Err(KeyedError::PeerHasNoKey);
            }
            let Some(theirs) = split_greeting(&mut self.arrived)? else {
                return Ok(Next::More);
            };
            if keys.is_empty() {
                return Err(KeyedError::PeerWantsKey);
            }
            if !has_key(&theirs) {
                return Err(KeyedError::PeerHasNoKey);
            }
            let ours = greeting(true)?;
            self.prologue = Some([theirs, ours].concat());
            return Ok(Next::Send(ours.to_vec()));
        };
        let Some(message) = message(&self.arrived)? else {
            return Ok(Next::More);
        };
        for (key, secret) in keys.iter().enumerate() {
            let mut noise = builder(prologue, secret)?.build_responder()?;
            if noise.read_message(message, &mut []).is_ok() {
                return Ok(Next::Done(Done {
                    send: framed(&mut noise, &[ACCEPTED])?,
                    records: Records::new(noise.into_transport_mode()?),
                    key,
                }));
            }
        }
        Err(KeyedError::AnotherKey)
    }

    /// The bytes that tell a VMM why it is turned away, so that the VMM's operator hears of it too.
    #[must_use]
    pub fn last_words(error: KeyedError) -> Vec<u8> {
        match error {
            KeyedError::AnotherKey => vec![ANOTHER_KEY],
            // The greeting tells the version of this side.
            KeyedError::PeerHasNoKey | KeyedError::Version { .. } => {
                greeting(true).map(Vec::from).unwrap_or_default()
            }
            KeyedError::PeerWantsKey => greeting(false).map(Vec::from).unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

/// The cipher of a connection after its handshake, for both directions.
pub struct Records {
    noise: Box<TransportState>,
    /// Bytes of records that are not whole yet.
    arrived: Inbox,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

impl Records {
    fn new(noise: TransportState) -> Records {
        Records {
            noise: Box::new(noise),
            arrived: Inbox::default(),
        }
    }

    /// Appends `content`, at most [`CONTENT_LEN_MAX`] bytes, as a record.
    ///
    /// # Errors
    /// The cipher has used up its numbers.
    pub fn seal(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), KeyedError> {
        assert!(
            content.len() <= CONTENT_LEN_MAX,
            "a record of {} bytes",
            content.len()
        );
        let length = content.len() + TAG_LEN;
        // The length is at most `RECORD_LEN_MAX`.
        out.extend((length as u16).to_le_bytes());
        let start = out.len();
        out.resize(start + length, 0);
        self.noise.write_message(content, &mut out[start..])?;
        Ok(())
    }

    pub(super) fn inbox(&mut self) -> &mut Inbox {
        &mut self.arrived
    }

    /// Opens the whole records that have arrived and adds their contents to `reader`.
    ///
    /// # Errors
    /// A record was not sealed with this connection's key.
    pub fn open(&mut self, reader: &mut FrameReader) -> Result<(), KeyedError> {
        while let Some((header, rest)) = self.arrived.waiting().split_first_chunk::<LENGTH_LEN>() {
            let length = usize::from(u16::from_le_bytes(*header));
            if length < TAG_LEN {
                return Err(KeyedError::Forged);
            }
            let Some(record) = rest.get(..length) else { break };
            let inbox = reader.inbox();
            let content_len = self
                .noise
                .read_message(record, inbox.room(length))
                .map_err(|_| KeyedError::Forged)?;
            inbox.add(content_len);
            self.arrived.take(LENGTH_LEN + length);
        }
        Ok(())
    }
}

fn builder<'a>(prologue: &'a [u8], key: &'a Key) -> Result<Builder<'a>, KeyedError> {
    Ok(Builder::new(PATTERN.parse()?)
        .prologue(prologue)?
        .psk(0, key.bytes())?)
}

/// Takes a greeting off the front, once it has come whole.
fn split_greeting(arrived: &mut Vec<u8>) -> Result<Option<[u8; GREETING_LEN]>, KeyedError> {
    if !arrived.is_empty() && !is_greeting(arrived) {
        return Err(KeyedError::Stranger);
    }
    if let Some(&theirs) = arrived.get(8)
        && theirs != VERSION
    {
        return Err(KeyedError::Version { theirs });
    }
    let Some(greeting) = arrived.first_chunk().copied() else {
        return Ok(None);
    };
    arrived.drain(..GREETING_LEN);
    Ok(Some(greeting))
}

fn has_key(greeting: &[u8; GREETING_LEN]) -> bool {
    greeting[9] != 0
}

/// The Noise message at the front of these bytes, once it has come whole. Nobody may send anything after a
/// message before it was answered.
fn message(bytes: &[u8]) -> Result<Option<&[u8]>, KeyedError> {
    let Some((header, message)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
        return Ok(None);
    };
    if usize::from(u16::from_le_bytes(*header)) != MESSAGE_LEN || message.len() > MESSAGE_LEN {
        return Err(KeyedError::Stranger);
    }
    Ok((message.len() == MESSAGE_LEN).then_some(message))
}

/// The next Noise message, with `prefix` and its length in front.
fn framed(noise: &mut HandshakeState, prefix: &[u8]) -> Result<Vec<u8>, KeyedError> {
    let mut message = [0; MESSAGE_LEN];
    let length = noise.write_message(&[], &mut message)?;
    // The length is at most MESSAGE_LEN.
    let header = (length as u16).to_le_bytes();
    Ok([prefix, &header, &message[..length]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::write_frame;

    fn key(number: u8) -> Key {
        Key::new([number; 32])
    }

    /// Runs both sides, handing bytes over one by one.
    fn meet(caller: &Key, keys: &[Key]) -> Result<(Done, Done), (Option<KeyedError>, KeyedError)> {
        let (mut caller, greeting) = Caller::new(caller).unwrap();
        let mut callee = Callee::default();
        let mut to_callee = greeting.to_vec();
        let mut known = None;
        loop {
            let mut to_caller = Vec::new();
            for byte in std::mem::take(&mut to_callee) {
                match callee.take(&[byte], keys) {
                    Ok(Next::More) => {}
                    Ok(Next::Send(bytes)) => to_caller.extend(bytes),
                    Ok(Next::Done(done)) => {
                        to_caller.extend(&done.send);
                        known = Some(done);
                    }
                    Err(error) => {
                        let heard = caller.take(&Callee::last_words(error)).err();
                        return Err((heard, error));
                    }
                }
            }
            for byte in to_caller {
                match caller.take(&[byte]).unwrap() {
                    Next::More => {}
                    Next::Send(bytes) => to_callee.extend(bytes),
                    Next::Done(done) => return Ok((done, known.unwrap())),
                }
            }
        }
    }

    #[test]
    fn who_has_one_of_the_keys_is_known_by_it_and_frames_pass() {
        let (mut vmm, mut gateway) = meet(&key(2), &[key(1), key(2), key(3)]).unwrap();
        assert_eq!(gateway.key, 1);
        let mut content = Vec::new();
        write_frame(&mut content, b"a frame").unwrap();
        let mut sealed = Vec::new();
        vmm.records.seal(&content, &mut sealed).unwrap();
        let mut reader = FrameReader::default();
        for byte in &sealed {
            gateway.records.inbox().room(1)[0] = *byte;
            gateway.records.inbox().add(1);
            gateway.records.open(&mut reader).unwrap();
        }
        assert_eq!(reader.pop().unwrap(), Some(&b"a frame"[..]));
        // The same record, sent a second time, cannot be opened.
        gateway.records.inbox().room(sealed.len())[..sealed.len()].copy_from_slice(&sealed);
        gateway.records.inbox().add(sealed.len());
        assert_eq!(gateway.records.open(&mut reader), Err(KeyedError::Forged));
    }

    #[test]
    fn each_side_hears_what_is_wrong_with_the_other() {
        assert_eq!(
            meet(&key(1), &[key(2)]).unwrap_err(),
            (Some(KeyedError::AnotherKey), KeyedError::AnotherKey)
        );
        assert_eq!(
            meet(&key(1), &[]).unwrap_err(),
            (Some(KeyedError::GatewayHasNoKey), KeyedError::PeerWantsKey)
        );
        let mut plain = Callee::default();
        assert_eq!(
            plain.take(&[0, 0, 0, 60], &[key(1)]).unwrap_err(),
            KeyedError::PeerHasNoKey
        );
        assert!(is_greeting(&Callee::last_words(KeyedError::PeerHasNoKey)));
        assert_eq!(
            Callee::default().take(b"GET / HTTP/1.1", &[key(1)]).unwrap_err(),
            KeyedError::Stranger
        );
        // A VMM of another release hears this one's version, as this one hears the VMM's.
        let (mut caller, mut greeting) = Caller::new(&key(1)).unwrap();
        let theirs = VERSION + 1;
        greeting[8] = theirs;
        let error = Callee::default().take(&greeting, &[key(1)]).unwrap_err();
        assert_eq!(error, KeyedError::Version { theirs });
        let mut words = Callee::last_words(error);
        assert_eq!(words.get(8), Some(&VERSION));
        words[8] = theirs;
        assert_eq!(caller.take(&words).unwrap_err(), error);
    }

    #[test]
    fn a_recorded_handshake_is_of_no_use() {
        let (mut caller, greeting) = Caller::new(&key(1)).unwrap();
        let mut callee = Callee::default();
        let Next::Send(theirs) = callee.take(&greeting, &[key(1)]).unwrap() else {
            panic!()
        };
        let Next::Send(message) = caller.take(&theirs).unwrap() else {
            panic!()
        };
        let mut again = Callee::default();
        again.take(&greeting, &[key(1)]).unwrap();
        assert_eq!(
            again.take(&message, &[key(1)]).unwrap_err(),
            KeyedError::AnotherKey
        );
        assert!(matches!(callee.take(&message, &[key(1)]), Ok(Next::Done(_))));
    }
}
