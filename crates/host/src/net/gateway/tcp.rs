//! All TCP connections: finds the one a segment or an event belongs to, opens new ones, and keeps their deadlines.

use super::config::{Forward, GatewayError};
use super::endpoint::Endpoint;
use super::limits;
use super::nat::Destinations;
use super::segment::{IPV4_LEN, Incoming, Segment, emit_ipv4};
use super::splice::Connection;
use super::token::{Kind, token};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

/// Lowest port that forwarded connections come from, as guests see them.
const FIRST_PORT: u16 = 1024;

/// A connection as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    guest: SocketAddrV4,
    outside: SocketAddrV4,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// A client reaches a guest through a forward.
    Inbound,
    /// A guest reaches the outside.
    Outbound,
}

struct Entry {
    connection: Connection,
    ends: Ends,
    /// The forward it came through; `None`: the guest opened it.
    forward: Option<usize>,
    /// It counts among those of its forward that wait for the guest.
    waiting: bool,
    scheduled: Option<Instant>,
}

struct ForwardListener {
    listener: TcpListener,
    guest: SocketAddrV4,
    /// Connections accepted here that still wait for the guest.
    waiting: usize,
    /// Clients are left in the backlog because of a limit; try again when a connection ends.
    stalled: bool,
}

/// All connections and TCP forwards.
pub struct TcpConnections {
    entries: HashMap<u64, Entry>,
    by_ends: HashMap<Ends, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    starved: BTreeSet<u64>,
    forwards: Vec<ForwardListener>,
    inbound: usize,
    next_id: u64,
    next_port: u16,
    /// When to try accepts again that failed for want of descriptors.
    accept_again: Option<Instant>,
}

impl TcpConnections {
    /// No connections, no forwards.
    pub fn new() -> Self {
        Self {
            entries: HashMap::new(),
            by_ends: HashMap::new(),
            deadlines: BTreeSet::new(),
            starved: BTreeSet::new(),
            forwards: Vec::new(),
            inbound: 0,
            next_id: 0,
            next_port: FIRST_PORT.max(RandomState::new().hash_one(0) as u16),
            accept_again: None,
        }
    }

    /// Starts to listen for a forward. Returns the address with the port that was chosen.
    pub fn listen(
        &mut self,
        forward: &Forward,
        guest: Ipv4Addr,
        registry: &Registry,
    ) -> Result<SocketAddr, GatewayError> {
        let fail = |source| GatewayError::Listen {
            address: forward.listen.to_string(),
            purpose: "port forward",
            source,
        };
        let mut listener = TcpListener::bind(forward.listen).map_err(fail)?;
        let id = self.forwards.len() as u64;
        registry
            .register(&mut listener, token(Kind::TcpForward, id), Interest::READABLE)
            .map_err(GatewayError::Poll)?;
        let address = listener.local_addr().map_err(fail)?;
        let guest = SocketAddrV4::new(guest, forward.guest_port);
        self.forwards.push(ForwardListener {
            listener,
            guest,
            waiting: 0,
            stalled: false,
        });
        Ok(address)
    }

