//! What the guest does, who gives orders, and how what somebody has begun ends.

use messages::time::Span;
use plan::{Action, Failures, Kind, Outcome, Power, Prepared, Protected, Refused};
use report::{GuestWord, RoleWord};

use super::{begun, codes, decide, decide_at, failed, is_wait};
use crate::sample::{at, name, paired, process, solo, vm};

#[test]
fn only_the_agent_at_the_owner_acts() {
    for role in [
        RoleWord::Backup,
        RoleWord::Apprentice,
        RoleWord::Handing,
        RoleWord::Halted,
    ] {
        let decision = decide(&vm("shop", "a", process(role, Some("b"))));
        assert_eq!(decision.action, Action::Nothing, "{role:?}");
    }
    let decision = decide(&vm("shop", "a", process(RoleWord::Claiming, Some("b"))));
    assert!(is_wait(&decision) && codes(&decision.reasons) == ["suspected"]);
    let mut booting = process(RoleWord::Solo, None);
    booting.role = None;
    assert!(is_wait(&decide(&vm("shop", "a", booting))));
    let mut silent = solo();
    silent.seen.here.as_mut().unwrap().age = Span::from_ms(3_001);
    let decision = decide(&silent);
    assert!(is_wait(&decision) && codes(&decision.reasons) == ["process-silent"]);
    let mut over = solo();
    over.seen.here.as_mut().unwrap().process.guest = GuestWord::Off;
    assert_eq!(decide(&over).action, Action::Nothing);
    over.operation = begun(Kind::Stop);
    assert_eq!(decide(&over).ended, Some(Outcome::Done));
    over.need.owner = name("b");
    assert_eq!(
        decide(&over).ended,
        None,
        "a backup has halted, for whatever reason"
    );
    let mut elsewhere = paired();
    elsewhere.seen.elsewhere = elsewhere.seen.here.take();
    assert_eq!(decide(&elsewhere).action, Action::Nothing);
}

#[test]
fn the_guest_runs_stands_or_is_off_as_is_wanted_before_anything_else() {
    let mut soft = solo();
    soft.desired.power = Power::Off { hard: false };
    assert_eq!(
        decide(&soft).action,
        Action::Prepare { host: name("b") },
        "a guest that goes on is protected"
    );
    let mut vm = paired();
    vm.desired.power = Power::Off { hard: true };
    assert_eq!(decide(&vm).action, Action::Stop { hard: true });
    vm.desired.power = Power::Off { hard: false };
    let decision = decide(&vm);
    assert!(
        is_wait(&decision),
        "the process would refuse: its board has no power button"
    );
    assert_eq!(codes(&decision.reasons), ["no-power-button"]);
    vm.seen.here.as_mut().unwrap().process.has_power_button = true;
    assert_eq!(decide(&vm).action, Action::Stop { hard: false });
    vm.desired.power = Power::Paused;
    assert_eq!(decide(&vm).action, Action::Pause);
    vm.seen.here.as_mut().unwrap().process.is_paused = true;
    assert_eq!(decide(&vm).action, Action::Nothing);
    vm.desired.power = Power::On;
    assert_eq!(decide(&vm).action, Action::Resume);
    let mut paused = solo();
    paused.desired.power = Power::Paused;
    paused.seen.here.as_mut().unwrap().process.is_paused = true;
    assert_eq!(
        decide(&paused).action,
        Action::Prepare { host: name("b") },
        "one that stands can be copied"
    );
}

#[test]
fn an_operation_without_progress_ends_and_so_does_one_that_somebody_has_undone() {
    let mut vm = paired();
    vm.operation = begun(Kind::Move { to: name("b") });
    let now = at(100 + 601);
    let decision = decide_at(now, &vm, |_| {});
    assert_eq!(failed(&decision), ["tries"]);
    assert_eq!(
        decision.action,
        Action::Nothing,
        "it is as if it had not been begun"
    );
    vm.operation.as_mut().unwrap().progress = at(600).wall;
    assert_eq!(decide_at(now, &vm, |_| {}).ended, None);
    vm.desired.protected = Protected::Suspended;
    assert_eq!(failed(&decide(&vm)), ["user"]);
    let mut running = solo();
    running.operation = begun(Kind::Stop);
    assert_eq!(failed(&decide(&running)), ["user"]);
    running.operation = begun(Kind::Unprotect);
    assert_eq!(failed(&decide(&running)), ["user"]);
}

#[test]
fn a_reset_is_ordered_until_the_process_has_confirmed_it() {
    let mut vm = paired();
    vm.operation = begun(Kind::Reset);
    assert_eq!(decide(&vm).action, Action::Reset);
    vm.operation.as_mut().unwrap().is_confirmed = true;
    let decision = decide(&vm);
    assert_eq!(
        (decision.action, decision.ended),
        (Action::Nothing, Some(Outcome::Done))
    );
    vm.operation = begun(Kind::Reset);
    vm.desired.power = Power::Paused;
    vm.seen.here.as_mut().unwrap().process.is_paused = true;
    let decision = decide(&vm);
    assert_eq!(
        (failed(&decision), &decision.action),
        (vec!["paused"], &Action::Nothing)
    );
}

#[test]
fn an_order_that_is_refused_is_given_again_later_and_later_and_is_no_progress() {
    let mut vm = solo();
    vm.seen.prepared = Some(Prepared {
        host: name("b"),
        until: at(1_000).time,
    });
    let action = Action::Protect { to: name("b") };
    assert!(!decide(&vm).goes_on, "an order alone is no progress");
    for (count, seconds) in [(1, 1), (2, 2), (3, 4), (6, 30), (u32::MAX, 30)] {
        let failures = Failures {
            count,
            last: "a snapshot of it is being taken".into(),
            at: at(100).time,
        };
        let refused = Refused {
            action: action.clone(),
            failures,
        };
        vm.seen.refused = Some(refused);
        let until = at(100 + seconds);
        let decision = decide(&vm);
        let time = Some(until.time);
        assert_eq!(decision.action, Action::Wait { until: time });
        assert_eq!(codes(&decision.reasons), ["tries"]);
        assert!(!decision.goes_on);
        assert_eq!(decide_at(until, &vm, |_| {}).action, action);
        // It keeps nobody from another order.
        let mut off = vm.clone();
        off.desired.power = Power::Off { hard: true };
        assert_eq!(decide(&off).action, Action::Stop { hard: true });
    }
}
