//! One TCP connection from end to end: the guest side (`Endpoint`), the host socket, and the bytes between
//! them.
//!
//! Bytes go straight from one side's buffer to the other. When a side is full its source is not read, so the
//! other end feels it: the client through the host's TCP window, the guest through its own. Ends of streams
//! and resets are passed on.
//!
//! What was taken from one side was acknowledged to its sender, so it is given to the other side for as long
//! as that side is there, however slowly it reads; the windows of TCP bound how much that is. No connection
//! that was open ends by a time-out here: each side is asked now and then whether it still knows the
//! connection (`endpoint` asks the guest, the kernel asks the host), and only what one of them has forgotten
//! ends. A connection that never opened is given up after a while.

use super::endpoint::Endpoint;
use super::late::LastWord;
use super::leaving::Leaver;
use super::limits;
use super::segment::Segment;
use mio::event::Event;
use mio::net::TcpStream;
use rustix::net::sockopt;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// The host socket of a connection.
enum Host {
    /// The socket connects; the guest's SYN waits for the answer.
    Connecting(TcpStream),
    /// The socket is connected.
    Open(TcpStream),
    /// Nothing is read from the socket or written to it any more; the guest side still has a farewell to
    /// finish. `Connection::leaves` may have the socket.
    Closed,
}

/// Why a client came to nothing that waited for its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came from the guest.
    NoAnswer,
    /// The guest's stack refused the connection.
    Refused,
}

