//! `GuestClock` and `Speed`: which `mtime` the guest shall see, and how fast the guest runs. The recorder
//! asks both in each slice, and a correction of the clock is an input like any other.
//!
//! Guest time follows host time. Between two corrections it goes on by itself at a rate a little below the
//! speed just measured, so that a correction moves it forward, never back, and never by much.
//!
//! Nothing here reads a host's clock: times are arguments.

use machine::{Input, Step};

use crate::limits;
use messages::time::{Span, Time};

/// Nanoseconds in a tick of `mtime`.
const TICK_NS: u64 = 1_000_000_000 / machine::clock::TICKS_PER_SECOND;
/// Which part of the rate that fits the speed the guest's clock is given, in thousandths.
const RATE_PERMILLE: u64 = 985;
/// That part while the guest's clock is ahead of the host's, so that the host's catches up, in thousandths.
const RATE_AHEAD_PERMILLE: u64 = 900;
/// Speed before any measurement, in steps a second. Too high a one only makes the clock slow until corrected.
const SPEED_FIRST: u64 = 1_000_000_000;

/// How fast the guest runs, measured from slice to slice.
#[derive(Clone, Debug, Default)]
pub struct Speed {
    /// Steps a second; `None` before the first measurement.
    measured: Option<u64>,
    /// The slice whose end is not known yet: when it began, and the steps that it ran.
    open: Option<(Time, u64)>,
}

impl Speed {
    /// Notes that a slice which began at `began` has run `steps`, and that the guest did not wait in it.
    pub fn ran(&mut self, began: Time, steps: u64) {
        self.open = Some((began, steps));
    }

    /// Takes the time at the start of a slice, which is the end of the last one, and so measures that.
    pub fn look(&mut self, now: Time) {
        let Some((began, steps)) = self.open.take() else {
            return;
        };
        let span = now.since(began).0;
        // So short a slice would measure the host's calls rather than the guest.
        if span < limits::SLICE.0 / 20 || steps < limits::SLICE_STEPS_MIN {
            return;
        }
        let sample = u64::try_from(u128::from(steps) * 1_000_000_000 / u128::from(span)).unwrap_or(u64::MAX);
        let sample = sample.clamp(1, 1 << 40);
        // A guest that slows down (new code, a device) makes slices too long: that is learnt faster.
        let old = self.measured.unwrap_or(sample);
        let weight = if sample < old { 2 } else { 8 };
        self.measured = Some((old * (weight - 1) + sample) / weight);
    }

    /// Steps a second; 0 before any measurement.
    #[must_use]
    pub fn steps_per_second(&self) -> u64 {
        self.measured.unwrap_or(0)
    }

    /// Steps of the next slice, so that it lasts about [`limits::SLICE`].
    #[must_use]
    pub fn slice_steps(&self) -> u64 {
        let Some(speed) = self.measured else {
            return limits::SLICE_STEPS_FIRST;
        };
        let steps = u128::from(speed) * u128::from(limits::SLICE.0) / 1_000_000_000;
        u64::try_from(steps)
            .unwrap_or(u64::MAX)
            .clamp(limits::SLICE_STEPS_MIN, limits::SLICE_STEPS_MAX)
    }

    /// Ticks of `mtime` in 2^32 steps at this speed, of which only `permille` thousandths are given.
    fn rate(&self, permille: u64) -> u32 {
        let speed = u128::from(self.measured.unwrap_or(SPEED_FIRST).max(1));
        let ticks = u128::from(machine::clock::TICKS_PER_SECOND) << 32;
        u32::try_from(ticks * u128::from(permille) / 1000 / speed).unwrap_or(u32::MAX)
    }
}

/// Ties the guest's `mtime` to host time.
#[derive(Clone, Debug)]
pub struct GuestClock {
    /// A host time at which the guest's clock should have shown `mtime`.
    base: Time,
    /// What the guest's clock should have shown at `base`, in ticks of 100 ns.
    mtime: u64,
    /// The rate that the last correction gave, in ticks for 2^32 steps; 0 before any.
    rate: u32,
    /// When the guest's clock was corrected last.
    corrected: Option<Time>,
}

impl GuestClock {
    /// A clock by which the guest sees `mtime` at host time `base`. After a failover these are when the last
    /// `Clock` entry came and its `mtime`: the guest's time then jumps forward over the outage, as for a
    /// computer that was asleep, and follows real time as before.
    #[must_use]
    pub fn new(base: Time, mtime: u64) -> GuestClock {
        GuestClock {
            base,
            mtime,
            rate: 0,
            corrected: None,
        }
    }

