//! `Refusal`: why the bytes of a bulk link cannot be accepted.
//!
//! The codec and the seals know no peer; whoever reads the socket makes a `LinkError` of a refusal, which
//! names the peer.

use std::net::SocketAddr;

use crate::LinkError;

/// Why the bytes of a bulk link cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No correct peer sends this; the words say what is wrong.
    Damaged(&'static str),
    /// The record is of a kind that this release does not know.
    UnknownKind(u8),
    /// The session has no numbers left for further records.
    NumbersUsedUp,
}

impl Refusal {
    /// The error of the link to `peer`.
    #[must_use]
    pub fn into_error(self, peer: SocketAddr) -> LinkError {
        match self {
            Refusal::Damaged(what) => LinkError::Garbage { peer, what },
            Refusal::UnknownKind(kind) => LinkError::UnknownRecord { peer, kind },
            Refusal::NumbersUsedUp => LinkError::Garbage {
                peer,
                what: "the cipher has used up its numbers",
            },
        }
    }
}
