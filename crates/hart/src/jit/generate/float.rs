//! The code of floating-point instructions: loads, stores, moves, and arithmetic in both precisions where the
//! host computes what RISC-V demands.
//!
//! It does so in round to nearest even, but for the bits of a NaN, which are put right later (`vectors`), and
//! for the value of a conversion that does not fit, which the interpreter finds out. The host raises the same
//! flags for the same operands: both detect tininess after rounding. Its flags accrue in its own register
//! while generated code runs, and become the guest's where that is left (`stubs`).
//!
//! What the interpreter does instead is known before anything has changed: neither the register that an op
//! writes, nor a flag that the interpreter would not raise.

use super::{
    block::Block,
    cold::{At, Cold},
    host::{field, held},
    known::Use,
    vectors::{COPY, MOVE_FROM, MOVE_TO, SCRATCH, compare, home, scalar, size_of},
};
use crate::{
    jit::{emit::*, plan::compares},
    op::{Code, FloatForm, FloatKind, Op},
};

/// Opcodes of scalar arithmetic, for [`scalar`].
const SQUARE_ROOT: u8 = 0x51;
const ADD: u8 = 0x58;
const MULTIPLY: u8 = 0x59;
const SUBTRACT: u8 = 0x5c;
const MINIMUM: u8 = 0x5d;
const DIVIDE: u8 = 0x5e;
const MAXIMUM: u8 = 0x5f;
/// `vcvtss2sd` and `vcvtsd2ss`: to the other precision.
const CONVERT: u8 = 0x5a;
/// `vandps`, `vandnps`, `vorps` and `vxorps`; the second inverts its first operand.
const AND: Vex = Vex::new(0, 0x54);
const AND_NOT: Vex = Vex::new(0, 0x55);
const OR: Vex = Vex::new(0, 0x56);
const XOR: Vex = Vex::new(0, 0x57);
/// The instructions of FMA3 that compute `±(first * operand) ± to`, less 0x10 where they compute `±(first *
/// to) ± operand`.
const FUSED_ADD: u8 = 0xb9;
const FUSED_SUBTRACT: u8 = 0xbb;
const FUSED_NEGATIVE_ADD: u8 = 0xbd;
const FUSED_NEGATIVE_SUBTRACT: u8 = 0xbf;
const FUSED_WITH_ADDEND: u8 = 0x10;

/// What is done with the floating-point registers.
fn purpose(kind: FloatKind) -> Use {
    use FloatKind::*;
    match kind {
        Eq | Lt | Le | Class | MoveToInteger => Use::Read,
        Sgnj | Sgnjn | Sgnjx | Min | Max | MoveFromInteger => Use::Write,
        _ => Use::Compute,
    }
}

