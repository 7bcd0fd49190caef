//! The two interchange formats and what every operation does with them: take apart, round, put together.
//!
//! A finite non-zero number is worked on as a 64-bit significand with bit 63 set and the exponent of that
//! bit, so both formats share one rounding routine and differ only in how many low bits it drops. The bits
//! dropped earlier are jammed: folded into bit 0, where they still say "inexact" and break ties. Nothing
//! outside this file may assemble a finite result by hand unless it is exact.

use super::host::Host;
use super::status::{Flags, Rounding};

/// An IEEE 754 binary format, implemented by the integer that holds its bits: `u32` for single precision,
/// `u64` for double precision (F and D chapters, "Register State"). Sealed: there are no other formats.
pub trait Format: Host + Copy + Eq {
    /// The width of the fraction field.
    const FRACTION_BITS: u32;
    /// The exponent bias; also the exponent of the largest finite numbers.
    const BIAS: i32;
    /// The only NaN an arithmetic operation returns (F chapter, "NaN Generation and Propagation").
    const CANONICAL_NAN: Self;

    /// The bits, zero-extended.
    fn bits(self) -> u64;
    /// The value with the given bits; those beyond the format's width are dropped.
    fn from_bits(bits: u64) -> Self;
}

impl Format for u32 {
    const FRACTION_BITS: u32 = 23;
    const BIAS: i32 = 127;
    const CANONICAL_NAN: u32 = 0x7fc0_0000;

    #[inline]
    fn bits(self) -> u64 {
        u64::from(self)
    }
    #[inline]
    fn from_bits(bits: u64) -> u32 {
        bits as u32
    }
}

impl Format for u64 {
    const FRACTION_BITS: u32 = 52;
    const BIAS: i32 = 1023;
    const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;

