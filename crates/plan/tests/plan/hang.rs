//! When a guest counts as silent, and when it is reset for that: the rule, the memory of an agent, and a loop
//! in which agents die and hosts change while a guest hangs again and again.

use messages::time::Span;
use plan::{
    Action, Answers, Backoff, Drain, Failures, Hang, Health, Host, Kind, Operation, Power, Protected,
    Refused, Reset, Sign, Silence, Vm, plan,
};
use proptest::prelude::*;

use crate::closed_loop::{looks, run_with_room};
use crate::properties::{decide, known};
use crate::sample::{at, hosts, name, paired, site, solo};
use crate::world::World;

const AFTER: Span = Span::from_ms(30_000);

fn refused() -> Result<(), String> {
    Err("10.0.0.9:6379 refuses connections".into())
}

#[test]
fn a_guest_is_silent_when_all_probes_have_failed_for_long_enough_and_one_had_not() {
    let mut answers = Answers::default();
    for second in 0..100 {
        answers.hear(at(second), Sign::Probe, refused());
    }
    assert_eq!(answers.silence(AFTER), None, "it still boots");
    answers.hear(at(100), Sign::Probe, Ok(()));
    for second in 101..131 {
        answers.hear(at(second), Sign::Probe, refused());
    }
    assert_eq!(answers.silence(AFTER), None);
    answers.hear(at(131), Sign::Probe, refused());
    let silence = answers.silence(AFTER).unwrap();
    assert_eq!((silence.sign, silence.since), (Sign::Probe, at(101).time));
    assert!(silence.why.contains("refuses"), "{silence:?}");
    answers.hear(at(132), Sign::Probe, Ok(()));
    assert_eq!(answers.silence(AFTER), None);
    assert_eq!(answers.well_at(Sign::Probe), Some(at(132).time));
    assert_eq!(answers.answered(), Some(at(100).wall));
}

#[test]
fn one_failure_and_a_long_sleep_of_the_agent_are_no_silence() {
    let mut answers = Answers::default();
    answers.hear(at(0), Sign::Probe, Ok(()));
    answers.hear(at(1), Sign::Probe, refused());
    assert_eq!(answers.silence(AFTER), None);
    answers.rest();
    answers.hear(at(90), Sign::Probe, refused());
    assert_eq!(answers.silence(AFTER), None, "the guest stood meanwhile");
    // What one sign says nothing of, another one may.
    for second in 91..140 {
        answers.hear(at(second), Sign::Timer, Err("it stands".into()));
        answers.hear(at(second), Sign::Probe, refused());
        answers.rest_of(Sign::Probe);
    }
    assert_eq!(answers.silence(AFTER).unwrap().sign, Sign::Timer);
}

#[test]
fn a_guest_that_boots_anew_must_answer_once_more_and_the_next_controller_knows_whether_it_has() {
    let mut answers = Answers::default();
    answers.hear(at(10), Sign::Probe, Ok(()));
    answers.boots(at(20).wall);
    assert_eq!(answers.answered(), None);
    answers.hear(at(30), Sign::Probe, Ok(()));
    // What is told of the time before by a process that is heard anew.
    answers.boots(at(20).wall);
    assert_eq!(answers.answered(), Some(at(30).wall));
    let mut next = Answers::default();
    next.go_on(answers.answered());
    next.hear(at(40), Sign::Probe, refused());
    next.hear(at(70), Sign::Probe, refused());
    assert!(next.silence(AFTER).is_some());
    next.probe_changes();
    assert_eq!((next.silence(AFTER), next.answered()), (None, None));
    let mut reset = Answers::default();
    reset.boots(at(35).wall);
    reset.go_on(answers.answered());
    assert_eq!(reset.answered(), None);
}

#[test]
fn a_kernel_with_its_interrupts_off_and_one_that_has_panicked_need_not_have_answered() {
    for sign in [Sign::Timer, Sign::Panic] {
        let mut answers = Answers::default();
        answers.hear(at(0), sign, Err("it stands".into()));
        answers.hear(at(30), sign, Err("it stands".into()));
        assert_eq!(answers.silence(AFTER).unwrap().sign, sign);
    }
}

fn silence() -> Option<Silence> {
    Some(Silence {
        sign: Sign::Probe,
        since: at(900).time,
        why: "10.0.0.9:6379 refuses connections".into(),
    })
}

