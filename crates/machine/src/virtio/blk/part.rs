//! Reads and writes in parts: what a disk does next for a request with more data than one operation moves.
//!
//! [`Pending`](super::pending::Pending) asks here for the first part when the driver submits a request, and
//! for each further part when the one before is done. So a request of any size holds the memory of one part,
//! and an entry of the log the data of one. Nothing here touches a disk or a ring.

use hart::Ram;

use super::request::{HEADER_BYTES, STATUS_BYTES};
use crate::{
    Data, DiskOperation,
    virtio::{
        chain::{Broken, Chain},
        limits::PART_BYTES_MAX,
    },
};

/// The read of the part that begins `moved` bytes into the data of the request in `chain`, and at `sector` of
/// the disk; `None`: there is no more data.
pub fn read(chain: &Chain, moved: u64, sector: u64) -> Option<DiskOperation> {
    let room = chain.writable.total().saturating_sub(STATUS_BYTES);
    let bytes = part(room, moved)?;
    Some(DiskOperation::Read { sector, bytes })
}

/// The write of the part that begins `moved` bytes into the data of the request in `chain`, and at `sector`
/// of the disk; `None`: there is no more data. The data is copied out of guest memory here.
///
/// # Errors
/// If the chain is not in RAM: only after a restore from bytes that were not sound.
pub fn write(chain: &Chain, moved: u64, sector: u64, ram: &Ram) -> Result<Option<DiskOperation>, Broken> {
    let length = chain.readable.total().saturating_sub(HEADER_BYTES);
    let Some(bytes) = part(length, moved) else {
        return Ok(None);
    };
    let bytes = usize::try_from(bytes).unwrap_or(0);
    let before = HEADER_BYTES.saturating_add(moved);
    let data = Data::filled(bytes, |data| chain.readable.gather(ram, before, data))?;
    Ok(Some(DiskOperation::Write { sector, data }))
}

/// Bytes of the part after the first `moved` of `all`; `None`: there are no more.
fn part(all: u64, moved: u64) -> Option<u32> {
    let left = all.checked_sub(moved).filter(|&left| left > 0)?;
    Some(u32::try_from(left).map_or(PART_BYTES_MAX, |left| left.min(PART_BYTES_MAX)))
}
