//! Every operation against Berkeley SoftFloat: result and flags, in all rounding modes, both through the
//! instruction-level functions (which take the fast path) and through the exact path.

use std::fmt::LowerHex;

use hart::parts::fpu::{self, Flags, Rounding, soft};

use crate::berkeley::{self, Oracle};
use crate::operands::{Random, corners, few_corners};

const MODES: [Rounding; 5] = [
    Rounding::NearestEven,
    Rounding::TowardZero,
    Rounding::Down,
    Rounding::Up,
    Rounding::NearestMaxMagnitude,
];

/// Random cases per test. Optimised builds (`cargo test --release`) are the long run.
pub const CASES: u64 = if cfg!(debug_assertions) {
    100_000
} else {
    2_000_000
};

/// Compares two ways to compute the same, from no flags and from all of them but `NX`, which `fast` treats
/// specially.
#[track_caller]
fn assert_same<R: PartialEq + LowerHex>(
    what: &str,
    operands: [u64; 3],
    rounding: Rounding,
    ours: impl Fn(&mut Flags) -> R,
    oracle: impl Fn(&mut Flags) -> R,
) {
    let (mut expected_flags, mut flags, mut raised) = (Flags(0), Flags(0), Flags::NX);
    let expected = oracle(&mut expected_flags);
    let result = ours(&mut flags);
    let again = ours(&mut raised);
    assert!(
        result == expected && flags == expected_flags,
        "{what} {operands:x?} {rounding:?}: {result:x} {flags:?}, expected {expected:x} {expected_flags:?}"
    );
    let union = Flags(expected_flags.0 | Flags::NX.0);
    assert!(
        again == expected && raised == union,
        "{what} {operands:x?} {rounding:?} after NX: {again:x} {raised:?}, expected {expected:x} {union:?}"
    );
}

fn check_pair<F: Oracle + LowerHex>(a: F, b: F) {
    let operands = [a.bits(), b.bits(), 0];
    for mode in MODES {
        macro_rules! same {
            ($name:ident) => {
                let oracle = |flags: &mut Flags| <F as Oracle>::$name(a, b, mode, flags);
                let name = stringify!($name);
                assert_same(
                    name,
                    operands,
                    mode,
                    |flags| fpu::$name(a, b, mode, flags),
                    oracle,
                );
                assert_same(
                    name,
                    operands,
                    mode,
                    |flags| soft::$name(a, b, mode, flags),
                    oracle,
                );
            };
        }
        same!(add);
        same!(sub);
        same!(mul);
        same!(div);
    }
    macro_rules! same {
        ($name:ident) => {
            let oracle = |flags: &mut Flags| u8::from(<F as Oracle>::$name(a, b, flags));
            let ours = |flags: &mut Flags| u8::from(fpu::$name(a, b, flags));
            assert_same(
                stringify!($name),
                operands,
                Rounding::NearestEven,
                ours,
                oracle,
            );
        };
    }
    same!(equal);
    same!(less_than);
    same!(less_or_equal);
}

fn check_triple<F: Oracle + LowerHex>(a: F, b: F, c: F) {
    let operands = [a.bits(), b.bits(), c.bits()];
    for mode in MODES {
        let oracle = |flags: &mut Flags| <F as Oracle>::fused_multiply_add(a, b, c, mode, flags);
        let ours = |flags: &mut Flags| fpu::fused_multiply_add(a, b, c, mode, flags);
        assert_same("fused_multiply_add", operands, mode, ours, oracle);
        let ours = |flags: &mut Flags| soft::fused_multiply_add(a, b, c, mode, flags);
        assert_same("soft fused_multiply_add", operands, mode, ours, oracle);
    }
}

fn check_single<F: Oracle + LowerHex>(a: F) {
    let operands = [a.bits(), 0, 0];
    for mode in MODES {
        let oracle = |flags: &mut Flags| <F as Oracle>::sqrt(a, mode, flags);
        assert_same("sqrt", operands, mode, |flags| fpu::sqrt(a, mode, flags), oracle);
        assert_same(
            "soft sqrt",
            operands,
            mode,
            |flags| soft::sqrt(a, mode, flags),
            oracle,
        );
        macro_rules! same {
            ($($name:ident)+) => {$(
                let oracle = |flags: &mut Flags| <F as Oracle>::$name(a, mode, flags);
                assert_same(stringify!($name), operands, mode, |flags| fpu::$name(a, mode, flags), oracle);
            )+};
        }
        same!(to_i32 to_u32 to_i64 to_u64);
    }
}

