//! A guest that a site of agents looks after, one on each host, which think with the crate `plan` as real
//! ones do (`crates/toy-site`). `sim agents toy N` runs more of the drawn worlds.

use replica::{RoleName, Span};
use sim::{
    HostId, Options, Toy, World,
    faults::{Death, Fault},
    keeper::KeeperOptions,
    run::{self, RECOVERY},
};
use toy_site::{Mishap, SiteOptions};

/// A calm world of so many hosts, each with an agent.
fn world(seed: u64, hosts: usize) -> World<Toy> {
    let mut options = Options::calm(seed);
    options.hosts = vec![options.hosts[0]; hosts];
    options.keeper = Some(KeeperOptions::default());
    options.site = Some(SiteOptions::calm(vec![100; hosts]));
    // What a test does is all that goes wrong, so nothing is healed before its end.
    options.unsafe_for = Span::from_ms(60_000);
    World::new(options, seed, None)
}

fn until(world: &mut World<Toy>, what: &str, holds: impl Fn(&World<Toy>) -> bool) {
    let limit = world.now().after(RECOVERY);
    let done = world.run_while(limit, |world| !holds(world));
    assert!(done, "not {what}: {:?}", world.violation());
}

fn hosts_of(world: &World<Toy>) -> Vec<HostId> {
    let count = world.outcome(true).actions.len();
    let processes = (0..count).map(|number| world.process(sim::ProcessId::nth(number)));
    let alive = processes.filter(|process| process.is_alive());
    alive.map(|process| process.host).collect()
}

fn strike(world: &mut World<Toy>, mishap: Mishap) {
    world.strike(&Fault::Site(mishap));
}

#[test]
fn a_guest_is_protected_again_by_agents_after_each_death_of_a_host() {
    for seed in 0..5 {
        let mut world = world(seed, 4);
        for _ in 0..5 {
            until(&mut world, "protected", World::is_protected);
            let owner = world.owner();
            let host = world.process(owner).host;
            world.crash(owner, Death::Host);
            until(&mut world, "live", |world| world.owner() != owner);
            world.strike(&Fault::Return(host));
        }
        until(&mut world, "protected", World::is_protected);
        assert_eq!(world.violation(), None, "seed {seed}");
    }
}

#[test]
fn a_host_that_is_drained_becomes_empty_though_its_agent_dies_meanwhile() {
    for seed in 0..5 {
        let mut world = world(seed, 3);
        world.run_for(Span::from_ms(50));
        let home = world.process(world.owner()).host;
        strike(&mut world, Mishap::Drain(home.0));
        strike(&mut world, Mishap::AgentDies(home.0, Span::from_ms(5)));
        until(&mut world, "empty", |world| !hosts_of(world).contains(&home));
        until(&mut world, "protected", World::is_protected);
        assert_eq!(world.violation(), None, "seed {seed}");
    }
}

#[test]
fn a_vm_that_shall_have_no_backup_has_none_until_somebody_wants_one_again() {
    let mut world = world(3, 3);
    world.run_for(Span::from_ms(20));
    strike(&mut world, Mishap::Unprotect(Span::from_ms(400)));
    until(&mut world, "alone", |world| {
        world.role(world.owner()) == Some(RoleName::Solo)
    });
    world.run_for(Span::from_ms(200));
    assert_eq!(world.role(world.owner()), Some(RoleName::Solo));
    until(&mut world, "protected", World::is_protected);
    assert_eq!(world.violation(), None);
}

#[test]
fn a_vm_is_moved_where_somebody_wants_it_though_the_store_is_away_when_it_was_read() {
    let mut world = world(4, 4);
    world.run_for(Span::from_ms(50));
    strike(&mut world, Mishap::Move(3));
    world.run_for(Span::from_ms(10));
    for host in 0..4 {
        strike(&mut world, Mishap::StoreAway(host, Span::from_ms(200)));
    }
    until(&mut world, "there", |world| {
        world.process(world.owner()).host == HostId(3)
    });
    until(&mut world, "protected", World::is_protected);
    assert_eq!(world.violation(), None);
}

#[test]
fn two_hundred_drawn_worlds_with_agents_keep_all_rules() {
    let (mut guarded, mut moved) = (0, 0);
    for seed in 0..200 {
        let outcome = run::run::<Toy>(Options::draw_kept_by_agents(seed), seed, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        guarded += outcome.guarded;
        moved += outcome.hand_overs + outcome.replacements;
    }
    assert!(guarded > 80 && moved > 30, "{guarded} members, {moved} moves");
}
