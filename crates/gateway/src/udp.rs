//! UDP: a host socket per flow, forgotten when it is idle.
//!
//! A flow that a guest starts has a connected host socket, so that only its destination can answer. A flow
//! that a client starts through a forward appears to the guest as a port of the gateway. Datagrams are lost
//! when somebody is slow, as on any network.

use super::config::{Forward, GatewayError};
use super::host_port::HostPort;
use super::limits;
use super::nat::{Destinations, Way};
use super::segment::Segment;
use super::shares::{Shares, source_of};
use super::token::{Kind, token};
use mio::net::UdpSocket;
use mio::{Interest, Registry};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

/// Lowest port of the gateway at which forwarded clients appear.
const FIRST_PORT: u16 = 1024;
/// Longest UDP datagram in bytes.
pub const DATAGRAM_LEN_MAX: usize = 65_535;
/// Longest payload in bytes that fits an IPv4 datagram.
const PAYLOAD_LEN_MAX: usize = DATAGRAM_LEN_MAX - 28;

/// The two ends of a flow as the guest sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    guest: SocketAddrV4,
    outside: SocketAddrV4,
}

#[derive(Debug)]
enum Host {
    /// A socket of the flow's own.
    Socket(UdpSocket),
    /// A client of this forward.
    Client { forward: usize, address: SocketAddr },
}

/// What became of a guest's datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The datagram is on its way, or lost.
    Sent,
    /// Nobody takes the datagram.
    Refused,
    /// Guests may not reach the destination.
    Forbidden,
}

/// Who has the share of the flows to which a flow counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Guest(Ipv4Addr),
    /// A client of a forward.
    Source(IpAddr),
}

impl Holder {
    fn share(&self) -> usize {
        match self {
            Self::Guest(_) => limits::UDP_FLOWS_PER_GUEST_MAX,
            Self::Source(_) => limits::UDP_FLOWS_PER_SOURCE_MAX,
        }
    }
}

fn holder_of(host: &Host, ends: &Ends) -> Holder {
    match host {
        Host::Socket(_) => Holder::Guest(*ends.guest.ip()),
        Host::Client { address, .. } => Holder::Source(source_of(address.ip())),
    }
}

#[derive(Debug)]
struct Flow {
    ends: Ends,
    host: Host,
    used: Instant,
}

#[derive(Debug)]
struct ForwardSocket {
    socket: UdpSocket,
    guest: SocketAddrV4,
    flows: HashMap<SocketAddr, u64>,
}

/// All UDP flows and forwards.
#[derive(Debug, Default)]
pub struct UdpFlows {
    flows: HashMap<u64, Flow>,
    by_ends: HashMap<Ends, u64>,
    shares: Shares<Holder>,
    forwards: Vec<ForwardSocket>,
    next_id: u64,
    next_port: u16,
    /// No flow expires before this time, at which the flows are looked at again.
    expire_at: Option<Instant>,
    buffer: Vec<u8>,
}

impl UdpFlows {
    /// Starts to listen for a forward. Returns the address with the port that was chosen.
    pub fn listen(
        &mut self,
        forward: &Forward,
        guest: Ipv4Addr,
        registry: &Registry,
    ) -> Result<SocketAddr, GatewayError> {
        let token = token(Kind::UdpForward, self.forwards.len() as u64);
        let (bind, address) = (UdpSocket::bind, UdpSocket::local_addr);
        let port = HostPort::open(forward, guest, (registry, token), bind, address)?;
        self.forwards.push(ForwardSocket {
            socket: port.socket,
            guest: port.guest,
            flows: HashMap::new(),
        });
        Ok(port.address)
    }

