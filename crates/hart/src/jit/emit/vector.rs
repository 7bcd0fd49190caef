//! Floating-point arithmetic.

use super::{Emitter, Memory, Operand, Size};

impl Emitter {
    /// A scalar SSE2 instruction `prefix 0f opcode`: its first operand is vector register 0, to 7.
    pub fn scalar(&mut self, prefix: u8, size: Size, opcode: u8, vector: u8, operand: Operand) {
        self.byte(prefix);
        self.form(size, &[0x0f, opcode], vector, operand, false);
    }

    /// One of the FMA3 instructions `xmm0 = xmm1 * [factor] + xmm0` in 64 bits, with its signs in the opcode. Base and
    /// index of `factor` are among the first eight registers.
    pub fn fused(&mut self, opcode: u8, factor: Memory) {
        self.bytes.extend([0xc4, 0xe2, 0xf1, opcode]);
        self.operands(0, Operand::Memory(factor));
    }
}
