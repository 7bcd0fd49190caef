//! The software TLB: remembers translations that were made, so that most accesses need no walk.
//!
//! Direct-mapped tables for loads, stores and fetches, in several *sets*, one per [`Space`] seen lately, so
//! that switching address spaces or privilege costs a comparison. An entry stands for a whole page that one
//! decision governs, translation and protection alike.
//!
//! Invariant: an entry exists only while a walk would give the same answer (docs/determinism.md, D3);
//! a store entry only while its page is plain ([`Ram::is_plain`](crate::Ram::is_plain)).

use crate::{ram::PAGE, trap::Privilege};

/// Entries per table and set.
pub const ENTRIES: usize = 1024;
/// Sets.
pub const SETS: usize = 32;
const TOTAL: usize = ENTRIES * SETS;
const PAGE_BITS: u32 = 12;
/// A tag no address has: tags are page-aligned up to the access size.
const NO_TAG: u64 = u64::MAX;

/// Everything a translation depends on besides memory: the key of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space(u64);

const ROOT_BITS: u64 = (1 << 47) - 1;

impl Space {
    /// Addresses are physical. `pmp` names the PMP rules in force.
    #[must_use]
    pub fn bare(privilege: Privilege, pmp: usize) -> Space {
        Space((privilege as u64) << 47 | (pmp as u64) << 52)
    }

    /// Addresses go through the tables at page `root`.
    #[must_use]
    pub fn paged(root: u64, levels: u32, privilege: Privilege, pmp: usize) -> Space {
        Space(root | u64::from(levels) << 44 | (privilege as u64) << 47 | (pmp as u64) << 52)
    }

    /// With `mstatus.SUM`, `mstatus.MXR` and `menvcfg.ADUE`.
    #[must_use]
    pub fn with_modes(self, sum: bool, mxr: bool, adue: bool) -> Space {
        Space(self.0 | u64::from(sum) << 49 | u64::from(mxr) << 50 | u64::from(adue) << 51)
    }

    /// The page tables: equal for spaces that share them.
    #[must_use]
    pub const fn root(self) -> u64 {
        self.0 & ROOT_BITS
    }

    /// Physical page of the root table.
    #[must_use]
    pub const fn root_page(self) -> u64 {
        self.0 & ((1 << 44) - 1)
    }

    /// Levels of page tables; 0 is bare.
    #[must_use]
    pub const fn levels(self) -> u32 {
        (self.0 >> 44 & 7) as u32
    }

    /// Effective privilege.
    #[must_use]
    pub fn privilege(self) -> Privilege {
        Privilege::from_bits(self.0 >> 47).unwrap_or_default()
    }

    /// Supervisor may access user pages.
    #[must_use]
    pub const fn sum(self) -> bool {
        self.0 >> 49 & 1 != 0
    }

    /// Loads may read executable pages.
    #[must_use]
    pub const fn mxr(self) -> bool {
        self.0 >> 50 & 1 != 0
    }

    /// The walker sets A and D.
    #[must_use]
    pub const fn adue(self) -> bool {
        self.0 >> 51 & 1 != 0
    }

    /// The number that names the PMP rules.
    #[must_use]
    pub const fn pmp(self) -> usize {
        (self.0 >> 52) as usize
    }
}

/// One translation. `place` is, modulo 2^64, the RAM offset of the page minus its virtual address (loads and
/// stores) or where an engine keeps the page's code (fetches).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Entry {
    tag: u64,
    place: u64,
}

const EMPTY: Entry = Entry {
    tag: NO_TAG,
    place: 0,
};

#[derive(Clone, Copy, Debug)]
struct Set {
    space: Option<Space>,
    used: u64,
    /// [`Ram::generation`](crate::Ram::generation) that the store entries were made in.
    generation: u64,
}

/// What store entries a physical page may have, to find them quickly.
const NO_SLOT: u16 = 0;
const MANY_SLOTS: u16 = u16::MAX;

