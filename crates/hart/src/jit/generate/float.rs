//! The code of floating-point instructions: loads, stores, moves, and double precision where the host's own
//! arithmetic gives RISC-V's result and no flag can change.
//!
//! That is so when NX is accrued already, the rounding mode is RNE, and the result is finite and not tiny:
//! then neither NV, DZ, OF nor UF is raised, and there is no NaN to canonicalise. Everything else leaves for
//! the interpreter, before anything has changed. A result of exponent 1 leaves too: it may have been tiny
//! before it was rounded.

use super::{
    block::Block,
    cold::{At, Cold},
    host::held,
    known::Use,
};
use crate::{
    jit::emit::*,
    op::{Code, FloatForm, FloatKind, Op},
};

/// The upper half of a register that holds a single (unprivileged manual, "NaN Boxing").
const SINGLE_BOX: i64 = 0xffff_ffff_0000_0000_u64 as i64;

/// The prefix of scalar instructions in double precision, and their opcodes.
const DOUBLE: u8 = 0xf2;
const SQUARE_ROOT: u8 = 0x51;
const ADD: u8 = 0x58;
const MULTIPLY: u8 = 0x59;
const SUBTRACT: u8 = 0x5c;
const DIVIDE: u8 = 0x5e;
/// `cvtsi2sd`: from an integer.
const FROM_INTEGER: u8 = 0x2a;
/// `cvttsd2si`: to an integer, rounded towards zero.
const TO_INTEGER: u8 = 0x2c;
/// `ucomisd`, after the prefix 66.
const COMPARE: u8 = 0x2e;
/// `movq`: to a vector register after the prefix f3, from one to a general register after the prefix 66.
const MOVE: u8 = 0x7e;
/// The forms of FMA3 that compute `xmm0 = ±(xmm1 * factor) ± xmm0`.
const FUSED_ADD: u8 = 0xb9;
const FUSED_SUBTRACT: u8 = 0xbb;
const FUSED_NEGATIVE_ADD: u8 = 0xbd;
const FUSED_NEGATIVE_SUBTRACT: u8 = 0xbf;

/// The place of a floating-point register, when rcx holds the address of all of them.
fn place(register: u8) -> Memory {
    Memory::at(RCX, i32::from(register & 31) * 8)
}

/// The value of a floating-point register, when rcx holds the address of all of them.
fn source(register: u8) -> Operand {
    Operand::Memory(place(register))
}

