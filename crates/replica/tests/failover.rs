//! One side of a pair dies, stalls, or cannot be heard: which one goes on, when, and what it shows.
//!
//! In the small world of `world`, so that times and orders are exact; `sim` has the same faults at random.

mod world;

use machine::{Control, Effect, Input, PowerState};
use replica::peer::heartbeat::{Beat, Heartbeat};
use replica::{Epoch, Event, Guest, Halt, Notice, PairOptions, PeerId, RoleName, Span, Suspicion};
use world::{A, B, TIMEOUT, Toy, World, ms};

#[test]
fn the_primary_dies_and_the_backup_goes_on() {
    // FT 2.3-b, 2.3-c, 2.2-a: drains through the last entry, wins the claim, goes live, contradicts nothing.
    let mut world = World::pair();
    for round in 0..20 {
        world.frame(A, &[b'e', round]);
        world.run_for(ms(3));
    }
    world.crash(A);
    let died = world.now;
    world.until("live", |world| world.process(B).live.is_some());
    assert!(world.now.since(died) < ms(700));
    let metrics = world.process(B).node.metrics();
    assert_eq!(metrics.role, RoleName::Solo);
    assert_eq!(metrics.suspicion, Some(Suspicion::Silence));
    assert_eq!(world.process(B).live.unwrap().0, 8);
    world.frame(B, &[b'e', 99]);
    world.run_for(ms(50));
    let (before, after) = (world.process(A).frames(), world.process(B).frames());
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
    world.run_for(ms(20));
    world.frame(A, b"e5");
    world.frame(A, b"c");
    world.cut_from[B] = true; // its acknowledgements do not arrive
    world.run_for(ms(5));
    assert!(world.process(A).shown.is_empty());
    world.crash(A);
    world.until("live", |world| world.process(B).live.is_some());
    world.run_for(ms(1));
    let shown: Vec<_> = world.process(B).shown.iter().map(|(_, effect)| effect).collect();
    assert!(matches!(shown[0], Effect::NetTransmit { .. }));
    assert!(matches!(shown[1], Effect::ConsoleWrite { .. }));
    assert_eq!(shown.len(), 2);
}

#[test]
fn outputs_known_to_have_left_are_not_shown_again() {
    let mut world = World::pair();
    for round in 0..5 {
        world.frame(A, &[b'e', round]);
        world.run_for(ms(10));
    }
    world.run_for(ms(200));
    world.crash(A);
    world.until("live", |world| world.process(B).live.is_some());
    world.run_for(ms(1));
    assert!(world.process(B).shown.is_empty());
    assert_eq!(world.process(B).node.metrics().outputs_released, 5);
}

#[test]
fn requests_without_an_answer_are_done_again() {
    // FT 3.4-c.
    let mut world = World::pair();
    world.run_for(ms(20));
    world.disk_away = true;
    world.frame(A, b"w\x03");
    world.frame(A, b"r\x05");
    world.run_for(ms(20));
    assert_eq!(world.process(A).disk_log.len(), 2);
    world.crash(A);
    world.disk_away = false;
    world.until("live", |world| world.process(B).live.is_some());
    world.run_for(ms(5));
    let again: Vec<_> = world
        .process(B)
        .disk_log
        .iter()
        .map(|(_, request)| request.id)
        .collect();
    assert_eq!(again, [0, 1]);
    assert!(world.disk.contains_key(&3));
    assert!(
        world.process(B).node.guest().pending_disk().is_empty(),
        "answered"
    );
}

#[test]
fn a_wish_for_entropy_survives_the_primary() {
    let mut world = World::pair();
    world.run_for(ms(20));
    world.frame(A, b"n");
    world.run_for(ms(20));
    world.crash(A);
    world.until("live", |world| world.process(B).live.is_some());
    world.run_for(ms(1));
    let shown = &world.process(B).shown;
    assert!(matches!(shown[..], [(_, Effect::EntropyWanted { bytes: 8 })]));
}

