//! `menvcfg` and `senvcfg`: what less privileged modes may do (privileged manual, "Machine Environment
//! Configuration Register"; unprivileged manual, "CMO", "Control and Status Register State").

use crate::{op::BlockKind, privilege::Privilege};

const FIOM: u64 = 1;
/// 0: no `cbo.inval`; 1: it flushes; 3: it invalidates, which is the same here; 2 is reserved.
const CBIE: u64 = 3 << 4;
const CBIE_RESERVED: u64 = 2 << 4;
const CBCFE: u64 = 1 << 6;
const CBZE: u64 = 1 << 7;
pub(super) const ADUE: u64 = 1 << 61;
pub(super) const STCE: u64 = 1 << 63;

/// What `senvcfg` holds after a write: CBIE keeps its value if the new one is reserved.
pub(super) fn supervisor(old: u64, value: u64) -> u64 {
    let taken = if value & CBIE == CBIE_RESERVED {
        value & !CBIE | old & CBIE
    } else {
        value
    };
    taken & (FIOM | CBIE | CBCFE | CBZE)
}

/// Likewise `menvcfg`.
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
