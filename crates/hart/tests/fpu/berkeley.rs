//! Berkeley SoftFloat 3 as the oracle: the same signatures as `hart::parts::fpu`, adjusted to RISC-V.
//!
//! The crate builds SoftFloat's 8086-SSE variant, which detects tininess after rounding as RISC-V does. It
//! differs in two things, both corrected here and nowhere else: NaN payloads are propagated (RISC-V returns
//! the canonical NaN), and invalid conversions to integers return the "integer indefinite" value (RISC-V
//! saturates).

use hart::parts::fpu::{Flags, Format, Rounding};
use softfloat_rs::{self as softfloat, float32_t, float64_t};

/// Runs one SoftFloat operation in the given mode and collects its flags; RISC-V took over both the mode
/// and the flag encoding from SoftFloat.
fn observe<R>(rounding: Rounding, flags: &mut Flags, operation: impl FnOnce() -> R) -> R {
    // SAFETY: plain writes and reads of SoftFloat's own thread-local variables.
    unsafe { softfloat::softfloat_roundingMode_write_helper(rounding as u8) };
    // SAFETY: as above.
    unsafe { softfloat::softfloat_exceptionFlags_write_helper(0) };
    let result = operation();
    // SAFETY: as above.
    flags.raise(Flags(unsafe {
        softfloat::softfloat_exceptionFlags_read_helper()
    }));
    result
}

/// Known difference 1: SoftFloat's 8086-SSE variant returns an operand's NaN, made quiet.
fn canonical<F: Format>(bits: u64) -> F {
    let infinity = (2 * F::BIAS as u64 + 1) << F::FRACTION_BITS;
    let magnitude = bits & (infinity | (infinity >> 1));
    let fraction = bits & ((1 << F::FRACTION_BITS) - 1);
    if magnitude & infinity == infinity && fraction != 0 {
        F::CANONICAL_NAN
    } else {
        F::from_bits(bits)
    }
}

/// Known difference 2: the value of an invalid conversion. Whether it is invalid is SoftFloat's judgement.
fn saturated<F: Format>(value: F, converted: i128, below: i128, above: i128, flags: Flags) -> i128 {
    if !flags.contains(Flags::NV) {
        return converted;
    }
    let sign = 1 << (F::FRACTION_BITS + 1 + F::BIAS.count_ones());
    let nan = canonical::<F>(value.bits()) == F::CANONICAL_NAN;
    if value.bits() & sign != 0 && !nan {
        below
    } else {
        above
    }
}

/// The operations of one format, named as in `hart::parts::fpu`.
pub trait Oracle: Format {
    fn add(a: Self, b: Self, rounding: Rounding, flags: &mut Flags) -> Self;
    fn sub(a: Self, b: Self, rounding: Rounding, flags: &mut Flags) -> Self;
    fn mul(a: Self, b: Self, rounding: Rounding, flags: &mut Flags) -> Self;
    fn div(a: Self, b: Self, rounding: Rounding, flags: &mut Flags) -> Self;
    fn sqrt(a: Self, rounding: Rounding, flags: &mut Flags) -> Self;
    fn fused_multiply_add(a: Self, b: Self, c: Self, rounding: Rounding, flags: &mut Flags) -> Self;
    fn equal(a: Self, b: Self, flags: &mut Flags) -> bool;
    fn less_than(a: Self, b: Self, flags: &mut Flags) -> bool;
    fn less_or_equal(a: Self, b: Self, flags: &mut Flags) -> bool;
    fn to_i32(a: Self, rounding: Rounding, flags: &mut Flags) -> i32;
    fn to_u32(a: Self, rounding: Rounding, flags: &mut Flags) -> u32;
    fn to_i64(a: Self, rounding: Rounding, flags: &mut Flags) -> i64;
    fn to_u64(a: Self, rounding: Rounding, flags: &mut Flags) -> u64;
    fn from_i32(a: i32, rounding: Rounding, flags: &mut Flags) -> Self;
    fn from_u32(a: u32, rounding: Rounding, flags: &mut Flags) -> Self;
    fn from_i64(a: i64, rounding: Rounding, flags: &mut Flags) -> Self;
    fn from_u64(a: u64, rounding: Rounding, flags: &mut Flags) -> Self;
}

