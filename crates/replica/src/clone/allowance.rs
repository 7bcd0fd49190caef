//! `Allowance`: how many pages may be copied now, while the guest of a clone runs.
//!
//! A page costs the guest's thread a microsecond, and the threads that pack and send it several, on whichever
//! processor. So pages are counted against the time that has passed, not against slices: those are as short
//! as the guest's clients are quick. What may be copied is saved up until a record of the bulk link is full,
//! since each record wakes threads.

use crate::limits;
use messages::time::{Span, Time};

/// Parts of a page in which an allowance is counted: a rate of one page a millisecond adds one of them each
/// nanosecond.
const PARTS: u64 = 1_000_000;

/// What may be copied.
#[derive(Debug)]
pub struct Allowance {
    /// What is saved up, in [`PARTS`] of a page.
    parts: u64,
    /// Until when it was counted.
    since: Time,
}

impl Allowance {
    /// Nothing may be copied yet.
    pub fn new(now: Time) -> Allowance {
        Allowance { parts: 0, since: now }
    }

    /// Adds what the time since the last call is worth, at a rate of so many pages in a millisecond.
    pub fn look(&mut self, now: Time, rate: u64) {
        let added = now.since(self.since).0.saturating_mul(rate);
        let most = u64::from(limits::COPY_PAGES) * PARTS;
        self.parts = self.parts.saturating_add(added).min(most);
        self.since = now;
    }

    /// How many pages may be copied now; 0 as long as too few are saved up.
    pub fn pages(&self) -> u32 {
        let pages = u32::try_from(self.parts / PARTS).unwrap_or(u32::MAX);
        if pages < limits::COPY_PAGES_LEAST {
            0
        } else {
            pages
        }
    }

    /// Takes away what was copied: so many pages, of which so many have content. One of zeroes is only read,
    /// which is a quarter of the work.
    pub fn take(&mut self, pages: u64, contents: u64) {
        let quarters = pages.saturating_add(contents.saturating_mul(3));
        self.parts = self.parts.saturating_sub(quarters.saturating_mul(PARTS / 4));
    }

    /// When enough is saved up at this rate.
    pub fn due(&self, rate: u64) -> Time {
        let lacks = (u64::from(limits::COPY_PAGES_LEAST) * PARTS).saturating_sub(self.parts);
        self.since.after(Span(lacks.div_ceil(rate.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Time {
        Time(Span::from_us(us).0)
    }

    /// The pages that are copied in a second at 10 in a millisecond, in slices of so many microseconds.
    fn copied(slice: u64) -> u64 {
        let mut allowance = Allowance::new(us(0));
        let mut copied = 0;
        for at in 1..=1_000_000 / slice {
            allowance.look(us(at * slice), 10);
            let pages = u64::from(allowance.pages());
            allowance.take(pages, pages);
            copied += pages;
        }
        copied
    }

    #[test]
    fn a_guest_is_copied_at_the_same_rate_however_short_its_slices_are() {
        for slice in [20, 100, 1_000, 5_000] {
            assert!((9_900..=10_000).contains(&copied(slice)), "{slice} us");
        }
    }

    #[test]
    fn what_is_saved_up_is_bounded_and_copied_in_whole_records() {
        let mut allowance = Allowance::new(us(0));
        assert_eq!(allowance.pages(), 0);
        let record = allowance.due(40);
        assert_eq!(record, us(1_600));
        allowance.look(us(1_599), 40);
        assert_eq!((allowance.pages(), allowance.due(40)), (0, record));
        allowance.look(record, 40);
        assert_eq!(allowance.pages(), limits::COPY_PAGES_LEAST);
        allowance.look(us(60_000_000), 40);
        assert_eq!(allowance.pages(), limits::COPY_PAGES);
        // Zeroes cost less than content.
        allowance.take(40, 0);
        assert_eq!(allowance.pages(), limits::COPY_PAGES - 10);
    }
}
