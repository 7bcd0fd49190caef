//! Address translation: Sv39 and Sv48 walks, physical memory protection, and the coherence of what was
//! remembered of them (privileged manual, "Sv39", "Svadu", "Svnapot"; docs/determinism.md, D3).
//!
//! Every page-table page that a remembered translation went through is registered in `tables` and carries
//! the RAM flag `WALKED`. A store to such a page comes through [`Mmu::store_marked`], which drops what was
//! derived from a valid entry before anything can use it. So translation behaves as if nothing was ever
//! remembered, and SFENCE.VMA has nothing to do.
//!
//! The MMU is shared by all harts and by all engines; it holds no guest state.

use crate::{
    Hart, Ram,
    csr::{satp_levels, satp_root, status},
    pmp::{Intent, Pmp, Rules},
    ram::{CODE, DIRTY, PAGE, WALKED},
    space::Space,
    tables::{Derived, Tables},
    tlb::Tlb,
    trap::{Exception, Privilege, Trap},
};

/// Distinct PMP settings that are told apart before everything is dropped.
const PMP_SETTINGS_MAX: usize = 64;

const V: u64 = 1;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;
/// In a leaf: one of 16 that together map 64 KiB (Svnapot).
const N: u64 = 1 << 63;
/// Reserved and Svpbmt bits: they must be zero.
const RESERVED: u64 = 0x1ff << 54;
const PPN: u64 = (1 << 44) - 1;

/// Where a translated access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To RAM at this offset. `uniform`: the whole page may be treated alike.
    Ram {
        /// Offset into RAM.
        offset: usize,
        /// One decision governs the whole page.
        uniform: bool,
    },
    /// To the bus, at this physical address.
    Bus(u64),
}

/// A store to a page whose code an engine has decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeWrite {
    /// Page of RAM.
    pub page: usize,
    /// First byte in the page.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
}

#[derive(Clone, Copy)]
enum Fault {
    Page,
    Access,
}

/// The page-table pages of the last walk, from the root down: RAM page and level.
#[derive(Clone, Copy, Default)]
struct Path {
    pages: [(usize, u32); 4],
    length: usize,
}

/// Translation state shared by all harts.
pub struct Mmu {
    /// Remembered translations.
    pub tlb: Tlb,
    tables: Tables,
    settings: Vec<(Pmp, Rules)>,
    path: Path,
    data: Space,
    fetch: Space,
    /// First TLB entry of the set for loads and stores.
    pub data_set: usize,
    /// First TLB entry of the set for fetches.
    pub fetch_set: usize,
    /// Stores to pages with `CODE` that the engine has not yet dealt with.
    pub code_writes: Vec<CodeWrite>,
    /// A translation was dropped: the one of the pc may be among them.
    pub dropped: bool,
}

impl Mmu {
    /// Nothing remembered of this RAM.
    #[must_use]
    pub fn new(ram: &Ram) -> Mmu {
        let space = Space::bare(Privilege::Machine, 0);
        Mmu {
            tlb: Tlb::new(ram),
            tables: Tables::new(ram.pages()),
            settings: Vec::new(),
            path: Path::default(),
            data: space,
            fetch: space,
            data_set: 0,
            fetch_set: 0,
            code_writes: Vec::new(),
            dropped: false,
        }
    }

    /// Makes `hart`'s present address spaces the current ones. To be called when anything they depend on
    /// may have changed, and at the start of a run.
    pub fn select(&mut self, hart: &Hart, ram: &Ram) {
        let pmp = self.setting(&hart.pmp, hart.id);
        (self.fetch, self.data) = spaces(hart, pmp);
        self.fetch_set = self.tlb.select(self.fetch, ram);
        self.data_set = self.tlb.select(self.data, ram);
    }

    /// Likewise, in the midst of a run and if the hart's PMP is as it was.
    pub fn select_again(&mut self, hart: &Hart, ram: &Ram) {
        let (fetch, data) = spaces(hart, self.fetch.pmp());
        if fetch != self.fetch {
            self.fetch = fetch;
            self.fetch_set = self.tlb.select(fetch, ram);
        }
        if data != self.data {
            self.data = data;
            self.data_set = self.tlb.select(data, ram);
        }
    }

