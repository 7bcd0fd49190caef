//! Heartbeats: UDP datagrams with a counter and a code, so that forged and repeated ones are ignored.
//!
//! Heartbeats travel beside the TCP link because TCP keeps quiet about a lost packet for hundreds of
//! milliseconds (FT 2.3-d). They vouch for their sender and carry the times from which the lease is reckoned
//! (docs/protocol.md); what those times mean is the node's business.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use super::key::{KEY_LEN, MAC_LEN, Security, authenticate, derive, same};
use crate::limits::HEARTBEAT_LEN_MAX;

const MAGIC: [u8; 4] = *b"LSHB";
const HEADER_LEN: usize = MAGIC.len() + 8;
/// Counter of the datagram that is sent after this end's process has ended: none has a higher one.
const LAST: u64 = u64::MAX;

/// One end of the heartbeat channel.
#[derive(Debug)]
pub struct Heartbeats {
    socket: UdpSocket,
    send_key: [u8; KEY_LEN],
    receive_key: [u8; KEY_LEN],
    /// Counter of the last datagram sent.
    sent: u64,
    /// Highest counter accepted; a datagram whose counter is not above it is a repetition.
    seen: u64,
    /// Datagrams ignored because their code or counter was wrong.
    ignored: u64,
}

/// Which party of the Noise handshake this end was; the two directions have different keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The party that connected.
    Initiator,
    /// The party that listened.
    Responder,
}

impl Heartbeats {
    /// Speaks with `peer` alone, through a socket that no other link uses: a socket has one peer at a time.
    /// `session` is the secret or random string that both ends of the link agreed on.
    pub(super) fn new(
        socket: UdpSocket,
        peer: SocketAddr,
        party: Party,
        security: &Security,
        session: &[u8],
    ) -> io::Result<Heartbeats> {
        socket.connect(peer)?;
        socket.set_nonblocking(true)?;
        let from_initiator = derive(security, b"heartbeat from initiator", session);
        let from_responder = derive(security, b"heartbeat from responder", session);
        let (send_key, receive_key) = match party {
            Party::Initiator => (from_initiator, from_responder),
            Party::Responder => (from_responder, from_initiator),
        };
        Ok(Heartbeats {
            socket,
            send_key,
            receive_key,
            sent: 0,
            seen: 0,
            ignored: 0,
        })
    }

    /// Sends one heartbeat. A network that refuses it is as good as one that loses it.
    pub fn send(&mut self, payload: &[u8]) {
        assert!(
            payload.len() <= HEARTBEAT_LEN_MAX,
            "a heartbeat of {} bytes",
            payload.len()
        );
        self.sent += 1;
        let datagram = self.seal(self.sent, payload);
        if let Err(error) = self.socket.send(&datagram) {
            tracing::debug!("heartbeat not sent: {error}");
        }
    }

    /// The last datagram of this session, for somebody else to send through this socket once this process has
    /// ended: after it the other end believes no heartbeat of the session any more, and it says nothing in
    /// any other session.
    #[must_use]
    pub fn seal_last(&self, payload: &[u8]) -> Vec<u8> {
        self.seal(LAST, payload)
    }

    /// Another descriptor of the socket.
    ///
    /// # Errors
    /// The host gives no more descriptors.
    pub fn datagrams(&self) -> io::Result<UdpSocket> {
        self.socket.try_clone()
    }

    fn seal(&self, counter: u64, payload: &[u8]) -> Vec<u8> {
        let counter = counter.to_le_bytes();
        let code = authenticate(&self.send_key, &[&counter, payload]);
        [&MAGIC[..], &counter, payload, &code].concat()
    }

    /// The next genuine heartbeat that has arrived, if any.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; HEADER_LEN + HEARTBEAT_LEN_MAX + MAC_LEN + 1];
        // The loop is bounded: forged datagrams must not keep the guest thread here.
        for _ in 0..os::limits::BATCH_MAX {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    if let Some(payload) = self.open(&buffer[..length]) {
                        return Some(payload);
                    }
                    self.ignored += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // "Connection refused" answers an earlier heartbeat; the next datagram may still be good.
                Err(error) => tracing::debug!("heartbeat not received: {error}"),
            }
        }
        None
    }

    fn open(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let rest = datagram.strip_prefix(&MAGIC)?;
        let (counter, rest) = rest.split_first_chunk::<8>()?;
        let (payload, code) = rest.split_last_chunk::<MAC_LEN>()?;
        if payload.len() > HEARTBEAT_LEN_MAX
            || !same(code, &authenticate(&self.receive_key, &[counter, payload]))
        {
            return None;
        }
        let counter = u64::from_le_bytes(*counter);
        if counter <= self.seen {
            return None;
        }
        self.seen = counter;
        Some(payload.to_vec())
    }
}

