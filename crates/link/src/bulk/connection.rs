//! `Connection`: a bulk link after its handshake, before it has threads.
//!
//! `noise` makes one at either end; a `Sender` or a `Receiver` takes it over. The socket does not block.

use std::io;
use std::net::{SocketAddr, TcpStream};

use rustix::net::sockopt;
use socket2::SockRef;

use super::seal::Keys;
use super::token::Token;
use crate::limits::{BULK_UNSENT_MAX, LINK_PROBE_AFTER, LINK_PROBE_EVERY, LINK_USER_TIMEOUT};

/// A bulk link after its handshake.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) keys: Keys,
    token: Token,
}

impl Connection {
    /// A bulk link over a connected stream.
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        keys: Keys,
        token: Token,
    ) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        if let Err(error) = keep_little_and_notice_death(&stream) {
            // On a kernel that lacks one of the options the link is as good as any other connection.
            tracing::debug!("the bulk link to {peer} has not all options that it should: {error}");
        }
        Ok(Connection {
            stream,
            peer,
            keys,
            token,
        })
    }

    /// Address of the peer.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The token that the caller has shown: it tells to which main link this bulk link belongs.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }
}

/// Keeps what waits in the kernel short, and has the kernel notice that the peer is gone.
fn keep_little_and_notice_death(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_notsent_lowat(BULK_UNSENT_MAX)?;
    let ms = u32::try_from(LINK_USER_TIMEOUT.0 / 1_000_000).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, ms)?;
    sockopt::set_tcp_keepidle(stream, LINK_PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, LINK_PROBE_EVERY)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}
