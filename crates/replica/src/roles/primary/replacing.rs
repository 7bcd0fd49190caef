//! How a primary gets another backup in the place of the one that it has, with no instant in which it has
//! none (docs/protocol.md, "Replacing a backup").
//!
//! The new one is cloned beside the old one. From the entry on that makes it a member, every output waits for
//! both. The old one is dismissed as soon as the new one is known to know that it is a member: before, the VM
//! would be lost with this process.

use super::{Primary, leave_notice};
use crate::event::{Action, Joined, News, PeerId, Suspicion};
use crate::guest::Guest;
use crate::guest::disks::HeldBy;
use crate::mutation;
use crate::mutation::Mutation;
use crate::options::PairOptions;
use crate::peer::follower::Follower;
use crate::roles::call::{Call, send};
use crate::roles::dismissal::{Dismissal, Reason};
use crate::roles::live::refuse;
use crate::roles::table::Change;
use messages::message::Message;
use messages::time::{Span, Time};
use vmlog::entry::Mark;

impl Primary {
    /// A link to a process that may become the backup is made.
    pub(super) fn join(&mut self, call: &mut Call<'_>, joined: Joined, options: &PairOptions) {
        let why = if self.going_live.is_some() {
            "it has just come here"
        } else if self.giving.is_some() {
            "it is being given to its backup"
        } else if self.members.len() > 1 {
            "its backup is being replaced already"
        } else if self.dismissal.is_some() {
            "its backup is being dismissed"
        } else {
            return self.live.join(call, joined, options);
        };
        refuse(call, &joined, why);
    }

    /// Is a backup about to go, dismissed or replaced?
    pub fn is_dismissing(&self) -> bool {
        self.members.len() > 1 || self.dismissal.is_some()
    }

    /// Is a clone under way, or are there two backups?
    pub(super) fn is_replacing(&self) -> bool {
        self.members.len() > 1 || self.live.apprentice().is_some()
    }

    /// Makes the apprentice a member besides the backup, once it follows closely enough. Not while the
    /// arbiter is asked: the apprentice would be a member of an epoch that may be over already.
    pub(super) fn guard<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, options: &PairOptions) {
        if self.dismissal.is_some() || self.giving.is_some() {
            return;
        }
        if self.live.put_guarded(call, guest, options).is_none() {
            return;
        }
        self.hand_out(call, guest);
        self.live.serve_apprentice(call);
        if let Some(member) = self.live.take_member(call) {
            leave_notice(call, &member, options.notice);
            self.members.push(member);
            self.send_keepalives(call);
        }
    }

    /// Asks the old backup to go, once the new one knows that it is one.
    pub(super) fn go_on_replacing(&mut self, call: &mut Call<'_>) {
        let Some((new, old)) = self.members.split_last() else {
            return;
        };
        let is_time = new.knows_membership() || mutation::is(Mutation::DismissedTooEarly);
        if old.is_empty() || self.dismissal.is_some() || !is_time {
            return;
        }
        let old: Vec<PeerId> = old.iter().map(|member| member.id).collect();
        for peer in &old {
            send(call, *peer, Message::Dismiss);
        }
        self.dismissal = Some(Dismissal::new(call.now, old, Reason::Unwanted, None));
    }

    /// A backup has promised never to claim.
    pub(super) fn on_promise(&mut self, call: &mut Call<'_>, peer: PeerId) -> Option<Change> {
        match &self.dismissal {
            Some(dismissal) if dismissal.concerns(peer) => {
                if !dismissal.takes_promise() {
                    return None;
                }
            }
            _ => return self.doubt(call, peer, Suspicion::Garbage),
        }
        if self.members.len() == 1 {
            return Some(Change::Alone);
        }
        self.part_with(call, peer);
        None
    }

    /// One of several backups is none any more, whatever it does.
    fn part_with(&mut self, call: &mut Call<'_>, peer: PeerId) {
        let is_newest = self.members.last().is_some_and(|member| member.id == peer);
        self.members.retain(|member| member.id != peer);
        let reason = self.dismissal.as_ref().map(Dismissal::reason);
        let news = match reason {
            // The new one has not lasted until the old one was dismissed.
            Some(Reason::Suspected(_)) if is_newest => News::Abandoned(
                peer,
                "it was lost before it had replaced the other one".to_owned(),
            ),
            _ => News::Dismissed(peer),
        };
        call.out.push_back(Action::Tell(news));
        call.out.push_back(Action::HangUp(peer));
        if let Some(dismissal) = &mut self.dismissal
            && dismissal.on_gone(peer)
        {
            self.dismissal = None;
        }
        self.note_received();
    }

    /// The arbiter has given this process the next epoch, which `options` names, and the backups that stay
    /// are members of it. The log tells them so. Nothing leaves in that epoch without their lease.
    pub fn on_epoch_with_heirs<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, options: &PairOptions) {
        let Some(dismissal) = &mut self.dismissal else {
            return;
        };
        let heirs = dismissal.heirs();
        dismissal.begin_anew(call.now);
        let gone: Vec<PeerId> = self
            .members
            .iter()
            .filter(|member| !heirs.contains(&member.process))
            .map(|member| member.id)
            .collect();
        for peer in gone {
            self.part_with(call, peer);
        }
        self.live.tell_clone_of_epoch(call.now);
        self.going_live = Some(options.epoch);
        self.live.disks.hold_back(HeldBy::Role, true);
        if self.live.is_off() {
            return; // Its log has ended.
        }
        let (epoch, owner) = (options.epoch, options.owner);
        for member in self.members.iter().map(|member| member.process) {
            let mark = Mark::Guarded { epoch, owner, member };
            self.live.recorder.put(call.now, guest, call.metrics, mark);
        }
    }

    /// Keeps in touch with the process that is on its way, while the arbiter is asked.
    pub fn slice_while_claiming<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G) {
        self.live.end_clone(call, guest, true);
        self.live.serve_apprentice(call);
    }

    /// When [`Primary::slice_while_claiming`] is due; `None`: no process is on its way.
    #[must_use]
    pub fn deadline_while_claiming(&self) -> Option<Time> {
        self.live.clone_beat()
    }

    /// The link to the process that is on its way to be a backup; `None`: none is.
    #[must_use]
    pub fn apprentice(&self) -> Option<PeerId> {
        self.live.clone_peer()
    }

    /// Looks after the dismissal that is under way.
    pub(super) fn look_at_dismissal(&mut self, call: &mut Call<'_>, options: &PairOptions) {
        let heirs = self.heirs();
        if let Some(dismissal) = &mut self.dismissal {
            dismissal.look(call, options, heirs);
        }
    }

    /// The backups that stay when those have gone that have to. `None`: one of them may not know that it is a
    /// backup.
    fn heirs(&self) -> Option<Vec<u128>> {
        let dismissal = self.dismissal.as_ref()?;
        let staying = self
            .members
            .iter()
            .filter(|member| !dismissal.concerns(member.id));
        let knows = |member: &Follower| member.knows_membership() || mutation::is(Mutation::HeirsUnproven);
        staying
            .map(|member| knows(member).then_some(member.process))
            .collect()
    }

    /// When the dismissal under way must be looked at again; `None`: none is.
    pub(super) fn dismissal_deadline(&self, timeout: Span) -> Option<Time> {
        let may_ask = self.heirs().is_some();
        self.dismissal.as_ref()?.deadline(timeout, may_ask)
    }
}
