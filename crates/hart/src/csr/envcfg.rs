//! `menvcfg` and `senvcfg`: what less privileged modes may do (privileged manual, "Machine Environment
//! Configuration Register"; unprivileged manual, "CMO", "Control and Status Register State").
//!
//! `csr` keeps the two registers and asks here before a less privileged mode does what they govern. Nothing
//! is permitted here that the mode above has not permitted too.

use crate::{op::BlockKind, privilege::Privilege};

/// Fences of device accesses order memory accesses too. All of ours do, so the bit only holds what is
/// written.
const FIOM: u64 = 1;
/// What `cbo.inval` does. 0: it is illegal; 1: it flushes; 3: it invalidates, which is the same here; 2 is
/// reserved.
const CBIE: u64 = 3 << 4;
/// The reserved value of [`CBIE`].
const CBIE_RESERVED: u64 = 2 << 4;
/// `cbo.clean` and `cbo.flush` are legal.
const CBCFE: u64 = 1 << 6;
/// `cbo.zero` is legal.
const CBZE: u64 = 1 << 7;
/// The page-table walker sets A and D (Svadu).
pub(super) const ADUE: u64 = 1 << 61;
/// `stimecmp` exists for supervisor mode and drives STIP (Sstc).
pub(super) const STCE: u64 = 1 << 63;

/// What `senvcfg` holds after a write of `value` over `old`: CBIE keeps its value if the new one is reserved.
pub(super) fn supervisor(old: u64, value: u64) -> u64 {
    let taken = if value & CBIE == CBIE_RESERVED {
        value & !CBIE | old & CBIE
    } else {
        value
    };
    taken & (FIOM | CBIE | CBCFE | CBZE)
}

/// What `menvcfg` holds after a write of `value` over `old`: as `senvcfg`, and the bits that only it has.
pub(super) fn machine(old: u64, value: u64) -> u64 {
    supervisor(old, value) | value & (ADUE | STCE)
}

/// May cache-block instructions of a kind be executed in this mode, by these two registers?
pub(super) fn permits(menvcfg: u64, senvcfg: u64, privilege: Privilege, kind: BlockKind) -> bool {
    let field = match kind {
        BlockKind::Invalidate => CBIE,
        BlockKind::Clean | BlockKind::Flush => CBCFE,
        BlockKind::Zero => CBZE,
    };
    (privilege == Privilege::Machine || menvcfg & field != 0)
        && (privilege > Privilege::User || senvcfg & field != 0)
}
