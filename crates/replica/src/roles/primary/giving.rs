//! How a primary gives the VM to its backup, as the operator wants: it leaves for good, or the two sides
//! change their roles (FT 3.3-c).
//!
//! Either way the primary ends with a message behind which it shows nothing and has no request at a disk, so
//! the backup can claim without waiting for a lease. A primary that leaves has its guest stand from the order
//! on. One that hands over makes everything ready while its guest runs, and stops only then.

use super::{Giving, Primary, Quieting};
use crate::event::{Action, Checked, News};
use crate::guest::Guest;
use crate::guest::disks::HeldBy;
use crate::limits;
use crate::mutation;
use crate::mutation::Mutation;
use crate::options::PairOptions;
use crate::peer::follower::Follower;
use crate::roles::call::{Call, send};
use crate::roles::table::Change;
use messages::message::Message;
use messages::time::Time;
use vmlog::entry::Mark;

/// What stands in the way of a hand-over for which all else is ready.
const AT_A_DISK: &str = "a disk does not answer";

impl Primary {
    /// Is this primary about to leave the VM to the backup?
    pub fn is_leaving(&self) -> bool {
        matches!(self.giving, Some(Giving::Leaving(_)))
    }

    /// Must the guest stand, because the VM is about to be given to the backup?
    pub(super) fn has_stopped(&self) -> bool {
        matches!(self.giving, Some(Giving::Leaving(_) | Giving::Stopped))
    }

    /// The operator wants this primary to leave the VM to the backup.
    pub(super) fn begin_to_leave(&mut self, call: &mut Call<'_>) {
        if self.is_leaving() {
            return;
        }
        self.live.lose_snapshot("its primary leaves the VM to the backup");
        self.giving = Some(Giving::Leaving(call.now));
        self.live.disks.hold_back(HeldBy::Role, false);
        // The answer to this message will show that there is still a backup to leave the VM to.
        self.send_keepalives(call);
    }

    /// Leaves the VM to the backup, once it has the whole log and has answered something sent after the order
    /// to leave. No request may be at a disk: a late write would overwrite the backup's newer data.
    pub(super) fn leave(&mut self, call: &mut Call<'_>, since: Time) -> Option<Change> {
        let late = call.now.since(since) >= limits::LEAVE_PATIENCE;
        let has_all = |member: &Follower| {
            let sender = &member.sender;
            !sender.is_unsent() && sender.is_quiet() && sender.is_answered_since(since)
        };
        let told = self.flush_due().is_none() && self.members.iter().all(has_all);
        let settled = told && self.live.disks.in_flight() == 0;
        if settled {
            self.say_hand_over(call, false);
            if mutation::is(Mutation::LeaveAndStay) {
                self.giving = None;
                return None;
            }
        }
        // A primary whose patience is over ends without a word, which for the backup is its death.
        (settled || late).then_some(Change::Left)
    }

    /// The last words of a primary that gives the VM to its backup.
    fn say_hand_over(&self, call: &mut Call<'_>, rejoin: bool) {
        let released = self.live.released;
        for member in &self.members {
            send(call, member.id, Message::HandOver { released, rejoin });
        }
    }

    /// The operator wants the two sides to change their roles.
    pub(super) fn begin_to_hand_over(&mut self, call: &mut Call<'_>, options: &PairOptions) {
        let why = if self.going_live.is_some() {
            "it has just come here"
        } else if self.live.is_off() {
            "its guest is off"
        } else if self.live.has_snapshot() {
            "a snapshot of it is being taken"
        } else if self.is_replacing() {
            "its backup is being replaced"
        } else if self.dismissal.is_some() {
            "its backup is being dismissed"
        } else if self.giving.is_some() {
            "it is being given to the backup already"
        } else {
            let (since, near) = (call.now, limits::HAND_OVER_LAG);
            self.giving = Some(Giving::Quieting(Quieting {
                since,
                near,
                is_checked: false,
            }));
            call.out.push_back(Action::Check(options.epoch, options.owner));
            return;
        };
        let news = News::NotHandedOver(self.peer(), why.to_owned());
        call.out.push_back(Action::Tell(news));
    }

    /// Is the VM being given to the backup, or has it just come here?
    pub fn is_swapping(&self) -> bool {
        self.giving.is_some() || self.going_live.is_some()
    }

