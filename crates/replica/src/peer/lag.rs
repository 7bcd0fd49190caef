//! `Lag`: for how long the oldest part of the log that is not executed has been at the backup (FT 3.2-d).
//!
//! The backup measures it with its own clock and says it in each acknowledgement. So the time that messages
//! are under way is no lag: a pair whose hosts are far from each other runs as fast as one in a rack. What
//! the primary makes of it is in `pace`.
//!
//! It may be too long but never too short, or the primary would run away from its backup.

use std::collections::VecDeque;

use machine::Step;

use crate::limits;
use messages::time::{Span, Time};

/// The log that the backup has received and not executed, by the time at which it came.
#[derive(Debug, Default)]
pub struct Lag {
    /// Steps to which received log reaches, with the time at which that log came, oldest first: none is
    /// executed yet. At most [`limits::LAG_SAMPLES_MAX`] of them.
    received: VecDeque<(Step, Time)>,
}

impl Lag {
    /// Log has come that reaches to `step`. A step that was known already is no news.
    pub fn on_received(&mut self, now: Time, step: Step) {
        if self.received.back().is_some_and(|&(last, _)| step <= last) {
            return;
        }
        if self.received.len() >= limits::LAG_SAMPLES_MAX
            && let Some((last, _)) = self.received.back_mut()
        {
            // No more samples fit: new log counts as old as the log before it, so the lag is rather too long.
            *last = step;
            return;
        }
        self.received.push_back((step, now));
    }

    /// The lag, if the guest has executed up to `step`: for how long the oldest log beyond it has been here.
    pub fn on_executed(&mut self, now: Time, step: Step) -> Span {
        while self.received.front().is_some_and(|&(known, _)| known <= step) {
            self.received.pop_front();
        }
        self.received
            .front()
            .map_or(Span(0), |&(_, since)| now.since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_log_that_is_not_executed_tells_the_lag() {
        // FT 3.2-d.
        let mut lag = Lag::default();
        assert_eq!(lag.on_executed(Time(5), Step(0)), Span(0));
        lag.on_received(Time(10), Step(100));
        lag.on_received(Time(20), Step(200));
        lag.on_received(Time(21), Step(200));
        assert_eq!(lag.on_executed(Time(30), Step(99)), Span(20));
        assert_eq!(lag.on_executed(Time(30), Step(100)), Span(10));
        assert_eq!(lag.on_executed(Time(30), Step(200)), Span(0));
    }

    #[test]
    fn more_log_than_it_can_remember_makes_it_longer_not_shorter() {
        let mut lag = Lag::default();
        for n in 1..=2 * limits::LAG_SAMPLES_MAX as u64 {
            lag.on_received(Time(n), Step(n));
        }
        let remembered = limits::LAG_SAMPLES_MAX as u64;
        let executed = Step(remembered + 5);
        assert_eq!(lag.on_executed(Time(10_000), executed), Span(10_000 - remembered));
    }
}
