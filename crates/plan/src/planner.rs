//! `plan`: what an agent does next for each of its VMs, one action at most. It is a function of what is
//! wanted and seen, so it does not matter which agent asks, or whether that agent has just started.
//!
//! Only the agent at the owner's host acts, since only it has the process (docs/decisions/0109).

use messages::vm_name::VmName;
use report::RoleWord;

use crate::action::Action;
use crate::backoff::Backoff;
use crate::course;
use crate::decision::{Decision, Look, Site};
use crate::killing;
use crate::limits::STALE_LOCAL;
use crate::moment::Now;
use crate::operation::{Kind, Outcome};
use crate::start;
use crate::vm::Vm;
use crate::why::Why;

/// Decides on every VM that this agent knows, each of another name; gives one decision for each, in their
/// order.
///
/// Clones leave this host one after the other, as `Site::clones_max` says: of the VMs that wait, those
/// without a backup go first, and of these the smallest.
#[must_use]
pub fn plan(now: Now, site: &Site<'_>, vms: &[Vm], backoff: &Backoff) -> Vec<Decision> {
    let look_at = |vm| Look::at(now, site, vm, backoff);
    let mut busy: Vec<&VmName> = vms
        .iter()
        .filter(|vm| look_at(vm).is_cloning())
        .map(Vm::name)
        .collect();
    let mut order: Vec<usize> = (0..vms.len()).collect();
    order.sort_by_key(|index| vms.get(*index).map(rank));
    let mut decisions = vec![Decision::nothing(); vms.len()];
    for index in order {
        let (Some(vm), Some(slot)) = (vms.get(index), decisions.get_mut(index)) else {
            continue;
        };
        let is_full = busy.len() >= usize::try_from(site.clones_max).unwrap_or(usize::MAX);
        let look = Look {
            first: busy
                .first()
                .copied()
                .filter(|_| is_full && !busy.contains(&vm.name())),
            operation: vm.operation.as_ref(),
            ..look_at(vm)
        };
        *slot = decide(&look);
        if matches!(slot.action, Action::Prepare { .. }) && !busy.contains(&vm.name()) {
            busy.push(vm.name());
        }
    }
    decisions
}

/// Who waits for whom to be cloned: smaller is earlier.
fn rank(vm: &Vm) -> (bool, u64, &VmName) {
    let has_backup = vm
        .seen
        .here
        .as_ref()
        .is_some_and(|view| view.process.member().is_some());
    (has_backup, vm.need.memory_bytes, vm.name())
}

/// Decides on one VM.
fn decide(look: &Look<'_>) -> Decision {
    let Some(view) = &look.vm.seen.here else {
        return start::decide(look);
    };
    let process = &view.process;
    if view.age > STALE_LOCAL {
        let reason = Why::ProcessSilent {
            vm: look.vm.name().clone(),
            host: view.host.clone(),
            age: view.age,
        };
        return Decision::wait(vec![reason], None);
    }
    if process.is_over() {
        // A backup that has halted says nothing of the VM.
        let is_home = look.vm.need.owner == *look.site.me && look.vm.seen.elsewhere.is_none();
        let is_stopped = is_home && look.kind() == Some(&Kind::Stop);
        let decision = Decision::nothing();
        return if is_stopped {
            decision.ending(Outcome::Done)
        } else {
            decision
        };
    }
    match process.role {
        Some(RoleWord::Solo | RoleWord::Primary) => course::decide(look, process),
        None | Some(RoleWord::Claiming) => {
            let told = process.protection.reasons.iter().cloned().map(Why::Told);
            Decision::wait(told.collect(), None)
        }
        Some(RoleWord::Backup) => killing::step(look, process).unwrap_or_else(Decision::nothing),
        // The owner's agent acts.
        Some(RoleWord::Apprentice | RoleWord::Handing | RoleWord::Halted) => Decision::nothing(),
    }
}
