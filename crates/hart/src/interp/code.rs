//! Decoded code: for each page of RAM that is executed, one [`Op`] per halfword, decoded when it is first
//! reached.
//!
//! The dispatch loop (`int`) executes these ops. They are kept by physical page, so that everybody who maps a
//! page shares its code; each page has a [`CodePlace`] in the [`Arena`], which the TLB's entries for fetches
//! lead to.
//!
//! A slot, which holds the op of one halfword, depends on the four bytes of RAM from that halfword on and on
//! nothing else. Whoever changes these bytes must have the slots reset ([`CodePages::written`]). So no block
//! of ops has to be dropped as a whole, and an instruction that overwrites the next one is followed by what
//! it wrote.

use std::cell::{Cell, OnceCell};

use crate::{
    Ram,
    decode::{decode, is_compressed},
    jit::{self, CODE_MAX, Found, Present, Translations, gather},
    mmu::{CodeWrite, Mmu},
    op::{Code, Op},
    ram::{CODE, PAGE},
    tlb::CodePlace,
};

/// How many halfwords, and so slots, a page has.
pub(super) const SLOTS: usize = PAGE / 2;
/// How many slots are kept for a page: after the page's own come two that lead to the next page, as the last
/// instruction may be four bytes long and straddle the two.
const STRIDE: usize = SLOTS + 2;
/// How many pages are kept: 16 MiB of the guest's code, which is a compiler's or a database's beside a
/// kernel's. Their ops take 67 MB, and the tables of what is translated of them 75 MB.
const PAGES_MAX: usize = 4096;
/// How many pages are dropped together when there are [`PAGES_MAX`]: those that were entered longest ago.
const PAGES_DROPPED: usize = PAGES_MAX / 4;
/// How many stores to a page of code there may be before the page's code is dropped, so that a page that is
/// no longer executed becomes plain. Each time the page is executed again after that, the number doubles.
const STORES_MAX: u32 = 8;
/// How often the number of stores is doubled at most.
const PATIENCE_MAX: u8 = 12;

/// How many pages of slots are allocated together.
const CHUNK: usize = 16;

/// The place of the slots for code that is not kept, but fetched anew each time.
pub(super) const LOOSE: CodePlace = CodePlace(0);

/// One [`Op`] in memory, of the halfword that it begins at. The dispatch loop reads its fields one by one,
/// each only where it is needed, so that the host's registers stay free for the rest. The fields are those of
/// [`Op`].
#[repr(C, align(8))]
pub(super) struct Slot {
    /// What the instruction does.
    pub code: Cell<Code>,
    /// The number of the destination register, or the length.
    pub rd: Cell<u8>,
    /// The number of the first source register.
    pub rs1: Cell<u8>,
    /// The number of the second source register, or the length.
    pub rs2: Cell<u8>,
    /// The immediate, perhaps with the length.
    pub imm: Cell<i32>,
}

impl Slot {
    /// A slot with this op.
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

    /// The op.
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

    /// Replaces the op.
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

/// Room for the decoded code of all pages. Its slots are cells because the dispatch loop holds on to those of
/// the page that it executes while others of the same page are decoded or reset.
pub(super) struct Arena {
    /// The slots of all places, [`CHUNK`] places together, which are allocated when one of them is first
    /// used.
    chunks: [OnceCell<Box<[Slots]>>; PAGES_MAX / CHUNK + 1],
    /// The op of the instruction that was fetched loosely last.
    pub loose: Slot,
}

impl Arena {
    /// Room in which nothing is allocated.
    pub fn new() -> Arena {
        Arena {
            chunks: [const { OnceCell::new() }; PAGES_MAX / CHUNK + 1],
            loose: Slot::new(Op::UNDECODED),
        }
    }

    /// The slots at a place.
    #[inline]
    pub fn slots(&self, place: CodePlace) -> &Slots {
        let CodePlace(place) = place;
        let chunk = self.chunks[place / CHUNK].get_or_init(|| {
            let loose = || Slot::new(Op::new(Code::Loose, 0, 0, 0, 0));
            let end = || Slot::new(Op::new(Code::NextPage, 0, 0, 0, 0));
            let slots = || std::array::from_fn(|slot| if slot < SLOTS { loose() } else { end() });
            (0..CHUNK).map(|_| slots()).collect()
        });
        &chunk[place % CHUNK]
    }

