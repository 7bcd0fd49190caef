//! `Pages`: what is known about each page of RAM, for digests and for clones.
//!
//! RAM's flag *dirty*, its pool of frozen pages and its set of unhashed ones can have only one reader, and
//! this is it: digests and a clone all have to hear of every write, and none may steal it from the others.
//!
//! # States of a page
//!
//! | state | what it means |
//! |---|---|
//! | dirty (a flag of `Ram`) | written since its last notice, perhaps without notice since then |
//! | stale | not dirty, but written since it was last hashed; its digest here is out of date |
//! | known | hashed at least once; any other page that is neither dirty nor stale was never written |
//! | unhashed (a set of `Ram`) | still as it was when a digest began, which needs its hash |
//! | owed | written since the clone under way copied it last, or never copied by it |
//!
//! An immediate digest hashes what is dirty or stale. What it finds changed stays dirty, so that the guest
//! goes on writing it without notice; the next digest looks at it in any case. So a digest costs the guest
//! nothing where it always writes (docs/decisions/0045). A round of a clone, or the begin of a digest that
//! ends later, makes all dirty pages stale at once, so that the next write to each is noticed.
//!
//! A digest that ends later (docs/decisions/0099) has a sum of its own. Each page that is stale when it
//! begins is unhashed, and leaves that set when it is hashed: here, for whatever reason, or by `Ram` before
//! the first write to it. `Ram`'s hashes are taken in (`collect`) before anything else is done here.
//!
//! Invariants: a page that is neither dirty nor stale has its true digest here, unless somebody wrote it
//! without notice, which the scrub finds. An unhashed page is stale. In the rounds of a clone a page that is
//! stale is owed. Once all is collected, an unhashed page has the digest here that it had when the digest
//! began, and no other page adds to that digest's sum.

