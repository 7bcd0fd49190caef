//! The interpreter: executes decoded ops one by one. It defines what every instruction does, and generated
//! code must do the same.
//!
//! `run` loops over *stretches*. Before each it takes an interrupt that is due and selects the address
//! spaces; then `execute` (in `int`) executes instructions until something happens after which interrupts or
//! address spaces must be looked at again: a CSR write, a trap, a return from one, an access to the bus. That
//! is a function of guest state alone. A stretch also ends with the *chunk*, a number of steps after which
//! the host is asked whether it wants a cut, and RAM for how many steps it has room; that must change
//! nothing. The budget is checked before the interrupt is taken, so a run always ends between an instruction
//! and what follows it, whatever that is.
//!
//! The files below: `int` is the dispatch loop; `mem`, `atomic`, `float`, `blocks` and `system` do what is
//! rarer; `arithmetic` computes; `code` keeps decoded code; `translated` enters generated code and works for
//! it; `meter` counts for a profile; `zeal` disturbs for tests.
//!
//! One interpreter serves all harts of a machine: what it caches is found by address space and physical page,
//! and a store by one hart must reach the caches that another one filled.

mod arithmetic;
mod atomic;
mod blocks;
mod code;
mod float;
mod int;
mod mem;
mod meter;
mod system;
mod translated;
mod zeal;

use crate::{
    Access, Bus, Engine, Exit, Hart, Ram, Reason, Step, Width,
    decode::{decode, is_compressed},
    engine::{Cut, Environment},
    jit,
    mmu::{Mmu, Target},
    pmp::Intent,
    profile::{CodeMap, Watch},
    ram::PAGE,
    tlb::CodePlace,
    trap::{Exception, Trap},
};
use code::{Arena, CodePages, LOOSE};
use meter::Meter;
use zeal::Zeal;

/// How many steps a chunk has: the host is asked after each whether it wants a cut.
const CHUNK: u64 = 32_768;
const _: () = assert!(CHUNK <= jit::CALLS_MAX as u64);

/// How an interpreter works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterpreterOptions {
    /// The seed with which caches are dropped at random; the guest cannot observe it, which is what it is
    /// there to test. The seed's three lowest bits choose how often: 0 is forty times slower than without and
    /// finds most, 7 suits long runs.
    pub zeal: Option<u64>,
    /// What to translate to machine code, if this host can run it ([`can_translate`](crate::can_translate)).
    /// The guest cannot observe it.
    pub translate: Translate,
    /// How many bytes of machine code to keep, from 64 KiB to [`CODE_MAX`](crate::CODE_MAX), which is also
    /// the default. When they are used up, all code is dropped.
    pub code_bytes: Option<usize>,
}

/// What is translated to machine code; everything else is interpreted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Translate {
    /// Nothing is translated.
    #[default]
    Never,
    /// What runs often is translated.
    Hot,
    /// Everything is translated when it is first reached, which is slow and finds most in tests.
    Always,
}

/// The interpreter; holds caches only, of one [`Ram`]: before it is given another one of the same size, it
/// must [`Engine::forget`].
pub struct Interpreter {
    options: InterpreterOptions,
    /// The decoded ops. They are apart from the other caches, as the dispatch loop holds on to them while it
    /// changes those.
    arena: Box<Arena>,
    /// The other caches; `None` before the first run, which says for which RAM they are.
    caches: Option<Box<Caches>>,
    /// Whether to drop everything at the next run, when RAM is at hand, whose flags must be cleared.
    forgotten: bool,
    /// Who wants to know what is done.
    watch: Watch,
}

impl Interpreter {
    /// An interpreter with nothing cached.
    #[must_use]
    pub fn new(options: InterpreterOptions) -> Interpreter {
        Interpreter::watched(options, Watch::default())
    }

    /// An interpreter with nothing cached, for somebody who wants to know what it does.
    #[must_use]
    pub fn watched(options: InterpreterOptions, watch: Watch) -> Interpreter {
        Interpreter {
            options,
            arena: Box::new(Arena::new()),
            caches: None,
            forgotten: false,
            watch,
        }
    }

