//! `Flaw`: what is wrong with an image, in words that go on after its name; and `OpenError`, which has the
//! name.
//!
//! An operator reads these sentences, so each says what to do. Nothing here looks at an image.

use std::io;
use std::path::PathBuf;

use crate::limits::BACKING_DEPTH_MAX;

/// How an image becomes one that is understood here.
const CONVERT: &str = "convert it with `qemu-img convert -O qcow2 OLD NEW`";
/// How a damaged image is looked at.
const CHECK: &str = "look at it with `qemu-img check`, and mend it with `qemu-img check -r all`";

/// What is wrong with an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The file is something else.
    #[error("does not begin as a qcow2 image does; if it is a raw disk, say `format=raw`")]
    NotQcow2,
    /// A version of the format that is not known here.
    #[error("is of version {0} of qcow2, and only versions 2 and 3 are known; {CONVERT}")]
    Version(u32),
    /// The image is encrypted, by LUKS or the older way.
    #[error("is encrypted, which is not supported; decrypt it with `qemu-img convert` into a new image")]
    Encrypted,
    /// The image was not closed by a program that does not keep its reference counts.
    #[error(
        "was not closed properly and its reference counts are not right; mend it with `qemu-img check -r \
         all`"
    )]
    Dirty,
    /// A program has found that the image is corrupt, and has noted it.
    #[error("is marked as corrupt; {CHECK}")]
    Corrupt,
    /// The data are in another file.
    #[error("has its data in an external data file, which is not supported; {CONVERT}")]
    ExternalData,
    /// The clusters are compressed by something else than zlib.
    #[error("has clusters that are compressed with zstd, which is not supported; {CONVERT}")]
    Compression,
    /// The second-level tables have bitmaps of subclusters.
    #[error("has extended L2 entries, which are not supported; {CONVERT}")]
    ExtendedTables,
    /// Features of which nothing is known here, as bits.
    #[error("needs features that are not known here (bits {0:#x}); {CONVERT}")]
    UnknownFeatures(u64),
    /// The disk in the image has no byte.
    #[error("holds a disk of no size; make it larger with `qemu-img resize`")]
    Empty,
    /// The disk in the image has so many bytes, which are no whole number of sectors.
    #[error(
        "holds a disk of {0} bytes, which is no whole number of 512-byte sectors; resize it with `qemu-img \
         resize`"
    )]
    Size(u64),
    /// The image has snapshots inside of it, and is to be written.
    #[error(
        "has internal snapshots and can only be read; delete them with `qemu-img snapshot -d`, or write to \
         an overlay (`overlay=FILE`)"
    )]
    Snapshots,
    /// A bound of this program; what is too large.
    #[error(
        "has {0} than are supported; make larger clusters with `qemu-img convert -O qcow2 -o \
         cluster_size=2M`"
    )]
    TooLarge(&'static str),
    /// The image contradicts itself; how.
    #[error("is damaged: {0}; {CHECK}")]
    Damaged(String),
    /// The path leads to a device, a pipe or a directory.
    #[error("is no regular file; give a file, or the device as a raw disk (`format=raw`)")]
    NotAFile,
    /// The backing file has a name that is no path.
    #[error(
        "has the backing file `{0}`, which is no plain path; only files are followed: name one with \
         `qemu-img rebase -u -F FORMAT -b FILE`"
    )]
    BackingUrl(String),
    /// The image does not say of which format its backing file is.
    #[error(
        "does not say the format of its backing file `{0}`, and it is never guessed; say it with `qemu-img \
         rebase -u -F FORMAT -b FILE`"
    )]
    BackingFormat(String),
    /// The backing file has a format that is not known here: its name, and the format.
    #[error("has the backing file `{0}` of the format `{1}`, and only raw and qcow2 are known; {CONVERT}")]
    BackingFormatUnknown(String, String),
    /// The backing file is in another directory, and nobody has named it.
    #[error(
        "has the backing file `{0}`, which is in another directory and which nobody has named; if that is \
         right, name it with `backing={0}`"
    )]
    BackingElsewhere(String),
    /// The backing file is no regular file.
    #[error("has the backing file `{0}`, which is no regular file")]
    BackingNoFile(String),
    /// There are more backing files behind one another than are followed.
    #[error("has more than {BACKING_DEPTH_MAX} backing files behind one another; {CONVERT}")]
    BackingDepth,
    /// The overlay that is there lies over another image.
    #[error(
        "is an overlay of `{0}`, not of the disk that it was given for; give another file as the overlay"
    )]
    OtherBacking(String),
}

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be opened or read.
    #[error("cannot use the qcow2 image {path}")]
    File {
        /// Path of the image, or of a backing file.
        path: PathBuf,
        /// Error that the operating system gave.
        source: io::Error,
    },
    /// The image is not one that can be used.
    #[error("the image {path} {flaw}")]
    Flaw {
        /// Path of the image, or of a backing file.
        path: PathBuf,
        /// What is wrong with the image.
        flaw: Flaw,
    },
}

/// What a look into storage may find: an error of the storage, or a flaw of the image.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// The storage gave an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The image has a flaw.
    #[error(transparent)]
    Flaw(#[from] Flaw),
}

impl Obstacle {
    /// The same, with the path of the image.
    pub fn at(self, path: impl Into<PathBuf>) -> OpenError {
        let path = path.into();
        match self {
            Obstacle::Io(source) => OpenError::File { path, source },
            Obstacle::Flaw(flaw) => OpenError::Flaw { path, flaw },
        }
    }
}

impl From<Flaw> for io::Error {
    /// For a flaw that shows only when the image is in use.
    fn from(flaw: Flaw) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("the image {flaw}"))
    }
}

/// A flaw by which the image contradicts itself.
pub fn damaged(what: impl Into<String>) -> Flaw {
    Flaw::Damaged(what.into())
}
