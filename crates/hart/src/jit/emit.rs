//! Emits x86-64 machine code: one function per form that the translator uses, each checked against a disassembler.
//!
//! Knows nothing of RISC-V and holds no pointer: bytes, and labels inside them (Intel SDM volume 2).

mod bits;
mod jump;
mod vector;

pub use bits::{Bit, Count, Rotate};
pub use jump::Jump;

/// A general register by its number in the encoding.
pub type Register = u8;

pub const RAX: Register = 0;
pub const RCX: Register = 1;
pub const RDX: Register = 2;
pub const RBX: Register = 3;
pub const RSP: Register = 4;
pub const RBP: Register = 5;
pub const RSI: Register = 6;
pub const RDI: Register = 7;
pub const R8: Register = 8;
pub const R9: Register = 9;
pub const R10: Register = 10;
pub const R11: Register = 11;
pub const R12: Register = 12;
pub const R13: Register = 13;
pub const R14: Register = 14;
pub const R15: Register = 15;

/// `[base + index + displacement]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub base: Register,
    pub index: Option<(Register, u8)>,
    pub displacement: i32,
}

impl Memory {
    pub const fn at(base: Register, displacement: i32) -> Memory {
        Memory {
            base,
            index: None,
            displacement,
        }
    }

    /// With `index << shift`.
    pub const fn indexed(base: Register, index: Register, shift: u8, displacement: i32) -> Memory {
        Memory {
            base,
            index: Some((index, shift)),
            displacement,
        }
    }
}

/// The second operand of most instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    Register(Register),
    Memory(Memory),
}

/// 64 or 32 bits; 32-bit results clear the upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Quad,
    Double,
}

/// Two-operand arithmetic: `r, r/m` opcode and `/digit` of the immediate form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alu {
    Add,
    Or,
    And,
    Sub,
    Xor,
    Cmp,
}

impl Alu {
    const fn digit(self) -> u8 {
        match self {
            Alu::Add => 0,
            Alu::Or => 1,
            Alu::And => 4,
            Alu::Sub => 5,
            Alu::Xor => 6,
            Alu::Cmp => 7,
        }
    }
}

/// Shifts: `/digit` of the immediate form and prefix of the BMI2 form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    Left,
    Right,
    Arithmetic,
}

/// Condition codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    Overflow = 0,
    NoOverflow = 1,
    Below = 2,
    AboveEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowEqual = 6,
    Above = 7,
    Parity = 10,
    NoParity = 11,
    Less = 12,
    GreaterEqual = 13,
    LessEqual = 14,
    Greater = 15,
}

impl Condition {
    /// What holds where this does not.
    pub fn not(self) -> Condition {
        use Condition::*;
        match self {
            Overflow => NoOverflow,
            NoOverflow => Overflow,
            Below => AboveEqual,
            AboveEqual => Below,
            Equal => NotEqual,
            NotEqual => Equal,
            BelowEqual => Above,
            Above => BelowEqual,
            Parity => NoParity,
            NoParity => Parity,
            Less => GreaterEqual,
            GreaterEqual => Less,
            LessEqual => Greater,
            Greater => LessEqual,
        }
    }
}

/// How a loaded value is extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extend {
    Byte,
    ByteSigned,
    Half,
    HalfSigned,
    Word,
    WordSigned,
    Full,
}

/// Code under construction.
pub struct Emitter {
    /// Where the first byte will be when it runs.
    base: u64,
    pub bytes: Vec<u8>,
    /// The ends of the jumps and calls so far, and where inside the code they lead; `None`: out of it.
    jumps: Vec<(usize, Option<usize>)>,
}

/// Jumps that most superblocks have at most.
const JUMPS: usize = 128;

impl Emitter {
    /// Nothing yet, to run at `base`.
    pub fn new(base: u64) -> Emitter {
        Emitter::with_room(base, Vec::new())
    }

    /// Likewise, with the room of a vector whose contents are of no use.
    pub fn with_room(base: u64, mut room: Vec<u8>) -> Emitter {
        room.clear();
        Emitter {
            base,
            bytes: room,
            jumps: Vec::with_capacity(JUMPS),
        }
    }

