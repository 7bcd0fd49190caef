//! What a role that runs a live guest does for a snapshot of the guest, in each event and each slice.
//!
//! A guest with disks is frozen only when no request is at any of them and it has all answers (FT 3.3-d), so
//! that whoever copies the disks then has what belongs to the snapshot. The guest runs on meanwhile, and its
//! requests wait. The marks in the log say when.

use super::Live;
use crate::event::SnapshotEvent;
use crate::guest::Guest;
use crate::guest::disks::HeldBy;
use crate::mutation;
use crate::mutation::Mutation;
use crate::roles::call::{Call, earliest};
use crate::snapshot::{self, Snapshot};
use messages::time::Time;
use vmlog::entry::Mark;

impl Live {
    /// What stands in the way of a snapshot; `None`: nothing.
    #[must_use]
    pub fn why_no_snapshot(&self) -> Option<&'static str> {
        if self.snapshot.is_some() {
            Some("another snapshot of it is being taken")
        } else if self.clone.is_some() {
            Some("a host is on its way to be its backup, for which its memory is copied")
        } else if self.is_off() {
            Some("its guest is off")
        } else {
            None
        }
    }

    /// Takes what the world says of a snapshot.
    pub(super) fn on_snapshot(&mut self, call: &mut Call<'_>, event: &SnapshotEvent) {
        match (event, &mut self.snapshot) {
            (SnapshotEvent::Begin(order), None) => self.snapshot = Some(Snapshot::new(call.now, *order)),
            (_, Some(snapshot)) => snapshot.handle(event),
            (_, None) => {}
        }
    }

    /// The snapshot, if one is under way, comes to nothing in the next slice, for this reason.
    pub fn lose_snapshot(&mut self, why: &str) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.lose(why);
        }
    }

    /// Is a snapshot under way?
    #[must_use]
    pub fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Does for the snapshot what is due before a slice.
    pub fn serve_snapshot<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G) {
        let Some(mut snapshot) = self.snapshot.take() else {
            return;
        };
        if self.is_off() && snapshot.is_wanted() {
            snapshot.lose("its guest is off");
        }
        match self.go_on_with(call, guest, &mut snapshot) {
            Ok(true) => {}
            Ok(false) => self.snapshot = Some(snapshot),
            Err(why) => snapshot::fail(call, guest, why),
        }
        let holds_disks = self.snapshot.as_ref().is_some_and(Snapshot::holds_disks);
        if self.is_quiesced && !holds_disks {
            self.is_quiesced = false;
            self.disks.hold_back(HeldBy::Snapshot, false);
            // Nothing follows the entry that the guest is off.
            if !self.is_off() {
                self.recorder.put(call.now, guest, call.metrics, Mark::Resume);
            }
        }
    }

    /// Takes the snapshot as soon as the disks are quiet, and gives out its pages; true: it is over.
    fn go_on_with<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &mut G,
        snapshot: &mut Snapshot,
    ) -> Result<bool, String> {
        if snapshot.is_wanted() && !self.is_off() {
            if snapshot.holds_disks() && !self.is_quiesced {
                self.is_quiesced = true;
                self.disks.hold_back(HeldBy::Snapshot, true);
                self.recorder.put(call.now, guest, call.metrics, Mark::Quiesce);
            }
            if self.is_quiesced && !self.is_quiet() {
                return snapshot.go_on(call, guest);
            }
            if self.is_quiesced {
                self.recorder.put(call.now, guest, call.metrics, Mark::Quiet);
            }
            let mark = Mark::Snapshot(snapshot.order.id);
            self.recorder.put(call.now, guest, call.metrics, mark);
            snapshot.take(call, guest)?;
        }
        snapshot.go_on(call, guest)
    }

    /// Is no request at a disk, and has the guest all answers? A paused guest gets none: its requests are
    /// done again where the guest goes on from the snapshot.
    fn is_quiet(&self) -> bool {
        let has_answers = !self.recorder.paused && self.recorder.has_answers();
        (self.disks.in_flight() == 0 && !has_answers) || mutation::is(Mutation::SnapshotUnquiet)
    }

    /// When there is something to do for the snapshot, whatever the guest does; `None`: when an event comes.
    #[must_use]
    pub fn snapshot_deadline(&self) -> Option<Time> {
        let snapshot = self.snapshot.as_ref()?;
        let is_due = snapshot.is_wanted() && (!self.is_quiesced || self.is_quiet());
        earliest([is_due.then_some(Time(0)), snapshot.deadline()])
    }
}
