//! Every bound of the crate, with what happens when it is reached.
//!
//! All files of the crate take theirs from here. An image comes from anywhere, and a guest may have written
//! it; so no number that stands in an image decides how much memory or time it takes to open it
//! (docs/style.md, L1). docs/disks.md says what an operator sees of these bounds.

/// The smallest and the largest cluster, as powers of two in bytes: 512 bytes to 2 MiB. The format and QEMU
/// have the same.
pub const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Bytes at the beginning of an image in which its header and the name of its backing file must be. What is
/// behind is not looked at, and a header that reaches beyond is refused.
pub const HEADER_LEN_MAX: usize = 64 << 10;
/// Longest name of a backing file in bytes; the format has the same. A longer one is refused.
pub const BACKING_NAME_LEN_MAX: usize = 1023;
/// Files in a chain of backing files, without the image itself. A longer chain is refused.
pub const BACKING_DEPTH_MAX: usize = 8;
/// Longest first-level table in bytes; QEMU has the same. An image with a longer one is refused.
pub const L1_LEN_MAX: u64 = 32 << 20;
/// Longest refcount table in bytes; QEMU has the same. An image with a longer one is refused, and an image
/// whose table would become longer has no space left.
pub const REFTABLE_LEN_MAX: u64 = 8 << 20;
/// Bytes of second-level tables that are read when an image is opened: those of 8 TiB of data in clusters of
/// 64 KiB. An image with more is refused; with larger clusters it has fewer.
pub const TABLES_LEN_MAX: u64 = 1 << 30;
/// Clusters that an image file may have: 8 TiB in clusters of 64 KiB. A larger file is refused for writing,
/// and an image that would become larger has no space left.
pub const HOST_CLUSTERS_MAX: u64 = 1 << 27;
/// Bytes of second-level tables of one image that are kept in memory: those of 512 GiB in clusters of 64 KiB.
/// Those that were used longest ago make room for others; changed ones are written first.
pub const TABLES_CACHE_LEN: usize = 64 << 20;
/// Bytes of refcount blocks of one image that are kept in memory: those of 512 GiB in clusters of 64 KiB.
pub const BLOCKS_CACHE_LEN: usize = 16 << 20;
/// Clusters that are not used any more, and wait for the next flush to be free for others; then what changed
/// is written at once.
pub const FREED_MAX: usize = 1 << 16;
/// Bytes of new clusters that one request gets at a time, while all others wait.
pub const ALLOCATE_LEN_MAX: u64 = 4 << 20;
const _: () = assert!(ALLOCATE_LEN_MAX >= 1 << *CLUSTER_BITS.end());
/// Zeros written at once in bytes.
pub const ZEROES_LEN: usize = 1 << 20;
