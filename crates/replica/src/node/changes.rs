//! What a change of role does: the role that follows, and what the world must do about it.
//!
//! `Node::change` comes here, and nobody else. Which change leads to which role is `roles/table.rs`'s to say.

use super::Node;
use crate::event::{Action, Claim, ClaimKind, Epoch, Halt, News, Suspicion};
use crate::guest::Guest;
use crate::guest::replay::Divergence;
use crate::mutation::Mutation;
use crate::roles::Role;
use crate::roles::backup::Backup;
use crate::roles::call::Call;
use crate::roles::claiming::{Claiming, Was};
use crate::roles::handing::Handing;
use crate::roles::primary::Primary;
use crate::roles::solo::Solo;
use crate::roles::table::Change;
use crate::{limits, mutation};
use messages::time::{Span, Time};

impl<G: Guest> Node<G> {
    /// The role that follows from this change, and what the world must do about it.
    pub(super) fn changed(&mut self, now: Time, role: Role, change: Change) -> Role {
        match (role, change) {
            (Role::Primary(primary), Change::Suspect(why)) => {
                let silence = primary.silence(now);
                self.suspect(now, why, silence, Was::Primary(primary))
            }
            (Role::Backup(backup), Change::Suspect(why)) => {
                let silence = backup.silence(now);
                self.suspect(now, why, silence, Was::Backup(backup))
            }
            (Role::Primary(primary), Change::HandingOver) => Role::Handing(Box::new(Handing::new(primary))),
            (Role::Handing(handing), Change::Suspect(why)) => {
                let silence = handing.silence(now);
                self.suspect(now, why, silence, Was::Primary(handing.into_primary()))
            }
            (Role::Handing(handing), Change::Taken(epoch)) => self.become_backup(now, *handing, epoch),
            (Role::Apprentice(apprentice), Change::Suspect(why)) => {
                // Only a broken variant comes here.
                let backup = apprentice.into_backup();
                let silence = backup.silence(now);
                self.suspect(now, why, silence, Was::Backup(backup))
            }
            (Role::Solo(solo), Change::Guarded) => self.guarded(now, *solo),
            (Role::Primary(mut primary), Change::WonWithHeir) => {
                // It goes live there with a lease: the heir may have claimed the epoch after meanwhile.
                self.have(self.options.epoch.next());
                let mut call = Call {
                    now,
                    out: &mut self.out,
                    metrics: &mut self.metrics,
                };
                primary.on_epoch_with_heirs(&mut call, &self.guest, &self.options);
                Role::Primary(primary)
            }
            (Role::Primary(primary), change @ (Change::Alone | Change::Won)) => {
                self.without_backup(now, *primary, &change)
            }
            (Role::Apprentice(apprentice), Change::Guarded) => Role::Backup(apprentice.into_backup()),
            (Role::Claiming(claiming), change @ (Change::Won | Change::WonWithHeir)) => {
                self.go_live(now, *claiming, &change)
            }
            (role, change) => {
                self.halt(&role, change);
                Role::Halted
            }
        }
    }

    /// What becomes of an owner that was alone, and whose apprentice is a member from here on.
    fn guarded(&mut self, now: Time, solo: Solo) -> Role {
        let mut call = Call {
            now,
            out: &mut self.out,
            metrics: &mut self.metrics,
        };
        let mut live = solo.into_live();
        let Some(member) = live.take_member(&mut call) else {
            return Role::Halted;
        };
        // It has another peer now, which is trusted.
        call.metrics.suspicion = None;
        let primary = Primary::with_member(&mut call, live, member, &self.options);
        Role::Primary(Box::new(primary))
    }

    /// What becomes of a side that has won its claim: it goes on alone, or with an heir as its backup.
    fn go_live(&mut self, now: Time, claiming: Claiming, change: &Change) -> Role {
        let epoch = claiming.claim().epoch;
        let old = self.options.primary;
        if *change == Change::WonWithHeir {
            // It goes live once the heir has answered it: until then that may have claimed the next epoch.
            self.have(epoch);
        } else {
            // A replica that is alone has nothing more to say to its old peer, and nothing to hear from it.
            match &claiming.was {
                Was::Primary(primary) => self.out.extend(primary.peers().map(Action::Drop)),
                Was::Backup(_) => self.out.push_back(Action::Drop(self.options.peer)),
            }
            self.own(epoch);
        }
        self.metrics.live_at = Some(now);
        self.metrics.go_live = now.since(self.metrics.suspected_at.unwrap_or(now));
        let mut call = Call {
            now,
            out: &mut self.out,
            metrics: &mut self.metrics,
        };
        match claiming.was {
            Was::Backup(backup) if *change == Change::WonWithHeir => {
                // The other side did nothing wrong, and is trusted again.
                call.metrics.suspicion = None;
                self.options.backup = old;
                Role::Primary(Box::new(Primary::from_claim(
                    &mut call,
                    &self.guest,
                    &self.options,
                    backup,
                )))
            }
            _ => Role::Solo(Box::new(Solo::from_claim(
                &mut call,
                &self.guest,
                &self.options.run,
                claiming,
            ))),
        }
    }

    /// What becomes of a primary whose backup went on in its place, in this epoch.
    fn become_backup(&mut self, now: Time, handing: Handing, epoch: Epoch) -> Role {
        let peer = handing.peer();
        self.options.epoch = epoch;
        self.options.primary = handing.backup();
        self.options.peer = peer;
        self.metrics.epoch = epoch;
        let (cut, held, paused) = handing.into_backup(&self.guest);
        let owner = self.options.primary;
        self.out.push_back(Action::StandBy { peer, owner, epoch });
        self.out.push_back(Action::Tell(News::HandedOver(peer)));
        Role::Backup(Box::new(Backup::from_handing(
            now,
            &self.options,
            &cut,
            held.into_iter(),
            paused,
        )))
    }

