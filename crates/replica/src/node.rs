//! `Node`: the VMM without the world. It holds one role at a time, and a change of role happens nowhere else.
//!
//! A world (`host`, `sim`) drives it; what each role does stands in `roles`. Nothing here reads a clock or a
//! socket, and no role changes in a way that `roles/table.rs` does not have.

use std::collections::VecDeque;

use machine::Cut;

use crate::event::{Action, Claim, ClaimKind, Epoch, Event, Halt, News, Next, PeerId, RoleName, Suspicion};
use crate::guest::Guest;
use crate::guest::replay::Divergence;
use crate::metrics::Metrics;
use crate::mutation::Mutation;
use crate::options::{Notice, Options, PairOptions};
use crate::roles::apprentice::Apprentice;
use crate::roles::backup::Backup;
use crate::roles::call::Call;
use crate::roles::claiming::{Claiming, Was};
use crate::roles::handing::Handing;
use crate::roles::primary::Primary;
use crate::roles::solo::Solo;
use crate::roles::table::Change;
use crate::roles::{Role, table};
use crate::time::{Span, Time};
use crate::{limits, mutation};

/// One replica: a guest, its role and its log.
///
/// A world (`host::drive`, `sim::turns`) owns a node and calls it in this order, always from one thread, with
/// a time that never goes back:
///
/// 1. [`handle`](Node::handle) once for each [`Event`] that has come. It never runs the guest and never
///    waits.
/// 2. [`poll`](Node::poll) until it gives `None`, and carry out each [`Action`] before asking for the next
///    one. This is due after every `handle` and every `slice`. An event that an action causes is handled
///    before the node is asked for more work.
/// 3. [`slice`](Node::slice), which runs the guest for about a millisecond, or less: the guest's engine asks
///    the world's [`Cut`] now and then whether something has come for which the slice shall end.
/// 4. If `slice` answers [`Next::Busy`]: again from 1. If [`Next::At`]: sleep until an event comes, or until
///    the time that it gives. If [`Next::Ended`]: the node has said [`Action::Halt`] and does nothing any
///    more.
///
/// A process that stops calling for longer than the failure-detection timeout is taken for dead by its peer;
/// the node notices by the time of its next call that it was away, and neither blames the peer for the
/// silence nor releases an output whose lease is over.
#[derive(Debug)]
pub struct Node<G: Guest> {
    guest: G,
    role: Role,
    /// Actions that the world has not fetched yet, oldest first.
    out: VecDeque<Action>,
    metrics: Metrics,
    /// How this half of a pair runs. For a guest that runs alone only `run` in it means something.
    options: PairOptions,
    /// What [`Event::Ports`] said last, and when; `None`: it was never said.
    ports: Option<(bool, Time)>,
}

impl<G: Guest> Node<G> {
    /// A node whose guest runs alone, from the step where it stands.
    pub fn solo(guest: G, now: Time, options: Options) -> Node<G> {
        let pair = PairOptions {
            epoch: Epoch(0),
            owner: 0,
            primary: 0,
            backup: 0,
            peer: PeerId(0),
            timeout: limits::TIMEOUT_DEFAULT,
            notice: Notice::TimeoutOnly,
            run: options,
        };
        Node::new(guest, now, pair, |call, guest, options| {
            Role::Solo(Box::new(Solo::new(call, guest, &options.run)))
        })
    }

    /// The node of a primary, after the handshake: it runs the guest and sends the log.
    pub fn primary(guest: G, now: Time, options: PairOptions) -> Node<G> {
        Node::new(guest, now, options, |call, guest, options| {
            Role::Primary(Box::new(Primary::new(call, guest, options)))
        })
    }

    /// The node of a process that has an epoch and runs its guest alone, from the step where it stands. It
    /// can get a backup at any time ([`Event::Joined`]).
    pub fn owner(guest: G, now: Time, options: PairOptions) -> Node<G> {
        Node::new(guest, now, options, |call, guest, options| {
            Role::Solo(Box::new(Solo::new(call, guest, &options.run)))
        })
    }

    /// The node of an apprentice, after the handshake: its guest has no state yet.
    pub fn apprentice(guest: G, now: Time, options: PairOptions) -> Node<G> {
        Node::new(guest, now, options, |call, guest, options| {
            Role::Apprentice(Box::new(Apprentice::new(call, guest, options)))
        })
    }

    /// The node of a backup, after the handshake: it replays the log.
    pub fn backup(guest: G, now: Time, options: PairOptions) -> Node<G> {
        Node::new(guest, now, options, |call, guest, options| {
            Role::Backup(Box::new(Backup::new(call, guest, options)))
        })
    }

