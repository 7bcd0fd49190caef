//! The way in for datagrams: forwards, and the clients that have sent something through one.
//!
//! A guest sees each client as a port of the gateway's address, and what it sends to that port goes to the
//! client. A port that a client had rests afterwards, so that a late answer reaches neither another client
//! nor a service of the host that has the same port.

use super::config::{Forward, GatewayError};
use super::expiry::Expiry;
use super::host_port::HostPort;
use super::icmp;
use super::limits;
use super::local_address::{self, LocalAddress};
use super::mappings::{DATAGRAM_LEN_MAX, Datagram, Fate};
use super::resting::ClientPorts;
use super::segment::Segment;
use super::shares::{Shares, source_of};
use super::socket_errors::{self, SocketError};
use super::token::{Kind, token};
use super::told::Told;
use mio::Registry;
use mio::net::UdpSocket;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

/// Longest payload in bytes that fits a datagram of IPv4. IPv6 has longer ones.
const PAYLOAD_LEN_MAX: usize = DATAGRAM_LEN_MAX - 28;

/// Where a client is, and at which address of the host it has called.
type Place = (SocketAddr, Option<LocalAddress>);

#[derive(Debug)]
struct Client {
    /// Number of the forward that the client uses.
    forward: usize,
    address: SocketAddr,
    /// The host's address that the client has sent to, from which it expects answers.
    local: Option<LocalAddress>,
    /// Time at which a datagram last went either way.
    used: Instant,
}

#[derive(Debug)]
struct ForwardSocket {
    socket: UdpSocket,
    /// The forward as messages name it.
    name: String,
    guest: SocketAddrV4,
    /// The clients' ports of the gateway.
    ports: HashMap<Place, u16>,
}

/// All UDP forwards and their clients.
#[derive(Debug, Default)]
pub struct Clients {
    forwards: Vec<ForwardSocket>,
    /// Clients by their port of the gateway.
    by_port: HashMap<u16, Client>,
    ports: ClientPorts,
    shares: Shares<IpAddr>,
    /// When the idle ones are looked for.
    expiry: Expiry,
    buffer: Vec<u8>,
    /// Datagrams of clients that a guest has refused.
    refused: Told,
    /// Clients for which there was no port.
    without_port: Told,
}

