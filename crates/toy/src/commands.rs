//! `Commands`: a program that does what each frame says, for tests that are written by hand.
//!
//! The first byte of a frame is the command, the second one its argument: a sector, or a number of steps.
//!
//! | command | what the toy does, 20 steps and the argument's number of steps later |
//! |---|---|
//! | `e` | answers |
//! | `w`, `r` | writes a sector of its disk with the command in it, or reads one |
//! | `f` | flushes its disk |
//! | `c` | prints a digit |
//! | `n` | asks for eight random bytes |
//! | `s` | nothing, a thousand times as late |
//! | `o` | switches itself off |
//!
//! An answer is the command, the toy's state, and the number of answers so far (8 bytes each), so that a
//! lost, repeated or contradicted one is seen. A timer ticks every [`PERIOD`]. Between these the toy must
//! show nothing by itself.

use std::collections::{BTreeMap, VecDeque};

use machine::Stop;
use machine::{Control, Cut, DiskOperation, Effect, Input, Step};
use replica::Digest;
use replica::log::bytes::{Malformed, Reader, Writer};

use crate::board::{Board, Program, Toy};
use crate::hash::mix;
use crate::state::{ITEMS_MAX, read_bytes, read_option, write_option};

/// Ticks of `mtime` between two ticks of the timer: 10 ms.
pub const PERIOD: u64 = 100_000;
/// Steps that a tick of the timer costs.
const TICK_COST: u64 = 50;
/// Steps that a command costs at least.
const COMMAND_COST: u64 = 20;
/// A cut is looked for every so many steps.
const CUT_EVERY: u64 = 64;
/// Bytes of a sector.
const SECTOR: usize = 512;

/// A command under way.
#[derive(Clone, Debug)]
struct Job {
    /// Steps until it is done, one at least.
    cost: u64,
    /// The whole frame; empty for a tick of the timer.
    frame: Vec<u8>,
}

/// The program, with what a test wants to be special about it.
#[derive(Clone, Debug)]
pub struct Commands {
    /// Everything that happens is mixed into this number.
    state: u64,
    /// The `mtime` of the next tick of the timer.
    timer: u64,
    /// Ticks of the timer so far.
    ticks: u64,
    /// Commands in the order in which they came; only the first one advances.
    jobs: VecDeque<Job>,
    /// Answers so far.
    answered: u64,
    /// Commands to answer when the disk request of this number is done.
    asked: BTreeMap<u64, Vec<u8>>,
    /// Writes submitted so far.
    writes: u64,
    /// The last write to each sector.
    written: BTreeMap<u64, Vec<u8>>,
    /// It also answers commands to the disk, when they are done, and prints a line for each answer.
    answers: bool,
    /// It computes without end instead of waiting.
    spins: bool,
    /// A bit of its state flips at this step: it is a broken replica.
    broken_at: Option<u64>,
    /// What each digest is said to have cost.
    pages_hashed: u64,
    /// Wishes for random bytes that have no answer.
    wishes: u64,
}

impl Default for Commands {
    fn default() -> Commands {
        Commands {
            state: 0,
            timer: PERIOD,
            ticks: 0,
            jobs: VecDeque::new(),
            answered: 0,
            asked: BTreeMap::new(),
            writes: 0,
            written: BTreeMap::new(),
            answers: false,
            spins: false,
            broken_at: None,
            pages_hashed: 0,
            wishes: 0,
        }
    }
}

impl Toy<Commands> {
    /// A toy at step 0.
    #[must_use]
    pub fn new() -> Toy<Commands> {
        Toy::default()
    }

    /// The same toy, but it also answers commands to the disk, when they are done (with what a read gave
    /// behind the command), and prints a line with the number of each answer.
    #[must_use]
    pub fn that_answers(mut self) -> Toy<Commands> {
        self.program.answers = true;
        self
    }

    /// The same toy, but if `spins` it computes without end instead of waiting.
    #[must_use]
    pub fn that_spins(mut self, spins: bool) -> Toy<Commands> {
        self.program.spins = spins;
        self
    }

    /// The same toy, but a bit of its state flips at `step`, from 1: it goes another way than all others.
    #[must_use]
    pub fn that_breaks_at(mut self, step: u64) -> Toy<Commands> {
        self.program.broken_at = Some(step);
        self
    }