    /// Handles a TCP packet of a guest, IP header included.
    pub fn on_packet(
        &mut self,
        segment: &mut Segment,
        registry: &Registry,
        destinations: &mut Destinations,
        packet: &Incoming<'_>,
    ) {
        let Ok(tcp) = TcpPacket::new_checked(packet.payload) else {
            return;
        };
        let ends = Ends {
            guest: SocketAddrV4::new(packet.from, tcp.src_port()),
            outside: SocketAddrV4::new(packet.to, tcp.dst_port()),
        };
        let opens = tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin();
        let mut id = self.by_ends.get(&ends).copied();
        if let Some(old) = id
            && opens
            && self
                .entries
                .get(&old)
                .is_some_and(|entry| entry.connection.is_lingering())
        {
            // The guest uses the port again before our wait for late segments is over. It knows better.
            self.remove(segment, old);
            id = None;
        }
        if id.is_none() && opens {
            id = self.open(segment, registry, destinations, ends);
        }
        match id {
            Some(id) => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.connection.endpoint.on_packet(segment, packet);
                }
                self.pump(segment, id);
            }
            None => refuse(segment, ends, tcp),
        }
    }

    /// Handles readiness of a connection's host socket.
    pub fn on_event(&mut self, segment: &mut Segment, id: u64, event: &Event) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.connection.on_event(segment, event);
            self.pump(segment, id);
        }
    }

    /// Takes clients of a forward, as far as the limits allow.
    pub fn on_forward(&mut self, segment: &mut Segment, registry: &Registry, index: usize) {
        loop {
            let full = self.inbound >= limits::CONNECTIONS_PER_DIRECTION_MAX
                && self.drop_a_lingering_one(segment, Direction::Inbound).is_none();
            let Some(forward) = self.forwards.get_mut(index) else {
                return;
            };
            forward.stalled = full || forward.waiting >= limits::WAITING_PER_FORWARD_MAX;
            if forward.stalled {
                return;
            }
            match forward.listener.accept() {
                Ok((stream, _)) => self.accept(segment, registry, index, stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client");
                    forward.stalled = true;
                    self.accept_again = Some(segment.now + limits::ACCEPT_RETRY);
                    return;
                }
            }
        }
    }

    /// Retransmits to a guest that came back what it has not acknowledged for `age`.
    pub fn recover(&mut self, segment: &mut Segment, guests: &[Ipv4Addr], age: Duration) {
        let concerned: Vec<u64> = self
            .by_ends
            .iter()
            .filter_map(|(ends, &id)| guests.contains(ends.guest.ip()).then_some(id))
            .collect();
        for id in concerned {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.connection.endpoint.recover(segment, age);
                self.reschedule(id);
            }
        }
    }

    /// Lets connections send that waited for a VMM to read. False: there were none.
    pub fn resume_starved(&mut self, segment: &mut Segment) -> bool {
        let starved = std::mem::take(&mut self.starved);
        for &id in &starved {
            self.pump(segment, id);
        }
        !starved.is_empty()
    }

    /// The next time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let connection = self.deadlines.first().map(|&(deadline, _)| deadline);
        connection.into_iter().chain(self.accept_again).min()
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, segment: &mut Segment, registry: &Registry) {
        let later = self
            .deadlines
            .split_off(&(segment.now + Duration::from_nanos(1), 0));
        let due = std::mem::replace(&mut self.deadlines, later);
        for (_, id) in due {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            entry.scheduled = None;
            if entry.connection.on_deadline(segment) {
                self.reschedule(id);
            } else {
                self.remove(segment, id);
            }
        }
        if self.accept_again.is_some_and(|at| at <= segment.now) {
            self.accept_again = None;
            self.resume_stalled(segment, registry);
        }
    }

    /// Takes clients that were left waiting because of a limit that may no longer hold.
    pub fn resume_stalled(&mut self, segment: &mut Segment, registry: &Registry) {
        for index in 0..self.forwards.len() {
            if self.accept_again.is_none() && self.forwards[index].stalled {
                self.on_forward(segment, registry, index);
            }
        }
    }

    fn open(
        &mut self,
        segment: &mut Segment,
        registry: &Registry,
        destinations: &mut Destinations,
        ends: Ends,
    ) -> Option<u64> {
        let target = destinations.of_tcp(ends.outside)?;
        if self.entries.len() - self.inbound >= limits::CONNECTIONS_PER_DIRECTION_MAX {
            self.drop_a_lingering_one(segment, Direction::Outbound)?;
        }
        let mut stream = TcpStream::connect(target)
            .inspect_err(|error| tracing::debug!(%target, %error, "a guest's connection failed"))
            .ok()?;
        let endpoint = Endpoint::accepting(segment, ends.outside, *ends.guest.ip())?;
        let id = self.next_id;
        registry
            .register(
                &mut stream,
                token(Kind::Connection, id),
                Interest::READABLE | Interest::WRITABLE,
            )
            .ok()?;
        self.insert(Connection::outbound(endpoint, stream), ends, None);
        Some(id)
    }

    fn accept(&mut self, segment: &mut Segment, registry: &Registry, index: usize, mut stream: TcpStream) {
        let guest = self.forwards[index].guest;
        let Some(ends) = self.free_ends(segment, guest) else {
            return;
        };
        let Some(endpoint) = Endpoint::connecting(segment, ends.outside, guest) else {
            return;
        };
        let id = self.next_id;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = registry.register(&mut stream, token(Kind::Connection, id), interest) {
            tracing::warn!(%error, "cannot watch a client");
            return;
        }
        self.insert(Connection::inbound(endpoint, stream), ends, Some(index));
        self.pump(segment, id);
    }

    fn insert(&mut self, connection: Connection, ends: Ends, forward: Option<usize>) {
        let id = self.next_id;
        self.next_id += 1;
        if let Some(index) = forward {
            self.inbound += 1;
            self.forwards[index].waiting += 1;
        }
        self.by_ends.insert(ends, id);
        let entry = Entry {
            connection,
            ends,
            forward,
            waiting: forward.is_some(),
            scheduled: None,
        };
        self.entries.insert(id, entry);
    }

    fn free_ends(&mut self, segment: &Segment, guest: SocketAddrV4) -> Option<Ends> {
        for _ in 0..=u16::MAX {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
            let ends = Ends {
                guest,
                outside: SocketAddrV4::new(segment.addresses.gateway, port),
            };
            if !self.by_ends.contains_key(&ends) {
                return Some(ends);
            }
        }
        None
    }

    fn pump(&mut self, segment: &mut Segment, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if entry.connection.pump(segment) {
            self.reschedule(id);
        } else {
            self.remove(segment, id);
        }
    }

    fn reschedule(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if entry.waiting && !entry.connection.endpoint.is_connecting() {
            entry.waiting = false;
            release_waiting(&mut self.forwards, entry.forward);
        }
        if entry.connection.endpoint.is_starved() {
            self.starved.insert(id);
        }
        let deadline = entry.connection.deadline();
        if deadline != entry.scheduled {
            self.deadlines.extend(deadline.map(|at| (at, id)));
            let old = std::mem::replace(&mut entry.scheduled, deadline);
            if let Some(at) = old {
                self.deadlines.remove(&(at, id));
            }
        }
    }

    fn remove(&mut self, segment: &mut Segment, id: u64) {
        let Some(mut entry) = self.entries.remove(&id) else {
            return;
        };
        entry.connection.abort(segment);
        self.by_ends.remove(&entry.ends);
        self.starved.remove(&id);
        if let Some(at) = entry.scheduled {
            self.deadlines.remove(&(at, id));
        }
        if entry.waiting {
            release_waiting(&mut self.forwards, entry.forward);
        }
        self.inbound -= usize::from(entry.forward.is_some());
    }

    fn drop_a_lingering_one(&mut self, segment: &mut Segment, direction: Direction) -> Option<()> {
        let (&id, _) = self.entries.iter().find(|(_, entry)| {
            entry.forward.is_some() == (direction == Direction::Inbound) && entry.connection.is_lingering()
        })?;
        self.remove(segment, id);
        Some(())
    }
}

