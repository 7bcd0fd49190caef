//! What an action does: the rules of membership, in the words of docs/protocol.md.

use crate::action::Action;
use crate::flaw::Flaw;
use crate::gate;
use crate::rules::Model;
use crate::set::{Id, Set};
use crate::state::{Claim, Entry, PROCESSES, Process, Record, Role, State};

impl Model {
    /// The state after an action that [`Model::due`] or [`Model::free`] has given.
    #[must_use]
    pub fn after(&self, state: &State, action: Action) -> State {
        let mut next = state.clone();
        match action {
            Action::Receive(id) => receive(&mut next, id),
            Action::Acknowledge(id) => self.acknowledge(&mut next, id),
            Action::Suspect(id) => self.suspect(&mut next.processes[id]),
            Action::Ask { by, heirs } => self.ask(&mut next, by, heirs),
            Action::Doubt { by, heirs } => {
                next.left.drops -= 1;
                self.ask(&mut next, by, heirs);
            }
            Action::Arbitrate(claim) => arbitrate(&mut next, claim),
            Action::Hear(id) => self.hear(&mut next, id),
            Action::Dismiss(owner, member) => {
                next.left.dismissals -= 1;
                let dismissing = &mut next.processes[owner].dismissing;
                *dismissing = dismissing.with(member);
            }
            Action::HearDismiss(id) => {
                let me = &mut next.processes[id];
                me.dismissed = true;
                if !self.has(Flaw::DismissedClaims) {
                    end(me, Role::Halted);
                }
            }
            Action::HearDismissed(id) => {
                if let Some(leader) = next.processes[id].leader {
                    let owner = &mut next.processes[leader];
                    owner.members = owner.members.without(id);
                }
            }
            Action::HandOver(owner, member, comes_back) => hand_over(&mut next, owner, member, comes_back),
            Action::HearHandOver(id) => hear_hand_over(&mut next, id),
            Action::Decline(id) => self.decline(&mut next.processes[id]),
            Action::HearDeclined(id) => hear_declined(&mut next, id),
            Action::HearTaken(id) => hear_taken(&mut next, id),
            Action::Join(id, owner) => join(&mut next, id, owner),
            Action::Guard(owner, member) => self.guard(&mut next, owner, member),
            Action::Produce(id) => {
                next.left.outputs -= 1;
                let me = &mut next.processes[id];
                me.log.push(Entry::Output {
                    by: id,
                    epoch: me.epoch,
                });
            }
            Action::Show(id) => {
                if let Some((at, entry)) = gate::shows_next(self, state, id) {
                    next.shown.put(at, entry);
                }
            }
            Action::Crash(id) => {
                next.left.failures -= 1;
                end(&mut next.processes[id], Role::Crashed);
            }
            Action::Break(link) => {
                next.left.failures -= 1;
                next.broken.push(link);
                next.broken.sort();
            }
        }
        next
    }

    fn acknowledge(&self, state: &mut State, id: Id) {
        let follower = state.processes[id];
        let Some(leader) = follower.leader else { return };
        let owner = &mut state.processes[leader];
        owner.acked[id] = follower.log.count();
        if !follower.promise_over {
            owner.leases = owner.leases.with(id);
        }
        let is_past_guarded = owner.log.guarded(id).is_some_and(|at| follower.log.len() > at);
        if self.has(Flaw::GuardedFromAck) && is_past_guarded && owner.apprentices.has(id) {
            owner.apprentices = owner.apprentices.without(id);
            owner.members = owner.members.with(id);
        }
    }

    fn suspect(&self, me: &mut Process) {
        if me.role == Role::Apprentice && !self.has(Flaw::ApprenticeClaims) {
            end(me, Role::Halted);
        } else {
            me.role = Role::Claiming;
        }
    }

    fn decline(&self, me: &mut Process) {
        me.declines = true;
        me.role = Role::Backup;
        if !self.has(Flaw::WaiverOutlivesDeclined) {
            me.handed = None;
        }
    }