    fn new(
        guest: G,
        now: Time,
        mut options: PairOptions,
        role: impl FnOnce(&mut Call<'_>, &G, &PairOptions) -> Role,
    ) -> Node<G> {
        // A handshake has agreed on a sound timeout; a caller without a handshake gets the nearest sound one.
        options.timeout = options.timeout.clamp(limits::TIMEOUT_MIN, limits::TIMEOUT_MAX);
        let mut out = VecDeque::new();
        let mut metrics = Metrics {
            epoch: options.epoch,
            step: guest.now(),
            speed_permille: 1000,
            ..Metrics::default()
        };
        let mut call = Call {
            now,
            out: &mut out,
            metrics: &mut metrics,
        };
        let role = role(&mut call, &guest, &options);
        metrics.role = role.name();
        Node {
            guest,
            role,
            out,
            metrics,
            options,
            ports: None,
        }
    }

    /// Takes an event from the world. Never runs the guest. `now` must be read after the event had come.
    pub fn handle(&mut self, now: Time, event: Event) {
        if let Event::Ports(well) = event {
            self.ports = Some((well, now));
        }
        let mut call = Call {
            now,
            out: &mut self.out,
            metrics: &mut self.metrics,
        };
        let change = match &mut self.role {
            Role::Solo(solo) => {
                solo.handle(&mut call, event, &self.options);
                None
            }
            Role::Primary(primary) => primary.handle(&mut call, event, &self.options),
            Role::Apprentice(apprentice) => apprentice.handle(&mut call, &mut self.guest, event),
            Role::Backup(backup) => backup.handle(&mut call, &self.guest, event),
            Role::Claiming(claiming) => claiming.handle(&mut call, event),
            Role::Handing(handing) => handing.handle(&mut call, event),
            Role::Halted => None,
        };
        self.change(now, change);
    }

    /// Runs the guest for a bounded while, about a millisecond. It ends sooner if `cut` is wanted, which the
    /// guest never notices.
    pub fn slice(&mut self, now: Time, cut: &dyn Cut) -> Next {
        let guest = &mut self.guest;
        let mut call = Call {
            now,
            out: &mut self.out,
            metrics: &mut self.metrics,
        };
        let change = match &mut self.role {
            Role::Solo(solo) => solo.slice(&mut call, cut, guest, &self.options),
            Role::Apprentice(apprentice) => apprentice.slice(&mut call, cut, guest),
            Role::Primary(primary) => primary.slice(&mut call, cut, guest, &self.options),
            Role::Backup(backup) => backup.slice(&mut call, cut, guest),
            Role::Claiming(claiming) => claiming.slice(&mut call, cut, guest),
            Role::Handing(handing) => handing.slice(&mut call),
            Role::Halted => None,
        };
        self.change(now, change);
        match self.deadline() {
            _ if matches!(self.role, Role::Halted) => Next::Ended,
            Some(time) if time <= now => Next::Busy,
            deadline => Next::At(deadline),
        }
    }

    /// The next action. Call after every `handle` and `slice` until `None`, with the time *of this call*: an
    /// output whose lease is over does not leave. Carry each action out before asking for the next: what a
    /// later message says about released outputs must be true by then.
    pub fn poll(&mut self, now: Time) -> Option<Action> {
        if let Role::Primary(primary) = &mut self.role {
            primary.look(now);
        }
        if let Some(action) = self.out.pop_front() {
            return Some(action);
        }
        if let Role::Primary(primary) = &mut self.role {
            let mut call = Call {
                now,
                out: &mut self.out,
                metrics: &mut self.metrics,
            };
            let change = primary.release(&mut call);
            self.change(now, change);
        }
        self.out.pop_front()
    }

    /// When `slice` must be called again at the latest, if no event comes before.
    pub fn deadline(&self) -> Option<Time> {
        match &self.role {
            Role::Solo(solo) => solo.deadline(),
            Role::Primary(primary) => primary.deadline(self.options.timeout),
            Role::Apprentice(apprentice) => apprentice.deadline(),
            Role::Backup(backup) => backup.deadline(),
            Role::Claiming(claiming) => claiming.deadline(),
            Role::Handing(handing) => Some(handing.deadline()),
            Role::Halted => None,
        }
    }

    /// How many bytes of console input this replica takes now without dropping any. A world that has more
    /// keeps the rest, lets whoever types it wait, and asks again after the guest has run. A backup takes and
    /// drops all, since its guest gets its inputs from the log alone.
    pub fn console_room(&self) -> usize {
        match &self.role {
            Role::Solo(solo) => solo.console_room(),
            Role::Primary(primary) => primary.console_room(),
            Role::Claiming(claiming) => claiming.console_room(),
            Role::Handing(handing) => handing.console_room(),
            Role::Apprentice(_) | Role::Backup(_) | Role::Halted => usize::MAX,
        }
    }

    /// What the replica is at present.
    pub fn role(&self) -> RoleName {
        self.role.name()
    }

    /// The guest, to look at.
    pub fn guest(&self) -> &G {
        &self.guest
    }

    /// What has been counted and measured so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Changes the role, if there is a change. The only place where that happens.
    fn change(&mut self, now: Time, change: Option<Change>) {
        let Some(change) = change else {
            return;
        };
        let from = self.role.name();
        let to = table::next(from, change.cause());
        assert!(to.is_some(), "{from:?} has no way to go for {change:?}");
        let role = std::mem::replace(&mut self.role, Role::Halted);
        self.role = self.changed(now, role, change);
        assert_eq!(Some(self.role.name()), to, "the table of roles is kept");
        self.metrics.role = self.role.name();
    }

    /// The role that follows from this change, and what the world must do about it.
    fn changed(&mut self, now: Time, role: Role, change: Change) -> Role {
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
                self.own(self.options.epoch.next());
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
        let (cut, held) = handing.into_backup(&self.guest);
        let owner = self.options.primary;
        self.out.push_back(Action::StandBy { peer, owner, epoch });
        self.out.push_back(Action::Tell(News::HandedOver(peer)));
        Role::Backup(Box::new(Backup::from_handing(
            now,
            &self.options,
            &cut,
            held.into_iter(),
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
        let news = if primary.drops_for_slowness() {
            News::TooSlow(primary.peer())
        } else {
            News::Dismissed(primary.peer())
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
    fn suspect(&mut self, now: Time, why: Suspicion, silence: Span, was: Was) -> Role {
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
