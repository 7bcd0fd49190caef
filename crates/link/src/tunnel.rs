//! `Tunnel`: a connection that only holders of a key can make and nobody else can read or change, for threads
//! that wait: one of them reads, and any may write. A disk server's own door is of this kind.
//!
//! ```text
//! caller     "LSTUNNEL", version, mode (0: without a key, 1: with one)
//! callee     the same, with its own mode
//! caller     Noise message 1 (psk, e)                             2-byte length in front
//! callee     1 byte: 0 accepted, 1 another key; Noise message 2 (e, ee)
//! both       records: 2-byte length, at most 65535 bytes sealed; record n of a direction has nonce n
//! ```
//! Without a key the bytes that follow the heads travel as they are. Whatever is done for a caller is done
//! only behind its first record, which a recording cannot have.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

use snow::{Builder, HandshakeState, StatelessTransportState};

use super::key::Security;
use super::{LinkError, RECORD_LEN_MAX, RECORD_TAG_LEN};

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const MAGIC: [u8; 8] = *b"LSTUNNEL";
const VERSION: u8 = 1;
const HEAD_LEN: usize = MAGIC.len() + 2;
const ACCEPTED: u8 = 0;
const ANOTHER_KEY: u8 = 1;
/// Longest Noise message of the handshake: an ephemeral key and a tag.
const NOISE_LEN_MAX: usize = 64;
/// Content of the longest record.
const CONTENT_LEN_MAX: usize = RECORD_LEN_MAX - RECORD_TAG_LEN;

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Tunnel {
    stream: TcpStream,
    /// `None`: it has no key.
    noise: Option<Box<StatelessTransportState>>,
    reading: Mutex<Reading>,
    writing: Mutex<Writing>,
}

/// What the thread that reads has.
#[derive(Debug, Default)]
struct Reading {
    /// Number of the next record.
    nonce: u64,
    /// The content of a record; what stands before `taken` is gone.
    content: Vec<u8>,
    taken: usize,
    sealed: Vec<u8>,
}

