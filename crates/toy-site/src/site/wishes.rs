//! What people want of the site, what goes wrong with it, and what it can still do.

use messages::time::{Span, Time};
use plan::{Drain, Kind, Operation, Process, Protected, Wall};

use super::{BEGINNING, Errand, Own, Site, name};
use crate::agent::Agent;
use crate::options::Mishap;

impl Site {
    /// Something goes wrong, or somebody wants something.
    pub fn strike(&mut self, now: Time, mishap: &Mishap) -> Option<(Time, Errand)> {
        let wall = Wall(BEGINNING + now.0 * self.options.pace);
        match *mishap {
            Mishap::AgentDies(host, span) => {
                let is_up = self.agents.get(host).is_some_and(|agent| agent.is_up);
                if is_up {
                    let generation = self.end_agent(host)?;
                    return Some((now.after(span), Errand::Own(Own::Starts(host, generation))));
                }
            }
            Mishap::AgentCut(host, span) => {
                if let Some((cut, _)) = self.cut.get_mut(host) {
                    *cut = now.after(span).max(*cut);
                }
            }
            Mishap::StoreAway(host, span) => {
                if let Some((_, away)) = self.cut.get_mut(host) {
                    *away = now.after(span).max(*away);
                }
            }
            Mishap::Drain(host) => {
                let drain = Drain {
                    since: wall,
                    by: "ada".to_owned(),
                };
                self.store.change(now, |state| {
                    state.drains.insert(host, drain);
                });
            }
            Mishap::Unprotect(span) => {
                self.want_protected(now, Protected::Off);
                return Some((now.after(span), Errand::Own(Own::Protect)));
            }
            Mishap::Failover => {
                let place = self.store.now().map(|state| state.place.1.owner)?;
                // Of a VM that is not seen to run it is refused.
                let live = self.agents.get(place).and_then(|agent| agent.live_here(place));
                let (from, epoch) = (name(place), live?.epoch);
                self.begin_operation(now, wall, Kind::Failover { from, epoch });
            }
            Mishap::Move(host) => self.begin_operation(now, wall, Kind::Move { to: name(host) }),
            Mishap::MoveBackup => {
                let place = self.store.now().map(|state| state.place.1.owner)?;
                let live = self.agents.get(place).and_then(|agent| agent.live_here(place));
                let from = live.and_then(Process::member).cloned();
                self.begin_operation(now, wall, Kind::MoveBackup { from, to: None });
            }
        }
        None
    }

    /// Somebody begins an operation, unless one goes on.
    fn begin_operation(&mut self, now: Time, wall: Wall, kind: Kind) {
        let goes_on = self.store.now().is_some_and(|state| state.operation.1.is_some());
        if !goes_on {
            let operation = Operation {
                kind,
                since: wall,
                progress: wall,
                is_confirmed: false,
            };
            self.store.write_operation(now, None, Some(operation));
        }
    }

    pub(super) fn want_protected(&mut self, now: Time, protected: Protected) {
        self.store.change(now, |state| state.protected = protected);
    }

    /// The agent of a host ends, with all that it remembers; the answer is the number of the next one, which
    /// does not run yet.
    fn end_agent(&mut self, host: usize) -> Option<u64> {
        let seed = self.random.draw();
        let agent = self.agents.get_mut(host)?;
        *agent = Agent::new(&self.names, &self.options.speeds, seed, Some(agent));
        agent.is_up = false;
        self.judge.forget(host);
        Some(agent.generation)
    }

    /// A host dies, with its agent and what waits there.
    pub fn host_dies(&mut self, host: usize) {
        self.end_agent(host);
        if let Some(waiting) = self.waiting.get_mut(host) {
            *waiting = None;
        }
    }

    /// A host that died is back; its agent starts a little later.
    pub fn host_returns(&mut self, now: Time, host: usize) -> Option<(Time, Errand)> {
        let agent = self.agents.get_mut(host).filter(|agent| !agent.is_up)?;
        agent.boot += 1;
        let generation = agent.generation;
        let start = Span(self.random.below(self.options.start.0));
        let at = now.after(self.options.true_span(start));
        Some((at, Errand::Own(Own::Starts(host, generation))))
    }

    /// Nothing goes wrong from now on, and the VM shall have a backup. Hosts for which `is_up` is false stay
    /// dead.
    pub fn heal(&mut self, now: Time, is_up: impl Fn(usize) -> bool) {
        for (host, agent) in self.agents.iter_mut().enumerate() {
            agent.is_up = is_up(host);
        }
        self.cut.fill((now, now));
        self.want_protected(now, Protected::On);
    }

    /// Does the agent of a host run, and is nobody emptying that host?
    #[must_use]
    pub fn is_able(&self, host: usize) -> bool {
        self.agents.get(host).is_some_and(|agent| agent.is_up) && !self.is_drained(host)
    }

    /// Does somebody want this host to be emptied?
    #[must_use]
    pub fn is_drained(&self, host: usize) -> bool {
        self.store
            .now()
            .is_some_and(|state| state.drains.contains_key(&host))
    }

    /// For how long the agent of `host` leaves another host alone at present, in true time.
    #[must_use]
    pub fn rests(&self, now: Time, host: usize) -> Span {
        let clock = self.clock(host, now);
        let Some(agent) = self.agents.get(host) else {
            return Span(0);
        };
        let until = self
            .names
            .iter()
            .filter_map(|other| agent.backoff.until(clock, &self.vm, other));
        let longest = until.map(|until| until.since(clock.time)).max();
        self.options.true_span(longest.unwrap_or_default())
    }
}
