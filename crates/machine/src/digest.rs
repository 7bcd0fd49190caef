//! `Digest`: 128 bits over the whole state of the guest, to compare two replicas by.
//!
//! Registers and devices are hashed anew each time, field by field through [`Visitor`]. RAM is the wrapping
//! sum of one hash per page that is not all zero, of which only the pages written since the last digest are
//! computed again; a page never touched costs nothing. XXH3 is no cryptographic hash: this finds mistakes,
//! not forgeries.

use std::fmt;

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
    /// Which.
    pub name: &'static str,
    /// Its digest.
    pub digest: Digest,
}

/// All parts, and from them the whole.
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
    parts: Vec<Part>,
    /// The outermost component that is being visited.
    current: Option<(&'static str, Box<Xxh3>)>,
    depth: usize,
}

impl Digester {
    /// What has been visited.
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

/// The page's digest is out of date.
const STALE: u8 = 1;
/// The page was written since the last [`Pages::take_round`].
const ROUND: u8 = 2;

/// What is known about each page of RAM: its digest, and who has yet to hear of its last change.
///
/// The one reader of [`Ram::take_dirty`], which only one can be.
pub struct Pages {
    /// 0 for a page of zeroes.
    digests: Vec<u128>,
    sum: u128,
    flags: Vec<u8>,
    stale: Vec<u32>,
    round: Vec<u32>,
}

impl Pages {
    /// For a RAM of so many pages, all zero.
    #[must_use]
    pub fn new(pages: usize) -> Pages {
        Pages {
            digests: vec![0; pages],
            sum: 0,
            flags: vec![0; pages],
            stale: Vec::new(),
            round: Vec::new(),
        }
    }

    /// The digest of all of RAM.
    pub fn digest(&mut self, ram: &mut Ram) -> Digest {
        self.collect(ram);
        for page in std::mem::take(&mut self.stale) {
            let at = index(u64::from(page));
            if let (Some(flags), Some(digest)) = (self.flags.get_mut(at), self.digests.get_mut(at)) {
                *flags &= !STALE;
                let new = page_digest(page, ram.page(at));
                self.sum = self.sum.wrapping_sub(*digest).wrapping_add(new);
                *digest = new;
            }
        }
        Digest(self.sum)
    }

    /// The pages written since the last call, each once.
    pub fn take_round(&mut self, ram: &mut Ram) -> Vec<u32> {
        self.collect(ram);
        for &page in &self.round {
            if let Some(flags) = self.flags.get_mut(index(u64::from(page))) {
                *flags &= !ROUND;
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

    /// The digest of one page as of the last [`Pages::digest`].
    #[must_use]
    pub fn of_page(&self, page: usize) -> u128 {
        self.digests.get(page).copied().unwrap_or(0)
    }

    fn collect(&mut self, ram: &mut Ram) {
        for page in ram.take_dirty() {
            let Some(flags) = self.flags.get_mut(index(u64::from(page))) else {
                continue;
            };
            if *flags & STALE == 0 {
                self.stale.push(page);
            }
            if *flags & ROUND == 0 {
                self.round.push(page);
            }
            *flags |= STALE | ROUND;
        }
    }
}

fn page_digest(page: u32, bytes: &[u8]) -> u128 {
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

    fn fresh(ram: &mut Ram) -> Digest {
        let mut pages = Pages::new(ram.pages());
        for page in 0..ram.pages() {
            pages.flags[page] = STALE;
            pages.stale.push(page as u32);
        }
        pages.digest(ram)
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
        assert_eq!(high, fresh(&mut ram));
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
        assert_eq!(pages.digest(&mut ram), fresh(&mut ram));
        assert_eq!(pages.used(&mut ram), [2]);
    }
}
