//! `Primary`: runs the guest, sends its log, and lets nothing out that the backup could contradict.

use std::collections::VecDeque;

use machine::{Cut, PowerState};

use crate::event::{Action, Event, Next, Suspicion};
use crate::guest::Guest;
use crate::guest::disks::Disks;
use crate::guest::outputs::Outward;
use crate::guest::record::{Produced, Recorder};
use crate::log::entry::Seq;
use crate::mutation::Mutation;
use crate::options::PairOptions;
use crate::peer::channel::Sender;
use crate::peer::detect::Detector;
use crate::peer::message::{Beat, Message};
use crate::peer::pace::Pace;
use crate::peer::pulse::Pulse;
use crate::roles::call::{Call, earliest, send};
use crate::roles::gate::{Gate, Output};
use crate::roles::live::Live;
use crate::roles::table::Change;
use crate::time::{Span, Time};
use crate::{limits, mutation};

/// The half of a pair that the world sees.
#[derive(Debug)]
pub struct Primary {
    live: Live,
    gate: Gate,
    sender: Sender,
    detector: Detector,
    pace: Pace,
    /// Outputs that have left.
    released: u64,
    /// Bytes of outputs that have left since the backup was told.
    untold: usize,
    pulse: Pulse,
    /// Since when the guest stands because something is full.
    stands: Option<Time>,
    /// Since when it is about to leave the VM to the backup: the guest stands, and nothing more is shown.
    leaving: Option<Time>,
    /// From sending something to its acknowledgement, the last time.
    round_trip: Span,
    /// The same of the last few heartbeats, which wait behind nothing.
    beats: VecDeque<Span>,
}

impl Primary {
    /// From the step where the guest stands, with a backup at the same step.
    pub fn new<G: Guest>(call: &mut Call<'_>, guest: &G, options: &PairOptions) -> Primary {
        let file = options.run.record.is_some();
        if let Some(header) = &options.run.record {
            call.out.push_back(Action::Append(header.to_file()));
        }
        let detector = Detector::new(call.now, options.timeout);
        let mut primary = Primary {
            live: Live {
                recorder: Recorder::from_start(call.now, guest, &options.run, true),
                disks: Disks::default(),
                file,
            },
            gate: Gate::default(),
            sender: Sender::new(call.now, options.timeout),
            pulse: Pulse::new(call.now, options.epoch, options.owner, detector.interval()),
            detector,
            pace: Pace::new(call.now),
            released: 0,
            untold: 0,
            stands: None,
            leaving: None,
            round_trip: Span(0),
            beats: VecDeque::new(),
        };
        // The first sign of life, so that the first acknowledgement brings the first lease.
        primary.send_keepalive(call);
        primary
    }

    /// What lives on after a claim.
    pub fn into_parts(self) -> (Live, Gate) {
        (self.live, self.gate)
    }

    /// Queues what comes while the arbiter is asked; the guest does not run.
    pub fn handle_while_claiming(&mut self, call: &mut Call<'_>, event: Event) {
        match event {
            Event::Input(input) => self.live.recorder.accept(call.metrics, input),
            Event::DiskDone(answer) => self.live.on_disk_done(call, answer),
            Event::Peer(_)
            | Event::LinkLost
            | Event::Heartbeat(_)
            | Event::Verdict(..)
            | Event::Ports(_)
            | Event::Leave => {}
        }
    }

    /// Takes what the world tells.
    pub fn handle(&mut self, call: &mut Call<'_>, event: Event) -> Option<Change> {
        self.detector.look(call.now);
        match event {
            Event::Peer(bytes) => {
                if let Some(change) = self.on_peer(call, &bytes) {
                    return Some(change);
                }
            }
            Event::LinkLost => return Some(Change::Suspect(Suspicion::LinkLost)),
            Event::Heartbeat(bytes) => {
                if let Some(Beat::Echo(echo)) = self.pulse.hear(&bytes) {
                    self.detector.on_heartbeat(call.now);
                    if let Some(echo) = echo
                        && self.sender.on_beat(echo)
                    {
                        self.note_beat(call.now.since(echo));
                    }
                }
            }
            Event::Input(input) => self.live.recorder.accept(call.metrics, input),
            Event::DiskDone(answer) => self.live.on_disk_done(call, answer),
            Event::Leave if self.leaving.is_none() => {
                self.leaving = Some(call.now);
                // Is there still anybody to leave the VM to?
                self.send_keepalive(call);
            }
            Event::Leave => {}
            Event::Verdict(..) | Event::Ports(_) => {}
        }
        self.suspect(call.now)
    }

