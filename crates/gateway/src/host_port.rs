//! The host port of a forward: a socket that clients reach, TCP or UDP.
//!
//! `forwards` and `udp` open their ports here when the gateway starts, before anybody is served; what comes
//! through a port afterwards is theirs. A port that cannot be had ends the gateway's start.

use super::config::{Forward, GatewayError, Target};
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
    /// The forward as messages name it: as it was given, with the port that was chosen and the guest's
    /// address.
    pub name: String,
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
        let address = address(&socket).map_err(fail)?;
        let guest = SocketAddrV4::new(guest, forward.guest_port);
        Ok(Self {
            name: name(address, &forward.guest, guest),
            address,
            guest,
            socket,
        })
    }
}

/// The name of a forward from `address` to the `target` that has the address and port `guest`.
fn name(address: SocketAddr, target: &Target, guest: SocketAddrV4) -> String {
    let (ip, port) = (guest.ip(), guest.port());
    match target {
        Target::First | Target::Address(_) => format!("{address}-{guest}"),
        Target::Vm(vm) => format!("{address}-{vm}:{port} ({ip})"),
        Target::Mac(mac) => format!("{address}-{mac}:{port} ({ip})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_is_named_as_it_was_given_and_with_its_address() {
        for (given, named) in [
            ("0.0.0.0:80-:8080", "0.0.0.0:80-10.0.2.16:8080"),
            ("80-10.0.2.16:8080", "127.0.0.1:80-10.0.2.16:8080"),
            ("80-web:8080", "127.0.0.1:80-web:8080 (10.0.2.16)"),
            (
                "80-52:54:00:4c:53:01:8080",
                "127.0.0.1:80-52:54:00:4c:53:01:8080 (10.0.2.16)",
            ),
        ] {
            let forward: Forward = given.parse().unwrap();
            let guest = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 16), forward.guest_port);
            assert_eq!(name(forward.listen, &forward.guest, guest), named);
        }
    }
}
