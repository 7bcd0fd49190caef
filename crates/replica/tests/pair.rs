//! A pair in normal running: what is held, what is compared, and how it ends by itself.
//!
//! Nobody dies here but by divergence or by garbage; `failover.rs` has the rest.

mod world;

use machine::{Control, DiskOperation, Effect, Input, PowerState};
use replica::{Event, Guest, Halt, PeerId, RoleName, Span, Suspicion, limits::DIGEST_PAGES};
use world::{A, B, Toy, World, ms, options, same_state};

#[test]
fn the_backup_lives_the_same_life_and_shows_nothing() {
    // FT 2-a, 2-c, 2-d, 2-e, 2.1-a, 2.1-b: same state at the same step; only the primary is visible.
    let mut world = World::pair();
    for round in 0..50 {
        world.frame(A, &[b'e', round]);
        world.frame(A, &[b'w', round % 4]);
        world.frame(A, &[b'r', round % 4]);
        world.frame(A, b"n");
        world.deliver(
            A,
            Event::Input(Input::Console {
                port: 0,
                bytes: vec![round],
            }),
        );
        world.deliver(
            A,
            Event::Input(Input::Entropy {
                bytes: vec![round; 8],
            }),
        );
        world.run_for(ms(5));
    }
    world.run_for(ms(35));
    assert_eq!(world.process(A).frames().len(), 50);
    assert!(world.process(B).shown.is_empty());
    assert!(world.process(B).disk_log.is_empty());
    assert!(world.process(B).node.metrics().digests > 3);
    assert!(world.process(A).asked.is_empty() && world.process(B).asked.is_empty());
    same_state(&mut world);
}

#[test]
fn an_output_waits_for_its_acknowledgement_and_the_guest_does_not() {
    // FT 2.2-c, 2.2-d, 2-f.
    let mut world = World::pair();
    world.run_for(ms(20));
    world.delay = ms(30);
    world.frame(A, b"e0");
    world.run_for(ms(25));
    let step = world.process(A).node.guest().now();
    assert!(world.process(A).frames().is_empty());
    assert_eq!(world.process(A).node.metrics().outputs_held, 1);
    world.run_for(ms(30));
    assert!(
        world.process(A).frames().is_empty(),
        "received at 30 ms, known at 60 ms"
    );
    assert!(world.process(A).node.guest().now() > step);
    world.run_for(ms(10));
    assert_eq!(world.process(A).frames().len(), 1);
    assert!(world.process(A).node.metrics().output_delay.longest >= ms(60));
}

#[test]
fn an_output_leaves_after_about_one_round_trip() {
    // FT 3.5-c: an output flushes its entry at once; an acknowledgement is sent on receipt (FT 3.2-b).
    let mut world = World::pair();
    world.run_for(ms(20));
    world.frame(A, b"e0");
    world.run_for(Span::from_us(500));
    assert_eq!(world.process(A).frames().len(), 1);
}

#[test]
fn outputs_behind_an_unacknowledged_message_share_the_next_one_and_wait_little() {
    // FT 3.5-c: the first output's entry goes at once, the others in company, after 200 us at the latest.
    let mut world = World::pair();
    world.run_for(ms(20));
    world.delay = ms(2);
    let before = world.process(A).node.metrics().messages_sent;
    for round in 0..40 {
        world.frame(A, &[b'e', round]);
        world.run_for(Span::from_us(100));
    }
    let sent = world.process(A).node.metrics().messages_sent - before;
    assert!(
        (10..=22).contains(&sent),
        "{sent} messages for 40 outputs in 4 ms"
    );
    world.run_for(ms(5));
    assert_eq!(world.process(A).frames().len(), 40);
    let longest = world.process(A).node.metrics().output_delay.longest;
    assert!(longest <= Span::from_us(4_500), "{longest:?}");
}

#[test]
fn a_flush_waits_for_no_acknowledgement_and_the_write_before_it_does() {
    // FT 4.1-a: a flush shows nothing; it is about writes that are completed, not about one that is held.
    let mut world = World::pair();
    world.run_for(ms(20));
    world.cut_from = vec![true; 2];
    world.frame(A, b"w1");
    world.frame(A, b"f");
    world.run_for(ms(20));
    let operations = |world: &World, side: usize| -> Vec<DiskOperation> {
        let issued = world.process(side).disk_log.iter();
        issued.map(|(_, request)| request.operation.clone()).collect()
    };
    assert_eq!(operations(&world, A), [DiskOperation::Flush]);
    assert_eq!(world.process(A).node.metrics().outputs_held, 1);
}

#[test]
fn a_flush_without_an_answer_is_issued_again_by_the_new_primary() {
    // FT 3.4-c.
    let mut world = World::pair();
    world.run_for(ms(20));
    world.disk_away = true;
    world.frame(A, b"f");
    world.run_for(ms(20));
    let flush = world.process(A).disk_log[0].1.clone();
    assert_eq!(flush.operation, DiskOperation::Flush);
    world.crash(A);
    world.reset_link();
    world.disk_away = false;
    world.until("the backup is live", |world| world.process(B).live.is_some());
    world.run_for(ms(5));
    let again: Vec<_> = world
        .process(B)
        .disk_log
        .iter()
        .map(|(_, request)| request)
        .collect();
    assert_eq!(again, [&flush]);
    assert!(world.process(B).node.guest().pending_disk().is_empty());
}

