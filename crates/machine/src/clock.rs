//! The clock behind `mtime`: a function of the last `Clock` input and of the steps since.
//!
//! `mtime(step) = mtime0 + ((step - step0) * rate >> 32)`, in ticks of 100 ns (10 MHz, as QEMU's `virt`).
//! Between two `Clock` inputs the guest reads the time, and timers fire, without any log entry. The clock
//! never looks at the host's time: whoever paces the guest does, and injects what comes of it. Nor can the
//! guest set it: what M-mode stores to the register `mtime` is an offset in the CLINT (`devices/aclint.rs`).

use hart::{Step, Visit, Visitor};

/// Ticks of `mtime` in a second.
pub const TICKS_PER_SECOND: u64 = 10_000_000;

/// The clock by which the guest's `mtime`, its wall clock and the delays of devices go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// What `mtime` was at `step`, in ticks.
    mtime: u64,
    /// The step of the last `Clock` input.
    step: Step,
    /// How `mtime` goes on from there, in ticks per 2^32 steps.
    rate: u32,
}

impl Clock {
    /// Moves the clock at `now`. It never goes back: an earlier `mtime` than the present one is ignored and
    /// only the rate changes.
    pub fn set(&mut self, now: Step, mtime: u64, rate: u32) {
        *self = Clock {
            mtime: mtime.max(self.at(now)),
            step: now,
            rate,
        };
    }

    /// The step of the last `Clock` input, what `mtime` was there, and the rate from there on: all that the
    /// clock is, for whoever saves it.
    #[must_use]
    pub fn base(&self) -> (Step, u64, u32) {
        (self.step, self.mtime, self.rate)
    }

    /// The clock of which [`Clock::base`] gave this.
    #[must_use]
    pub fn from_base(step: Step, mtime: u64, rate: u32) -> Clock {
        Clock { mtime, step, rate }
    }

    /// `mtime` at `now`, in ticks.
    #[must_use]
    pub fn at(&self, now: Step) -> u64 {
        let ticks = (u128::from(now.since(self.step)) * u128::from(self.rate)) >> 32;
        self.mtime
            .saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    /// The first step at which [`Clock::at`] is `mtime` or more; [`Step::NEVER`] if only a `Clock` input can
    /// bring that about.
    #[must_use]
    pub fn step_of(&self, mtime: u64) -> Step {
        let Some(ticks) = mtime.checked_sub(self.mtime).filter(|&t| t > 0) else {
            return self.step;
        };
        if self.rate == 0 {
            return Step::NEVER;
        }
        let steps = (u128::from(ticks) << 32).div_ceil(u128::from(self.rate));
        u64::try_from(steps).map_or(Step::NEVER, |steps| self.step.after(steps))
    }
}

impl Visit for Clock {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self { mtime, step, rate } = self;
        v.u64("mtime", mtime);
        v.u64("step", &mut step.0);
        v.u32("rate", rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_of_is_the_first_step_that_shows_the_time() {
        let mut clock = Clock::default();
        clock.set(Step(1000), 50, 429_496_730); // about a tenth of a tick a step
        for mtime in [51, 52, 60, 1000, 123_456] {
            let step = clock.step_of(mtime);
            assert!(clock.at(step) >= mtime);
            assert!(clock.at(Step(step.0 - 1)) < mtime);
        }
    }

    #[test]
    fn the_clock_never_goes_back() {
        let mut clock = Clock::default();
        clock.set(Step(0), 1000, 1 << 31);
        clock.set(Step(100), 900, 1);
        assert_eq!(clock.at(Step(100)), 1050);
    }

    #[test]
    fn a_stopped_clock_reaches_no_later_time() {
        let mut clock = Clock::default();
        clock.set(Step(5), 7, 0);
        assert_eq!(clock.step_of(7), Step(5));
        assert_eq!(clock.step_of(8), Step::NEVER);
    }
}
