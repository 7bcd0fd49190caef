//! Which pages of RAM are page tables that remembered translations went through, and what each is used for.
//!
//! The MMU registers here the tables of each walk whose result it remembers. From that follows what a store
//! to such a page makes wrong. A table usually serves one range of virtual addresses, in one address space or
//! (a kernel's) in all of them: then just what the TLB knows of that range is dropped. A table that is used
//! in two ways is *irregular*, and a store to it drops everything.
//!
//! Invariant: a page is registered here exactly if it carries `WALKED` because of this MMU. It must not be
//! released while anything that went through it is remembered.

use crate::{
    Ram,
    pte::INDEX_BITS,
    ram::{PAGE_BITS, WALKED},
    tlb::{Roots, Tlb},
};

/// How many valid entries of one table are overwritten before all of it is dropped, so that a page that is no
/// longer a table, or is rewritten from end to end, soon becomes plain.
const OVERWRITES_MAX: u8 = 16;

/// What a page-table page is used for: which translations are derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derived {
    /// The first virtual address that the table maps; 0 for a root.
    address: u64,
    /// The level of the table's entries: those of level 0 map pages of 4 KiB.
    level: u32,
    /// The root page tables of the spaces in which it is used.
    roots: Roots,
}

impl Derived {
    /// The use of a table of `level` in translating `address` in the spaces with this root; `top`: the table
    /// is the root itself.
    #[must_use]
    pub fn new(address: u64, level: u32, top: bool, root: u64) -> Derived {
        let span = PAGE_BITS + INDEX_BITS * (level + 1);
        let address = if top { 0 } else { address >> span << span };
        Derived {
            address,
            level,
            roots: Roots::One(root),
        }
    }
}

/// A page-table page that is registered.
#[derive(Clone, Copy, Debug)]
struct PageTable {
    /// The number of the page in RAM.
    page: u32,
    /// How many of its valid entries were overwritten. Below [`OVERWRITES_MAX`].
    overwrites: u8,
    /// What it is used for; `None`: it is used in two ways, and so irregular.
    derived: Option<Derived>,
}

/// The page-table pages that are registered.
pub struct PageTables {
    /// For each page of RAM one more than its index in `list`, or 0 if it is not registered.
    index: Vec<u32>,
    /// The registered pages, in no order.
    list: Vec<PageTable>,
}

impl PageTables {
    /// No registered page, in a RAM of so many pages.
    #[must_use]
    pub fn new(pages: usize) -> PageTables {
        PageTables {
            index: vec![0; pages],
            list: Vec::new(),
        }
    }

    /// Where in `list` a page of RAM is.
    fn position(&self, page: usize) -> Option<usize> {
        (self.index[page] as usize).checked_sub(1)
    }

    /// Notes that a page is used for something; true if the page was not registered before.
    pub fn register(&mut self, page: usize, used: Derived) -> bool {
        let Some(at) = self.position(page) else {
            self.list.push(PageTable {
                page: page as u32,
                overwrites: 0,
                derived: Some(used),
            });
            self.index[page] = self.list.len() as u32;
            return true;
        };
        let table = &mut self.list[at];
        if let Some(known) = &mut table.derived
            && *known != used
        {
            if known.address == used.address && known.level == used.level {
                known.roots = Roots::All;
            } else {
                table.derived = None;
            }
        }
        false
    }

    /// Drops what was derived from an entry, by its index, of the table in `page`: the entry was valid and
    /// has changed. `child` is the page of the table that it led to, if it did.
    pub fn drop_entry(
        &mut self,
        tlb: &mut Tlb,
        ram: &mut Ram,
        page: usize,
        index: usize,
        child: Option<usize>,
    ) {
        let Some(at) = self.position(page) else {
            // The flag was left over from an engine that is gone: nothing is derived from the page.
            ram.clear_flag(page, WALKED);
            return;
        };
        let Some(derived) = self.list[at].derived else {
            self.drop_everything(tlb, ram);
            return;
        };
        self.list[at].overwrites += 1;
        if self.list[at].overwrites >= OVERWRITES_MAX {
            self.drop_table(tlb, ram, page);
            return;
        }
        let span = PAGE_BITS + INDEX_BITS * derived.level;
        let address = derived.address.wrapping_add((index as u64) << span);
        if derived.level == 0 {
            tlb.drop_page(derived.roots, address);
            return;
        }
        drop_pages(tlb, derived.roots, address, derived.level);
        // What went through the child is dropped too, and so is all of the child if it served no other
        // spaces.
        if let Some(child) = child
            && let Some(table) = self.position(child).map(|at| self.list[at])
            && table.derived.is_some_and(|of| {
                of.roots == derived.roots && of.level + 1 == derived.level && of.address == address
            })
        {
            self.release(ram, child);
        }
    }