fn check_integer<F: Oracle + LowerHex>(value: u64) {
    for mode in MODES {
        macro_rules! same {
            ($($name:ident $integer:ident)+) => {$(
                let oracle = |flags: &mut Flags| <F as Oracle>::$name(value as $integer, mode, flags);
                let ours = |flags: &mut Flags| fpu::$name::<F>(value as $integer, mode, flags);
                assert_same(stringify!($name), [value, 0, 0], mode, ours, oracle);
            )+};
        }
        same!(from_i32 i32 from_u32 u32 from_i64 i64 from_u64 u64);
    }
}

fn check_format_change(single: u32, double: u64) {
    for mode in MODES {
        let ours = |flags: &mut Flags| fpu::narrow(double, mode, flags);
        let oracle = |flags: &mut Flags| berkeley::narrow(double, mode, flags);
        assert_same("narrow", [double, 0, 0], mode, ours, oracle);
    }
    let ours = |flags: &mut Flags| fpu::widen(single, flags);
    let oracle = |flags: &mut Flags| berkeley::widen(single, flags);
    assert_same(
        "widen",
        [u64::from(single), 0, 0],
        Rounding::NearestEven,
        ours,
        oracle,
    );
}

fn all_pairs_of_corners<F: Oracle + LowerHex>() {
    let corners = corners::<F>();
    for &a in &corners {
        for &b in &corners {
            check_pair(a, b);
        }
    }
}

#[test]
fn corner_pairs_agree_in_single_precision() {
    all_pairs_of_corners::<u32>();
}

#[test]
fn corner_pairs_agree_in_double_precision() {
    all_pairs_of_corners::<u64>();
}

fn random_pairs<F: Oracle + LowerHex>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..CASES {
        let a = random.operand::<F>();
        check_pair(a, random.operand());
        check_pair(a, random.nearly_opposite(a));
        check_pair(a, random.at_the_edge_of(a));
    }
}

#[test]
fn random_pairs_agree_in_single_precision() {
    random_pairs::<u32>(1);
}

#[test]
fn random_pairs_agree_in_double_precision() {
    random_pairs::<u64>(2);
}

fn all_triples_of_corners<F: Oracle + LowerHex>() {
    let corners = few_corners::<F>();
    for &a in &corners {
        for &b in &corners {
            for &c in &corners {
                check_triple(a, b, c);
            }
        }
    }
}

#[test]
fn corner_triples_agree() {
    all_triples_of_corners::<u32>();
    all_triples_of_corners::<u64>();
}

fn random_triples<F: Oracle + LowerHex>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..CASES {
        let (a, b) = (random.operand::<F>(), random.operand());
        check_triple(a, b, random.operand());
        // An addend that nearly cancels the product leaves the low half of the product as the result.
        let product = soft::mul(a, b, Rounding::NearestEven, &mut Flags(0));
        check_triple(a, b, random.nearly_opposite(product));
        check_triple(a, b, random.at_the_edge_of(product));
    }
}

#[test]
fn random_triples_agree_in_single_precision() {
    random_triples::<u32>(3);
}

#[test]
fn random_triples_agree_in_double_precision() {
    random_triples::<u64>(4);
}

#[test]
fn square_roots_and_conversions_to_integers_agree() {
    corners::<u32>().into_iter().for_each(check_single);
    corners::<u64>().into_iter().for_each(check_single);
    let mut random = Random(5);
    for _ in 0..CASES {
        check_single(random.operand::<u32>());
        check_single(random.operand::<u64>());
        // Close to, or at, a whole number: the ties and the limits of the integer types.
        let whole = random.integer() as i64;
        let near = soft_from(whole);
        check_single(near);
        check_single(near.wrapping_add(1));
        check_single(near.wrapping_sub(1));
        // A perfect square has an exact root.
        check_single(soft_from((whole >> 38) * (whole >> 38)));
    }
}

fn soft_from(value: i64) -> u64 {
    fpu::from_i64(value, Rounding::NearestEven, &mut Flags(0))
}

#[test]
fn conversions_from_integers_agree() {
    let mut random = Random(6);
    for _ in 0..CASES {
        let value = random.integer();
        for value in [
            value,
            value.wrapping_neg(),
            value.wrapping_add(1),
            value.wrapping_sub(1),
        ] {
            check_integer::<u32>(value);
            check_integer::<u64>(value);
        }
    }
}

#[test]
fn changes_of_format_agree() {
    let mut random = Random(7);
    for (single, double) in corners::<u32>().into_iter().zip(corners::<u64>()) {
        check_format_change(single, double);
    }
    for double in corners::<u64>() {
        check_format_change(random.operand(), double);
    }
    for _ in 0..CASES {
        let single = random.operand::<u32>();
        check_format_change(single, random.operand());
        // Doubles in and around the range of single precision, subnormal results included.
        let near = fpu::widen(single, &mut Flags(0));
        check_format_change(single, near.wrapping_add(random.bits() >> 34));
    }
}