    /// The caches, which are made for this RAM if they are not yet, and emptied if they were forgotten.
    fn caches(&mut self, ram: &mut Ram) -> (&mut Caches, &Arena, &mut Watch) {
        let usable = self.caches.as_ref().is_some_and(|caches| caches.mmu.is_of(ram));
        let forget = std::mem::take(&mut self.forgotten);
        let options = self.options;
        let caches = match self.caches.take() {
            Some(caches) if usable => caches,
            _ => {
                let caches = Box::new(Caches::new(options, ram));
                if let (Some(map), Some(translations)) = (&mut self.watch.map, &caches.code.translations) {
                    translations.show_shared(&mut **map);
                }
                caches
            }
        };
        let caches = self.caches.insert(caches);
        if forget {
            caches.forget(ram);
        }
        (caches, &self.arena, &mut self.watch)
    }
}

impl Default for Interpreter {
    fn default() -> Interpreter {
        Interpreter::new(InterpreterOptions::default())
    }
}

impl Engine for Interpreter {
    fn run(&mut self, hart: &mut Hart, environment: Environment<'_>, budget: u64) -> Exit {
        let (caches, arena, watch) = self.caches(environment.ram);
        let profile = watch.profile.as_deref();
        let meter = profile.map(|profile| Meter::begin(profile, &caches.mmu, &caches.code, environment.now));
        let end = environment.now.after(budget);
        let mut core = Core {
            x: jit::Workspace::new(&hart.x),
            steps_before: hart.steps,
            hart,
            ram: environment.ram,
            bus: environment.bus,
            caches,
            arena,
            start: environment.now,
            now: environment.now,
            chunk_end: environment.now,
            left: 0,
            place: LOOSE,
            page_pc: 0,
            slot: 0,
            attention: false,
            check: false,
            calm: false,
            trap: Trap::new(Exception::IllegalInstruction, 0),
            loose_bits: 0,
            stopped: None,
            meter,
            map: watch.map.as_deref_mut(),
        };
        let reason = core.run(end, environment.cut);
        let steps = core.now.since(environment.now);
        core.count(core.now);
        core.hart.x.copy_from_slice(&core.x.registers[..32]);
        if let Some(meter) = core.meter.take() {
            meter.end(&core.caches.mmu, &core.caches.code);
        }
        Exit { steps, reason }
    }

    fn forget(&mut self) {
        self.forgotten = true;
    }
}

/// Everything that can be dropped at any moment, but for the decoded ops themselves.
struct Caches {
    /// The translations of addresses.
    mmu: Mmu,
    /// Which pages' code is decoded, and what is translated of it.
    code: CodePages,
    /// What disturbs the run, in tests.
    zeal: Option<Zeal>,
    /// [`Translate::Always`] was asked for: generated code is entered even if the chunk may end inside it.
    translates_all: bool,
}

impl Caches {
    fn new(options: InterpreterOptions, ram: &Ram) -> Caches {
        let hot = match options.translate {
            Translate::Never => None,
            Translate::Hot => Some(jit::HOT),
            Translate::Always => Some(1),
        };
        Caches {
            mmu: Mmu::new(ram),
            code: CodePages::new(ram.pages(), hot, options.code_bytes),
            zeal: options.zeal.map(Zeal::new),
            translates_all: options.translate == Translate::Always,
        }
    }

    fn forget(&mut self, ram: &mut Ram) {
        self.code.forget(&mut self.mmu, ram);
        self.mmu.forget(ram);
    }
}

/// How an instruction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Execution goes on with the next instruction.
    Next,
    /// Nothing was done, as the instruction was not decoded: it is tried again.
    Again,
    /// Execution goes on with the next instruction, whose address must be translated anew: translations were
    /// dropped.
    Refetch,
    /// Execution goes on with the next instruction after a look at interrupts and address spaces.
    Check,
    /// Execution goes on at `hart.pc`, which the instruction has set, after a look at interrupts and address
    /// spaces.
    Jump,
    /// The instruction raised the exception in `Core::trap`.
    Trap,
    /// The hart waits from the next instruction on, which is the one after the WFI.
    Wait,
}

/// Why a stretch ended. `hart.pc` is exact then.
enum Stretch {
    /// The chunk is used up.
    Chunk,
    /// Interrupts or address spaces may have changed.
    Check,
    /// The instruction at `hart.pc` raised an exception.
    Trap(Trap),
    /// The hart waits for an interrupt.
    Wait,
}

