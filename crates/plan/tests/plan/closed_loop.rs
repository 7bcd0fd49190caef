//! The planner in a closed loop: hosts and agents die and come back, hosts are drained, requests are refused,
//! clones are slow or fail, people give orders. Whatever happens, each operation ends, nothing goes back and
//! forth, and when it is calm again every VM that can have a backup has one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use messages::time::Span;
use plan::{Cause, Drain, Kind, Operation, Outcome, Power, Protected};

use crate::sample;
use crate::world::{LOOK_MS, World};

/// Looks in which things happen, and looks in which nothing does.
const ROUGH: u64 = 2_400;
const CALM: u64 = 600;
/// Looks after which a VM has a backup on its way, if there is a host for it and no other VM goes first: as
/// long as a request for a reservation may take, and two more.
const PATIENCE: u32 = 22;

/// Runs a world whose hosts have room for every VM.
pub fn run_with_room(seed: u64, course: impl FnOnce(&mut World)) {
    run(seed, |world| {
        for host in &mut world.hosts {
            host.memory_bytes = 24 << 30;
        }
        course(world);
    });
}

/// Runs a world, and gives what happened in it if something is wrong.
fn run(seed: u64, course: impl FnOnce(&mut World)) {
    let mut world = World::new(seed, 3 + (seed % 3) as usize, 2 + (seed / 3 % 4) as usize);
    let result = catch_unwind(AssertUnwindSafe(|| course(&mut world)));
    if let Err(error) = result {
        let from = world.story.len().saturating_sub(60);
        eprintln!("seed {seed}:\n{}", world.story[from..].join("\n"));
        std::panic::resume_unwind(error);
    }
}

pub fn looks(world: &mut World, count: u64) {
    for _ in 0..count {
        world.look();
    }
}

/// Something may happen before the next look.
fn happen(world: &mut World) {
    let host = world.dice.below(world.hosts.len() as u64) as usize;
    let vm = world.dice.below(world.vms.len() as u64) as usize;
    let wall = world.now().wall;
    match world.dice.below(400) {
        0 if world.hosts[host].runs() => {
            let for_ms = world.dice.between(5_000, 240_000);
            world.kill_host(host, for_ms);
        }
        1..=4 => {
            let for_ms = world.dice.between(500, 20_000);
            world.kill_agent(host, for_ms);
        }
        5 => {
            let is_drained = world.hosts[host].draining.is_some();
            let drain = Drain {
                since: wall,
                by: "ada".into(),
            };
            world.hosts[host].draining = (!is_drained).then_some(drain);
            world.tell(format!("drain {}: {}", world.hosts[host].name, !is_drained));
        }
        6..=7 => world.hosts[host].is_net_down = !world.hosts[host].is_net_down,
        8..=14 => begin(world, host, vm),
        15..=16 => {
            let desired = &mut world.vms[vm].desired;
            desired.protected_asked = Some(sample::ada(0));
            desired.protected = match desired.protected {
                Protected::On if vm.is_multiple_of(2) => Protected::Suspended,
                Protected::On => Protected::Off,
                Protected::Suspended | Protected::Off => Protected::On,
            };
            let wanted = desired.protected;
            world.tell(format!("vm{vm} shall be protected: {wanted:?}"));
        }
        17 => {
            let desired = &mut world.vms[vm].desired;
            desired.power_asked.at = wall;
            desired.power = if desired.power == Power::On {
                Power::Paused
            } else {
                Power::On
            };
        }
        _ => {}
    }
}

