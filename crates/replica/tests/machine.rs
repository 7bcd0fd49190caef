//! The real machine under the recorder: what it records plays back, in other slices and with caches that come
//! and go.
//!
//! All other tests of this crate run the toy; this one joins the two crates.

#[path = "../../machine/tests/rig/asm.rs"]
mod asm;
#[path = "../../machine/tests/rig/guest.rs"]
mod guest;

use std::sync::atomic::AtomicBool;

use machine::{Control, Effect, Input, Machine, Step};
use replica::{
    Action, Digest, End, EntryKind, Event, Guest, Header, LogReader, Node, Options, Playback, Playing, Span,
    Time,
};

/// The operator switches it off after so many.
const STEPS: Step = Step(200_000);

/// A recorded life: its file, its end, its console.
struct Life {
    file: Vec<u8>,
    end: (Step, Digest),
    console: Vec<u8>,
}

fn record(harts: u32) -> Life {
    let config = guest::config(harts as usize, guest::counting(harts));
    let options = Options {
        digest_every: Some(10_000),
        record: Some(Header::new(&config, "test", 0)),
        ..Options::default()
    };
    let machine = guest::machine(harts as usize, guest::counting(harts));
    let mut now = Time(0);
    let mut node = Node::solo(machine, now, options);
    let mut life = Life {
        file: vec![],
        end: (Step(0), Digest { parts: vec![] }),
        console: vec![],
    };
    let (mut turn, mut over) = (0u64, false);
    while !over {
        turn += 1;
        if turn % 7 == 0 {
            let input = Input::Console {
                port: 0,
                bytes: vec![b'x'; 1 + turn as usize % 20],
            };
            node.handle(now, Event::Input(input));
        }
        if node.guest().now() > STEPS {
            node.handle(now, Event::Input(Input::Control(Control::PowerOff)));
        }
        let begin = node.guest().now();
        node.slice(now, &AtomicBool::new(false));
        // A hundred million steps a second, and some time for other things.
        let ran = Guest::now(node.guest()).since(begin);
        now = now.after(Span(ran * 10)).after(Span::from_us(turn % 11 * 10));
        while let Some(action) = node.poll(now) {
            match action {
                Action::Append(bytes) => life.file.extend_from_slice(&bytes),
                Action::Release(replica::Shown::Console { bytes, .. }) => life.console.extend(bytes),
                Action::Halt(_) => over = true,
                _ => {}
            }
        }
    }
    life.end = (node.guest().now(), last_digest(&life.file));
    life
}

/// The digest that the recorder takes when the guest goes off.
fn last_digest(file: &[u8]) -> Digest {
    let mut reader = LogReader::default();
    reader.push(file);
    assert!(reader.header().unwrap().is_some());
    let frames = std::iter::from_fn(|| reader.frame().unwrap());
    let digests = frames.flatten().filter_map(|entry| match entry.kind {
        EntryKind::Digest(digest) => Some(digest),
        _ => None,
    });
    digests.last().expect("a digest")
}

fn play(machine: Machine, file: &[u8], slice: u64) -> Life {
    let mut reader = LogReader::default();
    reader.push(file);
    assert!(reader.header().unwrap().is_some());
    let mut playback = Playback::new(machine, reader, Step::NEVER);
    playback.push(&[]);
    let mut console = Vec::new();
    loop {
        let playing = playback.slice(&AtomicBool::new(false), slice).unwrap();
        for effect in playback.take_effects() {
            if let Effect::ConsoleWrite { bytes, .. } = effect {
                console.extend(bytes);
            }
        }
        match playing {
            Playing::Busy => {}
            Playing::Ended(End::Off) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(playback.digests() > 5);
    let end = (Guest::now(playback.guest()), Guest::digest(playback.guest()));
    Life {
        file: vec![],
        end,
        console,
    }
}

#[test]
fn a_machine_of_one_two_and_four_harts_plays_back_what_it_lived() {
    // FT 2.1-a, 2.1-b.
    for harts in [1, 2, 4] {
        let life = record(harts);
        assert!(life.end.0 > STEPS, "{:?}", life.end.0);
        assert!(life.console.len() > 20);
        for (slice, zeal) in [(u64::MAX, None), (977, None), (20_001, Some(5))] {
            let machine = guest::zealous(harts as usize, guest::counting(harts), zeal);
            let played = play(machine, &life.file, slice);
            assert_eq!(played.end, life.end, "{harts} harts, slices of {slice}");
            assert_eq!(played.console, life.console);
        }
    }
}

/// Types `text` at a machine that sends it back slowly and ends after it, as a host does that asks for room;
/// with `careless` as one that does not ask. Gives the log and the node at its end.
fn type_in(text: &[u8], careless: bool) -> (Life, Node<Machine>) {
    let options = Options {
        digest_every: Some(1_000_000),
        record: Some(Header::new(&guest::config(1, guest::echoing()), "test", 0)),
        ..Options::default()
    };
    let mut now = Time(0);
    let mut node = Node::solo(guest::machine(1, guest::echoing()), now, options);
    let (mut file, mut console, mut over, mut rest) = (vec![], vec![], false, text);
    while !over {
        let room = if careless { usize::MAX } else { node.console_room() };
        let (bytes, later) = rest.split_at(room.min(rest.len()).min(100_000));
        rest = later;
        if !bytes.is_empty() {
            let (port, bytes) = (0, bytes.to_vec());
            node.handle(now, Event::Input(Input::Console { port, bytes }));
        }
        let begin = node.guest().now();
        node.slice(now, &AtomicBool::new(false));
        let ran = Guest::now(node.guest()).since(begin);
        now = now.after(Span(ran * 10 + 1_000));
        while let Some(action) = node.poll(now) {
            match action {
                Action::Append(bytes) => file.extend_from_slice(&bytes),
                Action::Release(replica::Shown::Console { bytes, .. }) => console.extend(bytes),
                Action::Halt(_) => over = true,
                _ => {}
            }
        }
        over |= careless && rest.is_empty();
    }
    let end = (node.guest().now(), Digest { parts: vec![] });
    (Life { file, end, console }, node)
}

/// Any text, with the byte at its end by which the echoing guest ends.
fn paste(bytes: usize) -> Vec<u8> {
    let mut text: Vec<u8> = (0..bytes).map(|at| b'A' + (at * at / 7 % 50) as u8).collect();
    text.push(guest::LAST);
    text
}

#[test]
fn a_paste_far_longer_than_the_line_holds_arrives_whole_and_plays_back() {
    let text = paste(300_000);
    let (mut life, node) = type_in(&text, false);
    assert_eq!(node.metrics().inputs_dropped, 0);
    assert!(life.console == text, "{} bytes came back", life.console.len());
    life.end.1 = last_digest(&life.file);
    let machine = guest::zealous(1, guest::echoing(), Some(7));
    let played = play(machine, &life.file, 20_001);
    assert_eq!(played.end, life.end);
    assert!(played.console == text);
}

#[test]
fn what_is_typed_without_asking_for_room_is_dropped_and_counted() {
    let (_, node) = type_in(&paste(300_000), true);
    assert!(node.metrics().inputs_dropped > 0);
}
