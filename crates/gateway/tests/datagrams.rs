//! Datagrams as guests, servers and clients see them: what RFC 4787 asks of a NAT, errors, and long
//! datagrams.
//!
//! Servers and clients are sockets on the host's loopback, at which each address of 127.0.0.0/8 is another
//! host; the guest is the network stack of `support/guest.rs`.

#[path = "support/guest.rs"]
mod guest;
#[path = "support/scene.rs"]
mod scene;

use guest::{FIRST_LEASE, GATEWAY, GATEWAY_MAC, Gateway, Guest, Wire, arp, mac, pattern};
use scene::{datagram, datagrams};
use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::icmp;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv4Packet, Icmpv4Repr, IpCidr, IpProtocol, Ipv4Packet,
    Ipv4Repr, UdpPacket, UdpRepr,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

/// A socket of the guest's that hears what is said about the datagrams from its port.
fn hear_errors(guest: &mut Guest, port: u16) -> SocketHandle {
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Udp(port.into())).unwrap();
    guest.sockets.add(socket)
}

/// The next error that the guest hears: its type and code, who says it, and the port it is about.
fn error(guest: &mut Guest, socket: SocketHandle) -> ((u8, u8), Ipv4Addr, u16) {
    let mut told = None;
    guest.run_until(|guest| {
        let errors = guest.sockets.get_mut::<icmp::Socket<'_>>(socket);
        told = errors.recv().ok().map(|(bytes, from)| {
            let packet = Icmpv4Packet::new_unchecked(bytes);
            let kind = (u8::from(packet.msg_type()), packet.msg_code());
            let smoltcp::wire::IpAddress::Ipv4(from) = from;
            // Behind the header of ICMP are one of IPv4 and one of UDP.
            (kind, from, u16::from_be_bytes([bytes[30], bytes[31]]))
        });
        told.is_some()
    });
    told.unwrap()
}

/// The guest sends to a port of the host's loopback; where its datagram came from.
fn send_to(guest: &mut Guest, socket: SocketHandle, server: &UdpSocket) -> SocketAddr {
    let port = server.local_addr().unwrap().port();
    guest.udp(socket).send_slice(b"out", (GATEWAY, port)).unwrap();
    guest.ping(GATEWAY);
    server.recv_from(&mut [0; 16]).unwrap().1
}

fn at(address: &str) -> UdpSocket {
    UdpSocket::bind((address, 0)).unwrap()
}

#[test]
fn a_server_may_answer_from_another_port_as_tftp_servers_do() {
    let (_gateway, mut guest) = scene::start(|_| {});
    let (server, transfer) = (at("127.0.0.1"), at("127.0.0.1"));
    let socket = guest.bind_udp(2000);
    let from = send_to(&mut guest, socket, &server);
    transfer.send_to(b"block 1", from).unwrap();
    let (answer, sender) = datagram(&mut guest, socket);
    let port = transfer.local_addr().unwrap().port();
    assert_eq!(
        (answer.as_slice(), sender),
        (&b"block 1"[..], (GATEWAY, port).into())
    );
    assert_eq!(send_to(&mut guest, socket, &transfer), from);
}

#[test]
fn two_servers_see_the_guest_at_the_same_port_as_stun_needs_it() {
    let (_gateway, mut guest) = scene::start(|config| config.allow.push("127.0.0.2".parse().unwrap()));
    let (one, two) = (at("127.0.0.1"), at("127.0.0.2"));
    let socket = guest.bind_udp(2000);
    let from = send_to(&mut guest, socket, &one);
    let place = (Ipv4Addr::new(127, 0, 0, 2), two.local_addr().unwrap().port());
    // Its stack does not send to the loopback, so the gateway's other name for it is not used here.
    guest.udp(socket).send_slice(b"out", place).unwrap();
    guest.ping(GATEWAY);
    assert_eq!(two.recv_from(&mut [0; 16]).unwrap().1.port(), from.port());
}

#[test]
fn an_address_that_the_guest_has_not_sent_to_cannot_send_to_it() {
    let (_gateway, mut guest) = scene::start(|config| config.allow.push("127.0.0.0/8".parse().unwrap()));
    let (server, stranger) = (at("127.0.0.1"), at("127.0.0.3"));
    let socket = guest.bind_udp(2000);
    let from = send_to(&mut guest, socket, &server);
    stranger.send_to(b"stranger", from).unwrap();
    server.send_to(b"server", from).unwrap();
    assert_eq!(datagram(&mut guest, socket).0, b"server");
}

