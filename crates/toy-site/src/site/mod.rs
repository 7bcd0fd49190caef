//! `Site`: how the agents look, decide and act, each at its time, and what people want meanwhile.
//!
//! Where the real agent has `mind/looking`, `mind/acting` and `mind/hearing`, this has `look`, `act` and
//! `errands`, and `wishes` is what happens to it; what both remember, and how both think, is the crate
//! `plan`.

mod errands;
mod wishes;

use std::rc::Rc;

use messages::time::{Span, Time};
use messages::vm_name::VmName;
use plan::{
    Action, Asked, Cause, Decision, Desired, HostName, Need, Now, Operation, Ownership, Power, Process,
    Protected, Protocols, Swap, Views, Vm, Wall, plan,
};
use report::RoleWord;
use toy::random::Random;

use crate::agent::{Agent, Told};
use crate::judge::Judge;
use crate::options::{Flaw, SiteOptions};
use crate::store::{State, Store};

/// A reservation holds for so long, by an agent's clock.
const RESERVATION: Span = Span::from_ms(30_000);
/// Another agent has so long to answer a request for a reservation.
const ASKED_PATIENCE: Span = Span::from_ms(8_000);
/// Most time that an order or its answer takes to a process of the same host.
const ORDER_LAG: Span = Span::from_ms(50);
/// The wall clock where time is zero.
const BEGINNING: u64 = 1_795_902_031_000_000_000;

/// Something that is to happen, at a time that is given with it.
#[derive(Clone, Debug)]
pub enum Errand {
    /// The agent of this host looks. The world says what it sees ([`Site::look`]).
    Look(usize),
    /// An agent's order reaches the process of its host. The world carries it out ([`Site::answer`]).
    Order {
        /// The host.
        host: usize,
        /// Which of its agents has given it.
        generation: u64,
        /// The order.
        action: Action,
        /// The host that the order names; `None`: it names none.
        to: Option<usize>,
    },
    /// All else is for [`Site::on`].
    Own(Own),
}

/// What only the site knows how to do.
#[derive(Clone, Debug)]
pub enum Own {
    /// The request for a reservation reaches a host.
    Ask {
        /// Who asks: a host, and which of its agents.
        from: (usize, u64),
        /// The host that is asked.
        to: usize,
    },
    /// A process begins to wait on a host that was asked.
    Wait {
        /// Who has asked.
        from: (usize, u64),
        /// The host that was asked.
        to: usize,
    },
    /// The answer to a request for a reservation comes.
    Reserved {
        /// Who has asked.
        from: (usize, u64),
        /// The host that was asked.
        to: usize,
        /// Why there is none; `None`: it is granted.
        refused: Option<String>,
    },
    /// The answer to an order comes.
    Answered {
        /// Who has given it.
        from: (usize, u64),
        /// The order.
        action: Action,
        /// Why it is not carried out; `None`: it is.
        refused: Option<String>,
    },
    /// A dead agent's successor starts.
    Starts(usize, u64),
    /// The VM shall have a backup once more.
    Protect,
}

/// A site of agents.
#[derive(Debug)]
pub struct Site {
    options: SiteOptions,
    random: Random,
    vm: VmName,
    names: Vec<HostName>,
    agents: Vec<Agent>,
    store: Store,
    judge: Judge,
    /// For each host until when a process waits there for the VM, in true time.
    waiting: Vec<Option<Time>>,
    /// For each host: until when its agent is cut off, and until when it cannot reach the store.
    cut: Vec<(Time, Time)>,
    /// For each host how far its agent's clocks are ahead.
    clocks: Vec<(Span, Span)>,
}

impl Site {
    /// A site of hosts that all run, whose VM is on `owner`. All draws come from `seed`. `None`: never, since
    /// the name of its VM is one.
    #[must_use]
    pub fn new(options: SiteOptions, owner: usize, seed: u64) -> Option<Site> {
        let mut random = Random::new(seed);
        let names: Vec<HostName> = (0..options.speeds.len()).map(name).collect();
        let mut agents = Vec::new();
        let mut clocks = Vec::new();
        for _ in &names {
            agents.push(Agent::new(&names, &options.speeds, random.draw(), None));
            let ahead = random.span(Span::from_ms(1), Span::from_ms(10_000_000));
            clocks.push((ahead, random.span(Span::from_ms(1), Span::from_ms(2_000))));
        }
        Some(Site {
            vm: VmName::new("sim").ok()?,
            store: Store::new(owner),
            judge: Judge::default(),
            waiting: vec![None; names.len()],
            cut: vec![(Time(0), Time(0)); names.len()],
            options,
            random,
            names,
            agents,
            clocks,
        })
    }

