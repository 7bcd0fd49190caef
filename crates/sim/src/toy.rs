//! `Toy`: a guest without a processor. A server that computes, reads and writes its disk, waits for its timer,
//! prints, and answers requests; everything it shows depends on everything that ever happened to it.
//!
//! It obeys the rules of a real machine: stopping is invisible, nothing is answered synchronously, timers fire
//! at the first step whose `mtime` has come. So a million seeds of the protocol need no processor.

use std::collections::VecDeque;

use machine::{Clock, Control, Cut, DiskOperation, DiskRequest, DiskStatus, Effect, Input, PowerState, Step};
use replica::{Digest, Guest, Pause};

use crate::{
    random::{mix, mix_bytes},
    subject::Subject,
};

/// Steps of the longest computation.
const WORK_MAX: u64 = 300_000;
/// With more to do than this it does not echo what is typed.
const TASKS_TYPED_MAX: usize = 8;
/// Ticks of `mtime` between two interrupts.
const TICK: u64 = 5000;
/// Sectors of the disk: few, so that requests overlap often.
const SECTORS: u64 = 12;

/// One thing the toy is about to do, after so many steps.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Task {
    Print,
    Disk,
    /// Have the disk keep what is on it.
    Flush,
    /// Read all of the disk.
    ReadAll,
    /// Go on only when no disk request is pending.
    Sync,
    Entropy,
    /// Go on only when the timer has fired, so many ticks from now.
    Sleep(u64),
    Reply(u64),
    Repeat(u64),
    PowerOff,
}

/// A deterministic server.
#[derive(Clone, Debug)]
pub struct Toy {
    now: Step,
    clock: Clock,
    /// Stands for registers and memory: everything is mixed into it.
    hash: u64,
    tasks: VecDeque<Task>,
    /// Steps before the first task is done.
    work: u64,
    timer: Option<u64>,
    /// A periodic interrupt while it computes: the `mtime` of the next one.
    tick: u64,
    answered: u64,
    last_reply: Vec<u8>,
    pending: Vec<DiskRequest>,
    next_id: u64,
    entropy_wanted: bool,
    effects: VecDeque<Effect>,
    off: Option<PowerState>,
}

/// Payload of a request that asks the toy to switch itself off.
pub const PAYLOAD_OFF: u64 = u64::MAX;

impl Subject for Toy {
    type Config = u64;
    const REMEMBERS: bool = true;
    const SECTORS: u64 = SECTORS;

    fn boot(seed: &u64) -> Toy {
        Toy {
            now: Step(0),
            clock: Clock::default(),
            hash: mix(*seed, 1),
            tasks: VecDeque::from([Task::Print, Task::Disk, Task::Disk, Task::Print]),
            work: 1000,
            timer: None,
            tick: TICK,
            answered: 0,
            last_reply: Vec::new(),
            pending: Vec::new(),
            next_id: 0,
            entropy_wanted: false,
            effects: VecDeque::new(),
            off: None,
        }
    }

    fn fingerprint(&self) -> u64 {
        let Toy {
            now,
            clock,
            hash,
            tasks,
            work,
            timer,
            tick,
            answered,
            ..
        } = self;
        let mut sum = mix(mix(*hash, now.0), clock.at(*now));
        for value in [
            tasks.len() as u64,
            *work,
            timer.unwrap_or(1),
            *tick,
            *answered,
            self.next_id,
        ] {
            sum = mix(sum, value);
        }
        mix(
            sum,
            u64::from(self.off.is_some()) + 2 * u64::from(self.entropy_wanted),
        )
    }

    fn request(seq: u64, payload: u64) -> Input {
        let mut frame = seq.to_le_bytes().to_vec();
        frame.extend(payload.to_le_bytes());
        Input::NetFrame { port: 0, frame }
    }

    fn reply(effect: &Effect) -> Option<(u64, Vec<u8>)> {
        let Effect::NetTransmit { frame, .. } = effect else {
            return None;
        };
        let (seq, content) = frame.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*seq), content.to_vec()))
    }
}

impl Toy {
    fn stir(&mut self, value: u64) {
        self.hash = mix(self.hash, value);
    }

    /// A number below `end` out of the state.
    fn choose(&mut self, end: u64) -> u64 {
        self.stir(end);
        self.hash % end
    }

