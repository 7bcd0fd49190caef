//! A pair in normal running, and what happens when one half dies.

mod common;

use common::{BACKUP, PRIMARY, TIMEOUT, Toy, World, options};
use machine::{Control, DiskOperation, Effect, Input, PowerState, Step};
use replica::{
    Action, Entry, EntryKind, Event, Guest, Halt, Node, RoleName, Span, Suspicion, Time,
    codec::Encoder,
    limits,
    message::{Log, Message},
};

fn ms(ms: u64) -> Span {
    Span::from_ms(ms)
}

fn same_state(world: &mut World) {
    let step = |world: &World, index: usize| world.side(index).node.guest().now();
    world.until("the same step", |world| {
        step(world, PRIMARY) == step(world, BACKUP)
    });
    let digest = |world: &World, index: usize| {
        let mut toy: Toy = world.side(index).node.guest().clone();
        (toy.now(), toy.digest())
    };
    assert_eq!(digest(world, PRIMARY), digest(world, BACKUP));
}

#[test]
fn the_backup_lives_the_same_life_and_shows_nothing() {
    // FT 2-a, 2-c, 2-d, 2-e, 2.1-a, 2.1-b: same state at the same step; only the primary is visible.
    let mut world = World::pair();
    for round in 0..50 {
        world.frame(PRIMARY, &[b'e', round]);
        world.frame(PRIMARY, &[b'w', round % 4]);
        world.frame(PRIMARY, &[b'r', round % 4]);
        world.frame(PRIMARY, b"n");
        world.event(
            PRIMARY,
            Event::Input(Input::Console {
                port: 0,
                bytes: vec![round],
            }),
        );
        world.event(
            PRIMARY,
            Event::Input(Input::Entropy {
                bytes: vec![round; 8],
            }),
        );
        world.run(ms(5));
    }
    world.run(ms(35));
    assert_eq!(world.side(PRIMARY).frames().len(), 50);
    assert!(world.side(BACKUP).shown.is_empty());
    assert!(world.side(BACKUP).disk_log.is_empty());
    assert!(world.side(BACKUP).node.metrics().digests > 3);
    assert!(world.side(PRIMARY).asked.is_empty() && world.side(BACKUP).asked.is_empty());
    same_state(&mut world);
}

#[test]
fn an_output_waits_for_its_acknowledgement_and_the_guest_does_not() {
    // FT 2.2-c, 2.2-d, 2-f.
    let mut world = World::pair();
    world.run(ms(20));
    world.delay = ms(30);
    world.frame(PRIMARY, b"e0");
    world.run(ms(25));
    let step = world.side(PRIMARY).node.guest().now();
    assert!(world.side(PRIMARY).frames().is_empty());
    assert_eq!(world.side(PRIMARY).node.metrics().outputs_held, 1);
    world.run(ms(30));
    assert!(
        world.side(PRIMARY).frames().is_empty(),
        "received at 30 ms, known at 60 ms"
    );
    assert!(world.side(PRIMARY).node.guest().now() > step);
    world.run(ms(10));
    assert_eq!(world.side(PRIMARY).frames().len(), 1);
    assert!(world.side(PRIMARY).node.metrics().output_delay.longest >= ms(60));
}

#[test]
fn an_output_leaves_after_about_one_round_trip() {
    // FT 3.5-c: an output flushes its entry at once; an acknowledgement is sent on receipt (FT 3.2-b).
    let mut world = World::pair();
    world.run(ms(20));
    world.frame(PRIMARY, b"e0");
    world.run(Span::from_us(500));
    assert_eq!(world.side(PRIMARY).frames().len(), 1);
}

#[test]
fn acknowledged_means_received_not_executed() {
    // FT 3.2-b, 3.2-d: a backup that receives and does not run still lets outputs go; its lag is seen.
    let mut world = World::pair();
    world.run(ms(20));
    world.slices[BACKUP] = 0;
    world.frame(PRIMARY, b"e0");
    world.run(ms(10));
    assert_eq!(world.side(PRIMARY).frames().len(), 1);
    world.frame(PRIMARY, b"s\xff");
    world.run(ms(10));
    assert!(world.side(PRIMARY).node.metrics().lag_steps > 0);
    assert_eq!(world.side(PRIMARY).role(), RoleName::Primary);
}

