//! What the operator asked for about a disk.

use disk::DiskFile;

/// A disk as the operator asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// Where the disk is, and what it holds.
    pub file: DiskFile,
    /// Must the guest not write to it?
    pub read_only: bool,
    /// The serial that the guest is told; at most 20 bytes. Empty: `lockstep-N`.
    pub serial: String,
}
