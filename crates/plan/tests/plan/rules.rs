//! What the planner does in each situation, one rule after the other.

use messages::time::{Span, Time};
use plan::{
    Action, Backoff, Cause, Decision, Drain, End, Ended, Failures, Health, Held, Host, Kind, Now, Operation,
    Outcome, Ownership, Power, Prepared, Protected, Swap, Vm, Watch, Why, plan,
};
use report::{GuestWord, PhaseWord, RoleWord};

use crate::sample::{
    GIB, ada, at, at_ms, clone, hosts, name, nothing_seen, paired, process, site, solo, view, vm, vm_name,
};

/// What the agent on `a` decides on one VM, with three hosts.
fn decide(vm: &Vm) -> Decision {
    decide_at(at(100), vm, |_| {})
}

fn decide_at(now: Now, vm: &Vm, change: impl FnOnce(&mut Vec<Host>)) -> Decision {
    decide_with(now, vm, &Backoff::new(1), change)
}

fn decide_with(now: Now, vm: &Vm, backoff: &Backoff, change: impl FnOnce(&mut Vec<Host>)) -> Decision {
    let mut hosts = hosts(3, now);
    change(&mut hosts);
    let me = name("a");
    plan(now, &site(&me, &hosts), std::slice::from_ref(vm), backoff).remove(0)
}

fn begun(kind: Kind) -> Option<Operation> {
    Some(Operation {
        kind,
        since: at(100).wall,
        progress: at(100).wall,
        is_confirmed: false,
    })
}

fn codes(reasons: &[Why]) -> Vec<&str> {
    reasons.iter().map(Why::code).collect()
}

/// The codes with which an operation has failed.
fn failed(decision: &Decision) -> Vec<&str> {
    match &decision.ended {
        Some(Outcome::Failed(reasons)) => codes(reasons),
        _ => Vec::new(),
    }
}

fn is_wait(decision: &Decision) -> bool {
    matches!(decision.action, Action::Wait { .. })
}

fn drain(hosts: &mut [Host], index: usize) {
    hosts[index].draining = Some(Drain {
        since: at(0).wall,
        by: "ada".into(),
    });
}

#[test]
fn a_vm_without_a_backup_gets_one_step_by_step() {
    let mut vm = solo();
    assert_eq!(decide(&vm).action, Action::Prepare { host: name("b") });
    vm.seen.asking = Some((name("b"), at(95).time));
    let decision = decide(&vm);
    assert_eq!(
        decision.action,
        Action::Wait {
            until: Some(at(105).time)
        }
    );
    assert_eq!(codes(&decision.reasons), ["choosing"]);
    let silent = decide_at(at(100), &vm, |hosts| hosts[1].heard = Some(at(94).time));
    assert_eq!(silent.action, Action::Prepare { host: name("c") });
    vm.seen.asking = Some((name("b"), at(90).time));
    assert!(
        matches!(decide(&vm).action, Action::Prepare { .. }),
        "it was waited long enough"
    );
    (vm.seen.asking, vm.seen.prepared) = (
        None,
        Some(Prepared {
            host: name("c"),
            until: at(101).time,
        }),
    );
    assert_eq!(decide(&vm).action, Action::Protect { to: name("c") });
    vm.seen.ordered = Some(at(99).time);
    assert_eq!(codes(&decide(&vm).reasons), ["ordered"]);
    (vm.seen.ordered, vm.seen.prepared) = (None, None);
    for (phase, code) in [
        (PhaseWord::Connecting, "connecting"),
        (PhaseWord::Copying, "copying"),
        (PhaseWord::CatchingUp, "catching-up"),
        (PhaseWord::Arming, "arming"),
    ] {
        vm.seen.here.as_mut().unwrap().process.clone = Some(clone("c", phase));
        let decision = decide(&vm);
        assert!(is_wait(&decision) && codes(&decision.reasons) == [code]);
    }
    assert_eq!(decide(&paired()).action, Action::Nothing);
}

