//! What an entry of a second-level table says: where a cluster of the guest's disk is.
//!
//! The numbers are those of docs/interop/qcow2.txt of QEMU, "L2 table entry". Nothing here reads anything,
//! and any number is either understood or a flaw.

use crate::flaw::{Flaw, damaged};

/// Of an entry: the cluster belongs to this entry alone and may be written in place.
pub const COPIED: u64 = 1 << 63;
/// Of an entry of a second-level table: the cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// Of an entry of a second-level table: the cluster reads as zeroes.
pub const ZERO: u64 = 1;
/// The bits of an entry that are an offset.
pub const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The bits of an entry of a first-level table that mean nothing.
const L1_RESERVED: u64 = !(COPIED | OFFSET);
/// The bits of an entry for a plain cluster that mean nothing.
const L2_RESERVED: u64 = !(COPIED | COMPRESSED | OFFSET | ZERO);
/// The unit in which the length of a compressed cluster is said, in bytes.
const COMPRESSED_UNIT: u64 = 512;

/// Where a cluster of the guest's disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// In the backing file, or nowhere, which reads as zeroes.
    Unmapped,
    /// It reads as zeroes. A cluster of the file may be kept for it, at this offset.
    Zero(Option<u64>),
    /// In the cluster of the file at this offset.
    Data(u64),
    /// Compressed, in these bytes of the file.
    Compressed {
        /// Offset in the file in bytes.
        offset: u64,
        /// Length in bytes up to the end of the last sector of 512 bytes that is used.
        length: u64,
    },
}

/// What an entry of a second-level table says, in an image of this version with clusters of this size.
///
/// # Errors
/// The entry says nothing that the format knows.
pub fn mapping(entry: u64, version: u32, cluster_bits: u32) -> Result<Mapping, Flaw> {
    if entry & COMPRESSED != 0 {
        if entry & COPIED != 0 {
            return Err(damaged(format!(
                "the L2 entry {entry:#x} is compressed and copied at once"
            )));
        }
        let offset_bits = 62 - (cluster_bits - 8);
        let offset = entry & ((1 << offset_bits) - 1);
        let units = (entry & (COMPRESSED - 1)) >> offset_bits;
        return Ok(Mapping::Compressed {
            offset,
            length: (units + 1) * COMPRESSED_UNIT - offset % COMPRESSED_UNIT,
        });
    }
    let is_zero = entry & ZERO != 0;
    if entry & L2_RESERVED != 0 || (is_zero && version < 3) {
        return Err(damaged(format!(
            "the L2 entry {entry:#x} has bits that mean nothing"
        )));
    }
    let offset = entry & OFFSET;
    aligned(offset, cluster_bits, "the L2 entry", entry)?;
    Ok(match (is_zero, offset) {
        (true, 0) => Mapping::Zero(None),
        (true, _) => Mapping::Zero(Some(offset)),
        (false, 0) => Mapping::Unmapped,
        (false, _) => Mapping::Data(offset),
    })
}

/// The offset of the second-level table that an entry of the first-level table names; 0: there is none.
///
/// # Errors
/// The entry says nothing that the format knows.
pub fn table(entry: u64, cluster_bits: u32) -> Result<u64, Flaw> {
    if entry & L1_RESERVED != 0 {
        return Err(damaged(format!(
            "the L1 entry {entry:#x} has bits that mean nothing"
        )));
    }
    let offset = entry & OFFSET;
    aligned(offset, cluster_bits, "the L1 entry", entry)?;
    Ok(offset)
}

/// The offset of the refcount block that an entry of the refcount table names; 0: there is none.
///
/// # Errors
/// The entry says nothing that the format knows.
pub fn block(entry: u64, cluster_bits: u32) -> Result<u64, Flaw> {
    if !entry.is_multiple_of(512) {
        return Err(damaged(format!(
            "the refcount table entry {entry:#x} has bits that mean nothing"
        )));
    }
    aligned(entry, cluster_bits, "the refcount table entry", entry)?;
    Ok(entry)
}

fn aligned(offset: u64, cluster_bits: u32, what: &str, entry: u64) -> Result<(), Flaw> {
    if offset & ((1 << cluster_bits) - 1) != 0 {
        return Err(damaged(format!(
            "{what} {entry:#x} names no beginning of a cluster"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_where_the_cluster_is() {
        assert_eq!(mapping(0, 3, 16), Ok(Mapping::Unmapped));
        assert_eq!(mapping(1, 3, 16), Ok(Mapping::Zero(None)));
        assert_eq!(
            mapping(COPIED | 0x5_0001, 3, 16),
            Ok(Mapping::Zero(Some(0x5_0000)))
        );
        assert_eq!(mapping(COPIED | 0x5_0000, 2, 16), Ok(Mapping::Data(0x5_0000)));
        // Two sectors from byte 0x210 on: the descriptor has 54 bits of offset with clusters of 64 KiB.
        assert_eq!(
            mapping(COMPRESSED | 1 << 54 | 0x210, 2, 16),
            Ok(Mapping::Compressed {
                offset: 0x210,
                length: 1024 - 0x10
            })
        );
    }

    #[test]
    fn what_the_format_does_not_know_is_a_flaw() {
        for (entry, version) in [(1, 2), (2, 3), (1 << 56, 3), (0x200, 3), (COPIED | COMPRESSED, 3)] {
            mapping(entry, version, 16).unwrap_err();
        }
        for entry in [1, 0x200, 1 << 62, 1 << 56] {
            table(entry, 16).unwrap_err();
        }
        for entry in [1, 0x200, COPIED | 1] {
            block(entry, 16).unwrap_err();
        }
    }
}