#[test]
fn the_primary_dies_and_the_backup_goes_on() {
    // FT 2.3-b, 2.3-c, 2.2-a: drains through the last entry, wins the claim, goes live, contradicts nothing.
    let mut world = World::pair();
    for round in 0..20 {
        world.frame(PRIMARY, &[b'e', round]);
        world.run(ms(3));
    }
    world.kill(PRIMARY);
    let died = world.now;
    world.until("live", |world| world.side(BACKUP).live.is_some());
    assert!(world.now.since(died) < ms(700));
    let metrics = world.side(BACKUP).node.metrics();
    assert_eq!(metrics.role, RoleName::Solo);
    assert_eq!(metrics.suspicion, Some(Suspicion::Silence));
    assert_eq!(world.side(BACKUP).live.unwrap().0, 8);
    world.frame(BACKUP, &[b'e', 99]);
    world.run(ms(50));
    let (before, after) = (world.side(PRIMARY).frames(), world.side(BACKUP).frames());
    // What both showed is the same, in the same order, with nothing missing between.
    let overlap = after.iter().take_while(|frame| before.contains(frame)).count();
    assert_eq!(before[before.len() - overlap..], after[..overlap]);
    let numbers: Vec<u8> = before
        .iter()
        .chain(&after[overlap..])
        .map(|frame| frame[1])
        .collect();
    assert_eq!(numbers, (0..20).chain([99]).collect::<Vec<u8>>());
}

#[test]
fn an_output_known_to_the_backup_is_never_lost() {
    // FT 2.2-b, 2.2-e: the primary dies after its entry was received and before the output left.
    let mut world = World::pair();
    world.run(ms(20));
    world.frame(PRIMARY, b"e5");
    world.frame(PRIMARY, b"c");
    world.deaf[BACKUP] = true; // its acknowledgements do not arrive
    world.run(ms(5));
    assert!(world.side(PRIMARY).shown.is_empty());
    world.kill(PRIMARY);
    world.until("live", |world| world.side(BACKUP).live.is_some());
    world.run(ms(1));
    let shown: Vec<_> = world
        .side(BACKUP)
        .shown
        .iter()
        .map(|(_, effect)| effect)
        .collect();
    assert!(matches!(shown[0], Effect::NetTransmit { .. }));
    assert!(matches!(shown[1], Effect::ConsoleWrite { .. }));
    assert_eq!(shown.len(), 2);
}

#[test]
fn outputs_known_to_have_left_are_not_shown_again() {
    let mut world = World::pair();
    for round in 0..5 {
        world.frame(PRIMARY, &[b'e', round]);
        world.run(ms(10));
    }
    world.run(ms(200));
    world.kill(PRIMARY);
    world.until("live", |world| world.side(BACKUP).live.is_some());
    world.run(ms(1));
    assert!(world.side(BACKUP).shown.is_empty());
    assert_eq!(world.side(BACKUP).node.metrics().outputs_released, 5);
}

#[test]
fn requests_without_an_answer_are_done_again() {
    // FT 3.4-c.
    let mut world = World::pair();
    world.run(ms(20));
    world.disk_up = false;
    world.frame(PRIMARY, b"w\x03");
    world.frame(PRIMARY, b"r\x05");
    world.run(ms(20));
    assert_eq!(world.side(PRIMARY).disk_log.len(), 2);
    world.kill(PRIMARY);
    world.disk_up = true;
    world.until("live", |world| world.side(BACKUP).live.is_some());
    world.run(ms(5));
    let again: Vec<_> = world
        .side(BACKUP)
        .disk_log
        .iter()
        .map(|(_, request)| request.id)
        .collect();
    assert_eq!(again, [0, 1]);
    assert!(world.disk.contains_key(&3));
    assert!(
        world.side(BACKUP).node.guest().pending_disk().is_empty(),
        "answered"
    );
}

