//! One TCP connection from end to end: the guest side (`Endpoint`), the host socket, and the bytes between
//! them.
//!
//! Bytes go straight from one side's buffer to the other. When a side is full its source is not read, so the
//! other end feels it: the client through the host's TCP window, the guest through its own. Ends of streams
//! and resets are passed on.
//!
//! A connection that is open is never given up because the guest is silent: that is how a failover looks from
//! here. A connection that never opened, or with which one end has finished while the other leaves it lying,
//! is given up after a long time.

use super::endpoint::Endpoint;
use super::late::LastWord;
use super::limits;
use super::segment::Segment;
use mio::event::Event;
use mio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// The host socket of a connection.
enum Host {
    /// The socket connects; the guest's SYN waits for the answer.
    Connecting(TcpStream),
    /// The socket is connected.
    Open(TcpStream),
    /// The socket is closed; the guest side still has a farewell to finish.
    Closed { since: Instant },
}

/// A connection between a guest and a host socket.
pub struct Connection {
    pub endpoint: Endpoint,
    host: Host,
    /// Whether the host socket may have bytes.
    readable: bool,
    /// Whether the host socket may have bytes even after a short read, because its end was announced.
    ending: bool,
    /// Whether the host socket may take bytes.
    writable: bool,
    /// Whether the host side has sent all it will, and the guest side was told.
    host_finished: bool,
    /// Whether the guest side has sent all it will, and the host side was told.
    guest_finished: bool,
    begun: Instant,
    /// Time at which a byte last went either way.
    moved: Instant,
}

/// Whether a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The connection goes on.
    NotYet,
    /// The connection is over, and nothing is left of it.
    Over,
    /// The connection is over, but the guest may repeat its end, and is then to be answered with these
    /// numbers.
    Lingers {
        /// The numbers of the answer.
        last: LastWord,
        /// Whether that answer was given already.
        is_said: bool,
    },
}

impl Connection {
    /// A guest's connection to the outside, whose host socket is connecting.
    pub fn outbound(endpoint: Endpoint, stream: TcpStream, now: Instant) -> Self {
        Self::new(endpoint, Host::Connecting(stream), now)
    }

    /// A client's connection to a guest.
    pub fn inbound(endpoint: Endpoint, stream: TcpStream, now: Instant) -> Self {
        prepare(&stream);
        Self::new(endpoint, Host::Open(stream), now)
    }

    fn new(endpoint: Endpoint, host: Host, now: Instant) -> Self {
        Self {
            endpoint,
            host,
            readable: false,
            ending: false,
            writable: false,
            host_finished: false,
            guest_finished: false,
            begun: now,
            moved: now,
        }
    }

    /// Notes what the host socket is ready for.
    pub fn on_event(&mut self, segment: &mut Segment, event: &Event) {
        self.readable |= event.is_readable();
        self.ending |= event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable();
        if matches!(self.host, Host::Connecting(_)) && (event.is_writable() || event.is_error()) {
            self.finish_connecting(segment);
        }
        if self.endpoint.is_connecting()
            && (event.is_error() || event.is_write_closed() || self.has_given_up())
        {
            self.abort(segment);
        }
    }

    /// Moves bytes both ways, then sends what the guest side has to say.
    pub fn pump(&mut self, segment: &mut Segment) -> Ending {
        if let Host::Open(_) = self.host {
            let now = segment.now;
            let moved = self.guest_to_host(now).and_then(|()| self.host_to_guest(now));
            if let Err(error) = moved {
                tracing::debug!(%error, "host side of a connection failed");
                self.abort(segment);
            }
        }
        self.endpoint.transmit(segment);
        self.close_host(segment.now);
        let Host::Closed { .. } = self.host else {
            return Ending::NotYet;
        };
        match self.endpoint.lingers() {
            Some((last, is_said)) => Ending::Lingers { last, is_said },
            None if self.endpoint.is_closed() => Ending::Over,
            None => Ending::NotYet,
        }
    }

