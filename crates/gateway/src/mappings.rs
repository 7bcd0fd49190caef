//! The guests' way out for datagrams: one host socket for each address and port that a guest sends from.
//!
//! The socket serves all destinations (endpoint-independent mapping, RFC 4787 REQ-1), so that a guest can
//! learn from one server at which port another one sees it. It takes answers from the addresses that the
//! guest has sent to, from any of their ports (address-dependent filtering, REQ-8), as TFTP needs it, and
//! never from a place that the rules refuse. What the network says about a datagram is told to the guest that
//! sent it.
//!
//! `udp` calls this file for what goes out; `clients` has the other direction, and `resting` the ports.

use super::expiry::Expiry;
use super::icmp;
use super::limits;
use super::nat::{Destinations, Way};
use super::resting::HostPorts;
use super::segment::Segment;
use super::shares::Shares;
use super::socket_errors::{self, SocketError};
use super::token::{Kind, token};
use mio::net::UdpSocket;
use mio::{Interest, Registry};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover, set_ip_ttl};
use smoltcp::wire::EthernetAddress;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

/// Longest UDP datagram in bytes.
pub const DATAGRAM_LEN_MAX: usize = 65_535;

/// A datagram of a guest.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// The guest's MAC address, as the switch knows it.
    pub mac: EthernetAddress,
    /// The guest's address and port.
    pub guest: SocketAddrV4,
    /// The destination as the guest sees it.
    pub outside: SocketAddrV4,
    /// Routers that the datagram may still pass.
    pub hops: u8,
    /// Whether routers may cut the datagram into fragments.
    pub may_fragment: bool,
    /// The bytes behind the header of UDP.
    pub payload: &'a [u8],
}

/// What became of a guest's datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The datagram is on its way, or lost, or the guest was told why it could not be sent.
    Sent,
    /// The guest is to be told with an ICMP message of this type and code.
    Returned(u8, u8),
}

impl Fate {
    /// Nobody takes the datagram.
    pub const REFUSED: Self = Self::Returned(socket_errors::UNREACHABLE, socket_errors::PORT_UNREACHABLE);
    /// Guests may not send there.
    pub const PROHIBITED: Self = Self::Returned(socket_errors::UNREACHABLE, socket_errors::PROHIBITED);
    /// There is no such host.
    pub const NOWHERE: Self = Self::Returned(socket_errors::UNREACHABLE, socket_errors::HOST_UNREACHABLE);
    /// The packet may pass no further router.
    pub const SPENT: Self = Self::Returned(socket_errors::TIME_EXCEEDED, 0);

    /// What this host's own refusal to send says to the guest.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::NetworkUnreachable => {
                Self::Returned(socket_errors::UNREACHABLE, socket_errors::NET_UNREACHABLE)
            }
            // A route or a filter of this host forbids the destination.
            ErrorKind::PermissionDenied => Self::PROHIBITED,
            ErrorKind::HostUnreachable | ErrorKind::InvalidInput => Self::NOWHERE,
            // The kernel has no memory, or the like: the packet is lost.
            _ => Self::Sent,
        }
    }
}

/// How the kernel sends the datagrams of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Manner {
    hops: u8,
    may_fragment: bool,
}

#[derive(Debug)]
struct Mapping {
    /// MAC of the guest that has begun the mapping. If the address goes to another guest, the mapping ends.
    mac: EthernetAddress,
    guest: SocketAddrV4,
    socket: UdpSocket,
    /// Where the guest has sent to, as the host sees it, and when it did last.
    contacts: Vec<(SocketAddrV4, Instant)>,
    manner: Manner,
    /// Time at which a datagram last went either way.
    used: Instant,
}

/// All mappings.
#[derive(Debug, Default)]
pub struct Mappings {
    by_id: HashMap<u64, Mapping>,
    by_guest: HashMap<SocketAddrV4, u64>,
    shares: Shares<Ipv4Addr>,
    ports: HostPorts,
    next_id: u64,
    /// When the idle ones are looked for.
    expiry: Expiry,
    buffer: Vec<u8>,
}

