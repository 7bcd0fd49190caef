//! What a role that runs a live guest does for the process that is on its way to be the backup, in each event
//! and each slice (FT 3.1-a). The role decides when that process becomes a member.
//!
//! A clone ends in a slice, where the guest is at hand, and never changes the guest.

use super::Live;
use crate::clone::source::{self, End, Owner, Source};
use crate::event::{Action, Epoch, Event, Joined, News, PeerId};
use crate::guest::Guest;
use crate::mutation;
use crate::mutation::Mutation;
use crate::options::PairOptions;
use crate::peer::follower::Follower;
use crate::roles::call::Call;
use crate::roles::table::Change;
use crate::snapshot::Snapshot;
use messages::time::Time;
use vmlog::codec::Frame;
use vmlog::entry::Mark;

impl Live {
    /// A link to a process that may become the backup is made.
    pub fn join(&mut self, call: &mut Call<'_>, joined: Joined, options: &PairOptions) {
        if options.epoch == Epoch(0) {
            refuse(
                call,
                &joined,
                "the VM has no arbiter, which would decide who goes on after a failure",
            );
        } else if self.clone.is_some() {
            refuse(call, &joined, "another host is on its way to be its backup");
        } else if self.has_snapshot() {
            refuse(call, &joined, "a snapshot of it is being taken");
        } else if self.is_off() {
            refuse(call, &joined, "its guest is off");
        } else {
            self.clone = Some(Source::new(call, joined, options));
        }
    }

    /// The process that is on its way; `None`: there is none, or its clone is about to end.
    #[must_use]
    pub fn apprentice(&self) -> Option<&Source> {
        self.clone.as_ref().filter(|_| self.clone_end.is_none())
    }

    /// The process that is on its way, to be told something; `None` as for [`Live::apprentice`].
    fn apprentice_mut(&mut self) -> Option<&mut Source> {
        self.clone.as_mut().filter(|_| self.clone_end.is_none())
    }

    /// Tells the clone of an event from the world.
    pub(super) fn tell_clone(&mut self, call: &mut Call<'_>, event: &Event) {
        let step = self.recorder.log.step();
        if let Some(source) = self.apprentice_mut() {
            self.clone_end = source.handle(call, event, step).err();
        }
    }

    /// The clone, if there is one, ends without a member in the next slice. The sentence says why.
    pub fn abandon_clone(&mut self, why: &str) {
        if self.clone.is_some() {
            self.clone_end.get_or_insert(End::Abandoned(why.to_owned()));
        }
    }

    /// The epoch after the one of which the clone knows is this process's.
    pub fn tell_clone_of_epoch(&mut self, now: Time) {
        if let Some(source) = &mut self.clone {
            source.on_epoch(now);
        }
    }

    /// Does the cut come in the next slice, so that the log is to be handed out before it?
    #[must_use]
    pub fn is_log_due_for_cut(&self) -> bool {
        self.apprentice().is_some_and(Source::is_cutting) && self.recorder.log.is_wanted()
    }