use hart::{
    Ram,
    ram::{DIRTY, OutOfHostMemory, PAGE, PageSet, Pool, Unhashed},
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

/// A digest that has begun.
struct Begun {
    /// RAM's digest as of the begin, once no page is unhashed.
    sum: u128,
    /// How many pages were unhashed at first.
    pages: usize,
    /// No page before this one is unhashed.
    next: usize,
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
    /// The digest that has begun and not ended; `None`: there is none.
    begun: Option<Begun>,
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
            begun: None,
            cloning: Cloning::Not,
        }
    }

    /// The digest of all of RAM as it is. One that has begun goes on, and has nothing left to hash.
    pub fn digest(&mut self, ram: &mut Ram) -> Digest {
        self.collect(ram);
        self.hashed = 0;
        ram.settle(|page, content| {
            let page = index(u64::from(page));
            // What is dirty is not unhashed.
            let changed = self.set(page, page_digest(low32(wide(page)), content), false);
            if !changed {
                // From now on the page is clean, but this clone may not have its last change.
                self.owe(page);
            }
            changed
        });
        let mut from = 0;
        while let Some(page) = self.stale.next(from) {
            self.update(ram, page);
            from = page + 1;
        }
        let hashed = self.hashed;
        self.scrub(ram);
        self.hashed = hashed;
        Digest(self.sum)
    }

    /// How many pages a digest would hash now, at most, the scrub not counted.
    #[must_use]
    pub fn to_hash(&self, ram: &Ram) -> usize {
        self.stale.count() + ram.dirty()
    }

    /// Begins a digest of all of RAM as it is now. One that had begun is dropped.
    pub fn begin_digest(&mut self, ram: &mut Ram) {
        // What was hashed for it before a write is dirty, and so stale in a moment.
        ram.set_unhashed(None);
        self.begin(ram);
        self.scrub(ram);
        self.begun = Some(Begun {
            sum: self.sum,
            pages: self.stale.count(),
            next: 0,
        });
        ram.set_unhashed(Some(Unhashed::new(self.stale.clone(), page_digest)));
    }

    /// Hashes at most `budget` pages of the digest that has begun, and gives how many are left.
    pub fn hash_some(&mut self, ram: &mut Ram, budget: usize) -> usize {
        self.collect(ram);
        for _ in 0..budget {
            let (Some(begun), Some(unhashed)) = (&mut self.begun, ram.unhashed()) else {
                return 0;
            };
            let Some(page) = unhashed.pages.next(begun.next) else {
                break;
            };
            begun.next = page + 1;
            self.update(ram, page);
        }
        ram.unhashed().map_or(0, |unhashed| unhashed.pages.count())
    }

    /// Hashes what is left of the digest that has begun, and gives the digest of RAM as of its begin; `None`:
    /// none has begun.
    pub fn end_digest(&mut self, ram: &mut Ram) -> Option<Digest> {
        self.hash_some(ram, usize::MAX);
        ram.set_unhashed(None);
        let begun = self.begun.take()?;
        self.hashed = begun.pages;
        Some(Digest(begun.sum))
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
    fn scrub(&mut self, ram: &mut Ram) {
        for _ in 0..SCRUB_PAGES.min(self.known.count()) {
            let Some(page) = self.known.next(self.scrubbed).or_else(|| self.known.next(0)) else {
                break;
            };
            self.scrubbed = page + 1;
            if ram.flags(page) & DIRTY == 0 && self.update(ram, page) {
                self.owe(page);
            }
        }
    }

    /// Takes in the hashes of the pages that were hashed before a write to them. All of them are dirty.
    fn collect(&mut self, ram: &mut Ram) {
        if let Some(unhashed) = ram.unhashed() {
            for (page, digest) in unhashed.hashed.drain(..) {
                self.set(index(u64::from(page)), digest, true);
            }
        }
    }

    /// Hashes a page as it is; returns whether its digest has changed.
    fn update(&mut self, ram: &mut Ram, page: usize) -> bool {
        let digest = page_digest(low32(wide(page)), ram.page(page));
        let was_unhashed = ram.unhashed().is_some_and(|unhashed| unhashed.pages.remove(page));
        self.set(page, digest, was_unhashed)
    }

    /// Sets a page's digest; returns whether it has changed. `was_unhashed`: the digest that has begun needs
    /// it.
    fn set(&mut self, page: usize, new: u128, was_unhashed: bool) -> bool {
        let Some(digest) = self.digests.get_mut(page) else {
            return false;
        };
        self.known.insert(page);
        self.stale.remove(page);
        self.hashed += 1;
        let old = std::mem::replace(digest, new);
        let change = new.wrapping_sub(old);
        self.sum = self.sum.wrapping_add(change);
        if let Some(begun) = self.begun.as_mut().filter(|_| was_unhashed) {
            begun.sum = begun.sum.wrapping_add(change);
        }
        change != 0
    }

    /// Notes for the rounds of a clone, if there are any, that a page may have changed since it was copied.
    fn owe(&mut self, page: usize) {
        if let Cloning::Rounds { owed, .. } = &mut self.cloning {
            owed.insert(page);
        }
    }

    /// Makes all dirty pages stale, so that the next write to each is noticed.
    fn begin(&mut self, ram: &mut Ram) {
        self.collect(ram);
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
        self.collect(ram);
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
            self.update(ram, page);
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
        self.collect(ram);
        self.update(ram, page);
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
    fn digests_and_clones_do_not_steal_writes_from_each_other() {
        let mut ram = Ram::new(SIZE).unwrap();
        let mut pages = Pages::new(8);
        let (mut copy, mut cut, mut begun) = (Copy::new(), None, None);
        let mut random = 1u64;
        let (mut clones, mut overflows, mut ends) = (0, 0, 0);
        for turn in 0..60_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // The pages differ in how often they are written.
            let page = ((random >> 40) % 8).min((random >> 50) % 8) as usize;
            match (random >> 33) % 32 {
                0..3 => assert_eq!(pages.digest(&mut ram), fresh(&ram), "turn {turn}"),
                3 if begun.is_none() || random >> 62 == 0 => {
                    pages.begin_digest(&mut ram);
                    begun = Some(fresh(&ram));
                }
                3 => {
                    assert_eq!(pages.end_digest(&mut ram), begun.take(), "turn {turn}");
                    ends += 1;
                }
                4 if cut.is_none() => {
                    pages.begin_round(&mut ram);
                }
                5 if cut.is_none() => {
                    pages.freeze(&mut ram, (random >> 50) as usize % 8).unwrap();
                    cut = Some((0..8).map(|page| ram.page(page).to_vec()).collect::<Vec<_>>());
                }
                6 => {
                    let left = pages.hash_some(&mut ram, (random >> 61) as usize);
                    assert!(begun.is_some() || left == 0);
                }
                7 if cut.is_none() => pages.place(&mut ram, page, PageContent::Bytes(&[turn as u8; PAGE])),
                8..16 => {
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
            clones > 100 && overflows > 10 && ends > 500,
            "{clones} clones, {overflows} overflows, {ends} digests that have begun before"
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
    }

    #[test]
    fn a_digest_that_ends_later_is_of_its_begin() {
        let mut ram = Ram::new(SIZE).unwrap();
        let mut pages = Pages::new(8);
        assert_eq!(pages.end_digest(&mut ram), None);
        (0..6).for_each(|page| store(&mut ram, page, 1));
        assert_eq!(pages.to_hash(&ram), 6);
        assert!(ram.is_plain(0), "to ask costs no notice");
        let begun = fresh(&ram);
        pages.begin_digest(&mut ram);
        assert_eq!(pages.hash_some(&mut ram, 2), 4);
        // Pages 0 and 1 are hashed, page 5 is hashed before it is overwritten, page 7 was never written.
        [0, 5, 5, 7].into_iter().for_each(|page| store(&mut ram, page, 2));
        assert_eq!(pages.hash_some(&mut ram, 0), 3);
        assert_eq!(pages.hash_some(&mut ram, 1), 2);
        assert_eq!(pages.end_digest(&mut ram), Some(begun));
        assert_eq!((pages.hashed(), pages.end_digest(&mut ram)), (6, None));
        assert_eq!(pages.to_hash(&ram), 3, "what was written since, and no more");
        assert_eq!(pages.digest(&mut ram), fresh(&ram));
    }

    #[test]
    fn an_immediate_digest_leaves_one_that_has_begun_as_it_was() {
        let mut ram = Ram::new(SIZE).unwrap();
        let mut pages = Pages::new(8);
        (0..4).for_each(|page| store(&mut ram, page, 1));
        pages.begin_digest(&mut ram);
        let begun = fresh(&ram);
        store(&mut ram, 2, 2);
        assert_eq!(pages.digest(&mut ram), fresh(&ram));
        assert_eq!(pages.hash_some(&mut ram, 0), 0, "it had to hash all of these");
        store(&mut ram, 3, 2);
        assert_eq!(pages.end_digest(&mut ram), Some(begun));
        // One that begins takes the place of one that has begun.
        store(&mut ram, 1, 3);
        pages.begin_digest(&mut ram);
        store(&mut ram, 1, 4);
        pages.begin_digest(&mut ram);
        let begun = fresh(&ram);
        store(&mut ram, 1, 5);
        assert_eq!(pages.end_digest(&mut ram), Some(begun));
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
        // Digests that end later scrub too.
        ram.store_u8(count / 3 * PAGE, 2);
        let mut later = || {
            pages.begin_digest(&mut ram);
            pages.end_digest(&mut ram) == Some(fresh(&ram))
        };
        let found = (0..4).filter(|_| later()).count();
        assert!((1..=4).contains(&found) && later());
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
