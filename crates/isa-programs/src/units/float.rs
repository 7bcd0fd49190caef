//! F and D: every instruction in both formats, every rounding mode, and looks at the flags.
//!
//! FS is dirty before an instruction that may raise a flag and write nothing else, as QEMU leaves FS alone
//! there (docs/isa-differences.md).

use super::Builder;
use crate::encode::{csr, number, opcode, r};

/// The instructions of OP-FP: funct5; which funct3 there are (`None`: it is a rounding mode); how many values
/// rs2 can have (`32`: it is a register).
const OPERATIONS: [(u32, Option<&[u32]>, u32); 17] = [
    (0x00, None, 32),
    (0x01, None, 32),
    (0x02, None, 32),
    (0x03, None, 32),
    (0x00, None, 32),
    (0x02, None, 32),
    (0x03, None, 32),
    (0x0b, None, 1),
    (0x04, Some(&[0, 1, 2]), 32),
    (0x05, Some(&[0, 1]), 32),
    (0x14, Some(&[0, 1, 2]), 32),
    (0x18, None, 4),
    (0x1a, None, 4),
    (0x1c, Some(&[0, 1]), 1),
    (0x1e, Some(&[0]), 1),
    (0x08, None, 2),
    (0x18, None, 4),
];

/// Is it a comparison or a conversion to an integer? When it raises a flag, FS becomes dirty; with QEMU it
/// does not, so it has to be dirty before.
pub(super) const fn raises_flags_only(word: u32) -> bool {
    word & 0x7f == opcode::OP_FP && matches!(word >> 27, 0x14 | 0x18)
}

impl Builder<'_> {
    /// A rounding mode: dynamic, static, seldom reserved.
    fn rounding(&mut self) -> u32 {
        match self.random.below(40) {
            0 => 5,
            1 => 6,
            2..=15 => 7,
            _ => self.random.field(5),
        }
    }

    pub(super) fn float(&mut self) {
        let word = if self.random.percent(25) {
            self.fused()
        } else {
            self.operation()
        };
        self.code.unit(12);
        if raises_flags_only(word) {
            self.make_float_dirty();
        }
        self.code.word(word);
        // Reads and clears the flags, so that those of the next unit show.
        if self.random.percent(30) {
            let rd = self.destination();
            self.code.word(csr(1, rd, number::FFLAGS, 0));
        }
    }

    /// `fsgnj.d` of a register with itself: changes nothing but FS.
    pub(super) fn make_float_dirty(&mut self) {
        let f = self.random.register();
        self.code.word(r(opcode::OP_FP, 0, 0x11, f, f, f));
    }

    /// A fused instruction: `fmadd`, `fmsub`, `fnmsub` or `fnmadd`.
    fn fused(&mut self) -> u32 {
        let format = self.random.field(2);
        let kind = self.random.field(4) << 2;
        let rounding = self.rounding();
        let (rd, rs1, rs2) = (
            self.random.register(),
            self.random.register(),
            self.random.register(),
        );
        // x * y - x * y and the like cancel exactly.
        let rs3 = if self.random.percent(10) {
            rs1
        } else {
            self.random.register()
        };
        r(opcode::MADD | kind, rounding, rs3 << 2 | format, rd, rs1, rs2)
    }

    fn operation(&mut self) -> u32 {
        let format = self.random.field(2);
        let (funct5, selects, values) = self.random.pick(&OPERATIONS);
        let funct3 = match selects {
            Some(choices) => self.random.pick(choices),
            None => self.rounding(),
        };
        let rs1 = self.random.register();
        let rs2 = match funct5 {
            0x08 => 1 - format, // fcvt between the formats.
            _ if values == 32 && self.random.percent(6) => rs1,
            _ => self.random.field(values),
        };
        // Comparisons, fcvt to integers, fclass and fmv.x write integer registers.
        let integer = matches!(funct5, 0x14 | 0x18 | 0x1c);
        let rd = if integer {
            self.destination()
        } else {
            self.random.register()
        };
        r(opcode::OP_FP, funct3, funct5 << 2 | format, rd, rs1, rs2)
    }
}
