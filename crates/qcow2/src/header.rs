//! `Header`: what stands at the beginning of an image, and the header of a new overlay.
//!
//! The offsets are those of docs/interop/qcow2.txt of QEMU. Any bytes are either understood or a flaw;
//! whether the numbers fit the file is looked at in `check`.

use crate::flaw::{Flaw, damaged};
use crate::limits::{BACKING_NAME_LEN_MAX, CLUSTER_BITS, HEADER_LEN_MAX, L1_LEN_MAX, REFTABLE_LEN_MAX};

/// The first four bytes of each image.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Length of a header of version 2 in bytes.
const LEN_V2: usize = 72;
/// Least length of a header of version 3 in bytes.
const LEN_V3: usize = 104;
/// Where the header says where the refcount table is, and behind it how many clusters it has.
pub const REFTABLE_AT: u64 = 48;
/// Where the bits are that a program which does not know them must clear before it writes.
pub const AUTOCLEAR_AT: u64 = 88;
/// Features without which an image cannot be used: the reference counts are not right.
const DIRTY: u64 = 1;
/// As [`DIRTY`]: the image is known to be corrupt.
const CORRUPT: u64 = 2;
/// As [`DIRTY`]: the data are in another file.
const EXTERNAL_DATA: u64 = 4;
/// As [`DIRTY`]: compressed clusters are not of zlib.
const COMPRESSION: u64 = 8;
/// As [`DIRTY`]: entries of second-level tables have bitmaps.
const EXTENDED_TABLES: u64 = 16;
/// The extension of the header that says the format of the backing file.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// Clusters of a new overlay, as a power of two in bytes; QEMU takes the same.
const OVERLAY_CLUSTER_BITS: u32 = 16;

/// What the header of an image says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the format: 2 or 3.
    pub version: u32,
    /// Size of a cluster, as a power of two in bytes.
    pub cluster_bits: u32,
    /// Size of the guest's disk in bytes, in whole sectors.
    pub size: u64,
    /// The image of which this one holds the differences; `None`: what is not in this image is zero.
    pub backing: Option<Backing>,
    /// Offset of the first-level table in bytes.
    pub l1_offset: u64,
    /// Entries of the first-level table: at least as many as the disk needs.
    pub l1_entries: usize,
    /// Offset of the refcount table in bytes.
    pub reftable_offset: u64,
    /// Clusters of the refcount table.
    pub reftable_clusters: u64,
    /// Bits of a reference count, as a power of two: 0 to 6.
    pub refcount_order: u32,
    /// Whether there are snapshots in the image.
    pub has_snapshots: bool,
    /// Bits that a program which does not know them must clear before it writes.
    pub autoclear: u64,
}

/// What an image says of its backing file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    /// Name of the file as it is written in the image.
    pub name: String,
    /// Format of the file; `None`: the image does not say it.
    pub format: Option<String>,
}

