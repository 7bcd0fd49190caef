//! `Solo`: the role of a replica that is alone. It runs the guest, shows its effects at once, and may record.
//!
//! A VM that runs alone has this role from its start. A half of a pair gets it by winning a claim, and never
//! otherwise (FT 2.3-e). Before the guest runs on, it does again what the dead peer may have left undone.
//!
//! No output waits for anybody here. A process may be on its way to be the backup, though (`Source`): it gets
//! the guest's state and log, and when it follows closely this role becomes `Primary`.

use machine::Cut;

use crate::clone::source::{self, End, Owner, Source};
use crate::event::{Action, Epoch, Event, Joined};
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
use crate::roles::live::{Live, refuse};
use crate::roles::primary::Primary;
use crate::roles::table::Change;
use crate::time::Time;

/// A replica that is alone.
#[derive(Debug)]
pub struct Solo {
    live: Live,
    /// The process that is on its way to be the backup; `None`: there is none.
    clone: Option<Source>,
}

impl Solo {
    /// A guest that runs alone from the step where it stands. With `options.record` its log goes to a file.
    pub fn new<G: Guest>(call: &mut Call<'_>, guest: &G, options: &Options) -> Solo {
        Solo {
            live: Live::from_start(call, guest, options, false),
            clone: None,
        }
    }

    /// A primary that nobody else can follow any more shows what it held, in order, and goes on alone.
    pub fn from_primary(call: &mut Call<'_>, primary: Primary) -> Solo {
        // FT 2.3-a: nobody reads the log from here on, unless it also goes to a file.
        let (mut live, mut gate) = primary.into_parts();
        live.recorder.log.set_wanted(live.file);
        let mut solo = Solo { live, clone: None };

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
                let mut solo = Solo { live, clone: None };
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

    /// Takes an event from the world, and gives the change of role that follows from it.
    pub fn handle<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &mut G,
        event: Event,
        options: &PairOptions,
    ) -> Option<Change> {
        if let Event::Joined(joined) = event {
            self.join(call, *joined, options);
            return None;
        }
        let mut end = None;
        if event == Event::Unprotect {
            end = Some(End::Abandoned("the VM's operator wants no backup".to_owned()));
        } else if let Some(source) = &mut self.clone {
            end = source.handle(call, &event, self.live.recorder.log.step()).err();
        }
        // A replica that is alone has no open claim, and nobody to leave the VM to.
        self.live.handle(call, event);
        self.live.issue(call);
        end.and_then(|end| self.end_clone(call, guest, end))
    }

    /// A link to a process that may become the backup is made.
    fn join(&mut self, call: &mut Call<'_>, joined: Joined, options: &PairOptions) {
        if options.epoch == Epoch(0) {
            refuse(
                call,
                &joined,
                "the VM has no arbiter, which would decide who goes on after a failure",
            );
        } else if self.clone.is_some() {
            refuse(call, &joined, "another host is on its way to be its backup");
        } else if self.live.is_off() {
            refuse(call, &joined, "its guest is off");
        } else {
            self.clone = Some(Source::new(call, joined, options));
        }
    }

    /// Ends the clone without a member. The guest runs on as if nothing had been.
    fn end_clone<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G, end: End) -> Option<Change> {
        let source = self.clone.take()?;
        guest.thaw();
        self.live.recorder.log.set_wanted(self.live.file);
        call.metrics.clone = None;
        let (why, change) = match end {
            End::Abandoned(why) => (why, None),
            End::Superseded => ("another process has the VM".to_owned(), Some(Change::Lost)),
        };
        source::give_up(call, source.peer(), why);
        change
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
        if self.clone.is_some()
            && let Err(end) = self.serve_clone(call, guest, options)
            && let Some(change) = self.end_clone(call, guest, end)
        {
            return Some(change);
        }
        let stands = |source: &Source| source.holds(guest) || source.rest().is_some();
        if !self.clone.as_ref().is_some_and(stands) {
            if let Some(source) = &mut self.clone {
                source.on_slice(call.now);
            }
            for produced in self.live.slice(call, cut, guest) {
                self.live.emit(call, produced.outward);
            }
        }
        self.live.issue(call);
        let over = self.live.is_over();
        let due = self.flush_due().is_some_and(|due| due <= call.now);
        if due || over.is_some() {
            self.flush(call, guest);
        }
        if let Some(source) = &mut self.clone {
            source.after_slice(call);
        }
        // A guest that is off is nothing to protect, even if requests are left to be finished.
        if self.live.is_off() {
            self.end_clone(call, guest, End::Abandoned("its guest is off".to_owned()));
        }
        if let Some(state) = over {
            return Some(Change::Off(state));
        }
        self.guard(call, guest, options)
    }

    /// Does for the process that is on its way what is due before a slice.
    fn serve_clone<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &mut G,
        options: &PairOptions,
    ) -> Result<(), End> {
        let Some(source) = &mut self.clone else {
            return Ok(());
        };
        let owner = Owner {
            epoch: options.epoch,
            process: options.owner,
            // Every output of a guest that runs alone has left.
            outputs: self.live.released,
            released: self.live.released,
            disk_bytes: self.live.disks.bytes(),
            waits: self.live.recorder.waits(),
        };
        if source.is_cutting() && self.live.file {
            // The file's log is covered up to the cut, so that the apprentice's can go on behind it.
            for frame in self.live.recorder.flush(call.now, guest, call.metrics) {
                call.out.push_back(Action::Append(frame.bytes));
            }
        }
        source.before_slice(call, guest, &mut self.live.recorder.log, &owner)?;
        if source.takes_digest(guest) {
            self.live.recorder.put_digest(call.now, guest, call.metrics);
        }
        Ok(())
    }

    /// Hands out the log to its file and to the process that is on its way.
    fn flush<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G) {
        let frames = self.live.recorder.flush(call.now, guest, call.metrics);
        for frame in frames {
            if self.live.file {
                call.out.push_back(Action::Append(frame.bytes.clone()));
            }
            if let Some(source) = self.clone.as_mut().filter(|source| source.takes_log()) {
                source.push(frame);
            }
        }
    }

    /// Makes the apprentice a member, once it follows closely enough: from the entry on that says so, every
    /// output waits for it (docs/protocol.md, "Joining").
    fn guard<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, options: &PairOptions) -> Option<Change> {
        let mark = self
            .clone
            .as_ref()
            .filter(|source| source.is_ready(true))
            .map(|source| source.mark(options.epoch, options.owner))?;
        self.live.recorder.put(call.now, guest, call.metrics, mark);
        self.flush(call, guest);
        if let Some(source) = &mut self.clone {
            source.after_slice(call);
        }
        Some(Change::Guarded)
    }

    /// What becomes a primary: the keeper of the guest, and the process that has become a member.
    #[must_use]
    pub fn into_parts(self) -> (Live, Option<Source>) {
        (self.live, self.clone)
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
        let clone = self.clone.as_ref().and_then(Source::deadline);
        let wake = self.live.recorder.wake();
        let wake = match self.clone.as_ref().and_then(Source::rest) {
            Some(rest) => wake.map(|wake| wake.max(rest)),
            None => wake,
        };
        earliest([wake, flush, over, clone])
    }
}