#[test]
fn a_wish_for_entropy_survives_the_primary() {
    let mut world = World::pair();
    world.run(ms(20));
    world.frame(PRIMARY, b"n");
    world.run(ms(20));
    world.kill(PRIMARY);
    world.until("live", |world| world.side(BACKUP).live.is_some());
    world.run(ms(1));
    let shown = &world.side(BACKUP).shown;
    assert!(matches!(shown[..], [(_, Effect::EntropyWanted { bytes: 8 })]));
}

#[test]
fn the_backup_dies_and_the_primary_goes_on_alone() {
    // FT 2.3-a: and what was held leaves once, after the claim.
    let mut world = World::pair();
    world.run(ms(20));
    world.kill(BACKUP);
    world.frame(PRIMARY, b"e1");
    world.frame(PRIMARY, b"w\x02");
    world.run(ms(100));
    assert!(world.side(PRIMARY).frames().is_empty());
    world.until("alone", |world| world.side(PRIMARY).role() == RoleName::Solo);
    world.run(ms(2));
    assert_eq!(world.side(PRIMARY).frames().len(), 1);
    assert!(world.disk.contains_key(&2));
    let sent = world.side(PRIMARY).sent;
    world.frame(PRIMARY, b"e2");
    world.run(ms(100));
    assert_eq!(world.side(PRIMARY).frames().len(), 2);
    assert_eq!(world.side(PRIMARY).sent, sent, "no logging any more");
}

#[test]
fn a_cut_between_two_live_halves_leaves_exactly_one() {
    // FT 2-h, 2.3-e, FAQ: both suspect, both ask, one halts.
    let mut world = World::pair();
    world.run(ms(50));
    world.deaf = [true; 2];
    world.heartbeats = false;
    world.run(ms(1500));
    let live: Vec<_> = world.sides.iter().map(|side| side.live.is_some()).collect();
    assert_eq!(live.iter().filter(|&&live| live).count(), 1);
    let lost = world
        .sides
        .iter()
        .filter(|side| matches!(side.halted, Some(Halt::Lost(_))))
        .count();
    assert_eq!(lost, 1);
}

#[test]
fn a_broken_link_is_known_at_once_but_the_backup_honours_the_lease() {
    let mut world = World::pair();
    world.run(ms(50));
    world.kill(PRIMARY);
    let died = world.now;
    world.break_link();
    world.until("live", |world| world.side(BACKUP).live.is_some());
    assert_eq!(
        world.side(BACKUP).node.metrics().suspicion,
        Some(Suspicion::LinkLost)
    );
    // It last acknowledged at most a keepalive interval before.
    assert!(world.now.since(died).0 > TIMEOUT.0 * 2 / 3);
    assert!(world.now.since(died) < ms(510));
}

#[test]
fn an_unreachable_arbiter_pauses_and_never_splits() {
    // FT 2.3-e: wait and retry, with the guest paused.
    let mut world = World::pair();
    world.run(ms(50));
    world.arbiter_up = false;
    world.kill(PRIMARY);
    world.run(ms(5000));
    assert_eq!(world.side(BACKUP).role(), RoleName::Claiming);
    let step = world.side(BACKUP).node.guest().now();
    let asked = world.side(BACKUP).asked.len();
    assert!((4..20).contains(&asked), "{asked}");
    world.run(ms(1000));
    assert_eq!(world.side(BACKUP).node.guest().now(), step);
    world.arbiter_up = true;
    world.until("live", |world| world.side(BACKUP).live.is_some());
    world.run(ms(50));
    assert!(world.side(BACKUP).node.guest().now() > step);
}

#[test]
fn a_primary_without_the_arbiter_holds_its_outputs() {
    let mut world = World::pair();
    world.run(ms(50));
    world.arbiter_up = false;
    world.kill(BACKUP);
    world.frame(PRIMARY, b"e1");
    world.run(ms(4000));
    assert!(world.side(PRIMARY).shown.is_empty());
    world.arbiter_up = true;
    world.until("alone", |world| !world.side(PRIMARY).frames().is_empty());
}

