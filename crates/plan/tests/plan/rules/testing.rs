//! How a half of a VM is killed because somebody tests what becomes of it.

use messages::time::Span;
use plan::{Action, Kind, Outcome, Protected, Vm};
use report::{RoleWord, StateWord};

use super::{begun, decide, decide_at, drain, failed, is_wait};
use crate::sample::{at, name, paired, process, solo, view};

fn owner_on(from: &str) -> Kind {
    Kind::TestFailover {
        from: name(from),
        epoch: 1,
    }
}

fn backup_on(host: &str) -> Kind {
    Kind::TestBackup {
        host: name(host),
        epoch: 1,
    }
}

/// A test of epoch 1 that is decided, or not yet.
fn tested(vm: &mut Vm, kind: Kind, is_decided: bool) {
    vm.operation = begun(kind);
    vm.operation.as_mut().unwrap().is_confirmed = is_decided;
}

/// The VM on `a` with its backup on `b`, and the news of that.
fn guarded() -> Vm {
    let mut vm = paired();
    vm.seen.member = Some(view("b", process(RoleWord::Backup, Some("a"))));
    vm
}

/// The VM on `b`, as the agent sees it that has its backup on `a`.
fn as_backup() -> Vm {
    let mut vm = paired();
    vm.seen.here = Some(view("a", process(RoleWord::Backup, Some("b"))));
    vm.seen.elsewhere = Some(view("b", process(RoleWord::Primary, Some("a"))));
    vm
}

/// The VM on `a` in epoch 2, by a process of which the first epoch was this one.
fn gone_on(role: RoleWord, peer: Option<&str>, first_epoch: Option<u64>) -> Vm {
    let mut vm = solo();
    let mut process = process(role, peer);
    (process.epoch, process.first_epoch) = (2, first_epoch);
    vm.seen.here = Some(view("a", process));
    vm
}

#[test]
fn a_test_of_the_owner_decides_and_kills_and_ends_where_the_vm_is_protected_again() {
    let mut vm = guarded();
    tested(&mut vm, owner_on("a"), false);
    assert_eq!(decide(&vm).action, Action::Decide);
    tested(&mut vm, owner_on("a"), true);
    assert_eq!(decide(&vm).action, Action::Kill { epoch: 1 });
    // It is seen there that it has won the next epoch, and it gets a backup before the test ends.
    let mut there = gone_on(RoleWord::Solo, None, Some(1));
    tested(&mut there, owner_on("b"), true);
    let decision = decide(&there);
    assert!(matches!(decision.action, Action::Prepare { .. }), "{decision:?}");
    assert_eq!(decision.ended, None);
    let mut again = gone_on(RoleWord::Primary, Some("b"), Some(1));
    tested(&mut again, owner_on("b"), true);
    let decision = decide(&again);
    assert_eq!(
        (decision.action, decision.ended),
        (Action::Nothing, Some(Outcome::Done))
    );
}

#[test]
fn a_test_of_the_backup_is_carried_out_by_the_agent_of_its_host() {
    let mut member = as_backup();
    tested(&mut member, backup_on("a"), false);
    assert_eq!(decide(&member).action, Action::Decide);
    tested(&mut member, backup_on("a"), true);
    assert_eq!(decide(&member).action, Action::Kill { epoch: 1 });
    tested(&mut member, backup_on("c"), true);
    assert!(is_wait(&decide(&member)), "another host's is meant");
    member.operation = None;
    assert_eq!(decide(&member).action, Action::Nothing);
    let mut owner = guarded();
    tested(&mut owner, backup_on("b"), true);
    let decision = decide(&owner);
    assert!(is_wait(&decision) && decision.ended.is_none(), "{decision:?}");
    let mut again = gone_on(RoleWord::Primary, Some("c"), Some(1));
    tested(&mut again, backup_on("b"), true);
    assert_eq!(decide(&again).ended, Some(Outcome::Done));
}

#[test]
fn a_backup_is_not_killed_unless_its_owner_is_seen_to_live_with_it() {
    for is_decided in [false, true] {
        let mut vm = as_backup();
        tested(&mut vm, backup_on("a"), is_decided);
        assert!(!is_wait(&decide(&vm)));
        type Change = fn(&mut Vm);
        let changes: [Change; 5] = [
            |vm| vm.seen.elsewhere = None,
            |vm| vm.seen.elsewhere.as_mut().unwrap().age = Span::from_ms(5_001),
            |vm| vm.seen.elsewhere.as_mut().unwrap().process.epoch = 2,
            |vm| vm.seen.elsewhere.as_mut().unwrap().process.peer = Some(name("c")),
            |vm| vm.seen.elsewhere.as_mut().unwrap().process.role = Some(RoleWord::Claiming),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut vm = vm.clone();
            change(&mut vm);
            let decision = decide(&vm);
            assert!(is_wait(&decision), "{index}: {decision:?}");
        }
    }
}

