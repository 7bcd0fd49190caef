//! `Pages`: what is known about each page of RAM, for digests and for clones.
//!
//! RAM's flag *dirty* and its pool of frozen pages can have only one reader, and this is it: a digest, a
//! clone and a look ahead of a digest all have to hear of every write, and none may steal it from the others.
//!
//! # States of a page
//!
//! | state | what it means |
//! |---|---|
//! | dirty (a flag of `Ram`) | written since its last notice, perhaps without notice since then |
//! | stale | not dirty, but written since it was last hashed; its digest here is out of date |
//! | known | hashed at least once; any other page that is neither dirty nor stale was never written |
//! | owed | written since the clone under way copied it last, or never copied by it |
//!
//! A digest hashes what is dirty or stale. What it finds changed stays dirty, so that the guest goes on
//! writing it without notice; the next digest looks at it in any case. So a digest costs the guest nothing
//! where it always writes (docs/decisions/0045). A round of a clone, or a look ahead, makes all dirty pages
//! stale at once, so that the next write to each is noticed.
//!
//! Invariants: a page that is neither dirty nor stale has its true digest here, unless somebody wrote it
//! without notice, which the scrub finds. In the rounds of a clone a page that is stale is owed.

use hart::{
    Ram,
    ram::{DIRTY, OutOfHostMemory, PAGE, PageSet, Pool},
};

use crate::{
    Batch, Digest, PageContent,
    digest::page_digest,
    limits::{LOOKS_PER_PAGE, SCRUB_PAGES},
    narrow::{index, low32, wide},
};

/// How far a clone has come with copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// There may be more to copy. The batch need not have grown: a call looks at a bounded number of pages.
    More,
    /// Before the freeze, the round is over: what is still owed is written again and again. After the freeze,
    /// all of RAM as it was at the freeze is copied, and nothing is frozen any more.
    Over,
    /// The guest has overwritten more frozen pages than the pool has room for. What was copied is of no use:
    /// the clone ends, and may begin anew.
    Overflowed,
}

/// How much a digest would have to do, after [`Machine::hash_some`](crate::Machine::hash_some).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// How many pages a digest would hash now, at most, the scrub not counted.
    pub left: u32,
    /// No further call before the next digest makes that less: what is left is written again and again.
    pub is_over: bool,
}

/// What a clone is doing.
enum Cloning {
    /// There is no clone.
    Not,
    /// Rounds: pages are copied while they may be written again.
    Rounds {
        /// The pages that are owed.
        owed: PageSet,
        /// The first page that this round has not come to yet.
        next: usize,
    },
    /// After the freeze: RAM has the pages that are owed, and keeps those that are written.
    Frozen {
        /// No page before this one is owed in place.
        next: usize,
    },
}

/// What is known about each page of RAM.
pub struct Pages {
    /// For each page what it adds to the digest of RAM ([`page_digest`]).
    digests: Vec<u128>,
    /// The wrapping sum of `digests`.
    sum: u128,
    /// The pages that were hashed at least once.
    known: PageSet,
    /// The pages whose digest is out of date though they are not dirty, and perhaps some that are dirty.
    stale: PageSet,
    /// How many pages the last digest looked at, the scrub not counted.
    hashed: usize,
    /// The page from which the scrub of the next digest goes on.
    scrubbed: usize,
    /// The page from which the look ahead of the next digest goes on.
    looked: usize,
    /// Have all dirty pages been made stale since the last digest, to be hashed ahead of the next one?
    is_ahead: bool,
    cloning: Cloning,
}

impl Pages {
    /// What is known about a RAM of so many pages, all zero.
    #[must_use]
    pub fn new(pages: usize) -> Pages {
        Pages {
            digests: vec![0; pages],
            sum: 0,
            known: PageSet::new(pages),
            stale: PageSet::new(pages),
            hashed: 0,
            scrubbed: 0,
            looked: 0,
            is_ahead: false,
            cloning: Cloning::Not,
        }
    }

    /// The digest of all of RAM.
    pub fn digest(&mut self, ram: &mut Ram) -> Digest {
        self.hashed = 0;
        self.is_ahead = false;
        ram.settle(|page, content| {
            let changed = self.update(index(u64::from(page)), content);
            if !changed {
                // From now on the page is clean, but this clone may not have its last change.
                self.owe(index(u64::from(page)));
            }
            changed
        });
        let mut from = 0;
        while let Some(page) = self.stale.next(from) {
            self.update(page, ram.page(page));
            from = page + 1;
        }
        self.scrub(ram);
        Digest(self.sum)
    }

