//! The code of integer arithmetic: immediates, sums, logic, shifts, comparisons, products and quotients.
//!
//! A 32-bit result is left as the host's processor leaves it, and a lazy operand is read as it is wherever
//! its upper half makes no difference (`plan::words`). A division that the host would not survive is the
//! interpreter's.

use super::{block::Block, cold::At, host::register};
use crate::{
    jit::emit::*,
    op::{Code, Op},
};

impl Block<'_> {
    /// Translates an op that computes an integer register from others.
    pub(super) fn compute(&mut self, at: At, o: Op) {
        use Code::*;
        use Size::{Double, Quad};
        match o.code {
            Li => {
                let target = self.target(o.rd);
                self.e.load_immediate(target, i64::from(o.imm));
                self.define(o.rd, target);
            }
            Mv => {
                let from = self.value(o.rs1, RAX);
                self.define(o.rd, from);
            }
            Addi => self.immediate(Alu::Add, Quad, o),
            Xori => self.immediate(Alu::Xor, Quad, o),
            Ori => self.immediate(Alu::Or, Quad, o),
            Andi => self.immediate(Alu::And, Quad, o),
            Addiw => self.immediate(Alu::Add, Double, o),
            Slti => self.set_immediate(Condition::Less, o),
            Sltiu => self.set_immediate(Condition::Below, o),
            Slt => self.set_if(Condition::Less, o),
            Sltu => self.set_if(Condition::Below, o),
            Slli => self.shift(Shift::Left, Quad, o),
            Srli => self.shift(Shift::Right, Quad, o),
            Srai => self.shift(Shift::Arithmetic, Quad, o),
            Slliw => self.shift(Shift::Left, Double, o),
            Srliw => self.shift(Shift::Right, Double, o),
            Sraiw => self.shift(Shift::Arithmetic, Double, o),
            Sll => self.shift_by(Shift::Left, Quad, o),
            Srl => self.shift_by(Shift::Right, Quad, o),
            Sra => self.shift_by(Shift::Arithmetic, Quad, o),
            Sllw => self.shift_by(Shift::Left, Double, o),
            Srlw => self.shift_by(Shift::Right, Double, o),
            Sraw => self.shift_by(Shift::Arithmetic, Double, o),
            Add => self.binary(Alu::Add, Quad, o),
            Sub => self.binary(Alu::Sub, Quad, o),
            Xor => self.binary(Alu::Xor, Quad, o),
            Or => self.binary(Alu::Or, Quad, o),
            And => self.binary(Alu::And, Quad, o),
            Addw => self.binary(Alu::Add, Double, o),
            Subw => self.binary(Alu::Sub, Double, o),
            Mul => self.multiply(Quad, o),
            Mulw => self.multiply(Double, o),
            Mulh => self.multiply_high(true, o),
            Mulhu => self.multiply_high(false, o),
            Div => self.divide(Quad, true, false, at, o),
            Divu => self.divide(Quad, false, false, at, o),
            Rem => self.divide(Quad, true, true, at, o),
            Remu => self.divide(Quad, false, true, at, o),
            Divw => self.divide(Double, true, false, at, o),
            Divuw => self.divide(Double, false, false, at, o),
            Remw => self.divide(Double, true, true, at, o),
            Remuw => self.divide(Double, false, true, at, o),
            _ => self.bits(o),
        }
    }

    fn set_immediate(&mut self, condition: Condition, o: Op) {
        let a = self.value(o.rs1, RAX);
        let size = self.size_of(o);
        self.e.alu_immediate(Alu::Cmp, size, Operand::Register(a), o.imm);
        self.set(condition, o);
    }

    fn set_if(&mut self, condition: Condition, o: Op) {
        self.compare(o);
        self.set(condition, o);
    }

    fn multiply(&mut self, size: Size, o: Op) {
        let work = self.first(o);
        self.e.multiply(size, work, self.operand(o.rs2));
        self.result(size, o.rd, work);
    }

    fn multiply_high(&mut self, signed: bool, o: Op) {
        self.e.mov(Size::Quad, RAX, self.operand(o.rs1));
        self.e.multiply_wide(signed, self.operand(o.rs2));
        self.define(o.rd, RDX);
    }

    fn binary(&mut self, op: Alu, size: Size, o: Op) {
        // An op that reads a lazy operand as it is, is one for which the upper halves make no difference.
        let size = if self.is_lazy(o) { Size::Double } else { size };
        if op == Alu::Add
            && o.rd != o.rs1
            && let (Some(a), Some(b)) = (self.pinned(o.rs1), self.pinned(o.rs2))
        {
            let target = self.target(o.rd);
            self.e.lea(size, target, Memory::indexed(a, b, 0, 0));
            self.result(size, o.rd, target);
            return;
        }
        let work = self.first(o);
        self.e.alu(op, size, work, self.operand(o.rs2));
        self.result(size, o.rd, work);
    }

    fn immediate(&mut self, op: Alu, size: Size, o: Op) {
        let size = if self.is_lazy(o) { Size::Double } else { size };
        let target = self.target(o.rd);
        if op == Alu::Add && size == Size::Double && o.imm == 0 {
            self.extend_word(o);
            return;
        }
        if op == Alu::Add
            && let Some(from) = self.pinned(o.rs1)
        {
            self.e.lea(size, target, Memory::at(from, o.imm));
        } else if self.pinned(o.rd).is_none() && o.rd == o.rs1 && size == Size::Quad {
            let memory = Operand::Memory(register(o.rd));
            self.e.alu_immediate(op, size, memory, o.imm);
            // The result is in memory already.
            self.forget(o.rd);
            return;
        } else {
            self.e.mov(Size::Quad, target, self.operand(o.rs1));
            self.e.alu_immediate(op, size, Operand::Register(target), o.imm);
        }
        self.result(size, o.rd, target);
    }

    /// `sext.w`: `rd` becomes the lower half of `rs1`, sign-extended.
    fn extend_word(&mut self, o: Op) {
        let from = self.value(o.rs1, RAX);
        if self.known.words.are(o) && !self.is_lazy(o) {
            self.define(o.rd, from);
        } else {
            self.define_word(o.rd, from);
        }
    }

    fn shift(&mut self, shift: Shift, size: Size, o: Op) {
        let target = self.target(o.rd);
        let from = self.operand(o.rs1);
        let mask = if size == Size::Quad { 63 } else { 31 };
        let count = (o.imm & mask) as u8;
        match (size, shift) {
            // Extended first, so that the sign is shifted in and the result is extended.
            (Size::Double, Shift::Arithmetic) => {
                self.e.load(Extend::WordSigned, target, from);
                self.e.shift(shift, Size::Quad, target, count);
                self.define(o.rd, target);
            }
            // The result has no sign, so it is extended.
            (Size::Double, Shift::Right) if count != 0 => {
                self.e.mov(Size::Double, target, from);
                self.e.shift(shift, Size::Double, target, count);
                self.define(o.rd, target);
            }
            _ => {
                self.e.mov(Size::Quad, target, from);
                self.e.shift(shift, size, target, count);
                self.result(size, o.rd, target);
            }
        }
    }

    fn shift_by(&mut self, shift: Shift, size: Size, o: Op) {
        let from = self.value(o.rs1, RAX);
        let count = self.value(o.rs2, RCX);
        let target = self.target(o.rd);
        self.e.shift_by(shift, size, target, from, count);
        self.result(size, o.rd, target);
    }

    /// The flags become those of `rs1` compared with `rs2`.
    pub(super) fn compare(&mut self, o: Op) {
        let a = self.value(o.rs1, RAX);
        let size = self.size_of(o);
        if o.rs2 == 0 {
            // `test` clears carry and overflow, as comparing with 0 does.
            self.e.test(size, a);
        } else {
            self.e.alu(Alu::Cmp, size, a, self.operand(o.rs2));
        }
    }

    /// `rd` becomes 1 if the condition holds, else 0.
    pub(super) fn set(&mut self, condition: Condition, o: Op) {
        let target = self.target(o.rd);
        self.e.set(condition, target);
        self.define(o.rd, target);
    }

    /// Translates a division or, with `rest`, a remainder.
    fn divide(&mut self, size: Size, signed: bool, rest: bool, at: At, o: Op) {
        let (dividend, divisor) = (self.operand(o.rs1), self.operand(o.rs2));
        let e = &mut self.e;
        e.mov(size, RCX, divisor);
        if signed {
            // The host divides neither by 0 nor, as that may overflow, by -1.
            e.lea(Size::Quad, RDX, Memory::at(RCX, 1));
            e.alu_immediate(Alu::Cmp, size, Operand::Register(RDX), 2);
        } else {
            e.alu_immediate(Alu::Cmp, size, Operand::Register(RCX), 1);
        }
        let jump = e.jump_if(Condition::Below);
        e.mov(size, RAX, dividend);
        if signed {
            e.extend_rax(size);
        } else {
            e.load_immediate(RDX, 0);
        }
        e.divide(size, signed, RCX);
        self.result(size, o.rd, if rest { RDX } else { RAX });
        self.interpret_at(jump, at);
    }
}