impl Block<'_> {
    /// Makes sure that the floating-point registers may be used like this. If not, the interpreter does the
    /// op and the superblock is left: what it has found out may hold no more.
    pub(super) fn guard(&mut self, purpose: Use, at: At) {
        if self.known.float.is_some_and(|known| known >= purpose) {
            return;
        }
        self.known.float = Some(purpose);
        let condition = match purpose {
            Use::Read => held!(float_on),
            Use::Write => held!(float_dirty),
            Use::Compute => held!(float_ready),
        };
        self.e.alu_immediate(Alu::Cmp, Size::Quad, condition, 0);
        let jump = self.e.jump_if(Condition::Equal);
        let cold = match purpose {
            Use::Compute => Cold::Compute {
                at,
                back: self.e.here(),
            },
            _ => Cold::InterpretAndLeave { at },
        };
        self.put_off(jump, cold);
    }

    /// Has the host gather floating-point flags and goes on at `back`. The jump is taken if it must not
    /// compute.
    pub(super) fn begin_to_compute(&mut self, back: usize) -> Jump {
        let e = &mut self.e;
        e.alu_immediate(Alu::Cmp, Size::Quad, held!(float_plain), 0);
        let impossible = e.jump_if(Condition::Equal);
        e.alu_immediate(Alu::Cmp, Size::Quad, held!(float_live), 0);
        let live = e.skip_unless(Condition::Equal);
        e.load_status(field!(float_status));
        e.store_immediate(Size::Quad, field!(float_live), 1);
        e.land_near(live);
        e.store_immediate(Size::Quad, field!(float_ready), 1);
        e.jump_back(back);
        impossible
    }

    /// Translates a floating-point op.
    pub(super) fn float_op(&mut self, at: At, o: Op) {
        match o.code {
            Code::Flw => self.float_load(true, at, o),
            Code::Fld => self.float_load(false, at, o),
            Code::Fsw => self.float_store(true, at, o),
            Code::Fsd => self.float_store(false, at, o),
            _ => self.float(at, o),
        }
        for unboxed in std::mem::take(&mut self.unboxed) {
            self.put_off(unboxed, Cold::InterpretAndLeave { at });
        }
        // The write that follows such a comparison is left out, so control must not come to it.
        let leaves = compares(o) && self.plan.restores_flags(at.index + 1);
        for declined in std::mem::take(&mut self.declined) {
            match leaves {
                true => self.put_off(declined, Cold::InterpretAndLeave { at }),
                false => self.interpret_at(declined, at),
            }
        }
    }

    fn float_load(&mut self, single: bool, at: At, o: Op) {
        self.guard(Use::Write, at);
        let reached = self.reach(at, o);
        let vector = self.vector_target(o.rd);
        self.load_vector(single, vector, reached.memory);
        self.define_vector(o.rd, vector, single, false);
        self.reached(at, &reached);
    }

    fn float_store(&mut self, single: bool, at: At, o: Op) {
        self.guard(Use::Read, at);
        // The low half is stored, whatever the register holds.
        let as_single = single && self.present(o.rs2).is_some_and(|(_, has_single)| has_single);
        let vector = self.fetch(o.rs2, as_single, SCRATCH[0]);
        self.make_canonical(o.rs2);
        let reached = self.reach(at, o);
        self.store_vector(single, reached.memory, vector);
        self.reached(at, &reached);
    }

    fn float(&mut self, at: At, o: Op) {
        use FloatKind::*;
        let form = FloatForm::unpack(o.field());
        let single = !form.double;
        self.guard(purpose(form.kind), at);
        match form.kind {
            Add => self.arithmetic(ADD, single, o),
            Sub => self.arithmetic(SUBTRACT, single, o),
            Mul => self.arithmetic(MULTIPLY, single, o),
            Div => self.arithmetic(DIVIDE, single, o),
            Sqrt => self.unary(SQUARE_ROOT, single, single, o),
            Convert => self.unary(CONVERT, !single, single, o),
            Madd => self.fused(FUSED_ADD, form, o),
            Msub => self.fused(FUSED_SUBTRACT, form, o),
            Nmsub => self.fused(FUSED_NEGATIVE_ADD, form, o),
            Nmadd => self.fused(FUSED_NEGATIVE_SUBTRACT, form, o),
            Sgnj if o.rs1 == o.rs2 => self.copy(single, o),
            Sgnj | Sgnjn | Sgnjx => self.sign(form.kind, single, o),
            Min | Max => self.extreme(form.kind, single, o),
            Eq | Lt | Le => self.float_compare(form.kind, single, o),
            Class => self.classify(single, o),
            MoveToInteger => self.move_to_integer(single, o),
            MoveFromInteger => {
                let from = self.value(o.rs1, RAX);
                let to = self.vector_target(o.rd);
                let sized = MOVE_TO.sized(size_of(single));
                self.e.vex(sized, to, 0, Operand::Register(from));
                self.define_vector(o.rd, to, single, false);
            }
            FromW | FromWu | FromL | FromLu => self.convert_from_integer(form.kind, single, o),
            ToW | ToL => self.convert_to_signed(form, o),
            ToWu | ToLu => self.convert_to_unsigned(form, o),
        }
    }
}

