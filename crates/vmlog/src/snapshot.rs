//! `SnapshotHead`: what a file of `lockstep snapshot` begins with, so that the VM goes on from it on a host
//! that has nothing else of it (docs/log-format.md).
//!
//! The file is this head, the images that it names (firmware, kernel, initrd, as they are), and the machine
//! as [`machine::SnapshotWriter`] writes it. Whoever writes the file takes the head's bytes; whoever goes on
//! from it reads the head, then each image by its name, and leaves the rest to [`machine::Machine::restore`].
//!
//! Nothing here believes the bytes: what they are not is a [`SnapshotError`], never a panic.

use std::io::{self, Read};

use machine::{Boot, Step};

use crate::bytes::{Malformed, Reader, Writer};
use crate::codec;
use crate::header::{Header, ImageId};
use crate::limits;
use crate::parcel::Parcel;

/// The first eight bytes of the file.
pub const MAGIC: [u8; 8] = *b"LOCKSNAP";
/// The version of the file.
pub const VERSION: u32 = 1;
/// The oldest version of the log's format whose header is read here: it is the first that names a model.
const HEADER_OLDEST: u32 = 4;

/// What is wrong with a file that should be a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be read, or ends too early.
    #[error("it cannot be read to its end")]
    Read(#[from] io::Error),
    /// The file does not begin as a snapshot does.
    #[error("this is no snapshot of `lockstep snapshot`")]
    Magic,
    /// The file has another version of the format.
    #[error(
        "it has format version {0}, and this program reads version {VERSION}; use the release that made it"
    )]
    Version(u32),
    /// The head is damaged.
    #[error("its head is damaged: {0}")]
    Head(Malformed),
    /// The head's checksum is wrong.
    #[error("its head is damaged: its checksum is wrong")]
    Checksum,
    /// An image is not the one that the head names.
    #[error("it is damaged: its {0} has another SHA-256 than its head says")]
    Image(&'static str),
}

impl From<Malformed> for SnapshotError {
    fn from(error: Malformed) -> SnapshotError {
        SnapshotError::Head(error)
    }
}

/// What a file of `lockstep snapshot` begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The VM's name.
    pub vm: String,
    /// The step at which the snapshot was taken.
    pub at: Step,
    /// When it was taken, in nanoseconds since 1970.
    pub wall_ns: u64,
    /// The machine.
    pub header: Header,
}

