//! What the planner does in each situation, one rule after the other, by subject.

mod draining;
mod moving;
mod ordering;
mod protecting;
mod starting;
mod testing;

use plan::{Action, Backoff, Decision, Drain, Host, Kind, Now, Operation, Outcome, Vm, Why, plan};

use crate::sample::{at, hosts, name, site};

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
