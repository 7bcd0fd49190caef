//! Telling the operator of refusals without letting whoever is refused fill a disk: now and then a sentence,
//! with the number of refusals that were not told.
//!
//! `switch`, `door`, `forwards` and others refuse VMMs, frames and clients; each counts its refusals in a
//! [`Told`] and writes the sentence itself when the count says that it may. Nothing here remembers who was
//! refused: what a stranger can make grow is a number.

use super::limits;
use std::fmt;
use std::time::Instant;

/// When a refusal of one kind was told last, and how many there were since.
#[derive(Debug, Default)]
pub struct Told {
    last: Option<Instant>,
    untold: u64,
    /// Number of refusals so far.
    pub total: u64,
}

impl Told {
    /// Counts one more refusal. `Some`: it may be told, and its sentence ends with what was not told before.
    pub fn one_more(&mut self, now: Instant) -> Option<Untold> {
        self.total += 1;
        let due = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= limits::TELL_EVERY);
        if !due {
            self.untold += 1;
            return None;
        }
        self.last = Some(now);
        Some(Untold(std::mem::take(&mut self.untold)))
    }
}

/// Number of refusals that were not told, as the end of the sentence that tells the next one: nothing if
/// there were none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold(pub u64);

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (this happened once more since it was last told)"),
            many => write!(f, " (this happened {many} times more since it was last told)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_one_sentence_and_a_number() {
        let mut told = Told::default();
        let start = Instant::now();
        assert_eq!(told.one_more(start), Some(Untold(0)));
        for _ in 0..1000 {
            assert_eq!(told.one_more(start), None);
        }
        let untold = told.one_more(start + limits::TELL_EVERY).unwrap();
        assert_eq!(untold, Untold(1000));
        assert_eq!(
            format!("refused{untold}"),
            "refused (this happened 1000 times more since it was last told)"
        );
        assert_eq!(format!("refused{}", Untold(0)), "refused");
        assert_eq!(told.total, 1002);
    }
}
