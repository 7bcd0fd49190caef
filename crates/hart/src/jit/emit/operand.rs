//! What instructions are about: registers, places in memory, sizes and conditions, by the names that the
//! translator uses.
//!
//! These types hold numbers of the encoding (Intel SDM volume 2) and no state.

/// A general register, by its number in the encoding: 0 to 15.
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

/// A place in memory: `[base + (index << shift) + displacement]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub base: Register,
    /// The index register and its shift (0 to 3), if the address has one.
    pub index: Option<(Register, u8)>,
    pub displacement: i32,
}

impl Memory {
    /// `[base + displacement]`.
    pub const fn at(base: Register, displacement: i32) -> Memory {
        Memory {
            base,
            index: None,
            displacement,
        }
    }

    /// `[base + (index << shift) + displacement]`.
    pub const fn indexed(base: Register, index: Register, shift: u8, displacement: i32) -> Memory {
        Memory {
            base,
            index: Some((index, shift)),
            displacement,
        }
    }
}

/// The operand of an instruction that may be a register or a place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    Register(Register),
    Memory(Memory),
}

/// The size of an operation. A 32-bit result clears the upper half of its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 64 bits.
    Quad,
    /// 32 bits.
    Double,
}

/// Arithmetic with two operands, the first of which becomes the result; only `Cmp` changes nothing but the
/// flags.
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
    /// The operation's number, which stands in the opcode or, with an immediate operand, in the ModRM byte.
    pub(super) const fn digit(self) -> u8 {
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

/// Shifts: to the left, to the right with zeros, and to the right with the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    Left,
    Right,
    Arithmetic,
}

/// Conditions of the flags, by their number in the encoding.
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
    /// The condition that holds exactly where this one does not.
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

/// How much of its source an instruction loads, and how that is extended to 64 bits: with zeros, or with its
/// sign.
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
