//! `Solo`: the role of a replica that is alone. It runs the guest, shows its effects at once, and may record.
//!
//! A VM that runs alone has this role from its start. A half of a pair gets it by winning a claim, and never
//! otherwise (FT 2.3-e). Before the guest runs on, it does again what the dead peer may have left undone.
//!
//! No output waits for anybody here. A process may be on its way to be the backup, though (`Source`): it gets
//! the guest's state and log, and when it follows closely this role becomes `Primary`.

use machine::Cut;

use crate::clone::source::Source;
use crate::event::Event;
use crate::guest::Guest;
use crate::guest::outputs::Outward;
use crate::limits;
use crate::mutation;
use crate::mutation::Mutation;
use crate::options::{Options, PairOptions};
use crate::roles::backup::Backup;
use crate::roles::call::{Call, earliest};
use crate::roles::claiming::{Claiming, Was};
use crate::roles::gate::Output;
use crate::roles::live::Live;
use crate::roles::primary::Primary;
use crate::roles::table::Change;
use messages::time::Time;
use vmlog::entry::Seq;

/// A replica that is alone.
#[derive(Debug)]
pub struct Solo {
    live: Live,
}

impl Solo {
    /// A guest that runs alone from the step where it stands. With `options.record` its log goes to a file.
    /// One that goes on from a snapshot has begun requests that its disks do again.
    pub fn new<G: Guest>(call: &mut Call<'_>, guest: &G, options: &Options) -> Solo {
        let mut live = Live::from_start(call, guest, options, false);
        live.take_up(call, guest, guest.pending_entropy());
        live.issue(call);
        Solo { live }
    }

    /// A primary that nobody else can follow any more shows what it held, in order, and goes on alone.
    pub fn from_primary(call: &mut Call<'_>, primary: Primary) -> Solo {
        // FT 2.3-a: nobody reads the log from here on, unless it also goes to a file or to an apprentice.
        let (mut live, mut gate) = primary.into_parts();
        let is_read = live.file || live.apprentice().is_some_and(Source::takes_log);
        live.recorder.log.set_wanted(is_read);
        live.tell_clone_of_epoch(call.now);
        let mut solo = Solo { live };

        while let Some(released) = gate.force(call.now) {
            call.metrics.output_delay.add(released.delay);
            // With a shown output those before it leave that need not be held; `emit` counts only itself.
            let before = released.count - 1;
            solo.live.released += before;
            call.metrics.outputs_released += before;
            match released.output {
                Output::Change(id) => {
                    solo.live.released += 1;
                    call.metrics.outputs_released += 1;
                    solo.live.disks.release(id);
                }
                Output::Shown(shown) => solo.live.emit(call, Outward::Shown(shown)),
            }
        }
        call.metrics.outputs_held = 0;
        call.metrics.held_bytes = 0;
        solo.live.issue(call);
        solo
    }

    /// After a claim was won: shows what was held or kept back, in order, and goes on.
    pub fn from_claim<G: Guest>(
        call: &mut Call<'_>,
        guest: &G,
        options: &Options,
        claiming: Claiming,
    ) -> Solo {
        match claiming.was {
            Was::Primary(primary) => Solo::from_primary(call, *primary),
            Was::Backup(mut backup) => {
                let live = Live::from_backup(call, guest, options, &backup, false);
                let mut solo = Solo { live };
                let outputs = backup.outputs();
                let loose = solo.take_over(call, guest, &mut backup);
                // What was kept is shown again, and every other output before it has left.
                solo.live.released = outputs.saturating_add(loose);
                solo
            }
        }
    }

    /// FT 2.3-c, 2.2-a: does again what the dead primary may not have done, in the guest's order.
    /// Gives how many outputs had no entry yet.
    fn take_over<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, backup: &mut Backup) -> u64 {
        for (_, shown) in backup.take_kept() {
            if !mutation::is(Mutation::KeptNotShown) {
                self.live.emit(call, Outward::Shown(shown));
            }
        }
        let (outputs, entropy) = backup.take_loose_ends();
        let loose = outputs.len() as u64;
        for effect in outputs {
            // The guest produced it at its last step, and its entry was not received: it gets one now.
            self.live.recorder.mark(call.now, guest, call.metrics, &effect);
            if let shown @ Outward::Shown(_) = Outward::from(effect) {
                self.live.emit(call, shown);
            }
        }
        self.live.take_up(call, guest, entropy);
        self.live.issue(call);
        loose
    }

    /// Takes an event from the world.
    pub fn handle(&mut self, call: &mut Call<'_>, event: Event, options: &PairOptions) {
        match event {
            Event::Joined(joined) => self.live.join(call, *joined, options),
            // A replica that is alone has no open claim, and nobody to leave the VM to.
            event => {
                self.live.handle(call, event);
                self.live.issue(call);
            }
        }
    }

    /// Runs the guest for a slice, shows what it did, and gives the change of role once it is off or has a
    /// member.
    pub fn slice<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        cut: &dyn Cut,
        guest: &mut G,
        options: &PairOptions,
    ) -> Option<Change> {
        self.live.recorder.look(call.now, call.metrics);
        // Nobody else need know of it.
        self.live.obey(call, guest, Seq(u64::MAX));
        self.live.serve_snapshot(call, guest);
        if self.live.is_log_due_for_cut() {
            // The file's log is covered up to the cut, so that the apprentice's can go on behind it.
            self.live.hand_out(call, guest);
        }
        if let Some(change) = self.live.serve_clone(call, guest, options, || 0, false) {
            return Some(change);
        }
        if !self.live.stands_for_copy(guest) {
            self.live.begin_slice(call.now);
            for produced in self.live.slice(call, cut, guest) {
                self.live.emit(call, produced.outward);
            }
        }
        self.live.issue(call);
        let over = self.live.is_over();
        let due = self.flush_due().is_some_and(|due| due <= call.now);
        if due || over.is_some() {
            self.live.hand_out(call, guest);
        }
        self.live.after_slice(call, guest, false);
        if let Some(state) = over {
            return Some(Change::Off(state));
        }
        self.guard(call, guest, options)
    }

    /// Makes the apprentice a member, once it follows closely enough: from the entry on that says so, every
    /// output waits for it (docs/protocol.md, "Joining").
    fn guard<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, options: &PairOptions) -> Option<Change> {
        self.live.put_guarded(call, guest, options)?;
        self.live.hand_out(call, guest);
        self.live.serve_apprentice(call);
        Some(Change::Guarded)
    }

    /// What stands in the way of a snapshot; `None`: nothing.
    pub fn why_no_snapshot(&self) -> Option<&'static str> {
        self.live.why_no_snapshot()
    }

    /// What becomes a primary: the keeper of the guest.
    #[must_use]
    pub fn into_live(self) -> Live {
        self.live
    }

    /// See [`crate::Node::console_room`].
    pub fn console_room(&self) -> usize {
        self.live.recorder.console_room()
    }

    /// When the log is to be handed out. No output waits for that, so none is in a hurry.
    fn flush_due(&self) -> Option<Time> {
        let log = &self.live.recorder.log;
        log.due(limits::FLUSH_EVERY_IDLE, limits::FLUSH_EVERY)
    }

    /// The earliest time at which there is something to do; `None`: only when an event comes.
    pub fn deadline(&self) -> Option<Time> {
        let flush = self.flush_due();
        let over = self.live.is_over().map(|_| Time(0));
        let snapshot = self.live.snapshot_deadline();
        earliest([
            self.live.wake(),
            flush,
            over,
            self.live.clone_deadline(),
            snapshot,
        ])
    }
}
