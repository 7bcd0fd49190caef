//! When a guest that hangs is reset though nobody has asked for that: if its settings want it, while nothing
//! else is done with its VM and its host is well, and damped, as hand-overs for a VM's health are.

use crate::action::Action;
use crate::decision::Look;
use crate::limits::{RESET_EVERY, RESET_NOTE_FRESH};
use crate::vm::{Power, Process};

/// The next step to reset a silent guest whose settings want that: first it is noted, where the next
/// controller finds it, and a look that finds it noted gives the order. `None`: it is not reset, or not now.
///
/// A note whose order was not given in time counts as a reset all the same: nobody knows whether it was.
pub(crate) fn reset(look: &Look<'_>, process: &Process) -> Option<Action> {
    let (vm, site) = (look.vm, look.site);
    let is_wanted = vm.desired.resets_hung && vm.desired.power == Power::On;
    let is_away = process.is_swapping || process.is_paused || process.has_snapshot;
    let is_drained = look.drains_here() || process.member().is_some_and(|member| look.is_drained(member));
    // No reset helps a guest whose host is cut off, and it may be well.
    let health = vm.seen.health.owner();
    let is_cut = health.disk_away.is_some() || health.net_down_since.is_some();
    let is_busy = is_cut || is_away || is_drained || vm.operation.is_some() || site.directory_away.is_some();
    if !is_wanted || is_busy || vm.seen.hang.silence.is_none() {
        return None;
    }
    let Some(last) = &vm.seen.hang.reset else {
        return Some(Action::NoteReset);
    };
    let age = look.now.since_wall(last.at);
    if !last.is_done && last.by == *site.me && age <= RESET_NOTE_FRESH {
        return Some(Action::Reset);
    }
    // Counted from the latest time at which the order may have been given.
    (age.0 >= RESET_EVERY.0 + RESET_NOTE_FRESH.0).then_some(Action::NoteReset)
}
