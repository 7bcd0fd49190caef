//! `Follower`: a replica that follows this one's log, as its owner sees it: the channel to it, its signs of
//! life, and how fast it follows. A primary has one for each backup.
//!
//! It sends frames and heartbeats, takes acknowledgements, and measures. What follows from a suspicion, and
//! whether an output may leave, is the role's business.

use std::collections::VecDeque;

use machine::Step;

use crate::event::{Action, PeerId, Slowness};
use crate::limits;
use crate::metrics::Metrics;
use crate::options::PairOptions;
use crate::peer::channel::{BadAck, Sender};
use crate::peer::detect::Detector;
use crate::peer::pace::Pace;
use crate::peer::pulse::Pulse;
use crate::roles::call::{Call, send};
use messages::heartbeat::Beat;
use messages::message::{Ack, Message};
use messages::time::{Span, Time};
use vmlog::codec::Frame;
use vmlog::entry::Seq;

/// A replica that follows this one's log.
#[derive(Debug)]
pub struct Follower {
    /// The link to it.
    pub id: PeerId,
    /// Its process, by which the arbiter knows it; 0 for an apprentice that has not greeted.
    pub process: u128,
    /// The entry that made it a member; 0 for one that was a member from its pair's first moment.
    pub guarded: Seq,
    /// The owner's end of the logging channel, with the lease.
    pub sender: Sender,
    /// Watches over its signs of life.
    pub detector: Detector,
    /// How fast the guest may run, so that it can follow.
    pub pace: Pace,
    /// This side's heartbeats to it.
    pulse: Pulse,
    /// How slow it was found to be, if it is dropped for that.
    pub slowness: Option<Slowness>,
    /// How long the last message took from its sending to its acknowledgement.
    round_trip: Span,
    /// How long each of the last [`limits::BEATS_REMEMBERED`] heartbeats took to be answered, newest first.
    /// Unlike messages, heartbeats wait behind no other bytes.
    beats: VecDeque<Span>,
}

impl Follower {
    /// A follower of which nothing is known yet, at the other end of the link `id`.
    #[must_use]
    pub fn new(now: Time, id: PeerId, options: &PairOptions) -> Follower {
        let detector = Detector::new(now, options.timeout);
        Follower {
            id,
            process: options.backup,
            guarded: Seq(0),
            sender: Sender::new(now, options.timeout),
            pulse: Pulse::new(now, id, options.epoch, options.owner, detector.interval()),
            detector,
            pace: Pace::new(now, options.on_slow),
            slowness: None,
            round_trip: Span(0),
            beats: VecDeque::new(),
        }
    }

    /// An apprentice: it holds more log, since it cannot replay any before it has the guest's state.
    #[must_use]
    pub fn apprentice(now: Time, id: PeerId, options: &PairOptions) -> Follower {
        let mut follower = Follower::new(now, id, options);
        follower.process = 0;
        follower.sender.set_window(limits::APPRENTICE_COST_MAX);
        follower
    }

    /// Is it known to know that it is a member? Only then it would claim after this process's death.
    #[must_use]
    pub fn knows_membership(&self) -> bool {
        self.sender.acknowledged() >= self.guarded
    }

    /// The apprentice is a member from the entry `guarded` on.
    pub fn become_member(&mut self, now: Time, guarded: Seq) {
        self.guarded = guarded;
        self.sender.set_window(limits::BUFFER_COST_MAX);
        self.pace = Pace::new(now, self.pace.on_slow());
    }

    /// Takes an acknowledgement, while the last entry of the log is at `step`.
    ///
    /// # Errors
    /// No correct backup would send it.
    pub fn on_ack(&mut self, now: Time, ack: &Ack, step: Step, metrics: &mut Metrics) -> Result<(), BadAck> {
        let told = self.sender.on_ack(ack, step)?;
        self.detector.on_message(now);
        if told.newer {
            self.round_trip = now.since(ack.echo);
            metrics.round_trip.add(self.round_trip);
        }
        let queued = told.frame.map(|sent| self.queued(now.since(sent)));
        self.pace.on_executed(now, step, ack, queued, self.round_trip);
        metrics.acks += 1;
        Ok(())
    }

    /// Notes in the figures how closely it follows.
    pub fn measure(&self, metrics: &mut Metrics) {
        metrics.lag = self.pace.lag();
        metrics.lag_steps = self.pace.lag_steps();
        metrics.speed_permille = self.pace.permille();
    }

    /// Takes a datagram, which may be a heartbeat.
    pub fn on_heartbeat(&mut self, now: Time, bytes: &[u8]) {
        if let Some(Beat::Echo(echo)) = self.pulse.hear(bytes) {
            self.detector.on_heartbeat(now);
            if let Some(echo) = echo
                && self.sender.on_beat(echo)
            {
                self.beats.truncate(limits::BEATS_REMEMBERED - 1);
                self.beats.push_front(now.since(echo));
            }
        }
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

    /// Must the guest stand until it has room, or has caught up (FT 3.2-c)?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.sender.is_full() || self.pace.is_stopped()
    }

    /// Takes the time, the end of the last slice. `stands`: the guest has to stand for another reason.
    pub fn look(&mut self, now: Time, stands: bool) {
        self.pace.look(now, stands || self.sender.is_full());
    }

    /// Queues a frame of the log for it.
    pub fn push(&mut self, frame: Frame) {
        self.sender.push(frame);
    }

    /// Sends the frames for which it has room. `released`: how many outputs have left. True: there was one.
    pub fn send_frames(&mut self, call: &mut Call<'_>, released: u64) -> bool {
        let mut any = false;
        while let Some(log) = self.sender.next(call.now, released) {
            any = true;
            send(call, self.id, Message::Log(log));
        }
        any
    }

    /// Sends a message without a frame: a sign of life, and news of what was released.
    pub fn send_keepalive(&mut self, call: &mut Call<'_>, released: u64) {
        let log = self.sender.keepalive(call.now, released);
        send(call, self.id, Message::Log(log));
    }

    /// Is a sign of life due over the link?
    #[must_use]
    pub fn wants_keepalive(&self, now: Time) -> bool {
        self.sender.keepalive_due() <= now
    }

    /// Sends a heartbeat, if one is due. While acknowledgements come, one in a timeout keeps firewalls open.
    pub fn beat(&mut self, call: &mut Call<'_>) {
        let now = call.now;
        if self.pulse.due() > now {
            return;
        }
        let interval = self.detector.interval();
        let rarely = Span(interval.0 * limits::HEARTBEATS_PER_TIMEOUT);
        if self.detector.link_silence(now) >= interval || self.pulse.silence(now) >= rarely {
            let sent = self.sender.beat(now);
            call.out.push_back(self.pulse.send(now, Beat::Sent(sent)));
        } else {
            self.pulse.skip(now, 1);
        }
    }

    /// The action that leaves a death notice for this follower, see [`Action::Notice`]. `settled`: no request
    /// can be at a disk any more once this process has ended.
    #[must_use]
    pub fn last_word(&self, settled: bool) -> Action {
        self.pulse.last_word(settled)
    }

    /// When there is something to do for this follower, whatever the guest does.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.sender
            .keepalive_due()
            .min(self.pulse.due())
            .min(self.detector.deadline())
    }
}
