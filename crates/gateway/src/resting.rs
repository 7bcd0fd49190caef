//! Ports that rest after their use, so that what arrives late for their last user reaches nobody else.
//!
//! There are two kinds of ports: those of this host, behind which `mappings` has the guests' sockets, and
//! those of the gateway's address, at which `clients` shows the clients of forwards to guests. Both rest here
//! for as long as a silent mapping would have lived. Whoever uses ports so fast that all of them rest gets
//! those back that have rested longest, but none before `PORT_REST_MIN`: then there is no port, and a
//! datagram is lost rather than taken to another service.

use super::limits;
use mio::net::UdpSocket;
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

/// Ports of one user in the order in which their rest began.
type Queue = VecDeque<(Instant, u16)>;

/// The ports of this host that rest, each for the guest that used it last.
#[derive(Debug, Default)]
pub struct HostPorts {
    /// Time at which the rest of each port began.
    began: HashMap<u16, Instant>,
    by_guest: HashMap<Ipv4Addr, Queue>,
}

impl HostPorts {
    /// A socket for a guest at a port of the kernel's choice that does not rest. `None`: there is none, or
    /// the guest has used up its share of ports for now.
    pub fn bind(&mut self, guest: Ipv4Addr, now: Instant) -> Option<UdpSocket> {
        self.expire(now);
        if !self.has_room(guest, now) {
            return None;
        }
        // The sockets at resting ports are held until one is found, so that the kernel names others.
        let mut resting = Vec::new();
        for _ in 0..limits::PORT_TRIES {
            let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())
                .inspect_err(|error| tracing::debug!(%error, "no socket for a guest's datagrams"))
                .ok()?;
            let port = socket.local_addr().ok()?.port();
            if !self.began.contains_key(&port) {
                return Some(socket);
            }
            resting.push(socket);
        }
        None
    }

    /// Has a port rest that a socket for this guest was bound to.
    pub fn rest(&mut self, guest: Ipv4Addr, socket: &UdpSocket, now: Instant) {
        let Ok(port) = socket.local_addr().map(|address| address.port()) else {
            return;
        };
        if self.began.insert(port, now).is_none() {
            self.by_guest.entry(guest).or_default().push_back((now, port));
        }
    }

    /// Number of ports that rest.
    pub fn len(&self) -> usize {
        self.began.len()
    }

    /// Whether a guest may have one more port. The rest of the guest's oldest port ends early for it.
    fn has_room(&mut self, guest: Ipv4Addr, now: Instant) -> bool {
        let Some(queue) = self.by_guest.get_mut(&guest) else {
            return true;
        };
        if queue.len() < limits::RESTING_PER_GUEST_MAX {
            return true;
        }
        match end_oldest(queue, now, limits::PORT_REST_MIN) {
            Some(port) => self.began.remove(&port).is_some(),
            None => false,
        }
    }

    fn expire(&mut self, now: Instant) {
        self.by_guest.retain(|_, queue| {
            while let Some(port) = end_oldest(queue, now, limits::PORT_REST) {
                self.began.remove(&port);
            }
            !queue.is_empty()
        });
    }
}

/// The ports of the gateway's address at which guests see the clients of forwards.
#[derive(Debug)]
pub struct ClientPorts {
    /// Highest port that no client has had yet.
    fresh: Option<u16>,
    began: HashMap<u16, Instant>,
    queue: Queue,
}

/// Port at which the first client appears. The highest are used first: hardly a service of the host has one,
/// and a guest that serves clients and calls such a service from the same port means only one of them by it.
const FIRST_PORT: u16 = 65_535;
/// Lowest port at which a client appears.
const LAST_PORT: u16 = 1024;

impl Default for ClientPorts {
    fn default() -> Self {
        Self {
            fresh: Some(FIRST_PORT),
            began: HashMap::new(),
            queue: VecDeque::new(),
        }
    }
}

impl ClientPorts {
    /// A port for a new client. `None`: all ports are in use, or have just been.
    pub fn take(&mut self, now: Instant) -> Option<u16> {
        let rested = end_oldest(&mut self.queue, now, limits::PORT_REST);
        let port = rested
            .or_else(|| {
                let fresh = self.fresh?;
                self.fresh = (fresh > LAST_PORT).then(|| fresh - 1);
                Some(fresh)
            })
            .or_else(|| end_oldest(&mut self.queue, now, limits::PORT_REST_MIN))?;
        self.began.remove(&port);
        Some(port)
    }

