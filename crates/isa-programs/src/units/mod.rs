//! What programs are made of. Each file emits the units of one part of the instruction set.
//!
//! In S- and U-mode a unit may do what it likes: PMP keeps it from the runtime. In M-mode nothing does, so
//! there every address and every CSR write is under the generator's control ([`Setting::physical`]).

mod atomic;
mod bits;
mod control;
mod csr;
mod float;
mod fuzz;
mod integer;
mod memory;

pub use csr::{DELEGABLE, FETCH_FAULTS};

use crate::{
    encode::{self, opcode},
    random::Random,
    space::{Mode, Space},
    stream::Stream,
};

/// What is fixed for a whole program and decides which units are sound.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The program's own mode.
    pub home: Mode,
    /// Loads and stores in the home mode are M-mode's own, without MPRV.
    pub physical: bool,
    /// `mstatus.TVM` is set at the start: S-mode may not fence.
    pub tvm: bool,
    /// `mstatus.TW` is set at the start: WFI below M-mode is illegal.
    pub tw: bool,
    /// S- or U-mode may read counters.
    pub counters: bool,
    /// `mcycle` and `minstret` stand still.
    pub inhibited: bool,
    /// Failed fetches go to M-mode: the program may change `stvec`.
    pub stvec: bool,
    /// `menvcfg.STCE` is set: S-mode has its own timer (Sstc).
    pub sstc: bool,
    /// `stimecmp` may be 0, so that its interrupt is pending.
    pub timer: bool,
    /// PMP keeps the program from some of its data.
    pub holes: bool,
    /// Accesses start at multiples of four: a PMP entry may lie in the middle of others, and whether those
    /// are one access or several is open.
    pub aligned: bool,
    /// No PMP entry is smaller than a cache block, nor will be.
    pub blocks: bool,
    /// The one interrupt that the program makes pending by itself, as a bit of `mip`. With several, QEMU
    /// takes the one with the lowest number first, and not that of the highest priority.
    pub interrupt: u64,
    /// The value of `mideleg`.
    pub mideleg: u64,
}

/// How often which kind of unit comes: integer, float, memory, atomic, control, CSR, fuzz, constants.
#[derive(Clone, Copy, Debug)]
pub struct Weights(pub [u64; 8]);

impl Weights {
    /// Draws what a program is mostly made of.
    pub fn new(random: &mut Random) -> Weights {
        let mut weights = [14, 14, 14, 4, 5, 4, 3, 6];
        match random.below(8) {
            0 => weights[0] = 60,
            1 | 2 => weights[1] = 90,
            3 => weights[2] = 50,
            4 => weights[3] = 20,
            5 => weights[5] = 20,
            6 => weights[6] = 40,
            _ => {}
        }
        Weights(weights)
    }
}

/// Emits units.
pub struct Builder<'a> {
    pub random: &'a mut Random,
    pub code: Stream,
    pub space: &'a Space,
    pub setting: Setting,
    /// Registers that hold addresses, as far as is known.
    recent: Vec<u32>,
}

/// How many registers with known addresses are remembered.
const RECENT_MAX: usize = 4;

impl<'a> Builder<'a> {
    /// An empty program that starts at an offset in the code pages.
    pub fn new(random: &'a mut Random, space: &'a Space, setting: Setting, start: u64) -> Builder<'a> {
        Builder {
            random,
            code: Stream::new(start),
            space,
            setting,
            recent: Vec::new(),
        }
    }

    /// Emits one unit.
    pub fn unit(&mut self, weights: &Weights) {
        if self.code.near_page_end() && self.random.percent(50) {
            return self.straddle();
        }
        match self.random.weighted(&weights.0) {
            0 => self.integer(),
            1 => self.float(),
            2 => self.memory(),
            3 => self.atomic(),
            4 => self.control(),
            5 => self.csr(),
            6 => self.fuzz(),
            _ => self.constant(),
        }
    }

    /// A destination register: seldom one that holds an address.
    fn destination(&mut self) -> u32 {
        let register = self.random.register();
        if !self.recent.contains(&register) {
            return register;
        }
        if self.random.percent(80) {
            return self.destination();
        }
        self.forget(register);
        register
    }

    fn forget(&mut self, register: u32) {
        self.recent.retain(|&known| known != register);
    }

    /// A register for an intermediate result: not `x0`.
    fn scratch(&mut self) -> u32 {
        let register = 1 + self.random.field(31);
        self.forget(register);
        register
    }

    /// Two different registers for intermediate results.
    fn two_scratches(&mut self) -> (u32, u32) {
        let first = self.scratch();
        loop {
            let second = self.scratch();
            if second != first {
                return (first, second);
            }
        }
    }

    /// Puts a constant into a register; at most 32 bytes.
    fn load_constant(&mut self, register: u32, value: u64) {
        encode::load_constant(register, value, &mut |word| self.code.word(word));
    }

    /// Puts an address into a register, relative to the pc if it is in reach; at most 32 bytes.
    fn load_address(&mut self, register: u32, address: u64) {
        let pc = self.space.code_base.wrapping_add(self.code.here());
        let by = address.wrapping_sub(pc) as i64;
        // Code runs at two addresses. Relative to either it must be the same page or none: from the other
        // one, an address outside the region could lead to a page table.
        if (address ^ pc) >> 21 != 0 {
            self.load_constant(register, address);
            return;
        }
        let upper = (by as u32).wrapping_add(0x800);
        self.code.word(encode::u(opcode::AUIPC, register, upper));
        self.code.word(encode::addi(register, register, by as i32));
    }

    /// A constant for an integer register, seldom for a floating-point one.
    fn constant(&mut self) {
        let register = self.destination().max(1);
        self.code.unit(40);
        let float = self.random.percent(25);
        let value = match self.random.below(4) {
            0 if float => crate::values::double(self.random),
            1 if float => crate::values::single(self.random),
            _ => crate::values::integer(self.random),
        };
        self.load_constant(register, value);
        if float {
            let format = self.random.field(2);
            let f = self.random.register();
            self.code
                .word(encode::r(opcode::OP_FP, 0, 0x78 | format, f, register, 0));
        }
    }
}
