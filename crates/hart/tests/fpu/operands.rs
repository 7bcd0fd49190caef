//! Operands for the floating-point tests: every combination of telling exponents and fractions, and seeded
//! random numbers biased towards the same (after TestFloat's `genCases`).

use hart::parts::fpu::Format;

/// The layout of a format, as the generators need it.
struct Layout {
    fraction_bits: u32,
    exponent_max: u64,
}

fn layout<F: Format>() -> Layout {
    Layout {
        fraction_bits: F::FRACTION_BITS,
        exponent_max: 2 * F::BIAS as u64 + 1,
    }
}

/// Exponent fields at which something changes: the ends of the range, one, the precision and its double on
/// both sides of one, and the integer widths.
fn exponents<F: Format>() -> Vec<u64> {
    let max = layout::<F>().exponent_max;
    let bias = F::BIAS as u64;
    let precision = u64::from(F::FRACTION_BITS) + 1;
    let mut fields = vec![0, 1, 2, precision, max - precision, max - 2, max - 1, max];
    for distance in [0, 1, 2, precision - 1, precision, precision + 1, 31, 32, 63, 64] {
        fields.push(bias - distance);
        fields.push(bias + distance);
    }
    fields.extend([bias / 2, bias / 2 + 1, bias + bias / 2]);
    fields.sort_unstable();
    fields.dedup();
    fields
}

/// Fractions at which something changes: few ones, few zeros, a run of ones at either end.
fn fractions<F: Format>() -> Vec<u64> {
    let top = 1u64 << (F::FRACTION_BITS - 1);
    let mask = 2 * top - 1;
    vec![
        0,
        1,
        2,
        3,
        top >> 1,
        top - 1,
        top,
        top + 1,
        mask - 1,
        mask,
        mask << (F::FRACTION_BITS / 2) & mask,
    ]
}

/// All combinations of the telling signs, exponents and fractions.
pub fn corners<F: Format>() -> Vec<F> {
    combine::<F>(&exponents::<F>(), &fractions::<F>())
}

/// Few enough corners for all their triples to be tried.
pub fn few_corners<F: Format>() -> Vec<F> {
    let layout = layout::<F>();
    let bias = F::BIAS as u64;
    let mask = (1u64 << layout.fraction_bits) - 1;
    let precision = u64::from(layout.fraction_bits) + 1;
    let fields = [
        0,
        1,
        bias - precision,
        bias - 1,
        bias,
        bias + precision,
        layout.exponent_max - 1,
        layout.exponent_max,
    ];
    combine::<F>(&fields, &[0, 1, mask ^ (mask >> 1), mask])
}

fn combine<F: Format>(exponents: &[u64], fractions: &[u64]) -> Vec<F> {
    let mut values = Vec::new();
    for sign in [0, layout::<F>().exponent_max + 1] {
        for exponent in exponents {
            for fraction in fractions {
                values.push(F::from_bits((sign + exponent) << F::FRACTION_BITS | fraction));
            }
        }
    }
    values
}

/// A seeded generator (SplitMix64): the same numbers on every run.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    /// An operand of any kind; exponents near one, where operands meet each other, and short fractions,
    /// which give exact results, are more common than in uniformly random bits.
    pub fn operand<F: Format>(&mut self) -> F {
        let layout = layout::<F>();
        let mask = (1u64 << layout.fraction_bits) - 1;
        let exponent = match self.below(8) {
            0..=3 => F::BIAS as u64 - 40 + self.below(80),
            4 => self.below(4),
            5 => layout.exponent_max - self.below(4),
            _ => self.below(layout.exponent_max + 1),
        };
        let fraction = match self.below(4) {
            0 => self.bits() & mask,
            // The upper bits, about half of them at most.
            1 => (self.bits() & mask) >> (layout.fraction_bits / 2) << (layout.fraction_bits / 2),
            // A run of ones up to a random bit, possibly inverted.
            2 => {
                let run = (1u64 << self.below(u64::from(layout.fraction_bits) + 1)) - 1;
                if self.below(2) == 0 { run } else { !run & mask }
            }
            // The upper bits, few of them.
            _ => self.bits() & mask & !(mask >> self.below(12)),
        };
        let sign = self.below(2) * (layout.exponent_max + 1);
        F::from_bits((sign + exponent) << layout.fraction_bits | fraction)
    }

    /// An operand close in magnitude to the negative of another, so that a sum cancels.
    pub fn nearly_opposite<F: Format>(&mut self, other: F) -> F {
        let sign = (layout::<F>().exponent_max + 1) << F::FRACTION_BITS;
        F::from_bits((other.bits() ^ sign).wrapping_add(self.below(5)).wrapping_sub(2))
    }

    /// An operand that reaches just to the last bits of another: once or twice the precision above or below
    /// it, so that their sum is near a tie. Few bits of its fraction are set.
    pub fn at_the_edge_of<F: Format>(&mut self, other: F) -> F {
        let layout = layout::<F>();
        let precision = u64::from(layout.fraction_bits) + 1;
        let distance = precision * (1 + self.below(2)) + self.below(5) - 2;
        let field = other.bits() >> layout.fraction_bits & layout.exponent_max;
        let field = if self.below(2) == 0 {
            field.saturating_sub(distance)
        } else {
            field + distance
        };
        let bits = layout.fraction_bits;
        let fraction = match self.below(4) {
            0 => 0,
            1 => 1 << self.below(u64::from(bits)),
            2 => (1 << bits) - 1,
            _ => 1 << self.below(u64::from(bits)) | 1,
        };
        let sign = self.below(2) * (layout.exponent_max + 1);
        F::from_bits((sign + field.min(layout.exponent_max - 1)) << bits | fraction)
    }

    /// An integer of random length, so that all magnitudes occur.
    pub fn integer(&mut self) -> u64 {
        let shift = self.below(64);
        let value = self.bits() >> shift;
        if self.below(4) == 0 {
            value & !(u64::MAX >> self.below(40))
        } else {
            value
        }
    }
}
