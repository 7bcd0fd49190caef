//! What can happen: which actions a state allows. What they do is in `apply`.
//!
//! *Due* actions come by themselves if nothing fails: a message arrives, a silent peer is suspected, the
//! arbiter answers. The others are failures, orders, and what the guest does; they happen at any moment or
//! never. Everybody may also suspect anybody at any moment: silence proves nothing.

use crate::flaw::Flaw;
use crate::gate;
use crate::rules::Model;
use crate::set::{Id, Set};
use crate::state::{Claim, Process, Role, State};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A follower gets the next entry of its leader's log, and acknowledges it.
    Receive(Id),
    /// The newest acknowledgement of a follower reaches its leader.
    Acknowledge(Id),
    /// A process comes to suspect whom it follows, or to whom it has handed over.
    Suspect(Id),
    /// A process asks the arbiter for the epoch after its own.
    Ask {
        /// Who asks.
        by: Id,
        /// Whom it names.
        heirs: Set,
    },
    /// An owner asks to exclude a member that is well, or asks anew while it waits for an answer.
    Doubt {
        /// Who asks.
        by: Id,
        /// Whom it names.
        heirs: Set,
    },
    /// A claim reaches the arbiter.
    Arbitrate(Claim),
    /// The arbiter's answer reaches who has asked.
    Hear(Id),
    /// The operator wants the first to dismiss the second.
    Dismiss(Id, Id),
    /// `Dismiss` reaches this member.
    HearDismiss(Id),
    /// `Dismissed` from this member reaches its leader.
    HearDismissed(Id),
    /// The first stops its guest and hands over to the second; does it want to be the next backup?
    HandOver(Id, Id, bool),
    /// `HandOver` reaches this member.
    HearHandOver(Id),
    /// A member that was to take over does not.
    Decline(Id),
    /// `Declined` reaches this former owner.
    HearDeclined(Id),
    /// `Taken` reaches this former owner.
    HearTaken(Id),
    /// The first begins to follow the second.
    Join(Id, Id),
    /// The first makes the second, its apprentice, a member.
    Guard(Id, Id),
    /// The guest of this owner produces an output.
    Produce(Id),
    /// This owner shows its next output.
    Show(Id),
    /// A process dies.
    Crash(Id),
    /// The link between these breaks.
    Break(Set),
}

impl Model {
    /// What comes by itself.
    #[must_use]
    pub fn due(&self, state: &State) -> Vec<Action> {
        let mut due: Vec<Action> = state.claims.iter().copied().map(Action::Arbitrate).collect();
        for (id, process) in state.processes.iter().enumerate() {
            if let Some(leader) = process.leader {
                self.due_of_follower(state, id, leader, &mut due);
            }
            if state.record(process.asked).is_some() && !process.is_over() {
                due.push(Action::Hear(id));
            }
            match process.role {
                Role::Claiming if process.asked == 0 => due.push(Action::Ask {
                    by: id,
                    heirs: heirs_of_claiming(process),
                }),
                Role::Live if process.asked == 0 => {
                    let gone = gone(state, id);
                    if !gone.is_empty() {
                        let heirs = self.heirs_without(process, gone);
                        due.push(Action::Ask { by: id, heirs });
                    }
                }
                _ => {}
            }
            if let Some((to, true)) = process.hands_to {
                self.due_of_former(state, id, to, &mut due);
            }
        }
        due
    }

    fn due_of_follower(&self, state: &State, id: Id, leader: Id, due: &mut Vec<Action>) {
        let me = &state.processes[id];
        let other = &state.processes[leader];
        let is_linked = state.is_linked(id, leader);
        let is_whole = me.log.len() >= other.log.len();
        if is_linked && me.follows() && !is_whole {
            due.push(Action::Receive(id));
        }
        let is_served = other.members.has(id) || other.apprentices.has(id);
        let is_news = other.acked[id] < me.log.count() || (!me.promise_over && !other.leases.has(id));
        if is_linked && is_served && is_news && matches!(other.role, Role::Live | Role::Handing) {
            due.push(Action::Acknowledge(id));
        }
        if is_linked && me.role == Role::Backup && other.dismissing.has(id) && !me.dismissed {
            due.push(Action::HearDismiss(id));
        }
        if is_linked && me.dismissed && other.members.has(id) && other.role == Role::Live && other.asked == 0
        {
            due.push(Action::HearDismissed(id));
        }
        if me.role == Role::Backup && me.handed.is_some() && !me.declines {
            due.push(Action::Ask {
                by: id,
                heirs: heirs_of_claiming(me),
            });
        } else if is_linked
            && me.role == Role::Backup
            && !me.declines
            && is_whole
            && other.hands_to.is_some_and(|(to, _)| to == id)
        {
            due.push(Action::HearHandOver(id));
        }
        let is_left = match other.role {
            Role::Live => !is_served,
            Role::Handing => other.hands_to.is_none_or(|(to, _)| to != id),
            _ => true,
        };
        if me.follows() && me.asked == 0 && me.handed.is_none() && (!is_linked || is_left) {
            due.push(Action::Suspect(id));
        }
    }

