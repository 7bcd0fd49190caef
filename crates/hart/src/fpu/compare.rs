//! What needs no rounding: comparison, selection, classification and sign injection.
//!
//! The encodings order like sign-magnitude integers, so all of it is integer work. Sign injection moves
//! NaNs unchanged; minimum and maximum must return the canonical one.

use super::format::{
    Format, exponent_field, is_nan, is_negative, is_normal, is_signaling, is_zero, magnitude, with_sign,
};
use super::status::Flags;

/// Maps the encodings to integers that compare as the numbers do, -0 just below +0.
#[inline]
fn order<F: Format>(value: F) -> i64 {
    let magnitude = magnitude(value) as i64;
    // Complement is one less than negation, which keeps the zeros apart. Without a branch: signs are
    // unpredictable.
    magnitude ^ -i64::from(is_negative(value))
}

#[inline]
fn raise_if_signaling<F: Format>(a: F, b: F, flags: &mut Flags) {
    if is_signaling(a) || is_signaling(b) {
        flags.raise(Flags::NV);
    }
}

/// The one of two operands that is a number; if both are, `b` if it wins, else `a`.
#[inline]
fn pick<F: Format>(a: F, b: F, b_wins: bool, flags: &mut Flags) -> F {
    raise_if_signaling(a, b, flags);
    match (is_nan(a), is_nan(b)) {
        (true, true) => F::CANONICAL_NAN,
        (true, false) => b,
        (false, true) => a,
        (false, false) => {
            if b_wins {
                b
            } else {
                a
            }
        }
    }
}

/// `FMIN`: the minimumNumber of IEEE 754-2019; -0 is less than +0, and a NaN loses against a number
/// (F chapter, "Single-Precision Floating-Point Computational Instructions").
#[inline]
pub fn minimum<F: Format>(a: F, b: F, flags: &mut Flags) -> F {
    pick(a, b, order(b) < order(a), flags)
}

/// `FMAX`: the maximumNumber of IEEE 754-2019, as `minimum` (F chapter, "Single-Precision Floating-Point
/// Computational Instructions").
#[inline]
pub fn maximum<F: Format>(a: F, b: F, flags: &mut Flags) -> F {
    pick(a, b, order(a) < order(b), flags)
}

/// `FEQ`, the quiet comparison: `NV` only for signalling NaNs (F chapter, "Single-Precision Floating-Point
/// Compare Instructions").
#[inline]
pub fn equal<F: Format>(a: F, b: F, flags: &mut Flags) -> bool {
    raise_if_signaling(a, b, flags);
    !is_nan(a) && !is_nan(b) && (a == b || is_zero(a) && is_zero(b))
}

/// `FLT`, a signalling comparison: `NV` for any NaN (F chapter, "Single-Precision Floating-Point Compare
/// Instructions").
#[inline]
pub fn less_than<F: Format>(a: F, b: F, flags: &mut Flags) -> bool {
    if is_nan(a) || is_nan(b) {
        flags.raise(Flags::NV);
        return false;
    }
    // Not short-circuited: the operands are unpredictable, the result need not be a branch.
    (order(a) < order(b)) & (magnitude(a) | magnitude(b) != 0)
}

/// `FLE`, a signalling comparison: `NV` for any NaN (F chapter, "Single-Precision Floating-Point Compare
/// Instructions").
#[inline]
pub fn less_or_equal<F: Format>(a: F, b: F, flags: &mut Flags) -> bool {
    if is_nan(a) || is_nan(b) {
        flags.raise(Flags::NV);
        return false;
    }
    (order(a) <= order(b)) | (magnitude(a) | magnitude(b) == 0)
}

/// `FCLASS`: a mask with exactly one of ten bits set (F chapter, "Single-Precision Floating-Point Classify
/// Instruction").
#[must_use]
pub fn classify<F: Format>(value: F) -> u16 {
    if is_nan(value) {
        return if is_signaling(value) { 1 << 8 } else { 1 << 9 };
    }
    // From zero outwards; negative numbers mirror the positive ones.
    let rank = if is_zero(value) {
        0
    } else if exponent_field(value) == 0 {
        1
    } else if is_normal(value) {
        2
    } else {
        3
    };
    if is_negative(value) {
        1 << (3 - rank)
    } else {
        1 << (4 + rank)
    }
}

#[inline]
fn with_sign_of<F: Format>(value: F, negative: bool) -> F {
    with_sign(negative, magnitude(value))
}

/// `FSGNJ`: `a` with the sign of `b` (F chapter, "Single-Precision Floating-Point Conversion and Move
/// Instructions").
#[inline]
#[must_use]
pub fn sign_inject<F: Format>(a: F, b: F) -> F {
    with_sign_of(a, is_negative(b))
}

/// `FSGNJN`: `a` with the opposite of the sign of `b` (F chapter, "Single-Precision Floating-Point
/// Conversion and Move Instructions").
#[inline]
#[must_use]
pub fn sign_inject_negated<F: Format>(a: F, b: F) -> F {
    with_sign_of(a, !is_negative(b))
}

/// `FSGNJX`: `a`, its sign flipped if `b` is negative (F chapter, "Single-Precision Floating-Point
/// Conversion and Move Instructions").
#[inline]
#[must_use]
pub fn sign_inject_xor<F: Format>(a: F, b: F) -> F {
    with_sign_of(a, is_negative(a) != is_negative(b))
}
