//! `Recorder`: runs a live guest, for `Solo` and `Primary`. It queues what the world brings, injects it in
//! the next slice, appends it to the log, and gives its caller what the guest produced.
//!
//! It is the only place that injects into a live guest, and `Run::inject` appends the entry in the same
//! breath: log and guest must never part. It shows nothing itself.

use std::collections::VecDeque;

use machine::{Control, Cut, DiskOperation, Effect, Input, PowerState, Step, Stop};

use crate::guest::Guest;
use crate::guest::clock::{GuestClock, Speed};
use crate::guest::digests::Digests;
use crate::guest::outputs::{Outputs, Outward};
use crate::limits;
use crate::metrics::Metrics;
use crate::options::Options;
use messages::time::{Span, Time};
use vmlog::codec::{Encoder, Frame};
use vmlog::entry::{EntryKind, Mark, Seq, check};
use vmlog::header::Header;

use crate::guest::framing::Log;

/// An effect of the guest, and the entry that marks it if it is an output.
#[derive(Debug, PartialEq, Eq)]
pub struct Produced {
    /// The effect, sorted by who carries it out.
    pub outward: Outward,
    /// The entry that marks the effect; 0 if it is no output or no log is kept.
    pub entry: Seq,
}

/// What a live guest does at the end of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It has more to run.
    Runs,
    /// It waits for an input, or for this `mtime`.
    Waits(Option<u64>),
    /// It is off, for good.
    Off(PowerState),
}

/// Runs a live guest and writes its log.
#[derive(Debug)]
pub struct Recorder {
    /// The log of all that is injected and shown.
    pub log: Log,
    /// Does the operator want the guest to stand? Then only the order to switch it off has it run. Its time
    /// goes on meanwhile: when it runs again its clock jumps forward, as after any time in which it stood.
    pub paused: bool,
    /// Says which time the guest shall see.
    clock: GuestClock,
    /// The guest's measured speed, which sets the length of a slice and the rate of its clock.
    speed: Speed,
    /// Inputs that wait for the next slice, in the order in which they came.
    inbox: VecDeque<Input>,
    /// Bytes of all inputs in `inbox`.
    inbox_bytes: usize,
    /// Console input that waits until the guest has room for it, in pieces, in the order in which it came.
    typed: VecDeque<Input>,
    /// Bytes of all pieces in `typed`: at most [`limits::TYPED_BYTES_MAX`].
    typed_bytes: usize,
    /// Did the oldest piece of `typed` find no room at the end of the guest's last slice? Only a guest that
    /// runs makes room.
    typed_waits: bool,
    /// What the guest did at the end of its last slice.
    activity: Activity,
    /// When the log gets digests.
    pub digests: Digests,
}

