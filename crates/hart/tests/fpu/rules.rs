//! What the RISC-V manual says beyond IEEE 754 arithmetic, by example; and that what has no oracle keeps
//! the laws that define it.

use hart::parts::fpu::{self, Flags, Format, Rounding};

use crate::operands::{Random, corners};

const QUIET: u32 = 0x7fc0_1234;
const SIGNALING: u32 = 0xff80_0001;

/// Runs an operation from no flags.
fn observe<R>(operation: impl FnOnce(&mut Flags) -> R) -> (R, Flags) {
    let mut flags = Flags(0);
    (operation(&mut flags), flags)
}

#[test]
fn rounding_mode_decodes_only_the_five_modes() {
    for bits in 0..5 {
        assert_eq!(Rounding::from_bits(bits).map(|mode| mode as u8), Some(bits));
    }
    assert!((5..=u8::MAX).all(|bits| Rounding::from_bits(bits).is_none()));
}

#[test]
fn unboxing_accepts_only_proper_boxes() {
    assert_eq!(fpu::box32(0x3f80_0000), 0xffff_ffff_3f80_0000);
    assert_eq!(fpu::unbox32(0xffff_ffff_3f80_0000), 0x3f80_0000);
    // A signalling NaN in a proper box stays one.
    assert_eq!(fpu::unbox32(fpu::box32(SIGNALING)), SIGNALING);
    for register in [0x3f80_0000, 0x7fff_ffff_3f80_0000, 0xffff_fffe_3f80_0000] {
        assert_eq!(fpu::unbox32(register), u32::CANONICAL_NAN);
    }
}

#[test]
fn classify_sets_the_bit_of_the_manual() {
    let table: [(u32, u64); 10] = [
        (0xff80_0000, 0xfff0_0000_0000_0000),
        (0xbf80_0000, 0xbff0_0000_0000_0000),
        (0x807f_ffff, 0x800f_ffff_ffff_ffff),
        (0x8000_0000, 0x8000_0000_0000_0000),
        (0x0000_0000, 0x0000_0000_0000_0000),
        (0x0000_0001, 0x0000_0000_0000_0001),
        (0x0080_0000, 0x0010_0000_0000_0000),
        (0x7f80_0000, 0x7ff0_0000_0000_0000),
        (0x7f80_0001, 0xfff7_ffff_ffff_ffff),
        (0xffc0_0000, 0x7ff8_0000_0000_0000),
    ];
    for (bit, (single, double)) in table.into_iter().enumerate() {
        assert_eq!(fpu::classify(single), 1 << bit);
        assert_eq!(fpu::classify(double), 1 << bit);
    }
}

#[test]
fn minimum_and_maximum_order_the_zeros() {
    let (plus, minus) = (0, 0x8000_0000);
    for (a, b) in [(plus, minus), (minus, plus)] {
        assert_eq!(
            observe(|flags| fpu::minimum::<u32>(a, b, flags)),
            (minus, Flags(0))
        );
        assert_eq!(
            observe(|flags| fpu::maximum::<u32>(a, b, flags)),
            (plus, Flags(0))
        );
    }
}

#[test]
fn minimum_and_maximum_prefer_the_number_and_report_signalling_nans() {
    for pick in [fpu::minimum::<u32>, fpu::maximum::<u32>] {
        let one = 0x3f80_0000;
        assert_eq!(observe(|flags| pick(one, QUIET, flags)), (one, Flags(0)));
        assert_eq!(observe(|flags| pick(QUIET, one, flags)), (one, Flags(0)));
        assert_eq!(observe(|flags| pick(SIGNALING, one, flags)), (one, Flags::NV));
        assert_eq!(
            observe(|flags| pick(QUIET, QUIET, flags)),
            (u32::CANONICAL_NAN, Flags(0))
        );
        assert_eq!(
            observe(|flags| pick(QUIET, SIGNALING, flags)),
            (u32::CANONICAL_NAN, Flags::NV)
        );
    }
}

fn minimum_and_maximum_agree_with_the_comparison<F: Format + std::fmt::Debug>() {
    let values: Vec<F> = corners()
        .into_iter()
        .filter(|&value| fpu::classify(value) < 1 << 8)
        .collect();
    for &a in &values {
        for &b in &values {
            let (least, greatest) = (
                fpu::minimum(a, b, &mut Flags(0)),
                fpu::maximum(a, b, &mut Flags(0)),
            );
            assert!([(a, b), (b, a)].contains(&(least, greatest)));
            assert!(fpu::less_or_equal(least, greatest, &mut Flags(0)));
        }
    }
}

#[test]
fn minimum_and_maximum_return_the_operands_in_order() {
    minimum_and_maximum_agree_with_the_comparison::<u32>();
    minimum_and_maximum_agree_with_the_comparison::<u64>();
}

