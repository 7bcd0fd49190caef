//! Buffers, windows, pace, and what a pair costs that does nothing.
//!
//! How much may be under way between the sides, and what happens to a side that cannot follow. Nothing may
//! grow without a limit, whatever the other side does.

mod world;

use machine::{Input, Step};
use replica::{
    Action, Entry, EntryKind, Event, Guest, Halt, News, Node, OnSlow, PairOptions, PeerId, RoleName, Span,
    Suspicion, Time, limits,
    log::codec::Encoder,
    peer::message::{Log, Message},
};
use world::{A, B, Toy, World, ms, options, same_state};

#[test]
fn an_idle_guest_costs_almost_nothing() {
    // Goal: 0.1 Mbit/s in all, with TCP/IP headers and an encrypted link's 18 bytes. The paper: 0.5 to 1.5.
    let mut world = World::pair();
    world.run_for(ms(1000));
    let count = |world: &World| {
        let overhead = 66 + 18;
        let datagram = 42 + 28 + 37;
        let side =
            |side: &world::Process| side.sent_bytes + side.sent * overhead + side.heartbeats * datagram;
        world.processes.iter().map(side).sum::<u64>()
    };
    let before = count(&world);
    world.run_for(ms(10_000));
    let bits = (count(&world) - before) * 8 / 10;
    assert!(bits < 100_000, "{bits} bit/s at 100 timer ticks a second");
}

#[test]
fn a_full_window_stops_the_primary_and_loses_nothing() {
    // FT 3.2-a, 3.2-c.
    let mut world = World::pair();
    world.run_for(ms(20));
    world.slices[B] = 0;
    let mut sent = 0u64;
    while !world.process(A).node.metrics().stalled_now {
        world.frame(A, &vec![0; 100_000]);
        world.run_for(Span::from_us(200));
        sent += 1;
        assert!(sent < 2_000, "it never stops");
    }
    let buffered = world.process(A).node.metrics().buffered_bytes;
    assert!(
        buffered <= (limits::UNSENT_COST_MAX + limits::BUFFER_COST_MAX) * 11 / 10,
        "{buffered}"
    );
    assert!(sent > 600, "{sent}");
    let step = world.process(A).node.guest().now();
    world.run_for(ms(50));
    assert_eq!(world.process(A).node.guest().now(), step, "the guest stands");
    assert_eq!(world.process(A).role(), RoleName::Primary);
    world.slices[B] = 1;
    world.run_for(ms(500));
    assert!(world.process(A).node.metrics().stalled >= ms(50));
    assert!(world.process(A).node.guest().now() > step);
    same_state(&mut world);
}

#[test]
fn a_primary_that_ignores_the_window_is_refused() {
    let mut node = Node::backup(Toy::new(), Time(0), options(2));
    let mut encoder = Encoder::new(Step(0));
    let mut halted = None;
    for round in 0..1_000 {
        let input = Input::NetFrame {
            port: 0,
            frame: vec![1; 100_000],
        };
        encoder.push(&Entry {
            at: Step(round),
            kind: EntryKind::Input(input),
        });
        let frame = encoder.finish().unwrap().bytes;
        let log = Message::Log(Log {
            sent: Time(1),
            released: 0,
            frame,
        });
        node.handle(Time(2), Event::Peer(PeerId(0), log.encode().to_vec()));
        while let Some(action) = node.poll(Time(2)) {
            if let Action::Halt(halt) = action {
                halted = Some(halt);
            }
        }
    }
    assert!(matches!(halted, Some(Halt::Peer(how)) if how.contains("room")));
}

#[test]
fn a_backup_that_never_follows_is_dropped() {
    // FT 3.2-e: first the primary slows down, then it goes on alone.
    let mut world = World::pair();
    world.slices[B] = 0;
    world.run_for(ms(3_000));
    assert_eq!(world.process(A).role(), RoleName::Primary);
    assert!(world.process(A).node.metrics().speed_permille < 1000);
    assert!(world.process(A).node.metrics().lag > ms(1_000));
    world.until("alone", |world| world.process(A).role() == RoleName::Solo);
    assert_eq!(world.process(A).node.metrics().suspicion, Some(Suspicion::Slow));
}

#[test]
fn the_guest_does_not_stand_for_an_arbiter_that_is_asked_about_a_slow_backup() {
    // FT 3.2-e.
    let mut world = World::pair();
    world.arbiter_away = true;
    world.slices[B] = 0;
    world.run_for(ms(5_000));
    world.until("the arbiter is asked", |world| !world.process(A).asked.is_empty());
    world.slices[B] = 1;
    world.until("the backup has caught up", |world| {
        world.process(A).node.metrics().lag < ms(50)
    });
    let step = world.process(A).node.guest().now();
    world.run_for(ms(100));
    assert!(world.process(A).node.guest().now() > step, "it runs on");
    assert_eq!(world.process(A).role(), RoleName::Primary);
    world.frame(A, b"e0");
    world.run_for(ms(20));
    assert_eq!(world.process(A).frames().len(), 1, "the rules of a pair are kept");
    world.arbiter_away = false;
    world.until("alone", |world| world.process(A).role() == RoleName::Solo);
    assert!(matches!(world.process(A).news.last(), Some(News::TooSlow(..))));
}

#[test]
fn a_backup_that_is_to_be_followed_is_kept_however_slow_it_is() {
    // FT 3.2-e.
    let options = |owner| PairOptions {
        on_slow: OnSlow::Follow,
        ..options(owner)
    };
    let mut world = World::pair_of(Toy::new(), Toy::new(), options(1), options(2));
    world.slices[B] = 0;
    world.run_for(ms(30_000));
    let step = world.process(A).node.guest().now();
    assert!(world.process(A).node.metrics().stalled_now, "the guest stands");
    world.slices[B] = 1;
    world.run_for(ms(1_000));
    assert!(world.process(A).node.guest().now() > step, "it runs again");
    assert_eq!(world.process(A).role(), RoleName::Primary);
    assert_eq!(
        (world.process(A).node.metrics().suspicion, &world.process(A).news),
        (None, &vec![])
    );
    same_state(&mut world);
}

#[test]
fn a_backup_with_an_empty_buffer_stands() {
    // FT 3.2-c.
    let mut world = World::pair();
    world.run_for(ms(100));
    let step = world.process(B).node.guest().now();
    world.cut_from[A] = true;
    world.run_for(ms(5));
    let after = world.process(B).node.guest().now();
    world.run_for(ms(200));
    assert_eq!(world.process(B).node.guest().now(), after);
    assert!(after >= step);
}

#[test]
fn a_stall_of_ones_own_is_not_the_peers_silence() {
    let mut world = World::pair();
    world.run_for(ms(50));
    // Both stand for as long as the timeout, as when their host sleeps.
    world.now = world.now.after(ms(600));
    world.run_for(ms(300));
    assert_eq!(world.process(A).role(), RoleName::Primary);
    assert_eq!(world.process(B).role(), RoleName::Backup);
}

#[test]
fn a_primary_that_claims_to_have_shown_what_it_never_logged_is_refused() {
    let mut node = Node::backup(Toy::new(), Time(0), options(2));
    let log = Message::Log(Log {
        sent: Time(1),
        released: u64::MAX,
        frame: replica::Parcel::default(),
    });
    node.handle(Time(2), Event::Peer(PeerId(0), log.encode().to_vec()));
    assert!(matches!(node.poll(Time(2)), Some(Action::Halt(Halt::Peer(_)))));
}
