//! All TCP connections: finds the one that a segment or an event belongs to, opens new ones, and keeps their
//! deadlines.
//!
//! The loop calls it; `splice` moves a connection's bytes, `forwards` decides which clients come in, `late`
//! and `leaving` have what is left of closed ones.
//!
//! No place in the table may depend on somebody's consent: when it is full, a connection that an end has
//! finished with makes room for a new one (`make_room`).

use super::endpoint::Endpoint;
use super::forwards::{Client, Forwards, Full, Place, Trouble};
use super::late::{Ends, Late, refuse};
use super::leaving::Leaving;
use super::limits;
use super::nat::Destinations;
use super::room::{Asker, Looks};
use super::segment::{Incoming, Segment};
use super::shares::Shares;
use super::sockets::Sockets;
use super::splice::{Connection, Ending, Failure};
use super::token::{Kind, token};
use super::told::Told;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use smoltcp::wire::TcpPacket;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// Lowest port that forwarded connections come from, as guests see them.
const FIRST_PORT: u16 = 1024;

struct Entry {
    connection: Connection,
    ends: Ends,
    /// Place among the clients of the connection's forward; `None`: the guest opened the connection.
    place: Option<Place>,
    scheduled: Option<Instant>,
}

impl Entry {
    /// Whether the connection may make room for a new one of this asker.
    fn is_like(&self, asker: Asker) -> bool {
        match (asker, self.place) {
            (Asker::Guest(guest), None) => *self.ends.guest.ip() == guest,
            (Asker::Forward(index), Some(place)) => place.forward == index,
            (Asker::Source(source), Some(place)) => place.source == source,
            (Asker::AnyGuest, None) | (Asker::AnyClient, Some(_)) => true,
            _ => false,
        }
    }
}

/// All connections and TCP forwards.
pub struct TcpConnections {
    pub forwards: Forwards,
    entries: HashMap<u64, Entry>,
    by_ends: HashMap<Ends, u64>,
    late: Late,
    leaving: Leaving,
    sockets: Sockets,
    deadlines: BTreeSet<(Instant, u64)>,
    starved: BTreeSet<u64>,
    /// Connections that guests opened.
    by_guest: Shares<Ipv4Addr>,
    /// Guests that may have been booted anew; at most as many as there are addresses of guests.
    doubted: BTreeSet<Ipv4Addr>,
    /// When to ask them.
    doubt_at: Option<Instant>,
    /// Connections that made room for others.
    evicted: Told,
    looks: Looks,
    next_id: u64,
    next_port: u16,
}

/// How much of everything about TCP is in use.
pub struct Counts {
    /// Connections whose buffers are in use.
    pub connections: usize,
    /// Buffers that exist.
    pub buffers: usize,
    /// Connections that wait for late segments.
    pub late: usize,
    /// Host sockets that are kept until all is delivered.
    pub leaving: usize,
    /// Connections that made room for others, since the start.
    pub evicted: u64,
}

