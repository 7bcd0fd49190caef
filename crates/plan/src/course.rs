//! What is done for a VM whose live process is on this host: this agent is its controller. The order of the
//! rules is the order of their weight: what the guest shall do, whether it shall have a backup, that it has
//! one, what somebody has asked for, a host that is drained, its health.
//!
//! One order at a time: while the process is busy with one, it is waited.

use messages::vm_name::VmName;
use report::RoleWord;

use crate::action::Action;
use crate::backoff::doubled;
use crate::decision::{Decision, Look};
use crate::draining;
use crate::health::Cause;
use crate::host::HostName;
use crate::killing;
use crate::limits::{ORDER_PATIENCE, REFUSED_REST, REFUSED_REST_MAX, TRIES_MAX};
use crate::operation::{Kind, Outcome};
use crate::swap;
use crate::vm::{Asked, Desired, Given, Power, Process, Protected};
use crate::watchdog;
use crate::why::{Why, told};

/// Decides on a VM whose live process is this one.
pub(crate) fn decide(look: &Look<'_>, process: &Process) -> Decision {
    let ended = outcome(look, process).or_else(|| look.overdue());
    let look = Look {
        operation: look.operation.filter(|_| ended.is_none()),
        ..*look
    };
    let decision = next(&look, process);
    match ended {
        Some(ended) => decision.ending(ended),
        None => decision,
    }
}

/// The same decision, unless its order was refused a moment ago: then it is waited.
fn rested(look: &Look<'_>, decision: Decision) -> Decision {
    let refused = look.vm.seen.refused.as_ref();
    let Some(refused) = refused.filter(|refused| refused.action == decision.action) else {
        return decision;
    };
    let failures = &refused.failures;
    let next = failures
        .at
        .after(doubled(REFUSED_REST, REFUSED_REST_MAX, failures.count));
    if next <= look.now.time {
        return decision;
    }
    let reasons = vec![failures.tries(look.now, next)];
    let until = Some(next);
    Decision {
        reasons,
        ..decision.with(Action::Wait { until })
    }
}

/// Why a VM has no backup though nothing is amiss: somebody wants that, or its settings do.
pub(crate) fn unwanted(desired: &Desired, vm: &VmName) -> Why {
    match &desired.protected_asked {
        None => Why::Policy { vm: vm.clone() },
        Some(asked) if desired.protected == Protected::Suspended => wished(vm, asked, "protection resume"),
        Some(asked) => wished(vm, asked, "protect"),
    }
}

/// What somebody has asked for as a reason, with the command that undoes it.
fn wished(vm: &VmName, asked: &Asked, undo: &'static str) -> Why {
    Why::User {
        vm: vm.clone(),
        by: asked.by.clone(),
        at: asked.at,
        comment: asked.comment.clone(),
        undo,
    }
}

/// How the VM's operation has ended, by what is seen; `None`: it goes on.
fn outcome(look: &Look<'_>, process: &Process) -> Option<Outcome> {
    let (me, member) = (look.site.me, process.member());
    let (desired, name) = (&look.vm.desired, look.vm.name());
    let is_settled = process.clone.is_none() && !process.is_dismissing && !process.is_swapping;
    let lost = || Outcome::Failed(vec![no_backup(look)]);
    let protected = || {
        if member.is_none() {
            Some(lost())
        } else {
            is_settled.then_some(Outcome::Done)
        }
    };
    let needs_backup = |kind: &Kind| {
        matches!(
            kind,
            Kind::Failover { .. } | Kind::Move { .. } | Kind::MoveBackup { .. } | Kind::Protect { .. }
        )
    };
    match look.kind()? {
        Kind::Start => Some(Outcome::Done),
        // Somebody has changed their mind meanwhile.
        Kind::Stop if !matches!(desired.power, Power::Off { .. }) => {
            Some(Outcome::Failed(vec![wished(name, &desired.power_asked, "stop")]))
        }
        Kind::Unprotect if desired.protected == Protected::On => {
            let asked = desired.protected_asked.clone().unwrap_or_default();
            Some(Outcome::Failed(vec![wished(name, &asked, "unprotect")]))
        }
        kind @ (Kind::TestFailover { .. } | Kind::TestBackup { .. }) => {
            let unwanted = || unwanted(desired, name);
            killing::outcome(look, process, killing::half(kind)?, unwanted, || no_backup(look))
        }
        Kind::Failover { from, epoch }
            if from != me || process.first_epoch.unwrap_or(process.epoch) > *epoch =>
        {
            protected()
        }
        Kind::Move { to } if to == me => protected(),
        kind if needs_backup(kind) && desired.protected != Protected::On => {
            Some(Outcome::Failed(vec![unwanted(desired, name)]))
        }
        Kind::Failover { .. } if member.is_none() => Some(lost()),
        Kind::MoveBackup { from, to } => {
            let is_there = match to {
                Some(to) => member == Some(to),
                None => member.is_some() && member != from.as_ref(),
            };
            (is_there && is_settled).then_some(Outcome::Done)
        }
        Kind::Protect { .. } => (member.is_some() && is_settled).then_some(Outcome::Done),
        Kind::Unprotect => (member.is_none() && is_settled).then_some(Outcome::Done),
        Kind::Reset if look.operation.is_some_and(|operation| operation.is_confirmed) => Some(Outcome::Done),
        Kind::Reset if process.is_paused => {
            let sentence = format!(
                "{name} is paused, and a guest that stands cannot boot; `lockstep resume {name}` has it run \
                 on"
            );
            Some(Outcome::Failed(vec![told("paused", &sentence)]))
        }
        Kind::Failover { .. } | Kind::Move { .. } | Kind::Reset | Kind::Stop => None,
    }
}