    #[inline]
    fn bits(self) -> u64 {
        self
    }
    #[inline]
    fn from_bits(bits: u64) -> u64 {
        bits
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

/// The exponent field of infinities and NaNs.
#[inline]
pub(super) fn exponent_field_max<F: Format>() -> i32 {
    2 * F::BIAS + 1
}

/// The bits of positive infinity, which is also the largest magnitude that is not a NaN.
#[inline]
pub(super) fn infinity_bits<F: Format>() -> u64 {
    (exponent_field_max::<F>() as u64) << F::FRACTION_BITS
}

/// The bits of -0, that is, the sign bit alone.
#[inline]
pub(super) fn sign_mask<F: Format>() -> u64 {
    // The sign stands above all bits of positive infinity.
    infinity_bits::<F>() + (1 << F::FRACTION_BITS)
}

/// How many low bits of a normalised 64-bit significand the format cannot hold.
#[inline]
fn surplus_bits<F: Format>() -> u32 {
    63 - F::FRACTION_BITS
}

#[inline]
pub(super) fn is_negative<F: Format>(value: F) -> bool {
    value.bits() & sign_mask::<F>() != 0
}

/// The bits without the sign: ordered as the magnitudes are.
#[inline]
pub(super) fn magnitude<F: Format>(value: F) -> u64 {
    value.bits() & (sign_mask::<F>() - 1)
}

#[inline]
pub(super) fn exponent_field<F: Format>(value: F) -> i32 {
    (magnitude(value) >> F::FRACTION_BITS) as i32
}

#[inline]
pub(super) fn fraction_field<F: Format>(value: F) -> u64 {
    value.bits() & ((1 << F::FRACTION_BITS) - 1)
}

#[inline]
pub(super) fn is_nan<F: Format>(value: F) -> bool {
    magnitude(value) > infinity_bits::<F>()
}

#[inline]
pub(super) fn is_signaling<F: Format>(value: F) -> bool {
    is_nan(value) && value.bits() >> (F::FRACTION_BITS - 1) & 1 == 0
}

#[inline]
pub(super) fn is_infinite<F: Format>(value: F) -> bool {
    magnitude(value) == infinity_bits::<F>()
}

#[inline]
pub(super) fn is_zero<F: Format>(value: F) -> bool {
    magnitude(value) == 0
}

/// Whether the value is finite and has the implicit leading bit.
#[inline]
pub(super) fn is_normal<F: Format>(value: F) -> bool {
    let field = exponent_field(value);
    field != 0 && field != exponent_field_max::<F>()
}

#[inline]
pub(super) fn negate<F: Format>(value: F) -> F {
    F::from_bits(value.bits() ^ sign_mask::<F>())
}

#[inline]
pub(super) fn with_sign<F: Format>(negative: bool, magnitude: u64) -> F {
    F::from_bits(magnitude | if negative { sign_mask::<F>() } else { 0 })
}

#[inline]
pub(super) fn zero<F: Format>(negative: bool) -> F {
    with_sign(negative, 0)
}

#[inline]
pub(super) fn infinity<F: Format>(negative: bool) -> F {
    with_sign(negative, infinity_bits::<F>())
}

/// The result of an operation that has none.
#[cold]
pub(super) fn invalid<F: Format>(flags: &mut Flags) -> F {
    flags.raise(Flags::NV);
    F::CANONICAL_NAN
}

/// The sum of two numbers that cancel exactly (IEEE 754-2019 section 6.3): -0 only when rounding down.
#[inline]
pub(super) fn cancelled<F: Format>(rounding: Rounding) -> F {
    zero(rounding == Rounding::Down)
}

/// Bit 63 is set, and the number is `significand * 2^(exponent - 63)`.
#[derive(Clone, Copy)]
pub(super) struct Unpacked {
    pub(super) exponent: i32,
    pub(super) significand: u64,
}

/// Takes the magnitude of a finite non-zero number apart.
#[inline]
pub(super) fn unpack<F: Format>(value: F) -> Unpacked {
    let field = exponent_field(value);
    let fraction = fraction_field(value);
    if field == 0 {
        let shift = fraction.leading_zeros();
        // The unit of the fraction weighs 2^(1 - BIAS - FRACTION_BITS).
        let exponent = 1 - F::BIAS + surplus_bits::<F>() as i32 - shift as i32;
        return Unpacked {
            exponent,
            significand: fraction << shift,
        };
    }
    let significand = (fraction | 1 << F::FRACTION_BITS) << surplus_bits::<F>();
    Unpacked {
        exponent: field - F::BIAS,
        significand,
    }
}

/// Shifts right; a one is left in bit 0 if any one was shifted out.
#[inline]
pub(super) fn shift_right_jam(value: u64, count: u32) -> u64 {
    match value.checked_shr(count) {
        Some(shifted) => shifted | u64::from(shifted << count != value),
        None => u64::from(value != 0),
    }
}

/// As `shift_right_jam`, for the 128-bit intermediate results.
#[inline]
pub(super) fn shift_right_jam_wide(value: u128, count: u32) -> u128 {
    match value.checked_shr(count) {
        Some(shifted) => shifted | u128::from(shifted << count != value),
        None => u128::from(value != 0),
    }
}

/// Rounds a jammed 128-bit significand, not zero, whose bit 127 weighs `2^exponent`.
#[inline]
pub(super) fn round_wide<F: Format>(
    negative: bool,
    exponent: i32,
    significand: u128,
    rounding: Rounding,
    flags: &mut Flags,
) -> F {
    let shift = significand.leading_zeros();
    let significand = significand << shift;
    let jammed = (significand >> 64) as u64 | u64::from(significand as u64 != 0);
    round(
        negative,
        Unpacked {
            exponent: exponent - shift as i32,
            significand: jammed,
        },
        rounding,
        flags,
    )
}

/// Rounds a jammed 64-bit significand, not zero, whose bit 63 weighs `2^exponent`.
#[inline]
pub(super) fn normalize_and_round<F: Format>(
    negative: bool,
    exponent: i32,
    significand: u64,
    rounding: Rounding,
    flags: &mut Flags,
) -> F {
    let shift = significand.leading_zeros();
    let value = Unpacked {
        exponent: exponent - shift as i32,
        significand: significand << shift,
    };
    round(negative, value, rounding, flags)
}

/// The significand cut to the format's precision, what a carry out of it leaves in the next bit up
/// included, and whether that lost anything.
#[inline]
fn cut<F: Format>(negative: bool, significand: u64, rounding: Rounding) -> (u64, bool) {
    let surplus = surplus_bits::<F>();
    let mask = (1u64 << surplus) - 1;
    let half = 1u64 << (surplus - 1);
    let increment = match rounding {
        Rounding::NearestEven | Rounding::NearestMaxMagnitude => half,
        Rounding::TowardZero => 0,
        Rounding::Down if negative => mask,
        Rounding::Up if !negative => mask,
        Rounding::Down | Rounding::Up => 0,
    };
    let dropped = significand & mask;
    // Adding after the shift cannot overflow: what is kept has at most 53 bits.
    let mut kept = (significand >> surplus) + ((dropped + increment) >> surplus);
    if rounding == Rounding::NearestEven && dropped == half {
        kept &= !1;
    }
    (kept, dropped != 0)
}

/// Rounds to the format, raising `NX`, `UF` and `OF` as IEEE 754-2019 section 7 and the F chapter say
/// ("tininess is detected after rounding").
#[inline]
pub(super) fn round<F: Format>(negative: bool, value: Unpacked, rounding: Rounding, flags: &mut Flags) -> F {
    let field = value.exponent + F::BIAS;
    if field < 1 {
        return round_subnormal(negative, value, rounding, flags);
    }
    if field >= exponent_field_max::<F>() {
        return overflow(negative, rounding, flags);
    }
    let (kept, inexact) = cut::<F>(negative, value.significand, rounding);
    // The leading bit of `kept` adds one to the exponent field, or two if rounding carried.
    let bits = (((field - 1) as u64) << F::FRACTION_BITS) + kept;
    if bits >= infinity_bits::<F>() {
        return overflow(negative, rounding, flags);
    }
    if inexact {
        flags.raise(Flags::NX);
    }
    with_sign(negative, bits)
}

/// Rounds a number below the normal range.
#[cold]
fn round_subnormal<F: Format>(negative: bool, value: Unpacked, rounding: Rounding, flags: &mut Flags) -> F {
    let field = value.exponent + F::BIAS;
    // Tiny "after rounding" is asked as if the exponent had no lower bound: the number is not tiny if
    // rounding to full precision carries it up to the smallest normal number.
    let (unbounded, _) = cut::<F>(negative, value.significand, rounding);
    let tiny = field < 0 || unbounded < 2 << F::FRACTION_BITS;
    let significand = shift_right_jam(value.significand, (1 - field) as u32);
    let (kept, inexact) = cut::<F>(negative, significand, rounding);
    if inexact {
        flags.raise(Flags::NX);
        if tiny {
            flags.raise(Flags::UF);
        }
    }
    with_sign(negative, kept)
}

#[cold]
fn overflow<F: Format>(negative: bool, rounding: Rounding, flags: &mut Flags) -> F {
    flags.raise(Flags::OF);
    flags.raise(Flags::NX);
    let to_infinity = match rounding {
        Rounding::NearestEven | Rounding::NearestMaxMagnitude => true,
        Rounding::TowardZero => false,
        Rounding::Down => negative,
        Rounding::Up => !negative,
    };
    // The largest finite number is the predecessor of infinity.
    with_sign(negative, infinity_bits::<F>() - u64::from(!to_infinity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_is_the_top_bit_and_infinity_has_no_fraction() {
        assert_eq!(sign_mask::<u32>(), 1 << 31);
        assert_eq!(sign_mask::<u64>(), 1 << 63);
        assert_eq!(infinity_bits::<u32>(), u64::from(f32::INFINITY.to_bits()));
        assert_eq!(infinity_bits::<u64>(), f64::INFINITY.to_bits());
    }
}
