//! `Recorder`: runs a live guest. The only place that injects into one, and it appends to the log in the
//! same breath, so that log and guest cannot part.

use std::collections::VecDeque;

use machine::{Cut, DiskOperation, Effect, Input, PowerState, Step};

use crate::guest::clock::{GuestClock, Speed, next_multiple};
use crate::guest::outputs::{Outputs, Outward};
use crate::guest::{Guest, Pause};
use crate::limits;
use crate::log::codec::{Encoder, Frame};
use crate::log::entry::{Entry, EntryKind, Seq, check};
use crate::log::header::Header;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::time::{Span, Time};

/// The log of a live guest, on its way into frames.
#[derive(Debug)]
pub struct Log {
    encoder: Encoder,
    /// Does anybody want it? A guest that runs alone without a file has no log.
    wanted: bool,
    closed: VecDeque<Frame>,
    /// When the oldest thing that is in no finished frame happened.
    oldest: Option<Time>,
    /// An output waits for the log: it must go at once (FT 3.5-c).
    urgent: bool,
    /// A console's output waits: it must go soon, even if the guest is idle.
    soon: bool,
}

impl Log {
    /// A log that starts where `encoder` stands.
    #[must_use]
    pub fn new(encoder: Encoder, wanted: bool) -> Log {
        Log {
            encoder,
            wanted,
            closed: VecDeque::new(),
            oldest: None,
            urgent: false,
            soon: false,
        }
    }

    /// Nobody reads it any more, unless `wanted`.
    pub fn set_wanted(&mut self, wanted: bool) {
        self.wanted = wanted;
        if !wanted {
            self.closed.clear();
            self.encoder.finish();
            self.oldest = None;
        }
    }

    /// The last entry.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.encoder.seq()
    }

    /// The step of the last entry.
    #[must_use]
    pub fn step(&self) -> Step {
        self.encoder.step()
    }

    fn append(&mut self, now: Time, metrics: &mut Metrics, entry: &Entry) -> Seq {
        if !self.wanted {
            return Seq(0);
        }
        metrics.entries += 1;
        self.oldest.get_or_insert(now);
        let seq = self.encoder.push(entry);
        if self.encoder.bytes() >= limits::FRAME_BYTES_CLOSE {
            self.closed.extend(self.encoder.finish());
        }
        seq
    }

    /// When the log should be flushed, if entries may wait for `patience`, and those of outputs in a hurry
    /// for `hurry`.
    #[must_use]
    pub fn due(&self, patience: Span, hurry: Span) -> Option<Time> {
        let patience = if !self.closed.is_empty() {
            Span(0)
        } else if self.urgent {
            patience.min(hurry)
        } else if self.soon {
            patience.min(limits::FLUSH_EVERY)
        } else {
            patience
        };
        Some(self.oldest?.after(patience))
    }

    fn flush(&mut self, now: Time, metrics: &mut Metrics, at: Step) -> VecDeque<Frame> {
        if self.wanted && at > self.encoder.step() {
            self.append(
                now,
                metrics,
                &Entry {
                    at,
                    kind: EntryKind::Progress,
                },
            );
        }
        self.closed.extend(self.encoder.finish());
        self.oldest = None;
        self.urgent = false;
        self.soon = false;
        let frames = std::mem::take(&mut self.closed);
        metrics.log_bytes += frames.iter().map(|frame| frame.bytes.len() as u64).sum::<u64>();
        frames
    }
}

/// An effect of the guest, and the entry that marks it if it is an output.
#[derive(Debug, PartialEq, Eq)]
pub struct Produced {
    /// The effect, by who carries it out.
    pub outward: Outward,
    /// The entry that marks it; 0 if it is no output or no log is kept.
    pub entry: Seq,
}

/// What the guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It has more to run.
    Runs,
    /// It waits for an input, or for this `mtime`.
    Waits(Option<u64>),
    /// It is off, for good.
    Off(PowerState),
}

