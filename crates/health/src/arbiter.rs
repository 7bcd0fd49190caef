//! `ArbiterWatch`: whether the arbiter answers when it is only looked at. A pair needs no arbiter while it is
//! well, so nothing follows here from one that is away: people, and whoever would hand a VM over to this
//! side, shall know it before the guest stands for it.

use replica::Time;

use crate::limits::{ARBITER_AWAY_AFTER, ARBITER_LOOK_EVERY};
use crate::load::ms;
use report::{AspectWord, Change};

/// When the arbiter is looked at, and whether it answers.
#[derive(Debug, Default)]
pub struct ArbiterWatch {
    /// When to look next, if no look is open; zero: it was never looked at.
    due: Time,
    /// When the look was begun that has no answer; `None`: none is open.
    asked: Option<Time>,
    /// Since when the arbiter does not answer, as it was told; `None`: it does.
    away: Option<Time>,
}

impl ArbiterWatch {
    /// Is it time to look at the arbiter? The look then counts as begun. The first comes a while after the
    /// start, for which the arbiter was asked anyway.
    pub fn begins(&mut self, now: Time) -> bool {
        if self.due == Time(0) {
            self.due = now.after(ARBITER_LOOK_EVERY);
        }
        let begins = self.asked.is_none() && self.due <= now;
        if begins {
            self.asked = Some(now);
            self.due = now.after(ARBITER_LOOK_EVERY);
        }
        begins
    }

    /// A look at the arbiter at this `place` has had this answer; gives what is to be told.
    pub fn hears(&mut self, now: Time, place: &str, answer: Result<(), String>) -> Option<Change> {
        let asked = self.asked.take().unwrap_or(now);
        match answer {
            Err(reason) => self.is_away(asked, place, &reason),
            Ok(()) => {
                let since = self.away.take()?;
                let lasted_ms = ms(now.since(since));
                let seconds = lasted_ms / 1e3;
                Some(Change {
                    what: AspectWord::Arbiter,
                    well: true,
                    sentence: format!("the arbiter {place} answers this host again after {seconds:.1} s"),
                    since_ns: since.0,
                    lasted_ms,
                })
            }
        }
    }

    /// Gives what is to be told of an arbiter at this `place` that says nothing at all.
    pub fn waits(&mut self, now: Time, place: &str) -> Option<Change> {
        let asked = self
            .asked
            .filter(|asked| now.since(*asked) >= ARBITER_AWAY_AFTER)?;
        let reason = format!(
            "it has not answered for {} s",
            ARBITER_AWAY_AFTER.0 / 1_000_000_000
        );
        self.is_away(asked, place, &reason)
    }

    /// Since when the arbiter does not answer, as it was told; `None`: it does.
    #[must_use]
    pub fn away_since(&self) -> Option<Time> {
        self.away
    }

    fn is_away(&mut self, since: Time, place: &str, reason: &str) -> Option<Change> {
        if self.away.is_some() {
            return None;
        }
        self.away = Some(since);
        Some(Change {
            what: AspectWord::Arbiter,
            well: false,
            sentence: format!(
                "the arbiter {place} is of no use to this host: {reason}; nothing waits for it, but after a \
                 failure the guest would stand until it answers"
            ),
            since_ns: since.0,
            lasted_ms: 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replica::Span;

    fn at(ms: u64) -> Time {
        Time(Span::from_ms(ms).0)
    }

    #[test]
    fn an_arbiter_is_looked_at_once_at_a_time_and_is_away_from_the_first_look_without_an_answer() {
        let mut arbiter = ArbiterWatch::default();
        assert!(!arbiter.begins(at(1_000)));
        assert!(arbiter.begins(at(11_000)));
        assert!(!arbiter.begins(at(30_000)), "one is open");
        assert_eq!(arbiter.waits(at(15_999), "p"), None);
        let away = arbiter.waits(at(16_000), "p").unwrap();
        assert!(away.sentence.contains("it has not answered for 5 s"), "{away:?}");
        assert_eq!((away.well, away.since_ns), (false, at(11_000).0));
        assert_eq!(arbiter.waits(at(17_000), "p"), None, "it was told");
        assert_eq!(arbiter.hears(at(18_000), "p", Err("no such file".into())), None);
        assert_eq!(arbiter.away_since(), Some(at(11_000)));
        assert!(arbiter.begins(at(21_000)));
        let back = arbiter.hears(at(21_002), "p", Ok(())).unwrap();
        assert_eq!((back.well, back.lasted_ms), (true, 10_002.0));
        assert_eq!(arbiter.hears(at(31_000), "p", Ok(())), None);
        assert_eq!(arbiter.away_since(), None);
    }
}