#[test]
fn a_reservation_is_kept_though_it_takes_room_but_not_if_its_host_is_drained_or_it_has_ended() {
    let mut vm = solo();
    vm.seen.prepared = Some(Prepared {
        host: name("c"),
        until: at(120).time,
    });
    let full = decide_at(at(100), &vm, |hosts| {
        (hosts[2].free_bytes, hosts[2].protected) = (0, 8);
    });
    assert_eq!(full.action, Action::Protect { to: name("c") });
    let drained = decide_at(at(100), &vm, |hosts| drain(hosts, 2));
    assert_eq!(drained.action, Action::Prepare { host: name("b") });
    assert_eq!(
        decide_at(at(120), &vm, |_| {}).action,
        Action::Prepare { host: name("b") }
    );
}

#[test]
fn where_no_host_takes_the_backup_each_says_why_and_the_first_is_tried_again_in_time() {
    let vm = solo();
    let mut backoff = Backoff::new(1);
    backoff.shun(at(90), vm.name(), &name("b"), "was too slow");
    backoff.fail(at(100), vm.name(), &name("c"), "takes no backup now");
    let decision = decide_with(at(100), &vm, &backoff, |_| {});
    assert_eq!(
        decision.action,
        Action::Wait {
            until: Some(at(101).time)
        }
    );
    assert_eq!(
        codes(&decision.reasons),
        ["tries", "host-shunned", "host-refused"]
    );
    assert_eq!(
        decision.reasons[0].sentence(),
        "2 tries failed, the last: c takes no backup now; next at 2026-11-28 21:42:12 UTC"
    );
    let decision = decide_with(at(101), &vm, &backoff, |_| {});
    assert_eq!(decision.action, Action::Prepare { host: name("c") });
    let alone = decide_at(at(100), &vm, |hosts| hosts.truncate(1));
    assert_eq!(codes(&alone.reasons), ["no-hosts"]);
}

#[test]
fn a_host_that_somebody_has_named_is_asked_though_it_is_shunned_but_not_the_moment_it_has_failed() {
    let mut vm = solo();
    vm.operation = begun(Kind::Protect { to: Some(name("c")) });
    let mut backoff = Backoff::new(1);
    backoff.shun(at(100), vm.name(), &name("c"), "did not become the backup");
    let at_once = decide_with(at(100), &vm, &backoff, |_| {});
    assert!(is_wait(&at_once), "{at_once:?}");
    assert_eq!(codes(&at_once.reasons), ["host-refused"]);
    assert_eq!(at_once.ended, None, "it is only put off");
    let later = decide_with(at(101), &vm, &backoff, |_| {});
    assert_eq!(later.action, Action::Prepare { host: name("c") });
    backoff.shun(at(101), vm.name(), &name("c"), "did not become the backup");
    let soon = decide_with(at(102), &vm, &backoff, |_| {});
    assert!(is_wait(&soon), "twice as long after the second failure: {soon:?}");
}

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
fn a_vm_that_shall_have_no_backup_is_rid_of_it_in_every_state() {
    for wish in [Protected::Off, Protected::Suspended] {
        let mut vm = paired();
        vm.desired.protected = wish;
        assert_eq!(decide(&vm).action, Action::Dismiss);
        vm.seen.here.as_mut().unwrap().process.is_dismissing = true;
        assert!(is_wait(&decide(&vm)));
        let mut cloning = solo();
        cloning.desired.protected = wish;
        cloning.seen.here.as_mut().unwrap().process.clone = Some(clone("b", PhaseWord::Copying));
        assert_eq!(decide(&cloning).action, Action::Dismiss);
        let mut alone = solo();
        alone.desired.protected = wish;
        alone.operation = begun(Kind::Unprotect);
        let decision = decide(&alone);
        assert_eq!(decision.action, Action::Nothing);
        assert_eq!(decision.ended, Some(Outcome::Done));
        assert_eq!(codes(&decision.reasons), ["user"]);
        assert!(!decision.stuck);
        let drained = decide_at(at(100), &alone, |hosts| drain(hosts, 0));
        assert!(drained.stuck, "nobody can take it over");
    }
}

