//! TCP forwards: which of the clients that knock at a host port are taken, and when.
//!
//! A limit that concerns all clients of a forward leaves them in the kernel's queue until there is room. A
//! limit that concerns a single source resets that source's client at once, since the client would stand in
//! the others' way.
//!
//! A client whose guest is not there is reset, as a host without the service would do it, once the guest has
//! been away for longer than a failover takes. What clients come to nothing for is counted, and told once for
//! each forward and cause.

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

/// Why the clients of a forward come to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No VM with the guest's address is connected.
    Absent,
    /// The guest's VM is connected, but nothing comes from the guest.
    Silent,
    /// The guest refuses connections to the port.
    Refuses,
}

/// Which limit leaves the clients of a forward in the kernel's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Too many of the forward's clients wait for the guest.
    Waiting,
    /// The forward has its share of connections.
    Forward,
    /// All places of clients' connections are taken.
    Everything,
}

#[derive(Debug)]
struct Listening {
    listener: TcpListener,
    guest: SocketAddrV4,
    /// The forward as it is named to the operator, with the port that was chosen.
    name: String,
    /// Since when no VM with the guest's address has been connected; `None`: one is.
    away_since: Option<Instant>,
    /// The cause that the operator was told, until a client is served again.
    told: Option<Trouble>,
    /// Clients that came to nothing since a client was last served.
    unserved: u64,
    /// Keeps a guest whose service comes and goes from filling the operator's log.
    telling: Told,
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
    /// Number of the forward.
    pub forward: usize,
    /// Where the client comes from, as far as shares are concerned.
    pub source: IpAddr,
    /// Whether the connection still waits for the guest.
    waits: bool,
}

/// A client that knocks and has no place yet.
#[derive(Debug)]
pub struct Knock {
    pub stream: TcpStream,
    pub guest: SocketAddrV4,
    /// Where the client comes from, as far as shares are concerned.
    pub source: IpAddr,
}

/// A client that was taken.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    pub guest: SocketAddrV4,
    pub place: Place,
}

/// All TCP forwards.
#[derive(Debug)]
pub struct Forwards {
    forwards: Vec<Listening>,
    /// Time for which clients wait for a guest that is not there.
    pub guest_away_max: Duration,
    /// Clients that were reset since no guest was there, or nothing came from it.
    pub unserved: u64,
    /// Clients that a guest has refused.
    pub refused_by_guest: u64,
    open: usize,
    by_source: Shares<IpAddr>,
    waiting_by_source: Shares<IpAddr>,
    refused: Told,
    /// When to go on accepting after a failure for want of descriptors, or after a turn's share of clients.
    accept_again: Option<Instant>,
}

impl Forwards {
    /// No forwards yet.
    pub fn new(guest_away_max: Duration) -> Self {
        Self {
            forwards: Vec::new(),
            guest_away_max,
            unserved: 0,
            refused_by_guest: 0,
            open: 0,
            by_source: Shares::default(),
            waiting_by_source: Shares::default(),
            refused: Told::default(),
            accept_again: None,
        }
    }

    /// Starts to listen for a forward. Returns the address with the port that was chosen.
    pub fn listen(
        &mut self,
        forward: &Forward,
        guest: Ipv4Addr,
        registry: &Registry,
        now: Instant,
    ) -> Result<SocketAddr, GatewayError> {
        let token = token(Kind::TcpForward, self.forwards.len() as u64);
        let (bind, address) = (TcpListener::bind, TcpListener::local_addr);
        let port = HostPort::open(forward, guest, (registry, token), bind, address)?;
        self.forwards.push(Listening {
            listener: port.socket,
            guest: port.guest,
            name: port.name,
            away_since: Some(now),
            told: None,
            unserved: 0,
            telling: Told::default(),
            open: 0,
            waiting: 0,
            stalled: false,
        });
        Ok(port.address)
    }

    /// Whether a limit leaves the clients of a forward waiting for now.
    pub fn full(&mut self, index: usize) -> Option<Full> {
        let everything = self.open >= limits::CONNECTIONS_PER_DIRECTION_MAX;
        let forward = self.forwards.get_mut(index)?;
        let full = if forward.waiting >= limits::WAITING_PER_FORWARD_MAX {
            Some(Full::Waiting)
        } else if forward.open >= limits::CONNECTIONS_PER_FORWARD_MAX {
            Some(Full::Forward)
        } else {
            everything.then_some(Full::Everything)
        };
        forward.stalled = full.is_some();
        full
    }

