//! Floating-point loads, stores and arithmetic (manual, chapters "F" and "D"). Here registers are read and
//! written; the arithmetic itself is in `fpu`.
//!
//! Every instruction here is illegal while `mstatus.FS` is Off. FS becomes Dirty exactly when a
//! floating-point register or `fcsr` may have changed: results in floating-point registers, or raised flags.

use super::{Core, Flow, arithmetic::word};
use crate::{
    fpu::{self, Flags, Format, Rounding, box32, unbox32},
    op::{Code, FloatForm, FloatKind, Op},
};

/// How a floating-point register holds a number of one format.
trait Held: Format {
    /// The number in a register.
    fn get(register: u64) -> Self;
    /// The register that holds a number.
    fn put(self) -> u64;
}

impl Held for u32 {
    fn get(register: u64) -> u32 {
        unbox32(register)
    }

    fn put(self) -> u64 {
        box32(self)
    }
}

impl Held for u64 {
    fn get(register: u64) -> u64 {
        register
    }

    fn put(self) -> u64 {
        self
    }
}

/// What an instruction has computed, and for which register.
enum Outcome {
    /// The value of the floating-point register `rd`.
    Float(u64),
    /// The value of the integer register `rd`.
    Integer(u64),
}

impl Core<'_> {
    /// Does `flw` or `fld`.
    #[inline(never)]
    pub(super) fn float_load(&mut self, op: Op) -> Flow {
        if self.hart.csr.float_off() {
            return self.illegal();
        }
        let address = self.x[op.rs1()].wrapping_add(op.immediate());
        let size = if op.code == Code::Fld { 8 } else { 4 };
        let (value, flow) = match self.caches.mmu.known_load(address, size) {
            Some(offset) if size == 8 => (self.ram.load_u64(offset), Flow::Next),
            Some(offset) => (u64::from(self.ram.load_u32(offset)), Flow::Next),
            None => match self.load_any(address, size) {
                Ok(value) => (value, self.flow()),
                Err(trap) => return self.raise(trap),
            },
        };
        self.hart.f[op.rd()] = if size == 8 { value } else { box32(value as u32) };
        self.hart.csr.float_dirty();
        flow
    }

    /// Does `fsw` or `fsd`.
    #[inline(never)]
    pub(super) fn float_store(&mut self, op: Op) -> Flow {
        if self.hart.csr.float_off() {
            return self.illegal();
        }
        let address = self.x[op.rs1()].wrapping_add(op.immediate());
        let value = self.hart.f[op.rs2()];
        let size = if op.code == Code::Fsd { 8 } else { 4 };
        match self.caches.mmu.known_store(address, size) {
            Some(offset) if size == 8 => self.ram.store_u64(offset, value),
            Some(offset) => self.ram.store_u32(offset, value as u32),
            None => {
                return match self.store_any(address, size, value) {
                    Ok(()) => self.flow(),
                    Err(trap) => self.raise(trap),
                };
            }
        }
        Flow::Next
    }

    /// Does every other floating-point instruction.
    #[inline(never)]
    pub(super) fn float(&mut self, op: Op) -> Flow {
        let form = FloatForm::unpack(op.field());
        let mode = if form.rounding == 7 {
            (self.hart.csr.fcsr >> 5) as u8
        } else {
            form.rounding
        };
        let (false, Some(rounding)) = (self.hart.csr.float_off(), Rounding::from_bits(mode)) else {
            return self.illegal();
        };
        let before = self.hart.csr.fcsr as u8 & 0x1f;
        let mut flags = Flags(before);
        let outcome = if form.double {
            self.compute::<u64>(op, form, rounding, &mut flags)
        } else {
            self.compute::<u32>(op, form, rounding, &mut flags)
        };
        match outcome {
            Outcome::Float(value) => {
                self.hart.f[op.rd()] = value;
                self.hart.csr.float_dirty();
            }
            Outcome::Integer(value) => self.set_x(op.rd(), value),
        }
        if flags.0 != before {
            self.hart.csr.fcsr |= u64::from(flags.0);
            self.hart.csr.float_dirty();
        }
        Flow::Next
    }

    #[inline]
    fn compute<F: Held>(&self, op: Op, form: FloatForm, rounding: Rounding, flags: &mut Flags) -> Outcome {
        use FloatKind::*;
        let register = self.hart.f[op.rs1()];
        let integer = self.x[op.rs1()];
        let a = F::get(register);
        let b = F::get(self.hart.f[op.rs2()]);
        let c = F::get(self.hart.f[form.rs3]);
        let float = |value: F| Outcome::Float(value.put());
        match form.kind {
            Add => float(fpu::add(a, b, rounding, flags)),
            Sub => float(fpu::sub(a, b, rounding, flags)),
            Mul => float(fpu::mul(a, b, rounding, flags)),
            Div => float(fpu::div(a, b, rounding, flags)),
            Sqrt => float(fpu::sqrt(a, rounding, flags)),
            Madd => float(fpu::fused_multiply_add(a, b, c, rounding, flags)),
            Msub => float(fpu::fused_multiply_subtract(a, b, c, rounding, flags)),
            Nmsub => float(fpu::fused_negate_multiply_subtract(a, b, c, rounding, flags)),
            Nmadd => float(fpu::fused_negate_multiply_add(a, b, c, rounding, flags)),
            Sgnj => float(fpu::sign_inject(a, b)),
            Sgnjn => float(fpu::sign_inject_negated(a, b)),
            Sgnjx => float(fpu::sign_inject_xor(a, b)),
            Min => float(fpu::minimum(a, b, flags)),
            Max => float(fpu::maximum(a, b, flags)),
            Le => Outcome::Integer(u64::from(fpu::less_or_equal(a, b, flags))),
            Lt => Outcome::Integer(u64::from(fpu::less_than(a, b, flags))),
            Eq => Outcome::Integer(u64::from(fpu::equal(a, b, flags))),
            Class => Outcome::Integer(u64::from(fpu::classify(a))),
            // The bits as they are in the register, boxed or not.
            MoveToInteger if form.double => Outcome::Integer(register),
            MoveToInteger => Outcome::Integer(word(register)),
            MoveFromInteger if form.double => Outcome::Float(integer),
            MoveFromInteger => Outcome::Float(box32(integer as u32)),
            ToW => Outcome::Integer(fpu::to_i32(a, rounding, flags) as i64 as u64),
            ToWu => Outcome::Integer(word(u64::from(fpu::to_u32(a, rounding, flags)))),
            ToL => Outcome::Integer(fpu::to_i64(a, rounding, flags) as u64),
            ToLu => Outcome::Integer(fpu::to_u64(a, rounding, flags)),
            FromW => float(fpu::from_i32(integer as i32, rounding, flags)),
            FromWu => float(fpu::from_u32(integer as u32, rounding, flags)),
            FromL => float(fpu::from_i64(integer as i64, rounding, flags)),
            FromLu => float(fpu::from_u64(integer, rounding, flags)),
            Convert if form.double => Outcome::Float(fpu::widen(unbox32(register), flags)),
            Convert => Outcome::Float(box32(fpu::narrow(register, rounding, flags))),
        }
    }
}