impl Clients {
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
        socket_errors::keep(&port.socket);
        local_address::keep(&port.socket);
        self.forwards.push(ForwardSocket {
            socket: port.socket,
            name: port.name,
            guest: port.guest,
            ports: HashMap::new(),
        });
        Ok(port.address)
    }

    /// Sends a guest's datagram to the client that has the port. `None`: the port is no client's, nor was it
    /// one's lately.
    pub fn answer(&mut self, segment: &mut Segment, datagram: &Datagram<'_>) -> Option<Fate> {
        let port = datagram.outside.port();
        if *datagram.outside.ip() != segment.addresses.gateway {
            return None;
        }
        let leads_here = |forward: &ForwardSocket| forward.guest == datagram.guest;
        let Some(client) = self.by_port.get_mut(&port) else {
            let is_late = self.ports.rests(port, segment.now) && self.forwards.iter().any(leads_here);
            return is_late.then_some(Fate::REFUSED);
        };
        let forward = &self.forwards[client.forward];
        if !leads_here(forward) {
            return None;
        }
        client.used = segment.now;
        let (to, from) = (client.address, client.local);
        let transmit = || local_address::send(&forward.socket, datagram.payload, to, from);
        let sent = socket_errors::send(&forward.socket, transmit, |error| {
            forward.tell(segment, &error);
        });
        if let Err(error) = sent {
            tracing::debug!(%error, "an answer to a client of a forward was lost");
        }
        Some(Fate::Sent)
    }

    /// Handles datagrams of clients of a forward. `is_taken` says whether a port of the gateway's address
    /// means something else to a guest's port. True: there may be more.
    pub fn on_ready(
        &mut self,
        segment: &mut Segment,
        index: usize,
        is_taken: impl Fn(SocketAddrV4, u16) -> bool,
    ) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(DATAGRAM_LEN_MAX, 0);
        let mut more = true;
        for _ in 0..limits::DATAGRAMS_PER_TURN {
            let Some(forward) = self.forwards.get(index) else {
                break;
            };
            match local_address::receive(&forward.socket, &mut buffer) {
                Ok((length, address, local)) => {
                    let guest = forward.guest;
                    if length <= PAYLOAD_LEN_MAX
                        && let Some(port) = self.port_of(segment.now, index, (address, local), &is_taken)
                    {
                        let from = SocketAddrV4::new(segment.addresses.gateway, port);
                        segment.send_udp(from, guest, &buffer[..length]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    more = false;
                    break;
                }
                Err(_) => {
                    for error in socket_errors::take(&forward.socket) {
                        forward.tell(segment, &error);
                    }
                }
            }
        }
        self.buffer = buffer;
        more
    }

    /// Notes that a guest has refused a datagram from this port of the gateway. The client cannot be told:
    /// only the kernel sends such messages, and only for ports that nobody has.
    pub fn on_refused(&mut self, now: Instant, guest: SocketAddrV4, port: u16) {
        let Some(client) = self.by_port.get(&port) else {
            return;
        };
        let forward = &self.forwards[client.forward];
        if forward.guest == guest
            && let Some(untold) = self.refused.one_more(now)
        {
            tracing::warn!(
                "datagrams of the forward {} are lost: nothing listens in the guest at {guest}; start the \
                 service, and let it listen on all addresses{untold}",
                forward.name
            );
        }
    }

    /// Number of clients.
    pub fn len(&self) -> usize {
        self.by_port.len()
    }

    /// Number of datagrams of clients that a guest has refused.
    pub fn refused(&self) -> u64 {
        self.refused.total
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.expiry.deadline()
    }

    /// Forgets idle clients.
    pub fn on_deadline(&mut self, now: Instant) {
        let entries = self.by_port.iter().map(|(&port, client)| (port, client.used));
        for port in self.expiry.due(now, limits::UDP_IDLE, entries) {
            self.remove(port, now);
        }
    }

    /// The port of the gateway at which the guest sees a client.
    fn port_of(
        &mut self,
        now: Instant,
        index: usize,
        (address, local): Place,
        is_taken: &impl Fn(SocketAddrV4, u16) -> bool,
    ) -> Option<u16> {
        if let Some(&port) = self.forwards[index].ports.get(&(address, local)) {
            self.by_port.get_mut(&port)?.used = now;
            return Some(port);
        }
        self.make_room(source_of(address.ip()), now);
        let Some(port) = self.free_port(now, self.forwards[index].guest, is_taken) else {
            if let Some(untold) = self.without_port.one_more(now) {
                let forward = &self.forwards[index].name;
                tracing::warn!(
                    "the forward {forward} has too many new clients, so that a datagram was dropped{untold}"
                );
            }
            return None;
        };
        let client = Client {
            forward: index,
            address,
            local,
            used: now,
        };
        self.by_port.insert(port, client);
        self.forwards[index].ports.insert((address, local), port);
        self.shares.add(source_of(address.ip()));
        self.expiry.on_begun(now, limits::UDP_IDLE);
        Some(port)
    }

    fn free_port(
        &mut self,
        now: Instant,
        guest: SocketAddrV4,
        is_taken: &impl Fn(SocketAddrV4, u16) -> bool,
    ) -> Option<u16> {
        for _ in 0..limits::PORT_TRIES {
            let port = self.ports.take(now)?;
            if !is_taken(guest, port) {
                return Some(port);
            }
            self.ports.rest(port, now);
        }
        None
    }

    /// Forgets the client that is idle longest: of this source if it has its share, else of the source that
    /// has most of them if there is no room.
    fn make_room(&mut self, source: IpAddr, now: Instant) {
        let is_full = self.by_port.len() >= limits::UDP_CLIENTS_MAX;
        let Some(of_whom) = self
            .shares
            .who_gives_way(source, limits::UDP_CLIENTS_PER_SOURCE_MAX, is_full)
        else {
            return;
        };
        let theirs = self.by_port.iter();
        let theirs = theirs.filter(|(_, client)| source_of(client.address.ip()) == of_whom);
        if let Some(port) = theirs
            .min_by_key(|(_, client)| client.used)
            .map(|(&port, _)| port)
        {
            self.remove(port, now);
        }
    }

    fn remove(&mut self, port: u16, now: Instant) {
        if let Some(client) = self.by_port.remove(&port) {
            self.forwards[client.forward]
                .ports
                .remove(&(client.address, client.local));
            self.shares.remove(&source_of(client.address.ip()));
            self.ports.rest(port, now);
        }
    }
}

impl ForwardSocket {
    /// Tells the guest what was said about its answer to a client.
    fn tell(&self, segment: &mut Segment, error: &SocketError) {
        let mut ports = self.ports.iter();
        if let Some((_, &port)) = ports.find(|((address, _), _)| *address == error.to) {
            let gateway = segment.addresses.gateway;
            icmp::tell(
                segment,
                gateway,
                (self.guest, SocketAddrV4::new(gateway, port)),
                error,
            );
        }
    }
}
