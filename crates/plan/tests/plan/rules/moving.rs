//! How a VM goes to another host: by somebody's word, or for its health.

use messages::time::Span;
use plan::{Action, Backoff, Cause, Failures, Health, Kind, Outcome, Prepared, Swap, Vm, Watch, plan};
use report::RoleWord;

use super::{begun, codes, decide, decide_at, decide_with, drain, failed, is_wait};
use crate::sample::{at, at_ms, hosts, name, paired, process, site, solo, view};

#[test]
fn a_failover_hands_over_and_ends_where_the_vm_has_gone() {
    let mut vm = paired();
    vm.operation = begun(Kind::Failover {
        from: name("a"),
        epoch: u64::MAX,
    });
    assert_eq!(decide(&vm).action, Action::HandOver { cause: Cause::Wanted });
    vm.seen.here.as_mut().unwrap().process.is_swapping = true;
    assert!(is_wait(&decide(&vm)));
    let mut there = paired();
    there.operation = begun(Kind::Failover {
        from: name("b"),
        epoch: u64::MAX,
    });
    assert_eq!(decide(&there).ended, Some(Outcome::Done));
    // Somebody has both sides on one host.
    let mut beside = paired();
    beside.seen.here.as_mut().unwrap().process.first_epoch = Some(4);
    for (epoch, ended) in [(4, None), (3, Some(Outcome::Done))] {
        let from = name("a");
        beside.operation = begun(Kind::Failover { from, epoch });
        assert_eq!(decide(&beside).ended, ended);
    }
    let mut lonely = solo();
    lonely.operation = begun(Kind::Failover {
        from: name("a"),
        epoch: u64::MAX,
    });
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
    let failures = |count| Failures {
        count,
        last: "the disk did not answer for 2 s".into(),
        at: at(99).time,
    };
    vm.seen.not_handed_over = Some((name("b"), failures(1)));
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
    vm.seen.not_handed_over = Some((name("b"), failures(3)));
    assert_eq!(failed(&decide_at(at(101), &vm, |_| {})), ["tries"]);
    // What failed with another backup, or long ago, is no matter.
    let handed_over = Action::HandOver { cause: Cause::Wanted };
    assert_eq!(decide_at(at(399), &vm, |_| {}).action, handed_over);
    vm.seen.not_handed_over = Some((name("c"), failures(3)));
    assert_eq!(decide_at(at(101), &vm, |_| {}).action, handed_over);
    vm.seen.not_handed_over = Some((name("b"), failures(u32::MAX)));
    assert_eq!(failed(&decide_at(at(101), &vm, |_| {})), ["tries"]);
    assert_eq!(decide_at(at(699), &vm, |_| {}).action, handed_over);
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

/// A pair whose owner has been without a network for two seconds.
fn ill() -> Vm {
    let mut vm = paired();
    let mut watch = Watch::default();
    let net_down = Health {
        is_net_down: true,
        ..Health::default()
    };
    watch.hear(at(98).time, net_down, Some((name("b"), Health::default())));
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
    for operation in [
        None,
        begun(Kind::Failover {
            from: name("a"),
            epoch: u64::MAX,
        }),
    ] {
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
