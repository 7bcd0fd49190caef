//! `Unhashed`: pages that have to be hashed as they were at one moment, while the guest runs on.
//!
//! [`Ram`](super::Ram) has one while a digest has begun and not ended. Whoever digests hashes pages of the
//! set in its own time; before the first write to a page that is still in it, `Ram` has the page hashed here,
//! which takes no longer than a copy of it would. So nothing is kept but hashes, and there is no room that
//! could be used up. Nothing here decides how a page is hashed.

use super::page_set::PageSet;

/// How a page of this number and content is hashed.
pub type PageHash = fn(u32, &[u8]) -> u128;

/// The pages of one moment that are not hashed.
pub struct Unhashed {
    /// The pages that are in place as they were at that moment. Whoever has hashed one takes it out.
    pub pages: PageSet,
    /// The pages that were hashed before a write to them, each once, with their hashes. Whoever digests takes
    /// them out between two runs; there are at most as many as `pages` had at first.
    pub hashed: Vec<(u32, u128)>,
    hash: PageHash,
}

impl Unhashed {
    /// All of these pages, as they are now.
    #[must_use]
    pub fn new(pages: PageSet, hash: PageHash) -> Unhashed {
        Unhashed {
            pages,
            hashed: Vec::new(),
            hash,
        }
    }

    /// The page is about to be written: if it is not hashed, it is hashed now.
    pub fn hash(&mut self, page: usize, content: &[u8]) {
        if self.pages.remove(page) {
            let number = page as u32;
            self.hashed.push((number, (self.hash)(number, content)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_set_is_hashed_before_its_first_write_and_no_other_is() {
        let mut pages = PageSet::new(8);
        pages.insert(1);
        pages.insert(2);
        let mut unhashed = Unhashed::new(pages, |page, content| {
            u128::from(page) << 8 | u128::from(content[0])
        });
        for (page, byte) in [(1, 10), (3, 30), (1, 11)] {
            unhashed.hash(page, &[byte]);
        }
        assert_eq!(unhashed.hashed, [(1, 0x10a)]);
        assert_eq!(unhashed.pages.next(0), Some(2));
    }
}
