//! Loads and stores: integer, floating point, compressed; aligned, misaligned, across pages; where they are
//! meant to go and elsewhere. And changes of page-table entries, with the fence they need:
//! without it two correct harts may differ, so none may lack it.

use super::{Builder, RECENT_MAX};
use crate::{
    encode::{self, FENCE_I, SFENCE_VMA, opcode},
    layout::{DATA, DATA_PAGES, NOWHERE, PAGE},
    space::pte,
};

/// (quadrant, funct3, is the stack pointer the base?) of the compressed loads and stores.
const COMPRESSED: [(u16, u16, bool); 12] = [
    (0, 1, false),
    (0, 2, false),
    (0, 3, false),
    (0, 5, false),
    (0, 6, false),
    (0, 7, false),
    (2, 1, true),
    (2, 2, true),
    (2, 3, true),
    (2, 5, true),
    (2, 6, true),
    (2, 7, true),
];

impl Builder<'_> {
    /// An address to access, for up to 8 bytes.
    pub(super) fn address(&mut self) -> u64 {
        let offset = match self.random.below(8) {
            0 => self.random.below(PAGE),
            1 => PAGE - 1 - self.random.below(8),
            2 => self.random.below(PAGE) & !3,
            _ => self.random.below(PAGE) & !7,
        };
        let offset = if self.setting.aligned { offset & !3 } else { offset };
        if !self.setting.physical {
            let window = self.random.pick(&self.space.windows);
            return window.wrapping_add(offset);
        }
        if self.random.percent(3) {
            return NOWHERE + offset;
        }
        // Nothing behind the data: it would still be there in the next program.
        let place = self.random.below(DATA_PAGES) * PAGE + offset;
        DATA + place.min(DATA_PAGES * PAGE - 8)
    }

    /// A base register for an access with offset `imm`, ready in this unit; at most 32 bytes.
    fn base(&mut self, imm: i32) -> u32 {
        if !self.setting.physical {
            if !self.recent.is_empty() && self.random.percent(60) {
                return self.random.pick(&self.recent);
            }
            if self.random.percent(5) {
                return self.random.register();
            }
        }
        let register = self.scratch();
        self.set_base(register, imm);
        register
    }

    fn set_base(&mut self, register: u32, imm: i32) {
        let address = self.address().wrapping_sub(imm as i64 as u64);
        self.load_address(register, address);
        self.forget(register);
        self.recent.push(register);
        if self.recent.len() > RECENT_MAX {
            self.recent.remove(0);
        }
    }

    pub(super) fn memory(&mut self) {
        match self.random.below(20) {
            1 if self.setting.physical => self.change_code(),
            0 if self.setting.physical || self.space.tables_at.is_some() => self.change_leaf(),
            0..=6 => self.compressed_access(),
            7 => self.block(),
            _ => self.access(),
        }
    }

    /// A 32-bit load or store.
    fn access(&mut self) {
        self.code.unit(36);
        let imm = match self.random.below(3) {
            0 => 0,
            1 => self.random.field(256) as i32 & !7,
            _ => self.random.field(4096) as i32 - 2048,
        };
        let imm = if self.setting.aligned { imm & !3 } else { imm };
        let base = self.base(imm);
        let word = match self.random.below(10) {
            0..=3 => {
                let rd = self.destination();
                encode::i(opcode::LOAD, self.random.field(7), rd, base, imm)
            }
            4..=5 => encode::i(
                opcode::LOAD_FP,
                2 + self.random.field(2),
                self.random.register(),
                base,
                imm,
            ),
            6..=8 => encode::s(
                opcode::STORE,
                self.random.field(4),
                base,
                self.random.register(),
                imm,
            ),
            _ => encode::s(
                opcode::STORE_FP,
                2 + self.random.field(2),
                base,
                self.random.register(),
                imm,
            ),
        };
        self.code.word(word);
    }

    /// A compressed load or store, with its base set right before.
    fn compressed_access(&mut self) {
        self.code.unit(34);
        let (quadrant, funct3, stack) = self.random.pick(&COMPRESSED);
        let mut half = self.random.next() as u16 & 0x1ffc | funct3 << 13 | quadrant;
        let base = if stack { 2 } else { 8 + u32::from(half >> 7 & 7) };
        if stack && funct3 < 4 && half >> 7 & 31 == 0 && self.setting.physical {
            half |= 1 << 7; // Reserved: harmless, but nothing to learn twice.
        }
        let known = self.recent.contains(&base) && !self.setting.physical;
        if !known || self.random.percent(30) {
            self.set_compressed_base(base);
        }
        self.code.half(half);
    }

    /// Puts an address into the base of a compressed access, whose offset is a multiple of 4 up to 504.
    fn set_compressed_base(&mut self, base: u32) {
        if self.setting.physical {
            let address = self.address();
            let behind = if address < NOWHERE {
                DATA + DATA_PAGES * PAGE - 512
            } else {
                address
            };
            self.load_address(base, address.min(behind));
        } else {
            let imm = self.random.field(64) as i32 * 8;
            self.set_base(base, imm);
        }
    }

    /// Overwrites the instruction after next, and says so.
    fn change_code(&mut self) {
        self.code.unit(28);
        let (a, b) = self.two_scratches();
        let rd = self.destination();
        let new = encode::addi(rd, self.random.register(), self.random.field(4096) as i32);
        let old = encode::addi(rd, self.random.register(), 0);
        self.code
            .word(encode::u(opcode::LUI, b, (new).wrapping_add(0x800)));
        self.code.word(encode::addi(b, b, new as i32));
        self.code.word(encode::u(opcode::AUIPC, a, 0));
        self.code.word(encode::s(opcode::STORE, 2, a, b, 12));
        self.code.word(FENCE_I);
        self.code.word(old);
    }

    /// Writes a page-table entry and fences. Without the fence a hart may use the old one for ever, and
    /// QEMU does.
    fn change_leaf(&mut self) {
        if self.space.leaves.is_empty() {
            return self.access();
        }
        let (_, entry) = self.random.pick(&self.space.leaves);
        let user = if self.random.percent(30) { pte::U } else { 0 };
        let rights = self.random.below(8) << 1;
        let mut value = (DATA + self.random.below(DATA_PAGES) * PAGE) >> 12 << 10;
        value |= pte::V | rights | user | self.random.below(4) << 6;
        if self.random.percent(10) {
            value ^= 1 << self.random.below(10);
        }
        let seen_at = match self.space.tables_at {
            Some(page) if !self.setting.physical => page + entry % PAGE,
            _ => entry,
        };
        if self.setting.tvm && !self.setting.physical {
            return self.access(); // The fence would trap.
        }
        let (a, b) = self.two_scratches();
        self.code.unit(64);
        self.load_address(a, seen_at);
        self.load_constant(b, value);
        self.code.word(encode::sd(b, a, 0));
        self.code.word(SFENCE_VMA);
        // No later store shall find the page table: it would write there without a fence.
        self.code.word(encode::addi(a, 0, 0));
    }
}
