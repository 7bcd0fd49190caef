//! What agents decide is carried out; a process refuses what a real one would, and then the test has failed.

use messages::time::Span;
use plan::{Action, Decision, End, HostName, Kind, Reset};

use super::{Live, SimClone, World};
use crate::sample;

impl World {
    pub(super) fn carry_out(&mut self, host: usize, index: usize, decision: Decision) {
        let (now, ms) = (self.now(), self.ms);
        let is_controller = self.vms[index]
            .live
            .as_ref()
            .is_some_and(|live| live.host == host);
        if is_controller {
            self.vms[index].stuck = decision.stuck;
        }
        if let (Some(operation), true) = (&mut self.vms[index].operation, decision.goes_on) {
            operation.progress = now.wall;
        }
        if let Some(outcome) = decision.ended.clone() {
            let operation = self.vms[index].operation.take().expect("what ends has begun");
            let began = (operation.since.0 - sample::at(0).wall.0) / 1_000_000;
            self.tell(format!(
                "{}: {:?}: {outcome:?}",
                self.vms[index].name, operation.kind
            ));
            self.outcomes.push((operation.kind, began, outcome));
        }
        let at =
            |world: &World, name: &HostName| world.hosts.iter().position(|host| host.name == *name).unwrap();
        let name = self.vms[index].name.clone();
        if !matches!(decision.action, Action::Wait { .. } | Action::Nothing) {
            self.tell(format!(
                "{name}: {} orders {:?}",
                self.hosts[host].name, decision.action
            ));
        }
        if self.refuses(host, index, &decision.action) {
            return;
        }
        match decision.action {
            Action::Wait { .. } | Action::Nothing => {}
            Action::Start => {
                assert!(self.vms[index].live.is_none(), "it runs already");
                assert!(!self.vms[index].is_record_open, "an earlier owner may live");
                self.vms[index].epoch += 1;
                let epoch = self.vms[index].epoch;
                let half = self.born(epoch);
                self.hosts[host].agent.of(&name).0.starts(now.time);
                let vm = &mut self.vms[index];
                (vm.is_record_open, vm.ended, vm.home) = (true, None, host);
                vm.live = Some(Live {
                    host,
                    half,
                    other: half,
                    booting_until: ms + 1_000,
                    claiming_until: 0,
                    member: None,
                    clone: None,
                    dismissing_until: 0,
                    swap: None,
                    paused: false,
                    epoch,
                });
            }
            Action::Prepare { host: to } => {
                let to = at(self, &to);
                let asked = self.hosts[to].name.clone();
                self.hosts[host].agent.of(&name).0.asks(&asked, now.time);
                let grants = !(self.is_rough && self.dice.percent(10));
                let answer = ms + self.dice.between(500, 2_000);
                self.hosts[host]
                    .agent
                    .asking
                    .insert(name, (to, now.time, answer, grants));
            }
            Action::Protect { to } => {
                let to = at(self, &to);
                self.must_be_live(host, index);
                let live = self.vms[index].live.as_ref().unwrap();
                assert!(live.member.is_none(), "`protected`");
                self.begin_clone(index, to);
            }
            Action::MoveBackup { to } => {
                let to = at(self, &to);
                self.must_be_live(host, index);
                let live = self.vms[index].live.as_ref().unwrap();
                assert!(live.member.is_some(), "`no-backup`");
                assert_ne!(live.member, Some(to), "it is the backup already");
                self.begin_clone(index, to);
            }
            Action::HandOver { cause } => {
                self.must_be_live(host, index);
                let works = !(self.is_rough && self.dice.percent(15));
                let until = ms + self.dice.between(100, 900);
                let live = self.vms[index].live.as_mut().unwrap();
                assert!(live.member.is_some(), "`no-backup`");
                assert!(live.clone.is_none(), "its backup is being replaced");
                assert!(ms >= live.dismissing_until, "its backup is being dismissed");
                assert!(live.swap.is_none(), "it is being given already");
                live.swap = Some((until, works, cause));
            }
            Action::Dismiss => {
                self.must_be_live(host, index);
                let live = self.vms[index].live.as_mut().unwrap();
                assert!(
                    live.member.is_some() || live.clone.is_some(),
                    "there is nothing to dismiss"
                );
                (live.member, live.clone) = (None, None);
            }
            Action::Stop { hard } => {
                self.must_be_live(host, index);
                assert!(hard, "`no-power-button`");
                let vm = &mut self.vms[index];
                (vm.live, vm.is_record_open) = (None, false);
                vm.ended = Some((End::Stopped { by: "ada".into() }, now.wall));
            }
            Action::Reset => {
                self.must_be_live(host, index);
                assert!(!self.vms[index].live.as_ref().unwrap().paused, "`paused`");
                if self.vms[index].operation.is_none() {
                    return self.reset_hung(host, index);
                }
                self.vms[index].hangs = false;
                // An agent that dies before it has noted the answer gives the order again.
                if self.dice.percent(50) {
                    self.vms[index].operation.as_mut().unwrap().is_confirmed = true;
                }
            }
            Action::NoteReset => {
                self.must_be_live(host, index);
                // An agent that dies before that is written notes it again.
                if self.dice.percent(80) {
                    self.vms[index].reset = Some(Reset {
                        at: now.wall,
                        by: self.hosts[host].name.clone(),
                        is_done: false,
                    });
                }
            }
            Action::Decide => {
                // An agent that dies before it has written that down decides again.
                if self.dice.percent(50) {
                    self.vms[index].operation.as_mut().unwrap().is_confirmed = true;
                }
            }
            Action::Kill { epoch } => {
                let vm = &self.vms[index];
                assert!(vm.operation.as_ref().unwrap().is_confirmed, "it may be cancelled");
                let live = vm.live.as_ref().unwrap();
                assert_eq!(live.epoch, epoch, "a half of this epoch was killed already");
                if live.host == host {
                    self.owner_is_gone(index);
                } else {
                    assert_eq!(live.member, Some(host), "it is no half of the VM");
                    self.lose_backup(index, report::SuspicionWord::LinkLost);
                }
            }
            Action::Pause | Action::Resume => {
                self.must_be_live(host, index);
                let live = self.vms[index].live.as_mut().unwrap();
                assert_ne!(live.paused, decision.action == Action::Pause, "it is so already");
                live.paused = decision.action == Action::Pause;
            }
        }
    }

