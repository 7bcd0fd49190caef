//! What is done for a VM that has no process on this host: usually nothing, since the agent at its owner's
//! host acts. It is started here if it belongs here, or if it has died and this host is the best one left.
//!
//! Two agents may think so at once: then the arbiter's record decides, and the loser's process ends.

use crate::action::Action;
use crate::decision::{Decision, Look};
use crate::host::{self, HostName};
use crate::limits::{COLD_WAIT, STALE_REMOTE, START_PATIENCE};
use crate::operation::{Kind, Outcome};
use crate::placement::{Need, judge};
use crate::vm::{Ownership, Power, View};
use crate::why::{End, Why, told};

/// Decides on a VM without a process on this host.
pub(crate) fn decide(look: &Look<'_>) -> Decision {
    let (vm, seen) = (look.vm, &look.vm.seen);
    let lives = |view: &View| view.process.is_live() && view.age <= STALE_REMOTE;
    let has_memory = |view: &View| !view.process.is_over() && view.age <= STALE_REMOTE;
    if seen.elsewhere.as_ref().is_some_and(lives) {
        return Decision::nothing();
    }
    let is_home = vm.need.owner == *look.site.me;
    let mut decision = if matches!(vm.desired.power, Power::Off { .. }) {
        Decision::nothing()
    } else if seen.member.as_ref().is_some_and(has_memory) {
        // Whoever has the VM's memory goes on with it.
        Decision::nothing()
    } else {
        start(look, is_home)
    };
    if is_home {
        decision.ended = match decision.action {
            Action::Nothing => ending(look).or_else(|| look.overdue()),
            _ => look.overdue(),
        };
    }
    decision
}

/// How an operation of a VM ends that is off.
fn ending(look: &Look<'_>) -> Option<Outcome> {
    let ended = look.vm.seen.ended.as_ref()?;
    Some(match look.kind()? {
        Kind::Stop | Kind::Unprotect => Outcome::Done,
        _ => Outcome::Failed(vec![Why::Off {
            vm: look.vm.name().clone(),
            how: ended.how.clone(),
            at: ended.at,
        }]),
    })
}

/// The next step towards a process of the VM on this host.
fn start(look: &Look<'_>, is_home: bool) -> Decision {
    let (now, vm, seen) = (look.now, look.vm, &look.vm.seen);
    if let Some(since) = seen.starting
        && now.time.since(since) < START_PATIENCE
    {
        return Decision::wait(vec![Why::Ordered], Some(since.after(START_PATIENCE))).going_on(true);
    }
    let (is_fresh, is_dead) = match &seen.ended {
        // It never ran, or nobody knows how it ended.
        None => (seen.gone_since.is_none(), seen.gone_since.is_some()),
        // Somebody may have wanted it to run since it ended.
        Some(ended) => (ended.at < vm.desired.power_asked.at, ended.how == End::Died),
    };
    let is_cold = !(is_home && is_fresh);
    if is_cold && !(vm.desired.starts_cold && is_dead) {
        return Decision::nothing();
    }
    let is_home_silent = host::find(look.site.hosts, &vm.need.owner).is_none_or(|home| home.is_silent(now));
    let is_here = is_home || (is_home_silent && is_best(look));
    if !is_here {
        return Decision::nothing();
    }
    match &seen.ownership {
        Ownership::Closed => {}
        Ownership::Open { epoch, host } => {
            let (vm, epoch, host) = (vm.name().clone(), *epoch, host.clone());
            return Decision::wait(vec![Why::ClaimOpen { vm, epoch, host }], None);
        }
        Ownership::Unknown => {
            let away = look.site.arbiter_away.map(|(place, age)| Why::ArbiterAway {
                place: place.to_owned(),
                age,
            });
            let asked = || {
                told(
                    "undecided",
                    "the arbiter is asked whether an earlier owner of the VM has ended",
                )
            };
            return Decision::wait(vec![away.unwrap_or_else(asked)], None);
        }
    }
    if is_cold {
        let Some(since) = seen.gone_since else {
            return Decision::nothing();
        };
        let at = since.after(COLD_WAIT);
        if now.time < at {
            let reason = Why::ColdStart { at: now.wall_of(at) };
            return Decision::wait(vec![reason], Some(at));
        }
    }
    if let Some(until) = look.backoff.until(now, vm.name(), look.site.me) {
        return Decision::wait(look.tries().into_iter().collect(), Some(until));
    }
    Decision::order(Action::Start)
}

/// Would this host be chosen of all that are left, for a VM whose host is gone?
fn is_best(look: &Look<'_>) -> bool {
    let need = Need {
        member: None,
        ..look.vm.need.clone()
    };
    let placement = judge(look.now, &need, look.site.hosts);
    let best: Option<&HostName> = placement.best();
    best == Some(look.site.me)
}
