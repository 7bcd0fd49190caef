//! Any bytes as messages of a peer, to a handshake and to either half of a pair: garbage is answered by
//! halting or by claiming, never by a panic, a hang, or an output that the rules do not allow.
#![no_main]

use std::sync::atomic::AtomicBool;

use libfuzzer_sys::fuzz_target;
use machine::Step;
use replica::{
    Action, Epoch, Event, Handshake, HandshakeEvent, Header, Hello, ImageId, Node, Notice, Options,
    PairOptions, PeerId, Seq, Side, Span, Time,
    peer::{
        heartbeat::Heartbeat,
        message::{Ack, Log, Message},
    },
};
use toy::{Server, Toy};

/// Actions that one event may cause; far more than any does.
const ACTIONS_MAX: usize = 10_000;

/// The bytes of a message: as they are, or nearly right, because pure noise never gets past the first check.
fn message(kind: u8, body: &[u8], now: Time, first: u64) -> Vec<u8> {
    let number = |at: usize| {
        let bytes = body.get(at..at + 8).unwrap_or_default();
        bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
    };
    match kind & 7 {
        0 => body.to_vec(),
        1 | 2 => Message::Ack(Ack {
            received: Seq(number(0) % 64),
            executed: Step(number(8) % 100_000),
            echo: Time(now.0.saturating_sub(number(16) % 1_000_000)),
            buffered: number(24),
            behind: Span(number(32) % 1_000_000),
        })
        .encode()
        .to_vec(),
        3 => Message::Ended {
            released: number(0) % 64,
        }
        .encode()
        .to_vec(),
        4 => Message::HandOver {
            rejoin: false,
            released: number(0) % 64,
        }
        .encode()
        .to_vec(),
        _ => {
            let crc = crc32c::crc32c_append(crc32c::crc32c(&first.to_le_bytes()), body);
            let mut frame = Vec::new();
            if !body.is_empty() && kind & 7 != 7 {
                frame.extend((body.len() as u32).to_le_bytes());
                frame.extend(crc.to_le_bytes());
                frame.extend(first.to_le_bytes());
                frame.extend(body);
            }
            Message::Log(Log {
                sent: now,
                released: u64::from(kind >> 3),
                frame: frame.into(),
            })
            .encode()
            .to_vec()
        }
    }
}

/// The greeting that the bytes are, if they are one.
fn hello(bytes: &[u8]) -> Option<Hello> {
    match Message::decode(bytes).ok()? {
        Message::Hello(hello) => Some(hello),
        _ => None,
    }
}

/// The log's header of this side, which a peer's greeting is compared with.
fn header() -> Header {
    let image = ImageId {
        length: 1,
        sha256: [1; 32],
    };
    Header {
        program: "fuzz".into(),
        model: 1,
        features: 0,
        start: Step(0),
        memory: 1 << 20,
        harts: 1,
        disks: Vec::new(),
        nets: Vec::new(),
        virtio: machine::Transport::default(),
        rng_seed: [0; 32],
        wall_clock_ns: 0,
        command_line: String::new(),
        firmware: image.clone(),
        kernel: image.clone(),
        initrd: image,
    }
}

/// Plays the bytes against a handshake.
fn greet(side: Side, bytes: &[u8]) {
    let me = Hello {
        vm: "fuzz".into(),
        side,
        owner: 1,
        timeout: Span::from_ms(500),
        header: Some(header()),
        settings: String::new(),
    };
    let mut handshake = Handshake::new(Time(0), me);
    for (index, piece) in bytes.split(|&byte| byte == 0xff).enumerate() {
        let event = match piece.first() {
            Some(1) => HandshakeEvent::Granted(Epoch(index as u64)),
            Some(2) => HandshakeEvent::Built,
            _ => HandshakeEvent::Peer(piece.to_vec()),
        };
        handshake.handle(Time(index as u64), event);
        while handshake.poll().is_some() {}
    }
    // What is understood can be said again.
    if let Some(hello) = hello(bytes) {
        let again = Message::decode(&Message::Hello(hello.clone()).encode());
        assert_eq!(again.ok(), Some(Message::Hello(hello)));
    }
}

/// Plays the bytes against one half of a pair.
fn pair(primary: bool, bytes: &[u8]) {
    let options = PairOptions {
        epoch: Epoch(1),
        owner: 1,
        primary: 1,
        backup: 2,
        peer: PeerId(0),
        timeout: Span::from_ms(500),
        on_slow: replica::OnSlow::default(),
        notice: Notice::Unsettled,
        run: Options::default(),
    };
    let toy = Toy::<Server>::boot(1);
    let mut now = Time(1_000_000);
    let mut node = if primary {
        Node::primary(toy, now, options)
    } else {
        Node::backup(toy, now, options)
    };
    let cut = AtomicBool::new(false);
    let mut rest = bytes;
    let (mut first, mut acknowledged) = (1, 0);
    while let Some((&[kind, length], more)) = rest.split_first_chunk() {
        let (body, more) = more.split_at(usize::from(length).min(more.len()));
        rest = more;
        now = now.after(Span(u64::from(kind) * 50_000));
        let event = if kind >= 250 {
            Event::Heartbeat(PeerId(0), body.to_vec())
        } else {
            Event::Peer(PeerId(0), message(kind, body, now, first))
        };
        node.handle(now, event);
        let _ = node.slice(now, &cut);
        for count in 0.. {
            assert!(
                count < ACTIONS_MAX,
                "the actions of one event do not come to an end"
            );
            match node.poll(now) {
                // Only a claim that was won lets either of them go live, and the arbiter is silent here.
                Some(Action::GoLive(_)) => panic!("live without a claim"),
                Some(Action::Release(effect)) => assert!(primary, "a backup shows {effect:?}"),
                Some(Action::Send(_, bytes)) => {
                    if let Ok(Message::Ack(ack)) = Message::decode(&bytes) {
                        assert!(ack.received.0 >= acknowledged);
                        acknowledged = ack.received.0;
                        first = acknowledged + 1;
                    }
                }
                Some(_) => {}
                None => break,
            }
        }
        assert!(node.metrics().buffered_bytes <= replica::limits::BUFFER_COST_MAX);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, rest)) = bytes.split_first() else {
        return;
    };
    if let Ok(message) = Message::decode(rest) {
        assert_eq!(Message::decode(&message.clone().encode()), Ok(message));
    }
    if let Ok(beat) = Heartbeat::decode(rest) {
        assert_eq!(Heartbeat::decode(&beat.encode()), Ok(beat));
    }
    match kind & 3 {
        0 => greet(Side::Primary, rest),
        1 => greet(Side::Backup, rest),
        2 => pair(true, rest),
        _ => pair(false, rest),
    }
});
