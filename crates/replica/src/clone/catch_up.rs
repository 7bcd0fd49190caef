//! `CatchUp`: how fast the guest may run while an apprentice replays what has passed since the cut.
//!
//! Both sides run at much the same speed, so a guest that fills its processor would never be caught up with:
//! it is slowed down, by little and only while the lag does not shrink. The owner asks before each slice
//! whether the guest must rest. What the guest computes never depends on it.

use crate::limits;
use crate::peer::rest::Rest;
use crate::time::Time;

/// The share of its time in which the guest may run, while an apprentice catches up.
#[derive(Debug)]
pub struct CatchUp {
    /// That share, in thousandths.
    permille: u32,
    /// When the share was looked at last, and how far the apprentice was behind then, in steps.
    looked: (Time, u64),
    /// Since when the guest runs as slowly as it may and the lag does not shrink; `None`: it shrinks.
    hopeless: Option<Time>,
    /// How long the guest rests after each slice.
    rest: Rest,
}

impl CatchUp {
    /// Full speed, while the apprentice is `lag` steps behind.
    #[must_use]
    pub fn new(now: Time, lag: u64) -> CatchUp {
        CatchUp {
            permille: 1000,
            looked: (now, lag),
            hopeless: None,
            rest: Rest::default(),
        }
    }

    /// The apprentice is `lag` steps behind: looks every [`limits::CATCH_UP_EVERY`] whether that is less than
    /// before by enough to come to an end, and slows the guest down if it is not.
    pub fn on_lag(&mut self, now: Time, lag: u64) {
        let (then, before) = self.looked;
        if now.since(then) < limits::CATCH_UP_EVERY {
            return;
        }
        self.looked = (now, lag);
        if lag <= before - before / 10 {
            self.hopeless = None;
        } else if self.permille > limits::CATCH_UP_PERMILLE_MIN {
            self.permille -= limits::CATCH_UP_PERMILLE_LESS;
        } else {
            self.hopeless = self.hopeless.or(Some(now));
        }
    }

    /// Does the apprentice not come closer, however slowly the guest runs?
    #[must_use]
    pub fn is_hopeless(&self, now: Time) -> bool {
        self.hopeless
            .is_some_and(|since| now.since(since) >= limits::CATCH_UP_PATIENCE)
    }

    /// Notes that a slice begins now.
    pub fn on_slice(&mut self, now: Time) {
        self.rest.on_slice(now);
    }

    /// Takes the time, the end of the last slice: its length says how long the guest rests after it.
    pub fn look(&mut self, now: Time) {
        self.rest.look(now, self.permille);
    }

    /// Until when the guest must rest; `None`: it may run.
    #[must_use]
    pub fn rest(&self) -> Option<Time> {
        self.rest.until()
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
    use crate::time::Span;

    /// A guest of 1,000 steps a millisecond at full speed, and an apprentice of `speed`: how long it takes
    /// until the lag of `behind` steps is gone, or `None` if it is given up.
    fn catches_up(speed: u64, behind: u64) -> Option<u64> {
        let mut catch_up = CatchUp::new(Time(0), behind);
        let mut lag = behind;
        for ms in 0.. {
            let now = Time(Span::from_ms(ms).0);
            lag = (lag + u64::from(catch_up.permille())).saturating_sub(speed);
            if lag == 0 {
                return Some(ms);
            }
            catch_up.on_lag(now, lag);
            if catch_up.is_hopeless(now) {
                return None;
            }
        }
        None
    }

    #[test]
    fn an_apprentice_as_fast_as_the_owner_catches_up_with_a_busy_guest() {
        assert!(catches_up(1000, 10_000_000).is_some());
        assert!(catches_up(1200, 10_000_000).is_some_and(|ms| ms < 60_000));
    }

    #[test]
    fn an_apprentice_that_is_far_too_slow_is_given_up() {
        assert_eq!(catches_up(400, 10_000_000), None);
        assert!(catches_up(650, 1_000_000).is_some());
    }

    #[test]
    fn a_slowed_guest_rests_in_proportion() {
        let ms = |ms| Time(Span::from_ms(ms).0);
        let mut catch_up = CatchUp::new(ms(0), 1000);
        catch_up.on_lag(ms(5_000), 1000);
        assert_eq!(catch_up.permille(), 900);
        catch_up.on_slice(ms(6_000));
        catch_up.look(ms(6_009));
        assert_eq!(catch_up.rest(), Some(ms(6_010)));
        catch_up.look(ms(6_010));
        assert_eq!(catch_up.rest(), None);
    }
}
