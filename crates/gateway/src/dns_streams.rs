//! DNS over TCP: takes guests' questions and gives them to the host's resolvers one by one until one answers.
//!
//! A guest's connection to the resolver's port is led (`nat`) to a listener on the loopback that this file
//! has, and from there to a resolver. Until a resolver has answered, what the guest has said is kept, so that
//! the next resolver can be asked the same if the first is dead, closes the connection, is too slow or
//! refuses. From the first good answer on the connection is that resolver's, and bytes pass as they come:
//! further questions, and answers of several messages. If no resolver answers, the guest gets SERVFAIL, as
//! over UDP (`dns`).

use super::config::GatewayError;
use super::dns_message;
use super::limits;
use super::nat::Destinations;
use super::token::{Kind, token};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::Instant;

/// Bytes of the length in front of each message (RFC 1035 section 4.2.2).
const LENGTH_LEN: usize = 2;
/// Bytes that wait in one direction: the longest message.
const BUFFER_LEN: usize = LENGTH_LEN + 65_535;

/// How far a guest's connection has come.
#[derive(Debug)]
enum Stage {
    /// This resolver was asked and has not answered yet.
    Asking {
        resolver: SocketAddr,
        stream: TcpStream,
        /// Bytes of the guest's that this resolver was sent.
        sent: usize,
        /// Time at which the next resolver is asked. It starts anew when the question is complete.
        deadline: Instant,
        is_timed: bool,
    },
    /// The connection is this resolver's.
    Answered(TcpStream),
    /// No resolver is left. The guest gets one answer, once it has asked.
    Failed { is_told: bool },
}

/// A guest's connection.
#[derive(Debug)]
struct Asker {
    guest: TcpStream,
    stage: Stage,
    /// Resolvers not yet asked.
    resolvers: Vec<SocketAddr>,
    /// Bytes from the guest. While resolvers are asked, they are kept.
    from_guest: Vec<u8>,
    /// Bytes for the guest.
    for_guest: Vec<u8>,
    /// A resolver's answer that it cannot answer: better than none.
    refusal: Option<Vec<u8>>,
    /// Whether the guest has said all it will.
    guest_finished: bool,
    /// Whether the resolver has.
    resolver_finished: bool,
    /// Time at which a byte last went either way.
    moved: Instant,
}

/// All connections for DNS.
#[derive(Debug)]
pub struct DnsStreams {
    listener: TcpListener,
    /// Connections by number, and so in order of arrival.
    askers: BTreeMap<u64, Asker>,
    next_id: u64,
}

impl DnsStreams {
    /// Listens on the loopback. Returns the address to lead guests' questions to.
    ///
    /// # Errors
    /// The system gives no socket.
    pub fn listen(registry: &Registry) -> Result<(Self, SocketAddr), GatewayError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut listener = TcpListener::bind(any).map_err(GatewayError::Poll)?;
        let address = listener.local_addr().map_err(GatewayError::Poll)?;
        registry
            .register(&mut listener, token(Kind::DnsListener, 0), Interest::READABLE)
            .map_err(GatewayError::Poll)?;
        let streams = Self {
            listener,
            askers: BTreeMap::new(),
            next_id: 0,
        };
        Ok((streams, address))
    }

    /// Takes connections that wait. True: there may be more.
    pub fn on_listener(
        &mut self,
        now: Instant,
        registry: &Registry,
        destinations: &mut Destinations,
    ) -> bool {
        for _ in 0..limits::ACCEPTS_PER_TURN {
            let mut guest = match self.listener.accept() {
                Ok((guest, _)) => guest,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection for DNS");
                    return false;
                }
            };
            if self.askers.len() >= limits::DNS_STREAMS_MAX {
                self.askers.pop_first();
            }
            let id = self.next_id;
            self.next_id += 1;
            if !watch(&mut guest, registry, id) {
                continue;
            }
            let asker = Asker {
                guest,
                stage: Stage::Failed { is_told: false },
                resolvers: destinations.resolvers(now),
                from_guest: Vec::new(),
                for_guest: Vec::new(),
                refusal: None,
                guest_finished: false,
                resolver_finished: false,
                moved: now,
            };
            self.askers.insert(id, asker);
            self.go_on(id, now, |asker| asker.ask_next(registry, id, now));
        }
        true
    }

    /// Handles readiness of either side of a connection.
    pub fn on_ready(&mut self, id: u64, now: Instant, registry: &Registry) {
        self.go_on(id, now, |asker| asker.pump(registry, id, now));
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.askers.values().map(Asker::deadline).min()
    }

    /// Asks the next resolver where one was too slow, and forgets idle connections.
    pub fn on_deadline(&mut self, now: Instant, registry: &Registry, destinations: &mut Destinations) {
        let due = self.askers.iter().filter(|(_, asker)| asker.deadline() <= now);
        for id in due.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.go_on(id, now, |asker| match asker.stage {
                Stage::Asking {
                    resolver, deadline, ..
                } if deadline <= now => {
                    destinations.note_silence(resolver, now);
                    asker.ask_next(registry, id, now)
                }
                _ => Err(ErrorKind::TimedOut.into()),
            });
        }
    }

    /// Does something with a connection, and forgets it if that fails or is its end.
    fn go_on(&mut self, id: u64, now: Instant, step: impl FnOnce(&mut Asker) -> io::Result<()>) {
        let Some(asker) = self.askers.get_mut(&id) else {
            return;
        };
        let done = step(asker).map(|()| asker.is_over());
        if done.is_err() || done.is_ok_and(|is_over| is_over) || asker.deadline() <= now {
            self.askers.remove(&id);
        }
    }
}

