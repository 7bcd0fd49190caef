//! `Pace`: how fast the primary may run, from how far the backup is behind (FT 3.2-e).
//!
//! Failover takes as long as the backup needs to catch up, so lag must stay small. A slow loop takes a few
//! percent of the primary's speed away while the backup lags, and gives them back while it does not.

use std::collections::VecDeque;

use machine::Step;

use crate::{Span, Time, limits};

/// The loop.
#[derive(Debug)]
pub struct Pace {
    /// When the primary was at which step, for steps the backup has not executed.
    samples: VecDeque<(Step, Time)>,
    lag: Span,
    lag_steps: u64,
    permille: u32,
    reconsidered: Time,
    /// The primary stands until the lag is down to the target.
    stopped: bool,
    /// The last slice: when it began, until its end is seen.
    slice: Option<Time>,
    /// The guest rests until then.
    rest: Option<Time>,
    /// Since when the slowest pace has not been slow enough, without a recovery since.
    hopeless: Option<Time>,
}

impl Pace {
    /// At full speed.
    #[must_use]
    pub fn new(now: Time) -> Pace {
        Pace {
            samples: VecDeque::new(),
            lag: Span(0),
            lag_steps: 0,
            permille: 1000,
            reconsidered: now,
            stopped: false,
            slice: None,
            rest: None,
            hopeless: None,
        }
    }

    /// The primary sends a frame that covers `step`.
    pub fn on_sent(&mut self, now: Time, step: Step) {
        if self.samples.len() >= limits::LAG_SAMPLES_MAX {
            // Lag is then measured from an older step: too long rather than too short.
            self.samples.pop_back();
        }
        if self.samples.back().is_none_or(|&(last, _)| last < step) {
            self.samples.push_back((step, now));
        }
    }

    /// The backup has executed up to `executed`, the primary stands at `step` (FT 3.2-d).
    pub fn on_executed(&mut self, now: Time, executed: Step, step: Step) {
        while self
            .samples
            .front()
            .is_some_and(|&(sample, _)| sample <= executed)
        {
            self.samples.pop_front();
        }
        self.lag = self.samples.front().map_or(Span(0), |&(_, sent)| now.since(sent));
        self.lag_steps = step.since(executed);
        if self.lag >= limits::LAG_MAX {
            self.stopped = true;
        } else if self.lag <= limits::LAG_TARGET {
            self.stopped = false;
        }
        if now.since(self.reconsidered) >= limits::PACE_EVERY {
            self.reconsidered = now;
            self.reconsider(now);
        }
    }

    fn reconsider(&mut self, now: Time) {
        let permille = self.permille;
        self.permille = if self.lag > Span(4 * limits::LAG_TARGET.0) {
            permille * 9 / 10
        } else if self.lag > limits::LAG_TARGET {
            permille * 97 / 100
        } else if self.lag.0 < limits::LAG_TARGET.0 / 2 {
            permille + 10
        } else {
            permille
        }
        .clamp(limits::PACE_MIN, 1000);
        if self.permille == limits::PACE_MIN && self.lag > limits::LAG_TARGET {
            self.hopeless = self.hopeless.or(Some(now));
        } else if self.permille >= limits::PACE_RECOVERED {
            // Not before: a backup far too slow catches up for a moment whenever the primary has stood
            // long enough for it, and the guest would crawl for ever.
            self.hopeless = None;
        }
    }

    /// A slice begins now.
    pub fn on_slice(&mut self, now: Time) {
        self.slice = Some(now);
    }

    /// The time now: the end of the last slice. Call before asking [`Pace::rest`].
    pub fn look(&mut self, now: Time) {
        if let Some(began) = self.slice.take().filter(|_| self.permille < 1000) {
            let whole = now.since(began).0.saturating_mul(1000) / u64::from(self.permille);
            self.rest = Some(began.after(Span(whole)));
        }
        self.rest = self.rest.filter(|&until| now < until);
    }

    /// Until when the guest must rest, to run at the present pace.
    #[must_use]
    pub fn rest(&self) -> Option<Time> {
        self.rest
    }

    /// Must the guest stand until the backup has caught up?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Has the backup been too slow for too long?
    #[must_use]
    pub fn is_hopeless(&self, now: Time) -> bool {
        self.hopeless
            .is_some_and(|since| now.since(since) >= limits::SLOW_DROP)
    }

    /// Lag in time.
    #[must_use]
    pub fn lag(&self) -> Span {
        self.lag
    }

    /// Lag in steps.
    #[must_use]
    pub fn lag_steps(&self) -> u64 {
        self.lag_steps
    }

    /// The pace in thousandths.
    #[must_use]
    pub fn permille(&self) -> u32 {
        self.permille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time(Span::from_ms(ms).0)
    }

    /// A second in which the backup executes what was sent `lag` milliseconds before.
    fn second(pace: &mut Pace, from: u64, lag: u64) -> u64 {
        for now in from..from + 1000 {
            pace.on_sent(ms(now), Step(now * 1000));
            pace.on_executed(ms(now), Step(now.saturating_sub(lag) * 1000), Step(now * 1000));
        }
        from + 1000
    }

    #[test]
    fn lag_takes_speed_away_slowly_and_gives_it_back() {
        // FT 3.2-d, 3.2-e.
        let mut pace = Pace::new(ms(0));
        let now = second(&mut pace, 0, 5);
        assert_eq!((pace.permille(), pace.is_stopped()), (1000, false));
        let now = second(&mut pace, now, 60);
        let slow = pace.permille();
        assert!((100..500).contains(&slow), "{slow}");
        assert_eq!(pace.lag_steps(), 60_000);
        assert!(pace.lag() >= Span::from_ms(59) && pace.lag() <= Span::from_ms(61));
        second(&mut pace, now, 5);
        assert!(pace.permille() > slow + 300);
    }

    #[test]
    fn a_slow_pace_is_kept_by_resting() {
        let mut pace = Pace::new(ms(0));
        pace.permille = 500;
        pace.on_slice(ms(10));
        pace.look(ms(11));
        assert_eq!(pace.rest(), Some(ms(12)));
        pace.look(ms(12));
        assert_eq!(pace.rest(), None);
    }

    #[test]
    fn a_second_of_lag_stops_the_primary_until_it_is_gone() {
        let mut pace = Pace::new(ms(0));
        pace.on_sent(ms(0), Step(10));
        pace.on_executed(ms(1001), Step(5), Step(20));
        assert!(pace.is_stopped());
        pace.on_executed(ms(1100), Step(10), Step(20));
        assert!(!pace.is_stopped());
    }

    #[test]
    fn a_backup_that_cannot_follow_the_slowest_pace_is_hopeless() {
        let mut pace = Pace::new(ms(0));
        let mut now = 0;
        while !pace.is_hopeless(ms(now)) {
            now = second(&mut pace, now, 300);
        }
        assert!((10_000..20_000).contains(&now), "{now}");
    }
}
