//! What agents are told of hosts and processes, and whether there is anything that they should have done.

use std::collections::BTreeMap;

use messages::time::Span;
use messages::vm_name::VmName;
use plan::{
    End, Ended, Hang, Health, Held, Host, Kind, Ownership, Process, Protected, Seen, Sign, View, Views,
};
use report::{PhaseWord, RoleWord};

use super::{Live, SimClone, SimHost, SimVm, World};
use crate::sample;

impl World {
    /// Memory of a host that is free in truth.
    pub(super) fn free_bytes(&self, host: usize) -> u64 {
        let held: u64 = self
            .vms
            .iter()
            .filter(|vm| self.holds(vm, host))
            .map(|vm| vm.memory_bytes + (196 << 20))
            .sum();
        self.hosts[host].memory_bytes.saturating_sub(held)
    }

    /// Is a backup being made on this host?
    pub(super) fn is_taken(&self, host: usize) -> bool {
        let clones = |live: &Live| live.clone.as_ref().is_some_and(|clone| clone.to == host);
        self.vms.iter().any(|vm| vm.live.as_ref().is_some_and(clones))
    }

    /// Is there a host that could take a backup of this VM now, as far as the world and the owner's agent
    /// know?
    pub fn has_fit_host(&self, index: usize) -> bool {
        let (vm, now) = (&self.vms[index], self.now());
        let Some(live) = &vm.live else {
            return false;
        };
        let agent = &self.hosts[live.host].agent;
        (0..self.hosts.len()).any(|to| {
            let host = &self.hosts[to];
            let needed = vm.memory_bytes + (260 << 20) + host.memory_bytes / 10;
            to != live.host
                && host.answers()
                && host.draining.is_none()
                && self.free_bytes(to) >= needed
                && !self.is_taken(to)
                && agent.backoff.until(now, &vm.name, &host.name).is_none()
        })
    }

    /// Does a VM lack its backup though nothing keeps the owner's agent from giving it one?
    pub fn is_neglected(&self, index: usize) -> bool {
        let vm = &self.vms[index];
        let Some(live) = &vm.live else {
            return false;
        };
        let clones_here = |vm: &SimVm| {
            let clones = |other: &Live| other.host == live.host && other.clone.is_some();
            vm.live.as_ref().is_some_and(clones)
        };
        let agent = &self.hosts[live.host].agent;
        let waits_for_another = agent.is_busy_with_another(&vm.name, self.now());
        let is_named = vm
            .operation
            .as_ref()
            .is_some_and(|operation| !matches!(operation.kind, Kind::Reset | Kind::Stop | Kind::Start));
        live.member.is_none()
            && vm.desired.protected == Protected::On
            && self.hosts[live.host].answers()
            && !self.vms.iter().any(clones_here)
            && !waits_for_another
            && !is_named
            && self.ms >= live.claiming_until
            && self.ms >= live.booting_until
            && self.has_fit_host(index)
    }

    pub(super) fn holds(&self, vm: &SimVm, host: usize) -> bool {
        vm.live.as_ref().is_some_and(|live| {
            live.host == host
                || live.member == Some(host)
                || live.clone.as_ref().is_some_and(|clone| clone.to == host)
        })
    }

    /// What is known of the hosts.
    pub fn facts(&self) -> Vec<Host> {
        let fact = |(index, host): (usize, &SimHost)| {
            let held = self.vms.iter().filter(|vm| self.holds(vm, index));
            let holds: BTreeMap<VmName, Held> = held
                .map(|vm| {
                    let owner = vm.live.as_ref().unwrap().host;
                    let held = Held {
                        memory_bytes: vm.memory_bytes,
                        controller: self.hosts[owner].name.clone(),
                        stuck: vm.stuck,
                    };
                    (vm.name.clone(), held)
                })
                .collect();
            Host {
                heard: host.heard,
                memory_bytes: host.memory_bytes,
                free_bytes: self.free_bytes(index),
                draining: host.draining.clone(),
                protected: holds.len() as u32,
                holds,
                ..sample::host(host.name.as_str(), self.now())
            }
        };
        self.hosts.iter().enumerate().map(fact).collect()
    }