    /// Has slots of a place decoded anew when they are next reached.
    fn reset(&self, place: CodePlace, slots: std::ops::RangeInclusive<usize>) {
        for slot in &self.slots(place)[slots] {
            slot.set(Op::UNDECODED);
        }
    }
}

/// The page whose code is kept at a place.
#[derive(Clone, Copy)]
struct Page {
    /// The number of the page in RAM; `None`: the place is free.
    ram: Option<u32>,
    /// How many stores to the page there were since it was last entered.
    stores: u32,
    /// [`CodePages::clock`] when the page was last entered.
    entered: u64,
}

/// Which pages' code the places in the [`Arena`] hold.
pub(super) struct CodePages {
    /// By the number of the place. That of [`LOOSE`] stays free.
    pages: Vec<Page>,
    /// The free places in `pages`, but for [`LOOSE`].
    free: Vec<CodePlace>,
    /// For each page of RAM the number of its place; 0, which is [`LOOSE`]: it has none. Two bytes suffice,
    /// as there are [`PAGES_MAX`] places.
    index: Vec<u16>,
    /// For each page of RAM how often its code was dropped too early.
    patience: Vec<u8>,
    /// How often a page was entered whose translation the TLB did not know.
    clock: u64,
    /// What was translated of the decoded code; `None`: nothing is translated.
    pub translations: Option<Translations>,
}

impl CodePages {
    /// No code, for a RAM of so many pages. What is reached `hot` times is translated (`None`: nothing is),
    /// into so many bytes of machine code.
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

    /// The place of the code of a page of RAM, if there is any.
    fn place(&self, page: usize) -> Option<CodePlace> {
        let place = CodePlace(usize::from(self.index[page]));
        (place != LOOSE).then_some(place)
    }

    /// The place of the code of a page of RAM, which is about to be executed; makes room for it if need be.
    pub fn enter(&mut self, arena: &Arena, mmu: &mut Mmu, ram: &mut Ram, page: usize) -> CodePlace {
        self.clock += 1;
        let entered = Page {
            ram: Some(page as u32),
            stores: 0,
            entered: self.clock,
        };
        if let Some(known) = self.place(page) {
            self.pages[known.0] = entered;
            self.open(known);
            return known;
        }
        if self.free.is_empty() && self.pages.len() > PAGES_MAX {
            self.make_room(mmu, ram);
        }
        let place = match self.free.pop() {
            Some(place) => {
                self.pages[place.0] = entered;
                place
            }
            None => {
                self.pages.push(entered);
                CodePlace(self.pages.len() - 1)
            }
        };
        self.index[page] = place.0 as u16;
        arena.reset(place, 0..=SLOTS - 1);
        mmu.flag(ram, page, CODE);
        self.open(place);
        place
    }

    /// Lets generated code be led to a place.
    fn open(&mut self, place: CodePlace) {
        if let Some(translations) = &mut self.translations {
            translations.open(place.0);
        }
    }

