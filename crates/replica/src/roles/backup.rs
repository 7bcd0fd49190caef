//! `Backup`: replays the log, a little behind, and is ready to go on where it ends (FT 2-a).

use std::collections::VecDeque;

use machine::{Cut, DiskOperation, PowerState, Step};

use crate::event::{Action, Event, Next, Shown, Suspicion};
use crate::guest::Guest;
use crate::guest::clock::Speed;
use crate::guest::outputs::Outward;
use crate::guest::replay::{Headway, Replayed, Replayer};
use crate::log::codec;
use crate::log::codec::Decoder;
use crate::log::parcel::Parcel;
use crate::mutation::Mutation;
use crate::options::PairOptions;
use crate::peer::detect::Detector;
use crate::peer::lag::Lag;
use crate::peer::message::{Ack, Beat, Log, Message};
use crate::peer::pulse::Pulse;
use crate::roles::call::{Call, earliest, send};
use crate::roles::gate;
use crate::roles::table::Change;
use crate::time::{Span, Time};
use crate::{limits, mutation};

/// The half of a pair that waits.
#[derive(Debug)]
pub struct Backup {
    timeout: Span,
    file: bool,
    decoder: Decoder,
    replayer: Replayer,
    speed: Speed,
    detector: Detector,
    /// FT 2.2-e: outputs that are not known to have left, in order, with their numbers. Disk requests are not
    /// among them: the guest itself knows which are not done.
    kept: VecDeque<(u64, Shown)>,
    kept_bytes: usize,
    /// Outputs that the primary says have left.
    released: u64,
    /// The newest message's time, at the primary.
    sent: Option<Time>,
    /// The newest time of the primary's clock that has come, in a message or a heartbeat.
    echo: Option<Time>,
    lag: Lag,
    /// Until when the primary may believe that this replica trusts it.
    promised: Option<Time>,
    /// What the last acknowledgement said, and when it was sent.
    told: Option<(Ack, Time)>,
    /// The last `Clock` entry's `mtime`, and when it came.
    clock: Option<(Time, u64)>,
    /// The primary says that all is over.
    ended: bool,
    /// The primary says that it has stopped and leaves the VM to this side.
    left: bool,
    pulse: Pulse,
}

impl Backup {
    /// From the step where the guest stands.
    pub fn new<G: Guest>(call: &mut Call<'_>, guest: &G, options: &PairOptions) -> Backup {
        let mut start = guest.now();
        if let Some(header) = &options.run.record {
            start = header.start;
            call.out.push_back(Action::Append(header.to_file()));
        }
        let detector = Detector::new(call.now, options.timeout);
        Backup {
            pulse: Pulse::new(call.now, options.epoch, options.owner, detector.interval()),
            timeout: options.timeout,
            file: options.run.record.is_some(),
            decoder: Decoder::new(start),
            replayer: Replayer::default(),
            speed: Speed::default(),
            detector,
            kept: VecDeque::new(),
            kept_bytes: 0,
            released: 0,
            sent: None,
            echo: None,
            lag: Lag::default(),
            promised: None,
            told: None,
            clock: None,
            ended: false,
            left: false,
        }
    }