    /// Does for the clone what is due before a slice. `held`: gives how many outputs of the guest have not
    /// left, which is a sum over all of them, so that a slice without a clone never asks.
    /// `is_followed`: somebody else reads the log, too. Gives the change of role of an owner that has learned
    /// that it is superseded.
    pub fn serve_clone<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &mut G,
        options: &PairOptions,
        held: impl FnOnce() -> u64,
        is_followed: bool,
    ) -> Option<Change> {
        if self.clone_end.is_none()
            && let Some(source) = &mut self.clone
        {
            let owner = Owner {
                epoch: options.epoch,
                process: options.owner,
                outputs: self.released + held(),
                released: self.released,
                disk_bytes: self.disks.bytes(),
                is_followed,
                hashes: self.recorder.digests.begun,
            };
            self.clone_end = source
                .before_slice(call, guest, &mut self.recorder.log, &owner)
                .err();
            let takes_digest = self.clone_end.is_none() && !self.recorder.digests.begun;
            if takes_digest && source.takes_digest() {
                self.recorder.take_digest(call.now, guest, call.metrics);
            }
        }
        self.end_clone(call, guest, is_followed)
    }

    /// Ends the clone without a member, if it is to end. The guest runs on as if nothing had been.
    pub fn end_clone<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &mut G,
        is_followed: bool,
    ) -> Option<Change> {
        let end = self.clone_end.take()?;
        let source = self.clone.take()?;
        guest.thaw();
        self.recorder.log.set_wanted(self.file || is_followed);
        call.metrics.clone = None;
        let (why, change) = match end {
            End::Abandoned(why) => (why, None),
            End::Superseded => ("another process has the VM".to_owned(), Some(Change::Lost)),
        };
        source::give_up(call, source.peer(), why);
        change
    }

    /// Must the guest stand for the clone just now, or for the snapshot?
    #[must_use]
    pub fn stands_for_copy<G: Guest>(&self, guest: &G) -> bool {
        let holds = |snapshot: &Snapshot| snapshot.holds(guest);
        self.snapshot.as_ref().is_some_and(holds)
            || self
                .apprentice()
                .is_some_and(|source| source.holds(guest) || source.rest().is_some())
    }

    /// Tells the clone that a slice of the guest begins.
    pub fn begin_slice(&mut self, now: Time) {
        if let Some(source) = &mut self.clone {
            source.on_slice(now);
        }
    }

    /// Queues a frame of the log for the clone, if that reads the log.
    pub(super) fn share(&mut self, frame: &Frame) {
        if let Some(source) = self.clone.as_mut().filter(|source| source.takes_log()) {
            source.push(frame.clone());
        }
    }

    /// Does for the clone what is due after a slice. `is_followed`: somebody else reads the log, too.
    pub fn after_slice<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G, is_followed: bool) {
        if self.is_off() {
            // A guest that is off is nothing to protect, even if requests are left to be finished.
            self.abandon_clone("its guest is off");
            self.end_clone(call, guest, is_followed);
            self.lose_snapshot("its guest is off");
            self.serve_snapshot(call, guest);
        }
        self.serve_apprentice(call);
    }

    /// Sends the apprentice what it has room for, and the signs of life that are due.
    pub fn serve_apprentice(&mut self, call: &mut Call<'_>) {
        if let Some(source) = self.apprentice_mut() {
            source.after_slice(call);
        }
    }

    /// Puts the entry into the log that makes the apprentice a member, if it follows closely enough. `None`:
    /// not yet. Else the log is to be handed out, and [`Live::take_member`] comes next.
    pub fn put_guarded<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &G,
        options: &PairOptions,
    ) -> Option<()> {
        let source = self.apprentice()?;
        let mark = source
            .is_ready(self.released)
            .then(|| source.mark(options.epoch, options.owner))?;
        if self.recorder.paused && !mutation::is(Mutation::PauseNotTakenOver) {
            // The guest may have been paused before the cut, of which the member's log says nothing.
            let paused = Mark::Paused(true);
            self.recorder.put(call.now, guest, call.metrics, paused);
        }
        self.recorder.put(call.now, guest, call.metrics, mark);
        Some(())
    }

    /// The member that the apprentice has become by the last entry of the log.
    pub fn take_member(&mut self, call: &mut Call<'_>) -> Option<Follower> {
        let (member, figures) = self.clone.take()?.into_member(call.now, self.recorder.log.seq());
        call.metrics.clone = Some(figures);
        call.out.push_back(Action::Tell(News::Guarded(member.id)));
        Some(member)
    }

    /// Whom the clone is for; `None`: there is none.
    #[must_use]
    pub fn clone_peer(&self) -> Option<PeerId> {
        self.clone.as_ref().map(Source::peer)
    }

    /// When there is something to do for the clone, whatever the guest does; `None`: when an event comes.
    #[must_use]
    pub fn clone_deadline(&self) -> Option<Time> {
        self.clone_due(Source::deadline)
    }

    /// The same while the guest stands, because an arbiter is asked: then only signs of life are due.
    #[must_use]
    pub fn clone_beat(&self) -> Option<Time> {
        self.clone_due(|source| Some(source.beat_due()))
    }

    /// When the clone is due: at once if it is to end, else as `due` says of it.
    fn clone_due(&self, due: impl FnOnce(&Source) -> Option<Time>) -> Option<Time> {
        match self.clone_end {
            Some(_) => Some(Time(0)),
            None => self.clone.as_ref().and_then(due),
        }
    }

    /// The time at which the guest or a digest wants to go on, put off for a clone that has to catch up.
    #[must_use]
    pub fn wake(&self) -> Option<Time> {
        let wake = self.recorder.due()?;
        Some(match self.apprentice().and_then(Source::rest) {
            Some(rest) => wake.max(rest),
            None => wake,
        })
    }
}

/// Answers a link on which a process would become the backup, where that cannot be: says why and hangs up.
pub fn refuse(call: &mut Call<'_>, joined: &Joined, why: &str) {
    call.out
        .push_back(Action::Tell(News::Abandoned(joined.peer, why.to_owned())));
    call.out.push_back(Action::HangUp(joined.peer));
}
