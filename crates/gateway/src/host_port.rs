//! The host port of a forward: a socket that clients reach, TCP or UDP.
//!
//! `forwards` and `udp` open their ports here when the gateway starts, before anybody is served; what comes
//! through a port afterwards is theirs. A port that cannot be had ends the gateway's start.

use super::config::{Forward, GatewayError};
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// The open host port of a forward.
pub struct HostPort<S> {
    pub socket: S,
    /// Address of the socket, with the port number that was chosen.
    pub address: SocketAddr,
    /// The guest's address and port to which the forward leads.
    pub guest: SocketAddrV4,
}

impl<S: Source> HostPort<S> {
    /// Opens the port with `bind` and registers it as `token`; `address` gives a socket's own address.
    ///
    /// # Errors
    /// The host's address is taken, or is not one of this host.
    pub fn open(
        forward: &Forward,
        guest: Ipv4Addr,
        (registry, token): (&Registry, Token),
        bind: impl FnOnce(SocketAddr) -> io::Result<S>,
        address: impl FnOnce(&S) -> io::Result<SocketAddr>,
    ) -> Result<Self, GatewayError> {
        let fail = |source| GatewayError::Listen {
            address: forward.listen.to_string(),
            purpose: "the clients of a forward",
            source,
        };
        let mut socket = bind(forward.listen).map_err(fail)?;
        registry
            .register(&mut socket, token, Interest::READABLE)
            .map_err(GatewayError::Poll)?;
        Ok(Self {
            address: address(&socket).map_err(fail)?,
            guest: SocketAddrV4::new(guest, forward.guest_port),
            socket,
        })
    }
}
