//! A raw disk: a file or a block device, sector n at byte 512 n.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::Backend;
use crate::limits::ZEROES_LEN;

/// A raw disk.
#[derive(Debug)]
pub struct RawDisk {
    file: File,
    capacity: u64,
}

impl RawDisk {
    /// Opens it. Its size at this moment is its capacity.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn open(path: &Path, read_only: bool) -> io::Result<RawDisk> {
        let mut file = OpenOptions::new().read(true).write(!read_only).open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A block device has no length in its metadata, but an end.
        let capacity = file.seek(SeekFrom::End(0))?;
        Ok(RawDisk { file, capacity })
    }

    fn fallocate(&self, how: FallocateFlags, offset: u64, length: u64) -> io::Result<bool> {
        loop {
            return match fallocate(&self.file, how | FallocateFlags::KEEP_SIZE, offset, length) {
                Ok(()) => Ok(true),
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
    }
}

impl Backend for RawDisk {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        // A file system without holes keeps the content, as a disk may.
        self.fallocate(FallocateFlags::PUNCH_HOLE, offset, length)
            .map(|_| ())
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        let hole = FallocateFlags::PUNCH_HOLE;
        if unmap && self.fallocate(hole, offset, length)? {
            return Ok(());
        }
        if self.fallocate(FallocateFlags::ZERO_RANGE, offset, length)? {
            return Ok(());
        }
        let zeroes = vec![0; ZEROES_LEN];
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let part = (end - at).min(ZEROES_LEN as u64);
            self.write(at, &zeroes[..part as usize])?;
            at += part;
        }
        Ok(())
    }
}
