//! Telling the operator of refusals without letting whoever is refused fill a disk: now and then a sentence,
//! with the number of refusals that were not told.
//!
//! `switch`, `door` and `forwards` refuse VMMs, frames and clients; each counts its refusals in a [`Told`]
//! and writes the sentence itself when the count says that it may. Nothing here remembers who was refused:
//! what a stranger can make grow is a number.

use super::limits;
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
    /// Counts one more refusal. `Some`: it may be told, with this number of refusals before it that were not
    /// told.
    pub fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.total += 1;
        let due = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= limits::TELL_EVERY);
        if !due {
            self.untold += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_one_sentence_and_a_number() {
        let mut told = Told::default();
        let start = Instant::now();
        assert_eq!(told.one_more(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(told.one_more(start), None);
        }
        assert_eq!(told.one_more(start + limits::TELL_EVERY), Some(1000));
        assert_eq!(told.total, 1002);
    }
}