    fn on_peer(&mut self, call: &mut Call<'_>, bytes: &[u8]) -> Option<Change> {
        let garbage = Some(Change::Suspect(Suspicion::Garbage));
        match Message::decode(bytes) {
            Ok(Message::Ack(ack)) => {
                let step = self.live.recorder.log.step();
                let Ok(told) = self.sender.on_ack(&ack, step) else {
                    return garbage;
                };
                self.detector.on_message(call.now);
                self.gate.acknowledge(ack.received);
                if told.newer {
                    self.round_trip = call.now.since(ack.echo);
                    call.metrics.round_trip.add(self.round_trip);
                }
                let queued = told.frame.map(|sent| self.queued(call.now.since(sent)));
                self.pace
                    .on_executed(call.now, step, &ack, queued, self.round_trip);
                call.metrics.acks += 1;
                call.metrics.lag = self.pace.lag();
                call.metrics.lag_steps = self.pace.lag_steps();
                call.metrics.speed_permille = self.pace.permille();
                // Acknowledgements open the window.
                self.send_frames(call);
                None
            }
            Ok(Message::Diverged { .. }) => Some(Change::Suspect(Suspicion::Diverged)),
            _ => garbage,
        }
    }

    fn note_beat(&mut self, round_trip: Span) {
        self.beats.truncate(limits::BEATS_REMEMBERED - 1);
        self.beats.push_front(round_trip);
    }

    /// How long a frame that took so long to be acknowledged has waited for others to get through the link:
    /// what it took longer than two heartbeats, since TCP may keep a frame for one round trip by itself when
    /// its window is small. Unknown without heartbeats, and then nothing.
    fn queued(&self, took: Span) -> Span {
        let bare = self.beats.iter().min().copied().unwrap_or(took);
        let queued = Span(took.0.saturating_sub(2 * bare.0));
        // Less than that is TCP's own, on a long path with a small window or after a lost packet.
        if queued < limits::QUEUED_MIN {
            return Span(0);
        }
        queued
    }

    /// Is it about to leave the VM to the backup?
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    fn suspect(&self, now: Time) -> Option<Change> {
        if let Some(why) = self.detector.suspects(now) {
            return Some(Change::Suspect(why));
        }
        let stands = self
            .stands
            .is_some_and(|since| now.since(since) >= limits::SLOW_DROP);
        // A backup that cannot follow is no protection, and holds everything up (D10).
        (stands || self.pace.is_hopeless(now)).then_some(Change::Suspect(Suspicion::Slow))
    }

    /// Time since the backup's last sign of life.
    pub fn silence(&self, now: Time) -> crate::time::Span {
        self.detector.silence(now)
    }

    /// Runs the guest for a slice, if it may run.
    pub fn slice<G: Guest>(&mut self, call: &mut Call<'_>, cut: &dyn Cut, guest: &mut G) -> Option<Change> {
        self.detector.look(call.now);
        if let Some(change) = self.suspect(call.now) {
            return Some(change);
        }
        self.live.recorder.look(call.now, call.metrics);
        self.pace.look(call.now);
        self.notice_standing(call);
        if self.leaving.is_none() && self.stands.is_none() && self.pace.rest().is_none() {
            self.pace.on_slice(call.now);
            for produced in self.live.slice(call, cut, guest) {
                self.hold(call, produced);
            }
        }
        self.flush(call, guest);
        self.beat(call);
        None
    }

    /// Leaves the VM to the backup as soon as that has all that it needs, and has shown that it is there.
    /// What a disk is doing must be over: it would be late if it landed after the backup has gone live.
    fn leave(&mut self, call: &mut Call<'_>, since: Time) -> Option<Change> {
        let late = call.now.since(since) >= limits::LEAVE_PATIENCE;
        let told = self.flush_due().is_none() && !self.sender.is_unsent() && self.sender.is_quiet();
        let settled = told && self.live.disks.in_flight() == 0 && self.sender.is_answered_since(since);
        if settled {
            let released = self.released;
            send(call, Message::HandOver { released });
            if mutation::is(Mutation::LeaveAndStay) {
                self.leaving = None;
                return None;
            }
        }
        // Who cannot wait any longer goes without a word: for the backup it has died.
        (settled || late).then_some(Change::Left)
    }

    /// FT 3.2-c: a full buffer stops the guest.
    fn notice_standing(&mut self, call: &mut Call<'_>) {
        let full = self.sender.is_full() || self.gate.is_full() || self.pace.is_stopped();
        match self.stands {
            None if full => self.stands = Some(call.now),
            Some(since) if !full => {
                call.metrics.stalled.0 += call.now.since(since).0;
                self.stands = None;
            }
            _ => {}
        }
        call.metrics.stalled_now = full;
    }

    /// FT 2.2-c, FT 2.2-d: the output waits, the guest does not.
    fn hold(&mut self, call: &mut Call<'_>, produced: Produced) {
        let Produced { outward, entry } = produced;
        let is_output = entry != Seq(0);
        let bytes = outward.bytes();
        let output = match outward {
            Outward::Shown(shown) if is_output => Output::Shown(shown),
            Outward::Disk(request) if is_output => Output::Change(self.live.disks.hold(request)),
            outward => return self.live.emit(call, outward),
        };
        self.gate.hold(entry, output, bytes);
        self.count_held(call);
    }