impl Mappings {
    /// Sends a guest's datagram to the world.
    pub fn send(
        &mut self,
        segment: &mut Segment,
        registry: &Registry,
        destinations: &mut Destinations,
        datagram: &Datagram<'_>,
    ) -> Fate {
        let target = match destinations.of_udp(datagram.outside) {
            Way::To(target) => target,
            Way::Nowhere => return Fate::REFUSED,
            Way::Forbidden => return Fate::PROHIBITED,
        };
        // The host's loopback is behind the gateway's address and not behind a router.
        let hops = if target.ip().is_loopback() {
            datagram.hops
        } else {
            datagram.hops.saturating_sub(1)
        };
        if hops == 0 {
            return Fate::SPENT;
        }
        let now = segment.now;
        let known = self.by_guest.get(&datagram.guest).copied();
        let known = match known {
            Some(id) if !self.is_of(id, datagram.mac) => {
                self.remove(id, now);
                None
            }
            known => known,
        };
        let Some(id) = known.or_else(|| self.open(now, registry, datagram)) else {
            return Fate::Sent;
        };
        let Some(mapping) = self.by_id.get_mut(&id) else {
            return Fate::Sent;
        };
        mapping.used = now;
        mapping.note_contact(target, now);
        mapping.send_as(Manner {
            hops,
            may_fragment: datagram.may_fragment,
        });
        let Mapping { guest, manner, .. } = *mapping;
        let transmit = || mapping.socket.send_to(datagram.payload, target.into());
        let sent = socket_errors::send(&mapping.socket, transmit, |error| {
            tell(segment, guest, manner, &error);
        });
        sent.map_or_else(|error| Fate::of(&error), |()| Fate::Sent)
    }

    /// Handles what has come for a mapping's socket. True: there may be more.
    pub fn on_ready(&mut self, segment: &mut Segment, destinations: &mut Destinations, id: u64) -> bool {
        let Some(mapping) = self.by_id.get_mut(&id) else {
            return false;
        };
        self.buffer.resize(DATAGRAM_LEN_MAX, 0);
        for _ in 0..limits::DATAGRAMS_PER_TURN {
            match mapping.socket.recv_from(&mut self.buffer) {
                Ok((length, SocketAddr::V4(from))) if mapping.takes_from(*from.ip()) => {
                    let is_there = segment.guests.mac_of(*mapping.guest.ip()) == Some(mapping.mac);
                    if is_there && destinations.may_answer(from) {
                        mapping.used = segment.now;
                        let from = segment.addresses.as_guests_see(from);
                        segment.send_udp(from, mapping.guest, &self.buffer[..length]);
                    }
                }
                Ok((_, from)) => tracing::debug!(%from, "a stranger's datagram was dropped"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    for error in socket_errors::take(&mapping.socket) {
                        tell(segment, mapping.guest, mapping.manner, &error);
                    }
                }
            }
        }
        true
    }

    /// Whether a guest's port has lately sent to this port of the host's loopback.
    pub fn sends_to_loopback(&self, guest: SocketAddrV4, port: u16) -> bool {
        let mapping = self.by_guest.get(&guest).and_then(|id| self.by_id.get(id));
        let place = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        mapping.is_some_and(|mapping| mapping.contacts.iter().any(|&(contact, _)| contact == place))
    }

    /// Number of mappings, and of ports that rest after one.
    pub fn counts(&self) -> [usize; 2] {
        [self.by_id.len(), self.ports.len()]
    }

    /// The ports that rest, for other sockets on behalf of a guest.
    pub fn ports_mut(&mut self) -> &mut HostPorts {
        &mut self.ports
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.expiry.deadline()
    }

    /// Forgets idle mappings.
    pub fn on_deadline(&mut self, now: Instant) {
        let entries = self.by_id.iter().map(|(&id, mapping)| (id, mapping.used));
        for id in self.expiry.due(now, limits::UDP_IDLE, entries) {
            self.remove(id, now);
        }
    }

    fn open(&mut self, now: Instant, registry: &Registry, datagram: &Datagram<'_>) -> Option<u64> {
        let Datagram { mac, guest, .. } = *datagram;
        let mut socket = self.ports.bind(*guest.ip(), now)?;
        socket_errors::keep(&socket);
        let token = token(Kind::UdpMapping, self.next_id);
        registry
            .register(&mut socket, token, Interest::READABLE)
            .inspect_err(|error| tracing::warn!("a socket for datagrams cannot be watched: {error}"))
            .ok()?;
        self.make_room(*guest.ip(), now);
        let id = self.next_id;
        self.next_id += 1;
        let mapping = Mapping {
            mac,
            guest,
            socket,
            contacts: Vec::new(),
            manner: Manner {
                hops: 0,
                may_fragment: true,
            },
            used: now,
        };
        self.by_id.insert(id, mapping);
        self.by_guest.insert(guest, id);
        self.shares.add(*guest.ip());
        self.expiry.on_begun(now, limits::UDP_IDLE);
        Some(id)
    }