impl Recorder {
    /// A recorder for a guest that stands at `step` and whose time `clock` tells.
    #[must_use]
    pub fn new(log: Log, clock: GuestClock, digest_every: Option<u64>, step: Step) -> Recorder {
        Recorder {
            log,
            paused: false,
            clock,
            speed: Speed::default(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            typed: VecDeque::new(),
            typed_bytes: 0,
            typed_waits: false,
            activity: Activity::Runs,
            digests: Digests::new(digest_every, step),
        }
    }

    /// A recorder for a guest at the first step of its log. `wanted`: does anybody read that log?
    #[must_use]
    pub fn from_start<G: Guest>(now: Time, guest: &G, options: &Options, wanted: bool) -> Recorder {
        let start = options
            .record
            .as_ref()
            .map_or(guest.now(), |header: &Header| header.start);
        let log = Log::new(Encoder::new(start), wanted);
        Recorder::new(
            log,
            GuestClock::after_sleep(now, guest.mtime(), options.asleep),
            options.digest_every,
            guest.now(),
        )
    }

    /// What the guest did at the end of its last slice.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// Notes that the guest was switched off while it was still replayed.
    pub fn set_off(&mut self, state: PowerState) {
        self.activity = Activity::Off(state);
    }

    /// How many bytes of console input find room here. They go on to the guest as it has room for them.
    #[must_use]
    pub fn console_room(&self) -> usize {
        limits::TYPED_BYTES_MAX - self.typed_bytes
    }

    /// Queues console input in pieces. What finds no room is dropped and counted: whoever brings it has not
    /// asked [`Recorder::console_room`].
    fn accept_typed(&mut self, metrics: &mut Metrics, port: u8, mut bytes: Vec<u8>) {
        if bytes.len() > self.console_room() {
            metrics.inputs_dropped += 1;
            bytes.truncate(self.console_room());
        }
        self.typed_bytes += bytes.len();
        let pieces = bytes.chunks(limits::TYPED_PIECE_BYTES);
        self.typed.extend(pieces.map(|piece| Input::Console {
            port,
            bytes: piece.to_vec(),
        }));
    }

    /// Queues an input for the next slice. Frames and console bytes that do not fit are dropped and counted,
    /// as a network and a serial line do. Answers always fit: the guest's requests bound their number.
    pub fn accept(&mut self, metrics: &mut Metrics, input: Input) {
        match input {
            Input::Console { port, bytes } => return self.accept_typed(metrics, port, bytes),
            // It has its place behind what was typed before it.
            Input::Break { .. } if self.typed.len() < limits::INBOX_MAX => {
                return self.typed.push_back(input);
            }
            _ => {}
        }
        let answer = matches!(
            input,
            Input::DiskDone { .. } | Input::Entropy { .. } | Input::Control(_) | Input::DiskSize { .. }
        );
        // Only the recorder itself tells the time.
        if matches!(input, Input::Clock { .. }) {
            return;
        }
        let bytes = bytes_of(&input);
        let full =
            self.inbox.len() >= limits::INBOX_MAX || self.inbox_bytes + bytes > limits::INBOX_BYTES_MAX;
        let long = bytes > limits::INPUT_BYTES_MAX && !matches!(input, Input::DiskDone { .. });
        if long || (full && !answer) {
            metrics.inputs_dropped += 1;
            return;
        }
        self.inbox_bytes += bytes;
        self.inbox.push_back(input);
    }

    /// When there is something to do in a slice: at once, at a time, or only when an input comes (`None`).
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        let digest = self.digests.begun.then_some(Time(0));
        digest.or_else(|| self.wake())
    }

    /// When the guest wants to run next: at once, at a time, or only when an input comes (`None`).
    fn wake(&self) -> Option<Time> {
        match self.activity {
            Activity::Off(_) => None,
            _ if self.paused && !self.inbox.contains(&Input::Control(Control::PowerOff)) => None,
            Activity::Runs => Some(Time(0)),
            Activity::Waits(_) if !self.inbox.is_empty() => Some(Time(0)),
            Activity::Waits(_) if !self.typed.is_empty() && !self.typed_waits => Some(Time(0)),
            Activity::Waits(wake_at) => wake_at.map(|mtime| self.clock.time_of(mtime)),
        }
    }

    /// When the log should be flushed, if the entry of an output may wait for `hurry`.
    #[must_use]
    pub fn flush_due(&self, hurry: Span) -> Option<Time> {
        let idle = !matches!(self.activity, Activity::Runs);
        let patience = if idle {
            limits::FLUSH_EVERY_IDLE
        } else {
            limits::FLUSH_EVERY
        };
        self.log.due(patience, hurry)
    }

    /// Finishes and hands out the frames of everything up to the guest's present step.
    pub fn flush<G: Guest>(&mut self, now: Time, guest: &G, metrics: &mut Metrics) -> VecDeque<Frame> {
        self.log.flush(now, metrics, guest.now())
    }

    /// Appends the entry of an output that the guest produced before this recorder took it over, and gives
    /// its number.
    pub fn mark<G: Guest>(&mut self, now: Time, guest: &G, metrics: &mut Metrics, output: &Effect) -> Seq {
        let kind = EntryKind::Output { check: check(output) };
        metrics.outputs += 1;
        self.log.append(now, metrics, guest.now(), kind)
    }

