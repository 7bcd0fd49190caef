//! Disk operations as functions of a disk's content: what each one touches, changes and reads.
//!
//! The disk of the world (`storage`, `cache`, `layer`) and the checkers, which compute what a disk must be,
//! use the same functions. They must not know of requests, caches or failures.

use machine::DiskOperation;

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// Does the first `whole` bytes of an operation to a disk's content. The answer is what the operation reads.
pub fn apply(content: &mut [u8], operation: &DiskOperation, whole: usize) -> Vec<u8> {
    let (sector, bytes) = extent(operation);
    let from = (sector as usize * SECTOR).min(content.len());
    let to = (from + bytes.min(whole)).min(content.len());
    let area = &mut content[from..to];
    match operation {
        DiskOperation::Read { .. } => return area.to_vec(),
        DiskOperation::Write { data, .. } => area.copy_from_slice(&data[..area.len()]),
        DiskOperation::Flush => {}
        DiskOperation::Discard { .. } | DiskOperation::WriteZeroes { .. } => area.fill(0),
    }
    Vec::new()
}

/// Does an operation change what is on the disk? A flush only makes that durable, so nobody needs to be kept
/// from it.
#[must_use]
pub fn changes(operation: &DiskOperation) -> bool {
    !matches!(operation, DiskOperation::Read { .. } | DiskOperation::Flush)
}

/// The first sector and the number of bytes that an operation touches.
#[must_use]
pub fn extent(operation: &DiskOperation) -> (u64, usize) {
    match operation {
        DiskOperation::Read { sector, bytes } => (*sector, *bytes as usize),
        DiskOperation::Write { sector, data } => (*sector, data.len()),
        DiskOperation::Flush => (0, 0),
        DiskOperation::Discard { sector, sectors } | DiskOperation::WriteZeroes { sector, sectors, .. } => {
            (*sector, *sectors as usize * SECTOR)
        }
    }
}
