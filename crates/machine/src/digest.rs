//! `Digest`: 128 bits over the whole state of the guest, to compare two replicas by.
//!
//! The machine is hashed when the log wants a digest entry, and a backup compares. Registers and devices are
//! hashed anew each time, field by field through [`Visitor`]. RAM is the wrapping sum of one hash for each
//! page that is not all zero; hashed again are only the pages written since the last digest, and those that
//! the last one found changed, since the guest may write these without notice. Other pages cost nothing.
//!
//! A digest never changes what the guest can see. XXH3 is no cryptographic hash: digests find mistakes, not
//! forgeries.

use std::fmt;

use bitflags::bitflags;
use hart::{Ram, Visitor, ram::PAGE};
use xxhash_rust::xxh3::{Xxh3, xxh3_128, xxh3_128_with_seed};

use crate::narrow::{index, low32, wide};

/// A digest of the guest's state, or of a part of it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(xxh3_128(bytes))
    }
}

/// The digest of one component: `hart0`, `plic`, `virtio2`, `ram`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The name of the component.
    pub name: &'static str,
    /// The digest of the component.
    pub digest: Digest,
}

/// The digest of a whole from the digests of all its parts, in their order.
#[must_use]
pub fn total(parts: &[Part]) -> Digest {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&part.digest.0.to_le_bytes());
    }
    Digest(hasher.digest128())
}

/// Visits a machine and hashes each outermost component by itself.
#[derive(Default)]
pub struct Digester {
    /// The components that have been visited.
    parts: Vec<Part>,
    /// The outermost component that is being visited, and the hash of its fields so far.
    current: Option<(&'static str, Box<Xxh3>)>,
    /// How many components deep the visit is.
    depth: usize,
}

impl Digester {
    /// The digests of all components that have been visited.
    #[must_use]
    pub fn into_parts(self) -> Vec<Part> {
        debug_assert!(self.depth == 0 && self.current.is_none());
        self.parts
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some((_, hasher)) = &mut self.current {
            hasher.update(bytes);
        }
    }
}

impl Visitor for Digester {
    fn enter(&mut self, name: &'static str) {
        if self.depth == 0 {
            self.current = Some((name, Box::new(Xxh3::new())));
        }
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.depth -= 1;
        if self.depth == 0
            && let Some((name, hasher)) = self.current.take()
        {
            self.parts.push(Part {
                name,
                digest: Digest(hasher.digest128()),
            });
        }
    }

    fn u64(&mut self, _: &'static str, value: &mut u64) {
        self.update(&value.to_le_bytes());
    }

    fn bytes(&mut self, _: &'static str, value: &mut Vec<u8>, _: usize) {
        self.update(&wide(value.len()).to_le_bytes());
        self.update(value);
    }

    fn length(&mut self, _: &'static str, length: usize, _: usize) -> usize {
        self.update(&wide(length).to_le_bytes());
        length
    }
}

bitflags! {
    /// Who has yet to hear of the last change of a page.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct PageFlags: u8 {
        /// The page was written and its digest is not computed again yet.
        const STALE = 1 << 0;
        /// The page was written since the last [`Pages::take_round`].
        const ROUND = 1 << 1;
    }
}

/// What is known about each page of RAM: its digest, and who has yet to hear of its last change.
///
/// RAM's list of dirty pages can have only one reader, and this is it.
///
/// A page that has changed since the last digest stays dirty, so that the guest goes on writing it without
/// notice; the next digest looks at it in any case. So a digest costs the guest nothing where it always
/// writes.
pub struct Pages {
    /// For each page what it adds to the digest of RAM ([`page_digest`]).
    digests: Vec<u128>,
    /// The wrapping sum of `digests`.
    sum: u128,
    /// For each page who has yet to hear of its last change.
    flags: Vec<PageFlags>,
    /// The pages with [`PageFlags::STALE`], and perhaps some that have it no more.
    stale: Vec<u32>,
    /// The pages with [`PageFlags::ROUND`].
    round: Vec<u32>,
    /// How many pages the last digest looked at.
    hashed: usize,
}

impl Pages {
    /// What is known about a RAM of so many pages, all zero.
    #[must_use]
    pub fn new(pages: usize) -> Pages {
        Pages {
            digests: vec![0; pages],
            sum: 0,
            flags: vec![PageFlags::empty(); pages],
            stale: Vec::new(),
            round: Vec::new(),
            hashed: 0,
        }
    }

    /// The digest of all of RAM.
    pub fn digest(&mut self, ram: &mut Ram) -> Digest {
        self.hashed = 0;
        ram.settle(|page, content| {
            let changed = self.update(page, content);
            if !changed {
                self.note(page, PageFlags::ROUND);
            }
            changed
        });
        for page in std::mem::take(&mut self.stale) {
            if self.flags_of(page).contains(PageFlags::STALE) {
                self.update(page, ram.page(index(u64::from(page))));
            }
        }
        Digest(self.sum)
    }

    /// How many pages the last digest looked at.
    #[must_use]
    pub fn hashed(&self) -> usize {
        self.hashed
    }

