//! Where a guest's connections and datagrams really go.
//!
//! Guests reach any address that the rules (`destination`) allow, except addresses of the segment itself.
//! There the gateway stands for the host's loopback, and for DNS, at either of its addresses, for the host's
//! resolvers, wherever those are.

use super::config::{Addresses, RESOLV_CONF, Resolvers};
use super::destination::Rules;
use super::limits;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Instant, SystemTime};

/// Port of DNS, over UDP and TCP.
pub const DNS_PORT: u16 = 53;
/// Resolvers that are asked: as many as the C library asks.
const RESOLVERS_MAX: usize = 3;

/// The rules, with the resolvers as they were last read.
#[derive(Debug)]
pub struct Destinations {
    addresses: Addresses,
    rules: Rules,
    source: Resolvers,
    host_resolvers: Vec<SocketAddr>,
    /// Time of the last change of the file from which the resolvers were read.
    modified: Option<SystemTime>,
    /// Where guests' connections to the resolver's port go (`dns_streams`).
    dns_streams: Option<SocketAddr>,
    /// When each resolver that did not answer was asked last.
    silent: HashMap<SocketAddr, Instant>,
    /// Refused destinations that were told.
    told: HashSet<SocketAddrV4>,
    /// Number of times that a guest asked for a refused destination.
    forbidden: u64,
}

/// Where something that a guest sends goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To this address of the world.
    To(SocketAddrV4),
    /// There is no such address.
    Nowhere,
    /// Guests may not reach the address.
    Forbidden,
}

impl Destinations {
    /// The rules for one segment.
    pub fn new(addresses: Addresses, rules: Rules, source: Resolvers) -> Self {
        Self {
            addresses,
            rules,
            source,
            host_resolvers: Vec::new(),
            modified: None,
            dns_streams: None,
            silent: HashMap::new(),
            told: HashSet::new(),
            forbidden: 0,
        }
    }

    /// Number of times that a guest asked for a refused destination.
    pub fn forbidden(&self) -> u64 {
        self.forbidden
    }

    /// Leads guests' connections to the resolver's port to this address.
    pub fn lead_dns_to(&mut self, address: SocketAddr) {
        self.dns_streams = Some(address);
    }

    /// The resolvers to ask, in this order: those that did not answer lately come last, so that a dead
    /// resolver does not delay every question.
    pub fn resolvers(&mut self, now: Instant) -> Vec<SocketAddr> {
        let is_silent = |asked: &Instant| now.saturating_duration_since(*asked) < limits::RESOLVER_SPARED;
        self.silent.retain(|_, asked| is_silent(asked));
        let mut resolvers = self.known_resolvers().to_vec();
        // The sort keeps the order among equals.
        resolvers.sort_by_key(|resolver| self.silent.contains_key(resolver));
        resolvers
    }

    /// Notes that a resolver did not answer in time.
    pub fn note_silence(&mut self, resolver: SocketAddr, now: Instant) {
        self.silent.insert(resolver, now);
    }

    /// The resolvers that are known. The host's file is read again when it has changed.
    fn known_resolvers(&mut self) -> &[SocketAddr] {
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
                    // The file was replaced, and the sandbox knows only the file that was there at the start
                    // (`sandbox::Needs`).
                    tracing::warn!(
                        "{RESOLV_CONF} is another file now, which this gateway may not read; it asks the \
                         resolvers of before: start it again, or give `--dns ADDRESS`"
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
            return self.dns_streams;
        }
        match self.of_udp(to) {
            Way::To(target) => Some(target.into()),
            Way::Nowhere | Way::Forbidden => None,
        }
    }

    /// Where a guest's datagram goes.
    pub fn of_udp(&mut self, to: SocketAddrV4) -> Way {
        let ip = *to.ip();
        let target = if ip == self.addresses.gateway {
            Ipv4Addr::LOCALHOST
        } else if is_somewhere(ip) && !self.addresses.cidr.contains_addr(&ip) {
            ip
        } else {
            return Way::Nowhere;
        };
        let target = SocketAddrV4::new(target, to.port());
        if to.port() == 0 {
            Way::Nowhere
        } else if self.rules.allow(target) {
            Way::To(target)
        } else {
            if self.forbid(target) {
                tracing::warn!(
                    "a guest asked for {target}, which is refused; `--allow {target}` opens it ({} such \
                     attempts so far)",
                    self.forbidden
                );
            }
            Way::Forbidden
        }
    }

    /// Where a guest's ping goes. Rules with a port do not cover it.
    pub fn of_ping(&mut self, to: Ipv4Addr) -> Way {
        let place = SocketAddrV4::new(to, 0);
        if !is_somewhere(to) || self.addresses.cidr.contains_addr(&to) {
            Way::Nowhere
        } else if self.rules.allow(place) {
            Way::To(place)
        } else {
            if self.forbid(place) {
                tracing::warn!("a guest pings {to}, which is refused; `--allow {to}` opens it");
            }
            Way::Forbidden
        }
    }

