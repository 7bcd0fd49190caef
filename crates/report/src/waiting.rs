//! `Waiting`: when to say that the arbiter does not answer, so that it is said at once and not over and over.
//! The reporter has one while a question has no decision.
//!
//! It only counts and says when: how often the arbiter is asked is the node's business.

use replica::{Span, Time};

use crate::limits::{WAITING_EVERY, WAITING_FIRST};

/// One stretch of asking, from the first question to a decision.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The epoch that is asked for.
    pub epoch: u64,
    /// How many times the arbiter was asked.
    pub asked: u64,
    /// What stands in the way, as the last answer said; `None`: nothing is known.
    pub reason: Option<String>,
    /// When the arbiter was asked first.
    since: Time,
    /// Was there an answer that the arbiter cannot be reached?
    unreachable: bool,
    /// When it is next to be said that the arbiter does not answer.
    due: Time,
    /// Was it said already?
    told: bool,
}

impl Waiting {
    /// The waiting that begins with the first question.
    pub fn new(now: Time, epoch: u64) -> Waiting {
        Waiting {
            epoch,
            asked: 1,
            reason: None,
            since: now,
            unreachable: false,
            due: now.after(WAITING_FIRST),
            told: false,
        }
    }

    /// Notes that the arbiter could not be reached, and says whether that is news.
    pub fn on_unreachable(&mut self, now: Time, reason: Option<String>) -> bool {
        let is_news = !std::mem::replace(&mut self.unreachable, true);
        self.reason = reason;
        if !self.told {
            self.due = now;
        }
        is_news
    }

    /// When [`Waiting::say`] is to be called next.
    pub fn deadline(&self) -> Time {
        self.due
    }

    /// Since when the arbiter has been asked, once that was told; `None`: it was not.
    pub fn since(&self) -> Option<Time> {
        self.told.then_some(self.since)
    }

    /// For how long a decision has been waited for, if that is to be said now; it then counts as said.
    pub fn say(&mut self, now: Time) -> Option<Span> {
        if now < self.due {
            return None;
        }
        self.told = true;
        self.due = now.after(WAITING_EVERY);
        Some(now.since(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(Span::from_ms(ms).0)
    }

    #[test]
    fn an_arbiter_that_cannot_be_reached_is_told_of_at_once_and_then_every_ten_seconds() {
        let mut waiting = Waiting::new(at(100), 2);
        assert_eq!(waiting.say(at(100)), None);
        assert!(waiting.on_unreachable(at(103), Some("no such directory".into())));
        assert_eq!(waiting.say(at(103)), Some(Span::from_ms(3)));
        for ms in (200..10_100).step_by(50) {
            assert!(!waiting.on_unreachable(at(ms), Some("no such directory".into())));
            assert_eq!(waiting.say(at(ms)), None, "{ms}");
        }
        assert_eq!(waiting.say(at(10_103)), Some(Span::from_ms(10_003)));
        assert_eq!(waiting.deadline(), at(20_103));
    }

    #[test]
    fn an_arbiter_that_says_nothing_at_all_is_told_of_too() {
        let mut waiting = Waiting::new(at(0), 2);
        assert_eq!(waiting.deadline(), Time(WAITING_FIRST.0));
        assert_eq!(waiting.since(), None);
        assert_eq!(waiting.say(waiting.deadline()), Some(WAITING_FIRST));
        assert_eq!(waiting.since(), Some(at(0)));
        assert!(waiting.on_unreachable(at(5_000), None));
        assert_eq!(waiting.say(at(5_000)), None, "it was told already");
    }
}