/// Arithmetic.
impl Block<'_> {
    /// `f[rd] = f[rs1] op f[rs2]`.
    fn arithmetic(&mut self, opcode: u8, single: bool, o: Op) {
        let a = self.fetch(o.rs1, single, SCRATCH[0]);
        let b = self.fetch(o.rs2, single, SCRATCH[1]);
        let to = self.vector_target(o.rd);
        self.e.vex(scalar(single, opcode), to, a, Operand::Register(b));
        self.define_vector(o.rd, to, single, true);
    }

    /// `f[rd] = op f[rs1]`, to a single or a double `from` a single or a double.
    fn unary(&mut self, opcode: u8, from: bool, single: bool, o: Op) {
        let a = self.fetch(o.rs1, from, SCRATCH[0]);
        let to = self.vector_target(o.rd);
        self.e.vex(scalar(from, opcode), to, a, Operand::Register(a));
        self.define_vector(o.rd, to, single, true);
    }

    /// `f[rd] = ±(f[rs1] * f[rs2]) ± f[rs3]`.
    fn fused(&mut self, opcode: u8, form: FloatForm, o: Op) {
        let single = !form.double;
        let addend = form.rs3 as u8;
        let a = self.fetch(o.rs1, single, SCRATCH[1]);
        let b = self.fetch(o.rs2, single, SCRATCH[2]);
        let c = self.fetch(addend, single, SCRATCH[0]);
        // Infinity times zero plus a quiet NaN is invalid on RISC-V; hosts differ.
        self.e.vex(compare(single), c, 0, Operand::Register(c));
        self.decline_if(Condition::Parity);
        self.is_number(addend);
        let to = self.vector_target(o.rd);
        let vex = |opcode: u8| Vex::new(1, opcode).in_map(2).sized(size_of(single));
        if to == a && to != c {
            self.e
                .vex(vex(opcode - FUSED_WITH_ADDEND), to, b, Operand::Register(c));
        } else if to == b && to != c {
            self.e
                .vex(vex(opcode - FUSED_WITH_ADDEND), to, a, Operand::Register(c));
        } else {
            if to != c {
                self.e.vex(COPY, to, 0, Operand::Register(c));
            }
            self.e.vex(vex(opcode), to, a, Operand::Register(b));
        }
        self.define_vector(o.rd, to, single, true);
    }

    /// `fmin` and `fmax`. Flags may change, and the result be no operand, with a NaN only.
    fn extreme(&mut self, kind: FloatKind, single: bool, o: Op) {
        let a = self.fetch(o.rs1, single, SCRATCH[0]);
        let b = self.fetch(o.rs2, single, SCRATCH[1]);
        self.e.vex(compare(single), a, 0, Operand::Register(b));
        self.decline_if(Condition::Parity);
        // Of zeros the host takes the second, so both orders together have both signs, of which one is right.
        let (opcode, join) = if kind == FloatKind::Min {
            (MINIMUM, OR)
        } else {
            (MAXIMUM, AND)
        };
        let vex = scalar(single, opcode);
        let (one, other) = (SCRATCH[2], SCRATCH[0]);
        self.e.vex(vex, one, a, Operand::Register(b));
        self.e.vex(vex, other, b, Operand::Register(a));
        let to = self.vector_target(o.rd);
        self.e.vex(join, to, one, Operand::Register(other));
        self.define_vector(o.rd, to, single, false);
    }
}

