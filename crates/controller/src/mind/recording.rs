//! What the mind writes into the store: its host's card, where the VMs are that it controls, and how far
//! their operations are. Only the controller of a VM writes these, and no controller of an earlier epoch
//! writes over a later one.

use messages::vm_name::VmName;
use plan::{
    Cause, Decision, HostName, Now, Outcome, Vm,
    limits::{NO_WAY_BACK, STALE_REMOTE},
};
use report::HaltCode;
use serde::Serialize;
use store::{Expected, Key, Revision};

use super::told::Over;
use super::{Handled, Mind};
use crate::keeper::Write;
use crate::known::KnownVm;
use crate::limits::PROGRESS_EVERY;
use crate::records::{
    EndWord, EndedRecord, HostCard, OperationRecord, OperationState, Place, PowerWord, Spec, SwapRecord,
    VmKey,
};

/// The arbiter's records tell the time in whole seconds.
const CLAIM_CLOCK_NS: u64 = 1_000_000_000;

impl Mind {
    /// Writes this host's card, unless it is there.
    pub(super) fn introduce(&mut self) {
        if self.directory_away.is_some() {
            return;
        }
        let before = self.known.hosts.get(&self.me).map(|card| &card.value);
        let card = HostCard {
            agent: self.config.agent_address(),
            address: self.config.address,
            rest: before.map(|card| card.rest.clone()).unwrap_or_default(),
        };
        if before == Some(&card) {
            return;
        }
        // Its name was looked at when the file was read.
        if let Ok(key) = Key::host(self.me.as_str()) {
            self.write_value(key, &card, Expected::Any);
        }
    }

    fn write_value(&mut self, key: Key, value: &impl Serialize, expected: Expected) {
        match serde_json::to_vec(value) {
            Ok(value) => self.write(Write {
                key,
                value: Some(value),
                expected,
            }),
            Err(error) => tracing::warn!("{key} cannot be written: {error}"),
        }
    }

    /// Writes down what the next controller of a VM must know.
    pub(super) fn record(&mut self, now: Now, vm: &Vm, decision: &Decision) {
        let name = vm.name();
        let Some(known) = self.known.vms.get(name).cloned() else {
            return;
        };
        let is_live_here = vm.seen.here.as_ref().is_some_and(|view| view.process.is_live());
        let me = self.me.clone();
        let over = self.owners.get(name).and_then(|(_, owner)| owner.over);
        let handled = self.handled.entry(name.clone()).or_default();
        let before = known.place.as_ref().map(|place| place.value.clone());
        let place = place(now, vm, &me, before.clone(), handled, (&known, over));
        handled.was_here = is_live_here;
        if let Some(place) = place
            && before.as_ref() != Some(&place)
            && self.directory_away.is_none()
        {
            let expected = expected(known.place.as_ref().map(|place| place.revision));
            self.write_value(VmKey::Place.of(name), &place, expected);
        }
        self.record_operation(now, name, &known, decision);
    }

    /// Writes down how far a VM's operation is, if the planner has something to say of it.
    fn record_operation(&mut self, now: Now, vm: &VmName, known: &KnownVm, decision: &Decision) {
        let Some(record) = &known.operation else {
            return;
        };
        if record.value.state != OperationState::Running || self.directory_away.is_some() {
            return;
        }
        let mut operation = record.value.clone();
        match &decision.ended {
            Some(Outcome::Done) => operation.state = OperationState::Done,
            Some(Outcome::Failed(reasons)) => {
                operation.state = OperationState::Failed;
                operation.reasons = reasons.iter().map(plan::Why::reason).collect();
            }
            None => {
                let since = now.since_wall(plan::Wall(operation.progress_wall_ns));
                if decision.goes_on && since > PROGRESS_EVERY {
                    operation.progress_wall_ns = now.wall.0;
                }
            }
        }
        if operation.state != OperationState::Running {
            operation.ended_wall_ns = now.wall.0;
        }
        if operation != record.value {
            if !self.writing.contains_key(VmKey::Operation.of(vm).as_str()) {
                self.tell_end(&operation);
            }
            self.write_operation(vm, &operation, record.revision);
        }
    }

