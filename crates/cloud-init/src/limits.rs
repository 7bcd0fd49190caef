//! Bounds of what cloud-init is given. What exceeds one is refused with a sentence.

/// Most bytes of user-data. Longer ones are refused: they travel to the host of a backup in one message, with
/// the other settings of the VM. Clouds that people come from allow 16 KiB.
pub const USER_DATA_LEN_MAX: usize = 24 << 10;
/// Most bytes of meta-data. Longer ones are refused.
pub const META_DATA_LEN_MAX: usize = 4 << 10;
/// Bytes of the disk, whatever is on it.
pub const DISK_LEN: usize = 1 << 20;

const _: () = assert!(
    USER_DATA_LEN_MAX + META_DATA_LEN_MAX < DISK_LEN / 2,
    "the disk has room for both files and for its own tables"
);