#[test]
fn the_backup_dies_and_the_primary_goes_on_alone() {
    // FT 2.3-a: and what was held leaves once, after the claim.
    let mut world = World::pair();
    world.run_for(ms(20));
    world.crash(B);
    world.frame(A, b"e1");
    world.frame(A, b"w\x02");
    world.run_for(ms(100));
    assert!(world.process(A).frames().is_empty());
    world.until("alone", |world| world.process(A).role() == RoleName::Solo);
    world.run_for(ms(2));
    assert_eq!(world.process(A).frames().len(), 1);
    assert!(world.disk.contains_key(&2));
    let sent = world.process(A).sent;
    world.frame(A, b"e2");
    world.run_for(ms(100));
    assert_eq!(world.process(A).frames().len(), 2);
    assert_eq!(world.process(A).sent, sent, "no logging any more");
}

#[test]
fn a_cut_between_two_live_halves_leaves_exactly_one() {
    // FT 2-h, 2.3-e, FAQ: both suspect, both ask, one halts.
    let mut world = World::pair();
    world.run_for(ms(50));
    world.cut_from = vec![true; 2];
    world.heartbeats_lost = true;
    world.run_for(ms(1500));
    let live: Vec<_> = world.processes.iter().map(|side| side.live.is_some()).collect();
    assert_eq!(live.iter().filter(|&&live| live).count(), 1);
    let lost = world
        .processes
        .iter()
        .filter(|side| matches!(side.halted, Some(Halt::Lost(_))))
        .count();
    assert_eq!(lost, 1);
}

