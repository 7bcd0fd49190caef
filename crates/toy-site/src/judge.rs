//! What an agent may never do, by what is true and not by what the agent believes. The planner's own rules
//! are not asked: each is written here a second time, as weakly as it can be and still be missed.

use std::collections::BTreeMap;

use messages::time::{Span, Time};
use plan::limits::{BACKOFF_FIRST, STALE_REMOTE};
use plan::{Action, Protected};

use crate::store::State;

/// Orders in a row that processes refuse, after which somebody orders what is refused for ever.
pub const REFUSALS_MAX: u32 = 12;

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

    /// May the agent of a host do this? `place`: the host of the VM's backup; `seen`: what it has seen of the
    /// store.
    ///
    /// # Errors
    /// It may not: why.
    pub fn may(
        &self,
        (agent, member): (usize, Option<usize>),
        (now, clock, pace): (Time, Time, u64),
        seen: &State,
        (action, to): (&Action, Option<usize>),
    ) -> Result<(), String> {
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
        let silence = self.arrivals.get(&(agent, to)).map(|at| now.since(*at));
        if silence.is_none_or(|silence| Span(silence.0 * pace) > STALE_REMOTE) {
            return Err(format!(
                "the agent of host {agent} asks host {to}, of which it has heard nothing for {silence:?}"
            ));
        }
        let rests = self.rests.get(&(agent, to)).filter(|until| clock < **until);
        if rests.is_some() {
            return Err(format!(
                "the agent of host {agent} does not leave host {to} alone, which has failed"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
