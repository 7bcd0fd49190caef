//! How a world takes snapshots of its guest, and keeps them: what leaves must be the guest as it was at that
//! step, with its disk quiet, and nothing else may be disturbed.
//!
//! Whoever keeps a snapshot is slow, goes away in the middle, or keeps the disk along with it. What is drawn
//! here comes from a stream of its own, so that a world without snapshots is what it was.

use replica::{Event, SnapshotEvent, SnapshotOrder, SnapshotPiece, Span, Time};

use toy_outside::names::ProcessId;

use crate::{
    checker::{Check, Violation, ensure},
    options::{ms, us},
    schedule::What,
    snapshots::Kept,
    subject::Subject,
    world::World,
};

impl<G: Subject> World<G> {
    /// The operator asks a process for a snapshot, unless one of it is under way. Whoever is to keep it may
    /// be gone before it is whole.
    pub(crate) fn begin_snapshot(&mut self, who: ProcessId) {
        let is_settled = self.snapshots.settled.get(&who).is_none_or(|at| *at < self.now);
        if !self.process(who).is_alive() || !is_settled || self.snapshots.kept.contains_key(&who) {
            return;
        }
        let random = &mut self.snapshots.random;
        let disks = random.permille(700);
        let order = SnapshotOrder {
            id: u128::from(random.draw()),
            disks,
            hook: disks && random.permille(700),
        };
        // Room for a page at least: whoever keeps nothing is lost sooner or later, and that is drawn below.
        let room = random.span(Span(64), Span(4096)).0.max(G::PAGE as u64);
        let lost = random.permille(300).then(|| random.span(us(10), ms(300)));
        let kept = Kept {
            order,
            room,
            copy: None,
            quiet_until: Time(0),
        };
        self.snapshots.kept.insert(who, kept);
        self.deliver(who, Event::Snapshot(SnapshotEvent::Begin(order)));
        self.deliver(who, Event::Snapshot(SnapshotEvent::Room(room)));
        if let Some(after) = lost {
            let lost = SnapshotEvent::Lost("whoever wanted it has gone".to_owned());
            self.tell_later(who, lost, after);
        }
    }

    /// Is a piece of a snapshot what it must be?
    pub(crate) fn judge_snapshot(&mut self, who: ProcessId, piece: &SnapshotPiece) -> Result<(), Violation> {
        let mark = self.processes[who].tape.borrow().cuts.last().copied();
        let is_busy = self.storage.has_request_of(who);
        let config = self.config.clone();
        let Some(kept) = self.snapshots.kept.get_mut(&who) else {
            return Ok(());
        };
        match piece {
            SnapshotPiece::State { step, state, .. } => {
                ensure(!kept.order.disks || !is_busy, Check::Disk, || {
                    format!("{who} takes a snapshot at step {step} though a request is at the disk")
                })?;
                let mut copy = G::blank(&config);
                let adopted = copy.adopt(state);
                ensure(adopted.is_ok(), Check::Lockstep, || {
                    format!("the snapshot of {who} at step {step} has no state: {adopted:?}")
                })?;
                kept.copy = mark.map(|mark| (copy, mark.whole()));
            }
            SnapshotPiece::Pages(batch) => {
                for (page, content) in batch.pages() {
                    let placed = kept.copy.as_mut().map(|(copy, _)| copy.place(page, content));
                    ensure(placed == Some(Ok(())), Check::Lockstep, || {
                        format!("the snapshot of {who} has a page {page} that it cannot have")
                    })?;
                }
            }
            SnapshotPiece::Over { .. } => {
                let is_it = |(copy, whole): &(G, u64)| copy.whole() == *whole;
                ensure(kept.copy.as_ref().is_some_and(is_it), Check::Lockstep, || {
                    format!("the snapshot of {who} is not its guest at that step")
                })?;
            }
            SnapshotPiece::Failed(_) => {}
        }
        Ok(())
    }

    /// May a request go to the disk, whose content somebody keeps along with a snapshot?
    pub(crate) fn judge_quiet(&self, who: ProcessId) -> Result<(), Violation> {
        let kept = self.snapshots.kept.get(&who);
        let is_quiet = kept.is_some_and(|kept| self.now < kept.quiet_until);
        ensure(!is_quiet, Check::Disk, || {
            format!("{who} sends a request to the disk while that is kept along with a snapshot")
        })
    }

    /// Whoever keeps a snapshot takes a piece of it, and has room for more after a while.
    pub(crate) fn take_piece(&mut self, who: ProcessId, piece: &SnapshotPiece) {
        let Some(kept) = self.snapshots.kept.get_mut(&who) else {
            return;
        };
        let random = &mut self.snapshots.random;
        let after = random.span(us(5), ms(2));
        let room = SnapshotEvent::Room(kept.room);
        match piece {
            SnapshotPiece::State { .. } if kept.order.hook => {
                let hook = random.span(us(10), ms(200));
                kept.quiet_until = self.now.after(hook);
                self.tell_later(who, SnapshotEvent::GoOn, hook);
                self.tell_later(who, room, after);
            }
            SnapshotPiece::State { .. } | SnapshotPiece::Pages(_) => {
                self.tell_later(who, room, after);
            }
            SnapshotPiece::Over { .. } | SnapshotPiece::Failed(_) => {
                self.snapshots.kept.remove(&who);
            }
        }
    }

    /// A process hears something of its snapshot after a while.
    fn tell_later(&mut self, who: ProcessId, event: SnapshotEvent, after: Span) {
        let at = self.now.after(after);
        let settled = self.snapshots.settled.entry(who).or_insert(at);
        *settled = at.max(*settled);
        self.schedule(at, What::Deliver(who, Event::Snapshot(event)));
    }
}