    /// The first looks of all agents.
    pub fn begin(&mut self) -> Vec<(Time, Errand)> {
        let every = self.options.true_span(self.options.every).0;
        let looks = (0..self.names.len()).map(|host| (Time(self.random.below(every)), Errand::Look(host)));
        looks.collect()
    }

    /// The name of a host, as its agent has it.
    #[must_use]
    pub fn name(&self, host: usize) -> HostName {
        name(host)
    }

    /// How the site behaves.
    #[must_use]
    pub fn options(&self) -> &SiteOptions {
        &self.options
    }

    /// The present, as the agent of a host reads it from its clocks.
    fn clock(&self, host: usize, now: Time) -> Now {
        let (ahead, skew) = self.clocks.get(host).copied().unwrap_or_default();
        let ran = now.0 * self.options.pace;
        Now {
            time: Time(ran + ahead.0),
            wall: Wall(BEGINNING + ran + skew.0),
        }
    }

    /// The agent of a host looks at what its host's processes say and at all that it was told, decides, and
    /// acts.
    ///
    /// # Errors
    /// It does what no agent may do: what that is.
    pub fn look(&mut self, now: Time, host: usize, told: Vec<Told>) -> Result<Vec<(Time, Errand)>, String> {
        let every = self.options.true_span(self.options.every);
        let mut errands = vec![(now.after(every), Errand::Look(host))];
        if !self.agents.get(host).is_some_and(|agent| agent.is_up) {
            return Ok(errands);
        }
        let clock = self.clock(host, now);
        if let Some(agent) = self.agents.get_mut(host) {
            agent.ask(host, (now, clock.time), told);
        }
        self.hear_others(now, host);
        self.read_store(now, host);
        let Some((vm, decision)) = self.decide(now, host) else {
            return Ok(errands);
        };
        if let Some(agent) = self.agents.get_mut(host) {
            agent.stuck = decision.stuck;
            agent.thought = Some(decision.clone());
        }
        self.record(now, host, &vm, &decision);
        self.act(now, (host, &vm), decision.action, &mut errands)?;
        Ok(errands)
    }

    /// What the agent of a host has decided at its last look, for a trace; `None`: nothing is to be done.
    pub fn thought(&mut self, host: usize) -> Option<String> {
        let decision = self.agents.get_mut(host)?.thought.take()?;
        let codes: Vec<&str> = decision.reasons.iter().map(plan::Why::code).collect();
        let ended = decision
            .ended
            .map(|ended| format!(", and an operation ends: {ended:?}"));
        let is_idle = decision.action == Action::Nothing && codes.is_empty() && ended.is_none();
        let ended = ended.unwrap_or_default();
        (!is_idle).then(|| format!("{:?} {codes:?}{ended}", decision.action))
    }

    /// An agent hears what the others have told since it heard them last.
    fn hear_others(&mut self, now: Time, host: usize) {
        let is_cut = |of: usize| self.cut.get(of).is_some_and(|(cut, _)| now < *cut);
        if is_cut(host) {
            return;
        }
        let clock = self.clock(host, now).time;
        let others = (0..self.names.len()).filter(|other| *other != host && !is_cut(*other));
        for other in others.collect::<Vec<_>>() {
            let lag = self.random.between(self.options.lag.0.0, self.options.lag.1.0);
            let lag = self.options.true_span(Span(lag));
            let Some(from) = self.agents.get(other).filter(|from| from.is_up) else {
                continue;
            };
            let Some(report) = from.report_at(Time(now.0.saturating_sub(lag.0))).map(Rc::clone) else {
                continue;
            };
            let Some(agent) = self.agents.get_mut(host) else {
                continue;
            };
            let before = agent.heard_of(other);
            if !agent.hear(other, clock, &report) {
                continue;
            }
            self.judge.on_report(host, other, now);
            // As the real agent does: what a host did before it was away says nothing of it now.
            let is_another = before.is_some_and(|(at, boot)| {
                clock.since(at) > plan::limits::STALE_REMOTE || boot != report.boot
            });
            if is_another {
                agent.backoff.forgive(&self.vm, &name(other));
                self.judge.on_forgiven(host, other);
            }
        }
    }

