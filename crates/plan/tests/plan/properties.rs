//! What holds whatever is wanted and seen, however little sense it makes: an agent that is told nonsense must
//! not give an order that hurts, and a face must not be green without news.

use std::collections::BTreeMap;

use messages::time::{Span, Time};
use plan::{
    Action, Backoff, Cause, Decision, Drain, End, Ended, Failures, Given, Health, Held, Host, HostName, Kind,
    Need, Operation, Ownership, Power, Prepared, Process, Protected, Reset, Sign, Silence, Site, Swap, View,
    Vm, Watch, Why, face, judge, placement_of, plan,
};
use proptest::prelude::*;
use report::{FlagWord, GuestWord, PhaseWord, Reason, RoleWord, StateWord};

use crate::sample::{ada, at, clone, host, name, nothing_seen, process, site, vm, vm_name};
use crate::world::Dice;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const ROLES: [RoleWord; 7] = [
    RoleWord::Solo,
    RoleWord::Primary,
    RoleWord::Apprentice,
    RoleWord::Backup,
    RoleWord::Claiming,
    RoleWord::Handing,
    RoleWord::Halted,
];

/// Bytes from which a world is made: where they end, all is as it should be.
struct Tape<'a>(std::slice::Iter<'a, u8>);

impl Tape<'_> {
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % bound
    }

    /// Is it so, though it is not so in one of `of` worlds but one?
    fn rarely(&mut self, of: usize) -> bool {
        self.below(of) == of - 1
    }

    fn host(&mut self) -> HostName {
        name(NAMES[self.below(NAMES.len())])
    }

    fn ms(&mut self, most: u64) -> u64 {
        self.below(256) as u64 * most / 255
    }
}

fn some_host(tape: &mut Tape<'_>, which: &str) -> Host {
    let mut it = host(which, at(1_000));
    if tape.rarely(8) {
        it.heard = Some(Time(it.heard.unwrap().0 - tape.ms(20_000) * 1_000_000));
    }
    if tape.rarely(6) {
        it.draining = Some(Drain {
            since: at(0).wall,
            by: "ada".into(),
        });
    }
    if tape.rarely(8) {
        it.free_bytes = tape.ms(2_000) << 20;
    }
    if tape.rarely(8) {
        it.networks.clear();
    }
    if tape.rarely(8) {
        it.storages.clear();
    }
    if tape.rarely(8) {
        it.models.clear();
    }
    // The owner's host is as fast as the others should be.
    if which != "a" && tape.rarely(4) {
        it.steps_per_second = tape.ms(1_500) * 1_000_000;
    }
    it.protected = tape.below(9) as u32;
    for other in ["aaa", "shop", "zzz"] {
        if tape.rarely(3) {
            let held = Held {
                memory_bytes: tape.ms(1_000) << 20,
                controller: tape.host(),
                stuck: tape.rarely(2),
            };
            it.holds.insert(vm_name(other), held);
        }
    }
    it
}

fn some_process(tape: &mut Tape<'_>) -> Process {
    let role = match tape.below(3) {
        0 => ROLES[tape.below(ROLES.len())],
        _ => ROLES[tape.below(3).min(1)],
    };
    let peer = NAMES[1 + tape.below(3)];
    let has_peer = role != RoleWord::Solo;
    let mut it = process(role, has_peer.then_some(peer));
    if tape.rarely(10) {
        it.role = None;
    }
    if tape.rarely(10) {
        it.guest = GuestWord::Off;
    }
    let phases = [
        PhaseWord::Connecting,
        PhaseWord::Copying,
        PhaseWord::CatchingUp,
        PhaseWord::Arming,
    ];
    if tape.rarely(8) {
        it.clone = Some(clone(NAMES[tape.below(NAMES.len())], phases[tape.below(4)]));
    }
    it.is_paused = tape.rarely(12);
    it.is_dismissing = tape.rarely(12);
    it.is_swapping = tape.rarely(12);
    it.has_snapshot = tape.rarely(8);
    it.can_have_backup = !tape.rarely(8);
    it.has_power_button = tape.rarely(3);
    it.epoch = tape.below(4) as u64;
    it.first_epoch = (!tape.rarely(4)).then(|| tape.below(4) as u64);
    if tape.rarely(3) {
        it.protection.reasons.clear();
    }
    if tape.rarely(5) {
        it.protection.flags.push(FlagWord::Behind);
        it.protection
            .reasons
            .push(Reason::new("behind", "it is far behind"));
    }
    if tape.rarely(5) {
        it.panic = Some("Kernel panic".into());
    }
    if tape.rarely(5) {
        it.output_delay = Some(Span::from_ms(tape.ms(40)));
    }
    it
}