/// What the threads that write have, one after the other.
#[derive(Debug, Default)]
struct Writing {
    nonce: u64,
    sealed: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic aborts the process, so nobody ever sees a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tunnel {
    /// Makes a tunnel of a connection that this end has made. The connection's timeouts hold.
    ///
    /// # Errors
    /// The other end is a stranger, of another version, has another key or another mode, or hung up.
    pub fn call(stream: TcpStream, security: &Security) -> Result<Tunnel, LinkError> {
        let talk = Talk::new(&stream)?;
        talk.write(&head(security))?;
        let theirs = talk.read_head(security)?;
        let Security::Key(key) = security else {
            return Ok(Tunnel::over(stream, None));
        };
        let prologue = [head(security), theirs].concat();
        let builder = Builder::new(PATTERN.parse().map_err(|error| talk.other(error))?);
        let builder = builder
            .psk(0, key.bytes())
            .and_then(|builder| builder.prologue(&prologue));
        let mut state = builder
            .and_then(Builder::build_initiator)
            .map_err(|error| talk.other(error))?;
        talk.say(&mut state)?;
        if talk.read::<1>()? != [ACCEPTED] {
            return Err(LinkError::WrongKey { peer: talk.peer });
        }
        talk.hear(&mut state)?;
        let noise = state
            .into_stateless_transport_mode()
            .map_err(|error| talk.other(error))?;
        Ok(Tunnel::over(stream, Some(Box::new(noise))))
    }

    /// Makes a tunnel of a connection that this end has taken. The connection's timeouts hold.
    ///
    /// # Errors
    /// As [`Tunnel::call`].
    pub fn take(stream: TcpStream, security: &Security) -> Result<Tunnel, LinkError> {
        let talk = Talk::new(&stream)?;
        // The caller's operator is told of another mode by the head, so it is sent in any case.
        let theirs = talk.read_theirs()?;
        talk.write(&head(security))?;
        talk.check(theirs, security)?;
        let Security::Key(key) = security else {
            return Ok(Tunnel::over(stream, None));
        };
        let prologue = [theirs, head(security)].concat();
        let builder = Builder::new(PATTERN.parse().map_err(|error| talk.other(error))?);
        let builder = builder
            .psk(0, key.bytes())
            .and_then(|builder| builder.prologue(&prologue));
        let mut state = builder
            .and_then(Builder::build_responder)
            .map_err(|error| talk.other(error))?;
        if let Err(error) = talk.hear(&mut state) {
            if matches!(error, LinkError::WrongKey { .. }) {
                // The other side's operator is told as well, if the connection still takes the word.
                let _ = talk.write(&[ANOTHER_KEY]);
            }
            return Err(error);
        }
        talk.write(&[ACCEPTED])?;
        talk.say(&mut state)?;
        let noise = state
            .into_stateless_transport_mode()
            .map_err(|error| talk.other(error))?;
        Ok(Tunnel::over(stream, Some(Box::new(noise))))
    }

    fn over(stream: TcpStream, noise: Option<Box<StatelessTransportState>>) -> Tunnel {
        Tunnel {
            stream,
            noise,
            reading: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// The connection below, for its options and its end.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Ends the connection in both directions; whoever reads or writes comes back.
    pub fn close(&self) {
        // A connection that has ended already is as closed as it can be.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Read for &Tunnel {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(noise) = &self.noise else {
            return (&self.stream).read(bytes);
        };
        let mut reading = lock(&self.reading);
        while reading.taken == reading.content.len() {
            if !reading.open(noise, &self.stream)? {
                return Ok(0);
            }
        }
        let content = &reading.content[reading.taken..];
        let length = content.len().min(bytes.len());
        bytes[..length].copy_from_slice(&content[..length]);
        reading.taken += length;
        Ok(length)
    }
}

impl Reading {
    /// Reads the next record; `false`: the other end has ended the connection.
    fn open(&mut self, noise: &StatelessTransportState, mut stream: &TcpStream) -> io::Result<bool> {
        let mut head = [0; 2];
        match stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        let length = usize::from(u16::from_le_bytes(head));
        self.sealed.resize(length, 0);
        stream.read_exact(&mut self.sealed)?;
        self.content.resize(length, 0);
        let opened = noise.read_message(self.nonce, &self.sealed, &mut self.content);
        let length =
            opened.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a record was changed"))?;
        self.content.truncate(length);
        self.taken = 0;
        self.nonce += 1;
        Ok(true)
    }
}

impl Write for &Tunnel {
    /// Writes all of the bytes, in one call to the kernel.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(noise) = &self.noise else {
            return (&self.stream).write(bytes);
        };
        let mut writing = lock(&self.writing);
        let Writing { nonce, sealed } = &mut *writing;
        sealed.clear();
        for content in bytes.chunks(CONTENT_LEN_MAX) {
            let length = content.len() + RECORD_TAG_LEN;
            // No record is longer than RECORD_LEN_MAX.
            sealed.extend_from_slice(&(length as u16).to_le_bytes());
            let begin = sealed.len();
            sealed.resize(begin + length, 0);
            let sealing = noise.write_message(*nonce, content, &mut sealed[begin..]);
            sealing.map_err(io::Error::other)?;
            *nonce += 1;
        }
        (&self.stream).write_all(sealed)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn head(security: &Security) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    head[..MAGIC.len()].copy_from_slice(&MAGIC);
    head[MAGIC.len()] = VERSION;
    head[MAGIC.len() + 1] = u8::from(matches!(security, Security::Key(_)));
    head
}

/// What both ends say before there is a tunnel.
struct Talk<'a> {
    stream: &'a TcpStream,
    peer: SocketAddr,
}

impl<'a> Talk<'a> {
    fn new(stream: &'a TcpStream) -> Result<Talk<'a>, LinkError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = stream.peer_addr().map_err(|source| LinkError::Io {
            peer: unknown,
            source,
        })?;
        Ok(Talk { stream, peer })
    }

