//! Hosts: the computers that processes run on.
//!
//! A host has a clock and a speed, which all its processes share, and network ports. It may die with all of
//! them and return empty. Where a process runs stands in the process; nothing here may decide that.

use replica::{Span, Time};

/// A clock that is ahead and runs a little too fast or too slow.
#[derive(Clone, Copy, Debug)]
pub struct Drift {
    /// How far the clock is ahead at true time 0.
    pub offset: Span,
    /// How much faster than true time it runs, in millionths.
    pub ppm: i64,
}

impl Drift {
    /// What the clock shows at a true time.
    #[must_use]
    pub fn shows(self, now: Time) -> Time {
        let drift = i128::from(now.0) * i128::from(self.ppm) / 1_000_000;
        let local = i128::from(now.0) + i128::from(self.offset.0) + drift;
        Time(u64::try_from(local).unwrap_or(0))
    }

    /// The first true time at which the clock shows `local` or more.
    #[must_use]
    pub fn when(self, local: Time) -> Time {
        let since = i128::from(local.0.saturating_sub(self.offset.0));
        let mut time =
            Time(u64::try_from(since * 1_000_000 / (1_000_000 + i128::from(self.ppm))).unwrap_or(0));
        while self.shows(time) < local {
            time.0 += 1;
        }
        time
    }
}

/// How a host is made.
#[derive(Clone, Copy, Debug)]
pub struct HostOptions {
    /// How fast a guest runs there, in steps a microsecond.
    pub speed: u64,
    /// The clock that the host's processes read.
    pub clock: Drift,
}

/// A host of a world.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Can processes run there? If not, the host has died and has not returned.
    pub is_up: bool,
    /// How often the host has died.
    pub deaths: u64,
    /// How often a clone to the host came to nothing.
    pub failures: u64,
    /// The time until which the host's network ports lead nowhere.
    pub ports_lost: Time,
}

impl Default for Host {
    /// A host that is up and whose ports lead somewhere.
    fn default() -> Host {
        Host {
            is_up: true,
            deaths: 0,
            failures: 0,
            ports_lost: Time(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_when_the_clock_shows_it_and_not_before() {
        for ppm in [-10_000, 0, 777, 10_000] {
            let clock = Drift {
                offset: Span(12_345),
                ppm,
            };
            for local in [0, 12_346, 999_999_999, 123_456_789_012] {
                let when = clock.when(Time(local));
                assert!(clock.shows(when) >= Time(local));
                assert!(when == Time(0) || clock.shows(Time(when.0 - 1)) < Time(local));
            }
        }
    }
}