#[test]
fn a_stalled_primary_that_wakes_shows_nothing() {
    // The lease: an acknowledgement that waited in a socket gives no right to release.
    let mut world = World::pair();
    world.run(ms(50));
    world.delay = ms(1);
    world.frame(PRIMARY, b"e1");
    world.frame(PRIMARY, b"w\x07");
    world.run(Span::from_us(1500));
    world.sides[PRIMARY].stopped = true; // SIGSTOP: the acknowledgement is on its way
    world.until("live", |world| world.side(BACKUP).live.is_some());
    world.run(ms(100));
    assert_eq!(world.side(BACKUP).frames().len(), 1);
    world.sides[PRIMARY].stopped = false;
    world.run(ms(2000));
    assert!(world.side(PRIMARY).shown.is_empty());
    assert!(world.side(PRIMARY).disk_log.is_empty());
    assert!(matches!(world.side(PRIMARY).halted, Some(Halt::Lost(_))));
}

#[test]
fn lost_heartbeats_alone_are_no_failure_and_live_ones_do_not_hide_one() {
    // FT 2.3-d, 2-g.
    let mut world = World::pair();
    world.heartbeats = false;
    world.run(ms(2000));
    assert_eq!(world.side(BACKUP).role(), RoleName::Backup);
    assert!(world.side(PRIMARY).heartbeats > 10);
    world.heartbeats = true;
    world.run(ms(300));
    world.deaf = [true; 2];
    world.until("suspicion", |world| {
        world.side(BACKUP).node.metrics().suspicion.is_some()
    });
    assert_eq!(
        world.side(BACKUP).node.metrics().suspicion,
        Some(Suspicion::LinkSilence)
    );
}

#[test]
fn power_off_stops_both_and_the_backup_does_not_go_live() {
    // FT 3.3-a: by the guest, and by the operator.
    for by_guest in [true, false] {
        let mut world = World::pair();
        world.run(ms(20));
        world.frame(PRIMARY, b"e1");
        if by_guest {
            world.frame(PRIMARY, b"o");
        } else {
            world.event(PRIMARY, Event::Input(Input::Control(Control::PowerOff)));
        }
        world.until("both off", |world| {
            world.sides.iter().all(|side| side.halted.is_some())
        });
        for side in &world.sides {
            assert_eq!(side.halted, Some(Halt::Off(PowerState::Off)));
            assert_eq!(side.live, None);
        }
        let shown = &world.side(PRIMARY).shown;
        assert!(matches!(
            shown.last(),
            Some((_, Effect::PoweredOff(PowerState::Off)))
        ));
        assert_eq!(world.side(PRIMARY).frames().len(), usize::from(by_guest));
    }
}

#[test]
fn power_off_ends_the_primary_even_if_the_last_acknowledgement_is_lost() {
    let mut world = World::pair();
    world.run(ms(20));
    world.deaf[BACKUP] = true;
    world.event(PRIMARY, Event::Input(Input::Control(Control::PowerOff)));
    world.until("both off", |world| {
        world.sides.iter().all(|side| side.halted.is_some())
    });
    assert_eq!(world.side(PRIMARY).halted, Some(Halt::Off(PowerState::Off)));
    assert_eq!(world.side(BACKUP).live, None, "FT 3.3-a");
}

#[test]
fn the_primarys_death_does_not_lose_a_power_off_nor_the_writes_before_it() {
    let mut world = World::pair();
    world.run(ms(20));
    world.deaf[BACKUP] = true;
    world.frame(PRIMARY, b"w\x01");
    world.frame(PRIMARY, b"o");
    world.run(ms(10));
    assert!(world.side(PRIMARY).disk_log.is_empty(), "held");
    world.kill(PRIMARY);
    world.until("off", |world| world.side(BACKUP).halted.is_some());
    assert_eq!(world.side(BACKUP).halted, Some(Halt::Off(PowerState::Off)));
    assert!(world.disk.contains_key(&1));
    assert_eq!(world.side(BACKUP).asked.len(), 1, "it wrote, so it had to ask");
}