    fn io(&self, source: io::Error) -> LinkError {
        match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                LinkError::Silent { peer: self.peer }
            }
            _ => LinkError::Io {
                peer: self.peer,
                source,
            },
        }
    }

    fn other(&self, error: impl std::error::Error + Send + Sync + 'static) -> LinkError {
        self.io(io::Error::other(error))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), LinkError> {
        let mut stream = self.stream;
        stream.write_all(bytes).map_err(|error| self.io(error))
    }

    fn read<const N: usize>(&self) -> Result<[u8; N], LinkError> {
        let (mut stream, mut bytes) = (self.stream, [0; N]);
        stream.read_exact(&mut bytes).map_err(|error| self.io(error))?;
        Ok(bytes)
    }

    fn read_theirs(&self) -> Result<[u8; HEAD_LEN], LinkError> {
        let theirs: [u8; HEAD_LEN] = self.read()?;
        match theirs.starts_with(&MAGIC) {
            true => Ok(theirs),
            false => Err(LinkError::Stranger { peer: self.peer }),
        }
    }

    fn read_head(&self, security: &Security) -> Result<[u8; HEAD_LEN], LinkError> {
        let theirs = self.read_theirs()?;
        self.check(theirs, security)?;
        Ok(theirs)
    }

    fn check(&self, theirs: [u8; HEAD_LEN], security: &Security) -> Result<(), LinkError> {
        let [.., version, mode] = theirs;
        let peer = self.peer;
        if version != VERSION {
            return Err(LinkError::Version {
                peer,
                ours: VERSION,
                theirs: version,
            });
        }
        let keyed = mode != 0;
        if keyed != matches!(security, Security::Key(_)) {
            return Err(LinkError::Mode { peer, theirs: keyed });
        }
        Ok(())
    }

    /// Sends this end's next message of the handshake.
    fn say(&self, state: &mut HandshakeState) -> Result<(), LinkError> {
        let mut message = [0; 2 + NOISE_LEN_MAX];
        let said = state.write_message(&[], &mut message[2..]);
        let length = said.map_err(|error| self.other(error))?;
        message[..2].copy_from_slice(&(length as u16).to_le_bytes());
        self.write(&message[..2 + length])
    }

    /// Takes the other end's next message of the handshake.
    fn hear(&self, state: &mut HandshakeState) -> Result<(), LinkError> {
        let length = usize::from(u16::from_le_bytes(self.read()?));
        if length > NOISE_LEN_MAX {
            return Err(LinkError::Stranger { peer: self.peer });
        }
        let (mut stream, mut message) = (self.stream, vec![0; length]);
        stream.read_exact(&mut message).map_err(|error| self.io(error))?;
        let heard = state.read_message(&message, &mut []);
        heard
            .map(drop)
            .map_err(|_| LinkError::WrongKey { peer: self.peer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use std::net::TcpListener;
    use std::thread;

    fn keyed(digit: char) -> Security {
        Security::Key(Key::from_hex(&digit.to_string().repeat(64)).unwrap())
    }

    /// Both ends of a tunnel, or why there is none.
    fn both(caller: Security, callee: Security) -> (Result<Tunnel, LinkError>, Result<Tunnel, LinkError>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || Tunnel::take(listener.accept().unwrap().0, &callee));
        let call = Tunnel::call(TcpStream::connect(address).unwrap(), &caller);
        (call, thread.join().unwrap())
    }

    #[test]
    fn bytes_of_any_number_go_both_ways_and_are_not_seen_on_the_wire() {
        for security in [keyed('a'), Security::Insecure] {
            let (near, far) = both(security.clone(), security);
            let (near, far) = (near.unwrap(), far.unwrap());
            let long: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
            for (from, to) in [(&near, &far), (&far, &near)] {
                for bytes in [&b"a"[..], b"", &long, b"end"] {
                    let mut got = vec![0; bytes.len()];
                    thread::scope(|scope| {
                        scope.spawn(|| (&*from).write_all(bytes).unwrap());
                        (&mut &*to).read_exact(&mut got).unwrap();
                    });
                    assert_eq!(got, bytes);
                }
            }
            near.close();
            assert_eq!((&far).read(&mut [0; 8]).unwrap(), 0);
        }
    }

    #[test]
    fn who_has_another_key_or_none_is_told_so_at_both_ends() {
        let (near, far) = both(keyed('a'), keyed('b'));
        assert!(matches!(near, Err(LinkError::WrongKey { .. })));
        assert!(matches!(far, Err(LinkError::WrongKey { .. })));
        let (near, far) = both(keyed('a'), Security::Insecure);
        assert!(matches!(near, Err(LinkError::Mode { theirs: false, .. })));
        assert!(matches!(far, Err(LinkError::Mode { theirs: true, .. })));
    }

    #[test]
    fn a_record_that_was_changed_or_repeated_ends_the_tunnel() {
        let (near, far) = both(keyed('a'), keyed('a'));
        let (near, far) = (near.unwrap(), far.unwrap());
        (&near).write_all(b"once").unwrap();
        let mut got = [0; 4];
        (&far).read_exact(&mut got).unwrap();
        // The same record once more, as somebody between the two ends could send it.
        lock(&near.writing).nonce = 0;
        (&near).write_all(b"once").unwrap();
        let error = (&far).read_exact(&mut got).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
