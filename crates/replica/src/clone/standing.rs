//! `Standing`: for how long the guest may stand because the pages that are kept for a clone leave too slowly.
//!
//! A guest that overwrites owed pages faster than the bulk link takes them runs as fast as these leave. That
//! is a guest which is slower for a while; over a link that takes next to nothing it is a guest which is as
//! good as dead, for the sake of a backup. The owner asks here before each slice, and gives the clone up.

use crate::limits;
use messages::time::{Span, Time};

/// For how long the guest has stood, since so much of the clone had left.
#[derive(Debug, Default)]
pub struct Standing {
    /// Since when the guest stands, as far as that is not counted in `stood`; `None`: it runs.
    since: Option<Time>,
    /// How long it has stood since `then`.
    stood: Span,
    /// Bytes of pages that had left when it was counted anew last.
    then: u64,
}

impl Standing {
    /// Notes that the guest stands now, or does not, when so many bytes of pages have left.
    pub fn look(&mut self, now: Time, stands: bool, left: u64) {
        if left.saturating_sub(self.then) >= limits::STANDING_BYTES {
            *self = Standing {
                then: left,
                ..Standing::default()
            };
        }
        if let Some(since) = self.since {
            self.stood = Span(self.stood.0 + now.since(since).0);
        }
        self.since = stands.then_some(now);
    }

    /// Has it stood for too long?
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.stood >= limits::STANDING_PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that overwrites owed pages all the time, and a bulk link that takes so many bytes a
    /// millisecond: after each page it runs for a moment. When the clone is given up, in an hour.
    fn given_up(bytes_per_ms: u64) -> Option<u64> {
        let mut standing = Standing::default();
        (0..3_600_000).find(|&ms| {
            let left = ms * bytes_per_ms;
            let runs = left / 4096 != (ms + 1) * bytes_per_ms / 4096;
            standing.look(Time(Span::from_ms(ms).0), !runs, left);
            standing.is_too_long()
        })
    }

    #[test]
    fn a_guest_whose_pages_leave_slowly_is_slower_and_no_more() {
        // 100 Mbit/s, and half of that.
        assert_eq!(given_up(12_500), None);
        assert_eq!(given_up(6_250), None);
    }

    #[test]
    fn a_guest_whose_pages_hardly_leave_stands_for_a_while_and_no_longer() {
        let patience = limits::STANDING_PATIENCE.0 / 1_000_000;
        assert_eq!(given_up(0), Some(patience));
        // As much as the host must take of a bulk link that it takes for one at all.
        assert!(given_up(280).is_some_and(|ms| ms < patience * 11 / 10));
    }

    #[test]
    fn what_a_guest_has_run_in_between_does_not_count() {
        let ms = |ms| Time(Span::from_ms(ms).0);
        let mut standing = Standing::default();
        standing.look(ms(0), true, 0);
        standing.look(ms(1_000), false, 0);
        standing.look(ms(600_000), true, 0);
        assert!(!standing.is_too_long());
        standing.look(ms(614_000), false, 0);
        assert!(standing.is_too_long());
    }
}
