//! Integer arithmetic: I, M and the compressed forms, with their hints and reserved encodings.
//!
//! These units touch nothing but integer registers, and so may do anything in any mode.

use super::Builder;
use crate::encode::{i, opcode, r, u};

/// (funct7, funct3) of the instructions with major opcode OP.
const OP: [(u32, u32); 18] = [
    (0, 0),
    (0, 1),
    (0, 2),
    (0, 3),
    (0, 4),
    (0, 5),
    (0, 6),
    (0, 7),
    (0x20, 0),
    (0x20, 5),
    (1, 0),
    (1, 1),
    (1, 2),
    (1, 3),
    (1, 4),
    (1, 5),
    (1, 6),
    (1, 7),
];

/// (funct7, funct3) of OP-32.
const OP_32: [(u32, u32); 10] = [
    (0, 0),
    (0x20, 0),
    (0, 1),
    (0, 5),
    (0x20, 5),
    (1, 0),
    (1, 4),
    (1, 5),
    (1, 6),
    (1, 7),
];

/// Quadrant and funct3 of compressed arithmetic.
const COMPRESSED: [(u16, u16); 8] = [(0, 0), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0), (2, 4)];

impl Builder<'_> {
    pub(super) fn integer(&mut self) {
        if self.random.percent(35) {
            self.code.unit(2);
            let half = self.compressed_arithmetic();
            self.code.half(half);
            return;
        }
        if self.random.percent(40) {
            return self.bits();
        }
        let rd = self.destination();
        let rs1 = self.random.register();
        let rs2 = if self.random.percent(8) {
            rs1
        } else {
            self.random.register()
        };
        let imm = match self.random.below(4) {
            0 => self.random.pick(&[0, 1, -1, 2047, -2048]),
            _ => self.random.field(4096) as i32,
        };
        let shift = self.random.field(64) as i32;
        let word = match self.random.below(16) {
            0..=5 => {
                let (funct7, funct3) = self.random.pick(&OP);
                r(opcode::OP, funct3, funct7, rd, rs1, rs2)
            }
            6..=8 => {
                let (funct7, funct3) = self.random.pick(&OP_32);
                r(opcode::OP_32, funct3, funct7, rd, rs1, rs2)
            }
            9..=10 => i(
                opcode::OP_IMM,
                self.random.pick(&[0, 2, 3, 4, 6, 7]),
                rd,
                rs1,
                imm,
            ),
            11 => i(opcode::OP_IMM, 1, rd, rs1, shift),
            12 => i(opcode::OP_IMM, 5, rd, rs1, shift | self.random.pick(&[0, 0x400])),
            13 => i(opcode::OP_IMM_32, 0, rd, rs1, imm),
            14 => {
                let (funct3, high) = self.random.pick(&[(1, 0), (5, 0), (5, 0x400)]);
                // One in so many has the reserved sixth bit of the amount.
                let reserved = if self.random.percent(3) { 32 } else { 0 };
                i(opcode::OP_IMM_32, funct3, rd, rs1, shift & 31 | reserved | high)
            }
            _ => {
                let upper = self.random.next() as u32;
                u(self.random.pick(&[opcode::LUI, opcode::AUIPC]), rd, upper)
            }
        };
        self.code.unit(4);
        self.code.word(word);
    }

    /// Any of the compressed arithmetic, hints and reserved ones among them.
    fn compressed_arithmetic(&mut self) -> u16 {
        loop {
            let (quadrant, funct3) = self.random.pick(&COMPRESSED);
            let half = self.random.next() as u16 & 0x1ffc | funct3 << 13 | quadrant;
            // c.jr, c.jalr and c.ebreak belong to control.
            if !(quadrant == 2 && funct3 == 4 && half >> 2 & 31 == 0) {
                return half;
            }
        }
    }
}
