//! `Snapshot`: memory and devices of a guest as they are at one step, given out in pieces while the guest
//! runs on. Whoever runs the guest, live or by the log, has at most one, and calls it before each slice.
//!
//! It is the second half of a clone without the first: the guest is frozen at once, with all its memory owed,
//! and the pages leave as whoever keeps them has room (`hart::ram`, `machine::pages`). So each page leaves
//! once, and the state is that of the step at which the operator was told it is. The guest stands only while
//! hardly more pages can be kept as they were. A snapshot never changes the guest, and never enters its log
//! here: what is to be done about disks and marks is `roles/live`'s business.

use machine::{Batch, Copied};

use crate::clone::allowance::Allowance;
use crate::clone::standing::{Standing, frozen_room};
use crate::event::{Action, SnapshotEvent, SnapshotOrder, SnapshotPiece};
use crate::guest::Guest;
use crate::limits;
use crate::roles::call::{Call, earliest};
use messages::time::{Span, Time};

/// How far a snapshot is.
#[derive(Debug)]
enum Stage {
    /// It is asked for, and the guest is not frozen yet.
    Wanted,
    /// Pages leave as they were, and the guest stands while too many are kept.
    Copying(Standing),
    /// All pages have left, and for so long the guest stood for it.
    Copied(Span),
}

/// A snapshot under way.
#[derive(Debug)]
pub struct Snapshot {
    /// How it is to be taken.
    pub order: SnapshotOrder,
    stage: Stage,
    /// Bytes for which there is room.
    room: u64,
    /// How many pages may be copied now.
    allowance: Allowance,
    /// Since when a page waits for room; `None`: none does.
    blocked: Option<Time>,
    /// When the present stage began.
    since: Time,
    /// Have the disks been kept along with it, or need they not be? Then requests may go to them.
    goes_on: bool,
    /// Why it comes to nothing in the next slice; `None`: it goes on.
    lost: Option<String>,
    /// Bytes of pages that have left.
    left: u64,
}

impl Snapshot {
    /// A snapshot that was asked for now.
    #[must_use]
    pub fn new(now: Time, order: SnapshotOrder) -> Snapshot {
        Snapshot {
            order,
            stage: Stage::Wanted,
            since: now,
            room: 0,
            allowance: Allowance::new(now),
            blocked: None,
            goes_on: !order.hook,
            lost: None,
            left: 0,
        }
    }

    /// Takes what the world says of it.
    pub fn handle(&mut self, event: &SnapshotEvent) {
        match event {
            SnapshotEvent::Begin(_) => {}
            SnapshotEvent::Room(bytes) => {
                self.room = *bytes;
                if self.room > 0 {
                    self.blocked = None;
                }
            }
            SnapshotEvent::GoOn => self.goes_on = true,
            SnapshotEvent::Lost(why) => self.lose(why),
        }
    }

    /// It comes to nothing in the next slice, for this reason.
    pub fn lose(&mut self, why: &str) {
        self.lost.get_or_insert_with(|| why.to_owned());
    }

