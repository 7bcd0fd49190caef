//! The bit manipulation and cache extensions: Zba, Zbb, Zbs, Zicond; Zicbom and Zicboz; Svinval.
//!
//! Units of arithmetic may be anything; cache-block instructions come only where the manual and QEMU agree
//! about their faults (docs/isa-differences.md).

use super::Builder;
use crate::{
    encode::{SFENCE_INVAL_IR, SFENCE_W_INVAL, SINVAL_VMA, i, opcode, r},
    layout::{DATA, DATA_PAGES, NOWHERE, PAGE},
};

/// (opcode, funct7, funct3) of the instructions with two source registers.
const TWO: [(u32, u32, u32); 24] = [
    (opcode::OP_32, 0x04, 0),
    (opcode::OP, 0x10, 2),
    (opcode::OP, 0x10, 4),
    (opcode::OP, 0x10, 6),
    (opcode::OP_32, 0x10, 2),
    (opcode::OP_32, 0x10, 4),
    (opcode::OP_32, 0x10, 6),
    (opcode::OP, 0x20, 4),
    (opcode::OP, 0x20, 6),
    (opcode::OP, 0x20, 7),
    (opcode::OP, 0x05, 4),
    (opcode::OP, 0x05, 5),
    (opcode::OP, 0x05, 6),
    (opcode::OP, 0x05, 7),
    (opcode::OP, 0x30, 1),
    (opcode::OP, 0x30, 5),
    (opcode::OP_32, 0x30, 1),
    (opcode::OP_32, 0x30, 5),
    (opcode::OP, 0x24, 1),
    (opcode::OP, 0x24, 5),
    (opcode::OP, 0x34, 1),
    (opcode::OP, 0x14, 1),
    (opcode::OP, 0x07, 5),
    (opcode::OP, 0x07, 7),
];

/// (opcode, funct3, immediate) of the instructions with one source register.
const ONE: [(u32, u32, i32); 11] = [
    (opcode::OP_IMM, 1, 0x600),
    (opcode::OP_IMM, 1, 0x601),
    (opcode::OP_IMM, 1, 0x602),
    (opcode::OP_IMM_32, 1, 0x600),
    (opcode::OP_IMM_32, 1, 0x601),
    (opcode::OP_IMM_32, 1, 0x602),
    (opcode::OP_IMM, 1, 0x604),
    (opcode::OP_IMM, 1, 0x605),
    (opcode::OP_IMM, 5, 0x287),
    (opcode::OP_IMM, 5, 0x6b8),
    (opcode::OP_32, 4, 0x080),
];

/// (opcode, funct3, immediate without the amount, largest amount) of the instructions with an immediate
/// amount.
const AMOUNT: [(u32, u32, i32, u32); 7] = [
    (opcode::OP_IMM_32, 1, 0x080, 63),
    (opcode::OP_IMM, 5, 0x600, 63),
    (opcode::OP_IMM_32, 5, 0x600, 31),
    (opcode::OP_IMM, 1, 0x480, 63),
    (opcode::OP_IMM, 5, 0x480, 63),
    (opcode::OP_IMM, 1, 0x680, 63),
    (opcode::OP_IMM, 1, 0x280, 63),
];

/// Bytes of a cache block.
const BLOCK: u64 = 64;
/// `cbo.zero`; 0 to 2 are `inval`, `clean` and `flush`.
const ZERO: u32 = 4;

/// Is it one of the cache-block instructions?
pub(super) const fn is_block(word: u32) -> bool {
    word & 0x7fff == opcode::MISC_MEM | 2 << 12 && matches!(word >> 20, 0..=2 | ZERO)
}

/// Is it a fence whose only effect here is that it is illegal in U-mode?
pub(super) const fn is_only_fence(word: u32) -> bool {
    matches!(word, SFENCE_W_INVAL | SFENCE_INVAL_IR)
}

impl Builder<'_> {
    /// Arithmetic, hints and one in so many reserved encodings among it.
    pub(super) fn bits(&mut self) {
        let rd = self.destination();
        let rs1 = self.random.register();
        let rs2 = if self.random.percent(10) {
            rs1
        } else {
            self.random.register()
        };
        let word = match self.random.below(8) {
            0..=4 => {
                let (opcode, funct7, funct3) = self.random.pick(&TWO);
                r(opcode, funct3, funct7, rd, rs1, rs2)
            }
            5 => {
                let (opcode, funct3, imm) = self.random.pick(&ONE);
                // A neighbour: one that is not there, or is another one.
                let other = if self.random.percent(5) {
                    1 << self.random.field(4)
                } else {
                    0
                };
                i(opcode, funct3, rd, rs1, imm ^ other)
            }
            _ => {
                let (opcode, funct3, imm, most) = self.random.pick(&AMOUNT);
                let beyond = if self.random.percent(3) { 32 } else { 0 };
                let amount = self.random.field(most + 1) | beyond;
                i(opcode, funct3, rd, rs1, imm | amount as i32)
            }
        };
        self.code.unit(4);
        self.code.word(word);
    }

    /// A cache-block instruction. Its address is that of the block: of a fault QEMU reports no other. Only
    /// `cbo.zero` goes where nothing answers: QEMU lets the others do so.
    pub(super) fn block(&mut self) {
        // A PMP entry in the middle of a block: whether it is seen is open.
        if !self.setting.blocks {
            return self.bits();
        }
        let manages = !self.setting.holes && self.random.percent(40);
        let (kind, window) = match self.managed_window() {
            Some(window) if manages => (self.random.field(3), window),
            _ => (ZERO, self.random.pick(&self.space.windows)),
        };
        let offset = self.random.below(PAGE) & !(BLOCK - 1);
        let address = if !self.setting.physical {
            window.wrapping_add(offset)
        } else if self.random.percent(3) {
            NOWHERE + offset
        } else {
            DATA + self.random.below(DATA_PAGES) * PAGE + offset
        };
        // All kinds draw equally often, so that the golden hashes stay what they are.
        let address = if kind != ZERO && address == NOWHERE + offset {
            DATA + offset
        } else {
            address
        };
        let base = self.scratch();
        self.code.unit(36);
        self.load_address(base, address);
        self.code.word(i(opcode::MISC_MEM, 2, 0, base, kind as i32));
    }

    fn managed_window(&mut self) -> Option<u64> {
        (!self.space.managed.is_empty()).then(|| self.random.pick(&self.space.managed))
    }

    /// A `sinval.vma` in any form. The fences that go with it are left out: QEMU lets U-mode do them, and any
    /// program may come to be in U-mode.
    pub(super) fn part_of_fence(&mut self) {
        let registers = self.random.next() as u32 & 0x01ff_8000;
        self.code.unit(4);
        self.code.word(SINVAL_VMA | registers);
    }
}
