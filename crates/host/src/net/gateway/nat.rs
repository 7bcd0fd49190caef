//! Where a guest's connections and datagrams really go.
//!
//! Guests reach any address but the segment's own: there the gateway stands for the host's loopback, and the DNS address for
//! the host's resolvers.

use super::config::{Addresses, Resolvers};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::SystemTime;

/// Port of DNS, over UDP and TCP.
pub const DNS_PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// As many as the C library asks.
const RESOLVERS_MAX: usize = 3;

/// The rules, with the resolvers as last read.
#[derive(Debug)]
pub struct Destinations {
    addresses: Addresses,
    host_loopback: bool,
    source: Resolvers,
    host_resolvers: Vec<SocketAddr>,
    /// Of the file the resolvers were read from.
    modified: Option<SystemTime>,
}

impl Destinations {
    /// The rules for one segment.
    pub fn new(addresses: Addresses, host_loopback: bool, source: Resolvers) -> Self {
        Self {
            addresses,
            host_loopback,
            source,
            host_resolvers: Vec::new(),
            modified: None,
        }
    }

    /// The resolvers to ask, in this order. The host's file is read again when it has changed.
    pub fn resolvers(&mut self) -> &[SocketAddr] {
        if let Resolvers::Fixed(resolvers) = &self.source {
            return resolvers;
        }
        let modified = fs::metadata(RESOLV_CONF)
            .and_then(|metadata| metadata.modified())
            .ok();
        if modified.is_none() || modified != self.modified {
            match fs::read_to_string(RESOLV_CONF) {
                Ok(text) => self.host_resolvers = parse(&text),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    // It was replaced, and the sandbox knows the one that was there at the start (`sandbox::Needs`).
                    tracing::warn!(
                        "{RESOLV_CONF} is another file now, which this gateway may not read; it asks the resolvers of before: start it again, or give `--dns ADDRESS`"
                    );
                }
                Err(_) => self.host_resolvers.clear(),
            }
            self.modified = modified;
        }
        &self.host_resolvers
    }

    /// Whether this is a DNS question to the gateway.
    pub fn is_dns(&self, to: SocketAddrV4) -> bool {
        to.port() == DNS_PORT && self.addresses.is_own(*to.ip())
    }

    /// The host address for a guest's TCP connection; `None` refuses it.
    pub fn of_tcp(&mut self, to: SocketAddrV4) -> Option<SocketAddr> {
        if self.is_dns(to) {
            self.resolvers().first().copied()
        } else {
            self.of_udp(to)
        }
    }

    /// The host address for a guest's datagram; `None` drops it.
    pub fn of_udp(&self, to: SocketAddrV4) -> Option<SocketAddr> {
        let ip = *to.ip();
        let allowed = if ip == self.addresses.gateway {
            self.host_loopback
        } else {
            self.is_outside(ip)
        };
        let ip = if ip == self.addresses.gateway {
            Ipv4Addr::LOCALHOST
        } else {
            ip
        };
        (allowed && to.port() != 0).then(|| SocketAddr::new(ip.into(), to.port()))
    }

    fn is_outside(&self, ip: Ipv4Addr) -> bool {
        // Only the gateway's own address leads to the loopback: 127.0.0.1 from a guest would bypass `host_loopback`.
        !(self.addresses.cidr.contains_addr(&ip)
            || ip.is_loopback()
            || ip.is_multicast()
            || ip.is_broadcast()
            || ip.octets()[0] == 0)
    }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            if words.next() != Some("nameserver") {
                return None;
            }
            words.next()?.parse::<IpAddr>().ok()
        })
        .map(|ip| SocketAddr::new(ip, DNS_PORT))
        .take(RESOLVERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::gateway::config::{GatewayConfig, GuestListen};

    fn destinations(host_loopback: bool) -> Destinations {
        let addresses = GatewayConfig::new(GuestListen::Unix("x".into()))
            .addresses()
            .unwrap();
        let resolver = "192.0.2.53:53".parse().unwrap();
        Destinations::new(addresses, host_loopback, Resolvers::Fixed(vec![resolver]))
    }

    fn target(destinations: &mut Destinations, to: &str) -> Option<String> {
        destinations
            .of_tcp(to.parse().unwrap())
            .map(|target| target.to_string())
    }

    #[test]
    fn the_gateway_stands_for_the_loopback_and_dns_for_the_resolver() {
        let mut open = destinations(true);
        assert_eq!(target(&mut open, "10.0.2.2:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(target(&mut open, "10.0.2.3:53").as_deref(), Some("192.0.2.53:53"));
        assert_eq!(target(&mut open, "10.0.2.2:53").as_deref(), Some("192.0.2.53:53"));
        assert_eq!(target(&mut open, "8.8.8.8:443").as_deref(), Some("8.8.8.8:443"));
    }

    #[test]
    fn what_leads_nowhere_or_around_the_rules_is_refused() {
        for to in [
            "10.0.2.3:80",
            "10.0.2.77:80",
            "127.0.0.1:80",
            "0.0.0.0:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
        ] {
            assert_eq!(target(&mut destinations(true), to), None, "{to}");
        }
        assert_eq!(target(&mut destinations(false), "10.0.2.2:80"), None);
        assert_eq!(target(&mut destinations(true), "8.8.8.8:0"), None);
    }

    #[test]
    fn resolv_conf_is_read_as_the_c_library_does() {
        let text = "# c\nsearch x\nnameserver 192.0.2.1\nnameserver ::1\nnameserver bad\nnameserver\t192.0.2.3 x\nnameserver 192.0.2.4";
        let resolvers: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(resolvers, ["192.0.2.1:53", "[::1]:53", "192.0.2.3:53"]);
    }
}
