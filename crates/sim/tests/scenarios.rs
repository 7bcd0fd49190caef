//! One behaviour of a fault-tolerant pair each, by hand: what goes wrong, and what must come of it.
//!
//! A scenario begins with a calm world and strikes it with faults; the checkers watch as they do in drawn
//! worlds. A failing seed becomes a scenario here in the commit that mends it. A scenario must not depend on
//! a draw: change the options instead.

use machine::Control;
use replica::{Epoch, Halt, Node, RoleName, Span, Suspicion, Time};
use sim::{
    Check, HostId, Options, ProcessId, Toy, World,
    cache::Access,
    faults::{Armed, Death, Fault, Trigger},
    process::Life,
    run::RECOVERY,
};

const TIMEOUT: Span = Span::from_ms(100);

/// A calm world whose client has had some answers.
fn world() -> World<Toy> {
    with(Options::calm(1))
}

fn with(options: Options) -> World<Toy> {
    let mut world = World::new(options, 1, None);
    let served = world.run_while(Time(1_000_000_000), |world| world.client().answered() < 3);
    assert!(served);
    assert_eq!(world.role(ProcessId::A), Some(RoleName::Primary));
    assert_eq!(world.role(ProcessId::B), Some(RoleName::Backup));
    world
}

fn ms(ms: u64) -> Span {
    Span::from_ms(ms)
}

/// Until `side` is alone and live; how long it took.
fn until_live(world: &mut World<Toy>, who: ProcessId) -> Span {
    let begin = world.now();
    let done = world.run_while(begin.after(RECOVERY), |world| {
        world.role(who) != Some(RoleName::Solo)
    });
    assert!(done, "{who} does not go live: {:?}", world.violation());
    world.now().since(begin)
}

/// The rest of the life: the client gets its answers, the guest goes off, the oracle agrees.
fn finish(mut world: World<Toy>) -> sim::Outcome {
    let survived = world.live();
    let outcome = world.outcome(survived);
    assert_eq!(outcome.violation, None);
    outcome
}

fn suspicion(world: &World<Toy>, who: ProcessId) -> Option<Suspicion> {
    world.process(who).node.as_ref()?.metrics().suspicion
}

fn halt(world: &World<Toy>, who: ProcessId) -> Option<Halt> {
    match &world.process(who).life {
        Life::Halted(halt) => Some(halt.clone()),
        _ => None,
    }
}

#[test]
fn a_calm_pair_serves_and_ends_together() {
    // FT 2-a, FT 2.2-c, FT 3.3-a: no failover, nothing shown twice, both stop with the guest.
    let mut world = world();
    let survived = world.live();
    assert!(matches!(halt(&world, ProcessId::A), Some(Halt::Off(_))));
    assert!(matches!(halt(&world, ProcessId::B), Some(Halt::Off(_))));
    let outcome = world.outcome(survived);
    assert_eq!(
        (outcome.violation, outcome.live, outcome.repeated),
        (None, None, 0)
    );
}

#[test]
fn the_backup_goes_live_within_the_timeout_of_the_primarys_death_and_a_little() {
    // FT 2.3-b.
    for death in [Death::Process, Death::Host] {
        let mut world = world();
        world.crash(ProcessId::A, death);
        let took = until_live(&mut world, ProcessId::B);
        assert!(took < Span(TIMEOUT.0 + ms(15).0), "{took:?} after {death:?}");
        assert_eq!(finish(world).live, Some(ProcessId::B));
    }
}

#[test]
fn the_primary_goes_on_alone_when_the_backup_dies() {
    // FT 2.3-a. Of this seed's dead host nobody says that it is gone.
    let mut world = with(Options::calm(3));
    world.crash(ProcessId::B, Death::Host);
    until_live(&mut world, ProcessId::A);
    assert_eq!(suspicion(&world, ProcessId::A), Some(Suspicion::Silence));
    let outcome = finish(world);
    assert_eq!((outcome.live, outcome.repeated), (Some(ProcessId::A), 0));
}

#[test]
fn a_cut_link_leaves_exactly_one_of_two_living_sides() {
    // FT 2-h, FT 2.3-e: the split brain that the arbiter is there for.
    for seed in 0..20 {
        let mut world = with(Options::calm(seed));
        world.strike(&Fault::CutAll(ms(10_000)));
        world.run_for(ms(1_000));
        let roles = ProcessId::PAIR.map(|who| world.role(who));
        let live = roles.iter().filter(|role| **role == Some(RoleName::Solo)).count();
        let halted = roles
            .iter()
            .filter(|role| **role == Some(RoleName::Halted))
            .count();
        assert_eq!((live, halted), (1, 1), "seed {seed}: {roles:?}");
        assert_eq!(world.violation(), None);
        finish(world);
    }
}