    fn count_held(&self, call: &mut Call<'_>) {
        call.metrics.outputs_held = self.gate.len() as u64;
        call.metrics.held_bytes = self.gate.bytes() as u64;
    }

    /// An output's entry goes at once (FT 3.5-c) if nothing else is on its way; otherwise the next
    /// acknowledgement is near, and all outputs up to then share a message. A busy guest's messages are what
    /// a pair costs most.
    fn flush_due(&self) -> Option<Time> {
        let hurry = if self.sender.is_quiet() {
            Span(0)
        } else {
            limits::FLUSH_COMPANY
        };
        self.live.recorder.flush_due(hurry)
    }

    fn flush<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G) {
        let leaving = self.leaving.is_some();
        if self.flush_due().is_some_and(|due| leaving || due <= call.now) {
            let frames = self.live.recorder.flush(call.now, guest, call.metrics);
            for frame in frames {
                if self.live.file {
                    call.out.push_back(Action::Append(frame.bytes.clone()));
                }
                self.sender.push(frame);
            }
        }
        self.send_frames(call);
        if self.sender.keepalive_due() <= call.now || self.untold >= limits::RELEASED_BYTES_TELL {
            self.send_keepalive(call);
        }
    }

    fn send_frames(&mut self, call: &mut Call<'_>) {
        while let Some(log) = self.sender.next(call.now, self.released) {
            self.untold = 0;
            send(call, Message::Log(log));
        }
        call.metrics.buffered_bytes = self.sender.buffered();
    }

    fn send_keepalive(&mut self, call: &mut Call<'_>) {
        let log = self.sender.keepalive(call.now, self.released);
        self.untold = 0;
        send(call, Message::Log(log));
    }

    /// While acknowledgements come, a heartbeat now and then is enough: it keeps firewalls open.
    fn beat(&mut self, call: &mut Call<'_>) {
        if self.pulse.due() > call.now {
            return;
        }
        let interval = self.detector.interval();
        let rarely = Span(interval.0 * limits::HEARTBEATS_PER_TIMEOUT);
        if self.detector.link_silence(call.now) >= interval || self.pulse.silence(call.now) >= rarely {
            let sent = self.sender.beat(call.now);
            call.out.push_back(self.pulse.send(call.now, Beat::Sent(sent)));
        } else {
            self.pulse.skip(call.now, 1);
        }
    }

    /// Call at every poll: tells new outputs how old they are.
    pub fn look(&mut self, now: Time) {
        self.gate.look(now);
    }

    /// Lets the next output go, if it is acknowledged and the lease holds at this very moment.
    pub fn release(&mut self, call: &mut Call<'_>) -> Option<Change> {
        if let Some(since) = self.leaving {
            return self.leave(call, since);
        }
        while self.sender.has_lease(call.now) {
            let Some(released) = self.gate.release(call.now) else {
                break;
            };
            self.released += 1;
            self.untold += released.bytes;
            call.metrics.outputs_released = self.released;
            call.metrics.output_delay.add(released.delay);
            self.count_held(call);
            match released.output {
                Output::Change(id) => self.live.disks.release(id),
                Output::Shown(shown) => {
                    // One at a time: the next one looks at the clock again.
                    call.out.push_back(Action::Release(shown));
                    return None;
                }
            }
        }
        if self.live.issue_one(call, self.sender.has_lease(call.now)) {
            return None;
        }
        let state = self.is_over()?;
        // FT 3.3-a: the backup must not go live from a guest that was switched off.
        send(
            call,
            Message::Ended {
                released: self.released,
            },
        );
        Some(Change::Off(state))
    }

    /// The guest is off, the backup knows, and everything has left.
    fn is_over(&self) -> Option<PowerState> {
        let state = self.live.is_over()?;
        let known = self.sender.acknowledged() >= self.live.recorder.log.seq();
        (known && self.gate.is_empty()).then_some(state)
    }

    /// When to be called again.
    pub fn next(&self, now: Time) -> Next {
        match self.deadline() {
            Some(time) if time <= now => Next::Busy,
            deadline => Next::At(deadline),
        }
    }

    /// The earliest thing to do.
    pub fn deadline(&self) -> Option<Time> {
        let wake = if self.stands.is_some() || self.leaving.is_some() {
            None
        } else {
            self.live.recorder.wake()
        };
        let wake = match self.pace.rest() {
            Some(rest) => wake.map(|wake| wake.max(rest)),
            None => wake,
        };
        earliest([
            wake,
            self.flush_due(),
            self.leaving.map(|since| since.after(limits::LEAVE_PATIENCE)),
            Some(self.sender.keepalive_due()),
            Some(self.pulse.due()),
            Some(self.detector.deadline()),
        ])
    }
}
