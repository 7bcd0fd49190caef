//! A disk in a qcow2 image, for a VM that runs alone.
//!
//! Crate `qcow2` does what is done to the image; here it is a backend. An image is opened for writing only
//! when this process is the disk's writer: its tables are read then, and nobody else may change them after
//! that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ::qcow2::{Image, OpenError, Options};

use super::backend::Backend;

/// A disk in a qcow2 image.
#[derive(Debug)]
pub struct Qcow2Disk {
    path: PathBuf,
    capacity: u64,
    options: Options,
    /// The open image; nothing in it before this process is the disk's writer.
    image: OnceLock<Image>,
}

impl Qcow2Disk {
    /// Looks at an image, and opens it if it is only read. `permitted`: backing files that may lie in any
    /// directory, because the operator has named them.
    ///
    /// # Errors
    /// The image cannot be used.
    pub fn open(path: &Path, read_only: bool, permitted: Vec<PathBuf>) -> Result<Qcow2Disk, OpenError> {
        let disk = Qcow2Disk {
            path: path.into(),
            capacity: ::qcow2::capacity(path)?,
            options: Options {
                write: !read_only,
                permitted,
            },
            image: OnceLock::new(),
        };
        if read_only {
            disk.open_image()?;
        }
        Ok(disk)
    }

    fn open_image(&self) -> Result<(), OpenError> {
        if self.image.get().is_none() {
            // Of two threads that open it at once none has written yet.
            let _ = self.image.set(Image::open(&self.path, &self.options)?);
        }
        Ok(())
    }

    fn image(&self) -> io::Result<&Image> {
        let image = self.image.get();
        image.ok_or_else(|| io::Error::other("this process is not the writer of the image yet"))
    }
}

impl Backend for Qcow2Disk {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    /// An image has its size for as long as it is open.
    fn measure(&self) -> io::Result<u64> {
        Ok(self.capacity)
    }

    fn begin_writing(&self) -> io::Result<()> {
        self.open_image().map_err(io::Error::other)
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.image()?.read(offset, data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.image()?.write(offset, data)
    }

    fn flush(&self) -> io::Result<()> {
        self.image()?.flush()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.image()?.discard(offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.image()?.write_zeroes(offset, length, unmap)
    }

    /// The tables in memory are durable only after a flush.
    fn settles(&self) -> bool {
        false
    }

    /// Only a pair looks for its disks, and it has no images.
    fn look_for(&self, _placed: bool) -> io::Result<()> {
        Ok(())
    }

    fn reopen(&self, _placed: bool) -> io::Result<()> {
        Err(io::Error::other(
            "an image is not opened again while it is in use",
        ))
    }
}
