//! `LinkError`: why there is no link, or no longer one.
//!
//! All files of the crate say what went wrong in these words, and the host prints them once, as a sentence
//! for the operator. An error names the peer by its address and says what to do; no error carries bytes that
//! a peer has sent, except numbers that were looked at.

use std::io;
use std::net::SocketAddr;

use crate::limits::{HANDSHAKE_TIMEOUT, LINK_BACKLOG_MAX};

/// Why there is no link, or no longer one.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer closed the link.
    #[error("{peer} closed the link")]
    Closed {
        /// Address of the peer.
        peer: SocketAddr,
    },
    /// The kernel gave an error on the link.
    #[error("the link to {peer} broke")]
    Io {
        /// Address of the peer.
        peer: SocketAddr,
        /// Error that the operating system gave.
        source: io::Error,
    },
    /// Nobody answered at the peer's address.
    #[error(
        "{peer} cannot be reached; start the backup there first, and check the address and the firewall \
         (TCP and UDP)"
    )]
    Unreachable {
        /// Address of the peer.
        peer: SocketAddr,
        /// The last attempt's error.
        source: io::Error,
    },
    /// The port to listen on is taken or may not be used.
    #[error("cannot listen on {address}; choose another address or stop the program that uses it")]
    Listen {
        /// Address that was to be listened on.
        address: SocketAddr,
        /// Error that the operating system gave.
        source: io::Error,
    },
    /// The other end is another program.
    #[error("{peer} does not speak Lockstep; check the address and port")]
    Stranger {
        /// Address of the other end.
        peer: SocketAddr,
    },
    /// The other end was connected and said nothing, or not enough.
    #[error(
        "{peer} did not introduce itself: it said nothing for {} s, or hung up",
        HANDSHAKE_TIMEOUT.0 / 1_000_000_000
    )]
    Silent {
        /// Address of the other end.
        peer: SocketAddr,
    },
    /// The other end is another release.
    #[error(
        "{peer} speaks version {theirs} of the link and this side version {ours}; install the same release \
         on both hosts"
    )]
    Version {
        /// Address of the peer.
        peer: SocketAddr,
        /// Version that this program speaks.
        ours: u8,
        /// Version that the peer speaks.
        theirs: u8,
    },
    /// One side has a key and the other has none.
    #[error(
        "{peer} {} a key and this side {}; give both sides the same key file, or both `insecure`",
        has(*theirs),
        has(!*theirs)
    )]
    Mode {
        /// Address of the peer.
        peer: SocketAddr,
        /// Whether the peer is the side that has a key.
        theirs: bool,
    },
    /// The keys differ.
    #[error("{peer} has another key; copy the same key file to both hosts")]
    WrongKey {
        /// Address of the peer.
        peer: SocketAddr,
    },
    /// The peer does not expect this bulk link.
    #[error(
        "{peer} does not expect this bulk link: its token is unknown there or was used before; form the pair \
         again"
    )]
    Uninvited {
        /// Address of the peer.
        peer: SocketAddr,
    },
    /// A caller that has the key shows a token that this side does not expect.
    #[error(
        "{peer} has called for a bulk link that nobody expects: its token is unknown here or was used before"
    )]
    Intruder {
        /// Address of the caller.
        peer: SocketAddr,
    },
    /// The peer's bulk link carries what a later release sends.
    #[error(
        "{peer} sends records of kind {kind} on its bulk link, which this release does not know; install \
         the same release on both hosts"
    )]
    UnknownRecord {
        /// Address of the peer.
        peer: SocketAddr,
        /// Number of the kind.
        kind: u8,
    },
    /// The peer sent what no correct peer sends.
    #[error("{peer} sent a damaged message: {what}")]
    Garbage {
        /// Address of the peer.
        peer: SocketAddr,
        /// What is wrong.
        what: &'static str,
    },
    /// The peer has not read for too long.
    #[error("{peer} does not read: {LINK_BACKLOG_MAX} bytes wait for it")]
    Backlog {
        /// Address of the peer.
        peer: SocketAddr,
    },
    /// The operator wants to stop.
    #[error("stopped while waiting for the peer")]
    Stopped,
}

impl LinkError {
    /// The error of a link to `peer` on which the kernel has given this error.
    pub(crate) fn from_io(peer: SocketAddr, source: io::Error) -> LinkError {
        match source.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => LinkError::Closed { peer },
            _ => LinkError::Io { peer, source },
        }
    }

    /// Whether trying again does not help until somebody has changed something.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            LinkError::WrongKey { .. }
                | LinkError::Mode { .. }
                | LinkError::Version { .. }
                | LinkError::Uninvited { .. }
                | LinkError::UnknownRecord { .. }
                | LinkError::Stopped
        )
    }
}

fn has(key: bool) -> &'static str {
    if key { "has" } else { "has not" }
}