fn noted(seconds_ago: u64, by: &str, is_done: bool) -> Option<Reset> {
    Some(Reset {
        at: at(1_000 - seconds_ago).wall,
        by: name(by),
        is_done,
    })
}

fn hung(vm: Vm, reset: Option<Reset>) -> Vm {
    let mut vm = vm;
    vm.desired.resets_hung = true;
    vm.seen.hang = Hang {
        silence: silence(),
        reset,
    };
    vm
}

fn decided(vm: &Vm, change: impl FnOnce(&mut Vec<Host>)) -> Action {
    let mut hosts = hosts(3, at(1_000));
    change(&mut hosts);
    let me = name("a");
    plan(
        at(1_000),
        &site(&me, &hosts),
        std::slice::from_ref(vm),
        &Backoff::new(1),
    )
    .remove(0)
    .action
}

fn is_left(vm: &Vm) -> bool {
    !matches!(decided(vm, |_| {}), Action::Reset | Action::NoteReset)
}

#[test]
fn a_hung_guest_is_reset_after_that_was_noted_and_once_in_ten_minutes() {
    let action = |reset| decided(&hung(paired(), reset), |_| {});
    assert_eq!(action(None), Action::NoteReset);
    assert_eq!(action(noted(3, "a", false)), Action::Reset);
    assert_eq!(
        action(noted(61, "a", false)),
        Action::Nothing,
        "nobody knows whether it was"
    );
    assert_eq!(
        action(noted(3, "b", false)),
        Action::Nothing,
        "another controller gives that order"
    );
    assert_eq!(action(noted(3, "a", true)), Action::Nothing);
    assert_eq!(action(noted(659, "a", true)), Action::Nothing);
    assert_eq!(action(noted(660, "b", true)), Action::NoteReset);
    // A guest without a backup is reset too, when nothing can be done for one.
    let mut alone = hung(solo(), None);
    alone.seen.here.as_mut().unwrap().process.can_have_backup = false;
    assert_eq!(decided(&alone, |_| {}), Action::NoteReset);
}

#[test]
fn a_hung_guest_is_left_alone_while_something_else_is_done_with_its_vm() {
    let vm = || hung(paired(), None);
    let mut unwanted = vm();
    unwanted.desired.resets_hung = false;
    assert!(is_left(&unwanted));
    let mut well = vm();
    well.seen.hang.silence = None;
    assert!(is_left(&well));
    let mut paused = vm();
    paused.seen.here.as_mut().unwrap().process.is_paused = true;
    assert!(is_left(&paused), "it is resumed");
    paused.desired.power = Power::Paused;
    assert!(is_left(&paused));
    let mut handed = vm();
    handed.seen.here.as_mut().unwrap().process.is_swapping = true;
    assert!(is_left(&handed));
    for kind in [
        Kind::Start,
        Kind::Failover {
            from: name("a"),
            epoch: u64::MAX,
        },
        Kind::TestFailover {
            from: name("a"),
            epoch: 1,
        },
    ] {
        let mut busy = vm();
        busy.operation = Some(Operation {
            kind: kind.clone(),
            since: at(1_000).wall,
            progress: at(1_000).wall,
            is_confirmed: false,
        });
        assert!(is_left(&busy), "{kind:?}");
    }
    for drained in [0, 1] {
        let action = decided(&vm(), |hosts| {
            hosts[drained].draining = Some(Drain {
                since: at(0).wall,
                by: "ada".into(),
            });
        });
        assert!(!matches!(action, Action::Reset | Action::NoteReset), "{action:?}");
    }
}

#[test]
fn a_hung_guest_is_not_reset_while_its_host_is_cut_off_for_certain() {
    let unwell = |health: Health| {
        let mut vm = hung(paired(), noted(3, "a", false));
        vm.seen.health.hear(at(1_000).time, health, None);
        decided(&vm, |_| {})
    };
    let net_down = |net_down_since| Health {
        is_net_down: true,
        net_down_since,
        ..Health::default()
    };
    let disk_away = Health {
        disk_away: Some(("/dev/vdb".into(), at(990).time)),
        ..Health::default()
    };
    assert_eq!(unwell(disk_away), Action::Nothing);
    assert_eq!(unwell(net_down(Some(at(990).time))), Action::Nothing);
    // A process that cannot know where its network leads does not keep a guest from being reset.
    assert_eq!(unwell(net_down(None)), Action::Reset);
    assert_eq!(unwell(Health::default()), Action::Reset);
}