fn some_view(tape: &mut Tape<'_>, host: HostName) -> View {
    View {
        host,
        process: some_process(tape),
        age: Span::from_ms(if tape.rarely(6) { tape.ms(8_000) } else { 0 }),
    }
}

fn some_operation(tape: &mut Tape<'_>) -> Option<Operation> {
    let (one, other) = (tape.host(), name(NAMES[1 + tape.below(4)]));
    let is_named = tape.rarely(3);
    let kind = match tape.below(14) {
        0 | 1 => return None,
        2 => Kind::Failover {
            from: one,
            epoch: u64::MAX,
        },
        3 => Kind::Move { to: other },
        12 => Kind::TestFailover { from: one, epoch: 1 },
        13 => Kind::TestBackup { host: one, epoch: 1 },
        4 | 10 | 11 => Kind::MoveBackup {
            from: Some(one),
            to: is_named.then_some(other),
        },
        5 => Kind::Reset,
        6 => Kind::Start,
        7 => Kind::Stop,
        8 => Kind::Protect {
            to: is_named.then_some(other),
        },
        _ => Kind::Unprotect,
    };
    let progress = at(1_000 - tape.ms(700)).wall;
    Some(Operation {
        kind,
        since: progress,
        progress,
        is_confirmed: tape.rarely(2),
    })
}

fn some_hang(tape: &mut Tape<'_>, vm: &mut Vm) {
    vm.desired.resets_hung = tape.rarely(2);
    vm.seen.hang.silence = tape.rarely(2).then(|| Silence {
        sign: Sign::Probe,
        since: at(tape.ms(1_000)).time,
        why: "10.0.0.9:6379 refuses connections".into(),
    });
    let longest = if tape.rarely(2) { 1_000 } else { 80 };
    vm.seen.hang.reset = tape.rarely(2).then(|| Reset {
        at: at(1_000 - tape.ms(longest)).wall,
        by: name(NAMES[tape.below(8) / 6]),
        is_done: tape.rarely(2),
    });
}

fn some_vm(tape: &mut Tape<'_>, which: &str) -> Vm {
    let mut it = vm(which, "a", process(RoleWord::Solo, None));
    it.need.owner = tape.host();
    it.need.apart = tape.rarely(4);
    it.desired.power = [
        Power::On,
        Power::Paused,
        Power::Off { hard: true },
        Power::Off { hard: false },
    ][tape.below(12).saturating_sub(8)];
    it.desired.power_asked = ada(tape.ms(1_000));
    it.desired.protected =
        [Protected::On, Protected::Suspended, Protected::Off][tape.below(8).saturating_sub(5)];
    if tape.rarely(2) {
        it.desired.protected_asked = None;
    }
    it.desired.starts_cold = tape.rarely(2);
    let seen = &mut it.seen;
    *seen = nothing_seen();
    if !tape.rarely(4) {
        seen.here = Some(some_view(tape, name("a")));
    }
    if tape.rarely(3) {
        seen.elsewhere = Some(some_view(tape, name("b")));
    }
    if tape.rarely(3) {
        seen.member = Some(some_view(tape, name("c")));
    }
    if tape.rarely(3) {
        let hows = [
            End::Never,
            End::SwitchedOff,
            End::Died,
            End::Stopped { by: "ada".into() },
        ];
        seen.ended = Some(Ended {
            how: hows[tape.below(4)].clone(),
            at: at(tape.ms(1_000)).wall,
            age: Span::from_ms(tape.ms(8_000)),
        });
    }
    if tape.rarely(3) {
        seen.gone_since = Some(at(tape.ms(1_000)).time);
    }
    seen.ownership = match tape.below(4) {
        0 => Ownership::Unknown,
        1 => Ownership::Open {
            epoch: 7,
            host: tape.host(),
        },
        _ => Ownership::Closed,
    };
    let near = |tape: &mut Tape<'_>| at(990 + tape.ms(20)).time;
    if tape.rarely(6) {
        seen.starting = Some(near(tape));
    }
    if tape.rarely(6) {
        seen.asking = Some((tape.host(), near(tape)));
    }
    if tape.rarely(2) {
        seen.prepared = Some(Prepared {
            host: name(NAMES[1 + tape.below(4)]),
            until: near(tape),
        });
    }
    if tape.rarely(8) {
        let (at, is_taken) = (near(tape), tape.rarely(2));
        seen.ordered = Some(Given { at, is_taken });
    }
    if tape.rarely(6) {
        let failures = Failures {
            count: 1 + tape.below(5) as u32,
            last: "the disk did not answer".into(),
            at: near(tape),
        };
        seen.not_handed_over = Some((name(NAMES[1 + tape.below(3)]), failures));
    }
    if tape.rarely(3) {
        let net_down = Health {
            is_net_down: true,
            ..Health::default()
        };
        let member = Some((name("b"), Health::default()));
        seen.health.hear(at(900).time, net_down, member);
    } else {
        seen.health = Watch::default();
    }
    if tape.rarely(4) {
        let causes = [Cause::Health, Cause::Failure, Cause::Wanted];
        seen.swaps.push(Swap {
            at: at(tape.ms(1_000)).wall,
            from: tape.host(),
            to: name("a"),
            cause: causes[tape.below(3)],
        });
    }
    it.operation = some_operation(tape);
    some_hang(tape, &mut it);
    it
}

