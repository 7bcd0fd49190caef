//! How a primary judges its backup: whether it is there, whether it can follow (FT 2.3-d, 3.2-e), and whether
//! the operator wants it.
//!
//! A backup that is silent is suspected, and the arbiter decides while the guest stands. One that is slow or
//! unwanted is dismissed while the guest runs.

use super::Primary;
use crate::event::Suspicion;
use crate::limits;
use crate::peer::message::Message;
use crate::roles::call::{Call, send};
use crate::roles::dismissal::Dismissal;
use crate::roles::table::Change;
use crate::time::{Span, Time};

impl Primary {
    /// Notes that this replica runs, for whoever watches the members' silence.
    pub fn look_at_members(&mut self, now: Time) {
        for member in &mut self.members {
            member.detector.look(now);
        }
    }

    /// Asks the backup to promise that it never claims, unless it has just been asked.
    pub(super) fn dismiss(&mut self, call: &mut Call<'_>) {
        if self.dismissal.as_ref().is_some_and(Dismissal::is_fresh) || self.has_stopped() {
            return;
        }
        if self.giving.is_some() {
            self.stay(call, "its backup is dismissed");
        }
        self.dismissal = Some(Dismissal::new(call.now, self.dismissal.take()));
        for member in &self.members {
            send(call, member.id, Message::Dismiss);
        }
    }

    /// When a backup's silence must be looked at again.
    #[must_use]
    pub fn watch(&self) -> Time {
        let deadlines = self.members.iter().map(|member| member.detector.deadline());
        deadlines.min().unwrap_or_default()
    }

    /// What follows from a suspicion. A backup that cannot follow is excluded at the arbiter while the guest
    /// runs on (FT 3.2-e): its primary is well, and need not stand until the arbiter has answered.
    pub(super) fn judge(&mut self, call: &mut Call<'_>) -> Option<Change> {
        match self.suspect(call.now) {
            Some(Change::Suspect(Suspicion::Slow)) if !self.has_stopped() => {
                if self.dismissal.is_none() {
                    call.metrics.suspicion = Some(Suspicion::Slow);
                    self.dismissal = Some(Dismissal::for_slowness(call.now));
                    if self.giving.is_some() {
                        self.stay(call, "the backup is too slow, and dropped");
                    }
                }
                None
            }
            change => change,
        }
    }

    /// Is its backup dropped because that is too slow?
    #[must_use]
    pub fn drops_for_slowness(&self) -> bool {
        self.dismissal.as_ref().is_some_and(Dismissal::is_for_slowness)
    }

    /// The suspicion, if a backup has been silent or slow for too long.
    pub fn suspect(&self, now: Time) -> Option<Change> {
        let stands = self
            .stands
            .is_some_and(|since| now.since(since) >= limits::SLOW_DROP);
        if self.dismissal.as_ref().is_some_and(Dismissal::is_fresh) {
            // The arbiter is about to exclude it, and the guest need not stand for that.
            return None;
        }
        self.members
            .iter()
            .find_map(|member| member.suspects(now))
            // A backup that cannot follow protects nothing and holds the guest up, so the primary drops it.
            .or_else(|| stands.then_some(Suspicion::Slow))
            .map(Change::Suspect)
    }

    /// The longest time since a backup's last sign of life.
    pub fn silence(&self, now: Time) -> Span {
        let silences = self.members.iter().map(|member| member.detector.silence(now));
        silences.max().unwrap_or_default()
    }
}