    /// Bytes so far.
    pub fn here(&self) -> usize {
        self.bytes.len()
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn dword(&mut self, value: i32) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// REX prefix, opcode and the operands behind it. `force` for byte registers above 3.
    fn form(&mut self, size: Size, opcode: &[u8], reg: u8, operand: Operand, force: bool) {
        let w = u8::from(size == Size::Quad) << 3;
        let (x, b) = match operand {
            Operand::Register(register) => (0, register >> 3),
            Operand::Memory(memory) => (memory.index.map_or(0, |(index, _)| index >> 3), memory.base >> 3),
        };
        let rex = w | (reg >> 3) << 2 | x << 1 | b;
        if rex != 0 || force {
            self.byte(0x40 | rex);
        }
        self.bytes.extend(opcode);
        self.operands(reg, operand);
    }

    fn operands(&mut self, reg: u8, operand: Operand) {
        let reg = (reg & 7) << 3;
        match operand {
            Operand::Register(register) => self.byte(0xc0 | reg | register & 7),
            Operand::Memory(memory) => {
                let short = i8::try_from(memory.displacement);
                // Where rbp and r13 would be the base, no displacement means something else.
                let none = memory.displacement == 0 && memory.base & 7 != RBP;
                let mode = match short {
                    _ if none => 0,
                    Ok(_) => 0x40,
                    Err(_) => 0x80,
                };
                match memory.index {
                    None if memory.base & 7 != RSP => self.byte(mode | reg | memory.base & 7),
                    None => {
                        self.byte(mode | reg | 4);
                        self.byte(0x20 | memory.base & 7);
                    }
                    Some((index, shift)) => {
                        self.byte(mode | reg | 4);
                        self.byte(shift << 6 | (index & 7) << 3 | memory.base & 7);
                    }
                }
                match short {
                    _ if none => {}
                    Ok(short) => self.byte(short as u8),
                    Err(_) => self.dword(memory.displacement),
                }
            }
        }
    }

    /// `mov to, from`.
    pub fn mov(&mut self, size: Size, to: Register, from: Operand) {
        if from != Operand::Register(to) || size == Size::Double {
            self.form(size, &[0x8b], to, from, false);
        }
    }

    /// `mov [to], from`, 64 bits.
    pub fn store(&mut self, to: Memory, from: Register) {
        self.form(Size::Quad, &[0x89], from, Operand::Memory(to), false);
    }

    /// `mov [to], from`, the low 1, 2, 4 or 8 bytes.
    pub fn store_low(&mut self, bytes: u8, to: Memory, from: Register) {
        let to = Operand::Memory(to);
        match bytes {
            1 => self.form(Size::Double, &[0x88], from, to, from > 3),
            2 => {
                self.byte(0x66);
                self.form(Size::Double, &[0x89], from, to, false);
            }
            4 => self.form(Size::Double, &[0x89], from, to, false),
            _ => self.form(Size::Quad, &[0x89], from, to, false),
        }
    }

    /// `to = value`; 0 changes the flags.
    pub fn load_immediate(&mut self, to: Register, value: i64) {
        if value == 0 {
            self.alu(Alu::Xor, Size::Double, to, Operand::Register(to));
        } else if u32::try_from(value).is_ok() {
            if to >= 8 {
                self.byte(0x41);
            }
            self.byte(0xb8 | to & 7);
            self.dword(value as u32 as i32);
        } else if let Ok(short) = i32::try_from(value) {
            self.form(Size::Quad, &[0xc7], 0, Operand::Register(to), false);
            self.dword(short);
        } else {
            self.load_wide(to, value);
        }
    }

    /// Likewise, in ten bytes whatever the value is; flags stay as they are.
    pub fn load_wide(&mut self, to: Register, value: i64) {
        self.byte(0x48 | to >> 3);
        self.byte(0xb8 | to & 7);
        self.bytes.extend(value.to_le_bytes());
    }

    /// Loads with extension.
    pub fn load(&mut self, extend: Extend, to: Register, from: Operand) {
        let force = matches!(from, Operand::Register(register) if register > 3);
        match extend {
            Extend::Byte => self.form(Size::Double, &[0x0f, 0xb6], to, from, force),
            Extend::ByteSigned => self.form(Size::Quad, &[0x0f, 0xbe], to, from, false),
            Extend::Half => self.form(Size::Double, &[0x0f, 0xb7], to, from, false),
            Extend::HalfSigned => self.form(Size::Quad, &[0x0f, 0xbf], to, from, false),
            Extend::Word => self.form(Size::Double, &[0x8b], to, from, false),
            Extend::WordSigned => self.form(Size::Quad, &[0x63], to, from, false),
            Extend::Full => self.form(Size::Quad, &[0x8b], to, from, false),
        }
    }

    /// `lea to, [from]`; the lower half of the sum only, if `size` says so.
    pub fn lea(&mut self, size: Size, to: Register, from: Memory) {
        match from {
            // Which the processor does without executing anything.
            Memory {
                base,
                index: None,
                displacement: 0,
            } => self.mov(size, to, Operand::Register(base)),
            _ => self.form(size, &[0x8d], to, Operand::Memory(from), false),
        }
    }

    /// `to = from` rotated right, 32 bits (BMI2).
    pub fn rotate(&mut self, to: Register, from: Register, count: u8) {
        self.bytes.push(0xc4);
        self.byte((!to & 8) << 4 | 0x40 | (!from & 8) << 2 | 3);
        self.bytes.extend([0x7b, 0xf0]);
        self.operands(to, Operand::Register(from));
        self.byte(count);
    }

    /// `test a, a`.
    pub fn test(&mut self, size: Size, a: Register) {
        self.form(size, &[0x85], a, Operand::Register(a), false);
    }

    /// `test a, bits`.
    pub fn test_bits(&mut self, a: Register, bits: i32) {
        self.form(Size::Double, &[0xf7], 0, Operand::Register(a), false);
        self.dword(bits);
    }

    /// `op to, operand`.
    pub fn alu(&mut self, op: Alu, size: Size, to: Register, operand: Operand) {
        self.form(size, &[op.digit() << 3 | 3], to, operand, false);
    }

    /// `op to, imm`.
    pub fn alu_immediate(&mut self, op: Alu, size: Size, to: Operand, value: i32) {
        match i8::try_from(value) {
            Ok(short) => {
                self.form(size, &[0x83], op.digit(), to, false);
                self.byte(short as u8);
            }
            Err(_) => {
                self.form(size, &[0x81], op.digit(), to, false);
                self.dword(value);
            }
        }
    }

    /// `imul to, operand`.
    pub fn multiply(&mut self, size: Size, to: Register, operand: Operand) {
        self.form(size, &[0x0f, 0xaf], to, operand, false);
    }

    /// `rdx:rax = rax * operand`.
    pub fn multiply_wide(&mut self, signed: bool, operand: Operand) {
        self.form(Size::Quad, &[0xf7], if signed { 5 } else { 4 }, operand, false);
    }

    /// `rax, rdx = rdx:rax / by, rest`.
    pub fn divide(&mut self, size: Size, signed: bool, by: Register) {
        self.form(
            size,
            &[0xf7],
            if signed { 7 } else { 6 },
            Operand::Register(by),
            false,
        );
    }

    /// Sign-extends rax into rdx.
    pub fn extend_rax(&mut self, size: Size) {
        if size == Size::Quad {
            self.byte(0x48);
        }
        self.byte(0x99);
    }

    /// `shift to, count`.
    pub fn shift(&mut self, shift: Shift, size: Size, to: Register, count: u8) {
        let digit = match shift {
            Shift::Left => 4,
            Shift::Right => 5,
            Shift::Arithmetic => 7,
        };
        self.form(size, &[0xc1], digit, Operand::Register(to), false);
        self.byte(count);
    }

    /// `to = from shift count` (BMI2), the count modulo the size.
    pub fn shift_by(&mut self, shift: Shift, size: Size, to: Register, from: Register, count: Register) {
        let prefix = match shift {
            Shift::Left => 1,
            Shift::Right => 3,
            Shift::Arithmetic => 2,
        };
        self.byte(0xc4);
        self.byte((!to & 8) << 4 | 0x40 | (!from & 8) << 2 | 2);
        self.byte(u8::from(size == Size::Quad) << 7 | (!count & 15) << 3 | prefix);
        self.byte(0xf7);
        self.operands(to, Operand::Register(from));
    }

    /// `al = condition`, then `to = al`.
    pub fn set(&mut self, condition: Condition, to: Register) {
        self.bytes.extend([0x0f, 0x90 | condition as u8, 0xc0]);
        self.load(Extend::Byte, to, Operand::Register(RAX));
    }
}

#[cfg(test)]
mod tests;
