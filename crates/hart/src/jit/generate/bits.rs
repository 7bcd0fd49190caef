//! The code of bit manipulation (Zba, Zbb, Zbs, Zicond), with the host's BMI1, BMI2, LZCNT and POPCNT.
//!
//! All of these ops compute an integer register from others, so none of them ever leaves the superblock.

use super::block::Block;
use crate::{
    jit::emit::*,
    op::{Code, Op},
};

impl Block<'_> {
    /// Translates an op of these extensions; all of them compute an integer register from others.
    pub(super) fn bits(&mut self, o: Op) {
        use Code::*;
        use Size::{Double, Quad};
        match o.code {
            AddUw => self.shifted_add(0, true, o),
            Sh1add => self.shifted_add(1, false, o),
            Sh2add => self.shifted_add(2, false, o),
            Sh3add => self.shifted_add(3, false, o),
            Sh1addUw => self.shifted_add(1, true, o),
            Sh2addUw => self.shifted_add(2, true, o),
            Sh3addUw => self.shifted_add(3, true, o),
            SlliUw => {
                let target = self.extended(Extend::Word, o);
                self.e.shift(Shift::Left, Quad, target, (o.imm & 63) as u8);
                self.define(o.rd, target);
            }
            Andn => {
                let mask = self.value(o.rs2, RCX);
                let from = self.operand(o.rs1);
                let target = self.target(o.rd);
                self.e.and_not(target, mask, from);
                self.define(o.rd, target);
            }
            Orn | Xnor => self.with_inverse(o),
            Min => self.choose(Condition::Less, o),
            Max => self.choose(Condition::Greater, o),
            Minu => self.choose(Condition::Below, o),
            Maxu => self.choose(Condition::Above, o),
            Rol => self.rotate(Rotate::Left, Quad, o),
            Ror => self.rotate(Rotate::Right, Quad, o),
            Rolw => self.rotate(Rotate::Left, Double, o),
            Rorw => self.rotate(Rotate::Right, Double, o),
            Rori => self.rotate_immediate(Quad, 63, o),
            Roriw => self.rotate_immediate(Double, 31, o),
            Bclr => self.change_bit(Bit::Reset, o),
            Binv => self.change_bit(Bit::Complement, o),
            Bset => self.change_bit(Bit::Set, o),
            Bclri => self.change_bit_immediate(Bit::Reset, o),
            Binvi => self.change_bit_immediate(Bit::Complement, o),
            Bseti => self.change_bit_immediate(Bit::Set, o),
            Bext => {
                let from = self.value(o.rs1, RAX);
                let number = self.value(o.rs2, RCX);
                let target = self.target(o.rd);
                self.e.shift_by(Shift::Right, Quad, target, from, number);
                self.only_bit_0(target, o);
            }
            Bexti => {
                let target = self.extended(Extend::Full, o);
                self.e.shift(Shift::Right, Quad, target, (o.imm & 63) as u8);
                self.only_bit_0(target, o);
            }
            CzeroEqz => self.zero_if(Condition::Equal, o),
            CzeroNez => self.zero_if(Condition::NotEqual, o),
            _ => self.bits_of_one(o),
        }
    }

    /// Translates an op with one operand.
    fn bits_of_one(&mut self, o: Op) {
        use Code::*;
        use Size::{Double, Quad};
        match o.code {
            Clz => self.count(Count::Leading, Quad, o),
            Ctz => self.count(Count::Trailing, Quad, o),
            Cpop => self.count(Count::Ones, Quad, o),
            Clzw => self.count(Count::Leading, Double, o),
            Ctzw => self.count(Count::Trailing, Double, o),
            Cpopw => self.count(Count::Ones, Double, o),
            SextB => self.extend(Extend::ByteSigned, o),
            SextH => self.extend(Extend::HalfSigned, o),
            ZextH => self.extend(Extend::Half, o),
            OrcB => self.or_combine(o),
            Rev8 => {
                let target = self.extended(Extend::Full, o);
                self.e.swap_bytes(target);
                self.define(o.rd, target);
            }
            // Nop; every other op is translated elsewhere.
            _ => {}
        }
    }

    /// The target of `rd` holds `rs1`, extended.
    fn extended(&mut self, extend: Extend, o: Op) -> Register {
        let target = self.target(o.rd);
        match extend {
            // This is no instruction if `rs1` is there already.
            Extend::Full => self.e.mov(Size::Quad, target, self.operand(o.rs1)),
            _ => self.e.load(extend, target, self.operand(o.rs1)),
        }
        target
    }

    fn extend(&mut self, extend: Extend, o: Op) {
        let target = self.extended(extend, o);
        self.define(o.rd, target);
    }

    fn shifted_add(&mut self, shift: u8, word: bool, o: Op) {
        // `add.uw` with x0 is `zext.w`.
        if o.rs2 == 0 && shift == 0 {
            self.extend(Extend::Word, o);
            return;
        }
        let index = if word {
            self.e.load(Extend::Word, RAX, self.operand(o.rs1));
            RAX
        } else {
            self.value(o.rs1, RAX)
        };
        let base = self.value(o.rs2, RCX);
        let target = self.target(o.rd);
        self.e
            .lea(Size::Quad, target, Memory::indexed(base, index, shift, 0));
        self.define(o.rd, target);
    }

    fn with_inverse(&mut self, o: Op) {
        self.e.mov(Size::Quad, RCX, self.operand(o.rs2));
        self.e.not(RCX);
        let op = if o.code == Code::Orn { Alu::Or } else { Alu::Xor };
        self.e.alu(op, Size::Quad, RCX, self.operand(o.rs1));
        self.define(o.rd, RCX);
    }

    /// `rd` becomes `rs1` if that compares with `rs2` as the condition says, else `rs2`.
    fn choose(&mut self, condition: Condition, o: Op) {
        let work = self.first(o);
        let other = self.value(o.rs2, RCX);
        self.e.alu(Alu::Cmp, Size::Quad, other, Operand::Register(work));
        self.e.mov_if(condition, work, Operand::Register(other));
        self.define(o.rd, work);
    }

    fn rotate(&mut self, rotate: Rotate, size: Size, o: Op) {
        self.e.mov(Size::Quad, RCX, self.operand(o.rs2));
        let target = self.extended(Extend::Full, o);
        self.e.rotate_by_cl(rotate, size, target);
        self.result(size, o.rd, target);
    }

    fn rotate_immediate(&mut self, size: Size, mask: i32, o: Op) {
        let target = self.extended(Extend::Full, o);
        self.e
            .rotate_by(Rotate::Right, size, target, (o.imm & mask) as u8);
        self.result(size, o.rd, target);
    }

    fn count(&mut self, count: Count, size: Size, o: Op) {
        let target = self.target(o.rd);
        self.e.count(count, size, target, self.operand(o.rs1));
        self.define(o.rd, target);
    }

    /// `orc.b`, as the interpreter does it: finds the bytes that are not zero, a 1 in the top bit of each,
    /// and fills those bytes.
    fn or_combine(&mut self, o: Op) {
        const REST: i64 = (u64::MAX / 255 * 0x7f) as i64;
        let quad = Size::Quad;
        let e = &mut self.e;
        e.load_immediate(RCX, REST);
        let from = self.operand(o.rs1);
        let e = &mut self.e;
        e.mov(quad, RAX, from);
        e.mov(quad, RDX, Operand::Register(RAX));
        e.alu(Alu::And, quad, RDX, Operand::Register(RCX));
        e.alu(Alu::Add, quad, RDX, Operand::Register(RCX));
        e.alu(Alu::Or, quad, RDX, Operand::Register(RAX));
        e.and_not(RDX, RCX, Operand::Register(RDX));
        // With x the ones in the top bits, 255 * (x >> 7) is 2 * x - (x >> 7).
        e.mov(quad, RAX, Operand::Register(RDX));
        e.shift(Shift::Right, quad, RAX, 7);
        e.alu(Alu::Add, quad, RDX, Operand::Register(RDX));
        e.alu(Alu::Sub, quad, RDX, Operand::Register(RAX));
        self.define(o.rd, RDX);
    }

    fn change_bit(&mut self, bit: Bit, o: Op) {
        let work = self.first(o);
        let number = self.value(o.rs2, RCX);
        self.e.bit(bit, work, number);
        self.define(o.rd, work);
    }

    fn change_bit_immediate(&mut self, bit: Bit, o: Op) {
        let target = self.extended(Extend::Full, o);
        self.e.bit_immediate(bit, target, (o.imm & 63) as u8);
        self.define(o.rd, target);
    }

    /// `rd` becomes bit 0 of `target`.
    fn only_bit_0(&mut self, target: Register, o: Op) {
        self.e
            .alu_immediate(Alu::And, Size::Double, Operand::Register(target), 1);
        self.define(o.rd, target);
    }

    /// `rd` becomes 0 if `rs2` compares with 0 as the condition says, else `rs1`.
    fn zero_if(&mut self, condition: Condition, o: Op) {
        let work = self.first(o);
        let number = self.value(o.rs2, RCX);
        self.e.load_immediate(RDX, 0);
        self.e.test(Size::Quad, number);
        self.e.mov_if(condition, work, Operand::Register(RDX));
        self.define(o.rd, work);
    }
}
