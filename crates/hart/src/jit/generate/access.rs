//! The code of memory accesses: loads, stores, atomic accesses and `cbo.zero`.
//!
//! Harts take turns, so an atomic access is a load and a store after one lookup, and a reservation is a
//! field of the workspace.

use super::{
    block::Block,
    cold::{At, Lookup},
    host::{field, held},
    lookup::{PAGE_BITS, Serves},
};
use crate::{
    isa::BLOCK,
    jit::{emit::*, plan::Extent, workspace::NOTHING},
    op::{Code, Op},
};

// Instructions name it as an immediate of 32 bits, which the host's processor extends with the sign.
const _: () = assert!(NOTHING as i32 as u64 == NOTHING);

/// The bytes of a vector register.
const VECTOR: i32 = 16;
/// `vxorps`.
const XOR: Vex = Vex::new(0, 0x57);
/// `vmovups` to memory.
const STORE: Vex = Vex::new(0, 0x11);

impl Block<'_> {
    /// Translates a load, a store or an atomic access.
    pub(super) fn access(&mut self, at: At, o: Op) {
        use Code::*;
        match o.code {
            Lb => self.load(Extend::ByteSigned, at, o),
            Lh => self.load(Extend::HalfSigned, at, o),
            Lw => self.load(Extend::WordSigned, at, o),
            Ld => self.load(Extend::Full, at, o),
            Lbu => self.load(Extend::Byte, at, o),
            Lhu => self.load(Extend::Half, at, o),
            Lwu => self.load(Extend::Word, at, o),
            Sb => self.store(1, at, o),
            Sh => self.store(2, at, o),
            Sw => self.store(4, at, o),
            Sd => self.store(8, at, o),
            AmoW => self.amo(4, at, o),
            AmoD => self.amo(8, at, o),
            LrW => self.load_reserved(4, at, o),
            LrD => self.load_reserved(8, at, o),
            ScW => self.store_conditional(4, at, o),
            // ScD; every other op is translated elsewhere.
            _ => self.store_conditional(8, at, o),
        }
    }

    fn load(&mut self, extend: Extend, at: At, o: Op) {
        let reached = self.reach(at, o);
        let target = self.target(o.rd);
        self.e.load(extend, target, Operand::Memory(reached.memory));
        self.define(o.rd, target);
        self.reached(at, &reached);
    }

    fn store(&mut self, size: u8, at: At, o: Op) {
        let reached = self.reach(at, o);
        let from = self.value(o.rs2, RAX);
        self.e.store_low(size, reached.memory, from);
        self.reached(at, &reached);
    }

    /// rcx becomes the host address of an atomic access of `size` bytes.
    fn reach_atomic(&mut self, size: u8, stores: bool, o: Op) -> Lookup {
        let base = self.value(o.rs1, RCX);
        // The tag has the lowest bits of the address too: at a misaligned one no entry is right.
        let mask = PAGE_BITS | i32::from(size - 1);
        let lookup = self.look_up(base, Extent::first_byte(stores), mask, RDX);
        self.e.lea(Size::Quad, RCX, Memory::indexed(RDX, base, 0, 0));
        lookup
    }

    /// rax becomes the value at the host address in rcx.
    fn load_atomic(&mut self, size: u8) {
        let extend = if size == 8 {
            Extend::Full
        } else {
            Extend::WordSigned
        };
        self.e.load(extend, RAX, Operand::Memory(Memory::at(RCX, 0)));
    }

    /// `address`, a host address, becomes its doubleword's offset in RAM, which is what a reservation holds.
    fn reservation(&mut self, address: Register) {
        self.e.alu(Alu::Sub, Size::Quad, address, held!(ram));
        self.e
            .alu_immediate(Alu::And, Size::Quad, Operand::Register(address), -8);
    }

    fn load_reserved(&mut self, size: u8, at: At, o: Op) {
        let lookup = self.reach_atomic(size, false, o);
        self.load_atomic(size);
        self.reservation(RCX);
        self.e.store(field!(reserved), RCX);
        self.define_unless_x0(o.rd, RAX);
        self.looked_up(lookup, at, Serves::One);
    }

    /// Translates SC where it succeeds, and where it fails because nothing is reserved at all, as on the way
    /// out of a kernel.
    fn store_conditional(&mut self, size: u8, at: At, o: Op) {
        let base = self.value(o.rs1, RCX);
        self.e
            .alu_immediate(Alu::Cmp, Size::Quad, held!(reserved), NOTHING as i32);
        let reserved = self.e.jump_if(Condition::NotEqual);
        self.e.test_bits(base, i32::from(size - 1));
        let misaligned = self.e.jump_if(Condition::NotEqual);
        self.result_of_store(1, o);
        let fails = self.e.jump();
        self.e.land(reserved);
        let lookup = self.reach_atomic(size, true, o);
        self.e.mov(Size::Quad, RAX, Operand::Register(RCX));
        self.reservation(RAX);
        self.e.alu(Alu::Cmp, Size::Quad, RAX, held!(reserved));
        let elsewhere = self.e.jump_if(Condition::NotEqual);
        self.e
            .alu_immediate(Alu::Or, Size::Quad, held!(reserved), NOTHING as i32);
        let from = self.value(o.rs2, RAX);
        self.e.store_low(size, Memory::at(RCX, 0), from);
        self.result_of_store(0, o);
        self.e.land(fails);
        self.interpret_at(misaligned, at);
        self.interpret_at(elsewhere, at);
        self.looked_up(lookup, at, Serves::One);
    }

    /// `rd` becomes what SC says: 0 for success, 1 for failure.
    fn result_of_store(&mut self, result: i64, o: Op) {
        if o.rd != 0 {
            let target = self.target(o.rd);
            self.e.load_immediate(target, result);
            self.define(o.rd, target);
        }
    }

    fn amo(&mut self, size: u8, at: At, o: Op) {
        let lookup = self.reach_atomic(size, true, o);
        self.load_atomic(size);
        let operand = self.operand(o.rs2);
        self.e.mov(Size::Quad, RDX, operand);
        let op = match o.field() {
            0x00 => Some(Alu::Add),
            0x04 => Some(Alu::Xor),
            0x08 => Some(Alu::Or),
            0x0c => Some(Alu::And),
            _ => None,
        };
        if let Some(op) = op {
            self.e.alu(op, Size::Quad, RDX, Operand::Register(RAX));
        }
        self.e.store_low(size, Memory::at(RCX, 0), RDX);
        self.define_unless_x0(o.rd, RAX);
        self.looked_up(lookup, at, Serves::One);
    }

    /// Translates `cbo.zero`: stores zeros to a whole block, all of which is in one page.
    pub(super) fn zero_block(&mut self, at: At, o: Op) {
        self.e.alu_immediate(Alu::Cmp, Size::Quad, held!(zeroes), 0);
        let forbidden = self.e.jump_if(Condition::Equal);
        let base = self.value(o.rs1, RCX);
        let lookup = self.look_up(base, Extent::first_byte(true), PAGE_BITS, RDX);
        self.e.lea(Size::Quad, RCX, Memory::indexed(RDX, base, 0, 0));
        self.e
            .alu_immediate(Alu::And, Size::Quad, Operand::Register(RCX), -(BLOCK as i32));
        self.e.vex(XOR, 0, 0, Operand::Register(0));
        for part in (0..BLOCK as i32).step_by(VECTOR as usize) {
            let to = Operand::Memory(Memory::at(RCX, part));
            self.e.vex(STORE, 0, 0, to);
        }
        self.looked_up(lookup, at, Serves::One);
        self.interpret_at(forbidden, at);
    }
}
