//! `Live`: a guest that runs live, with the recorder that runs it and its requests to disks. `Solo` and
//! `Primary` each have one, and call it for every slice and every answer of a disk.
//!
//! A process may be on its way to be the backup (`Source`), beside a backup or without one: `live/cloning`
//! has what is done for it. A snapshot of the guest may be under way: `live/snapshotting`.
//!
//! `Live` knows no output rule: what is given to `emit` leaves, so a primary gives it nothing that must wait.

use std::collections::VecDeque;

use machine::{Cut, PowerState};

use crate::clone::source::{End, Source};
use crate::event::{Action, DiskAnswer, Event, News};
use crate::guest::Guest;
use crate::guest::clock::GuestClock;
use crate::guest::disks::Disks;
use crate::guest::framing::Log;
use crate::guest::outputs::{Outputs, Outward};
use crate::guest::record::{Activity, Produced, Recorder};
use crate::mutation;
use crate::mutation::Mutation;
use crate::options::Options;
use crate::roles::backup::Backup;
use crate::roles::call::Call;
use crate::snapshot::Snapshot;
use vmlog::codec::{Encoder, Frame};
use vmlog::entry::{Mark, Seq};

mod cloning;
mod snapshotting;

pub use cloning::refuse;

/// What runs a live guest: its recorder and its requests to disks.
#[derive(Debug)]
pub struct Live {
    /// Runs the guest and writes its log.
    pub recorder: Recorder,
    /// The guest's disk requests that are not done.
    pub disks: Disks,
    /// Is the log written to a file?
    pub file: bool,
    /// How many outputs of the guest's life have left.
    pub released: u64,
    /// The process that is on its way to be the backup; `None`: there is none.
    clone: Option<Source>,
    /// Why the clone comes to its end in the next slice; `None`: it goes on.
    clone_end: Option<End>,
    /// The snapshot of the guest that is under way; `None`: there is none.
    snapshot: Option<Snapshot>,
    /// Are requests kept from the disks for the sake of the snapshot?
    is_quiesced: bool,
    /// Whether the operator wants the guest to stand; `None`: nothing new is wanted.
    wish: Option<bool>,
    /// The entry by which the guest stands, or runs again, while the operator has not heard of that.
    untold: Option<Seq>,
}

impl Live {
    /// A guest that runs live from the step where it stands, with no request at a disk. With `options.record`
    /// its log goes to a file, which begins here; `has_peer`: the log is wanted in any case.
    pub fn from_start<G: Guest>(call: &mut Call<'_>, guest: &G, options: &Options, has_peer: bool) -> Live {
        let file = options.record.is_some();
        if let Some(header) = &options.record {
            call.out.push_back(Action::Append(header.to_file()));
        }
        Live {
            recorder: Recorder::from_start(call.now, guest, options, has_peer || file),
            disks: Disks::default(),
            file,
            released: 0,
            clone: None,
            clone_end: None,
            snapshot: None,
            is_quiesced: false,
            wish: None,
            untold: None,
        }
    }

    /// What runs on a backup's guest once the backup has won its claim, with no request at a disk. The log
    /// goes on where the primary's ended. `wanted`: somebody reads it.
    pub fn from_backup<G: Guest>(
        call: &mut Call<'_>,
        guest: &G,
        options: &Options,
        backup: &Backup,
        wanted: bool,
    ) -> Live {
        let file = options.record.is_some();
        let (base, mtime) = backup.clock(call.now, guest.mtime());
        let log = Log::new(Encoder::resume(backup.decoder().base()), wanted || file);
        let clock = GuestClock::new(base, mtime);
        let mut recorder = Recorder::new(log, clock, options.digest_every, guest.now());
        if let Some(state) = backup.off() {
            recorder.set_off(state);
        }
        recorder.paused = backup.is_paused();
        Live {
            recorder,
            disks: Disks::default(),
            file,
            released: backup.outputs(),
            clone: None,
            clone_end: None,
            snapshot: None,
            is_quiesced: false,
            wish: None,
            // The operator hears that the guest stands here as it did there.
            untold: backup.is_paused().then_some(Seq(0)),
        }
    }

