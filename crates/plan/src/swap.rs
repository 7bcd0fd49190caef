//! The next step towards a change of roles between a VM's two sides, if that can be done now.
//!
//! The process does the rest and tells how it ended; what failed is tried again later and later, and no more
//! than a few times for one operation.

use crate::action::Action;
use crate::backoff::doubled;
use crate::decision::{Decision, Look};
use crate::health::{Cause, damped};
use crate::host::{self, HostName};
use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX, TRIES_MAX};
use crate::vm::Process;
use crate::why::{Why, told};

/// Has the VM handed over to `member`, or waits until that can be done.
///
/// # Errors
/// It has failed too often in a row, and is not to be tried again before its time: the reason.
pub(crate) fn hand_over(
    look: &Look<'_>,
    process: &Process,
    member: &HostName,
    cause: Cause,
) -> Result<Decision, Vec<Why>> {
    if process.has_snapshot {
        let why = told(
            "cannot-move",
            "a snapshot is being taken, and the VM stays while it is",
        );
        return Ok(Decision::wait(vec![why], None));
    }
    if is_silent(look, member) {
        // Its agent will have to control the VM.
        let age = host::find(look.site.hosts, member).and_then(|host| host.age(look.now));
        let host = member.clone();
        return Ok(Decision::wait(vec![Why::HostSilent { host, age }], None));
    }
    if let Some((place, age)) = look.site.arbiter_away {
        let place = place.to_owned();
        return Ok(Decision::wait(vec![Why::ArbiterAway { place, age }], None));
    }
    if let Some((to, failed)) = &look.vm.seen.not_handed_over
        && to == member
        && !failed.are_forgotten(look.now.time)
    {
        let wait = if failed.count >= TRIES_MAX {
            BACKOFF_MAX
        } else {
            doubled(BACKOFF_FIRST, BACKOFF_MAX, failed.count.saturating_add(1))
        };
        let next = failed.at.after(wait);
        if look.now.time < next {
            let reasons = vec![failed.tries(look.now, next)];
            if failed.count >= TRIES_MAX {
                return Err(reasons);
            }
            return Ok(Decision::wait(reasons, Some(next)));
        }
    }
    Ok(Decision::order(Action::HandOver { cause }))
}

/// Is the agent of this host silent, which would have to control the VM there?
pub(crate) fn is_silent(look: &Look<'_>, host: &HostName) -> bool {
    host::find(look.site.hosts, host).is_none_or(|host| host.is_silent(look.now))
}

/// Has the VM handed over to a member that is better off, if it may; `None`: it is not, or it may not.
pub(crate) fn for_health(look: &Look<'_>, process: &Process, member: &HostName) -> Option<Decision> {
    let (vm, now) = (look.vm, look.now);
    let is_wanted = vm.desired.swaps_for_health && vm.seen.health.wants_swap(now.time, vm.seen.is_fenced);
    if !is_wanted || look.is_drained(member) || damped(now, &vm.seen.swaps, member).is_some() {
        return None;
    }
    let decision = hand_over(look, process, member, Cause::Health);
    Some(decision.unwrap_or_else(|reasons| Decision::wait(reasons, None)))
}