impl SnapshotHead {
    /// The first bytes of the file: magic, version, version of the log's format, length, checksum, head.
    #[must_use]
    pub fn to_file(&self) -> Parcel {
        let mut body = Writer::default();
        body.bytes(self.vm.as_bytes());
        body.varint(self.at.0);
        body.varint(self.wall_ns);
        self.header.write(&mut body);
        let body = body.into_parcel();
        let mut w = Writer::default();
        w.raw(&MAGIC);
        w.raw(&VERSION.to_le_bytes());
        w.raw(&codec::VERSION.to_le_bytes());
        w.raw(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        w.raw(&crc32c::crc32c(&body).to_le_bytes());
        w.raw(&body);
        w.into_parcel()
    }

    /// Reads the head, and leaves `from` where the images begin.
    ///
    /// # Errors
    /// What is wrong with the bytes, if they are no head.
    pub fn read(from: &mut dyn Read) -> Result<SnapshotHead, SnapshotError> {
        if array(from).map_err(ends_early)? != MAGIC {
            return Err(SnapshotError::Magic);
        }
        let version = u32::from_le_bytes(array(from)?);
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let [of_log, length, checksum] = [array(from)?, array(from)?, array(from)?].map(u32::from_le_bytes);
        if !(HEADER_OLDEST..=codec::VERSION).contains(&of_log) {
            return Err(SnapshotError::Version(version));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > limits::HEADER_BYTES_MAX {
            return Err(Malformed::TooLarge.into());
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        if crc32c::crc32c(&body) != checksum {
            return Err(SnapshotError::Checksum);
        }
        let mut r = Reader::new(&body);
        let head = SnapshotHead {
            vm: r.text(limits::TEXT_BYTES_MAX)?,
            at: Step(r.varint()?),
            wall_ns: r.varint()?,
            header: Header::read_version(&mut r, of_log)?,
        };
        r.end()?;
        Ok(head)
    }

    /// Reads the images that follow the head, and leaves `from` where the machine begins.
    ///
    /// # Errors
    /// The bytes end too early, or are not those that the head names.
    pub fn read_images(&self, from: &mut dyn Read) -> Result<Boot, SnapshotError> {
        let mut image = |what, id: &ImageId| {
            let mut bytes = Vec::new(); // Grows as bytes come: the length may be a lie.
            (&mut *from).take(id.length).read_to_end(&mut bytes)?;
            let found = ImageId::of(&bytes);
            if found.length != id.length {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if found != *id {
                return Err(SnapshotError::Image(what));
            }
            Ok(bytes.into())
        };
        Ok(Boot {
            firmware: image("firmware", &self.header.firmware)?,
            kernel: image("kernel", &self.header.kernel)?,
            initrd: image("initrd", &self.header.initrd)?,
            command_line: self.header.command_line.clone(),
        })
    }
}

/// A file that is shorter than its magic is no snapshot, rather than a damaged one.
fn ends_early(error: io::Error) -> SnapshotError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Magic,
        _ => error.into(),
    }
}

fn array<const N: usize>(from: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test may fail"
)]
mod tests {
    use super::*;
    use machine::{Config, Transport};

    /// A file up to where its machine begins, and its head.
    fn file() -> (Vec<u8>, SnapshotHead) {
        let config = Config {
            memory: 16 << 20,
            boot: Boot {
                firmware: vec![1; 100].into(),
                kernel: vec![2; 70_000].into(),
                command_line: "quiet".into(),
                ..Boot::default()
            },
            harts: 1,
            disks: Vec::new(),
            nets: Vec::new(),
            virtio: Transport::Modern,
            rng_seed: [9; 32],
            wall_clock_ns: 5,
        };
        let head = SnapshotHead {
            vm: "web".into(),
            at: Step(1 << 40),
            wall_ns: 7,
            header: Header::new(&config, "lockstep test", 3),
        };
        let mut bytes = head.to_file().to_vec();
        bytes.extend_from_slice(&config.boot.firmware);
        bytes.extend_from_slice(&config.boot.kernel);
        (bytes, head)
    }

    fn read(bytes: &[u8]) -> Result<(SnapshotHead, Boot), SnapshotError> {
        let mut from = bytes;
        let head = SnapshotHead::read(&mut from)?;
        let boot = head.read_images(&mut from)?;
        assert!(from.len() <= bytes.len());
        Ok((head, boot))
    }

    #[test]
    fn a_head_and_its_images_come_back() {
        let (bytes, head) = file();
        let (found, boot) = read(&bytes).unwrap();
        assert_eq!(found, head);
        assert_eq!((boot.firmware.len(), boot.kernel.len()), (100, 70_000));
        assert!(boot.initrd.is_empty() && boot.command_line == "quiet");
    }

    #[test]
    fn what_is_no_snapshot_is_told_in_a_sentence() {
        let (bytes, head) = file();
        let length = head.to_file().len();
        for (at, sentence) in [
            (0, "this is no snapshot"),
            (8, "it has format version"),
            (20, "its head is damaged: its checksum"),
            (length - 1, "its head is damaged: its checksum"),
            (length, "its firmware has another SHA-256"),
            (bytes.len() - 1, "its kernel has another SHA-256"),
        ] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let error = read(&bytes).unwrap_err().to_string();
            assert!(error.contains(sentence), "{at}: {error}");
        }
        for end in (0..length).chain([bytes.len() - 1]) {
            assert!(read(&bytes[..end]).is_err(), "{end}");
        }
    }
}
