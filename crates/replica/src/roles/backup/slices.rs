//! What a backup does in each slice of the guest: it runs the guest by the log, keeps the outputs that may
//! not have left the primary, and tells the primary how far it is.
//!
//! `Node` calls this for a backup, `Apprentice` and `Claiming` for the backup that they hold. What the
//! primary says in between is taken in by `backup`. No output is ever shown here.

use machine::{Cut, DiskOperation, PowerState, Step};

use super::Backup;
use crate::event::Shown;
use crate::guest::Guest;
use crate::guest::outputs::Outward;
use crate::guest::replay::{Headway, Replayed};
use crate::limits;
use crate::roles::call::{Call, earliest, send};
use crate::roles::gate;
use crate::roles::table::Change;
use crate::snapshot::{self, Snapshot};
use messages::message::Message;
use messages::time::Time;

impl Backup {
    /// Replays the log for one slice. With `draining` the limit of kept outputs does not count: no more log
    /// will come, so there can be no more of them than the log at hand has.
    ///
    /// # Errors
    /// The guest has parted from the log; the divergence is given as the change of role that follows from it.
    pub fn replay<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        cut: &dyn Cut,
        guest: &mut G,
        draining: bool,
    ) -> Result<Headway, Change> {
        self.speed.look(call.now);
        if !draining && self.kept_bytes >= limits::KEPT_BYTES_MAX {
            return Ok(Headway::Blocked);
        }
        let begin = guest.now();
        let mut replayed = Vec::new();
        let steps = self.speed.slice_steps();
        let result = self.replayer.slice(guest, cut, steps, Step::NEVER, &mut replayed);
        for replayed in replayed {
            // FT 2-e: the outputs are dropped, or kept until the primary's have left.
            if let Replayed::Output { index, effect } = replayed {
                call.metrics.outputs = index;
                if index > self.released
                    && let Outward::Shown(shown) = Outward::from(effect)
                {
                    self.kept_bytes += gate::cost(shown.bytes());
                    self.kept.push_back((index, shown));
                }
            }
        }
        let progress = result.map_err(Change::Diverged)?;
        if progress == Headway::Busy {
            self.speed.ran(call.now, guest.now().since(begin));
        }
        self.measure(call, guest.now());
        Ok(progress)
    }

    fn measure(&mut self, call: &mut Call<'_>, here: Step) {
        let now = call.now;
        let metrics = &mut *call.metrics;
        metrics.step = here;
        metrics.steps_per_second = self.speed.steps_per_second();
        metrics.digests = self.replayer.digests();
        metrics.buffered_bytes = self.replayer.buffered();
        metrics.lag_steps = self.replayer.horizon().map_or(0, |step| step.since(here));
        metrics.lag = self.lag.on_executed(now, here);
        metrics.outputs_held = self.kept.len() as u64;
        metrics.held_bytes = self.kept_bytes as u64;
        metrics.outputs_released = self.released;
    }

    /// Runs the guest by the log for one slice, and sends the heartbeat and the acknowledgement that are due.
    pub fn slice<G: Guest>(&mut self, call: &mut Call<'_>, cut: &dyn Cut, guest: &mut G) -> Option<Change> {
        if let Some(change) = self.wait(call) {
            return Some(change);
        }
        self.serve_snapshot(call, guest);
        if self.stands(guest) {
            return None;
        }
        let progress = match self.replay(call, cut, guest, self.ended) {
            Ok(progress) => progress,
            Err(change) => {
                if let Change::Diverged(divergence) = &change {
                    let (at, part) = (divergence.at, divergence.part.clone());
                    send(call, self.primary, Message::Diverged { at, part });
                }
                return Some(change);
            }
        };
        self.tell_progress(call, guest.now());
        match progress {
            // FT 3.3-a: this side ends with its guest instead of going live.
            Headway::Off(state) if self.ended => Some(Change::Off(state)),
            Headway::Drained if self.ended => {
                Some(Change::Broken("it ended though the guest is not off".to_owned()))
            }
            _ => None,
        }
    }

    /// What stands in the way of a snapshot of this side's guest; `None`: nothing. With `disks` it would have
    /// to be taken when no request is at a disk, which only the side knows that is live.
    pub fn why_no_snapshot(&self, disks: bool) -> Option<&'static str> {
        if disks {
            Some("it has disks, and only the process that is live knows when they are quiet: ask that one")
        } else {
            self.snapshot
                .as_ref()
                .map(|_| "another snapshot of it is being taken")
        }
    }

    /// Does for the snapshot what is due before a slice. Any step is one of the VM's life, so it need not be
    /// waited for, and nobody else need know of it.
    fn serve_snapshot<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G) {
        let Some(mut snapshot) = self.snapshot.take() else {
            return;
        };
        let taken = if snapshot.is_wanted() {
            snapshot.take(call, guest)
        } else {
            Ok(())
        };
        match taken.and_then(|()| snapshot.go_on(call, guest)) {
            Ok(true) => {}
            Ok(false) => self.snapshot = Some(snapshot),
            Err(why) => snapshot::fail(call, guest, why),
        }
    }

    /// The snapshot, if one is under way, comes to nothing, for this reason: the guest must be free to run.
    pub fn drop_snapshot<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G, why: &str) {
        if self.snapshot.take().is_some() {
            snapshot::fail(call, guest, why.to_owned());
        }
    }

    /// Must the replay stand, because the snapshot has hardly room left for pages as they were?
    fn stands<G: Guest>(&self, guest: &G) -> bool {
        self.snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.holds(guest))
    }

    /// Keeps the pair alive in a slice in which there is nothing to replay.
    pub fn wait(&mut self, call: &mut Call<'_>) -> Option<Change> {
        self.detector.look(call.now);
        if let Some(change) = self.suspect(call.now) {
            return Some(change);
        }
        if self.pulse.due() <= call.now {
            self.beat(call);
        }
        None
    }

    /// When there is something to do for the pair, whatever the guest does.
    pub fn watch(&self) -> Time {
        self.pulse.due().min(self.detector.deadline())
    }

    /// Sends an acknowledgement that no message asked for, so that the primary does not stand or slow down
    /// for old news: all is executed by now, or a buffer that was half full is below a quarter.
    fn tell_progress(&mut self, call: &mut Call<'_>, executed: Step) {
        let Some((told, at)) = self.told else {
            return;
        };
        let drained = self.replayer.is_drained() && told.executed < executed;
        let opened = told.buffered > limits::BUFFER_COST_MAX / 2
            && self.replayer.buffered() < limits::BUFFER_COST_MAX / 4;
        if opened || (drained && call.now.since(at) >= limits::PACE_EVERY) {
            self.acknowledge(call, executed);
        }
    }

    /// The guest's power state, if it is off.
    pub fn off(&self) -> Option<PowerState> {
        self.replayer.off()
    }

    /// The guest's power state, if it is off and all that it showed or wrote has left: no need to go live.
    pub fn is_over<G: Guest>(&self, guest: &G) -> Option<PowerState> {
        let state = self.replayer.off()?;
        let off = |(_, shown): &(u64, Shown)| matches!(shown, Shown::Power(_));
        let reads = |operation: &DiskOperation| matches!(operation, DiskOperation::Read { .. });
        let pending = guest.pending_disk();
        let nothing = self.kept.iter().all(off) && pending.iter().all(|request| reads(&request.operation));
        nothing.then_some(state)
    }

    /// Takes out the outputs that may not have left, oldest first, each with its number in the guest's life.
    pub fn take_kept(&mut self) -> impl Iterator<Item = (u64, Shown)> + use<> {
        self.kept_bytes = 0;
        std::mem::take(&mut self.kept).into_iter()
    }

    /// How many outputs of the guest's life have left: all, if none is kept. A change of a disk that may not
    /// have left is none of them: the guest knows that it is not done.
    pub fn left(&self) -> u64 {
        if self.kept.is_empty() {
            self.outputs()
        } else {
            self.released
        }
    }

    /// The earliest time at which there is something to do; `None`: only when an event comes.
    pub fn deadline(&self) -> Option<Time> {
        // FT 3.2-c: the guest stands while there is no log to replay, and while too many outputs are kept.
        let idle = self.replayer.is_drained() && !self.replayer.hashes();
        let blocked = idle || self.kept_bytes >= limits::KEPT_BYTES_MAX;
        let run = if blocked && !self.ended {
            None
        } else {
            Some(Time(0))
        };
        let snapshot = self.snapshot.as_ref().and_then(Snapshot::deadline);
        earliest([run, Some(self.watch()), snapshot])
    }

    /// When the last `Clock` entry came, and its `mtime`; `now` and `shown` if none has come.
    pub fn clock(&self, now: Time, shown: u64) -> (Time, u64) {
        self.clock.unwrap_or((now, shown))
    }
}