/// Runs a live guest.
#[derive(Debug)]
pub struct Recorder {
    /// The log of all that is injected and shown.
    pub log: Log,
    clock: GuestClock,
    speed: Speed,
    inbox: VecDeque<Input>,
    inbox_bytes: usize,
    activity: Activity,
    digest: Option<(u64, Step)>,
}

impl Recorder {
    /// For a guest that stands at `step`, whose time is told by `clock`.
    #[must_use]
    pub fn new(log: Log, clock: GuestClock, digest_every: Option<u64>, step: Step) -> Recorder {
        Recorder {
            log,
            clock,
            speed: Speed::default(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            activity: Activity::Runs,
            digest: digest_every.map(|every| (every, next_multiple(step, every))),
        }
    }

    /// For a guest at its first step.
    #[must_use]
    pub fn from_start<G: Guest>(now: Time, guest: &G, options: &Options, wanted: bool) -> Recorder {
        let start = options
            .record
            .as_ref()
            .map_or(guest.now(), |header: &Header| header.start);
        let log = Log::new(Encoder::new(start), wanted);
        Recorder::new(
            log,
            GuestClock::new(now, guest.mtime()),
            options.digest_every,
            guest.now(),
        )
    }

    /// What the guest does.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// The guest turned out to be off while it was replayed.
    pub fn set_off(&mut self, state: PowerState) {
        self.activity = Activity::Off(state);
    }

    /// Something for the guest, at the next slice. What does not fit is dropped and counted, as a network
    /// and a serial line do; answers always fit, their number is bounded by the requests.
    pub fn accept(&mut self, metrics: &mut Metrics, input: Input) {
        let answer = matches!(
            input,
            Input::DiskDone { .. } | Input::Entropy { .. } | Input::Control(_)
        );
        let bytes = match &input {
            // Only the recorder itself tells the time.
            Input::Clock { .. } => return,
            Input::Console { bytes, .. } | Input::Entropy { bytes } => bytes.len(),
            Input::NetFrame { frame, .. } => frame.len(),
            Input::DiskDone { data, .. } => data.len(),
            Input::Control(_) => 0,
        };
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

    /// When the guest wants to run next: at once, at a time, or only when something comes.
    #[must_use]
    pub fn wake(&self) -> Option<Time> {
        match self.activity {
            Activity::Off(_) => None,
            Activity::Runs => Some(Time(0)),
            Activity::Waits(_) if !self.inbox.is_empty() => Some(Time(0)),
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

    /// Finishes the frames of everything up to the guest's present step.
    pub fn flush<G: Guest>(&mut self, now: Time, guest: &G, metrics: &mut Metrics) -> VecDeque<Frame> {
        self.log.flush(now, metrics, guest.now())
    }

    /// Marks an output that the guest has produced before this recorder had it.
    pub fn mark<G: Guest>(&mut self, now: Time, guest: &G, metrics: &mut Metrics, output: &Effect) {
        let kind = EntryKind::Output { check: check(output) };
        metrics.outputs += 1;
        self.log.append(
            now,
            metrics,
            &Entry {
                at: guest.now(),
                kind,
            },
        );
    }

    /// Notes the end of the last slice, for the speed. Call first thing when awake.
    pub fn look(&mut self, now: Time, metrics: &mut Metrics) {
        self.speed.look(now);
        metrics.steps_per_second = self.speed.steps_per_second();
    }

    /// Runs the guest for a slice: tells it the time, injects what came, runs, and collects its effects.
    pub fn slice<G: Guest>(
        &mut self,
        now: Time,
        cut: &dyn Cut,
        guest: &mut G,
        metrics: &mut Metrics,
        produced: &mut Vec<Produced>,
    ) {
        if self.wake().is_none_or(|time| time > now) {
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
            // One frame's worth at a time: the buffers downstream are bounded.
            if !self.log.closed.is_empty() {
                break;
            }
            let Some(input) = self.inbox.pop_front() else {
                break;
            };
            self.inbox_bytes -= bytes_of(&input);
            run.inject(&mut self.log, input);
        }
        let begin = run.guest.now();
        let until = begin.after(self.speed.slice_steps());
        self.activity = run.run(&mut self.log, &mut self.digest, until, cut);
        let ran = run.guest.now();
        if self.activity == Activity::Runs {
            self.speed.ran(now, ran.since(begin));
        }
        if self.log.wanted && ran > self.log.step() {
            self.log.oldest.get_or_insert(now);
        }
        metrics.step = ran;
    }
}

fn bytes_of(input: &Input) -> usize {
    match input {
        Input::Console { bytes, .. } | Input::Entropy { bytes } => bytes.len(),
        Input::NetFrame { frame, .. } => frame.len(),
        Input::DiskDone { data, .. } => data.len(),
        Input::Clock { .. } | Input::Control(_) => 0,
    }
}

/// One slice under way.
struct Run<'a, G> {
    now: Time,
    guest: &'a mut G,
    metrics: &'a mut Metrics,
    produced: &'a mut Vec<Produced>,
}

impl<G: Guest> Run<'_, G> {
    fn append(&mut self, log: &mut Log, kind: EntryKind) -> Seq {
        let at = self.guest.now();
        log.append(self.now, self.metrics, &Entry { at, kind })
    }

    /// FT 2.1-d: recorded when it happens, by itself.
    fn inject(&mut self, log: &mut Log, input: Input) {
        self.guest.inject(&input);
        self.append(log, EntryKind::Input(input));
        self.collect(log);
    }

    /// Takes the effects there are and marks the outputs among them (FT 2.2-b). True if one is in a hurry to
    /// leave.
    fn collect(&mut self, log: &mut Log) -> bool {
        let (mut hurry, mut marked, mut flush) = (false, false, false);
        while let Some(effect) = self.guest.take_effect() {
            let mut entry = Seq(0);
            if Outputs.is_output(&effect) {
                marked = true;
                self.metrics.outputs += 1;
                let check = check(&effect);
                entry = self.append(log, EntryKind::Output { check });
                // A console is slow to read and written byte by byte: its bytes share a frame.
                hurry |= !matches!(effect, Effect::ConsoleWrite { .. });
            } else if let Effect::Disk(request) = &effect {
                // A database waits for it; and no entry has to leave before it.
                flush |= request.operation == DiskOperation::Flush;
            }
            self.produced.push(Produced {
                outward: effect.into(),
                entry,
            });
        }
        log.urgent |= hurry;
        log.soon |= marked;
        hurry || flush
    }

    fn run(
        &mut self,
        log: &mut Log,
        digest: &mut Option<(u64, Step)>,
        until: Step,
        cut: &dyn Cut,
    ) -> Activity {
        loop {
            let stop = digest.map_or(until, |(_, next)| until.min(next));
            let pause = self.guest.run(stop, cut);
            let hurry = self.collect(log);
            if let Some((every, next)) = digest
                && self.guest.now() >= *next
            {
                self.digest(log);
                // A guest that writes much is looked at less often, so that looking costs it no more.
                let more = self.guest.pages_hashed() / limits::DIGEST_PAGES;
                let more = every.saturating_mul(more.min(limits::DIGEST_PAUSE_MAX));
                *next = next_multiple(self.guest.now(), *every).after(more);
            }
            match pause {
                Pause::Reached if self.guest.now() < until => {}
                Pause::Effects if !hurry && self.guest.now() < until => {}
                Pause::Reached | Pause::Effects | Pause::Cut => return Activity::Runs,
                Pause::Waiting { wake_at } => return Activity::Waits(wake_at),
                Pause::Off(state) => {
                    if digest.is_some() {
                        self.digest(log);
                    }
                    self.append(log, EntryKind::Off(state));
                    log.urgent = true;
                    return Activity::Off(state);
                }
            }
        }
    }

    fn digest(&mut self, log: &mut Log) {
        if log.wanted {
            self.metrics.digests += 1;
            let digest = self.guest.digest();
            self.append(log, EntryKind::Digest(digest));
        }
    }
}
