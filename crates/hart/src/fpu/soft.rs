//! The exact path: arithmetic in both formats and all rounding modes with integers only.
//!
//! This is the definition of every result and flag; `fast` must agree with it on every operand. It is
//! public so that tests and other engines can compare themselves with it; instructions use the functions
//! of the parent module. No host float may appear here.

use super::format::{
    Format, cancelled, exponent_field, exponent_field_max, fraction_field, infinity, invalid, is_infinite,
    is_nan, is_negative, is_normal, is_signaling, is_zero, magnitude, normalize_and_round, round_wide,
    shift_right_jam, shift_right_jam_wide, unpack, zero,
};
use super::status::{Flags, Rounding};

/// `a + b` (F chapter, `FADD`).
pub fn add<F: Format>(a: F, b: F, rounding: Rounding, flags: &mut Flags) -> F {
    let (large, small) = if magnitude(a) >= magnitude(b) {
        (a, b)
    } else {
        (b, a)
    };
    if exponent_field(large) == exponent_field_max::<F>() {
        return add_special(large, small, flags);
    }
    // Subnormal numbers have the exponent of the smallest normal ones and no implicit bit.
    let exponent = exponent_field(large).max(1);
    let distance = exponent - exponent_field(small).max(1);
    let larger = significand_at_62(large);
    // At a distance of two or more at most one leading bit cancels, so the jammed bit stays below the
    // rounding position; at a smaller distance nothing is lost.
    let smaller = shift_right_jam(significand_at_62(small), distance as u32);
    let opposed = is_negative(a) != is_negative(b);
    let sum = if opposed {
        larger - smaller
    } else {
        larger + smaller
    };
    if sum == 0 {
        return if opposed {
            cancelled(rounding)
        } else {
            zero(is_negative(a))
        };
    }
    normalize_and_round(is_negative(large), exponent - F::BIAS + 1, sum, rounding, flags)
}

/// The significand with its unit bit at position 62, which leaves room for the carry of a sum.
#[inline]
fn significand_at_62<F: Format>(value: F) -> u64 {
    let implicit = u64::from(exponent_field(value) != 0) << F::FRACTION_BITS;
    (fraction_field(value) | implicit) << (62 - F::FRACTION_BITS)
}

#[cold]
fn add_special<F: Format>(large: F, small: F, flags: &mut Flags) -> F {
    if is_nan(large) {
        return propagate(is_signaling(large) || is_signaling(small), flags);
    }
    if is_infinite(small) && is_negative(large) != is_negative(small) {
        return invalid(flags);
    }
    large
}

/// The result of an operation on NaNs: `NV` only if one of them signals (F chapter, "NaN Generation and
/// Propagation").
#[cold]
fn propagate<F: Format>(signaling: bool, flags: &mut Flags) -> F {
    if signaling {
        flags.raise(Flags::NV);
    }
    F::CANONICAL_NAN
}

/// `a - b` (F chapter, `FSUB`).
#[cfg(feature = "parts")]
pub fn sub<F: Format>(a: F, b: F, rounding: Rounding, flags: &mut Flags) -> F {
    add(a, super::format::negate(b), rounding, flags)
}

/// `a * b` (F chapter, `FMUL`).
pub fn mul<F: Format>(a: F, b: F, rounding: Rounding, flags: &mut Flags) -> F {
    if !(is_normal(a) && is_normal(b))
        && let Some(result) = mul_special(a, b, flags)
    {
        return result;
    }
    let negative = is_negative(a) != is_negative(b);
    let (a, b) = (unpack(a), unpack(b));
    let product = u128::from(a.significand) * u128::from(b.significand);
    round_wide(negative, a.exponent + b.exponent + 1, product, rounding, flags)
}

/// The product if an operand is zero, infinite or NaN.
#[cold]
fn mul_special<F: Format>(a: F, b: F, flags: &mut Flags) -> Option<F> {
    let negative = is_negative(a) != is_negative(b);
    if is_nan(a) || is_nan(b) {
        return Some(propagate(is_signaling(a) || is_signaling(b), flags));
    }
    if is_infinite(a) || is_infinite(b) {
        return Some(if is_zero(a) || is_zero(b) {
            invalid(flags)
        } else {
            infinity(negative)
        });
    }
    (is_zero(a) || is_zero(b)).then(|| zero(negative))
}

/// `a / b` (F chapter, `FDIV`).
pub fn div<F: Format>(a: F, b: F, rounding: Rounding, flags: &mut Flags) -> F {
    if !(is_normal(a) && is_normal(b))
        && let Some(result) = div_special(a, b, flags)
    {
        return result;
    }
    let negative = is_negative(a) != is_negative(b);
    let (a, b) = (unpack(a), unpack(b));
    let exponent = a.exponent - b.exponent;
    let surplus = 63 - F::FRACTION_BITS;
    let divisor = b.significand >> surplus;
    // Both significands are whole numbers of the same length, so the quotient of the dividend, moved up by
    // `n` bits, has its leading one at bit n or n - 1; n is two more than rounding needs, at least. The
    // remainder is jammed in. Single precision fits the much cheaper 64-bit division.
    if F::FRACTION_BITS <= 31 {
        let dividend = (a.significand >> surplus) << 32;
        let quotient = (dividend / divisor) << 8 | u64::from(!dividend.is_multiple_of(divisor));
        return normalize_and_round(negative, exponent + 23, quotient, rounding, flags);
    }
    let dividend = u128::from(a.significand >> surplus) << 62;
    let quotient = (dividend / u128::from(divisor)) as u64;
    let exact = u128::from(quotient) * u128::from(divisor) == dividend;
    normalize_and_round(
        negative,
        exponent + 1,
        quotient | u64::from(!exact),
        rounding,
        flags,
    )
}