    /// How many pages the last digest looked at, the scrub not counted.
    #[must_use]
    pub fn hashed(&self) -> usize {
        self.hashed
    }

    /// The pages that are not all zero, in order.
    pub fn used(&mut self, ram: &mut Ram) -> Vec<u32> {
        self.digest(ram);
        let digests = self.digests.iter().enumerate();
        let used = digests.filter(|(_, digest)| **digest != 0);
        used.map(|(page, _)| low32(wide(page))).collect()
    }

    /// Hashes some pages again that nobody is known to have written, going round through all known pages.
    fn scrub(&mut self, ram: &Ram) {
        let hashed = self.hashed;
        for _ in 0..SCRUB_PAGES.min(self.known.count()) {
            let Some(page) = self.known.next(self.scrubbed).or_else(|| self.known.next(0)) else {
                break;
            };
            self.scrubbed = page + 1;
            if ram.flags(page) & DIRTY == 0 && self.update(page, ram.page(page)) {
                self.owe(page);
            }
        }
        self.hashed = hashed;
    }

    /// Hashes at most `budget` pages ahead of the next digest.
    pub fn hash_some(&mut self, ram: &mut Ram, budget: usize) -> Ahead {
        if budget > 0 && self.stale.is_empty() && !self.is_ahead {
            self.is_ahead = true;
            self.begin(ram);
        }
        let mut hashed = 0;
        for _ in 0..budget.saturating_mul(LOOKS_PER_PAGE) {
            let next = self.stale.next(self.looked).or_else(|| self.stale.next(0));
            let Some(page) = next.filter(|_| hashed < budget) else {
                break;
            };
            self.looked = page + 1;
            if ram.flags(page) & DIRTY == 0 {
                hashed += 1;
                self.update(page, ram.page(page));
            } else {
                self.stale.remove(page); // The digest looks at it in any case.
            }
        }
        Ahead {
            left: low32(wide(self.stale.count() + ram.dirty())),
            is_over: self.is_ahead && self.stale.is_empty(),
        }
    }

    /// Computes a page's digest; returns whether it has changed.
    fn update(&mut self, page: usize, content: &[u8]) -> bool {
        let Some(digest) = self.digests.get_mut(page) else {
            return false;
        };
        self.known.insert(page);
        self.stale.remove(page);
        self.hashed += 1;
        let new = page_digest(low32(wide(page)), content);
        let old = std::mem::replace(digest, new);
        self.sum = self.sum.wrapping_sub(old).wrapping_add(new);
        old != new
    }

    /// Notes for the rounds of a clone, if there are any, that a page may have changed since it was copied.
    fn owe(&mut self, page: usize) {
        if let Cloning::Rounds { owed, .. } = &mut self.cloning {
            owed.insert(page);
        }
    }

    /// Makes all dirty pages stale, so that the next write to each is noticed.
    fn begin(&mut self, ram: &mut Ram) {
        ram.begin_round(&mut self.stale);
        if let Cloning::Rounds { owed, .. } = &mut self.cloning {
            owed.add_all(&self.stale);
        }
    }
}

/// A clone of the machine: the copying of RAM while the guest runs.
impl Pages {
    /// Begins a round, and with the first one a clone. The number of pages that are owed.
    pub fn begin_round(&mut self, ram: &mut Ram) -> usize {
        if !matches!(self.cloning, Cloning::Rounds { .. }) {
            self.thaw(ram);
            let owed = self.known.clone();
            self.cloning = Cloning::Rounds { owed, next: 0 };
        }
        self.begin(ram);
        if let Cloning::Rounds { next, .. } = &mut self.cloning {
            *next = 0;
        }
        self.owed(ram)
    }

    /// How many pages are owed.
    #[must_use]
    pub fn owed(&self, ram: &Ram) -> usize {
        match &self.cloning {
            Cloning::Not => 0,
            Cloning::Rounds { owed, .. } => owed.count(),
            Cloning::Frozen { .. } => ram.frozen(),
        }
    }

    /// Freezes all pages that are owed, with a pool of this many pages.
    ///
    /// # Errors
    /// If the host has no memory for the pool. Nothing has changed then.
    pub fn freeze(&mut self, ram: &mut Ram, room: usize) -> Result<(), OutOfHostMemory> {
        let pool = Pool::new(room)?;
        self.begin_round(ram);
        let rounds = std::mem::replace(&mut self.cloning, Cloning::Frozen { next: 0 });
        if let Cloning::Rounds { owed, .. } = rounds {
            ram.freeze(owed, pool);
        }
        Ok(())
    }

    /// Ends the clone.
    pub fn thaw(&mut self, ram: &mut Ram) {
        ram.thaw();
        self.cloning = Cloning::Not;
    }

