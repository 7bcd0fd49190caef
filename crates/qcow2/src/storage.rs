//! `Storage`: the file that holds an image, as the rest of the crate sees it. Tests put storage that fails in
//! its place.
//!
//! Nothing here knows what the bytes mean. What was written is durable only after [`Storage::sync`].

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

use crate::flaw::{Flaw, Obstacle};

/// Bytes that several threads may read and write at once. Offsets and lengths are in bytes.
pub trait Storage: Send + Sync + Debug {
    /// Length of the storage in bytes.
    ///
    /// # Errors
    /// As the storage gives them.
    fn length(&self) -> io::Result<u64>;
    /// Fills `data` from `offset`; what is behind the end is zero.
    ///
    /// # Errors
    /// As the storage gives them.
    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// Writes `data` at `offset`; the storage grows if it must.
    ///
    /// # Errors
    /// As the storage gives them.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Tells that these bytes are not needed: they may keep their content, or become zero.
    ///
    /// # Errors
    /// As the storage gives them; storage that cannot forget does nothing.
    fn forget(&self, offset: u64, length: u64) -> io::Result<()>;
    /// Makes durable whatever was written.
    ///
    /// # Errors
    /// As the storage gives them. Some of what was written may be lost then.
    fn sync(&self) -> io::Result<()>;
}

/// Opens a regular file as storage. A pipe or a device is not waited for.
///
/// # Errors
/// The file cannot be opened, or is no regular file.
pub fn open(path: &Path, write: bool) -> Result<File, Obstacle> {
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .map_err(|error| match error.kind() {
            // A socket, or a directory that is to be written.
            io::ErrorKind::IsADirectory => Obstacle::Flaw(Flaw::NotAFile),
            _ => Obstacle::Io(error),
        })?;
    if !file.metadata()?.is_file() {
        return Err(Flaw::NotAFile.into());
    }
    Ok(file)
}

impl Storage for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, mut offset: u64, mut data: &mut [u8]) -> io::Result<()> {
        while !data.is_empty() {
            match self.read_at(data, offset) {
                Ok(0) => {
                    data.fill(0);
                    break;
                }
                Ok(got) => {
                    data = data.get_mut(got..).unwrap_or_default();
                    offset += got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn forget(&self, offset: u64, length: u64) -> io::Result<()> {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(self, hole, offset, length) {
            // A file system without holes keeps the bytes.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Storage that is not written any more once a sync has failed: some of what was written before may be lost,
/// and tables that refer to it would be wrong.
#[derive(Debug)]
pub struct Guarded {
    storage: Box<dyn Storage>,
    /// What the failed sync said.
    lost: OnceLock<String>,
}

impl Guarded {
    /// Storage of which no sync has failed yet.
    pub fn new(storage: Box<dyn Storage>) -> Guarded {
        Guarded {
            storage,
            lost: OnceLock::new(),
        }
    }

    /// Looks whether a sync has failed.
    fn look(&self) -> io::Result<()> {
        match self.lost.get() {
            None => Ok(()),
            Some(lost) => Err(io::Error::other(format!(
                "the image could not be made durable, so it is not written any more: {lost}"
            ))),
        }
    }
}

impl Storage for Guarded {
    fn length(&self) -> io::Result<u64> {
        self.storage.length()
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.storage.read(offset, data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.look()?;
        self.storage.write(offset, data)
    }

    fn forget(&self, offset: u64, length: u64) -> io::Result<()> {
        self.look()?;
        self.storage.forget(offset, length)
    }

    fn sync(&self) -> io::Result<()> {
        self.look()?;
        self.storage.sync().inspect_err(|error| {
            // Of two that fail at once, the first is remembered.
            let _ = self.lost.set(error.to_string());
        })
    }
}
