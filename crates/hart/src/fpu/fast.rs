//! Answers from the host's own floating-point unit, for round to nearest even.
//!
//! The host rounds correctly (IEEE 754 demands it of these five operations, Rust of the targets named in
//! `host`), so a result is right whenever its operands are finite. What remains is to know the flags without
//! looking at the host's: each function declines (`None`: ask `soft`) unless no flag but `NX` is possible,
//! and finds `NX` by an exact test. If `NX` is set already there is nothing to find.
//!
//! Nothing here may produce or consume a NaN, whose bits the host is free to choose. What else the host's
//! operations rely on, `host` says.
#![allow(
    clippy::float_arithmetic,
    reason = "host floats compute guest values only here and in `host`"
)]

use super::format::{
    Format, exponent_field, exponent_field_max, fraction_field, is_negative, is_normal, magnitude, sign_mask,
};
use super::host::{HOST_IS_IEEE, Host};
use super::status::Flags;

/// `a * b + c` of single precision, rounded once, and whether that lost anything. The operands are finite. An
/// inexact result outside the normal range is not to be used.
#[inline]
fn fused_single(a: u32, b: u32, c: u32) -> (u32, bool) {
    let [a, b, c] = [a, b, c].map(|bits| f64::from(f32::from_bits(bits)));
    // Exact: 48 bits, and far inside the exponent range of double precision.
    let product = (a * b).to_bits();
    let sum = (f64::from_bits(product) + c).to_bits();
    let lost = two_sum_error(product, c.to_bits(), sum);
    // Rounding the sum to odd instead makes the second rounding come out as if it were the only one:
    // double precision has more than two bits more (Boldo and Melquiond, as below).
    let result = f64::from_bits(round_to_odd(sum, lost)) as f32;
    let inexact = (magnitude(lost) != 0) | (f64::from(result).to_bits() != sum);
    (result.to_bits(), inexact)
}

/// `a * b + c` of double precision, as [`fused_single`]; `None`: the host cannot tell whether it lost
/// anything.
///
/// After Boldo and Melquiond, "Emulation of a FMA and Correctly Rounded Sums" (2008): the exact product
/// as a sum of two numbers, the exact sum of these and the addend as a sum of three, the lower two of
/// which are added with rounding to odd.
#[inline]
fn fused_double(a: u64, b: u64, c: u64) -> Option<(u64, bool)> {
    let (field_a, field_b) = (exponent_field(a), exponent_field(b));
    // Inside these limits nothing overflows, and everything is a multiple of the smallest subnormal
    // number, so that no sum underflows either. 104 is twice the width of the fraction.
    let unit_field = field_a + field_b - u64::BIAS - 104;
    if !is_normal(a) || !is_normal(b) || !(1..1800).contains(&unit_field) || exponent_field(c) > 2000 {
        return None;
    }
    let high = u64::host_mul(a, b);
    // What the product lost, in units of its last bit: less than 2^53, so the low 64 bits suffice.
    let carried = exponent_field(high) - (field_a + field_b - u64::BIAS);
    let low_bits = significand(a).wrapping_mul(significand(b));
    let lost = low_bits.wrapping_sub(significand(high) << (52 + carried)) as i64 as f64;
    let unit = f64::from_bits((unit_field as u64) << 52 | high & sign_mask::<u64>());
    let low = (lost * unit).to_bits();

    let middle = u64::host_add(c, low);
    let rest_of_middle = two_sum_error(c, low, middle);
    let top = u64::host_add(high, middle);
    let rest_of_top = two_sum_error(high, middle, top);
    let rest = u64::host_add(rest_of_middle, rest_of_top);
    let lost = two_sum_error(rest_of_middle, rest_of_top, rest);
    let rest = round_to_odd(rest, lost);
    let result = u64::host_add(top, rest);
    // If the rest is not representable, the result is neither: it would be so close to `top` that their
    // difference, the rest, were representable (Sterbenz).
    let inexact = magnitude(lost) | magnitude(two_sum_error(top, rest, result)) != 0;
    Some((result, inexact))
}

/// What `sum`, the rounded `a + b`, lost: exact for all finite operands far enough from overflow (Knuth's
/// TwoSum; underflow cannot occur, since sums in the subnormal range are exact).
#[inline]
fn two_sum_error<F: Format>(a: F, b: F, sum: F) -> F {
    let b_part = F::host_sub(sum, a);
    let a_part = F::host_sub(sum, b_part);
    F::host_add(F::host_sub(a, a_part), F::host_sub(b, b_part))
}

/// The sum, rounded to nearest, rounded to odd instead: if it lost something, the one of the two
/// neighbours of the exact sum that has its last bit set.
#[inline]
fn round_to_odd(sum: u64, lost: u64) -> u64 {
    // The bits of numbers of one sign are in the order of their magnitudes; an inexact sum is not zero.
    // Without branches, which could not be predicted.
    let step = u64::from(magnitude(lost) != 0) & !sum & 1;
    let inwards = (lost ^ sum) >> 63;
    sum + step - 2 * (step & inwards)
}

/// The significand of a normal number as a whole number.
#[inline]
fn significand<F: Format>(value: F) -> u64 {
    fraction_field(value) | 1 << F::FRACTION_BITS
}