    fn on_frame(&mut self, frame: &[u8]) {
        let Some((seq, payload)) = frame.split_first_chunk::<8>() else {
            return;
        };
        let seq = u64::from_le_bytes(*seq);
        if seq <= self.answered {
            // As TCP: what was answered is answered again, and changes nothing.
            self.tasks.push_back(Task::Repeat(seq));
            return;
        }
        if seq != self.answered + 1 || self.tasks.contains(&Task::Reply(seq)) {
            return;
        }
        if payload == PAYLOAD_OFF.to_le_bytes() {
            self.tasks.extend([Task::Disk, Task::Reply(seq), Task::Sync]);
            self.tasks.extend([Task::ReadAll, Task::Sync, Task::PowerOff]);
            return;
        }
        for _ in 0..self.choose(6) {
            let task = match self.choose(12) {
                0..=2 => Task::Print,
                3..=7 => Task::Disk,
                8 => Task::Sync,
                9 => Task::Entropy,
                // 0.1 to 20 ms
                _ => Task::Sleep(1000 + self.choose(200_000)),
            };
            self.tasks.push_back(task);
        }
        if self.choose(3) == 0 {
            // As a database commits: what it answers for is flushed first.
            self.tasks.extend([Task::Sync, Task::Flush]);
        }
        self.tasks.extend([Task::Sync, Task::Reply(seq)]);
    }

    /// Is the first task held up by something that only an input, or the timer, can bring about?
    fn is_waiting(&self) -> bool {
        match self.tasks.front() {
            None => true,
            Some(_) if self.work > 0 => false,
            Some(Task::Sync | Task::PowerOff) => !self.pending.is_empty(),
            Some(Task::Sleep(_)) => self.timer.is_some_and(|at| self.clock.at(self.now) < at),
            Some(_) => false,
        }
    }

    fn perform(&mut self) {
        let Some(task) = self.tasks.pop_front() else {
            return;
        };
        // What time it is, is part of what it does.
        self.stir(self.clock.at(self.now));
        self.work = if self.choose(8) == 0 {
            self.choose(WORK_MAX)
        } else {
            self.choose(3000)
        };
        match task {
            Task::Print => {
                let text = format!("{:016x}\n", self.hash).into_bytes();
                let bytes = text[..1 + self.choose(16) as usize].to_vec();
                self.effects.push_back(Effect::ConsoleWrite { port: 0, bytes });
            }
            Task::Disk => {
                let operation = self.operation();
                self.submit(operation);
            }
            Task::Flush => self.submit(DiskOperation::Flush),
            Task::ReadAll => self.submit(DiskOperation::Read {
                sector: 0,
                bytes: SECTORS as u32 * 512,
            }),
            Task::Sync => {}
            Task::Entropy => {
                self.entropy_wanted = true;
                self.effects.push_back(Effect::EntropyWanted { bytes: 8 });
            }
            Task::Sleep(ticks) if self.timer.is_none() => {
                self.timer = Some(self.clock.at(self.now) + ticks);
                self.tasks.push_front(Task::Sleep(ticks));
                self.work = 0;
            }
            Task::Sleep(_) => self.timer = None,
            Task::Reply(seq) => {
                self.answered = seq;
                let mut frame = seq.to_le_bytes().to_vec();
                frame.extend(self.hash.to_le_bytes());
                self.last_reply.clone_from(&frame);
                self.effects.push_back(Effect::NetTransmit { port: 0, frame });
            }
            Task::Repeat(seq) if seq == self.answered => {
                let frame = self.last_reply.clone();
                self.effects.push_back(Effect::NetTransmit { port: 0, frame });
            }
            Task::Repeat(_) => {}
            Task::PowerOff => {
                self.off = Some(PowerState::Off);
                self.effects.push_back(Effect::PoweredOff(PowerState::Off));
            }
        }
    }

    fn operation(&mut self) -> DiskOperation {
        let sectors = 1 + self.choose(3);
        let sector = self.choose(SECTORS - sectors + 1);
        let small = sectors as u32;
        match self.choose(10) {
            0..=2 => DiskOperation::Read {
                sector,
                bytes: small * 512,
            },
            3..=6 => DiskOperation::Write {
                sector,
                data: self.pattern(sectors).into(),
            },
            7 => DiskOperation::Flush,
            8 => DiskOperation::WriteZeroes {
                sector,
                sectors: small,
                unmap: self.choose(2) == 0,
            },
            _ => DiskOperation::Discard {
                sector,
                sectors: small,
            },
        }
    }