impl Header {
    /// Reads a header from the beginning of an image, of which up to [`HEADER_LEN_MAX`] bytes are given.
    ///
    /// # Errors
    /// The image is none, or is not one that can be used.
    pub fn parse(bytes: &[u8]) -> Result<Header, Flaw> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Flaw::NotQcow2);
        }
        let version = word(bytes, 4)?;
        if !(2..=3).contains(&version) {
            return Err(Flaw::Version(version));
        }
        let extended = Extended::parse(bytes, version)?;
        if word(bytes, 32)? != 0 {
            return Err(Flaw::Encrypted);
        }
        let cluster_bits = word(bytes, 20)?;
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err(damaged(format!("it has clusters of 2^{cluster_bits} bytes")));
        }
        let size = long(bytes, 24)?;
        match size {
            0 => return Err(Flaw::Empty),
            _ if !size.is_multiple_of(512) => return Err(Flaw::Size(size)),
            _ => {}
        }
        let header = Header {
            version,
            cluster_bits,
            size,
            backing: backing(bytes, cluster_bits, extended.header_len)?,
            l1_offset: long(bytes, 40)?,
            l1_entries: word(bytes, 36)? as usize,
            reftable_offset: long(bytes, 48)?,
            reftable_clusters: u64::from(word(bytes, 56)?),
            refcount_order: extended.refcount_order,
            has_snapshots: word(bytes, 60)? != 0,
            autoclear: extended.autoclear,
        };
        header.look_at_tables()?;
        Ok(header)
    }

    /// Looks whether the tables can be where the header says.
    fn look_at_tables(&self) -> Result<(), Flaw> {
        let l1_len = self.l1_entries as u64 * 8;
        if l1_len > L1_LEN_MAX {
            return Err(Flaw::TooLarge("more or larger tables"));
        }
        if (self.l1_entries as u64) < self.size.div_ceil(self.table_covers()) {
            return Err(damaged("its L1 table is too small for its disk"));
        }
        let reftable_len = self.reftable_clusters << self.cluster_bits;
        if self.reftable_clusters == 0 {
            return Err(damaged("it has no refcount table"));
        }
        // A table of one cluster is never too long, however large the clusters are.
        if reftable_len > REFTABLE_LEN_MAX.max(self.cluster_len()) {
            return Err(Flaw::TooLarge("more or larger tables"));
        }
        for (what, offset) in [("L1", self.l1_offset), ("refcount", self.reftable_offset)] {
            if offset == 0 || !offset.is_multiple_of(self.cluster_len()) {
                return Err(damaged(format!(
                    "its {what} table is at no beginning of a cluster"
                )));
            }
        }
        Ok(())
    }

    /// Size of a cluster in bytes.
    #[must_use]
    pub fn cluster_len(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Entries of a second-level table.
    #[must_use]
    pub fn table_entries(&self) -> u64 {
        self.cluster_len() / 8
    }

    /// Bytes of the guest's disk that one second-level table maps.
    #[must_use]
    pub fn table_covers(&self) -> u64 {
        self.table_entries() << self.cluster_bits
    }

    /// Clusters whose reference counts stand in one refcount block.
    #[must_use]
    pub fn block_entries(&self) -> u64 {
        (self.cluster_len() * 8) >> self.refcount_order
    }
}

/// What only a header of version 3 says.
struct Extended {
    header_len: usize,
    refcount_order: u32,
    autoclear: u64,
}

impl Extended {
    fn parse(bytes: &[u8], version: u32) -> Result<Extended, Flaw> {
        if version == 2 {
            return Ok(Extended {
                header_len: LEN_V2,
                refcount_order: 4,
                autoclear: 0,
            });
        }
        let needs = long(bytes, 72)?;
        // What says most to an operator comes first.
        for (bit, flaw) in [
            (EXTERNAL_DATA, Flaw::ExternalData),
            (COMPRESSION, Flaw::Compression),
            (EXTENDED_TABLES, Flaw::ExtendedTables),
            (CORRUPT, Flaw::Corrupt),
            (DIRTY, Flaw::Dirty),
        ] {
            if needs & bit != 0 {
                return Err(flaw);
            }
        }
        if needs != 0 {
            return Err(Flaw::UnknownFeatures(needs));
        }
        let refcount_order = word(bytes, 96)?;
        if refcount_order > 6 {
            return Err(damaged(format!(
                "its reference counts have 2^{refcount_order} bits"
            )));
        }
        let header_len = word(bytes, 100)? as usize;
        if !(LEN_V3..=HEADER_LEN_MAX).contains(&header_len) || !header_len.is_multiple_of(8) {
            return Err(damaged(format!("its header has {header_len} bytes")));
        }
        if header_len > LEN_V3 && bytes.get(LEN_V3).is_some_and(|kind| *kind != 0) {
            return Err(Flaw::Compression);
        }
        Ok(Extended {
            header_len,
            refcount_order,
            autoclear: long(bytes, 88)?,
        })
    }
}