    /// The next client that knocks at a forward. Accepts at most `patience` clients and counts it down;
    /// further clients come in the next turn.
    pub fn next_client(&mut self, index: usize, patience: &mut usize, now: Instant) -> Option<Knock> {
        loop {
            let forward = self.forwards.get_mut(index)?;
            let Some(left) = patience.checked_sub(1) else {
                forward.stalled = true;
                self.accept_again.get_or_insert(now);
                return None;
            };
            *patience = left;
            match forward.listener.accept() {
                Ok((stream, client)) => {
                    return Some(Knock {
                        stream,
                        guest: forward.guest,
                        source: source_of(client.ip()),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    tracing::warn!("a client that connects cannot be accepted at present: {error}");
                    forward.stalled = true;
                    self.accept_again = Some(now + limits::ACCEPT_RETRY);
                    return None;
                }
            }
        }
    }

    /// Notes where the forwards' guests are.
    pub fn look(&mut self, now: Instant, is_here: impl Fn(Ipv4Addr) -> bool) {
        for forward in &mut self.forwards {
            forward.look(is_here(*forward.guest.ip()), now);
        }
    }

    /// Whether a client shall wait for the guest of a forward: the guest is here, or has been away for less
    /// than `guest_away_max`.
    pub fn expects_guest(&mut self, index: usize, is_here: bool, now: Instant) -> bool {
        let max = self.guest_away_max;
        let Some(forward) = self.forwards.get_mut(index) else {
            return false;
        };
        forward.look(is_here, now);
        forward
            .away_since
            .is_none_or(|since| now.saturating_duration_since(since) < max)
    }

    /// Whether an address of clients has its share of connections.
    pub fn has_its_share(&self, source: IpAddr) -> bool {
        self.by_source.of(&source) >= limits::CONNECTIONS_PER_SOURCE_MAX
    }

    /// Notes that a client of a forward came to nothing, which is told if this cause was not told yet.
    pub fn failed(&mut self, index: usize, trouble: Trouble, now: Instant) {
        match trouble {
            Trouble::Refuses => self.refused_by_guest += 1,
            Trouble::Absent | Trouble::Silent => self.unserved += 1,
        }
        let Some(forward) = self.forwards.get_mut(index) else {
            return;
        };
        forward.unserved += 1;
        if forward.told == Some(trouble) || forward.telling.one_more(now).is_none() {
            return;
        }
        forward.told = Some(trouble);
        let Listening { name, guest, .. } = forward;
        let (address, port) = (guest.ip(), guest.port());
        match trouble {
            Trouble::Absent => tracing::warn!(
                "clients of the forward {name} are reset: the VM to which it leads is not connected; start \
                 it, or name another one in the forward"
            ),
            Trouble::Silent => tracing::warn!(
                "clients of the forward {name} are reset: nothing comes from the guest at {address}, though \
                 its VM is connected; its console may say why"
            ),
            Trouble::Refuses => tracing::warn!(
                "clients of the forward {name} are reset: the guest at {address} refuses them, since nothing \
                 listens there at port {port}; start the service, and let it listen on all addresses"
            ),
        }
    }

    /// Notes that the guest has answered a client.
    pub fn served(&mut self, place: &mut Place) {
        if !place.waits {
            return;
        }
        self.answered(place);
        let Some(forward) = self.forwards.get_mut(place.forward) else {
            return;
        };
        let unserved = std::mem::take(&mut forward.unserved);
        if forward.told.take().is_some() {
            tracing::warn!(
                "clients of the forward {} are served again; reset meanwhile: {unserved}",
                forward.name
            );
        }
    }

    fn answered(&mut self, place: &mut Place) {
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

    /// Resets a client whose address has its share.
    pub fn turn_away(&mut self, knock: Knock, now: Instant) {
        if let Some(untold) = self.refused.one_more(now) {
            let source = knock.source;
            tracing::warn!(
                "the client {source} is reset: it has too many connections through forwards{untold}"
            );
        }
        self.reset(knock.stream);
    }

    /// Resets a client.
    pub fn reset(&self, stream: TcpStream) {
        // Closing a socket that does not linger sends a reset instead of a FIN.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        drop(stream);
    }

    /// Gives a client its place, or resets it because too many of its address wait.
    pub fn take(&mut self, index: usize, knock: Knock, now: Instant) -> Option<Client> {
        if self.waiting_by_source.of(&knock.source) >= limits::WAITING_PER_SOURCE_MAX {
            self.turn_away(knock, now);
            return None;
        }
        let Knock {
            stream,
            guest,
            source,
        } = knock;
        let forward = self.forwards.get_mut(index)?;
        forward.open += 1;
        forward.waiting += 1;
        self.open += 1;
        self.by_source.add(source);
        self.waiting_by_source.add(source);
        Some(Client {
            stream,
            guest,
            place: Place {
                forward: index,
                source,
                waits: true,
            },
        })
    }
}

impl Listening {
    /// Notes whether the guest is here.
    fn look(&mut self, is_here: bool, now: Instant) {
        if is_here {
            self.away_since = None;
        } else {
            self.away_since.get_or_insert(now);
        }
    }
}

/// Whether an error of `accept` is about one client, not about us.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
