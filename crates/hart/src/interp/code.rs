//! Decoded code: for each RAM page that is executed, one [`Op`] per halfword, decoded when first reached.
//!
//! Keyed by physical page, so everybody who maps a page shares its code. A slot depends on the four bytes
//! of RAM from its place on and on nothing else; whoever changes them resets the slots. Hence there are no
//! blocks to drop, and an instruction that overwrites its successor is followed by what it wrote.

use std::cell::{Cell, OnceCell};

use crate::{
    Ram,
    decode::{decode, is_compressed},
    jit::{self, CODE_MAX, Found, OPS_MAX, Present, Translations, follows, is_loop, next_slot},
    mmu::{CodeWrite, Mmu},
    op::{Code, Op},
    ram::{CODE, PAGE},
};

/// Halfwords, hence slots, in a page.
pub(super) const SLOTS: usize = PAGE / 2;
/// Slots kept per page: behind the page's own come two that lead to the next page, as the last instruction
/// may be four bytes long and straddle.
const STRIDE: usize = SLOTS + 2;
/// Pages kept: 16 MiB of the guest's code, a compiler's or a database's beside a kernel's. Their ops take 67 MB, the tables
/// of what is translated of them 75 MB.
const PAGES_MAX: usize = 4096;
/// Pages that are dropped together when there are that many, those that were entered longest ago.
const PAGES_DROPPED: usize = PAGES_MAX / 4;
/// Stores to a page of code before its code is dropped, so that a page that is no longer executed becomes
/// plain; doubled each time it turns out to be wrong, up to 2^`PATIENCE_MAX` times.
const STORES_MAX: u32 = 8;
const PATIENCE_MAX: u8 = 12;

/// Pages of slots that are allocated together.
const CHUNK: usize = 16;

/// The place of the slots for code that is fetched anew each time.
pub(super) const LOOSE: usize = 0;

/// One [`Op`] whose fields are read one by one, each only where it is needed: what the dispatch loop has in
/// hand, it keeps in memory instead of in registers.
#[repr(C, align(8))]
pub(super) struct Slot {
    pub code: Cell<Code>,
    pub rd: Cell<u8>,
    pub rs1: Cell<u8>,
    pub rs2: Cell<u8>,
    pub imm: Cell<i32>,
}

impl Slot {
    fn new(op: Op) -> Slot {
        Slot {
            code: Cell::new(op.code),
            rd: Cell::new(op.rd),
            rs1: Cell::new(op.rs1),
            rs2: Cell::new(op.rs2),
            imm: Cell::new(op.imm),
        }
    }

    /// The immediate, sign-extended to a register's width.
    #[inline(always)]
    pub fn immediate(&self) -> u64 {
        self.imm.get() as i64 as u64
    }

    pub fn get(&self) -> Op {
        let (rd, rs1, rs2) = (self.rd.get(), self.rs1.get(), self.rs2.get());
        Op {
            code: self.code.get(),
            rd,
            rs1,
            rs2,
            imm: self.imm.get(),
        }
    }

    pub fn set(&self, op: Op) {
        self.code.set(op.code);
        self.rd.set(op.rd);
        self.rs1.set(op.rs1);
        self.rs2.set(op.rs2);
        self.imm.set(op.imm);
    }
}

/// The decoded code of one page.
pub(super) type Slots = [Slot; STRIDE];

/// Room for the decoded code of all pages. Shared while ops are executed and replaced, hence the cells:
/// the dispatch loop holds on to the slots of the page it is in.
pub(super) struct Arena {
    chunks: [OnceCell<Box<[Slots]>>; PAGES_MAX / CHUNK + 1],
    /// The instruction that was fetched loosely last.
    pub loose: Slot,
}

impl Arena {
    pub fn new() -> Arena {
        Arena {
            chunks: [const { OnceCell::new() }; PAGES_MAX / CHUNK + 1],
            loose: Slot::new(Op::UNDECODED),
        }
    }

    /// The slots at a place.
    #[inline]
    pub fn slots(&self, place: usize) -> &Slots {
        let chunk = self.chunks[place / CHUNK].get_or_init(|| {
            let loose = || Slot::new(Op::new(Code::Loose, 0, 0, 0, 0));
            let end = || Slot::new(Op::new(Code::NextPage, 0, 0, 0, 0));
            let slots = || std::array::from_fn(|slot| if slot < SLOTS { loose() } else { end() });
            (0..CHUNK).map(|_| slots()).collect()
        });
        &chunk[place % CHUNK]
    }

    fn reset(&self, place: usize, slots: std::ops::RangeInclusive<usize>) {
        for slot in &self.slots(place)[slots] {
            slot.set(Op::UNDECODED);
        }
    }
}

