//! Address spaces, as the MMU and the TLB tell them apart: everything that a translation depends on besides
//! memory.
//!
//! A [`Space`] is made of the registers of a hart and the number of its PMP rules. Two equal spaces translate
//! alike, so that translations are remembered by space and shared between harts.

use crate::{Hart, csr::status, privilege::Privilege};

/// One address space, in 64 bits, so that two are compared quickly.
///
/// From bit 0 on: the page number of the root page table (44 bits), the levels of page tables (3), the
/// effective privilege (2), SUM, MXR, ADUE (1 each), the number of the PMP rules (12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space(u64);

/// The bits of a [`Space`] that name its page tables: their root and levels.
const ROOT_BITS: u64 = (1 << 47) - 1;

/// The two spaces that a hart is in. They differ while `mstatus.MPRV` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spaces {
    /// In which it fetches instructions.
    pub fetch: Space,
    /// In which it loads and stores.
    pub data: Space,
}

impl Spaces {
    /// The spaces that a hart is in; `pmp` is the number of its PMP rules (privileged manual, "Memory
    /// Privilege in mstatus Register").
    #[must_use]
    pub fn of(hart: &Hart, pmp: usize) -> Spaces {
        let fetch = Space::of(hart, hart.privilege, pmp);
        let status = hart.csr.mstatus;
        if status & status::MPRV == 0 {
            return Spaces { fetch, data: fetch };
        }
        let effective = Privilege::from_bits(status >> status::MPP_SHIFT).unwrap_or_default();
        let data = Space::of(hart, effective, pmp);
        Spaces { fetch, data }
    }
}

impl Space {
    /// The space of a hart's accesses, were they made with this privilege.
    fn of(hart: &Hart, privilege: Privilege, pmp: usize) -> Space {
        let levels = hart.csr.satp_levels();
        if privilege == Privilege::Machine || levels == 0 {
            return Space::bare(privilege, pmp);
        }
        let status = hart.csr.mstatus;
        let sum = privilege == Privilege::Supervisor && status & status::SUM != 0;
        let mxr = status & status::MXR != 0;
        let root = hart.csr.satp_root();
        Space::paged(root, levels, privilege, pmp).with_modes(sum, mxr, hart.csr.has_svadu())
    }

    /// Addresses are physical. `pmp` names the PMP rules in force.
    #[must_use]
    pub fn bare(privilege: Privilege, pmp: usize) -> Space {
        Space((privilege as u64) << 47 | (pmp as u64) << 52)
    }

    /// Addresses go through the tables at page `root`.
    #[must_use]
    pub const fn paged(root: u64, levels: u32, privilege: Privilege, pmp: usize) -> Space {
        Space(root | (levels as u64) << 44 | (privilege as u64) << 47 | (pmp as u64) << 52)
    }

    /// With `mstatus.SUM`, `mstatus.MXR` and `menvcfg.ADUE`.
    #[must_use]
    pub fn with_modes(self, sum: bool, mxr: bool, adue: bool) -> Space {
        Space(self.0 | u64::from(sum) << 49 | u64::from(mxr) << 50 | u64::from(adue) << 51)
    }

    /// A few bits that differ between spaces in use at the same time.
    pub(crate) const fn hash(self) -> usize {
        (self.0 ^ self.0 >> 47) as usize
    }

    /// The page tables: equal for spaces that share them.
    #[must_use]
    pub const fn root(self) -> u64 {
        self.0 & ROOT_BITS
    }

    /// Physical page of the root table.
    #[must_use]
    pub const fn root_page(self) -> u64 {
        self.0 & ((1 << 44) - 1)
    }

    /// Levels of page tables; 0 is bare.
    #[must_use]
    pub const fn levels(self) -> u32 {
        (self.0 >> 44 & 7) as u32
    }

    /// Effective privilege.
    #[must_use]
    pub fn privilege(self) -> Privilege {
        Privilege::from_bits(self.0 >> 47).unwrap_or_default()
    }

    /// Supervisor may access user pages.
    #[must_use]
    pub const fn sum(self) -> bool {
        self.0 >> 49 & 1 != 0
    }

    /// Loads may read executable pages.
    #[must_use]
    pub const fn mxr(self) -> bool {
        self.0 >> 50 & 1 != 0
    }

    /// The walker sets A and D.
    #[must_use]
    pub const fn adue(self) -> bool {
        self.0 >> 51 & 1 != 0
    }

    /// The number that names the PMP rules.
    #[must_use]
    pub const fn pmp(self) -> usize {
        (self.0 >> 52) as usize
    }
}
