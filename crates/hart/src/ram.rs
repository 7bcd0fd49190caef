//! Guest RAM: one private anonymous mapping, and a byte of flags per page. Unsafe code may stand here, as in
//! two other places of the repository (docs/style.md, U1).
//!
//! Two kinds of access. *Harts* (engines) use `load_*` / `store_*` with an offset they have translated
//! and, for stores, with a page they know to be plain. *Everybody else* (devices at an input's step, boot,
//! restore) uses [`Ram::read`] and [`Ram::write`], which check the range and tell the engine what its
//! caches must forget.
//!
//! A page is *plain* when a store to it needs no bookkeeping: it is already counted dirty and nothing was
//! derived from it. Engines may cache the permission to store only for plain pages. They must drop the
//! permissions for pages that are not plain any more before they use any after [`Ram::generation`] has
//! changed, and those for a page when they themselves set a flag on it.
//!
//! So every write to a page that is not dirty goes through [`Ram::mark_dirty`] before it happens, whoever
//! makes it. That is where pages can be kept as they were ([`Ram::freeze`], `frozen`) or hashed as they were
//! ([`Ram::set_unhashed`], `unhashed`), and why that costs nothing where pages are written again and again.
//!
//! # Safety argument
//! `base..base+size` is mapped read-write from `new` until `drop` and nobody else holds a reference into
//! it across calls: every method that hands out a slice borrows `self`. Every raw access is preceded by a
//! range check against `size` in the same function. Offsets need no alignment: accesses are unaligned
//! reads and writes. `Ram` is `Send` (one owner at a time) and not `Sync`.

mod advice;
mod frozen;
mod page;
mod page_set;
mod unhashed;

use std::io;

use crate::limits::{FROZEN_RESERVE, STEP_PAGES_MAX};
pub(crate) use advice::large_table;
use frozen::Frozen;
pub use frozen::{OutOfHostMemory, Pool};
pub use page::{PAGE, PAGE_BITS};
pub use page_set::PageSet;
pub use unhashed::{PageHash, Unhashed};

/// Physical address of the first byte of RAM on the QEMU `virt` board.
pub const BASE: u64 = 0x8000_0000;
/// Largest RAM, in bytes: 16 GiB.
pub const SIZE_MAX: u64 = 16 << 30;

/// The page was written since it was last found to be clean ([`Ram::begin_round`], [`Ram::settle`]).
/// It is the lowest bit: `PageSet::take_lowest` relies on that.
pub const DIRTY: u8 = 1;
/// An engine has derived something from the page's instructions.
pub const CODE: u8 = 2;
/// An engine has derived something from the page's page-table entries.
pub const WALKED: u8 = 4;

/// Of one page in so many may be dirty for the list of dirty pages to be quicker than a look at all flags.
const SPARSE: usize = 64;

/// The range is not wholly in RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRam;

/// Guest memory.
pub struct Ram {
    /// The host address of the first byte.
    base: *mut u8,
    /// How many bytes there are: at least one page, and whole pages.
    size: usize,
    /// For each page its flags: [`DIRTY`], [`CODE`] and [`WALKED`].
    flags: Vec<u8>,
    /// The pages with `DIRTY`, each once, in the order of their first write.
    dirty: Vec<u32>,
    /// The pages that were written by [`Ram::write`] while they carried `CODE` or `WALKED`, perhaps several
    /// times.
    stale: Vec<u32>,
    /// See [`Ram::generation`].
    generation: u64,
    /// Pages as they were at the last [`Ram::freeze`]; `None`: nothing is frozen.
    frozen: Option<Box<Frozen>>,
    /// Pages to be hashed as they were when a digest began; `None`: none has begun.
    unhashed: Option<Box<Unhashed>>,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for Ram {}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: `base` and `size` are what mmap returned and was given; no borrow outlives `self`.
        unsafe { libc::munmap(self.base.cast(), self.size) };
    }
}

