//! Calling the peer: the primary calls until the backup answers.
//!
//! The host's pair calls [`connect`] once for each life of its link, and the thread of a bulk link's sender
//! calls `connect_bulk`, whose every wait can be ended. Nothing here decides what a silent backup means:
//! when patience is over, the error is handed up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use replica::{Span, Time};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::agreement::End;
use super::bulk::connection::Connection;
use super::bulk::token::Token;
use super::heartbeat::Heartbeats;
use super::key::Security;
use super::noise::{Made, NoiseHandshake};
use super::{Link, LinkError};
use crate::limits::{BULK_CALL_PATIENCE, CONNECT_RETRY, CONNECT_RETRY_MAX, CONNECT_TIMEOUT};
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

/// As [`connect_from`], with a socket for heartbeats that is made for this link.
///
/// # Errors
/// As [`connect_from`].
pub fn connect(
    peer: SocketAddr,
    security: &Security,
    patience: Span,
    progress: &mut dyn FnMut(&Attempt<'_>) -> bool,
) -> Result<Link, LinkError> {
    connect_from(peer, security, None, patience, progress)
}

/// A socket for the heartbeats of links to `peer`, for [`connect_from`].
///
/// # Errors
/// The host gives no more sockets.
pub fn datagrams_to(peer: SocketAddr) -> io::Result<UdpSocket> {
    let anywhere: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind(SocketAddr::new(anywhere, 0))
}

/// Calls `peer` until it answers or `patience` is over. The heartbeats go through `datagrams` if there is
/// such a socket, of which somebody else may have a copy: both then speak from one port to one peer. No other
/// link may use it as long as this one is there.
/// `progress` is told of each failed attempt; the search ends when it says `false`.
///
/// # Errors
/// Nobody answers, or the one that answers has another key, another mode or another version.
pub fn connect_from(
    peer: SocketAddr,
    security: &Security,
    datagrams: Option<&UdpSocket>,
    patience: Span,
    progress: &mut dyn FnMut(&Attempt<'_>) -> bool,
) -> Result<Link, LinkError> {
    let mut pauses = Pauses::new(patience);
    for number in 1.. {
        let failed = match TcpStream::connect_timeout(&peer, CONNECT_TIMEOUT) {
            Ok(stream) => match shake_hands(stream, End::CallsForMain, security, datagrams, None) {
                Ok(Made::Main(link)) => return Ok(*link),
                Ok(Made::Bulk(_)) => return Err(LinkError::Stranger { peer }),
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

/// Closes a link that the peer has closed, and leaves its heartbeats: the peer's last one may still come.
impl From<Link> for Heartbeats {
    fn from(link: Link) -> Heartbeats {
        link.heartbeats
    }
}

/// Calls `peer`, where the main link of this token leads, for the bulk link, until it answers or
/// [`BULK_CALL_PATIENCE`] is over. Whenever `stop` becomes readable, the search ends.
///
/// # Errors
/// Nobody answers, the one that answers has another key, mode or version or does not expect the token, or
/// `stop` became readable.
pub(crate) fn connect_bulk(
    peer: SocketAddr,
    security: &Security,
    token: Token,
    stop: BorrowedFd<'_>,
) -> Result<Connection, LinkError> {
    let mut pauses = Pauses::new(BULK_CALL_PATIENCE);
    loop {
        let made = reach(peer, stop)
            .and_then(|stream| shake_hands(stream, End::CallsForBulk(token), security, None, Some(stop)));
        let error = match made {
            Ok(Made::Bulk(connection)) => return Ok(connection),
            Ok(Made::Main(_)) => LinkError::Stranger { peer },
            Err(error) => error,
        };
        let pause = pauses.next();
        if error.is_final() || pause.0 == 0 {
            return Err(error);
        }
        tracing::debug!("the bulk link is not there yet: {}", os::error::chain(&error));
        wait(&[], Some(stop), pause).map_err(|source| LinkError::Io { peer, source })??;
    }
}

/// A TCP connection to `peer`, which takes [`CONNECT_TIMEOUT`] at most.
fn reach(peer: SocketAddr, stop: BorrowedFd<'_>) -> Result<TcpStream, LinkError> {
    let unreachable = |source| LinkError::Unreachable { peer, source };
    let (stream, under_way) = begin_to_connect(peer).map_err(unreachable)?;
    if under_way {
        let fds = [PollFd::new(&stream, PollFlags::OUT)];
        let patience = Span(u64::try_from(CONNECT_TIMEOUT.as_nanos()).unwrap_or(u64::MAX));
        if !wait(&fds, Some(stop), patience).map_err(unreachable)?? {
            return Err(unreachable(io::ErrorKind::TimedOut.into()));
        }
        if let Some(error) = stream.take_error().map_err(unreachable)? {
            return Err(unreachable(error));
        }
    }
    Ok(stream)
}

/// A socket that is being connected; whether it is still under way.
fn begin_to_connect(peer: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let family = match peer {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    let under_way = match rustix::net::connect(&socket, &peer) {
        Ok(()) => false,
        Err(Errno::INPROGRESS | Errno::INTR) => true,
        Err(error) => return Err(error.into()),
    };
    Ok((TcpStream::from(socket), under_way))
}

/// The whole handshake of a caller. Blocks until it is done, for a limited time, or until `stop` is readable.
fn shake_hands(
    stream: TcpStream,
    end: End,
    security: &Security,
    datagrams: Option<&UdpSocket>,
    stop: Option<BorrowedFd<'_>>,
) -> Result<Made, LinkError> {
    let mut handshake = NoiseHandshake::new(stream, end, security)?;
    let peer = handshake.peer();
    let copy = datagrams.map(UdpSocket::try_clone).transpose();
    handshake.use_datagrams(copy.map_err(|source| LinkError::Io { peer, source })?);
    loop {
        if handshake.advance()? {
            return handshake.finish();
        }
        let left = handshake.deadline().since(clock::now());
        if left.0 == 0 {
            return Err(handshake.silence());
        }
        let peer = handshake.peer();
        let fds = [PollFd::new(&handshake, handshake.wants())];
        wait(&fds, stop, left).map_err(|source| LinkError::Io { peer, source })??;
    }
}

/// Waits until one of `fds` is ready (`true`), the time is over (`false`), or `stop` is readable (the inner
/// error).
fn wait(
    fds: &[PollFd<'_>],
    stop: Option<BorrowedFd<'_>>,
    patience: Span,
) -> io::Result<Result<bool, LinkError>> {
    let mut fds = fds.to_vec();
    if let Some(stop) = &stop {
        fds.push(PollFd::new(stop, PollFlags::IN));
    }
    let ready = match poll(&mut fds, Some(&clock::timespec(patience.0))) {
        Ok(ready) => ready > 0,
        Err(Errno::INTR) => true,
        Err(error) => return Err(error.into()),
    };
    let stopped = stop.is_some() && fds.last().is_some_and(|fd| !fd.revents().is_empty());
    Ok(if stopped {
        Err(LinkError::Stopped)
    } else {
        Ok(ready)
    })
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
        let pause = self.next();
        thread::sleep(Duration::from_nanos(pause.0));
        pause.0 > 0
    }

    /// Length of the next pause, for a caller that waits for more than time; 0: patience is over.
    fn next(&mut self) -> Span {
        let pause = self.next.min(self.left());
        self.next = Span(self.next.0 * 2).min(CONNECT_RETRY_MAX);
        pause
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