#[test]
fn what_is_refused_stays_refused_both_ways() {
    let (server, closed) = (at("127.0.0.1"), at("127.0.0.1"));
    let port = server.local_addr().unwrap().port();
    let (gateway, mut guest) = scene::start(|config| {
        config.allow = vec![format!("127.0.0.1:{port}").parse().unwrap()];
    });
    let socket = guest.bind_udp(2000);
    let errors = hear_errors(&mut guest, 2000);
    let from = send_to(&mut guest, socket, &server);
    closed.send_to(b"refused", from).unwrap();
    server.send_to(b"allowed", from).unwrap();
    assert_eq!(datagram(&mut guest, socket).0, b"allowed");
    let closed_port = closed.local_addr().unwrap().port();
    guest
        .udp(socket)
        .send_slice(b"x", (GATEWAY, closed_port))
        .unwrap();
    assert_eq!(error(&mut guest, errors), ((3, 13), GATEWAY, closed_port));
    while gateway.ready.gauges.forbidden.get() < 2 {
        guest.ping(GATEWAY);
    }
}

#[test]
fn a_closed_port_is_told_and_the_next_datagram_is_not_lost_for_it() {
    let (_gateway, mut guest) = scene::start(|_| {});
    let (server, gone) = (at("127.0.0.1"), at("127.0.0.1"));
    let closed = gone.local_addr().unwrap().port();
    drop(gone);
    let socket = guest.bind_udp(2000);
    let errors = hear_errors(&mut guest, 2000);
    // Both are sent at once: the error of the first is there before the second goes out.
    guest.udp(socket).send_slice(b"lost", (GATEWAY, closed)).unwrap();
    send_to(&mut guest, socket, &server);
    assert_eq!(error(&mut guest, errors), ((3, 3), GATEWAY, closed));
    guest.udp(socket).send_slice(b"lost", (GATEWAY, closed)).unwrap();
    assert_eq!(error(&mut guest, errors), ((3, 3), GATEWAY, closed));
}

#[test]
fn a_datagram_that_may_pass_no_router_gets_no_farther_than_the_gateway() {
    let (_gateway, mut guest) = scene::start(|config| config.deny.push("192.0.2.1".parse().unwrap()));
    let socket = guest.bind_udp(2000);
    let errors = hear_errors(&mut guest, 2000);
    guest.udp(socket).set_hop_limit(Some(1));
    guest
        .udp(socket)
        .send_slice(b"x", (Ipv4Addr::new(192, 0, 2, 7), 33434))
        .unwrap();
    assert_eq!(error(&mut guest, errors), ((11, 0), GATEWAY, 33434));
}

#[test]
fn an_answer_to_a_client_that_is_gone_is_told() {
    let (gateway, mut guest) = scene::with_forward("udp", ":9");
    let socket = guest.bind_udp(9);
    let errors = hear_errors(&mut guest, 9);
    let (client, _) = datagrams();
    client.send_to(b"question", gateway.forward()).unwrap();
    let (_, sender) = datagram(&mut guest, socket);
    drop(client);
    guest.udp(socket).send_slice(b"answer", sender).unwrap();
    assert_eq!(error(&mut guest, errors), ((3, 3), GATEWAY, sender.port));
    // Another client is served as if nothing were.
    let (client, _) = datagrams();
    client.send_to(b"again", gateway.forward()).unwrap();
    let (question, sender) = datagram(&mut guest, socket);
    assert_eq!(question, b"again");
    guest.udp(socket).send_slice(b"answer", sender).unwrap();
    guest.ping(GATEWAY);
    assert_eq!(client.recv(&mut [0; 16]).unwrap(), 6);
}

