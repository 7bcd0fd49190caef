//! How processes go on and end by themselves, and hosts come back, from one look to the next.

use messages::time::Time;
use plan::{Cause, End, Failures, Loss, Lost, Swap};
use report::SuspicionWord;

use super::{Live, World};
use crate::sample;

impl World {
    pub(super) fn come_back(&mut self) {
        let ms = self.ms;
        for index in 0..self.hosts.len() {
            let host = &mut self.hosts[index];
            if host.agent_dead_until.is_some_and(|until| until <= ms) {
                host.agent_dead_until = None;
            }
            if host.dead_until.is_some_and(|until| until <= ms) {
                host.dead_until = None;
                self.tell(format!("{} is back", self.hosts[index].name));
                // Its agent sees another boot-id, and closes the records of what ran there.
                for vm in &mut self.vms {
                    if vm.home == index && vm.live.is_none() && vm.is_record_open {
                        vm.is_record_open = false;
                        vm.ended = Some((End::Died, sample::at_ms(ms).wall));
                    }
                }
            }
        }
    }

    /// A process of a VM goes on by one look.
    pub(super) fn go_on(&mut self, index: usize) {
        let (ms, rough) = (self.ms, self.is_rough);
        let Some(live) = &self.vms[index].live else {
            return;
        };
        let (owner, member) = (live.host, live.member);
        if !self.hosts[owner].runs() {
            return self.owner_is_gone(index);
        }
        if let Some(member) = member
            && !self.hosts[member].runs()
        {
            let to = self.lose_backup(index, Loss::Suspected(SuspicionWord::Silence));
            self.blame(index, to, false, "was lost as the backup");
        }
        let slow = rough && member.is_some() && self.dice.below(2_000) == 0;
        if slow
            && self.vms[index]
                .live
                .as_ref()
                .is_some_and(|live| live.member.is_some())
        {
            let to = self.lose_backup(index, Loss::Suspected(SuspicionWord::Slow));
            self.blame(index, to, true, "was too slow");
        }
        let live = self.vms[index].live.as_mut().unwrap();
        if let Some((until, works, cause)) = live.swap
            && until <= ms
        {
            live.swap = None;
            match live.member {
                Some(member) if works => self.swap(index, member, cause),
                _ => {
                    let failures = self.hosts[owner]
                        .agent
                        .failures
                        .entry(self.vms[index].name.clone());
                    let failed = failures.or_insert(Failures {
                        count: 0,
                        last: "the disk did not answer for 2 s".into(),
                        at: Time(0),
                    });
                    failed.count += 1;
                    failed.at = sample::at_ms(ms).time;
                }
            }
        }
        let live = self.vms[index].live.as_mut().unwrap();
        if let Some(clone) = &live.clone {
            let (to, over, fails) = (clone.to, clone.ends <= ms, clone.fails);
            if !self.hosts[to].runs() || (over && fails) {
                live.clone = None;
                self.blame(index, to, true, "has not become the backup");
                self.tell(format!(
                    "{}: clone to {} failed",
                    self.vms[index].name, self.hosts[to].name
                ));
            } else if over {
                live.clone = None;
                if live.member.replace(to).is_some() {
                    live.dismissing_until = ms + 700;
                }
                let (vm, host) = (self.vms[index].name.clone(), self.hosts[to].name.clone());
                self.vms[index].lost = None;
                self.hosts[owner].agent.backoff.succeed(&vm, &host);
                self.tell(format!("{vm}: protected by {host}"));
            }
        }
    }

    pub(super) fn owner_is_gone(&mut self, index: usize) {
        let ms = self.ms;
        let wall = self.now().wall;
        let vm = &mut self.vms[index];
        let live = vm.live.as_mut().unwrap();
        match live.member {
            Some(member) if self.hosts[member].runs() => {
                vm.swaps.push(Swap {
                    at: wall,
                    from: self.hosts[live.host].name.clone(),
                    to: self.hosts[member].name.clone(),
                    cause: Cause::Failure,
                });
                vm.lost = Some(Lost {
                    host: Some(self.hosts[live.host].name.clone()),
                    at: wall,
                    how: Loss::TookOver,
                });
                *live = Live {
                    host: member,
                    booting_until: 0,
                    claiming_until: ms + 1_000,
                    member: None,
                    clone: None,
                    dismissing_until: 0,
                    swap: None,
                    paused: live.paused,
                    epoch: live.epoch + 1,
                };
                let old = vm.home;
                vm.home = member;
                let text = format!("{}: {} takes over", vm.name, self.hosts[member].name);
                self.tell(text);
                self.blame(index, old, false, "has died under it");
            }
            _ => {
                vm.live = None;
                vm.ended = None;
                let text = format!("{}: is gone", vm.name);
                self.tell(text);
            }
        }
    }

    pub(super) fn lose_backup(&mut self, index: usize, how: Loss) -> usize {
        let wall = self.now().wall;
        let vm = &mut self.vms[index];
        let live = vm.live.as_mut().unwrap();
        let member = live.member.take().unwrap();
        vm.lost = Some(Lost {
            host: Some(self.hosts[member].name.clone()),
            at: wall,
            how,
        });
        let text = format!("{}: backup {} is lost", vm.name, self.hosts[member].name);
        self.tell(text);
        member
    }

    /// The owner's agent, if it runs, notes what a host has done.
    pub(super) fn blame(&mut self, index: usize, to: usize, shun: bool, why: &str) {
        let now = self.now();
        let (vm, host) = (self.vms[index].name.clone(), self.hosts[to].name.clone());
        let Some(owner) = self.vms[index].live.as_ref().map(|live| live.host) else {
            return;
        };
        if !self.hosts[owner].answers() {
            return;
        }
        let backoff = &mut self.hosts[owner].agent.backoff;
        if shun {
            backoff.shun(now, &vm, &host, why);
        } else {
            backoff.fail(now, &vm, &host, why);
        }
    }

    pub(super) fn swap(&mut self, index: usize, member: usize, cause: Cause) {
        let wall = self.now().wall;
        let vm = &mut self.vms[index];
        let live = vm.live.as_mut().unwrap();
        let old = live.host;
        (live.host, live.member, live.epoch) = (member, Some(old), live.epoch + 1);
        vm.home = member;
        vm.swaps.push(Swap {
            at: wall,
            from: self.hosts[old].name.clone(),
            to: self.hosts[member].name.clone(),
            cause,
        });
        self.hosts[old].agent.failures.remove(&vm.name);
        let text = format!(
            "{}: {} hands over to {} ({cause:?})",
            vm.name, self.hosts[old].name, self.hosts[member].name
        );
        self.tell(text);
    }
}
