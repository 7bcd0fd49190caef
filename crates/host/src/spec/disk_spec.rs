//! What the operator asked for about a disk.

use std::path::PathBuf;

use disk::{DiskError, NbdPlace};

/// A disk as the operator asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// A raw image, a block device, or an NBD server's `nbd://HOST[:PORT]/EXPORT`.
    pub path: PathBuf,
    /// Must the guest not write to it?
    pub read_only: bool,
    /// The serial that the guest is told; at most 20 bytes. Empty: `lockstep-N`.
    pub serial: String,
}

impl DiskSpec {
    /// Where the disk is if it is at an NBD server; `None`: it is a file.
    ///
    /// # Errors
    /// It is meant to be such a place, and is none.
    pub fn place(&self) -> Result<Option<NbdPlace>, DiskError> {
        let text = self.path.to_str().filter(|text| NbdPlace::is_meant(text));
        Ok(text.map(str::parse).transpose()?)
    }
}
