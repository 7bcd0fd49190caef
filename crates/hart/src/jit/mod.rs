//! The translator: machine code for the superblocks that run often. Unsafe island 2.
//!
//! It holds no guest state: between two calls of [`run`] everything is in the registers' array, RAM and the
//! TLB, exactly as the interpreter has it, and dropping any translation at any moment is unobservable. It is entered from
//! the interpreter's loop, and has the interpreter do every instruction that it has no code for.
//!
//! Each page of code has a table of entry points, one for each halfword: the code of the superblock that begins
//! there, or the code that leaves. Indirect jumps go through these tables; jumps to a known page are linked, which means patched to
//! lead directly to their target once it is translated, and away from it when it is dropped. A page's superblocks are
//! all dropped together.
//!
//! # Safety argument
//! Generated code touches five things. The registers' array with the [`Field`]s behind it: `run` has the engine
//! exclusively for the call. The floating-point registers and the CSRs, likewise. The TLB's entries: at indices masked to the set that the
//! engine named. RAM: only at addresses that a TLB entry gives for an access that lies wholly in its page, and the TLB's
//! invariant is that those are in RAM; stores only through store entries, whose pages are plain. The tables of entry
//! points and the [`Frames`]: they live as long as `Translations`, as does the code they point to, which is overwritten only between
//! two runs, when neither a table that the TLB leads to nor a frame points to it any more. What it found in the TLB it uses again only until the interpreter has
//! dropped anything, which makes it leave. It calls the one function that `run` gives it, and keeps the stack as it found it.
//!
//! JUSTIFICATION: speed; see docs/performance.md.

mod access;
mod bits;
mod emit;
mod float;
mod flow;
mod frames;
mod integer;
mod memory;
mod plan;
mod registers;
mod streams;
mod stubs;
mod system;
mod translate;
mod words;

use std::io;

use crate::{
    op::Op,
    profile::{CodeMap, Part, Tally},
    ram::large_table,
};
use flow::Link;
pub use frames::{CALLS_MAX, Frames};
use memory::Memory;
pub use plan::{OPS_MAX, SLOTS, ends, follows, is_loop, next_slot};
use stubs::Stubs;
pub use stubs::{Field, NOTHING};
use translate::Source;

/// Times a slot is come upon before a superblock is made of it: fewer cost code that is hardly used, more the interpreter's time;
/// from 16 to 64 the difference is small.
pub const HOT: u8 = 16;
/// A way that leads to what was come upon so often is worth its place beside the straight line.
const LIKELY: u8 = HOT / 4;
/// A slot of which no superblock can be made.
const HOPELESS: u8 = u8::MAX;
/// Bytes of machine code that are kept at most: 128 MiB.
pub const CODE_MAX: usize = 128 << 20;
/// Room for any superblock beside the shared code, even for a loop that is there twice.
const CODE_MIN: usize = 128 << 10;
/// How often a page's translations may be dropped before it is not translated any more.
const DROPS_MAX: u8 = 32;

/// Why this host cannot run what would be generated.
#[derive(Debug)]
pub enum NoTranslation {
    /// It takes an x86-64 processor with BMI1, BMI2, LZCNT, POPCNT and FMA, which all have had since 2015.
    Processor,
    /// The kernel gives no memory for it, or none that may be executed.
    Memory(io::Error),
}

impl std::fmt::Display for NoTranslation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoTranslation::Processor => {
                f.write_str("this processor cannot run translated code (it takes x86-64 with BMI1, BMI2, LZCNT, POPCNT and FMA)")
            }
            NoTranslation::Memory(error) => {
                write!(f, "the kernel gives no memory for translated code ({error})")
            }
        }
    }
}

impl std::error::Error for NoTranslation {}

/// Can this host run what is generated? Asks the kernel for the memory that it takes, and gives it back.
///
/// # Errors
/// Why it cannot; then everything is interpreted.
pub fn can_translate() -> Result<(), NoTranslation> {
    if !has_features() {
        return Err(NoTranslation::Processor);
    }
    match Memory::new(CODE_MAX) {
        Ok(_) => Ok(()),
        Err(error) => Err(NoTranslation::Memory(error)),
    }
}

fn has_features() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("lzcnt")
        && std::arch::is_x86_feature_detected!("popcnt")
        && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Registers, fields, and whatever else an index may reach.
