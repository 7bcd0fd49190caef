//! `Pte`: one entry of a page table, as Sv39 and Sv48 lay it out (privileged manual, "Sv39", "Sv48",
//! "Svnapot").
//!
//! Pure questions about 64 bits. The walk that asks them is in `mmu`; nothing here reads or writes memory.

use crate::{
    pmp::Intent,
    privilege::Privilege,
    ram::{PAGE, PAGE_BITS},
    space::Space,
};

/// How many bits of an address choose an entry of one table: a table has 512 entries.
pub const INDEX_BITS: u32 = 9;

const V: u64 = 1;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;
/// In a leaf: one of 16 entries that together map 64 KiB (Svnapot).
const N: u64 = 1 << 63;
/// The bits that are reserved, or belong to Svpbmt, which we do not have: they must be zero.
const RESERVED: u64 = 0x1ff << 54;
/// The bits of a physical page number, once it is moved to the right.
const PPN: u64 = (1 << 44) - 1;
/// The size of the pages that Svnapot makes of 16 entries: 64 KiB, the only size there is.
const NAPOT: u64 = 16 * PAGE as u64;

/// One entry of a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pte(pub u64);

impl Pte {
    /// Does it have its V bit? Nothing is ever derived from an entry that has not.
    pub const fn is_valid(self) -> bool {
        self.0 & V != 0
    }

    /// Is it valid, with bits that do not contradict each other?
    pub const fn is_sound(self) -> bool {
        let stores_only = self.0 & (R | W) == W;
        let reserved = self.is_pointer() && self.0 & (D | A | U | N) != 0;
        self.is_valid() && !stores_only && self.0 & RESERVED == 0 && !reserved
    }

    /// Does it lead to a table of the next level, if it is valid? Else it is a leaf, which maps something.
    pub const fn is_pointer(self) -> bool {
        self.0 & (R | W | X) == 0
    }

    /// The physical address of the table that it leads to, or of what it maps.
    pub const fn address(self) -> u64 {
        (self.0 >> 10 & PPN) << PAGE_BITS
    }

    /// The physical address to which a leaf in a table of `level` maps a virtual `address`; `None` if the
    /// leaf is misaligned, or of a reserved size.
    pub const fn map(self, level: u32, address: u64) -> Option<u64> {
        let base = self.address();
        let span = 1 << (PAGE_BITS + INDEX_BITS * level);
        if self.0 & N == 0 {
            return if base & (span - 1) == 0 {
                Some(base | address & (span - 1))
            } else {
                None
            };
        }
        // The low bits of the page number say how large a Svnapot page is.
        if level == 0 && base & (NAPOT - 1) == NAPOT / 2 {
            Some(base & !(NAPOT - 1) | address & (NAPOT - 1))
        } else {
            None
        }
    }

    /// Does a leaf allow an access in this space, as far as R, W, X and U decide?
    pub fn allows(self, space: Space, intent: Intent) -> bool {
        let user_page = self.0 & U != 0;
        let privileged = match space.privilege() {
            Privilege::User => user_page,
            _ => !user_page || (space.sum() && intent != Intent::Fetch),
        };
        let right = match intent {
            Intent::Load if space.mxr() => R | X,
            Intent::Load => R,
            Intent::Store => W,
            Intent::Fetch => X,
        };
        privileged && self.0 & right != 0
    }

    /// The leaf as an access makes it: with A, and with D for a store.
    pub const fn used(self, intent: Intent) -> Pte {
        Pte(self.0 | A | if matches!(intent, Intent::Store) { D } else { 0 })
    }
}
