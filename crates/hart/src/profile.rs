//! `Profile`: where a guest spends its steps, and what its engine has to do for it.
//!
//! Two things that are switched on together. *Samples* say where the guest is every so many steps; a
//! [`Sampler`] around an engine takes them. *Counts* say what the interpreter and the translator did; the
//! interpreter keeps them. Neither is guest state: the guest, and everything that is derived from it, is the
//! same with and without. As samples are taken at steps and not at times, two runs of the same log give the
//! same samples.
//!
//! This must never read a clock: whoever makes a profile brings one, for what is told to people.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    Engine, Exit, Hart, Reason,
    disasm::name,
    engine::Environment,
    op::{Code, Op},
    privilege::Privilege,
};

/// Places that are told apart; samples of further ones are counted as [`Samples::elsewhere`].
pub const PLACES_MAX: usize = 1 << 20;

/// Where a hart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its mode.
    pub privilege: Privilege,
    /// In user mode with translation: the page of the root page table, which names the address space; else 0.
    pub root: u64,
    /// Virtual address of the next instruction.
    pub pc: u64,
}

impl Place {
    /// Where this hart is, were it at `pc`.
    #[must_use]
    pub fn of(hart: &Hart, pc: u64) -> Place {
        let named = hart.privilege == Privilege::User && hart.csr.satp_levels() != 0;
        Place {
            privilege: hart.privilege,
            root: if named { hart.csr.satp_root() } else { 0 },
            pc,
        }
    }
}

/// Where the guest was.
#[derive(Debug, Default)]
pub struct Samples {
    /// How often it was where.
    pub places: BTreeMap<Place, u64>,
    /// How often it was anywhere else, when there were [`PLACES_MAX`] places already.
    pub elsewhere: u64,
}

impl Samples {
    /// All samples.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.elsewhere + self.places.values().sum::<u64>()
    }

    fn add(&mut self, place: Place) {
        if let Some(count) = self.places.get_mut(&place) {
            *count += 1;
        } else if self.places.len() < PLACES_MAX {
            self.places.insert(place, 1);
        } else {
            self.elsewhere += 1;
        }
    }
}

/// Why a step was interpreted and not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing is translated.
    Off,
    /// It was not come upon often enough.
    Cold,
    /// Its page is written too often, or there is nothing to translate.
    Never,
    /// The run was about to end: a superblock counts all its steps before it begins.
    Tail,
}

/// Number of [`Why`]s.
pub const WHYS: usize = 4;

/// How often the interpreter did a kind of op, and one of them.
#[derive(Clone, Copy, Debug)]
struct Helped {
    op: Op,
    count: u64,
}

/// What the engine did.
#[derive(Debug)]
pub struct Counts {
    /// Steps in generated code and in what it called.
    pub entered_steps: u64,
    /// Times that generated code was entered.
    pub entries: u64,
    /// Steps that were interpreted outside of it, by [`Why`].
    pub interpreted: [u64; WHYS],
    /// What was translated and dropped.
    pub tally: Tally,
    /// TLB entries made for loads, stores and fetches.
    pub fills: [u64; 3],
    /// Times that entries of the TLB were dropped while they were good.
    pub drops: u64,
    /// Nanoseconds that the translator took.
    pub translating_ns: u64,
    /// Nanoseconds that the engine ran, translator included.
    pub running_ns: u64,
    helped: Vec<Helped>,
}

/// What the translator made and dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Superblocks made.
    pub superblocks: u64,
    /// Instructions in them.
    pub ops: u64,
    /// Bytes of what is executed often.
    pub hot_bytes: u64,
    /// Bytes of what is rare.
    pub cold_bytes: u64,
    /// Times that everything was dropped.
    pub flushes: u64,
    /// Pages whose code was dropped because it was written to, or to make room.
    pub pages_dropped: u64,
}

impl Tally {
    /// All that was done since `before`, added to this.
    pub(crate) fn add(&mut self, now: Tally, before: Tally) {
        self.superblocks += now.superblocks - before.superblocks;
        self.ops += now.ops - before.ops;
        self.hot_bytes += now.hot_bytes - before.hot_bytes;
        self.cold_bytes += now.cold_bytes - before.cold_bytes;
        self.flushes += now.flushes - before.flushes;
        self.pages_dropped += now.pages_dropped - before.pages_dropped;
    }
}

// One number for each kind of op that is worth telling apart: each code, CSR, floating-point and atomic
// instruction.
const CSRS: usize = 256;
const FLOATS: usize = CSRS + 4096;
const ATOMICS: usize = FLOATS + 512;
const KINDS: usize = ATOMICS + 64;