    /// Takes what the world tells.
    pub fn handle<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, event: Event) -> Option<Change> {
        self.detector.look(call.now);
        match event {
            Event::Peer(bytes) => {
                if let Err(broken) = self.on_peer(call, guest, &bytes) {
                    return Some(Change::Broken(broken));
                }
                if self.left {
                    return Some(Change::Suspect(Suspicion::Left));
                }
            }
            Event::LinkLost if self.ended => {}
            Event::LinkLost => return Some(Change::Suspect(Suspicion::LinkLost)),
            Event::Heartbeat(bytes) => {
                if let Some(Beat::Sent(sent)) = self.pulse.hear(&bytes) {
                    self.on_beat(call, sent);
                }
            }
            // FT 2-c: inputs enter at the primary.
            Event::Input(_) | Event::DiskDone(_) | Event::Verdict(..) | Event::Ports(_) | Event::Leave => {}
        }
        self.suspect(call.now)
    }

    fn suspect(&self, now: Time) -> Option<Change> {
        if self.ended {
            return None;
        }
        self.detector.suspects(now).map(Change::Suspect)
    }

    fn on_peer<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, bytes: &[u8]) -> Result<(), String> {
        let message = Message::decode(bytes).map_err(|why| format!("a message is damaged: {why}"))?;
        if self.ended {
            return Err("it goes on after the end".to_owned());
        }
        match message {
            Message::Log(log) => self.on_log(call, guest, log),
            Message::Ended { released } => {
                self.on_released(released)?;
                self.ended = true;
                self.detector.on_message(call.now);
                Ok(())
            }
            Message::HandOver { released } => {
                self.on_released(released)?;
                // It shows nothing any more, whatever lease it had: nothing is to be waited for.
                self.promised = None;
                self.left = true;
                Ok(())
            }
            _ => Err("it sent a message that only a backup sends".to_owned()),
        }
    }

    fn on_log<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, log: Log) -> Result<(), String> {
        if self.sent.is_some_and(|sent| log.sent < sent) {
            return Err("its clock goes back".to_owned());
        }
        if !log.frame.is_empty() {
            self.on_frame(call, log.frame)?;
        }
        self.on_released(log.released)?;
        self.sent = Some(log.sent);
        self.echo = self.echo.max(self.sent);
        self.detector.on_message(call.now);
        // FT 3.2-b, 2-f: received, not executed. It is also a promise: see channel.rs on the lease.
        self.promised = Some(call.now.after(self.timeout));
        self.acknowledge(call, guest.now());
        self.expect(call.now);
        Ok(())
    }

    /// The primary's heartbeat is answered at once: the answer renews the lease, and with it goes the
    /// promise.
    fn on_beat(&mut self, call: &mut Call<'_>, sent: Time) {
        if self.ended || self.left || self.echo.is_some_and(|echo| sent <= echo) {
            return;
        }
        self.echo = Some(sent);
        self.detector.on_heartbeat(call.now);
        if !mutation::is(Mutation::BeatWithoutPromise) {
            self.promised = Some(call.now.after(self.timeout));
        }
        self.beat(call);
        self.expect(call.now);
    }

    /// The next answer will do as this side's sign of life, unless there is nothing to answer.
    fn expect(&mut self, now: Time) {
        self.pulse.skip(now, 2);
    }

    fn beat(&mut self, call: &mut Call<'_>) {
        call.out
            .push_back(self.pulse.send(call.now, Beat::Echo(self.echo)));
    }

    fn on_frame(&mut self, call: &mut Call<'_>, frame: Parcel) -> Result<(), String> {
        match codec::extent(&frame) {
            Ok(codec::Extent::Bytes(bytes)) if bytes == frame.len() => {}
            Ok(_) => return Err("a frame has another length than it says".to_owned()),
            Err(why) => return Err(why.to_string()),
        }
        let mtime = self.decoder.mtime();
        let entries = self.decoder.frame(&frame).map_err(|why| why.to_string())?;
        let count = entries.len() as u64;
        let cost = codec::cost(frame.len(), count);
        if self.replayer.buffered() + cost > limits::BUFFER_COST_MAX {
            return Err("it sends more than this side has room for".to_owned());
        }
        if self.decoder.mtime() != mtime {
            self.clock = Some((call.now, self.decoder.mtime()));
        }
        call.metrics.entries += count;
        call.metrics.log_bytes += frame.len() as u64;
        self.replayer.push(entries, cost);
        self.lag.on_received(call.now, self.decoder.step());
        if self.file {
            call.out.push_back(Action::Append(frame));
        }
        Ok(())
    }

    /// So many outputs have left: they need not be shown again.
    fn on_released(&mut self, released: u64) -> Result<(), String> {
        if released < self.released {
            return Err("it takes outputs back".to_owned());
        }
        // Each has an entry, which was sent before.
        if released > self.decoder.seq().0 {
            return Err("it has shown outputs without entries".to_owned());
        }
        self.released = released;
        while let Some((index, shown)) = self.kept.front()
            && *index <= released
        {
            self.kept_bytes -= gate::cost(shown.bytes());
            self.kept.pop_front();
        }
        Ok(())
    }

    fn acknowledge(&mut self, call: &mut Call<'_>, executed: Step) {
        let Some(echo) = self.echo else {
            return;
        };
        let behind = self.lag.on_executed(call.now, executed);
        let ack = Ack {
            received: self.decoder.seq(),
            executed,
            echo,
            buffered: self.replayer.buffered(),
            behind,
        };
        self.told = Some((ack, call.now));
        call.metrics.acks += 1;
        send(call, Message::Ack(ack));
    }

    /// What a correct backup never does: see [`crate::mutation::Mutation::AckWhileClaiming`].
    pub fn acknowledge_while_claiming(&mut self, call: &mut Call<'_>, event: Event) {
        if let Event::Peer(bytes) = event
            && let Ok(Message::Log(log)) = Message::decode(&bytes)
            && (log.frame.is_empty() || self.on_frame(call, log.frame).is_ok())
        {
            self.echo = self.echo.max(Some(log.sent));
            self.acknowledge(call, Step(0));
        }
    }

    /// What a correct backup never does: see [`crate::mutation::Mutation::DrainShort`].
    pub fn forget_last_output(&mut self) {
        self.replayer.forget_last_output();
    }

    /// Time since the primary's last sign of life.
    pub fn silence(&self, now: Time) -> Span {
        self.detector.silence(now)
    }

    /// When this replica may claim at the earliest: then the primary's right to release is over for certain.
    pub fn claim_not_before(&self) -> Option<Time> {
        self.promised
    }

    /// Replays for a slice. Heeds no limit on what it keeps if `draining`: there will be no more of it than
    /// is received already.
    pub fn replay<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        cut: &dyn Cut,
        guest: &mut G,
        draining: bool,
    ) -> Result<Headway, Change> {
        self.speed.look(call.now);
        if !draining && self.kept_bytes >= limits::KEPT_BYTES_MAX {
            return Ok(Headway::Drained);
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

    /// Replays for a slice.
    pub fn slice<G: Guest>(&mut self, call: &mut Call<'_>, cut: &dyn Cut, guest: &mut G) -> Option<Change> {
        self.detector.look(call.now);
        if let Some(change) = self.suspect(call.now) {
            return Some(change);
        }
        if self.pulse.due() <= call.now {
            self.beat(call);
        }
        let progress = match self.replay(call, cut, guest, self.ended) {
            Ok(progress) => progress,
            Err(change) => {
                if let Change::Diverged(divergence) = &change {
                    let (at, part) = (divergence.at, divergence.part.clone());
                    send(call, Message::Diverged { at, part });
                }
                return Some(change);
            }
        };
        self.tell_progress(call, guest.now());
        match progress {
            // FT 3.3-a: off, not live.
            Headway::Off(state) if self.ended => Some(Change::Off(state)),
            Headway::Drained if self.ended && self.replayer.is_drained() => {
                Some(Change::Broken("it ended though the guest is not off".to_owned()))
            }
            _ => None,
        }
    }

    /// An acknowledgement out of turn, when the primary stands or slows down for news that is old.
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

    /// The guest is off, and all that it showed or wrote has left: there is nothing to go live for.
    pub fn is_over<G: Guest>(&self, guest: &G) -> Option<PowerState> {
        let state = self.replayer.off()?;
        let off = |(_, shown): &(u64, Shown)| matches!(shown, Shown::Power(_));
        let reads = |operation: &DiskOperation| matches!(operation, DiskOperation::Read { .. });
        let pending = guest.pending_disk();
        let nothing = self.kept.iter().all(off) && pending.iter().all(|request| reads(&request.operation));
        nothing.then_some(state)
    }

    /// The outputs that may not have left.
    pub fn take_kept(&mut self) -> impl Iterator<Item = Shown> + use<> {
        self.kept_bytes = 0;
        std::mem::take(&mut self.kept).into_iter().map(|(_, shown)| shown)
    }

    /// What the guest did at its last step that no entry knows, see [`Replayer::take_loose_ends`].
    pub fn take_loose_ends(&mut self) -> (Vec<machine::Effect>, Vec<u32>) {
        self.replayer.take_loose_ends()
    }

    /// Where the log ends.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// A host time and what the guest's clock shall show then.
    pub fn clock(&self, now: Time, shown: u64) -> (Time, u64) {
        self.clock.unwrap_or((now, shown))
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
        // FT 3.2-c: with an empty buffer it stands.
        let blocked = self.replayer.is_drained() || self.kept_bytes >= limits::KEPT_BYTES_MAX;
        let run = if blocked && !self.ended {
            None
        } else {
            Some(Time(0))
        };
        earliest([run, Some(self.pulse.due()), Some(self.detector.deadline())])
    }
}