/// One run in progress.
struct Core<'a> {
    /// The integer registers, while `hart.x` is out of date, and what generated code needs. Any byte is an
    /// index, which needs no check.
    x: jit::Workspace,
    hart: &'a mut Hart,
    ram: &'a mut Ram,
    bus: &'a mut dyn Bus,
    caches: &'a mut Caches,
    arena: &'a Arena,
    /// The step at which the run started.
    start: Step,
    /// How many steps are completed. Exact between stretches.
    now: Step,
    /// The step at which the present chunk ends.
    chunk_end: Step,
    /// How many steps there are after the instruction in hand until the end of the chunk. Exact when the
    /// instruction leaves the fast path.
    left: u64,
    /// The place of the code of the present page.
    place: CodePlace,
    /// The virtual address of the present page.
    page_pc: u64,
    /// The slot of the instruction in hand. Exact when the instruction leaves the fast path.
    slot: usize,
    /// `hart.steps` when the run started.
    steps_before: u64,
    /// Whether the machine must look before the next instruction.
    attention: bool,
    /// Whether the bus was accessed, so that interrupts may have changed.
    check: bool,
    /// Whether no enabled interrupt is pending, and only an instruction that ends the stretch can change
    /// that.
    calm: bool,
    /// The exception that [`Flow::Trap`] stands for.
    trap: Trap,
    /// The bits of the instruction that was fetched loosely last.
    loose_bits: u32,
    /// Why the stretch has ended, if it has ended while generated code ran.
    stopped: Option<Stretch>,
    /// Counts, if somebody wants to know.
    meter: Option<Meter<'a>>,
    /// Is told of what is translated, if somebody wants to know.
    map: Option<&'a mut (dyn CodeMap + 'static)>,
}