pub const WORDS: usize = 256;

/// The shared code's first function. The C ABI is System V's on the systems this runs on.
type Enter = unsafe extern "C" fn(*mut u64, *const u8);

/// What is known of a page.
struct Page {
    hits: [u8; SLOTS],
    /// Slots that some superblock was made from.
    covered: [u64; SLOTS / 64],
    /// Jumps that wait for their target to be translated.
    links: Vec<Link>,
    /// Jumps of other pages that lead to code of this one.
    linked: Vec<Link>,
    drops: u8,
}

impl Page {
    /// Was a slot come upon about as often as what is translated now?
    fn is_likely(&self, slot: i64) -> bool {
        usize::try_from(slot).is_ok_and(|slot| slot < SLOTS && self.hits[slot] >= LIKELY)
    }
}

/// What the guest is like when a superblock is made: advice, as it may be another when the superblock is entered.
pub struct Present<'a> {
    /// Where the code is kept of the page that lies so many bytes behind this one, if that is known.
    pub known: &'a dyn Fn(i64) -> Option<usize>,
    /// The stack pointer at the head.
    pub sp: u64,
}

/// What to do at a slot.
pub enum Found {
    /// Run this code.
    Code(Code),
    /// Make a superblock.
    Hot,
    /// Interpret.
    Cold,
    /// Interpret, this time and every other.
    Never,
}

/// The code of a superblock. Good until the translations change.
#[derive(Clone, Copy)]
pub struct Code {
    at: *const u8,
    changes: u64,
}

/// How generated code goes on when the interpreter has done an instruction for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Not at all; [`Field::Pc`] and [`Field::Left`] are set.
    Leave = 0,
    /// With the next instruction; not behind one that [`ends`].
    Next = 1,
    /// At [`Field::Pc`]; [`Field::Left`] is set.
    Jump = 2,
}

/// What generated code works for.
pub trait Engine {
    /// The integer registers and behind them the fields, all of which are set.
    fn words(&mut self) -> &mut [u64; WORDS];

    /// All superblocks; `None`: nothing is translated.
    fn translations(&mut self) -> Option<&mut Translations>;

    /// Does the instruction at a slot of a place, with `left` steps left behind it. Only with [`Resume::Next`] may TLB
    /// and translations have lost nothing.
    fn interpret(&mut self, place: usize, slot: usize, left: u64) -> Resume;
}

/// What generated code calls. `at` is the slot and, from bit 16 on, how many steps behind this one are counted already.
///
/// # Safety
/// `engine` is the one that `run` was called with, and nothing else uses it.
unsafe extern "C" fn interpret<E: Engine>(engine: *mut E, at: u32, place: u32) -> u32 {
    // SAFETY: the caller's promise.
    let engine = unsafe { &mut *engine };
    let left = engine.words()[Field::Left as usize] + u64::from(at >> 16);
    engine.interpret(place as usize, (at & 0xffff) as usize, left) as u32
}

/// Runs code of a superblock that has just been found. [`Field::Left`], at most [`CALLS_MAX`], [`Field::Page`],
/// [`Field::Frames`], and those of the TLB and of floating point are set; when it returns, [`Field::Left`] and [`Field::Pc`] say how far it came, and everything is exact.
pub fn run<E: Engine>(engine: &mut E, code: Code) {
    let engine: *mut E = engine;
    // SAFETY: it was a reference a moment ago.
    let Some(translations) = (unsafe { &mut *engine }).translations() else {
        return;
    };
    assert_eq!(translations.changes, code.changes, "this code is gone");
    let (enter, entries) = (translations.enter, translations.entries.as_ptr());
    // SAFETY: as above; the borrow of the translations has ended.
    let words = unsafe { &mut *engine }.words();
    words[Field::Entries as usize] = entries as u64;
    words[Field::Engine as usize] = engine as u64;
    words[Field::Interpret as usize] = interpret::<E> as *const () as u64;
    // SAFETY: see the head of this file; the code is there, by the assertion.
    unsafe { enter(words.as_mut_ptr().wrapping_add(stubs::MIDDLE), code.at) };
}