    /// An agent sees what has changed in the store.
    fn read_store(&mut self, now: Time, host: usize) {
        let clock = self.clock(host, now).time;
        let lag = self.random.below(self.options.store_lag.0.max(1));
        let lag = self.options.true_span(Span(lag));
        let is_away = self.cut.get(host).is_some_and(|(_, away)| now < *away);
        let state = self.store.at(Time(now.0.saturating_sub(lag.0))).map(Rc::clone);
        let Some(agent) = self.agents.get_mut(host) else {
            return;
        };
        if is_away {
            agent.store_away = agent.store_away.or(Some(clock));
            return;
        }
        agent.store_away = None;
        let is_news = |seen: &Rc<State>| state.as_ref().is_some_and(|state| state.since(seen));
        if agent.seen.as_ref().is_none_or(is_news) {
            agent.seen = state;
        }
    }

    /// What the agent of a host looks at, and what it decides; `None`: it has read nothing of the VM yet.
    fn decide(&mut self, now: Time, host: usize) -> Option<(Vm, Decision)> {
        let clock = self.clock(host, now);
        let flaw = self.options.flaw;
        let agent = self.agents.get_mut(host)?;
        let me = self.names.get(host)?;
        let state = Rc::clone(agent.seen.as_ref()?);
        if flaw == Some(Flaw::NoBackoff) {
            agent.backoff = plan::Backoff::new(0);
        }
        let member = agent.newest(|process| process.role == Some(RoleWord::Backup));
        if let Some((_, owner)) = agent.newest(Process::is_live) {
            agent.memory.on_health(clock.time, owner, member);
        }
        let views = Views::of(me, agent.views(clock.time));
        agent.memory.looks(clock.time, &views, true);
        let swaps = state.place.1.swaps.clone();
        let seen = agent.memory.seen(views, None, swaps, Ownership::Unknown);
        let vm = Vm {
            need: need(&self.vm, name(state.place.1.owner)),
            desired: desired(&state, flaw),
            seen,
            operation: state.operation.1.clone(),
        };
        let is_all_new = flaw == Some(Flaw::OldIsNew);
        let directory_away = agent.store_away.map(|since| clock.wall_of(since));
        let mut hosts = agent.hosts(clock, &self.vm, is_all_new).to_vec();
        if flaw == Some(Flaw::DrainIgnored) {
            for host in &mut hosts {
                host.draining = None;
            }
        }
        let site = plan::Site {
            me,
            hosts: &hosts,
            arbiter_away: None,
            directory_away,
            clones_max: 1,
        };
        let mut decision = plan(clock, &site, std::slice::from_ref(&vm), &agent.backoff).pop()?;
        let here = vm.seen.here.as_ref().map(|view| &view.process);
        let is_paired = here.is_some_and(|process| process.member().is_some());
        if decision.action == Action::Nothing && is_paired {
            let cause = Cause::Wanted;
            match flaw {
                Some(Flaw::HandsOver) => decision.action = Action::HandOver { cause },
                Some(Flaw::Dismisses) => decision.action = Action::Dismiss,
                _ => {}
            }
        }
        if matches!(decision.action, Action::Prepare { .. }) {
            match flaw {
                Some(Flaw::OwnersHost) => decision.action = Action::Prepare { host: me.clone() },
                Some(Flaw::Idle) => decision.action = Action::Nothing,
                _ => {}
            }
        }
        Some((vm, decision))
    }