    /// Copies at most `max` owed pages to the end of a batch.
    pub fn copy_owed(&mut self, ram: &mut Ram, batch: &mut Batch, max: usize) -> Copied {
        if ram.has_overflowed() {
            return Copied::Overflowed;
        }
        let before = batch.len();
        ram.take_kept(max, |page, content| batch.push(page, content_of(content)));
        let mut looks = max.saturating_mul(LOOKS_PER_PAGE);
        while batch.len() - before < max && looks > 0 {
            looks -= 1;
            let Some(page) = self.next_owed(ram) else {
                if matches!(self.cloning, Cloning::Frozen { .. }) {
                    self.thaw(ram);
                }
                return Copied::Over;
            };
            if ram.flags(page) & DIRTY == 0 {
                self.copy(ram, batch, page);
            }
        }
        Copied::More
    }

    /// The next page that is owed in place; the one after it is next.
    fn next_owed(&mut self, ram: &mut Ram) -> Option<usize> {
        let (owed, next) = match &mut self.cloning {
            Cloning::Not => return None,
            Cloning::Rounds { owed, next } => (&*owed, next),
            Cloning::Frozen { next } => (&*ram.owed()?, next),
        };
        let page = owed.next(*next)?;
        *next = page + 1;
        Some(page)
    }

    /// Copies a page that is not dirty, and hashes it in the same breath.
    fn copy(&mut self, ram: &mut Ram, batch: &mut Batch, page: usize) {
        if self.stale.contains(page) || !self.known.contains(page) {
            self.update(page, ram.page(page));
        }
        let is_zero = self.digests.get(page).is_none_or(|digest| *digest == 0);
        let content = if is_zero {
            PageContent::Zero
        } else {
            PageContent::Bytes(ram.page(page))
        };
        batch.push(low32(wide(page)), content);
        match &mut self.cloning {
            Cloning::Rounds { owed, .. } => owed.remove(page),
            _ => ram.owed().is_some_and(|owed| owed.remove(page)),
        };
    }

    /// Replaces the content of a page, which RAM has, by what was copied elsewhere.
    pub fn place(&mut self, ram: &mut Ram, page: usize, content: PageContent<'_>) {
        let bytes = match content {
            PageContent::Bytes(bytes) => bytes,
            // What was never written is zero, and the host need not allocate it.
            PageContent::Zero if self.is_untouched(ram, page) => return,
            PageContent::Zero => &ZEROES,
        };
        ram.place(page, bytes);
        self.update(page, bytes);
        self.owe(page);
    }

    /// Was the page never written?
    fn is_untouched(&self, ram: &Ram, page: usize) -> bool {
        ram.flags(page) & DIRTY == 0 && !self.stale.contains(page) && !self.known.contains(page)
    }
}

/// A page that is all zero.
const ZEROES: [u8; PAGE] = [0; PAGE];