/// A site with some VMs, as the agent on `a` knows them.
pub struct Known {
    pub hosts: Vec<Host>,
    pub vms: Vec<Vm>,
    backoff: Backoff,
}

pub fn known(bytes: &[u8]) -> Known {
    let mut tape = Tape(bytes.iter());
    let mut vms = vec![some_vm(&mut tape, "shop")];
    if tape.rarely(2) {
        vms.push(some_vm(&mut tape, "aaa"));
        vms.push(some_vm(&mut tape, "zzz"));
    }
    let count = NAMES.len() - tape.below(8).saturating_sub(3);
    let mut hosts: Vec<Host> = NAMES[..count]
        .iter()
        .map(|name| some_host(&mut tape, name))
        .collect();
    // The agent hears itself.
    hosts[0].heard = Some(at(1_000).time);
    let mut backoff = Backoff::new(tape.below(256) as u64);
    for vm in &vms {
        for _ in 0..tape.below(4) {
            let (host, now) = (tape.host(), at(1_000 - tape.ms(400)));
            if tape.rarely(2) {
                backoff.shun(now, vm.name(), &host, "was too slow");
            } else {
                backoff.fail(now, vm.name(), &host, "takes no backup now");
            }
        }
    }
    Known { hosts, vms, backoff }
}

pub fn decide(known: &Known, hosts: &[Host]) -> Vec<Decision> {
    let me = name("a");
    plan(at(1_000), &site(&me, hosts), &known.vms, &known.backoff)
}

