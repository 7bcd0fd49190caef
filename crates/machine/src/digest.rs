//! `Digest`: 128 bits over the whole state of the guest, to compare two replicas by.
//!
//! The machine is hashed when the log wants a digest entry, and a backup compares. Registers and devices are
//! hashed anew each time, field by field through [`Visitor`]. RAM is the wrapping sum of one hash for each
//! page that is not all zero ([`page_digest`]); `pages` knows which pages have to be hashed again.
//!
//! A digest never changes what the guest can see. XXH3 is no cryptographic hash: digests find mistakes, not
//! forgeries.

use std::fmt;

use hart::{Visitor, ram::PAGE};
use xxhash_rust::xxh3::{Xxh3, xxh3_128, xxh3_128_with_seed};

use crate::narrow::wide;

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