#[test]
fn a_link_that_is_cut_in_one_direction_is_a_cut_link() {
    for towards in ProcessId::PAIR {
        let mut world = world();
        world.strike(&Fault::Cut(towards, ms(10_000)));
        world.run_for(ms(1_000));
        let live = ProcessId::PAIR
            .iter()
            .filter(|who| world.role(**who) == Some(RoleName::Solo))
            .count();
        assert_eq!(live, 1, "towards {towards}");
        finish(world);
    }
}

#[test]
fn a_short_cut_is_only_a_delay() {
    let mut world = world();
    world.strike(&Fault::CutAll(ms(60)));
    world.run_for(ms(500));
    assert_eq!(world.role(ProcessId::A), Some(RoleName::Primary));
    assert_eq!(finish(world).live, None);
}

#[test]
fn a_primary_that_is_cut_off_shows_nothing_before_it_has_claimed() {
    // FT FAQ: no acknowledgement, no output.
    let mut world = world();
    world.strike(&Fault::CutAll(ms(10_000)));
    world.strike(&Fault::ArbiterAway(ms(10_000)));
    world.run_for(ms(20));
    let before = world.client().answered();
    world.run_for(ms(2_000));
    assert_eq!(world.client().answered(), before);
    assert_eq!(world.role(ProcessId::A), Some(RoleName::Claiming));
    assert_eq!(world.role(ProcessId::B), Some(RoleName::Claiming));
    finish(world);
}

#[test]
fn without_the_arbiter_the_survivor_waits_and_with_it_goes_on() {
    // FT 2.3-e: unreachable is neither won nor lost.
    let mut world = world();
    world.strike(&Fault::ArbiterAway(ms(3_000)));
    world.crash(ProcessId::A, Death::Host);
    world.run_for(ms(2_500));
    assert_eq!(world.role(ProcessId::B), Some(RoleName::Claiming));
    until_live(&mut world, ProcessId::B);
    finish(world);
}

#[test]
fn sides_that_see_different_arbiters_do_not_split() {
    // FT 2.3-e. B's arbiter has never heard of the pair: what it grants is worth nothing.
    for seed in 0..20 {
        let mut options = Options::calm(seed);
        options.arbiter.apart = true;
        options.unsafe_for = ms(4_000);
        let mut world = with(options);
        world.strike(&Fault::CutAll(ms(10_000)));
        until_live(&mut world, ProcessId::A);
        world.run_for(ms(2_000));
        assert_eq!(world.role(ProcessId::B), Some(RoleName::Claiming), "seed {seed}");
        // Once its path leads to the arbiter of the pair again, B hears that it has lost.
        assert_eq!(finish(world).live, Some(ProcessId::A), "seed {seed}");
    }
}

#[test]
fn a_backup_whose_arbiter_is_another_one_waits_until_it_is_the_right_one_again() {
    let mut options = Options::calm(6);
    options.arbiter.apart = true;
    let mut world = with(options);
    world.crash(ProcessId::A, Death::Host);
    world.run_for(ms(2_500));
    assert_eq!(world.role(ProcessId::B), Some(RoleName::Claiming));
    assert_eq!(finish(world).live, Some(ProcessId::B));
}

#[test]
fn an_answer_that_is_lost_after_the_claim_took_effect_is_asked_for_again() {
    let mut options = Options::calm(5);
    options.arbiter.lost_permille = 700;
    let mut world = with(options);
    world.crash(ProcessId::A, Death::Process);
    world.run_for(ms(100));
    until_live(&mut world, ProcessId::B);
    finish(world);
}

#[test]
fn a_primary_that_stood_still_wakes_up_and_does_no_harm() {
    // The lease, and the disk's epoch: the sleeper believes that nothing has happened.
    for seed in 0..50 {
        let mut world = with(Options::calm(seed));
        world.stall(ProcessId::A, ms(500));
        until_live(&mut world, ProcessId::B);
        world.run_for(ms(1_000));
        assert_eq!(world.violation(), None, "seed {seed}");
        assert_eq!(
            halt(&world, ProcessId::A),
            Some(Halt::Lost(Epoch(2))),
            "seed {seed}"
        );
        finish(world);
    }
}