#[test]
fn sign_injection_keeps_everything_but_the_sign() {
    let mut random = Random(8);
    for _ in 0..100_000 {
        let (a, b) = (random.bits(), random.bits());
        let (rest, sign) = (a & !(1 << 63), b & 1 << 63);
        assert_eq!(fpu::sign_inject(a, b), rest | sign);
        assert_eq!(fpu::sign_inject_negated(a, b), rest | (sign ^ 1 << 63));
        assert_eq!(fpu::sign_inject_xor(a, b), a ^ sign);
        let (a, b) = (a as u32, b as u32);
        let (rest, sign) = (a & !(1 << 31), b & 1 << 31);
        assert_eq!(fpu::sign_inject(a, b), rest | sign);
        assert_eq!(fpu::sign_inject_negated(a, b), rest | (sign ^ 1 << 31));
        assert_eq!(fpu::sign_inject_xor(a, b), a ^ sign);
    }
}

#[test]
fn infinity_times_zero_is_invalid_even_when_a_quiet_nan_is_added() {
    let (infinity, zero) = (0x7f80_0000, 0);
    for (a, b) in [(infinity, zero), (zero, infinity)] {
        let result = observe(|flags| fpu::fused_multiply_add(a, b, QUIET, Rounding::NearestEven, flags));
        assert_eq!(result, (u32::CANONICAL_NAN, Flags::NV));
    }
}

#[test]
fn fused_variants_negate_the_operands_not_the_result() {
    // 1 * 1 + 2^-60 and its negations, rounded up: the direction must not be negated along.
    let (one, tiny) = (0x3f80_0000u32, 0x2180_0000u32);
    let up = Rounding::Up;
    let (after_one, minus_one, below_one) = (0x3f80_0001, 0xbf80_0000, 0xbf7f_ffff);
    assert_eq!(
        fpu::fused_multiply_add(one, one, tiny, up, &mut Flags(0)),
        after_one
    );
    assert_eq!(
        fpu::fused_multiply_subtract(one, one, tiny, up, &mut Flags(0)),
        one
    );
    assert_eq!(
        fpu::fused_negate_multiply_subtract(one, one, tiny, up, &mut Flags(0)),
        below_one
    );
    assert_eq!(
        fpu::fused_negate_multiply_add(one, one, tiny, up, &mut Flags(0)),
        minus_one
    );
}

#[test]
fn invalid_conversions_saturate_and_are_not_inexact() {
    let (huge, minus_huge) = (0x7f00_0000u32, 0xff00_0000u32);
    let mode = Rounding::TowardZero;
    for high in [huge, 0x7f80_0000, QUIET, SIGNALING, 0xffc0_0000] {
        assert_eq!(
            observe(|flags| fpu::to_i32(high, mode, flags)),
            (i32::MAX, Flags::NV)
        );
        assert_eq!(
            observe(|flags| fpu::to_u32(high, mode, flags)),
            (u32::MAX, Flags::NV)
        );
        assert_eq!(
            observe(|flags| fpu::to_i64(high, mode, flags)),
            (i64::MAX, Flags::NV)
        );
        assert_eq!(
            observe(|flags| fpu::to_u64(high, mode, flags)),
            (u64::MAX, Flags::NV)
        );
    }
    for low in [minus_huge, 0xff80_0000] {
        assert_eq!(
            observe(|flags| fpu::to_i32(low, mode, flags)),
            (i32::MIN, Flags::NV)
        );
        assert_eq!(observe(|flags| fpu::to_u32(low, mode, flags)), (0, Flags::NV));
        assert_eq!(
            observe(|flags| fpu::to_i64(low, mode, flags)),
            (i64::MIN, Flags::NV)
        );
        assert_eq!(observe(|flags| fpu::to_u64(low, mode, flags)), (0, Flags::NV));
    }
    // -0.5 truncates to zero, which an unsigned integer holds: inexact, not invalid. -1 is invalid.
    assert_eq!(
        observe(|flags| fpu::to_u32(0xbf00_0000u32, mode, flags)),
        (0, Flags::NX)
    );
    assert_eq!(
        observe(|flags| fpu::to_u32(0xbf80_0000u32, mode, flags)),
        (0, Flags::NV)
    );
}

#[test]
fn tininess_is_detected_after_rounding() {
    // (1 + 2^-23) * (1 - 2^-23) * 2^-126 is below the smallest normal number, and rounds to it even with
    // unbounded exponent: inexact, but no underflow.
    let product = |a, b| observe(|flags| fpu::mul::<u32>(a, b, Rounding::NearestEven, flags));
    assert_eq!(product(0x3f80_0001, 0x007f_ffff), (0x0080_0000, Flags::NX));
    // (2 - 2^-23) * 2^-127 is half-way between the largest subnormal and the smallest normal number and
    // goes to the latter, but 24 bits of unbounded exponent hold it as it is: tiny, so it underflows.
    assert_eq!(
        product(0x3fff_ffff, 0x0040_0000),
        (0x0080_0000, Flags(Flags::NX.0 | Flags::UF.0))
    );
    // A subnormal result that is exact raises nothing.
    assert_eq!(product(0x3fff_fffe, 0x0040_0000), (0x007f_ffff, Flags(0)));
}

#[test]
fn flags_accumulate() {
    let mut flags = Flags::DZ;
    fpu::add::<u32>(0x3f80_0000, 0x2180_0000, Rounding::NearestEven, &mut flags);
    assert_eq!(flags, Flags(Flags::DZ.0 | Flags::NX.0));
}
