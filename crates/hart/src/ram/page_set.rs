//! `PageSet`: a set of pages of RAM, with a bit for each page that there is.
//!
//! A clone notes in such sets which pages it owes, and a digest which pages it has to hash. The set of all
//! pages of 16 GiB takes 512 KiB, whatever is in it, so that no list can grow while a guest writes.

/// A set of pages of one RAM. Pages that RAM does not have are never in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageSet {
    /// The bit of page 64 `i` + `j` is bit `j` of word `i`.
    words: Vec<u64>,
    /// How many pages the set has.
    count: usize,
}

impl PageSet {
    /// The empty set of pages of a RAM with so many pages.
    #[must_use]
    pub fn new(pages: usize) -> PageSet {
        PageSet {
            words: vec![0; pages.div_ceil(64)],
            count: 0,
        }
    }

    /// How many pages the set has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Does the set have no page?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Is this page in the set?
    #[must_use]
    pub fn contains(&self, page: usize) -> bool {
        let word = self.words.get(page / 64).copied().unwrap_or(0);
        word >> (page % 64) & 1 != 0
    }

    /// Adds a page that RAM has; true if it was not in the set.
    pub fn insert(&mut self, page: usize) -> bool {
        let Some(word) = self.words.get_mut(page / 64) else {
            return false;
        };
        let is_new = *word >> (page % 64) & 1 == 0;
        *word |= 1 << (page % 64);
        self.count += usize::from(is_new);
        is_new
    }

    /// Takes a page out of the set; true if it was in the set.
    pub fn remove(&mut self, page: usize) -> bool {
        let was_in = self.contains(page);
        if let (true, Some(word)) = (was_in, self.words.get_mut(page / 64)) {
            *word &= !(1 << (page % 64));
            self.count -= 1;
        }
        was_in
    }

    /// Adds all pages of another set, of the same RAM.
    pub fn add_all(&mut self, other: &PageSet) {
        self.count = 0;
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
            self.count += word.count_ones() as usize;
        }
    }

    /// The first page of the set that is not before this page.
    #[must_use]
    pub fn next(&self, from: usize) -> Option<usize> {
        let first = self.words.get(from / 64)? >> (from % 64) << (from % 64);
        let rest = self.words.iter().skip(from / 64 + 1).copied();
        let mut words = (from / 64..).zip(std::iter::once(first).chain(rest));
        let (index, word) = words.find(|(_, word)| *word != 0)?;
        Some(index * 64 + word.trailing_zeros() as usize)
    }

    /// Adds each page whose byte of flags has the lowest bit set, and clears that bit.
    pub(super) fn take_lowest(&mut self, flags: &mut [u8]) {
        for (word, flags) in self.words.iter_mut().zip(flags.chunks_mut(64)) {
            let before = word.count_ones();
            let (eights, rest) = flags.as_chunks_mut::<8>();
            for (shift, eight) in (0..).step_by(8).zip(&mut *eights) {
                let value = u64::from_le_bytes(*eight);
                let lowest = value & 0x0101_0101_0101_0101;
                // Moves the lowest bit of byte `i` to bit 56 + `i`. No two bits meet on the way.
                *word |= lowest.wrapping_mul(0x0102_0408_1020_4080) >> 56 << shift;
                *eight = (value ^ lowest).to_le_bytes();
            }
            for (shift, flag) in (8 * eights.len()..).zip(rest) {
                *word |= u64::from(*flag & 1) << shift;
                *flag &= !1;
            }
            self.count += (word.count_ones() - before) as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(set: &PageSet) -> Vec<usize> {
        std::iter::successors(set.next(0), |page| set.next(page + 1)).collect()
    }

    #[test]
    fn a_set_has_what_was_added_and_not_taken_out() {
        let mut set = PageSet::new(200);
        for page in [0, 63, 64, 128, 199] {
            assert!(set.insert(page));
            assert!(!set.insert(page));
        }
        assert!(set.remove(64) && !set.remove(64) && !set.remove(65));
        assert_eq!((pages(&set), set.count()), (vec![0, 63, 128, 199], 4));
        assert_eq!(
            (set.next(1), set.next(64), set.next(200)),
            (Some(63), Some(128), None)
        );
        let mut other = PageSet::new(200);
        other.insert(63);
        other.insert(64);
        other.add_all(&set);
        assert_eq!((pages(&other), other.count()), (vec![0, 63, 64, 128, 199], 5));
    }

    #[test]
    fn pages_that_ram_does_not_have_are_in_no_set() {
        let mut set = PageSet::new(64);
        assert!(!set.insert(64) && !set.remove(64) && !set.contains(usize::MAX));
        assert!(set.is_empty() && set.next(usize::MAX).is_none());
    }

    #[test]
    fn the_lowest_bits_of_flags_become_a_set_whatever_the_number_of_pages() {
        for count in 1..200 {
            let mut flags: Vec<u8> = (0..count).map(|page| (page * 37 % 101) as u8).collect();
            let before = flags.clone();
            let mut set = PageSet::new(count);
            set.insert(0);
            set.take_lowest(&mut flags);
            let expected = (0..count).filter(|&page| page == 0 || before[page] & 1 != 0);
            assert_eq!(pages(&set), Vec::from_iter(expected));
            assert_eq!(set.count(), pages(&set).len());
            assert!(flags.iter().zip(&before).all(|(now, before)| *now == before & !1));
        }
    }
}
