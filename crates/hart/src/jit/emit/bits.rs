//! The forms for bit manipulation: those of BMI1, LZCNT and POPCNT, and those that every x86-64 processor
//! has.
//!
//! Like all of the emitter, these functions know the encoding only (Intel SDM volume 2).

use super::{emitter::Emitter, operand::*};

/// What to count, by the opcode after the bytes f3 0f.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Count {
    /// `popcnt`: the bits that are 1.
    Ones = 0xb8,
    /// `tzcnt`: the zeros below the lowest 1; of the value 0, the number of bits.
    Trailing = 0xbc,
    /// `lzcnt`: the zeros above the highest 1; of the value 0, the number of bits.
    Leading = 0xbd,
}

/// How to change one bit, by the digit that extends the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bit {
    /// `bts`.
    Set = 5,
    /// `btr`.
    Reset = 6,
    /// `btc`.
    Complement = 7,
}

/// Where to rotate, by the digit that extends the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rotate {
    /// `rol`.
    Left = 0,
    /// `ror`.
    Right = 1,
}

impl Emitter {
    /// `to` = what was counted in `from`.
    pub fn count(&mut self, count: Count, size: Size, to: Register, from: Operand) {
        self.byte(0xf3);
        self.form(size, &[0x0f, count as u8], to, from, false);
    }

    /// `andn`: `to = operand & !mask` (BMI1). Base and index of a memory operand must be among the first
    /// eight registers.
    pub fn and_not(&mut self, to: Register, mask: Register, operand: Operand) {
        let b = match operand {
            Operand::Register(register) => (!register & 8) << 2,
            Operand::Memory(_) => 0x20,
        };
        self.byte(0xc4);
        self.byte((!to & 8) << 4 | 0x40 | b | 2);
        self.byte(0x80 | (!mask & 15) << 3);
        self.byte(0xf2);
        self.operands(to, operand);
    }

    /// `to = !to`, 64 bits.
    pub fn not(&mut self, to: Register) {
        self.form(Size::Quad, &[0xf7], 2, Operand::Register(to), false);
    }

    /// `bswap`: reverses the eight bytes of `to`.
    pub fn swap_bytes(&mut self, to: Register) {
        self.byte(0x48 | to >> 3);
        self.bytes.extend([0x0f, 0xc8 | to & 7]);
    }

    /// `to = from` if the condition holds, 64 bits.
    pub fn mov_if(&mut self, condition: Condition, to: Register, from: Operand) {
        self.form(Size::Quad, &[0x0f, 0x40 | condition as u8], to, from, false);
    }

    /// Changes bit `number % 64` of `to`.
    pub fn bit(&mut self, bit: Bit, to: Register, number: Register) {
        let opcode = 0x83 | (bit as u8) << 3;
        self.form(Size::Quad, &[0x0f, opcode], number, Operand::Register(to), false);
    }

    /// Changes bit `number` of `to`.
    pub fn bit_immediate(&mut self, bit: Bit, to: Register, number: u8) {
        self.form(Size::Quad, &[0x0f, 0xba], bit as u8, Operand::Register(to), false);
        self.byte(number);
    }

    /// Rotates `to` by the number in cl.
    pub fn rotate_by_cl(&mut self, rotate: Rotate, size: Size, to: Register) {
        self.form(size, &[0xd3], rotate as u8, Operand::Register(to), false);
    }

    /// Rotates `to` by `count`.
    pub fn rotate_by(&mut self, rotate: Rotate, size: Size, to: Register, count: u8) {
        self.form(size, &[0xc1], rotate as u8, Operand::Register(to), false);
        self.byte(count);
    }
}
