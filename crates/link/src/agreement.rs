//! What one end of a handshake comes with, and what both ends have when the handshake is over.
//!
//! Whoever calls or listens says with an [`End`] what it wants or grants; `talk` makes of it an [`Agreement`]
//! with the other end, and `noise` makes the link of that. Nothing here reads, writes or decides anything.

use std::net::UdpSocket;

use super::Cipher;
use super::bulk::seal::Keys;
use super::bulk::token::{Token, Tokens};
use super::heartbeat::Party;

/// Which end of a handshake this one is, and what it wants or grants.
#[derive(Clone, Debug)]
pub enum End {
    /// The end that has called because it wants a main link.
    CallsForMain,
    /// The end that has called because it wants the bulk link of this token.
    CallsForBulk(Token),
    /// The end that listens: it grants a main link to whoever has the key, and a bulk link to whoever also
    /// shows one of these tokens.
    Listens(Tokens),
}

impl End {
    pub(super) fn party(&self) -> Party {
        match self {
            End::CallsForMain | End::CallsForBulk(_) => Party::Initiator,
            End::Listens(_) => Party::Responder,
        }
    }
}

/// What both ends know after the handshake.
#[derive(Debug)]
pub enum Agreement {
    /// The link is a main link.
    Main {
        cipher: Cipher,
        session: Vec<u8>,
        peer_port: u16,
        socket: UdpSocket,
    },
    /// The link is the bulk link of this token.
    Bulk { keys: Keys, token: Token },
}