/// The code with which a process would refuse an order (docs/control.md); `None`: it takes it. This is a copy
/// of the process's own rules, not of the planner's.
fn refusal(process: Option<&Process>, action: &Action) -> Option<&'static str> {
    let process = match (process, action) {
        (_, Action::Wait { .. } | Action::Nothing | Action::Prepare { .. }) => return None,
        (None, Action::Start) => return None,
        (Some(_), Action::Start) => return Some("it runs already"),
        (None, _) => return Some("no process"),
        (Some(process), _) => process,
    };
    let is_primary = process.role == Some(RoleWord::Primary);
    if let Action::Decide | Action::Kill { .. } = action {
        // Nobody asks the process: it must be a half of the VM in the epoch that is meant.
        let is_half = is_primary || process.role == Some(RoleWord::Backup);
        let is_other = matches!(action, Action::Kill { epoch } if process.epoch != *epoch);
        return (!is_half || is_other).then_some("it is no half of that epoch");
    }
    match process.role {
        None => return Some("connecting"),
        Some(RoleWord::Claiming) => return Some("undecided"),
        Some(RoleWord::Solo | RoleWord::Primary) => {}
        Some(_) => return Some("not-live"),
    }
    if process.guest == GuestWord::Off {
        return Some("off");
    }
    let is_busy = process.clone.is_some() || process.is_dismissing || process.is_swapping;
    match action {
        Action::Protect { .. } if is_primary => Some("protected"),
        Action::Protect { .. } if !process.can_have_backup => Some("no-arbiter"),
        Action::Protect { .. } if is_busy || process.has_snapshot => Some("cannot-protect"),
        Action::MoveBackup { .. } if !is_primary => Some("no-backup"),
        Action::MoveBackup { .. } if is_busy || process.has_snapshot => Some("cannot-move"),
        Action::MoveBackup { to } if process.peer.as_ref() == Some(to) => Some("cannot-move"),
        Action::HandOver { .. } if !is_primary => Some("no-backup"),
        Action::HandOver { .. } if is_busy || process.has_snapshot => Some("not-handed-over"),
        Action::Dismiss if !is_primary && process.clone.is_none() => Some("there is nothing to dismiss"),
        Action::Stop { hard: false } if !process.has_power_button => Some("no-power-button"),
        Action::Reset if process.is_paused => Some("paused"),
        _ => None,
    }
}

/// The need of a VM of this agent, as the planner must see it.
fn need_of(known: &Known, vm: &Vm, member: Option<HostName>) -> Need {
    let barred: BTreeMap<HostName, Why> = known
        .hosts
        .iter()
        .filter_map(|host| {
            let why = known.backoff.bars(at(1_000), vm.name(), &host.name)?;
            Some((host.name.clone(), why))
        })
        .collect();
    let named = vm.operation.as_ref().and_then(|operation| match &operation.kind {
        Kind::Move { to } | Kind::MoveBackup { to: Some(to), .. } | Kind::Protect { to: Some(to) } => {
            Some(to.clone())
        }
        _ => None,
    });
    Need {
        owner: name("a"),
        member,
        barred,
        named,
        ..vm.need.clone()
    }
}

