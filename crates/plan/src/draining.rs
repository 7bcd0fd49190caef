//! How a host is emptied: its members' VMs get their backup elsewhere, its owners' VMs are handed over first.
//! One VM at a time goes, the smallest first; those that cannot go say why, and let the next one go.
//!
//! Every controller of a VM on that host finds the same turn from the same facts, so nobody leads.

use messages::vm_name::VmName;

use crate::decision::{Decision, Look};
use crate::health::Cause;
use crate::host::{self, Host, HostName};
use crate::moment::Now;
use crate::swap;
use crate::vm::Process;
use crate::why::Why;

/// The VM of which `host` holds a half and that goes next; `None`: none can go at present. A VM whose
/// controller is silent is passed over.
#[must_use]
pub fn next_to_go<'a>(now: Now, host: &'a Host, hosts: &[Host]) -> Option<&'a VmName> {
    let can_act = |name: &HostName| host::find(hosts, name).is_some_and(|host| !host.is_silent(now));
    let can_go = host
        .holds
        .iter()
        .filter(|(_, held)| !held.stuck && can_act(&held.controller));
    let next = can_go.min_by_key(|(name, held)| (held.memory_bytes, *name));
    next.map(|(name, _)| name)
}

/// The next step of a VM with a backup away from a host that is drained; `None`: neither of its hosts is.
pub(crate) fn decide(look: &Look<'_>, process: &Process, member: &HostName) -> Option<Decision> {
    let is_here = look.drains_here();
    let drained = match (is_here, look.is_drained(member)) {
        (false, false) => return None,
        (true, _) => look.site.me,
        (false, true) => member,
    };
    // A member that could not take the VM, or whose agent could not, is replaced first.
    let can_take = !look.is_drained(member) && !swap::is_silent(look, member);
    let step = if is_here && can_take {
        swap::hand_over(look, process, member, Cause::Wanted)
    } else {
        look.obtain(process, None)
    };
    let turn = host::find(look.site.hosts, drained)
        .and_then(|host| next_to_go(look.now, host, look.site.hosts))
        .filter(|next| *next != look.vm.name());
    Some(match (step, turn) {
        (Err(refusals), _) => Decision::wait(refusals, look.next_try(None)).stuck(true),
        (Ok(_), Some(first)) => {
            let first = first.clone();
            Decision::wait(vec![Why::Turn { first }], None)
        }
        (Ok(decision), None) => decision,
    })
}
