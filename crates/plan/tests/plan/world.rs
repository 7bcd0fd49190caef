//! Hosts, agents and processes in a few hundred lines, to close the loop around the planner: what it decides
//! is carried out, and what it sees next follows from that. A process refuses what a real one would
//! (docs/control.md), and then the test has failed.
//!
//! The world knows what is true; an agent knows what its host and the agents that answer tell it, and forgets
//! all of its own when it is killed.

use std::collections::BTreeMap;

use messages::time::{Span, Time};
use messages::vm_name::VmName;
use plan::{
    Action, Asked, Backoff, Cause, Decision, Desired, Drain, End, Ended, Failures, Health, Held, Host,
    HostName, Kind, Loss, Lost, Now, Operation, Outcome, Ownership, Power, Prepared, Process, Protected,
    Seen, Site, Swap, View, Vm, Wall, Watch,
};
use report::{PhaseWord, RoleWord, StateWord, SuspicionWord};

use crate::sample;

/// Time between two looks of an agent, in milliseconds.
pub const LOOK_MS: u64 = 500;

/// Numbers from a seed (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }
}

/// What an agent keeps in its memory.
pub struct Agent {
    pub backoff: Backoff,
    /// For each VM the host that is asked, since when, and when it answers with what.
    asking: BTreeMap<VmName, (usize, Time, u64, bool)>,
    prepared: BTreeMap<VmName, Prepared>,
    failures: BTreeMap<VmName, Failures>,
    watches: BTreeMap<VmName, Watch>,
    gone: BTreeMap<VmName, Time>,
}

impl Agent {
    fn new(seed: u64) -> Agent {
        Agent {
            backoff: Backoff::new(seed),
            asking: BTreeMap::new(),
            prepared: BTreeMap::new(),
            failures: BTreeMap::new(),
            watches: BTreeMap::new(),
            gone: BTreeMap::new(),
        }
    }
}

pub struct SimHost {
    pub name: HostName,
    /// `None`: it runs; otherwise when it is back, in milliseconds.
    pub dead_until: Option<u64>,
    /// `None`: its agent runs; otherwise when it is back.
    pub agent_dead_until: Option<u64>,
    pub heard: Option<Time>,
    pub draining: Option<Drain>,
    pub is_net_down: bool,
    pub memory_bytes: u64,
    pub agent: Agent,
}

impl SimHost {
    pub fn runs(&self) -> bool {
        self.dead_until.is_none()
    }

    pub fn answers(&self) -> bool {
        self.runs() && self.agent_dead_until.is_none()
    }
}

/// A clone on its way.
pub struct SimClone {
    pub to: usize,
    began: u64,
    ends: u64,
    fails: bool,
}

/// A VM that has a process: the owner's, and what hangs on it.
pub struct Live {
    pub host: usize,
    /// Until when the process is nothing yet, or asks the arbiter.
    booting_until: u64,
    claiming_until: u64,
    pub member: Option<usize>,
    pub clone: Option<SimClone>,
    dismissing_until: u64,
    swap: Option<(u64, bool, Cause)>,
    paused: bool,
    pub epoch: u64,
}

pub struct SimVm {
    pub name: VmName,
    pub memory_bytes: u64,
    pub live: Option<Live>,
    /// Where it runs, ran last, or is to be started, as the site's store says.
    pub home: usize,
    pub desired: Desired,
    pub operation: Option<Operation>,
    pub swaps: Vec<Swap>,
    pub lost: Option<Lost>,
    pub ended: Option<(End, Wall)>,
    pub is_record_open: bool,
    pub stuck: bool,
    epoch: u64,
}

pub struct World {
    pub dice: Dice,
    pub ms: u64,
    pub hosts: Vec<SimHost>,
    pub vms: Vec<SimVm>,
    /// Are there failures of clones, requests and hand-overs?
    pub is_rough: bool,
    /// What happened, for whoever must understand a failure.
    pub story: Vec<String>,
    /// How the operations ended, and when they had begun.
    pub outcomes: Vec<(Kind, u64, Outcome)>,
}

