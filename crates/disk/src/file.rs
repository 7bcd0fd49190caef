//! A raw disk: a file or a block device, with sector n at byte 512 n.
//!
//! This is the backend of all disks but images (`qcow2`). `direct` opens the file; here requests become calls
//! to the kernel, and the file is replaced by the same one opened anew when it has to be.

use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::backend::{Backend, SECTOR_LEN};
use super::direct::{self, Access, Identity, Opened, Way};
use crate::limits::ZEROES_LEN;

/// A raw disk.
#[derive(Debug)]
pub struct RawDisk {
    path: PathBuf,
    access: Access,
    read_only: bool,
    /// Bytes that requests may reach. It only grows, and may be less than the file has by now.
    capacity: AtomicU64,
    /// The open file. It is replaced when the disk is opened again; requests under way keep the old one.
    opened: RwLock<Arc<Opened>>,
    /// Whether earlier writes have gone a way that does not make them durable by themselves.
    unsettled: AtomicBool,
}

impl RawDisk {
    /// Opens the disk. The file's size at this moment is the disk's capacity until [`Backend::measure`] finds
    /// a larger one.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn open(path: &Path, access: Access, read_only: bool) -> io::Result<RawDisk> {
        let opened = direct::open(path, access, read_only)?;
        tracing::debug!("{} is used {:?}", path.display(), opened.way);
        Ok(RawDisk {
            path: path.into(),
            access,
            read_only,
            capacity: AtomicU64::new(opened.capacity),
            opened: RwLock::new(Arc::new(opened)),
            unsettled: AtomicBool::new(false),
        })
    }

    fn opened(&self) -> Arc<Opened> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        Arc::clone(&self.opened.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks that a file with the identity `now` is the one that is open. `placed`: the lock beside it shows
    /// that it is in the right directory, though that directory may be mounted anew and its file system have
    /// another number.
    fn compare(&self, now: Identity, placed: bool) -> io::Result<()> {
        let before = self.opened().identity;
        let moved = now.device != before.device && !placed;
        if moved || (now.inode, now.node) != (before.inode, before.node) {
            return Err(io::Error::other(
                "it is another one than when this side started; mount the right one again",
            ));
        }
        Ok(())
    }

    /// Uses `opened` from now on, if it is the same file; `placed` as in [`RawDisk::compare`].
    fn replace(&self, opened: Opened, placed: bool) -> io::Result<()> {
        self.compare(opened.identity, placed)?;
        let capacity = self.capacity();
        if opened.capacity < capacity {
            return Err(io::Error::other(format!(
                "it has {} bytes and had {} when it was opened",
                opened.capacity, capacity
            )));
        }
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(opened);
        Ok(())
    }

    /// Does `act`. If the file system turns out to have no direct I/O for it, does it the synchronous way,
    /// now and from then on.
    fn attempt(&self, mut act: impl FnMut(&Opened) -> io::Result<()>) -> io::Result<()> {
        let opened = self.opened();
        match act(&opened) {
            Err(error) if direct::refuses(&error) && matches!(opened.way, Way::Direct { .. }) => {
                self.unsettled.fetch_or(!opened.settles(), Ordering::SeqCst);
                self.replace(direct::open_synchronous(&self.path, self.read_only)?, false)?;
                act(&self.opened())
            }
            other => other,
        }
    }

    /// Makes or fills a hole; `false`: this file system cannot. Where writes end when they are durable the
    /// hole does too, before another write could be told of its failure.
    fn fallocate(&self, how: FallocateFlags, offset: u64, length: u64) -> io::Result<bool> {
        let opened = self.opened();
        let _turn = turn_alone(&opened);
        loop {
            match fallocate(&opened.file, how | FallocateFlags::KEEP_SIZE, offset, length) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        if opened.settles() {
            opened.file.sync_data()?;
        }
        Ok(true)
    }
}

/// Takes a turn alone: keeps all others from asking the kernel for errors.
fn turn_alone(opened: &Opened) -> RwLockWriteGuard<'_, ()> {
    // A panic aborts the process, so nobody ever sees a poisoned lock.
    opened.turn.write().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a shared turn: keeps out those who want their turn alone.
fn shared_turn(opened: &Opened) -> RwLockReadGuard<'_, ()> {
    opened.turn.read().unwrap_or_else(PoisonError::into_inner)
}

