//! `Primary`: the role that runs the guest, sends its log, and lets out what its backup cannot contradict.
//!
//! `Node` gives it inputs, answers and the backup's messages. Its recorder runs the guest and writes the log,
//! `peer/channel` sends the log, and the gate holds each output until the backup has the output's entry
//! (FT 2.2-c). When it suspects the backup it becomes `Claiming`.
//!
//! An output leaves only through `Primary::release`, and only while the lease holds. Nothing that the peer
//! sends makes a primary halt: it suspects such a peer.

use std::collections::VecDeque;

use machine::{Cut, PowerState};

use crate::event::{Action, Event, Suspicion};
use crate::guest::Guest;
use crate::guest::outputs::Outward;
use crate::guest::record::Produced;
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
    /// Outputs that wait for the backup to have their entries.
    gate: Gate,
    /// The primary's end of the logging channel, with the lease.
    sender: Sender,
    detector: Detector,
    pace: Pace,
    /// How many outputs of the guest's life have left; every message tells the backup.
    released: u64,
    /// Bytes of outputs that have left since the last message that told the backup.
    untold: usize,
    /// This side's heartbeats.
    pulse: Pulse,
    /// Since when the guest stands because a buffer is full or the backup too far behind; `None`: it runs.
    stands: Option<Time>,
    /// Since when it is about to leave the VM to the backup: the guest stands, and nothing more is shown.
    leaving: Option<Time>,
    /// How long the last message took from its sending to its acknowledgement.
    round_trip: Span,
    /// How long each of the last [`limits::BEATS_REMEMBERED`] heartbeats took to be answered, newest first.
    /// Unlike messages, heartbeats wait behind no other bytes.
    beats: VecDeque<Span>,
}

impl Primary {
    /// A primary whose guest stands at the step where the log begins, and whose backup stands there too.
    pub fn new<G: Guest>(call: &mut Call<'_>, guest: &G, options: &PairOptions) -> Primary {
        let detector = Detector::new(call.now, options.timeout);
        let mut primary = Primary {
            live: Live::from_start(call, guest, &options.run, true),
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

    /// What goes on alone after a claim is won: the live guest's keeper, and the outputs that were held.
    pub fn into_parts(self) -> (Live, Gate) {
        (self.live, self.gate)
    }

    /// Queues inputs and answers while the arbiter is asked. The guest stands; the peer is not heard.
    pub fn handle_while_claiming(&mut self, call: &mut Call<'_>, event: Event) {
        self.live.handle(call, event);
    }

    /// Takes an event from the world, and gives the change of role that follows from it.
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
            Event::Input(_) | Event::DiskDone(_) => self.live.handle(call, event),
            Event::Leave if self.leaving.is_none() => {
                self.leaving = Some(call.now);
                // The answer to this message will show that there is still a backup to leave the VM to.
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
                // The acknowledgement may have made room for frames that wait.
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

    /// How long a frame that `took` so long to be acknowledged has waited behind others in the link: what it
    /// took longer than two round trips of a heartbeat, because TCP with a small window may keep a frame for
    /// one round trip by itself. Zero if no heartbeat has been answered, since then nothing is known.
    fn queued(&self, took: Span) -> Span {
        let bare = self.beats.iter().min().copied().unwrap_or(took);
        let queued = Span(took.0.saturating_sub(2 * bare.0));
        // A shorter wait is TCP's own doing, on a long path with a small window or after a lost packet.
        if queued < limits::QUEUED_MIN {
            return Span(0);
        }
        queued
    }

    /// See [`crate::Node::console_room`]. A primary that leaves takes nothing that it would not log any more.
    pub fn console_room(&self) -> usize {
        if self.is_leaving() {
            0
        } else {
            self.live.recorder.console_room()
        }
    }

    /// Is this primary about to leave the VM to the backup?
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// The suspicion, if the backup has been silent or slow for too long.
    fn suspect(&self, now: Time) -> Option<Change> {
        if let Some(why) = self.detector.suspects(now) {
            return Some(Change::Suspect(why));
        }
        let stands = self
            .stands
            .is_some_and(|since| now.since(since) >= limits::SLOW_DROP);
        // A backup that cannot follow protects nothing and holds the guest up, so the primary drops it.
        (stands || self.pace.is_hopeless(now)).then_some(Change::Suspect(Suspicion::Slow))
    }

    /// Time since the backup's last sign of life.
    pub fn silence(&self, now: Time) -> Span {
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

    /// Leaves the VM to the backup, once it has the whole log and has answered something sent after the order
    /// to leave. No request may be at a disk: a late write would overwrite the backup's newer data.
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
        // A primary whose patience is over ends without a word, which for the backup is its death.
        (settled || late).then_some(Change::Left)
    }

    /// FT 3.2-c: notes since when a full buffer makes the guest stand, or that it stands no more.
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

    /// Holds what the guest has produced, if it is an output; anything else goes at once. The output waits
    /// (FT 2.2-c), the guest does not (FT 2.2-d).
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

    /// When the log must be flushed. An output's entry goes at once (FT 3.5-c) if no other frame is under
    /// way. If one is, the next acknowledgement is near, and all outputs up to then share a message: messages
    /// are what a pair with a busy guest costs most (docs/decisions/0011-outputs-in-company.md).
    fn flush_due(&self) -> Option<Time> {
        let hurry = if self.sender.is_quiet() {
            Span(0)
        } else {
            limits::FLUSH_COMPANY
        };
        self.live.recorder.flush_due(hurry)
    }

    /// Queues the frames that are due, sends what the backup has room for, and a sign of life if it is time.
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

    /// Sends a heartbeat, if due. While acknowledgements come, one in a timeout keeps firewalls open.
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

    /// Tells the gate the time, so that it knows since when new outputs are held. Call at every poll.
    pub fn look(&mut self, now: Time) {
        self.gate.look(now);
    }

    /// Lets the next output go, if it is acknowledged and the lease holds at this very moment; else the next
    /// disk request that may go. Gives the change of role of a primary that has left, or whose guest is off
    /// and has nothing more to let go.
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
                // It counts as released though no disk has it yet: the guest's state has it as pending until
                // it is completed, so a backup that goes live does it again (FT 3.4-c).
                Output::Change(id) => self.live.disks.release(id),
                Output::Shown(shown) => {
                    // One such output a call: before the next one the caller reads the clock again.
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

    /// The guest's power state, if it is off, the backup has that entry, and every output has left.
    fn is_over(&self) -> Option<PowerState> {
        let state = self.live.is_over()?;
        let known = self.sender.acknowledged() >= self.live.recorder.log.seq();
        (known && self.gate.is_empty()).then_some(state)
    }

    /// The earliest time at which there is something to do; `None`: only when an event comes.
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