#[test]
fn acknowledged_means_received_not_executed() {
    // FT 3.2-b, 3.2-d: a backup that receives and does not run still lets outputs go; its lag is seen.
    let mut world = World::pair();
    world.run_for(ms(20));
    world.slices[B] = 0;
    world.frame(A, b"e0");
    world.run_for(ms(10));
    assert_eq!(world.process(A).frames().len(), 1);
    world.frame(A, b"s\xff");
    world.run_for(ms(10));
    assert!(world.process(A).node.metrics().lag_steps > 0);
    assert_eq!(world.process(A).role(), RoleName::Primary);
}

#[test]
fn power_off_stops_both_and_the_backup_does_not_go_live() {
    // FT 3.3-a: by the guest, and by the operator.
    for by_guest in [true, false] {
        let mut world = World::pair();
        world.run_for(ms(20));
        world.frame(A, b"e1");
        if by_guest {
            world.frame(A, b"o");
        } else {
            world.deliver(A, Event::Input(Input::Control(Control::PowerOff)));
        }
        world.until("both off", |world| {
            world.processes.iter().all(|side| side.halted.is_some())
        });
        for side in &world.processes {
            assert_eq!(side.halted, Some(Halt::Off(PowerState::Off)));
            assert_eq!(side.live, None);
        }
        let shown = &world.process(A).shown;
        assert!(matches!(
            shown.last(),
            Some((_, Effect::PoweredOff(PowerState::Off)))
        ));
        assert_eq!(world.process(A).frames().len(), usize::from(by_guest));
    }
}

#[test]
fn a_guest_that_writes_much_is_looked_at_less_often() {
    let digests = |pages_hashed| {
        let guest = Toy::new().that_hashes(pages_hashed);
        let mut world = World::pair_of(guest.clone(), guest, options(1), options(2));
        world.frame(A, b"s\x40");
        world.run_for(ms(100));
        world.process(A).node.metrics().digests
    };
    let often = digests(DIGEST_PAGES - 1);
    assert!(often >= 12, "{often}");
    assert_eq!(digests(0), often);
    assert!(digests(2 * DIGEST_PAGES).abs_diff(often / 3) <= 1);
    assert!(digests(u64::MAX).abs_diff(often / 4) <= 1);
}

#[test]
fn a_diverged_backup_says_so_and_halts_and_the_primary_goes_on() {
    let broken = Toy::new().that_breaks_at(700);
    let mut world = World::pair_of(Toy::new(), broken, options(1), options(2));
    world.frame(A, b"s\x05");
    world.until("halt", |world| world.process(B).halted.is_some());
    let Some(Halt::Diverged { at, part }) = &world.process(B).halted else {
        panic!("{:?}", world.process(B).halted);
    };
    assert_eq!((at.0, part.as_str()), (1000, "state"));
    world.until("alone", |world| world.process(A).role() == RoleName::Solo);
    assert_eq!(
        world.process(A).node.metrics().suspicion,
        Some(Suspicion::Diverged)
    );
}

#[test]
fn an_output_that_differs_is_noticed_at_once() {
    let broken = Toy::new().that_breaks_at(10);
    let mut world = World::pair_of(Toy::new(), broken, options(1), options(2));
    world.frame(A, b"e1");
    world.until("halt", |world| world.process(B).halted.is_some());
    let Some(Halt::Diverged { part, .. }) = &world.process(B).halted else {
        panic!("{:?}", world.process(B).halted);
    };
    assert_eq!(part, "an output to a network");
}

#[test]
fn overlapping_requests_run_in_order_and_reads_overtake_held_writes() {
    // FT 3.4-a.
    let mut world = World::pair();
    world.run_for(ms(20));
    world.delay = ms(5);
    for frame in [b"w\x01", b"r\x02", b"r\x01", b"w\x02", b"w\x01"] {
        world.frame(A, frame);
    }
    world.run_for(ms(30));
    let log = &world.process(A).disk_log;
    let ids: Vec<u64> = log.iter().map(|(_, request)| request.id).collect();
    assert_eq!(ids[0], 1, "a read of another place goes first: {ids:?}");
    let place = |id: u64| ids.iter().position(|&other| other == id).unwrap();
    assert!(place(0) < place(2) && place(2) < place(4), "{ids:?}");
    assert!(place(1) < place(3), "{ids:?}");
    for pair in [(0, 2), (2, 4), (1, 3)] {
        let (earlier, later) = (log[place(pair.0)].0, log[place(pair.1)].0);
        assert!(
            later.since(earlier) >= world::DISK,
            "the later one waits for the answer"
        );
    }
    assert!(matches!(log[0].1.operation, DiskOperation::Read { .. }));
}

#[test]
fn garbage_from_the_backup_makes_the_primary_alone_and_garbage_from_the_primary_halts_the_backup() {
    let mut world = World::pair();
    world.run_for(ms(20));
    world.deliver(A, Event::Peer(PeerId(0), vec![17, 255, 255]));
    world.until("alone", |world| world.process(A).role() == RoleName::Solo);
    assert_eq!(
        world.process(A).node.metrics().suspicion,
        Some(Suspicion::Garbage)
    );

    let mut world = World::pair();
    world.run_for(ms(20));
    world.deliver(B, Event::Peer(PeerId(0), b"hello".to_vec()));
    world.until("halt", |world| world.process(B).halted.is_some());
    assert!(matches!(world.process(B).halted, Some(Halt::Peer(_))));
}
