//! The translator: machine code for the superblocks that run often. Unsafe island 2.
//!
//! It holds no guest state: between two calls of [`Translations::run`] everything is in the registers' array, RAM and the
//! TLB, exactly as the interpreter has it, and dropping any translation at any moment is unobservable. It is reached from
//! the interpreter's loop and returns to it for whatever it does not know.
//!
//! Each page of code has a table of entry points, one for each halfword: the code of the superblock that begins
//! there, or the code that leaves. All jumps between superblocks go through these tables, so that nothing is ever
//! patched and dropping a page's translations means to overwrite its table.
//!
//! # Safety argument
//! Generated code touches four things. The registers' arrays: `run` borrows them mutably for the call. The TLB's entries: at
//! indices masked to the set that the caller named, inside tables that it borrows. RAM: only at offsets that a TLB entry
//! gives for an access of the same size that lies wholly in its page, and the TLB's invariant is that such an offset is
//! in RAM; stores only through store entries, whose pages are plain. The tables of entry points: they live as long as
//! `Translations`, as does the code they point to, which is overwritten only between two runs and then no table points
//! to it any more. Generated code calls nothing, returns by the way it came, and keeps the stack as it found it.
//!
//! JUSTIFICATION: speed; see docs/performance.md.

mod emit;
mod float;
mod memory;
mod translate;

use std::io;

use crate::{Hart, Ram, op::Op, tlb::Tables};
use memory::Memory;
use translate::Field;
pub use translate::{OPS_MAX, SLOTS, ends, knows};

/// Times a slot is come upon before a superblock is made of it.
pub const HOT: u8 = 6;
/// A slot of which no superblock can be made.
const HOPELESS: u8 = u8::MAX;
/// How often a page's translations may be dropped before it is not translated any more.
const DROPS_MAX: u8 = 32;

/// Entry code.
type Enter = unsafe extern "sysv64" fn(*mut u64, *const u8, *const u8, *mut u8, u64);

/// What is known of a page.
struct Page {
    entries: [*const u8; SLOTS],
    hits: [u8; SLOTS],
    /// Slots that some superblock was made from.
    covered: [u64; SLOTS / 64],
    drops: u8,
}

/// What to do at a slot.
pub enum Found {
    /// Run this code.
    Code(*const u8),
    /// Make a superblock.
    Hot,
    /// Interpret.
    Cold,
}

/// The guest state that code works on.
pub struct State<'a> {
    /// The integer registers, and room behind them.
    pub x: &'a mut [u64; 256],
    /// Everything else of the hart.
    pub hart: &'a mut Hart,
    /// Guest memory.
    pub ram: &'a mut Ram,
}

/// All superblocks.
pub struct Translations {
    hot: u8,
    memory: Memory,
    enter: Enter,
    exit: *const u8,
    stubs: usize,
    pages: Vec<Option<Box<Page>>>,
    /// For each place the entry points of its page; those of an unknown page all leave.
    tables: Vec<*const *const u8>,
    /// What `tables` says of unknown pages; kept alive.
    _none: Box<[*const u8; SLOTS]>,
}

// SAFETY: all pointers lead into allocations and mappings that this value owns.
unsafe impl Send for Translations {}

impl Translations {
    /// None, for so many places of code pages; what is come upon `hot` times is translated. `None` if this host cannot
    /// run what would be generated.
    pub fn new(places: usize, hot: u8) -> Option<Translations> {
        if !std::arch::is_x86_feature_detected!("bmi2") {
            return None;
        }
        Translations::make(places, hot).ok()
    }

    fn make(places: usize, hot: u8) -> io::Result<Translations> {
        let mut memory = Memory::new()?;
        let (stubs, exit) = translate::stubs();
        let code = memory.add(&stubs).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: `exit` lies inside the stubs.
        let exit = unsafe { code.add(exit) };
        // SAFETY: the stubs begin with a function of this type.
        let enter = unsafe { std::mem::transmute::<*const u8, Enter>(code) };
        let none = Box::new([exit; SLOTS]);
        Ok(Translations {
            hot,
            memory,
            enter,
            exit,
            stubs: stubs.len(),
            pages: (0..places).map(|_| None).collect(),
            tables: vec![none.as_ptr(); places],
            _none: none,
        })
    }