    /// A question goes to the arbiter. A member waits until the time of its promise is over first, and with
    /// that time its owner's lease, unless its owner has said that it shows nothing more.
    fn ask(&self, state: &mut State, by: Id, heirs: Set) {
        let me = &mut state.processes[by];
        if me.role != Role::Live {
            me.role = Role::Claiming;
        }
        let claim = Claim {
            epoch: me.epoch + 1,
            by,
            after: me.owner,
            heirs,
        };
        me.asked = claim.epoch;
        if self.has(Flaw::HeirsAsAsked) || self.has(Flaw::OwnerGoesOnAfterLost) {
            me.named = heirs;
        } else if self.has(Flaw::GuardedWhileAsking) {
            me.named = me.members.iter().filter(|&member| !heirs.has(member)).collect();
        }
        let is_former = me.hands_to.is_some();
        let hurries = self.has(Flaw::ClaimTooEarly) || (self.has(Flaw::ShowsBeforeLease) && is_former);
        if me.owner != by && me.handed.is_none() && !hurries {
            me.promise_over = true;
            for other in &mut state.processes {
                other.leases = other.leases.without(by);
            }
        }
        if state.record(claim.epoch).is_none() && !state.claims.contains(&claim) {
            state.claims.push(claim);
            state.claims.sort();
        }
    }

    fn hear(&self, state: &mut State, id: Id) {
        let me = state.processes[id];
        let Some(record) = state.record(me.asked) else {
            return;
        };
        if record.owner == id {
            match me.role {
                Role::Live => self.exclude(&mut state.processes[id], record),
                _ => self.go_live(state, id, record),
            }
            return;
        }
        let is_heir = record.heirs.has(id) && !self.has(Flaw::LostHeirHalts);
        let me = &mut state.processes[id];
        if me.role == Role::Live && self.has(Flaw::OwnerGoesOnAfterLost) {
            me.members = me.named;
            me.asked = 0;
        } else if me.role == Role::Claiming && (is_heir || self.has(Flaw::EveryLoserIsHeir)) {
            // R5: it is a member of that epoch, and suspects its owner as it did before.
            me.epoch = me.asked;
            me.owner = record.owner;
            me.asked = 0;
            me.handed = me.handed.filter(|_| me.leader == Some(record.owner));
        } else {
            end(me, Role::Halted);
        }
    }

    /// An owner has won the next epoch: its members are the heirs of the record, and nobody else.
    fn exclude(&self, me: &mut Process, record: Record) {
        me.epoch = me.asked;
        me.asked = 0;
        me.members = if self.has(Flaw::HeirsAsAsked) {
            me.named
        } else if self.has(Flaw::GuardedWhileAsking) {
            me.members
                .iter()
                .filter(|&member| !me.named.has(member))
                .collect()
        } else {
            record.heirs
        };
        me.named = Set::default();
        me.leases = me.leases.and(me.members);
        me.dismissing = me.dismissing.and(me.members);
    }

    /// A member, or a former owner, has won: it has replayed what it has, and is live.
    fn go_live(&self, state: &mut State, id: Id, record: Record) {
        let mut leases = Set::default();
        let is_bound = |heir: &Id| self.has(Flaw::ShowsBeforeLease) || !state.processes[*heir].promise_over;
        if self.hand_over_promises || self.has(Flaw::ShowsBeforeLease) {
            // The hand-over was an acknowledgement too.
            leases = record.heirs.iter().filter(is_bound).collect();
        }
        let me = &mut state.processes[id];
        let mut acked = [0; PROCESSES];
        for heir in record.heirs.iter() {
            acked[heir] = me.log.count();
        }
        *me = Process {
            role: Role::Live,
            epoch: me.asked,
            owner: id,
            log: me.log,
            cut: me.cut,
            promise_over: me.promise_over,
            was_member: me.was_member,
            dismissed: me.dismissed,
            members: record.heirs,
            acked,
            leases,
            taken: if record.heirs.is_empty() { 0 } else { me.asked },
            ..Process::idle()
        };
    }

