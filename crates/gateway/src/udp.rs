//! UDP: which of the two tables a datagram belongs to, the guests' way out or the clients' way in.
//!
//! The loop (`event_loop`) calls this file; `mappings` has a host socket for each port that a guest sends
//! from, and `clients` the forwards. Datagrams are lost when somebody is slow, as on any network.

use super::clients::Clients;
use super::mappings::{Datagram, Fate, Mappings};
use super::nat::Destinations;
use super::segment::Segment;
use mio::Registry;
use std::time::Instant;

/// Everything that UDP keeps.
#[derive(Debug, Default)]
pub struct Udp {
    pub mappings: Mappings,
    pub clients: Clients,
}

impl Udp {
    /// Handles a datagram of a guest.
    pub fn on_datagram(
        &mut self,
        segment: &mut Segment,
        registry: &Registry,
        destinations: &mut Destinations,
        datagram: &Datagram<'_>,
    ) -> Fate {
        match self.clients.answer(segment, datagram) {
            Some(fate) => fate,
            None => self.mappings.send(segment, registry, destinations, datagram),
        }
    }

    /// Handles datagrams of clients of a forward. True: there may be more.
    pub fn on_forward(&mut self, segment: &mut Segment, index: usize) -> bool {
        let Self { mappings, clients } = self;
        clients.on_ready(segment, index, |guest, port| {
            mappings.sends_to_loopback(guest, port)
        })
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let deadlines = [self.mappings.deadline(), self.clients.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Forgets what is idle.
    pub fn on_deadline(&mut self, now: Instant) {
        self.mappings.on_deadline(now);
        self.clients.on_deadline(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GatewayConfig, GuestListen, Resolvers};
    use crate::destination::Rules;
    use crate::guests::Guests;
    use crate::limits;
    use mio::Poll;
    use smoltcp::wire::EthernetAddress;
    use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
    use std::time::Duration;

    const GUEST: &str = "10.0.2.15:9";
    const MOMENT: Duration = Duration::from_nanos(1);

    /// A gateway's UDP without its loop, so that a test says what time it is.
    struct Scene {
        udp: Udp,
        segment: Segment,
        destinations: Destinations,
        poll: Poll,
        /// Last byte of the MAC of the guest that sends.
        host: u8,
    }

    impl Scene {
        fn new() -> Self {
            let addresses = GatewayConfig::new(GuestListen::Unix("x".into()))
                .addresses()
                .unwrap();
            let allow = ["127.0.0.1".parse().unwrap()];
            let rules = Rules::new(&allow, &[], Vec::new(), addresses.gateway);
            Self {
                udp: Udp::default(),
                segment: Segment::new(addresses, Guests::new(addresses, &[]), Instant::now()),
                destinations: Destinations::new(addresses, rules, Resolvers::Fixed(Vec::new())),
                poll: Poll::new().unwrap(),
                host: 1,
            }
        }

        /// A forward to the guest's port 9; its address.
        fn forward(&mut self) -> SocketAddr {
            let forward = "udp:127.0.0.1:0-:9".parse().unwrap();
            let guest = "10.0.2.15".parse().unwrap();
            let clients = &mut self.udp.clients;
            clients.listen(&forward, guest, self.poll.registry()).unwrap()
        }

        fn send(&mut self, from: &str, to: SocketAddrV4) -> Fate {
            let datagram = Datagram {
                mac: EthernetAddress([2, 0, 0, 0, 0, self.host]),
                guest: from.parse().unwrap(),
                outside: to,
                hops: 64,
                may_fragment: false,
                payload: b"datagram",
            };
            let Self {
                udp,
                segment,
                destinations,
                poll,
                ..
            } = self;
            udp.on_datagram(segment, poll.registry(), destinations, &datagram)
        }

        fn wait(&mut self, time: Duration) {
            self.segment.now += time;
            self.udp.on_deadline(self.segment.now);
        }
    }

    /// A server on the loopback, and the place at which guests see it.
    fn server() -> (UdpSocket, SocketAddrV4) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, SocketAddrV4::new([10, 0, 2, 2].into(), port))
    }

    fn port_seen_by(server: &UdpSocket) -> u16 {
        server.recv_from(&mut [0; 16]).unwrap().1.port()
    }

    #[test]
    fn a_mapping_lives_for_five_minutes_after_each_datagram_and_then_its_port_rests() {
        const IDLE: Duration = Duration::from_secs(5 * 60);
        let mut scene = Scene::new();
        let (socket, place) = server();
        assert_eq!(scene.send(GUEST, place), Fate::Sent);
        let first = port_seen_by(&socket);
        scene.wait(IDLE - MOMENT);
        scene.send(GUEST, place);
        assert_eq!(port_seen_by(&socket), first);
        scene.wait(IDLE - MOMENT);
        assert_eq!(scene.udp.mappings.counts(), [1, 0]);
        scene.wait(MOMENT);
        assert_eq!(scene.udp.mappings.counts(), [0, 1]);
        scene.send("10.0.2.15:10", place);
        assert_ne!(port_seen_by(&socket), first);
    }

    #[test]
    fn a_guest_that_gets_anothers_address_does_not_get_its_mapping() {
        let mut scene = Scene::new();
        let (socket, place) = server();
        scene.send(GUEST, place);
        let first = port_seen_by(&socket);
        scene.host = 2;
        scene.send(GUEST, place);
        assert_ne!(port_seen_by(&socket), first);
        assert_eq!(scene.udp.mappings.counts(), [1, 1]);
    }

    #[test]
    fn one_port_of_a_guest_is_one_port_of_the_host_and_another_is_another() {
        let mut scene = Scene::new();
        let ((one, at_one), (two, at_two)) = (server(), server());
        scene.send(GUEST, at_one);
        scene.send(GUEST, at_two);
        let port = port_seen_by(&one);
        assert_eq!(port_seen_by(&two), port);
        scene.send("10.0.2.15:10", at_one);
        scene.send("10.0.2.16:9", at_one);
        let others = [port_seen_by(&one), port_seen_by(&one)];
        assert!(others[0] != port && others[1] != port && others[0] != others[1]);
    }

    #[test]
    fn a_late_answer_to_a_client_reaches_no_service_of_the_host() {
        let mut scene = Scene::new();
        let forward = scene.forward();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"question", forward).unwrap();
        assert!(!scene.udp.on_forward(&mut scene.segment, 0));
        assert_eq!(scene.udp.clients.len(), 1);
        // The first client has the highest port.
        let place = "10.0.2.2:65535".parse().unwrap();
        assert_eq!(scene.send(GUEST, place), Fate::Sent);
        client.recv(&mut [0; 16]).unwrap();
        scene.wait(limits::UDP_IDLE);
        assert_eq!(scene.udp.clients.len(), 0);
        assert_eq!(scene.send(GUEST, place), Fate::REFUSED);
        assert_eq!(scene.udp.mappings.counts(), [0, 0]);
        // A guest's port to which no forward leads means the host's service.
        assert_eq!(scene.send("10.0.2.15:10", place), Fate::Sent);
        assert_eq!(scene.udp.mappings.counts(), [1, 0]);
    }

