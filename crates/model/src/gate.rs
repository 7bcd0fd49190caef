//! The output rule: when an owner may show, and what it shows next.

use crate::flaw::Flaw;
use crate::rules::Model;
use crate::set::Id;
use crate::state::{Entry, Process, Role, State};

/// May this process show outputs now?
#[must_use]
pub fn may_show(model: &Model, process: &Process) -> bool {
    let members = process.members;
    let runs = |member| process.leases.has(member);
    let one_is_enough = model.has(Flaw::LeaseOfOne) && !members.is_empty();
    process.role == Role::Live
        && if one_is_enough {
            members.iter().any(runs)
        } else {
            members.iter().all(runs)
        }
}

/// The output that this process may show next, and its place.
#[must_use]
pub fn shows_next(model: &Model, state: &State, id: Id) -> Option<(usize, Entry)> {
    let process = &state.processes[id];
    let (at, entry) = process
        .log
        .outputs()
        .find(|&(at, _)| state.shown.get(at).is_none())?;
    let knows = |member: Id| process.knows(member, at);
    let mut members = process.members.iter();
    let is_known = if model.has(Flaw::GateOfOne) && !process.members.is_empty() {
        members.any(knows)
    } else {
        members.all(knows)
    };
    (is_known && may_show(model, process)).then_some((at, entry))
}
