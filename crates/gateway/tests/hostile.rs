//! Guests, VMMs and clients that break the rules: the gateway must stay up, stay bounded, and go on serving
//! the others.
//!
//! Frames and segments are made by hand or at random from a fixed seed; after each a well-behaved guest must
//! still be served.

#[path = "support/guest.rs"]
mod guest;
#[path = "support/scene.rs"]
mod scene;
#[path = "support/segments.rs"]
mod segments;

use cable::stream::write_frame;
use guest::{FIRST_LEASE, GATEWAY, GATEWAY_MAC, Gateway, Guest, Wire, arp, mac, tcp_segment};
use scene::{connected, listener};
use segments::{frame_of, segment_from};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpRepr,
    TcpSeqNumber,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

/// A small generator with a fixed seed (xorshift): a failing run can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = self.below(1400) as usize;
        self.bytes(length)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn a_bad_length_closes_that_peer_only() {
    let (gateway, mut guest) = scene::start(|_| {});
    for length in [0u32, 65_551, u32::MAX] {
        let mut stream = gateway.connect();
        stream.write_all(&length.to_be_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
    }
    guest.ping(GATEWAY);
}

#[test]
fn garbage_frames_are_survived() {
    let gateway = Gateway::start(|_| {});
    let mut random = Random(1);
    let mut wire = Wire::new(&gateway);
    let ethertypes = [
        EthernetProtocol::Ipv4,
        EthernetProtocol::Arp,
        EthernetProtocol::Ipv6,
    ];
    for round in 0..20_000 {
        let length = random.below(200) as usize + 1;
        let mut frame = random.bytes(length);
        if frame.len() > 14 {
            let ethertype = ethertypes[round % 3];
            EthernetRepr {
                src_addr: mac(1),
                dst_addr: GATEWAY_MAC,
                ethertype,
            }
            .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
        }
        if frame.len() >= 34 && round % 3 == 0 {
            make_plausible(&mut frame, &mut random);
        }
        wire.send(&frame);
        // Its answers are taken, so that the test does not depend on buffers.
        wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
        while wire.receive().get(12..14) != Some(&[8, 6]) {}
    }
    Guest::with_lease(&gateway, 2).ping(GATEWAY);
}

/// Turns random bytes into an IPv4 packet with a good header and random contents.
fn make_plausible(frame: &mut [u8], random: &mut Random) {
    let protocols = [
        IpProtocol::Tcp,
        IpProtocol::Udp,
        IpProtocol::Icmp,
        IpProtocol::Igmp,
    ];
    let payload_len = frame.len() - 34;
    Ipv4Repr {
        src_addr: if random.below(4) == 0 {
            [0, 0, 0, 0].into()
        } else {
            FIRST_LEASE
        },
        dst_addr: if random.below(2) == 0 {
            [255; 4].into()
        } else {
            GATEWAY
        },
        next_header: protocols[random.below(4) as usize],
        payload_len,
        hop_limit: 3,
    }
    .emit(
        &mut Ipv4Packet::new_unchecked(&mut frame[14..]),
        &ChecksumCapabilities::default(),
    );
    if random.below(2) == 0 && payload_len >= 4 {
        // Towards DHCP and DNS. A zero checksum is none.
        let port = [67u16, 53][random.below(2) as usize].to_be_bytes();
        frame[36..38].copy_from_slice(&port);
        if payload_len >= 8 {
            frame[38..40].copy_from_slice(&(payload_len as u16).to_be_bytes());
            frame[40..42].fill(0);
        }
    }
    if random.below(2) == 0 {
        // A fragment of one of a few packets, at a place where it may fit to others.
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
        packet.set_ident(random.below(4) as u16);
        packet.set_dont_frag(false);
        packet.set_more_frags(random.below(3) != 0);
        packet.set_frag_offset([0, 8, 16, 64, 65_528][random.below(5) as usize]);
        packet.fill_checksum();
    }
}

#[test]
fn segments_that_break_the_rules_of_tcp_are_survived() {
    let (listener, port) = listener();
    // An echo server that does not care how its connections end.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut reader = stream.try_clone()?;
                std::io::copy(&mut reader, &mut stream)
            });
        }
    });
    let gateway = Gateway::start(|_| {});
    let mut random = Random(7);
    let mut wire = Wire::new(&gateway);
    for connection in 0..100 {
        let guest_port = 2000 + connection;
        let mut segment = segment_from(guest_port, port);
        segment.control = TcpControl::Syn;
        segment.max_seg_size = Some(random.below(3) as u16 * 700);
        segment.window_scale = Some(random.below(15) as u8);
        wire.send(&frame_of(&segment));
        let answer = loop {
            let frame = wire.receive();
            if let Some((_, tcp)) = tcp_segment(&frame)
                && tcp.dst_port() == guest_port
            {
                assert!(tcp.syn() && tcp.ack());
                break tcp.seq_number();
            }
        };
        for _ in 0..100 {
            let payload = random.payload();
            let segment = break_rules(&mut random, segment_from(guest_port, port), answer, &payload);
            wire.send(&frame_of(&segment));
        }
        wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
        while wire.receive().get(12..14) != Some(&[8, 6]) {}
    }
    Guest::with_lease(&gateway, 2).ping(GATEWAY);
}