    /// What stands in the way of a snapshot; `None`: nothing.
    pub fn why_no_snapshot(&self) -> Option<&'static str> {
        if self.giving.is_some() {
            Some("it is being given to its backup")
        } else if self.going_live.is_some() {
            Some("it has just come here")
        } else {
            self.live.why_no_snapshot()
        }
    }

    /// The arbiter's answer to the question before a hand-over.
    pub(super) fn on_checked(&mut self, call: &mut Call<'_>, answer: Checked) -> Option<Change> {
        let Some(Giving::Quieting(quieting)) = &mut self.giving else {
            return None;
        };
        match answer {
            Checked::Yours => quieting.is_checked = true,
            Checked::Unreachable => self.stay(call, "the arbiter does not answer"),
            Checked::Superseded => return Some(Change::Lost),
        }
        None
    }

    /// The VM is not handed over after all, for this reason.
    pub(super) fn stay(&mut self, call: &mut Call<'_>, why: &str) {
        self.giving = None;
        self.live.disks.hold_back(HeldBy::Role, false);
        let news = News::NotHandedOver(self.peer(), why.to_owned());
        call.out.push_back(Action::Tell(news));
    }

    /// Goes on with a hand-over, after a slice of the guest. Gives the change of role once the backup has
    /// been told to go on in this primary's place.
    pub(super) fn hand_over<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &G,
        options: &PairOptions,
    ) -> Option<Change> {
        if let Some(Giving::Quieting(mut quieting)) = self.giving {
            let (waited, blocked) = (call.now.since(quieting.since), self.what_blocks(quieting));
            let is_ready = blocked.is_none_or(|why| why == AT_A_DISK);
            self.live.disks.hold_back(HeldBy::Role, is_ready);
            if is_ready || waited >= limits::HAND_OVER_LAG_PATIENCE {
                // Requests that were held back once are not let go for a little lag.
                quieting.near = limits::LAG_TARGET;
                self.giving = Some(Giving::Quieting(quieting));
            }
            match blocked {
                Some(why) if waited >= limits::HAND_OVER_PATIENCE => self.stay(call, why),
                Some(_) => {}
                None => {
                    self.giving = Some(Giving::Stopped);
                    let epoch = options.epoch;
                    for mark in [Mark::Quiet, Mark::HandedOver { epoch }] {
                        self.live.recorder.put(call.now, guest, call.metrics, mark);
                    }
                    self.flush(call, guest);
                }
            }
        }
        if self.giving != Some(Giving::Stopped) {
            return None;
        }
        // The message goes behind the log, so whoever receives it has all of that.
        if self.members.iter().any(|member| member.sender.is_unsent()) {
            return None;
        }
        self.say_hand_over(call, true);
        Some(Change::HandingOver)
    }

    /// When the way to give the VM away must be looked at again; `None`: nobody wants that.
    pub(super) fn giving_deadline(&self) -> Option<Time> {
        Some(match self.giving? {
            Giving::Leaving(since) => since.after(limits::LEAVE_PATIENCE),
            Giving::Quieting(quieting) if self.what_blocks(quieting).is_none() => Time(0),
            Giving::Quieting(Quieting { since, near, .. }) => since.after(match near {
                limits::HAND_OVER_LAG => limits::HAND_OVER_LAG_PATIENCE,
                _ => limits::HAND_OVER_PATIENCE,
            }),
            // The acknowledgement that makes room for the rest of the log is an event.
            Giving::Stopped if self.members.iter().any(|member| member.sender.is_unsent()) => return None,
            Giving::Stopped => Time(0),
        })
    }

    /// Is an answer of a disk here that the guest will get? A paused guest gets none: the request is issued
    /// again where the guest goes on.
    fn holds_answers(&self) -> bool {
        self.live.recorder.has_answers() && !self.live.recorder.paused
    }

    /// What stands in the way of a hand-over just now, requests at a disk last.
    fn what_blocks(&self, quieting: Quieting) -> Option<&'static str> {
        let is_close = |member: &Follower| {
            !member.sender.is_unsent() && !member.is_full() && member.pace.lag() <= quieting.near
        };
        if self.live.is_off() {
            Some("its guest is off")
        } else if !quieting.is_checked {
            Some("the arbiter does not answer")
        } else if !self.members.iter().all(is_close) {
            Some("the backup is too far behind")
        } else if (self.live.disks.in_flight() > 0 || self.holds_answers())
            && !mutation::is(Mutation::HandedOverUnquiet)
        {
            Some(AT_A_DISK)
        } else {
            None
        }
    }
}