#[derive(Clone, Copy)]
struct Page {
    /// Page of RAM; `None` in a free place.
    ram: Option<u32>,
    /// Stores since it was last entered.
    stores: u32,
    /// When that was.
    entered: u64,
}

/// What the places in the [`Arena`] hold.
pub(super) struct CodePages {
    pages: Vec<Page>,
    /// Free places in `pages`.
    free: Vec<u16>,
    /// For each RAM page its place, or 0.
    index: Vec<u16>,
    /// For each RAM page how often its code was dropped too early.
    patience: Vec<u8>,
    /// Counts the times that a page was entered whose translation was not known.
    clock: u64,
    /// What was translated of it.
    pub translations: Option<Translations>,
}

impl CodePages {
    pub fn new(pages: usize, hot: Option<u8>, bytes: Option<usize>) -> CodePages {
        CodePages {
            translations: hot
                .and_then(|hot| Translations::new(PAGES_MAX + 1, hot, bytes.unwrap_or(CODE_MAX))),
            pages: vec![Page {
                ram: None,
                stores: 0,
                entered: 0,
            }],
            free: Vec::new(),
            index: vec![0; pages],
            patience: vec![0; pages],
            clock: 0,
        }
    }

    /// The place of a RAM page's code; makes room for it if need be.
    pub fn enter(&mut self, arena: &Arena, mmu: &mut Mmu, ram: &mut Ram, page: usize) -> usize {
        self.clock += 1;
        let entered = Page {
            ram: Some(page as u32),
            stores: 0,
            entered: self.clock,
        };
        let known = usize::from(self.index[page]);
        if known != 0 {
            self.pages[known] = entered;
            self.open(known);
            return known;
        }
        if self.free.is_empty() && self.pages.len() > PAGES_MAX {
            self.make_room(mmu, ram);
        }
        let place = match self.free.pop() {
            Some(place) => {
                self.pages[usize::from(place)] = entered;
                usize::from(place)
            }
            None => {
                self.pages.push(entered);
                self.pages.len() - 1
            }
        };
        self.index[page] = place as u16;
        arena.reset(place, 0..=SLOTS - 1);
        mmu.flag(ram, page, CODE);
        self.open(place);
        place
    }

    fn open(&mut self, place: usize) {
        if let Some(translations) = &mut self.translations {
            translations.open(place);
        }
    }

    /// Decodes the instruction at a slot of a place.
    pub fn decode(&self, arena: &Arena, ram: &Ram, place: usize, slot: usize) {
        let loose = Op::new(Code::Loose, 0, 0, 0, 0);
        let Some(Page { ram: Some(page), .. }) = self.pages.get(place).copied() else {
            return;
        };
        let offset = page as usize * PAGE + slot * 2;
        let mut bits = u32::from(ram.load_u16(offset));
        let op = if is_compressed(bits) {
            decode(bits)
        } else if slot + 1 == SLOTS {
            loose
        } else {
            bits |= u32::from(ram.load_u16(offset + 2)) << 16;
            decode(bits)
        };
        arena.slots(place)[slot].set(op);
    }

    /// Where in RAM the page is whose code is at a place.
    pub fn offset(&self, place: usize) -> Option<usize> {
        Some(self.pages.get(place)?.ram? as usize * PAGE)
    }

    /// The instruction bits at a slot, to report them in a trap; `None` for loose code.
    pub fn bits(&self, ram: &Ram, place: usize, slot: usize) -> Option<u32> {
        let page = self.pages.get(place)?.ram? as usize;
        let offset = page * PAGE + slot * 2;
        let low = u32::from(ram.load_u16(offset));
        if is_compressed(low) {
            Some(low)
        } else {
            (slot + 1 < SLOTS).then(|| low | u32::from(ram.load_u16(offset + 2)) << 16)
        }
    }

    /// The hart executing at `current` has stored to a page of code.
    pub fn written(&mut self, arena: &Arena, mmu: &mut Mmu, ram: &mut Ram, write: CodeWrite, current: usize) {
        let place = usize::from(self.index[write.page]);
        if place == 0 {
            // Left over from an engine that is gone.
            ram.clear_flag(write.page, CODE);
            return;
        }
        let first = (write.offset / 2).saturating_sub(1);
        let last = ((write.offset + write.length - 1) / 2).min(SLOTS - 1);
        arena.reset(place, first..=last);
        if let Some(translations) = &mut self.translations {
            translations.written(place, first..=last);
        }
        let page = &mut self.pages[place];
        page.stores = page.stores.saturating_add(1);
        let patience = &mut self.patience[write.page];
        if place != current && page.stores >= STORES_MAX << *patience {
            *patience = (*patience + 1).min(PATIENCE_MAX);
            self.release(mmu, ram, write.page);
        }
    }