    fn submit(&mut self, operation: DiskOperation) {
        let request = DiskRequest {
            disk: 0,
            id: self.next_id,
            operation,
        };
        self.next_id += 1;
        self.pending.push(request.clone());
        self.effects.push_back(Effect::Disk(request));
    }

    fn pattern(&mut self, sectors: u64) -> Vec<u8> {
        let mut data = vec![0; sectors as usize * 512];
        for (index, sector) in data.chunks_mut(512).enumerate() {
            let word = mix(self.hash, index as u64).to_le_bytes();
            sector[..8].copy_from_slice(&word);
            sector[504..].copy_from_slice(&word);
        }
        data
    }
}

impl Guest for Toy {
    fn run(&mut self, until: Step, _cut: &dyn Cut) -> Pause {
        loop {
            if !self.effects.is_empty() {
                return Pause::Effects;
            }
            if let Some(state) = self.off {
                return Pause::Off(state);
            }
            if self.now >= until {
                return Pause::Reached;
            }
            if self.is_waiting() {
                return Pause::Waiting { wake_at: self.timer };
            }
            // Decided only when an instruction follows: something may yet be injected at this step.
            if self.clock.at(self.now) >= self.tick {
                self.stir(self.now.0);
                self.tick = self.clock.at(self.now) + TICK;
            }
            if self.work > 0 {
                let interrupt = self.clock.step_of(self.tick);
                let steps = self.work.min(until.min(interrupt).since(self.now));
                self.now = self.now.after(steps);
                self.work -= steps;
                continue;
            }
            self.now = self.now.after(1);
            self.perform();
        }
    }

    fn inject(&mut self, input: &Input) {
        if self.off.is_some() {
            return;
        }
        self.stir(self.now.0);
        match input {
            Input::Clock { mtime, rate } => self.clock.set(self.now, *mtime, *rate),
            Input::Console { bytes, .. } => {
                self.hash = mix_bytes(self.hash, bytes);
                // Like any console, it loses what comes too fast.
                if self.tasks.len() < TASKS_TYPED_MAX {
                    self.tasks.push_back(Task::Print);
                }
            }
            Input::NetFrame { frame, .. } => {
                self.hash = mix_bytes(self.hash, frame);
                self.on_frame(frame);
            }
            Input::DiskDone { id, status, data, .. } => {
                let Some(index) = self.pending.iter().position(|request| request.id == *id) else {
                    return;
                };
                self.stir(*id);
                self.hash = mix_bytes(self.hash, data);
                let request = self.pending.remove(index);
                if *status == DiskStatus::Failed {
                    self.retry(request);
                }
            }
            Input::Entropy { bytes } => {
                if std::mem::take(&mut self.entropy_wanted) {
                    self.hash = mix_bytes(self.hash, bytes);
                }
            }
            Input::Control(Control::PowerOff) => {
                self.off = Some(PowerState::Off);
                self.effects.push_back(Effect::PoweredOff(PowerState::Off));
            }
            Input::Control(Control::Reset) => {
                self.tasks.clear();
                self.timer = None;
                self.work = 100;
                self.tasks.push_back(Task::Print);
            }
        }
    }

    fn take_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn now(&self) -> Step {
        self.now
    }

    fn mtime(&self) -> u64 {
        self.clock.at(self.now)
    }

    fn digest(&mut self) -> Digest {
        let disk = self.pending.iter().fold(0, |sum, request| mix(sum, request.id));
        let memory = self.fingerprint();
        Digest {
            parts: vec![("memory".to_owned(), memory), ("disk".to_owned(), disk)],
        }
    }

    fn pages_hashed(&self) -> u64 {
        0
    }

    fn pending_disk(&self) -> Vec<DiskRequest> {
        self.pending.clone()
    }
}

impl Toy {
    /// A driver that does not give up: the same again under a new number.
    fn retry(&mut self, request: DiskRequest) {
        let request = DiskRequest {
            id: self.next_id,
            ..request
        };
        self.next_id += 1;
        self.pending.push(request.clone());
        self.effects.push_back(Effect::Disk(request));
    }
}
