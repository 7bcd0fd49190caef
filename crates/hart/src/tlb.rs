//! The software TLB: remembers translations that were made, so that most accesses need no walk.
//!
//! Tables for loads, stores and fetches, in several *sets*, one per [`Space`] seen lately, so that switching address
//! spaces or privilege costs a comparison. A page's entry is in its own slot or, when another page has taken that, in the
//! *second* one, which differs in one bit. An entry stands for a whole page that one
//! decision governs, translation and protection alike.
//!
//! Invariant: an entry exists only while a walk would give the same answer (docs/determinism.md, D3);
//! a store entry only while its page is plain ([`Ram::is_plain`](crate::Ram::is_plain)).

use crate::{
    Ram,
    groups::{ENTRIES, GROUP, Groups, SECOND, slot},
    ram::{PAGE, PAGE_BITS, large_table},
    space::Space,
};

/// Sets.
pub const SETS: usize = 32;
const TOTAL: usize = ENTRIES * SETS;
/// An engine's place for the code of a page is in the tables so many bits further left, where generated code wants it.
pub const PLACE_SHIFT: u32 = 14;
/// A tag no address has: tags are page-aligned up to the access size.
const NO_TAG: u64 = u64::MAX;

/// One translation. `place` is, modulo 2^64, the host address of the page minus its virtual address (loads and
/// stores) or where an engine keeps the page's code (fetches), times 2^[`PLACE_SHIFT`].
#[derive(Clone, Copy, Debug)]
struct Entry {
    tag: u64,
    place: u64,
}

const EMPTY: Entry = Entry {
    tag: NO_TAG,
    place: 0,
};

/// An [`Entry`] in a table, tag and place: the table's memory is not touched before a set is used.
type Words = [u64; 2];

impl Entry {
    fn of([tag, place]: Words) -> Entry {
        Entry { tag, place }
    }

    fn words(self) -> Words {
        [self.tag, self.place]
    }

    /// The physical page that loads or stores go to, of RAM at this host address.
    fn page(&self, ram: u64) -> usize {
        self.tag.wrapping_add(self.place).wrapping_sub(ram) as usize / PAGE
    }
}

#[derive(Clone, Copy, Debug)]
struct Set {
    space: Option<Space>,
    used: u64,
    /// The [`Ram::generation`](crate::Ram::generation) as of which no store entry is for a page that is not plain.
    generation: u64,
    /// For each table, the groups in which entries may be.
    filled: [Groups; 3],
    /// Of which there is no other, and another one when a translation for a fetch may have become wrong.
    stamp: u64,
}

/// The slots that a physical page's store entries may be in, one more than each, to find them quickly: mostly a program's and the
/// kernel's.
type Hint = [u16; 2];
const NO_SLOT: u16 = 0;
/// There are more.
const MANY_SLOTS: Hint = [u16::MAX; 2];
const _: () = assert!(ENTRIES < u16::MAX as usize);

/// The tables of all sets.
pub struct Tlb {
    /// At [`LOAD`], [`STORE`] and [`FETCH`]; in one piece, so that generated code reaches all from one register.
    tables: Box<[Words; 3 * TOTAL]>,
    sets: [Set; SETS],
    /// Set in which a space was last found, by a few bits of it.
    recent: [u8; 64],
    clock: u64,
    /// Host address of RAM.
    ram: u64,
    /// Counts what was dropped while it was good.
    drops: u64,
    /// The last stamp of a set.
    stamps: u64,
    /// Entries made for loads, stores and fetches.
    fills: [u64; 3],
    /// For each physical page.
    hints: Vec<Hint>,
}

/// Host addresses of a set's entries, for generated code: 16 bytes each, tag and place.
#[derive(Clone, Copy)]
pub struct Tables {
    /// For loads; those for stores are [`STORE_DISTANCE`] behind.
    pub data: *const u8,
    /// For fetches.
    pub fetch: *const u8,
}

/// Where the tables begin.
const LOAD: usize = 0;
const STORE: usize = TOTAL;
const FETCH: usize = 2 * TOTAL;
/// Bytes from an entry for loads to that for stores.
pub const STORE_DISTANCE: usize = TOTAL * size_of::<Words>();

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