    /// Drops the code of a RAM page, if there is any.
    pub fn release(&mut self, mmu: &mut Mmu, ram: &mut Ram, page: usize) {
        let place = usize::from(self.index[page]);
        if place != 0 {
            mmu.tlb.drop_code(place);
            self.remove(ram, place);
        }
        ram.clear_flag(page, CODE);
    }

    /// A place becomes free, to which the TLB leads no more.
    fn remove(&mut self, ram: &mut Ram, place: usize) {
        if let Some(page) = self.pages[place].ram.take() {
            self.index[page as usize] = 0;
            ram.clear_flag(page as usize, CODE);
            self.free.push(place as u16);
            if let Some(translations) = &mut self.translations {
                translations.release(place);
            }
        }
    }

    /// Drops the code of the pages that were entered longest ago. As the TLB's fetch translations are all dropped, what is in
    /// use is entered soon again, and so is not among them the next time.
    fn make_room(&mut self, mmu: &mut Mmu, ram: &mut Ram) {
        mmu.tlb.drop_fetches();
        let mut places: Vec<usize> = (1..self.pages.len()).collect();
        places.sort_unstable_by_key(|&place| self.pages[place].entered);
        for &place in &places[..PAGES_DROPPED] {
            self.remove(ram, place);
        }
    }

    /// Drops all code.
    pub fn forget(&mut self, mmu: &mut Mmu, ram: &mut Ram) {
        mmu.tlb.drop_fetches();
        for page in self.pages.drain(1..) {
            if let Some(page) = page.ram {
                self.index[page as usize] = 0;
                ram.clear_flag(page as usize, CODE);
            }
        }
        self.free.clear();
        if let Some(translations) = &mut self.translations {
            translations.clear();
        }
    }

    /// What to do at a slot of a place.
    #[inline]
    pub fn find(&mut self, place: usize, slot: usize) -> Found {
        let translations = self.translations.as_mut();
        translations.map_or(Found::Never, |translations| translations.find(place, slot))
    }

    /// Translates what begins at a slot of the page at `pc`, whose place it is.
    pub fn make(
        &mut self,
        arena: &Arena,
        mmu: &mut Mmu,
        ram: &Ram,
        (pc, place): (u64, usize),
        slot: usize,
        sp: u64,
    ) -> Option<jit::Code> {
        let ops = self.superblock(arena, ram, place, slot);
        let translations = self.translations.as_mut()?;
        if ops.is_empty() {
            translations.give_up(place, slot);
            return None;
        }
        let known = |distance| mmu.tlb.fetch(mmu.fetch_set, pc.wrapping_add_signed(distance));
        let code = translations.add(place, slot, &ops, &Present { known: &known, sp });
        if code.is_none() {
            // What the TLB leads to must be open.
            mmu.tlb.drop_fetches();
            translations.clear();
            translations.open(place);
        }
        code
    }

    /// The ops from a slot on that are worth translating together, in the order of execution, with their slots.
    fn superblock(&self, arena: &Arena, ram: &Ram, place: usize, head: usize) -> Vec<(usize, Op)> {
        let mut ops: Vec<(usize, Op)> = Vec::with_capacity(OPS_MAX);
        let Some(translations) = &self.translations else {
            return ops;
        };
        let mut slot = head;
        while ops.len() < OPS_MAX && slot < SLOTS {
            if arena.slots(place)[slot].code.get() == Code::Decode {
                self.decode(arena, ram, place, slot);
            }
            let op = arena.slots(place)[slot].get();
            if !follows(op) {
                break;
            }
            ops.push((slot, op));
            let taken = |target| translations.is_awaited(place, target);
            let Some(next) = next_slot(slot, op, taken).filter(|_| !is_loop(&ops)) else {
                break;
            };
            slot = next;
        }
        ops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_there_are_too_many_pages_those_entered_longest_ago_go() {
        let count = PAGES_MAX + 1;
        let mut ram = Ram::new((count * PAGE) as u64).expect("there is memory");
        let (mut mmu, arena) = (Mmu::new(&ram), Arena::new());
        let mut code = CodePages::new(count, None, None);
        let mut enter = |page| code.enter(&arena, &mut mmu, &mut ram, page);
        let places: Vec<usize> = (0..PAGES_MAX).map(&mut enter).collect();
        // The first half is in use again.
        for (page, &place) in places.iter().enumerate().take(PAGES_MAX / 2) {
            assert_eq!(enter(page), place);
        }
        enter(PAGES_MAX);
        let kept = |page: usize| code.index[page] != 0;
        assert!((0..PAGES_MAX / 2).all(kept));
        let second = PAGES_MAX / 2;
        assert!((second..second + PAGES_DROPPED).all(|page| !kept(page)));
        assert!((second + PAGES_DROPPED..=PAGES_MAX).all(kept));
        assert_eq!(code.offset(places[1]), Some(PAGE));
        assert!(ram.flags(second) & CODE == 0 && ram.flags(1) & CODE != 0);
    }
}