    /// Drops all that was derived from the table in `page`, and unregisters the page.
    pub fn drop_table(&mut self, tlb: &mut Tlb, ram: &mut Ram, page: usize) {
        match self.position(page).map(|at| self.list[at].derived) {
            None => ram.clear_flag(page, WALKED),
            Some(None) => self.drop_everything(tlb, ram),
            Some(Some(derived)) => {
                drop_pages(tlb, derived.roots, derived.address, derived.level + 1);
                self.release(ram, page);
            }
        }
    }

    fn drop_everything(&mut self, tlb: &mut Tlb, ram: &mut Ram) {
        tlb.drop_all();
        self.release_all(ram);
    }

    /// Unregisters a page that nothing is derived from any more.
    fn release(&mut self, ram: &mut Ram, page: usize) {
        if let Some(at) = self.position(page) {
            self.index[page] = 0;
            self.list.swap_remove(at);
            if let Some(moved) = self.list.get(at) {
                self.index[moved.page as usize] = at as u32 + 1;
            }
        }
        ram.clear_flag(page, WALKED);
    }

    /// Unregisters all pages; nothing is derived from any of them any more.
    pub fn release_all(&mut self, ram: &mut Ram) {
        for table in self.list.drain(..) {
            self.index[table.page as usize] = 0;
            ram.clear_flag(table.page as usize, WALKED);
        }
    }
}

/// Drops from the TLB what one entry of `level` covers: a page, 512 pages, ...
fn drop_pages(tlb: &mut Tlb, roots: Roots, address: u64, level: u32) {
    // From level 2 on the range has more pages than a set of the TLB has slots, so that the sets are cleared.
    tlb.drop_range(roots, address, 1 << (INDEX_BITS * level.min(2)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        privilege::Privilege,
        ram::PAGE,
        space::Space,
        tlb::{Roots, Set},
    };

    /// A RAM whose pages 1 to 3 are the tables, from the root down, of 0x40000000 and 0x40001000.
    fn three_levels() -> (Ram, Tlb, PageTables, Set) {
        let mut ram = Ram::new(16 * PAGE as u64).unwrap();
        let mut tlb = Tlb::new(&ram);
        let mut tables = PageTables::new(16);
        let space = Space::paged(1, 3, Privilege::Supervisor, 0);
        let set = tlb.select(space, &ram);
        for address in [0x4000_0000, 0x4000_1000] {
            for (page, level) in [(1, 2), (2, 1), (3, 0)] {
                let used = Derived::new(address, level, level == 2, space.root());
                if tables.register(page, used) {
                    ram.set_flag(page, WALKED);
                }
            }
            tlb.fill_load(set, address, 0);
        }
        (ram, tlb, tables, set)
    }

    #[test]
    fn a_leaf_entry_drops_its_page_only() {
        let (mut ram, mut tlb, mut tables, set) = three_levels();
        tables.drop_entry(&mut tlb, &mut ram, 3, 1, None);
        assert!(tlb.load(set, 0x4000_0000, 1).is_some());
        assert!(tlb.load(set, 0x4000_1000, 1).is_none());
        assert_eq!(ram.flags(3), WALKED);
    }

    #[test]
    fn a_pointer_drops_what_is_below_and_releases_its_table() {
        let (mut ram, mut tlb, mut tables, set) = three_levels();
        tables.drop_entry(&mut tlb, &mut ram, 2, 0, Some(3));
        assert!(tlb.load(set, 0x4000_0000, 1).is_none());
        assert_eq!((ram.flags(1), ram.flags(2), ram.flags(3)), (WALKED, WALKED, 0));
    }

    #[test]
    fn a_table_overwritten_often_becomes_plain() {
        let (mut ram, mut tlb, mut tables, set) = three_levels();
        for index in 0..usize::from(OVERWRITES_MAX) {
            tables.drop_entry(&mut tlb, &mut ram, 3, 100 + index, None);
        }
        assert_eq!(ram.flags(3), 0);
        assert!(tlb.load(set, 0x4000_0000, 1).is_none());
    }

    #[test]
    fn an_irregular_table_drops_everything() {
        let (mut ram, mut tlb, mut tables, _) = three_levels();
        tables.register(3, Derived::new(0x8000_0000, 0, false, 1));
        let other = tlb.select(Space::paged(5, 3, Privilege::User, 0), &ram);
        tlb.fill_load(other, 0, 0);
        tables.drop_entry(&mut tlb, &mut ram, 3, 0, None);
        assert!(tlb.load(other, 0, 1).is_none());
        assert_eq!((ram.flags(1), ram.flags(2), ram.flags(3)), (0, 0, 0));
    }

    #[test]
    fn a_flag_that_a_former_engine_left_is_taken_away() {
        let mut ram = Ram::new(PAGE as u64).unwrap();
        ram.set_flag(0, WALKED);
        let mut tlb = Tlb::new(&ram);
        PageTables::new(1).drop_entry(&mut tlb, &mut ram, 0, 0, None);
        assert_eq!(ram.flags(0), 0);
        tlb.drop_range(Roots::All, 0, 1);
    }
}
