//! Calling the peer: the primary calls until the backup answers.
//!
//! The host's pair calls [`connect`] once for each life of its link. Nothing here decides what a silent
//! backup means: when patience is over, the error is handed up.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use replica::{Span, Time};
use rustix::event::{PollFd, poll};
use rustix::io::Errno;

use super::heartbeat::Party;
use super::key::Security;
use super::noise::NoiseHandshake;
use super::{Link, LinkError};
use crate::limits::{CONNECT_RETRY, CONNECT_RETRY_MAX, CONNECT_TIMEOUT};
use os::sys::clock;

/// One failed attempt to reach the peer, for a progress line.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Number of the attempt, from 1.
    pub number: u32,
    /// Time since the first attempt.
    pub waited: Span,
    /// Why this attempt failed.
    pub error: &'a io::Error,
}

/// Calls `peer` until it answers or `patience` is over. `progress` is told of each failed attempt; the search
/// ends when it says `false`.
///
/// # Errors
/// Nobody answers, or the one that answers has another key, another mode or another version.
pub fn connect(
    peer: SocketAddr,
    security: &Security,
    patience: Span,
    progress: &mut dyn FnMut(&Attempt<'_>) -> bool,
) -> Result<Link, LinkError> {
    let mut pauses = Pauses::new(patience);
    for number in 1.. {
        let failed = match TcpStream::connect_timeout(&peer, CONNECT_TIMEOUT) {
            Ok(stream) => match call(stream, security) {
                Ok(link) => return Ok(link),
                Err(error) if error.is_final() => return Err(error),
                // Strangers may hold all places of the listener, or the backup may just be starting.
                Err(error) => io::Error::other(error),
            },
            Err(error) => error,
        };
        let attempt = Attempt {
            number,
            waited: pauses.waited(),
            error: &failed,
        };
        if !progress(&attempt) {
            return Err(LinkError::Stopped);
        }
        if !pauses.pause() {
            return Err(match failed.downcast::<LinkError>() {
                Ok(error) => error,
                Err(source) => LinkError::Unreachable { peer, source },
            });
        }
    }
    Err(LinkError::Stopped)
}

/// The whole handshake of a caller. Blocks until it is done, for a limited time.
fn call(stream: TcpStream, security: &Security) -> Result<Link, LinkError> {
    let mut handshake = NoiseHandshake::new(stream, Party::Initiator, security)?;
    loop {
        if handshake.advance()? {
            return handshake.into_link();
        }
        let left = handshake.deadline().since(clock::now());
        if left.0 == 0 {
            return Err(handshake.silence());
        }
        let mut fds = [PollFd::new(&handshake, handshake.wants())];
        match poll(&mut fds, Some(&clock::timespec(left.0))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                return Err(LinkError::Io {
                    peer: handshake.peer(),
                    source: error.into(),
                });
            }
        }
    }
}

/// Pauses between attempts, each longer than the one before, until patience is over.
#[derive(Debug)]
pub struct Pauses {
    begun: Time,
    patience: Span,
    next: Span,
}

impl Pauses {
    /// A sequence of pauses; patience begins now.
    pub fn new(patience: Span) -> Pauses {
        Pauses {
            begun: clock::now(),
            patience,
            next: CONNECT_RETRY,
        }
    }

    /// Time since patience began.
    pub fn waited(&self) -> Span {
        clock::now().since(self.begun)
    }

    /// What is left of the patience.
    pub fn left(&self) -> Span {
        Span(self.patience.0.saturating_sub(self.waited().0))
    }

    /// Sleeps for the next pause; `false`: patience is over.
    pub fn pause(&mut self) -> bool {
        let left = self.left();
        if left.0 == 0 {
            return false;
        }
        thread::sleep(Duration::from_nanos(self.next.min(left).0));
        self.next = Span(self.next.0 * 2).min(CONNECT_RETRY_MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end_with_the_patience() {
        let mut pauses = Pauses::new(Span::from_ms(250));
        let mut lengths = Vec::new();
        while lengths.len() < 100 {
            lengths.push(pauses.next.0 / 1_000_000);
            if !pauses.pause() {
                break;
            }
        }
        assert_eq!(lengths[..2], [100, 200]);
        assert!(lengths.len() <= 4, "{lengths:?}");
        assert!(lengths.iter().all(|ms| *ms <= 1_000));
        assert_eq!(pauses.left(), Span(0));
    }
}
