//! What a guest may reach, and how much of the gateway it, a client or an address may use.
//!
//! What is closed must be refused at once, and what is used must be given back.

#[path = "support/guest.rs"]
mod guest;
#[path = "support/scene.rs"]
mod scene;

use gateway::Resolvers;
use guest::{DNS, GATEWAY, Gateway, Guest, Wire, arp, mac};
use scene::{QUESTION, ask, connect_from, connected, datagrams, is_refused, listener, resolver};
use smoltcp::socket::icmp;
use smoltcp::socket::tcp::State;
use smoltcp::wire::Icmpv4Packet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

#[test]
fn by_itself_a_guest_reaches_neither_the_loopback_nor_the_gateways_ports_nor_the_clouds_secrets() {
    let (_listener, port) = listener();
    let gateway = Gateway::start(|config| {
        config.allow.clear();
        config.forwards.push("127.0.0.1:0-:7".parse().unwrap());
    });
    let frames = gateway.connect().peer_addr().unwrap().port();
    let forward = gateway.forward().port();
    let mut guest = Guest::with_lease(&gateway, 1);
    let places = [
        (GATEWAY, port),
        (GATEWAY, frames),
        (GATEWAY, forward),
        (Ipv4Addr::LOCALHOST, port),
        (Ipv4Addr::new(169, 254, 169, 254), 80),
    ];
    for (number, place) in (0..).zip(places) {
        is_refused(&mut guest, place, 5000 + number);
    }
    while gateway.ready.gauges.forbidden.get() < places.len() {
        guest.ping(GATEWAY);
    }
}

#[test]
fn what_is_allowed_by_name_is_reached_and_nothing_else() {
    let (_open, port) = listener();
    let (_closed, closed_port) = listener();
    let (_gateway, mut guest) = scene::start(|config| {
        config.allow = vec![format!("127.0.0.1:{port}").parse().unwrap()];
    });
    is_refused(&mut guest, (GATEWAY, closed_port), 5000);
    let client = guest.open((GATEWAY, port), 5001);
    guest.run_until(|guest| guest.tcp(client).state() == State::Established);
}

#[test]
fn the_gateways_own_port_is_not_opened_with_the_loopback() {
    let gateway = Gateway::start(|_| {});
    let frames = gateway.connect().peer_addr().unwrap().port();
    let mut guest = Guest::with_lease(&gateway, 1);
    is_refused(&mut guest, (GATEWAY, frames), 5000);
}

#[test]
fn what_is_denied_is_refused_and_a_datagram_is_answered_so() {
    let (_outside, address) = datagrams();
    let (_gateway, mut guest) = scene::start(|config| {
        config.deny.push(address.to_string().parse().unwrap());
    });
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 2], vec![0; 256]);
    let mut errors = icmp::Socket::new(buffer(), buffer());
    errors.bind(icmp::Endpoint::Udp(9.into())).unwrap();
    let errors = guest.sockets.add(errors);
    let socket = guest.bind_udp(9);
    // So short that the answer has room for all of it.
    guest
        .udp(socket)
        .send_slice(b"", (GATEWAY, address.port()))
        .unwrap();
    let mut told = None;
    guest.run_until(|guest| {
        let errors = guest.sockets.get_mut::<icmp::Socket<'_>>(errors);
        told = errors.recv().ok().map(|(bytes, _)| {
            let packet = Icmpv4Packet::new_unchecked(bytes);
            (u8::from(packet.msg_type()), packet.msg_code())
        });
        told.is_some()
    });
    assert_eq!(told, Some((3, 13)), "communication administratively prohibited");
}

#[test]
fn names_are_resolved_by_a_resolver_on_the_closed_loopback() {
    let (address, resolver) = resolver(b"");
    let (_gateway, mut guest) = scene::start(|config| {
        config.allow.clear();
        config.resolvers = Resolvers::Fixed(vec![address]);
    });
    assert_eq!(ask(&mut guest, DNS)[..2], QUESTION[..2]);
    resolver.join().unwrap();
}

#[test]
fn one_address_cannot_use_up_a_forward() {
    let gateway = Gateway::with_forward("tcp", ":7");
    // Nobody answers: all of these wait.
    let mut greedy: Vec<Option<TcpStream>> = (0..300).map(|_| scene::call(&gateway)).collect();
    // Those over the share are reset, in the order in which they came.
    if let Some(Some(last)) = greedy.last_mut() {
        assert!(last.read(&mut [0]).is_err(), "reset");
    }
    // Another address is served as if nothing were.
    let other = connect_from(Ipv4Addr::new(127, 0, 0, 2), gateway.forward());
    let mut guest = Guest::with_lease(&gateway, 1);
    let server = guest.listen(7);
    guest.run_until(|guest| guest.tcp(server).state() == State::Established);
    drop((other, greedy));
}

#[test]
fn connections_come_and_go_and_leave_nothing_behind() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let gauges = std::sync::Arc::clone(&gateway.ready.gauges);
    for round in 0..300 {
        let server = guest.listen(7);
        let mut client = TcpStream::connect(gateway.forward()).unwrap();
        client.write_all(b"question").unwrap();
        guest.run_until(|guest| guest.tcp(server).recv_queue() == 8);
        guest.tcp(server).recv(|bytes| (bytes.len(), ())).unwrap();
        guest.tcp(server).send_slice(b"answer").unwrap();
        // In turn either side closes first.
        if round % 2 == 0 {
            client.shutdown(std::net::Shutdown::Write).unwrap();
            guest.run_until(|guest| guest.tcp(server).state() == State::CloseWait);
        }
        guest.tcp(server).close();
        guest.run_until(|guest| {
            matches!(
                guest.tcp(server).state(),
                State::Closed | State::FinWait2 | State::TimeWait
            )
        });
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"answer");
        drop(client);
        guest.run_until(|guest| matches!(guest.tcp(server).state(), State::Closed | State::TimeWait));
        guest.sockets.remove(server);
        // One at a time, so two buffers serve them all; before, each kept its own for ten seconds.
        assert!(gauges.buffers.get() <= 4, "{} buffers", gauges.buffers.get());
    }
    while gauges.connections.get() > 0 {
        guest.ping(GATEWAY);
    }
    assert!(gauges.late.get() > 0);
}

#[test]
fn a_guest_whose_last_acknowledgement_was_lost_gets_it_again() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let (server, client) = connected(&gateway, &mut guest);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    guest.run_until(|guest| guest.tcp(server).state() == State::CloseWait);
    guest.tcp(server).close();
    // The guest's FIN arrives, and what answers it is lost with the primary.
    let mut sent = false;
    guest.run_until(|guest| {
        let done = std::mem::replace(&mut sent, true);
        done || guest.tcp(server).state() == State::LastAck
    });
    while gateway.ready.gauges.late.get() == 0 {
        guest.wire.send(&arp(mac(1), guest::FIRST_LEASE, GATEWAY));
        guest.wire.receive();
    }
    drop(guest.move_to(Wire::new(&gateway)));
    // Its stack repeats the FIN and is answered, not reset.
    guest.run_until(|guest| guest.tcp(server).state() == State::Closed);
}
