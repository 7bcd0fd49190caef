//! DNS questions of guests, forwarded to the host's resolvers one by one until one answers.
//!
//! Each question has a socket of its own with a port of the kernel's choice, so a stranger cannot guess where
//! to send a false answer. If no resolver answers, the guest gets SERVFAIL at once rather than silence.

use super::limits;
use super::mappings::DATAGRAM_LEN_MAX;
use super::nat::Destinations;
use super::segment::Segment;
use super::token::{Kind, token};
use mio::net::UdpSocket;
use mio::{Interest, Registry};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

/// Bytes of the fixed part of every message (RFC 1035 section 4.1.1).
const HEADER_LEN: usize = 12;
const RESPONSE: u8 = 0x80;
const RECURSION_AVAILABLE: u8 = 0x80;
const SERVFAIL: u8 = 2;

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
        destinations: &mut Destinations,
        (guest, server): (SocketAddrV4, SocketAddrV4),
        question: &[u8],
    ) {
        let is_question = question.get(2).is_some_and(|flags| flags & RESPONSE == 0);
        if question.len() < HEADER_LEN || question.len() > limits::DNS_QUERY_LEN_MAX || !is_question {
            return;
        }
        let resolvers = destinations.resolvers().to_vec();
        self.ask(segment, registry, (guest, server), question.to_vec(), resolvers);
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
                    if length >= HEADER_LEN && answer[..2] == query.question[..2] && answer[2] & RESPONSE != 0
                    {
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
    pub fn on_deadline(&mut self, segment: &mut Segment, registry: &Registry) {
        let now = segment.now;
        let due: Vec<u64> = self
            .queries
            .iter()
            .filter(|(_, query)| query.deadline <= now)
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            self.ask_next(segment, registry, id);
        }
    }

    fn ask_next(&mut self, segment: &mut Segment, registry: &Registry, id: u64) {
        if let Some(query) = self.queries.remove(&id) {
            self.ask(
                segment,
                registry,
                (query.guest, query.server),
                query.question,
                query.resolvers,
            );
        }
    }

    fn ask(
        &mut self,
        segment: &mut Segment,
        registry: &Registry,
        (guest, server): (SocketAddrV4, SocketAddrV4),
        question: Vec<u8>,
        mut resolvers: Vec<SocketAddr>,
    ) {
        self.make_room(*guest.ip());
        while !resolvers.is_empty() {
            let resolver = resolvers.remove(0);
            let Some(socket) = self.send(registry, resolver, &question) else {
                continue;
            };
            let deadline = segment.now + limits::DNS_TIMEOUT;
            self.queries.insert(
                self.next_id,
                Query {
                    guest,
                    server,
                    question,
                    resolvers,
                    socket,
                    deadline,
                },
            );
            self.next_id += 1;
            return;
        }
        tracing::debug!(%guest, "no resolver answers");
        segment.send_udp(server, guest, &failure(question));
    }

    /// Forgets the oldest question: of this guest if it has its share, else of all guests if there is no
    /// room.
    fn make_room(&mut self, guest: Ipv4Addr) {
        let of_guest = |query: &Query| *query.guest.ip() == guest;
        let asked = self.queries.values().filter(|query| of_guest(query)).count();
        if asked >= limits::DNS_QUERIES_PER_GUEST_MAX {
            self.queries.extract_if(.., |_, query| of_guest(query)).next();
        } else if self.queries.len() >= limits::DNS_QUERIES_MAX {
            self.queries.pop_first();
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

/// The question turned into "server failure". The question section stays; the header announces nothing behind
/// it.
fn failure(mut question: Vec<u8>) -> Vec<u8> {
    question[2] |= RESPONSE;
    question[3] = RECURSION_AVAILABLE | SERVFAIL;
    question[6..HEADER_LEN].fill(0);
    let end = question_end(&question).unwrap_or(HEADER_LEN);
    if end == HEADER_LEN {
        question[4..6].fill(0);
    }
    question.truncate(end);
    question
}

/// Offset at which the first question ends, if the question can be read.
fn question_end(message: &[u8]) -> Option<usize> {
    if message[4..6] != [0, 1] {
        return None;
    }
    let mut at = HEADER_LEN;
    loop {
        match *message.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    // Behind the name come the root label, the type and the class.
    let end = at + 5;
    (end <= message.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_repeats_the_question_and_nothing_else() {
        let mut question = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        question.extend_from_slice(b"\x03www\x02ab\x00\x00\x01\x00\x01");
        let asked = question.clone();
        question.extend_from_slice(&[0; 11]);
        let failed = failure(question);
        assert_eq!(failed[..4], [0xab, 0xcd, 0x81, 0x82]);
        assert_eq!(failed[4..12], [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(failed[12..], asked[12..]);
    }

    #[test]
    fn a_failure_for_garbage_is_a_bare_header() {
        for tail in [&[0xffu8; 20][..], &[63, 1, 2], &[]] {
            let mut question = vec![1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            question.extend_from_slice(tail);
            let failed = failure(question);
            assert_eq!(failed, [1, 2, 0x80, 0x82, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}
