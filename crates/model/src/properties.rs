//! What must hold in every state, and what the model must be able to show at all.

use stateright::Property;

use crate::gate::may_show;
use crate::rules::Model;
use crate::set::Id;
use crate::state::{Entry, Process, Role, State};

/// At most one process may show outputs.
pub const SINGLE_PRIMARY: &str = "SinglePrimary";
/// Who is live has every output that was shown.
pub const OUTPUT: &str = "Output";
/// Who is live has been a member.
pub const MEMBER: &str = "Member";
/// Who is live has missed no output: what it does not know the contents of was shown.
pub const WHOLE: &str = "Whole";
/// A member on which its owner counts could take over.
pub const PROTECTION: &str = "Protection";
/// As long as somebody lives who may own the VM, somebody does own it once all is settled.
pub const SURVIVAL: &str = "Survival";

/// What must hold in every state.
pub const RULES: [&str; 6] = [SINGLE_PRIMARY, OUTPUT, MEMBER, WHOLE, PROTECTION, SURVIVAL];

/// An heir has lost the claim and won the one after it.
pub const HEIR_TAKES_OVER: &str = "an heir takes over";
/// Two have changed their roles by a hand-over, and the new owner has shown an output.
pub const ROLES_SWAPPED: &str = "the roles are swapped";
/// A member has taken the place of another one that is gone, and protects what was shown.
pub const BACKUP_REPLACED: &str = "the backup is replaced";
/// All hand-overs were declined, and the first owner goes on with its backup.
pub const DECLINED: &str = "a hand-over is declined";

/// Those that may show, and the owner of the newest epoch, which is to.
fn live<'a>(model: &'a Model, state: &'a State) -> impl Iterator<Item = &'a Process> {
    let is_newest = |process: &Process| process.role == Role::Live && process.epoch == state.last();
    let processes = state.processes.iter();
    processes.filter(move |process| may_show(model, process) || is_newest(process))
}

fn single_primary(model: &Model, state: &State) -> bool {
    state
        .processes
        .iter()
        .filter(|process| may_show(model, process))
        .count()
        <= 1
}

fn output(model: &Model, state: &State) -> bool {
    live(model, state).all(|process| process.log.covers(&state.shown))
}

fn member(model: &Model, state: &State) -> bool {
    live(model, state).all(|process| process.was_member)
}

fn whole(model: &Model, state: &State) -> bool {
    live(model, state).all(|process| {
        let mut before = process
            .log
            .outputs()
            .filter(|&(at, _)| at < usize::from(process.cut));
        before.all(|(at, _)| state.shown.get(at).is_some())
    })
}

/// Is this process a member of the newest epoch, or its owner, and able to go on?
fn may_own(state: &State, id: Id) -> bool {
    let process = &state.processes[id];
    let Some(record) = state.record(state.last()) else {
        return false;
    };
    let has_left = matches!(process.hands_to, Some((_, false)));
    let is_guarded = process.epoch == state.last() && process.owner == record.owner && process.was_member;
    process.role != Role::Crashed
        && !process.dismissed
        && !has_left
        && (record.owner == id || record.heirs.has(id) || is_guarded)
}

fn protection(_: &Model, state: &State) -> bool {
    let owners = state.processes.iter().enumerate();
    let newest = |process: &Process| process.role == Role::Live && process.epoch == state.last();
    owners.filter(|(_, owner)| newest(owner)).all(|(_, owner)| {
        let counted = owner.members.iter().filter(|&member| owner.is_proven(member));
        counted.into_iter().all(|member| {
            let other = &state.processes[member];
            other.role == Role::Crashed || other.dismissed || may_own(state, member)
        })
    })
}

fn survival(model: &Model, state: &State) -> bool {
    let somebody_may = (0..state.processes.len()).any(|id| may_own(state, id));
    if !somebody_may || !model.due(state).is_empty() {
        return true;
    }
    state.processes.iter().any(|process| {
        let has_all = process
            .members
            .iter()
            .all(|member| process.acked[member] == process.log.count());
        process.epoch == state.last() && may_show(model, process) && has_all
    })
}

fn heir_takes_over(_: &Model, state: &State) -> bool {
    let pairs = state.records.windows(2);
    let took = |pair: &[crate::state::Record]| match pair {
        [before, after] => before.owner != after.owner && before.heirs.has(after.owner),
        _ => false,
    };
    state
        .processes
        .iter()
        .any(|process| process.role == Role::Live && process.epoch == state.last())
        && pairs.into_iter().any(took)
}

fn roles_swapped(_: &Model, state: &State) -> bool {
    let is_by_it = |shown, id| matches!(shown, Some(Entry::Output { by, epoch }) if by == id && epoch > 1);
    state.processes.iter().enumerate().any(|(id, process)| {
        let showed = (0..crate::state::LOG_MAX).any(|at| is_by_it(state.shown.get(at), id));
        let follows = |member: Id| {
            let other = &state.processes[member];
            other.role == Role::Backup && other.leader == Some(id)
        };
        process.taken != 0 && process.role == Role::Live && showed && process.members.iter().all(follows)
    })
}

fn backup_replaced(_: &Model, state: &State) -> bool {
    let halted = state.processes.iter().any(|process| process.role == Role::Halted);
    state.processes.iter().any(|process| {
        let follows = |member: Id| process.is_proven(member) && process.log.guarded(member).is_some();
        process.role == Role::Live && !process.members.is_empty() && process.members.iter().all(follows)
    }) && halted
}

fn declined(_: &Model, state: &State) -> bool {
    let owner = &state.processes[0];
    let goes_on = owner.role == Role::Live && !owner.members.is_empty() && owner.epoch == 1;
    goes_on && state.left.hand_overs == 0
}

/// The rules, and what the model must be able to show to be worth anything.
#[must_use]
pub fn all() -> Vec<Property<Model>> {
    vec![
        Property::always(SINGLE_PRIMARY, single_primary),
        Property::always(OUTPUT, output),
        Property::always(MEMBER, member),
        Property::always(WHOLE, whole),
        Property::always(PROTECTION, protection),
        Property::always(SURVIVAL, survival),
        Property::sometimes(HEIR_TAKES_OVER, heir_takes_over),
        Property::sometimes(ROLES_SWAPPED, roles_swapped),
        Property::sometimes(BACKUP_REPLACED, backup_replaced),
        Property::sometimes(DECLINED, declined),
    ]
}