/// Why the VM has no backup though one is wanted.
fn no_backup(look: &Look<'_>) -> Why {
    let name = look.vm.name();
    match &look.vm.seen.lost {
        Some(lost) => Why::BackupLost {
            host: lost.host.clone(),
            at: lost.at,
            how: lost.how.clone(),
        },
        None => {
            let sentence = format!(
                "{name} has no backup that could go on with it; `lockstep protect {name}` \
                                    makes one"
            );
            told("no-backup", &sentence)
        }
    }
}

/// The next step, of the first rule that has one.
fn next(look: &Look<'_>, process: &Process) -> Decision {
    if let Some(Given { at, is_taken }) = look.vm.seen.ordered
        && look.now.time.since(at) < ORDER_PATIENCE
    {
        return Decision::wait(vec![Why::Ordered], Some(at.after(ORDER_PATIENCE))).going_on(is_taken);
    }
    if let Some(decision) = power(look, process) {
        return rested(look, decision);
    }
    let mut decision = rested(look, protection(look, process));
    if matches!(decision.action, Action::Nothing | Action::Wait { .. })
        && let Some(action) = watchdog::reset(look, process)
    {
        decision = rested(look, decision.with(action));
    }
    match refused_wish(look, process) {
        // What cannot be done for the guest keeps nobody from what can be done for the VM.
        Some(why) if decision.action == Action::Nothing => Decision {
            action: Action::Wait { until: None },
            reasons: vec![why],
            ..decision
        },
        _ => decision,
    }
}

/// The next step for the VM's backup, of the first rule that has one.
fn protection(look: &Look<'_>, process: &Process) -> Decision {
    if look.vm.desired.protected != Protected::On {
        return alone(look, process);
    }
    if process.clone.is_some() || process.is_dismissing || process.is_swapping {
        let reasons = on_the_way(process);
        return Decision::wait(reasons, None).going_on(true);
    }
    match process.member() {
        None => unprotected(look, process),
        Some(member) => paired(look, process, member),
    }
}

/// What is to be done so that the guest runs, stands or is off as is wanted; `None`: it does.
fn power(look: &Look<'_>, process: &Process) -> Option<Decision> {
    let order = |action| Some(Decision::order(action));
    match look.vm.desired.power {
        Power::Off { hard: false } if !process.has_power_button => None,
        Power::Off { hard } => order(Action::Stop { hard }),
        Power::Paused if !process.is_paused => order(Action::Pause),
        Power::On if process.is_paused => order(Action::Resume),
        Power::On if look.kind() == Some(&Kind::Reset) => order(Action::Reset),
        Power::Paused | Power::On => None,
    }
}

/// Why the guest cannot be brought to what is wanted of it; `None`: it can.
fn refused_wish(look: &Look<'_>, process: &Process) -> Option<Why> {
    let is_refused = look.vm.desired.power == Power::Off { hard: false } && !process.has_power_button;
    is_refused.then(|| {
        let sentence = format!(
            "the guest cannot be asked to switch off, since its board has no power button: switch it off \
             from inside, or pull its plug with `lockstep stop {} --hard`",
            look.vm.name()
        );
        told("no-power-button", &sentence)
    })
}

/// A VM that shall have no backup is rid of the one that it has.
fn alone(look: &Look<'_>, process: &Process) -> Decision {
    let why = unwanted(&look.vm.desired, look.vm.name());
    if process.is_dismissing || process.is_swapping {
        return Decision::wait(vec![why], None).going_on(true);
    }
    if process.member().is_some() || process.clone.is_some() {
        return Decision::order(Action::Dismiss);
    }
    let decision = Decision {
        reasons: vec![why],
        ..Decision::nothing()
    };
    // Without a backup there is nobody to hand it over to.
    let is_stuck = look.drains_here();
    decision.stuck(is_stuck)
}

