//! Which destinations guests may reach: the operator's rules, and what is refused without any rule.
//!
//! The most specific rule that covers a destination decides: of two rules the one with the longer prefix,
//! then the one that names a port. Of equal rules `--deny` goes before `--allow`, and both before the
//! built-in refusals: the host's loopback, link-local addresses (where clouds keep their credentials), and
//! the gateway's own ports on every address of this host.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::str::FromStr;

const LOOPBACK: Destination = Destination::of(Ipv4Addr::new(127, 0, 0, 0), 8);
const LINK_LOCAL: Destination = Destination::of(Ipv4Addr::new(169, 254, 0, 0), 16);

/// Addresses that begin alike, and one port or all ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    network: Ipv4Addr,
    prefix_len: u8,
    port: Option<u16>,
}

/// A destination that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a destination: write ADDRESS[/PREFIX][:PORT], for example 127.0.0.1:5432 or 10.0.0.0/8"
)]
pub struct DestinationError(String);

/// How narrow a rule is: the length of its prefix, and whether it names a port.
type Rank = (u8, bool);

impl Destination {
    const fn of(network: Ipv4Addr, prefix_len: u8) -> Self {
        Self {
            network,
            prefix_len,
            port: None,
        }
    }

    fn covers(&self, to: SocketAddrV4) -> bool {
        let bits = u32::from(self.prefix_len);
        // A shift by all 32 bits leaves nothing, and everything is covered.
        let prefix = |address: Ipv4Addr| address.to_bits().checked_shr(32 - bits).unwrap_or(0);
        prefix(self.network) == prefix(*to.ip()) && self.port.is_none_or(|port| port == to.port())
    }