/// One of the operations that kill nothing.
fn usual(world: &mut World, vm: usize, drawn: u64, to: &plan::HostName) -> Kind {
    let (to, wall) = (to.clone(), world.now().wall);
    let names: Vec<_> = world.hosts.iter().map(|host| host.name.clone()).collect();
    let (owner, member) = match &world.vms[vm].live {
        Some(live) => (live.host, live.member.map(|member| names[member].clone())),
        None => (world.vms[vm].home, None),
    };
    match drawn {
        0..=1 => Kind::Failover {
            from: names[owner].clone(),
            epoch: world.vms[vm].live.as_ref().map_or(u64::MAX, |live| live.epoch),
        },
        2..=3 => Kind::Move { to: to.clone() },
        4 => Kind::MoveBackup {
            from: member,
            to: None,
        },
        5 => Kind::MoveBackup {
            from: member,
            to: Some(to.clone()),
        },
        6 => Kind::Reset,
        7 => Kind::Protect {
            to: (to != names[owner]).then_some(to.clone()),
        },
        8 => {
            world.vms[vm].desired.protected = Protected::Off;
            Kind::Unprotect
        }
        _ => {
            let desired = &mut world.vms[vm].desired;
            let is_off = matches!(desired.power, Power::Off { .. });
            desired.power_asked.at = wall;
            desired.power = if is_off {
                Power::On
            } else {
                Power::Off { hard: true }
            };
            if is_off { Kind::Start } else { Kind::Stop }
        }
    }
}

/// Somebody begins an operation, unless there is one.
fn begin(world: &mut World, host: usize, vm: usize) {
    let to = world.hosts[host].name.clone();
    let names: Vec<_> = world.hosts.iter().map(|host| host.name.clone()).collect();
    let wall = world.now().wall;
    let (owner, member, epoch) = match &world.vms[vm].live {
        Some(live) => (
            live.host,
            live.member.map(|member| names[member].clone()),
            live.epoch,
        ),
        None => (world.vms[vm].home, None, 0),
    };
    if world.vms[vm].operation.is_some() {
        return;
    }
    let kind = match (world.dice.below(12), &member) {
        (10, Some(_)) => Kind::TestFailover {
            from: names[owner].clone(),
            epoch,
        },
        (11, Some(member)) => Kind::TestBackup {
            host: member.clone(),
            epoch,
        },
        (drawn, _) => usual(world, vm, drawn % 10, &to),
    };
    let name = world.vms[vm].name.clone();
    world.hosts[owner].agent.backoff.forgive(&name, &to);
    world.tell(format!("{name}: {kind:?} begins"));
    world.vms[vm].operation = Some(Operation {
        kind,
        since: wall,
        progress: wall,
        is_confirmed: false,
    });
}

/// From here on all hosts and agents run, nothing fails, and each VM shall run with a backup.
fn calm_down(world: &mut World) {
    world.is_rough = false;
    let wall = world.now().wall;
    for host in &mut world.hosts {
        (host.draining, host.is_net_down) = (None, false);
        host.dead_until = host.dead_until.map(|_| 0);
        host.agent_dead_until = host.agent_dead_until.map(|_| 0);
    }
    for vm in &mut world.vms {
        (vm.desired.power, vm.desired.power_asked.at) = (Power::On, wall);
        vm.desired.protected = Protected::On;
    }
    world.tell("it is calm".into());
}

/// Each VM runs, and has a backup if a host could take one.
fn everyone_is_protected(world: &World) -> bool {
    let is_protected = |index: usize| {
        let live = world.vms[index].live.as_ref();
        live.is_some_and(|live| live.member.is_some() || !world.has_fit_host(index))
    };
    (0..world.vms.len()).all(is_protected)
}

/// No VM was handed over for its health too often, or back to a host that failed.
fn nothing_went_back_and_forth(world: &World) {
    for vm in &world.vms {
        for (index, swap) in vm.swaps.iter().enumerate() {
            if swap.cause != Cause::Health {
                continue;
            }
            for before in &vm.swaps[..index] {
                let since = Span(swap.at.0 - before.at.0);
                let is_back = before.from == swap.to && before.cause != Cause::Wanted;
                // A hand-over takes up to a second from its order on.
                assert!(
                    !is_back || since >= Span::from_ms(3_599_000),
                    "{}: back to {}",
                    vm.name,
                    swap.to
                );
                let is_soon = before.cause == Cause::Health && since < Span::from_ms(599_000);
                assert!(!is_soon, "{}: twice in ten minutes", vm.name);
            }
        }
    }
}

