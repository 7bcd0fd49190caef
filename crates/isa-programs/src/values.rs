//! Operands worth computing with: corners of integers, all kinds of floating-point numbers, well and badly
//! boxed.
//!
//! Registers, constants in the code and the template pages are drawn from these. Like every draw, they are
//! part of what a seed means and may not change.

use crate::{
    layout::{PAGE, TEMPLATE_PAGES},
    random::Random,
};

/// An integer: often at the edge of something.
pub fn integer(random: &mut Random) -> u64 {
    let near = random.below(5).wrapping_sub(2);
    match random.below(12) {
        0 => random.below(16).wrapping_sub(4),
        1 => (1u64 << random.below(64)).wrapping_add(near),
        2 => (i32::MAX as u64).wrapping_add(near),
        3 => (i32::MIN as i64 as u64).wrapping_add(near),
        4 => (1u64 << 32).wrapping_add(near),
        5 => (1u64 << 63).wrapping_add(near),
        6 => 0u64.wrapping_add(near),
        7 => random.pick(&[
            0x5555_5555_5555_5555,
            0xaaaa_aaaa_aaaa_aaaa,
            0x00ff_00ff_00ff_00ff,
            0xffff_0000,
        ]),
        8 => random.next() as i32 as u64,
        _ => random.next() >> random.below(64),
    }
}

/// The sizes of a floating-point format.
#[derive(Clone, Copy)]
struct Form {
    /// Bits of the exponent.
    exponent: u32,
    /// Bits of the fraction.
    fraction: u32,
}

const SINGLE: Form = Form {
    exponent: 8,
    fraction: 23,
};
const DOUBLE: Form = Form {
    exponent: 11,
    fraction: 52,
};

/// The bits of a number in this format, with a liking for those at the edge of something.
fn float(random: &mut Random, form: Form) -> u64 {
    let ones = (1u64 << form.fraction) - 1;
    let top = (1u64 << form.exponent) - 1;
    let bias = top >> 1;
    let fraction = match random.below(8) {
        0 => 0,
        1 => ones,
        2 => 1u64 << random.below(u64::from(form.fraction)),
        3 => ones << random.below(u64::from(form.fraction)) & ones,
        4 => ones >> random.below(u64::from(form.fraction)),
        5 => random.next() & ones & !0xfff,
        _ => random.next() & ones,
    };
    let (exponent, fraction) = match random.below(16) {
        0 => (0, 0),
        1 => (0, fraction),
        2 => (1, fraction),
        3 => (top - 1, fraction),
        4 => (top, 0),
        5 => (
            top,
            1 << (form.fraction - 1) | if random.percent(50) { 0 } else { fraction },
        ),
        6 => (top, (fraction & ones >> 1).max(1)),
        // About where conversions to integers overflow.
        7 => (bias + random.pick(&[30, 31, 32, 62, 63, 64]), fraction),
        // Where they lose all, or a half.
        8 => (bias - 3 + random.below(5), fraction),
        // Where results are subnormal.
        9 => (random.below(u64::from(form.fraction) + 4), fraction),
        10 => (bias / 2 + random.below(40), fraction),
        11 => (random.below(top), fraction),
        // Near each other, so that additions cancel and align.
        _ => (bias - 4 + random.below(12), fraction),
    };
    let sign = random.below(2) << (form.exponent + form.fraction);
    sign | exponent.min(top) << form.fraction | fraction
}

/// The bits of a double.
pub fn double(random: &mut Random) -> u64 {
    float(random, DOUBLE)
}

/// The bits of a single.
pub fn single(random: &mut Random) -> u64 {
    float(random, SINGLE)
}

/// The content of a floating-point register.
pub fn register(random: &mut Random) -> u64 {
    match random.below(10) {
        0..=3 => 0xffff_ffff_0000_0000 | single(random),
        // Badly boxed: a single-precision operation must take it for the canonical NaN.
        4 => random.pick(&[0, 0xffff_fffe_0000_0000, 0x7fff_ffff_0000_0000]) | single(random),
        5 => integer(random),
        _ => double(random),
    }
}

/// The template pages that data pages are filled from.
#[must_use]
pub fn templates() -> Vec<u8> {
    let mut random = Random::new(0, 0x7465_6d70);
    let words = TEMPLATE_PAGES * PAGE / 8;
    let word = |index: u64| {
        let random = &mut random;
        match index / (PAGE / 8) % 4 {
            0 => double(random),
            1 => single(random) | single(random) << 32,
            2 => register(random),
            _ => integer(random),
        }
    };
    (0..words).map(word).flat_map(u64::to_le_bytes).collect()
}
