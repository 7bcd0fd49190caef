//! The software TLB: remembers translations that were made, so that most accesses need no walk of page
//! tables.
//!
//! The MMU (`mmu`) owns it, fills it after a walk, and drops what a store to a page table has made wrong;
//! which entries that are, `page_tables` says. The interpreter looks into it through the MMU at each load,
//! store and change of page, generated code (`jit`) by host address and by itself.
//!
//! # The words
//!
//! An **entry** says what to do with accesses of one kind to one page of virtual addresses, in one address
//! space. It stands for the whole page, so it only exists where one decision governs all of the page,
//! translation and protection alike. Its *tag* is the address of the page, its *answer* what to do.
//!
//! A **table** has the entries for one kind of access: loads, stores or fetches of instructions. For loads
//! and stores the answer leads to the page in RAM. For fetches it is a **place**: the number under which the
//! interpreter and the translator keep the code of that page.
//!
//! A **set** is the part of all three tables that belongs to one address space ([`Space`]): to page tables, a
//! privilege mode and what else a translation depends on. There are 32 sets, so that a guest that switches to
//! a space that it used lately finds its entries again. A space that has no set gets the one that was used
//! longest ago, whose entries are dropped.
//!
//! A **slot** is a position among the entries that one set has in one table; there are 16,384. A page's *own*
//! slot is the low bits of its page number, and its **second** slot is the one whose number differs from that
//! in the top bit alone. A page's entry stands in one of its two slots and nowhere else. So two pages with
//! the same own slot have room beside each other. An example: the address 0x12345678 lies in page 0x12345,
//! whose own slot is 0x2345 and whose second slot is 0x0345.
//!
//! A **group** is 64 slots side by side. For each set and table, the TLB keeps in mind in which groups there
//! may be entries, so that dropping a few entries does not mean reading the whole table.
//!
//! A page of RAM is **plain** while a store to it needs no bookkeeping ([`Ram::is_plain`]); only for such
//! pages are there entries for stores. A page stops being plain in two ways. When something is derived from
//! it (its code is decoded, or it turns out to be a page table) its entries for stores are dropped at once; a
//! **hint** says for each page of RAM in which slots they may stand. When it counts as clean again, RAM only
//! counts up its **generation**; each set notes the generation as of which its entries for stores are right,
//! and has them looked through when it is next selected.
//!
//! A **stamp** is a number that every set has. When entries for fetches are dropped because they may have
//! become wrong, each set that they may be in gets a stamp that no set ever had. The translator keeps a stack
//! of the guest's calls for each set, and believes it only as long as the set's stamp is the one under which
//! the calls were made.
//!
//! # What is done
//!
//! *Selecting* comes first ([`Tlb::select`]): it finds or makes the set of an address space, and drops from
//! it the entries for stores to pages that are not plain any more.
//!
//! A *lookup* ([`Tlb::load`], [`Tlb::store`], [`Tlb::fetch`]) makes the tag of an address, reads the set's
//! entry in the page's own slot of the table and compares tags; if they differ, it does the same with the
//! entry in the second slot. The tag of a misaligned access fits no entry. Generated code looks up by itself,
//! in the same order, but compares with the page of the access's last byte, so that it does misaligned
//! accesses inside a page as well.
//!
//! A *fill* ([`Tlb::fill_load`] and so on), after a lookup that found nothing and a walk that did, puts an
//! entry into its page's own slot. The entry of another page that stood there moves to the other slot of its
//! own two, and what stood there is forgotten.
//!
//! A *drop* empties entries that are wrong from now on: those of a page or a range of virtual addresses, of
//! all spaces or of those with the same page tables; those for stores to a page of RAM; or those for fetches
//! of a page whose code is not kept any more.
//!
//! Invariant: an entry exists only while a walk would give the same answer (docs/determinism.md, "Coherent
//! caches"), and an entry for stores only while its page of RAM is plain ([`Ram::is_plain`]) as of the set's
//! generation. So forgetting any entry at any time changes nothing but speed. Nothing here is guest state.
//!
//! The files: `index` has the types of set, slot, table and group; `entries` the memory and what is done to
//! single entries; `sets` who a set belongs to; `hints` the hints; this one puts them together.

mod entries;
mod hints;
mod index;
mod sets;

use crate::{
    Ram,
    ram::{PAGE, PAGE_BITS},
    space::Space,
};
use entries::{Answer, Entries, Entry};
pub use entries::{CodePlace, PLACE_SHIFT, STORE_DISTANCE};
use hints::{Hint, Hints};
use index::{Groups, Slot, TABLES, Table};
pub use index::{SECOND, SETS, SLOTS, Set};
use sets::Sets;
pub use sets::{Roots, Stamp};