/// What is plainly wrong with a host as the place of a backup, by the facts alone.
fn fault(host: &Host, vm: &Vm, process: Option<&Process>) -> Option<&'static str> {
    let heard = host.heard.map_or(0, |heard| heard.0);
    let needed = vm.need.memory_bytes + (260 << 20) + host.memory_bytes / 10;
    let speed = host.steps_per_second;
    let is_slow = speed > 0 && speed < 500_000_000;
    match host {
        _ if host.name == name("a") => Some("it runs the owner"),
        _ if process.and_then(Process::member) == Some(&host.name) => Some("it holds the backup"),
        _ if at(1_000).time.0 - heard > 5_000_000_000 => Some("it is silent"),
        _ if host.draining.is_some() => Some("it is drained"),
        _ if host.free_bytes < needed => Some("it is full"),
        _ if host.models.is_empty() => Some("it has no model"),
        _ if host.networks.is_empty() => Some("it has no network"),
        _ if host.storages.is_empty() => Some("it has no storage"),
        _ if host.protected >= host.protected_max => Some("it holds its limit"),
        _ if is_slow => Some("it is slow"),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 8_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_order_is_one_that_the_process_would_refuse(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        let known = known(&bytes);
        for (vm, decision) in known.vms.iter().zip(decide(&known, &known.hosts)) {
            let process = vm.seen.here.as_ref().map(|view| &view.process);
            prop_assert_eq!(refusal(process, &decision.action), None, "{:?}", decision.action);
            let orders = !matches!(decision.action, Action::Wait { .. } | Action::Nothing);
            let is_old = vm.seen.here.as_ref().is_some_and(|view| view.age > Span::from_ms(3_000));
            prop_assert!(!(orders && is_old), "by old news: {:?}", decision.action);
            let lives_elsewhere = vm.seen.elsewhere.as_ref().is_some_and(|view| {
                view.process.is_live() && view.age <= Span::from_ms(5_000)
            });
            prop_assert!(decision.action != Action::Start || !lives_elsewhere);
            prop_assert!(decision.action != Action::Start || vm.seen.ownership == Ownership::Closed);
            prop_assert!(decision.ended.is_none() || vm.operation.is_some());
            if let Action::Decide | Action::Kill { .. } = decision.action {
                let process = process.unwrap();
                let other = if process.is_live() { &vm.seen.member } else { &vm.seen.elsewhere };
                let other = other.as_ref().unwrap();
                let is_fresh = other.age <= Span::from_ms(5_000);
                prop_assert!(is_fresh && other.process.epoch == process.epoch, "{:?}", other);
            }
        }
    }

    #[test]
    fn no_host_is_chosen_against_which_something_speaks(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        let known = known(&bytes);
        for (vm, decision) in known.vms.iter().zip(decide(&known, &known.hosts)) {
            let process = vm.seen.here.as_ref().map(|view| &view.process);
            let member = process.and_then(|process| process.member().cloned());
            match &decision.action {
                Action::Prepare { host } => {
                    let placement = judge(at(1_000), &need_of(&known, vm, member), &known.hosts);
                    prop_assert!(matches!(placement.of(host), Some(Ok(_))), "{:?}", placement.of(host));
                    let facts = known.hosts.iter().find(|facts| facts.name == *host);
                    prop_assert_eq!(fault(facts.unwrap(), vm, process), None);
                }
                // A reservation takes room, but no other thing may have come up since.
                Action::Protect { to } | Action::MoveBackup { to } => {
                    let placement = judge(at(1_000), &need_of(&known, vm, member), &known.hosts);
                    let codes = match placement.of(to) {
                        Some(Err(refusals)) => refusals.iter().map(Why::code).collect(),
                        _ => Vec::new(),
                    };
                    let room = ["host-full", "host-limit", "host-slow"];
                    prop_assert!(codes.iter().all(|code| room.contains(code)), "{:?}", codes);
                }
                Action::HandOver { cause: Cause::Health } => {
                    let member = member.unwrap();
                    prop_assert_eq!(plan::damped(at(1_000), &vm.seen.swaps, &member), None);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn what_is_decided_depends_on_nothing_but_what_is_known(
        bytes in prop::collection::vec(any::<u8>(), 0..160)
    ) {
        let known = known(&bytes);
        let decisions = decide(&known, &known.hosts);
        prop_assert_eq!(&decisions, &decide(&known, &known.hosts));
        let backwards: Vec<Host> = known.hosts.iter().rev().cloned().collect();
        prop_assert_eq!(&decisions, &decide(&known, &backwards));
        // No more clones begin than may leave this host at once.
        let is_cloning = |vm: &Vm| {
            let seen = &vm.seen;
            let is_asked = |since: Time| at(1_000).time.since(since) < Span::from_ms(10_000);
            seen.here.as_ref().is_some_and(|view| view.process.clone.is_some())
                || seen.prepared.as_ref().is_some_and(|prepared| prepared.until > at(1_000).time)
                || seen.asking.as_ref().is_some_and(|(_, since)| is_asked(*since))
        };
        let going = known.vms.iter().filter(|vm| is_cloning(vm)).count();
        let begun = known.vms.iter().zip(&decisions);
        let begun = begun.filter(|(vm, decision)| {
            matches!(decision.action, Action::Prepare { .. }) && !is_cloning(vm)
        });
        prop_assert!(begun.count() <= 1_usize.saturating_sub(going));
    }

    #[test]
    fn a_face_has_a_reason_unless_it_is_green_and_is_green_only_by_fresh_news(
        bytes in prop::collection::vec(any::<u8>(), 0..160)
    ) {
        let known = known(&bytes);
        let me = name("a");
        let site: Site<'_> = site(&me, &known.hosts);
        for (vm, decision) in known.vms.iter().zip(decide(&known, &known.hosts)) {
            let placement = placement_of(at(1_000), &site, vm, &known.backoff);
            for planned in [&decision.reasons[..], &[]] {
                let face = face(at(1_000), &site, vm, &placement, planned);
                if face.state == StateWord::Protected {
                    let seen = face.observed.as_ref().unwrap();
                    let limit = if seen.by == me { 3_000 } else { 5_000 };
                    prop_assert!(seen.age <= Span::from_ms(limit));
                    let views = [&vm.seen.here, &vm.seen.elsewhere, &vm.seen.member];
                    let is_so = views.into_iter().flatten().any(|view| {
                        view.host == seen.by
                            && view.age == seen.age
                            && matches!(view.process.role, Some(RoleWord::Primary | RoleWord::Backup))
                    });
                    prop_assert!(is_so, "no process says so");
                } else {
                    prop_assert!(!face.reasons.is_empty(), "{:?}", face);
                }
                prop_assert!(face.flags.len() <= face.reasons.len(), "{:?}", face);
                for (index, why) in face.reasons.iter().enumerate() {
                    prop_assert!(!face.reasons[..index].contains(why), "twice: {:?}", why);
                    prop_assert!(!why.code().is_empty() && why.sentence().len() > 10, "{:?}", why);
                }
            }
        }
    }
}

#[test]
fn the_worlds_are_such_that_every_order_is_given() {
    let mut dice = Dice(1);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..160).map(|_| dice.below(256) as u8).collect();
        let known = known(&bytes);
        for decision in decide(&known, &known.hosts) {
            let text = format!("{:?}", decision.action);
            let order = text.split([' ', '{']).next().unwrap_or_default().to_owned();
            *counts.entry(order).or_default() += 1;
            if decision.ended.is_some() {
                *counts.entry("ended".into()).or_default() += 1;
            }
        }
    }
    let orders = [
        "Start",
        "Prepare",
        "Protect",
        "MoveBackup",
        "HandOver",
        "Dismiss",
        "Stop",
        "Reset",
        "NoteReset",
        "Pause",
        "Resume",
        "Wait",
        "Nothing",
        "ended",
    ];
    for order in orders {
        let count = counts.get(order).copied().unwrap_or(0);
        assert!(count >= 20, "{order}: {counts:?}");
    }
}

#[test]
fn every_state_has_one_word_for_each_wish_and_each_age() {
    let now = at(1_000);
    let me = name("a");
    let hosts: Vec<Host> = NAMES[..2].iter().map(|name| host(name, now)).collect();
    let site = site(&me, &hosts);
    let roles = ROLES.into_iter().map(Some).chain([None]);
    let mut looked_at = 0;
    for role in roles {
        for wish in [Protected::On, Protected::Suspended, Protected::Off] {
            for power in [Power::On, Power::Paused, Power::Off { hard: true }] {
                for phase in [None, Some(PhaseWord::Copying)] {
                    for age in [0, 3_000, 3_001, 5_000, 5_001] {
                        for place in ["a", "b"] {
                            let mut said = process(role.unwrap_or_default(), Some("b"));
                            said.role = role;
                            said.clone = phase.map(|phase| clone("b", phase));
                            let view = View {
                                host: name(place),
                                process: said,
                                age: Span::from_ms(age),
                            };
                            let mut vm = vm("shop", "a", process(RoleWord::Solo, None));
                            vm.seen = nothing_seen();
                            (vm.desired.protected, vm.desired.power) = (wish, power);
                            if place == "a" {
                                vm.seen.here = Some(view);
                            } else {
                                vm.seen.elsewhere = Some(view);
                            }
                            let placement = placement_of(now, &site, &vm, &Backoff::new(1));
                            let face = face(now, &site, &vm, &placement, &[]);
                            let is_fresh = age <= if place == "a" { 3_000 } else { 5_000 };
                            let expected = match role {
                                _ if !is_fresh => StateWord::Unknown,
                                None | Some(RoleWord::Apprentice) => StateWord::Starting,
                                Some(RoleWord::Claiming | RoleWord::Handing) => StateWord::Standing,
                                Some(RoleWord::Halted) => StateWord::Off,
                                Some(RoleWord::Primary | RoleWord::Backup) => StateWord::Protected,
                                Some(RoleWord::Solo) => match wish {
                                    Protected::On => StateWord::Starting,
                                    Protected::Suspended => StateWord::Suspended,
                                    Protected::Off => StateWord::Unprotected,
                                },
                            };
                            assert_eq!(face.state, expected, "{role:?} {wish:?} {phase:?} {age} {place}");
                            assert!(face.state == StateWord::Protected || !face.reasons.is_empty());
                            looked_at += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(looked_at, 8 * 3 * 3 * 2 * 5 * 2);
}