    #[test]
    fn a_guest_with_its_share_of_mappings_loses_its_own_and_no_other_guests() {
        let mut scene = Scene::new();
        let (_socket, place) = server();
        scene.send("10.0.2.16:9", place);
        for port in 0..=limits::UDP_MAPPINGS_PER_GUEST_MAX {
            scene.wait(MOMENT);
            assert_eq!(scene.send(&format!("10.0.2.15:{}", port + 1), place), Fate::Sent);
        }
        assert_eq!(
            scene.udp.mappings.counts(),
            [limits::UDP_MAPPINGS_PER_GUEST_MAX + 1, 1]
        );
    }

    #[test]
    fn a_source_with_its_share_of_clients_loses_its_own() {
        let mut scene = Scene::new();
        let forward = scene.forward();
        let other = UdpSocket::bind("127.0.0.2:0").unwrap();
        other.send_to(b"x", forward).unwrap();
        scene.udp.on_forward(&mut scene.segment, 0);
        // They are all kept, so that the kernel gives none of them another's port.
        let mut clients = Vec::new();
        for _ in 0..=limits::UDP_CLIENTS_PER_SOURCE_MAX {
            scene.wait(MOMENT);
            clients.push(UdpSocket::bind("127.0.0.1:0").unwrap());
            let client = clients.last().unwrap();
            client.send_to(b"x", forward).unwrap();
            scene.udp.on_forward(&mut scene.segment, 0);
        }
        assert_eq!(scene.udp.clients.len(), limits::UDP_CLIENTS_PER_SOURCE_MAX + 1);
        // The other source's client is still answered at its port.
        assert_eq!(scene.send(GUEST, "10.0.2.2:65535".parse().unwrap()), Fate::Sent);
        other.recv(&mut [0; 16]).unwrap();
    }
}
