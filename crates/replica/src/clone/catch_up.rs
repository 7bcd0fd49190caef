//! `CatchUp`: how fast the guest may run while an apprentice replays what has passed since the cut.
//!
//! Both sides run at much the same speed, so a guest that fills its processor would never be caught up with:
//! it is slowed down, by little and only while the lag does not shrink. The owner asks before each slice
//! how much of its time the guest may run. What the guest computes never depends on it.
//!
//! Catching up ends, whatever the lag does: within [`limits::CATCH_UP_LONGEST`], and within
//! [`limits::CATCH_UP_IN_VAIN`] if the apprentice never comes closer.

use crate::limits;
use messages::time::Time;

/// The share of its time in which the guest may run, while an apprentice catches up.
#[derive(Debug)]
pub struct CatchUp {
    /// That share, in thousandths.
    permille: u32,
    /// Since when the apprentice has not been close behind.
    since: Time,
    /// When the lag was looked at last.
    looked: Time,
    /// When that changed last what is to be done: the apprentice had come closer, or the share was changed.
    moved: Time,
    /// The lag then, in steps. Only with a tenth less than this the apprentice has come closer: a lag that
    /// goes up and down comes to no end.
    then: u64,
}

impl CatchUp {
    /// Full speed, while the apprentice is `lag` steps behind.
    #[must_use]
    pub fn new(now: Time, lag: u64) -> CatchUp {
        CatchUp {
            permille: 1000,
            since: now,
            looked: now,
            moved: now,
            then: lag,
        }
    }

    /// The apprentice is `lag` steps behind: looks every [`limits::CATCH_UP_EVERY`] whether it has come
    /// closer, and slows the guest down if it has not. One that `is_close` has caught up: whatever it waits
    /// for now, the guest need not be slow for it, and the next time that it falls behind counts by itself.
    pub fn on_lag(&mut self, now: Time, lag: u64, is_close: bool) {
        if is_close {
            self.since = now;
        }
        if now.since(self.looked) < limits::CATCH_UP_EVERY {
            return;
        }
        self.looked = now;
        if is_close {
            self.permille = (self.permille + limits::CATCH_UP_PERMILLE_LESS).min(1000);
        } else if lag < self.then && lag <= self.then - self.then / 10 {
            // It has come closer at this share.
        } else if self.permille > limits::CATCH_UP_PERMILLE_MIN {
            self.permille -= limits::CATCH_UP_PERMILLE_LESS;
        } else {
            return;
        }
        self.moved = now;
        self.then = lag;
    }

    /// Does the apprentice not come close, however slowly the guest runs?
    #[must_use]
    pub fn is_hopeless(&self, now: Time) -> bool {
        let is_slowest = self.permille == limits::CATCH_UP_PERMILLE_MIN;
        let in_vain = is_slowest && now.since(self.moved) >= limits::CATCH_UP_PATIENCE;
        in_vain || now.since(self.since) >= limits::CATCH_UP_LONGEST
    }