fn kind(op: Op) -> usize {
    match op.code {
        Code::Csr => CSRS + (op.imm as u32 >> 20) as usize,
        // The kind, and which format.
        Code::Float => FLOATS + (op.imm & 0x1ff) as usize,
        Code::AmoW => ATOMICS + (op.field() & 31) as usize,
        Code::AmoD => ATOMICS + 32 + (op.field() & 31) as usize,
        code => code as usize,
    }
}

impl Counts {
    fn new() -> Counts {
        let none = Helped {
            op: Op::UNDECODED,
            count: 0,
        };
        Counts {
            entered_steps: 0,
            entries: 0,
            interpreted: [0; WHYS],
            tally: Tally::default(),
            fills: [0; 3],
            drops: 0,
            translating_ns: 0,
            running_ns: 0,
            helped: vec![none; KINDS],
        }
    }

    /// The interpreter did an op for generated code.
    #[inline]
    pub(crate) fn help(&mut self, op: Op) {
        let helped = &mut self.helped[kind(op)];
        helped.op = op;
        helped.count += 1;
    }

    /// Which instructions the interpreter did for generated code and how often, the most frequent first.
    #[must_use]
    pub fn helped(&self) -> Vec<(String, u64)> {
        let some = self.helped.iter().filter(|helped| helped.count > 0);
        let mut list: Vec<_> = some.map(|helped| (name(helped.op), helped.count)).collect();
        list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        list
    }

    /// How many that were.
    #[must_use]
    pub fn helped_total(&self) -> u64 {
        self.helped.iter().map(|helped| helped.count).sum()
    }

    /// All steps.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.entered_steps + self.interpreted.iter().sum::<u64>()
    }
}

/// What is learned. Shared between the engine and whoever wants to know.
#[derive(Debug)]
pub struct Profile {
    every: u64,
    pub(crate) clock: fn() -> u64,
    counts: Mutex<Counts>,
    samples: Mutex<Samples>,
}

impl Profile {
    /// An empty one, with a sample `every` so many steps (at least 1). `clock` tells nanoseconds, for people.
    #[must_use]
    pub fn new(every: u64, clock: fn() -> u64) -> Profile {
        Profile {
            every: every.max(1),
            clock,
            counts: Mutex::new(Counts::new()),
            samples: Mutex::default(),
        }
    }

    /// Steps from one sample to the next.
    #[must_use]
    pub fn every(&self) -> u64 {
        self.every
    }

    /// What was counted. An engine that runs holds on to it until the end of its run.
    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was sampled.
    pub fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine that stops at the steps at which a sample is due. Stopping is invisible (docs/determinism.md),
/// and the step is exact, so samples are fair: they do not favour places where a run likes to end.
pub struct Sampler<E> {
    engine: E,
    profile: Arc<Profile>,
}

impl<E: Engine> Sampler<E> {
    /// Around `engine`.
    #[must_use]
    pub fn new(engine: E, profile: Arc<Profile>) -> Sampler<E> {
        Sampler { engine, profile }
    }
}

impl<E: Engine> Engine for Sampler<E> {
    fn run(&mut self, hart: &mut Hart, environment: Environment<'_>, budget: u64) -> Exit {
        let every = self.profile.every;
        let mut steps = 0;
        loop {
            let now = environment.now.after(steps);
            let due = every - now.0 % every;
            let part = Environment {
                ram: &mut *environment.ram,
                bus: &mut *environment.bus,
                now,
                cut: environment.cut,
            };
            let exit = self.engine.run(hart, part, due.min(budget - steps));
            steps += exit.steps;
            if exit.steps == due {
                self.profile.samples().add(Place::of(hart, hart.pc));
            }
            let mut reason = exit.reason;
            if reason == Reason::Budget && steps < budget {
                if !environment.cut.is_wanted() {
                    continue;
                }
                reason = Reason::Cut;
            }
            return Exit { steps, reason };
        }
    }

    fn forget(&mut self) {
        self.engine.forget();
    }
}

/// What a piece of generated code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Used by all superblocks.
    Shared(&'static str),
    /// Of a superblock that begins there: what is executed often.
    Hot(Place),
    /// Of a superblock that begins there: what is rare.
    Cold(Place),
}

/// Somebody who wants to know what lies where in the generated code, such as a file for `perf`.
pub trait CodeMap: Send {
    /// From now on a part lies in `size` bytes at the host's address `start`. What was there before is gone.
    fn made(&mut self, start: u64, size: usize, part: Part);
}

/// Who watches an engine.
#[derive(Default)]
pub struct Watch {
    /// Is counted for.
    pub profile: Option<Arc<Profile>>,
    /// Is told of generated code.
    pub map: Option<Box<dyn CodeMap>>,
}