    /// The same toy, but each digest is said to have hashed so many pages.
    #[must_use]
    pub fn that_hashes(mut self, pages: u64) -> Toy<Commands> {
        self.program.pages_hashed = pages;
        self
    }

    /// Writes submitted so far.
    #[must_use]
    pub fn disk_writes(&self) -> u64 {
        self.program.writes
    }

    /// The last write to each sector.
    #[must_use]
    pub fn written(&self) -> &BTreeMap<u64, Vec<u8>> {
        &self.program.written
    }
}

impl Commands {
    fn stir(&mut self, value: u64) {
        self.state = mix(self.state, value);
    }

    fn stir_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.stir(u64::from(byte));
        }
    }

    fn perform(&mut self, board: &mut Board, frame: &[u8]) {
        let argument = u64::from(frame.get(1).copied().unwrap_or(0));
        match frame.first() {
            Some(b'e') => self.answer(board, frame),
            Some(b'w') => {
                let data = self.sector(frame);
                self.writes += 1;
                self.written.insert(argument, data.clone());
                let operation = DiskOperation::Write {
                    sector: argument,
                    data: data.into(),
                };
                self.submit(board, operation, frame);
            }
            Some(b'r') => {
                let operation = DiskOperation::Read {
                    sector: argument,
                    bytes: SECTOR as u32,
                };
                self.submit(board, operation, frame);
            }
            Some(b'f') => self.submit(board, DiskOperation::Flush, frame),
            Some(b'c') => {
                let bytes = vec![b'0' + (self.state % 10) as u8];
                board.show(Effect::ConsoleWrite { port: 0, bytes });
            }
            Some(b'n') => {
                self.wishes += 1;
                board.show(Effect::EntropyWanted { bytes: 8 });
            }
            Some(b'o') => board.power_off(),
            _ => {}
        }
    }

    fn submit(&mut self, board: &mut Board, operation: DiskOperation, frame: &[u8]) {
        let id = board.submit(operation);
        if self.answers {
            self.asked.insert(id, frame.to_vec());
        }
    }

    /// A sector with the command at its beginning and the state at its end.
    fn sector(&self, frame: &[u8]) -> Vec<u8> {
        let mut data = frame.to_vec();
        data.resize(SECTOR - 8, 0);
        data.extend(self.state.to_le_bytes());
        data
    }

    fn answer(&mut self, board: &mut Board, command: &[u8]) {
        self.answered += 1;
        let mut frame = command.to_vec();
        frame.extend(self.state.to_le_bytes());
        frame.extend(self.answered.to_le_bytes());
        board.show(Effect::NetTransmit { port: 0, frame });
        if self.answers {
            let bytes = format!("{}\n", self.answered).into_bytes();
            board.show(Effect::ConsoleWrite { port: 0, bytes });
        }
    }

    fn step(&mut self, board: &mut Board) {
        board.now = board.now.after(1);
        self.stir(board.now.0);
        if self.broken_at == Some(board.now.0) {
            self.state ^= 1;
        }
        if let Some(job) = self.jobs.front_mut() {
            job.cost -= 1;
            if job.cost == 0
                && let Some(job) = self.jobs.pop_front()
            {
                self.perform(board, &job.frame);
            }
        }
    }
}

impl Program for Commands {
    fn on_input(&mut self, board: &mut Board, input: &Input) {
        match input {
            Input::Clock { .. } => {}
            Input::Break { port } => self.stir(u64::from(*port)),
            Input::DiskSize { sectors, .. } => self.stir(*sectors),
            Input::NetFrame { frame, .. } => {
                let many = if frame.first() == Some(&b's') { 1000 } else { 1 };
                let cost = COMMAND_COST + many * u64::from(frame.get(1).copied().unwrap_or(0));
                let frame = frame.clone();
                self.jobs.push_back(Job { cost, frame });
            }
            Input::Console { bytes, .. } => self.stir_bytes(bytes),
            Input::Entropy { bytes } => {
                self.wishes = self.wishes.saturating_sub(1);
                self.stir_bytes(bytes);
            }
            Input::DiskDone { id, data, .. } => {
                board.complete(*id);
                self.stir(*id);
                self.stir_bytes(data);
                if let Some(command) = self.asked.remove(id) {
                    self.answer(board, &[command.as_slice(), data].concat());
                }
            }
            Input::Control(Control::PowerOff) => board.power_off(),
            Input::Control(Control::Reset) => {
                self.state = 0;
                self.wishes = 0;
            }
        }
    }