#[test]
fn data_beyond_the_window_of_the_first_syn_is_dropped() {
    let (listener, port) = listener();
    let gateway = Gateway::start(|_| {});
    let mut wire = Wire::new(&gateway);
    let mut segment = segment_from(2000, port);
    segment.control = TcpControl::Syn;
    segment.window_scale = Some(7);
    wire.send(&frame_of(&segment));
    let theirs = loop {
        if let Some((_, tcp)) = tcp_segment(&wire.receive()) {
            break tcp.seq_number();
        }
    };
    // The SYN offered 64 KiB; the buffer has 256 KiB; a scaled reading of the offer would be 512 KiB.
    segment.control = TcpControl::None;
    segment.window_scale = None;
    segment.ack_number = Some(theirs + 1);
    segment.payload = &[1; 1000];
    for offset in [262_000, 300_000, 500_000, 66_000] {
        segment.seq_number = TcpSeqNumber(1001) + offset;
        wire.send(&frame_of(&segment));
    }
    // What is in order still arrives.
    segment.seq_number = TcpSeqNumber(1001);
    wire.send(&frame_of(&segment));
    let mut received = [0; 1000];
    listener.accept().unwrap().0.read_exact(&mut received).unwrap();
    assert_eq!(received, [1; 1000]);
    Guest::with_lease(&gateway, 2).ping(GATEWAY);
}

#[test]
fn servers_that_break_the_rules_of_tcp_are_survived() {
    let gateway = Gateway::with_forward("tcp", ":7");
    let mut random = Random(11);
    let mut wire = Wire::new(&gateway);
    wire.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
    for _ in 0..100 {
        let mut client = TcpStream::connect(gateway.forward()).unwrap();
        let (gateway_port, theirs) = loop {
            let frame = wire.receive();
            if let Some((_, tcp)) = tcp_segment(&frame)
                && tcp.syn()
                && tcp.dst_port() == 7
            {
                break (tcp.src_port(), tcp.seq_number());
            }
        };
        let traffic = thread::spawn(move || {
            // However it ends, it may only end.
            let _ = client.write_all(&[1; 5000]);
            let _ = client.shutdown(std::net::Shutdown::Write);
            let _ = client.read_to_end(&mut Vec::new());
        });
        let mut answer = segment_from(7, gateway_port);
        answer.control = TcpControl::Syn;
        answer.ack_number = (random.below(10) != 0).then_some(theirs + 1);
        answer.window_scale = Some(random.below(15) as u8);
        wire.send(&frame_of(&answer));
        for _ in 0..100 {
            let payload = random.payload();
            let segment = break_rules(&mut random, segment_from(7, gateway_port), theirs, &payload);
            wire.send(&frame_of(&segment));
        }
        // Whatever state that left, a reset in every possible place ends it.
        let mut reset = segment_from(7, gateway_port);
        reset.control = TcpControl::Rst;
        reset.ack_number = Some(theirs + 1);
        for step in 0..400 {
            reset.seq_number = TcpSeqNumber(1000) + step * 1000;
            wire.send(&frame_of(&reset));
        }
        drop(traffic);
    }
    Guest::with_lease(&gateway, 2).ping(GATEWAY);
}

