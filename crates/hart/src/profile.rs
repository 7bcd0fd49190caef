//! `Profile`: where a guest spends its steps, and what its engine has to do for it.
//!
//! A profile has two parts, which are switched on together (docs/profiling.md). *Samples* say where the guest
//! is every so many steps; a [`Sampler`] around an engine takes them. *Counts* say what the interpreter and
//! the translator did; the interpreter keeps them. Neither is guest state: the guest, and everything that is
//! derived from it, is the same with and without a profile. As samples are taken at steps and not at times,
//! two runs of the same log give the same samples.
//!
//! Nothing here may read a clock: whoever makes a profile brings one, for what is told to people.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    Engine, Exit, Hart, Reason,
    disasm::name,
    engine::Environment,
    op::{Code, Op},
    privilege::Privilege,
};

/// How many places are told apart. Samples of further ones are counted as [`Samples::elsewhere`].
pub const PLACES_MAX: usize = 1 << 20;

/// Where a hart is: in which mode, in which address space, at which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The privilege mode.
    pub privilege: Privilege,
    /// In user mode with translation: the page of the root page table, which names the address space; else 0.
    pub root: u64,
    /// The virtual address of the next instruction.
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

/// Where the guest was when samples were taken.
#[derive(Debug, Default)]
pub struct Samples {
    /// How often the guest was at each place.
    pub places: BTreeMap<Place, u64>,
    /// How often the guest was anywhere else, when there were [`PLACES_MAX`] places already.
    pub elsewhere: u64,
}

impl Samples {
    /// How many samples were taken.
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
    /// Nothing is translated at all.
    Off,
    /// The instruction was not reached often enough.
    Cold,
    /// The instruction's page is written too often, or no superblock can begin with the instruction.
    Never,
    /// The run or the chunk was about to end: a superblock counts all its steps before it begins.
    Tail,
}

/// How many [`Why`]s there are.
pub const WHYS: usize = 4;

/// How often the interpreter did ops of one kind for generated code.
#[derive(Clone, Copy, Debug)]
struct Helped {
    /// One of the ops, which names the kind.
    op: Op,
    /// How many there were.
    count: u64,
}

/// What the engine did.
#[derive(Debug)]
pub struct Counts {
    /// How many steps were done in generated code and in what it called.
    pub entered_steps: u64,
    /// How often generated code was entered.
    pub entries: u64,
    /// How many steps were interpreted outside of generated code, by [`Why`].
    pub interpreted: [u64; WHYS],
    /// What was translated and dropped.
    pub tally: Tally,
    /// How many entries of the TLB were made for loads, for stores and for fetches.
    pub fills: [u64; 3],
    /// How often entries of the TLB were dropped that were good until then.
    pub drops: u64,
    /// How many nanoseconds the translator took.
    pub translating_ns: u64,
    /// How many nanoseconds the engine ran, translator included.
    pub running_ns: u64,
    /// What the interpreter did for generated code, by the [`kind`] of op.
    helped: Vec<Helped>,
}

/// What the translator made and dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many superblocks were made.
    pub superblocks: u64,
    /// How many instructions are in them.
    pub ops: u64,
    /// How many bytes of their code are executed often.
    pub hot_bytes: u64,
    /// How many bytes of their code are executed rarely.
    pub cold_bytes: u64,
    /// How often everything was dropped.
    pub flushes: u64,
    /// How often a page's code was dropped because it was written to, or to make room.
    pub pages_dropped: u64,
}

impl Tally {
    /// Adds what was done from `before` to `now`.
    pub(crate) fn add(&mut self, now: Tally, before: Tally) {
        self.superblocks += now.superblocks - before.superblocks;
        self.ops += now.ops - before.ops;
        self.hot_bytes += now.hot_bytes - before.hot_bytes;
        self.cold_bytes += now.cold_bytes - before.cold_bytes;
        self.flushes += now.flushes - before.flushes;
        self.pages_dropped += now.pages_dropped - before.pages_dropped;
    }
}

// Each kind of op that is worth telling apart has a number: first each code, then from these numbers on each
// CSR, each floating-point and each atomic instruction.
const CSRS: usize = 256;
const FLOATS: usize = CSRS + 4096;
const ATOMICS: usize = FLOATS + 512;
const KINDS: usize = ATOMICS + 64;

/// The number of an op's kind.
fn kind(op: Op) -> usize {
    match op.code {
        Code::Csr => CSRS + (op.imm as u32 >> 20) as usize,
        // The kind of a floating-point instruction and its format are in the low nine bits.
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

    /// Counts an op that the interpreter did for generated code.
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

    /// How many instructions the interpreter did for generated code.
    #[must_use]
    pub fn helped_total(&self) -> u64 {
        self.helped.iter().map(|helped| helped.count).sum()
    }

    /// How many steps were done in all.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.entered_steps + self.interpreted.iter().sum::<u64>()
    }
}

/// What is learned of a guest and its engine. It is shared between the engine and whoever wants to know.
#[derive(Debug)]
pub struct Profile {
    /// How many steps there are from one sample to the next. At least 1.
    every: u64,
    /// The host's clock, in nanoseconds.
    pub(crate) clock: fn() -> u64,
    counts: Mutex<Counts>,
    samples: Mutex<Samples>,
}

impl Profile {
    /// An empty profile, with a sample `every` so many steps (at least 1). `clock` tells nanoseconds, for
    /// people.
    #[must_use]
    pub fn new(every: u64, clock: fn() -> u64) -> Profile {
        Profile {
            every: every.max(1),
            clock,
            counts: Mutex::new(Counts::new()),
            samples: Mutex::default(),
        }
    }

    /// How many steps there are from one sample to the next.
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
    /// A sampler around `engine`.
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
            let until_sample = Environment {
                ram: &mut *environment.ram,
                bus: &mut *environment.bus,
                now,
                cut: environment.cut,
            };
            let exit = self.engine.run(hart, until_sample, due.min(budget - steps));
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
    /// Code that all superblocks use, by its name.
    Shared(&'static str),
    /// The code that is executed often of a superblock that begins at the place.
    Hot(Place),
    /// The code that is executed rarely of a superblock that begins at the place.
    Cold(Place),
}

/// Somebody who wants to know what lies where in the generated code, such as a file for `perf`.
pub trait CodeMap: Send {
    /// From now on a part lies in `size` bytes at the host's address `start`. What was there before is gone.
    fn made(&mut self, start: u64, size: usize, part: Part);
}

/// Who wants to know what an engine does.
#[derive(Default)]
pub struct Watch {
    /// Where counts go.
    pub profile: Option<Arc<Profile>>,
    /// Who is told where generated code lies.
    pub map: Option<Box<dyn CodeMap>>,
}