    fn run(&mut self, board: &mut Board, _until: Step, cut: &dyn Cut) -> Option<Stop> {
        let ticks = board.mtime() >= self.timer;
        if self.jobs.is_empty() && !self.spins && !ticks {
            let wake_at = Some(self.timer);
            return Some(Stop::Waiting { wake_at });
        }
        if board.now.0.is_multiple_of(CUT_EVERY) && cut.is_wanted() {
            return Some(Stop::Cut);
        }
        // Not before it is sure that a step follows: something may yet be injected at this step, and comes
        // first then.
        if ticks {
            self.timer += PERIOD;
            self.ticks += 1;
            self.jobs.push_back(Job {
                cost: TICK_COST,
                frame: Vec::new(),
            });
        }
        self.step(board);
        None
    }

    fn save(&self, w: &mut Writer) {
        for number in [
            self.state,
            self.timer,
            self.ticks,
            self.answered,
            self.writes,
            self.pages_hashed,
        ] {
            w.varint(number);
        }
        w.raw(&[u8::from(self.answers), u8::from(self.spins)]);
        write_option(w, self.broken_at);
        w.varint(self.jobs.len() as u64);
        for job in &self.jobs {
            w.varint(job.cost);
            w.bytes(&job.frame);
        }
        for map in [&self.asked, &self.written] {
            w.varint(map.len() as u64);
            for (key, value) in map {
                w.varint(*key);
                w.bytes(value);
            }
        }
        w.varint(self.wishes);
    }

    fn load(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        self.state = r.varint()?;
        self.timer = r.varint()?;
        self.ticks = r.varint()?;
        self.answered = r.varint()?;
        self.writes = r.varint()?;
        self.pages_hashed = r.varint()?;
        self.answers = r.truth()?;
        self.spins = r.truth()?;
        self.broken_at = read_option(r)?;
        self.jobs.clear();
        for _ in 0..r.varint_at_most(ITEMS_MAX)? {
            let (cost, frame) = (r.varint()?, read_bytes(r)?);
            self.jobs.push_back(Job { cost, frame });
        }
        for map in [&mut self.asked, &mut self.written] {
            map.clear();
            for _ in 0..r.varint_at_most(ITEMS_MAX)? {
                map.insert(r.varint()?, read_bytes(r)?);
            }
        }
        self.wishes = r.varint()?;
        Ok(())
    }

    fn pending_entropy(&self) -> Vec<u32> {
        (0..self.wishes).map(|_| 8).collect()
    }

    fn digest(&self, board: &Board) -> Digest {
        let part = |name: &str, value: u64| (name.to_owned(), value);
        let pending = board.pending().len() as u64;
        Digest {
            parts: vec![
                part("clock", board.mtime()),
                part("timer", self.timer ^ self.ticks),
                part("state", mix(self.state, self.answered)),
                part("disk", board.submitted() ^ pending << 32),
            ],
        }
    }

    fn pages_hashed(&self) -> u64 {
        self.pages_hashed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use replica::Guest;

    use super::*;

    #[test]
    fn a_cut_at_a_tick_of_the_timer_puts_the_tick_behind_an_input_of_that_step() {
        // Half a tick of `mtime` a step, so the timer ticks at a step at which a cut is looked for.
        let (mtime, rate) = (0, 1 << 31);
        let tick = Step(2 * PERIOD);
        assert!(tick.0.is_multiple_of(CUT_EVERY));
        let life = |is_cut: bool| {
            let mut toy = Toy::<Commands>::new().that_spins(true);
            toy.inject(&Input::Clock { mtime, rate });
            toy.run(Step(tick.0 - 1), &AtomicBool::new(false));
            let until = if is_cut { Step(3 * PERIOD) } else { tick };
            let pause = toy.run(until, &AtomicBool::new(is_cut));
            assert_eq!(pause, if is_cut { Stop::Cut } else { Stop::Reached });
            let (port, frame) = (0, b"e".to_vec());
            toy.inject(&Input::NetFrame { port, frame });
            toy.run(Step(3 * PERIOD), &AtomicBool::new(false));
            (toy.now(), toy.take_effect())
        };
        assert_eq!(life(true), life(false));
    }
}
