//! A machine's memory, for whoever looks at it, copies it to another machine, or fills it from one.
//!
//! # A clone
//!
//! The guest runs on while it is copied (FT 3.1-a). *Rounds* come first ([`Machine::begin_round`]): pages are
//! copied ([`Machine::copy_owed`]), and those that the guest writes again are owed again. At the *cut*
//! ([`Machine::freeze`]) the state of everything else is saved, and what is still owed is kept as it is then:
//! a page that the guest is about to write is copied into a pool of bounded size first. When all of that is
//! copied too, the other machine has RAM and state as of the cut, and can run on from there.
//!
//! All of this happens between two runs, and the guest cannot notice. Nothing here knows who the other
//! machine is or how pages get there; `pages` knows what is known about each page.

use hart::ram::{OutOfHostMemory, OutOfRam, PAGE};

use super::Machine;
use crate::{
    Batch, PageContent, Part,
    narrow::{index, low32, wide},
    pages::Copied,
};

impl Machine {
    /// How many pages RAM has.
    #[must_use]
    pub fn pages(&self) -> u32 {
        low32(wide(self.ram.pages()))
    }

    /// The content of the page of RAM with this number; `None`: RAM has no such page.
    #[must_use]
    pub fn read_page(&self, page: u32) -> Option<&[u8]> {
        let page = index(u64::from(page));
        (page < self.ram.pages()).then(|| self.ram.page(page))
    }

    /// The numbers of the pages that are not all zero.
    pub(crate) fn used_pages(&mut self) -> Vec<u32> {
        self.pages.used(&mut self.ram)
    }

    /// How many pages the last digest had to look at because they were written.
    #[must_use]
    pub fn pages_hashed(&self) -> u64 {
        wide(self.pages.hashed())
    }

    /// How many pages a digest would hash now, at most, those not counted that each digest hashes again.
    #[must_use]
    pub fn pages_to_hash(&self) -> u32 {
        low32(wide(self.pages.to_hash(&self.ram)))
    }

    /// Begins a digest of the present state, which ends later ([`Machine::end_digest`]) while the guest runs
    /// on. One that had begun is dropped. It takes a fraction of a millisecond, and up to a millisecond more
    /// for each 16 GiB of RAM. From now on each page that a digest would hash now is hashed before the first
    /// write to it.
    pub fn begin_digest(&mut self) {
        self.begun = Some(self.parts_but_ram());
        self.pages.begin_digest(&mut self.ram);
    }

    /// Hashes at most `budget` pages of the digest that has begun, and gives how many are left; 0 is also the
    /// answer if no digest has begun.
    pub fn hash_some(&mut self, budget: u32) -> u32 {
        let left = self.pages.hash_some(&mut self.ram, index(u64::from(budget)));
        low32(wide(left))
    }

    /// Ends the digest that has begun, and gives the digest of each component as of its begin: what
    /// [`Machine::parts`] would have given then. What is left to be hashed is hashed at once. `None`: no
    /// digest has begun.
    pub fn end_digest(&mut self) -> Option<Vec<Part>> {
        let mut parts = self.begun.take()?;
        parts.push(Part {
            name: "ram",
            digest: self.pages.end_digest(&mut self.ram)?,
        });
        Some(parts)
    }

    /// Replaces the content of the page of RAM with this number, and hashes it in the same breath: no digest
    /// looks at it again.
    ///
    /// # Errors
    /// If RAM has no such page, or the content is not exactly a page.
    pub fn place(&mut self, page: u32, content: PageContent<'_>) -> Result<(), OutOfRam> {
        let page = index(u64::from(page));
        let fits = !matches!(content, PageContent::Bytes(bytes) if bytes.len() != PAGE);
        if page >= self.ram.pages() || !fits {
            return Err(OutOfRam);
        }
        self.pages.place(&mut self.ram, page, content);
        Ok(())
    }

    /// Begins a round of a clone, and with the first round the clone: every page that was ever written is
    /// owed. Returns how many pages are owed now. It takes up to a millisecond for each 16 GiB of RAM.
    pub fn begin_round(&mut self) -> u32 {
        low32(wide(self.pages.begin_round(&mut self.ram)))
    }

    /// How many pages are owed: before the cut those that were not copied since they were last found written,
    /// and after it those that are left of the cut, kept ones too. 0 without a clone.
    #[must_use]
    pub fn owed(&self) -> u32 {
        low32(wide(self.pages.owed(&self.ram)))
    }

    /// Copies at most `max` of the owed pages to the end of `batch`, those that were kept first, and hashes
    /// them in the same breath. Before the cut, pages that were written again in this round are passed over,
    /// and stay owed.
    pub fn copy_owed(&mut self, batch: &mut Batch, max: u32) -> Copied {
        self.pages.copy_owed(&mut self.ram, batch, index(u64::from(max)))
    }

    /// The cut: everything but RAM as bytes ([`Machine::save_state`]). From now on all pages that are owed
    /// are kept as they are now, in a pool of `room` pages, until they are copied. Without a round before it,
    /// all pages that were ever written are owed.
    ///
    /// The guest runs until no more than [`FROZEN_RESERVE`](crate::limits::FROZEN_RESERVE) pages of the pool
    /// are left, and then stands until some were copied ([`Stop::Full`](crate::Stop::Full)). Inputs are to
    /// wait too while [`Machine::frozen_room`] is less than that. A smaller pool so makes it stand all the
    /// time.
    ///
    /// # Errors
    /// If the host has no memory for the pool. Nothing has changed then, and the guest may run on.
    ///
    /// # Panics
    /// If effects wait: they would be lost.
    pub fn freeze(&mut self, room: u32) -> Result<Vec<u8>, OutOfHostMemory> {
        let state = self.save_state();
        self.pages.freeze(&mut self.ram, index(u64::from(room)))?;
        Ok(state)
    }

    /// How many more pages can be kept as they were at the cut; [`u32::MAX`]: any number, as nothing is kept.
    #[must_use]
    pub fn frozen_room(&self) -> u32 {
        low32(wide(self.ram.frozen_room()))
    }

    /// Ends the clone, whatever it is doing. Without one nothing happens.
    pub fn thaw(&mut self) {
        self.pages.thaw(&mut self.ram);
    }
}
