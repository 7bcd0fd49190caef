//! `Live`: what a replica that runs a live guest has, alone or as a primary: the recorder and the disks.

use machine::{Cut, PowerState};

use crate::event::{Action, DiskAnswer};
use crate::guest::Guest;
use crate::guest::disks::Disks;
use crate::guest::outputs::{Outputs, Outward};
use crate::guest::record::{Activity, Produced, Recorder};
use crate::roles::call::Call;

/// A live guest's keeper.
#[derive(Debug)]
pub struct Live {
    /// Runs the guest and writes its log.
    pub recorder: Recorder,
    /// The guest's disk requests that are not done.
    pub disks: Disks,
    /// Is the log written to a file?
    pub file: bool,
}

impl Live {
    /// A disk has answered.
    pub fn on_disk_done(&mut self, call: &mut Call<'_>, answer: DiskAnswer) {
        if let Some(input) = self.disks.done(answer) {
            self.recorder.accept(call.metrics, input);
        }
        self.take_refused(call);
    }

    /// Runs the guest for a slice.
    pub fn slice<G: Guest>(&mut self, call: &mut Call<'_>, cut: &dyn Cut, guest: &mut G) -> Vec<Produced> {
        let mut produced = Vec::new();
        self.recorder
            .slice(call.now, cut, guest, call.metrics, &mut produced);
        produced
    }

    /// Gives what may leave to whom it concerns.
    pub fn emit(&mut self, call: &mut Call<'_>, outward: Outward) {
        match outward {
            Outward::Shown(shown) => {
                call.metrics.outputs_released += 1;
                call.out.push_back(Action::Release(shown));
            }
            Outward::Disk(request) => {
                call.metrics.outputs_released += u64::from(Outputs.is_change(&request));
                self.disks.submit(request);
            }
            Outward::Entropy { bytes } => call.out.push_back(Action::Entropy { bytes }),
        }
        self.take_refused(call);
    }

    fn take_refused(&mut self, call: &mut Call<'_>) {
        while let Some(input) = self.disks.take_refused() {
            self.recorder.accept(call.metrics, input);
        }
    }

    /// Sends the next request to its disk, if one may go.
    pub fn issue_one(&mut self, call: &mut Call<'_>, writes: bool) -> bool {
        let request = self.disks.next(writes);
        call.metrics.disk_in_flight = self.disks.in_flight() as u64;
        let some = request.is_some();
        call.out.extend(request.map(Action::Disk));
        some
    }

    /// Sends all requests to the disks that may go.
    pub fn issue(&mut self, call: &mut Call<'_>) {
        while self.issue_one(call, true) {}
    }

    /// The guest is off and no write is on its way.
    pub fn is_over(&self) -> Option<PowerState> {
        match self.recorder.activity() {
            Activity::Off(state) if !self.disks.changes_left() => Some(state),
            _ => None,
        }
    }
}
