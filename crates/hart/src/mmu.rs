//! Address translation: Sv39 and Sv48 walks, physical memory protection, and the coherence of what was
//! remembered of them (privileged manual, "Sv39", "Svadu", "Svnapot"; docs/determinism.md, "Coherent
//! caches").
//!
//! The interpreter asks here for every access: first what is remembered ([`Mmu::known_load`] and so on),
//! then, if that is nothing, for a walk ([`Mmu::reach`]), whose result it has remembered.
//!
//! Every page-table page that a remembered translation went through is registered in `page_tables` and
//! carries the RAM flag `WALKED`. A store to such a page comes through [`Mmu::store_marked`], which drops
//! what was derived from a valid entry before anything can use it. So translation behaves as if nothing was
//! ever remembered, and SFENCE.VMA has nothing to do.
//!
//! All harts of a machine share one MMU. It holds no guest state, and nothing that it has remembered or
//! forgotten may ever be seen.

use crate::{
    Hart, Ram,
    page_tables::{Derived, PageTables},
    pmp::{Intent, Pmp, Rules},
    privilege::Privilege,
    pte::{INDEX_BITS, Pte},
    ram::{self, CODE, DIRTY, PAGE, PAGE_BITS, WALKED},
    space::{Space, Spaces},
    tlb::{CodePlace, Set, Stamp, Tlb},
    trap::{Exception, Trap},
};

/// How many different PMP settings are told apart. When there is one more, everything is forgotten.
const PMP_SETTINGS_MAX: usize = 64;

/// Where a translated access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To RAM.
    Ram {
        /// The offset into RAM of the first byte.
        offset: usize,
        /// Whether one decision governs the whole page, so that the translation may be remembered for the
        /// page.
        uniform: bool,
    },
    /// To the bus, at this physical address.
    Bus(u64),
}

/// A store to a page whose code an engine has decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeWrite {
    /// The number of the page in RAM.
    pub page: usize,
    /// The offset in the page of the first byte that was stored.
    pub offset: usize,
    /// How many bytes were stored.
    pub length: usize,
}

/// Why a walk fails.
#[derive(Clone, Copy)]
enum Fault {
    /// The page tables do not allow the access.
    Page,
    /// PMP does not allow it, or there is no RAM where a page table should be.
    Access,
}

/// The page-table pages that the last walk went through, from the root down.
#[derive(Clone, Copy, Default)]
struct Path {
    /// For each, the number of the page in RAM and the level of the table. Only the first `length` count.
    pages: [(usize, u32); 4],
    /// How many there are.
    length: usize,
}

/// The translation of addresses for all harts.
pub struct Mmu {
    /// The translations that are remembered. Invariant: every page-table page that one of them went through
    /// is in `page_tables`.
    tlb: Tlb,
    /// The page-table pages that remembered translations went through, all of which carry `WALKED`.
    page_tables: PageTables,
    /// The PMP settings that were met, with the rules that follow from them. The number of a setting, which a
    /// [`Space`] holds, is its index here.
    settings: Vec<(Pmp, Rules)>,
    /// Where the last walk went.
    path: Path,
    /// The spaces of the hart that runs.
    spaces: Spaces,
    /// The set of the TLB that belongs to the space for data.
    data_set: Set,
    /// The set of the TLB that belongs to the space for fetches.
    fetch_set: Set,
    /// Stores to pages with `CODE` that the engine has not yet dealt with.
    pub code_writes: Vec<CodeWrite>,
    /// Whether a translation was dropped since the engine last looked: that of the pc may be among them.
    pub dropped: bool,
}

impl Mmu {
    /// An MMU for this RAM that remembers nothing.
    #[must_use]
    pub fn new(ram: &Ram) -> Mmu {
        let space = Space::bare(Privilege::Machine, 0);
        Mmu {
            tlb: Tlb::new(ram),
            page_tables: PageTables::new(ram.pages()),
            settings: Vec::new(),
            path: Path::default(),
            spaces: Spaces {
                fetch: space,
                data: space,
            },
            data_set: Set::FIRST,
            fetch_set: Set::FIRST,
            code_writes: Vec::new(),
            dropped: false,
        }
    }

    /// Makes `hart`'s present address spaces the current ones. To be called when anything they depend on
    /// may have changed, and at the start of a run.
    pub fn select(&mut self, hart: &Hart, ram: &Ram) {
        let pmp = self.setting(&hart.pmp, hart.id);
        self.spaces = Spaces::of(hart, pmp);
        self.fetch_set = self.tlb.select(self.spaces.fetch, ram);
        self.data_set = self.tlb.select(self.spaces.data, ram);
    }

