//! The forms that use vector registers, all with a VEX prefix, and the loads and stores of their control and
//! status register.
//!
//! The meaning of an opcode is its user's business; these functions know how operands are encoded.

use super::{emitter::Emitter, operand::*};

/// An instruction with a VEX prefix, by the fields of its encoding that say which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vex {
    /// The opcode after the prefix.
    pub opcode: u8,
    /// The bytes that the prefix stands for: 1 for 0f, 2 for 0f 38, 3 for 0f 3a.
    pub map: u8,
    /// The prefix byte that the VEX prefix stands for: 0 for none, 1 for 66, 2 for f3, 3 for f2.
    pub prefix: u8,
    /// The bit W: `Quad` sets it. It makes general registers 64 bits wide, or is part of the opcode.
    pub size: Size,
}

impl Vex {
    /// The instruction with the bytes `0f opcode` after a prefix byte, of 32 bits where that matters.
    pub const fn new(prefix: u8, opcode: u8) -> Vex {
        Vex {
            opcode,
            map: 1,
            prefix,
            size: Size::Double,
        }
    }

    /// The instruction with the same opcode in another map of opcodes.
    pub const fn in_map(self, map: u8) -> Vex {
        Vex { map, ..self }
    }

    /// The same instruction with the bit W as this size says.
    pub const fn sized(self, size: Size) -> Vex {
        Vex { size, ..self }
    }
}

impl Emitter {
    /// The instruction `vex to, first, operand` of 128 bits or less. Instructions with two operands have 0
    /// for `first`; of those that store, `to` is what is stored. Registers are vector registers or, where the
    /// instruction says so, general ones.
    pub fn vex(&mut self, vex: Vex, to: u8, first: u8, operand: Operand) {
        let (index, base) = match operand {
            Operand::Register(register) => (0, register),
            Operand::Memory(memory) => (memory.index.map_or(0, |(index, _)| index), memory.base),
        };
        // All of these fields are inverted.
        let (r, x, b) = (!to >> 3 & 1, !index >> 3 & 1, !base >> 3 & 1);
        let rest = (!first & 15) << 3 | vex.prefix;
        if vex.map == 1 && vex.size == Size::Double && x & b == 1 {
            self.byte(0xc5);
            self.byte(r << 7 | rest);
        } else {
            self.byte(0xc4);
            self.byte(r << 7 | x << 6 | b << 5 | vex.map);
            self.byte(u8::from(vex.size == Size::Quad) << 7 | rest);
        }
        self.byte(vex.opcode);
        self.operands(to, operand);
    }

    /// The same with a byte as the last operand.
    pub fn vex_immediate(&mut self, vex: Vex, to: u8, first: u8, operand: Operand, value: u8) {
        self.vex(vex, to, first, operand);
        self.byte(value);
    }

    /// `ldmxcsr`: the control and status register of vector arithmetic becomes the 32 bits at `from`.
    pub fn load_status(&mut self, from: Memory) {
        self.form(Size::Double, &[0x0f, 0xae], 2, Operand::Memory(from), false);
    }

    /// `stmxcsr`: stores the control and status register of vector arithmetic to the 32 bits at `to`.
    pub fn store_status(&mut self, to: Memory) {
        self.form(Size::Double, &[0x0f, 0xae], 3, Operand::Memory(to), false);
    }
}
