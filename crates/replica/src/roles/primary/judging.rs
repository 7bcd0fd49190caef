//! How a primary judges its backup: whether it is there, whether it can follow (FT 2.3-d, 3.2-e), and whether
//! the operator wants it.
//!
//! A backup that is silent is suspected, and the arbiter decides while the guest stands. One that is slow or
//! unwanted is dismissed while the guest runs.

use super::Primary;
use crate::event::{Action, News, PeerId, Slowness, Suspicion};
use crate::limits;
use crate::peer::follower::Follower;
use crate::roles::call::{Call, send};
use crate::roles::dismissal::{Dismissal, Reason};
use crate::roles::table::Change;
use messages::message::Message;
use messages::time::{Span, Time};

impl Primary {
    /// Notes that this replica runs, for whoever watches the members' silence.
    pub fn look_at_members(&mut self, now: Time) {
        for member in &mut self.members {
            member.detector.look(now);
        }
    }

    /// The operator wants no backup: the backups are asked to promise that they never claim, unless they have
    /// just been asked, and a clone under way ends.
    pub(super) fn dismiss(&mut self, call: &mut Call<'_>) {
        let is_asked = self.dismissal.as_ref().is_some_and(|dismissal| {
            dismissal.is_fresh() && self.peers().all(|member| dismissal.concerns(member))
        });
        if is_asked || self.has_stopped() {
            return;
        }
        if self.giving.is_some() {
            self.stay(call, "its backup is dismissed");
        }
        let (all, before) = (self.peers().collect(), self.dismissal.take());
        self.dismissal = Some(Dismissal::new(call.now, all, Reason::Unwanted, before));
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

    /// Looks whether a backup is to be suspected, and gives the change of role that follows from it.
    pub(super) fn judge(&mut self, call: &mut Call<'_>) -> Option<Change> {
        if let Some(dismissal) = &self.dismissal
            && let Reason::Suspected(why) = dismissal.reason()
            && why != Suspicion::Slow
            && self.members.len() == 1
            && dismissal.takes_promise()
        {
            // It was suspected besides another one, which is gone.
            return Some(Change::Suspect(why));
        }
        let (peer, why) = self.suspected(call.now)?;
        self.doubt(call, peer, why)
    }

    /// What follows from the suspicion of a backup: the arbiter decides. Meanwhile the guest stands, but for
    /// a backup that cannot follow (FT 3.2-e), or while there is another one: then this primary is well, and
    /// has it excluded while the guest runs.
    pub(super) fn doubt(&mut self, call: &mut Call<'_>, peer: PeerId, why: Suspicion) -> Option<Change> {
        if why == Suspicion::Slow && !self.has_stopped() {
            self.note_slowness(call, peer);
        }
        let open = self
            .dismissal
            .as_mut()
            .filter(|dismissal| !dismissal.heirs().is_empty());
        if let Some(dismissal) = open {
            dismissal.suspect(peer, why);
            return None;
        }
        if self.has_stopped() {
            return Some(Change::Suspect(why));
        }
        let is_slow = why == Suspicion::Slow;
        if self.members.len() == 1 && !is_slow {
            return Some(Change::Suspect(why));
        }
        match &mut self.dismissal {
            // The arbiter was asked, or one that is slow is about to go for another reason.
            Some(dismissal) if is_slow && dismissal.concerns(peer) => {}
            Some(dismissal) => dismissal.suspect(peer, why),
            None => {
                if is_slow {
                    call.metrics.suspicion = Some(why);
                }
                let reason = Reason::Suspected(why);
                self.dismissal = Some(Dismissal::new(call.now, vec![peer], reason, None));
                if self.giving.is_some() {
                    self.stay(call, "the backup is too slow, and dropped");
                }
            }
        }
        let dismissal = self.dismissal.as_ref()?;
        let all = self.peers().all(|member| dismissal.concerns(member));
        // Nobody is left for whose sake the guest could run on.
        (all && !is_slow && dismissal.takes_promise()).then_some(Change::Suspect(why))
    }

    /// Tells, once, how slow this backup is.
    fn note_slowness(&mut self, call: &mut Call<'_>, peer: PeerId) {
        let Some(number) = self.members.iter().position(|member| member.id == peer) else {
            return;
        };
        let found = self.slowness(call.now, &self.members[number]);
        let known = &mut self.members[number].slowness;
        if let (None, Some(slowness)) = (*known, found) {
            *known = found;
            let news = News::FallsBehind(peer, slowness);
            call.out.push_back(Action::Tell(news));
        }
    }

    /// How slow this backup was found to be, if it is dropped for that.
    #[must_use]
    pub fn dropped_for(&self, peer: PeerId) -> Option<Slowness> {
        let reason = self.dismissal.as_ref().map(Dismissal::reason);
        let is_slow = reason == Some(Reason::Suspected(Suspicion::Slow));
        let member = self.members.iter().find(|member| member.id == peer)?;
        member.slowness.filter(|_| is_slow)
    }

    /// The suspicion, if the backup has been silent or slow for too long.
    pub fn suspect(&self, now: Time) -> Option<Change> {
        self.suspected(now).map(|(_, why)| Change::Suspect(why))
    }

    /// The backup that has been silent or slow for too long, if one has.
    fn suspected(&self, now: Time) -> Option<(PeerId, Suspicion)> {
        // The arbiter is about to exclude such a backup, and the guest need not stand for that. Of two
        // backups the other one is looked at.
        let is_going = |member: &&Follower| {
            let dismissal = self.dismissal.as_ref();
            dismissal.is_some_and(|dismissal| {
                let is_known = self.members.len() > 1
                    && matches!(dismissal.reason(), Reason::Suspected(why) if why != Suspicion::Slow);
                dismissal.concerns(member.id) && (dismissal.is_fresh() || is_known)
            })
        };
        let mut members = self.members.iter().filter(|member| !is_going(member));
        members.find_map(|member| {
            let why = member.detector.suspects(now);
            let why = why.or_else(|| self.slowness(now, member).map(|_| Suspicion::Slow));
            Some((member.id, why?))
        })
    }

    /// How slow a backup is, if it is too slow: it holds the guest up, and one that cannot follow at all
    /// protects nothing. A guest that has stopped, since the backup gets the VM, is not held up by one that
    /// follows.
    fn slowness(&self, now: Time, member: &Follower) -> Option<Slowness> {
        let is_long = |since: Time| now.since(since) >= limits::SLOW_DROP;
        let stands = self.stands.is_some_and(is_long) && (member.is_full() || self.gate.is_full());
        let hopeless = member.pace.hopelessness(now, stands);
        hopeless.or_else(|| member.pace.slowness().filter(|_| !self.has_stopped()))
    }

    /// The longest time since a backup's last sign of life.
    pub fn silence(&self, now: Time) -> Span {
        let silences = self.members.iter().map(|member| member.detector.silence(now));
        silences.max().unwrap_or_default()
    }
}
