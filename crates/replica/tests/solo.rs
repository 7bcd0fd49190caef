//! A guest that runs alone, without a pair and without a log.
//!
//! What a node does for any guest: outputs, disk requests, sleep, cuts, and inputs that come too fast.

mod world;

use std::sync::atomic::{AtomicBool, Ordering};

use machine::{Effect, Input, PowerState};
use replica::peer::message::Message;
use replica::{
    Action, Event, Guest, Halt, Hello, Joined, Next, Node, Options, PairOptions, PeerId, Side, Span, Time,
};
use world::{A, Toy, World, options};

#[test]
fn outputs_leave_at_once_and_nothing_is_logged() {
    let mut world = World::solo(Options::default());
    world.run_for(Span::from_ms(5));
    for frame in [b"e1", b"w1", b"r1", b"c1"] {
        world.frame(A, frame);
    }
    world.run_for(Span::from_ms(5));
    let side = world.process(A);
    assert_eq!(side.shown.len(), 2);
    assert_eq!(side.disk_log.len(), 2);
    assert!(side.node.guest().pending_disk().is_empty());
    assert!(side.file.is_empty() && side.sent == 0 && side.heartbeats == 0);
    assert_eq!(side.node.metrics().outputs_released, 3);
}

#[test]
fn power_off_ends_it_after_the_last_write() {
    let mut world = World::solo(Options::default());
    world.disk_away = true;
    world.frame(A, b"w1");
    world.frame(A, b"o");
    world.run_for(Span::from_ms(50));
    assert_eq!(world.process(A).halted, None);
    world.disk_away = false;
    world.run_for(Span::from_ms(5));
    assert_eq!(world.process(A).halted, Some(Halt::Off(PowerState::Off)));
    assert!(matches!(
        world.process(A).shown.last(),
        Some((_, Effect::PoweredOff(_)))
    ));
}

#[test]
fn an_idle_guest_sleeps_until_its_timer_and_a_cut_ends_a_slice() {
    let begin = Time(1_000);
    let mut node = Node::solo(Toy::new(), begin, Options::default());
    let cut = AtomicBool::new(false);
    let next = node.slice(begin, &cut);
    let wake = begin.after(Span::from_ms(10));
    assert_eq!(next, Next::At(Some(wake)));
    assert_eq!(node.deadline(), Some(wake));
    assert!(matches!(node.slice(wake, &cut), Next::At(Some(time)) if time > wake));

    node.handle(
        wake,
        Event::Input(Input::NetFrame {
            port: 0,
            frame: b"s\x0a".to_vec(),
        }),
    );
    cut.store(true, Ordering::Relaxed);
    let step = node.guest().now();
    assert_eq!(node.slice(wake, &cut), Next::Busy);
    assert!(node.guest().now().since(step) <= 64);
    cut.store(false, Ordering::Relaxed);
    assert!(matches!(node.slice(wake, &cut), Next::At(_)));
    assert!(node.guest().now().since(step) > 10_000);
}

#[test]
fn a_flood_is_dropped_and_counted_not_stored() {
    let mut world = World::solo(Options::default());
    for _ in 0..10_000 {
        world.frame(A, &[0; 1500]);
    }
    world.run_for(Span::from_ms(1));
    assert!(world.process(A).node.metrics().inputs_dropped > 4_000);
    world.run_for(Span::from_ms(100));
    assert!(world.process(A).node.guest().now().0 > 0);
}

#[test]
fn an_owner_greets_an_apprentice_with_the_timeout_by_which_it_counts_its_lease() {
    // The pair before had a backup with a longer timeout than this VM is configured with.
    let (now, timeout) = (Time(1_000), Span::from_ms(2_000));
    let options = PairOptions {
        timeout,
        ..options(1)
    };
    let mut node = Node::owner(Toy::new(), now, options);
    let joined = Joined {
        peer: PeerId(5),
        me: Hello {
            vm: "db".to_owned(),
            side: Side::Primary,
            owner: 1,
            timeout: Span::from_ms(500),
            header: None,
            settings: String::new(),
        },
        token: [7; 16],
    };
    node.handle(now, Event::Joined(Box::new(joined)));
    let said = std::iter::from_fn(|| node.poll(now)).find_map(|action| match action {
        Action::Send(_, message) => Message::decode(&message).ok(),
        _ => None,
    });
    assert!(matches!(said, Some(Message::Hello(hello)) if hello.timeout == timeout));
}
