//! When a VM that has no process is started.

use messages::time::{Span, Time};
use plan::{Action, Backoff, End, Ended, Kind, Outcome, Ownership, Power, Vm};
use report::RoleWord;

use super::{begun, codes, decide, decide_at, decide_with, failed, is_wait};
use crate::sample::{GIB, ada, at, name, nothing_seen, process, solo, view};

/// A VM that has no process, and whose place is `home`.
fn ended(home: &str, how: End, seconds: u64) -> Vm {
    let mut vm = solo();
    vm.need.owner = name(home);
    vm.seen = nothing_seen();
    vm.seen.ended = Some(Ended {
        how,
        at: at(seconds).wall,
        age: Span(0),
    });
    vm.seen.ownership = Ownership::Closed;
    vm
}

#[test]
fn a_vm_is_started_at_its_place_when_somebody_wants_it() {
    let mut vm = ended("a", End::Never, 0);
    vm.desired.power_asked = ada(1);
    vm.operation = begun(Kind::Start);
    assert_eq!(decide(&vm).action, Action::Start);
    vm.seen.starting = Some(at(99).time);
    assert!(is_wait(&decide(&vm)));
    vm.seen.starting = None;
    vm.seen.ownership = Ownership::Unknown;
    assert_eq!(codes(&decide(&vm).reasons), ["undecided"]);
    vm.seen.ownership = Ownership::Open {
        epoch: 7,
        host: name("b"),
    };
    let decision = decide(&vm);
    assert_eq!(
        decision.reasons[0].sentence(),
        "epoch 7 may live on b; if that host is surely off: `lockstep release shop --epoch 7`"
    );
    let mut backoff = Backoff::new(1);
    backoff.fail(at(100), vm.name(), &name("a"), "has no kernel");
    vm.seen.ownership = Ownership::Closed;
    let decision = decide_with(at(100), &vm, &backoff, |_| {});
    assert_eq!(codes(&decision.reasons), ["tries"]);
    vm.need.owner = name("b");
    assert_eq!(decide(&vm).action, Action::Nothing, "it is for b's agent");
}

#[test]
fn a_guest_that_was_switched_off_stays_off_until_somebody_starts_it() {
    for how in [End::SwitchedOff, End::Stopped { by: "ada".into() }] {
        let mut vm = ended("a", how, 50);
        vm.desired.starts_cold = true;
        vm.seen.gone_since = Some(at(50).time);
        vm.operation = begun(Kind::Move { to: name("b") });
        let decision = decide_at(at(900), &vm, |_| {});
        assert_eq!(
            (failed(&decision), &decision.action),
            (vec!["off"], &Action::Nothing)
        );
        vm.desired.power_asked = ada(60);
        assert_eq!(decide(&vm).action, Action::Start);
        vm.desired.power = Power::Off { hard: true };
        vm.operation = begun(Kind::Stop);
        assert_eq!(decide(&vm).ended, Some(Outcome::Done));
        vm.seen.ended = None;
        assert_eq!(decide(&vm).ended, None, "nobody knows how it ended");
        let late = decide_at(at(100 + 601), &vm, |_| {});
        assert_eq!(failed(&late), ["tries"], "and it does not go on for ever");
    }
}

#[test]
fn a_vm_that_died_is_started_cold_after_two_minutes_if_its_settings_say_so() {
    let mut vm = ended("a", End::Died, 50);
    vm.seen.gone_since = Some(at(50).time);
    assert_eq!(decide(&vm).action, Action::Nothing);
    vm.desired.starts_cold = true;
    let decision = decide_at(at(169), &vm, |_| {});
    assert_eq!(
        decision.action,
        Action::Wait {
            until: Some(at(170).time)
        }
    );
    assert_eq!(codes(&decision.reasons), ["cold-start"]);
    assert_eq!(decide_at(at(170), &vm, |_| {}).action, Action::Start);
    vm.seen.member = Some(view("b", process(RoleWord::Claiming, Some("a"))));
    assert_eq!(
        decide_at(at(170), &vm, |_| {}).action,
        Action::Nothing,
        "b has its memory"
    );
    vm.seen.member.as_mut().unwrap().age = Span::from_ms(5_001);
    assert_eq!(
        decide_at(at(170), &vm, |_| {}).action,
        Action::Start,
        "b had its memory"
    );
    // Its host is gone for good, and the record was released: the best host starts it.
    let mut orphan = ended("z", End::Died, 50);
    (orphan.seen.gone_since, orphan.desired.starts_cold) = (Some(Time(0)), true);
    assert_eq!(decide_at(at(170), &orphan, |_| {}).action, Action::Start);
    let better = decide_at(at(170), &orphan, |hosts| hosts[1].free_bytes += GIB);
    assert_eq!(better.action, Action::Nothing);
    orphan.need.owner = name("b");
    assert_eq!(
        decide_at(at(170), &orphan, |_| {}).action,
        Action::Nothing,
        "b answers"
    );
}