    /// Ends the mapping that is idle longest: of this guest if it has its share, else of the guest that has
    /// most of them if there is no room.
    fn make_room(&mut self, guest: Ipv4Addr, now: Instant) {
        let is_full = self.by_id.len() >= limits::UDP_MAPPINGS_MAX;
        let Some(of_whom) = self
            .shares
            .who_gives_way(guest, limits::UDP_MAPPINGS_PER_GUEST_MAX, is_full)
        else {
            return;
        };
        let theirs = self
            .by_id
            .iter()
            .filter(|(_, mapping)| *mapping.guest.ip() == of_whom);
        if let Some(id) = theirs.min_by_key(|(_, mapping)| mapping.used).map(|(&id, _)| id) {
            self.remove(id, now);
        }
    }

    /// Whether this guest has begun a mapping.
    fn is_of(&self, id: u64, mac: EthernetAddress) -> bool {
        self.by_id.get(&id).is_some_and(|mapping| mapping.mac == mac)
    }

    fn remove(&mut self, id: u64, now: Instant) {
        if let Some(mapping) = self.by_id.remove(&id) {
            self.by_guest.remove(&mapping.guest);
            self.shares.remove(mapping.guest.ip());
            self.ports.rest(*mapping.guest.ip(), &mapping.socket, now);
        }
    }
}

impl Mapping {
    fn takes_from(&self, address: Ipv4Addr) -> bool {
        self.contacts.iter().any(|(contact, _)| *contact.ip() == address)
    }

    /// Remembers a destination. The one that was not sent to for the longest time makes room.
    fn note_contact(&mut self, to: SocketAddrV4, now: Instant) {
        if let Some((_, sent)) = self.contacts.iter_mut().find(|(contact, _)| *contact == to) {
            *sent = now;
            return;
        }
        if self.contacts.len() >= limits::CONTACTS_PER_MAPPING_MAX {
            let times = self.contacts.iter().enumerate();
            if let Some((oldest, _)) = times.min_by_key(|(_, (_, sent))| *sent) {
                self.contacts.swap_remove(oldest);
            }
        }
        self.contacts.push((to, now));
    }

    /// Has the kernel send as the guest does. A failure sends the datagram in another manner.
    fn send_as(&mut self, manner: Manner) {
        if self.manner == manner {
            return;
        }
        self.manner = manner;
        let discovery = if manner.may_fragment {
            Ipv4PathMtuDiscovery::WANT
        } else {
            Ipv4PathMtuDiscovery::DO
        };
        let set = set_ip_ttl(&self.socket, manner.hops.into())
            .and_then(|()| set_ip_mtu_discover(&self.socket, discovery));
        if let Err(error) = set {
            tracing::debug!(%error, "a guest's datagram goes out in another manner");
        }
    }
}

/// Tells a guest what was said about a datagram that it has sent.
fn tell(segment: &mut Segment, guest: SocketAddrV4, manner: Manner, error: &SocketError) {
    let SocketAddr::V4(to) = error.to else {
        return;
    };
    if manner.may_fragment && error.kind == (socket_errors::UNREACHABLE, socket_errors::FRAGMENTATION_NEEDED)
    {
        // This host's kernel cuts the next ones.
        return;
    }
    let by = match error.by {
        Some(IpAddr::V4(by)) => *segment.addresses.as_guests_see(SocketAddrV4::new(by, 0)).ip(),
        _ => segment.addresses.gateway,
    };
    let to = segment.addresses.as_guests_see(to);
    icmp::tell(segment, by, (guest, to), error);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_mapping_remembers_the_destinations_of_late_and_takes_answers_from_any_of_their_ports() {
        let (now, place) = (Instant::now(), |number: u32| {
            SocketAddrV4::new(Ipv4Addr::from_bits(0xc000_0200 + number), 7)
        });
        let mut mapping = Mapping {
            mac: EthernetAddress([2, 0, 0, 0, 0, 1]),
            guest: "10.0.2.15:9".parse().unwrap(),
            socket: UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
            contacts: Vec::new(),
            manner: Manner {
                hops: 64,
                may_fragment: true,
            },
            used: now,
        };
        for number in 0..=limits::CONTACTS_PER_MAPPING_MAX as u32 {
            let time = now + Duration::from_nanos(number.into());
            mapping.note_contact(place(number), time);
            // The first is sent to again and again, and the second is not.
            mapping.note_contact(place(0), time);
        }
        assert_eq!(mapping.contacts.len(), limits::CONTACTS_PER_MAPPING_MAX);
        assert!(mapping.takes_from(*place(0).ip()) && !mapping.takes_from(*place(1).ip()));
        assert!(mapping.takes_from(*place(2).ip()));
    }
}