    /// A clock by which the guest's time, which shows `mtime`, jumps forward by as much as it was `asleep`.
    #[must_use]
    pub fn after_sleep(now: Time, mtime: u64, asleep: Span) -> GuestClock {
        GuestClock::new(now, mtime.saturating_add(asleep.0 / TICK_NS))
    }

    /// What the guest's clock should show now, in ticks of 100 ns; at most [`limits::MTIME_MAX`].
    #[must_use]
    pub fn target(&self, now: Time) -> u64 {
        self.mtime
            .saturating_add(now.since(self.base).0 / TICK_NS)
            .min(limits::MTIME_MAX)
    }

    /// The host time at which the guest's clock should show `mtime`.
    #[must_use]
    pub fn time_of(&self, mtime: u64) -> Time {
        let ticks = mtime.saturating_sub(self.mtime);
        self.base.after(Span(ticks.saturating_mul(TICK_NS)))
    }

    /// Is a correction due for a guest that runs?
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.corrected
            .is_none_or(|last| now.since(last) >= limits::CLOCK_EVERY)
    }

    /// The input that corrects the guest's clock, which shows `shown`. It is slowed down but never set back.
    pub fn correct(&mut self, now: Time, shown: u64, speed: &Speed) -> Input {
        let target = self.target(now);
        self.corrected = Some(now);
        let ahead = shown > target;
        let wanted = speed.rate(if ahead { RATE_AHEAD_PERMILLE } else { RATE_PERMILLE });
        // A rate that hardly differs is kept: it makes the entry shorter (codec.rs).
        let hardly = u64::from(wanted.abs_diff(self.rate)) * 200 < u64::from(self.rate);
        if ahead || !hardly {
            self.rate = wanted;
        }
        Input::Clock {
            mtime: target.max(shown).min(limits::MTIME_MAX),
            rate: self.rate,
        }
    }
}

/// The first multiple of `every` after `step`.
#[must_use]
pub fn next_multiple(step: Step, every: u64) -> Step {
    let every = every.max(1);
    Step(step.0 - step.0 % every).after(every)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Time {
        Time(us * 1000)
    }

    fn correction(clock: &mut GuestClock, now: Time, shown: u64, speed: &Speed) -> (u64, u32) {
        match clock.correct(now, shown, speed) {
            Input::Clock { mtime, rate } => (mtime, rate),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn time_follows_the_host_and_goes_on_a_little_slower_by_itself() {
        let mut speed = Speed::default();
        let mut clock = GuestClock::new(us(0), 0);
        let mut guest = machine::Clock::default();
        let mut step = 0;
        for slice in 0..1000u64 {
            let now = us(slice * 1000);
            speed.look(now);
            let before = guest.at(Step(step));
            let (mtime, rate) = correction(&mut clock, now, before, &speed);
            if slice > 20 {
                // Forward, and by less than a twentieth of the millisecond.
                assert!(
                    mtime >= before && mtime - before < 500,
                    "{slice}: {before} to {mtime}"
                );
            }
            guest.set(Step(step), mtime, rate);
            // 100 million steps a second.
            speed.ran(now, 100_000);
            step += 100_000;
        }
        assert_eq!(speed.slice_steps(), 100_000);
        assert!(guest.at(Step(step)).abs_diff(10_000_000) < 500);
    }

    #[test]
    fn time_never_goes_back_even_if_the_guest_was_ahead() {
        let mut clock = GuestClock::new(us(0), 0);
        let speed = Speed {
            measured: Some(1_000_000_000),
            open: None,
        };
        let (mtime, slow) = correction(&mut clock, us(1), 5_000, &speed);
        assert_eq!(mtime, 5_000);
        let (_, rate) = correction(&mut clock, us(1_000), 5_000, &speed);
        assert!(slow < rate);
    }

    #[test]
    fn a_wake_up_is_never_too_early() {
        let clock = GuestClock::new(Time(123), 77);
        for mtime in [77, 78, 1000] {
            assert!(clock.target(clock.time_of(mtime)) >= mtime);
        }
    }

    #[test]
    fn digests_come_at_multiples() {
        assert_eq!(next_multiple(Step(0), 10), Step(10));
        assert_eq!(next_multiple(Step(10), 10), Step(20));
        assert_eq!(next_multiple(Step(11), 10), Step(20));
    }
}
