//! Zeal: caches that forget at random and chunks of random lengths, for tests of what must not show.

/// A small random generator (SplitMix64) for zeal. Not guest state.
pub(super) struct Zeal {
    pub state: u64,
    /// One in so many page changes executes loosely, without decoded code; chunks are up to sixteen times as
    /// long.
    pub loose: u64,
    /// One in so many page changes drops every cache.
    pub forgets: u64,
}

impl Zeal {
    pub fn new(seed: u64) -> Zeal {
        let rarity = 1 << (seed & 7);
        Zeal {
            state: seed,
            loose: 2 * rarity,
            forgets: 16 * rarity,
        }
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31).is_multiple_of(count)
    }
}
