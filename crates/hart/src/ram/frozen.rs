//! `Frozen`: pages as they were at one moment, for a copy that is made while the guest runs on (FT 3.1-a).
//!
//! [`Ram`](super::Ram) has one between [`Ram::freeze`](super::Ram::freeze) and
//! [`Ram::thaw`](super::Ram::thaw). A page is *owed* as long as it is neither copied nor written: it still is
//! in place. Before the first write to an owed page, `Ram` has it *kept*: copied into the pool. Nothing here
//! decides which pages are owed, or in which order they are copied.

use std::fmt;

use super::{advice::give_back, page::PAGE, page_set::PageSet};

/// The host has no memory for a pool of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfHostMemory;

impl fmt::Display for OutOfHostMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host has no memory to keep overwritten pages of the guest in; give less for them")
    }
}

impl std::error::Error for OutOfHostMemory {}

/// Bytes that are given back to the host with one call, for which the guest waits some ten microseconds.
const GIVE_BACK: usize = 64 * PAGE;
/// Bytes that are not given back though no page is kept in them: the next pages to be kept need them again.
const SPARE: usize = 16 * GIVE_BACK;

/// Memory for pages that are kept. It never grows beyond what it was made for, and the host allocates it as
/// it is used, in small pages: the guest waits while the host clears one, and a large one takes milliseconds
/// where the host is itself a virtual machine. For the same reason the host gets it back in small portions
/// while pages are taken: it needs ten milliseconds for all of a pool of 256 MiB.
pub struct Pool {
    /// The pages one after the other, the last one kept at the end. The vector is never reallocated.
    content: Vec<u8>,
    /// The number of each page.
    pages: Vec<u32>,
    /// How many pages there is room for.
    room: usize,
    /// How many bytes of `content`, from its begin on, the host may have allocated.
    allocated: usize,
}

impl Pool {
    /// An empty pool for so many pages.
    ///
    /// # Errors
    /// If the host has no memory for it.
    pub fn new(room: usize) -> Result<Pool, OutOfHostMemory> {
        let bytes = room.checked_mul(PAGE).ok_or(OutOfHostMemory)?;
        let mut pool = Pool {
            content: Vec::new(),
            pages: Vec::new(),
            room,
            allocated: 0,
        };
        let content = pool.content.try_reserve_exact(bytes);
        let both = content.and_then(|()| pool.pages.try_reserve_exact(room));
        both.map(|()| pool).map_err(|_| OutOfHostMemory)
    }

    /// Keeps one page more, for which there is room.
    fn push(&mut self, page: usize, content: &[u8]) {
        self.pages.push(page as u32);
        self.content.extend_from_slice(content);
        self.allocated = self.allocated.max(self.content.len());
    }

    /// Takes the page that was kept last, and shows it to `each`; false: none is kept.
    fn pop(&mut self, each: impl FnOnce(u32, &[u8])) -> bool {
        let Some(page) = self.pages.pop() else {
            return false;
        };
        let rest = self.pages.len() * PAGE;
        each(page, &self.content[rest..]);
        self.content.truncate(rest);
        true
    }

    /// Gives memory in which no page is kept back to the host, but for a little.
    fn give_back(&mut self) {
        while self.allocated >= self.content.len() + SPARE + GIVE_BACK {
            self.allocated -= GIVE_BACK;
            let begin = self.allocated - self.content.len();
            let spare = &mut self.content.spare_capacity_mut()[begin..];
            // The page at either end lies half in the next portion.
            let length = spare.len().min(GIVE_BACK + PAGE);
            give_back(&mut spare[..length]);
        }
    }
}

/// What is frozen.
pub struct Frozen {
    /// The pages that are in place as they were.
    pub owed: PageSet,
    /// The pages that were written since, as they were.
    pool: Pool,
    /// Was there a page to keep and no room for it? Then nothing is owed or kept any more.
    has_overflowed: bool,
}

impl Frozen {
    /// Owes these pages, and keeps them in this pool.
    pub fn new(owed: PageSet, pool: Pool) -> Frozen {
        Frozen {
            owed,
            pool,
            has_overflowed: false,
        }
    }

    /// The page is about to be written: if it is owed, it is kept.
    pub fn keep(&mut self, page: usize, content: &[u8]) {
        if !self.owed.remove(page) {
            return;
        }
        if self.pool.pages.len() == self.pool.room {
            // What is there is of no use without this page. The memory goes at once.
            self.has_overflowed = true;
            self.owed = PageSet::default();
            self.pool.pages = Vec::new();
            self.pool.content = Vec::new();
            return;
        }
        self.pool.push(page, content);
    }

