//! The directory of translations: which superblocks there are, where their code is, and which jumps lead to
//! them.
//!
//! Code is kept by *place*: an engine gives each page of guest code that it knows a place, a small number.
//! Each place has a table of entry points, one for each halfword of the page: the code of the superblock that
//! begins there, or the shared code that leaves. Indirect jumps go through these tables; jumps to a known
//! page are linked, which means patched to lead directly to their target once it is translated, and away from
//! it when it is dropped. The superblocks of a page are all dropped together.

use std::io;

use super::{
    frames::Frames,
    generate::{Link, Source, Stubs, stubs, translate},
    memory::{CODE_MAX, Memory},
    plan::SLOTS,
    support::has_features,
};
use crate::{
    op::Op,
    profile::{CodeMap, Part, Tally},
    ram::large_table,
};

/// How often a slot is come upon before a superblock is made of it. A smaller number makes code that is
/// hardly used, a greater one leaves more to the interpreter; from 16 to 64 the difference is small.
pub const HOT: u8 = 16;
/// How often a slot was come upon to which a way out is worth its place beside the straight line.
const LIKELY: u8 = HOT / 4;
/// The count of a slot of which no superblock can be made.
const HOPELESS: u8 = u8::MAX;
/// The least memory for code: there is room in it for the shared code and for any superblock, even for a loop
/// with two passes.
const CODE_MIN: usize = 256 << 10;
/// How often a page's translations may be dropped before it is not translated any more.
const DROPS_MAX: u8 = 32;

/// The first function of the shared code, which enters generated code: it takes the middle of the workspace
/// and the address of a superblock's code. The C ABI is System V's on the systems that this runs on.
pub(super) type Enter = unsafe extern "C" fn(*mut u8, *const u8);

/// What is known of a page of guest code.
struct Page {
    /// How often each slot was come upon without code, or [`HOPELESS`].
    hits: [u8; SLOTS],
    /// The slots that some superblock was made from, a bit for each: a store to one of them drops the page's
    /// superblocks.
    covered: [u64; SLOTS / 64],
    /// The jumps, of this page and of others, that wait for a slot of this one to be translated.
    links: Vec<Link>,
    /// The jumps of other pages that lead to code of this one.
    linked: Vec<Link>,
    /// How often the page's superblocks were dropped.
    drops: u8,
}

impl Page {
    /// Is this a slot of the page that was come upon about as often as what is translated now?
    fn is_likely(&self, slot: i64) -> bool {
        usize::try_from(slot).is_ok_and(|slot| slot < SLOTS && self.hits[slot] >= LIKELY)
    }
}

/// What the guest is like when a superblock is made. This is advice, as it may be different when the
/// superblock is entered.
pub struct Present<'a> {
    /// The place where the code of the page is kept that begins so many bytes after this one (before it, if
    /// the number is negative), if that is known.
    pub known: &'a dyn Fn(i64) -> Option<usize>,
    /// The stack pointer.
    pub sp: u64,
}

/// What an engine is to do at a slot.
pub enum Found {
    /// Run this code.
    Code(Code),
    /// Make a superblock of what begins there, as it was come upon often enough.
    Hot,
    /// Interpret it.
    Cold,
    /// Interpret it, this time and every other.
    Never,
}

/// The code of a superblock. It is good until the translations change.
#[derive(Clone, Copy)]
pub struct Code {
    /// Its host address.
    at: *const u8,
    /// [`Translations::changes`] when it was found.
    changes: u64,
}

impl Code {
    /// Its host address.
    pub(super) fn address(self) -> *const u8 {
        self.at
    }
}

/// All superblocks.
pub struct Translations {
    /// How often a slot is come upon before it is [`Found::Hot`].
    hot: u8,
    memory: Memory,
    /// An empty vector with room for the code of a superblock, in which the next one is made.
    room: Vec<u8>,
    enter: Enter,
    stubs: Stubs,
    /// The bytes of the shared code, at the beginning of the memory.
    shared: usize,
    /// Counts everything that makes a [`Code`] invalid, or the code that is running.
    changes: u64,
    /// What is known of each place's page; `None`: the place is not open, and generated code must not be led
    /// there.
    pages: Vec<Option<Box<Page>>>,
    /// The entry points of all places, one place after the other: host addresses. Those of a place that is
    /// not open mean nothing.
    entries: Vec<u64>,
    /// The stacks of the guest's calls.
    pub frames: Frames,
    tally: Tally,
    /// The two parts of the superblock made last, the hot code and the cold code: host address and bytes of
    /// each.
    newest: [(u64, usize); 2],
}

// SAFETY: all pointers lead into allocations and mappings that this value owns.
unsafe impl Send for Translations {}

