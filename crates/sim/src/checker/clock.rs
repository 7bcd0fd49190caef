//! The guest's time goes forward, and a failover never makes it jump further than the outage was long.
//!
//! What the outside sees of guest time are outputs. Each was produced at a time of the guest, which the tape
//! knows; in the order of the outputs that time never goes back, and an output that two processes show has
//! one time. Guest time follows the clocks of the hosts and never gets ahead of all of them: so whatever was
//! lost in an outage, guest time can at most catch up with it. This check must not ask a node for its clock.

use machine::clock::TICKS_PER_SECOND;
use replica::{Span, Time};

use toy_outside::names::ProcessId;

use crate::checker::{Check, Violation, ensure};

/// Nanoseconds of a tick of guest time.
const TICK_NS: u64 = 1_000_000_000 / TICKS_PER_SECOND;
/// How far guest time may be ahead of the fastest clock. Between two corrections it goes by the speed that
/// was measured last. If that was while the process stood still, a guest that is mostly idle, so that it is
/// not measured again, has been seen half a second ahead. A clock that goes on from a wrong base is ahead by
/// hours.
const AHEAD_MAX: Span = Span::from_ms(5_000);

/// The guest times that the outside has seen.
#[derive(Debug, Default)]
pub struct GuestTime {
    /// The time at which each output was produced, in ticks; that of output number n is at place n - 1.
    seen: Vec<u64>,
}

impl GuestTime {
    /// `who` shows output `number` of its guest's life, which the guest produced at `ticks` of its time.
    /// `fastest` is what the fastest of all clocks shows now, if all began with 0.
    ///
    /// # Errors
    /// If guest time has gone back or is ahead of `fastest`.
    pub fn on_show(
        &mut self,
        who: ProcessId,
        number: u64,
        ticks: u64,
        fastest: Time,
    ) -> Result<(), Violation> {
        let limit = (fastest.0 + AHEAD_MAX.0) / TICK_NS;
        ensure(ticks <= limit, Check::Clock, || {
            format!(
                "{who} shows output {number} of guest time {} us, which is {} us ahead",
                ticks / 10,
                (ticks * TICK_NS).saturating_sub(fastest.0) / 1000
            )
        })?;
        if let Some(before) = self.seen.get(number as usize - 1) {
            return ensure(*before == ticks, Check::Clock, || {
                format!("{who} shows output {number} as of another guest time than it was seen before")
            });
        }
        let last = self.seen.last().copied().unwrap_or(0);
        self.seen.push(ticks);
        ensure(last <= ticks, Check::Clock, || {
            format!("guest time goes back before {who} shows output {number}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ProcessId = ProcessId::A;
    const B: ProcessId = ProcessId::B;
    const NOW: Time = Time(1_000_000_000);
    const SECOND: u64 = TICKS_PER_SECOND;

    #[test]
    fn time_may_stand_and_jump_up_to_now() {
        let mut time = GuestTime::default();
        assert_eq!(time.on_show(A, 1, 5, NOW), Ok(()));
        assert_eq!(time.on_show(A, 2, 5, NOW), Ok(()));
        assert_eq!(time.on_show(B, 2, 5, NOW), Ok(()));
        assert_eq!(time.on_show(B, 3, SECOND, NOW), Ok(()));
    }

    #[test]
    fn time_that_goes_back_across_a_failover_is_noticed() {
        let mut time = GuestTime::default();
        assert_eq!(time.on_show(A, 1, 50, NOW), Ok(()));
        let violation = time.on_show(B, 2, 49, NOW).unwrap_err();
        assert_eq!(violation.check, Check::Clock);
    }

    #[test]
    fn an_output_has_one_time() {
        let mut time = GuestTime::default();
        assert_eq!(time.on_show(A, 1, 50, NOW), Ok(()));
        assert!(time.on_show(B, 1, 51, NOW).is_err());
    }

    #[test]
    fn a_jump_beyond_the_outage_is_noticed() {
        let mut time = GuestTime::default();
        assert_eq!(time.on_show(A, 1, 50, NOW), Ok(()));
        assert!(time.on_show(B, 2, 7 * SECOND, NOW).is_err());
    }
}