fn break_rules<'a>(
    random: &mut Random,
    mut segment: TcpRepr<'a>,
    theirs: TcpSeqNumber,
    payload: &'a [u8],
) -> TcpRepr<'a> {
    let near = |random: &mut Random| match random.below(8) {
        0 => random.next() as u32 as usize & 0x3fff_ffff,
        1 => random.below(300_000) as usize,
        2..=4 => 1,
        _ => random.below(5000) as usize,
    };
    segment.seq_number = TcpSeqNumber(1000) + near(random);
    segment.ack_number = (random.below(20) != 0).then(|| theirs + near(random));
    segment.window_len = if random.below(3) == 0 {
        0
    } else {
        random.next() as u16
    };
    segment.control = match random.below(40) {
        0 => TcpControl::Rst,
        1 => TcpControl::Syn,
        2..=4 => TcpControl::Fin,
        5..=9 => TcpControl::Psh,
        _ => TcpControl::None,
    };
    segment.payload = payload;
    segment
}

#[test]
fn a_peer_cannot_own_more_addresses_than_its_share() {
    let gateway = Gateway::start(|_| {});
    let mut wire = Wire::new(&gateway);
    let served = (1..=40)
        .filter(|&number| {
            let address = [10, 0, 2, 100 + number].into();
            wire.send(&arp(mac(number), address, GATEWAY));
            // The first address is known: its answer marks the end of what came before.
            wire.send(&arp(mac(1), [10, 0, 2, 101].into(), GATEWAY));
            let first = EthernetFrame::new_unchecked(wire.receive()).dst_addr();
            let answered = first == mac(number);
            if answered {
                wire.receive();
            }
            answered
        })
        .count();
    assert_eq!(served, 16);
}

#[test]
fn a_guest_cannot_take_anothers_leased_address() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let server = guest.listen(7);
    let mut thief = Wire::new(&gateway);
    thief.send(&arp(mac(66), FIRST_LEASE, GATEWAY));
    thief.receive();
    let _client = TcpStream::connect(gateway.forward()).unwrap();
    guest.run_until(|guest| guest.tcp(server).state() == State::Established);
}

#[test]
fn a_guest_that_stops_reading_stops_its_client_and_nobody_else() {
    let (gateway, mut guest) = scene::with_forward("tcp", ":7");
    let mut other = Guest::with_lease(&gateway, 2);
    let (server, client) = connected(&gateway, &mut guest);
    // The guest's window closes; the client's bytes fill the gateway's bounded buffer and then the client's
    // own.
    client.set_nonblocking(true).unwrap();
    let mut sent = 0;
    loop {
        match (&client).write(&[7; 64 * 1024]) {
            Ok(length) => sent += length,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                // A scaled window leaves up to three bytes that cannot be offered.
                let socket = guest.tcp(server);
                if socket.recv_capacity() - socket.recv_queue() < 4 {
                    break;
                }
            }
        }
        guest.ping(GATEWAY);
    }
    other.ping(GATEWAY);
    // It reads again, and everything arrives.
    drop(client);
    let mut received = 0;
    guest.run_until(|guest| {
        while guest.tcp(server).can_recv() {
            received += guest
                .tcp(server)
                .recv(|bytes| (bytes.len(), bytes.len()))
                .unwrap();
        }
        guest.tcp(server).state() == State::CloseWait
    });
    assert_eq!(received, sent);
}

#[test]
fn small_frames_of_which_a_turn_takes_only_a_part_all_arrive() {
    let gateway = Gateway::start(|_| {});
    let mut reader = Guest::with_lease(&gateway, 1);
    let mut frame = [mac(1).0, mac(2).0].concat();
    // An EtherType of nobody's, and a number.
    frame.extend([0x88, 0xb5, 0, 0]);
    let mut bytes = Vec::new();
    let count: u16 = 3000;
    for number in 0..count {
        frame[14..].copy_from_slice(&number.to_be_bytes());
        write_frame(&mut bytes, &frame).unwrap();
    }
    let mut stream = gateway.connect();
    stream.write_all(&bytes).unwrap();
    for number in 0..count {
        let frame = loop {
            let frame = reader.wire.receive();
            if frame[12..14] == [0x88, 0xb5] {
                break frame;
            }
        };
        assert_eq!(frame[14..16], number.to_be_bytes());
    }
}