#[test]
fn a_broken_link_is_known_at_once_but_the_backup_honours_the_lease() {
    let mut world = World::pair();
    world.run_for(ms(50));
    world.crash(A);
    let died = world.now;
    world.reset_link();
    world.until("live", |world| world.process(B).live.is_some());
    assert_eq!(
        world.process(B).node.metrics().suspicion,
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
    world.run_for(ms(50));
    world.arbiter_away = true;
    world.crash(A);
    world.run_for(ms(5000));
    assert_eq!(world.process(B).role(), RoleName::Claiming);
    let step = world.process(B).node.guest().now();
    let asked = world.process(B).asked.len();
    assert!((4..20).contains(&asked), "{asked}");
    world.run_for(ms(1000));
    assert_eq!(world.process(B).node.guest().now(), step);
    world.arbiter_away = false;
    world.until("live", |world| world.process(B).live.is_some());
    world.run_for(ms(50));
    assert!(world.process(B).node.guest().now() > step);
}

#[test]
fn a_primary_without_the_arbiter_holds_its_outputs() {
    let mut world = World::pair();
    world.run_for(ms(50));
    world.arbiter_away = true;
    world.crash(B);
    world.frame(A, b"e1");
    world.run_for(ms(4000));
    assert!(world.process(A).shown.is_empty());
    world.arbiter_away = false;
    world.until("alone", |world| !world.process(A).frames().is_empty());
}

#[test]
fn a_stalled_primary_that_wakes_shows_nothing() {
    // The lease: an acknowledgement that waited in a socket gives no right to release.
    let mut world = World::pair();
    world.run_for(ms(50));
    world.delay = ms(1);
    world.frame(A, b"e1");
    world.frame(A, b"w\x07");
    world.run_for(Span::from_us(1500));
    world.processes[A].stopped = true; // SIGSTOP: the acknowledgement is on its way
    world.until("live", |world| world.process(B).live.is_some());
    world.run_for(ms(100));
    assert_eq!(world.process(B).frames().len(), 1);
    world.processes[A].stopped = false;
    world.run_for(ms(2000));
    assert!(world.process(A).shown.is_empty());
    assert!(world.process(A).disk_log.is_empty());
    assert!(matches!(world.process(A).halted, Some(Halt::Lost(_))));
}

#[test]
fn lost_heartbeats_alone_are_no_failure_and_live_ones_do_not_hide_one_for_ever() {
    // FT 2.3-d, 2-g.
    let mut world = World::pair();
    world.heartbeats_lost = true;
    world.run_for(ms(2000));
    assert_eq!(world.process(B).role(), RoleName::Backup);
    assert!(world.process(A).heartbeats >= 4);
    world.heartbeats_lost = false;
    world.run_for(ms(300));
    world.cut_from = vec![true; 2];
    world.run_for(ms(9_000));
    assert_eq!(world.process(B).role(), RoleName::Backup, "a link may be slow");
    world.until("suspicion", |world| {
        world.process(B).node.metrics().suspicion.is_some()
    });
    let suspicion = |side: usize| world.process(side).node.metrics().suspicion;
    assert!([A, B].map(suspicion).contains(&Some(Suspicion::LinkSilence)));
}

#[test]
fn heartbeats_keep_a_pair_together_while_the_link_stands_still() {
    // The path was away for 350 ms of a timeout of 500, and TCP does not resend for another while.
    let timeout = ms(500);
    let options = |owner| PairOptions {
        timeout,
        ..world::options(owner)
    };
    let mut world = World::pair_of(Toy::new(), Toy::new(), options(1), options(2));
    world.run_for(ms(100));
    world.heartbeats_lost = true;
    world.delay = ms(800);
    world.run_for(ms(350));
    world.heartbeats_lost = false;
    world.frame(A, b"ex");
    world.run_for(ms(600));
    assert_eq!(world.process(A).role(), RoleName::Primary);
    assert_eq!(world.process(B).role(), RoleName::Backup);
    assert!(world.process(A).frames().is_empty(), "FT 2.2-c: not acknowledged");
    world.until("the answer", |world| !world.process(A).frames().is_empty());
    assert_eq!(world.process(B).role(), RoleName::Backup);
}

#[test]
fn an_answered_heartbeat_is_a_promise_as_an_acknowledgement_is() {
    // FT 2-h: the answer renewed the primary's lease, so the backup must not be live before that is over.
    let mut world = World::pair();
    world.run_for(ms(100));
    world.delay = ms(60_000);
    world.run_for(ms(600));
    world.deliver(B, Event::LinkLost(PeerId(0)));
    world.run_for(ms(400));
    assert_eq!(world.process(B).role(), RoleName::Claiming);
    assert!(world.process(B).asked.is_empty());
    world.run_for(ms(100));
    assert_eq!(world.process(B).asked.len(), 1);
}

#[test]
fn a_primary_that_leaves_hands_the_vm_over_without_waiting_for_the_lease() {
    let mut world = World::pair();
    world.run_for(ms(50));
    world.frame(A, b"w\x01");
    world.deliver(A, Event::Leave);
    let left = world.now;
    world.until("live", |world| world.process(B).live.is_some());
    assert!(world.now.since(left) < ms(20), "{:?}", world.now.since(left));
    assert_eq!(world.process(A).halted, Some(Halt::Left));
    assert!(world.process(A).asked.is_empty(), "it wants nothing more");
    assert_eq!(world.process(B).node.metrics().suspicion, Some(Suspicion::Left));
    world.frame(B, b"eb");
    world.until("an answer", |world| !world.process(B).frames().is_empty());
}

/// A pair whose primary is told to leave while a write is at its disk, which does not answer.
fn leaving_with_a_write_at_the_disk() -> World {
    let mut world = World::pair();
    world.run_for(ms(50));
    world.disk_away = true;
    world.frame(A, b"w\x01");
    world.until("the write", |world| !world.process(A).disk_log.is_empty());
    world.deliver(A, Event::Leave);
    world
}

#[test]
fn a_primary_does_not_leave_before_its_disks_are_done() {
    let mut world = leaving_with_a_write_at_the_disk();
    world.run_for(ms(1_000));
    assert_eq!(world.process(A).halted, None, "the write could land later");
    world.disk_away = false;
    world.until("live", |world| world.process(B).live.is_some());
    assert_eq!(world.process(A).halted, Some(Halt::Left));
    // FT 3.4-c: the guest has not seen it done, so it is done again.
    world.until("the write again", |world| !world.process(B).disk_log.is_empty());
}

#[test]
fn a_primary_whose_link_breaks_while_it_leaves_lets_the_backup_have_the_vm() {
    let mut world = leaving_with_a_write_at_the_disk();
    world.run_for(ms(10));
    world.heartbeats_lost = true;
    world.reset_link();
    world.until("live", |world| world.process(B).role() == RoleName::Solo);
    world.until("halted", |world| world.process(A).halted.is_some());
    assert!(matches!(world.process(A).halted, Some(Halt::Lost(_))));
}

#[test]
fn ports_that_are_well_do_not_hurry_a_primary_that_leaves() {
    // docs/protocol.md, "Leaving": a backup that lives gets the VM.
    let mut world = leaving_with_a_write_at_the_disk();
    world.heartbeats_lost = true;
    world.reset_link();
    world.until("suspicion", |world| world.process(A).role() == RoleName::Claiming);
    // The host says so every 100 ms.
    world.deliver(A, Event::Ports(true));
    world.until("live", |world| world.process(B).role() == RoleName::Solo);
    assert!(world.process(A).asked.is_empty());
}

#[test]
fn a_primary_does_not_leave_the_vm_to_nobody() {
    let mut world = World::pair();
    world.run_for(ms(50));
    world.heartbeats_lost = true;
    world.crash(B);
    world.deliver(A, Event::Leave);
    world.until("alone", |world| world.process(A).role() == RoleName::Solo);
    world.frame(A, b"ex");
    world.until("an answer", |world| !world.process(A).frames().is_empty());
}

#[test]
fn the_side_whose_ports_lead_nowhere_lets_the_other_have_the_vm() {
    for isolated in [A, B] {
        let mut world = World::pair();
        for _ in 0..20 {
            world.run_for(ms(20));
            world.deliver(1 - isolated, Event::Ports(true));
        }
        world.deliver(isolated, Event::Ports(false));
        // Cut so that the one which is isolated asks first if nothing keeps it: the primary, who waits for no
        // lease; or the backup, because the primary hears it for longer.
        world.cut_from[A] = true;
        if isolated == A {
            world.cut_from[B] = true;
        }
        world.heartbeats_lost = true;
        let mut winner = None;
        while winner.is_none() {
            world.run_for(ms(10));
            world.deliver(1 - isolated, Event::Ports(true));
            winner = [A, B]
                .into_iter()
                .find(|side| world.process(*side).role() == RoleName::Solo);
        }
        assert_eq!(winner, Some(1 - isolated));
        world.until("the other halts", |world| {
            world.process(isolated).halted.is_some()
        });
    }
}

#[test]
fn an_isolated_side_goes_on_all_the_same_if_the_other_is_dead() {
    for (isolated, dead) in [(A, B), (B, A)] {
        let mut world = World::pair();
        world.run_for(ms(50));
        world.deliver(isolated, Event::Ports(false));
        world.crash(dead);
        world.heartbeats_lost = true;
        world.until("alone", |world| world.process(isolated).role() == RoleName::Solo);
    }
}

#[test]
fn ports_that_come_back_end_the_wait() {
    let mut world = World::pair();
    world.run_for(ms(50));
    world.deliver(A, Event::Ports(false));
    world.crash(B);
    world.heartbeats_lost = true;
    world.until("suspicion", |world| world.process(A).role() == RoleName::Claiming);
    assert!(world.process(A).asked.is_empty());
    world.deliver(A, Event::Ports(true));
    world.run_for(ms(2));
    assert_eq!(world.process(A).asked.len(), 1);
}

#[test]
fn power_off_ends_the_primary_even_if_the_last_acknowledgement_is_lost() {
    let mut world = World::pair();
    world.run_for(ms(20));
    world.cut_from[B] = true;
    world.heartbeats_lost = true;
    world.deliver(A, Event::Input(Input::Control(Control::PowerOff)));
    world.until("both off", |world| {
        world.processes.iter().all(|side| side.halted.is_some())
    });
    assert_eq!(world.process(A).halted, Some(Halt::Off(PowerState::Off)));
    assert_eq!(world.process(B).live, None, "FT 3.3-a");
}

#[test]
fn the_primarys_death_does_not_lose_a_power_off_nor_the_writes_before_it() {
    let mut world = World::pair();
    world.run_for(ms(20));
    world.cut_from[B] = true;
    world.frame(A, b"w\x01");
    world.frame(A, b"o");
    world.run_for(ms(10));
    assert!(world.process(A).disk_log.is_empty(), "held");
    world.crash(A);
    world.until("off", |world| world.process(B).halted.is_some());
    assert_eq!(world.process(B).halted, Some(Halt::Off(PowerState::Off)));
    assert!(world.disk.contains_key(&1));
    assert_eq!(world.process(B).asked.len(), 1, "it wrote, so it had to ask");
}

#[test]
fn guest_time_follows_host_time_through_a_failover() {
    let mut world = World::pair();
    let begin = world.now;
    world.run_for(ms(300));
    world.crash(A);
    let mut last = 0;
    for _ in 0..200 {
        world.run_for(ms(10));
        let wall = world.process(B).node.guest().mtime() * 100;
        assert!(wall >= last, "time went back");
        last = wall;
    }
    let real = world.now.since(begin).0;
    assert!(real.abs_diff(last) < ms(25).0, "{last} after {real}");
}

#[test]
fn a_side_that_has_suspected_says_nothing_more() {
    // FT 2-h: a late message must not be acknowledged, or the primary's lease would go on.
    let mut world = World::pair();
    world.run_for(ms(50));
    world.arbiter_away = true;
    world.deliver(B, Event::LinkLost(PeerId(0)));
    world.run_for(ms(1));
    let sent = world.process(B).sent;
    world.run_for(ms(300));
    assert!(world.process(A).sent > sent, "the primary has not noticed yet");
    assert_eq!(world.process(B).sent, sent);
}

#[test]
fn a_process_that_is_known_to_be_dead_has_no_lease() {
    // The closed link is usually heard first; the notice may overtake it, and comes more than once.
    for (link_first, expected) in [(true, Suspicion::LinkLost), (false, Suspicion::Ended)] {
        let mut world = World::watched_pair(Notice::Settled);
        world.run_for(ms(50));
        world.frame(A, b"e1");
        world.run_for(ms(5));
        world.disk_away = true;
        world.frame(A, b"w\x03");
        world.until("the write", |world| !world.process(A).disk_log.is_empty());
        world.crash(A);
        world.disk_away = false;
        let died = world.now;
        if link_first {
            world.reset_link();
        }
        for _ in 0..3 {
            world.tell_of_death(A);
        }
        world.until("live", |world| world.process(B).live.is_some());
        assert!(world.now.since(died) < ms(3), "{:?}", world.now.since(died));
        let metrics = world.process(B).node.metrics();
        assert_eq!(metrics.suspicion, Some(expected));
        assert!(metrics.peer_ended_at.is_some());
        assert_eq!(world.process(B).asked.len(), 1);
        // FT 3.4-c: nobody has seen the write done.
        world.until("the write again", |world| !world.process(B).disk_log.is_empty());
        // Whoever is live does not care for notices any more.
        world.tell_of_death(A);
        let shown = world.process(B).frames().len();
        world.frame(B, b"e2");
        world.until("an answer", |world| world.process(B).frames().len() > shown);
        assert_eq!(world.process(B).role(), RoleName::Solo);
    }
}

#[test]
fn a_write_that_may_still_reach_the_disk_is_waited_for_as_long_as_the_lease_lasts() {
    for writes in [true, false] {
        let mut world = World::watched_pair(Notice::Unsettled);
        world.run_for(ms(50));
        world.disk_away = true;
        world.frame(A, if writes { b"w\x03" } else { b"r\x03" });
        world.until("the request", |world| !world.process(A).disk_log.is_empty());
        world.run_for(ms(2));
        world.crash(A);
        let died = world.now;
        world.reset_link();
        world.tell_of_death(A);
        world.disk_away = false;
        world.until("live", |world| world.process(B).live.is_some());
        let waited = world.now.since(died);
        assert_eq!(waited > ms(300), writes, "{waited:?}");
    }
}

#[test]
fn a_notice_of_another_process_or_epoch_or_against_the_operators_wish_is_not_believed() {
    let ended = |epoch, owner| Heartbeat {
        epoch: Epoch(epoch),
        owner,
        beat: Beat::Ended { settled: true },
    };
    let cases = [
        (Notice::Settled, ended(6, 1)),
        (Notice::Settled, ended(8, 1)),
        (Notice::Settled, ended(7, 3)),
        // Its own process has not ended, whatever anybody says.
        (Notice::Settled, ended(7, 2)),
        (Notice::TimeoutOnly, ended(7, 1)),
    ];
    for (notice, said) in cases {
        let mut world = World::watched_pair(notice);
        world.run_for(ms(50));
        world.deliver(B, Event::Heartbeat(PeerId(0), said.encode().to_vec()));
        world.run_for(ms(20));
        assert_eq!(world.process(B).role(), RoleName::Backup, "{said:?}");
        world.crash(A);
        let died = world.now;
        world.reset_link();
        world.deliver(B, Event::Heartbeat(PeerId(0), said.encode().to_vec()));
        world.until("live", |world| world.process(B).live.is_some());
        assert!(world.now.since(died) > ms(300), "{said:?}");
        assert_eq!(world.process(B).node.metrics().peer_ended_at, None);
    }
    assert_eq!(World::pair().process(A).notice, None);
}

#[test]
fn a_primary_does_not_believe_that_it_has_ended_nor_that_its_backup_has() {
    let mut world = World::watched_pair(Notice::Settled);
    world.run_for(ms(50));
    let own = world.process(A).notice.clone().unwrap();
    world.deliver(A, Event::Heartbeat(PeerId(0), own));
    let beat = Beat::Ended { settled: true };
    let (epoch, owner) = (Epoch(7), 2);
    let of_backup = Heartbeat { epoch, owner, beat };
    world.deliver(A, Event::Heartbeat(PeerId(0), of_backup.encode().to_vec()));
    world.run_for(ms(50));
    assert_eq!(world.process(A).role(), RoleName::Primary);
    assert_eq!(world.process(B).role(), RoleName::Backup);
}

#[test]
fn a_side_whose_ports_lead_nowhere_waits_for_nobody_if_the_other_is_dead() {
    let mut world = World::watched_pair(Notice::Settled);
    world.run_for(ms(50));
    world.deliver(B, Event::Ports(false));
    world.crash(A);
    let died = world.now;
    world.reset_link();
    world.run_for(ms(20));
    assert!(world.process(B).asked.is_empty());
    world.tell_of_death(A);
    world.until("live", |world| world.process(B).live.is_some());
    assert!(world.now.since(died) < ms(25));
}

#[test]
fn a_notice_while_the_arbiter_is_away_makes_no_second_winner_and_loses_nothing() {
    let mut world = World::watched_pair(Notice::Settled);
    world.run_for(ms(50));
    world.arbiter_away = true;
    world.crash(A);
    world.reset_link();
    world.tell_of_death(A);
    world.run_for(ms(400));
    assert_eq!(world.process(B).role(), RoleName::Claiming);
    world.arbiter_away = false;
    world.tell_of_death(A);
    world.until("live", |world| world.process(B).live.is_some());
}

#[test]
fn a_guest_that_is_off_stays_off_though_its_primarys_end_is_told_of() {
    let mut world = World::watched_pair(Notice::Settled);
    world.run_for(ms(50));
    world.deliver(A, Event::Input(Input::Control(Control::PowerOff)));
    world.until("the end", |world| world.process(A).halted.is_some());
    world.tell_of_death(A);
    world.until("the end", |world| world.process(B).halted.is_some());
    assert!(matches!(world.process(B).halted, Some(Halt::Off(_))));
    assert!(world.process(B).live.is_none());
}