#[test]
fn after_all_that_can_happen_every_vm_is_protected_and_every_operation_has_ended() {
    let mut done = 0;
    let count = std::env::var("SEEDS").map_or(40, |count| count.parse().unwrap());
    for seed in 0..count {
        run(seed, |world| {
            looks(world, 40);
            let mut neglected = vec![0; world.vms.len()];
            for _ in 0..ROUGH {
                happen(world);
                world.look();
                for (index, looks) in neglected.iter_mut().enumerate() {
                    *looks = if world.is_neglected(index) { *looks + 1 } else { 0 };
                    assert!(*looks < PATIENCE, "vm{index} lacks its backup");
                }
                for vm in &world.vms {
                    let age = |operation: &Operation| world.now().since_wall(operation.since);
                    let most = Span::from_ms(1_800_000);
                    assert!(
                        vm.operation.as_ref().map(age).is_none_or(|age| age < most),
                        "{}: {:?} does not end",
                        vm.name,
                        vm.operation
                    );
                }
            }
            calm_down(world);
            // Two minutes may pass before a VM that died is started, then those that a host shuns in turn.
            let shunned = shunned_ms(world);
            looks(world, CALM + shunned / LOOK_MS);
            assert!(
                everyone_is_protected(world),
                "not all are protected {shunned} ms and more after it was calm"
            );
            assert!(world.vms.iter().all(|vm| vm.operation.is_none()));
            nothing_went_back_and_forth(world);
            let is_done = |(_, _, outcome): &&(Kind, u64, Outcome)| *outcome == Outcome::Done;
            done += world.outcomes.iter().filter(is_done).count();
            // When all is as it should be, nothing is done any more.
            let before = world.story.len();
            looks(world, 100);
            assert_eq!(world.story.len(), before, "{:?}", world.story.last());
        });
    }
    assert!(done > 200, "only {done} operations came to something");
}

/// For how long agents leave each of the hosts alone for a VM, at most.
fn shunned_ms(world: &World) -> u64 {
    let now = world.now();
    let mut most = 0;
    for vm in &world.vms {
        for agent in &world.hosts {
            for host in &world.hosts {
                let until = agent.agent.backoff.until(now, &vm.name, &host.name);
                most = most.max(until.map_or(0, |until| until.since(now.time).0 / 1_000_000));
            }
        }
    }
    most
}

#[test]
fn a_lost_backup_is_replaced_within_the_time_of_one_clone() {
    for seed in 0..30 {
        run_with_room(seed, |world| {
            world.is_rough = false;
            looks(world, 200);
            assert!(everyone_is_protected(world));
            let host = world.dice.below(world.hosts.len() as u64) as usize;
            world.kill_host(host, 3_600_000);
            // A second to notice, ten for each clone, a few for each request: one VM after the other.
            let count = world.vms.len() as u64;
            looks(world, 6 + count * 32);
            assert!(everyone_is_protected(world));
            let dead = |vm: &crate::world::SimVm| {
                let live = vm.live.as_ref().unwrap();
                live.host == host || live.member == Some(host)
            };
            assert!(!world.vms.iter().any(dead));
        });
    }
}

#[test]
fn two_hosts_take_turns() {
    for seed in 0..20 {
        let mut world = World::new(seed, 2, 2);
        world.is_rough = false;
        for host in &mut world.hosts {
            host.memory_bytes = 24 << 30;
        }
        looks(&mut world, 100);
        assert!(everyone_is_protected(&world));
        let host = world.dice.below(2) as usize;
        world.kill_host(host, 60_000);
        looks(&mut world, 100);
        let has_backup =
            |vm: &crate::world::SimVm| vm.live.as_ref().is_some_and(|live| live.member.is_some());
        assert!(!world.vms.iter().any(has_backup), "there is no other host");
        looks(&mut world, 120);
        assert!(world.vms.iter().all(has_backup), "it is back");
        // A host that is drained keeps the backups, which have nowhere to go, and no VM of its own.
        world.hosts[host].draining = Some(Drain {
            since: world.now().wall,
            by: "ada".into(),
        });
        looks(&mut world, 40);
        let stays = |vm: &crate::world::SimVm| {
            let live = vm.live.as_ref().unwrap();
            live.host != host && live.member == Some(host) && vm.stuck
        };
        assert!(world.vms.iter().all(stays));
    }
}

