//! `Memory`: the toy's pages, small and few, with what a clone needs of them.
//!
//! The board writes a little into them whenever something happens; no program reads them, but the digest
//! does, so that a page which a clone loses or doubles is found out. Rounds, the cut, the kept copies and the
//! digest that ends later than it begins are those of `machine::Machine`, in as few lines as show what is
//! meant (`hart/src/ram`, `machine/src/machine/memory`, `machine/src/pages`).

use std::collections::BTreeMap;

use machine::{Batch, Copied, PageContent};
use replica::mutation::{self, Mutation};

use crate::hash::{mix, mix_bytes};

/// Bytes of a page.
pub const PAGE: usize = 64;
/// How many pages there are.
pub const PAGES: u32 = 64;
/// Pages of a real computer for which one of the toy's stands when digests count pages: a digest of more than
/// a few takes a while.
const WEIGHT: u32 = 180;

/// The toy's memory. Sets of pages are bits of a number.
#[derive(Clone, Debug)]
pub struct Memory {
    pages: Vec<[u8; PAGE]>,
    /// Pages that were written at any time.
    ever: u64,
    /// Pages that were written since the last round of a clone began.
    dirty: u64,
    /// Pages that a clone still owes; `None`: there is no clone.
    owed: Option<u64>,
    /// Pages as they were at the cut, which were overwritten since; `None`: there was no cut.
    kept: Option<BTreeMap<u32, [u8; PAGE]>>,
    /// How many pages may be kept.
    room: u32,
    /// The hash of each page when it was hashed last.
    hashes: Vec<u64>,
    /// Pages that were written since they were hashed.
    stale: u64,
    /// The digest that has begun: the pages that are not hashed and are still as they were, and the hashes of
    /// all others as of the begin; `None`: none has begun.
    begun: Option<(u64, Vec<u64>)>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            pages: vec![[0; PAGE]; PAGES as usize],
            ever: 0,
            dirty: 0,
            owed: None,
            kept: None,
            room: 0,
            hashes: vec![mix_bytes(0, &[0; PAGE]); PAGES as usize],
            stale: 0,
            begun: None,
        }
    }
}

const fn bit(page: u32) -> u64 {
    1 << (page % PAGES)
}

impl Memory {
    /// Writes `value` somewhere, which it decides itself, over what is there.
    pub fn stir(&mut self, value: u64) {
        let page = (value >> 16) as u32 % PAGES;
        let at = 8 * ((value >> 32) as usize % (PAGE / 8));
        self.keep(page);
        self.hash_before_write(page);
        self.ever |= bit(page);
        self.dirty |= bit(page);
        self.stale |= bit(page);
        for (byte, new) in self.pages[page as usize][at..at + 8]
            .iter_mut()
            .zip(value.to_le_bytes())
        {
            *byte = byte.rotate_left(1) ^ new;
        }
    }

    /// Keeps a page as it was at the cut, before it is overwritten.
    fn keep(&mut self, page: u32) {
        if let (Some(kept), Some(owed)) = (&mut self.kept, &mut self.owed)
            && *owed & bit(page) != 0
            && !mutation::is(Mutation::PageNotKept)
        {
            *owed &= !bit(page);
            kept.insert(page, self.pages[page as usize]);
        }
    }

    /// A page is about to be written: the digest that has begun needs its hash as it is now.
    fn hash_before_write(&mut self, page: u32) {
        if let Some((unhashed, hashes)) = &mut self.begun
            && *unhashed & bit(page) != 0
            && !mutation::is(Mutation::PageNotHashed)
        {
            *unhashed &= !bit(page);
            hashes[page as usize] = mix_bytes(0, &self.pages[page as usize]);
        }
    }

    /// A number that stands for the content of all pages.
    #[must_use]
    pub fn hash(&mut self) -> u64 {
        for page in (0..PAGES).filter(|page| self.stale & bit(*page) != 0) {
            self.hashes[page as usize] = mix_bytes(0, &self.pages[page as usize]);
        }
        self.stale = 0;
        sum(&self.hashes)
    }

    /// See [`replica::Guest::pages_to_hash`].
    #[must_use]
    pub fn pages_to_hash(&self) -> u32 {
        WEIGHT * self.stale.count_ones()
    }

    /// See [`replica::Guest::begin_digest`].
    pub fn begin_digest(&mut self) {
        self.begun = Some((self.stale, self.hashes.clone()));
    }

    /// See [`replica::Guest::hash_some`].
    pub fn hash_some(&mut self, budget: u32) -> Option<u64> {
        let (unhashed, hashes) = self.begun.as_mut()?;
        for _ in 0..budget / WEIGHT {
            let Some(page) = (0..PAGES).find(|page| *unhashed & bit(*page) != 0) else {
                break;
            };
            *unhashed &= !bit(page);
            hashes[page as usize] = mix_bytes(0, &self.pages[page as usize]);
        }
        let is_over = *unhashed == 0;
        let begun = is_over.then(|| self.begun.take()).flatten();
        begun.map(|(_, hashes)| sum(&hashes))
    }

    /// See [`replica::Guest::begin_round`].
    pub fn begin_round(&mut self) -> u32 {
        let forgotten = if mutation::is(Mutation::PageForgotten) {
            self.dirty & self.dirty.wrapping_neg()
        } else {
            0
        };
        let owed = self
            .owed
            .map_or(self.ever, |owed| owed | (self.dirty & !forgotten));
        self.owed = Some(owed);
        self.dirty = 0;
        owed.count_ones()
    }