    /// Handles a datagram of a guest.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        registry: &Registry,
        destinations: &mut Destinations,
        (guest, outside): (SocketAddrV4, SocketAddrV4),
        payload: &[u8],
    ) -> Fate {
        let ends = Ends { guest, outside };
        let id = match self.by_ends.get(&ends) {
            Some(&id) => id,
            None => match destinations.of_udp(outside) {
                Way::Forbidden => return Fate::Forbidden,
                Way::Nowhere => return Fate::Refused,
                Way::To(target) => match self.open(now, registry, target, ends) {
                    Some(id) => id,
                    None => return Fate::Refused,
                },
            },
        };
        let Some(flow) = self.flows.get_mut(&id) else {
            return Fate::Refused;
        };
        flow.used = now;
        let sent = match &flow.host {
            Host::Socket(socket) => socket.send(payload),
            Host::Client { forward, address } => self.forwards[*forward].socket.send_to(payload, *address),
        };
        match sent {
            // An earlier datagram was refused, and its error comes with the next call. Other failures are
            // lost datagrams.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Fate::Refused,
            _ => Fate::Sent,
        }
    }

    /// Handles answers on a flow's own socket. True: there may be more.
    pub fn on_flow(&mut self, segment: &mut Segment, id: u64) -> bool {
        let Some(flow) = self.flows.get_mut(&id) else {
            return false;
        };
        let Host::Socket(socket) = &flow.host else {
            return false;
        };
        self.buffer.resize(DATAGRAM_LEN_MAX, 0);
        for _ in 0..limits::DATAGRAMS_PER_TURN {
            match socket.recv(&mut self.buffer) {
                Ok(length) => {
                    flow.used = segment.now;
                    let payload = &self.buffer[..length.min(PAYLOAD_LEN_MAX)];
                    segment.send_udp(flow.ends.outside, flow.ends.guest, payload);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // The destination refused or is unreachable: the guest finds out by its own timer.
                Err(error) => tracing::debug!(%error, "a guest's datagram came to nothing"),
            }
        }
        true
    }

    /// Handles datagrams of clients of a forward. True: there may be more.
    pub fn on_forward(&mut self, segment: &mut Segment, index: usize) -> bool {
        self.buffer.resize(DATAGRAM_LEN_MAX, 0);
        for _ in 0..limits::DATAGRAMS_PER_TURN {
            let Some(forward) = self.forwards.get_mut(index) else {
                return false;
            };
            let (length, client) = match forward.socket.recv_from(&mut self.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    tracing::debug!(%error, "a client of a forward went away");
                    continue;
                }
            };
            let Some(ends) = self.client_ends(segment, index, client) else {
                continue;
            };
            segment.send_udp(
                ends.outside,
                ends.guest,
                &self.buffer[..length.min(PAYLOAD_LEN_MAX)],
            );
        }
        true
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.expire_at
    }

    /// Forgets idle flows.
    pub fn on_deadline(&mut self, now: Instant) {
        if self.expire_at.is_none_or(|at| at > now) {
            return;
        }
        let idle: Vec<u64> = self
            .flows
            .iter()
            .filter(|(_, flow)| now.saturating_duration_since(flow.used) >= limits::UDP_IDLE)
            .map(|(&id, _)| id)
            .collect();
        for id in idle {
            self.remove(id);
        }
        self.expire_at = self.flows.values().map(|flow| flow.used + limits::UDP_IDLE).min();
    }

    fn open(&mut self, now: Instant, registry: &Registry, target: SocketAddr, ends: Ends) -> Option<u64> {
        let any: IpAddr = if target.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let mut socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        socket.connect(target).ok()?;
        self.make_room(&Holder::Guest(*ends.guest.ip()));
        registry
            .register(
                &mut socket,
                token(Kind::UdpFlow, self.next_id),
                Interest::READABLE,
            )
            .ok()?;
        Some(self.insert(now, ends, Host::Socket(socket)))
    }

    fn client_ends(&mut self, segment: &Segment, index: usize, client: SocketAddr) -> Option<Ends> {
        let known = self.forwards[index].flows.get(&client).copied();
        if let Some(flow) = known.and_then(|id| self.flows.get_mut(&id)) {
            flow.used = segment.now;
            return Some(flow.ends);
        }
        self.make_room(&Holder::Source(source_of(client.ip())));
        let guest = self.forwards[index].guest;
        let ends = self.free_ends(segment.addresses.gateway, guest)?;
        let id = self.insert(
            segment.now,
            ends,
            Host::Client {
                forward: index,
                address: client,
            },
        );
        self.forwards[index].flows.insert(client, id);
        Some(ends)
    }

    fn free_ends(&mut self, gateway: Ipv4Addr, guest: SocketAddrV4) -> Option<Ends> {
        for _ in 0..=u16::MAX {
            self.next_port = self
                .next_port
                .checked_add(1)
                .unwrap_or(FIRST_PORT)
                .max(FIRST_PORT);
            let ends = Ends {
                guest,
                outside: SocketAddrV4::new(gateway, self.next_port),
            };
            if !self.by_ends.contains_key(&ends) {
                return Some(ends);
            }
        }
        None
    }

    fn insert(&mut self, now: Instant, ends: Ends, host: Host) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let holder = holder_of(&host, &ends);
        self.flows.insert(
            id,
            Flow {
                ends,
                host,
                used: now,
            },
        );
        self.by_ends.insert(ends, id);
        self.shares.add(holder);
        self.expire_at.get_or_insert(now + limits::UDP_IDLE);
        id
    }

    /// Ends the flow that is idle longest: of this holder if it has its share, else of all holders if there
    /// is no room.
    fn make_room(&mut self, holder: &Holder) {
        let has_share = self.shares.of(holder) >= holder.share();
        if has_share || self.flows.len() >= limits::UDP_FLOWS_MAX {
            let idle = self
                .flows
                .iter()
                .filter(|(_, flow)| !has_share || holder_of(&flow.host, &flow.ends) == *holder)
                .min_by_key(|(_, flow)| flow.used)
                .map(|(&id, _)| id);
            if let Some(id) = idle {
                self.remove(id);
            }
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(flow) = self.flows.remove(&id) else {
            return;
        };
        self.by_ends.remove(&flow.ends);
        self.shares.remove(&holder_of(&flow.host, &flow.ends));
        if let Host::Client { forward, address } = flow.host {
            self.forwards[forward].flows.remove(&address);
        }
    }
}