    /// Is the step still to come at which it is taken?
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(self.stage, Stage::Wanted)
    }

    /// Must no request go to a disk? Before it is taken, and until the disks are kept along with it.
    #[must_use]
    pub fn holds_disks(&self) -> bool {
        self.order.disks && (self.is_wanted() || !self.goes_on)
    }

    /// Takes it: from this step of the guest on its pages are kept as they are. Between two runs.
    ///
    /// # Errors
    /// The host has no memory for that; nothing has changed.
    pub fn take<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G) -> Result<(), String> {
        let state = guest.freeze(frozen_room::<G>())?;
        self.room = self.room.saturating_sub(state.len() as u64);
        self.stage = Stage::Copying(Standing::default());
        self.since = call.now;
        let (step, pages) = (guest.now(), guest.owed());
        let piece = SnapshotPiece::State { step, state, pages };
        call.out.push_back(Action::Snapshot(piece));
        Ok(())
    }

    /// Gives out pages before a slice; true: it is over, and all of it is given out.
    ///
    /// # Errors
    /// It comes to nothing; the sentence says why.
    pub fn go_on<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G) -> Result<bool, String> {
        self.check_patience(call.now)?;
        let holds = self.holds(guest);
        if let Stage::Copying(standing) = &mut self.stage {
            standing.look(call.now, holds, self.left);
            if standing.is_too_long() {
                return Err("the guest has stood for too long because its pages leave too slowly".to_owned());
            }
            self.copy(call, guest, holds)?;
        }
        let Stage::Copied(stood) = self.stage else {
            return Ok(false);
        };
        if self.goes_on {
            let over = SnapshotPiece::Over { stood };
            call.out.push_back(Action::Snapshot(over));
        }
        Ok(self.goes_on)
    }

    /// Ends a snapshot that is lost, or waits too long for somebody.
    fn check_patience(&mut self, now: Time) -> Result<(), String> {
        if let Some(why) = self.lost.take() {
            return Err(why);
        }
        let is_late = |since: Option<Time>, patience| since.is_some_and(|since| now.since(since) >= patience);
        let wanted = self.is_wanted().then_some(self.since);
        if is_late(wanted, limits::SNAPSHOT_QUIET_PATIENCE) {
            return Err("a disk does not answer".to_owned());
        }
        if is_late(self.blocked, limits::SNAPSHOT_PATIENCE) {
            return Err("whoever keeps it takes nothing".to_owned());
        }
        let kept = (!self.is_wanted() && !self.goes_on).then_some(self.since);
        if is_late(kept, limits::SNAPSHOT_HOOK_PATIENCE) {
            let seconds = limits::SNAPSHOT_HOOK_PATIENCE.0 / 1_000_000_000;
            let why = format!("its disks were not kept within {seconds} s, and the guest needs them");
            return Err(why);
        }
        Ok(())
    }

    /// Copies owed pages, as many as there is room for.
    fn copy<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G, holds: bool) -> Result<(), String> {
        self.allowance.look(call.now, limits::COPY_RATE_SEALING);
        let budget = if holds {
            limits::COPY_PAGES_STANDING
        } else {
            self.allowance.pages()
        };
        let max = budget.min(u32::try_from(self.room / G::PAGE as u64).unwrap_or(u32::MAX));
        if max == 0 {
            if budget > 0 {
                self.blocked.get_or_insert(call.now);
            }
            return Ok(());
        }
        let mut batch = Batch::new(G::PAGE);
        let copied = guest.copy_owed(&mut batch, max);
        if copied == Copied::Overflowed {
            return Err("the guest has overwritten more than may be kept for it".to_owned());
        }
        if !batch.is_empty() {
            let bytes = batch.content().len() as u64;
            self.room = self.room.saturating_sub(bytes);
            self.allowance.take(batch.len() as u64, bytes / G::PAGE as u64);
            self.left += batch.len() as u64 * G::PAGE as u64;
            call.out.push_back(Action::Snapshot(SnapshotPiece::Pages(batch)));
        }
        if let (Copied::Over, Stage::Copying(standing)) = (copied, &self.stage) {
            self.stage = Stage::Copied(standing.whole());
        }
        Ok(())
    }

    /// Must the guest stand, because there is hardly room left for pages as they were?
    #[must_use]
    pub fn holds<G: Guest>(&self, guest: &G) -> bool {
        matches!(self.stage, Stage::Copying(_)) && guest.frozen_room() < limits::FROZEN_RESERVE
    }

    /// When there is something to do for it, whatever the guest does; `None`: when an event comes.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let hook = (!self.goes_on).then(|| self.since.after(limits::SNAPSHOT_HOOK_PATIENCE));
        let work = match (&self.stage, self.blocked) {
            _ if self.lost.is_some() => Some(Time(0)),
            (Stage::Wanted, _) => Some(self.since.after(limits::SNAPSHOT_QUIET_PATIENCE)),
            (Stage::Copying(standing), None) if standing.stands() => Some(Time(0)),
            (Stage::Copying(_), None) => Some(self.allowance.due(limits::COPY_RATE_SEALING)),
            (Stage::Copying(_), Some(since)) => Some(since.after(limits::SNAPSHOT_PATIENCE)),
            (Stage::Copied(_), _) => self.goes_on.then_some(Time(0)),
        };
        earliest([hook, work])
    }
}

/// Ends a snapshot that comes to nothing, for this reason. The guest runs on as if nothing had been.
pub fn fail<G: Guest>(call: &mut Call<'_>, guest: &mut G, why: String) {
    guest.thaw();
    call.out.push_back(Action::Snapshot(SnapshotPiece::Failed(why)));
}
