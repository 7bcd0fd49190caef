//! The host's clocks. `Time` comes from CLOCK_BOOTTIME, which goes on while the host sleeps.
//!
//! # Safety argument
//! No unsafe code: `rustix` reads the clocks through the vDSO.

use replica::Time;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The time now, on a clock that never goes back and that counts suspension and SIGSTOP too: a stalled
/// replica must see on waking that it was silent for too long (FT 2.3-d).
#[must_use]
pub fn now() -> Time {
    Time(nanoseconds(clock_gettime(ClockId::Boottime)))
}

/// Wall-clock time in nanoseconds since 1970. Only for people and for the guest's first idea of the date.
#[must_use]
pub fn wall_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

/// The processor time that this thread has used, in nanoseconds.
#[must_use]
pub fn thread_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// A span in the form that the kernel's calls take.
#[must_use]
pub fn timespec(nanoseconds: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX),
        // The remainder is below 10^9, so it fits.
        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
    }
}

fn nanoseconds(t: Timespec) -> u64 {
    // The kernel gives no negative times on these clocks.
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_go_back() {
        let first = now();
        assert!(now() >= first);
    }

    #[test]
    fn a_thread_uses_no_more_processor_time_than_passes() {
        let (began, used) = (now(), thread_ns());
        let spent = (0..).map(|_| thread_ns() - used).find(|&spent| spent > 0);
        assert!(spent.is_some_and(|spent| spent <= now().since(began).0));
    }

    #[test]
    fn a_timespec_splits_at_the_second() {
        let t = timespec(3_000_000_007);
        assert_eq!((t.tv_sec, t.tv_nsec), (3, 7));
    }
}