    /// Computes a page's digest; returns whether it has changed.
    fn update(&mut self, page: u32, content: &[u8]) -> bool {
        let at = index(u64::from(page));
        let (Some(flags), Some(digest)) = (self.flags.get_mut(at), self.digests.get_mut(at)) else {
            return false;
        };
        flags.remove(PageFlags::STALE);
        self.hashed += 1;
        let new = page_digest(page, content);
        let old = std::mem::replace(digest, new);
        self.sum = self.sum.wrapping_sub(old).wrapping_add(new);
        old != new
    }

    /// The pages written since the last call, each once.
    #[cfg(feature = "parts")]
    pub fn take_round(&mut self, ram: &mut Ram) -> Vec<u32> {
        for page in ram.take_dirty() {
            self.note(page, PageFlags::STALE);
            self.note(page, PageFlags::ROUND);
        }
        for &page in &self.round {
            if let Some(flags) = self.flags.get_mut(index(u64::from(page))) {
                flags.remove(PageFlags::ROUND);
            }
        }
        std::mem::take(&mut self.round)
    }

    /// The pages that are not all zero, in order.
    pub fn used(&mut self, ram: &mut Ram) -> Vec<u32> {
        self.digest(ram);
        let used = self
            .digests
            .iter()
            .enumerate()
            .filter(|(_, digest)| **digest != 0);
        used.map(|(page, _)| low32(wide(page))).collect()
    }

    fn flags_of(&self, page: u32) -> PageFlags {
        let flags = self.flags.get(index(u64::from(page)));
        flags.copied().unwrap_or(PageFlags::empty())
    }

    /// Sets a flag of a page and, if the flag was not set, adds the page to the list of those that have it.
    fn note(&mut self, page: u32, flag: PageFlags) {
        let Some(flags) = self.flags.get_mut(index(u64::from(page))) else {
            return;
        };
        if !flags.contains(flag) {
            flags.insert(flag);
            let list = if flag == PageFlags::STALE {
                &mut self.stale
            } else {
                &mut self.round
            };
            list.push(page);
        }
    }
}

/// What a page of this number and content adds to the digest of RAM: 0 if it is all zero.
#[must_use]
pub fn page_digest(page: u32, bytes: &[u8]) -> u128 {
    const ZEROES: [u8; PAGE] = [0; PAGE];
    if bytes == ZEROES {
        0
    } else {
        xxh3_128_with_seed(bytes, u64::from(page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hart::ram::BASE;

    /// The digest by the book.
    fn fresh(ram: &Ram) -> Digest {
        let digests = (0..ram.pages()).map(|page| page_digest(page as u32, ram.page(page)));
        Digest(digests.fold(0, u128::wrapping_add))
    }

    #[test]
    fn ram_digest_depends_on_content_and_place_only() {
        let mut ram = Ram::new(8 * PAGE as u64).unwrap();
        let mut pages = Pages::new(8);
        let empty = pages.digest(&mut ram);
        ram.write(BASE, &[1]).unwrap();
        let low = pages.digest(&mut ram);
        ram.write(BASE, &[0]).unwrap();
        assert_eq!(pages.digest(&mut ram), empty);
        ram.write(BASE + 4096, &[1]).unwrap();
        let high = pages.digest(&mut ram);
        assert_ne!(low, high);
        assert_eq!(high, fresh(&ram));
    }

    #[test]
    fn rounds_and_digests_do_not_steal_pages_from_each_other() {
        let mut ram = Ram::new(8 * PAGE as u64).unwrap();
        let mut pages = Pages::new(8);
        ram.write(BASE + 2 * 4096, &[1]).unwrap();
        pages.digest(&mut ram);
        ram.write(BASE + 2 * 4096, &[2]).unwrap();
        ram.write(BASE + 3 * 4096, &[0]).unwrap();
        assert_eq!(pages.take_round(&mut ram), [2, 3]);
        assert!(pages.take_round(&mut ram).is_empty());
        assert_eq!(pages.digest(&mut ram), fresh(&ram));
        assert_eq!(pages.used(&mut ram), [2]);
    }

    /// As an engine does: a page that it knows to be plain is written without notice.
    fn store(ram: &mut Ram, page: usize, value: u8) {
        if !ram.is_plain(page) {
            ram.mark_dirty(page);
        }
        ram.store_u8(page * PAGE + 7, value);
    }

    #[test]
    fn what_is_written_without_notice_is_in_the_digest_and_in_the_round() {
        let mut ram = Ram::new(8 * PAGE as u64).unwrap();
        let mut pages = Pages::new(8);
        let mut written = std::collections::BTreeSet::new();
        let mut random = 1u64;
        for turn in 0..2000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // The pages differ in how often they are written.
            let page = ((random >> 40) % 8).min((random >> 50) % 8) as usize;
            match (random >> 33) % 16 {
                0 => {
                    let mut round = pages.take_round(&mut ram);
                    round.sort_unstable();
                    assert_eq!(round, Vec::from_iter(std::mem::take(&mut written)), "turn {turn}");
                }
                1..4 => assert_eq!(pages.digest(&mut ram), fresh(&ram), "turn {turn}"),
                _ => {
                    store(&mut ram, page, (random >> 60) as u8);
                    written.insert(page as u32);
                }
            }
        }
    }

    #[test]
    fn a_digest_costs_no_notice_where_the_guest_goes_on_writing() {
        let mut ram = Ram::new(8 * PAGE as u64).unwrap();
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
}
