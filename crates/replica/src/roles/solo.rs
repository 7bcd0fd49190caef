//! `Solo`: the role of a replica that is alone. It runs the guest, shows its effects at once, and may record.
//!
//! A VM that runs alone has this role from its start. A half of a pair gets it by winning a claim, and never
//! otherwise (FT 2.3-e). Before the guest runs on, it does again what the dead peer may have left undone.
//!
//! It has no peer: it sends no message and waits for no acknowledgement.

use machine::Cut;

use crate::event::{Action, Event};
use crate::guest::Guest;
use crate::guest::clock::GuestClock;
use crate::guest::disks::Disks;
use crate::guest::outputs::Outward;
use crate::guest::record::{Log, Recorder};
use crate::limits;
use crate::log::codec::Encoder;
use crate::mutation;
use crate::mutation::Mutation;
use crate::options::Options;
use crate::roles::backup::Backup;
use crate::roles::call::{Call, earliest};
use crate::roles::claiming::{Claiming, Was};
use crate::roles::gate::Output;
use crate::roles::live::Live;
use crate::roles::table::Change;
use crate::time::Time;

/// A replica that is alone.
#[derive(Debug)]
pub struct Solo {
    live: Live,
}

impl Solo {
    /// A guest that runs alone from the step where it stands. With `options.record` its log goes to a file.
    pub fn new<G: Guest>(call: &mut Call<'_>, guest: &G, options: &Options) -> Solo {
        Solo {
            live: Live::from_start(call, guest, options, false),
        }
    }

    /// After a claim was won: shows what was held or kept back, in order, and goes on.
    pub fn from_claim<G: Guest>(
        call: &mut Call<'_>,
        guest: &G,
        options: &Options,
        claiming: Claiming,
    ) -> Solo {
        match claiming.was {
            Was::Primary(primary) => {
                // FT 2.3-a: nobody reads the log from here on, unless it also goes to a file.
                let (mut live, mut gate) = primary.into_parts();
                live.recorder.log.set_wanted(live.file);
                let mut solo = Solo { live };
                while let Some(released) = gate.force(call.now) {
                    call.metrics.output_delay.add(released.delay);
                    match released.output {
                        Output::Change(id) => {
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
            Was::Backup(mut backup) => {
                let file = options.record.is_some();
                let (base, mtime) = backup.clock(call.now, guest.mtime());
                let log = Log::new(Encoder::resume(backup.decoder().base()), file);
                let clock = GuestClock::new(base, mtime);
                let mut recorder = Recorder::new(log, clock, options.digest_every, guest.now());
                if let Some(state) = backup.off() {
                    recorder.set_off(state);
                }
                let mut solo = Solo {
                    live: Live {
                        recorder,
                        disks: Disks::default(),
                        file,
                    },
                };
                solo.take_over(call, guest, &mut backup);
                solo
            }
        }
    }

    /// FT 2.3-c, 2.2-a: does again what the dead primary may not have done, in the guest's order.
    fn take_over<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, backup: &mut Backup) {
        for shown in backup.take_kept() {
            if !mutation::is(Mutation::KeptNotShown) {
                self.live.emit(call, Outward::Shown(shown));
            }
        }
        let (outputs, entropy) = backup.take_loose_ends();
        for effect in outputs {
            // The guest produced it at its last step, and its entry was not received: it gets one now.
            self.live.recorder.mark(call.now, guest, call.metrics, &effect);
            if let shown @ Outward::Shown(_) = Outward::from(effect) {
                self.live.emit(call, shown);
            }
        }
        for bytes in entropy {
            self.live.emit(call, Outward::Entropy { bytes });
        }
        // FT 3.4-c: whether these requests were done is unknown, and doing them again does no harm.
        for request in guest.pending_disk() {
            if !mutation::is(Mutation::NoReissue) {
                self.live.disks.submit(request);
            }
        }
        self.live.issue(call);
    }

    /// Takes an event from the world. None of them changes the role.
    pub fn handle(&mut self, call: &mut Call<'_>, event: Event) {
        // A replica that is alone has no peer, no open claim, and nobody to leave the VM to.
        self.live.handle(call, event);
        self.live.issue(call);
    }

    /// Runs the guest for a slice, shows what it did, and gives the change of role once it is off.
    pub fn slice<G: Guest>(&mut self, call: &mut Call<'_>, cut: &dyn Cut, guest: &mut G) -> Option<Change> {
        self.live.recorder.look(call.now, call.metrics);
        for produced in self.live.slice(call, cut, guest) {
            self.live.emit(call, produced.outward);
        }
        self.live.issue(call);
        let over = self.live.is_over();
        let due = self.flush_due();
        if self.live.file && (over.is_some() || due.is_some_and(|due| due <= call.now)) {
            for frame in self.live.recorder.flush(call.now, guest, call.metrics) {
                call.out.push_back(Action::Append(frame.bytes));
            }
        }
        over.map(Change::Off)
    }

    /// See [`crate::Node::console_room`].
    pub fn console_room(&self) -> usize {
        self.live.recorder.console_room()
    }

    /// When the log is to be written to its file. No output waits for that, so none is in a hurry.
    fn flush_due(&self) -> Option<Time> {
        let log = &self.live.recorder.log;
        log.due(limits::FLUSH_EVERY_IDLE, limits::FLUSH_EVERY)
    }

    /// The earliest time at which there is something to do; `None`: only when an event comes.
    pub fn deadline(&self) -> Option<Time> {
        let flush = self.flush_due();
        let over = self.live.is_over().map(|_| Time(0));
        earliest([self.live.recorder.wake(), flush, over])
    }
}
