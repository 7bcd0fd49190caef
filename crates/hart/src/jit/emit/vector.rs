//! The forms that compute with vector registers: scalar floating point, and stores of whole vectors.
//!
//! The meaning of an opcode is its user's business; these functions know how operands are encoded.

use super::{emitter::Emitter, operand::*};

impl Emitter {
    /// The SSE2 instruction with the bytes `prefix 0f opcode`, whose first operand is one of the vector
    /// registers 0 to 7.
    pub fn scalar(&mut self, prefix: u8, size: Size, opcode: u8, vector: u8, operand: Operand) {
        self.byte(prefix);
        self.form(size, &[0x0f, opcode], vector, operand, false);
    }

    /// The FMA3 instruction `xmm0 = xmm1 * [factor] + xmm0` in double precision; its opcode says which signs
    /// are inverted. Base and index of `factor` must be among the first eight registers.
    pub fn fused(&mut self, opcode: u8, factor: Memory) {
        self.bytes.extend([0xc4, 0xe2, 0xf1, opcode]);
        self.operands(0, Operand::Memory(factor));
    }
}
