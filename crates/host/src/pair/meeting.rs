//! How two processes that want to be a pair meet: what is told of it, and the wait for the other's words.

use std::net::{SocketAddr, UdpSocket};

use replica::{Epoch, Handshake, HandshakeEvent, Start};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::run::RunError;
use crate::world_error::WorldError;
use link::{Link, LinkError};
use os::error::chain;
use os::signals::Signals;
use os::sys::clock;

/// How the pair comes about, step by step, for whoever tells the operator.
#[derive(Debug)]
pub enum Pairing<'a> {
    /// The backup listens here.
    Listening(SocketAddr),
    /// The primary calls, and this call has come to nothing.
    Calling {
        /// Number of the call, from 1.
        attempt: u32,
        /// Why this call has failed.
        error: &'a std::io::Error,
    },
    /// Somebody called who is not the peer, or is not fit to be it.
    Refused(&'a (dyn std::error::Error + 'static)),
    /// So many more callers were refused, too many to name each.
    RefusedMore(u64),
    /// The pair exists.
    Paired {
        /// Address of the other half.
        peer: SocketAddr,
        /// The epoch that the arbiter has granted to the pair.
        epoch: Epoch,
    },
}

/// The socket for the heartbeats of the link that a backup takes at this address. `None`: the link makes its
/// own, which comes from where the primary has called, also on a host with several addresses. The watcher
/// knows nothing of that one.
pub(super) fn datagrams_at(address: SocketAddr) -> Option<UdpSocket> {
    let one = !address.ip().is_unspecified() && address.port() != 0;
    one.then(|| UdpSocket::bind(address).ok()).flatten()
}

/// Waits for a message, the end of the handshake's patience, or the operator.
pub(crate) fn next_message(
    link: &mut Link,
    handshake: &mut Handshake,
    signals: &Signals,
) -> Result<(), RunError> {
    match link.receive() {
        Ok(Some(message)) => {
            handshake.handle(clock::now(), HandshakeEvent::Peer(message));
            return Ok(());
        }
        Ok(None) => {}
        Err(error) => {
            tracing::debug!("{}", chain(&error));
            handshake.handle(clock::now(), HandshakeEvent::LinkLost);
            return Ok(());
        }
    }
    let timeout = handshake
        .deadline()
        .map(|at| clock::timespec(at.since(clock::now()).0));
    let mut fds = [
        PollFd::new(&*link, PollFlags::IN),
        PollFd::new(signals, PollFlags::IN),
    ];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(WorldError::Poll(error.into()).into()),
    }
    let stopped = !fds[1].revents().is_empty();
    if stopped {
        return Err(LinkError::Stopped.into());
    }
    handshake.wake(clock::now());
    Ok(())
}

/// A pair that the handshake has formed.
pub(crate) struct Formed {
    /// The link to the other half.
    pub link: Link,
    /// What the primary has decided about the pair.
    pub start: Start,
    /// The process that has the epoch: the primary of the pair.
    pub primary: u128,
    /// The backup's process.
    pub backup: u128,
}

impl Formed {
    /// The pair whose handshake ended so: `primary` and `backup` are the processes of the two sides.
    ///
    /// # Errors
    /// The link takes no settings.
    pub fn new(link: Link, start: Start, (primary, backup): (u128, u128)) -> Result<Formed, WorldError> {
        link.outlast(start.timeout).map_err(WorldError::Poll)?;
        Ok(Formed {
            link,
            start,
            primary,
            backup,
        })
    }
}