impl World {
    pub fn new(seed: u64, hosts: usize, vms: usize) -> World {
        let mut dice = Dice(seed);
        let hosts: Vec<SimHost> = ["a", "b", "c", "d", "e"]
            .iter()
            .take(hosts)
            .map(|name| SimHost {
                name: HostName::new(*name),
                dead_until: None,
                agent_dead_until: None,
                heard: None,
                draining: None,
                is_net_down: false,
                memory_bytes: dice.between(20, 64) << 27,
                agent: Agent::new(dice.below(1 << 40)),
            })
            .collect();
        let vms = (0..vms)
            .map(|number| SimVm {
                name: VmName::new(&format!("vm{number}")).unwrap(),
                memory_bytes: dice.between(1, 4) << 28,
                live: None,
                home: number % hosts.len(),
                desired: Desired {
                    power: Power::On,
                    power_asked: Asked {
                        by: "ada".into(),
                        at: sample::at(0).wall,
                        comment: String::new(),
                    },
                    protected: Protected::On,
                    protected_asked: None,
                    starts_cold: true,
                    swaps_for_health: true,
                },
                operation: None,
                swaps: Vec::new(),
                lost: None,
                ended: Some((End::Never, Wall(0))),
                is_record_open: false,
                stuck: false,
                epoch: 0,
            })
            .collect();
        World {
            dice,
            ms: 0,
            hosts,
            vms,
            is_rough: true,
            story: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    pub fn now(&self) -> Now {
        sample::at_ms(self.ms)
    }

    pub fn tell(&mut self, what: String) {
        self.story.push(format!("{:>9} ms {what}", self.ms));
    }

    /// Time goes on by one look: processes go on, then each agent that runs looks and acts.
    pub fn look(&mut self) {
        self.ms += LOOK_MS;
        self.come_back();
        for index in 0..self.vms.len() {
            self.go_on(index);
        }
        let now = self.now();
        for host in &mut self.hosts {
            if host.answers() {
                host.heard = Some(now.time);
            }
        }
        let mut acted: BTreeMap<VmName, usize> = BTreeMap::new();
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, self.dice.below(index as u64 + 1) as usize);
        }
        // All agents look before any of them acts, so that two that think the same do so at once.
        order.retain(|host| self.hosts[*host].answers());
        let all: Vec<(usize, Vec<Decision>)> =
            order.into_iter().map(|host| (host, self.think(host))).collect();
        // What they chose by was so before any of them acted.
        for (host, decisions) in &all {
            for (vm, decision) in decisions.iter().enumerate() {
                if let Action::Prepare { host: to } = &decision.action {
                    let to = self.hosts.iter().position(|host| host.name == *to);
                    self.must_fit(*host, vm, to.unwrap());
                }
            }
        }
        for (host, decisions) in all {
            for (vm, decision) in decisions.into_iter().enumerate() {
                if !matches!(decision.action, Action::Wait { .. } | Action::Nothing) {
                    let before = acted.insert(self.vms[vm].name.clone(), host);
                    assert_eq!(before, None, "two agents act for one VM");
                }
                self.carry_out(host, vm, decision);
            }
        }
    }

