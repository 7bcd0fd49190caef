//! The floating-point unit: IEEE 754 binary32 and binary64 as RISC-V F and D define them.
//!
//! Every function is pure: operand bits, a rounding mode and the accrued flags go in, result bits and
//! flags come out. The instruction layer reads registers (`unbox32`), picks the rounding mode and writes
//! the flags back into `fcsr`.
//!
//! `soft` computes everything with integers and is the definition. `fast` answers some operations with the
//! host's own arithmetic where result and flags provably equal those of `soft`; the functions here choose.
//! Nothing here may read or write the host's floating-point control register, produce a NaN other than the
//! canonical one, or call a function whose rounding depends on the host's library.
//!
//! Section numbers refer to the RISC-V Unprivileged ISA manual, chapters "F" and "D", version 2.2.

mod compare;
mod convert;
mod fast;
mod format;
pub mod soft;

pub use compare::{
    classify, equal, less_or_equal, less_than, maximum, minimum, sign_inject, sign_inject_negated,
    sign_inject_xor,
};
pub use convert::{from_i32, from_i64, from_u32, from_u64, narrow, to_i32, to_i64, to_u32, to_u64, widen};
pub use format::Format;

/// The accrued exception flags, in the bit positions of `fcsr` (F chapter, "Floating-Point Control and
/// Status Register").
///
/// The operations only ever set bits. Callers should pass the accrued flags of the hart rather than an
/// empty set: once `NX` is set, the fast path need not find out whether a result was exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// Inexact: the result was rounded.
    pub const NX: Flags = Flags(1);
    /// Underflow: the result is tiny after rounding, and inexact.
    pub const UF: Flags = Flags(2);
    /// Overflow: the rounded result exceeds the largest finite number.
    pub const OF: Flags = Flags(4);
    /// Divide by zero: an exact infinity from finite operands.
    pub const DZ: Flags = Flags(8);
    /// Invalid operation: there is no defined result, or an operand is a signalling NaN.
    pub const NV: Flags = Flags(16);

    /// Sets the given flags; the others keep their state.
    #[inline]
    pub fn raise(&mut self, flags: Flags) {
        self.0 |= flags.0;
    }

    /// Whether all the given flags are set.
    #[inline]
    #[must_use]
    pub fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// The rounding modes, in the encoding of `rm` and `frm` (F chapter, table "Rounding mode encoding").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rounding {
    /// RNE: to nearest, ties to even.
    NearestEven = 0,
    /// RTZ: towards zero.
    TowardZero = 1,
    /// RDN: towards negative infinity.
    Down = 2,
    /// RUP: towards positive infinity.
    Up = 3,
    /// RMM: to nearest, ties away from zero.
    NearestMaxMagnitude = 4,
}

impl Rounding {
    /// Decodes `frm` or a static `rm`. `None` for the reserved values 5 and 6 and for 7 (`DYN`), which the
    /// instruction layer must resolve or refuse first.
    #[inline]
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Rounding> {
        match bits {
            0 => Some(Rounding::NearestEven),
            1 => Some(Rounding::TowardZero),
            2 => Some(Rounding::Down),
            3 => Some(Rounding::Up),
            4 => Some(Rounding::NearestMaxMagnitude),
            _ => None,
        }
    }
}

/// The single-precision value of a 64-bit register: its low half if properly boxed, else the canonical NaN
/// (D chapter, "NaN Boxing of Narrower Values").
#[inline]
#[must_use]
pub fn unbox32(register: u64) -> u32 {
    if register >> 32 == 0xffff_ffff {
        register as u32
    } else {
        u32::CANONICAL_NAN
    }
}

/// A single-precision value as a 64-bit register holds it: the upper half all ones (D chapter, "NaN Boxing
/// of Narrower Values").
#[inline]
#[must_use]
pub fn box32(value: u32) -> u64 {
    0xffff_ffff_0000_0000 | u64::from(value)
}

/// `FADD`: `a + b` (F chapter, "Single-Precision Floating-Point Computational Instructions").
#[inline]
pub fn add<F: Format>(a: F, b: F, rounding: Rounding, flags: &mut Flags) -> F {
    if rounding == Rounding::NearestEven
        && let Some(sum) = fast::add(a, b, flags)
    {
        return sum;
    }
    soft::add(a, b, rounding, flags)
}

/// `FSUB`: `a - b` (F chapter, "Single-Precision Floating-Point Computational Instructions").
#[inline]
pub fn sub<F: Format>(a: F, b: F, rounding: Rounding, flags: &mut Flags) -> F {
    // A NaN whose sign is flipped is the same kind of NaN, so subtraction needs no path of its own.
    add(a, format::negate(b), rounding, flags)
}

/// `FMUL`: `a * b` (F chapter, "Single-Precision Floating-Point Computational Instructions").
#[inline]
pub fn mul<F: Format>(a: F, b: F, rounding: Rounding, flags: &mut Flags) -> F {
    if rounding == Rounding::NearestEven
        && let Some(product) = fast::mul(a, b, flags)
    {
        return product;
    }
    soft::mul(a, b, rounding, flags)
}

/// `FDIV`: `a / b` (F chapter, "Single-Precision Floating-Point Computational Instructions").
#[inline]
pub fn div<F: Format>(a: F, b: F, rounding: Rounding, flags: &mut Flags) -> F {
    if rounding == Rounding::NearestEven
        && let Some(quotient) = fast::div(a, b, flags)
    {
        return quotient;
    }
    soft::div(a, b, rounding, flags)
}

/// `FSQRT`: the square root of `a` (F chapter, "Single-Precision Floating-Point Computational
/// Instructions").
#[inline]
pub fn sqrt<F: Format>(a: F, rounding: Rounding, flags: &mut Flags) -> F {
    if rounding == Rounding::NearestEven
        && let Some(root) = fast::sqrt(a, flags)
    {
        return root;
    }
    soft::sqrt(a, rounding, flags)
}

/// `FMADD`: `a * b + c`, rounded once (F chapter, "Single-Precision Floating-Point Computational
/// Instructions").
///
/// Infinity times zero raises `NV` even if `c` is a quiet NaN, as the manual demands.
#[inline]
pub fn fused_multiply_add<F: Format>(a: F, b: F, c: F, rounding: Rounding, flags: &mut Flags) -> F {
    if rounding == Rounding::NearestEven
        && let Some(result) = fast::fused_multiply_add(a, b, c, flags)
    {
        return result;
    }
    soft::fused_multiply_add(a, b, c, rounding, flags)
}

/// `FMSUB`: `a * b - c`, rounded once (F chapter, as `FMADD`).
#[inline]
pub fn fused_multiply_subtract<F: Format>(a: F, b: F, c: F, rounding: Rounding, flags: &mut Flags) -> F {
    fused_multiply_add(a, b, format::negate(c), rounding, flags)
}

/// `FNMSUB`: `-(a * b) + c`, rounded once (F chapter, as `FMADD`).
#[inline]
pub fn fused_negate_multiply_subtract<F: Format>(
    a: F,
    b: F,
    c: F,
    rounding: Rounding,
    flags: &mut Flags,
) -> F {
    fused_multiply_add(format::negate(a), b, c, rounding, flags)
}

/// `FNMADD`: `-(a * b) - c`, rounded once (F chapter, as `FMADD`).
///
/// The operands are negated, not the result, so that directed rounding sees the negated value.
#[inline]
pub fn fused_negate_multiply_add<F: Format>(a: F, b: F, c: F, rounding: Rounding, flags: &mut Flags) -> F {
    fused_multiply_add(format::negate(a), b, format::negate(c), rounding, flags)
}