    /// An order is given to the process here. True: it does not take it just now.
    fn refuses(&mut self, host: usize, index: usize, action: &Action) -> bool {
        let is_order = !matches!(
            action,
            Action::Wait { .. }
                | Action::Nothing
                | Action::Start
                | Action::Prepare { .. }
                | Action::Decide
                | Action::Kill { .. }
                | Action::NoteReset
        );
        let refuses = is_order && self.is_rough && self.dice.percent(10);
        if is_order {
            let (now, name) = (self.now().time, self.vms[index].name.clone());
            let memory = self.hosts[host].agent.of(&name).0;
            memory.orders(action.clone(), now);
            memory.on_answer(now, action, if refuses { Err("it is busy") } else { Ok(()) });
        }
        refuses
    }

    /// The process takes the order to reset a guest that hangs, once for each note.
    fn reset_hung(&mut self, host: usize, index: usize) {
        let name = self.hosts[host].name.clone();
        let (ms, is_noted) = (self.ms, self.dice.percent(50));
        let vm = &mut self.vms[index];
        let note = vm.reset.as_mut().expect("it was noted");
        assert!(note.by == name && !note.is_done, "another order: {note:?}");
        if vm.reset_done.replace(note.at) != Some(note.at) {
            vm.hangs = false;
            vm.resets.push(ms);
        }
        // An agent that dies before it has noted the answer gives the order again.
        note.is_done = is_noted;
        let vm = self.vms[index].name.clone();
        self.hosts[host].agent.of(&vm).0.on_confirmed();
    }

    pub(super) fn begin_clone(&mut self, index: usize, to: usize) {
        let ms = self.ms;
        let fails = !self.hosts[to].answers() || (self.is_rough && self.dice.percent(10));
        let lasts = self
            .dice
            .between(3_000, if self.is_rough { 40_000 } else { 10_000 });
        let half = self.born(self.vms[index].live.as_ref().unwrap().epoch);
        let vm = &mut self.vms[index];
        let live = vm.live.as_mut().unwrap();
        assert!(
            live.clone.is_none(),
            "`cannot-protect`: one is being called already"
        );
        assert!(ms >= live.dismissing_until && live.swap.is_none(), "it is busy");
        assert_ne!(live.host, to, "the owner is there");
        live.clone = Some(SimClone {
            to,
            half,
            began: ms,
            ends: ms + lasts,
            fails,
        });
    }

    pub(super) fn must_be_live(&self, host: usize, index: usize) {
        let live = self.vms[index].live.as_ref().expect("`not-live`");
        assert_eq!(live.host, host, "`not-live`");
        assert!(self.ms >= live.claiming_until, "`undecided`");
        assert!(self.ms >= live.booting_until, "`connecting`");
    }

    /// A host that is chosen has no refusal, as far as the world knows.
    pub(super) fn must_fit(&self, host: usize, index: usize, to: usize) {
        let (vm, target, now) = (&self.vms[index], &self.hosts[to], self.now());
        let live = vm.live.as_ref().expect("only a VM that runs gets a backup");
        assert_ne!(live.host, to, "host-same");
        assert_ne!(live.member, Some(to), "host-same");
        assert!(target.draining.is_none(), "host-draining");
        let heard = target.heard.expect("host-silent");
        assert!(now.time.since(heard) <= Span::from_ms(5_000), "host-silent");
        let needed = vm.memory_bytes + (260 << 20) + target.memory_bytes / 10;
        assert!(self.free_bytes(to) >= needed, "host-full");
        let backoff = &self.hosts[host].agent.backoff;
        let kind = vm.operation.as_ref().map(|operation| &operation.kind);
        let is_named = match kind {
            Some(
                Kind::Move { to } | Kind::MoveBackup { to: Some(to), .. } | Kind::Protect { to: Some(to) },
            ) => *to == target.name,
            _ => false,
        };
        if !is_named {
            assert_eq!(
                backoff.until(now, &vm.name, &target.name),
                None,
                "host-shunned, host-refused"
            );
        }
    }
}
