//! The code of conversions between floating-point numbers and integers.
//!
//! A conversion that does not fit is left to the interpreter, which saturates as RISC-V demands. By then the
//! host must not have raised a flag but NV, which is what such a conversion raises on RISC-V too: so where
//! the host would round a number that then does not fit, it is made to round without saying so first.

use super::{
    block::Block,
    vectors::{EQUAL, MOVE_TO, SCRATCH, compare, scalar},
};
use crate::{
    jit::emit::*,
    op::{FloatForm, FloatKind, Op},
};

/// `vcvtsi2ss` and `vcvtsi2sd`: from an integer.
const FROM_INTEGER: u8 = 0x2a;
/// `vcvttss2si` and `vcvttsd2si`: to an integer, rounded towards zero.
const TRUNCATE: u8 = 0x2c;
/// `vcvtss2si` and `vcvtsd2si`: to an integer, rounded to nearest even.
const ROUND: u8 = 0x2d;
/// The rounding modes of RISC-V that conversions to integers have here (F chapter, "Floating-Point Control
/// and Status Register"); any other is that of the host, to nearest even.
const TOWARDS_ZERO: u8 = 1;
const DOWN: u8 = 2;
const UP: u8 = 3;
/// The bit of the operand of `vroundss` and `vroundsd` by which they do not say that a result is inexact.
const QUIETLY: u8 = 8;

/// `vroundss` or `vroundsd`: to a whole number, in the way that a last operand says.
const fn round(single: bool) -> Vex {
    Vex::new(1, if single { 0x0a } else { 0x0b }).in_map(3)
}

/// The operand by which `vroundss` and `vroundsd` round in a way of RISC-V.
fn way(rounding: u8) -> u8 {
    match rounding {
        TOWARDS_ZERO => 3,
        DOWN => 1,
        UP => 2,
        _ => 0,
    }
}

impl Block<'_> {
    /// `fcvt` from an integer.
    pub(super) fn convert_from_integer(&mut self, kind: FloatKind, single: bool, o: Op) {
        let mut from = self.value(o.rs1, RAX);
        match kind {
            FloatKind::FromWu => {
                self.e.mov(Size::Double, RAX, Operand::Register(from));
                from = RAX;
            }
            // The host knows signed integers only.
            FloatKind::FromLu => {
                self.e.test(Size::Quad, from);
                self.decline_if(Condition::Less);
            }
            _ => {}
        }
        let size = if kind == FloatKind::FromW {
            Size::Double
        } else {
            Size::Quad
        };
        let to = self.vector_target(o.rd);
        let vex = scalar(single, FROM_INTEGER).sized(size);
        // The host keeps the upper part of a register; of this one nobody waits for it.
        let rest = SCRATCH[1];
        self.e.vex(EQUAL, rest, rest, Operand::Register(rest));
        self.e.vex(vex, to, rest, Operand::Register(from));
        self.define_vector(o.rd, to, single, false);
    }

    /// `fcvt` to a signed integer. What does not fit becomes the least number, which is left to the
    /// interpreter, whether it fits or not.
    pub(super) fn convert_to_signed(&mut self, form: FloatForm, o: Op) {
        let single = !form.double;
        let size = if form.kind == FloatKind::ToL {
            Size::Quad
        } else {
            Size::Double
        };
        let a = self.fetch(o.rs1, single, SCRATCH[0]);
        let directed = matches!(form.rounding, DOWN | UP);
        let mut from = a;
        if directed {
            from = SCRATCH[1];
            self.round_to_whole(form, from, a, QUIETLY);
        }
        let truncates = directed || form.rounding == TOWARDS_ZERO;
        let opcode = if truncates { TRUNCATE } else { ROUND };
        let vex = scalar(single, opcode).sized(size);
        self.e.vex(vex, RAX, 0, Operand::Register(from));
        // To subtract 1 overflows from the least number only.
        self.e.mov(size, RDX, Operand::Register(RAX));
        self.e.alu_immediate(Alu::Sub, size, Operand::Register(RDX), 1);
        self.decline_if(Condition::Overflow);
        if directed {
            self.round_to_whole(form, SCRATCH[1], a, 0);
        }
        if size == Size::Double {
            self.e.load(Extend::WordSigned, RAX, Operand::Register(RAX));
        }
        self.define_unless_x0(o.rd, RAX);
    }

    /// `fcvt` to an unsigned integer, by way of a signed one of 64 bits. What does not fit is left to the
    /// interpreter, without having been called inexact.
    pub(super) fn convert_to_unsigned(&mut self, form: FloatForm, o: Op) {
        let single = !form.double;
        let a = self.fetch(o.rs1, single, SCRATCH[0]);
        let whole = SCRATCH[1];
        self.round_to_whole(form, whole, a, QUIETLY);
        let long = form.kind == FloatKind::ToLu;
        if long {
            // What only an unsigned integer can hold, the host would call invalid.
            let bound = SCRATCH[2];
            let bits = if single {
                0x5f00_0000
            } else {
                0x43e0_0000_0000_0000
            };
            self.e.load_immediate(RAX, bits);
            self.e
                .vex(MOVE_TO.sized(Size::Quad), bound, 0, Operand::Register(RAX));
            self.e.vex(compare(single), whole, 0, Operand::Register(bound));
            self.decline_if(Condition::AboveEqual);
        }
        let vex = scalar(single, TRUNCATE).sized(Size::Quad);
        self.e.vex(vex, RAX, 0, Operand::Register(whole));
        self.e.mov(Size::Quad, RDX, Operand::Register(RAX));
        let count = if long { 63 } else { 32 };
        self.e.shift(Shift::Right, Size::Quad, RDX, count);
        self.decline_if(Condition::NotEqual);
        self.round_to_whole(form, whole, a, 0);
        if !long {
            self.e.load(Extend::WordSigned, RAX, Operand::Register(RAX));
        }
        self.define_unless_x0(o.rd, RAX);
    }

    /// `to` becomes a number rounded to a whole one; `quietly` is [`QUIETLY`] or 0.
    fn round_to_whole(&mut self, form: FloatForm, to: u8, from: u8, quietly: u8) {
        let vex = round(!form.double);
        let how = way(form.rounding) | quietly;
        self.e.vex_immediate(vex, to, from, Operand::Register(from), how);
    }
}
