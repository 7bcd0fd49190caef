//! A pair in normal running: what is held, what is compared, and how it ends by itself.

mod common;

use common::{BACKUP, PRIMARY, Toy, World, options, same_state};
use machine::{Control, DiskOperation, Effect, Input, PowerState};
use replica::{Event, Guest, Halt, RoleName, Span, Suspicion, limits::DIGEST_PAGES};

fn ms(ms: u64) -> Span {
    Span::from_ms(ms)
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
fn outputs_behind_an_unacknowledged_message_share_the_next_one_and_wait_little() {
    // FT 3.5-c: the first output's entry goes at once, the others in company, after 200 us at the latest.
    let mut world = World::pair();
    world.run(ms(20));
    world.delay = ms(2);
    let before = world.side(PRIMARY).node.metrics().messages_sent;
    for round in 0..40 {
        world.frame(PRIMARY, &[b'e', round]);
        world.run(Span::from_us(100));
    }
    let sent = world.side(PRIMARY).node.metrics().messages_sent - before;
    assert!(
        (10..=22).contains(&sent),
        "{sent} messages for 40 outputs in 4 ms"
    );
    world.run(ms(5));
    assert_eq!(world.side(PRIMARY).frames().len(), 40);
    let longest = world.side(PRIMARY).node.metrics().output_delay.longest;
    assert!(longest <= Span::from_us(4_500), "{longest:?}");
}

#[test]
fn a_flush_waits_for_no_acknowledgement_and_the_write_before_it_does() {
    // FT 4.1-a: a flush shows nothing; it is about writes that are completed, not about one that is held.
    let mut world = World::pair();
    world.run(ms(20));
    world.deaf = [true; 2];
    world.frame(PRIMARY, b"w1");
    world.frame(PRIMARY, b"f");
    world.run(ms(20));
    let operations = |world: &World, side: usize| -> Vec<DiskOperation> {
        let issued = world.side(side).disk_log.iter();
        issued.map(|(_, request)| request.operation.clone()).collect()
    };
    assert_eq!(operations(&world, PRIMARY), [DiskOperation::Flush]);
    assert_eq!(world.side(PRIMARY).node.metrics().outputs_held, 1);
}

#[test]
fn a_flush_without_an_answer_is_issued_again_by_the_new_primary() {
    // FT 3.4-c.
    let mut world = World::pair();
    world.run(ms(20));
    world.disk_up = false;
    world.frame(PRIMARY, b"f");
    world.run(ms(20));
    let flush = world.side(PRIMARY).disk_log[0].1.clone();
    assert_eq!(flush.operation, DiskOperation::Flush);
    world.kill(PRIMARY);
    world.break_link();
    world.disk_up = true;
    world.until("the backup is live", |world| world.side(BACKUP).live.is_some());
    world.run(ms(5));
    let again: Vec<_> = world
        .side(BACKUP)
        .disk_log
        .iter()
        .map(|(_, request)| request)
        .collect();
    assert_eq!(again, [&flush]);
    assert!(world.side(BACKUP).node.guest().pending_disk().is_empty());
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
fn a_guest_that_writes_much_is_looked_at_less_often() {
    let digests = |pages_hashed| {
        let mut guest = Toy::new();
        guest.pages_hashed = pages_hashed;
        let mut world = World::pair_of(guest.clone(), guest, options(1), options(2));
        world.frame(PRIMARY, b"s\x40");
        world.run(ms(100));
        world.side(PRIMARY).node.metrics().digests
    };
    let often = digests(DIGEST_PAGES - 1);
    assert!(often >= 12, "{often}");
    assert_eq!(digests(0), often);
    assert!(digests(2 * DIGEST_PAGES).abs_diff(often / 3) <= 1);
    assert!(digests(u64::MAX).abs_diff(often / 4) <= 1);
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