/// The tables of all sets.
pub struct Tlb {
    /// At [`LOAD`], [`STORE`] and [`FETCH`]; in one piece, so that generated code reaches all from one register.
    tables: Box<[[Entry; TOTAL]; 3]>,
    sets: [Set; SETS],
    clock: u64,
    /// For each physical page: [`NO_SLOT`], one more than the slot of all its store entries, or
    /// [`MANY_SLOTS`].
    slots: Vec<u16>,
}

/// Host addresses of a set's entries, for generated code: 16 bytes each, tag and place.
#[derive(Clone, Copy)]
pub struct Tables {
    /// For loads; those for stores are [`STORE_DISTANCE`] behind.
    pub data: *const u8,
    /// For fetches.
    pub fetch: *const u8,
}

const LOAD: usize = 0;
const STORE: usize = 1;
const FETCH: usize = 2;
/// Bytes from an entry for loads to that for stores.
pub const STORE_DISTANCE: usize = TOTAL * size_of::<Entry>();

/// Which address spaces to drop from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those with this [`Space::root`].
    One(u64),
    /// All.
    All,
}

impl Roots {
    fn cover(self, space: Space) -> bool {
        match self {
            Roots::One(root) => space.root() == root,
            Roots::All => true,
        }
    }
}

fn tables() -> Box<[[Entry; TOTAL]; 3]> {
    let tables: Box<[[Entry; TOTAL]]> = vec![[EMPTY; TOTAL]; 3].into_boxed_slice();
    match tables.try_into() {
        Ok(tables) => tables,
        Err(_) => unreachable!("the vector has this length"),
    }
}

#[inline(always)]
const fn slot(address: u64) -> usize {
    (address >> PAGE_BITS) as usize & (ENTRIES - 1)
}

#[inline(always)]
const fn tag(address: u64, size: u64) -> u64 {
    address & !(PAGE as u64 - 1) | address & (size - 1)
}

impl Tlb {
    /// Empty tables for a RAM of so many pages.
    #[must_use]
    pub fn new(pages: usize) -> Tlb {
        let set = Set {
            space: None,
            used: 0,
            generation: 0,
        };
        Tlb {
            tables: tables(),
            sets: [set; SETS],
            clock: 0,
            slots: vec![NO_SLOT; pages],
        }
    }

    /// The entries of the set for data and of that for fetches.
    #[must_use]
    pub fn tables(&self, data: usize, fetch: usize) -> Tables {
        Tables {
            data: (&raw const self.tables[LOAD][data]).cast(),
            fetch: (&raw const self.tables[FETCH][fetch]).cast(),
        }
    }

