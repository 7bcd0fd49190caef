//! A guest that is protected again after each failover, on another host, as often as hosts last.
//!
//! The keeper has processes join the guest while it runs (`crates/sim/src/protecting.rs`); here hosts and
//! processes die in turn. The checkers watch over all lives: the outside sees one uninterrupted run.
//! `sim life toy N` runs more of the drawn ones.

use replica::{Epoch, RoleName, Span, limits};
use sim::{
    HostId, Options, ProcessId, Toy, World,
    cache::Access,
    faults::{Death, Fault},
    keeper::KeeperOptions,
    process::Life,
    run::{self, RECOVERY},
    subject::Subject,
};

fn ms(ms: u64) -> Span {
    Span::from_ms(ms)
}

/// The options of a calm world of so many hosts with a keeper.
fn kept(seed: u64, hosts: usize) -> Options {
    let mut options = Options::calm(seed);
    options.hosts = vec![options.hosts[0]; hosts];
    options.keeper = Some(KeeperOptions::default());
    // What a test does is all that goes wrong: the rest of the life begins healed.
    options.unsafe_for = ms(0);
    options
}

fn world<G: Subject<Config = u64>>(seed: u64, hosts: usize) -> World<G> {
    World::new(kept(seed, hosts), seed, None)
}

fn until<G: Subject>(world: &mut World<G>, what: &str, holds: impl Fn(&World<G>) -> bool) {
    let limit = world.now().after(RECOVERY);
    let done = world.run_while(limit, |world| !holds(world));
    assert!(done, "not {what}: {:?}", world.violation());
}

/// The guest is protected, and the client has had two more answers.
fn until_protected<G: Subject>(world: &mut World<G>) {
    until(world, "protected", World::is_protected);
    let goal = world.client().answered() + 2;
    until(world, "served", |world| world.client().answered() >= goal);
}

/// The process where the guest lives dies, and another one goes live.
fn fail_over<G: Subject>(world: &mut World<G>, death: Death) {
    let dead = world.owner();
    world.crash(dead, death);
    until(world, "live", |world| world.owner() != dead);
}

#[test]
fn ten_hosts_die_one_after_another_and_the_client_sees_one_run() {
    for seed in 0..5 {
        let mut world = world::<Toy>(seed, 3);
        for failover in 0..10 {
            until_protected(&mut world);
            let host = world.process(world.owner()).host;
            fail_over(&mut world, Death::Host);
            assert_eq!(world.process(world.owner()).epoch, Epoch(failover + 2));
            world.strike(&Fault::Return(host));
        }
        until_protected(&mut world);
        assert_eq!(world.owner().to_string(), "K", "seed {seed}");
        let survived = world.live();
        let outcome = world.outcome(survived);
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert_eq!((survived, outcome.failovers), (true, 10), "seed {seed}");
    }
}

#[test]
fn a_guest_lives_on_whichever_half_dies_and_however_its_disk_is_opened() {
    for access in [Access::Direct, Access::Synchronous] {
        for seed in 0..20 {
            let mut options = kept(seed, 3);
            options.storage.caches.access = access;
            let mut world = World::<Toy>::new(options, seed, None);
            for death in 0..6 {
                until_protected(&mut world);
                let (owner, backup) = (world.owner(), newest(&world));
                if (seed >> death) & 1 == 0 {
                    fail_over(&mut world, Death::Process);
                } else {
                    world.crash(backup, Death::Process);
                    until(&mut world, "alone", |world| {
                        world.role(owner) == Some(RoleName::Solo)
                    });
                }
            }
            let survived = world.live();
            let outcome = world.outcome(survived);
            assert_eq!(outcome.violation, None, "seed {seed}, {access:?}");
            assert_eq!((survived, outcome.failovers), (true, 6), "seed {seed}");
        }
    }
}

/// The process that was started last.
fn newest<G: Subject>(world: &World<G>) -> ProcessId {
    let started = world.outcome(true).actions.len();
    ProcessId::nth(started - 1)
}

#[test]
fn without_another_host_the_guest_runs_alone_until_one_returns() {
    let mut world = world::<Toy>(1, 2);
    until_protected(&mut world);
    fail_over(&mut world, Death::Host);
    world.run_for(ms(1_000));
    assert_eq!(world.role(world.owner()), Some(RoleName::Solo));
    world.strike(&Fault::Return(HostId(0)));
    until_protected(&mut world);
    assert_eq!(world.process(ProcessId::nth(2)).host, HostId(0));
    assert_eq!(
        world.process(ProcessId::A).life,
        Life::Crashed,
        "a dead process stays dead"
    );
    assert!(world.live());
    assert_eq!(world.violation(), None);
}

#[test]
fn two_hundred_drawn_lives_keep_all_rules() {
    let mut longest = 0;
    for seed in 0..200 {
        let outcome = run::run::<Toy>(Options::draw_life(seed), seed, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        longest = longest.max(outcome.failovers);
    }
    assert!(longest >= 5, "no life has more than {longest} failovers");
}

#[test]
fn a_guest_that_is_copied_slowly_does_not_stand() {
    // FT 3.1-a: a page takes more than a millisecond to be sent.
    for seed in 0..5 {
        let mut options = Options::calm_life(seed);
        if let Some(keeper) = &mut options.keeper {
            keeper.bulk.bytes_per_ms = 100;
            keeper.room = 64;
        }
        let outcome = run::run::<Toy>(options, seed, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert!(outcome.guarded >= 1, "{outcome:?}");
    }
}

#[test]
fn a_host_that_is_far_too_slow_is_given_up_in_time_for_another_one() {
    // It may be chosen first, and comes no closer however slowly the guest runs: 55 seconds for nothing.
    let in_vain = limits::CATCH_UP_IN_VAIN;
    let mut options = kept(0, 3);
    options.hosts[0].speed = 1;
    options.think = Span::from_us(100);
    options.typing = Some(ms(1));
    if let Some(keeper) = &mut options.keeper {
        keeper.room = 103;
        keeper.bulk.latency = (ms(1), ms(5));
    }
    let mut world = World::<Toy>::new(options, 0, None);
    world.run_for(ms(50));
    fail_over(&mut world, Death::Process);
    let begin = world.now();
    let limit = begin.after(run::CLONING);
    assert!(world.run_while(limit, |world| !world.is_protected()));
    let took = world.now().since(begin);
    let latest = Span(in_vain.0 + ms(2_000).0);
    assert!((in_vain..latest).contains(&took), "{took:?}");
    let survived = world.live();
    let outcome = world.outcome(survived);
    assert_eq!(outcome.violation, None);
    assert_eq!((outcome.clones, outcome.guarded), (2, 1));
}