#[test]
fn a_diverged_backup_says_so_and_halts_and_the_primary_goes_on() {
    let mut broken = Toy::new();
    broken.broken_at = Some(700);
    let mut world = World::pair_of(Toy::new(), broken, options(1), options(2));
    world.frame(PRIMARY, b"s\x05");
    world.until("halt", |world| world.side(BACKUP).halted.is_some());
    let Some(Halt::Diverged { at, part }) = &world.side(BACKUP).halted else {
        panic!("{:?}", world.side(BACKUP).halted);
    };
    assert_eq!((at.0, part.as_str()), (1000, "state"));
    world.until("alone", |world| world.side(PRIMARY).role() == RoleName::Solo);
    assert_eq!(
        world.side(PRIMARY).node.metrics().suspicion,
        Some(Suspicion::Diverged)
    );
}

#[test]
fn an_output_that_differs_is_noticed_at_once() {
    let mut broken = Toy::new();
    broken.broken_at = Some(10);
    let mut world = World::pair_of(Toy::new(), broken, options(1), options(2));
    world.frame(PRIMARY, b"e1");
    world.until("halt", |world| world.side(BACKUP).halted.is_some());
    let Some(Halt::Diverged { part, .. }) = &world.side(BACKUP).halted else {
        panic!("{:?}", world.side(BACKUP).halted);
    };
    assert_eq!(part, "an output to a network");
}

#[test]
fn overlapping_requests_run_in_order_and_reads_overtake_held_writes() {
    // FT 3.4-a.
    let mut world = World::pair();
    world.run(ms(20));
    world.delay = ms(5);
    for frame in [b"w\x01", b"r\x02", b"r\x01", b"w\x02", b"w\x01"] {
        world.frame(PRIMARY, frame);
    }
    world.run(ms(30));
    let log = &world.side(PRIMARY).disk_log;
    let ids: Vec<u64> = log.iter().map(|(_, request)| request.id).collect();
    assert_eq!(ids[0], 1, "a read of another place goes first: {ids:?}");
    let place = |id: u64| ids.iter().position(|&other| other == id).unwrap();
    assert!(place(0) < place(2) && place(2) < place(4), "{ids:?}");
    assert!(place(1) < place(3), "{ids:?}");
    for pair in [(0, 2), (2, 4), (1, 3)] {
        let (earlier, later) = (log[place(pair.0)].0, log[place(pair.1)].0);
        assert!(
            later.since(earlier) >= common::DISK,
            "the later one waits for the answer"
        );
    }
    assert!(matches!(log[0].1.operation, DiskOperation::Read { .. }));
}

#[test]
fn garbage_from_the_backup_makes_the_primary_alone_and_garbage_from_the_primary_halts_the_backup() {
    let mut world = World::pair();
    world.run(ms(20));
    world.event(PRIMARY, Event::Peer(vec![17, 255, 255]));
    world.until("alone", |world| world.side(PRIMARY).role() == RoleName::Solo);
    assert_eq!(
        world.side(PRIMARY).node.metrics().suspicion,
        Some(Suspicion::Garbage)
    );

    let mut world = World::pair();
    world.run(ms(20));
    world.event(BACKUP, Event::Peer(b"hello".to_vec()));
    world.until("halt", |world| world.side(BACKUP).halted.is_some());
    assert!(matches!(world.side(BACKUP).halted, Some(Halt::Peer(_))));
}

#[test]
fn an_idle_guest_costs_almost_nothing() {
    // Goal: 0.1 Mbit/s in all, with TCP/IP headers and an encrypted link's 18 bytes. The paper: 0.5 to 1.5.
    let mut world = World::pair();
    world.run(ms(1000));
    let count = |world: &World| {
        let overhead = 66 + 18;
        let datagram = 42 + 28;
        let side = |side: &common::Side| side.sent_bytes + side.sent * overhead + side.heartbeats * datagram;
        world.sides.iter().map(side).sum::<u64>()
    };
    let before = count(&world);
    world.run(ms(10_000));
    let bits = (count(&world) - before) * 8 / 10;
    assert!(bits < 100_000, "{bits} bit/s at 100 timer ticks a second");
}