#[test]
fn a_drained_host_becomes_empty_and_nobody_is_unprotected_meanwhile() {
    for seed in 0..30 {
        run_with_room(seed, |world| {
            world.is_rough = false;
            looks(world, 200);
            let host = world.dice.below(world.hosts.len() as u64) as usize;
            world.hosts[host].draining = Some(Drain {
                since: world.now().wall,
                by: "ada".into(),
            });
            let mut clones_at_once = 0;
            for _ in 0..world.vms.len() * 40 {
                world.look();
                assert!(everyone_is_protected(world));
                let clones = world
                    .vms
                    .iter()
                    .filter_map(|vm| vm.live.as_ref())
                    .filter(|live| live.clone.is_some())
                    .count();
                clones_at_once = clones_at_once.max(clones);
            }
            let facts = world.facts();
            assert!(facts[host].holds.is_empty(), "{:?}", facts[host].holds);
            assert!(clones_at_once <= 1, "one VM at a time");
        });
    }
}

#[test]
fn a_vm_that_cannot_leave_a_drained_host_keeps_no_other_one_there() {
    for seed in 0..20 {
        run_with_room(seed, |world| {
            world.is_rough = false;
            // The smallest one would go first, but nobody may take it.
            world.vms[0].memory_bytes = 1 << 27;
            world.vms[0].desired.protected = Protected::Off;
            looks(world, 200);
            let host = world.vms[0].live.as_ref().unwrap().host;
            world.hosts[host].draining = Some(Drain {
                since: world.now().wall,
                by: "ada".into(),
            });
            let count = world.vms.len() as u64;
            looks(world, count * 40);
            let facts = world.facts();
            let left: Vec<String> = facts[host].holds.keys().map(ToString::to_string).collect();
            assert_eq!(left, ["vm0"]);
            assert!(world.vms[0].stuck);
        });
    }
}

#[test]
fn a_host_whose_network_fails_again_and_again_gets_no_vm_back() {
    let mut count = 0;
    for seed in 0..20 {
        run_with_room(seed, |world| {
            world.is_rough = false;
            looks(world, 200);
            for _ in 0..120 {
                for host in 0..world.hosts.len() {
                    world.hosts[host].is_net_down = world.dice.percent(50);
                }
                looks(world, 20);
            }
            nothing_went_back_and_forth(world);
            count += world.vms.iter().map(|vm| vm.swaps.len()).sum::<usize>();
        });
    }
    assert!(count > 40, "health moves VMs, if only {count} times");
}

#[test]
fn an_operation_goes_on_though_every_agent_is_killed_in_each_of_its_steps() {
    for seed in 0..40 {
        run_with_room(seed, |world| {
            world.is_rough = false;
            looks(world, 200);
            let live = world.vms[0].live.as_ref().unwrap();
            let (owner, member) = (live.host, live.member.unwrap());
            let other = (0..world.hosts.len()).find(|host| *host != owner && *host != member);
            let other = world.hosts[other.unwrap()].name.clone();
            let epoch = live.epoch;
            let kind = match seed % 6 {
                0 => Kind::Failover {
                    from: world.hosts[owner].name.clone(),
                    epoch,
                },
                1 => Kind::Move { to: other },
                2 => Kind::MoveBackup {
                    from: Some(world.hosts[member].name.clone()),
                    to: Some(other),
                },
                3 => Kind::TestFailover {
                    from: world.hosts[owner].name.clone(),
                    epoch,
                },
                4 => Kind::TestBackup {
                    host: world.hosts[member].name.clone(),
                    epoch,
                },
                _ => Kind::Reset,
            };
            let wall = world.now().wall;
            world.vms[0].operation = Some(Operation {
                kind,
                since: wall,
                progress: wall,
                is_confirmed: false,
            });
            // Each agent lives for a few looks at a time, so that it dies after each of the steps.
            for _ in 0..80 {
                for host in 0..world.hosts.len() {
                    world.kill_agent(host, LOOK_MS);
                }
                let lives = world.dice.between(4, 9);
                looks(world, lives);
            }
            assert_eq!(world.vms[0].operation, None);
            assert_eq!(world.outcomes.len(), 1);
            assert_eq!(world.outcomes[0].2, Outcome::Done, "{:?}", world.outcomes[0]);
        });
    }
}