fn release_waiting(forwards: &mut [ForwardListener], forward: Option<usize>) {
    if let Some(forward) = forward.and_then(|index| forwards.get_mut(index)) {
        forward.waiting -= 1;
    }
}

/// Errors of `accept` that are about one client, not about us.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Answers a segment that belongs to no connection with a reset (RFC 9293 section 3.10.7.1).
fn refuse(segment: &mut Segment, ends: Ends, tcp: TcpPacket<&[u8]>) {
    let (from, to) = (*ends.outside.ip(), *ends.guest.ip());
    let checksums = ChecksumCapabilities::default();
    let Ok(offending) = TcpRepr::parse(&tcp, &to.into(), &from.into(), &checksums) else {
        return;
    };
    if offending.control == TcpControl::Rst {
        return;
    }
    let (seq_number, ack_number) = match offending.ack_number {
        Some(acknowledged) => (acknowledged, None),
        None => (
            TcpSeqNumber(0),
            Some(offending.seq_number + offending.segment_len()),
        ),
    };
    let reset = TcpRepr {
        src_port: offending.dst_port,
        dst_port: offending.src_port,
        control: TcpControl::Rst,
        seq_number,
        ack_number,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None, None, None],
        timestamp: None,
        payload: &[],
    };
    segment.send_ip(to, IPV4_LEN + reset.buffer_len(), |packet| {
        emit_ipv4(packet, from, to, IpProtocol::Tcp);
        let mut tcp = TcpPacket::new_unchecked(&mut packet[IPV4_LEN..]);
        reset.emit(&mut tcp, &from.into(), &to.into(), &checksums);
    });
}