    fn write_operation(&mut self, vm: &VmName, operation: &OperationRecord, revision: Revision) {
        let key = VmKey::Operation.of(vm);
        self.write_value(key, operation, Expected::Revision(revision));
    }

    /// Writes down that the process has done a step that leaves no trace, for the operation of this number.
    /// Another one may have been begun since the order was given: that is not done.
    pub(super) fn confirm(&mut self, vm: &VmName, operation: &str) {
        let record = self.known.vms.get(vm).and_then(|known| known.operation.clone());
        if let Some(record) = record
            && let Some(confirmed) = confirmed(&record.value, operation)
        {
            self.write_operation(vm, &confirmed, record.revision);
        }
    }

    /// Writes down that a VM is handed over, before it is: whoever controls it then must know.
    pub(super) fn note_swap(&mut self, now: Now, vm: &VmName, to: &HostName, cause: Cause) {
        let Some(record) = self.known.vms.get(vm).and_then(|known| known.place.clone()) else {
            return;
        };
        let mut place = record.value;
        place.swaps = recent(now, place.swaps);
        place.swaps.push(SwapRecord {
            at_wall_ns: now.wall.0,
            from: self.me.as_str().to_owned(),
            to: to.as_str().to_owned(),
            cause: cause.into(),
        });
        let expected = Expected::Revision(record.revision);
        self.write_value(VmKey::Place.of(vm), &place, expected);
    }
}

/// A VM's operation with its step confirmed, if it has this number and goes on.
fn confirmed(record: &OperationRecord, operation: &str) -> Option<OperationRecord> {
    let is_it = record.id == operation && record.state == OperationState::Running;
    is_it.then(|| OperationRecord {
        confirmed: true,
        ..record.clone()
    })
}

fn expected(revision: Option<Revision>) -> Expected {
    revision.map_or(Expected::Absent, Expected::Revision)
}

/// The changes of an owner that still matter.
fn recent(now: Now, swaps: Vec<SwapRecord>) -> Vec<SwapRecord> {
    let is_recent = |swap: &SwapRecord| now.since_wall(plan::Wall(swap.at_wall_ns)) < NO_WAY_BACK;
    swaps.into_iter().filter(is_recent).collect()
}

/// Where a VM is, as this agent has to write it down; `None`: that is another agent's business.
fn place(
    now: Now,
    vm: &Vm,
    me: &HostName,
    before: Option<Place>,
    handled: &Handled,
    (known, over): (&KnownVm, Option<Over>),
) -> Option<Place> {
    let process = vm.seen.here.as_ref().map(|view| &view.process);
    if let Some(process) = process.filter(|process| process.is_live()) {
        let mut place = before.unwrap_or_default();
        if place.epoch > process.epoch {
            return None;
        }
        let is_new_owner = !place.owner.is_empty() && place.owner != me.as_str();
        place.swaps = recent(now, place.swaps);
        let is_noted = place
            .swaps
            .iter()
            .any(|swap| swap.to == me.as_str() && swap.from == place.owner);
        if is_new_owner && !is_noted {
            place.swaps.push(SwapRecord {
                at_wall_ns: now.wall.0,
                from: place.owner.clone(),
                to: me.as_str().to_owned(),
                cause: crate::records::CauseWord::Failure,
            });
        }
        place.owner = me.as_str().to_owned();
        place.member = process.member().map(|member| member.as_str().to_owned());
        place.epoch = process.epoch;
        place.ended = None;
        handled.hang.record(me.as_str(), &mut place);
        return Some(place);
    }
    let mut place = before?;
    // Only its last owner's agent knows how it ended.
    let is_ours = place.owner == me.as_str() && place.ended.is_none();
    let others: Vec<_> = [&vm.seen.elsewhere, &vm.seen.member]
        .into_iter()
        .flatten()
        .collect();
    let is_seen = others.iter().any(|view| view.age <= STALE_REMOTE);
    let is_gone = process.is_none_or(plan::Process::is_over) && !is_seen;
    if !is_ours || !is_gone || handled.memory.is_starting() {
        return None;
    }
    let spec = known.spec.as_ref().map(|spec| &spec.value);
    let by = spec.map(|spec| spec.power_asked.by.clone()).unwrap_or_default();
    let has_run = handled.was_here || handled.ending.is_some();
    let (how, at_wall_ns) = if has_run {
        (how(handled, spec), now.wall.0)
    } else {
        // It has ended while no agent looked: the arbiter's record is all that is left of that.
        let over = over.filter(|over| over.epoch >= place.epoch)?;
        (over.how, ended_at(now, spec, over))
    };
    let may_live_on = others.iter().any(|view| !view.process.is_over());
    if how == EndWord::Died && has_run && may_live_on {
        // Its other half may have gone on where nobody is heard of.
        return None;
    }
    place.ended = Some(EndedRecord { how, by, at_wall_ns });
    Some(place)
}