/// What the header says of a backing file.
fn backing(bytes: &[u8], cluster_bits: u32, header_len: usize) -> Result<Option<Backing>, Flaw> {
    let (offset, length) = (long(bytes, 8)?, word(bytes, 16)? as usize);
    let within = bytes.len().min(1 << cluster_bits).min(HEADER_LEN_MAX);
    let bytes = bytes.get(..within).unwrap_or(bytes);
    if offset == 0 {
        // An image without a backing file has no use for the extensions.
        return Ok(None);
    }
    let bad = || damaged("the name of its backing file is not in its header");
    let offset = usize::try_from(offset).map_err(|_| bad())?;
    if offset < header_len || length == 0 || length > BACKING_NAME_LEN_MAX {
        return Err(bad());
    }
    let name = bytes.get(offset..offset.saturating_add(length)).ok_or_else(bad)?;
    let name = std::str::from_utf8(name).map_err(|_| bad())?;
    if name.contains('\0') {
        return Err(bad());
    }
    let extensions = bytes.get(header_len..offset).ok_or_else(bad)?;
    Ok(Some(Backing {
        name: name.to_owned(),
        format: backing_format(extensions)?,
    }))
}

/// The format of the backing file, if one of the extensions of the header says it.
fn backing_format(mut rest: &[u8]) -> Result<Option<String>, Flaw> {
    let bad = || damaged("an extension of its header reaches beyond the header");
    while rest.len() >= 8 {
        let (kind, length) = (word(rest, 0)?, word(rest, 4)? as usize);
        if kind == 0 {
            break;
        }
        let content = rest.get(8..length.saturating_add(8)).ok_or_else(bad)?;
        if kind == BACKING_FORMAT {
            let format = std::str::from_utf8(content).map_err(|_| bad())?;
            return Ok(Some(format.to_owned()));
        }
        rest = rest.get(8 + length.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(None)
}

/// The clusters of a new overlay of version 3 with nothing in it: header, refcount table, refcount block and
/// first-level table. `None`: the name is too long, or the disk is larger than any such image can be.
#[must_use]
pub fn overlay(size: u64, name: &str, format: &str) -> Option<Vec<u8>> {
    let cluster = 1_usize << OVERLAY_CLUSTER_BITS;
    let covers = (cluster as u64 / 8) << OVERLAY_CLUSTER_BITS;
    let l1_entries = size.div_ceil(covers);
    if l1_entries * 8 > L1_LEN_MAX || name.len() > BACKING_NAME_LEN_MAX {
        return None;
    }
    let l1_clusters = (l1_entries * 8).div_ceil(cluster as u64);
    let used = 3 + l1_clusters;
    let mut image = vec![0; cluster * usize::try_from(used).ok()?];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = image.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    let format_len = format.len().next_multiple_of(8);
    let name_at = LEN_V3 + 8 + 8 + format_len + 8;
    put(0, &MAGIC);
    put(4, &3_u32.to_be_bytes());
    put(8, &(name_at as u64).to_be_bytes());
    put(16, &(name.len() as u32).to_be_bytes());
    put(20, &OVERLAY_CLUSTER_BITS.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &(l1_entries as u32).to_be_bytes());
    put(40, &(3 * cluster as u64).to_be_bytes());
    put(48, &(cluster as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    // Behind the header are its compression type, which is zlib, and seven bytes that are nothing.
    put(100, &((LEN_V3 + 8) as u32).to_be_bytes());
    put(LEN_V3 + 8, &BACKING_FORMAT.to_be_bytes());
    put(LEN_V3 + 12, &(format.len() as u32).to_be_bytes());
    put(LEN_V3 + 16, format.as_bytes());
    put(name_at, name.as_bytes());
    put(cluster, &(2 * cluster as u64).to_be_bytes());
    for index in 0..used as usize {
        put(2 * cluster + 2 * index, &1_u16.to_be_bytes());
    }
    Some(image)
}

/// The number of 32 bits at `at`.
pub fn word(bytes: &[u8], at: usize) -> Result<u32, Flaw> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(short)
}

/// The number of 64 bits at `at`.
pub fn long(bytes: &[u8], at: usize) -> Result<u64, Flaw> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(short)
}

fn short() -> Flaw {
    damaged("it ends within its header")
}