#[test]
fn a_failover_hands_over_and_ends_where_the_vm_has_gone() {
    let mut vm = paired();
    vm.operation = begun(Kind::Failover { from: name("a") });
    assert_eq!(decide(&vm).action, Action::HandOver { cause: Cause::Wanted });
    vm.seen.here.as_mut().unwrap().process.is_swapping = true;
    assert!(is_wait(&decide(&vm)));
    let mut there = paired();
    there.operation = begun(Kind::Failover { from: name("b") });
    assert_eq!(decide(&there).ended, Some(Outcome::Done));
    let mut lonely = solo();
    lonely.operation = begun(Kind::Failover { from: name("a") });
    assert_eq!(failed(&decide(&lonely)), ["no-backup"]);
    lonely.seen.lost = Some(plan::Lost {
        host: Some(name("b")),
        at: at(99).wall,
        how: plan::Loss::TookOver,
    });
    assert_eq!(failed(&decide(&lonely)), ["backup-lost"]);
    assert_eq!(
        decide(&lonely).action,
        Action::Prepare { host: name("b") },
        "and it gets another"
    );
    vm.seen.here.as_mut().unwrap().process.is_swapping = false;
    vm.seen.not_handed_over = Some(Failures {
        count: 1,
        last: "the disk did not answer for 2 s".into(),
        at: at(99).time,
    });
    let decision = decide(&vm);
    assert_eq!(
        decision.action,
        Action::Wait {
            until: Some(at(101).time)
        }
    );
    assert_eq!(
        decide_at(at(101), &vm, |_| {}).action,
        Action::HandOver { cause: Cause::Wanted }
    );
    vm.seen.not_handed_over.as_mut().unwrap().count = 3;
    assert_eq!(failed(&decide_at(at(101), &vm, |_| {})), ["tries"]);
}

/// A test of epoch 1 that is decided, or not yet.
fn tested(vm: &mut Vm, kind: Kind, is_decided: bool) {
    vm.operation = begun(kind);
    vm.operation.as_mut().unwrap().is_confirmed = is_decided;
}

#[test]
fn a_test_of_the_owner_decides_and_kills_and_ends_where_the_vm_is_protected_again() {
    let kind = |from: &str| Kind::TestFailover {
        from: name(from),
        epoch: 1,
    };
    let mut vm = paired();
    tested(&mut vm, kind("a"), false);
    assert_eq!(decide(&vm).action, Action::Decide);
    tested(&mut vm, kind("a"), true);
    assert_eq!(decide(&vm).action, Action::Kill { epoch: 1 });
    // It is seen there that it has won the next epoch, and it gets a backup before the test ends.
    let mut there = solo();
    tested(&mut there, kind("b"), true);
    there.seen.here.as_mut().unwrap().process.epoch = 2;
    let decision = decide(&there);
    assert!(matches!(decision.action, Action::Prepare { .. }), "{decision:?}");
    assert_eq!(decision.ended, None);
    let mut again = paired();
    tested(&mut again, kind("b"), true);
    again.seen.here.as_mut().unwrap().process.epoch = 2;
    let decision = decide(&again);
    assert_eq!(
        (decision.action, decision.ended),
        (Action::Nothing, Some(Outcome::Done))
    );
}

#[test]
fn a_test_of_the_backup_is_carried_out_by_the_agent_of_its_host() {
    let kind = |host: &str| Kind::TestBackup {
        host: name(host),
        epoch: 1,
    };
    let mut member = paired();
    member.seen.here = Some(view("a", process(RoleWord::Backup, Some("b"))));
    tested(&mut member, kind("a"), false);
    assert_eq!(decide(&member).action, Action::Decide);
    tested(&mut member, kind("a"), true);
    assert_eq!(decide(&member).action, Action::Kill { epoch: 1 });
    tested(&mut member, kind("c"), true);
    assert!(is_wait(&decide(&member)), "another host's is meant");
    member.operation = None;
    assert_eq!(decide(&member).action, Action::Nothing);
    let mut owner = paired();
    tested(&mut owner, kind("b"), true);
    let decision = decide(&owner);
    assert!(is_wait(&decision) && decision.ended.is_none(), "{decision:?}");
    owner.seen.here.as_mut().unwrap().process.epoch = 2;
    assert_eq!(decide(&owner).ended, Some(Outcome::Done));
}