/// When a VM has ended at the latest of which the arbiter's record alone tells: before somebody wanted it to
/// run once more, since nobody wants that of a VM that runs.
fn ended_at(now: Now, spec: Option<&Spec>, over: Over) -> u64 {
    let wanted = spec.filter(|spec| spec.power != PowerWord::Off);
    match wanted.map(|spec| spec.power_asked.at_wall_ns) {
        Some(asked) if asked > over.claimed_wall_ns.saturating_add(CLAIM_CLOCK_NS) => asked.saturating_sub(1),
        _ => now.wall.0,
    }
}

/// How a VM's process on this host has ended.
fn how(handled: &Handled, spec: Option<&Spec>) -> EndWord {
    let code = handled.ending.as_ref().map(|ending| ending.code);
    let is_wanted = spec.is_some_and(|spec| spec.power == PowerWord::Off);
    match code {
        Some(HaltCode::Off | HaltCode::Failed | HaltCode::Panicked) if is_wanted => EndWord::Stopped,
        Some(HaltCode::Off | HaltCode::Failed | HaltCode::Panicked) => EndWord::SwitchedOff,
        Some(HaltCode::Quit | HaltCode::Left) => EndWord::Stopped,
        _ => EndWord::Died,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{AskedRecord, KindRecord, ProtectionWord};

    fn wanted(power: PowerWord, seconds: u64) -> Spec {
        Spec {
            generation: 1,
            toml: String::new(),
            created: AskedRecord::default(),
            power,
            hard: true,
            power_asked: AskedRecord {
                at_wall_ns: seconds * CLAIM_CLOCK_NS,
                ..AskedRecord::default()
            },
            protection: ProtectionWord::On,
            protection_asked: None,
            home: None,
            rest: Default::default(),
        }
    }

    #[test]
    fn only_the_operation_for_which_an_order_was_given_is_confirmed() {
        let record = OperationRecord {
            id: "7".into(),
            vm: "web".into(),
            kind: KindRecord::Reset,
            asked: AskedRecord::default(),
            state: OperationState::Running,
            progress_wall_ns: 0,
            confirmed: false,
            reasons: Vec::new(),
            ended_wall_ns: 0,
        };
        assert!(confirmed(&record, "7").unwrap().confirmed);
        assert_eq!(confirmed(&record, "8"), None);
        let ended = OperationRecord {
            state: OperationState::Cancelled,
            ..record
        };
        assert_eq!(confirmed(&ended, "7"), None);
    }

    #[test]
    fn an_end_that_nobody_saw_was_before_somebody_wanted_the_vm_once_more() {
        let over = Over {
            epoch: 3,
            how: EndWord::Stopped,
            claimed_wall_ns: 10 * CLAIM_CLOCK_NS,
        };
        let now = Now {
            wall: plan::Wall(60 * CLAIM_CLOCK_NS),
            ..Now::default()
        };
        let at = |power, seconds| ended_at(now, Some(&wanted(power, seconds)), over) / CLAIM_CLOCK_NS;
        assert_eq!(at(PowerWord::On, 9), 60);
        assert_eq!(at(PowerWord::On, 30), 29);
        assert_eq!(at(PowerWord::Off, 30), 60);
    }
}
