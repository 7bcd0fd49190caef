//! How a VM gets its backup, and another one when somebody wants that.

use plan::{Action, Backoff, Given, Kind, Outcome, Prepared, Protected, plan};
use report::{PhaseWord, RoleWord};

use super::{begun, codes, decide, decide_at, decide_with, drain, failed, is_wait};
use crate::sample::{GIB, at, clone, hosts, name, paired, process, site, solo, view, vm_name};

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
    let given = |is_taken| {
        let at = at(99).time;
        Some(Given { at, is_taken })
    };
    vm.seen.ordered = given(false);
    assert_eq!(codes(&decide(&vm).reasons), ["ordered"]);
    assert!(!decide(&vm).goes_on, "the process may refuse");
    vm.seen.ordered = given(true);
    assert!(decide(&vm).goes_on);
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
    let until = Some(at(101).time);
    assert_eq!(at_once.action, Action::Wait { until }, "as long as it is put off");
    backoff.shun(at(101), vm.name(), &name("c"), "did not become the backup");
    let soon = decide_with(at(102), &vm, &backoff, |_| {});
    assert!(is_wait(&soon), "twice as long after the second failure: {soon:?}");
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
