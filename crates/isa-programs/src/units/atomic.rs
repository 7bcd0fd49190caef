//! AMOs, and LR/SC in the pairs for which every implementation must agree.
//!
//! QEMU's SC compares address and value; the manual's looks for stores in between. They agree when nothing
//! stores between LR and SC, when both have the same address and size, or when the addresses are far apart.
//! No other pairs may be generated (docs/isa-differences.md).

use super::Builder;
use crate::encode::{opcode, r};

const LR: u32 = 2;
const SC: u32 = 3;
const AMOS: [u32; 9] = [0x00, 0x01, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c];

impl Builder<'_> {
    pub(super) fn atomic(&mut self) {
        match self.random.below(10) {
            0..=1 => self.pair(),
            2 => self.alone(),
            3 => self.misaligned(),
            _ => self.amo(),
        }
    }

    /// An address that is aligned, most of the time.
    fn atomic_address(&mut self, misaligned: bool) -> u64 {
        let address = self.address();
        if misaligned && self.random.percent(10) {
            address
        } else {
            address & !7
        }
    }

    fn amo(&mut self) {
        self.code.unit(40);
        let width = 2 + self.random.field(2);
        let base = self.scratch();
        let address = self.atomic_address(true);
        self.load_address(base, address);
        let funct7 = self.random.pick(&AMOS) << 2 | self.random.field(4);
        let (rd, rs2) = (self.destination(), self.random.register());
        self.code.word(r(opcode::AMO, width, funct7, rd, base, rs2));
        // A second AMO, unless the first has overwritten the address.
        if rd != base && self.random.percent(30) {
            self.code.word(r(opcode::AMO, 5 - width, funct7, rd, base, rs2));
        }
    }

    /// LR, something harmless, SC to the same address or one far away, and one more SC, which must fail.
    fn pair(&mut self) {
        self.code.unit(56);
        let width = 2 + self.random.field(2);
        let (base, other) = self.two_scratches();
        let address = self.atomic_address(false);
        self.load_address(base, address);
        let mut rd = self.destination();
        if rd == base {
            rd = 0;
        }
        let order = self.random.field(4);
        self.code
            .word(r(opcode::AMO, width, LR << 2 | order, rd, base, 0));
        if self.random.percent(50) {
            self.code.word(r(opcode::OP, 0, 0, other, rd, other));
        }
        // QEMU does not look whether a store to another address would fault, so the other address is one
        // where every access succeeds: in the same page.
        let near = address & 0xfff < 0xfe0;
        if near && self.setting.physical && !self.setting.holes && self.random.percent(20) {
            self.code.word(crate::encode::addi(base, base, 16));
        }
        let rs2 = self.random.register();
        let result = self.destination();
        self.code
            .word(r(opcode::AMO, width, SC << 2 | order, result, base, rs2));
        if self.random.percent(30) && result != base {
            self.code.word(r(opcode::AMO, width, SC << 2, other, base, rs2));
        }
    }

    /// A misaligned LR traps, and reserves nothing.
    fn misaligned(&mut self) {
        self.code.unit(36);
        let width = 2 + self.random.field(2);
        let base = self.scratch();
        let address = self.atomic_address(false);
        let off = 1 + self.random.below(u64::from(width) * 2 - 1);
        self.load_address(base, address + off);
        let rd = self.destination();
        self.code.word(r(opcode::AMO, width, LR << 2, rd, base, 0));
    }

    /// SC without LR, which fails. Aligned: whether a misaligned one traps is where QEMU and the manual
    /// differ.
    fn alone(&mut self) {
        self.code.unit(40);
        let width = 2 + self.random.field(2);
        let base = self.scratch();
        let address = self.atomic_address(false);
        self.load_address(base, address);
        let (rd, rs2) = (self.destination(), self.random.register());
        self.code.word(r(opcode::AMO, width, SC << 2, rd, base, rs2));
    }
}