    /// See [`replica::Guest::owed`].
    #[must_use]
    pub fn owed(&self) -> u32 {
        let kept = self.kept.as_ref().map_or(0, BTreeMap::len) as u32;
        self.owed.unwrap_or(0).count_ones() + kept
    }

    /// See [`replica::Guest::copy_owed`].
    pub fn copy_owed(&mut self, batch: &mut Batch, max: u32) -> Copied {
        let Some(mut owed) = self.owed else {
            return Copied::Over;
        };
        let mut left = max;
        if let Some(kept) = &mut self.kept {
            while left > 0
                && let Some((page, content)) = kept.pop_first()
            {
                push(batch, page, &content);
                left -= 1;
            }
        }
        // What was written again in this round would only be sent twice; after the cut it counts as it is.
        let passed = if self.kept.is_some() { 0 } else { self.dirty };
        while left > 0 && owed & !passed != 0 {
            let page = (owed & !passed).trailing_zeros();
            push(batch, page, &self.pages[page as usize]);
            owed &= !bit(page);
            left -= 1;
        }
        self.owed = Some(owed);
        let empty = self.kept.as_ref().is_none_or(BTreeMap::is_empty) && owed & !passed == 0;
        if !empty {
            return Copied::More;
        }
        if self.kept.is_some() {
            self.thaw();
        }
        Copied::Over
    }

    /// The cut: from here on what is owed is kept as it is.
    pub fn freeze(&mut self, room: u32) {
        self.begin_round();
        self.kept = Some(BTreeMap::new());
        self.room = room;
    }

    /// See [`replica::Guest::frozen_room`].
    #[must_use]
    pub fn room(&self) -> u32 {
        self.kept
            .as_ref()
            .map_or(u32::MAX, |kept| self.room.saturating_sub(kept.len() as u32))
    }

    /// See [`replica::Guest::thaw`].
    pub fn thaw(&mut self) {
        self.owed = None;
        self.kept = None;
    }

    /// See [`replica::Guest::place`].
    ///
    /// # Errors
    /// There is no such page.
    pub fn place(&mut self, page: u32, content: PageContent<'_>) -> Result<(), String> {
        if page >= PAGES {
            return Err(format!("there is no page {page}"));
        }
        self.hash_before_write(page);
        let here = &mut self.pages[page as usize];
        match content {
            PageContent::Zero => here.fill(0),
            PageContent::Bytes(bytes) => here.copy_from_slice(bytes),
        }
        self.ever |= bit(page);
        self.stale |= bit(page);
        Ok(())
    }
}

/// One number for the hashes of all pages.
fn sum(hashes: &[u64]) -> u64 {
    hashes.iter().fold(0, |sum, hash| mix(sum, *hash))
}

fn push(batch: &mut Batch, page: u32, content: &[u8; PAGE]) {
    if content.iter().all(|&byte| byte == 0) {
        batch.push(page, PageContent::Zero);
    } else {
        batch.push(page, PageContent::Bytes(content));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_ends_later_is_of_its_begin() {
        for seed in 0..200 {
            let mut memory = Memory::default();
            let mut number = mix(seed, 7);
            let mut stir = |memory: &mut Memory, times: u64| {
                for _ in 0..times {
                    number = mix(number, 1);
                    memory.stir(number);
                }
            };
            stir(&mut memory, seed % 90);
            assert_eq!(memory.hash_some(WEIGHT), None);
            let at_begin = memory.clone().hash();
            memory.begin_digest();
            let found = loop {
                stir(&mut memory, seed % 3);
                if seed % 5 == 0 {
                    let twice = memory.hash() % 2;
                    stir(&mut memory, 1 + twice);
                }
                if let Some(found) = memory.hash_some(WEIGHT) {
                    break found;
                }
            };
            assert_eq!(found, at_begin, "seed {seed}");
        }
    }

    #[test]
    fn what_is_copied_in_rounds_and_kept_at_the_cut_is_the_memory_at_the_cut() {
        for seed in 0..200 {
            let (mut one, mut two) = (Memory::default(), Memory::default());
            let mut number = mix(seed, 7);
            let mut stir = |memory: &mut Memory, times: u64| {
                for _ in 0..times {
                    number = mix(number, 1);
                    memory.stir(number);
                }
            };
            stir(&mut one, seed % 90);
            let place = |two: &mut Memory, batch: &Batch| {
                batch
                    .pages()
                    .for_each(|(page, content)| two.place(page, content).unwrap());
            };
            for round in 0..1 + seed % 3 {
                one.begin_round();
                loop {
                    let mut batch = Batch::new(PAGE);
                    let copied = one.copy_owed(&mut batch, 1 + (seed + round) as u32 % 5);
                    place(&mut two, &batch);
                    if copied == Copied::Over {
                        break;
                    }
                    stir(&mut one, seed % 4);
                }
            }
            stir(&mut one, seed % 7);
            one.freeze(2048);
            let at_cut = one.pages.clone();
            loop {
                stir(&mut one, 3);
                let mut batch = Batch::new(PAGE);
                let copied = one.copy_owed(&mut batch, 2);
                place(&mut two, &batch);
                if copied == Copied::Over {
                    break;
                }
            }
            assert_eq!(two.pages, at_cut, "seed {seed}");
            assert_eq!((one.owed(), one.room()), (0, u32::MAX));
        }
    }
}
