//! `Memory`: the toy's pages, small and few, with what a clone needs of them.
//!
//! The board writes a little into them whenever something happens; no program reads them, but the digest
//! does, so that a page which a clone loses or doubles is found out. Rounds, the cut and the kept copies are
//! those of `machine::Machine`, in as few lines as show what is meant (`hart/src/ram`,
//! `machine/src/machine/memory`).

use std::collections::BTreeMap;

use machine::{Batch, Copied, PageContent};
use replica::mutation::{self, Mutation};

use crate::hash::mix_bytes;

/// Bytes of a page.
pub const PAGE: usize = 64;
/// How many pages there are.
pub const PAGES: u32 = 64;

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
        self.ever |= bit(page);
        self.dirty |= bit(page);
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

    /// A number that stands for the content of all pages.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.pages.iter().fold(0, |hash, page| mix_bytes(hash, page))
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
        let here = self.pages.get_mut(page as usize);
        let here = here.ok_or_else(|| format!("there is no page {page}"))?;
        match content {
            PageContent::Zero => here.fill(0),
            PageContent::Bytes(bytes) => here.copy_from_slice(bytes),
        }
        self.ever |= bit(page);
        Ok(())
    }
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
    use crate::hash::mix;

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