/// The software TLB of a machine, for all of its harts.
pub struct Tlb {
    /// The entries of all sets.
    entries: Entries,
    /// Which space each set belongs to.
    sets: Sets,
    /// For each page of RAM, where its entries for stores may stand. Invariant: an entry for stores to a page
    /// stands in a slot that the page's hint names, or in the other one of that page's two.
    hints: Hints,
    /// The host address of RAM's first byte.
    ram: u64,
    /// The number that [`Tlb::drops`] gives.
    drops: u64,
    /// How many entries were made for loads, for stores and for fetches.
    fills: [u64; TABLES],
}

impl Tlb {
    /// A TLB for this RAM that knows nothing.
    #[must_use]
    pub fn new(ram: &Ram) -> Tlb {
        Tlb {
            entries: Entries::new(),
            sets: Sets::new(),
            hints: Hints::new(ram.pages()),
            ram: ram.base() as u64,
            drops: 0,
            fills: [0; TABLES],
        }
    }

    /// Was it made for this RAM?
    #[must_use]
    pub fn is_of(&self, ram: &Ram) -> bool {
        self.ram == ram.base() as u64 && self.hints.pages() == ram.pages()
    }

    /// A number that grows at least whenever an entry is dropped; it may also grow when there was no entry to
    /// drop. As long as it stays the same, what was found in the TLB holds.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.drops
    }

    /// How many entries were made so far for loads, for stores and for fetches.
    #[must_use]
    pub fn fills(&self) -> [u64; TABLES] {
        self.fills
    }

    /// Where generated code finds a set's entries for loads: the host address of the first of them. That of
    /// the entries for stores is [`STORE_DISTANCE`] greater.
    #[must_use]
    pub fn data_address(&self, set: Set) -> *const u8 {
        self.entries.address(Table::Load, set)
    }

    /// Where generated code finds a set's entries for fetches: the host address of the first of them.
    #[must_use]
    pub fn fetch_address(&self, set: Set) -> *const u8 {
        self.entries.address(Table::Fetch, set)
    }

    /// The set's stamp. As long as it stays the same, code that was reached through the set is where it was.
    #[must_use]
    pub fn stamp(&self, set: Set) -> Stamp {
        self.sets.stamp(set)
    }

    /// Finds or makes the set of `space`, and drops from it the entries for stores to pages that are not
    /// plain any more. Afterwards the set may be looked up and filled. It stays the space's while no more
    /// than [`SETS`] - 1 other spaces are selected; the selection of one more may take the set away.
    pub fn select(&mut self, space: Space, ram: &Ram) -> Set {
        let set = match self.sets.find(space) {
            Some(set) => set,
            None => self.give_set(space, ram.generation()),
        };
        if self.sets.renew_generation(set, ram.generation()) {
            self.drops += 1;
            let base = self.ram;
            let is_wrong = |entry| !ram.is_plain(page(entry, base));
            self.entries.drop_in(Table::Store, set, &Groups::ALL, is_wrong);
        }
        set
    }

    /// Gives an empty set to a space that has none.
    #[cold]
    fn give_set(&mut self, space: Space, generation: u64) -> Set {
        let set = self.sets.oldest();
        if self.sets.is_owned(set) {
            self.clear(set);
        } else {
            self.entries.begin(set);
            self.sets.renew_stamp(set);
        }
        self.sets.give(set, space, generation);
        set
    }

    /// The offset into RAM for an aligned load of `size` bytes, if the page is known.
    #[inline(always)]
    #[must_use]
    pub fn load(&self, set: Set, address: u64, size: u64) -> Option<usize> {
        let answer = self.entries.find(Table::Load, set, address, size)?;
        Some(self.offset(address, answer))
    }

    /// The offset into RAM for an aligned store of `size` bytes, if the page is known, and plain.
    #[inline(always)]
    #[must_use]
    pub fn store(&self, set: Set, address: u64, size: u64) -> Option<usize> {
        let answer = self.entries.find(Table::Store, set, address, size)?;
        Some(self.offset(address, answer))
    }

    /// The place of the code of the page that `address` lies in, if the page is known.
    #[inline(always)]
    #[must_use]
    pub fn fetch(&self, set: Set, address: u64) -> Option<CodePlace> {
        let answer = self.entries.find(Table::Fetch, set, address, 1)?;
        Some(answer.place())
    }

    #[inline(always)]
    fn offset(&self, address: u64, answer: Answer) -> usize {
        answer.host(address).wrapping_sub(self.ram) as usize
    }

    /// Remembers that a load from `address`, and so every load from its page, goes to this offset into RAM or
    /// as far from it as the address is from `address`.
    pub fn fill_load(&mut self, set: Set, address: u64, offset: usize) {
        self.fill(Table::Load, set, address, self.distance(address, offset));
    }

    /// Remembers the same for stores. The page of RAM is plain.
    pub fn fill_store(&mut self, set: Set, address: u64, offset: usize) {
        self.fill(Table::Store, set, address, self.distance(address, offset));
        self.hints.note(offset / PAGE, Slot::of(address));
    }

    /// Remembers at which place the code is kept of the page that `address` lies in.
    pub fn fill_fetch(&mut self, set: Set, address: u64, place: CodePlace) {
        self.fill(Table::Fetch, set, address, Answer::code(place));
    }

    fn distance(&self, address: u64, offset: usize) -> Answer {
        Answer::distance(address, self.ram.wrapping_add(offset as u64))
    }

    fn fill(&mut self, table: Table, set: Set, address: u64, answer: Answer) {
        self.fills[table as usize] += 1;
        self.entries.fill(table, set, address, answer);
    }

    /// Drops what is known of the page that `address` lies in.
    pub fn drop_page(&mut self, roots: Roots, address: u64) {
        self.drops += 1;
        for set in Set::all() {
            if self.sets.is_under(set, roots) {
                self.sets.renew_stamp(set);
                self.entries.drop_page(set, address);
            }
        }
    }

    /// Drops what is known of `pages` pages, whose first begins at `address`.
    pub fn drop_range(&mut self, roots: Roots, address: u64, pages: usize) {
        let bytes = (pages as u64) << PAGE_BITS;
        self.drops += 1;
        let groups = Groups::of_pages(address, pages.min(SLOTS));
        for set in Set::all() {
            if !self.sets.is_under(set, roots) {
                continue;
            }
            if pages >= SLOTS {
                self.clear(set);
                continue;
            }
            self.sets.renew_stamp(set);
            for table in Table::ALL {
                let is_inside = |entry: Entry| entry.tag.wrapping_sub(address) < bytes;
                self.entries.drop_in(table, set, &groups, is_inside);
            }
        }
    }

    /// Drops everything.
    pub fn drop_all(&mut self) {
        self.drop_range(Roots::All, 0, SLOTS);
    }

    /// Drops all entries for stores to a page of RAM, which stops being plain.
    pub fn drop_stores(&mut self, ram_page: usize) {
        let ram = self.ram;
        let is_there = |entry| page(entry, ram) == ram_page;
        self.drops += 1;
        match self.hints.take(ram_page) {
            Hint::Anywhere => {
                for set in Set::all() {
                    self.entries.drop_in(Table::Store, set, &Groups::ALL, is_there);
                }
            }
            Hint::Slots(slots) => {
                for own in slots.into_iter().flatten() {
                    for set in Set::all() {
                        self.entries.drop_at(Table::Store, set, own, is_there);
                        self.entries.drop_at(Table::Store, set, own.other(), is_there);
                    }
                }
            }
        }
    }

    /// Drops all entries for fetches that lead to the code kept at a place.
    pub fn drop_code(&mut self, place: CodePlace) {
        self.drops += 1;
        for set in Set::all() {
            self.sets.renew_stamp(set);
            let leads_there = |entry: Entry| entry.answer == Answer::code(place);
            self.entries.drop_in(Table::Fetch, set, &Groups::ALL, leads_there);
        }
    }

    /// Drops all entries for fetches.
    pub fn drop_fetches(&mut self) {
        self.drops += 1;
        for set in Set::all() {
            self.sets.renew_stamp(set);
            self.entries.drop_in(Table::Fetch, set, &Groups::ALL, |_| true);
        }
    }

    /// Drops all entries of a set.
    fn clear(&mut self, set: Set) {
        self.drops += 1;
        self.sets.renew_stamp(set);
        for table in Table::ALL {
            self.entries.drop_in(table, set, &Groups::ALL, |_| true);
        }
    }
}

/// The page of RAM to which an entry for loads or stores leads; `ram` is the host address of RAM's first
/// byte.
fn page(entry: Entry, ram: u64) -> usize {
    entry.answer.host(entry.tag).wrapping_sub(ram) as usize / PAGE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privilege::Privilege;
    use crate::ram::PageSet;

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
        let apart = (SLOTS as u64) << PAGE_BITS;
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
        ram.begin_round(&mut PageSet::new(ram.pages()));
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
        let apart = (SLOTS as u64) << PAGE_BITS;
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
                tlb.fill_fetch(set, address, CodePlace(7));
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