    /// Number of pages of the RAM this was made for.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.slots.len()
    }

    /// Finds or makes the set of `space`; returns its first entry's index.
    pub fn select(&mut self, space: Space, generation: u64) -> usize {
        self.clock = self.clock.wrapping_add(1);
        let found = self.sets.iter().position(|set| set.space == Some(space));
        let chosen = found.unwrap_or_else(|| {
            let oldest = self
                .sets
                .iter()
                .enumerate()
                .min_by_key(|(_, set)| (set.space.is_some(), set.used));
            let chosen = oldest.map_or(0, |(index, _)| index);
            self.clear(chosen);
            self.sets[chosen] = Set {
                space: Some(space),
                used: 0,
                generation,
            };
            chosen
        });
        let first = chosen * ENTRIES;
        let set = &mut self.sets[chosen];
        set.used = self.clock;
        if set.generation != generation {
            set.generation = generation;
            self.tables[STORE][first..first + ENTRIES].fill(EMPTY);
        }
        first
    }

    fn clear(&mut self, set: usize) {
        let range = set * ENTRIES..(set + 1) * ENTRIES;
        self.tables[LOAD][range.clone()].fill(EMPTY);
        self.tables[STORE][range.clone()].fill(EMPTY);
        self.tables[FETCH][range].fill(EMPTY);
    }

    /// RAM offset for an aligned load of `size` bytes.
    #[inline(always)]
    #[must_use]
    pub fn load(&self, first: usize, address: u64, size: u64) -> Option<usize> {
        let entry = self.tables[LOAD][(first + slot(address)) & (TOTAL - 1)];
        (entry.tag == tag(address, size)).then(|| address.wrapping_add(entry.place) as usize)
    }

    /// RAM offset for an aligned store of `size` bytes to a plain page.
    #[inline(always)]
    #[must_use]
    pub fn store(&self, first: usize, address: u64, size: u64) -> Option<usize> {
        let entry = self.tables[STORE][(first + slot(address)) & (TOTAL - 1)];
        (entry.tag == tag(address, size)).then(|| address.wrapping_add(entry.place) as usize)
    }

    /// Where the engine keeps the code of the page at `address`.
    #[inline(always)]
    #[must_use]
    pub fn fetch(&self, first: usize, address: u64) -> Option<usize> {
        let entry = self.tables[FETCH][(first + slot(address)) & (TOTAL - 1)];
        (entry.tag == tag(address, 1)).then_some(entry.place as usize)
    }

    /// Remembers that loads from the page of `address` go to `offset`.
    pub fn fill_load(&mut self, first: usize, address: u64, offset: usize) {
        let place = (offset as u64).wrapping_sub(address);
        self.tables[LOAD][(first + slot(address)) & (TOTAL - 1)] = Entry {
            tag: tag(address, 1),
            place,
        };
    }

    /// Remembers that stores to the page of `address`, a plain one, go to `offset`.
    pub fn fill_store(&mut self, first: usize, address: u64, offset: usize) {
        let place = (offset as u64).wrapping_sub(address);
        self.tables[STORE][(first + slot(address)) & (TOTAL - 1)] = Entry {
            tag: tag(address, 1),
            place,
        };
        let hint = &mut self.slots[offset / PAGE];
        let own = slot(address) as u16 + 1;
        *hint = if *hint == NO_SLOT || *hint == own {
            own
        } else {
            MANY_SLOTS
        };
    }

    /// Remembers where the engine keeps the code of the page of `address`.
    pub fn fill_fetch(&mut self, first: usize, address: u64, place: usize) {
        self.tables[FETCH][(first + slot(address)) & (TOTAL - 1)] = Entry {
            tag: tag(address, 1),
            place: place as u64,
        };
    }

    /// Drops the translations of one page.
    pub fn drop_page(&mut self, roots: Roots, address: u64) {
        let tag = tag(address, 1);
        for set in 0..SETS {
            if self.sets[set].space.is_some_and(|space| roots.cover(space)) {
                let index = set * ENTRIES + slot(address);
                for table in self.tables.iter_mut() {
                    if table[index].tag == tag {
                        table[index] = EMPTY;
                    }
                }
            }
        }
    }

    /// Drops the translations of `pages` pages from `address` on.
    pub fn drop_range(&mut self, roots: Roots, address: u64, pages: usize) {
        let bytes = (pages as u64) << PAGE_BITS;
        for set in 0..SETS {
            if !self.sets[set].space.is_some_and(|space| roots.cover(space)) {
                continue;
            }
            if pages >= ENTRIES {
                self.clear(set);
                continue;
            }
            for page in 0..pages {
                let index = set * ENTRIES + (slot(address) + page) % ENTRIES;
                for table in self.tables.iter_mut() {
                    if table[index].tag.wrapping_sub(address) < bytes {
                        table[index] = EMPTY;
                    }
                }
            }
        }
    }

    /// Drops everything.
    pub fn drop_all(&mut self) {
        self.drop_range(Roots::All, 0, ENTRIES);
    }

    /// Drops every permission to store to a physical page, which stops being plain.
    pub fn drop_stores(&mut self, page: usize) {
        let of_page = |entry: &Entry| {
            entry.tag != NO_TAG && entry.tag.wrapping_add(entry.place) as usize / PAGE == page
        };
        match std::mem::replace(&mut self.slots[page], NO_SLOT) {
            NO_SLOT => {}
            MANY_SLOTS => {
                for entry in self.tables[STORE].iter_mut().filter(|entry| of_page(entry)) {
                    *entry = EMPTY;
                }
            }
            one => {
                for set in 0..SETS {
                    let entry = &mut self.tables[STORE][set * ENTRIES + usize::from(one) - 1];
                    if of_page(entry) {
                        *entry = EMPTY;
                    }
                }
            }
        }
    }

    /// Drops every fetch translation that leads to the code kept at `place`.
    pub fn drop_code(&mut self, place: usize) {
        for entry in self.tables[FETCH].iter_mut().filter(|entry| entry.place == place as u64) {
            *entry = EMPTY;
        }
    }

    /// Drops every fetch translation.
    pub fn drop_fetches(&mut self) {
        self.tables[FETCH].fill(EMPTY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space(0x1234 | 3 << 44);

    #[test]
    fn a_set_survives_a_switch_away_and_back() {
        let mut tlb = Tlb::new(16);
        let first = tlb.select(SPACE, 0);
        tlb.fill_load(first, 0x5000, 0x1000);
        let other = tlb.select(Space::bare(Privilege::Machine, 0), 0);
        assert_eq!(tlb.load(other, 0x5008, 8), None);
        let back = tlb.select(SPACE, 0);
        assert_eq!(tlb.load(back, 0x5008, 8), Some(0x1008));
        assert_eq!(tlb.load(back, 0x5004, 8), None); // Misaligned.
        for pmp in 0..SETS {
            tlb.select(Space::bare(Privilege::User, pmp), 0);
        }
        let again = tlb.select(SPACE, 0);
        assert_eq!(tlb.load(again, 0x5008, 8), None);
    }

    #[test]
    fn a_new_round_ends_store_permissions_only() {
        let mut tlb = Tlb::new(16);
        let set = tlb.select(SPACE, 0);
        tlb.fill_load(set, 0x5000, 0x1000);
        tlb.fill_store(set, 0x5000, 0x1000);
        assert_eq!(tlb.select(SPACE, 1), set);
        assert!(tlb.load(set, 0x5000, 1).is_some());
        assert!(tlb.store(set, 0x5000, 1).is_none());
    }

    #[test]
    fn a_page_loses_its_store_permissions_at_every_address() {
        for addresses in [[0x5000, 0x5000], [0x5000, 0x9000]] {
            let mut tlb = Tlb::new(16);
            let one = tlb.select(SPACE, 0);
            let two = tlb.select(Space::bare(Privilege::User, 0), 0);
            for (set, address) in [one, two].into_iter().zip(addresses) {
                tlb.fill_store(set, address, 0x3000);
                tlb.fill_store(set, address + 0x1000, 0x4000);
            }
            tlb.drop_stores(3);
            for (set, address) in [one, two].into_iter().zip(addresses) {
                assert_eq!(tlb.store(set, address, 8), None);
                assert_eq!(tlb.store(set, address + 0x1000, 8), Some(0x4000));
            }
        }
    }

    #[test]
    fn ranges_are_dropped_under_their_roots_only() {
        let mut tlb = Tlb::new(2048);
        let one = tlb.select(SPACE, 0);
        let two = tlb.select(Space(0x4321 | 3 << 44), 0);
        for set in [one, two] {
            for address in [0x1f_f000, 0x20_0000, 0x3f_f000, 0x40_0000] {
                tlb.fill_load(set, address, 0);
                tlb.fill_fetch(set, address, 7);
            }
        }
        tlb.drop_range(Roots::One(SPACE.root()), 0x20_0000, 512);
        let known = |set, address| tlb.load(set, address, 1).is_some() && tlb.fetch(set, address).is_some();
        assert!(known(one, 0x1f_f000) && known(two, 0x1f_f000));
        assert!(!known(one, 0x20_0000) && known(two, 0x20_0000));
        // 0x3ff000 and 0x1ff000 + 1024 pages share no slot; the ends of the range are exact.
        assert!(!known(one, 0x3f_f000) && known(two, 0x3f_f000));
        assert!(known(one, 0x40_0000));
    }
}
