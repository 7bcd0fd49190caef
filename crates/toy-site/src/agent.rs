//! `Agent`: what one agent has in its memory, all of which is lost when it dies, and what it tells others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use messages::time::{Span, Time};
use messages::vm_name::VmName;
use plan::{Backoff, Decision, Health, Held, Host, HostName, Memory, Now, Process, Protocols, View};
use report::SuspicionWord;

use crate::store::State;

/// Reports of an agent that are kept for those which hear it late.
const REPORTS_KEPT: usize = 32;
/// A GiB, in bytes.
const GIB: u64 = 1 << 30;

/// What a process says of itself, as the world knows it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Number of the process, one of its kind.
    pub number: u64,
    /// What it says; hosts have the names of [`crate::Site::name`].
    pub process: Process,
    /// How it is off.
    pub health: Health,
    /// Does it answer at present? One that stands still does not.
    pub answers: bool,
}

/// What a process says has happened, at once, to the agent of its host.
#[derive(Clone, Debug)]
pub enum News {
    /// The VM has a backup on this host.
    Protected(usize),
    /// No process of this host becomes the backup, for this reason.
    Failed(usize, String),
    /// It has gone on alone, and why.
    Alone(SuspicionWord),
    /// It has taken the VM over.
    TookOver,
    /// The sides have changed their roles.
    HandedOver,
    /// They have not, for this reason.
    NotHandedOver(String),
}

/// A process, as it has answered last.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    number: u64,
    process: Process,
    health: Health,
    /// When it was asked, by the agent's clock.
    asked: Time,
}

/// What an agent tells of its host.
#[derive(Debug)]
pub(crate) struct Report {
    /// When it was made, in true time.
    pub made: Time,
    /// How many times the host has booted.
    pub boot: u64,
    /// Each process, and how old its answer was then.
    pub processes: Vec<(Entry, Span)>,
    /// Cannot the VM be taken away from this host, though it is drained?
    pub stuck: bool,
}

/// A report that was heard.
#[derive(Clone, Debug)]
struct Heard {
    /// When that was, by the agent's clock.
    at: Time,
    report: Rc<Report>,
}

/// One agent.
#[derive(Debug)]
pub(crate) struct Agent {
    /// How many agents this host has had: what was asked by an earlier one is answered to nobody.
    pub generation: u64,
    /// Does it run?
    pub is_up: bool,
    /// How many times its host has booted.
    pub boot: u64,
    pub memory: Memory,
    pub backoff: Backoff,
    /// What it has seen of the store; `None`: nothing yet.
    pub seen: Option<Rc<State>>,
    /// Since when it cannot read the store; `None`: it can.
    pub store_away: Option<Time>,
    pub stuck: bool,
    /// What it has decided last.
    pub thought: Option<Decision>,
    heard: Vec<Option<Heard>>,
    /// What it has told last, the newest at the end.
    reports: VecDeque<Rc<Report>>,
    hosts: Vec<Host>,
}

impl Agent {
    /// The first agent of a host, or with `before` the next one.
    pub fn new(names: &[HostName], speeds: &[u64], seed: u64, before: Option<&Agent>) -> Agent {
        let hosts = names.iter().zip(speeds).map(|(name, speed)| host(name, *speed));
        Agent {
            generation: before.map_or(0, |before| before.generation + 1),
            is_up: true,
            boot: before.map_or(1, |before| before.boot),
            memory: Memory::default(),
            backoff: Backoff::new(seed),
            seen: None,
            store_away: None,
            stuck: false,
            thought: None,
            heard: vec![None; names.len()],
            reports: VecDeque::new(),
            hosts: hosts.collect(),
        }
    }

    /// The newest report that was made at this time or before.
    pub fn report_at(&self, time: Time) -> Option<&Rc<Report>> {
        self.reports.iter().rev().find(|report| report.made <= time)
    }

    /// It hears a report. True: it is news.
    pub fn hear(&mut self, from: usize, at: Time, report: &Rc<Report>) -> bool {
        let Some(slot) = self.heard.get_mut(from) else {
            return false;
        };
        let is_known = slot
            .as_ref()
            .is_some_and(|heard| heard.report.made >= report.made);
        if !is_known {
            let report = Rc::clone(report);
            *slot = Some(Heard { at, report });
        }
        !is_known
    }

    /// When a host was heard last, by the agent's clock, and in which of its boots; `None`: never.
    pub fn heard_of(&self, host: usize) -> Option<(Time, u64)> {
        let heard = self.heard.get(host)?.as_ref()?;
        Some((heard.at, heard.report.boot))
    }