/// Whether a rounded result certainly neither overflowed nor underflowed. The smallest normal number is
/// out: it may have been tiny before it was rounded.
#[inline]
fn is_inside<F: Format>(result: F) -> bool {
    (2..exponent_field_max::<F>()).contains(&exponent_field(result))
}

/// Raises `NX` for a result that was rounded.
#[inline]
pub(super) fn raise_if(inexact: bool, flags: &mut Flags) {
    // Without a branch, which could not be predicted.
    flags.raise(Flags(Flags::NX.0 * u8::from(inexact)));
}

/// `a + b`.
#[inline]
pub(super) fn add<F: Format>(a: F, b: F, flags: &mut Flags) -> Option<F> {
    // Two binades below overflow, all intermediate results of the error are finite too.
    if !HOST_IS_IEEE || exponent_field(a).max(exponent_field(b)) > exponent_field_max::<F>() - 3 {
        return None;
    }
    let sum = F::host_add(a, b);
    if !flags.contains(Flags::NX) {
        raise_if(magnitude(two_sum_error(a, b, sum)) != 0, flags);
    }
    Some(sum)
}

/// `a * b`.
#[inline]
pub(super) fn mul<F: Format>(a: F, b: F, flags: &mut Flags) -> Option<F> {
    if !HOST_IS_IEEE || !is_normal(a) || !is_normal(b) {
        return None;
    }
    let product = F::host_mul(a, b);
    if !is_inside(product) {
        return None;
    }
    if !flags.contains(Flags::NX) {
        // The exact product has one bit more than twice the fraction, or two; exact means that the low
        // ones, which the result has no room for, are zero. If rounding carried into the next exponent the
        // mask is one bit too wide, but then some lower bit is set anyway.
        let carried = exponent_field(product) - (exponent_field(a) + exponent_field(b) - F::BIAS);
        let low = significand(a).wrapping_mul(significand(b));
        raise_if(low & ((1 << (F::FRACTION_BITS as i32 + carried)) - 1) != 0, flags);
    }
    Some(product)
}

/// `a / b`.
#[inline]
pub(super) fn div<F: Format>(a: F, b: F, flags: &mut Flags) -> Option<F> {
    if !HOST_IS_IEEE || !is_normal(a) || !is_normal(b) {
        return None;
    }
    let quotient = F::host_div(a, b);
    if !is_inside(quotient) {
        return None;
    }
    if !flags.contains(Flags::NX) {
        // Exact means that quotient times divisor is the dividend. They differ by less than the divisor,
        // so comparing the low 64 bits of these whole numbers is enough.
        let borrowed = exponent_field(a) - exponent_field(b) + F::BIAS - exponent_field(quotient);
        let dividend = significand(a) << (F::FRACTION_BITS as i32 + borrowed);
        raise_if(
            significand(quotient).wrapping_mul(significand(b)) != dividend,
            flags,
        );
    }
    Some(quotient)
}

/// The square root of `a`.
#[inline]
pub(super) fn sqrt<F: Format>(a: F, flags: &mut Flags) -> Option<F> {
    if !HOST_IS_IEEE || !is_normal(a) || is_negative(a) {
        return None;
    }
    // Normal, since the exponent is halved: nothing to check.
    let root = F::host_sqrt(a);
    if !flags.contains(Flags::NX) {
        // As for division: the square of the root differs from the radicand by no more than the root.
        let odd = exponent_field(a) - F::BIAS - 2 * (exponent_field(root) - F::BIAS);
        let radicand = significand(a) << (F::FRACTION_BITS as i32 + odd);
        raise_if(
            significand(root).wrapping_mul(significand(root)) != radicand,
            flags,
        );
    }
    Some(root)
}

/// `a * b + c`, rounded once.
#[inline]
pub(super) fn fused_multiply_add<F: Format>(a: F, b: F, c: F, flags: &mut Flags) -> Option<F> {
    let finite = |value| exponent_field(value) < exponent_field_max::<F>();
    if !HOST_IS_IEEE || !finite(a) || !finite(b) || !finite(c) {
        return None;
    }
    let [a, b, c] = [a, b, c].map(F::bits);
    let (bits, inexact) = if F::FRACTION_BITS == u32::FRACTION_BITS {
        let (bits, inexact) = fused_single(a as u32, b as u32, c as u32);
        (u64::from(bits), inexact)
    } else {
        fused_double(a, b, c)?
    };
    let result = F::from_bits(bits);
    // An exact result raises nothing wherever it lies.
    if inexact && !is_inside(result) {
        return None;
    }
    raise_if(inexact, flags);
    Some(result)
}

/// The whole part of `a`, unless the exact path must see to it. `NX` is the caller's, since it may yet find
/// the number out of range.
#[inline]
pub(super) fn truncate<F: Format>(a: F) -> Option<(i64, bool)> {
    (HOST_IS_IEEE && exponent_field(a) < F::BIAS + 63).then(|| F::host_truncate(a))
}

/// `a` in single precision.
#[inline]
pub(super) fn narrow(a: u64, flags: &mut Flags) -> Option<u32> {
    if !HOST_IS_IEEE || !is_normal(a) {
        return None;
    }
    let wide = f64::from_bits(a);
    let result = wide as f32;
    if !is_inside(result.to_bits()) {
        return None;
    }
    raise_if(f64::from(result) != wide, flags);
    Some(result.to_bits())
}