#[test]
fn a_test_fails_without_a_kill_if_the_vm_is_not_protected_any_more() {
    let kind = Kind::TestFailover {
        from: name("a"),
        epoch: 1,
    };
    for is_decided in [false, true] {
        let mut alone = solo();
        tested(&mut alone, kind.clone(), is_decided);
        let decision = decide(&alone);
        assert_eq!(failed(&decision), ["no-backup"]);
        assert!(matches!(decision.action, Action::Prepare { .. }), "{decision:?}");
        let mut unwanted = paired();
        unwanted.desired.protected = Protected::Off;
        tested(&mut unwanted, kind.clone(), is_decided);
        assert_eq!(decide(&unwanted).action, Action::Dismiss);
        assert_eq!(failed(&decide(&unwanted)).len(), 1);
    }
    // A half was lost before anybody killed one.
    let mut overtaken = paired();
    tested(&mut overtaken, kind, false);
    overtaken.seen.here.as_mut().unwrap().process.epoch = 2;
    assert_eq!(failed(&decide(&overtaken)), ["no-backup"]);
}

#[test]
fn a_move_takes_the_backup_there_first_and_then_hands_over() {
    let mut vm = paired();
    vm.operation = begun(Kind::Move { to: name("c") });
    assert_eq!(decide(&vm).action, Action::Prepare { host: name("c") });
    vm.seen.prepared = Some(Prepared {
        host: name("c"),
        until: at(120).time,
    });
    assert_eq!(decide(&vm).action, Action::MoveBackup { to: name("c") });
    vm.seen.prepared = None;
    vm.seen.here = Some(view("a", process(RoleWord::Primary, Some("c"))));
    assert_eq!(decide(&vm).action, Action::HandOver { cause: Cause::Wanted });
    let mut there = paired();
    there.operation = begun(Kind::Move { to: name("a") });
    assert_eq!(decide(&there).ended, Some(Outcome::Done));
    // It lost its backup in the middle, and gets the next one where it is to go.
    let mut lonely = solo();
    lonely.operation = begun(Kind::Move { to: name("c") });
    assert_eq!(decide(&lonely).action, Action::Prepare { host: name("c") });
}

#[test]
fn a_move_to_a_host_that_cannot_take_it_fails_with_all_its_refusals() {
    for mut vm in [paired(), solo()] {
        vm.operation = begun(Kind::Move { to: name("c") });
        let decision = decide_at(at(100), &vm, |hosts| {
            hosts[2].free_bytes = 0;
            hosts[2].networks.clear();
        });
        assert_eq!(failed(&decision), ["host-network", "host-full"]);
        vm.operation = begun(Kind::Move { to: name("z") });
        assert_eq!(failed(&decide(&vm)), ["host-silent"]);
    }
    // One that has just refused is asked again, but not for ever.
    let mut vm = paired();
    vm.operation = begun(Kind::Move { to: name("c") });
    let mut backoff = Backoff::new(1);
    backoff.fail(at(100), vm.name(), &name("c"), "takes no backup now");
    assert!(is_wait(&decide_with(at(100), &vm, &backoff, |_| {})));
    backoff.fail(at(100), vm.name(), &name("c"), "takes no backup now");
    backoff.fail(at(100), vm.name(), &name("c"), "takes no backup now");
    assert_eq!(failed(&decide_with(at(100), &vm, &backoff, |_| {})), ["tries"]);
}

#[test]
fn a_vm_is_protected_on_the_host_that_is_named_or_on_another_if_that_one_cannot() {
    let mut vm = solo();
    vm.operation = begun(Kind::Protect { to: Some(name("c")) });
    assert_eq!(decide(&vm).action, Action::Prepare { host: name("c") });
    let decision = decide_at(at(100), &vm, |hosts| hosts[2].networks.clear());
    assert_eq!(failed(&decision), ["host-network"]);
    assert_eq!(decision.action, Action::Prepare { host: name("b") });
    vm.seen.here = Some(view("a", process(RoleWord::Primary, Some("b"))));
    assert_eq!(
        decide(&vm).ended,
        Some(Outcome::Done),
        "`move-backup` is another order"
    );
}