    /// It asks its host's processes how they are: the report of which is what it tells others too.
    pub fn ask(&mut self, me: usize, (now, clock): (Time, Time), told: Vec<Told>) {
        let before = self.heard.get(me).and_then(Option::clone);
        let known = |number: u64| {
            let entries = before.as_ref().map(|heard| &heard.report.processes);
            let mut entries = entries.into_iter().flatten();
            entries.find(|(entry, _)| entry.number == number)
        };
        let mut processes = Vec::with_capacity(told.len());
        for told in told {
            let entry = if told.answers {
                self.memory.on_status(clock, &told.process);
                Entry {
                    number: told.number,
                    process: told.process,
                    health: told.health,
                    asked: clock,
                }
            } else if let Some((entry, _)) = known(told.number) {
                entry.clone()
            } else {
                continue;
            };
            let age = clock.since(entry.asked);
            processes.push((entry, age));
        }
        let report = Rc::new(Report {
            made: now,
            boot: self.boot,
            processes,
            stuck: self.stuck,
        });
        self.reports.push_back(Rc::clone(&report));
        if self.reports.len() > REPORTS_KEPT {
            self.reports.pop_front();
        }
        self.hear(me, clock, &report);
    }

    /// All processes that it was told of, with how old that is.
    pub fn views(&self, clock: Time) -> Vec<View> {
        let of_host = |(heard, host): (&Option<Heard>, &Host)| {
            let heard = heard.as_ref()?;
            let since = clock.since(heard.at);
            let views = heard.report.processes.iter().map(|(entry, age)| View {
                host: host.name.clone(),
                process: entry.process.clone(),
                age: Span(since.0 + age.0),
            });
            Some(views.collect::<Vec<_>>())
        };
        let all = self.heard.iter().zip(&self.hosts).filter_map(of_host);
        all.flatten().collect()
    }

    /// The host of the process of the newest epoch that is live, or is a backup, and its health, as told.
    pub fn newest(&self, is_wanted: fn(&Process) -> bool) -> Option<(HostName, Health)> {
        let of_host = |(heard, host): (&Option<Heard>, &Host)| {
            let entries = heard.as_ref()?.report.processes.iter().map(|(entry, _)| entry);
            let newest = entries.filter(|entry| is_wanted(&entry.process));
            let newest = newest.max_by_key(|entry| entry.process.epoch)?;
            let told = (host.name.clone(), newest.health.clone());
            Some((newest.process.epoch, told))
        };
        let all = self.heard.iter().zip(&self.hosts).filter_map(of_host);
        all.max_by_key(|(epoch, _)| *epoch).map(|(_, told)| told)
    }

    /// The live process of this host, as it has answered last.
    pub fn live_here(&self, me: usize) -> Option<&Process> {
        let heard = self.heard.get(me)?.as_ref()?;
        let mut processes = heard.report.processes.iter().map(|(entry, _)| &entry.process);
        processes.find(|process| process.is_live())
    }

    /// Does this host hold a half of the VM, or does its agent not know yet?
    pub fn holds_half(&self, me: usize) -> bool {
        let heard = self.heard.get(me).and_then(Option::as_ref);
        heard.is_none_or(|heard| {
            let mut processes = heard.report.processes.iter();
            processes.any(|(entry, _)| entry.process.role.is_some())
        })
    }

    /// The hosts of the site, as it sees them now; `is_all_new`: it takes all that it was told for new.
    pub fn hosts(&mut self, now: Now, vm: &VmName, is_all_new: bool) -> &[Host] {
        let drains = self.seen.as_ref().map(|seen| &seen.drains);
        for (index, (host, heard)) in self.hosts.iter_mut().zip(&self.heard).enumerate() {
            host.heard = heard
                .as_ref()
                .map(|heard| if is_all_new { now.time } else { heard.at });
            host.draining = drains.and_then(|drains| drains.get(&index)).cloned();
            host.holds.clear();
            let Some(heard) = heard else {
                continue;
            };
            if let Some((entry, _)) = heard.report.processes.last() {
                let process = &entry.process;
                let peer = process.peer.clone().filter(|_| !process.is_live());
                let held = Held {
                    memory_bytes: GIB,
                    controller: peer.unwrap_or_else(|| host.name.clone()),
                    stuck: heard.report.stuck,
                };
                host.holds.insert(vm.clone(), held);
            }
            host.protected = u32::try_from(host.holds.len()).unwrap_or(0);
        }
        &self.hosts
    }
}

/// What is always so of a host.
fn host(name: &HostName, speed: u64) -> Host {
    Host {
        name: name.clone(),
        heard: None,
        boot: 1,
        version: String::new(),
        models: BTreeSet::from([1]),
        protocols: Protocols { oldest: 1, newest: 1 },
        memory_bytes: 16 * GIB,
        free_bytes: 8 * GIB,
        processors: 4,
        free_processors: 4,
        steps_per_second: speed,
        translates: true,
        zone: None,
        storages: BTreeMap::new(),
        networks: BTreeSet::new(),
        draining: None,
        protected: 0,
        protected_max: 8,
        round_trip: None,
        knows: BTreeSet::new(),
        holds: BTreeMap::new(),
    }
}