#[test]
fn a_client_is_answered_from_the_address_that_it_has_sent_to() {
    for (listen, calls) in [
        ("0.0.0.0", ["127.0.0.5", "127.0.0.6"]),
        ("[::]", ["127.0.0.5", "127.0.0.6"]),
        ("[::]", ["::1", "::1"]),
    ] {
        let (gateway, mut guest) = scene::start(|config| {
            config
                .forwards
                .push(format!("udp:{listen}:0-:9").parse().unwrap());
        });
        let socket = guest.bind_udp(9);
        let client = match calls[0] {
            "::1" => at("::1"),
            _ => at("127.0.0.1"),
        };
        for address in calls {
            // It takes answers from there only.
            client.connect((address, gateway.forward().port())).unwrap();
            client.send(b"question").unwrap();
            let (_, sender) = datagram(&mut guest, socket);
            guest.udp(socket).send_slice(b"answer", sender).unwrap();
            guest.ping(GATEWAY);
            assert_eq!(client.recv(&mut [0; 16]).unwrap(), 6);
        }
    }
}

#[test]
fn a_port_that_is_closed_in_the_guest_is_counted() {
    let (gateway, mut guest) = scene::with_forward("udp", ":9");
    // Its stack answers with ICMP by itself, once it knows the gateway's MAC.
    guest.ping(GATEWAY);
    let (client, _) = datagrams();
    client.send_to(b"question", gateway.forward()).unwrap();
    while gateway.ready.gauges.refused_datagrams.get() == 0 {
        guest.ping(GATEWAY);
    }
}

#[test]
fn the_first_datagram_to_a_guest_that_has_never_said_anything_arrives() {
    let gateway = Gateway::with_forward("udp", "10.0.2.20:9");
    let mut guest = Guest::new(&gateway, 1);
    let address = IpCidr::new(Ipv4Addr::new(10, 0, 2, 20).into(), 24);
    guest
        .interface
        .update_ip_addrs(|addresses| addresses.push(address).unwrap());
    let socket = guest.bind_udp(9);
    let (client, _) = datagrams();
    client.send_to(b"first", gateway.forward()).unwrap();
    client.send_to(b"second", gateway.forward()).unwrap();
    assert_eq!(datagram(&mut guest, socket).0, b"first");
    assert_eq!(datagram(&mut guest, socket).0, b"second");
}

#[test]
fn datagrams_for_a_guest_that_is_not_there_are_counted() {
    let (gateway, mut other) = scene::with_forward("udp", "10.0.2.20:9");
    let (client, _) = datagrams();
    client.send_to(b"anybody?", gateway.forward()).unwrap();
    while gateway.ready.gauges.unclaimed.get() == 0 {
        other.ping(GATEWAY);
    }
}

#[test]
fn datagrams_of_every_length_pass_both_ways() {
    let gateway = Gateway::with_forward("udp", ":9");
    let (server, client) = (at("127.0.0.1"), at("127.0.0.1"));
    let port = server.local_addr().unwrap().port();
    let mut wire = Wire::new(&gateway);
    wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
    let mut buffer = vec![0; 65_536];
    for (ident, length) in (1..).zip([0, 1472, 1473, 1480, 4096, 9000, 65_507]) {
        let payload = pattern(length);
        // Out, and an answer.
        fragments((FIRST_LEASE, 9), (GATEWAY, port), &payload, ident).for_each(|frame| wire.send(&frame));
        let (received, from) = server.recv_from(&mut buffer).unwrap();
        assert!(buffer[..received] == payload, "{length}");
        server.send_to(&payload, from).unwrap();
        assert_eq!(
            take_datagram(&mut wire),
            ((GATEWAY, port), (FIRST_LEASE, 9), payload.clone())
        );
        // In through a forward, and an answer.
        client.send_to(&payload, gateway.forward()).unwrap();
        let (seen_at, _, question) = take_datagram(&mut wire);
        assert!(question == payload, "{length}");
        fragments((FIRST_LEASE, 9), seen_at, &payload, ident + 100).for_each(|frame| wire.send(&frame));
        let received = client.recv(&mut buffer).unwrap();
        assert!(buffer[..received] == payload, "{length}");
    }
    while gateway.ready.gauges.fragmented.get() > 0 {
        wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
        wire.receive();
    }
}