impl Block<'_> {
    /// Makes sure that the floating-point registers may be used like this. If not, the interpreter does the
    /// op and the superblock is left: what it has found out may hold no more.
    fn guard(&mut self, purpose: Use, at: At) {
        if self.known.float.is_some_and(|known| known >= purpose) {
            return;
        }
        self.known.float = Some(purpose);
        let condition = match purpose {
            Use::Read => held!(float_on),
            Use::Write => held!(float_dirty),
            Use::Compute => held!(float_plain),
        };
        self.e.alu_immediate(Alu::Cmp, Size::Quad, condition, 0);
        let jump = self.e.jump_if(Condition::Equal);
        self.put_off(jump, Cold::InterpretAndLeave { at });
    }

    /// rcx becomes the address of the floating-point registers.
    fn registers(&mut self) {
        self.e.mov(Size::Quad, RCX, held!(float));
    }

    /// Boxes the single in the lower half of rax.
    fn boxed(&mut self) {
        self.e.load_immediate(RDX, SINGLE_BOX);
        self.e.alu(Alu::Or, Size::Quad, RAX, Operand::Register(RDX));
    }

    /// A vector register becomes `f[from]`.
    fn fetch(&mut self, vector: u8, from: u8) {
        self.e.scalar(0xf3, Size::Double, MOVE, vector, source(from));
    }

    /// rax becomes xmm0.
    fn take_result(&mut self) {
        self.e.scalar(0x66, Size::Quad, MOVE, 0, Operand::Register(RAX));
    }

    /// Translates a floating-point op.
    pub(super) fn float_op(&mut self, at: At, o: Op) {
        match o.code {
            Code::Flw => self.float_load(false, at, o),
            Code::Fld => self.float_load(true, at, o),
            Code::Fsw => self.float_store(false, at, o),
            Code::Fsd => self.float_store(true, at, o),
            _ => self.float(at, o),
        }
    }

    fn float_load(&mut self, double: bool, at: At, o: Op) {
        self.guard(Use::Write, at);
        let reached = self.reach(at, o);
        let extend = if double { Extend::Full } else { Extend::Word };
        self.e.load(extend, RAX, Operand::Memory(reached.memory));
        if !double {
            self.boxed();
        }
        self.registers();
        self.e.store(place(o.rd), RAX);
        self.reached(at, &reached);
    }

    fn float_store(&mut self, double: bool, at: At, o: Op) {
        self.guard(Use::Read, at);
        let reached = self.reach(at, o);
        self.e.mov(Size::Quad, RAX, held!(float));
        let from = Memory::at(RAX, i32::from(o.rs2 & 31) * 8);
        self.e.mov(Size::Quad, RAX, Operand::Memory(from));
        self.e.store_low(if double { 8 } else { 4 }, reached.memory, RAX);
        self.reached(at, &reached);
    }

    fn float(&mut self, at: At, o: Op) {
        use FloatKind::*;
        let form = FloatForm::unpack(o.field());
        let purpose = match form.kind {
            Eq | Lt | Le | MoveToInteger => Use::Read,
            Sgnj | Sgnjn | Sgnjx | MoveFromInteger => Use::Write,
            _ => Use::Compute,
        };
        self.guard(purpose, at);
        self.registers();
        match form.kind {
            Add | Sub => self.arithmetic(if form.kind == Add { ADD } else { SUBTRACT }, 0, at, o),
            Mul => self.arithmetic(MULTIPLY, 2, at, o),
            Div => self.arithmetic(DIVIDE, 2, at, o),
            Sqrt => {
                self.e.scalar(DOUBLE, Size::Double, SQUARE_ROOT, 0, source(o.rs1));
                self.accept(2, at, o);
            }
            Madd => self.fused(FUSED_ADD, form, at, o),
            Msub => self.fused(FUSED_SUBTRACT, form, at, o),
            Nmsub => self.fused(FUSED_NEGATIVE_ADD, form, at, o),
            Nmadd => self.fused(FUSED_NEGATIVE_SUBTRACT, form, at, o),
            Sgnj | Sgnjn | Sgnjx => self.sign(form.kind, o),
            Eq | Lt | Le => self.float_compare(form.kind, at, o),
            MoveToInteger => {
                let extend = if form.double {
                    Extend::Full
                } else {
                    Extend::WordSigned
                };
                self.e.load(extend, RAX, source(o.rs1));
                self.define_unless_x0(o.rd, RAX);
            }
            MoveFromInteger => {
                let from = self.value(o.rs1, RAX);
                if form.double {
                    self.e.store(place(o.rd), from);
                } else {
                    self.e.mov(Size::Double, RAX, Operand::Register(from));
                    self.boxed();
                    self.e.store(place(o.rd), RAX);
                }
            }
            FromW | FromWu | FromL => {
                let mut from = self.value(o.rs1, RAX);
                if form.kind == FromWu {
                    self.e.mov(Size::Double, RAX, Operand::Register(from));
                    from = RAX;
                }
                let size = if form.kind == FromW {
                    Size::Double
                } else {
                    Size::Quad
                };
                self.e
                    .scalar(DOUBLE, size, FROM_INTEGER, 0, Operand::Register(from));
                self.take_result();
                self.e.store(place(o.rd), RAX);
            }
            // ToW, ToL; no other kind is native.
            _ => self.integer(form.kind == ToL, at, o),
        }
    }

    /// `f[rd] = f[rs1] op f[rs2]`.
    fn arithmetic(&mut self, opcode: u8, exponent_min: i32, at: At, o: Op) {
        self.fetch(0, o.rs1);
        self.e.scalar(DOUBLE, Size::Double, opcode, 0, source(o.rs2));
        self.accept(exponent_min, at, o);
    }

    /// `f[rd] = ±(f[rs1] * f[rs2]) ± f[rs3]`.
    fn fused(&mut self, opcode: u8, form: FloatForm, at: At, o: Op) {
        self.fetch(0, form.rs3 as u8);
        self.fetch(1, o.rs1);
        self.e.fused(opcode, place(o.rs2));
        self.accept(2, at, o);
    }

    /// `f[rd] = xmm0`, if its exponent is neither below `exponent_min` nor that of infinities and NaNs. Sums
    /// need no minimum, as tiny ones are exact.
    fn accept(&mut self, exponent_min: i32, at: At, o: Op) {
        self.take_result();
        let e = &mut self.e;
        e.mov(Size::Quad, RDX, Operand::Register(RAX));
        e.shift(Shift::Left, Size::Quad, RDX, 1);
        e.shift(Shift::Right, Size::Quad, RDX, 53);
        if exponent_min != 0 {
            e.alu_immediate(Alu::Sub, Size::Double, Operand::Register(RDX), exponent_min);
        }
        e.alu_immediate(
            Alu::Cmp,
            Size::Double,
            Operand::Register(RDX),
            0x7ff - exponent_min,
        );
        let jump = e.jump_if(Condition::AboveEqual);
        e.store(place(o.rd), RAX);
        self.interpret_at(jump, at);
    }

    /// `fsgnj` and its like: `f[rd]` becomes `f[rs1]` with a sign that `f[rs2]` gives.
    fn sign(&mut self, kind: FloatKind, o: Op) {
        let e = &mut self.e;
        e.mov(Size::Quad, RAX, source(o.rs1));
        if kind != FloatKind::Sgnj || o.rs1 != o.rs2 {
            e.mov(Size::Quad, RDX, source(o.rs2));
            match kind {
                FloatKind::Sgnjn => e.alu_immediate(Alu::Xor, Size::Quad, Operand::Register(RDX), -1),
                FloatKind::Sgnjx => e.alu(Alu::Xor, Size::Quad, RDX, Operand::Register(RAX)),
                _ => {}
            }
            e.shift(Shift::Right, Size::Quad, RDX, 63);
            e.shift(Shift::Left, Size::Quad, RDX, 63);
            e.shift(Shift::Left, Size::Quad, RAX, 1);
            e.shift(Shift::Right, Size::Quad, RAX, 1);
            e.alu(Alu::Or, Size::Quad, RAX, Operand::Register(RDX));
        }
        e.store(place(o.rd), RAX);
    }

    /// `feq`, `flt`, `fle`. With a NaN, flags may change.
    fn float_compare(&mut self, kind: FloatKind, at: At, o: Op) {
        // a < b is compared as b > a, which one condition says.
        let (first, second, condition) = match kind {
            FloatKind::Eq => (o.rs1, o.rs2, Condition::Equal),
            FloatKind::Lt => (o.rs2, o.rs1, Condition::Above),
            _ => (o.rs2, o.rs1, Condition::AboveEqual),
        };
        self.fetch(0, first);
        self.e.scalar(0x66, Size::Double, COMPARE, 0, source(second));
        let jump = self.e.jump_if(Condition::Parity);
        if o.rd != 0 {
            self.set(condition, o);
        }
        self.interpret_at(jump, at);
    }

    /// `rd` becomes `f[rs1]`, rounded towards zero, if that fits.
    fn integer(&mut self, long: bool, at: At, o: Op) {
        let size = if long { Size::Quad } else { Size::Double };
        let e = &mut self.e;
        e.scalar(DOUBLE, size, TO_INTEGER, RAX, source(o.rs1));
        // What does not fit becomes the least number, and to subtract 1 overflows from that only.
        e.mov(size, RDX, Operand::Register(RAX));
        e.alu_immediate(Alu::Sub, size, Operand::Register(RDX), 1);
        let jump = e.jump_if(Condition::Overflow);
        if !long {
            self.e.load(Extend::WordSigned, RAX, Operand::Register(RAX));
        }
        self.define_unless_x0(o.rd, RAX);
        self.interpret_at(jump, at);
    }
}
