//! `Mean`: the share of its time in which the guest was allowed to run, over the last
//! [`limits::SPEED_SECONDS`] seconds (FT 3.2-e).
//!
//! `pace` says the share of each moment. A guest that has nothing to do is allowed to run all the same, so
//! its idleness is no slowness of its backup. The memory is one number a second, and the seconds are counted
//! by the times that are given: there is no clock here.

use std::collections::VecDeque;

use crate::event::Slowness;
use crate::limits;
use messages::time::{Span, Time};

/// Length of a sample.
const SECOND: Span = Span::from_ms(1_000);

/// What is remembered of the shares.
#[derive(Debug)]
pub struct Mean {
    /// For each whole second, oldest first, its sum of nanoseconds times the share in thousandths: at most
    /// [`limits::SPEED_SECONDS`] of them.
    seconds: VecDeque<u64>,
    /// The sum of the second that is not over.
    sum: u64,
    /// How much of that second has been counted.
    counted: Span,
    /// Until when time has been counted.
    until: Time,
}

impl Mean {
    /// Nothing is known before `now`.
    #[must_use]
    pub fn new(now: Time) -> Mean {
        Mean {
            seconds: VecDeque::new(),
            sum: 0,
            counted: Span(0),
            until: now,
        }
    }

    /// From the last call until `now` the guest was allowed to run `permille` thousandths of the time. Of a
    /// longer pause than a second the rest counts as nothing: this process did not run, which tells nothing
    /// of the backup.
    pub fn pass(&mut self, now: Time, permille: u32) {
        let mut left = now.since(self.until).min(SECOND);
        self.until = now;
        while left > Span(0) {
            let part = left.min(Span(SECOND.0 - self.counted.0));
            self.sum += part.0 * u64::from(permille);
            self.counted.0 += part.0;
            left.0 -= part.0;
            if self.counted == SECOND {
                self.close();
            }
        }
    }

    /// The second is over.
    fn close(&mut self) {
        if self.seconds.len() == limits::SPEED_SECONDS {
            self.seconds.pop_front();
        }
        self.seconds.push_back(self.sum);
        (self.sum, self.counted) = (0, Span(0));
    }

    /// The mean of the last whole seconds, so many at most, as far as they are known.
    #[must_use]
    pub fn of_last(&self, seconds: usize) -> Slowness {
        let known = seconds.min(self.seconds.len());
        let sum: u64 = self.seconds.iter().rev().take(known).sum();
        let over = Span(SECOND.0 * known as u64);
        Slowness {
            permille: u32::try_from(sum.checked_div(over.0).unwrap_or(0)).unwrap_or(1000),
            over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time(Span::from_ms(ms).0)
    }

    #[test]
    fn it_is_the_share_of_each_moment_by_its_length() {
        let mut mean = Mean::new(ms(0));
        mean.pass(ms(900), 1000);
        mean.pass(ms(1_100), 500);
        // The second that is not over counts as nothing yet.
        let slowness = |permille, seconds: u64| Slowness {
            permille,
            over: Span::from_ms(seconds * 1_000),
        };
        assert_eq!(mean.of_last(60), slowness(950, 1));
        mean.pass(ms(2_000), 0);
        assert_eq!(mean.of_last(60), slowness((950 + 50) / 2, 2));
        assert_eq!(mean.of_last(1), slowness(50, 1));
        assert_eq!(Mean::new(ms(0)).of_last(60), slowness(0, 0));
    }

    #[test]
    fn it_remembers_a_minute_and_no_more() {
        // L1: exactly `SPEED_SECONDS` samples, however long it goes on.
        let mut mean = Mean::new(ms(0));
        let all = limits::SPEED_SECONDS as u64;
        for second in 1..=all {
            mean.pass(ms(second * 1_000), 200);
            assert_eq!(
                mean.of_last(limits::SPEED_SECONDS).over,
                Span::from_ms(second * 1_000)
            );
        }
        assert_eq!(mean.of_last(limits::SPEED_SECONDS).permille, 200);
        for second in all + 1..=2 * all {
            mean.pass(ms(second * 1_000), 800);
            assert_eq!(mean.seconds.len(), limits::SPEED_SECONDS);
        }
        assert_eq!(mean.of_last(limits::SPEED_SECONDS).permille, 800);
    }

    #[test]
    fn a_long_absence_counts_as_one_second() {
        let mut mean = Mean::new(ms(0));
        mean.pass(ms(500), 1000);
        mean.pass(ms(3_600_000), 100);
        assert_eq!(mean.of_last(60).over, Span::from_ms(1_000));
        assert_eq!(mean.of_last(60).permille, 550);
        assert_eq!(mean.counted, Span::from_ms(500));
    }
}