    fn rank(&self) -> Rank {
        (self.prefix_len, self.port.is_some())
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    /// Reads `ADDRESS[/PREFIX][:PORT]`.
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let bad = || DestinationError(text.to_owned());
        let (network, port) = match text.split_once(':') {
            None => (text, None),
            Some((network, port)) => (network, Some(port.parse().map_err(|_| bad())?)),
        };
        let (address, prefix_len) = match network.split_once('/') {
            None => (network, 32),
            Some((address, length)) => (address, length.parse().map_err(|_| bad())?),
        };
        let network: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let host_bits = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
        if prefix_len > 32 || network.to_bits() & host_bits != 0 || port == Some(0) {
            return Err(bad());
        }
        Ok(Self {
            network,
            prefix_len,
            port,
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// All rules of a gateway.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    allow: Vec<Destination>,
    deny: Vec<Destination>,
    /// Ports that this gateway listens on.
    own_ports: Vec<u16>,
}

impl Rules {
    /// The operator's rules. `own_ports` are the gateway's. `gateway` is the gateway's address for guests, at
    /// which they see the loopback: a rule for it counts as one for 127.0.0.1.
    pub fn new(allow: &[Destination], deny: &[Destination], own_ports: Vec<u16>, gateway: Ipv4Addr) -> Self {
        let as_seen_from_here = |rules: &[Destination]| {
            let seen = rules.iter().map(|rule| match rule {
                Destination {
                    network,
                    prefix_len: 32,
                    port,
                } if *network == gateway => Destination {
                    port: *port,
                    ..Destination::of(Ipv4Addr::LOCALHOST, 32)
                },
                other => *other,
            });
            seen.collect()
        };
        Self {
            allow: as_seen_from_here(allow),
            deny: as_seen_from_here(deny),
            own_ports,
        }
    }

    /// Whether guests may reach this address, which is the one that the host would connect to.
    pub fn allow(&self, to: SocketAddrV4) -> bool {
        let best = |rules: &[Destination]| {
            let covering = rules.iter().filter(|rule| rule.covers(to));
            covering.map(Destination::rank).max()
        };
        let allowed = best(&self.allow);
        best(&self.deny).is_none_or(|denied| allowed > Some(denied)) && allowed >= self.refused_by_itself(to)
    }

    fn refused_by_itself(&self, to: SocketAddrV4) -> Option<Rank> {
        let own_port = self.own_ports.contains(&to.port()) && is_of_this_host(*to.ip());
        let networks = [LOOPBACK, LINK_LOCAL];
        let network = networks.iter().find(|network| network.covers(to));
        own_port.then_some((32, true)).max(network.map(Destination::rank))
    }
}

/// Whether this host has the address, which is so if one can listen there. Asked each time, because addresses
/// come and go.
fn is_of_this_host(address: Ipv4Addr) -> bool {
    !is_elsewhere(&UdpSocket::bind(SocketAddrV4::new(address, 0)))
}

/// Whether the kernel says that the address is not this host's. An error for want of a descriptor or a port
/// does not say so.
fn is_elsewhere(bound: &io::Result<UdpSocket>) -> bool {
    bound
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let read =
            |texts: &[&str]| -> Vec<Destination> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        Rules::new(&read(allow), &read(deny), vec![7700], Ipv4Addr::new(10, 0, 2, 2))
    }

    fn verdicts(rules: &Rules, to: &[&str]) -> Vec<bool> {
        to.iter().map(|to| rules.allow(to.parse().unwrap())).collect()
    }

    #[test]
    fn by_itself_the_world_is_open_and_what_is_this_hosts_alone_is_not() {
        let to = [
            "8.8.8.8:443",
            "10.1.2.3:7700",
            "127.0.0.1:22",
            "127.9.9.9:22",
            "169.254.169.254:80",
        ];
        assert_eq!(verdicts(&rules(&[], &[]), &to), [true, true, false, false, false]);
    }

    #[test]
    fn the_most_specific_rule_decides_and_of_equals_the_refusal() {
        let open = rules(&["127.0.0.1:5432", "169.254.169.254"], &[]);
        assert_eq!(
            verdicts(&open, &["127.0.0.1:5432", "127.0.0.1:22", "169.254.169.254:80"]),
            [true, false, true]
        );
        let closed = rules(&["10.1.2.0/24", "10.1.2.3:25"], &["0.0.0.0/0", "10.1.2.3"]);
        assert_eq!(
            verdicts(
                &closed,
                &["8.8.8.8:53", "10.1.2.4:1", "10.1.2.3:1", "10.1.2.3:25"]
            ),
            [false, true, false, true]
        );
        assert_eq!(
            verdicts(&rules(&["10.0.0.0/8"], &["10.0.0.0/8"]), &["10.0.0.1:1"]),
            [false]
        );
    }

    #[test]
    fn the_loopback_may_be_named_as_guests_see_it() {
        let open = rules(&["10.0.2.2:5432"], &["10.0.2.2:25"]);
        assert_eq!(
            verdicts(&open, &["127.0.0.1:5432", "127.0.0.1:25", "127.0.0.1:22"]),
            [true, false, false]
        );
    }

    #[test]
    fn the_gateways_own_ports_are_opened_only_by_name() {
        let loopback = rules(&["127.0.0.1"], &[]);
        assert_eq!(
            verdicts(&loopback, &["127.0.0.1:22", "127.0.0.1:7700"]),
            [true, false]
        );
        assert_eq!(
            verdicts(&rules(&["127.0.0.1:7700"], &[]), &["127.0.0.1:7700"]),
            [true]
        );
    }

    #[test]
    fn a_host_that_cannot_tell_whose_an_address_is_does_not_open_its_own_ports() {
        assert!(is_elsewhere(&Err(io::ErrorKind::AddrNotAvailable.into())));
        let exhausted = [Errno::MFILE, Errno::NOBUFS, Errno::ADDRINUSE];
        for errno in exhausted {
            assert!(!is_elsewhere(&Err(errno.into())), "{errno}");
        }
        assert!(!is_of_this_host(Ipv4Addr::new(192, 0, 2, 1)));
        assert!(is_of_this_host(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn destinations_are_read_in_all_their_forms() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("127.0.0.1:80", "127.0.0.1/32:80"),
            ("0.0.0.0/0:25", "0.0.0.0/0:25"),
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "host",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "1.2.3.4:0",
            "1.2.3.4:x",
            "::1",
        ] {
            assert!(bad.parse::<Destination>().is_err(), "{bad}");
        }
    }
}
