//! The fast path against the exact path, for many more operands than the oracle has time for: the public
//! functions choose, so whatever they return must be what `soft` returns.

use std::fmt::LowerHex;

use hart::parts::fpu::{self, Flags, Format, Rounding, soft};

use crate::operands::{Random, corners};

/// Random operand tuples per format. Optimised builds (`cargo test --release`) are the long run.
const CASES: u64 = if cfg!(debug_assertions) {
    1_000_000
} else {
    50_000_000
};

/// Compares all operations that have a fast path. `before` are the flags accrued so far.
#[track_caller]
fn check<F: Format + LowerHex>(a: F, b: F, c: F, before: Flags) {
    let mode = Rounding::NearestEven;
    macro_rules! same {
        ($($name:ident($($operand:ident),+))+) => {$(
            let (mut flags, mut exact_flags) = (before, before);
            let result = fpu::$name($($operand,)+ mode, &mut flags);
            let exact = soft::$name($($operand,)+ mode, &mut exact_flags);
            assert!(
                result == exact && flags == exact_flags,
                "{} {a:x} {b:x} {c:x}: {result:x} {flags:?}, exactly {exact:x} {exact_flags:?}",
                stringify!($name)
            );
        )+};
    }
    same!(add(a, b) sub(a, b) mul(a, b) div(a, b) sqrt(a) fused_multiply_add(a, b, c));
}

fn random_operands<F: Format + LowerHex>(seed: u64) {
    let mut random = Random(seed);
    for case in 0..CASES {
        let (a, b) = (random.operand::<F>(), random.operand::<F>());
        let product = soft::mul(a, b, Rounding::NearestEven, &mut Flags(0));
        let c = match case % 6 {
            0 => random.operand(),
            1 => random.nearly_opposite(a),
            // The addend nearly cancels the product, or nearly makes a tie with it.
            2 => random.nearly_opposite(product),
            3 => random.at_the_edge_of(product),
            4 => random.at_the_edge_of(a),
            // All bits random.
            _ => F::from_bits(random.bits()),
        };
        check(a, b, c, Flags(0));
        check(a, c, b, Flags(0));
        if case % 16 == 0 {
            check(a, b, c, Flags::NX);
        }
    }
}

#[test]
fn fast_path_is_exact_in_single_precision() {
    random_operands::<u32>(11);
}

#[test]
fn fast_path_is_exact_in_double_precision() {
    random_operands::<u64>(12);
}

fn corner_operands<F: Format + LowerHex>() {
    let corners = corners::<F>();
    for &a in &corners {
        for &b in &corners {
            check(a, b, a, Flags(0));
            check(a, a, b, Flags(0));
        }
    }
}

#[test]
fn fast_path_is_exact_for_corner_operands() {
    corner_operands::<u32>();
    corner_operands::<u64>();
}

/// Exact quotients and roots are rare among random operands: multiply first, then undo it.
#[test]
fn fast_path_sees_exact_results() {
    let mut random = Random(13);
    for _ in 0..CASES {
        let (a, b) = (random.operand::<u64>(), random.operand::<u64>());
        let product = soft::mul(a, b, Rounding::NearestEven, &mut Flags(0));
        check(product, b, a, Flags(0));
        let square = soft::mul(a, a, Rounding::NearestEven, &mut Flags(0));
        check(square, a, b, Flags(0));
        let (a, b) = (random.operand::<u32>(), random.operand::<u32>());
        let product = soft::mul(a, b, Rounding::NearestEven, &mut Flags(0));
        check(product, b, a, Flags(0));
        let square = soft::mul(a, a, Rounding::NearestEven, &mut Flags(0));
        check(square, a, b, Flags(0));
    }
}

/// Truncation to integers. (Narrowing is compared with the oracle only.)
fn check_conversions<F: Format + LowerHex>(a: F) {
    let mode = Rounding::TowardZero;
    macro_rules! same {
        ($($name:ident)+) => {$(
            let (mut flags, mut exact_flags) = (Flags(0), Flags(0));
            let result = fpu::$name(a, mode, &mut flags);
            // Truncation is rounding down of positive and rounding up of negative numbers, and neither of
            // these has a fast path.
            let inwards = if a.bits() >> (F::FRACTION_BITS + 1 + F::BIAS.count_ones()) & 1 == 1 {
                Rounding::Up
            } else {
                Rounding::Down
            };
            let exact = fpu::$name(a, inwards, &mut exact_flags);
            assert!(
                result == exact && flags == exact_flags,
                "{} {a:x}: {result:x} {flags:?}, exactly {exact:x} {exact_flags:?}",
                stringify!($name)
            );
        )+};
    }
    same!(to_i32 to_u32 to_i64 to_u64);
}

#[test]
fn fast_truncation_is_exact() {
    corners::<u32>().into_iter().for_each(check_conversions);
    corners::<u64>().into_iter().for_each(check_conversions);
    let mut random = Random(14);
    for _ in 0..CASES {
        check_conversions(random.operand::<u32>());
        check_conversions(random.operand::<u64>());
    }
}