impl Asker {
    /// Time at which something is to be done even if nothing comes.
    fn deadline(&self) -> Instant {
        let idle = self.moved + limits::DNS_STREAM_IDLE;
        match self.stage {
            Stage::Asking {
                deadline,
                is_timed: true,
                ..
            } => deadline.min(idle),
            _ => idle,
        }
    }

    fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Asking { .. })
    }

    fn is_over(&self) -> bool {
        let is_last = match self.stage {
            Stage::Asking { .. } => false,
            Stage::Answered(_) => self.resolver_finished,
            Stage::Failed { is_told } => is_told,
        };
        is_last && self.for_guest.is_empty()
    }

    /// Calls the next resolver. If there is none, the guest gets the best answer that there is.
    fn ask_next(&mut self, registry: &Registry, id: u64, now: Instant) -> io::Result<()> {
        self.for_guest.clear();
        self.resolver_finished = false;
        while !self.resolvers.is_empty() {
            let resolver = self.resolvers.remove(0);
            let Ok(mut stream) = TcpStream::connect(resolver) else {
                continue;
            };
            if watch(&mut stream, registry, id) {
                self.stage = Stage::Asking {
                    resolver,
                    stream,
                    sent: 0,
                    deadline: now + limits::DNS_TIMEOUT,
                    is_timed: true,
                };
                return Ok(());
            }
        }
        self.stage = Stage::Failed { is_told: false };
        self.pump(registry, id, now)
    }

    /// If no resolver is left, gives the guest the best answer that there is to its question.
    fn give_up(&mut self) {
        if matches!(self.stage, Stage::Failed { is_told: false })
            && let Some(question) = message(&self.from_guest)
        {
            self.for_guest = match self.refusal.take() {
                Some(refusal) => refusal,
                None if dns_message::is_question(question) => framed(&dns_message::failure(question)),
                None => Vec::new(),
            };
            self.stage = Stage::Failed { is_told: true };
        }
    }

    /// Moves bytes until nothing moves any more.
    fn pump(&mut self, registry: &Registry, id: u64, now: Instant) -> io::Result<()> {
        loop {
            let before = (self.from_guest.len(), self.for_guest.len());
            self.hear_guest(now)?;
            let is_answered = matches!(self.stage, Stage::Answered(_));
            if self.guest_finished && message(&self.from_guest).is_none() && !is_answered {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.give_up();
            if let Err(error) = self.speak_to_resolver(now) {
                if !self.is_asking() {
                    return Err(error);
                }
                tracing::debug!(%error, "a resolver cannot be asked over TCP");
                return self.ask_next(registry, id, now);
            }
            if self.is_asking()
                && let Some(answer) = message(&self.for_guest)
            {
                if dns_message::is_refusal(answer) && !self.resolvers.is_empty() {
                    self.refusal = Some(framed(answer));
                    return self.ask_next(registry, id, now);
                }
                self.take_answer();
            } else if self.is_asking() && self.resolver_finished {
                return self.ask_next(registry, id, now);
            }
            let written = !self.is_asking() && self.tell_guest(now)?;
            if !written && before == (self.from_guest.len(), self.for_guest.len()) {
                return Ok(());
            }
        }
    }

    /// Has the connection be that of the resolver that has answered.
    fn take_answer(&mut self) {
        if let Stage::Asking { stream, sent, .. } =
            std::mem::replace(&mut self.stage, Stage::Failed { is_told: false })
        {
            self.from_guest.drain(..sent);
            self.stage = Stage::Answered(stream);
        }
    }

    fn hear_guest(&mut self, now: Instant) -> io::Result<()> {
        if !self.guest_finished && hear(&mut self.guest, &mut self.from_guest, &mut self.moved, now)? {
            self.guest_finished = true;
        }
        Ok(())
    }

    /// Gives the resolver what the guest has said, and hears the resolver.
    fn speak_to_resolver(&mut self, now: Instant) -> io::Result<()> {
        let is_complete = message(&self.from_guest).is_some();
        let stream = match &mut self.stage {
            Stage::Asking {
                stream,
                sent,
                deadline,
                is_timed,
                ..
            } => {
                if let Some(error) = stream.take_error()? {
                    return Err(error);
                }
                if stream.peer_addr().is_err() {
                    return Ok(());
                }
                // The resolver is there. What it takes for an answer counts from the question on.
                let begins = is_complete && *sent < self.from_guest.len();
                *is_timed = is_complete;
                if begins {
                    *deadline = now + limits::DNS_TIMEOUT;
                }
                while *sent < self.from_guest.len() {
                    match stream.write(&self.from_guest[*sent..]) {
                        Ok(length) => *sent += length,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                stream
            }
            Stage::Answered(stream) => {
                while !self.from_guest.is_empty() {
                    match stream.write(&self.from_guest) {
                        Ok(length) => drop(self.from_guest.drain(..length)),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                if self.guest_finished && self.from_guest.is_empty() {
                    // A resolver that has closed as well knows already.
                    let _ = stream.shutdown(Shutdown::Write);
                }
                stream
            }
            Stage::Failed { .. } => return Ok(()),
        };
        if !self.resolver_finished && hear(stream, &mut self.for_guest, &mut self.moved, now)? {
            self.resolver_finished = true;
        }
        Ok(())
    }

    /// Gives the guest what waits for it. True: some of it went.
    fn tell_guest(&mut self, now: Instant) -> io::Result<bool> {
        let mut went = false;
        while !self.for_guest.is_empty() {
            match self.guest.write(&self.for_guest) {
                Ok(length) => {
                    self.for_guest.drain(..length);
                    self.moved = now;
                    went = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(went)
    }
}

/// Reads what has come, as far as there is room. True: the other side has said all it will.
fn hear(stream: &mut TcpStream, into: &mut Vec<u8>, moved: &mut Instant, now: Instant) -> io::Result<bool> {
    while into.len() < BUFFER_LEN {
        let old = into.len();
        into.resize(BUFFER_LEN.min(old + 4096), 0);
        let result = stream.read(&mut into[old..]);
        into.truncate(old + result.as_ref().copied().unwrap_or(0));
        match result {
            Ok(0) => return Ok(true),
            Ok(_) => *moved = now,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn watch(stream: &mut TcpStream, registry: &Registry, id: u64) -> bool {
    let both = Interest::READABLE | Interest::WRITABLE;
    let _ = stream.set_nodelay(true);
    registry
        .register(stream, token(Kind::DnsStream, id), both)
        .is_ok()
}

/// The first message of a stream, if all of it has come.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_LEN>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

fn framed(message: &[u8]) -> Vec<u8> {
    // Messages come from streams or datagrams, whose lengths have 16 bits.
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], &message[..usize::from(length)]].concat()
}
