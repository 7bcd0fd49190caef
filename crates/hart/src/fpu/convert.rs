//! Conversions between the two formats and between them and integers.
//!
//! What does not fit an integer saturates and raises `NV` alone, never `NX`; NaN counts as positive
//! infinity (F chapter, table "Domains of float-to-integer conversions and behavior for invalid inputs").
//! The instruction layer sign-extends 32-bit results, unsigned ones too.

use super::fast::{self, raise_if};
use super::format::{
    Format, Unpacked, infinity, is_infinite, is_nan, is_negative, is_signaling, is_zero, normalize_and_round,
    round, unpack, zero,
};
use super::status::{Flags, Rounding};

/// `FCVT.D.S`: single to double precision, always exact (D chapter, "Double-Precision Floating-Point
/// Conversion and Move Instructions").
#[inline]
pub fn widen(value: u32, flags: &mut Flags) -> u64 {
    change_format(value, Rounding::NearestEven, flags)
}

/// `FCVT.S.D`: double to single precision (D chapter, "Double-Precision Floating-Point Conversion and Move
/// Instructions").
#[inline]
pub fn narrow(value: u64, rounding: Rounding, flags: &mut Flags) -> u32 {
    if rounding == Rounding::NearestEven
        && let Some(result) = fast::narrow(value, flags)
    {
        return result;
    }
    change_format(value, rounding, flags)
}

#[inline]
fn change_format<From: Format, To: Format>(value: From, rounding: Rounding, flags: &mut Flags) -> To {
    if is_nan(value) {
        if is_signaling(value) {
            flags.raise(Flags::NV);
        }
        return To::CANONICAL_NAN;
    }
    let negative = is_negative(value);
    if is_infinite(value) {
        return infinity(negative);
    }
    if is_zero(value) {
        return zero(negative);
    }
    round(negative, unpack(value), rounding, flags)
}

/// `FCVT.{S,D}.W` (F and D chapters, "Conversion and Move Instructions").
#[inline]
pub fn from_i32<F: Format>(value: i32, rounding: Rounding, flags: &mut Flags) -> F {
    from_magnitude(value < 0, u64::from(value.unsigned_abs()), rounding, flags)
}

/// `FCVT.{S,D}.WU` (F and D chapters, "Conversion and Move Instructions").
#[inline]
pub fn from_u32<F: Format>(value: u32, rounding: Rounding, flags: &mut Flags) -> F {
    from_magnitude(false, u64::from(value), rounding, flags)
}

/// `FCVT.{S,D}.L` (F and D chapters, "Conversion and Move Instructions").
#[inline]
pub fn from_i64<F: Format>(value: i64, rounding: Rounding, flags: &mut Flags) -> F {
    from_magnitude(value < 0, value.unsigned_abs(), rounding, flags)
}

/// `FCVT.{S,D}.LU` (F and D chapters, "Conversion and Move Instructions").
#[inline]
pub fn from_u64<F: Format>(value: u64, rounding: Rounding, flags: &mut Flags) -> F {
    from_magnitude(false, value, rounding, flags)
}

#[inline]
fn from_magnitude<F: Format>(negative: bool, magnitude: u64, rounding: Rounding, flags: &mut Flags) -> F {
    if magnitude == 0 {
        return zero(false);
    }
    normalize_and_round(negative, 63, magnitude, rounding, flags)
}

/// `FCVT.W.{S,D}` (F and D chapters, "Conversion and Move Instructions").
#[inline]
pub fn to_i32<F: Format>(value: F, rounding: Rounding, flags: &mut Flags) -> i32 {
    if rounding == Rounding::TowardZero
        && let Some((whole, inexact)) = fast::truncate(value)
        && let Ok(whole) = i32::try_from(whole)
    {
        raise_if(inexact, flags);
        return whole;
    }
    to_integer(value, Range::I32, rounding, flags) as i32
}