    /// Whether a datagram from this place of the world may reach a guest: a guest can answer it, so the rules
    /// for destinations hold.
    pub fn may_answer(&mut self, from: SocketAddrV4) -> bool {
        let allowed = self.rules.allow(from);
        if !allowed && self.forbid(from) {
            tracing::warn!(
                "{from} answers a guest, and is refused; some servers (TFTP) answer from another port than \
                 was asked: `--allow {}` opens all ports ({} such attempts so far)",
                from.ip(),
                self.forbidden
            );
        }
        allowed
    }

    /// Counts a refusal. True: this place has not been told yet.
    fn forbid(&mut self, place: SocketAddrV4) -> bool {
        self.forbidden += 1;
        self.told.len() < limits::FORBIDDEN_TOLD_MAX && self.told.insert(place)
    }
}

fn is_somewhere(ip: Ipv4Addr) -> bool {
    !(ip.is_multicast() || ip.is_broadcast() || ip.octets()[0] == 0)
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
    use crate::config::{GatewayConfig, GuestListen};

    fn destinations(allow: &[&str]) -> Destinations {
        let addresses = GatewayConfig::new(GuestListen::Unix("x".into()))
            .addresses()
            .unwrap();
        let resolver = "192.0.2.53:53".parse().unwrap();
        let allow: Vec<_> = allow.iter().map(|text| text.parse().unwrap()).collect();
        let rules = Rules::new(&allow, &[], Vec::new(), addresses.gateway);
        let others = ["192.0.2.54:53", "192.0.2.55:53"].map(|address| address.parse().unwrap());
        let resolvers = Resolvers::Fixed([vec![resolver], others.to_vec()].concat());
        let mut destinations = Destinations::new(addresses, rules, resolvers);
        destinations.lead_dns_to("127.0.0.1:4444".parse().unwrap());
        destinations
    }

    fn target(destinations: &mut Destinations, to: &str) -> Option<String> {
        destinations
            .of_tcp(to.parse().unwrap())
            .map(|target| target.to_string())
    }

    #[test]
    fn the_gateway_stands_for_the_loopback_and_for_dns() {
        let mut open = destinations(&["127.0.0.1:80"]);
        assert_eq!(target(&mut open, "10.0.2.2:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(target(&mut open, "8.8.8.8:443").as_deref(), Some("8.8.8.8:443"));
        // Questions are taken on the loopback, which guests reach for nothing else.
        let mut closed = destinations(&[]);
        assert_eq!(
            target(&mut closed, "10.0.2.3:53").as_deref(),
            Some("127.0.0.1:4444")
        );
        assert_eq!(
            target(&mut closed, "10.0.2.2:53").as_deref(),
            Some("127.0.0.1:4444")
        );
        assert_eq!(target(&mut closed, "127.0.0.1:4444"), None);
        assert_eq!(target(&mut closed, "127.0.0.53:53"), None);
    }

    #[test]
    fn a_resolver_that_does_not_answer_is_asked_last_for_a_minute() {
        let (mut destinations, now) = (destinations(&[]), Instant::now());
        let hosts = |destinations: &mut Destinations, now| -> Vec<u8> {
            let resolvers = destinations.resolvers(now).into_iter();
            let hosts = resolvers.map(|resolver| match resolver.ip() {
                IpAddr::V4(ip) => ip.octets()[3],
                IpAddr::V6(_) => 0,
            });
            hosts.collect()
        };
        assert_eq!(hosts(&mut destinations, now), [53, 54, 55]);
        destinations.note_silence("192.0.2.53:53".parse().unwrap(), now);
        assert_eq!(hosts(&mut destinations, now), [54, 55, 53]);
        assert_eq!(
            hosts(&mut destinations, now + limits::RESOLVER_SPARED),
            [53, 54, 55]
        );
    }

    #[test]
    fn what_leads_nowhere_is_told_from_what_is_forbidden() {
        let mut closed = destinations(&[]);
        for to in [
            "10.0.2.3:80",
            "10.0.2.77:80",
            "0.0.0.0:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "8.8.8.8:0",
        ] {
            assert_eq!(closed.of_udp(to.parse().unwrap()), Way::Nowhere, "{to}");
        }
        for to in ["10.0.2.2:80", "127.0.0.1:80", "169.254.169.254:80"] {
            assert_eq!(closed.of_udp(to.parse().unwrap()), Way::Forbidden, "{to}");
        }
        assert_eq!(closed.forbidden(), 3);
    }

    #[test]
    fn resolv_conf_is_read_as_the_c_library_does() {
        let text = "# c\nsearch x\nnameserver 192.0.2.1\nnameserver ::1\nnameserver bad\n\
            nameserver\t192.0.2.3 x\nnameserver 192.0.2.4";
        let resolvers: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(resolvers, ["192.0.2.1:53", "[::1]:53", "192.0.2.3:53"]);
    }
}