/// Moves, signs, comparisons and classes.
impl Block<'_> {
    /// `fmv`: `f[rd] = f[rs1]`.
    fn copy(&mut self, single: bool, o: Op) {
        let from = self.fetch(o.rs1, single, SCRATCH[0]);
        let raw = self.is_raw(o.rs1);
        self.define_vector(o.rd, from, single, raw);
    }

    /// `fsgnj` and its like: `f[rd]` becomes `f[rs1]` with a sign that `f[rs2]` gives.
    fn sign(&mut self, kind: FloatKind, single: bool, o: Op) {
        let a = self.fetch(o.rs1, single, SCRATCH[0]);
        let b = self.fetch(o.rs2, single, SCRATCH[1]);
        self.make_canonical(o.rs1);
        self.make_canonical(o.rs2);
        let to = self.vector_target(o.rd);
        let sign = SCRATCH[2];
        self.load_sign(sign, single);
        let (signs, rest) = (SCRATCH[1], SCRATCH[0]);
        match kind {
            // `fneg` and `fabs`.
            FloatKind::Sgnjn if o.rs1 == o.rs2 => self.e.vex(XOR, to, a, Operand::Register(sign)),
            FloatKind::Sgnjx if o.rs1 == o.rs2 => self.e.vex(AND_NOT, to, sign, Operand::Register(a)),
            FloatKind::Sgnjx => {
                self.e.vex(AND, signs, b, Operand::Register(sign));
                self.e.vex(XOR, to, a, Operand::Register(signs));
            }
            _ => {
                let select = if kind == FloatKind::Sgnj { AND } else { AND_NOT };
                self.e.vex(select, signs, b, Operand::Register(sign));
                self.e.vex(AND_NOT, rest, sign, Operand::Register(a));
                self.e.vex(OR, to, rest, Operand::Register(signs));
            }
        }
        self.define_vector(o.rd, to, single, false);
    }

    /// `feq`, `flt`, `fle`. With a NaN, flags may change.
    fn float_compare(&mut self, kind: FloatKind, single: bool, o: Op) {
        let a = self.fetch(o.rs1, single, SCRATCH[0]);
        let b = self.fetch(o.rs2, single, SCRATCH[1]);
        // a < b is compared as b > a, which one condition says.
        let (first, second, condition) = match kind {
            FloatKind::Eq => (a, b, Condition::Equal),
            FloatKind::Lt => (b, a, Condition::Above),
            _ => (b, a, Condition::AboveEqual),
        };
        self.e.vex(compare(single), first, 0, Operand::Register(second));
        self.decline_if(Condition::Parity);
        if o.rd != 0 {
            self.set(condition, o);
        }
    }

    /// rax becomes the bits of the single or double in a vector register.
    fn take_bits(&mut self, vector: u8, single: bool) {
        let sized = MOVE_FROM.sized(size_of(single));
        self.e.vex(sized, vector, 0, Operand::Register(RAX));
    }

    /// `fclass`: one bit, whose number grows from negative infinity to positive infinity. NaNs are left to
    /// the interpreter.
    fn classify(&mut self, single: bool, o: Op) {
        let a = self.fetch(o.rs1, single, SCRATCH[0]);
        // No comparison of the host's, as that calls a signalling NaN invalid, and this does not.
        self.take_bits(a, single);
        let size = size_of(single);
        let (sign, exponent) = if single { (31, 24) } else { (63, 53) };
        // rcx becomes the number without its sign, shifted left, which is greatest of NaNs.
        self.e.lea(size, RCX, Memory::indexed(RAX, RAX, 0, 0));
        let infinity = if single {
            0xff00_0000
        } else {
            0xffe0_0000_0000_0000_u64
        };
        self.e.load_immediate(RDX, infinity as i64);
        self.e.alu(Alu::Cmp, size, RCX, Operand::Register(RDX));
        self.decline_if(Condition::Above);
        let e = &mut self.e;
        // rdx becomes 0 or, of a negative number, 7.
        e.mov(size, RDX, Operand::Register(RAX));
        e.shift(Shift::Arithmetic, size, RDX, sign);
        e.alu_immediate(Alu::And, Size::Double, Operand::Register(RDX), 7);
        // rax becomes the bit of a positive number: 4 for zero, 5 below normal numbers, 6, 7 for infinity.
        e.load_immediate(RAX, 4);
        e.test(size, RCX);
        let zero = e.skip_unless(Condition::NotEqual);
        e.load_immediate(RAX, 5);
        e.shift(Shift::Right, size, RCX, exponent);
        let subnormal = e.skip_unless(Condition::NotEqual);
        e.load_immediate(RAX, 6);
        let most = (1 << (sign + 1 - exponent)) - 1;
        e.alu_immediate(Alu::Cmp, Size::Double, Operand::Register(RCX), most);
        let normal = e.skip_unless(Condition::Equal);
        e.load_immediate(RAX, 7);
        for near in [zero, subnormal, normal] {
            e.land_near(near);
        }
        e.alu(Alu::Xor, Size::Double, RAX, Operand::Register(RDX));
        e.mov(Size::Quad, RCX, Operand::Register(RAX));
        e.load_immediate(RAX, 0);
        e.bit(Bit::Set, RAX, RCX);
        self.define_unless_x0(o.rd, RAX);
    }

    /// `fmv.x.w` and `fmv.x.d`: the bits as they are in the register, boxed or not.
    fn move_to_integer(&mut self, single: bool, o: Op) {
        if let Some((_, has_single)) = self.present(o.rs1) {
            let vector = self.fetch(o.rs1, has_single && single, SCRATCH[0]);
            self.make_canonical(o.rs1);
            self.take_bits(vector, single);
            if single {
                self.e.load(Extend::WordSigned, RAX, Operand::Register(RAX));
            }
        } else {
            self.find_homes();
            let extend = if single { Extend::WordSigned } else { Extend::Full };
            self.e.load(extend, RAX, Operand::Memory(home(o.rs1)));
        }
        self.define_unless_x0(o.rd, RAX);
    }
}
