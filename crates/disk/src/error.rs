//! `DiskError`: why a disk cannot be used. Each is one sentence with what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::backend::SECTOR_LEN;
use crate::lock::LockError;
use crate::nbd::PlaceError;

/// Why a disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no such file, or no permission to open it.
    #[error("cannot open the disk {path}; {}", way_out(path, source))]
    Open {
        /// Path of the disk.
        path: PathBuf,
        /// Error that the operating system gave.
        source: io::Error,
    },
    /// The place of the disk makes no sense.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Something was said of the disk that can only be said of a file.
    #[error(
        "the disk {path} is at a server, where it has no format, overlay or backing file; leave these out"
    )]
    NoFile {
        /// Place of the disk.
        path: PathBuf,
    },
    /// The server of the disk does not answer, or does not offer it.
    #[error("cannot use the disk {path}; look whether its server runs and offers it")]
    Server {
        /// Place of the disk.
        path: PathBuf,
        /// What the network or the server has said.
        source: io::Error,
    },
    /// The server of a pair's disk knows no epochs.
    #[error(
        "the server of the disk {path} knows no epochs: a primary that stood still could write to it after \
         the backup has taken over; offer the disk by `lockstep disk-server`"
    )]
    Unfenced {
        /// Place of the disk.
        path: PathBuf,
    },
    /// The file has no byte.
    #[error("the disk {path} is empty; give it a size, for instance with `truncate -s 4G {path}`")]
    Empty {
        /// Path of the disk.
        path: PathBuf,
    },
    /// The device has no sectors.
    #[error(
        "the disk {path} is a device without sectors; attach or insert what it shall hold (`lsblk` shows the \
         size of block devices), or give another disk"
    )]
    EmptyDevice {
        /// Path of the disk.
        path: PathBuf,
    },
    /// The disk's size is not a whole number of sectors.
    #[error(
        "the disk {path} has {bytes} bytes, which is no whole number of {SECTOR_LEN}-byte sectors; resize it \
         with `truncate -s {larger} {path}`",
        larger = bytes.next_multiple_of(SECTOR_LEN)
    )]
    Size {
        /// Path of the disk.
        path: PathBuf,
        /// Size of the disk in bytes.
        bytes: u64,
    },
    /// The machine of the other replica has a larger disk.
    #[error(
        "the disk {path} has {has} sectors on this host and the guest expects {expects}; give both hosts the \
         same file, or a copy of the primary's as it is now"
    )]
    Smaller {
        /// Path of the disk.
        path: PathBuf,
        /// Sectors of the disk.
        has: u64,
        /// Sectors of the primary's disk.
        expects: u64,
    },
    /// The disk's content is not that which the guest has begun with.
    #[error(
        "the {path} disk has another content here ({has}) than the guest knows ({expects}); give the same \
         user-data, meta-data and name of the VM as when it was started, and the same release of this program"
    )]
    OtherContent {
        /// What the disk is called.
        path: PathBuf,
        /// The serial, which tells the content.
        has: String,
        /// The serial that the guest knows.
        expects: String,
    },
    /// The file is not the disk of the other replica.
    #[error(
        "the disk {path} on host {host} is not the one that the primary has locked for epoch {epoch} of \
         '{vm}': {finding}; both sides must see the same file"
    )]
    NotShared {
        /// Path of the disk.
        path: PathBuf,
        /// Name of the host that sees the disk so.
        host: String,
        /// What the disk's lock says.
        finding: String,
        /// Name of the pair's VM.
        vm: String,
        /// Epoch in which the primary should have locked the disk.
        epoch: u64,
    },
    /// A file of which nothing was said, and whose name does not end so, begins as an image does.
    #[error(
        "the disk {path} begins as a qcow2 image does; say `format=qcow2` if it is one, or `format=raw` if \
         it is a raw disk on which a guest has written that"
    )]
    LooksLikeAnImage {
        /// Path of the disk.
        path: PathBuf,
    },
    /// Only a VM that runs alone, and stays so, can use an image.
    #[error(
        "the disk {path} is a qcow2 image, and a VM that has a backup or can get one needs a raw disk; make \
         one with `qemu-img convert -O raw {path} NEW`"
    )]
    ImageOfPair {
        /// Path of the disk.
        path: PathBuf,
    },
    /// An image, or a file below it, cannot be used.
    #[error(transparent)]
    Image(#[from] ::qcow2::OpenError),
    /// Somebody else writes to the disk.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// What to do about a disk that cannot be opened.
fn way_out(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "make one with `truncate -s 4G {}`, or check the path",
                path.display()
            )
        }
        io::ErrorKind::IsADirectory => "give a file or a block device".into(),
        _ => "check its permissions".into(),
    }
}