    /// The share of its time in which the guest may run, in thousandths.
    #[must_use]
    pub fn permille(&self) -> u32 {
        self.permille
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use messages::time::Span;

    /// Steps of a millisecond at full speed.
    const SPEED: u64 = 1000;

    /// A guest of [`SPEED`], and an apprentice that begins `behind` steps behind and replays `speed` steps in
    /// the millisecond that it is asked for: how long it takes until it is close, or until it is given up.
    fn race(speed: impl Fn(u64) -> u64, behind: u64) -> Result<u64, u64> {
        let mut catch_up = CatchUp::new(Time(0), behind);
        let mut lag = behind;
        for ms in 0.. {
            let now = Time(Span::from_ms(ms).0);
            lag = (lag + u64::from(catch_up.permille()) * SPEED / 1000).saturating_sub(speed(ms));
            let is_close = lag <= SPEED * limits::LAG_ARM.0 / 1_000_000;
            if is_close {
                return Ok(ms);
            }
            catch_up.on_lag(now, lag, is_close);
            if catch_up.is_hopeless(now) {
                return Err(ms);
            }
        }
        Err(u64::MAX)
    }

    /// Steps of so many seconds at full speed.
    fn seconds(seconds: u64) -> u64 {
        seconds * 1000 * SPEED
    }

    fn in_ms(span: Span) -> u64 {
        span.0 / 1_000_000
    }

    #[test]
    fn an_apprentice_as_fast_as_the_owner_catches_up_with_a_busy_guest() {
        assert!(race(|_| SPEED, seconds(10)).is_ok());
        assert!(race(|_| SPEED * 6 / 5, seconds(10)).is_ok_and(|ms| ms < 60_000));
        // Two minutes behind, it comes closer by less than a tenth in five seconds, and catches up.
        assert!(race(|_| SPEED, seconds(120)).is_ok());
    }

    #[test]
    fn an_apprentice_that_is_far_too_slow_is_given_up_in_time() {
        let in_vain = in_ms(limits::CATCH_UP_IN_VAIN);
        assert_eq!(in_vain, 55_000);
        // As slow as in the simulator's worlds, slower, and not at all; far behind or only a few steps.
        for speed in [SPEED / 10, SPEED * 2 / 5, SPEED / 2 - 1, 0] {
            for behind in [seconds(10), SPEED * 300] {
                assert_eq!(
                    race(|_| speed, behind),
                    Err(in_vain),
                    "{speed} steps/ms, {behind}"
                );
            }
        }
        assert!(race(|_| SPEED * 65 / 100, seconds(1)).is_ok());
    }

    #[test]
    fn an_apprentice_that_stands_still_just_behind_a_guest_that_waits_is_given_up() {
        for lag in [0, 1, 5, 9, 10] {
            let ms = |ms| Time(Span::from_ms(ms).0);
            let mut catch_up = CatchUp::new(ms(0), lag);
            let end = (0..).find(|&at| {
                catch_up.on_lag(ms(at), lag, false);
                catch_up.is_hopeless(ms(at))
            });
            assert_eq!(end, Some(in_ms(limits::CATCH_UP_IN_VAIN)), "{lag}");
        }
    }

    #[test]
    fn a_lag_that_goes_up_and_down_is_no_progress() {
        // Ten seconds of half the guest's slowest speed, ten of one and a half: each second time it has come
        // closer by much more than a tenth, for ever.
        let speed = |ms: u64| {
            let slow = (ms / 10_000).is_multiple_of(2);
            SPEED / 4 * if slow { 1 } else { 3 }
        };
        let end = race(speed, seconds(8));
        assert!(end.is_err_and(|ms| ms <= 60_000), "{end:?}");
    }

    #[test]
    fn catching_up_ends_though_the_apprentice_comes_closer_for_ever() {
        // A tenth closer in each 29 seconds: of an hour of lag some would be left after an hour.
        let mut catch_up = CatchUp::new(Time(0), seconds(3600));
        let mut lag = seconds(3600);
        let end = (0..4000_u64).find(|&second| {
            if second.is_multiple_of(29) {
                lag -= lag / 10 + 1;
            }
            let now = Time(Span::from_ms(second * 1000).0);
            catch_up.on_lag(now, lag, false);
            catch_up.is_hopeless(now)
        });
        assert_eq!(end, Some(limits::CATCH_UP_LONGEST.0 / 1_000_000_000));
    }

    #[test]
    fn a_guest_that_is_followed_closely_gets_its_speed_back_however_long_the_arbiter_is_away() {
        let ms = |ms| Time(Span::from_ms(ms).0);
        let mut catch_up = CatchUp::new(ms(0), seconds(10));
        for at in (0..25_001).step_by(10) {
            catch_up.on_lag(ms(at), seconds(10), false);
        }
        assert_eq!(catch_up.permille(), limits::CATCH_UP_PERMILLE_MIN);
        // Close behind, it is always the same number of steps behind.
        for at in (25_001..600_000).step_by(10) {
            catch_up.on_lag(ms(at), 5_000, true);
            assert!(!catch_up.is_hopeless(ms(at)), "{at}");
        }
        assert_eq!(catch_up.permille(), 1000);
    }
}