    /// Does what [`Mmu::select`] does, in the midst of a run and if the hart's PMP is as it was.
    pub fn select_again(&mut self, hart: &Hart, ram: &Ram) {
        let before = self.spaces;
        self.spaces = Spaces::of(hart, before.fetch.pmp());
        if self.spaces.fetch != before.fetch {
            self.fetch_set = self.tlb.select(self.spaces.fetch, ram);
        }
        if self.spaces.data != before.data {
            self.data_set = self.tlb.select(self.spaces.data, ram);
        }
    }

    /// The number of a PMP setting; `likely` is a number that it probably has.
    fn setting(&mut self, pmp: &Pmp, likely: usize) -> usize {
        if self.settings.get(likely).is_some_and(|(known, _)| known == pmp) {
            return likely;
        }
        if let Some(known) = self.settings.iter().position(|(known, _)| known == pmp) {
            return known;
        }
        if self.settings.len() == PMP_SETTINGS_MAX {
            self.settings.clear();
            self.tlb.drop_all();
        }
        self.settings.push((pmp.clone(), pmp.rules()));
        self.settings.len() - 1
    }

    /// Forgets everything; `ram`'s flags are cleaned up.
    pub fn forget(&mut self, ram: &mut Ram) {
        self.tlb.drop_all();
        self.page_tables.release_all(ram);
        self.dropped = true;
    }

    /// Translates `length` bytes at `address`, which do not cross a page, for `intent`; sets A and D.
    ///
    /// # Errors
    /// The page or access fault to raise.
    pub fn reach(
        &mut self,
        ram: &mut Ram,
        address: u64,
        length: u64,
        intent: Intent,
    ) -> Result<Target, Trap> {
        let space = if intent == Intent::Fetch {
            self.spaces.fetch
        } else {
            self.spaces.data
        };
        let physical = match self.walk(ram, space, address, intent) {
            Ok(physical) => physical,
            Err(fault) => return Err(trap(fault, intent, address)),
        };
        if !self.allowed(space, physical, length, space.privilege(), intent) {
            return Err(trap(Fault::Access, intent, address));
        }
        Ok(match ram.offset(physical, length as usize) {
            Some(offset) => {
                let page = physical & !(PAGE as u64 - 1);
                let uniform = self
                    .rules(space)
                    .is_none_or(|rules| rules.uniform(page, PAGE as u64));
                Target::Ram { offset, uniform }
            }
            None => Target::Bus(physical),
        })
    }

    /// The offset into RAM of an aligned load of `size` bytes, if its page is remembered.
    #[inline(always)]
    #[must_use]
    pub fn known_load(&self, address: u64, size: u64) -> Option<usize> {
        self.tlb.load(self.data_set, address, size)
    }

    /// The offset into RAM of an aligned store of `size` bytes, if its page is remembered, and plain.
    #[inline(always)]
    #[must_use]
    pub fn known_store(&self, address: u64, size: u64) -> Option<usize> {
        self.tlb.store(self.data_set, address, size)
    }

    /// The place of the code of the page that `address` lies in, if it is remembered.
    #[inline(always)]
    #[must_use]
    pub fn known_fetch(&self, address: u64) -> Option<CodePlace> {
        self.tlb.fetch(self.fetch_set, address)
    }

    /// The set of the TLB in which fetches are looked up, and its stamp.
    #[must_use]
    pub fn fetches(&self) -> (Set, Stamp) {
        (self.fetch_set, self.tlb.stamp(self.fetch_set))
    }

    /// Where generated code finds what is remembered for loads and stores ([`Tlb::data_address`]).
    #[must_use]
    pub fn data_address(&self) -> *const u8 {
        self.tlb.data_address(self.data_set)
    }

    /// Where generated code finds what is remembered for fetches ([`Tlb::fetch_address`]).
    #[must_use]
    pub fn fetch_address(&self) -> *const u8 {
        self.tlb.fetch_address(self.fetch_set)
    }

    /// Drops every remembered fetch that leads to the code kept at a place.
    pub fn drop_code(&mut self, place: CodePlace) {
        self.tlb.drop_code(place);
    }

    /// Drops every remembered fetch.
    pub fn drop_fetches(&mut self) {
        self.tlb.drop_fetches();
    }

