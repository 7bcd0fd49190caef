//! Hosts, agents and processes in a few hundred lines, to close the loop around the planner: what it decides
//! is carried out, and what it sees next follows from that. A process refuses what a real one would
//! (docs/control.md), and then the test has failed.
//!
//! `course` is how processes go on, `seeing` what agents are told, `acting` how orders are carried out. The
//! world knows what is true; an agent knows what its host and the agents that answer tell it, remembers it as
//! a real one does (`plan::Memory`), and forgets all of its own when it is killed.

mod acting;
mod course;
mod seeing;

use std::collections::BTreeMap;

use messages::time::{Span, Time};
use messages::vm_name::VmName;
use plan::{
    Action, Answers, Asked, Backoff, Cause, Decision, Desired, Drain, End, HostName, Kind, Memory, Now,
    Operation, Outcome, Ownership, Power, Protected, Reset, Site, Swap, Views, Vm, Wall,
};
use report::StateWord;

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
    memories: BTreeMap<VmName, Memory>,
    answers: BTreeMap<VmName, Answers>,
}

impl Agent {
    fn new(seed: u64) -> Agent {
        Agent {
            backoff: Backoff::new(seed),
            asking: BTreeMap::new(),
            memories: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    /// What it remembers of a VM, and of hosts.
    fn of(&mut self, vm: &VmName) -> (&mut Memory, &mut Backoff) {
        (self.memories.entry(vm.clone()).or_default(), &mut self.backoff)
    }

    /// Has it asked a host for a reservation, or got one, for another VM than this one?
    fn is_busy_with_another(&self, vm: &VmName, now: Now) -> bool {
        let others = self.memories.iter().filter(|(of, _)| *of != vm);
        let mut seen =
            others.map(|(_, memory)| memory.seen(Views::default(), None, Vec::new(), Ownership::Unknown));
        seen.any(|seen| {
            let is_prepared = seen.prepared.is_some_and(|prepared| prepared.until > now.time);
            seen.asking.is_some() || is_prepared
        })
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
    half: Half,
    began: u64,
    ends: u64,
    fails: bool,
}

/// Which process a half of a VM is, and since which epoch.
#[derive(Clone, Copy)]
struct Half {
    number: u64,
    first_epoch: u64,
}

/// A VM that has a process: the owner's, and what hangs on it.
pub struct Live {
    pub host: usize,
    half: Half,
    /// The backup's process, as long as there is a `member`.
    other: Half,
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
    pub ended: Option<(End, Wall)>,
    pub is_record_open: bool,
    pub stuck: bool,
    /// Does its guest hang, wherever it lives?
    pub hangs: bool,
    /// When it was reset without anybody's word, in milliseconds.
    pub resets: Vec<u64>,
    /// The note of the last such reset, and the one under which the process has taken an order.
    reset: Option<Reset>,
    reset_done: Option<Wall>,
    epoch: u64,
}

pub struct World {
    pub dice: Dice,
    pub ms: u64,
    pub hosts: Vec<SimHost>,
    pub vms: Vec<SimVm>,
    /// Are there failures of clones, requests and hand-overs?
    pub is_rough: bool,
    /// Processes that there were so far.
    processes: u64,
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
                    resets_hung: false,
                },
                operation: None,
                swaps: Vec::new(),
                ended: Some((End::Never, Wall(0))),
                is_record_open: false,
                stuck: false,
                hangs: false,
                resets: Vec::new(),
                reset: None,
                reset_done: None,
                epoch: 0,
            })
            .collect();
        World {
            dice,
            ms: 0,
            hosts,
            vms,
            is_rough: true,
            processes: 0,
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

    /// The answers that have come to an agent's requests for reservations.
    fn answers(&mut self, host: usize) {
        let now = self.now();
        let asking = std::mem::take(&mut self.hosts[host].agent.asking);
        for (vm, (to, since, answer_ms, grants)) in asking {
            let answers = self.hosts[to].answers() && answer_ms <= self.ms;
            let is_late = now.time.since(since) >= plan::limits::ASK_PATIENCE;
            let to_name = self.hosts[to].name.clone();
            let is_taken = self.is_taken(to);
            let answer = if answers && grants && !is_taken {
                Ok(now.time.after(Span::from_ms(30_000)))
            } else if answers {
                Err("takes no backup now")
            } else if is_late {
                Err("has not answered")
            } else {
                let asked = (to, since, answer_ms, grants);
                self.hosts[host].agent.asking.insert(vm, asked);
                continue;
            };
            let (memory, backoff) = self.hosts[host].agent.of(&vm);
            memory.on_reservation(now, (&vm, &to_name), answer, backoff);
        }
    }

    /// Another process is born that is a half of a VM, in this epoch.
    fn born(&mut self, first_epoch: u64) -> Half {
        self.processes += 1;
        Half {
            number: self.processes,
            first_epoch,
        }
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