/// `FCVT.WU.{S,D}` (F and D chapters, "Conversion and Move Instructions").
#[inline]
pub fn to_u32<F: Format>(value: F, rounding: Rounding, flags: &mut Flags) -> u32 {
    if rounding == Rounding::TowardZero
        && let Some((whole, inexact)) = fast::truncate(value)
        && let Ok(whole) = u32::try_from(whole)
    {
        raise_if(inexact, flags);
        return whole;
    }
    to_integer(value, Range::U32, rounding, flags) as u32
}

/// `FCVT.L.{S,D}` (F and D chapters, "Conversion and Move Instructions").
#[inline]
pub fn to_i64<F: Format>(value: F, rounding: Rounding, flags: &mut Flags) -> i64 {
    if rounding == Rounding::TowardZero
        && let Some((whole, inexact)) = fast::truncate(value)
    {
        raise_if(inexact, flags);
        return whole;
    }
    to_integer(value, Range::I64, rounding, flags) as i64
}

/// `FCVT.LU.{S,D}` (F and D chapters, "Conversion and Move Instructions").
#[inline]
pub fn to_u64<F: Format>(value: F, rounding: Rounding, flags: &mut Flags) -> u64 {
    if rounding == Rounding::TowardZero
        && let Some((whole, inexact)) = fast::truncate(value)
        && let Ok(whole) = u64::try_from(whole)
    {
        raise_if(inexact, flags);
        return whole;
    }
    to_integer(value, Range::U64, rounding, flags)
}

/// The largest magnitudes that an integer type holds on either side of zero.
#[derive(Clone, Copy)]
struct Range {
    below: u64,
    above: u64,
}

impl Range {
    const I32: Range = Range {
        below: 1 << 31,
        above: (1 << 31) - 1,
    };
    const U32: Range = Range {
        below: 0,
        above: (1 << 32) - 1,
    };
    const I64: Range = Range {
        below: 1 << 63,
        above: (1 << 63) - 1,
    };
    const U64: Range = Range {
        below: 0,
        above: u64::MAX,
    };

    /// What is out of range saturates; two's complement, to be cut to the width of the integer.
    #[cold]
    fn saturate(self, negative: bool, flags: &mut Flags) -> u64 {
        flags.raise(Flags::NV);
        if negative {
            self.below.wrapping_neg()
        } else {
            self.above
        }
    }
}

#[inline]
fn to_integer<F: Format>(value: F, range: Range, rounding: Rounding, flags: &mut Flags) -> u64 {
    if is_nan(value) {
        return range.saturate(false, flags);
    }
    let negative = is_negative(value);
    if is_infinite(value) {
        return range.saturate(negative, flags);
    }
    if is_zero(value) {
        return 0;
    }
    let unpacked = unpack(value);
    if unpacked.exponent > 63 {
        return range.saturate(negative, flags);
    }
    let (magnitude, inexact) = round_to_whole(unpacked, negative, rounding);
    if magnitude > if negative { range.below } else { range.above } {
        return range.saturate(negative, flags);
    }
    if inexact {
        flags.raise(Flags::NX);
    }
    if negative {
        magnitude.wrapping_neg()
    } else {
        magnitude
    }
}

/// The nearest whole number of an exponent of at most 63 that the mode allows, and whether it differs.
#[inline]
fn round_to_whole(value: Unpacked, negative: bool, rounding: Rounding) -> (u64, bool) {
    // The fraction is held in units of 2^-64; what is smaller than that is jammed.
    let (whole, fraction) = match 63 - value.exponent {
        0 => (value.significand, 0),
        shift @ 1..=63 => (value.significand >> shift, value.significand << (64 - shift)),
        64 => (0, value.significand),
        _ => (0, 1),
    };
    let half = 1 << 63;
    let up = match rounding {
        Rounding::NearestEven => fraction > half || fraction == half && whole & 1 == 1,
        Rounding::NearestMaxMagnitude => fraction >= half,
        Rounding::TowardZero => false,
        Rounding::Down => negative && fraction != 0,
        Rounding::Up => !negative && fraction != 0,
    };
    // Only a number without a fraction can have a whole part of 64 bits, so this does not overflow.
    (whole + u64::from(up), fraction != 0)
}
