//! The gateway as guests and clients see it: addresses, names, connections both ways.
//!
//! A guest here is a network stack of its own (`support/guest.rs`) on a real gateway with real sockets. What
//! goes wrong is in the other files.

#[path = "support/guest.rs"]
mod guest;
#[path = "support/scene.rs"]
mod scene;

use gateway::{GatewayConfig, GatewayError, GuestListen, Resolvers};
use guest::{DNS, FIRST_LEASE, GATEWAY, Gateway, Guest, Wire, arp, mac, pattern};
use scene::{QUESTION, ask, connected, datagram, datagrams, is_refused, listener, receive, resolver};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use smoltcp::wire::EthernetFrame;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

#[test]
fn a_guest_gets_the_first_lease_and_keeps_it() {
    let gateway = Gateway::start(|_| {});
    let mut guest = Guest::new(&gateway, 1);
    assert_eq!(guest.lease(), (FIRST_LEASE, GATEWAY, vec![DNS]));
    let other = Guest::with_lease(&gateway, 2);
    assert_eq!(other.interface.ipv4_addr(), Some(Ipv4Addr::new(10, 0, 2, 16)));
    drop(guest);
    let mut again = Guest::new(&gateway, 1);
    assert_eq!(again.lease().0, FIRST_LEASE);
}

#[test]
fn a_fixed_lease_and_another_network_are_honoured() {
    let fixed = Ipv4Addr::new(192, 168, 7, 40);
    let gateway = Gateway::start(|config| {
        config.network = Ipv4Addr::new(192, 168, 7, 0);
        config.fixed_leases.push((mac(9).0, fixed));
    });
    let mut guest = Guest::new(&gateway, 9);
    assert_eq!(guest.lease().0, fixed);
    guest.ping(Ipv4Addr::new(192, 168, 7, 2));
}

#[test]
fn the_gateway_answers_pings() {
    let (_gateway, mut guest) = scene::start(|_| {});
    guest.ping(GATEWAY);
    guest.ping(DNS);
}

#[test]
fn two_guests_reach_each_other_and_each_has_its_own_frames() {
    let gateway = Gateway::start(|_| {});
    let mut first = Guest::with_lease(&gateway, 1);
    let mut second = Guest::with_lease(&gateway, 2);
    let address = second.interface.ipv4_addr().unwrap();
    let server = second.listen(7);
    let client = first.open((address, 7), 5000);
    let echo = thread::spawn(move || {
        let mut received = Vec::new();
        second.run_until(|guest| {
            receive(guest, server, &mut received);
            guest.tcp(server).state() == State::CloseWait
        });
        received
    });
    first.run_until(|guest| guest.tcp(client).may_send());
    first
        .tcp(client)
        .send_slice(b"from one guest to another")
        .unwrap();
    first.tcp(client).close();
    first.run_until(|guest| guest.tcp(client).state() == State::FinWait2);
    assert_eq!(echo.join().unwrap(), b"from one guest to another");
}

#[test]
fn dns_questions_go_to_the_resolver_and_back() {
    let (address, resolver) = resolver(b"answer");
    let (_gateway, mut guest) = scene::start(|config| config.resolvers = Resolvers::Fixed(vec![address]));
    let answer = ask(&mut guest, DNS);
    assert_eq!(resolver.join().unwrap(), QUESTION);
    assert_eq!(answer[..2], QUESTION[..2]);
    assert!(answer.ends_with(b"answer"));
}

#[test]
fn dns_without_a_resolver_is_a_server_failure() {
    // Bound and closed again: nobody listens there.
    let (_, dead) = datagrams();
    for resolvers in [vec![], vec![dead]] {
        let (_gateway, mut guest) = scene::start(|config| config.resolvers = Resolvers::Fixed(resolvers));
        let answer = ask(&mut guest, GATEWAY);
        assert_eq!(answer[3] & 0x0f, 2);
        assert_eq!(answer[12..], QUESTION[12..]);
    }
}

#[test]
fn a_second_resolver_answers_for_a_dead_first_one() {
    let (_, dead) = datagrams();
    let (address, resolver) = resolver(b"");
    let resolvers = Resolvers::Fixed(vec![dead, address]);
    let (_gateway, mut guest) = scene::start(|config| config.resolvers = resolvers);
    assert_eq!(ask(&mut guest, DNS)[3] & 0x0f, 0);
    resolver.join().unwrap();
}

#[test]
fn a_guest_connects_to_the_hosts_loopback() {
    let (listener, port) = listener();
    let server = thread::spawn(move || echo(listener.accept().unwrap().0));
    let (_gateway, mut guest) = scene::start(|_| {});
    let client = guest.open((GATEWAY, port), 5000);
    let sent = pattern(1 << 20);
    assert!(exchange(&mut guest, client, &sent) == sent);
    server.join().unwrap();
}