    /// The number of a PMP setting.
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
        self.tables.release_all(ram);
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
            self.fetch
        } else {
            self.data
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

    /// Remembers the translation that [`Mmu::reach`] has just made for a load.
    pub fn remember_load(&mut self, ram: &mut Ram, address: u64, offset: usize) {
        self.register(ram, self.data, address);
        self.tlb.fill_load(self.data_set, address, offset);
    }

    /// Remembers the translation that [`Mmu::reach`] has just made for a store, if the page is plain.
    pub fn remember_store(&mut self, ram: &mut Ram, address: u64, offset: usize) {
        if ram.flags(offset / PAGE) & (CODE | WALKED) != 0 {
            return;
        }
        self.register(ram, self.data, address);
        ram.mark_dirty(offset / PAGE);
        // Registering may have flagged this very page: page tables that map themselves.
        if ram.is_plain(offset / PAGE) {
            self.tlb.fill_store(self.data_set, address, offset);
        }
    }

    /// Notes that an engine executes from the page that [`Mmu::reach`] has just found, as far as the page's
    /// end without asking again: until [`Mmu::dropped`] says that a translation is gone.
    pub fn hold_fetch(&mut self, ram: &mut Ram, address: u64) {
        self.register(ram, self.fetch, address);
    }

    /// Remembers where the engine keeps the code of the page that [`Mmu::reach`] has just found.
    pub fn remember_fetch(&mut self, ram: &mut Ram, address: u64, place: usize) {
        self.hold_fetch(ram, address);
        self.tlb.fill_fetch(self.fetch_set, address, place);
    }

    /// Sets a RAM flag on a page and drops the permissions to store there.
    pub fn flag(&mut self, ram: &mut Ram, page: usize, flag: u8) {
        // Of a page that is not dirty, only sets of an older generation can have any, which lose them when they are selected.
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
            if self.tables.register(page, derived) {
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
            store(ram, offset, length, value);
            return;
        }
        let first = offset & !7;
        let last = (offset + length - 1) & !7;
        let before = [ram.load_u64(first), ram.load_u64(last)];
        store(ram, offset, length, value);
        for (word, old) in [first, last].into_iter().zip(before) {
            // Nothing is ever derived from an entry that is not valid.
            if old & V != 0 && old != ram.load_u64(word) {
                self.drop_derived(ram, page, word % PAGE / 8, old);
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

    fn drop_derived(&mut self, ram: &mut Ram, page: usize, index: usize, old: u64) {
        self.dropped = true;
        let child = (old & (R | W | X) == 0).then(|| ram.offset((old >> 10 & PPN) << 12, PAGE));
        let child = child.flatten().map(|offset| offset / PAGE);
        self.tables.drop_entry(&mut self.tlb, ram, page, index, child);
    }

    /// Somebody else has written to the page: drops all that was derived from its page-table entries.
    pub fn drop_table(&mut self, ram: &mut Ram, page: usize) {
        if ram.flags(page) & WALKED != 0 {
            self.dropped = true;
            self.tables.drop_table(&mut self.tlb, ram, page);
        }
    }

    /// Walks the page tables (privileged manual, "Virtual Address Translation Process"). Leaves the pages
    /// it went through in `self.path`.
    fn walk(&mut self, ram: &mut Ram, space: Space, address: u64, intent: Intent) -> Result<u64, Fault> {
        self.path.length = 0;
        let levels = space.levels();
        if levels == 0 {
            return Ok(address);
        }
        let unused = 64 - 12 - 9 * levels;
        if ((address << unused) as i64 >> unused) as u64 != address {
            return Err(Fault::Page);
        }
        let mut table = space.root_page() << 12;
        for level in (0..levels).rev() {
            let at = table + (address >> (12 + 9 * level) & 511) * 8;
            if !self.allowed(space, at, 8, Privilege::Supervisor, Intent::Load) {
                return Err(Fault::Access);
            }
            let offset = ram.offset(at, 8).ok_or(Fault::Access)?;
            let entry = ram.load_u64(offset);
            self.path.pages[self.path.length] = (offset / PAGE, level);
            self.path.length += 1;
            if entry & V == 0 || entry & (R | W) == W || entry & RESERVED != 0 {
                return Err(Fault::Page);
            }
            if entry & (R | X) == 0 {
                if entry & (D | A | U | N) != 0 {
                    return Err(Fault::Page);
                }
                table = (entry >> 10 & PPN) << 12;
                continue;
            }
            let mapped = place(entry, level, address);
            let Some(mapped) = mapped.filter(|_| leaf_allows(space, entry, intent)) else {
                return Err(Fault::Page);
            };
            self.use_leaf(ram, space, at, offset, entry, intent)?;
            return Ok(mapped);
        }
        Err(Fault::Page)
    }

    /// Sets A, and D for a store, or faults where that is software's task (Svade).
    ///
    /// Nothing remembered depends on the change: translations made while A or D was clear were not
    /// remembered for the accesses that need them.
    fn use_leaf(
        &mut self,
        ram: &mut Ram,
        space: Space,
        at: u64,
        offset: usize,
        entry: u64,
        intent: Intent,
    ) -> Result<(), Fault> {
        let wanted = entry | A | if intent == Intent::Store { D } else { 0 };
        if wanted == entry {
            return Ok(());
        }
        if !space.adue() {
            return Err(Fault::Page);
        }
        if !self.allowed(space, at, 8, Privilege::Supervisor, Intent::Store) {
            return Err(Fault::Access);
        }
        ram.mark_dirty(offset / PAGE);
        self.note_code_write(ram, offset, 8);
        ram.store_u64(offset, wanted);
        Ok(())
    }
}

/// For fetches and for data.
fn spaces(hart: &Hart, pmp: usize) -> (Space, Space) {
    let fetch = space(hart, hart.privilege, pmp);
    let status = hart.csr.mstatus;
    if status & status::MPRV == 0 {
        return (fetch, fetch);
    }
    let effective = Privilege::from_bits(status >> status::MPP_SHIFT).unwrap_or_default();
    (fetch, space(hart, effective, pmp))
}

fn space(hart: &Hart, privilege: Privilege, pmp: usize) -> Space {
    let satp = hart.csr.satp;
    let levels = satp_levels(satp);
    if privilege == Privilege::Machine || levels == 0 {
        return Space::bare(privilege, pmp);
    }
    let status = hart.csr.mstatus;
    let sum = privilege == Privilege::Supervisor && status & status::SUM != 0;
    let mxr = status & status::MXR != 0;
    Space::paged(satp_root(satp), levels, privilege, pmp).with_modes(sum, mxr, hart.csr.has_svadu())
}

/// Where a leaf maps `address`; `None` if it is misaligned or reserved (privileged manual, "Sv39" and "Svnapot").
fn place(entry: u64, level: u32, address: u64) -> Option<u64> {
    let span = (1u64 << (12 + 9 * level)) - 1;
    let base = (entry >> 10 & PPN) << 12;
    if entry & N == 0 {
        return (base & span & !0xfff == 0).then_some(base | address & span);
    }
    // 64 KiB is the only size there is; the low bits of the page number say so.
    (level == 0 && base & 0xffff == 0x8000).then_some(base & !0xffff | address & 0xffff)
}

fn leaf_allows(space: Space, entry: u64, intent: Intent) -> bool {
    let user_page = entry & U != 0;
    let privileged = match space.privilege() {
        Privilege::User => user_page,
        _ => !user_page || (space.sum() && intent != Intent::Fetch),
    };
    let right = match intent {
        Intent::Load if space.mxr() => R | X,
        Intent::Load => R,
        Intent::Store => W,
        Intent::Fetch => X,
    };
    privileged && entry & right != 0
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

/// Stores the low `length` bytes of `value`.
fn store(ram: &mut Ram, offset: usize, length: usize, value: u64) {
    match length {
        8 => ram.store_u64(offset, value),
        4 => ram.store_u32(offset, value as u32),
        2 => ram.store_u16(offset, value as u16),
        1 => ram.store_u8(offset, value as u8),
        _ => {
            for (index, byte) in value.to_le_bytes().into_iter().take(length).enumerate() {
                ram.store_u8(offset + index, byte);
            }
        }
    }
}
