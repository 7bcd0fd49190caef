//! The host's own floating-point operations, on the bits of their operands, for `fast`.
//!
//! All of them round to nearest even. They rely on the host's control register being as Rust demands it:
//! rounding to nearest even, subnormal numbers not flushed to zero. An engine that changes it must put it
//! back before it returns.
//!
//! A NaN may be neither an operand nor a result, as the host is free to choose its bits. Nothing here may
//! call into a library (`mul_add` would, where the target has no such instruction).
#![allow(
    clippy::float_arithmetic,
    reason = "host floats compute guest values only here and in `fast`"
)]

/// Whether `+ - * /` and `sqrt` on this target are IEEE 754 operations of their own format, always. (Not
/// so, for one, on 32-bit x86, whose registers are wider.)
pub(super) const HOST_IS_IEEE: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// The host's operations on numbers of one format, by their bits.
pub trait Host: Sized {
    /// `a + b`, rounded to nearest even.
    fn host_add(a: Self, b: Self) -> Self;
    /// `a - b`, rounded to nearest even.
    fn host_sub(a: Self, b: Self) -> Self;
    /// `a * b`, rounded to nearest even.
    fn host_mul(a: Self, b: Self) -> Self;
    /// `a / b`, rounded to nearest even.
    fn host_div(a: Self, b: Self) -> Self;
    /// The square root of `a`, rounded to nearest even.
    fn host_sqrt(a: Self) -> Self;
    /// The whole part of a number of a magnitude below 2^63, and whether there was a fraction.
    fn host_truncate(a: Self) -> (i64, bool);
}

macro_rules! host_operations {
    ($bits:ident, $float:ident) => {
        impl Host for $bits {
            #[inline]
            fn host_add(a: $bits, b: $bits) -> $bits {
                ($float::from_bits(a) + $float::from_bits(b)).to_bits()
            }
            #[inline]
            fn host_sub(a: $bits, b: $bits) -> $bits {
                ($float::from_bits(a) - $float::from_bits(b)).to_bits()
            }
            #[inline]
            fn host_mul(a: $bits, b: $bits) -> $bits {
                ($float::from_bits(a) * $float::from_bits(b)).to_bits()
            }
            #[inline]
            fn host_div(a: $bits, b: $bits) -> $bits {
                ($float::from_bits(a) / $float::from_bits(b)).to_bits()
            }
            #[inline]
            fn host_sqrt(a: $bits) -> $bits {
                $float::from_bits(a).sqrt().to_bits()
            }
            #[inline]
            fn host_truncate(a: $bits) -> (i64, bool) {
                let value = $float::from_bits(a);
                let whole = value as i64;
                (whole, whole as $float != value)
            }
        }
    };
}

host_operations!(u32, f32);
host_operations!(u64, f64);
