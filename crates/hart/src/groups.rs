//! Where in a TLB's table an entry may be, and `Groups`: in which parts of a table entries are, so that nobody reads a whole table
//! to drop a few.

use crate::ram::PAGE_BITS;

/// Entries per table and set.
pub const ENTRIES: usize = 16384;
/// The bit of a slot in which a page's second one differs from its own.
pub const SECOND: usize = ENTRIES / 2;

/// The first slot of an address; the second one is that with [`SECOND`] turned over.
#[inline(always)]
pub(crate) const fn slot(address: u64) -> usize {
    (address >> PAGE_BITS) as usize & (ENTRIES - 1)
}

/// Entries of a group, which lie side by side.
pub const GROUP: usize = 64;
const WORDS: usize = ENTRIES / GROUP / 64;

/// Groups of a table, one bit each.
#[derive(Clone, Copy, Debug)]
pub struct Groups([u64; WORDS]);

impl Groups {
    pub const NONE: Groups = Groups([0; WORDS]);
    pub const ALL: Groups = Groups([u64::MAX; WORDS]);

    /// Those that entries of these pages may be in.
    pub fn of_pages(address: u64, pages: usize) -> Groups {
        let mut groups = Groups::NONE;
        for group in 0..pages.div_ceil(GROUP) + 1 {
            let slot = (slot(address) + group * GROUP) % ENTRIES;
            groups.add(slot);
            groups.add(slot ^ SECOND);
        }
        groups
    }

    /// Adds that of a slot.
    pub fn add(&mut self, slot: usize) {
        let group = slot / GROUP;
        self.0[group / 64] |= 1 << (group % 64);
    }

    /// Takes a group away, by its number.
    pub fn remove(&mut self, group: usize) {
        self.0[group / 64] &= !(1 << (group % 64));
    }

    /// Is that of a slot among them?
    pub fn has(&self, slot: usize) -> bool {
        let group = slot / GROUP;
        self.0[group / 64] >> (group % 64) & 1 != 0
    }

    /// The numbers of those that are in both.
    pub fn both(self, other: &Groups) -> impl Iterator<Item = usize> + use<> {
        let mut words = self.0;
        for (word, other) in words.iter_mut().zip(other.0) {
            *word &= other;
        }
        words.into_iter().enumerate().flat_map(|(index, word)| {
            let next = |word: &u64| (word & (word - 1) != 0).then_some(word & (word - 1));
            let words = std::iter::successors((word != 0).then_some(word), next);
            words.map(move |word| index * 64 + word.trailing_zeros() as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_there_until_it_is_removed() {
        let mut groups = Groups::NONE;
        for slot in [0, 63, 64, 64 * GROUP, ENTRIES - 1] {
            groups.add(slot);
        }
        let found: Vec<_> = groups.both(&Groups::ALL).collect();
        assert_eq!(found, [0, 1, 64, ENTRIES / GROUP - 1]);
        groups.remove(1);
        assert!(groups.has(1) && !groups.has(64) && groups.has(64 * GROUP));
        assert_eq!(groups.both(&Groups::of_pages(0x1000, 1)).collect::<Vec<_>>(), [0]);
    }
}
