//! How two processes that want to be a pair meet: what is told of it, and the one loop of the host that leads
//! a handshake over a link. `primary`, `backup` and `attend` come here with each link, and say as a [`Party`]
//! what its actions mean for them. What follows from which answer is the handshake's business, and which
//! epoch is claimed is decided by the `Caller`: nothing of that stands here.

use std::net::{SocketAddr, UdpSocket};

use replica::{Epoch, Handshake, HandshakeAction, HandshakeEvent, Hello, ImageId, Start};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::run::RunError;
use crate::world_error::WorldError;
use link::{Link, LinkError};
use os::error::chain;
use os::limits::LAST_WORDS_PATIENCE;
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

/// What the actions of a handshake mean for a side that this process is.
pub(crate) trait Party {
    /// The signals by which the operator asks for the end.
    fn signals(&self) -> &Signals;

    /// Looks whether this host can be the backup of the VM of that greeting, and gives the images of it that
    /// are not here; the sentence of an error says why it cannot.
    fn consider(&mut self, theirs: &Hello) -> Result<Vec<ImageId>, String>;

    /// Claims an epoch for the pair, and locks the disks under it.
    ///
    /// # Errors
    /// This process will form no pair.
    fn claim(&mut self) -> Result<HandshakeEvent, RunError>;

    /// Looks whether the arbiter and the disks here are those on which the primary, `owner`, has claimed and
    /// locked `epoch`.
    fn prove(&mut self, epoch: Epoch, owner: u128) -> HandshakeEvent;

    /// Builds this side's machine; the sentence of an error says why it cannot be built.
    fn build(&mut self, start: &Start) -> Result<(), String>;
}

/// Leads a handshake on a fresh link to its end. `me`: how this side greets the other one.
///
/// # Errors
/// No pair comes of it, or the operator has asked for the end.
pub(crate) fn meet(mut link: Link, me: Hello, party: &mut dyn Party) -> Result<Formed, RunError> {
    let mut handshake = Handshake::new(clock::now(), me);
    loop {
        while let Some(action) = handshake.poll() {
            let event = match action {
                HandshakeAction::Send(message) => {
                    let sent = link.send(&message).and_then(|()| link.drain(LAST_WORDS_PATIENCE));
                    sent.is_err().then_some(HandshakeEvent::LinkLost)
                }
                HandshakeAction::Consider(theirs) => Some(match party.consider(&theirs) {
                    Ok(lacks) => HandshakeEvent::Fits { lacks },
                    Err(why) => HandshakeEvent::Unfit(why),
                }),
                HandshakeAction::AskNext => Some(party.claim()?),
                HandshakeAction::Prove { epoch, owner } => Some(party.prove(epoch, owner)),
                HandshakeAction::Build(start) => Some(match party.build(&start) {
                    Ok(()) => HandshakeEvent::Built,
                    Err(why) => HandshakeEvent::BuildFailed(why),
                }),
                // The owner of a guest that runs supplies, and its handshake is led by its node.
                HandshakeAction::Supply { .. } => None,
                HandshakeAction::Done {
                    start,
                    primary,
                    backup,
                } => return Ok(Formed::new(link, start, (primary, backup))?),
                HandshakeAction::Failed(failure) => {
                    let peer = link.peer();
                    return Err(RunError::Handshake { peer, failure });
                }
            };
            if let Some(event) = event {
                handshake.handle(clock::now(), event);
            }
        }
        next_message(&mut link, &mut handshake, party.signals())?;
    }
}

/// Waits for a message, the end of the handshake's patience, or the operator.
fn next_message(link: &mut Link, handshake: &mut Handshake, signals: &Signals) -> Result<(), RunError> {
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
    fn new(link: Link, start: Start, (primary, backup): (u128, u128)) -> Result<Formed, WorldError> {
        link.outlast(start.timeout).map_err(WorldError::Poll)?;
        Ok(Formed {
            link,
            start,
            primary,
            backup,
        })
    }
}