#[test]
fn a_primary_that_stood_still_with_an_action_in_its_hand_carries_it_out_in_vain() {
    // Between the look at the clock and the system call: late outputs are duplicates, late writes are
    // refused.
    for number in 1..250 {
        let stall = Fault::Stall(ProcessId::A, ms(400));
        let armed = Armed {
            who: ProcessId::A,
            trigger: Trigger::Action(number),
            fault: stall,
        };
        let options = Options {
            armed: vec![armed],
            unsafe_for: ms(700),
            ..Options::calm(number)
        };
        let outcome = sim::run::run::<Toy>(options, number, None);
        assert_eq!(outcome.violation, None, "action {number}");
        assert_eq!(outcome.live, Some(ProcessId::B), "action {number}");
    }
}

#[test]
fn a_backup_that_stood_still_finds_that_life_went_on() {
    let mut world = world();
    world.stall(ProcessId::B, ms(500));
    until_live(&mut world, ProcessId::A);
    world.run_for(ms(1_000));
    assert_eq!(halt(&world, ProcessId::B), Some(Halt::Lost(Epoch(2))));
    finish(world);
}

#[test]
fn a_stall_of_both_sides_ends_in_one_survivor_or_none_too_many() {
    for seed in 0..50 {
        let mut world = with(Options::calm(seed));
        world.stall(ProcessId::A, ms(300 + seed));
        world.stall(ProcessId::B, ms(300 + 50 - seed));
        world.run_for(ms(2_000));
        assert_eq!(world.violation(), None, "seed {seed}");
        finish(world);
    }
}

#[test]
fn lost_heartbeats_alone_are_no_failure() {
    // A false alarm of the datagrams: the link still talks.
    let mut world = world();
    world.strike(&Fault::HeartbeatsLost(ms(5_000)));
    world.run_for(ms(2_000));
    assert_eq!(world.role(ProcessId::A), Some(RoleName::Primary));
    assert_eq!(world.role(ProcessId::B), Some(RoleName::Backup));
    assert_eq!(finish(world).live, None);
}

#[test]
fn heartbeats_bridge_a_link_that_is_slow_but_are_no_life_of_their_own() {
    let mut world = world();
    for who in ProcessId::PAIR {
        world.strike(&Fault::LinkStuck(who, ms(60_000)));
    }
    world.run_for(ms(9_000));
    assert_eq!(world.role(ProcessId::A), Some(RoleName::Primary));
    world.run_for(ms(3_000));
    let winner = ProcessId::PAIR
        .into_iter()
        .find(|who| world.role(*who) == Some(RoleName::Solo))
        .unwrap();
    assert_eq!(suspicion(&world, winner), Some(Suspicion::LinkSilence));
    finish(world);
}

#[test]
fn an_outage_of_seven_tenths_of_the_timeout_is_only_a_delay() {
    for seed in 0..50 {
        let mut options = Options::calm(seed);
        options.timeout = ms(500);
        let mut world = with(options);
        world.strike(&Fault::CutAll(ms(350)));
        world.run_for(ms(2_000));
        assert_eq!(world.role(ProcessId::A), Some(RoleName::Primary), "seed {seed}");
        assert_eq!(finish(world).live, None);
    }
}

#[test]
fn a_primary_that_is_told_to_leave_is_followed_at_once() {
    for seed in 0..20 {
        let mut world = with(Options::calm(seed));
        world.strike(&Fault::Leave(ProcessId::A));
        let took = until_live(&mut world, ProcessId::B);
        assert!(took < ms(20), "seed {seed}: {took:?}");
        assert_eq!(halt(&world, ProcessId::A), Some(Halt::Left));
        assert_eq!(suspicion(&world, ProcessId::B), Some(Suspicion::Left));
        assert_eq!(finish(world).live, Some(ProcessId::B));
    }
}

#[test]
fn a_primary_that_is_cut_off_while_it_leaves_lets_the_backup_have_the_vm() {
    for seed in 0..40 {
        let mut world = with(Options::calm(seed));
        world.run_for(ms(100));
        world.strike(&Fault::CutAll(ms(10_000)));
        world.strike(&Fault::Leave(ProcessId::A));
        until_live(&mut world, ProcessId::B);
        world.run_for(ms(1_000));
        let halt = halt(&world, ProcessId::A);
        assert!(matches!(halt, Some(Halt::Lost(_))), "seed {seed}: {halt:?}");
        finish(world);
    }
}