    /// Puts a mark into the log at the guest's present step, between two slices. It is in a hurry.
    pub fn put<G: Guest>(&mut self, now: Time, guest: &G, metrics: &mut Metrics, mark: Mark) {
        self.log.append(now, metrics, guest.now(), EntryKind::Mark(mark));
        self.log.hurry();
    }

    /// Takes a digest of the guest's present step, between two slices, or begins one. None may have begun.
    pub fn take_digest<G: Guest>(&mut self, now: Time, guest: &mut G, metrics: &mut Metrics) {
        let kind = self.digests.take(guest, false);
        self.log.append(now, metrics, guest.now(), kind);
    }

    /// Is an answer of a disk here that the guest has not got yet?
    #[must_use]
    pub fn has_answers(&self) -> bool {
        let answers = |input: &Input| matches!(input, Input::DiskDone { .. });
        self.inbox.iter().any(answers)
    }

    /// Does the guest wait for an input, the time, or its operator?
    #[must_use]
    pub fn waits(&self) -> bool {
        self.paused || !matches!(self.activity, Activity::Runs)
    }

    /// Takes the time, which is the end of the last slice and so gives the guest's speed. Call at the start
    /// of each slice of the role, before anything else takes time.
    pub fn look(&mut self, now: Time, metrics: &mut Metrics) {
        self.speed.look(now);
        metrics.steps_per_second = self.speed.steps_per_second();
    }

    /// Runs the guest for a slice: tells it the time, injects what came, runs, and collects its effects. A
    /// digest that has begun goes on before.
    pub fn slice<G: Guest>(
        &mut self,
        now: Time,
        cut: &dyn Cut,
        guest: &mut G,
        metrics: &mut Metrics,
        produced: &mut Vec<Produced>,
    ) {
        let runs = self.wake().is_some_and(|time| time <= now);
        if let Some(kind) = self.digests.go_on(guest) {
            self.log.append(now, metrics, guest.now(), kind);
        }
        if !runs {
            return;
        }
        let mut run = Run {
            now,
            guest,
            metrics,
            produced,
        };
        let waited = matches!(self.activity, Activity::Waits(_));
        if waited || self.clock.is_due(now) {
            let input = self.clock.correct(now, run.guest.mtime(), &self.speed);
            run.inject(&mut self.log, input);
        }
        for _ in 0..limits::INJECT_PER_SLICE {
            // Inputs stop once they have filled a frame: the buffers that frames go to are bounded.
            if self.log.has_frame() || !takes_input(run.guest) {
                break;
            }
            let Some(input) = self.inbox.pop_front() else {
                break;
            };
            self.inbox_bytes -= bytes_of(&input);
            run.inject(&mut self.log, input);
        }
        self.type_in(&mut run);
        let begin = run.guest.now();
        let until = begin.after(self.speed.slice_steps());
        self.activity = run.run(&mut self.log, &mut self.digests, until, cut);
        let ran = run.guest.now();
        let room_for = |piece| console_room_for(&*run.guest, piece);
        self.typed_waits = self.typed.front().is_some_and(|piece| !room_for(piece));
        if self.activity == Activity::Runs {
            self.speed.ran(now, ran.since(begin));
        }
        self.log.on_ran(now, ran);
        metrics.step = ran;
    }

    /// Injects console input for as long as the guest has room for it. The rest waits, and whoever types it
    /// is held back: a line that loses nothing may be slow, as with a terminal that stops its sender.
    fn type_in<G: Guest>(&mut self, run: &mut Run<'_, G>) {
        while !self.log.has_frame()
            && takes_input(run.guest)
            && let Some(piece) = self.typed.front()
            && console_room_for(&*run.guest, piece)
            && let Some(piece) = self.typed.pop_front()
        {
            self.typed_bytes -= bytes_of(&piece);
            run.inject(&mut self.log, piece);
        }
    }
}