    /// What the process of a VM on this host says, if there is one.
    pub(super) fn process(&self, vm: &SimVm, host: usize) -> Option<Process> {
        let live = vm.live.as_ref()?;
        let owner = self.hosts[live.host].name.as_str();
        let mut process = if live.host == host {
            let peer = live.member.map(|member| self.hosts[member].name.as_str());
            let role = match peer {
                _ if self.ms < live.claiming_until => RoleWord::Claiming,
                Some(_) => RoleWord::Primary,
                None => RoleWord::Solo,
            };
            let mut process = sample::process(role, peer);
            if self.ms < live.booting_until {
                process.role = None;
            }
            process.clone = live
                .clone
                .as_ref()
                .map(|clone| sample::clone(self.hosts[clone.to].name.as_str(), clone.phase(self.ms)));
            process.is_dismissing = self.ms < live.dismissing_until;
            process.is_swapping = live.swap.is_some();
            process
        } else if live.member == Some(host) {
            sample::process(RoleWord::Backup, Some(owner))
        } else if live.clone.as_ref().is_some_and(|clone| clone.to == host) {
            sample::process(RoleWord::Apprentice, Some(owner))
        } else {
            return None;
        };
        let clone = live.clone.as_ref().filter(|clone| clone.to == host);
        let half = match clone {
            _ if live.host == host => live.half,
            Some(clone) => clone.half,
            None => live.other,
        };
        (process.number, process.first_epoch) = (half.number, Some(half.first_epoch));
        process.is_paused = live.paused;
        process.epoch = live.epoch;
        Some(process)
    }

    /// What an agent makes of a guest that may hang: it looks at one whose live process is on its host.
    fn hang(&mut self, host: usize, index: usize) -> Hang {
        let (now, vm) = (self.now(), &self.vms[index]);
        let answers = &mut self.hosts[host].agent.answers;
        let reset = vm.reset.clone();
        let live = vm.live.as_ref().filter(|live| live.host == host);
        if live.is_none_or(|live| live.paused || self.ms < live.booting_until) {
            answers.remove(&vm.name);
            return Hang { silence: None, reset };
        }
        let answers = answers.entry(vm.name.clone()).or_default();
        let said = if vm.hangs { Err("it hangs".into()) } else { Ok(()) };
        answers.hear(now, Sign::Timer, said);
        Hang {
            silence: answers.silence(Span::from_ms(10_000)),
            reset,
        }
    }

    /// What an agent sees of a VM.
    pub(super) fn seen(&mut self, host: usize, index: usize) -> Seen {
        let now = self.now();
        let vm = &self.vms[index];
        let told = (0..self.hosts.len()).filter(|at| *at == host || self.hosts[*at].answers());
        let views = told.filter_map(|at| {
            Some(View {
                host: self.hosts[at].name.clone(),
                process: self.process(vm, at)?,
                age: Span(0),
            })
        });
        let views = Views::of(&self.hosts[host].name, views.collect());
        let ownership = if vm.is_record_open {
            Ownership::Open {
                epoch: vm.epoch,
                host: self.hosts[vm.home].name.clone(),
            }
        } else {
            Ownership::Closed
        };
        let health = |at: usize| Health {
            is_net_down: self.hosts[at].is_net_down,
            ..Health::default()
        };
        let live = vm.live.as_ref().filter(|live| live.host == host);
        let of_member = |at: usize| (self.hosts[at].name.clone(), health(at));
        let healths = live.map(|live| (health(host), live.member.map(of_member)));
        let ended = vm.ended.as_ref().filter(|_| vm.live.is_none());
        let ended = ended.map(|(how, at)| Ended {
            how: how.clone(),
            at: *at,
            age: Span(0),
        });
        let has_run = !matches!(vm.ended, Some((End::Never, _)));
        let is_confirmed = vm
            .operation
            .as_ref()
            .is_some_and(|operation| operation.is_confirmed);
        let (name, swaps) = (vm.name.clone(), vm.swaps.clone());
        let memory = self.hosts[host].agent.of(&name).0;
        if let Some(here) = &views.here {
            memory.on_status(now.time, &here.process);
        }
        if let Some((owner, member)) = healths {
            memory.on_health(now.time, owner, member);
        }
        if is_confirmed {
            memory.on_confirmed();
        }
        memory.looks(now.time, &views, has_run);
        let mut seen = memory.seen(views, ended, swaps, ownership);
        seen.hang = self.hang(host, index);
        seen
    }
}

impl SimClone {
    /// How far it is.
    pub(super) fn phase(&self, ms: u64) -> PhaseWord {
        if ms < self.began + 1_000 {
            PhaseWord::Connecting
        } else if ms + 1_000 < self.ends {
            PhaseWord::Copying
        } else {
            PhaseWord::Arming
        }
    }
}