impl AsFd for Heartbeats {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::*;

    fn pair(a: &Security, b: &Security, session_b: &[u8]) -> (Heartbeats, Heartbeats) {
        let left = UdpSocket::bind("127.0.0.1:0").unwrap();
        let right = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (to_right, to_left) = (right.local_addr().unwrap(), left.local_addr().unwrap());
        (
            Heartbeats::new(left, to_right, Party::Initiator, a, b"session").unwrap(),
            Heartbeats::new(right, to_left, Party::Responder, b, session_b).unwrap(),
        )
    }

    #[test]
    fn a_heartbeat_arrives_and_its_repetition_does_not() {
        let security = Security::Key(Key::new([3; 32]));
        let (mut left, mut right) = pair(&security, &security, b"session");
        left.send(b"one");
        assert_eq!(right.receive().unwrap(), b"one");
        left.sent = 0;
        left.send(b"one");
        assert_eq!(right.receive(), None);
        assert_eq!(right.ignored, 1);
        left.send(b"two");
        right.send(b"back");
        assert_eq!(
            (right.receive().unwrap(), left.receive().unwrap()),
            (b"two".to_vec(), b"back".to_vec())
        );
    }

    #[test]
    fn another_key_another_session_and_an_echo_are_ignored() {
        let security = Security::Key(Key::new([3; 32]));
        let (mut left, mut right) = pair(&security, &Security::Key(Key::new([4; 32])), b"session");
        left.send(b"forged");
        assert_eq!((right.receive(), right.ignored), (None, 1));
        let (mut left, mut right) = pair(&security, &security, b"another session");
        left.send(b"old");
        assert_eq!((right.receive(), right.ignored), (None, 1));
        let (mut left, right) = pair(&security, &security, b"session");
        let echo = [
            &MAGIC[..],
            &1_u64.to_le_bytes(),
            b"x",
            &authenticate(&left.send_key, &[&1_u64.to_le_bytes(), b"x"]),
        ];
        right.socket.send(&echo.concat()).unwrap();
        assert_eq!((left.receive(), left.ignored), (None, 1));
    }

    #[test]
    fn the_last_datagram_is_believed_once_and_nothing_after_it() {
        let security = Security::Key(Key::new([3; 32]));
        let (mut left, mut right) = pair(&security, &security, b"session");
        left.send(b"one");
        assert_eq!(right.receive().unwrap(), b"one");
        // Sealed early, and sent by another holder of the socket.
        let last = left.seal_last(b"ended");
        left.send(b"two");
        assert_eq!(right.receive().unwrap(), b"two");
        let watcher = left.socket.try_clone().unwrap();
        watcher.send(&last).unwrap();
        watcher.send(&last).unwrap();
        assert_eq!(right.receive().unwrap(), b"ended");
        left.send(b"three");
        assert_eq!((right.receive(), right.ignored), (None, 2));
    }

    #[test]
    fn the_last_datagram_of_another_session_or_key_is_ignored() {
        let security = Security::Key(Key::new([3; 32]));
        for (other, session) in [
            (security.clone(), &b"an earlier session"[..]),
            (Security::Key(Key::new([4; 32])), &b"session"[..]),
            (Security::Insecure, &b"session"[..]),
        ] {
            let (left, mut right) = pair(&other, &security, b"session");
            let (former, _) = pair(&other, &other, session);
            let derived = Heartbeats {
                send_key: derive(&other, b"heartbeat from initiator", session),
                ..former
            };
            left.socket.send(&derived.seal_last(b"ended")).unwrap();
            assert_eq!((right.receive(), right.ignored), (None, 1));
        }
    }

    #[test]
    fn garbage_is_ignored() {
        let security = Security::Insecure;
        let (mut left, right) = pair(&security, &security, b"session");
        for length in [0, 1, 4, 12, 27, 28, 200, 2000] {
            right.socket.send(&vec![b'L'; length]).unwrap();
        }
        assert_eq!((left.receive(), left.ignored), (None, 8));
    }
}
