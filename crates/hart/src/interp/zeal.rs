//! Zeal: caches that forget at random and chunks of random lengths, for tests of what must not show.
//!
//! The interpreter asks it at each change of page and at the start of each chunk. What it answers may never
//! change what the guest computes; the tests compare digests with and without.

/// A small random generator (SplitMix64) for zeal. Not guest state.
pub(super) struct Zeal {
    /// The state of the generator.
    pub state: u64,
    /// At one in so many changes of page, code is executed loosely: it is fetched and decoded anew for each
    /// instruction. A chunk has up to sixteen times so many steps.
    pub loose: u64,
    /// At one in so many changes of page, every cache is dropped.
    pub forgets: u64,
}

impl Zeal {
    /// Zeal that draws from this seed, whose three lowest bits say how rarely something is done.
    pub fn new(seed: u64) -> Zeal {
        let rarity = 1 << (seed & 7);
        Zeal {
            state: seed,
            loose: 2 * rarity,
            forgets: 16 * rarity,
        }
    }

    /// How many steps the next chunk has.
    pub fn chunk(&self) -> u64 {
        1 + self.state % (16 * self.loose)
    }

    /// True once in `count` times, at random.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31).is_multiple_of(count)
    }
}