    fn come_back(&mut self) {
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
    fn go_on(&mut self, index: usize) {
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

    fn owner_is_gone(&mut self, index: usize) {
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

    fn lose_backup(&mut self, index: usize, how: Loss) -> usize {
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
    fn blame(&mut self, index: usize, to: usize, shun: bool, why: &str) {
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

    fn swap(&mut self, index: usize, member: usize, cause: Cause) {
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

    /// Memory of a host that is free in truth.
    fn free_bytes(&self, host: usize) -> u64 {
        let held: u64 = self
            .vms
            .iter()
            .filter(|vm| self.holds(vm, host))
            .map(|vm| vm.memory_bytes + (196 << 20))
            .sum();
        self.hosts[host].memory_bytes.saturating_sub(held)
    }

    /// Is a backup being made on this host?
    fn is_taken(&self, host: usize) -> bool {
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
        let waits_for_another = agent
            .asking
            .keys()
            .chain(agent.prepared.keys())
            .any(|of| *of != vm.name);
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

    fn holds(&self, vm: &SimVm, host: usize) -> bool {
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
    fn process(&self, vm: &SimVm, host: usize) -> Option<Process> {
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
            process.clone = live.clone.as_ref().map(|clone| {
                let phase = if self.ms < clone.began + 1_000 {
                    PhaseWord::Connecting
                } else if self.ms + 1_000 < clone.ends {
                    PhaseWord::Copying
                } else {
                    PhaseWord::Arming
                };
                sample::clone(self.hosts[clone.to].name.as_str(), phase)
            });
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
        process.is_paused = live.paused;
        process.epoch = live.epoch;
        Some(process)
    }

    /// What an agent sees of a VM.
    fn seen(&mut self, host: usize, index: usize) -> Seen {
        let now = self.now();
        let view = |at: usize| {
            let process = self.process(&self.vms[index], at)?;
            Some(View {
                host: self.hosts[at].name.clone(),
                process,
                age: Span(0),
            })
        };
        let vm = &self.vms[index];
        let others = (0..self.hosts.len()).filter(|at| *at != host && self.hosts[*at].answers());
        let views: Vec<View> = others.filter_map(view).collect();
        let here = view(host);
        let is_seen = here.is_some() || !views.is_empty();
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
        let healths = live.map(|live| (health(host), live.member.map(health)));
        let mut seen = Seen {
            here,
            elsewhere: views.iter().find(|view| view.process.is_live()).cloned(),
            member: views.iter().find(|view| !view.process.is_live()).cloned(),
            ended: vm
                .ended
                .as_ref()
                .filter(|_| vm.live.is_none())
                .map(|(how, at)| Ended {
                    how: how.clone(),
                    at: *at,
                    age: Span(0),
                }),
            ownership,
            lost: vm.lost.clone(),
            swaps: vm.swaps.clone(),
            ..sample::nothing_seen()
        };
        let never_ran = vm.ended.as_ref().is_some_and(|(how, _)| *how == End::Never);
        let name = vm.name.clone();
        let agent = &mut self.hosts[host].agent;
        if is_seen || never_ran {
            agent.gone.remove(&name);
        } else {
            agent.gone.entry(name.clone()).or_insert(now.time);
        }
        seen.gone_since = agent.gone.get(&name).copied();
        seen.prepared = agent.prepared.get(&name).cloned();
        seen.not_handed_over = agent.failures.get(&name).cloned();
        let asked = agent.asking.get(&name);
        let asked = asked.map(|(to, since, ..)| (*to, *since));
        if let Some((owner, member)) = healths {
            let watch = agent.watches.entry(name).or_default();
            watch.hear(now.time, owner, member);
            seen.health = watch.clone();
        }
        seen.asking = asked.map(|(to, since)| (self.hosts[to].name.clone(), since));
        seen
    }

    /// The answers that have come to an agent's requests for reservations.
    fn answers(&mut self, host: usize) {
        let now = self.now();
        let asking = std::mem::take(&mut self.hosts[host].agent.asking);
        for (vm, (to, since, answer_ms, grants)) in asking {
            let answers = self.hosts[to].answers() && answer_ms <= self.ms;
            let is_late = now.time.since(since) >= plan::limits::ASK_PATIENCE;
            let to_name = self.hosts[to].name.clone();
            let is_taken = self.is_taken(to);
            let agent = &mut self.hosts[host].agent;
            if answers && grants && !is_taken {
                let until = now.time.after(Span::from_ms(30_000));
                agent.prepared.insert(vm, Prepared { host: to_name, until });
            } else if answers {
                agent.backoff.fail(now, &vm, &to_name, "takes no backup now");
            } else if is_late {
                agent.backoff.fail(now, &vm, &to_name, "has not answered");
            } else {
                agent.asking.insert(vm, (to, since, answer_ms, grants));
            }
        }
        let agent = &mut self.hosts[host].agent;
        agent.prepared.retain(|_, prepared| prepared.until > now.time);
    }

    fn think(&mut self, host: usize) -> Vec<Decision> {
        self.answers(host);
        let hosts = self.facts();
        let vms: Vec<Vm> = (0..self.vms.len())
            .map(|index| {
                let seen = self.seen(host, index);
                let vm = &self.vms[index];
                let mut need = sample::need(vm.name.as_str(), self.hosts[vm.home].name.as_str());
                need.memory_bytes = vm.memory_bytes;
                Vm {
                    need,
                    desired: vm.desired.clone(),
                    seen,
                    operation: vm.operation.clone(),
                }
            })
            .collect();
        let me = self.hosts[host].name.clone();
        let site = Site {
            clones_max: 1,
            ..sample::site(&me, &hosts)
        };
        let backoff = &self.hosts[host].agent.backoff;
        let decisions = plan::plan(self.now(), &site, &vms, backoff);
        for ((vm, decision), truth) in vms.iter().zip(&decisions).zip(&self.vms) {
            let placement = plan::placement_of(self.now(), &site, vm, backoff);
            let face = plan::face(self.now(), &site, vm, &placement, &decision.reasons);
            let has_backup = truth.live.as_ref().is_some_and(|live| live.member.is_some());
            let is_green = face.state == StateWord::Protected;
            assert!(has_backup || !is_green, "{}: green without a backup", truth.name);
            assert!(is_green || !face.reasons.is_empty(), "{}: {face:?}", truth.name);
        }
        decisions
    }

    fn carry_out(&mut self, host: usize, index: usize, decision: Decision) {
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
        match decision.action {
            Action::Wait { .. } | Action::Nothing => {}
            Action::Start => {
                assert!(self.vms[index].live.is_none(), "it runs already");
                assert!(!self.vms[index].is_record_open, "an earlier owner may live");
                self.vms[index].epoch += 1;
                let epoch = self.vms[index].epoch;
                let vm = &mut self.vms[index];
                (vm.is_record_open, vm.ended, vm.home) = (true, None, host);
                vm.live = Some(Live {
                    host,
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
                self.begin_clone(host, index, to);
            }
            Action::MoveBackup { to } => {
                let to = at(self, &to);
                self.must_be_live(host, index);
                let live = self.vms[index].live.as_ref().unwrap();
                assert!(live.member.is_some(), "`no-backup`");
                assert_ne!(live.member, Some(to), "it is the backup already");
                self.begin_clone(host, index, to);
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
                self.hosts[host].agent.prepared.remove(&name);
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
                // An agent that dies before it has noted the answer gives the order again.
                if self.dice.percent(50) {
                    self.vms[index].operation.as_mut().unwrap().is_confirmed = true;
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
                    self.lose_backup(index, Loss::Suspected(report::SuspicionWord::LinkLost));
                    self.vms[index].live.as_mut().unwrap().epoch += 1;
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

    fn begin_clone(&mut self, host: usize, index: usize, to: usize) {
        let ms = self.ms;
        let fails = !self.hosts[to].answers() || (self.is_rough && self.dice.percent(10));
        let lasts = self
            .dice
            .between(3_000, if self.is_rough { 40_000 } else { 10_000 });
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
            began: ms,
            ends: ms + lasts,
            fails,
        });
        self.hosts[host].agent.prepared.remove(&vm.name);
    }

    fn must_be_live(&self, host: usize, index: usize) {
        let live = self.vms[index].live.as_ref().expect("`not-live`");
        assert_eq!(live.host, host, "`not-live`");
        assert!(self.ms >= live.claiming_until, "`undecided`");
        assert!(self.ms >= live.booting_until, "`connecting`");
    }

    /// A host that is chosen has no refusal, as far as the world knows.
    fn must_fit(&self, host: usize, index: usize, to: usize) {
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

    pub fn kill_host(&mut self, host: usize, for_ms: u64) {
        let seed = self.dice.below(1 << 40);
        let until = self.ms + for_ms;
        let it = &mut self.hosts[host];
        (it.dead_until, it.agent_dead_until) = (Some(until), Some(until + 2_000));
        it.agent = Agent::new(seed);
        self.tell(format!("{} dies", self.hosts[host].name));
    }

    pub fn kill_agent(&mut self, host: usize, for_ms: u64) {
        let seed = self.dice.below(1 << 40);
        let until = self.ms + for_ms;
        let it = &mut self.hosts[host];
        it.agent_dead_until = Some(it.agent_dead_until.map_or(until, |before| before.max(until)));
        it.agent = Agent::new(seed);
        self.tell(format!("{}'s agent dies", self.hosts[host].name));
    }
}
