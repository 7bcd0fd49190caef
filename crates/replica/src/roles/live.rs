//! `Live`: what a replica that runs a live guest has, alone or as a primary: the recorder and the disks.

use machine::{Cut, PowerState};

use crate::event::{Action, DiskAnswer};
use crate::guest::Guest;
use crate::guest::disks::Disks;
use crate::guest::outputs::{Outputs, Outward};
use crate::guest::record::{Activity, Produced, Recorder};
use crate::roles::context::Context;

/// A live guest's keeper.
#[derive(Debug)]
pub struct Live {
    /// Runs it.
    pub recorder: Recorder,
    /// Its requests.
    pub disks: Disks,
    /// Is the log written to a file?
    pub file: bool,
}

impl Live {
    /// A disk has answered.
    pub fn on_disk_done(&mut self, cx: &mut Context<'_>, answer: DiskAnswer) {
        if let Some(input) = self.disks.done(answer) {
            self.recorder.accept(cx.metrics, input);
        }
        self.take_refused(cx);
    }

    /// Runs the guest for a slice.
    pub fn slice<G: Guest>(&mut self, cx: &mut Context<'_>, cut: &dyn Cut, guest: &mut G) -> Vec<Produced> {
        let mut produced = Vec::new();
        self.recorder.slice(cx.now, cut, guest, cx.metrics, &mut produced);
        produced
    }

    /// Gives what may leave to whom it concerns.
    pub fn emit(&mut self, cx: &mut Context<'_>, outward: Outward) {
        match outward {
            Outward::Shown(shown) => {
                cx.metrics.outputs_released += 1;
                cx.out.push_back(Action::Release(shown));
            }
            Outward::Disk(request) => {
                cx.metrics.outputs_released += u64::from(Outputs.is_change(&request));
                self.disks.submit(request);
            }
            Outward::Entropy { bytes } => cx.out.push_back(Action::Entropy { bytes }),
        }
        self.take_refused(cx);
    }

    fn take_refused(&mut self, cx: &mut Context<'_>) {
        while let Some(input) = self.disks.take_refused() {
            self.recorder.accept(cx.metrics, input);
        }
    }

    /// Sends the next request to its disk, if one may go.
    pub fn issue_one(&mut self, cx: &mut Context<'_>, writes: bool) -> bool {
        let request = self.disks.next(writes);
        cx.metrics.disk_in_flight = self.disks.in_flight() as u64;
        let some = request.is_some();
        cx.out.extend(request.map(Action::Disk));
        some
    }

    /// Sends all requests to the disks that may go.
    pub fn issue(&mut self, cx: &mut Context<'_>) {
        while self.issue_one(cx, true) {}
    }

    /// The guest is off and no write is on its way.
    pub fn is_over(&self) -> Option<PowerState> {
        match self.recorder.activity() {
            Activity::Off(state) if !self.disks.changes_left() => Some(state),
            _ => None,
        }
    }
}