/// The quotient if an operand is zero, infinite or NaN.
#[cold]
fn div_special<F: Format>(a: F, b: F, flags: &mut Flags) -> Option<F> {
    let negative = is_negative(a) != is_negative(b);
    if is_nan(a) || is_nan(b) {
        return Some(propagate(is_signaling(a) || is_signaling(b), flags));
    }
    if is_infinite(a) {
        return Some(if is_infinite(b) {
            invalid(flags)
        } else {
            infinity(negative)
        });
    }
    if is_infinite(b) {
        return Some(zero(negative));
    }
    if is_zero(b) {
        if is_zero(a) {
            return Some(invalid(flags));
        }
        flags.raise(Flags::DZ);
        return Some(infinity(negative));
    }
    is_zero(a).then(|| zero(negative))
}

/// The square root of `a` (F chapter, `FSQRT`).
pub fn sqrt<F: Format>(a: F, rounding: Rounding, flags: &mut Flags) -> F {
    if is_nan(a) {
        return propagate(is_signaling(a), flags);
    }
    // The root of -0 is -0 (IEEE 754-2019 section 6.3).
    if is_zero(a) {
        return a;
    }
    if is_negative(a) {
        return invalid(flags);
    }
    if is_infinite(a) {
        return a;
    }
    let a = unpack(a);
    // The exponent must be even to be halved; the odd bit goes into the radicand, which is twice as long
    // as the root: 64 bits hold a root of 32, enough for single precision.
    let odd = (a.exponent & 1) as u32;
    let exponent = (a.exponent - odd as i32) / 2;
    if F::FRACTION_BITS <= 28 {
        let radicand = a.significand >> (1 - odd);
        let root = radicand.isqrt();
        let jammed = root << 8 | u64::from(root * root != radicand);
        return normalize_and_round(false, exponent + 24, jammed, rounding, flags);
    }
    let radicand = u128::from(a.significand) << 64 >> (1 - odd);
    let root = radicand.isqrt();
    let jammed = root as u64 | u64::from(root * root != radicand);
    normalize_and_round(false, exponent, jammed, rounding, flags)
}

/// `a * b + c`, rounded once (F chapter, `FMADD`).
pub fn fused_multiply_add<F: Format>(a: F, b: F, c: F, rounding: Rounding, flags: &mut Flags) -> F {
    if !(is_normal(a) && is_normal(b) && is_normal(c))
        && let Some(result) = fused_special(a, b, c, rounding, flags)
    {
        return result;
    }
    let negative = is_negative(a) != is_negative(b);
    let (a, b) = (unpack(a), unpack(b));
    let product = u128::from(a.significand) * u128::from(b.significand);
    let product_exponent = a.exponent + b.exponent + 1;
    if is_zero(c) {
        return round_wide(negative, product_exponent, product, rounding, flags);
    }
    // Both terms get their leading one at bit 126, to leave room for a carry. The product has at least 22
    // zeros at its end, the addend more: a shift that loses a one is so long that at most one leading bit
    // can cancel, and the jammed bit stays far below the rounding position.
    let carried = (product >> 127) as u32;
    let product = product >> carried;
    let product_exponent = product_exponent - 1 + carried as i32;
    let addend_negative = is_negative(c);
    let c = unpack(c);
    let addend = u128::from(c.significand) << 63;
    let distance = product_exponent - c.exponent;
    let (product, addend, exponent) = if distance >= 0 {
        (
            product,
            shift_right_jam_wide(addend, distance as u32),
            product_exponent,
        )
    } else {
        (
            shift_right_jam_wide(product, distance.unsigned_abs()),
            addend,
            c.exponent,
        )
    };
    if negative == addend_negative {
        return round_wide(negative, exponent + 1, product + addend, rounding, flags);
    }
    if product == addend {
        return cancelled(rounding);
    }
    let negative = if product > addend {
        negative
    } else {
        addend_negative
    };
    round_wide(negative, exponent + 1, product.abs_diff(addend), rounding, flags)
}

/// The fused result if an operand is infinite or NaN or the product is zero.
#[cold]
fn fused_special<F: Format>(a: F, b: F, c: F, rounding: Rounding, flags: &mut Flags) -> Option<F> {
    let negative = is_negative(a) != is_negative(b);
    let no_product = is_infinite(a) && is_zero(b) || is_zero(a) && is_infinite(b);
    if is_nan(a) || is_nan(b) || is_nan(c) {
        // Infinity times zero is invalid even when a quiet NaN is added (F chapter, `FMADD`).
        let signaling = is_signaling(a) || is_signaling(b) || is_signaling(c);
        return Some(propagate(signaling || no_product, flags));
    }
    if no_product {
        return Some(invalid(flags));
    }
    if is_infinite(a) || is_infinite(b) {
        let opposed = is_infinite(c) && is_negative(c) != negative;
        return Some(if opposed {
            invalid(flags)
        } else {
            infinity(negative)
        });
    }
    if is_infinite(c) {
        return Some(c);
    }
    if is_zero(a) || is_zero(b) {
        let opposed = is_zero(c) && is_negative(c) != negative;
        return Some(if opposed { cancelled(rounding) } else { c });
    }
    None
}