/// Methods that compute a float from floats.
macro_rules! computations {
    ($float:ident: $($name:ident($($operand:ident),+) = $function:ident;)+) => {$(
        fn $name($($operand: Self,)+ rounding: Rounding, flags: &mut Flags) -> Self {
            // SAFETY: a pure function of its arguments and the thread-local mode.
            let result = observe(rounding, flags, || unsafe {
                softfloat::$function($($float { v: $operand }),+)
            });
            canonical(u64::from(result.v))
        }
    )+};
}

/// Methods that compare.
macro_rules! comparisons {
    ($float:ident: $($name:ident = $function:ident;)+) => {$(
        fn $name(a: Self, b: Self, flags: &mut Flags) -> bool {
            // SAFETY: a pure function of its arguments.
            observe(Rounding::NearestEven, flags, || unsafe {
                softfloat::$function($float { v: a }, $float { v: b })
            })
        }
    )+};
}

/// Methods that convert to integers, inexactness reported.
macro_rules! to_integers {
    ($float:ident: $($name:ident -> $integer:ident = $function:ident;)+) => {$(
        fn $name(a: Self, rounding: Rounding, flags: &mut Flags) -> $integer {
            // SAFETY: a pure function of its arguments.
            let result = observe(rounding, flags, || unsafe {
                softfloat::$function($float { v: a }, rounding as u8, true)
            });
            let (below, above) = (i128::from($integer::MIN), i128::from($integer::MAX));
            saturated(a, i128::from(result as $integer), below, above, *flags) as $integer
        }
    )+};
}

/// Methods that convert from integers.
macro_rules! from_integers {
    ($($name:ident($integer:ident) = $function:ident;)+) => {$(
        fn $name(a: $integer, rounding: Rounding, flags: &mut Flags) -> Self {
            // SAFETY: a pure function of its argument and the thread-local mode.
            observe(rounding, flags, || unsafe { softfloat::$function(a) }).v
        }
    )+};
}

impl Oracle for u32 {
    computations! { float32_t:
        add(a, b) = f32_add;
        sub(a, b) = f32_sub;
        mul(a, b) = f32_mul;
        div(a, b) = f32_div;
        sqrt(a) = f32_sqrt;
        fused_multiply_add(a, b, c) = f32_mulAdd;
    }
    comparisons! { float32_t:
        equal = f32_eq;
        less_than = f32_lt;
        less_or_equal = f32_le;
    }
    to_integers! { float32_t:
        to_i32 -> i32 = f32_to_i32;
        to_u32 -> u32 = f32_to_ui32;
        to_i64 -> i64 = f32_to_i64;
        to_u64 -> u64 = f32_to_ui64;
    }
    from_integers! {
        from_i32(i32) = i32_to_f32;
        from_u32(u32) = ui32_to_f32;
        from_i64(i64) = i64_to_f32;
        from_u64(u64) = ui64_to_f32;
    }
}

impl Oracle for u64 {
    computations! { float64_t:
        add(a, b) = f64_add;
        sub(a, b) = f64_sub;
        mul(a, b) = f64_mul;
        div(a, b) = f64_div;
        sqrt(a) = f64_sqrt;
        fused_multiply_add(a, b, c) = f64_mulAdd;
    }
    comparisons! { float64_t:
        equal = f64_eq;
        less_than = f64_lt;
        less_or_equal = f64_le;
    }
    to_integers! { float64_t:
        to_i32 -> i32 = f64_to_i32;
        to_u32 -> u32 = f64_to_ui32;
        to_i64 -> i64 = f64_to_i64;
        to_u64 -> u64 = f64_to_ui64;
    }
    from_integers! {
        from_i32(i32) = i32_to_f64;
        from_u32(u32) = ui32_to_f64;
        from_i64(i64) = i64_to_f64;
        from_u64(u64) = ui64_to_f64;
    }
}

/// `FCVT.D.S`.
pub fn widen(value: u32, flags: &mut Flags) -> u64 {
    // SAFETY: a pure function of its argument.
    let result = observe(Rounding::NearestEven, flags, || unsafe {
        softfloat::f32_to_f64(float32_t { v: value })
    });
    canonical(result.v)
}

/// `FCVT.S.D`.
pub fn narrow(value: u64, rounding: Rounding, flags: &mut Flags) -> u32 {
    // SAFETY: a pure function of its argument and the thread-local mode.
    let result = observe(rounding, flags, || unsafe {
        softfloat::f64_to_f32(float64_t { v: value })
    });
    canonical(u64::from(result.v))
}
