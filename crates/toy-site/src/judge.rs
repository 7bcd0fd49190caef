//! What an agent may never do, by what is true and not by what the agent believes. The planner's own rules
//! are not asked: each is written here a second time, as weakly as it can be and still be missed.

use std::collections::BTreeMap;

use messages::time::{Span, Time};
use plan::limits::{BACKOFF_FIRST, STALE_REMOTE, SWAP_EVERY};
use plan::{Action, Cause, Kind, Now, Protected, Swap};

use crate::store::State;

/// Orders in a row that processes refuse, after which somebody orders what is refused for ever.
pub const REFUSALS_MAX: u32 = 12;

/// Two agents' wall clocks differ by less than this.
pub const CLOCKS_DIFFER: Span = Span::from_ms(2_000);

/// What is true of the doings of agents.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// By agent and host: until when the agent must leave the host alone, by the agent's clock.
    rests: BTreeMap<(usize, usize), Time>,
    /// By agent: the host that has granted it a reservation, and until when that holds, in true time.
    grants: BTreeMap<usize, (usize, Time)>,
    /// By agent and host: when a report of the host has come to the agent last, in true time.
    arrivals: BTreeMap<(usize, usize), Time>,
    /// Orders that were refused since the last one that was not.
    refusals: u32,
}

impl Judge {
    /// The agent of a host is another one, which remembers nothing.
    pub fn forget(&mut self, agent: usize) {
        self.rests.retain(|(of, _), _| *of != agent);
        self.arrivals.retain(|(of, _), _| *of != agent);
        self.grants.remove(&agent);
    }

    /// A host has failed an agent, as that hears now by its clock.
    pub fn on_failure(&mut self, agent: usize, host: usize, clock: Time) {
        self.rests.insert((agent, host), clock.after(BACKOFF_FIRST));
        if self
            .grants
            .get(&agent)
            .is_some_and(|(granted, _)| *granted == host)
        {
            self.grants.remove(&agent);
        }
    }

    /// An agent has a reason to hold nothing against a host any more.
    pub fn on_forgiven(&mut self, agent: usize, host: usize) {
        self.rests.remove(&(agent, host));
    }

    /// A host has granted an agent a reservation.
    pub fn on_grant(&mut self, agent: usize, host: usize, until: Time) {
        self.grants.insert(agent, (host, until));
    }

    /// A report of a host comes to an agent.
    pub fn on_report(&mut self, agent: usize, host: usize, now: Time) {
        self.arrivals.insert((agent, host), now);
    }

    /// A process has taken an order or refused it.
    ///
    /// # Errors
    /// Too many were refused in a row.
    pub fn on_answer(&mut self, action: &Action, refused: Option<&str>) -> Result<(), String> {
        let Some(why) = refused else {
            self.refusals = 0;
            return Ok(());
        };
        self.refusals += 1;
        if self.refusals > REFUSALS_MAX {
            return Err(format!(
                "{} orders in a row are refused; the last is {action:?}: {why}",
                self.refusals
            ));
        }
        Ok(())
    }

    /// May the agent of a host do this? `member`: the host of the VM's backup; `now`, and `clock` by which
    /// the agent counts; `seen`: what it has seen of the store.
    ///
    /// # Errors
    /// It may not: why.
    pub fn may(
        &self,
        (agent, member): (usize, Option<usize>),
        (now, clock, pace): (Time, Now, u64),
        seen: &State,
        (action, to): (&Action, Option<usize>),
    ) -> Result<(), String> {
        match action {
            Action::HandOver { cause } => {
                return self.may_hand_over((agent, member), (now, clock, pace), seen, *cause);
            }
            Action::Dismiss if seen.protected == Protected::On => {
                return Err(format!(
                    "the agent of host {agent} dismisses a backup that is wanted"
                ));
            }
            _ => {}
        }
        let is_about_backup = matches!(
            action,
            Action::Prepare { .. } | Action::Protect { .. } | Action::MoveBackup { .. }
        );
        if *action == Action::Start {
            return Err(format!(
                "the agent of host {agent} starts a VM that nobody has started"
            ));
        }
        let (Some(to), true) = (to, is_about_backup) else {
            return Ok(());
        };
        if seen.protected != Protected::On {
            return Err(format!(
                "the agent of host {agent} wants a backup that nobody wants: {action:?}"
            ));
        }
        if to == agent || member == Some(to) {
            return Err(format!(
                "the agent of host {agent} wants both halves on one host: {action:?}"
            ));
        }
        if !matches!(action, Action::Prepare { .. }) {
            let granted = self.grants.get(&agent);
            let has_granted = granted.is_some_and(|(host, until)| *host == to && now <= *until);
            return if has_granted {
                Ok(())
            } else {
                Err(format!(
                    "host {to} has granted nothing to the agent of host {agent}: {action:?}"
                ))
            };
        }
        if seen.drains.contains_key(&to) {
            return Err(format!(
                "the agent of host {agent} wants a backup on host {to}, which is drained"
            ));
        }
        if self.is_silent((agent, to), now, pace) {
            return Err(format!(
                "the agent of host {agent} asks host {to}, of which it has heard nothing for long"
            ));
        }
        let rests = self.rests.get(&(agent, to));
        if rests.is_some_and(|until| clock.time < *until) {
            return Err(format!(
                "the agent of host {agent} does not leave host {to} alone, which has failed"
            ));
        }
        Ok(())
    }