    /// What becomes of a primary whose backup can never claim. `change`: by its own promise, or by the
    /// arbiter's verdict.
    fn without_backup(&mut self, now: Time, primary: Primary, change: &Change) -> Role {
        if *change == Change::Won {
            self.own(self.options.epoch.next());
        } else if primary.is_going_live() {
            self.own(self.options.epoch);
        }
        let news = match primary.dropped_for(primary.peer()) {
            Some(slowness) => News::TooSlow(primary.peer(), slowness),
            None => News::Dismissed(primary.peer()),
        };
        self.out.push_back(Action::Tell(news));
        self.out.push_back(Action::HangUp(primary.peer()));
        let mut call = Call {
            now,
            out: &mut self.out,
            metrics: &mut self.metrics,
        };
        Role::Solo(Box::new(Solo::from_primary(&mut call, primary)))
    }

    /// The arbiter has given the VM to this process, in this epoch. From here on it can get a backup as any
    /// owner can (FT 2.3-f, 3.1-e).
    fn own(&mut self, epoch: Epoch) {
        self.have(epoch);
        self.out.push_back(Action::GoLive(epoch));
    }

    /// The same, for a process that does not show anything yet.
    fn have(&mut self, epoch: Epoch) {
        self.options.epoch = epoch;
        self.options.primary = self.options.owner;
        self.metrics.epoch = epoch;
    }

    /// What becomes of a half that suspects the other. From here on it neither sends nor acknowledges, for
    /// good: an acknowledgement would give the other side a lease while this side is about to go live.
    fn suspect(&mut self, now: Time, why: Suspicion, silence: Span, mut was: Was) -> Role {
        if let Was::Backup(backup) = &mut was {
            let mut call = Call {
                now,
                out: &mut self.out,
                metrics: &mut self.metrics,
            };
            backup.drop_snapshot(
                &mut call,
                &mut self.guest,
                "the backup is about to take the VM over",
            );
        }
        self.metrics.suspicion = Some(why);
        self.metrics.suspected_at = Some(now);
        self.metrics.detection = silence;
        // What is queued for the peer is not sent any more, above all no acknowledgement. An apprentice has
        // no part in this.
        let apprentice = match &was {
            Was::Primary(primary) => primary.apprentice(),
            Was::Backup(_) => None,
        };
        self.out.retain(|action| match action {
            Action::Send(peer, _) | Action::Heartbeat(peer, _) => Some(*peer) == apprentice,
            _ => true,
        });
        let (other, heirs) = match &was {
            Was::Primary(primary) => (primary.backup(), Vec::new()),
            // A primary that has handed the VM over is a member of the epoch in which this side is live.
            Was::Backup(backup) if backup.is_heir_wanted() => {
                (self.options.primary, vec![self.options.primary])
            }
            Was::Backup(_) => (self.options.primary, Vec::new()),
        };
        if let Was::Backup(backup) = &was {
            // The log may have named a later epoch than the handshake.
            self.options.epoch = backup.epoch();
        }
        let claim = Claim {
            epoch: self.options.epoch.next(),
            owner: self.options.owner,
            after: (!mutation::is(Mutation::ArbiterNotProven)).then_some(self.options.primary),
            kind: if heirs.is_empty() {
                ClaimKind::Failover
            } else {
                ClaimKind::HandOver
            },
            heirs,
        };
        // A backup whose primary has left or ended need not wait for anybody, however its ports are.
        let alone = matches!(why, Suspicion::Left | Suspicion::Ended);
        let isolated = !alone && self.is_isolated(now);
        self.metrics.isolated = isolated;
        // A primary whose operator wants it to leave waits too: a backup that is alive shall have the VM.
        let leaving = matches!(&was, Was::Primary(primary) if primary.is_leaving());
        let patience = if isolated || leaving {
            Span(self.options.timeout.0 * limits::ISOLATED_TIMEOUTS)
        } else {
            Span(0)
        };
        let was = (was, other);
        Role::Claiming(Box::new(Claiming::new(now, claim, was, why, patience, leaving)))
    }

    /// Do this side's network ports lead nowhere, as far as is known? Good news is worth nothing once it is
    /// three quarters of the timeout old: the cause of the peer's silence may be a cable that was cut since.
    fn is_isolated(&self, now: Time) -> bool {
        let old = Span(self.options.timeout.0 / 4 * 3);
        self.ports
            .is_some_and(|(well, said)| !well || now.since(said) >= old)
    }

    fn halt(&mut self, role: &Role, change: Change) {
        let halt = match change {
            Change::Off(state) => Halt::Off(state),
            Change::Diverged(Divergence { at, part }) => Halt::Diverged { at, part },
            Change::Broken(how) => Halt::Peer(how),
            Change::Left => Halt::Left,
            Change::Abandoned(why) => Halt::Abandoned(why),
            Change::Dismissed => Halt::Dismissed,
            Change::Lost
            | Change::Won
            | Change::WonWithHeir
            | Change::Alone
            | Change::HandingOver
            | Change::Taken(_)
            | Change::Guarded
            | Change::Suspect(_) => match role {
                Role::Claiming(claiming) => Halt::Lost(claiming.claim().epoch),
                _ => Halt::Lost(self.options.epoch.next()),
            },
        };
        self.out.push_back(Action::Halt(halt));
    }
}
