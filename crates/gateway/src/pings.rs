//! Pings of guests to the world, where this host lets programs without privileges ping.
//!
//! Linux has a socket for that (icmp(7), `ping_group_range`): it sends echo requests and hears their answers,
//! under an identifier of the kernel's choice. Each identifier of a guest and each destination has a socket
//! of its own, and only that destination's answers pass. Pings to the gateway itself are answered by `icmp`.

use super::expiry::Expiry;
use super::icmp;
use super::limits;
use super::mappings::{DATAGRAM_LEN_MAX, Fate};
use super::nat::{Destinations, Way};
use super::segment::{Incoming, Segment};
use super::shares::Shares;
use super::socket_errors;
use super::token::{Kind, token};
use mio::net::UdpSocket;
use mio::{Interest, Registry};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{EthernetAddress, Icmpv4Packet, Icmpv4Repr, IpProtocol};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

/// Who pings whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    mac: EthernetAddress,
    guest: Ipv4Addr,
    to: Ipv4Addr,
    /// The identifier that the guest has chosen.
    ident: u16,
}

#[derive(Debug)]
struct Ping {
    ends: Ends,
    socket: UdpSocket,
    /// Time at which a packet last went either way.
    used: Instant,
}

/// All pings under way.
#[derive(Debug, Default)]
pub struct Pings {
    by_id: HashMap<u64, Ping>,
    by_ends: HashMap<Ends, u64>,
    shares: Shares<Ipv4Addr>,
    next_id: u64,
    /// When the idle ones are looked for.
    expiry: Expiry,
    /// Whether the operator was told that this host does not let us ping.
    is_told: bool,
    buffer: Vec<u8>,
}

impl Pings {
    /// Sends a guest's echo request to the world. Other packets are dropped.
    pub fn send(
        &mut self,
        segment: &mut Segment,
        registry: &Registry,
        destinations: &mut Destinations,
        packet: &Incoming<'_>,
    ) -> Fate {
        let checksums = ChecksumCapabilities::default();
        let request = Icmpv4Packet::new_checked(packet.payload)
            .and_then(|icmp| Icmpv4Repr::parse(&icmp, &checksums).map(|parsed| (icmp, parsed)));
        let Ok((_, Icmpv4Repr::EchoRequest { ident, .. })) = request else {
            return Fate::Sent;
        };
        match destinations.of_ping(packet.to) {
            Way::To(_) => {}
            Way::Nowhere => return Fate::NOWHERE,
            Way::Forbidden => return Fate::PROHIBITED,
        }
        let hops = packet.hops().saturating_sub(1);
        if hops == 0 {
            return Fate::SPENT;
        }
        let ends = Ends {
            mac: packet.mac,
            guest: packet.from,
            to: packet.to,
            ident,
        };
        let now = segment.now;
        let known = self.by_ends.get(&ends).copied();
        let id = match known.map_or_else(|| self.open(now, registry, ends), Ok) {
            Ok(id) => id,
            Err(error) => return self.refuse(&error),
        };
        let Some(ping) = self.by_id.get_mut(&id) else {
            return Fate::Sent;
        };
        ping.used = now;
        // A failure sends the packet farther than the guest wanted.
        let _ = ping.socket.set_ttl(hops.into());
        let to = SocketAddrV4::new(ends.to, 0).into();
        let transmit = || ping.socket.send_to(packet.payload, to);
        let sent = socket_errors::send(&ping.socket, transmit, |error| {
            icmp::tell_pinger(segment, (ends.guest, ends.to, ends.ident), &error);
        });
        sent.map_or_else(|error| Fate::of(&error), |()| Fate::Sent)
    }

    /// Handles what has come for a ping. True: there may be more.
    pub fn on_ready(&mut self, segment: &mut Segment, id: u64) -> bool {
        let Some(Ping { ends, socket, used }) = self.by_id.get_mut(&id) else {
            return false;
        };
        self.buffer.resize(DATAGRAM_LEN_MAX, 0);
        for _ in 0..limits::DATAGRAMS_PER_TURN {
            match socket.recv_from(&mut self.buffer) {
                Ok((length, SocketAddr::V4(from)))
                    if *from.ip() == ends.to && segment.guests.mac_of(ends.guest) == Some(ends.mac) =>
                {
                    *used = segment.now;
                    let mut message = Icmpv4Packet::new_unchecked(&mut self.buffer[..length]);
                    if message.check_len().is_ok() {
                        message.set_echo_ident(ends.ident);
                        message.fill_checksum();
                        let places = (ends.to, ends.guest);
                        segment.send_long(places, IpProtocol::Icmp, &self.buffer[..length]);
                    }
                }
                Ok((_, from)) => tracing::debug!(%from, "a stranger's answer to a ping was dropped"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    for error in socket_errors::take(socket) {
                        icmp::tell_pinger(segment, (ends.guest, ends.to, ends.ident), &error);
                    }
                }
            }
        }
        true
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.expiry.deadline()
    }

    /// Forgets idle pings.
    pub fn on_deadline(&mut self, now: Instant) {
        let entries = self.by_id.iter().map(|(&id, ping)| (id, ping.used));
        for id in self.expiry.due(now, limits::PING_IDLE, entries) {
            self.remove(id);
        }
    }

    fn open(&mut self, now: Instant, registry: &Registry, ends: Ends) -> io::Result<u64> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4))?;
        socket.set_nonblocking(true)?;
        let mut socket = UdpSocket::from_std(socket.into());
        socket_errors::keep(&socket);
        registry.register(&mut socket, token(Kind::Ping, self.next_id), Interest::READABLE)?;
        self.make_room(ends.guest);
        let id = self.next_id;
        self.next_id += 1;
        self.by_id.insert(
            id,
            Ping {
                ends,
                socket,
                used: now,
            },
        );
        self.by_ends.insert(ends, id);
        self.shares.add(ends.guest);
        self.expiry.on_begun(now, limits::PING_IDLE);
        Ok(id)
    }

    /// Says once why no guest can ping, and tells this guest.
    fn refuse(&mut self, error: &io::Error) -> Fate {
        if error.kind() == ErrorKind::PermissionDenied && !self.is_told {
            self.is_told = true;
            tracing::warn!(
                "a guest pings, which this host does not let programs without privileges do; `sysctl \
                 net.ipv4.ping_group_range=\"0 2147483647\"` allows it"
            );
        }
        Fate::of(error)
    }

    /// Ends the ping that is idle longest: of this guest if it has its share, else of the guest that has most
    /// of them if there is no room.
    fn make_room(&mut self, guest: Ipv4Addr) {
        let is_full = self.by_id.len() >= limits::PINGS_MAX;
        let Some(of_whom) = self
            .shares
            .who_gives_way(guest, limits::PINGS_PER_GUEST_MAX, is_full)
        else {
            return;
        };
        let theirs = self.by_id.iter().filter(|(_, ping)| ping.ends.guest == of_whom);
        if let Some(id) = theirs.min_by_key(|(_, ping)| ping.used).map(|(&id, _)| id) {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        if let Some(ping) = self.by_id.remove(&id) {
            self.by_ends.remove(&ping.ends);
            self.shares.remove(&ping.ends.guest);
        }
    }
}