#[test]
fn a_guest_is_refused_where_nobody_listens() {
    let (_, port) = listener();
    let (_gateway, mut guest) = scene::start(|_| {});
    is_refused(&mut guest, (GATEWAY, port), 5000);
}

#[test]
fn the_hosts_loopback_is_closed_to_guests_by_itself() {
    let (_listener, port) = listener();
    let (_gateway, mut guest) = scene::start(|config| config.allow.clear());
    is_refused(&mut guest, (GATEWAY, port), 5000);
}

#[test]
fn a_client_exchanges_a_megabyte_with_a_guest() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let server = guest.listen(7);
    let client = client_exchanges(&gateway, pattern(1 << 20));
    serve_echo(&mut guest, server);
    client.join().unwrap();
}

#[test]
fn each_half_of_a_connection_closes_by_itself() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let server = guest.listen(7);
    let mut client = TcpStream::connect(gateway.forward()).unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut question = Vec::new();
    guest.run_until(|guest| {
        receive(guest, server, &mut question);
        guest.tcp(server).state() == State::CloseWait
    });
    assert_eq!(question, b"question");
    guest.tcp(server).send_slice(b"answer").unwrap();
    guest.tcp(server).close();
    guest.run_until(|guest| guest.tcp(server).state() == State::Closed);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
}

#[test]
fn urgent_bytes_of_a_client_come_in_their_place_and_hold_nothing_up() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let server = guest.listen(7);
    let mut client = TcpStream::connect(gateway.forward()).unwrap();
    // All is there before the guest has answered, so that no further event comes after the urgent byte.
    client.write_all(b"one").unwrap();
    assert_eq!(socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap(), 1);
    client.write_all(b"two").unwrap();
    let mut got = Vec::new();
    guest.run_until(|guest| {
        receive(guest, server, &mut got);
        got.len() >= 6
    });
    assert_eq!(got, b"one!two");
}

#[test]
fn a_slow_client_gets_the_whole_answer_of_a_guest_that_resets_after_its_end() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let server = guest.listen(7);
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    // So little room that the answer waits in the gateway's kernel.
    client.set_recv_buffer_size(2048).unwrap();
    client.connect(&gateway.forward().into()).unwrap();
    guest.run_until(|guest| guest.tcp(server).may_send());
    let answer = pattern(12_000);
    guest.tcp(server).send_slice(&answer).unwrap();
    guest.tcp(server).close();
    guest.run_until(|guest| guest.tcp(server).state() == State::FinWait2);
    guest.tcp(server).abort();
    guest.ping(GATEWAY);
    let mut got = Vec::new();
    TcpStream::from(client).read_to_end(&mut got).unwrap();
    assert_eq!(got, answer);
}