impl TcpConnections {
    /// A table without connections and forwards.
    pub fn new(guest_away_max: Duration) -> Self {
        Self {
            forwards: Forwards::new(guest_away_max),
            entries: HashMap::new(),
            by_ends: HashMap::new(),
            late: Late::default(),
            leaving: Leaving::default(),
            sockets: Sockets::default(),
            deadlines: BTreeSet::new(),
            starved: BTreeSet::new(),
            by_guest: Shares::default(),
            doubted: BTreeSet::new(),
            doubt_at: None,
            evicted: Told::default(),
            looks: Looks::default(),
            next_id: 0,
            next_port: FIRST_PORT.max(RandomState::new().hash_one(0) as u16),
        }
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
        if self.late.on_segment(segment, ends, &tcp) {
            return;
        }
        let opens = tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin();
        let mut id = self.by_ends.get(&ends).copied();
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
            None => refuse(segment, ends, &tcp),
        }
    }

    /// Handles readiness of a connection's host socket.
    pub fn on_event(&mut self, segment: &mut Segment, id: u64, event: &Event) {
        if self.leaving.on_event(id) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.connection.on_event(segment, event);
            self.pump(segment, id);
        }
    }

    /// Takes clients of a forward, as far as the limits allow.
    pub fn on_forward(&mut self, segment: &mut Segment, registry: &Registry, index: usize) {
        let mut patience = limits::ACCEPTS_PER_TURN;
        loop {
            while let Some(full) = self.forwards.full(index) {
                let made = match full {
                    Full::Waiting => false,
                    Full::Forward => self.make_room(segment, Asker::Forward(index)),
                    Full::Everything => self.make_room(segment, Asker::AnyClient),
                };
                if !made {
                    return;
                }
            }
            let Some(knock) = self.forwards.next_client(index, &mut patience, segment.now) else {
                return;
            };
            let is_here = segment.heard(*knock.guest.ip()).is_some();
            if !self.forwards.expects_guest(index, is_here, segment.now) {
                self.forwards.reset(knock.stream);
                self.forwards.failed(index, Trouble::Absent, segment.now);
                continue;
            }
            if self.forwards.has_its_share(knock.source)
                && !self.make_room(segment, Asker::Source(knock.source))
            {
                self.forwards.turn_away(knock, segment.now);
                continue;
            }
            let Some(client) = self.forwards.take(index, knock, segment.now) else {
                continue;
            };
            let place = client.place;
            if self.accept(segment, registry, client).is_none() {
                self.forwards.ended(place);
            }
        }
    }

    /// Notes that a guest may have been booted anew. Soon, when it has its address, it is asked whether it
    /// still knows its connections.
    pub fn doubt(&mut self, guest: Ipv4Addr, now: Instant) {
        self.doubted.insert(guest);
        self.doubt_at.get_or_insert(now + limits::DOUBT);
    }

    fn ask_doubted(&mut self, now: Instant) {
        if self.doubt_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        let guests = std::mem::take(&mut self.doubted);
        let concerned = self
            .by_ends
            .iter()
            .filter(|(ends, _)| guests.contains(ends.guest.ip()));
        for id in concerned.map(|(_, &id)| id).collect::<Vec<_>>() {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.connection.endpoint.doubt(now);
                self.reschedule(id);
            }
        }
    }

    /// Retransmits, to guests that came back, data that they have not acknowledged for `age`.
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
        let others = [
            connection,
            self.forwards.deadline(),
            self.late.deadline(),
            self.leaving.deadline(),
            self.looks.deadline(),
            self.doubt_at,
        ];
        others.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, segment: &mut Segment, registry: &Registry) {
        self.ask_doubted(segment.now);
        self.looks.on_deadline(segment.now);
        let later = self
            .deadlines
            .split_off(&(segment.now + Duration::from_nanos(1), 0));
        let due = std::mem::replace(&mut self.deadlines, later);
        for (_, id) in due {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            entry.scheduled = None;
            let heard = segment.heard(*entry.ends.guest.ip());
            let ending = entry.connection.on_deadline(segment, heard);
            self.go_on(segment, id, ending);
        }
        self.late.on_deadline(segment.now);
        self.leaving.on_deadline(segment.now);
        if self.forwards.on_deadline(segment.now) {
            self.resume_stalled(segment, registry);
        }
    }

    /// Takes clients that were left waiting because of a limit that may no longer hold.
    pub fn resume_stalled(&mut self, segment: &mut Segment, registry: &Registry) {
        for index in self.forwards.stalled() {
            self.on_forward(segment, registry, index);
        }
    }

    /// How much of everything is in use.
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.entries.len(),
            buffers: self.sockets.buffers(),
            late: self.late.len(),
            leaving: self.leaving.len(),
            evicted: self.evicted.total,
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
        let guest = *ends.guest.ip();
        if self.by_guest.of(&guest) >= limits::CONNECTIONS_PER_GUEST_MAX
            && !self.make_room(segment, Asker::Guest(guest))
        {
            return None;
        }
        let outbound = self.entries.len() - self.forwards.open();
        if outbound >= limits::CONNECTIONS_PER_DIRECTION_MAX && !self.make_room(segment, Asker::AnyGuest) {
            return None;
        }
        let mut stream = TcpStream::connect(target)
            .inspect_err(|error| tracing::debug!(%target, %error, "a guest's connection failed"))
            .ok()?;
        let id = self.watch(&mut stream, registry)?;
        let endpoint = Endpoint::accepting(segment, &mut self.sockets, ends)?;
        let connection = Connection::outbound(endpoint, stream, segment.now);
        self.by_guest.add(guest);
        self.insert(id, connection, ends, None);
        Some(id)
    }

    /// Serves a client; `None`: it cannot be served.
    fn accept(&mut self, segment: &mut Segment, registry: &Registry, mut client: Client) -> Option<()> {
        let ends = self.free_ends(segment, client.guest)?;
        let id = self.watch(&mut client.stream, registry)?;
        let endpoint = Endpoint::connecting(segment, &mut self.sockets, ends)?;
        let patience = self.forwards.guest_away_max;
        let connection = Connection::inbound(endpoint, client.stream, segment.now, patience);
        self.insert(id, connection, ends, Some(client.place));
        self.pump(segment, id);
        Some(())
    }

    /// Resets the most dispensable of these connections. False: there is none that could make room.
    fn make_room(&mut self, segment: &mut Segment, asker: Asker) -> bool {
        if !self.looks.may_look(asker, segment.now) {
            return false;
        }
        let candidates = self.entries.iter().filter(|(_, entry)| entry.is_like(asker));
        let ranked = candidates.filter_map(|(&id, entry)| {
            let rank = entry.connection.dispensable(segment.now)?;
            Some((rank, id))
        });
        let Some((_, id)) = ranked.min() else {
            self.looks.found_nothing(asker, segment.now);
            return false;
        };
        if let Some(untold) = self.evicted.one_more(segment.now)
            && let Some(entry) = self.entries.get(&id)
        {
            let Ends { guest, outside } = entry.ends;
            tracing::warn!(
                "the table of connections is full: the one between {guest} and {outside}, with which an end \
                 had finished or whose guest is away, was reset for a new one{untold}"
            );
        }
        self.remove(segment, id);
        true
    }

    /// A number for a connection, under which events of its host socket come.
    fn watch(&mut self, stream: &mut TcpStream, registry: &Registry) -> Option<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        registry
            .register(stream, token(Kind::Connection, id), interest)
            .inspect_err(|error| tracing::warn!("a connection cannot be watched: {error}"))
            .ok()?;
        Some(id)
    }

    fn insert(&mut self, id: u64, connection: Connection, ends: Ends, place: Option<Place>) {
        self.by_ends.insert(ends, id);
        let entry = Entry {
            connection,
            ends,
            place,
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
            if !self.by_ends.contains_key(&ends) && !self.late.has(&ends) {
                return Some(ends);
            }
        }
        None
    }

    fn pump(&mut self, segment: &mut Segment, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            let ending = entry.connection.pump(segment);
            self.go_on(segment, id, ending);
        }
    }

    fn go_on(&mut self, segment: &mut Segment, id: u64, ending: Ending) {
        if let Some(entry) = self.entries.get_mut(&id)
            && let Some(leaver) = entry.connection.take_leaving()
        {
            self.leaving.add(id, leaver, segment.now);
        }
        match ending {
            Ending::NotYet => self.reschedule(id),
            Ending::Over => self.remove(segment, id),
            Ending::Lingers { last, is_said } => {
                // The connection's buffers are not needed any more.
                if let Some(ends) = self.entries.get(&id).map(|entry| entry.ends) {
                    self.remove(segment, id);
                    self.late.add(segment, ends, last, is_said);
                }
            }
        }
    }

    fn reschedule(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if let Some(place) = &mut entry.place
            && !entry.connection.endpoint.is_connecting()
        {
            self.forwards.served(place);
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
        if let Some(leaver) = entry.connection.take_leaving() {
            self.leaving.add(id, leaver, segment.now);
        }
        self.by_ends.remove(&entry.ends);
        self.starved.remove(&id);
        if let Some(at) = entry.scheduled {
            self.deadlines.remove(&(at, id));
        }
        match entry.place {
            Some(place) => {
                self.forwards.ended(place);
                let trouble = match entry.connection.failure() {
                    Some(Failure::Refused) => Some(Trouble::Refuses),
                    Some(Failure::NoAnswer) if segment.heard(*entry.ends.guest.ip()).is_some() => {
                        Some(Trouble::Silent)
                    }
                    Some(Failure::NoAnswer) => Some(Trouble::Absent),
                    None => None,
                };
                if let Some(trouble) = trouble {
                    self.forwards.failed(place.forward, trouble, segment.now);
                }
            }
            None => self.by_guest.remove(entry.ends.guest.ip()),
        }
        self.sockets.give_back(entry.connection.endpoint.into_socket());
    }
}
