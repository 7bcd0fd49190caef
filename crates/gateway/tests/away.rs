//! Guests that are not there, and ends that leave things lying: clients hear of it, places come free without
//! anybody's consent, and what was taken from one side reaches the other.

#[path = "support/guest.rs"]
mod guest;
#[path = "support/scene.rs"]
mod scene;
#[path = "support/segments.rs"]
mod segments;

use guest::{FIRST_LEASE, GATEWAY, Gateway, Guest, Wire, arp, mac, pattern, tcp_segment};
use scene::{connected, listener, receive};
use smoltcp::socket::tcp::State;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A gateway with a forward to port 7, whose clients wait for a guest that is not there for a moment only.
fn impatient() -> Gateway {
    Gateway::start(|config| {
        config.forwards.push("127.0.0.1:0-:7".parse().unwrap());
        config.guest_away_max = Duration::from_millis(200);
    })
}

/// What a client of a forward hears in the end.
fn outcome(gateway: &Gateway) -> ErrorKind {
    scene::call(gateway).map_or(ErrorKind::ConnectionReset, |mut client| {
        client.read(&mut [0]).unwrap_err().kind()
    })
}

/// A server on the host's loopback that keeps all its connections and never says anything; its port.
fn silent_server() -> u16 {
    let (listener, port) = listener();
    thread::spawn(move || keep_all(&listener));
    port
}

fn keep_all(listener: &TcpListener) {
    let mut kept = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        kept.push(stream);
    }
}

#[test]
fn clients_of_a_guest_that_is_not_there_are_reset_and_served_when_it_is() {
    let gateway = impatient();
    // The first waits for as long as a failover may take, the second not at all.
    assert_eq!(outcome(&gateway), ErrorKind::ConnectionReset);
    assert_eq!(outcome(&gateway), ErrorKind::ConnectionReset);
    let mut guest = Guest::with_lease(&gateway, 1);
    connected(&gateway, &mut guest);
    assert_eq!(gateway.ready.gauges.unserved.get(), 2);
    // The VM goes away.
    drop(guest);
    assert_eq!(outcome(&gateway), ErrorKind::ConnectionReset);
    assert_eq!(gateway.ready.gauges.refused.get(), 0);
}

#[test]
fn a_client_of_a_guest_from_which_nothing_comes_is_reset() {
    let gateway = impatient();
    let mut wire = Wire::new(&gateway);
    wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
    wire.receive();
    assert_eq!(outcome(&gateway), ErrorKind::ConnectionReset);
}

#[test]
fn a_client_waits_for_a_guest_that_is_there_and_slow_to_answer() {
    let gateway = impatient();
    let mut wire = Wire::new(&gateway);
    wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
    wire.receive();
    let mut client = TcpStream::connect(gateway.forward()).unwrap();
    // The gateway repeats its SYN for longer than it would wait for a guest that is not there.
    for _ in 0..3 {
        while tcp_segment(&wire.receive()).is_none_or(|(_, tcp)| !tcp.syn()) {}
        wire.send(&arp(mac(1), FIRST_LEASE, FIRST_LEASE));
    }
    segments::accept(&mut wire, 7, true);
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the guest has closed its half");
}

#[test]
fn a_client_that_closes_its_half_before_the_guest_has_answered_gets_its_answer() {
    let gateway = Gateway::with_forward("tcp", ":7");
    let mut client = TcpStream::connect(gateway.forward()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut guest = Guest::with_lease(&gateway, 1);
    let server = guest.listen(7);
    guest.run_until(|guest| guest.tcp(server).state() == State::CloseWait);
    guest.tcp(server).send_slice(b"the time of day").unwrap();
    guest.tcp(server).close();
    guest.run_until(|guest| guest.tcp(server).state() == State::Closed);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "the time of day");
}

#[test]
fn a_client_that_a_guest_refuses_is_counted() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    guest.ping(GATEWAY);
    let mut client = TcpStream::connect(gateway.forward()).unwrap();
    client.write_all(b"is anybody there").unwrap();
    guest.run_until(|guest| guest.wire.segments > 0);
    assert_eq!(
        client.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    guest.ping(GATEWAY);
    let gauges = &gateway.ready.gauges;
    assert_eq!((gauges.refused.get(), gauges.unserved.get()), (1, 0));
}