macro_rules! access {
    ($load:ident, $store:ident, $type:ty) => {
        /// Little-endian load at a byte offset into RAM.
        ///
        /// # Panics
        /// If the range is outside RAM: offsets come from translation, which has checked them.
        #[inline(always)]
        #[must_use]
        pub fn $load(&self, offset: usize) -> $type {
            assert!(offset <= self.size - size_of::<$type>());
            // SAFETY: the whole value lies inside the mapping, by the assertion; size >= one page.
            let at = unsafe { self.base.add(offset) };
            // SAFETY: as above; unaligned reads have no alignment requirement.
            let value = unsafe { at.cast::<$type>().read_unaligned() };
            <$type>::from_le(value)
        }

        /// Little-endian store at a byte offset into RAM, without bookkeeping: only for plain pages, or
        /// after the caller has done the bookkeeping itself.
        ///
        /// # Panics
        /// If the range is outside RAM.
        #[inline(always)]
        pub fn $store(&mut self, offset: usize, value: $type) {
            assert!(offset <= self.size - size_of::<$type>());
            // SAFETY: the whole value lies inside the mapping, by the assertion; size >= one page.
            let at = unsafe { self.base.add(offset) };
            // SAFETY: as above; `&mut self` excludes any other reference into the mapping.
            unsafe { at.cast::<$type>().write_unaligned(value.to_le()) };
        }
    };
}

impl Ram {
    /// RAM of `size` bytes, all zero, allocated by the host as it is touched.
    ///
    /// # Errors
    /// If `size` is not a positive multiple of 4 KiB of at most [`SIZE_MAX`], or the host has no address
    /// space for it.
    pub fn new(size: u64) -> io::Result<Ram> {
        let pages = size / PAGE as u64;
        if size == 0 || !size.is_multiple_of(PAGE as u64) || size > SIZE_MAX {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let length = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, kind, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is ours.
        unsafe { advice::large(base, length) };
        Ok(Ram {
            base: base.cast(),
            size: length,
            flags: vec![0; usize::try_from(pages).map_err(|_| io::ErrorKind::OutOfMemory)?],
            dirty: Vec::new(),
            stale: Vec::new(),
            generation: 0,
            frozen: None,
            unhashed: None,
        })
    }

    /// How many bytes of RAM there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many pages of RAM there are.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.flags.len()
    }

