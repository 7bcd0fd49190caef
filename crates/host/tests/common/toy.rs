//! A guest that answers frames. The first byte says what to do: `e`cho, `w`rite to the disk and echo when done,
//! `r`ead it, `o`ff. Each answer is the request and the number of requests so far, so that a lost or repeated
//! one is seen. It also writes a line to its console for each.

use std::collections::VecDeque;

use machine::{Clock, Control, Cut, DiskOperation, DiskRequest, Effect, Input, PowerState, Step};
use replica::{Digest, Guest, Pause};

/// Steps it takes to answer.
const WORK: u64 = 200;

#[derive(Default)]
pub struct Toy {
    now: u64,
    state: u64,
    clock: Clock,
    /// Never idle: a guest that computes all the time.
    spins: bool,
    /// Requests and the step at which each is answered.
    jobs: VecDeque<(u64, Vec<u8>)>,
    /// Requests that wait for the disk.
    at_disk: Vec<(DiskRequest, Vec<u8>)>,
    answered: u64,
    next_id: u64,
    effects: VecDeque<Effect>,
    off: Option<PowerState>,
}

impl Toy {
    pub fn new(spins: bool) -> Toy {
        Toy {
            spins,
            ..Toy::default()
        }
    }

    /// One that goes another way than all others.
    pub fn broken() -> Toy {
        Toy {
            state: 1,
            ..Toy::default()
        }
    }

    fn mix(&mut self, value: u64) {
        self.state = (self.state ^ value)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }

    fn answer(&mut self, mut request: Vec<u8>) {
        self.answered += 1;
        request.extend(self.answered.to_le_bytes());
        self.effects.push_back(Effect::NetTransmit {
            port: 0,
            frame: request,
        });
        let bytes = format!("{}\n", self.answered).into_bytes();
        self.effects.push_back(Effect::ConsoleWrite { port: 0, bytes });
    }

    fn work(&mut self, request: Vec<u8>) {
        let operation = match request.first() {
            Some(b'w') => DiskOperation::Write {
                sector: u64::from(request[1]),
                data: [&request[..], &vec![0; 512 - request.len()]].concat().into(),
            },
            Some(b'r') => DiskOperation::Read {
                sector: u64::from(request[1]),
                bytes: 512,
            },
            Some(b'o') => return self.power_off(),
            Some(b'n') => return self.effects.push_back(Effect::EntropyWanted { bytes: 8 }),
            _ => return self.answer(request),
        };
        let id = self.next_id;
        self.next_id += 1;
        let disk = DiskRequest {
            disk: 0,
            id,
            operation,
        };
        self.at_disk.push((disk.clone(), request));
        self.effects.push_back(Effect::Disk(disk));
    }

    fn power_off(&mut self) {
        self.off = Some(PowerState::Off);
        self.effects.push_back(Effect::PoweredOff(PowerState::Off));
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
            if self.jobs.is_empty() && !self.spins {
                return Pause::Waiting { wake_at: None };
            }
            if self.now.is_multiple_of(64) && cut.is_wanted() {
                return Pause::Cut;
            }
            self.now += 1;
            self.mix(self.now);
            if self.jobs.front().is_some_and(|job| job.0 <= self.now)
                && let Some((_, request)) = self.jobs.pop_front()
            {
                self.work(request);
            }
        }
    }

    fn inject(&mut self, input: &Input) {
        match input {
            Input::Clock { mtime, rate } => self.clock.set(Step(self.now), *mtime, *rate),
            Input::NetFrame { frame, .. } => self.jobs.push_back((self.now + WORK, frame.clone())),
            Input::Console { bytes, .. } | Input::Entropy { bytes } => {
                bytes.iter().for_each(|&byte| self.mix(u64::from(byte)));
                self.jobs.push_back((self.now + WORK, vec![b'e']));
            }
            Input::DiskDone { id, data, .. } => {
                let Some(index) = self.at_disk.iter().position(|(disk, _)| disk.id == *id) else {
                    return;
                };
                let (_, mut request) = self.at_disk.remove(index);
                request.extend_from_slice(data);
                self.answer(request);
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
                part("state", self.state),
                part("clock", self.mtime()),
                part("answered", self.answered),
                part("disk", self.next_id << 32 | self.at_disk.len() as u64),
            ],
        }
    }

    fn pages_hashed(&self) -> u64 {
        0
    }

    fn pending_disk(&self) -> Vec<DiskRequest> {
        self.at_disk.iter().map(|(disk, _)| disk.clone()).collect()
    }
}