    /// What comes to a process that has handed over to `to`.
    fn due_of_former(&self, state: &State, id: Id, to: Id, due: &mut Vec<Action>) {
        let me = &state.processes[id];
        let other = &state.processes[to];
        let is_linked = state.is_linked(id, to);
        if is_linked && me.role == Role::Handing && other.declines {
            due.push(Action::HearDeclined(id));
        }
        let listens =
            me.role == Role::Handing || (self.has(Flaw::TakenWhileAsking) && me.role == Role::Claiming);
        if is_linked && listens && other.taken >= me.epoch && other.taken != 0 {
            due.push(Action::HearTaken(id));
        }
        let is_left = match other.role {
            Role::Backup => other.leader != Some(id),
            Role::Claiming => other.handed.is_none(),
            Role::Live => !other.members.has(id),
            _ => true,
        };
        if me.role == Role::Handing && (!is_linked || is_left) {
            due.push(Action::Suspect(id));
        }
    }

    /// Whom an owner names that excludes these members.
    fn heirs_without(&self, process: &Process, dropped: Set) -> Set {
        let stays = |&id: &Id| !dropped.has(id) && (self.has(Flaw::HeirsUnproven) || process.is_proven(id));
        process.members.iter().filter(stays).collect()
    }

    /// What may happen besides.
    #[must_use]
    pub fn free(&self, state: &State) -> Vec<Action> {
        let mut free = Vec::new();
        let left = &state.left;
        for (id, process) in state.processes.iter().enumerate() {
            if process.role == Role::Idle || process.is_over() {
                continue;
            }
            if left.failures > 0 {
                free.push(Action::Crash(id));
            }
            let can_doubt = process.role == Role::Handing || process.follows() && process.handed.is_none();
            if can_doubt && process.asked == 0 {
                free.push(Action::Suspect(id));
            }
            let may_decline = process.handed == Some(true)
                && !process.declines
                && (process.role == Role::Backup
                    || (self.has(Flaw::DeclinesAfterAsking)
                        && process.role == Role::Claiming
                        && process.asked != 0));
            if may_decline {
                free.push(Action::Decline(id));
            }
            if process.role == Role::Live {
                self.free_of_owner(state, id, process, &mut free);
            }
            for other in (id + 1)..state.processes.len() {
                let is_used = state.processes[other].role != Role::Idle;
                if left.failures > 0 && is_used && state.is_linked(id, other) {
                    free.push(Action::Break(Set::of(id).with(other)));
                }
            }
        }
        free
    }

    fn free_of_owner(&self, state: &State, id: Id, process: &Process, free: &mut Vec<Action>) {
        let left = &state.left;
        if left.outputs > 0 {
            free.push(Action::Produce(id));
        }
        if gate::shows_next(self, state, id).is_some() {
            free.push(Action::Show(id));
        }
        if left.joins > 0 {
            let waits = |&other: &Id| state.processes[other].role == Role::Idle;
            free.extend(
                (0..state.processes.len())
                    .filter(waits)
                    .map(|other| Action::Join(other, id)),
            );
        }
        let may_guard = process.asked == 0 || self.has(Flaw::GuardedWhileAsking);
        for apprentice in process.apprentices.iter().filter(|_| may_guard) {
            let cut = state.processes[apprentice].cut;
            let is_out = |(at, _)| at >= usize::from(cut) || state.shown.get(at).is_some();
            let is_written = process.log.is_guarded_in(apprentice, process.epoch);
            if !is_written && (self.has(Flaw::GuardedWithHeldOutputs) || process.log.outputs().all(is_out)) {
                free.push(Action::Guard(id, apprentice));
            }
        }
        if left.drops > 0 {
            let gone = gone(state, id);
            for member in process.members.iter() {
                let heirs = self.heirs_without(process, gone.with(member));
                free.push(Action::Doubt { by: id, heirs });
            }
        }
        let is_settled = process.dismissing.and(process.members).is_empty()
            && (process.asked == 0 || self.has(Flaw::HandsOverWhileAsking));
        for member in process.members.iter() {
            if left.dismissals > 0 && !process.dismissing.has(member) {
                free.push(Action::Dismiss(id, member));
            }
            if left.hand_overs > 0 && is_settled && process.is_proven(member) {
                free.push(Action::HandOver(id, member, true));
                free.push(Action::HandOver(id, member, false));
            }
        }
    }
}

/// Whom a process names that has suspected: the owner that has handed over to it, if that wants to come back.
fn heirs_of_claiming(process: &Process) -> Set {
    let comes_back = process.handed == Some(true);
    process
        .leader
        .filter(|_| comes_back)
        .map(Set::of)
        .unwrap_or_default()
}

/// The members that this owner will hear nothing of any more.
fn gone(state: &State, owner: Id) -> Set {
    let is_gone = |&member: &Id| {
        let other = &state.processes[member];
        let answers = match other.role {
            Role::Backup | Role::Apprentice => other.leader == Some(owner),
            Role::Handing => other.hands_to.is_some_and(|(to, _)| to == owner),
            _ => false,
        };
        !answers || !state.is_linked(owner, member)
    };
    state.processes[owner].members.iter().filter(is_gone).collect()
}
