//! TCP forwards: which of the clients that knock at a host port are taken, and when.
//!
//! A limit that concerns all clients of a forward leaves them in the kernel's queue until there is room. A
//! limit that concerns a single source resets that source's client at once, since the client would stand in
//! the others' way.

use super::config::{Forward, GatewayError};
use super::host_port::HostPort;
use super::limits;
use super::shares::{Shares, source_of};
use super::token::{Kind, token};
use super::told::Told;
use mio::Registry;
use mio::net::{TcpListener, TcpStream};
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Listening {
    listener: TcpListener,
    guest: SocketAddrV4,
    /// Number of connections that came through this forward.
    open: usize,
    /// Number of those connections that still wait for the guest.
    waiting: usize,
    /// Whether clients are left in the kernel's queue because of a limit, or for the next turn. They are
    /// tried again when a connection ends.
    stalled: bool,
}

/// The place of a client's connection among the others.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    forward: usize,
    source: IpAddr,
    /// Whether the connection still waits for the guest.
    waits: bool,
}

/// A client that was taken.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    pub guest: SocketAddrV4,
    pub place: Place,
}

/// All TCP forwards.
#[derive(Debug, Default)]
pub struct Forwards {
    forwards: Vec<Listening>,
    open: usize,
    by_source: Shares<IpAddr>,
    waiting_by_source: Shares<IpAddr>,
    refused: Told,
    /// When to go on accepting after a failure for want of descriptors, or after a turn's share of clients.
    accept_again: Option<Instant>,
}

impl Forwards {
    /// Starts to listen for a forward. Returns the address with the port that was chosen.
    pub fn listen(
        &mut self,
        forward: &Forward,
        guest: Ipv4Addr,
        registry: &Registry,
    ) -> Result<SocketAddr, GatewayError> {
        let token = token(Kind::TcpForward, self.forwards.len() as u64);
        let (bind, address) = (TcpListener::bind, TcpListener::local_addr);
        let port = HostPort::open(forward, guest, (registry, token), bind, address)?;
        self.forwards.push(Listening {
            listener: port.socket,
            guest: port.guest,
            open: 0,
            waiting: 0,
            stalled: false,
        });
        Ok(port.address)
    }

    /// The next client of a forward, as far as the limits allow; it has its place from here on. Accepts at
    /// most `patience` clients, those that are reset included, and counts `patience` down; further clients
    /// come in the next turn.
    pub fn next_client(&mut self, index: usize, patience: &mut usize, now: Instant) -> Option<Client> {
        loop {
            let full = self.open >= limits::CONNECTIONS_PER_DIRECTION_MAX;
            let forward = self.forwards.get_mut(index)?;
            forward.stalled = full
                || forward.open >= limits::CONNECTIONS_PER_FORWARD_MAX
                || forward.waiting >= limits::WAITING_PER_FORWARD_MAX;
            if forward.stalled {
                return None;
            }
            let Some(left) = patience.checked_sub(1) else {
                forward.stalled = true;
                self.accept_again.get_or_insert(now);
                return None;
            };
            *patience = left;
            match forward.listener.accept() {
                Ok((stream, client)) => {
                    if let Some(client) = self.take(index, stream, client, now) {
                        return Some(client);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client");
                    forward.stalled = true;
                    self.accept_again = Some(now + limits::ACCEPT_RETRY);
                    return None;
                }
            }
        }
    }

    /// Notes that the guest has answered a client.
    pub fn answered(&mut self, place: &mut Place) {
        if std::mem::take(&mut place.waits) {
            self.waiting_by_source.remove(&place.source);
            if let Some(forward) = self.forwards.get_mut(place.forward) {
                forward.waiting -= 1;
            }
        }
    }

    /// Notes that a client's connection is over.
    pub fn ended(&mut self, mut place: Place) {
        self.answered(&mut place);
        self.by_source.remove(&place.source);
        self.open -= 1;
        if let Some(forward) = self.forwards.get_mut(place.forward) {
            forward.open -= 1;
        }
    }

    /// Number of connections of clients.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Forwards whose clients were left waiting because of a limit that may no longer hold.
    pub fn stalled(&self) -> Vec<usize> {
        if self.accept_again.is_some() {
            return Vec::new();
        }
        let stalled = self.forwards.iter().enumerate();
        stalled
            .filter(|(_, forward)| forward.stalled)
            .map(|(index, _)| index)
            .collect()
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.accept_again
    }

    /// Ends a pause after a failure. True: accepts that failed may be tried again.
    pub fn on_deadline(&mut self, now: Instant) -> bool {
        self.accept_again.take_if(|at| *at <= now).is_some()
    }

    fn take(&mut self, index: usize, stream: TcpStream, client: SocketAddr, now: Instant) -> Option<Client> {
        let source = source_of(client.ip());
        if self.by_source.of(&source) >= limits::CONNECTIONS_PER_SOURCE_MAX
            || self.waiting_by_source.of(&source) >= limits::WAITING_PER_SOURCE_MAX
        {
            if let Some(untold) = self.refused.one_more(now) {
                tracing::warn!(%source, untold, "clients reset: this address has too many connections");
            }
            // Closing a socket that does not linger sends a reset instead of a FIN.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return None;
        }
        let forward = self.forwards.get_mut(index)?;
        forward.open += 1;
        forward.waiting += 1;
        self.open += 1;
        self.by_source.add(source);
        self.waiting_by_source.add(source);
        Some(Client {
            stream,
            guest: forward.guest,
            place: Place {
                forward: index,
                source,
                waits: true,
            },
        })
    }
}

/// Whether an error of `accept` is about one client, not about us.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