impl Translations {
    /// No superblocks yet, for so many places; what is come upon `hot` times is translated, into at most so
    /// many bytes of code. `None` if this host cannot run generated code.
    pub fn new(places: usize, hot: u8, bytes: usize) -> Option<Translations> {
        if !has_features() {
            return None;
        }
        Translations::make(places, hot, bytes).ok()
    }

    fn make(places: usize, hot: u8, bytes: usize) -> io::Result<Translations> {
        let mut memory = Memory::new(bytes.clamp(CODE_MIN, CODE_MAX))?;
        let (code, stubs) = stubs(memory.next());
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

    /// Counts of what was made and dropped so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Where the superblock made last is: host address and bytes of its hot code and of its cold code.
    pub fn newest(&self) -> [(u64, usize); 2] {
        self.newest
    }

    /// The function that enters generated code, for code that must be there still.
    ///
    /// # Panics
    /// If the code is gone.
    pub(super) fn enter(&self, code: Code) -> Enter {
        assert_eq!(self.changes, code.changes, "this code is gone");
        self.enter
    }

    /// The address of the entry points of all places.
    pub(super) fn entry_points(&self) -> *const u64 {
        self.entries.as_ptr()
    }

    /// Tells a map where the shared code is.
    pub fn show_shared(&self, map: &mut dyn CodeMap) {
        let base = self.enter as *const () as u64;
        for (name, start, end) in self.stubs.parts(base, base + self.shared as u64) {
            map.made(start, (end - start) as usize, Part::Shared(name));
        }
    }

    /// A number that is another one whenever something was dropped.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Opens a place, if it is not open. Generated code may be led to open places only.
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

    /// Was a slot come upon often without being translated? Then a branch to it is taken most of the time.
    pub fn is_awaited(&self, place: usize, slot: usize) -> bool {
        let page = self.pages.get(place).and_then(Option::as_ref);
        page.is_some_and(|page| {
            slot < SLOTS
                && page.hits[slot] >= self.hot - self.hot / 4
                && self.entries[place * SLOTS + slot] == self.stubs.exit
        })
    }

    /// Notes that no superblock can be made of what begins at a slot.
    pub fn give_up(&mut self, place: usize, slot: usize) {
        if let Some(page) = &mut self.pages[place] {
            page.hits[slot] = HOPELESS;
        }
    }

    /// Makes a superblock of ops, each with its slot, in the order of execution; only the last may end it or
    /// lead to the first. `None`: there is no room, so drop everything with [`Translations::clear`] and try
    /// again.
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
            entries: &self.entries[place * SLOTS..][..SLOTS],
            is_likely: &|slot| page.is_likely(slot),
            known: &|distance| (present.known)(distance).filter(|&place| self.pages[place].is_some()),
            sp: present.sp,
            ops,
        };
        let translated = translate(&source, std::mem::take(&mut self.room));
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

    /// Notes that a superblock was made of these ops, so that a store to one of them drops it.
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

    /// Lets a new jump lead to the code of its slot if there is some, or else wait for it.
    fn attach(&mut self, link: Link) {
        let code = self.entries[link.target.place * SLOTS + link.target.slot];
        let Some(page) = &mut self.pages[link.target.place] else {
            return;
        };
        if code == self.stubs.exit {
            page.links.push(link);
            return;
        }
        self.memory.patch(link.at, code);
        if !link.target.inside {
            page.linked.push(link);
        }
    }

    /// A slot has code now: lets the jumps that wait for it lead there.
    fn link(&mut self, place: usize, slot: usize) {
        let code = self.entries[place * SLOTS + slot];
        let Some(page) = &mut self.pages[place] else {
            return;
        };
        for link in page.links.extract_if(.., |link| link.target.slot == slot) {
            self.memory.patch(link.at, code);
            if !link.target.inside {
                page.linked.push(link);
            }
        }
    }

    /// Slots of a place hold something else now: drops the page's superblocks if one was made from these
    /// slots.
    pub fn written(&mut self, place: usize, slots: std::ops::RangeInclusive<usize>) {
        if let Some(page) = &self.pages[place]
            && slots
                .into_iter()
                .any(|slot| page.covered[slot / 64] >> (slot % 64) & 1 != 0)
        {
            self.drop_page(place);
        }
    }

    /// Drops all superblocks of a place.
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
        // The jumps of this page are gone, and those of other pages wait again.
        page.links.retain(|link| !link.target.inside);
        for link in page.linked.drain(..) {
            self.memory.patch(link.at, link.otherwise);
            page.links.push(link);
        }
    }

    /// A place holds the code of another page from now on, or of none.
    pub fn release(&mut self, place: usize) {
        self.drop_page(place);
        if let Some(page) = &mut self.pages[place] {
            page.drops = 0;
        }
    }

    /// Drops all superblocks; no place is open any more.
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
