//! The arithmetic instructions: each asks `fast` for an answer and, where there is none, computes it with
//! `soft`.
//!
//! `fast` answers only where result and flags equal those of `soft`, so which of the two computed a result
//! cannot be seen. Nothing here computes.

use super::fast;
use super::format::{self, Format};
use super::soft;
use super::status::{Flags, Rounding};

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
