//! `Storage`: the content of an export, a raw file or a block device with byte n at byte n.
//!
//! Reads and writes go through this host's page cache, which outlives the process; a flush is `fdatasync`.
//! [`Storage::read_now`] reads only what the page cache has, so a connection's own thread may call it without
//! waiting for a drive.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use block::limits::EXTENTS_MAX;
use block::nbd::Extent;
use rustix::fs::{FallocateFlags, fallocate, seek};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};

use crate::limits::ZEROES_LEN;

/// The content of an export.
#[derive(Debug)]
pub struct Storage {
    file: File,
    bytes: u64,
}

impl Storage {
    /// Opens a file or a block device.
    ///
    /// # Errors
    /// As the kernel gives them; a directory cannot be opened.
    pub fn open(path: &Path, read_only: bool) -> io::Result<Storage> {
        let mut file = OpenOptions::new().read(true).write(!read_only).open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A block device has no length in its metadata, but an end.
        let bytes = file.seek(SeekFrom::End(0))?;
        Ok(Storage { file, bytes })
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads what is in memory. `false`: not all of it is, or this file system cannot tell; nothing that was
    /// read counts.
    pub fn read_now(&self, offset: u64, data: &mut [u8]) -> bool {
        let length = data.len();
        let read = preadv2(
            &self.file,
            &mut [IoSliceMut::new(data)],
            offset,
            ReadWriteFlags::NOWAIT,
        );
        read == Ok(length)
    }

    /// Reads.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }

    /// Writes; if `durable`, the data outlive everything when this returns.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn write(&self, mut offset: u64, mut data: &[u8], durable: bool) -> io::Result<()> {
        #[cfg(feature = "faults")]
        crate::faults::before_write();
        if !durable {
            return self.file.write_all_at(data, offset);
        }
        while !data.is_empty() {
            match pwritev2(&self.file, &[IoSlice::new(data)], offset, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    offset += length as u64;
                    data = &data[length..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes durable what is written.
    ///
    /// # Errors
    /// As the kernel gives them; afterwards what was written since the last flush may be lost.
    pub fn flush(&self) -> io::Result<()> {
        #[cfg(feature = "faults")]
        crate::faults::before_flush()?;
        self.file.sync_data()
    }

    /// Gives the space of a range back, if the file system can.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn trim(&self, offset: u64, length: u64) -> io::Result<()> {
        self.fallocate(FallocateFlags::PUNCH_HOLE, offset, length)
            .map(drop)
    }

    /// Makes a range zero. `keep`: its space stays taken. `fast`: only if that is faster than writing zeroes;
    /// `false` means that it is not, and that nothing was done.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn write_zeroes(&self, offset: u64, length: u64, keep: bool, fast: bool) -> io::Result<bool> {
        let hole = FallocateFlags::PUNCH_HOLE;
        if !keep && self.fallocate(hole, offset, length)? {
            return Ok(true);
        }
        if self.fallocate(FallocateFlags::ZERO_RANGE, offset, length)? {
            return Ok(true);
        }
        if fast {
            return Ok(false);
        }
        let zeroes = vec![0; ZEROES_LEN];
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let part = (end - at).min(ZEROES_LEN as u64);
            self.file.write_all_at(&zeroes[..part as usize], at)?;
            at += part;
        }
        Ok(true)
    }

    /// Changes how a range is stored; `false`: this file system cannot.
    fn fallocate(&self, how: FallocateFlags, offset: u64, length: u64) -> io::Result<bool> {
        loop {
            match fallocate(&self.file, how | FallocateFlags::KEEP_SIZE, offset, length) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Where a range has data and where it has holes, from its beginning on: at least one extent, and at most
    /// [`EXTENTS_MAX`]. Where the file system cannot tell, all are data.
    #[must_use]
    pub fn extents(&self, offset: u64, length: u32, one: bool) -> Vec<Extent> {
        let end = offset + u64::from(length);
        let most = if one { 1 } else { EXTENTS_MAX };
        let mut extents = Vec::new();
        let mut at = offset;
        while at < end && extents.len() < most {
            let (hole, next) = match seek(&self.file, rustix::fs::SeekFrom::Data(at)) {
                Ok(data) if data > at => (true, data),
                // There are no data behind this place.
                Err(Errno::NXIO) => (true, end),
                Ok(_) => match seek(&self.file, rustix::fs::SeekFrom::Hole(at)) {
                    Ok(hole) if hole > at => (false, hole),
                    _ => (false, end),
                },
                Err(_) => (false, end),
            };
            let next = next.min(end);
            extents.push(Extent {
                length: (next - at) as u32,
                hole,
            });
            at = next;
        }
        extents
    }
}
