//! What agents ask for, of each other and of their hosts' processes, and what comes back, each at its time.
//!
//! An answer to an agent that has died meanwhile is heard by nobody.

use messages::time::{Span, Time};
use plan::{Action, Protected};
use report::PhaseWord;

use super::{ASKED_PATIENCE, Errand, ORDER_LAG, Own, RESERVATION, Site, name};
use crate::agent::News;

impl Site {
    /// An agent gives its host's process an order.
    pub(super) fn order(
        &mut self,
        now: Time,
        ((host, generation), to): ((usize, u64), Option<usize>),
        (action, clock): (Action, Time),
        errands: &mut Vec<(Time, Errand)>,
    ) {
        if let Some(agent) = self.agents.get_mut(host) {
            agent.memory.orders(action.clone(), clock);
        }
        let lag = Span(self.random.below(ORDER_LAG.0));
        let order = Errand::Order {
            host,
            generation,
            action,
            to,
        };
        errands.push((now.after(self.options.true_span(lag)), order));
    }

    /// The world says what has become of an order: `refused`, or taken. The answer comes to the agent after
    /// `takes`, or as soon as the process answers at all.
    ///
    /// # Errors
    /// Too many orders were refused in a row.
    pub fn answer(
        &mut self,
        (now, takes): (Time, Span),
        from: (usize, u64),
        action: Action,
        refused: Option<&str>,
    ) -> Result<(Time, Errand), String> {
        self.judge.on_answer(&action, refused)?;
        let refused = refused.map(str::to_owned);
        let answer = Own::Answered {
            from,
            action,
            refused,
        };
        Ok((now.after(takes), Errand::Own(answer)))
    }

    /// Something of the site's own happens.
    pub fn on(&mut self, now: Time, errand: Own) -> Vec<(Time, Errand)> {
        let mut errands = Vec::new();
        match errand {
            Own::Ask { from, to } => {
                let (at, next) = self.on_ask(now, from, to);
                errands.push((at, Errand::Own(next)));
            }
            Own::Wait { from, to } => {
                let is_up = self.agents.get(to).is_some_and(|agent| agent.is_up);
                let until = now.after(self.options.true_span(RESERVATION));
                if let Some(waiting) = self.waiting.get_mut(to).filter(|_| is_up) {
                    *waiting = Some(until);
                }
                let refused = (!is_up).then(|| "does not answer".to_owned());
                let at = now.after(self.lag());
                errands.push((at, Errand::Own(Own::Reserved { from, to, refused })));
            }
            Own::Reserved { from, to, refused } => self.on_reserved(now, from, (to, refused)),
            Own::Answered {
                from,
                action,
                refused,
            } => self.on_answered(now, from, (&action, refused)),
            Own::Starts(host, generation) => {
                if let Some(agent) = self.agents.get_mut(host)
                    && agent.generation == generation
                {
                    agent.is_up = true;
                }
            }
            Own::Protect => self.want_protected(now, Protected::On),
        }
        errands
    }

    /// A request for a reservation comes to a host; its agent refuses, or has a process wait.
    fn on_ask(&mut self, now: Time, from: (usize, u64), to: usize) -> (Time, Own) {
        let is_cut = |of: usize| self.cut.get(of).is_some_and(|(cut, _)| now < *cut);
        let refused = |why: &str| Own::Reserved {
            from,
            to,
            refused: Some(why.to_owned()),
        };
        let agent = self.agents.get(to).filter(|agent| agent.is_up);
        let Some(agent) = agent.filter(|_| !is_cut(to) && !is_cut(from.0)) else {
            let at = now.after(self.options.true_span(ASKED_PATIENCE));
            return (at, refused("has not answered in time"));
        };
        let drains = agent.seen.as_ref().map(|seen| seen.drains.contains_key(&to));
        if agent.holds_half(to) {
            return (
                now.after(self.lag()),
                refused("it holds a half of the VM already"),
            );
        }
        if drains != Some(false) {
            return (now.after(self.lag()), refused("it is being drained"));
        }
        let start = Span(self.random.below(self.options.start.0));
        let start = now.after(self.options.true_span(start));
        (start, Own::Wait { from, to })
    }

    fn on_reserved(
        &mut self,
        now: Time,
        (host, generation): (usize, u64),
        (to, refused): (usize, Option<String>),
    ) {
        let clock = self.clock(host, now);
        let Some(agent) = self.agents.get_mut(host) else {
            return;
        };
        if agent.generation != generation || !agent.is_up {
            return;
        }
        let until = clock.time.after(RESERVATION);
        let answer = refused.as_deref().map_or(Ok(until), Err);
        if answer.is_ok() {
            let until = now.after(self.options.true_span(RESERVATION));
            self.judge.on_grant(host, to, until);
        } else {
            self.judge.on_failure(host, to, clock.time);
        }
        let about = (&self.vm, &name(to));
        agent
            .memory
            .on_reservation(clock, about, answer, &mut agent.backoff);
    }

    fn on_answered(
        &mut self,
        now: Time,
        (host, generation): (usize, u64),
        (action, refused): (&Action, Option<String>),
    ) {
        let clock = self.clock(host, now);
        let Some(agent) = self.agents.get_mut(host) else {
            return;
        };
        if agent.generation != generation || !agent.is_up {
            return;
        }
        let answer = refused.as_deref().map_or(Ok(()), Err);
        agent.memory.on_answer(clock.time, action, answer);
    }

    /// A process of a host tells its agent what has happened.
    pub fn tell(&mut self, now: Time, host: usize, news: &News) {
        let clock = self.clock(host, now);
        let Some(agent) = self.agents.get_mut(host).filter(|agent| agent.is_up) else {
            return;
        };
        let live = agent.live_here(host);
        let phase = live.and_then(|live| live.clone.as_ref().map(|clone| clone.phase));
        let peer = live.and_then(|live| live.peer.clone());
        let (memory, backoff) = (&mut agent.memory, &mut agent.backoff);
        match news {
            News::Protected(to) => {
                memory.on_protected(&self.vm, &name(*to), backoff);
                self.judge.on_forgiven(host, *to);
            }
            News::Failed(to, why) => {
                self.judge.on_failure(host, *to, clock.time);
                let phase: Option<PhaseWord> = phase;
                memory.on_failed_clone(clock, (&self.vm, &name(*to)), (phase, why), backoff);
            }
            News::Alone(why) => {
                if let Some(peer) = peer {
                    memory.on_alone(Some(clock), (&self.vm, &peer), (clock.wall, *why), backoff);
                }
            }
            News::TookOver => memory.on_takeover(clock.wall, peer),
            News::HandedOver => memory.on_handed_over(),
            News::NotHandedOver(why) => memory.on_not_handed_over(clock.time, why),
        }
    }

    /// A process of another host calls the one that waits on `host`; false: none does.
    pub fn call(&mut self, now: Time, host: usize) -> bool {
        let waiting = self.waiting.get_mut(host).and_then(Option::take);
        waiting.is_some_and(|until| now <= until)
    }
}