#[test]
fn a_guest_that_refuses_resets_the_client() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    guest.ping(GATEWAY);
    let client = thread::spawn({
        let address = gateway.forward();
        move || {
            TcpStream::connect(address)
                .unwrap()
                .read(&mut [0])
                .unwrap_err()
                .kind()
        }
    });
    // Its stack answers the SYN with a reset. The ping made sure that it knows the gateway's MAC.
    guest.run_until(|guest| guest.wire.segments > 0);
    assert_eq!(client.join().unwrap(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_client_that_resets_resets_the_guest_and_the_other_way_round() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let (server, client) = connected(&gateway, &mut guest);
    // Closing with unread bytes is a reset.
    guest.tcp(server).send_slice(b"never read").unwrap();
    guest.run_until(|guest| guest.tcp(server).send_queue() == 0);
    while client.peek(&mut [0]).unwrap() == 0 {}
    drop(client);
    guest.run_until(|guest| guest.tcp(server).state() == State::Closed);

    let (server, mut client) = connected(&gateway, &mut guest);
    guest.tcp(server).abort();
    let reader = thread::spawn(move || client.read(&mut [0]).unwrap_err().kind());
    guest.ping(GATEWAY);
    assert_eq!(reader.join().unwrap(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_client_waits_for_a_guest_that_boots_later() {
    let gateway = Gateway::with_forward("tcp", ":7");
    let mut client = TcpStream::connect(gateway.forward()).unwrap();
    client.write_all(b"early").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut guest = Guest::new(&gateway, 1);
    let server = guest.listen(7);
    guest.lease();
    let mut received = Vec::new();
    guest.run_until(|guest| {
        receive(guest, server, &mut received);
        guest.tcp(server).state() == State::CloseWait
    });
    assert_eq!(received, b"early");
}

#[test]
fn udp_flows_in_both_directions() {
    let (outside, address) = datagrams();
    let port = address.port();
    let (gateway, mut guest) = scene::with_forward("udp", ":9");
    let socket = guest.bind_udp(9);

    guest.udp(socket).send_slice(b"out", (GATEWAY, port)).unwrap();
    guest.ping(GATEWAY);
    let mut buffer = [0; 8192];
    let (length, from) = outside.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"out");
    outside.send_to(b"back", from).unwrap();
    let (answer, sender) = datagram(&mut guest, socket);
    assert_eq!(
        (answer.as_slice(), sender),
        (&b"back"[..], (GATEWAY, port).into())
    );

    let (client, _) = datagrams();
    client.send_to(b"in", gateway.forward()).unwrap();
    let (question, sender) = datagram(&mut guest, socket);
    assert_eq!(question, b"in");
    guest.udp(socket).send_slice(b"answer", sender).unwrap();
    guest.ping(GATEWAY);
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"answer"[..], gateway.forward()));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = GatewayConfig::new(GuestListen::Tcp("127.0.0.1:0".parse().unwrap()));
    config.insecure = true;
    config.forwards.push(format!("{address}-:22").parse().unwrap());
    let error = gateway::run(config, |_| panic!("it is not ready")).unwrap_err();
    assert!(matches!(error, GatewayError::Listen { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {address} for the clients of a forward; choose another address, or stop the \
             program that uses it"
        )
    );
}

#[test]
fn a_unix_socket_serves_as_well_and_a_dead_one_is_replaced() {
    let path = std::env::temp_dir().join(format!("lockstep-gateway-{}", std::process::id()));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let gateway = Gateway::start(|config| config.listen = GuestListen::Unix(path.clone()));
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let mut bytes = Vec::new();
    cable::stream::write_frame(&mut bytes, &arp(mac(1), FIRST_LEASE, GATEWAY)).unwrap();
    stream.write_all(&bytes).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    assert_eq!(u32::from_be_bytes(length), 42);
    drop(gateway);
    assert!(!path.exists());
}

#[test]
fn a_silent_backup_gets_broadcasts_but_not_its_guests_frames() {
    let gateway = Gateway::start(|_| {});
    let mut backup = Wire::new(&gateway);
    let mut guest = Guest::with_lease(&gateway, 1);
    guest.ping(GATEWAY);
    let mut neighbour = Wire::new(&gateway);
    let question = arp(mac(2), Ipv4Addr::new(10, 0, 2, 20), FIRST_LEASE);
    neighbour.send(&question);
    // All it sees before the neighbour's broadcast are the broadcasts of the guest itself.
    loop {
        let frame = backup.receive();
        assert!(EthernetFrame::new_unchecked(&frame).dst_addr().is_broadcast());
        if frame == question {
            break;
        }
    }
}

/// The guest sends all, closes, and returns what came back.
fn exchange(guest: &mut Guest, client: SocketHandle, bytes: &[u8]) -> Vec<u8> {
    let (mut sent, mut received) = (0, Vec::new());
    guest.run_until(|guest| {
        receive(guest, client, &mut received);
        if guest.tcp(client).can_send() {
            sent += guest.tcp(client).send_slice(&bytes[sent..]).unwrap();
        }
        if sent == bytes.len() {
            guest.tcp(client).close();
        }
        sent == bytes.len() && !guest.tcp(client).may_recv()
    });
    received
}

/// The guest sends back what it gets until the client closes, then closes too.
fn serve_echo(guest: &mut Guest, server: SocketHandle) {
    let mut pending = Vec::new();
    guest.run_until(|guest| {
        if pending.len() < 64 * 1024 {
            receive(guest, server, &mut pending);
        }
        if guest.tcp(server).can_send() && !pending.is_empty() {
            let sent = guest.tcp(server).send_slice(&pending).unwrap();
            pending.drain(..sent);
        }
        if guest.tcp(server).state() == State::CloseWait
            && pending.is_empty()
            && !guest.tcp(server).can_recv()
        {
            guest.tcp(server).close();
        }
        guest.tcp(server).state() == State::Closed
    });
}

fn client_exchanges(gateway: &Gateway, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let mut stream = TcpStream::connect(gateway.forward()).unwrap();
    thread::spawn(move || {
        let mut writer = stream.try_clone().unwrap();
        let sent = bytes.clone();
        let writing = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        writing.join().unwrap();
        assert!(
            received == bytes,
            "{} of {} bytes came back as sent",
            received.len(),
            bytes.len()
        );
    })
}

fn echo(mut stream: TcpStream) {
    let mut reader = stream.try_clone().unwrap();
    std::io::copy(&mut reader, &mut stream).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
}