#[test]
fn guest_time_follows_host_time_through_a_failover() {
    let mut world = World::pair();
    let begin = world.now;
    world.run(ms(300));
    world.kill(PRIMARY);
    let mut last = 0;
    for _ in 0..200 {
        world.run(ms(10));
        let wall = world.side(BACKUP).node.wall();
        assert!(wall >= last, "time went back");
        last = wall;
    }
    let real = world.now.since(begin).0;
    assert!(real.abs_diff(last) < ms(25).0, "{last} after {real}");
}

#[test]
fn a_full_window_stops_the_primary_and_loses_nothing() {
    // FT 3.2-a, 3.2-c.
    let mut world = World::pair();
    world.run(ms(20));
    world.slices[BACKUP] = 0;
    let mut sent = 0u64;
    while !world.side(PRIMARY).node.metrics().stalled_now {
        world.frame(PRIMARY, &vec![0; 100_000]);
        world.run(Span::from_us(200));
        sent += 1;
        assert!(sent < 2_000, "it never stops");
    }
    let buffered = world.side(PRIMARY).node.metrics().buffered_bytes;
    assert!(
        buffered <= (limits::UNSENT_COST_MAX + limits::BUFFER_COST_MAX) * 11 / 10,
        "{buffered}"
    );
    assert!(sent > 600, "{sent}");
    let step = world.side(PRIMARY).node.guest().now();
    world.run(ms(50));
    assert_eq!(world.side(PRIMARY).node.guest().now(), step, "the guest stands");
    assert_eq!(world.side(PRIMARY).role(), RoleName::Primary);
    world.slices[BACKUP] = 1;
    world.run(ms(500));
    assert!(world.side(PRIMARY).node.metrics().stalled >= ms(50));
    assert!(world.side(PRIMARY).node.guest().now() > step);
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
        node.handle(Time(2), Event::Peer(log.encode()));
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
    world.slices[BACKUP] = 0;
    world.run(ms(3_000));
    assert_eq!(world.side(PRIMARY).role(), RoleName::Primary);
    assert!(world.side(PRIMARY).node.metrics().speed_permille < 1000);
    assert!(world.side(PRIMARY).node.metrics().lag > ms(1_000));
    world.until("alone", |world| world.side(PRIMARY).role() == RoleName::Solo);
    assert_eq!(
        world.side(PRIMARY).node.metrics().suspicion,
        Some(Suspicion::Slow)
    );
}

#[test]
fn a_backup_with_an_empty_buffer_stands() {
    // FT 3.2-c.
    let mut world = World::pair();
    world.run(ms(100));
    let step = world.side(BACKUP).node.guest().now();
    world.deaf[PRIMARY] = true;
    world.run(ms(5));
    let after = world.side(BACKUP).node.guest().now();
    world.run(ms(200));
    assert_eq!(world.side(BACKUP).node.guest().now(), after);
    assert!(after >= step);
}

#[test]
fn a_stall_of_ones_own_is_not_the_peers_silence() {
    let mut world = World::pair();
    world.run(ms(50));
    // Both stand for as long as the timeout, as when their host sleeps.
    world.now = world.now.after(ms(600));
    world.run(ms(300));
    assert_eq!(world.side(PRIMARY).role(), RoleName::Primary);
    assert_eq!(world.side(BACKUP).role(), RoleName::Backup);
}

#[test]
fn a_side_that_has_suspected_says_nothing_more() {
    // D6: a late message must not be acknowledged, or the lease would go on.
    let mut world = World::pair();
    world.run(ms(50));
    world.arbiter_up = false;
    world.event(BACKUP, Event::LinkLost);
    world.run(ms(1));
    let sent = world.side(BACKUP).sent;
    world.run(ms(300));
    assert!(world.side(PRIMARY).sent > sent, "the primary has not noticed yet");
    assert_eq!(world.side(BACKUP).sent, sent);
}