    /// FT 2.3-c: does again what the guest has begun and the primary may not have ended: the wishes for
    /// random bytes, and the requests to disks.
    pub fn take_up<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, entropy: Vec<u32>) {
        for bytes in entropy {
            self.emit(call, Outward::Entropy { bytes });
        }
        // FT 3.4-c: whether these requests were done is unknown, and doing them again does no harm.
        for request in guest.pending_disk() {
            if !mutation::is(Mutation::NoReissue) {
                self.disks.submit(request);
            }
        }
        self.take_refused(call);
    }

    /// Takes an event that is for the guest, an input or the answer of a disk, or that concerns the clone. No
    /// other event means anything to a live guest, whatever it means to the role.
    pub fn handle(&mut self, call: &mut Call<'_>, event: Event) {
        self.tell_clone(call, &event);
        match event {
            Event::Input(input) => self.recorder.accept(call.metrics, input),
            Event::DiskDone(answer) => self.on_disk_done(call, answer),
            Event::Pause(paused) => self.wish = Some(paused),
            Event::Unprotect => self.abandon_clone("the VM's operator wants no backup"),
            Event::Snapshot(event) => self.on_snapshot(call, &event),
            Event::Peer(..)
            | Event::LinkLost(_)
            | Event::Heartbeat(..)
            | Event::Verdict(..)
            | Event::Ports(_)
            | Event::Leave
            | Event::HandOver
            | Event::Joined(_)
            | Event::Bulk(..)
            | Event::BulkRoom { .. }
            | Event::Checked(..) => {}
        }
    }

    /// Has the guest stand, or run again, as its operator wants. The log says so (FT 3.3-a), and the operator
    /// hears of it once that is `acknowledged`: then a takeover changes nothing of it.
    pub fn obey<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, acknowledged: Seq) {
        let is_off = self.is_off();
        if let Some(paused) = self.wish.take().filter(|_| !is_off) {
            self.recorder.paused = paused;
            let mark = Mark::Paused(paused);
            self.recorder.put(call.now, guest, call.metrics, mark);
            self.untold = Some(self.recorder.log.seq());
        }
        if self.untold.take_if(|mark| *mark <= acknowledged).is_some() {
            let news = News::Paused(self.recorder.paused);
            call.out.push_back(Action::Tell(news));
        }
    }

    /// Takes a disk's answer, which becomes an input of the guest.
    fn on_disk_done(&mut self, call: &mut Call<'_>, answer: DiskAnswer) {
        if let Some(input) = self.disks.done(answer) {
            self.recorder.accept(call.metrics, input);
        }
        self.take_refused(call);
    }

    /// Runs the guest for a slice, and gives what it produced, in order.
    pub fn slice<G: Guest>(&mut self, call: &mut Call<'_>, cut: &dyn Cut, guest: &mut G) -> Vec<Produced> {
        let mut produced = Vec::new();
        self.recorder
            .slice(call.now, cut, guest, call.metrics, &mut produced);
        produced
    }

    /// Hands out the log to its file and to the process that is on its way to be the backup. The frames are
    /// given for the backups that there are.
    pub fn hand_out<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G) -> VecDeque<Frame> {
        let frames = self.recorder.flush(call.now, guest, call.metrics);
        for frame in &frames {
            self.share(frame);
            if self.file {
                call.out.push_back(Action::Append(frame.bytes.clone()));
            }
        }
        frames
    }

    /// Lets an effect leave: a request for a disk joins the others, everything else becomes an action.
    pub fn emit(&mut self, call: &mut Call<'_>, outward: Outward) {
        match outward {
            Outward::Shown(shown) => {
                self.released += 1;
                call.metrics.outputs_released += 1;
                call.out.push_back(Action::Release(shown));
            }
            Outward::Disk(request) => {
                let is_output = u64::from(Outputs.is_change(&request));
                self.released += is_output;
                call.metrics.outputs_released += is_output;
                self.disks.submit(request);
            }
            Outward::Entropy { bytes } => call.out.push_back(Action::Entropy { bytes }),
        }
        self.take_refused(call);
    }

    /// Hands the guest the answers to requests that no disk was asked for.
    fn take_refused(&mut self, call: &mut Call<'_>) {
        while let Some(input) = self.disks.take_refused() {
            self.recorder.accept(call.metrics, input);
        }
    }

    /// Sends the next request to its disk, if one may go. Without `writes` none that changes a disk goes.
    pub fn issue_one(&mut self, call: &mut Call<'_>, writes: bool) -> bool {
        let request = self.disks.next(writes);
        call.metrics.disk_in_flight = self.disks.in_flight() as u64;
        let some = request.is_some();
        call.out.extend(request.map(Action::Disk));
        some
    }

    /// Sends every request that may go, writes among them: for a replica that is alone and needs no lease.
    pub fn issue(&mut self, call: &mut Call<'_>) {
        while self.issue_one(call, true) {}
    }

    /// Is the guest off, whatever is left to be done for it?
    pub fn is_off(&self) -> bool {
        matches!(self.recorder.activity(), Activity::Off(_))
    }

    /// The guest's power state, if it is off and no request is left that must be finished.
    pub fn is_over(&self) -> Option<PowerState> {
        match self.recorder.activity() {
            Activity::Off(state) if !self.disks.changes_left() => Some(state),
            _ => None,
        }
    }
}