/// All superblocks.
pub struct Translations {
    hot: u8,
    memory: Memory,
    /// A vector that the next superblock's code may be made in.
    room: Vec<u8>,
    enter: Enter,
    stubs: Stubs,
    /// Bytes of the shared code.
    shared: usize,
    /// Counts everything that makes a [`Code`] invalid, or the code that is running.
    changes: u64,
    /// What is known of places that are open.
    pages: Vec<Option<Box<Page>>>,
    /// The entry points of all places, of one after the other: host addresses; those of places that are not open mean nothing.
    entries: Vec<u64>,
    /// The guest's calls.
    pub frames: Frames,
    tally: Tally,
    /// The superblock made last, its two parts: host address and bytes.
    newest: [(u64, usize); 2],
}

// SAFETY: all pointers lead into allocations and mappings that this value owns.
unsafe impl Send for Translations {}

impl Translations {
    /// None, for so many places of code pages; what is come upon `hot` times is translated, into so many bytes. `None` if
    /// this host cannot run what would be generated.
    pub fn new(places: usize, hot: u8, bytes: usize) -> Option<Translations> {
        if !has_features() {
            return None;
        }
        Translations::make(places, hot, bytes).ok()
    }

    fn make(places: usize, hot: u8, bytes: usize) -> io::Result<Translations> {
        let mut memory = Memory::new(bytes.clamp(CODE_MIN, CODE_MAX))?;
        let (code, stubs) = stubs::stubs(memory.next());
        let shared = code.len();
        let code = memory.add(&code, &[]).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the shared code begins with a function of this type.
        let enter = unsafe { std::mem::transmute::<*const u8, Enter>(code) };
        Ok(Translations {
            hot,
            memory,
            room: Vec::new(),
            enter,
            stubs,
            shared,
            changes: 0,
            pages: (0..places).map(|_| None).collect(),
            entries: large_table(0, places * SLOTS),
            frames: Frames::new(stubs.underflow),
            tally: Tally::default(),
            newest: [(0, 0); 2],
        })
    }

    /// What was made and dropped so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Where the parts of the superblock made last are: what is executed often, and what is rare.
    pub fn newest(&self) -> [(u64, usize); 2] {
        self.newest
    }

    /// Tells where the shared code is.
    pub fn show_shared(&self, map: &mut dyn CodeMap) {
        let base = self.enter as *const () as u64;
        for (name, start, end) in self.stubs.parts(base, base + self.shared as u64) {
            map.made(start, (end - start) as usize, Part::Shared(name));
        }
    }

    /// Counts what was dropped.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Prepares a place: only then may generated code be led there.
    #[inline]
    pub fn open(&mut self, place: usize) {
        if self.pages[place].is_none() {
            self.begin(place);
        }
    }

    #[cold]
    fn begin(&mut self, place: usize) {
        self.entries[place * SLOTS..][..SLOTS].fill(self.stubs.exit);
        self.pages[place] = Some(Box::new(Page {
            hits: [0; SLOTS],
            covered: [0; SLOTS / 64],
            links: Vec::new(),
            linked: Vec::new(),
            drops: 0,
        }));
    }

    /// What to do at a slot of a place that is open.
    #[inline]
    pub fn find(&mut self, place: usize, slot: usize) -> Found {
        let code = self.entries[place * SLOTS + slot];
        let Some(page) = &mut self.pages[place] else {
            return Found::Cold;
        };
        if code != self.stubs.exit {
            return Found::Code(Code {
                at: code as *const u8,
                changes: self.changes,
            });
        }
        let hits = &mut page.hits[slot];
        if *hits == HOPELESS || page.drops >= DROPS_MAX {
            return Found::Never;
        }
        *hits += 1;
        if *hits >= self.hot {
            Found::Hot
        } else {
            Found::Cold
        }
    }

    /// Was what begins at a slot come upon often, and is not translated? Then what branches there does so most of the time.
    pub fn is_awaited(&self, place: usize, slot: usize) -> bool {
        let page = self.pages.get(place).and_then(Option::as_ref);
        page.is_some_and(|page| {
            slot < SLOTS
                && page.hits[slot] >= self.hot - self.hot / 4
                && self.entries[place * SLOTS + slot] == self.stubs.exit
        })
    }

    /// No superblock can be made of what begins at a slot.
    pub fn give_up(&mut self, place: usize, slot: usize) {
        if let Some(page) = &mut self.pages[place] {
            page.hits[slot] = HOPELESS;
        }
    }