/// A connection between a guest and a host socket.
pub struct Connection {
    pub endpoint: Endpoint,
    host: Host,
    /// Whether the host socket may have bytes.
    readable: bool,
    /// Whether the host socket may have bytes even after a short read, because its end was announced, or an
    /// urgent byte, before which the kernel ends a read.
    ending: bool,
    /// Whether the host socket may take bytes.
    writable: bool,
    /// Whether the kernel has given the host socket up, or its other end has.
    failed: bool,
    /// Whether the host side has sent all it will, and the guest side was told.
    host_finished: bool,
    /// Whether the guest side has sent all it will, and the host side was told.
    guest_finished: bool,
    /// A host socket that has ended but for what its kernel still has to deliver.
    leaves: Option<Leaver>,
    begun: Instant,
    /// Until when the connection may wait to be opened.
    patience: Instant,
    failure: Option<Failure>,
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
        Self::new(endpoint, Host::Connecting(stream), now, limits::HALF_OPEN_TIMEOUT)
    }

    /// A client's connection to a guest, which waits for `patience` at least for something of the guest.
    pub fn inbound(endpoint: Endpoint, stream: TcpStream, now: Instant, patience: Duration) -> Self {
        prepare(&stream);
        Self::new(endpoint, Host::Open(stream), now, patience)
    }

    fn new(endpoint: Endpoint, host: Host, now: Instant, patience: Duration) -> Self {
        Self {
            endpoint,
            host,
            readable: false,
            ending: false,
            writable: false,
            failed: false,
            host_finished: false,
            guest_finished: false,
            leaves: None,
            begun: now,
            patience: now + patience,
            failure: None,
            moved: now,
        }
    }

    /// Notes what the host socket is ready for.
    pub fn on_event(&mut self, segment: &mut Segment, event: &Event) {
        self.readable |= event.is_readable();
        self.ending |= event.is_read_closed() || event.is_error() || event.is_priority();
        self.writable |= event.is_writable();
        if matches!(self.host, Host::Connecting(_)) && (event.is_writable() || event.is_error()) {
            self.finish_connecting(segment);
        }
        if self.endpoint.is_connecting()
            && (event.is_error() || event.is_write_closed() || self.has_given_up())
        {
            self.abort(segment);
        }
        self.failed |= event.is_error();
    }

    /// Moves bytes both ways, then sends what the guest side has to say.
    pub fn pump(&mut self, segment: &mut Segment) -> Ending {
        if let Host::Open(_) = self.host {
            let now = segment.now;
            let moved = self.guest_to_host(now).and_then(|()| self.host_to_guest(now));
            if let Err(error) = moved {
                tracing::debug!(%error, "host side of a connection failed");
                self.on_host_gone(segment);
            } else if self.failed && self.host_finished {
                // A host that has said all it will is not read any more, so reading does not tell that it is
                // gone.
                self.on_host_gone(segment);
            }
        }
        self.endpoint.transmit(segment);
        self.close_host();
        let Host::Closed = self.host else {
            return Ending::NotYet;
        };
        if !self.guest_finished && self.endpoint.lingers().is_none() && self.endpoint.has_delivered() {
            // Nobody takes what the guest may still send.
            self.endpoint.reset(segment);
        }
        match self.endpoint.lingers() {
            Some((last, is_said)) => Ending::Lingers { last, is_said },
            None if self.endpoint.is_closed() => Ending::Over,
            None => Ending::NotYet,
        }
    }

    /// Handles that the host socket is of no more use. What the host has sent to its end is still given to
    /// the guest; if it had not come to its end, the reset is passed on.
    fn on_host_gone(&mut self, segment: &mut Segment) {
        if self.host_finished {
            self.host = Host::Closed;
        } else {
            self.abort(segment);
        }
    }

    /// Time at which to look again even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.endpoint.deadline().into_iter().chain(self.time_out()).min()
    }

    /// Time at which to give the connection up if it has not been opened by then.
    fn time_out(&self) -> Option<Instant> {
        let waits = matches!(self.host, Host::Connecting(_)) || self.endpoint.is_half_open();
        waits.then_some(self.patience)
    }

    /// Does what was due at the deadline. `heard`: when something last came from the guest.
    pub fn on_deadline(&mut self, segment: &mut Segment, heard: Option<Instant>) -> Ending {
        if self.time_out().is_some_and(|at| at <= segment.now) {
            let last = self.begun + limits::HALF_OPEN_TIMEOUT;
            if self.patience < last && heard.is_some_and(|heard| heard > self.begun) {
                // The guest is there, and only slow to take this client.
                self.patience = last;
            } else {
                self.failure = self.endpoint.is_connecting().then_some(Failure::NoAnswer);
                self.abort(segment);
                return Ending::Over;
            }
        }
        self.endpoint.on_deadline(segment);
        if self.endpoint.is_forsaken() {
            // What the guest has sent is still given to the host.
            self.endpoint.reset(segment);
        }
        self.pump(segment)
    }

    /// Why the client of this connection was not served, if it was not the client who left.
    pub fn failure(&self) -> Option<Failure> {
        let refused = self.endpoint.is_refused().then_some(Failure::Refused);
        self.failure.or(refused)
    }

    /// A host socket whose kernel still has something to deliver; the socket is to be kept until then.
    pub fn take_leaving(&mut self) -> Option<Leaver> {
        self.leaves.take()
    }

    /// How much the connection's place may be taken by a new one, if at all: the lower, the sooner. One that
    /// an end has finished with may be, the longest idle first and those on which no bytes wait before the
    /// others; and then one whose guest has been away for minutes.
    pub fn dispensable(&self, now: Instant) -> Option<(u8, Instant)> {
        let is_closing = self.host_finished
            || self.guest_finished
            || self.endpoint.is_closed()
            || matches!(self.host, Host::Closed);
        let class = match is_closing {
            true if now.saturating_duration_since(self.moved) < limits::HALF_CLOSED_SPARED => return None,
            true if !self.endpoint.has_bytes() => 0,
            true => 1,
            false if self.endpoint.is_doubtful() => 2,
            false => return None,
        };
        Some((class, self.moved))
    }

    /// Ends both sides with a reset, except a side that has ended already.
    pub fn abort(&mut self, segment: &mut Segment) {
        if self.endpoint.lingers().is_none() {
            self.endpoint.reset(segment);
        }
        self.reset_host();
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
        if let Host::Connecting(stream) = std::mem::replace(&mut self.host, Host::Closed) {
            prepare(&stream);
            self.host = Host::Open(stream);
            self.endpoint.confirm();
        }
    }

    /// Whether the client of a connection that still waits for its guest is gone. One that has closed its
    /// half may wait for an answer, even if it has sent nothing.
    fn has_given_up(&self) -> bool {
        let Host::Open(stream) = &self.host else {
            return false;
        };
        let peeked = stream.peek(&mut [0]);
        peeked.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
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
    fn close_host(&mut self) {
        let both_finished = self.host_finished && self.guest_finished;
        let guest_is_gone = self.endpoint.is_closed()
            && !(self.endpoint.has_received() && matches!(self.host, Host::Open(_)));
        if both_finished || guest_is_gone {
            self.reset_host();
        }
    }

    /// Ends the host socket: with a reset, unless the guest has come to its end. The guest's bytes were
    /// acknowledged to it, so the kernel shall go on delivering them to a slow client first.
    fn reset_host(&mut self) {
        if let Host::Open(stream) = std::mem::replace(&mut self.host, Host::Closed) {
            self.leaves = Some(Leaver {
                stream,
                resets: !self.guest_finished,
            });
        }
    }
}

/// Sets the options that every host socket needs. A failure leaves a slower connection, not a wrong one.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // An urgent byte stays in its place among the others (RFC 6093 section 5).
    let _ = sockopt::set_socket_oobinline(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, limits::HOST_PROBE_EVERY);
    let _ = sockopt::set_tcp_keepintvl(stream, limits::HOST_PROBE_EVERY);
    let _ = sockopt::set_tcp_keepcnt(stream, limits::HOST_PROBES_MAX);
    let _ = sockopt::set_socket_keepalive(stream, true);
}
