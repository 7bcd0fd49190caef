//! A flat test board: RAM, a byte sink, an exit register, and interrupt lines and a clock that the test
//! sets. Whatever it does is a function of steps and of what the guest wrote.

#![allow(dead_code, reason = "each test program uses its part of the board")]

pub mod asm;
pub mod floats;
pub mod loops;
pub mod random;

use std::sync::atomic::AtomicBool;

use hart::{
    Access, Bus, BusError, Engine, Environment, Exit, Hart, Interpreter, InterpreterOptions, Lines, Ram,
    Reason, Step, Visit, Visitor,
    ram::{BASE, PAGE},
};

/// Byte sink and source.
pub const UART: u64 = 0x1000_0000;
/// Interrupt lines: bits written here become the board's lines.
pub const LINES: u64 = 0x1000_1000;
/// A doubleword that asks for attention when written, and writes its value to RAM at BASE + 0x8000 by DMA.
pub const DMA: u64 = 0x1000_2000;
/// Exit register, as QEMU's `sifive_test`: 0x5555 is success, anything else failure.
pub const EXIT: u64 = 0x10_0000;
/// Executable read-only memory.
pub const ROM: u64 = 0x1000;

/// Everything outside RAM.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub struct Board {
    pub output: Vec<u8>,
    pub exit: Option<u64>,
    pub lines: u64,
    /// `mtime` is steps divided by this; 0: it stands at `time`.
    pub steps_per_tick: u64,
    pub time: u64,
    pub attention: bool,
    pub rom: Vec<u8>,
    /// Bus accesses with their steps, to compare.
    pub trace: Vec<(u64, u64)>,
}

impl Bus for Board {
    fn load(&mut self, _ram: &mut Ram, access: Access) -> Result<u64, BusError> {
        self.attention = false;
        self.trace.push((access.now.0, access.address));
        match access.address {
            UART => Ok(0x5a),
            LINES => Ok(self.lines),
            DMA => Ok(access.now.0),
            at if at >= ROM && at - ROM + access.width.bytes() <= self.rom.len() as u64 => {
                let from = (at - ROM) as usize;
                let bytes = &self.rom[from..from + access.width.bytes() as usize];
                Ok(bytes
                    .iter()
                    .rev()
                    .fold(0, |value, &byte| value << 8 | u64::from(byte)))
            }
            _ => Err(BusError),
        }
    }

    fn store(&mut self, ram: &mut Ram, access: Access, value: u64) -> Result<(), BusError> {
        self.attention = false;
        self.trace.push((access.now.0, access.address));
        match access.address {
            UART => self.output.push(value as u8),
            LINES => self.lines = value,
            DMA => {
                self.attention = true;
                ram.write(BASE + 0x8000, &value.to_le_bytes())
                    .map_err(|_| BusError)?;
            }
            EXIT => {
                self.attention = true;
                self.exit = Some(value);
            }
            _ => return Err(BusError),
        }
        Ok(())
    }

    fn answers(&self, address: u64) -> bool {
        let rom = ROM..ROM + self.rom.len() as u64;
        matches!(address, UART | LINES | DMA | EXIT) || rom.contains(&address)
    }

    fn time(&self, now: Step) -> u64 {
        now.0.checked_div(self.steps_per_tick).unwrap_or(self.time)
    }

    fn lines(&self, _hart: usize, _now: Step) -> Lines {
        Lines(self.lines)
    }

    fn attention(&self) -> bool {
        self.attention
    }
}

/// One hart, its board, and an engine.
pub struct Computer {
    pub hart: Hart,
    pub ram: Ram,
    pub board: Board,
    pub now: Step,
    pub engine: Interpreter,
}

impl Computer {
    /// A hart about to execute `code` at the start of RAM.
    pub fn new(code: &[u8], options: InterpreterOptions) -> Computer {
        let mut ram = Ram::new(256 * PAGE as u64).unwrap();
        ram.write(BASE, code).unwrap();
        Computer {
            hart: Hart::new(0, BASE),
            ram,
            board: Board::default(),
            now: Step(0),
            engine: Interpreter::new(options),
        }
    }

    /// One call of the engine.
    pub fn run(&mut self, budget: u64) -> Exit {
        let cut = AtomicBool::new(false);
        let environment = Environment {
            ram: &mut self.ram,
            bus: &mut self.board,
            now: self.now,
            cut: &cut,
        };
        let exit = self.engine.run(&mut self.hart, environment, budget);
        assert!(exit.steps <= budget);
        self.now = self.now.after(exit.steps);
        exit
    }

    /// Runs exactly so many steps, or until the hart waits or the guest has asked for its end.
    pub fn run_to(&mut self, until: u64) -> Reason {
        while self.now.0 < until {
            // As the machine must: no edge of the timer inside a run.
            let mut budget = until - self.now.0;
            if let (Some(due), 1..) = (self.hart.timer(), self.board.steps_per_tick) {
                let step = due.saturating_mul(self.board.steps_per_tick);
                if step > self.now.0 {
                    budget = budget.min(step - self.now.0);
                }
            }
            let exit = self.run(budget);
            if exit.reason == Reason::Wait || self.board.exit.is_some() {
                return exit.reason;
            }
        }
        Reason::Budget
    }

    /// Everything that the guest could observe.
    pub fn state(&mut self) -> State {
        let mut list = List::default();
        self.hart.visit(&mut list);
        let mut memory = vec![0; self.ram.size()];
        self.ram.read(BASE, &mut memory).unwrap();
        State {
            hart: list.values,
            memory,
            board: self.board.clone(),
        }
    }
}

/// A whole machine state, to compare.
#[derive(PartialEq, Eq)]
pub struct State {
    pub hart: Vec<(String, u64)>,
    pub memory: Vec<u8>,
    pub board: Board,
}

impl State {
    /// What differs, for an assertion message; empty if nothing does.
    pub fn differences(&self, other: &State) -> String {
        let mut text = String::new();
        for (index, (a, b)) in self.hart.iter().zip(&other.hart).enumerate() {
            if a != b {
                text += &format!("{} ({index}): {:x} != {:x}\n", a.0, a.1, b.1);
            }
        }
        // Compared whole first: a fuzzer does this very often.
        if self.memory != other.memory
            && let Some(at) = (0..self.memory.len()).find(|&at| self.memory[at] != other.memory[at])
        {
            text += &format!("RAM at {:x}\n", BASE + at as u64);
        }
        if self.board != other.board {
            text += &format!("board: {:?} != {:?}\n", self.board, other.board);
        }
        text
    }
}

/// A visitor that lists all numbers.
#[derive(Default)]
pub struct List {
    pub values: Vec<(String, u64)>,
}

impl Visitor for List {
    fn enter(&mut self, _name: &'static str) {}
    fn leave(&mut self) {}
    fn u64(&mut self, name: &'static str, value: &mut u64) {
        self.values.push((name.to_owned(), *value));
    }
    fn bytes(&mut self, name: &'static str, value: &mut Vec<u8>, _max: usize) {
        for byte in value {
            self.values.push((name.to_owned(), u64::from(*byte)));
        }
    }
    fn length(&mut self, name: &'static str, length: usize, _max: usize) -> usize {
        self.values.push((name.to_owned(), length as u64));
        length
    }
}