    /// Is it for this RAM?
    #[must_use]
    pub fn is_of(&self, ram: &Ram) -> bool {
        self.tlb.is_of(ram)
    }

    /// A number that grows whenever a translation is dropped that was good until then.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.tlb.drops()
    }

    /// How many translations were remembered so far for loads, for stores and for fetches.
    #[must_use]
    pub fn fills(&self) -> [u64; 3] {
        self.tlb.fills()
    }

    fn rules(&self, space: Space) -> Option<&Rules> {
        self.settings.get(space.pmp()).map(|(_, rules)| rules)
    }

    fn allowed(
        &self,
        space: Space,
        physical: u64,
        length: u64,
        privilege: Privilege,
        intent: Intent,
    ) -> bool {
        self.rules(space)
            .is_none_or(|rules| rules.allow(physical, length, privilege, intent))
    }

    /// Translates a load or store as [`Mmu::reach`] does, and remembers the translation if it may be
    /// remembered.
    ///
    /// # Errors
    /// The page or access fault to raise.
    pub fn reach_and_remember(
        &mut self,
        ram: &mut Ram,
        address: u64,
        length: u64,
        intent: Intent,
    ) -> Result<Target, Trap> {
        let target = self.reach(ram, address, length, intent)?;
        if let Target::Ram {
            offset,
            uniform: true,
        } = target
        {
            if intent == Intent::Store {
                self.remember_store(ram, address, offset);
            } else {
                self.remember_load(ram, address, offset);
            }
        }
        Ok(target)
    }

    /// Remembers the translation that [`Mmu::reach`] has just made for a load.
    fn remember_load(&mut self, ram: &mut Ram, address: u64, offset: usize) {
        self.register(ram, self.spaces.data, address);
        self.tlb.fill_load(self.data_set, address, offset);
    }

    /// Remembers the translation that [`Mmu::reach`] has just made for a store, if the page is plain.
    fn remember_store(&mut self, ram: &mut Ram, address: u64, offset: usize) {
        if ram.flags(offset / PAGE) & (CODE | WALKED) != 0 {
            return;
        }
        self.register(ram, self.spaces.data, address);
        ram.mark_dirty(offset / PAGE);
        // Registering may have flagged this very page: page tables that map themselves.
        if ram.is_plain(offset / PAGE) {
            self.tlb.fill_store(self.data_set, address, offset);
        }
    }

    /// Notes that an engine executes from the page that [`Mmu::reach`] has just found, as far as the page's
    /// end without asking again, until [`Mmu::dropped`] says that a translation is gone.
    pub fn hold_fetch(&mut self, ram: &mut Ram, address: u64) {
        self.register(ram, self.spaces.fetch, address);
    }

    /// Remembers where the engine keeps the code of the page that [`Mmu::reach`] has just found.
    pub fn remember_fetch(&mut self, ram: &mut Ram, address: u64, place: CodePlace) {
        self.hold_fetch(ram, address);
        self.tlb.fill_fetch(self.fetch_set, address, place);
    }

    /// Sets a RAM flag on a page and drops the permissions to store there.
    pub fn flag(&mut self, ram: &mut Ram, page: usize, flag: u8) {
        // Of a page that is not dirty, only sets of an older generation can have any, which lose them when
        // they are selected.
        if ram.flags(page) & DIRTY != 0 {
            self.tlb.drop_stores(page);
        }
        ram.set_flag(page, flag);
    }

    /// Flags the page-table pages of the last walk and notes what they are for.
    fn register(&mut self, ram: &mut Ram, space: Space, address: u64) {
        let path = self.path;
        for &(page, level) in path.pages.iter().take(path.length) {
            let top = level + 1 == space.levels();
            let derived = Derived::new(address, level, top, space.root());
            if self.page_tables.register(page, derived) {
                self.flag(ram, page, WALKED);
            }
        }
    }

    /// Stores the low `length` bytes of `value` at an offset, within a page, with all the bookkeeping that
    /// a page may need.
    pub fn store_marked(&mut self, ram: &mut Ram, offset: usize, length: usize, value: u64) {
        let page = offset / PAGE;
        ram.mark_dirty(page);
        self.note_code_write(ram, offset, length);
        if ram.flags(page) & WALKED == 0 {
            ram.store(offset, length, value);
            return;
        }
        let first = offset & !7;
        let last = (offset + length - 1) & !7;
        let before = [ram.load_u64(first), ram.load_u64(last)];
        ram.store(offset, length, value);
        for (word, old) in [first, last].into_iter().zip(before) {
            if Pte(old).is_valid() && old != ram.load_u64(word) {
                self.drop_derived(ram, page, word % PAGE / 8, Pte(old));
            }
        }
    }

    fn note_code_write(&mut self, ram: &Ram, offset: usize, length: usize) {
        if ram.flags(offset / PAGE) & CODE != 0 {
            self.code_writes.push(CodeWrite {
                page: offset / PAGE,
                offset: offset % PAGE,
                length,
            });
        }
    }

    fn drop_derived(&mut self, ram: &mut Ram, page: usize, index: usize, old: Pte) {
        self.dropped = true;
        let child = old.is_pointer().then(|| ram.offset(old.address(), PAGE));
        let child = child.flatten().map(|offset| offset / PAGE);
        self.page_tables
            .drop_entry(&mut self.tlb, ram, page, index, child);
    }

    /// Somebody else has written to the page: drops all that was derived from its page-table entries.
    pub fn drop_table(&mut self, ram: &mut Ram, page: usize) {
        if ram.flags(page) & WALKED != 0 {
            self.dropped = true;
            self.page_tables.drop_table(&mut self.tlb, ram, page);
        }
    }

    /// Walks the page tables (privileged manual, "Virtual Address Translation Process"). Leaves the pages it
    /// went through in `self.path`.
    fn walk(&mut self, ram: &mut Ram, space: Space, address: u64, intent: Intent) -> Result<u64, Fault> {
        self.path.length = 0;
        let levels = space.levels();
        if levels == 0 {
            return Ok(address);
        }
        // All bits of an address that choose nothing must equal the highest one that chooses something.
        let unused = 64 - PAGE_BITS - INDEX_BITS * levels;
        if ((address << unused) as i64 >> unused) as u64 != address {
            return Err(Fault::Page);
        }
        let mut table = space.root_page() << PAGE_BITS;
        for level in (0..levels).rev() {
            let index = address >> (PAGE_BITS + INDEX_BITS * level) & ((1 << INDEX_BITS) - 1);
            let at = table + index * 8;
            if !self.allowed(space, at, 8, Privilege::Supervisor, Intent::Load) {
                return Err(Fault::Access);
            }
            let offset = ram.offset(at, 8).ok_or(Fault::Access)?;
            let entry = Pte(ram.load_u64(offset));
            self.path.pages[self.path.length] = (offset / PAGE, level);
            self.path.length += 1;
            if !entry.is_sound() {
                return Err(Fault::Page);
            }
            if entry.is_pointer() {
                table = entry.address();
                continue;
            }
            let mapped = entry.map(level, address);
            let mapped = mapped.filter(|_| entry.allows(space, intent));
            let mapped = mapped.ok_or(Fault::Page)?;
            self.use_leaf(ram, space, offset, entry, intent)?;
            return Ok(mapped);
        }
        Err(Fault::Page)
    }

    /// Sets A, and D for a store, in the leaf at an offset into RAM, or faults where that is software's task
    /// (Svade).
    ///
    /// Nothing remembered depends on the change: translations made while A or D was clear were not remembered
    /// for the accesses that need them.
    fn use_leaf(
        &mut self,
        ram: &mut Ram,
        space: Space,
        offset: usize,
        leaf: Pte,
        intent: Intent,
    ) -> Result<(), Fault> {
        let used = leaf.used(intent);
        if used == leaf {
            return Ok(());
        }
        if !space.adue() {
            return Err(Fault::Page);
        }
        let at = ram::BASE + offset as u64;
        if !self.allowed(space, at, 8, Privilege::Supervisor, Intent::Store) {
            return Err(Fault::Access);
        }
        ram.mark_dirty(offset / PAGE);
        self.note_code_write(ram, offset, 8);
        ram.store_u64(offset, used.0);
        Ok(())
    }
}

fn trap(fault: Fault, intent: Intent, address: u64) -> Trap {
    let exception = match (fault, intent) {
        (Fault::Page, Intent::Load) => Exception::LoadPageFault,
        (Fault::Page, Intent::Store) => Exception::StorePageFault,
        (Fault::Page, Intent::Fetch) => Exception::InstructionPageFault,
        (Fault::Access, Intent::Load) => Exception::LoadAccessFault,
        (Fault::Access, Intent::Store) => Exception::StoreAccessFault,
        (Fault::Access, Intent::Fetch) => Exception::InstructionAccessFault,
    };
    Trap::new(exception, address)
}
