//! What both ends of a handshake say in the clear, and what the caller wants: a main link or a bulk link.
//!
//! `noise` leads the handshake; here are the bytes of its greeting and of the caller's purpose. The purpose
//! of a main link is the UDP port of its heartbeats, as it was before there were bulk links; a bulk link has
//! no heartbeats, so port 0, which no socket has, tells it apart, and its token follows.

use std::io;
use std::net::SocketAddr;

use super::LinkError;
use super::bulk::token::{TOKEN_LEN, Token};
use super::key::Security;

const MAGIC: [u8; 8] = *b"LOCKSTEP";
const VERSION: u8 = 1;
/// Bytes of a greeting: magic, version, mode, 16 random bytes.
pub const GREETING_LEN: usize = 26;
/// Bytes of a greeting that must be right before the rest is worth waiting for: magic, version, mode.
pub const GREETING_HEAD_LEN: usize = 10;
/// Bytes of a UDP port: the purpose of a main link, and the beginning of any purpose.
pub const PORT_LEN: usize = 2;
/// Bytes of the purpose of a bulk link: port 0 and a token.
pub const PURPOSE_LEN_MAX: usize = PORT_LEN + TOKEN_LEN;

/// The greeting of this end, with new random bytes.
///
/// # Errors
/// The host gives no random numbers.
pub fn draw(security: &Security) -> io::Result<[u8; GREETING_LEN]> {
    let mut ours = [0; GREETING_LEN];
    ours[..8].copy_from_slice(&MAGIC);
    ours[8] = VERSION;
    ours[9] = u8::from(matches!(security, Security::Key(_)));
    getrandom::fill(&mut ours[GREETING_HEAD_LEN..])?;
    Ok(ours)
}

/// Does the beginning of the other end's greeting fit ours?
///
/// # Errors
/// The other end is another program, speaks another version, or differs in whether it has a key.
pub fn check(
    peer: SocketAddr,
    ours: &[u8; GREETING_LEN],
    theirs: &[u8; GREETING_HEAD_LEN],
) -> Result<(), LinkError> {
    if theirs[..8] != MAGIC {
        return Err(LinkError::Stranger { peer });
    }
    if theirs[8] != VERSION {
        return Err(LinkError::Version {
            peer,
            ours: VERSION,
            theirs: theirs[8],
        });
    }
    if theirs[9] != ours[9] {
        return Err(LinkError::Mode {
            peer,
            theirs: theirs[9] != 0,
        });
    }
    Ok(())
}

/// What a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A main link, whose heartbeats come from this UDP port.
    Main {
        /// The caller's UDP port, not 0.
        port: u16,
    },
    /// A bulk link that belongs to the main link on which this token was handed out.
    Bulk {
        /// The token.
        token: Token,
    },
}

impl Purpose {
    /// Appends the bytes of the purpose.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Purpose::Main { port } => out.extend_from_slice(&port.to_le_bytes()),
            Purpose::Bulk { token } => {
                out.extend_from_slice(&0_u16.to_le_bytes());
                out.extend_from_slice(token.bytes());
            }
        }
    }

    /// Length in bytes of the purpose that begins like this.
    #[must_use]
    pub fn len(beginning: &[u8]) -> usize {
        match beginning.first_chunk::<PORT_LEN>() {
            Some(&[0, 0]) => PURPOSE_LEN_MAX,
            _ => PORT_LEN,
        }
    }

    /// The purpose that these bytes are, if they are one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Purpose> {
        let (port, rest) = bytes.split_first_chunk::<PORT_LEN>()?;
        match u16::from_le_bytes(*port) {
            0 => Some(Purpose::Bulk {
                token: Token::new(rest.try_into().ok()?),
            }),
            port => rest.is_empty().then_some(Purpose::Main { port }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_is_read_as_it_was_written_and_nothing_else_is_one() {
        let purposes = [
            Purpose::Main { port: 1 },
            Purpose::Main { port: u16::MAX },
            Purpose::Bulk {
                token: Token::new([0; TOKEN_LEN]),
            },
            Purpose::Bulk {
                token: Token::new([0xff; TOKEN_LEN]),
            },
        ];
        for purpose in purposes {
            let mut bytes = Vec::new();
            purpose.encode(&mut bytes);
            assert_eq!(Purpose::len(&bytes), bytes.len());
            assert_eq!(Purpose::decode(&bytes), Some(purpose));
            bytes.push(0);
            assert_eq!(Purpose::decode(&bytes), None);
            bytes.truncate(bytes.len() - 2);
            assert_eq!(Purpose::decode(&bytes), None);
        }
        // A main link's purpose is no longer than it was before there were bulk links.
        assert_eq!(Purpose::len(&[]), PORT_LEN);
        assert_eq!(
            Purpose::decode(&[0x39, 0x30]),
            Some(Purpose::Main { port: 12_345 })
        );
    }
}
