//! Address spaces as the TLB tells them apart.

use crate::trap::Privilege;

/// Everything a translation depends on besides memory: the key of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space(u64);

const ROOT_BITS: u64 = (1 << 47) - 1;

impl Space {
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