impl Core<'_> {
    /// Runs to step `end`, unless something ends the run before.
    fn run(&mut self, end: Step, cut: &dyn Cut) -> Reason {
        self.drop_stale();
        if self.hart.waiting && !self.hart.wakes(self.bus, self.now) {
            return Reason::Wait;
        }
        loop {
            if self.now >= end {
                return Reason::Budget;
            } else if self.now > self.start && self.ram.steps_allowed() == 0 {
                return Reason::Cut;
            }
            self.hart.waiting = false;
            let pending = self.hart.pending(self.bus, self.now);
            if let Some(code) = self.hart.interrupt_due(pending) {
                self.hart.interrupt(code);
            }
            self.calm = pending & self.hart.csr.mie == 0;
            self.settle();
            self.caches.mmu.select(self.hart, self.ram);
            self.chunk_end = Step(end.0.min(self.now.0.saturating_add(self.chunk())));
            let stretch = if self.caches.code.translations.is_some() {
                self.execute::<true>()
            } else {
                self.execute::<false>()
            };
            if let Some(meter) = &mut self.meter {
                meter.interpreted(self.now);
            }
            match stretch {
                Stretch::Chunk => {
                    if self.now < end && cut.is_wanted() {
                        return Reason::Cut;
                    }
                }
                Stretch::Check => {}
                Stretch::Trap(trap) => self.hart.raise(trap),
                Stretch::Wait => return Reason::Wait,
            }
            if std::mem::take(&mut self.attention) {
                return Reason::Attention;
            }
        }
    }

    /// How many steps the next chunk has at most: so few that what they write of a frozen RAM can be kept.
    fn chunk(&self) -> u64 {
        let zeal = self.caches.zeal.as_ref();
        let chunk = zeal.map_or(CHUNK, Zeal::chunk);
        chunk.min(self.ram.steps_allowed().max(1))
    }

    /// Writes an integer register; writes to `x0` have no effect.
    fn set_x(&mut self, register: usize, value: u64) {
        self.x[register & 31] = value;
        self.x[0] = 0;
    }

    /// The step of the instruction in hand: how many were completed before it.
    fn step(&self) -> Step {
        Step(self.chunk_end.0 - self.left - 1)
    }

    /// Makes the hart's own counters exact as of step `now`.
    fn count(&mut self, now: Step) {
        self.hart.steps = self.steps_before.wrapping_add(now.since(self.start));
    }

    /// Drops what was derived from pages that devices have overwritten.
    fn drop_stale(&mut self) {
        if self.ram.has_stale() {
            for page in self.ram.take_stale() {
                let Caches { mmu, code, .. } = &mut *self.caches;
                code.release(mmu, self.ram, page as usize);
                mmu.drop_table(self.ram, page as usize);
            }
        }
    }

    /// Deals with what an access to the bus may have done: DMA may even have made the chunk too long for RAM.
    fn after_bus(&mut self) {
        self.check = true;
        self.attention |= self.bus.attention() || self.ram.steps_allowed() < self.left;
        self.drop_stale();
    }

    /// Translates the pc for a fetch; returns the place of the page's code. It must only be called when an
    /// instruction is about to be attempted, as it may set A in a page-table entry.
    #[cold]
    #[inline(never)]
    fn find_code(&mut self, pc: u64) -> Result<CodePlace, Trap> {
        let mut loose = false;
        if let Some(zeal) = &mut self.caches.zeal {
            loose = zeal.one_in(zeal.loose);
            if zeal.one_in(zeal.forgets) {
                self.caches.forget(self.ram);
            }
        }
        let target = self.caches.mmu.reach(self.ram, pc, 2, Intent::Fetch)?;
        let Caches { mmu, code, zeal, .. } = &mut *self.caches;
        let place = match target {
            Target::Ram {
                offset,
                uniform: true,
            } if !loose => {
                let page = offset / PAGE;
                let place = code.enter(self.arena, mmu, self.ram, page);
                if zeal.is_none() {
                    mmu.remember_fetch(self.ram, pc, place);
                } else {
                    // With zeal the TLB learns no fetches, so that every change of page comes here.
                    mmu.hold_fetch(self.ram, pc);
                }
                place
            }
            _ => LOOSE,
        };
        self.place = place;
        self.settle();
        Ok(place)
    }

    /// Fetches and decodes the instruction at `pc` into `Arena::loose`.
    #[cold]
    #[inline(never)]
    fn fetch_loose(&mut self, pc: u64) -> Result<(), Trap> {
        let mut bits = self.fetch_half(pc)?;
        if !is_compressed(bits) {
            bits |= self.fetch_half(pc.wrapping_add(2))? << 16;
        }
        self.settle();
        self.loose_bits = bits;
        if self.check || self.attention {
            // The bus was read, so that the chunk must end, and interrupts be looked at, after this
            // instruction.
            self.chunk_end = self.step().after(1);
            self.left = 0;
        }
        self.arena.loose.set(decode(bits));
        Ok(())
    }

    /// Fetches 16 bits of an instruction.
    fn fetch_half(&mut self, address: u64) -> Result<u32, Trap> {
        let Caches { mmu, code, .. } = &*self.caches;
        let place = mmu.known_fetch(address);
        if let Some(offset) = place.and_then(|place| code.offset(place)) {
            let offset = offset + address as usize % PAGE;
            return Ok(u32::from(self.ram.load_u16(offset)));
        }
        match self.caches.mmu.reach(self.ram, address, 2, Intent::Fetch)? {
            Target::Ram { offset, .. } => Ok(u32::from(self.ram.load_u16(offset))),
            Target::Bus(physical) => {
                let access = self.access(physical, Width::Half);
                let value = self.bus.load(self.ram, access);
                self.after_bus();
                match value {
                    Ok(value) => Ok(value as u32 & 0xffff),
                    Err(_) => Err(Trap::new(Exception::InstructionAccessFault, address)),
                }
            }
        }
    }

    /// An access to the bus by the instruction in hand.
    fn access(&self, address: u64, width: Width) -> Access {
        Access {
            address,
            width,
            now: self.step(),
            hart: self.hart.id,
        }
    }

    /// Brings decoded code up to date with what was stored on a slow path. True if the pc must be translated
    /// anew.
    fn settle(&mut self) -> bool {
        let Caches { mmu, code, .. } = &mut *self.caches;
        while let Some(write) = mmu.code_writes.pop() {
            code.written(self.arena, mmu, self.ram, write, self.place);
        }
        std::mem::take(&mut mmu.dropped)
    }

    /// How an instruction that left the fast path goes on, if it completed.
    fn flow(&mut self) -> Flow {
        let refetch = self.settle();
        if std::mem::take(&mut self.check) || self.attention {
            Flow::Check
        } else if refetch {
            Flow::Refetch
        } else {
            Flow::Next
        }
    }

    /// Has the instruction in hand raise an exception.
    fn raise(&mut self, trap: Trap) -> Flow {
        self.trap = trap;
        Flow::Trap
    }
}
