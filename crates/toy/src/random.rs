//! `Random`: a stream of random numbers; everything that is drawn in a world comes from one, and so from its
//! seed.
//!
//! The numbers are those of xoshiro256**, seeded through SplitMix64. The code is our own, because a seed must
//! give the same world for ever: seeds are written into commit messages and test names. So no draw here may
//! ever change.

use replica::Span;

use crate::hash::mix;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        let mut z = seed;
        let mut next = || {
            z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(z, seed)
        };
        Random {
            state: [next(), next(), next(), next() | 1],
        }
    }

    /// Any number, all equally likely.
    pub fn draw(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = b << 17;
        let (c, d) = (c ^ a, d ^ b);
        let (b, a) = (b ^ c, a ^ d);
        self.state = [a, b, c ^ t, d.rotate_left(45)];
        result
    }

    /// A number from 0 to `end` - 1; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(end);
        (wide >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `chance` of a thousand cases.
    pub fn permille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    /// One of these choices, all equally likely.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A length of time between two; every order of magnitude is as likely as another, so that short and long
    /// ones both occur.
    pub fn span(&mut self, low: Span, high: Span) -> Span {
        let (low, high) = (low.0.max(1), high.0.max(1));
        let (from, to) = (u64::from(low.ilog2()), u64::from(high.ilog2()));
        let top = 1 << self.between(from, to.max(from));
        Span((top + self.below(top)).clamp(low, high.max(low)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut random = Random::new(1);
        let first: Vec<u64> = (0..3).map(|_| random.draw()).collect();
        assert_eq!(
            first,
            [
                15_710_321_431_263_443_671,
                12_479_315_614_167_806_405,
                6_260_517_057_363_983_170
            ]
        );
    }

    #[test]
    fn draws_stay_in_their_bounds_and_reach_them() {
        let mut random = Random::new(7);
        let mut seen = [0; 4];
        for _ in 0..1000 {
            seen[random.between(0, 3) as usize] += 1;
            let span = random.span(Span(10), Span(1_000_000));
            assert!((10..=1_000_000).contains(&span.0));
        }
        assert!(seen.iter().all(|&count| count > 150));
    }
}
