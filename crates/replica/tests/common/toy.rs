//! A guest in 200 lines: steps, a timer, a frame echo, a disk, a console, entropy and a power switch.
//!
//! Commands arrive as frames. The first byte says what to do: `e`cho, `w`rite, `r`ead, `f`lush, `c`onsole,
//! `n`eed entropy, `s`pin, `o`ff; the second is a sector or a number. Everything it shows contains its state.

use std::collections::{BTreeMap, VecDeque};

use machine::{Clock, Control, Cut, DiskOperation, DiskRequest, Effect, Input, PowerState, Step};
use replica::{Digest, Guest, Pause};

/// `mtime` between two ticks of the toy's timer: 10 ms.
pub const PERIOD: u64 = 100_000;

#[derive(Clone, Debug)]
struct Job {
    cost: u64,
    frame: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
#[allow(dead_code, reason = "not every test binary looks at everything")]
pub struct Toy {
    now: u64,
    state: u64,
    clock: Clock,
    timer: u64,
    ticks: u64,
    jobs: VecDeque<Job>,
    effects: VecDeque<Effect>,
    pending: Vec<DiskRequest>,
    next_id: u64,
    off: Option<PowerState>,
    /// What was written where, for the tests to look at.
    writes: u64,
    written: BTreeMap<u64, Vec<u8>>,
    /// Flip a bit of the state at this step: a broken replica.
    pub broken_at: Option<u64>,
    /// What each digest is said to have cost.
    pub pages_hashed: u64,
}

impl Toy {
    pub fn new() -> Toy {
        Toy {
            timer: PERIOD,
            ..Toy::default()
        }
    }

    /// Writes submitted so far.
    pub fn disk_writes(&self) -> u64 {
        self.writes
    }

    /// The last write to each sector.
    pub fn written(&self) -> &BTreeMap<u64, Vec<u8>> {
        &self.written
    }

    fn mix(&mut self, value: u64) {
        self.state = (self.state ^ value)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }

    fn disk(&mut self, operation: DiskOperation) {
        if let DiskOperation::Write { sector, data } = &operation {
            self.writes += 1;
            self.written.insert(*sector, data.to_vec());
        }
        let request = DiskRequest {
            disk: 0,
            id: self.next_id,
            operation,
        };
        self.next_id += 1;
        self.pending.push(request.clone());
        self.effects.push_back(Effect::Disk(request));
    }

    fn finish(&mut self, frame: &[u8]) {
        let argument = u64::from(frame.get(1).copied().unwrap_or(0));
        match frame.first() {
            Some(b'e') => {
                let mut reply = frame.to_vec();
                reply.extend(self.state.to_le_bytes());
                self.effects.push_back(Effect::NetTransmit {
                    port: 0,
                    frame: reply,
                });
            }
            Some(b'w') => {
                let mut data = vec![0; 512];
                data[..8].copy_from_slice(&self.state.to_le_bytes());
                self.disk(DiskOperation::Write {
                    sector: argument,
                    data: data.into(),
                });
            }
            Some(b'r') => self.disk(DiskOperation::Read {
                sector: argument,
                bytes: 512,
            }),
            Some(b'f') => self.disk(DiskOperation::Flush),
            Some(b'c') => {
                let bytes = vec![b'0' + (self.state % 10) as u8];
                self.effects.push_back(Effect::ConsoleWrite { port: 0, bytes });
            }
            Some(b'n') => self.effects.push_back(Effect::EntropyWanted { bytes: 8 }),
            Some(b'o') => self.power_off(),
            _ => {}
        }
    }

    fn power_off(&mut self) {
        self.off = Some(PowerState::Off);
        self.effects.push_back(Effect::PoweredOff(PowerState::Off));
    }

    fn step(&mut self) {
        self.now += 1;
        self.mix(self.now);
        if self.broken_at == Some(self.now) {
            self.state ^= 1;
        }
        if let Some(job) = self.jobs.front_mut() {
            job.cost -= 1;
            if job.cost == 0
                && let Some(job) = self.jobs.pop_front()
            {
                self.finish(&job.frame);
            }
        }
    }
}

impl Guest for Toy {
    fn run(&mut self, until: Step, cut: &dyn Cut) -> Pause {
        loop {
            if !self.effects.is_empty() {
                return Pause::Effects;
            }
            if let Some(state) = self.off {
                return Pause::Off(state);
            }
            if self.now >= until.0 {
                return Pause::Reached;
            }
            if self.clock.at(Step(self.now)) >= self.timer {
                self.timer += PERIOD;
                self.ticks += 1;
                self.jobs.push_back(Job {
                    cost: 50,
                    frame: vec![],
                });
            }
            if self.jobs.is_empty() {
                return Pause::Waiting {
                    wake_at: Some(self.timer),
                };
            }
            if self.now.is_multiple_of(64) && cut.is_wanted() {
                return Pause::Cut;
            }
            self.step();
        }
    }

    fn inject(&mut self, input: &Input) {
        match input {
            Input::Clock { mtime, rate } => self.clock.set(Step(self.now), *mtime, *rate),
            Input::NetFrame { frame, .. } => {
                let many = if frame.first() == Some(&b's') { 1000 } else { 1 };
                let cost = 20 + many * u64::from(frame.get(1).copied().unwrap_or(0));
                self.jobs.push_back(Job {
                    cost,
                    frame: frame.clone(),
                });
            }
            Input::Console { bytes, .. } | Input::Entropy { bytes } => {
                for &byte in bytes {
                    self.mix(u64::from(byte));
                }
            }
            Input::DiskDone { id, data, .. } => {
                self.pending.retain(|request| request.id != *id);
                self.mix(*id);
                for &byte in data {
                    self.mix(u64::from(byte));
                }
            }
            Input::Control(Control::PowerOff) => self.power_off(),
            Input::Control(Control::Reset) => self.state = 0,
        }
    }

    fn take_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn now(&self) -> Step {
        Step(self.now)
    }

    fn mtime(&self) -> u64 {
        self.clock.at(Step(self.now))
    }

    fn digest(&mut self) -> Digest {
        let part = |name: &str, value: u64| (name.to_owned(), value);
        Digest {
            parts: vec![
                part("clock", self.mtime()),
                part("timer", self.timer ^ self.ticks),
                part("state", self.state),
                part("disk", self.next_id ^ (self.pending.len() as u64) << 32),
            ],
        }
    }

    fn pages_hashed(&self) -> u64 {
        self.pages_hashed
    }

    fn pending_disk(&self) -> Vec<DiskRequest> {
        self.pending.clone()
    }
}
