//! `Standing`: how slowly the guest runs, and for how long it may stand, because the pages that are kept for
//! a clone leave more slowly than the guest overwrites owed ones.
//!
//! The guest rests between its slices, the more of its time the less room for kept pages is left: so it soon
//! runs as fast as pages leave, and its clients wait for a rest of a millisecond now and then. Without that
//! it would run at full speed until no room is left, and then hardly at all. Over a link that takes next to
//! nothing it is a guest which is as good as dead, for the sake of a backup. The owner asks here before each
//! slice, and gives the clone up.

use crate::guest::Guest;
use crate::limits;
use messages::time::{Span, Time};

/// How slowly the guest runs, and for how long it has stood, since so much of the clone had left.
#[derive(Debug, Default)]
pub struct Standing {
    /// Since when the guest stands, as far as that is not counted in `stood`; `None`: it runs.
    since: Option<Time>,
    /// How long it has stood since `then`.
    stood: Span,
    /// How long it has stood in all.
    whole: Span,
    /// Bytes of pages that had left when it was counted anew last.
    then: u64,
}

impl Standing {
    /// Notes that the guest stands now, or does not, when so many bytes of pages have left.
    pub fn look(&mut self, now: Time, stands: bool, left: u64) {
        if left.saturating_sub(self.then) >= limits::STANDING_BYTES {
            self.since = None;
            self.stood = Span(0);
            self.then = left;
        }
        if let Some(since) = self.since {
            self.stood.0 += now.since(since).0;
            self.whole.0 += now.since(since).0;
        }
        self.since = stands.then_some(now);
    }

    /// Does the guest stand now?
    #[must_use]
    pub fn stands(&self) -> bool {
        self.since.is_some()
    }

    /// How long it has stood in all.
    #[must_use]
    pub fn whole(&self) -> Span {
        self.whole
    }

    /// Has it stood for too long?
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.stood >= limits::STANDING_PATIENCE
    }
}

/// For how many pages of a guest there is room that are kept as they were.
#[must_use]
pub fn frozen_room<G: Guest>() -> u32 {
    let room = u32::try_from(limits::FROZEN_BYTES_MAX / G::PAGE).unwrap_or(u32::MAX);
    room.max(2 * limits::FROZEN_RESERVE)
}

/// The share of its time in which a guest may run, in thousandths, with this room left for kept pages of so
/// much in all: as much as the share of the room that is left, and at least [`limits::SEAL_PERMILLE_MIN`],
/// down to where it would have to stand.
#[must_use]
pub fn share(left: u32, room: u32) -> u32 {
    let above = |pages: u32| u64::from(pages.saturating_sub(limits::FROZEN_RESERVE));
    let share = (above(left) * 1000).checked_div(above(room)).unwrap_or(1000);
    u32::try_from(share.min(1000)).map_or(1000, |share| share.max(limits::SEAL_PERMILLE_MIN))
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
    fn a_guest_slows_down_as_room_is_used() {
        let room = 5 * limits::FROZEN_RESERVE;
        assert_eq!(share(u32::MAX, room), 1000, "nothing is kept");
        assert_eq!(share(room, room), 1000);
        assert_eq!(share(limits::FROZEN_RESERVE * 4, room), 750);
        assert_eq!(share(limits::FROZEN_RESERVE * 3, room), 500);
        assert_eq!(share(limits::FROZEN_RESERVE, room), limits::SEAL_PERMILLE_MIN);
        assert_eq!(share(0, room), limits::SEAL_PERMILLE_MIN);
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