    /// Makes a superblock of ops, each with its slot, in the order of execution; only the last may end. `None`: drop everything with
    /// [`Translations::clear`] and try again.
    pub fn add(
        &mut self,
        place: usize,
        slot: usize,
        ops: &[(usize, Op)],
        present: &Present<'_>,
    ) -> Option<Code> {
        let page = self.pages[place].as_ref()?;
        let (hot, cold) = (self.memory.next(), self.memory.next_cold());
        let source = Source {
            hot,
            cold,
            stubs: self.stubs,
            place,
            page,
            entries: &self.entries[place * SLOTS..][..SLOTS],
            known: &|distance| (present.known)(distance).filter(|&place| self.pages[place].is_some()),
            sp: present.sp,
            ops,
        };
        let translated = translate::translate(&source, std::mem::take(&mut self.room));
        let (often, rarely) = translated.bytes.split_at(translated.split);
        let code = self.memory.add(often, rarely)?;
        self.newest = [(hot, often.len()), (cold, rarely.len())];
        self.tally.superblocks += 1;
        self.tally.ops += ops.len() as u64;
        self.tally.hot_bytes += often.len() as u64;
        self.tally.cold_bytes += rarely.len() as u64;
        self.room = translated.bytes;
        self.entries[place * SLOTS + slot] = code as u64;
        self.cover(place, ops);
        self.link(place, slot);
        for link in translated.links {
            self.attach(link);
        }
        Some(Code {
            at: code,
            changes: self.changes,
        })
    }

    /// A store to one of these ops drops the page's superblocks.
    fn cover(&mut self, place: usize, ops: &[(usize, Op)]) {
        let Some(page) = &mut self.pages[place] else {
            return;
        };
        for &(slot, op) in ops {
            for covered in slot..(slot + op.halves()).min(SLOTS) {
                page.covered[covered / 64] |= 1 << (covered % 64);
            }
        }
    }

    /// Lets a new jump lead to the code of its slot, or wait for it.
    fn attach(&mut self, link: Link) {
        let code = self.entries[link.place * SLOTS + link.slot];
        let Some(page) = &mut self.pages[link.place] else {
            return;
        };
        if code == self.stubs.exit {
            page.links.push(link);
            return;
        }
        self.memory.patch(link.at, code);
        if !link.inside {
            page.linked.push(link);
        }
    }

    /// Lets the jumps that wait for the code of a slot lead there: there is some now.
    fn link(&mut self, place: usize, slot: usize) {
        let code = self.entries[place * SLOTS + slot];
        let Some(page) = &mut self.pages[place] else {
            return;
        };
        for link in page.links.extract_if(.., |link| link.slot == slot) {
            self.memory.patch(link.at, code);
            if !link.inside {
                page.linked.push(link);
            }
        }
    }

    /// Slots of a place hold something else now.
    pub fn written(&mut self, place: usize, slots: std::ops::RangeInclusive<usize>) {
        if let Some(page) = &self.pages[place]
            && slots
                .into_iter()
                .any(|slot| page.covered[slot / 64] >> (slot % 64) & 1 != 0)
        {
            self.drop_page(place);
        }
    }

    fn drop_page(&mut self, place: usize) {
        let Some(page) = &mut self.pages[place] else {
            return;
        };
        self.changes += 1;
        self.tally.pages_dropped += u64::from(page.covered.iter().any(|&slots| slots != 0));
        self.entries[place * SLOTS..][..SLOTS].fill(self.stubs.exit);
        page.hits.fill(0);
        page.covered.fill(0);
        page.drops = page.drops.saturating_add(1);
        // Jumps of this page are gone, those of others wait again.
        page.links.retain(|link| !link.inside);
        for link in page.linked.drain(..) {
            self.memory.patch(link.at, link.otherwise);
            page.links.push(link);
        }
    }

    /// A place holds another page's code from now on, or none.
    pub fn release(&mut self, place: usize) {
        self.drop_page(place);
        if let Some(page) = &mut self.pages[place] {
            page.drops = 0;
        }
    }

    /// Drops everything; no place is open any more.
    pub fn clear(&mut self) {
        self.pages.fill_with(|| None);
        self.frames.clear();
        self.changes += 1;
        self.tally.flushes += 1;
        self.memory.clear(self.shared);
    }
}

#[cfg(test)]
mod tests;
