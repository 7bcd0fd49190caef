//! How processes go on and end by themselves, and hosts come back, from one look to the next.

use messages::vm_name::VmName;
use plan::{Backoff, Cause, End, Memory, Now, Swap};
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
            self.lose_backup(index, SuspicionWord::Silence);
        }
        let slow = rough && member.is_some() && self.dice.below(2_000) == 0;
        if slow
            && self.vms[index]
                .live
                .as_ref()
                .is_some_and(|live| live.member.is_some())
        {
            self.lose_backup(index, SuspicionWord::Slow);
        }
        let live = self.vms[index].live.as_mut().unwrap();
        if let Some((until, works, cause)) = live.swap
            && until <= ms
        {
            live.swap = None;
            match live.member {
                Some(member) if works => self.swap(index, member, cause),
                _ => self.tell_agent(owner, index, |memory, now, _, _| {
                    memory.on_not_handed_over(now.time, "the disk did not answer for 2 s");
                }),
            }
        }
        let live = self.vms[index].live.as_mut().unwrap();
        if let Some(clone) = &live.clone {
            let (to, half) = (clone.to, clone.half);
            let (over, fails, phase) = (clone.ends <= ms, clone.fails, clone.phase(ms));
            let host = self.hosts[to].name.clone();
            if !self.hosts[to].runs() || (over && fails) {
                live.clone = None;
                self.tell_agent(owner, index, |memory, now, vm, backoff| {
                    let why = "has not become the backup";
                    memory.on_failed_clone(now, (vm, &host), (Some(phase), why), backoff);
                });
                self.tell(format!("{}: clone to {host} failed", self.vms[index].name));
            } else if over {
                (live.clone, live.other) = (None, half);
                if live.member.replace(to).is_some() {
                    live.dismissing_until = ms + 700;
                }
                self.tell_agent(owner, index, |memory, _, vm, backoff| {
                    memory.on_protected(vm, &host, backoff);
                });
                self.tell(format!("{}: protected by {host}", self.vms[index].name));
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
                *live = Live {
                    host: member,
                    half: live.other,
                    other: live.other,
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
                let from = Some(self.hosts[old].name.clone());
                self.tell_agent(member, index, |memory, now, _, _| {
                    memory.on_takeover(now.wall, from);
                });
            }
            _ => {
                vm.live = None;
                vm.ended = None;
                let text = format!("{}: is gone", vm.name);
                self.tell(text);
            }
        }
    }

    pub(super) fn lose_backup(&mut self, index: usize, why: SuspicionWord) {
        let live = self.vms[index].live.as_mut().unwrap();
        // It claims the next epoch, in which that one counts for nothing.
        live.epoch += 1;
        let (owner, member) = (live.host, live.member.take().unwrap());
        let host = self.hosts[member].name.clone();
        self.tell(format!("{}: backup {host} is lost", self.vms[index].name));
        self.tell_agent(owner, index, |memory, now, vm, backoff| {
            memory.on_alone(Some(now), (vm, &host), (now.wall, why), backoff);
        });
    }

    /// The agent of a host, if it runs, hears what a process there says has happened.
    fn tell_agent(
        &mut self,
        host: usize,
        index: usize,
        hear: impl FnOnce(&mut Memory, Now, &VmName, &mut Backoff),
    ) {
        let (now, vm) = (self.now(), self.vms[index].name.clone());
        if self.hosts[host].answers() {
            let (memory, backoff) = self.hosts[host].agent.of(&vm);
            hear(memory, now, &vm, backoff);
        }
    }

    pub(super) fn swap(&mut self, index: usize, member: usize, cause: Cause) {
        let wall = self.now().wall;
        let vm = &mut self.vms[index];
        let live = vm.live.as_mut().unwrap();
        let old = live.host;
        (live.host, live.member, live.epoch) = (member, Some(old), live.epoch + 1);
        std::mem::swap(&mut live.half, &mut live.other);
        vm.home = member;
        vm.swaps.push(Swap {
            at: wall,
            from: self.hosts[old].name.clone(),
            to: self.hosts[member].name.clone(),
            cause,
        });
        let text = format!(
            "{}: {} hands over to {} ({cause:?})",
            vm.name, self.hosts[old].name, self.hosts[member].name
        );
        self.tell(text);
        for side in [old, member] {
            self.tell_agent(side, index, |memory, _, _, _| memory.on_handed_over());
        }
    }
}