    /// The owner writes `Guarded`: from this entry on each output waits for the new member too.
    fn guard(&self, state: &mut State, owner: Id, member: Id) {
        let me = &mut state.processes[owner];
        let epoch = me.epoch;
        me.log.push(Entry::Guarded {
            by: owner,
            epoch,
            member,
        });
        if !self.has(Flaw::GuardedFromAck) {
            me.apprentices = me.apprentices.without(member);
            me.members = me.members.with(member);
        }
    }
}

/// An entry arrives. If it is `Guarded` with this process' name, the process is a member from here on.
fn receive(state: &mut State, id: Id) {
    let Some(leader) = state.processes[id].leader else {
        return;
    };
    let at = state.processes[id].log.len();
    let Some(entry) = state.processes[leader].log.get(at) else {
        return;
    };
    let me = &mut state.processes[id];
    me.log.push(entry);
    if let Entry::Guarded { by, epoch, member } = entry
        && member == id
    {
        me.role = Role::Backup;
        me.epoch = epoch;
        me.owner = by;
        me.was_member = true;
    }
}

/// The arbiter's rule: the first claim wins that names the owner of the epoch before. Later ones are lost,
/// whether or not they arrive.
fn arbitrate(state: &mut State, claim: Claim) {
    state.claims.retain(|other| *other != claim);
    let before = state.record(claim.epoch - 1);
    if before.is_some_and(|record| record.owner == claim.after) {
        state.records.push(Record {
            owner: claim.by,
            heirs: claim.heirs,
        });
        state.claims.retain(|other| other.epoch > claim.epoch);
    }
}

/// An owner stops its guest for good, or until it is the backup.
fn hand_over(state: &mut State, owner: Id, member: Id, comes_back: bool) {
    state.left.hand_overs -= 1;
    let me = &mut state.processes[owner];
    me.hands_to = Some((member, comes_back));
    me.promise_over = false;
    if comes_back {
        me.role = Role::Handing;
    } else {
        end(me, Role::Halted);
    }
}

fn hear_hand_over(state: &mut State, id: Id) {
    let Some(leader) = state.processes[id].leader else {
        return;
    };
    let hands_to = state.processes[leader].hands_to;
    state.processes[id].handed = hands_to.map(|(_, comes_back)| comes_back);
}

fn hear_declined(state: &mut State, id: Id) {
    if let Some((to, _)) = state.processes[id].hands_to.take() {
        state.processes[to].declines = false;
        state.processes[id].role = Role::Live;
    }
}

/// The former owner becomes the backup, from the step where its guest stands.
fn hear_taken(state: &mut State, id: Id) {
    let Some((to, _)) = state.processes[id].hands_to else {
        return;
    };
    let epoch = state.processes[to].taken;
    let me = &mut state.processes[id];
    *me = Process {
        role: Role::Backup,
        epoch,
        owner: to,
        log: me.log,
        cut: me.cut,
        leader: Some(to),
        was_member: true,
        asked: me.asked,
        ..Process::idle()
    };
}

/// A process gets the state of a guest that runs elsewhere, and its log from here on.
fn join(state: &mut State, id: Id, owner: Id) {
    state.left.joins -= 1;
    let leader = &mut state.processes[owner];
    leader.apprentices = leader.apprentices.with(id);
    leader.acked[id] = leader.log.count();
    let leader = state.processes[owner];
    state.processes[id] = Process {
        role: Role::Apprentice,
        epoch: leader.epoch,
        owner,
        log: leader.log,
        cut: leader.log.count(),
        leader: Some(owner),
        ..Process::idle()
    };
}

/// A process is over. What it has sent may still arrive.
fn end(me: &mut Process, role: Role) {
    *me = Process {
        role,
        epoch: me.epoch,
        owner: me.owner,
        log: me.log,
        leader: me.leader,
        promise_over: me.promise_over,
        declines: me.declines,
        dismissed: me.dismissed,
        was_member: me.was_member,
        dismissing: me.dismissing,
        hands_to: me.hands_to,
        taken: me.taken,
        ..Process::idle()
    };
}