    /// Time at which to look again even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.endpoint.deadline().into_iter().chain(self.time_out()).min()
    }

    /// Time at which to give the connection up, if it does not go on as a connection should.
    fn time_out(&self) -> Option<Instant> {
        match self.host {
            Host::Closed { since } => Some(since + limits::ORPHAN_TIMEOUT),
            Host::Connecting(_) => Some(self.begun + limits::HALF_OPEN_TIMEOUT),
            Host::Open(_) if self.endpoint.is_half_open() => Some(self.begun + limits::HALF_OPEN_TIMEOUT),
            Host::Open(_) if self.host_finished || self.guest_finished => {
                Some(self.moved + limits::HALF_CLOSED_IDLE)
            }
            Host::Open(_) => None,
        }
    }

    /// Does what was due at the deadline.
    pub fn on_deadline(&mut self, segment: &mut Segment) -> Ending {
        if self.time_out().is_some_and(|at| at <= segment.now) {
            self.abort(segment);
            return Ending::Over;
        }
        self.endpoint.on_deadline(segment);
        self.pump(segment)
    }

    /// Ends both sides with a reset, except a side that has ended already.
    pub fn abort(&mut self, segment: &mut Segment) {
        if self.endpoint.lingers().is_none() {
            self.endpoint.reset(segment);
        }
        self.reset_host(segment.now);
    }

    fn finish_connecting(&mut self, segment: &mut Segment) {
        let Host::Connecting(stream) = &self.host else {
            return;
        };
        let failure = match stream.take_error() {
            Ok(None) => stream
                .peer_addr()
                .err()
                .filter(|error| error.kind() != io::ErrorKind::NotConnected),
            Ok(Some(error)) | Err(error) => Some(error),
        };
        if let Some(error) = failure {
            tracing::debug!(%error, "a guest's connection failed");
            self.abort(segment);
            return;
        }
        if stream.peer_addr().is_err() {
            return;
        }
        let closed = Host::Closed { since: segment.now };
        if let Host::Connecting(stream) = std::mem::replace(&mut self.host, closed) {
            prepare(&stream);
            self.host = Host::Open(stream);
            self.endpoint.confirm();
        }
    }

    /// Whether the client of a connection that still waits for its guest has gone without a word. A client
    /// that has sent something and closed its half may be waiting for an answer.
    fn has_given_up(&self) -> bool {
        let Host::Open(stream) = &self.host else {
            return false;
        };
        match stream.peek(&mut [0]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn guest_to_host(&mut self, now: Instant) -> io::Result<()> {
        let Host::Open(stream) = &mut self.host else {
            return Ok(());
        };
        while self.writable && !self.guest_finished {
            match self.endpoint.receive(|bytes| stream.write(bytes)) {
                Ok(Some(0)) => break,
                Ok(Some(_)) => self.moved = now,
                Ok(None) => {
                    self.guest_finished = true;
                    match stream.shutdown(std::net::Shutdown::Write) {
                        Err(error) if error.kind() != io::ErrorKind::NotConnected => return Err(error),
                        _ => {}
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn host_to_guest(&mut self, now: Instant) -> io::Result<()> {
        let Host::Open(stream) = &mut self.host else {
            return Ok(());
        };
        while (self.readable || self.ending) && !self.host_finished {
            let mut room_len = 0;
            let given = self.endpoint.send(|room| {
                room_len = room.len();
                stream.read(room)
            });
            match given {
                None => break,
                Some(Ok(0)) => {
                    self.host_finished = true;
                    self.endpoint.finish();
                }
                // A short read emptied the socket, and the next bytes bring a new event. Not reading again
                // saves a call per request.
                Some(Ok(length)) => {
                    self.readable = length == room_len;
                    self.moved = now;
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    self.ending = false;
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Closes the host socket once it has no more use: cleanly if both ends have finished, else with a reset.
    fn close_host(&mut self, now: Instant) {
        if matches!(self.host, Host::Closed { .. }) {
            return;
        }
        if self.host_finished && self.guest_finished {
            self.host = Host::Closed { since: now };
        } else if self.endpoint.is_closed()
            && !(self.endpoint.has_received() && matches!(self.host, Host::Open(_)))
        {
            self.reset_host(now);
        }
    }

    fn reset_host(&mut self, now: Instant) {
        if matches!(self.host, Host::Closed { .. }) {
            return;
        }
        // The guest's bytes were acknowledged to it to the last one: the kernel goes on delivering them to a
        // slow client.
        if let Host::Open(stream) = &self.host
            && !self.guest_finished
        {
            // Closing a socket that does not linger sends a reset instead of a FIN.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        self.host = Host::Closed { since: now };
    }
}

/// Sets the options that every host socket needs. A failure leaves a slower connection, not a wrong one.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(limits::HOST_KEEPALIVE));
}