#[test]
fn the_side_whose_ports_lead_nowhere_loses_the_vm_to_the_other() {
    for seed in 0..40 {
        let [isolated, other] = if seed % 2 == 0 {
            [ProcessId::A, ProcessId::B]
        } else {
            [ProcessId::B, ProcessId::A]
        };
        let mut world = with(Options::calm(seed));
        world.run_for(ms(100));
        world.strike(&Fault::PortsLost(isolated, ms(10_000)));
        world.strike(&Fault::CutAll(ms(10_000)));
        until_live(&mut world, other);
        world.run_for(ms(1_000));
        assert!(
            matches!(halt(&world, isolated), Some(Halt::Lost(_))),
            "seed {seed}"
        );
        finish(world);
    }
}

#[test]
fn two_sides_that_both_lead_nowhere_still_decide() {
    let mut world = world();
    for who in ProcessId::PAIR {
        world.strike(&Fault::PortsLost(who, ms(1_000)));
    }
    world.strike(&Fault::CutAll(ms(10_000)));
    world.run_for(ms(2_000));
    let live = ProcessId::PAIR
        .iter()
        .filter(|who| world.role(**who) == Some(RoleName::Solo));
    assert_eq!(live.count(), 1);
    finish(world);
}

#[test]
fn a_reset_link_is_noticed_at_once() {
    for seed in 0..20 {
        let mut world = with(Options::calm(seed));
        world.strike(&Fault::Reset);
        world.run_for(ms(600));
        let live = ProcessId::PAIR
            .iter()
            .filter(|who| world.role(**who) == Some(RoleName::Solo))
            .count();
        assert_eq!(live, 1, "seed {seed}");
        finish(world);
    }
}

#[test]
fn a_disk_that_is_away_loses_nothing() {
    // FT 3.4-c, with the failover in the middle of the outage.
    let mut world = world();
    world.strike(&Fault::DiskAway(ms(1_000)));
    world.run_for(ms(50));
    world.crash(ProcessId::A, Death::Host);
    until_live(&mut world, ProcessId::B);
    world.run_for(ms(1_500));
    let answered = world.client().answered();
    world.run_for(ms(500));
    assert!(world.client().answered() > answered);
    finish(world);
}

/// Of twenty lives in which this happens, how many lose what their guest was told is on the disk.
fn losses(access: Access, fault: &Fault) -> usize {
    let loses = |seed: &u64| {
        let mut options = Options::calm(*seed);
        options.storage.caches.access = access;
        let mut world = with(options);
        world.strike(fault);
        world.live();
        match world.violation() {
            None => false,
            Some(violation) => {
                assert_eq!(violation.check, Check::Durability, "seed {seed}: {violation:?}");
                true
            }
        }
    };
    (0..20).filter(loses).count()
}

#[test]
fn a_host_that_dies_with_its_page_cache_takes_nothing_along_that_was_completed() {
    // docs/decisions/0050. A pair whose disk is buffered by the hosts loses, so there was something to be
    // lost.
    let fault = Fault::Crash(ProcessId::A, Death::Host);
    assert_eq!(losses(Access::Direct, &fault), 0);
    assert_eq!(losses(Access::Synchronous, &fault), 0);
    assert!(losses(Access::Buffered, &fault) > 0);
}

#[test]
fn a_power_cut_of_everything_takes_nothing_along_that_was_flushed() {
    // docs/decisions/0050. Here a buffered disk is as good as another: nobody lives who could miss what was
    // not flushed.
    for access in [Access::Direct, Access::Synchronous, Access::Buffered] {
        assert_eq!(losses(access, &Fault::PowerCut), 0, "{access:?}");
    }
}

#[test]
fn a_flush_that_fails_costs_nothing_that_is_not_in_a_page_cache() {
    // docs/decisions/0051.
    let fault = Fault::FlushFails(ProcessId::A);
    assert_eq!(losses(Access::Direct, &fault), 0);
    assert_eq!(losses(Access::Synchronous, &fault), 0);
    assert!(losses(Access::Buffered, &fault) > 0);
}

#[test]
fn an_operators_power_off_stops_both_sides_and_neither_goes_live() {
    // FT 3.3-a.
    let mut world = world();
    world.strike(&Fault::Operator(Control::PowerOff));
    world.run_for(ms(100));
    for who in ProcessId::PAIR {
        assert!(matches!(halt(&world, who), Some(Halt::Off(_))), "{who}");
    }
    assert_eq!(finish(world).live, None);
}

