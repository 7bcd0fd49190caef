//! Failover through the gateway: the guest goes on elsewhere and no client notices.
//!
//! "Promptly" is tested by order, not by time: what was lost must be on the new wire before the answer to the
//! first thing the guest asks there.

#[path = "support/guest.rs"]
mod guest;
#[path = "support/scene.rs"]
mod scene;

use guest::{GATEWAY, Gateway, Guest, Wire, arp, mac, pattern, tcp_segment};
use scene::receive;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{ArpOperation, ArpPacket, EthernetFrame, EthernetProtocol};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;

#[test]
fn a_transfer_goes_on_after_failovers_in_the_middle() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let server = guest.listen(7);
    let bytes = pattern(4 << 20);
    let mut stream = TcpStream::connect(gateway.forward()).unwrap();
    let client = thread::spawn({
        let bytes = bytes.clone();
        move || {
            let mut writer = stream.try_clone().unwrap();
            let writing = thread::spawn(move || {
                writer.write_all(&bytes).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            writing.join().unwrap();
            received
        }
    });
    let (mut pending, mut echoed, mut failovers) = (Vec::new(), 0, 0);
    guest.run_until(|guest| {
        if pending.len() < 64 * 1024 {
            receive(guest, server, &mut pending);
        }
        if guest.tcp(server).can_send() && !pending.is_empty() {
            let sent = guest.tcp(server).send_slice(&pending).unwrap();
            pending.drain(..sent);
            echoed += sent;
        }
        // Frames on the old wire, in both directions, are lost with it.
        if failovers < 3 && echoed > (failovers + 1) << 20 {
            failovers += 1;
            drop(guest.move_to(Wire::new(&gateway)));
        }
        let socket = guest.tcp(server);
        if socket.state() == State::CloseWait && pending.is_empty() && !socket.can_recv() {
            socket.close();
        }
        socket.state() == State::Closed
    });
    assert_eq!(failovers, 3);
    assert!(client.join().unwrap() == bytes);
}

#[test]
fn what_the_dead_primary_had_is_sent_to_the_new_one_at_once() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let server = guest.listen(7);
    let mut clients: Vec<TcpStream> = vec![TcpStream::connect(gateway.forward()).unwrap()];
    guest.run_until(|guest| guest.tcp(server).may_send());
    // The primary gets the request and dies: it never reaches the log.
    clients[0].write_all(b"request").unwrap();
    while !is_data(&guest.wire.receive(), b"request") {}

    // Nothing but silence makes it known that the primary is dead: its connection stays open.
    let mut new_primary = Wire::new(&gateway);
    new_primary.send(&arp(mac(1), guest::FIRST_LEASE, guest::FIRST_LEASE));
    new_primary.send(&arp(mac(1), guest::FIRST_LEASE, GATEWAY));
    let mut resent = Vec::new();
    loop {
        let frame = new_primary.receive();
        if is_arp_reply(&frame) {
            break;
        }
        resent.push(frame);
    }
    assert!(
        resent.iter().any(|frame| is_data(frame, b"request")),
        "the request came with the announcement"
    );

    // The guest, which knows nothing of all this, takes it once and answers.
    let old = guest.move_to(new_primary);
    for frame in resent {
        guest.wire.put_back(frame);
    }
    let mut received = Vec::new();
    guest.run_until(|guest| {
        receive(guest, server, &mut received);
        received == b"request"
    });
    guest.tcp(server).send_slice(b"answer").unwrap();
    guest.run_until(|guest| guest.tcp(server).send_queue() == 0);
    let mut answer = [0; 6];
    clients[0].read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
    drop(old);
}

#[test]
fn a_client_that_connects_while_nobody_is_there_is_served_by_the_next_primary() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let server = guest.listen(7);
    // The primary sees the SYN and dies with it.
    let mut client = TcpStream::connect(gateway.forward()).unwrap();
    client.write_all(b"hello").unwrap();
    loop {
        let frame = guest.wire.receive();
        if tcp_segment(&frame).is_some_and(|(_, tcp)| tcp.syn()) {
            break;
        }
    }
    drop(guest.move_to(Wire::new(&gateway)));
    let mut received = Vec::new();
    guest.run_until(|guest| {
        receive(guest, server, &mut received);
        received == b"hello"
    });
}

#[test]
fn only_the_guest_that_failed_over_moves() {
    let gateway = Gateway::start(|_| {});
    let mut first = Guest::with_lease(&gateway, 1);
    let mut second = Guest::with_lease(&gateway, 2);
    let old = first.move_to(Wire::new(&gateway));
    first.ping(GATEWAY);
    second.ping(GATEWAY);
    drop(old);
    first.ping(GATEWAY);
    second.ping(Ipv4Addr::new(10, 0, 2, 3));
}

fn is_data(frame: &[u8], bytes: &[u8]) -> bool {
    tcp_segment(frame).is_some_and(|(_, tcp)| tcp.payload() == bytes)
}

fn is_arp_reply(frame: &[u8]) -> bool {
    let frame = EthernetFrame::new_unchecked(frame);
    frame.ethertype() == EthernetProtocol::Arp
        && ArpPacket::new_unchecked(frame.payload()).operation() == ArpOperation::Reply
}