#[test]
fn a_guest_pings_the_world_where_the_host_lets_it() {
    let (_gateway, mut guest) = scene::start(|config| config.deny.push("192.0.2.0/24".parse().unwrap()));
    // A ping that is refused is told so, and so is any ping if this host lets nobody ping without privileges.
    is_prohibited(&mut guest, Ipv4Addr::new(192, 0, 2, 1));
    let place = Ipv4Addr::LOCALHOST;
    match Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4)) {
        Ok(_) => guest.ping(place),
        Err(_) => is_prohibited(&mut guest, place),
    }
}

/// The guest pings an address and is told that it may not.
fn is_prohibited(guest: &mut Guest, to: Ipv4Addr) {
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(78)).unwrap();
    let request = Icmpv4Repr::EchoRequest {
        ident: 78,
        seq_no: 7,
        data: b"",
    };
    let room = socket.send(request.buffer_len(), to.into()).unwrap();
    request.emit(&mut Icmpv4Packet::new_unchecked(room), &Default::default());
    // Its stack gives errors about pings to nobody, so the frame is looked at.
    let socket = guest.sockets.add(socket);
    guest.poll();
    loop {
        let frame = guest.wire.receive();
        let ip = frame
            .get(14..)
            .and_then(|bytes| Ipv4Packet::new_checked(bytes).ok());
        if let Some(ip) = ip.filter(|ip| ip.next_header() == IpProtocol::Icmp) {
            assert_eq!(ip.payload()[..2], [3, 13]);
            // It quotes the header of IPv4, and the request with its identifier and number.
            assert_eq!(
                ip.payload()[28..36],
                [8, 0, ip.payload()[30], ip.payload()[31], 0, 78, 0, 7]
            );
            break;
        }
        guest.wire.put_back(frame);
        guest.poll();
    }
    guest.sockets.remove(socket);
}

/// The network frames of a datagram from a guest, each with as much as Ethernet takes.
fn fragments(
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    payload: &[u8],
    ident: u16,
) -> impl Iterator<Item = Vec<u8>> {
    let checksums = ChecksumCapabilities::default();
    let header = UdpRepr {
        src_port: from.1,
        dst_port: to.1,
    };
    let mut datagram = vec![0; 8 + payload.len()];
    header.emit(
        &mut UdpPacket::new_unchecked(&mut datagram[..]),
        &from.0.into(),
        &to.0.into(),
        payload.len(),
        |room| room.copy_from_slice(payload),
        &checksums,
    );
    (0..datagram.len().div_ceil(1480)).map(move |index| {
        let part = &datagram[index * 1480..datagram.len().min((index + 1) * 1480)];
        let mut frame = vec![0; 34 + part.len()];
        let ethernet = EthernetRepr {
            src_addr: mac(1),
            dst_addr: GATEWAY_MAC,
            ethertype: EthernetProtocol::Ipv4,
        };
        ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
        let header = Ipv4Repr {
            src_addr: from.0,
            dst_addr: to.0,
            next_header: IpProtocol::Udp,
            payload_len: part.len(),
            hop_limit: 64,
        };
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
        header.emit(&mut packet, &checksums);
        packet.set_ident(ident);
        packet.set_dont_frag(false);
        packet.set_more_frags((index + 1) * 1480 < datagram.len());
        packet.set_frag_offset((index * 1480) as u16);
        packet.fill_checksum();
        packet.payload_mut().copy_from_slice(part);
        frame
    })
}

/// The next datagram that the gateway sends to a guest: where from, where to, and its payload.
fn take_datagram(wire: &mut Wire) -> ((Ipv4Addr, u16), (Ipv4Addr, u16), Vec<u8>) {
    let mut datagram = Vec::new();
    loop {
        let frame = wire.receive();
        let frame = EthernetFrame::new_checked(&frame[..]).unwrap();
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            continue;
        }
        assert!(frame.payload().len() <= 1500);
        let ip = Ipv4Packet::new_checked(frame.payload()).unwrap();
        assert!(ip.verify_checksum());
        assert_eq!(usize::from(ip.frag_offset()), datagram.len());
        datagram.extend_from_slice(ip.payload());
        if !ip.more_frags() {
            let udp = UdpPacket::new_checked(&datagram[..]).unwrap();
            assert!(udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
            let (from, to) = ((ip.src_addr(), udp.src_port()), (ip.dst_addr(), udp.dst_port()));
            return (from, to, udp.payload().to_vec());
        }
    }
}