#[test]
fn an_order_that_the_process_has_refused_keeps_no_reset_back() {
    let refused = |action| {
        let failures = Failures {
            count: 9,
            last: "it is busy".into(),
            at: at(999).time,
        };
        Some(Refused { action, failures })
    };
    let mut vm = hung(paired(), None);
    vm.operation = None;
    vm.desired.protected = Protected::Off;
    vm.seen.refused = refused(Action::Dismiss);
    assert_eq!(decided(&vm, |_| {}), Action::NoteReset);
    vm.seen.hang.reset = noted(3, "a", false);
    assert_eq!(decided(&vm, |_| {}), Action::Reset);
    // The reset itself is given again later, as any order.
    vm.seen.refused = refused(Action::Reset);
    vm.desired.protected = Protected::On;
    let action = decided(&vm, |_| {});
    assert!(matches!(action, Action::Wait { until: Some(_) }), "{action:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 8_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_reset_without_anybodys_word_but_a_silent_guest_that_may_be(
        bytes in prop::collection::vec(any::<u8>(), 0..160),
    ) {
        let known = known(&bytes);
        for (vm, decision) in known.vms.iter().zip(decide(&known, &known.hosts)) {
            let is_asked = vm.operation.as_ref().is_some_and(|operation| operation.kind == Kind::Reset);
            let is_note = decision.action == Action::NoteReset;
            if !is_note && (is_asked || decision.action != Action::Reset) {
                continue;
            }
            let view = vm.seen.here.as_ref().unwrap();
            let (process, hang) = (&view.process, &vm.seen.hang);
            prop_assert!(vm.desired.resets_hung && hang.silence.is_some() && vm.operation.is_none());
            prop_assert!(process.is_live() && !process.is_paused && !process.is_swapping);
            prop_assert!(vm.desired.power == Power::On && view.age <= Span::from_ms(3_000));
            let halves = [Some(&name("a")), process.member()];
            let is_drained = |host: &Host| host.draining.is_some() && halves.contains(&Some(&host.name));
            prop_assert!(!known.hosts.iter().any(is_drained));
            let age = hang.reset.as_ref().map(|reset| at(1_000).since_wall(reset.at).0 / 1_000_000_000);
            if is_note {
                prop_assert!(age.is_none_or(|age| age >= 600));
            } else {
                let reset = hang.reset.as_ref().unwrap();
                prop_assert!(!reset.is_done && reset.by == name("a") && age.unwrap() <= 60);
            }
        }
    }
}

/// Something may happen to the VM or its hosts before the next look.
fn happen(world: &mut World) {
    let host = world.dice.below(world.hosts.len() as u64) as usize;
    match world.dice.below(200) {
        0..=9 => world.vms[0].hangs = true,
        10..=12 => {
            let for_ms = world.dice.between(500, 20_000);
            world.kill_agent(host, for_ms);
        }
        13 if world.vms[0].operation.is_none() && world.vms[0].live.is_some() => {
            let from = world.hosts[world.vms[0].live.as_ref().unwrap().host].name.clone();
            let wall = world.now().wall;
            world.vms[0].operation = Some(Operation {
                kind: Kind::Failover {
                    from,
                    epoch: u64::MAX,
                },
                since: wall,
                progress: wall,
                is_confirmed: false,
            });
        }
        _ => {}
    }
}

#[test]
fn a_guest_that_hangs_again_and_again_is_reset_once_in_ten_minutes_whoever_controls_it() {
    let mut resets = 0;
    for seed in 0..20 {
        run_with_room(seed, |world| {
            world.vms[0].desired.resets_hung = true;
            looks(world, 200);
            for _ in 0..8_000 {
                happen(world);
                world.look();
            }
            // When it is calm, a guest that hangs is reset in the end, and one that does not is left alone.
            world.is_rough = false;
            world.vms[0].hangs = true;
            looks(world, 1_500);
            assert!(!world.vms[0].hangs, "it was not reset");
            let all = &world.vms[0].resets;
            for pair in all.windows(2) {
                assert!(pair[1] - pair[0] >= 600_000, "twice in ten minutes: {pair:?}");
            }
            resets += all.len();
            let others = &world.vms[1..];
            assert!(others.iter().all(|vm| vm.resets.is_empty()));
        });
    }
    assert!(resets > 60, "only {resets} resets");
}
