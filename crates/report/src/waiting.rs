//! `Waiting`: when to say that the arbiter does not answer, so that it is said at once and not over and over.

use replica::{Span, Time};

use crate::limits::{WAITING_EVERY, WAITING_FIRST};

/// One stretch of asking, from the first question to a decision.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Of the question.
    pub epoch: u64,
    /// Times it was asked.
    pub asked: u64,
    /// What stands in the way; empty: nothing is known.
    pub reason: Option<String>,
    since: Time,
    /// It has answered that it cannot be asked.
    unreachable: bool,
    /// When it is to be said next, and whether it was said.
    due: Time,
    told: bool,
}

impl Waiting {
    /// The first question.
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

    /// The arbiter could not be asked; says whether that is news.
    pub fn on_unreachable(&mut self, now: Time, reason: Option<String>) -> bool {
        let is_news = !std::mem::replace(&mut self.unreachable, true);
        self.reason = reason;
        if !self.told {
            self.due = now;
        }
        is_news
    }

    /// When to look at it again.
    pub fn deadline(&self) -> Time {
        self.due
    }

    /// How long it has taken, if that is to be said now.
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
        assert_eq!(waiting.say(waiting.deadline()), Some(WAITING_FIRST));
        assert!(waiting.on_unreachable(at(5_000), None));
        assert_eq!(waiting.say(at(5_000)), None, "it was told already");
    }
}