    /// Takes at most `max` kept pages, those kept last first, and shows each to `each`.
    pub fn take_kept(&mut self, max: usize, mut each: impl FnMut(u32, &[u8])) {
        for _ in 0..max {
            if !self.pool.pop(&mut each) {
                break;
            }
        }
        self.pool.give_back();
    }

    /// How many pages are kept.
    pub fn kept(&self) -> usize {
        self.pool.pages.len()
    }

    /// How many more pages can be kept; after an overflow as many as you like, as none is.
    pub fn room(&self) -> usize {
        if self.has_overflowed {
            usize::MAX
        } else {
            self.pool.room - self.pool.pages.len()
        }
    }

    /// Was there a page to keep and no room for it?
    pub fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }
}

#[cfg(test)]
mod tests {
    use super::{super::advice::resident, *};

    fn frozen(owed: &[usize], room: usize) -> Frozen {
        let mut set = PageSet::new(8);
        for &page in owed {
            set.insert(page);
        }
        Frozen::new(set, Pool::new(room).unwrap())
    }

    #[test]
    fn owed_pages_are_kept_once_and_others_never() {
        let mut frozen = frozen(&[1, 2], 8);
        for (page, byte) in [(1, 10), (3, 30), (1, 11), (2, 20)] {
            frozen.keep(page, &[byte; PAGE]);
        }
        assert!(frozen.owed.is_empty());
        assert_eq!((frozen.kept(), frozen.room()), (2, 6));
        let mut taken = Vec::new();
        frozen.take_kept(9, |page, content| taken.push((page, content[0], content.len())));
        assert_eq!(taken, [(2, 20, PAGE), (1, 10, PAGE)]);
        assert_eq!((frozen.kept(), frozen.room()), (0, 8));
    }

    #[test]
    fn the_page_that_finds_no_room_ends_it_and_none_before() {
        let mut frozen = frozen(&[0, 1, 2, 3], 2);
        frozen.keep(0, &[1; PAGE]);
        frozen.keep(1, &[1; PAGE]);
        assert_eq!((frozen.room(), frozen.has_overflowed()), (0, false));
        frozen.take_kept(1, |_, _| {});
        frozen.keep(2, &[1; PAGE]);
        assert_eq!((frozen.room(), frozen.has_overflowed()), (0, false));
        frozen.keep(3, &[1; PAGE]);
        assert!(frozen.has_overflowed() && frozen.owed.is_empty());
        assert_eq!((frozen.room(), frozen.kept()), (usize::MAX, 0));
        frozen.keep(3, &[1; PAGE]);
        frozen.take_kept(1, |_, _| panic!("nothing is kept any more"));
    }

    #[test]
    fn memory_goes_back_to_the_host_while_pages_are_taken() {
        // So much that the allocator has it from the host, as it has a pool for a clone: smaller ones may lie
        // where large pages were once asked for.
        const ROOM: usize = (64 << 20) / PAGE;
        const KEPT: usize = 4000;
        let mut owed = PageSet::new(KEPT + 1);
        for page in 0..=KEPT {
            owed.insert(page);
        }
        let mut frozen = Frozen::new(owed, Pool::new(ROOM).unwrap());
        for page in 0..KEPT {
            frozen.keep(page, &[page as u8; PAGE]);
        }
        let mut expected = KEPT as u32;
        while frozen.kept() > 0 {
            frozen.take_kept(100, |page, content| {
                expected -= 1;
                assert_eq!((page, content), (expected, &[expected as u8; PAGE][..]));
            });
            let spare = resident(frozen.pool.content.spare_capacity_mut()) * PAGE;
            assert!(spare <= SPARE + 2 * GIVE_BACK, "{spare} bytes at {expected}");
        }
        // What was given back is used again.
        frozen.keep(KEPT, &[7; PAGE]);
        frozen.take_kept(1, |page, content| {
            assert_eq!((page, content), (KEPT as u32, &[7; PAGE][..]));
        });
    }

    #[test]
    fn a_pool_that_the_host_has_no_memory_for_is_an_error() {
        for room in [usize::MAX, usize::MAX / PAGE] {
            assert_eq!(Pool::new(room).err(), Some(OutOfHostMemory));
        }
    }
}
