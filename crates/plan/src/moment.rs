//! `Wall` and `Now`: the times that people see, and both clocks of the present, which come in with each call.
//!
//! Waiting is counted by `Time`, which never goes back; `Wall` is only for sentences and for what another
//! host has noted. Nothing here reads a clock.

use std::fmt;

use messages::time::{Span, Time};

const SECOND_NS: u64 = 1_000_000_000;

/// A moment in nanoseconds since 1970, UTC. It displays as `2026-11-28 21:40:31 UTC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub u64);

/// The present, by both clocks of this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The present on the clock by which waiting is counted.
    pub time: Time,
    /// The present in the time that people see.
    pub wall: Wall,
}

impl Now {
    /// When `time` is or was, in the time that people see; right as far as the wall clock was not set since.
    #[must_use]
    pub fn wall_of(self, time: Time) -> Wall {
        let (ahead, behind) = (time.since(self.time), self.time.since(time));
        Wall((self.wall.0.saturating_add(ahead.0)).saturating_sub(behind.0))
    }

    /// How long ago `wall` was; zero if it is yet to come.
    #[must_use]
    pub fn since_wall(self, wall: Wall) -> Span {
        Span(self.wall.0.saturating_sub(wall.0))
    }
}

impl Wall {
    /// The same as programs read it (RFC 3339, UTC); empty: it is not known.
    #[must_use]
    pub fn rfc3339(self) -> String {
        if self.0 == 0 {
            return String::new();
        }
        self.to_string().replacen(' ', "T", 1).replace(" UTC", "Z")
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / SECOND_NS;
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"
        )
    }
}

/// Year, month and day of a day since 1970, after Howard Hinnant's `civil_from_days`: years are counted from
/// March on, so that the leap day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (month, day) = ((month + 2) % 12 + 1, day - (153 * month + 2) / 5 + 1);
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_people_write_it() {
        let texts = [
            0,
            951_782_400,
            1_709_251_199,
            1_764_366_031,
            1_795_903_231,
            4_107_542_399,
        ];
        let texts = texts.map(|seconds| Wall(seconds * SECOND_NS).to_string());
        let expected = [
            "1970-01-01 00:00:00 UTC",
            "2000-02-29 00:00:00 UTC",
            "2024-02-29 23:59:59 UTC",
            "2025-11-28 21:40:31 UTC",
            "2026-11-28 22:00:31 UTC",
            "2100-02-28 23:59:59 UTC",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_time_has_its_place_in_the_time_that_people_see() {
        let now = Now {
            time: Time(50),
            wall: Wall(1_000),
        };
        assert_eq!(now.wall_of(Time(70)), Wall(1_020));
        assert_eq!(now.wall_of(Time(20)), Wall(970));
        assert_eq!(now.since_wall(Wall(400)), Span(600));
        assert_eq!(now.since_wall(Wall(1_400)), Span(0));
    }
}