/// What the process is busy with.
pub(crate) fn on_the_way(process: &Process) -> Vec<Why> {
    let mut reasons = Vec::new();
    if let Some(clone) = &process.clone {
        let host = clone.to.clone();
        reasons.push(match clone.phase {
            report::PhaseWord::Connecting => Why::Connecting { host },
            report::PhaseWord::Copying => Why::Copying {
                host,
                done_bytes: clone.done_bytes,
                total_bytes: clone.total_bytes,
                bytes_per_second: clone.bytes_per_second,
            },
            report::PhaseWord::CatchingUp => Why::CatchingUp { host, lag: clone.lag },
            report::PhaseWord::Arming => Why::Arming {
                host,
                outputs: clone.outputs,
            },
        });
    }
    if let Some(sync) = &process.sync {
        reasons.push(Why::SyncingDisks {
            disk: sync.disk.clone(),
            done_bytes: sync.done_bytes,
            total_bytes: sync.total_bytes,
            bytes_per_second: sync.bytes_per_second,
        });
    }
    if reasons.is_empty() && process.role == Some(RoleWord::Primary) {
        reasons.push(Why::Ordered);
    }
    reasons
}

/// A VM that lacks its backup gets one.
fn unprotected(look: &Look<'_>, process: &Process) -> Decision {
    if !process.can_have_backup {
        let sentence = format!(
            "{} has no arbiter or no key, and both are needed for a backup; give them in its settings",
            look.vm.name()
        );
        return Decision::wait(vec![told("no-arbiter", &sentence)], None).stuck(look.drains_here());
    }
    let mut ended = None;
    if let Some(to) = look.kind().and_then(Kind::named) {
        match obtain_named(look, process, to) {
            Ok(decision) => return decision,
            Err(reasons) => ended = Some(Outcome::Failed(reasons)),
        }
    }
    let mut decision = look.obtain(process, None).unwrap_or_else(|refusals| {
        let reasons = look.tries().into_iter().chain(refusals).collect();
        Decision::wait(reasons, look.next_try(None)).stuck(look.drains_here())
    });
    decision.ended = ended;
    decision
}

/// The next step towards a backup at the host that somebody has asked for.
fn obtain_named(look: &Look<'_>, process: &Process, to: &HostName) -> Result<Decision, Vec<Why>> {
    if look.backoff.failures(look.now, look.vm.name(), to) >= TRIES_MAX {
        return Err(look.tries().into_iter().collect());
    }
    match look.obtain(process, Some(to)) {
        // A host that has just refused is asked again when its time comes.
        Err(refusals) if refusals.iter().all(|why| matches!(why, Why::HostRefused { .. })) => {
            Ok(Decision::wait(refusals, look.next_try(Some(to))))
        }
        other => other,
    }
}

/// The next step towards another backup at whichever host suits the VM best. A host that has just refused is
/// asked again when its time comes, a few times, as one that somebody has named.
fn obtain_any(look: &Look<'_>, process: &Process) -> Result<Decision, Vec<Why>> {
    let tries = look.backoff.tries(look.now, look.vm.name());
    let may_try = tries.is_some_and(|(count, ..)| count < TRIES_MAX);
    let is_passing = |why: &Why| matches!(why, Why::HostRefused { .. });
    match look.obtain(process, None) {
        Err(refusals) if may_try && refusals.iter().any(is_passing) => {
            Ok(Decision::wait(refusals, look.next_try(None)))
        }
        other => other,
    }
}

/// A VM that has its backup goes where somebody wants it, or where it is better off.
fn paired(look: &Look<'_>, process: &Process, member: &HostName) -> Decision {
    if let Some(decision) = killing::step(look, process) {
        return decision;
    }
    let step = match look.kind() {
        Some(Kind::Failover { .. }) => Some(swap::hand_over(look, process, member, Cause::Wanted)),
        Some(Kind::Move { to }) if to == member => {
            Some(swap::hand_over(look, process, member, Cause::Wanted))
        }
        Some(Kind::Move { to }) => Some(obtain_named(look, process, to)),
        Some(Kind::MoveBackup { to: Some(to), .. }) => Some(obtain_named(look, process, to)),
        Some(Kind::MoveBackup { to: None, .. }) => Some(obtain_any(look, process)),
        _ => None,
    };
    match step {
        Some(Ok(decision)) => return decision,
        Some(Err(reasons)) => {
            return Decision::nothing().ending(Outcome::Failed(reasons));
        }
        None => {}
    }
    draining::decide(look, process, member)
        .or_else(|| swap::for_health(look, process, member))
        .unwrap_or_else(Decision::nothing)
}