impl Backend for RawDisk {
    fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::SeqCst)
    }

    fn measure(&self) -> io::Result<u64> {
        // A block device has no length in its metadata, but an end. Nobody reads or writes at the place of
        // the open file that this moves.
        let bytes = (&self.opened().file).seek(SeekFrom::End(0))?;
        self.capacity
            .fetch_max(bytes - bytes % SECTOR_LEN, Ordering::SeqCst);
        Ok(bytes)
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.attempt(|opened| match opened.way {
            Way::Direct { align, .. } => direct::read(&opened.file, align, offset, data),
            Way::Buffered | Way::Synchronous => opened.file.read_exact_at(data, offset),
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.attempt(|opened| match opened.way {
            Way::Direct { align, .. } => {
                let _turn = shared_turn(opened);
                direct::write(&opened.file, align, offset, data)
            }
            Way::Buffered => opened.file.write_all_at(data, offset),
            Way::Synchronous => {
                let _turn = turn_alone(opened);
                opened.file.write_all_at(data, offset)
            }
        })
    }

    fn flush(&self) -> io::Result<()> {
        let opened = self.opened();
        let _turn = turn_alone(&opened);
        opened.file.sync_data()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        // A file system without holes keeps the content, as a disk is allowed to.
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

    fn settles(&self) -> bool {
        self.opened().settles() && !self.unsettled.load(Ordering::SeqCst)
    }

    fn look_for(&self, placed: bool) -> io::Result<()> {
        self.compare(Identity::of(&std::fs::metadata(&self.path)?), placed)
    }

    fn reopen(&self, placed: bool) -> io::Result<()> {
        let opened = direct::open(&self.path, self.access, self.read_only)?;
        self.replace(opened, placed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(bytes: usize) -> (tempfile::TempDir, RawDisk) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, vec![0xaa; bytes]).unwrap();
        let disk = RawDisk::open(&path, Access::Pair, false).unwrap();
        (dir, disk)
    }

    /// Behaves once as on a file system that has no direct I/O after all.
    fn refuse_once(disk: &RawDisk) -> io::Result<()> {
        disk.attempt(|opened| match opened.way {
            Way::Direct { .. } => Err(Errno::INVAL.into()),
            Way::Synchronous | Way::Buffered => Ok(()),
        })
    }

    #[test]
    fn a_file_system_that_refuses_direct_transfers_is_written_synchronously_from_then_on() {
        let (dir, disk) = pair(8192);
        let settled = disk.settles();
        disk.write(0, &[1; 512]).unwrap();
        refuse_once(&disk).unwrap();
        assert_eq!(disk.opened().way, Way::Synchronous);
        assert_eq!(
            disk.settles(),
            settled,
            "what was written before is as durable as it was"
        );
        disk.write(512, &[2; 1024]).unwrap();
        disk.write_zeroes(1024, 512, false).unwrap();
        disk.flush().unwrap();
        let mut data = vec![9; 2048];
        disk.read(0, &mut data).unwrap();
        let expected = [vec![1; 512], vec![2; 512], vec![0; 512], vec![0xaa; 512]].concat();
        assert_eq!(data, expected);
        assert_eq!(std::fs::read(dir.path().join("disk")).unwrap()[..2048], expected);
    }

    #[test]
    fn a_disk_that_has_become_smaller_is_not_opened_again() {
        let (dir, disk) = pair(8192);
        let path = dir.path().join("disk");
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(4096).unwrap();
        let error = disk.reopen(false).unwrap_err().to_string();
        assert_eq!(error, "it has 4096 bytes and had 8192 when it was opened");
        file.set_len(8192).unwrap();
        disk.reopen(false).unwrap();
    }

    #[test]
    fn only_a_file_with_the_right_lock_beside_it_may_be_on_a_file_system_mounted_anew() {
        let (dir, disk) = pair(8192);
        let remounted = || {
            let mut opened = direct::open(&dir.path().join("disk"), Access::Pair, false).unwrap();
            opened.identity.device += 1;
            opened
        };
        let error = disk.replace(remounted(), false).unwrap_err().to_string();
        assert!(error.starts_with("it is another one"), "{error}");
        disk.replace(remounted(), true).unwrap();
        let mut copy = remounted();
        copy.identity.inode += 1;
        disk.replace(copy, true).unwrap_err();
    }
}