#[test]
fn an_owner_is_not_killed_unless_its_backup_is_seen_to_guard() {
    for is_decided in [false, true] {
        let mut vm = guarded();
        tested(&mut vm, owner_on("a"), is_decided);
        assert!(!is_wait(&decide(&vm)));
        type Change = fn(&mut Vm);
        let changes: [Change; 5] = [
            |vm| vm.seen.member = None,
            |vm| vm.seen.member.as_mut().unwrap().age = Span::from_ms(5_001),
            |vm| vm.seen.member.as_mut().unwrap().process.epoch = 0,
            |vm| vm.seen.member.as_mut().unwrap().process.role = Some(RoleWord::Apprentice),
            |vm| vm.seen.here.as_mut().unwrap().process.protection.state = StateWord::Standing,
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut vm = vm.clone();
            change(&mut vm);
            let decision = decide(&vm);
            assert!(
                is_wait(&decision) && decision.ended.is_none(),
                "{index}: {decision:?}"
            );
            // Nobody waits for it for long, and nobody is killed minutes later.
            let patience = if is_decided { 30 } else { 15 };
            let in_time = decide_at(at(100 + patience), &vm, |_| {});
            assert_eq!(in_time.ended, None, "{index}");
            let late = decide_at(at(101 + patience), &vm, |_| {});
            assert_eq!(failed(&late), ["test-void"], "{index}");
            assert_ne!(late.action, Action::Kill { epoch: 1 });
        }
    }
}

#[test]
fn a_test_that_is_not_decided_fails_soon_if_its_host_is_silent_and_holds_nothing() {
    for kind in [owner_on("a"), backup_on("b")] {
        let mut vm = guarded();
        tested(&mut vm, kind.clone(), false);
        let silent = decide_at(at(100), &vm, |hosts| {
            hosts[1].heard = Some(at(94).time);
            drain(hosts, 1);
        });
        assert_eq!(failed(&silent), ["host-silent"], "{kind:?}");
        assert_eq!(
            silent.action,
            Action::Prepare { host: name("c") },
            "the drain goes on"
        );
        // An agent that has just started has heard nobody yet.
        let unheard = |now| decide_at(now, &vm, |hosts| hosts[1].heard = None);
        assert_eq!(unheard(at(100)).ended, None);
        assert_eq!(failed(&unheard(at(116))), ["host-silent"]);
    }
    // The other half's agent has all it needs, and does not do it.
    let mut vm = guarded();
    tested(&mut vm, backup_on("b"), false);
    assert_eq!(decide_at(at(115), &vm, |_| {}).ended, None);
    assert_eq!(failed(&decide_at(at(116), &vm, |_| {})), ["test-void"]);
    // The half has gone to another host meanwhile.
    for kind in [owner_on("b"), backup_on("c")] {
        tested(&mut vm, kind, false);
        assert_eq!(failed(&decide(&vm)), ["test-void"]);
    }
}

#[test]
fn a_test_that_is_decided_fails_if_its_half_still_lives_long_after_that() {
    // Its agent is silent, perhaps since it has just killed.
    let mut vm = guarded();
    tested(&mut vm, backup_on("b"), true);
    let silent = |now| decide_at(now, &vm, |hosts| hosts[1].heard = Some(at(94).time));
    assert_eq!(silent(at(101)).ended, None);
    assert_eq!(failed(&silent(at(131))), ["host-silent"]);
    // Or it has all that it needs, and does not do it.
    assert_eq!(decide_at(at(130), &vm, |_| {}).ended, None);
    assert_eq!(failed(&decide_at(at(131), &vm, |_| {})), ["test-void"]);
    // What has gone on in the next epoch has its backup in the end, however late.
    let mut again = gone_on(RoleWord::Primary, Some("c"), Some(1));
    tested(&mut again, backup_on("b"), true);
    assert_eq!(decide_at(at(400), &again, |_| {}).ended, Some(Outcome::Done));
}

#[test]
fn a_test_fails_without_a_kill_if_the_vm_is_not_protected_any_more() {
    for is_decided in [false, true] {
        let mut alone = solo();
        tested(&mut alone, owner_on("a"), is_decided);
        let decision = decide(&alone);
        assert_eq!(failed(&decision), ["no-backup"]);
        assert!(matches!(decision.action, Action::Prepare { .. }), "{decision:?}");
        let mut unwanted = guarded();
        unwanted.desired.protected = Protected::Off;
        tested(&mut unwanted, owner_on("a"), is_decided);
        assert_eq!(decide(&unwanted).action, Action::Dismiss);
        assert_eq!(failed(&decide(&unwanted)).len(), 1);
    }
    // A half was lost before anybody killed one.
    let mut overtaken = gone_on(RoleWord::Primary, Some("c"), Some(1));
    tested(&mut overtaken, owner_on("b"), false);
    assert_eq!(failed(&decide(&overtaken)), ["no-backup"]);
}

#[test]
fn a_test_is_not_done_by_a_start_or_by_the_half_that_was_to_be_killed() {
    for kind in [owner_on as fn(&str) -> Kind, backup_on] {
        // All halves have died, and it was booted anew elsewhere: that is no takeover.
        let mut anew = gone_on(RoleWord::Primary, Some("c"), Some(2));
        tested(&mut anew, kind("b"), true);
        let decision = decide(&anew);
        assert_eq!(failed(&decision), ["test-void"]);
        assert_eq!(decision.action, Action::Nothing, "and it is left as it is");
        // Whoever lives on its host is not the half that was to be left.
        let mut here = gone_on(RoleWord::Primary, Some("c"), Some(1));
        tested(&mut here, kind("a"), true);
        assert_eq!(failed(&decide(&here)), ["test-void"]);
        // An older release does not tell how long it has been a half.
        let mut older = gone_on(RoleWord::Primary, Some("c"), None);
        tested(&mut older, kind("b"), true);
        assert_eq!(decide(&older).ended, Some(Outcome::Done));
    }
}
