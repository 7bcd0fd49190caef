//! The block device's configuration space, `struct virtio_blk_config` (VIRTIO 5.2.4).
//!
//! [`Block`](super::Block) answers the driver's loads from here. What is shown depends only on the disk's
//! size and on the mode of its cache; what the driver writes is the device's business.

use super::request::SECTOR_BYTES;
use crate::virtio::limits::{SEGMENTS_MAX, ZERO_SECTORS_MAX};

/// Offset of the one field that a driver may write: whether completed writes may be in a cache.
pub const WRITEBACK: u64 = 32;

/// Discards had best be aligned to this many sectors, which are 4 KiB.
const DISCARD_ALIGNMENT_SECTORS: u32 = 8;
/// Heads and sectors of the geometry, which no disk has had for a long time: those that QEMU tells.
const HEADS: u8 = 16;
/// Sectors of a track in that geometry.
const TRACK_SECTORS: u8 = 63;
/// Fewest and most cylinders of that geometry.
const CYLINDERS: (u64, u64) = (2, 16_383);

/// The byte at `offset` for a disk of so many sectors; 0 where there is no field. The topology (offsets 24 to
/// 31) is all zero: a physical block is a logical one, and no size of request is better than another.
pub fn byte(offset: u64, sectors: u64, is_write_back: bool) -> u8 {
    let track = u64::from(HEADS).saturating_mul(TRACK_SECTORS.into());
    let (least, most) = CYLINDERS;
    let cylinders = sectors.checked_div(track).unwrap_or(0).clamp(least, most);
    let [c0, c1, ..] = cylinders.to_le_bytes();
    let fields: [(u64, &[u8]); 11] = [
        (0, &sectors.to_le_bytes()),                    // capacity
        (12, &SEGMENTS_MAX.to_le_bytes()),              // seg_max
        (16, &[c0, c1, HEADS, TRACK_SECTORS]),          // geometry
        (20, &SECTOR_BYTES.to_le_bytes()),              // blk_size
        (WRITEBACK, &[u8::from(is_write_back)]),        // writeback
        (36, &ZERO_SECTORS_MAX.to_le_bytes()),          // max_discard_sectors
        (40, &1_u32.to_le_bytes()),                     // max_discard_seg
        (44, &DISCARD_ALIGNMENT_SECTORS.to_le_bytes()), // discard_sector_alignment
        (48, &ZERO_SECTORS_MAX.to_le_bytes()),          // max_write_zeroes_sectors
        (52, &1_u32.to_le_bytes()),                     // max_write_zeroes_seg
        (56, &[1]),                                     // write_zeroes_may_unmap
    ];
    let byte = |(start, field): (u64, &[u8])| {
        let index = usize::try_from(offset.checked_sub(start)?).ok()?;
        field.get(index).copied()
    };
    fields.into_iter().find_map(byte).unwrap_or(0)
}