    /// Has no report of a host come to an agent for so long that its news is old?
    fn is_silent(&self, of: (usize, usize), now: Time, pace: u64) -> bool {
        let arrival = self.arrivals.get(&of);
        arrival.is_none_or(|at| Span(now.since(*at).0 * pace) > STALE_REMOTE)
    }

    /// May the agent of a host hand the VM over to its backup? What the agents' wall clocks differ by is
    /// granted to it.
    fn may_hand_over(
        &self,
        (agent, member): (usize, Option<usize>),
        (now, clock, pace): (Time, Now, u64),
        seen: &State,
        cause: Cause,
    ) -> Result<(), String> {
        let Some(member) = member else {
            return Err(format!("the agent of host {agent} hands over to nobody"));
        };
        // A pair may have been formed with both halves on one host, which an agent hears without a report.
        if member != agent && self.is_silent((agent, member), now, pace) {
            return Err(format!(
                "the agent of host {agent} hands over to host {member}, of which it has heard nothing for \
                 long"
            ));
        }
        let operation = seen.operation.1.as_ref().map(|operation| &operation.kind);
        let is_begun = matches!(operation, Some(Kind::Failover { .. } | Kind::Move { .. }));
        if cause == Cause::Wanted && !is_begun && !seen.drains.contains_key(&agent) {
            return Err(format!(
                "the agent of host {agent} hands over, and nobody wants that"
            ));
        }
        let is_early = |swap: &Swap| {
            let since = clock.since_wall(swap.at);
            swap.cause == Cause::Health && since.0 + CLOCKS_DIFFER.0 < SWAP_EVERY.0
        };
        if cause == Cause::Health && seen.place.1.swaps.iter().any(is_early) {
            return Err(format!(
                "the agent of host {agent} hands over for the VM's health soon after that was done"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::Wall;

    /// The agent of host 0 hands over to host 1, of which it has just heard.
    fn handed_over(cause: Cause, change: impl FnOnce(&mut State)) -> Result<(), String> {
        let mut judge = Judge::default();
        judge.on_report(0, 1, Time(0));
        let mut state = State::clone(crate::store::Store::new(0).now().unwrap());
        change(&mut state);
        let clock = Now {
            time: Time(0),
            wall: Wall(SWAP_EVERY.0),
        };
        let action = Action::HandOver { cause };
        judge.may((0, Some(1)), (Time(0), clock, 1), &state, (&action, None))
    }

    #[test]
    fn a_vm_is_handed_over_only_by_a_wish_or_seldom_for_its_health() {
        assert!(handed_over(Cause::Wanted, |_| {}).is_err(), "nobody wants it");
        let drain = |state: &mut State| {
            let drain = plan::Drain {
                since: Wall(0),
                by: "ada".into(),
            };
            state.drains.insert(0, drain);
        };
        assert_eq!(handed_over(Cause::Wanted, drain), Ok(()));
        assert_eq!(handed_over(Cause::Health, |_| {}), Ok(()));
        let moved = |at| {
            move |state: &mut State| {
                state.place.1.swaps.push(Swap {
                    at: Wall(at),
                    from: plan::HostName::new("1"),
                    to: plan::HostName::new("0"),
                    cause: Cause::Health,
                });
            }
        };
        assert_eq!(handed_over(Cause::Health, moved(0)), Ok(()));
        assert!(handed_over(Cause::Health, moved(SWAP_EVERY.0 / 2)).is_err());
        let action = Action::HandOver { cause: Cause::Health };
        let store = crate::store::Store::new(0);
        let judge = Judge::default();
        for member in [None, Some(1)] {
            let times = (Time(0), Now::default(), 1);
            let may = judge.may((0, member), times, store.now().unwrap(), (&action, None));
            assert!(may.is_err(), "to {member:?}");
        }
    }

    #[test]
    fn an_order_that_is_refused_for_ever_is_noticed() {
        let mut judge = Judge::default();
        for _ in 0..REFUSALS_MAX {
            assert_eq!(judge.on_answer(&Action::Dismiss, Some("no")), Ok(()));
        }
        assert!(judge.on_answer(&Action::Dismiss, Some("no")).is_err());
        assert_eq!(judge.on_answer(&Action::Dismiss, None), Ok(()));
        assert_eq!(judge.on_answer(&Action::Dismiss, Some("no")), Ok(()));
    }
}