    /// Has a port rest.
    pub fn rest(&mut self, port: u16, now: Instant) {
        if self.began.insert(port, now).is_none() {
            self.queue.push_back((now, port));
        }
    }

    /// Whether a client appeared at this port whose late answers may still come.
    pub fn rests(&self, port: u16, now: Instant) -> bool {
        self.began
            .get(&port)
            .is_some_and(|&began| now.saturating_duration_since(began) < limits::PORT_REST)
    }
}

/// Ends the rest that began first if it has lasted for long enough.
fn end_oldest(queue: &mut Queue, now: Instant, long: std::time::Duration) -> Option<u16> {
    let &(began, port) = queue.front()?;
    (now.saturating_duration_since(began) >= long).then(|| queue.pop_front())?;
    Some(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    const MOMENT: Duration = Duration::from_nanos(1);

    #[test]
    fn a_port_that_rests_is_given_to_nobody() {
        let (mut ports, now) = (HostPorts::default(), Instant::now());
        // All ports that the kernel names by itself rest but those of these few sockets.
        let free: Vec<UdpSocket> = (0..4).map(|_| ports.bind(GUEST, now).unwrap()).collect();
        let free: Vec<u16> = free
            .iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect();
        for port in (1..=u16::MAX).filter(|port| !free.contains(port)) {
            ports.began.insert(port, now);
        }
        for _ in 0..100 {
            let given = ports.bind(Ipv4Addr::new(10, 0, 2, 16), now);
            assert!(given.is_none_or(|socket| free.contains(&socket.local_addr().unwrap().port())));
        }
    }

    #[test]
    fn a_hosts_port_rests_for_as_long_as_a_silent_mapping_lives() {
        let (mut ports, now) = (HostPorts::default(), Instant::now());
        let socket = ports.bind(GUEST, now).unwrap();
        ports.rest(GUEST, &socket, now);
        ports.expire(now + limits::UDP_IDLE - MOMENT);
        assert_eq!(ports.len(), 1);
        ports.expire(now + limits::UDP_IDLE);
        assert_eq!((ports.len(), ports.by_guest.len()), (0, 0));
    }

    #[test]
    fn a_guest_that_uses_up_ports_waits_and_no_other_guest_does() {
        let (mut ports, now) = (HostPorts::default(), Instant::now());
        let queue = ports.by_guest.entry(GUEST).or_default();
        for number in 0..limits::RESTING_PER_GUEST_MAX {
            queue.push_back((now, number as u16));
            ports.began.insert(number as u16, now);
        }
        let soon = now + limits::PORT_REST_MIN;
        assert!(!ports.has_room(GUEST, soon - MOMENT));
        assert!(ports.has_room(Ipv4Addr::new(10, 0, 2, 16), now));
        assert!(ports.has_room(GUEST, soon));
        assert_eq!(ports.len(), limits::RESTING_PER_GUEST_MAX - 1);
    }

    #[test]
    fn clients_ports_are_used_again_when_they_have_rested_and_never_before() {
        let (mut ports, now) = (ClientPorts::default(), Instant::now());
        let all: Vec<u16> = std::iter::from_fn(|| ports.take(now)).collect();
        assert_eq!((all[0], all.last()), (FIRST_PORT, Some(&LAST_PORT)));
        assert_eq!(all.len(), usize::from(FIRST_PORT - LAST_PORT) + 1);
        ports.rest(2000, now);
        ports.rest(3000, now + MOMENT);
        assert!(ports.rests(2000, now) && !ports.rests(2001, now));
        assert_eq!(ports.take(now + limits::PORT_REST_MIN - MOMENT), None);
        // All ports are in use or rest, so the one that has rested longest is taken early.
        assert_eq!(ports.take(now + limits::PORT_REST_MIN), Some(2000));
        assert!(!ports.rests(3000, now + limits::PORT_REST + MOMENT));
        assert_eq!(ports.take(now + limits::PORT_REST + MOMENT), Some(3000));
    }

    #[test]
    fn a_port_rests_while_others_have_never_been_used() {
        let (mut ports, now) = (ClientPorts::default(), Instant::now());
        let first = ports.take(now).unwrap();
        ports.rest(first, now);
        assert_eq!(ports.take(now + limits::PORT_REST - MOMENT), Some(first - 1));
        assert_eq!(ports.take(now + limits::PORT_REST), Some(first));
    }
}