    /// Decodes the instruction at a slot of a place.
    pub fn decode(&self, arena: &Arena, ram: &Ram, place: CodePlace, slot: usize) {
        let loose = Op::new(Code::Loose, 0, 0, 0, 0);
        let Some(Page { ram: Some(page), .. }) = self.pages.get(place.0).copied() else {
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
    pub fn offset(&self, place: CodePlace) -> Option<usize> {
        Some(self.pages.get(place.0)?.ram? as usize * PAGE)
    }

    /// The instruction bits at a slot, to report them in a trap; `None` for loose code.
    pub fn bits(&self, ram: &Ram, place: CodePlace, slot: usize) -> Option<u32> {
        let page = self.pages.get(place.0)?.ram? as usize;
        let offset = page * PAGE + slot * 2;
        let low = u32::from(ram.load_u16(offset));
        if is_compressed(low) {
            Some(low)
        } else {
            (slot + 1 < SLOTS).then(|| low | u32::from(ram.load_u16(offset + 2)) << 16)
        }
    }

    /// The hart, which executes code kept at `current`, has stored to a page of code.
    pub fn written(
        &mut self,
        arena: &Arena,
        mmu: &mut Mmu,
        ram: &mut Ram,
        write: CodeWrite,
        current: CodePlace,
    ) {
        let Some(place) = self.place(write.page) else {
            // The flag was left over from an engine that is gone.
            ram.clear_flag(write.page, CODE);
            return;
        };
        let first = (write.offset / 2).saturating_sub(1);
        let last = ((write.offset + write.length - 1) / 2).min(SLOTS - 1);
        arena.reset(place, first..=last);
        if let Some(translations) = &mut self.translations {
            translations.written(place.0, first..=last);
        }
        let page = &mut self.pages[place.0];
        page.stores = page.stores.saturating_add(1);
        let patience = &mut self.patience[write.page];
        if place != current && page.stores >= STORES_MAX << *patience {
            *patience = (*patience + 1).min(PATIENCE_MAX);
            self.release(mmu, ram, write.page);
        }
    }

    /// Drops the code of a RAM page, if there is any.
    pub fn release(&mut self, mmu: &mut Mmu, ram: &mut Ram, page: usize) {
        if let Some(place) = self.place(page) {
            mmu.drop_code(place);
            self.remove(ram, place);
        }
        ram.clear_flag(page, CODE);
    }

    /// Frees a place, to which no entry of the TLB leads any more.
    fn remove(&mut self, ram: &mut Ram, place: CodePlace) {
        if let Some(page) = self.pages[place.0].ram.take() {
            self.index[page as usize] = 0;
            ram.clear_flag(page as usize, CODE);
            self.free.push(place);
            if let Some(translations) = &mut self.translations {
                translations.release(place.0);
            }
        }
    }

    /// Drops the code of the pages that were entered longest ago. All of the TLB's entries for fetches are
    /// dropped, so that a page that is in use is entered again soon and is not among the oldest the next
    /// time.
    fn make_room(&mut self, mmu: &mut Mmu, ram: &mut Ram) {
        mmu.drop_fetches();
        let mut places: Vec<CodePlace> = (1..self.pages.len()).map(CodePlace).collect();
        places.sort_unstable_by_key(|place| self.pages[place.0].entered);
        for &place in &places[..PAGES_DROPPED] {
            self.remove(ram, place);
        }
    }

    /// Drops all code.
    pub fn forget(&mut self, mmu: &mut Mmu, ram: &mut Ram) {
        mmu.drop_fetches();
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

    /// What the translator knows of the code at a slot of a place.
    #[inline]
    pub fn find(&mut self, place: CodePlace, slot: usize) -> Found {
        let translations = self.translations.as_mut();
        translations.map_or(Found::Never, |translations| translations.find(place.0, slot))
    }

    /// Makes machine code of what begins at `pc`, at a slot of a place. `registers` are the guest's integer
    /// registers. `None`: no code can be made of it.
    pub fn make(
        &mut self,
        arena: &Arena,
        mmu: &mut Mmu,
        ram: &Ram,
        (pc, place): (u64, CodePlace),
        slot: usize,
        registers: &[u64; 32],
    ) -> Option<jit::Code> {
        let ops = self.superblock(arena, ram, place, slot, registers);
        let sp = registers[2];
        let translations = self.translations.as_mut()?;
        if ops.is_empty() {
            translations.give_up(place.0, slot);
            return None;
        }
        let known = |distance| Some(mmu.known_fetch(pc.wrapping_add_signed(distance))?.0);
        let code = translations.add(place.0, slot, &ops, &Present { known: &known, sp });
        if code.is_none() {
            // There was no room. Only places that are open may be in the TLB, and after `clear` none is.
            mmu.drop_fetches();
            translations.clear();
            translations.open(place.0);
        }
        code
    }

    /// The ops from a slot on that are worth translating together, in the order of execution, with their
    /// slots.
    fn superblock(
        &self,
        arena: &Arena,
        ram: &Ram,
        place: CodePlace,
        head: usize,
        registers: &[u64; 32],
    ) -> Vec<(usize, Op)> {
        let Some(translations) = &self.translations else {
            return Vec::new();
        };
        let op_of = |slot: usize| {
            if slot >= SLOTS {
                return None;
            }
            if arena.slots(place)[slot].code.get() == Code::Decode {
                self.decode(arena, ram, place, slot);
            }
            Some(arena.slots(place)[slot].get())
        };
        gather(head, registers, op_of, |target| {
            translations.is_awaited(place.0, target)
        })
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
        let places: Vec<CodePlace> = (0..PAGES_MAX).map(&mut enter).collect();
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