#[test]
fn a_power_off_that_races_with_a_crash_happens_once_or_is_asked_for_again() {
    let mut off = 0;
    for us in (0..4_000).step_by(40) {
        for death in [Death::Process, Death::Host] {
            let mut world = with(Options::calm(9));
            world.strike(&Fault::Operator(Control::PowerOff));
            world.run_for(Span::from_us(us));
            world.crash(ProcessId::A, death);
            world.run_for(ms(400));
            assert_eq!(world.violation(), None, "{us} us, {death:?}");
            off += u64::from(matches!(halt(&world, ProcessId::B), Some(Halt::Off(_))));
            finish(world);
        }
    }
    assert!(off > 10, "the race is never won");
}

#[test]
fn a_backup_that_is_far_too_slow_is_dropped_though_it_catches_up_now_and_then() {
    // FT 3.2-e. The primary stands until the backup has caught up, runs, stands again: without a memory
    // of that, the guest would crawl at the backup's speed for ever.
    for seed in 2..8 {
        let mut options = Options::calm(seed);
        options.hosts[0].speed = 200;
        options.hosts[1].speed = 1;
        options.think = Span::from_us(100);
        let mut world = World::<Toy>::new(options, seed, None);
        let took = until_live(&mut world, ProcessId::A);
        assert_eq!(
            suspicion(&world, ProcessId::A),
            Some(Suspicion::Slow),
            "seed {seed}"
        );
        assert!((ms(10_000)..ms(25_000)).contains(&took), "seed {seed}: {took:?}");
        finish(world);
    }
}

#[test]
fn a_backup_that_leaves_the_guest_a_third_of_its_speed_is_dropped_after_a_minute_and_nobody_stands() {
    // FT 3.2-e. Such a backup follows all the time, so the guest would crawl for ever.
    let mut options = Options::calm(3);
    options.hosts[0].speed = 30;
    options.hosts[1].speed = 5;
    options.think = Span::from_us(100);
    let mut world = World::<Toy>::new(options, 3, None);
    let begin = world.now();
    let done = world.run_while(begin.after(ms(90_000)), |world| {
        // In any other role than these two the guest would stand.
        world.role(ProcessId::A) == Some(RoleName::Primary)
    });
    assert!(done, "{:?}", world.violation());
    let took = world.now().since(begin);
    assert!((ms(60_000)..ms(90_000)).contains(&took), "{took:?}");
    assert_eq!(world.role(ProcessId::A), Some(RoleName::Solo));
    assert_eq!(suspicion(&world, ProcessId::A), Some(Suspicion::Slow));
    let metrics = world.process(ProcessId::A).node.as_ref().map(Node::metrics);
    assert_eq!(
        metrics.map(|metrics| metrics.stalled),
        Some(Span(0)),
        "it never stood"
    );
    finish(world);
}

#[test]
fn a_backup_that_is_dead_while_the_arbiter_is_away_costs_only_time() {
    let mut world = world();
    world.strike(&Fault::ArbiterAway(ms(1_000)));
    world.crash(ProcessId::B, Death::Process);
    world.run_for(ms(900));
    assert_eq!(world.role(ProcessId::A), Some(RoleName::Claiming));
    until_live(&mut world, ProcessId::A);
    assert_eq!(finish(world).repeated, 0);
}

/// A calm world whose pair runs on one host.
fn on_one_host(seed: u64, access: Access) -> World<Toy> {
    let mut options = Options::calm(seed);
    options.homes = [HostId(0); 2];
    options.storage.caches.access = access;
    with(options)
}

#[test]
fn a_pair_on_one_host_survives_the_death_of_a_process() {
    // Both have the disk open through one page cache, which the living one goes on using.
    for access in [Access::Direct, Access::Synchronous, Access::Buffered] {
        for seed in 0..20 {
            let mut world = on_one_host(seed, access);
            world.crash(ProcessId::A, Death::Process);
            until_live(&mut world, ProcessId::B);
            assert_eq!(finish(world).live, Some(ProcessId::B), "seed {seed}, {access:?}");
        }
    }
}

#[test]
fn a_host_that_dies_takes_all_its_processes_along() {
    let mut world = on_one_host(1, Access::Direct);
    world.crash(ProcessId::B, Death::Host);
    for who in ProcessId::PAIR {
        assert_eq!(world.process(who).life, Life::Crashed, "{who}");
    }
    assert!(!finish(world).survived);
}

#[test]
fn both_sides_dead_is_the_end_and_nothing_worse() {
    let mut world = world();
    world.crash(ProcessId::A, Death::Host);
    world.run_for(ms(50));
    world.crash(ProcessId::B, Death::Host);
    world.run_for(ms(2_000));
    let outcome = finish(world);
    assert!(!outcome.survived);
}