#[test]
fn a_guest_that_is_booted_anew_frees_the_places_of_its_connections() {
    let port = silent_server();
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let half_closed = guest.open((GATEWAY, port), 5000);
    let open = guest.open((GATEWAY, port), 5001);
    let (_, client) = connected(&gateway, &mut guest);
    guest.run_until(|guest| guest.tcp(half_closed).may_send() && guest.tcp(open).may_send());
    guest.tcp(half_closed).close();
    guest.run_until(|guest| guest.tcp(half_closed).state() == State::FinWait2);
    assert_eq!(gateway.ready.gauges.connections.get(), 3);
    drop(guest);

    let mut guest = Guest::with_lease(&gateway, 1);
    while gateway.ready.gauges.connections.get() > 0 {
        guest.ping(GATEWAY);
    }
    // The client hears of it as well.
    assert_eq!(
        (&client).read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn connections_that_a_guest_has_closed_make_room_for_new_ones() {
    let port = silent_server();
    let gateway = Gateway::start(|_| {});
    let mut wire = Wire::new(&gateway);
    wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
    wire.receive();
    // A guest has 1,024 places. The server never closes its half.
    for number in 0..1024 {
        assert!(segments::open_and_close(&mut wire, 2000 + number, port));
    }
    // Those that were closed just now are spared for a moment.
    for number in 1024..1034 {
        while !segments::open_and_close(&mut wire, 2000 + number, port) {}
    }
    let gauges = &gateway.ready.gauges;
    assert_eq!((gauges.connections.get(), gauges.evicted.get()), (1024, 10));
}

#[test]
fn connections_that_clients_have_closed_make_room_for_new_ones() {
    let gateway = Gateway::with_forward("tcp", ":7");
    let mut wire = Wire::new(&gateway);
    wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
    wire.receive();
    // An address has 512 places. The guest never closes its half.
    let mut clients = Vec::new();
    for _ in 0..512 {
        let client = TcpStream::connect(gateway.forward()).unwrap();
        segments::accept(&mut wire, 7, false);
        client.shutdown(Shutdown::Write).unwrap();
        clients.push(client);
    }
    // Those that were closed just now are spared for a moment.
    let gauges = &gateway.ready.gauges;
    while gauges.evicted.get() < 10 {
        let evicted = gauges.evicted.get();
        let client = scene::call(&gateway);
        // The gateway has looked at the client once it has answered.
        wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
        while wire.receive().get(12..14) != Some(&[8, 6]) {}
        if gauges.evicted.get() > evicted {
            clients.push(client.unwrap());
        }
    }
    assert_eq!(gauges.connections.get(), 512);
}

#[test]
fn a_slow_client_gets_the_answer_of_a_guest_that_is_gone_though_it_goes_on_sending() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let server = guest.listen(7);
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    // So little room that the answer waits in the gateway's kernel.
    client.set_recv_buffer_size(2048).unwrap();
    client.connect(&gateway.forward().into()).unwrap();
    let mut client = TcpStream::from(client);
    guest.run_until(|guest| guest.tcp(server).may_send());
    let answer = pattern(12_000);
    guest.tcp(server).send_slice(&answer).unwrap();
    guest.tcp(server).close();
    guest.run_until(|guest| guest.tcp(server).state() == State::FinWait2);
    guest.tcp(server).abort();
    guest.ping(GATEWAY);
    client.write_all(b"nobody reads this any more").unwrap();
    guest.ping(GATEWAY);
    let gauges = &gateway.ready.gauges;
    assert_eq!((gauges.connections.get(), gauges.leaving.get()), (0, 1));
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, answer);
    drop(client);
    while gauges.leaving.get() > 0 {
        guest.ping(GATEWAY);
    }
}

#[test]
fn a_slow_guest_gets_all_that_a_client_sent_which_is_gone() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let (server, mut client) = connected(&gateway, &mut guest);
    // More than the guest's window takes, and less than the gateway does.
    let sent = pattern(200_000);
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // The gateway has read to the end once it has answered.
    guest.ping(GATEWAY);
    // The client's kernel has forgotten the connection, and resets it.
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    guest.ping(GATEWAY);
    let mut got = Vec::new();
    guest.run_until(|guest| {
        receive(guest, server, &mut got);
        matches!(guest.tcp(server).state(), State::CloseWait | State::Closed) && !guest.tcp(server).can_recv()
    });
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    // Nobody would take what the guest might still send.
    guest.run_until(|guest| guest.tcp(server).state() == State::Closed);
    while gateway.ready.gauges.connections.get() > 0 {
        guest.ping(GATEWAY);
    }
}

#[test]
fn a_slow_client_gets_all_that_a_guest_was_told_had_arrived_before_it_reset() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let server = guest.listen(7);
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    client.set_recv_buffer_size(2048).unwrap();
    client.connect(&gateway.forward().into()).unwrap();
    let mut client = TcpStream::from(client);
    client.shutdown(Shutdown::Write).unwrap();
    guest.run_until(|guest| guest.tcp(server).state() == State::CloseWait);
    // The guest sends until the gateway's window is closed.
    let (bytes, mut sent, mut rounds) = (pattern(64 << 20), 0, 0);
    while rounds < 10 {
        let before = sent - guest.tcp(server).send_queue();
        if guest.tcp(server).can_send() {
            sent += guest.tcp(server).send_slice(&bytes[sent..]).unwrap();
        }
        guest.ping(GATEWAY);
        let acknowledged = sent - guest.tcp(server).send_queue();
        rounds = if acknowledged > before { 0 } else { rounds + 1 };
    }
    let acknowledged = sent - guest.tcp(server).send_queue();
    guest.tcp(server).abort();
    guest.ping(GATEWAY);
    let mut got = Vec::new();
    let end = client.read_to_end(&mut got).unwrap_err().kind();
    assert_eq!(
        end,
        ErrorKind::ConnectionReset,
        "the guest has not come to its end"
    );
    assert!(got.len() >= acknowledged, "{} of {acknowledged} bytes", got.len());
    assert!(got == bytes[..got.len()]);
}
