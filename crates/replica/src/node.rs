//! `Node`: the VMM without the world. It holds one role at a time, and a change of role happens nowhere else.
//!
//! A world (`host`, `sim`) drives it; what each role does stands in `roles`. Nothing here reads a clock or a
//! socket, and no role changes in a way that `roles/table.rs` does not have.

use std::collections::VecDeque;

use machine::Cut;

use crate::event::{
    Action, Epoch, Event, Next, PeerId, RoleName, SnapshotEvent, SnapshotOrder, SnapshotPiece,
};
use crate::guest::Guest;
use crate::limits;
use crate::metrics::Metrics;
use crate::options::{Notice, OnSlow, Options, PairOptions};
use crate::roles::apprentice::Apprentice;
use crate::roles::backup::Backup;
use crate::roles::call::Call;
use crate::roles::live::refuse;
use crate::roles::primary::Primary;
use crate::roles::solo::Solo;
use crate::roles::table::Change;
use crate::roles::{Role, table};
use messages::time::Time;

mod changes;

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
            on_slow: OnSlow::default(),
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
        // A replica that has halted says nothing more: whoever asks it then sees its connection end.
        if let Event::Snapshot(SnapshotEvent::Begin(order)) = &event
            && !matches!(self.role, Role::Halted)
            && let Some(why) = self.why_no_snapshot(*order)
        {
            let failed = SnapshotPiece::Failed(why.to_owned());
            return self.out.push_back(Action::Snapshot(failed));
        }
        let mut call = Call {
            now,
            out: &mut self.out,
            metrics: &mut self.metrics,
        };
        if let Event::Joined(joined) = &event
            && !matches!(self.role, Role::Solo(_) | Role::Primary(_) | Role::Halted)
        {
            // It was called when this replica was live. Who is not answered would wait, and so would whoever
            // wants to call another host.
            return refuse(&mut call, joined, "the VM does not run there just now");
        }
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

    /// What stands in the way of such a snapshot, as a clause; `None`: nothing.
    pub fn why_no_snapshot(&self, order: SnapshotOrder) -> Option<&'static str> {
        match &self.role {
            Role::Solo(solo) => solo.why_no_snapshot(),
            Role::Primary(primary) => primary.why_no_snapshot(),
            Role::Backup(backup) => backup.why_no_snapshot(order.disks),
            Role::Apprentice(_) | Role::Claiming(_) | Role::Handing(_) | Role::Halted => {
                Some("the VM does not run there just now")
            }
        }
    }

    /// Is a backup about to go, so that none can be asked for and the VM cannot be handed over?
    pub fn is_dismissing(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.is_dismissing())
    }

    /// Is the VM being handed over, or has it just come here?
    pub fn is_swapping(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.is_swapping())
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
}