fn tables() -> Box<[Words; 3 * TOTAL]> {
    match large_table([0; 2], 3 * TOTAL).try_into() {
        Ok(tables) => tables,
        Err(_) => unreachable!("the vector has this length"),
    }
}

#[inline(always)]
const fn tag(address: u64, size: u64) -> u64 {
    address & !(PAGE as u64 - 1) | address & (size - 1)
}

impl Tlb {
    /// Empty tables for this RAM.
    #[must_use]
    pub fn new(ram: &Ram) -> Tlb {
        let set = Set {
            space: None,
            used: 0,
            generation: 0,
            filled: [Groups::NONE; 3],
            stamp: 0,
        };
        Tlb {
            tables: tables(),
            sets: [set; SETS],
            recent: [0; 64],
            clock: 0,
            ram: ram.base() as u64,
            drops: 0,
            stamps: 0,
            fills: [0; 3],
            hints: vec![[NO_SLOT; 2]; ram.pages()],
        }
    }

    /// Was it made for this RAM?
    #[must_use]
    pub fn is_of(&self, ram: &Ram) -> bool {
        self.ram == ram.base() as u64 && self.hints.len() == ram.pages()
    }

    /// Grows when translations are dropped that were good until then.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.drops
    }

    /// Entries made so far, for loads, stores and fetches.
    #[must_use]
    pub fn fills(&self) -> [u64; 3] {
        self.fills
    }

    /// The entries of the set for data and of that for fetches.
    #[must_use]
    pub fn tables(&self, data: usize, fetch: usize) -> Tables {
        Tables {
            data: (&raw const self.tables[LOAD + data]).cast(),
            fetch: (&raw const self.tables[FETCH + fetch]).cast(),
        }
    }

    /// The number of a set and its stamp: as long as that is the same, what is executed is where it was.
    #[must_use]
    pub fn stamp_of(&self, first: usize) -> (usize, u64) {
        let set = first / ENTRIES;
        (set, self.sets[set].stamp)
    }

    /// Finds or makes the set of `space`, without permissions to store to pages that are not plain any more; returns its first
    /// entry's index.
    pub fn select(&mut self, space: Space, ram: &Ram) -> usize {
        self.clock = self.clock.wrapping_add(1);
        let hash = space.hash() & 63;
        let recent = usize::from(self.recent[hash]);
        let chosen = if self.sets[recent].space == Some(space) {
            recent
        } else {
            self.search(space, ram.generation())
        };
        self.recent[hash] = chosen as u8;
        let set = &mut self.sets[chosen];
        set.used = self.clock;
        if set.generation != ram.generation() {
            set.generation = ram.generation();
            self.drops += 1;
            let base = self.ram;
            self.drop_if(chosen, STORE, &Groups::ALL, |entry| {
                entry.tag != NO_TAG && !ram.is_plain(entry.page(base))
            });
        }
        chosen * ENTRIES
    }

    #[cold]
    fn search(&mut self, space: Space, generation: u64) -> usize {
        if let Some(found) = self.sets.iter().position(|set| set.space == Some(space)) {
            return found;
        }
        let sets = self.sets.iter().enumerate();
        let oldest = sets.min_by_key(|(_, set)| (set.space.is_some(), set.used));
        let chosen = oldest.map_or(0, |(index, _)| index);
        if self.sets[chosen].space.is_some() {
            self.clear(chosen);
        } else {
            self.begin(chosen);
        }
        self.sets[chosen].space = Some(space);
        self.sets[chosen].generation = generation;
        chosen
    }

    /// Makes the entries of a set that has had no space yet.
    fn begin(&mut self, set: usize) {
        for table in self.tables.chunks_exact_mut(TOTAL) {
            table[set * ENTRIES..][..ENTRIES].fill(EMPTY.words());
        }
        self.stamp(set);
    }

    /// Fetches may not be what they were.
    fn stamp(&mut self, set: usize) {
        self.stamps += 1;
        self.sets[set].stamp = self.stamps;
    }

    fn clear(&mut self, set: usize) {
        self.drops += 1;
        for table in [LOAD, STORE, FETCH] {
            self.clear_table(set, table);
        }
    }

    fn clear_table(&mut self, set: usize, table: usize) {
        self.drop_if(set, table, &Groups::ALL, |_| true);
        if table == FETCH {
            self.stamp(set);
        }
    }

    fn fill(&mut self, table: usize, first: usize, address: u64, place: u64) {
        self.fills[table / TOTAL] += 1;
        let slot = slot(address);
        let own = table + ((first + slot) & (TOTAL - 1));
        let second = table + ((first + (slot ^ SECOND)) & (TOTAL - 1));
        let filled = &mut self.sets[first / ENTRIES].filled[table / TOTAL];
        filled.add(slot);
        let tag = tag(address, 1);
        let [known, _] = self.tables[own];
        if known != NO_TAG && known != tag {
            self.tables[second] = self.tables[own];
            filled.add(slot ^ SECOND);
        }
        self.tables[own] = Entry { tag, place }.words();
    }

    /// The entry for an aligned access.
    #[inline(always)]
    fn find(&self, table: usize, first: usize, address: u64, size: u64) -> Option<Entry> {
        let tag = tag(address, size);
        let entry = Entry::of(self.tables[table + ((first + slot(address)) & (TOTAL - 1))]);
        if entry.tag == tag {
            return Some(entry);
        }
        let entry = Entry::of(self.tables[table + ((first + (slot(address) ^ SECOND)) & (TOTAL - 1))]);
        (entry.tag == tag).then_some(entry)
    }

    #[inline(always)]
    fn offset(&self, address: u64, entry: Entry) -> usize {
        address.wrapping_add(entry.place).wrapping_sub(self.ram) as usize
    }

    /// RAM offset for an aligned load of `size` bytes.
    #[inline(always)]
    #[must_use]
    pub fn load(&self, first: usize, address: u64, size: u64) -> Option<usize> {
        let entry = self.find(LOAD, first, address, size)?;
        Some(self.offset(address, entry))
    }

    /// RAM offset for an aligned store of `size` bytes to a plain page.
    #[inline(always)]
    #[must_use]
    pub fn store(&self, first: usize, address: u64, size: u64) -> Option<usize> {
        let entry = self.find(STORE, first, address, size)?;
        Some(self.offset(address, entry))
    }

    /// Where the engine keeps the code of the page at `address`.
    #[inline(always)]
    #[must_use]
    pub fn fetch(&self, first: usize, address: u64) -> Option<usize> {
        let entry = self.find(FETCH, first, address, 1)?;
        Some((entry.place >> PLACE_SHIFT) as usize)
    }

    /// Remembers that loads from the page of `address` go to `offset`.
    pub fn fill_load(&mut self, first: usize, address: u64, offset: usize) {
        let place = self.ram.wrapping_add(offset as u64).wrapping_sub(address);
        self.fill(LOAD, first, address, place);
    }

    /// Remembers that stores to the page of `address`, a plain one, go to `offset`.
    pub fn fill_store(&mut self, first: usize, address: u64, offset: usize) {
        let place = self.ram.wrapping_add(offset as u64).wrapping_sub(address);
        self.fill(STORE, first, address, place);
        let hint = &mut self.hints[offset / PAGE];
        let own = slot(address) as u16 + 1;
        *hint = match *hint {
            [NO_SLOT, _] => [own, NO_SLOT],
            [one, NO_SLOT] if one != own => [one, own],
            [one, other] if one == own || other == own => return,
            _ => MANY_SLOTS,
        };
    }

    /// Remembers where the engine keeps the code of the page of `address`.
    pub fn fill_fetch(&mut self, first: usize, address: u64, place: usize) {
        self.fill(FETCH, first, address, (place as u64) << PLACE_SHIFT);
    }

    /// Drops the translations of one page.
    pub fn drop_page(&mut self, roots: Roots, address: u64) {
        let tag = tag(address, 1);
        self.drops += 1;
        for set in 0..SETS {
            if self.sets[set].space.is_some_and(|space| roots.cover(space)) {
                self.stamp(set);
                for index in [slot(address), slot(address) ^ SECOND] {
                    for table in self.tables.chunks_exact_mut(TOTAL) {
                        let entry = &mut table[set * ENTRIES + index];
                        if entry[0] == tag {
                            *entry = EMPTY.words();
                        }
                    }
                }
            }
        }
    }

    /// Drops the translations of `pages` pages from `address` on.
    pub fn drop_range(&mut self, roots: Roots, address: u64, pages: usize) {
        let bytes = (pages as u64) << PAGE_BITS;
        self.drops += 1;
        let groups = Groups::of_pages(address, pages.min(ENTRIES));
        for set in 0..SETS {
            if !self.sets[set].space.is_some_and(|space| roots.cover(space)) {
                continue;
            }
            if pages >= ENTRIES {
                self.clear(set);
                continue;
            }
            self.stamp(set);
            for table in [LOAD, STORE, FETCH] {
                self.drop_if(set, table, &groups, |entry| {
                    entry.tag.wrapping_sub(address) < bytes
                });
            }
        }
    }

    /// Empties those entries of a set's table that are like that, as far as they are in some groups.
    fn drop_if(&mut self, set: usize, table: usize, groups: &Groups, is: impl Fn(&Entry) -> bool) {
        for group in self.sets[set].filled[table / TOTAL].both(groups) {
            let first = table + set * ENTRIES + group * GROUP;
            let mut empty = true;
            for entry in &mut self.tables[first..first + GROUP] {
                if is(&Entry::of(*entry)) {
                    *entry = EMPTY.words();
                }
                empty &= entry[0] == NO_TAG;
            }
            if empty {
                self.sets[set].filled[table / TOTAL].remove(group);
            }
        }
    }

    /// Drops everything.
    pub fn drop_all(&mut self) {
        self.drop_range(Roots::All, 0, ENTRIES);
    }

    /// Drops every permission to store to a physical page, which stops being plain.
    pub fn drop_stores(&mut self, page: usize) {
        let ram = self.ram;
        let of_page = |entry: &Entry| entry.tag != NO_TAG && entry.page(ram) == page;
        self.drops += 1;
        let hint = std::mem::take(&mut self.hints[page]);
        if hint == MANY_SLOTS {
            for set in 0..SETS {
                self.drop_if(set, STORE, &Groups::ALL, of_page);
            }
            return;
        }
        for own in hint.into_iter().filter(|&slot| slot != NO_SLOT) {
            let own = usize::from(own) - 1;
            for set in 0..SETS {
                for slot in [own, own ^ SECOND] {
                    let entry = &mut self.tables[STORE + set * ENTRIES + slot];
                    // Most sets have none there, which is known without reading the table.
                    let filled = self.sets[set].filled[STORE / TOTAL].has(slot);
                    if filled && of_page(&Entry::of(*entry)) {
                        *entry = EMPTY.words();
                    }
                }
            }
        }
    }

    /// Drops every fetch translation that leads to the code kept at `place`.
    pub fn drop_code(&mut self, place: usize) {
        self.drops += 1;
        let place = (place as u64) << PLACE_SHIFT;
        for set in 0..SETS {
            self.stamp(set);
            self.drop_if(set, FETCH, &Groups::ALL, |entry| entry.place == place);
        }
    }

    /// Drops every fetch translation.
    pub fn drop_fetches(&mut self) {
        self.drops += 1;
        for set in 0..SETS {
            self.clear_table(set, FETCH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trap::Privilege;

    const SPACE: Space = Space::paged(0x1234, 3, Privilege::User, 0);

    fn ram(pages: u64) -> Ram {
        Ram::new(pages * PAGE as u64).expect("there is memory")
    }

    #[test]
    fn a_set_survives_a_switch_away_and_back() {
        let ram = ram(16);
        let mut tlb = Tlb::new(&ram);
        let first = tlb.select(SPACE, &ram);
        tlb.fill_load(first, 0x5000, 0x1000);
        let other = tlb.select(Space::bare(Privilege::Machine, 0), &ram);
        assert_eq!(tlb.load(other, 0x5008, 8), None);
        let back = tlb.select(SPACE, &ram);
        assert_eq!(tlb.load(back, 0x5008, 8), Some(0x1008));
        assert_eq!(tlb.load(back, 0x5004, 8), None); // Misaligned.
        for pmp in 0..SETS {
            tlb.select(Space::bare(Privilege::User, pmp), &ram);
        }
        let again = tlb.select(SPACE, &ram);
        assert_eq!(tlb.load(again, 0x5008, 8), None);
    }

    #[test]
    fn two_pages_with_the_same_slot_have_room_a_third_has_not() {
        let ram = ram(16);
        let mut tlb = Tlb::new(&ram);
        let set = tlb.select(SPACE, &ram);
        let apart = (ENTRIES as u64) << PAGE_BITS;
        let known = |tlb: &Tlb| [0, 1, 2].map(|n| tlb.load(set, 0x5000 + n * apart, 1).is_some());
        tlb.fill_load(set, 0x5000, 0x1000);
        tlb.fill_load(set, 0x5000 + apart, 0x2000);
        assert_eq!(known(&tlb), [true, true, false]);
        assert_eq!(tlb.load(set, 0x5008, 8), Some(0x1008));
        tlb.fill_load(set, 0x5000 + 2 * apart, 0x3000);
        assert_eq!(known(&tlb), [false, true, true]);
        tlb.drop_page(Roots::All, 0x5000 + apart);
        assert_eq!(known(&tlb), [false, false, true]);
        tlb.fill_load(set, 0x5000, 0x1000);
        tlb.drop_range(Roots::All, 0x5000 + 2 * apart, 1);
        assert_eq!(known(&tlb), [true, false, false]);
    }

    #[test]
    fn what_stops_being_plain_loses_its_store_permission_only() {
        let mut ram = ram(16);
        let mut tlb = Tlb::new(&ram);
        let set = tlb.select(SPACE, &ram);
        for (address, page) in [(0x5000, 1), (0x6000, 2)] {
            ram.mark_dirty(page);
            tlb.fill_load(set, address, page * PAGE);
            tlb.fill_store(set, address, page * PAGE);
        }
        ram.settle(|page, _| page == 2);
        assert_eq!(tlb.select(SPACE, &ram), set);
        assert!(tlb.load(set, 0x5000, 1).is_some());
        assert_eq!(tlb.store(set, 0x5000, 1), None);
        assert_eq!(tlb.store(set, 0x6000, 1), Some(0x2000));
        ram.take_dirty();
        tlb.select(SPACE, &ram);
        assert_eq!(tlb.store(set, 0x6000, 1), None);
    }

    #[test]
    fn a_page_loses_its_store_permissions_at_every_address() {
        let ram = ram(16);
        for addresses in [[0x5000; 3], [0x5000, 0x9000, 0x9000], [0x5000, 0x9000, 0xd000]] {
            let mut tlb = Tlb::new(&ram);
            let spaces = [
                SPACE,
                Space::bare(Privilege::User, 0),
                Space::bare(Privilege::Machine, 0),
            ];
            let sets = spaces.map(|space| tlb.select(space, &ram));
            for (set, address) in sets.into_iter().zip(addresses) {
                tlb.fill_store(set, address, 0x3000);
                tlb.fill_store(set, address + 0x1000, 0x4000);
            }
            tlb.drop_stores(3);
            for (set, address) in sets.into_iter().zip(addresses) {
                assert_eq!(tlb.store(set, address, 8), None);
                assert_eq!(tlb.store(set, address + 0x1000, 8), Some(0x4000));
            }
        }
    }

    #[test]
    fn a_page_whose_slot_another_has_taken_loses_its_store_permission_too() {
        let ram = ram(16);
        let mut tlb = Tlb::new(&ram);
        let set = tlb.select(SPACE, &ram);
        let apart = (ENTRIES as u64) << PAGE_BITS;
        tlb.fill_store(set, 0x5000, 0x3000);
        tlb.fill_store(set, 0x5000 + apart, 0x4000);
        assert_eq!(tlb.store(set, 0x5000, 8), Some(0x3000));
        tlb.drop_stores(3);
        assert_eq!(tlb.store(set, 0x5000, 8), None);
        assert_eq!(tlb.store(set, 0x5000 + apart, 8), Some(0x4000));
    }

    #[test]
    fn ranges_are_dropped_under_their_roots_only() {
        let ram = ram(2048);
        let mut tlb = Tlb::new(&ram);
        let one = tlb.select(SPACE, &ram);
        let two = tlb.select(Space::paged(0x4321, 3, Privilege::User, 0), &ram);
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