#[test]
fn a_backup_is_moved_to_the_host_that_is_named_or_to_the_best() {
    let mut vm = paired();
    let kind = |to: Option<&str>| Kind::MoveBackup {
        from: Some(name("b")),
        to: to.map(name),
    };
    vm.operation = begun(kind(None));
    assert_eq!(decide(&vm).action, Action::Prepare { host: name("c") });
    vm.operation = begun(kind(Some("b")));
    assert_eq!(decide(&vm).ended, Some(Outcome::Done));
    vm.seen.here = Some(view("a", process(RoleWord::Primary, Some("c"))));
    vm.operation = begun(kind(None));
    assert_eq!(decide(&vm).ended, Some(Outcome::Done));
    vm.seen.here.as_mut().unwrap().process.is_dismissing = true;
    assert_eq!(decide(&vm).ended, None, "the old one has not gone yet");
    let mut nowhere = paired();
    nowhere.operation = begun(kind(None));
    let decision = decide_at(at(100), &nowhere, |hosts| hosts.truncate(2));
    assert_eq!(failed(&decision), ["host-same"]);
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
fn a_drained_host_loses_its_backups_and_hands_its_vms_over() {
    let vm = paired();
    let member = decide_at(at(100), &vm, |hosts| drain(hosts, 1));
    assert_eq!(member.action, Action::Prepare { host: name("c") });
    let owner = decide_at(at(100), &vm, |hosts| drain(hosts, 0));
    assert_eq!(owner.action, Action::HandOver { cause: Cause::Wanted });
    let both = decide_at(at(100), &vm, |hosts| {
        drain(hosts, 0);
        drain(hosts, 1);
    });
    assert_eq!(
        both.action,
        Action::Prepare { host: name("c") },
        "first to where it can be handed over"
    );
    let uncontrolled = decide_at(at(100), &vm, |hosts| {
        drain(hosts, 0);
        hosts[1].heard = Some(at(90).time);
    });
    assert_eq!(uncontrolled.action, Action::Prepare { host: name("c") });
    let nowhere = decide_at(at(100), &vm, |hosts| {
        drain(hosts, 1);
        hosts[2].networks.clear();
    });
    assert!(nowhere.stuck && is_wait(&nowhere));
    assert_eq!(
        codes(&nowhere.reasons),
        ["host-same", "host-draining", "host-network"]
    );
}

#[test]
fn a_drained_host_loses_one_vm_at_a_time_the_smallest_first_past_those_that_cannot_go() {
    let vm = paired();
    let held = |memory_bytes, controller: &str, stuck| Held {
        memory_bytes,
        controller: name(controller),
        stuck,
    };
    let with = |others: &[(&str, Held)], is_silent: bool| {
        decide_at(at(100), &vm, |hosts| {
            drain(hosts, 1);
            hosts[1].holds.insert(vm_name("shop"), held(GIB / 2, "a", false));
            for (name, held) in others {
                hosts[1].holds.insert(vm_name(name), held.clone());
            }
            if is_silent {
                hosts[2].heard = Some(at(90).time);
                hosts.push(crate::sample::host("d", at(100)));
            }
        })
    };
    let larger = ("ldap", held(GIB, "c", false));
    assert!(matches!(with(&[larger], false).action, Action::Prepare { .. }));
    let smaller = ("ldap", held(GIB / 4, "c", false));
    let waits = with(std::slice::from_ref(&smaller), false);
    assert!(is_wait(&waits) && codes(&waits.reasons) == ["turn"] && !waits.stuck);
    assert_eq!(
        waits.reasons[0].sentence(),
        "ldap goes first; this VM is next when that is done"
    );
    let stuck = ("ldap", held(GIB / 4, "c", true));
    assert!(matches!(with(&[stuck], false).action, Action::Prepare { .. }));
    assert!(
        matches!(with(&[smaller], true).action, Action::Prepare { .. }),
        "its agent is silent"
    );
}

#[test]
fn clones_leave_a_host_one_after_the_other_the_smallest_unprotected_first() {
    let now = at(100);
    let hosts = hosts(3, now);
    let me = name("a");
    let mut large = solo();
    (large.need.vm, large.need.memory_bytes) = (vm_name("large"), GIB);
    let mut moving = paired();
    (moving.need.vm, moving.need.memory_bytes) = (vm_name("ldap"), 1);
    moving.operation = begun(Kind::MoveBackup {
        from: Some(name("b")),
        to: None,
    });
    let vms = [large, moving, solo()];
    let decisions = plan(now, &site(&me, &hosts), &vms, &Backoff::new(1));
    assert_eq!(decisions[2].action, Action::Prepare { host: name("b") });
    for waiting in &decisions[..2] {
        assert_eq!(codes(&waiting.reasons), ["turn"]);
    }
    let two = plan::Site {
        clones_max: 2,
        ..site(&me, &hosts)
    };
    let decisions = plan(now, &two, &vms, &Backoff::new(1));
    assert_eq!(decisions[0].action, Action::Prepare { host: name("b") });
    assert_eq!(codes(&decisions[1].reasons), ["turn"]);
}

/// A pair whose owner has been without a network for two seconds.
fn ill() -> Vm {
    let mut vm = paired();
    let mut watch = Watch::default();
    let net_down = Health {
        is_net_down: true,
        ..Health::default()
    };
    watch.hear(at(98).time, net_down, Some(Health::default()));
    vm.seen.health = watch;
    vm
}

#[test]
fn a_vm_whose_member_is_better_off_is_handed_over_with_damping() {
    let mut vm = ill();
    let health = Action::HandOver { cause: Cause::Health };
    assert_eq!(decide(&vm).action, health);
    assert_eq!(decide_at(at_ms(99_999), &vm, |_| {}).action, Action::Nothing);
    let swap = |from: &str, to: &str, cause, seconds: u64| Swap {
        at: at(seconds).wall,
        from: name(from),
        to: name(to),
        cause,
    };
    vm.seen.swaps = vec![swap("c", "a", Cause::Health, 90)];
    assert_eq!(decide(&vm).action, Action::Nothing, "one in ten minutes");
    vm.seen.swaps = vec![swap("b", "a", Cause::Failure, 90)];
    assert_eq!(
        decide(&vm).action,
        Action::Nothing,
        "not back to a host that failed"
    );
    let late = at(90 + 3_600);
    assert_eq!(decide_at(late, &vm, |_| {}).action, health);
    vm.seen.swaps = vec![swap("b", "a", Cause::Wanted, 90)];
    assert_eq!(decide(&vm).action, health);
    vm.desired.swaps_for_health = false;
    assert_eq!(decide(&vm).action, Action::Nothing);
    let drained = decide_at(at(100), &ill(), |hosts| drain(hosts, 1));
    assert_eq!(drained.action, Action::Prepare { host: name("c") });
    let silent = decide_at(at(100), &ill(), |hosts| hosts[1].heard = Some(at(90).time));
    assert!(is_wait(&silent), "its agent would have to control it");
}

#[test]
fn nothing_is_handed_over_while_the_arbiter_is_away() {
    let now = at(100);
    let (hosts, me) = (hosts(3, now), name("a"));
    let site = plan::Site {
        arbiter_away: Some(("a b c", Span::from_ms(9_000))),
        ..site(&me, &hosts)
    };
    let mut vm = ill();
    for operation in [None, begun(Kind::Failover { from: name("a") })] {
        vm.operation = operation;
        let decision = plan(now, &site, std::slice::from_ref(&vm), &Backoff::new(1)).remove(0);
        assert!(is_wait(&decision) && codes(&decision.reasons) == ["arbiter-away"]);
    }
}

#[test]
fn a_snapshot_keeps_a_vm_where_it_is() {
    for mut vm in [solo(), paired()] {
        vm.seen.here.as_mut().unwrap().process.has_snapshot = true;
        vm.operation = begun(Kind::Move { to: name("b") });
        assert!(is_wait(&decide(&vm)), "{:?}", decide(&vm));
    }
    let mut vm = ill();
    vm.seen.here.as_mut().unwrap().process.has_snapshot = true;
    assert!(is_wait(&decide(&vm)));
}

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