    /// The controller of the VM notes what the next one must know.
    fn record(&mut self, now: Time, host: usize, vm: &Vm, decision: &Decision) {
        let clock = self.clock(host, now);
        let Some(agent) = self.agents.get(host).filter(|agent| agent.store_away.is_none()) else {
            return;
        };
        let Some(state) = &agent.seen else {
            return;
        };
        let (revision, place) = &state.place;
        let live = agent.live_here(host);
        let live = live
            .filter(|live| place.epoch < live.epoch || (place.owner != host && place.epoch == live.epoch));
        if let Some(live) = live {
            let mut place = place.clone();
            let is_noted = |swap: &Swap| swap.to == name(host) && swap.from == name(place.owner);
            if place.owner != host && !place.swaps.iter().any(is_noted) {
                let from = name(place.owner);
                place.swaps.push(swap(clock, from, name(host), Cause::Failure));
            }
            (place.owner, place.epoch) = (host, live.epoch);
            place
                .swaps
                .retain(|swap| clock.since_wall(swap.at) < plan::limits::NO_WAY_BACK);
            self.store.write_place(now, *revision, place);
        }
        let (revision, Some(operation)) = (state.operation.0, &vm.operation) else {
            return;
        };
        let is_due = clock.since_wall(operation.progress) > Span::from_ms(20_000);
        if decision.ended.is_some() {
            self.store.write_operation(now, Some(revision), None);
        } else if decision.goes_on && is_due {
            let progress = clock.wall;
            let operation = Operation {
                progress,
                ..operation.clone()
            };
            self.store.write_operation(now, Some(revision), Some(operation));
        }
    }

    /// What was decided is carried out.
    fn act(
        &mut self,
        now: Time,
        (host, vm): (usize, &Vm),
        action: Action,
        errands: &mut Vec<(Time, Errand)>,
    ) -> Result<(), String> {
        let clock = self.clock(host, now);
        let to = match &action {
            Action::Wait { .. } | Action::Nothing => return Ok(()),
            Action::Prepare { host: to } | Action::Protect { to } | Action::MoveBackup { to } => index(to),
            _ => None,
        };
        let here = vm.seen.here.as_ref().map(|view| &view.process);
        let member = here.and_then(Process::member).and_then(index);
        let Some(agent) = self.agents.get_mut(host) else {
            return Ok(());
        };
        if let Some(state) = &agent.seen {
            let times = (now, clock, self.options.pace);
            self.judge.may((host, member), times, state, (&action, to))?;
        }
        let from = (host, agent.generation);
        match (&action, to) {
            (Action::Prepare { host: to }, Some(place)) => {
                agent.memory.asks(to, clock.time);
                if self.options.flaw == Some(Flaw::NoReservation) {
                    let until = clock.time.after(RESERVATION);
                    let about = (&self.vm, to);
                    agent
                        .memory
                        .on_reservation(clock, about, Ok(until), &mut agent.backoff);
                }
                let at = now.after(self.lag());
                errands.push((at, Errand::Own(Own::Ask { from, to: place })));
            }
            (Action::HandOver { cause }, _) => {
                let (revision, mut place) = agent
                    .seen
                    .as_ref()
                    .map(|seen| seen.place.clone())
                    .unwrap_or_default();
                if let Some(to) = here.and_then(Process::member) {
                    place.swaps.push(swap(clock, name(host), to.clone(), *cause));
                    self.store.write_place(now, revision, place);
                }
                self.order(now, (from, to), (action, clock.time), errands);
            }
            _ => self.order(now, (from, to), (action, clock.time), errands),
        }
        Ok(())
    }

    fn lag(&mut self) -> Span {
        let (low, high) = self.options.lag;
        let lag = self.random.between(low.0, high.0);
        self.options.true_span(Span(lag))
    }
}

fn name(host: usize) -> HostName {
    HostName::new(host.to_string())
}

/// The host of a name.
fn index(name: &HostName) -> Option<usize> {
    name.as_str().parse().ok()
}

fn swap(now: Now, from: HostName, to: HostName, cause: Cause) -> Swap {
    Swap {
        at: now.wall,
        from,
        to,
        cause,
    }
}

fn need(vm: &VmName, owner: HostName) -> Need {
    Need {
        vm: vm.clone(),
        memory_bytes: 1 << 30,
        owner,
        member: None,
        apart: false,
        model: 1,
        protocols: Protocols { oldest: 1, newest: 1 },
        storages: Default::default(),
        networks: Default::default(),
        allow_slow: false,
        barred: Default::default(),
        named: None,
    }
}

fn desired(state: &State, flaw: Option<Flaw>) -> Desired {
    let protected = match flaw {
        Some(Flaw::Unwanted) => Protected::On,
        _ => state.protected,
    };
    Desired {
        power: Power::On,
        power_asked: Asked::default(),
        protected,
        protected_asked: Some(Asked::default()),
        starts_cold: false,
        swaps_for_health: true,
        resets_hung: false,
    }
}