    /// What to do at a slot of a place.
    #[inline]
    pub fn find(&mut self, place: usize, slot: usize) -> Found {
        let page = self.pages[place].get_or_insert_with(|| {
            Box::new(Page {
                entries: [self.exit; SLOTS],
                hits: [0; SLOTS],
                covered: [0; SLOTS / 64],
                drops: 0,
            })
        });
        self.tables[place] = page.entries.as_ptr();
        let code = page.entries[slot];
        if code != self.exit {
            return Found::Code(code);
        }
        let hits = &mut page.hits[slot];
        if *hits == HOPELESS || page.drops >= DROPS_MAX {
            return Found::Cold;
        }
        *hits += 1;
        if *hits >= self.hot { Found::Hot } else { Found::Cold }
    }

    /// No superblock can be made of what begins at a slot.
    pub fn give_up(&mut self, place: usize, slot: usize) {
        if let Some(page) = &mut self.pages[place] {
            page.hits[slot] = HOPELESS;
        }
    }

    /// Makes a superblock of ops that follow one another from a slot on; all known, none but the last an end. `None`: drop
    /// everything with [`Translations::clear`] and try again.
    pub fn add(&mut self, place: usize, slot: usize, ops: &[Op]) -> Option<*const u8> {
        let page = self.pages[place].as_mut()?;
        let code = translate::translate(slot, ops, page.entries.as_ptr() as u64);
        let code = self.memory.add(&code)?;
        page.entries[slot] = code;
        let end = slot + ops.iter().map(|op| op.halves()).sum::<usize>();
        for covered in slot..end.min(SLOTS) {
            page.covered[covered / 64] |= 1 << (covered % 64);
        }
        Some(code)
    }

    /// Slots of a place hold something else now.
    pub fn written(&mut self, place: usize, slots: std::ops::RangeInclusive<usize>) {
        if let Some(page) = &self.pages[place]
            && slots.into_iter().any(|slot| page.covered[slot / 64] >> (slot % 64) & 1 != 0)
        {
            self.drop_page(place);
        }
    }

    fn drop_page(&mut self, place: usize) {
        if let Some(page) = &mut self.pages[place] {
            page.entries.fill(self.exit);
            page.hits.fill(0);
            page.covered.fill(0);
            page.drops = page.drops.saturating_add(1);
        }
    }

    /// A place holds another page's code from now on, or none.
    pub fn release(&mut self, place: usize) {
        self.drop_page(place);
        if let Some(page) = &mut self.pages[place] {
            page.drops = 0;
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        for place in 0..self.pages.len() {
            self.release(place);
        }
        self.memory.clear(self.stubs);
    }

    /// Runs code from `pc` on, for at most `left` steps. Returns how many are left and the next pc, with everything exact
    /// in between; the registers are those of `x`.
    #[inline]
    pub fn run(&self, state: State<'_>, code: *const u8, tables: Tables, pc: u64, left: u64) -> (u64, u64) {
        let State { x, hart, ram } = state;
        x[Field::Float as usize] = hart.f.as_mut_ptr() as u64;
        x[Field::FloatDirty as usize] = u64::from(hart.csr.is_float_dirty());
        x[Field::FloatPlain as usize] = u64::from(hart.csr.is_float_plain());
        x[Field::Fetch as usize] = tables.fetch as u64;
        x[Field::Pages as usize] = self.tables.as_ptr() as u64;
        x[Field::Exit as usize] = self.exit as u64;
        x[Field::Left as usize] = left;
        // SAFETY: see the head of this file; the code belongs to a page that is still translated, as the caller has
        // just found it.
        unsafe { (self.enter)(x.as_mut_ptr(), code, tables.data, ram.base(), pc & !0xfff) };
        (x[Field::Left as usize], x[Field::Pc as usize])
    }
}
