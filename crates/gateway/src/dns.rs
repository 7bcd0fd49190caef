//! DNS questions of guests over UDP, forwarded to the host's resolvers one by one until one answers.
//!
//! `dns_streams` does the same over TCP, and `nat` keeps the order in which resolvers are asked. A resolver
//! that answers that it cannot tell is passed over like one that does not answer. Each question has a socket
//! of its own with a port of the kernel's choice, so a stranger cannot guess where to send a false answer. If
//! no resolver answers, the guest gets SERVFAIL at once rather than silence.

use super::dns_message;
use super::limits;
use super::mappings::DATAGRAM_LEN_MAX;
use super::nat::Destinations;
use super::resting::HostPorts;
use super::segment::Segment;
use super::token::{Kind, token};
use mio::net::UdpSocket;
use mio::{Interest, Registry};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

#[derive(Debug)]
struct Query {
    guest: SocketAddrV4,
    /// The address that the guest asked.
    server: SocketAddrV4,
    question: Vec<u8>,
    /// Resolvers not yet asked.
    resolvers: Vec<SocketAddr>,
    /// A socket connected to the resolver that was asked last.
    socket: UdpSocket,
    /// Time at which the next resolver is asked.
    deadline: Instant,
    /// The resolver that was asked last.
    resolver: SocketAddr,
    /// A resolver's answer that it cannot answer: better than none.
    refusal: Option<Vec<u8>>,
}

/// A question that has still to be asked.
#[derive(Debug)]
struct Question {
    guest: SocketAddrV4,
    server: SocketAddrV4,
    bytes: Vec<u8>,
    resolvers: Vec<SocketAddr>,
    refusal: Option<Vec<u8>>,
}

/// All DNS questions under way.
#[derive(Debug, Default)]
pub struct DnsQueries {
    /// Questions by number, and so in order of arrival.
    queries: BTreeMap<u64, Query>,
    next_id: u64,
    buffer: Vec<u8>,
}

impl DnsQueries {
    /// Handles a guest's question.
    pub fn on_question(
        &mut self,
        segment: &mut Segment,
        registry: &Registry,
        (destinations, ports): (&mut Destinations, &mut HostPorts),
        (guest, server): (SocketAddrV4, SocketAddrV4),
        question: &[u8],
    ) {
        if question.len() > limits::DNS_QUERY_LEN_MAX || !dns_message::is_question(question) {
            return;
        }
        self.make_room(ports, *guest.ip(), segment.now);
        let question = Question {
            guest,
            server,
            bytes: question.to_vec(),
            resolvers: destinations.resolvers(segment.now),
            refusal: None,
        };
        self.ask(segment, registry, question);
    }

    /// Handles readiness of a question's socket.
    pub fn on_answer(&mut self, segment: &mut Segment, registry: &Registry, id: u64) {
        let Some(query) = self.queries.get_mut(&id) else {
            return;
        };
        self.buffer.resize(DATAGRAM_LEN_MAX, 0);
        loop {
            match query.socket.recv(&mut self.buffer) {
                Ok(length) => {
                    let answer = &self.buffer[..length];
                    if dns_message::answers(answer, &query.question) {
                        if dns_message::is_refusal(answer) && !query.resolvers.is_empty() {
                            query.refusal = Some(answer.to_vec());
                            return self.ask_next(segment, registry, id);
                        }
                        segment.send_udp(query.server, query.guest, answer);
                        self.queries.remove(&id);
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // Nobody listens at that resolver: ask the next one without waiting.
                Err(_) => return self.ask_next(segment, registry, id),
            }
        }
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.queries.values().map(|query| query.deadline).min()
    }

    /// Asks the next resolver where one was too slow.
    pub fn on_deadline(
        &mut self,
        segment: &mut Segment,
        registry: &Registry,
        (destinations, ports): (&mut Destinations, &mut HostPorts),
    ) {
        let now = segment.now;
        let due: Vec<u64> = self
            .queries
            .iter()
            .filter(|(_, query)| query.deadline <= now)
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            if let Some(query) = self.queries.get(&id) {
                destinations.note_silence(query.resolver, now);
                // The answer may still come, and is for nobody else.
                ports.rest(*query.guest.ip(), &query.socket, now);
            }
            self.ask_next(segment, registry, id);
        }
    }

    fn ask_next(&mut self, segment: &mut Segment, registry: &Registry, id: u64) {
        if let Some(query) = self.queries.remove(&id) {
            let question = Question {
                guest: query.guest,
                server: query.server,
                bytes: query.question,
                resolvers: query.resolvers,
                refusal: query.refusal,
            };
            self.ask(segment, registry, question);
        }
    }

    fn ask(&mut self, segment: &mut Segment, registry: &Registry, mut question: Question) {
        while !question.resolvers.is_empty() {
            let resolver = question.resolvers.remove(0);
            let Some(socket) = self.send(registry, resolver, &question.bytes) else {
                continue;
            };
            let query = Query {
                guest: question.guest,
                server: question.server,
                question: question.bytes,
                resolvers: question.resolvers,
                socket,
                deadline: segment.now + limits::DNS_TIMEOUT,
                resolver,
                refusal: question.refusal,
            };
            self.queries.insert(self.next_id, query);
            self.next_id += 1;
            return;
        }
        tracing::debug!(guest = %question.guest, "no resolver answers");
        let failure = || dns_message::failure(&question.bytes);
        let answer = question.refusal.unwrap_or_else(failure);
        segment.send_udp(question.server, question.guest, &answer);
    }

    /// Forgets the oldest question: of this guest if it has its share, else of all guests if there is no
    /// room.
    fn make_room(&mut self, ports: &mut HostPorts, guest: Ipv4Addr, now: Instant) {
        let of_guest = |query: &Query| *query.guest.ip() == guest;
        let asked = self.queries.values().filter(|query| of_guest(query)).count();
        let oldest = if asked >= limits::DNS_QUERIES_PER_GUEST_MAX {
            self.queries.extract_if(.., |_, query| of_guest(query)).next()
        } else if self.queries.len() >= limits::DNS_QUERIES_MAX {
            self.queries.pop_first()
        } else {
            None
        };
        if let Some((_, query)) = oldest {
            ports.rest(*query.guest.ip(), &query.socket, now);
        }
    }

    fn send(&self, registry: &Registry, resolver: SocketAddr, question: &[u8]) -> Option<UdpSocket> {
        let any: IpAddr = if resolver.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let mut socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        socket.connect(resolver).ok()?;
        socket.send(question).ok()?;
        registry
            .register(
                &mut socket,
                token(Kind::DnsQuery, self.next_id),
                Interest::READABLE,
            )
            .ok()?;
        Some(socket)
    }
}