/// Does the guest take this piece of console input whole, and lose nothing?
fn console_room_for<G: Guest>(guest: &G, piece: &Input) -> bool {
    match piece {
        Input::Console { port, bytes } => guest.console_room(*port) >= bytes.len(),
        _ => true,
    }
}

/// May the guest get an input? Not while a clone has hardly room for the pages that the input overwrites.
fn takes_input<G: Guest>(guest: &G) -> bool {
    guest.frozen_room() >= limits::FROZEN_RESERVE
}

/// What an input counts in the inbox.
fn bytes_of(input: &Input) -> usize {
    match input {
        Input::Console { bytes, .. } | Input::Entropy { bytes } => bytes.len(),
        Input::NetFrame { frame, .. } => frame.len(),
        Input::DiskDone { data, .. } => data.len(),
        Input::Clock { .. } | Input::Control(_) | Input::Break { .. } | Input::DiskSize { .. } => 0,
    }
}

/// One slice under way: what it needs of its caller.
struct Run<'a, G> {
    now: Time,
    guest: &'a mut G,
    metrics: &'a mut Metrics,
    produced: &'a mut Vec<Produced>,
}

impl<G: Guest> Run<'_, G> {
    fn append(&mut self, log: &mut Log, kind: EntryKind) -> Seq {
        log.append(self.now, self.metrics, self.guest.now(), kind)
    }

    /// Injects an input and appends its entry, at the same step. FT 2.1-d: each input is recorded by itself
    /// when it happens. This is the one place where a live guest is changed.
    fn inject(&mut self, log: &mut Log, input: Input) {
        self.guest.inject(&input);
        self.append(log, EntryKind::Input(input));
        self.collect(log);
    }

    /// Takes the effects there are and marks the outputs among them (FT 2.2-b). True: one is in a hurry.
    fn collect(&mut self, log: &mut Log) -> bool {
        let (mut hurry, mut marked, mut flush) = (false, false, false);
        while let Some(effect) = self.guest.take_effect() {
            let mut entry = Seq(0);
            if Outputs.is_output(&effect) {
                marked = true;
                self.metrics.outputs += 1;
                let check = check(&effect);
                entry = self.append(log, EntryKind::Output { check });
                // A console's bytes are written one by one and read slowly, so they share a frame.
                hurry |= !matches!(effect, Effect::ConsoleWrite { .. });
            } else if let Effect::Disk(request) = &effect {
                // A flush ends the slice too: a database waits for it, and no entry has to leave before it.
                flush |= request.operation == DiskOperation::Flush;
            }
            self.produced.push(Produced {
                outward: effect.into(),
                entry,
            });
        }
        if hurry {
            log.hurry();
        }
        if marked {
            log.go_soon();
        }
        hurry || flush
    }

    /// Runs the guest to `until` at most, and says what it does then.
    fn run(&mut self, log: &mut Log, digests: &mut Digests, until: Step, cut: &dyn Cut) -> Activity {
        loop {
            let why = self.guest.run(until.min(digests.due()), cut);
            let hurry = self.collect(log);
            if self.guest.now() >= digests.due() {
                self.digest(log, digests, false);
            }
            match why {
                Stop::Reached if self.guest.now() < until => {}
                Stop::Effects if !hurry && self.guest.now() < until => {}
                Stop::Reached | Stop::Effects | Stop::Cut | Stop::Full => return Activity::Runs,
                Stop::Waiting { wake_at } => return Activity::Waits(wake_at),
                Stop::Off(state) => {
                    if digests.schedule.is_some() {
                        self.digest(log, digests, true);
                    }
                    self.append(log, EntryKind::Off(state));
                    log.hurry();
                    return Activity::Off(state);
                }
            }
        }
    }

    /// Takes a digest or begins one, if anybody wants the log.
    fn digest(&mut self, log: &mut Log, digests: &mut Digests, at_once: bool) {
        if log.is_wanted() {
            let kind = digests.take(self.guest, at_once);
            self.append(log, kind);
        } else {
            digests.plan(self.guest);
        }
    }
}