fn content_of(bytes: &[u8]) -> PageContent<'_> {
    if bytes == ZEROES {
        PageContent::Zero
    } else {
        PageContent::Bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hart::ram::BASE;

    const SIZE: u64 = 8 * PAGE as u64;

    /// The digest by the book.
    fn fresh(ram: &Ram) -> Digest {
        let digests = (0..ram.pages()).map(|page| page_digest(page as u32, ram.page(page)));
        Digest(digests.fold(0, u128::wrapping_add))
    }

    /// As an engine does: a page that it knows to be plain is written without notice.
    fn store(ram: &mut Ram, page: usize, value: u8) {
        if !ram.is_plain(page) {
            ram.mark_dirty(page);
        }
        ram.store_u8(page * PAGE + 7, value);
    }

    fn write(ram: &mut Ram, page: usize, value: u8) {
        ram.write(BASE + (page * PAGE) as u64, &[value]).unwrap();
    }

    #[test]
    fn ram_digest_depends_on_content_and_place_only() {
        let mut ram = Ram::new(SIZE).unwrap();
        let mut pages = Pages::new(8);
        let empty = pages.digest(&mut ram);
        write(&mut ram, 0, 1);
        let low = pages.digest(&mut ram);
        write(&mut ram, 0, 0);
        assert_eq!(pages.digest(&mut ram), empty);
        write(&mut ram, 1, 1);
        let high = pages.digest(&mut ram);
        assert_ne!(low, high);
        assert_eq!(high, fresh(&ram));
        assert_eq!(pages.used(&mut ram), [1]);
    }

    #[test]
    fn a_digest_costs_no_notice_where_the_guest_goes_on_writing() {
        let mut ram = Ram::new(SIZE).unwrap();
        let mut pages = Pages::new(8);
        for value in 1..4 {
            store(&mut ram, 3, value);
            let generation = ram.generation();
            pages.digest(&mut ram);
            assert!(ram.is_plain(3) && ram.generation() == generation);
        }
        pages.digest(&mut ram);
        assert!(!ram.is_plain(3));
    }

    /// A copy of RAM, made of batches.
    struct Copy(Vec<Vec<u8>>);

    impl Copy {
        fn new() -> Copy {
            Copy(vec![vec![0; PAGE]; 8])
        }

        fn take(&mut self, batch: &Batch) {
            for (page, content) in batch.pages() {
                self.0[page as usize] = match content {
                    PageContent::Zero => vec![0; PAGE],
                    PageContent::Bytes(bytes) => bytes.to_vec(),
                };
            }
        }
    }

    #[test]
    fn digests_looks_ahead_and_clones_do_not_steal_writes_from_each_other() {
        let mut ram = Ram::new(SIZE).unwrap();
        let mut pages = Pages::new(8);
        let (mut copy, mut cut) = (Copy::new(), None);
        let mut random = 1u64;
        let (mut clones, mut overflows) = (0, 0);
        for turn in 0..30_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // The pages differ in how often they are written.
            let page = ((random >> 40) % 8).min((random >> 50) % 8) as usize;
            match (random >> 33) % 32 {
                0..3 => assert_eq!(pages.digest(&mut ram), fresh(&ram), "turn {turn}"),
                3 => {
                    pages.hash_some(&mut ram, (random >> 60) as usize);
                }
                4 if cut.is_none() => {
                    pages.begin_round(&mut ram);
                }
                5 if cut.is_none() => {
                    pages.freeze(&mut ram, (random >> 50) as usize % 8).unwrap();
                    cut = Some((0..8).map(|page| ram.page(page).to_vec()).collect::<Vec<_>>());
                }
                6..16 => {
                    let mut batch = Batch::new(PAGE);
                    let copied = pages.copy_owed(&mut ram, &mut batch, 1 + (random >> 60) as usize % 2);
                    copy.take(&batch);
                    if copied == Copied::Overflowed {
                        overflows += 1;
                        pages.thaw(&mut ram);
                        (copy, cut) = (Copy::new(), None);
                    } else if copied == Copied::Over && cut.is_some() {
                        clones += 1;
                        assert!(Some(&copy.0) == cut.as_ref(), "turn {turn}");
                        (copy, cut) = (Copy::new(), None);
                    }
                }
                // Most pages are not zero, some become so again.
                _ => store(&mut ram, page, (random >> 62) as u8),
            }
        }
        assert!(
            clones > 100 && overflows > 10,
            "{clones} clones, {overflows} overflows"
        );
    }

    #[test]
    fn pages_that_were_never_written_are_not_owed_and_zero_pages_need_no_bytes() {
        let mut ram = Ram::new(SIZE).unwrap();
        let mut pages = Pages::new(8);
        for (page, value) in [(1, 1), (2, 0), (3, 3)] {
            write(&mut ram, page, value);
        }
        // Pages 1 and 2 were hashed before, page 3 was written only.
        pages.digest(&mut ram);
        store(&mut ram, 3, 4);
        assert_eq!(pages.begin_round(&mut ram), 3);
        let mut batch = Batch::new(PAGE);
        assert_eq!(pages.copy_owed(&mut ram, &mut batch, 9), Copied::Over);
        assert_eq!(Vec::from_iter(batch.pages().map(|(page, _)| page)), [1, 2, 3]);
        assert_eq!((batch.content().len(), pages.owed(&ram)), (2 * PAGE, 0));
        // What was copied is hashed.
        pages.digest(&mut ram);
        assert_eq!(pages.hashed(), 0);
    }

    #[test]
    fn a_page_that_is_written_all_the_time_is_passed_over_until_the_cut() {
        let mut ram = Ram::new(SIZE).unwrap();
        let mut pages = Pages::new(8);
        let mut batch = Batch::new(PAGE);
        write(&mut ram, 5, 1);
        write(&mut ram, 6, 1);
        for value in 2..5 {
            pages.begin_round(&mut ram);
            store(&mut ram, 5, value);
            assert_eq!(pages.copy_owed(&mut ram, &mut batch, 9), Copied::Over);
            assert_eq!(pages.owed(&ram), 1);
        }
        assert_eq!(batch.len(), 1, "page 6, once");
        pages.freeze(&mut ram, 1).unwrap();
        store(&mut ram, 5, 9);
        assert_eq!(pages.copy_owed(&mut ram, &mut batch, 1), Copied::More);
        assert_eq!(pages.copy_owed(&mut ram, &mut batch, 1), Copied::Over);
        assert!(matches!(batch.pages().last(), Some((5, PageContent::Bytes(bytes))) if bytes[7] == 4));
    }

    #[test]
    fn a_call_looks_at_a_bounded_number_of_pages() {
        let count = 3 * LOOKS_PER_PAGE;
        let mut ram = Ram::new((count * PAGE) as u64).unwrap();
        let mut pages = Pages::new(count);
        let write_all = |ram: &mut Ram, value| (0..count).for_each(|page| store(ram, page, value));
        let mut batch = Batch::new(PAGE);
        write_all(&mut ram, 1);
        pages.begin_round(&mut ram);
        write_all(&mut ram, 2);
        let copied: Vec<Copied> = (0..4).map(|_| pages.copy_owed(&mut ram, &mut batch, 1)).collect();
        assert_eq!(copied, [Copied::More, Copied::More, Copied::More, Copied::Over]);
        assert!(batch.is_empty());
        // All are stale and dirty: a look ahead has as much to pass over.
        let left = |pages: &mut Pages, ram: &mut Ram| pages.hash_some(ram, 1).left as usize;
        assert_eq!(left(&mut pages, &mut ram), count + 2 * LOOKS_PER_PAGE);
    }

    #[test]
    fn a_look_ahead_leaves_to_the_digest_what_is_written_again() {
        let mut ram = Ram::new(SIZE).unwrap();
        let mut pages = Pages::new(8);
        (0..6).for_each(|page| store(&mut ram, page, 1));
        let ahead = |left, is_over| Ahead { left, is_over };
        assert_eq!(pages.hash_some(&mut ram, 0), ahead(6, false));
        assert!(ram.is_plain(0), "to ask costs no notice");
        assert_eq!(pages.hash_some(&mut ram, 2), ahead(4, false));
        store(&mut ram, 0, 2);
        store(&mut ram, 5, 2);
        // Page 5 is both to be hashed ahead and dirty, and so counted twice before it is found dirty.
        assert_eq!(pages.hash_some(&mut ram, 2), ahead(4, false));
        assert_eq!(pages.hash_some(&mut ram, 2), ahead(2, true));
        assert_eq!(pages.hash_some(&mut ram, 2), ahead(2, true));
        assert_eq!(pages.digest(&mut ram), fresh(&ram));
        assert_eq!(pages.hashed(), 2);
        assert_eq!(
            pages.hash_some(&mut ram, 0),
            ahead(2, false),
            "the two changed, and are still dirty"
        );
    }

    #[test]
    fn what_nobody_noticed_is_found_by_the_scrub() {
        let count = 3 * SCRUB_PAGES;
        let mut ram = Ram::new((count * PAGE) as u64).unwrap();
        let mut pages = Pages::new(count);
        (0..count).for_each(|page| store(&mut ram, page, 1));
        (0..2).for_each(|_| assert_eq!(pages.digest(&mut ram), fresh(&ram)));
        let owed = pages.begin_round(&mut ram);
        assert_eq!(owed, count);
        while pages.copy_owed(&mut ram, &mut Batch::new(PAGE), 100) != Copied::Over {}
        // A flaw, or a bad memory of the host: no flag knows of it.
        ram.store_u8(count / 2 * PAGE, 1);
        let found = (0..3).filter(|_| pages.digest(&mut ram) == fresh(&ram)).count();
        assert!((1..=3).contains(&found) && pages.digest(&mut ram) == fresh(&ram));
        assert_eq!(
            (pages.hashed(), pages.owed(&ram)),
            (0, 1),
            "the clone owes it again"
        );
    }

    #[test]
    fn what_is_placed_is_known_and_zero_touches_nothing() {
        let mut ram = Ram::new(SIZE).unwrap();
        let mut pages = Pages::new(8);
        pages.place(&mut ram, 3, PageContent::Bytes(&[7; PAGE]));
        pages.place(&mut ram, 4, PageContent::Bytes(&[7; PAGE]));
        pages.place(&mut ram, 4, PageContent::Zero);
        pages.place(&mut ram, 5, PageContent::Zero);
        assert!(pages.is_untouched(&ram, 5) && !pages.is_untouched(&ram, 4));
        assert_eq!(pages.digest(&mut ram), fresh(&ram));
        assert_eq!((pages.hashed(), pages.used(&mut ram)), (0, vec![3]));
        // It can be cloned on in its turn.
        assert_eq!(pages.begin_round(&mut ram), 2);
    }
}