    /// Host address of the first byte, for generated code. Valid as long as `self` lives.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// The offset of a physical address, if `length` bytes from it lie in RAM.
    #[inline]
    #[must_use]
    pub fn offset(&self, address: u64, length: usize) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(BASE)?).ok()?;
        (offset <= self.size && length <= self.size - offset).then_some(offset)
    }

    access!(load_u8, store_u8, u8);
    access!(load_u16, store_u16, u16);
    access!(load_u32, store_u32, u32);
    access!(load_u64, store_u64, u64);

    /// Little-endian load of `length` bytes, 1 to 8, zero-extended.
    ///
    /// # Panics
    /// If the range is outside RAM.
    #[must_use]
    pub fn load(&self, offset: usize, length: usize) -> u64 {
        match length {
            8 => self.load_u64(offset),
            4 => u64::from(self.load_u32(offset)),
            2 => u64::from(self.load_u16(offset)),
            1 => u64::from(self.load_u8(offset)),
            _ => (offset..offset + length)
                .rev()
                .fold(0, |value, at| value << 8 | u64::from(self.load_u8(at))),
        }
    }

    /// Little-endian store of the low `length` bytes, 1 to 8, of `value`, without bookkeeping as above.
    ///
    /// # Panics
    /// If the range is outside RAM.
    pub fn store(&mut self, offset: usize, length: usize, value: u64) {
        match length {
            8 => self.store_u64(offset, value),
            4 => self.store_u32(offset, value as u32),
            2 => self.store_u16(offset, value as u16),
            1 => self.store_u8(offset, value as u8),
            _ => {
                for (at, byte) in (offset..offset + length).zip(value.to_le_bytes()) {
                    self.store_u8(at, byte);
                }
            }
        }
    }

    /// Copies from RAM.
    ///
    /// # Errors
    /// If the range is not wholly in RAM; nothing is copied then.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), OutOfRam> {
        let offset = self.offset(address, into.len()).ok_or(OutOfRam)?;
        into.copy_from_slice(&self.bytes()[offset..offset + into.len()]);
        Ok(())
    }

    /// Copies into RAM, as a device does: pages become dirty, and engines learn which of their caches are
    /// stale.
    ///
    /// # Errors
    /// If the range is not wholly in RAM; nothing is copied then.
    pub fn write(&mut self, address: u64, from: &[u8]) -> Result<(), OutOfRam> {
        let offset = self.offset(address, from.len()).ok_or(OutOfRam)?;
        if from.is_empty() {
            return Ok(());
        }
        for page in offset / PAGE..=(offset + from.len() - 1) / PAGE {
            self.mark_dirty(page);
            if self.flags[page] & (CODE | WALKED) != 0 {
                self.stale.push(page as u32);
            }
        }
        self.bytes_mut()[offset..offset + from.len()].copy_from_slice(from);
        Ok(())
    }

    /// The content of one page.
    #[must_use]
    pub fn page(&self, page: usize) -> &[u8] {
        &self.bytes()[page * PAGE..(page + 1) * PAGE]
    }

    /// The flags of one page.
    #[inline]
    #[must_use]
    pub fn flags(&self, page: usize) -> u8 {
        self.flags[page]
    }

    /// May stores to this page go without bookkeeping?
    #[inline]
    #[must_use]
    pub fn is_plain(&self, page: usize) -> bool {
        self.flags[page] == DIRTY
    }

    /// Sets [`CODE`] or [`WALKED`]: from now on stores to the page must not be cached as plain. The engine
    /// that calls this drops its own permissions for the page.
    pub fn set_flag(&mut self, page: usize, flag: u8) {
        debug_assert!(flag & DIRTY == 0);
        self.flags[page] |= flag;
    }

    /// Clears [`CODE`] or [`WALKED`]: nothing is derived from the page any more.
    pub fn clear_flag(&mut self, page: usize, flag: u8) {
        debug_assert!(flag & DIRTY == 0);
        self.flags[page] &= !flag;
    }

    /// Notes that the page is about to be written. Frozen it is kept, unhashed it is hashed.
    #[inline]
    pub fn mark_dirty(&mut self, page: usize) {
        if self.flags[page] & DIRTY == 0 {
            if self.frozen.is_some() || self.unhashed.is_some() {
                self.keep(page);
            }
            self.flags[page] |= DIRTY;
            self.dirty.push(page as u32);
        }
    }

    /// The page, which is not dirty, is about to be written: if it is frozen, it is kept, and if it is
    /// unhashed, it is hashed.
    #[cold]
    #[inline(never)]
    fn keep(&mut self, page: usize) {
        if let Some(mut unhashed) = self.unhashed.take() {
            unhashed.hash(page, self.page(page));
            self.unhashed = Some(unhashed);
        }
        if let Some(mut frozen) = self.frozen.take() {
            frozen.keep(page, self.page(page));
            self.frozen = Some(frozen);
        }
    }

    /// Replaces the content of a page that is known to whoever counts pages: it does not become dirty.
    /// Engines learn of it as of [`Ram::write`].
    ///
    /// # Panics
    /// If RAM has no such page, or the content is not exactly a page.
    pub fn place(&mut self, page: usize, content: &[u8]) {
        if self.flags[page] & DIRTY == 0 {
            self.keep(page);
        }
        if self.flags[page] & (CODE | WALKED) != 0 {
            self.stale.push(page as u32);
        }
        self.bytes_mut()[page * PAGE..(page + 1) * PAGE].copy_from_slice(content);
    }

    /// How many pages are dirty.
    #[must_use]
    pub fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// Begins a new round: adds to `written` the pages that are dirty, which are clean from now on. To be
    /// called between two runs.
    pub fn begin_round(&mut self, written: &mut PageSet) {
        if self.dirty.len() > self.flags.len() / SPARSE {
            written.take_lowest(&mut self.flags);
        } else {
            for &page in &self.dirty {
                self.flags[page as usize] &= !DIRTY;
                written.insert(page as usize);
            }
        }
        self.dirty.clear();
        self.generation += 1;
    }

    /// From now on the pages of `owed` are kept as they are now: a page that is about to be written is copied
    /// into the pool first. What was frozen before is dropped. To be called between two runs.
    ///
    /// # Panics
    /// If a page is dirty, since it could be written without notice: [`Ram::begin_round`] comes first.
    pub fn freeze(&mut self, owed: PageSet, pool: Pool) {
        assert!(self.dirty.is_empty(), "a round begins before pages are frozen");
        self.frozen = Some(Box::new(Frozen::new(owed, pool)));
    }

    /// From now on a page of this set is hashed before its first write; `None`: no page is. What was unhashed
    /// before is dropped. To be called between two runs.
    ///
    /// # Panics
    /// If a page is dirty, since it could be written without notice: [`Ram::begin_round`] comes first.
    pub fn set_unhashed(&mut self, unhashed: Option<Unhashed>) {
        let is_clean = self.dirty.is_empty();
        assert!(unhashed.is_none() || is_clean, "a round begins first");
        self.unhashed = unhashed.map(Box::new);
    }

    /// The pages to be hashed as they were when a digest began; `None`: none has begun.
    pub fn unhashed(&mut self) -> Option<&mut Unhashed> {
        self.unhashed.as_deref_mut()
    }

    /// Drops what is frozen.
    pub fn thaw(&mut self) {
        self.frozen = None;
    }

    /// The frozen pages that are in place, since nobody has written them. Whoever has copied one takes it out
    /// of the set. `None`: nothing is frozen.
    pub fn owed(&mut self) -> Option<&mut PageSet> {
        Some(&mut self.frozen.as_mut()?.owed)
    }

    /// Takes at most `max` of the frozen pages that were written since, as they were, and shows each to
    /// `each`.
    pub fn take_kept(&mut self, max: usize, each: impl FnMut(u32, &[u8])) {
        if let Some(frozen) = &mut self.frozen {
            frozen.take_kept(max, each);
        }
    }

    /// How many frozen pages are left: those in place and those that were written since.
    #[must_use]
    pub fn frozen(&self) -> usize {
        let frozen = self.frozen.as_ref();
        frozen.map_or(0, |frozen| frozen.owed.count() + frozen.kept())
    }

    /// How many more frozen pages may be written before the pool overflows; `usize::MAX`: any number, as
    /// nothing is kept.
    #[must_use]
    pub fn frozen_room(&self) -> usize {
        self.frozen.as_ref().map_or(usize::MAX, |frozen| frozen.room())
    }

    /// Has more been written than the pool had room for? Then nothing is frozen any more but for this.
    #[must_use]
    pub fn has_overflowed(&self) -> bool {
        self.frozen.as_ref().is_some_and(|frozen| frozen.has_overflowed())
    }

    /// How many steps a hart may do before this is asked again, so that no step but one that has a device
    /// write can make the pool overflow; 0: none before pages were taken ([`FROZEN_RESERVE`]).
    #[must_use]
    pub fn steps_allowed(&self) -> u64 {
        match self.frozen_room() {
            usize::MAX => u64::MAX,
            room => (room.saturating_sub(FROZEN_RESERVE) / STEP_PAGES_MAX) as u64,
        }
    }

    /// Shows every dirty page to `is_written`, in the order of their first write: those that are not are
    /// clean from now on. The others stay dirty: what is written again and again needs no notice each time.
    pub fn settle(&mut self, mut is_written: impl FnMut(u32, &[u8]) -> bool) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let before = dirty.len();
        dirty.retain(|&page| {
            let written = is_written(page, self.page(page as usize));
            if !written {
                self.flags[page as usize] &= !DIRTY;
            }
            written
        });
        self.generation += u64::from(dirty.len() < before);
        self.dirty = dirty;
    }

    /// A number that changes whenever plain pages stop being plain other than by the engine's own
    /// [`Ram::set_flag`].
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Has [`Ram::write`] touched pages that an engine has derived something from?
    #[inline]
    #[must_use]
    pub fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// The pages that [`Ram::has_stale`] speaks of; the engine drops what it derived from them.
    pub fn take_stale(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.stale)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is `size` initialised (zero) bytes, borrowed for as long as `self`.
        unsafe { std::slice::from_raw_parts(self.base, self.size) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.base, self.size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages written since the last round.
    fn round(ram: &mut Ram) -> Vec<usize> {
        let mut written = PageSet::new(ram.pages());
        ram.begin_round(&mut written);
        (0..ram.pages()).filter(|&page| written.contains(page)).collect()
    }

    #[test]
    fn write_reaches_read_and_marks_pages_dirty_once() {
        let mut ram = Ram::new(4 * PAGE as u64).unwrap();
        ram.write(BASE + 4094, &[1, 2, 3, 4]).unwrap();
        let mut back = [0; 4];
        ram.read(BASE + 4094, &mut back).unwrap();
        assert_eq!(back, [1, 2, 3, 4]);
        ram.write(BASE, &[9]).unwrap();
        assert_eq!(ram.dirty(), 2);
        assert_eq!(round(&mut ram), [0, 1]);
        assert!(round(&mut ram).is_empty());
    }

    #[test]
    fn ranges_outside_ram_are_refused_whole() {
        let mut ram = Ram::new(PAGE as u64).unwrap();
        assert_eq!(ram.write(BASE + 4095, &[1, 2]), Err(OutOfRam));
        assert_eq!(ram.load_u8(4095), 0);
        assert_eq!(ram.read(BASE - 1, &mut [0]), Err(OutOfRam));
        assert_eq!(ram.write(u64::MAX, &[1]), Err(OutOfRam));
        assert_eq!(ram.write(BASE + 4096, &[]), Ok(()));
    }

    #[test]
    fn device_write_to_a_derived_page_is_reported_stale() {
        let mut ram = Ram::new(2 * PAGE as u64).unwrap();
        ram.set_flag(1, CODE);
        ram.write(BASE + 4096, &[1]).unwrap();
        assert!(ram.has_stale());
        assert_eq!(ram.take_stale(), [1]);
        assert!(!ram.has_stale());
    }

    #[test]
    fn what_is_not_written_any_more_stops_being_plain_and_the_rest_does_not() {
        let mut ram = Ram::new(2 * PAGE as u64).unwrap();
        ram.write(BASE + 4095, &[1, 2]).unwrap();
        let before = ram.generation();
        ram.settle(|_, _| true);
        assert_eq!(ram.generation(), before);
        ram.settle(|page, content| page == 1 && content[0] == 2);
        assert_ne!(ram.generation(), before);
        assert_eq!([ram.is_plain(0), ram.is_plain(1)], [false, true]);
        ram.mark_dirty(0);
        assert_eq!(round(&mut ram), [0, 1]);
    }

    #[test]
    fn a_new_dirty_round_makes_no_page_plain() {
        let mut ram = Ram::new(PAGE as u64).unwrap();
        ram.mark_dirty(0);
        assert!(ram.is_plain(0));
        let before = ram.generation();
        round(&mut ram);
        assert!(!ram.is_plain(0));
        assert_ne!(ram.generation(), before);
    }

    #[test]
    fn a_round_has_all_that_was_written_whether_it_was_little_or_much() {
        for written in [1, 2, 3, 700, 1000] {
            let mut ram = Ram::new(1000 * PAGE as u64).unwrap();
            let pages: Vec<usize> = (0..written).map(|page| page * 1000 / written).collect();
            for &page in &pages {
                ram.mark_dirty(page);
                ram.set_flag(page, WALKED);
            }
            assert_eq!(round(&mut ram), pages);
            assert!(pages.iter().all(|&page| ram.flags(page) == WALKED));
            assert_eq!(ram.dirty(), 0);
        }
    }

    fn kept(ram: &mut Ram) -> Vec<(u32, u8)> {
        let mut kept = Vec::new();
        ram.take_kept(usize::MAX, |page, content| kept.push((page, content[0])));
        kept
    }

    #[test]
    fn what_is_frozen_stays_as_it_was_whoever_writes() {
        let mut ram = Ram::new(8 * PAGE as u64).unwrap();
        for page in 0..4 {
            ram.write(BASE + page * PAGE as u64, &[page as u8 + 1]).unwrap();
        }
        let mut owed = PageSet::new(8);
        ram.begin_round(&mut owed);
        owed.remove(2);
        ram.freeze(owed, Pool::new(4).unwrap());
        assert_eq!(ram.frozen(), 3);
        // A device writes across two pages, a hart to one twice, and one is placed. Page 2 is not owed.
        ram.write(BASE + 2 * PAGE as u64 - 1, &[9, 9]).unwrap();
        for value in [8, 9] {
            ram.mark_dirty(3);
            ram.store_u8(3 * PAGE, value);
        }
        ram.place(0, &[7; PAGE]);
        assert_eq!((ram.frozen(), ram.frozen_room()), (3, 1));
        assert_eq!(ram.owed().map(|owed| owed.count()), Some(0));
        assert_eq!(kept(&mut ram), [(0, 1), (3, 4), (1, 2)]);
        ram.thaw();
        assert_eq!((ram.frozen(), ram.frozen_room()), (0, usize::MAX));
        assert_eq!([ram.load_u8(0), ram.load_u8(3 * PAGE)], [7, 9]);
    }

    #[test]
    fn what_is_unhashed_is_hashed_as_it_was_whoever_writes() {
        let mut ram = Ram::new(8 * PAGE as u64).unwrap();
        for page in 0..5 {
            ram.write(BASE + page * PAGE as u64, &[page as u8 + 1]).unwrap();
        }
        let mut pages = PageSet::new(8);
        ram.begin_round(&mut pages);
        pages.remove(2);
        ram.freeze(pages.clone(), Pool::new(4).unwrap());
        ram.set_unhashed(Some(Unhashed::new(pages, |page, content| {
            u128::from(page) << 8 | u128::from(content[0])
        })));
        // A device writes across two pages, a hart to one twice, and one is placed. Page 2 is not unhashed.
        ram.write(BASE + 2 * PAGE as u64 - 1, &[9, 9]).unwrap();
        for value in [8, 9] {
            ram.mark_dirty(3);
            ram.store_u8(3 * PAGE, value);
        }
        ram.place(0, &[7; PAGE]);
        let unhashed = ram.unhashed().unwrap();
        assert_eq!(unhashed.hashed, [(1, 0x102), (3, 0x304), (0, 0x001)]);
        assert_eq!((unhashed.pages.next(0), unhashed.pages.count()), (Some(4), 1));
        // What is frozen is kept all the same.
        assert_eq!(kept(&mut ram), [(0, 1), (3, 4), (1, 2)]);
        ram.set_unhashed(None);
        ram.mark_dirty(4);
        assert!(ram.unhashed().is_none());
    }

    #[test]
    fn a_step_is_allowed_only_while_its_pages_have_room() {
        let pages = FROZEN_RESERVE + 2 * STEP_PAGES_MAX;
        let mut ram = Ram::new((pages * PAGE) as u64).unwrap();
        assert_eq!(ram.steps_allowed(), u64::MAX);
        let mut owed = PageSet::new(pages);
        (0..pages).for_each(|page| assert!(owed.insert(page)));
        ram.freeze(owed, Pool::new(pages - 1).unwrap());
        assert_eq!(ram.steps_allowed(), 1);
        (0..STEP_PAGES_MAX).for_each(|page| ram.mark_dirty(page));
        assert_eq!(ram.steps_allowed(), 0);
        assert!(!ram.has_overflowed());
        (0..pages).for_each(|page| ram.mark_dirty(page));
        assert!(ram.has_overflowed());
        assert_eq!((ram.frozen(), ram.steps_allowed()), (0, u64::MAX));
    }
}
