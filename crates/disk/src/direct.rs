//! How the file of a pair's disk is opened: past the page cache of this host, which dies with it.
//!
//! A write that the guest has seen completed must outlive its host, or the flush that follows on the other
//! host would lie (docs/disks.md). So a pair reads and writes with `O_DIRECT`, from one aligned buffer per
//! thread, or with `O_DSYNC` where the file system has no direct I/O for single sectors. Some file systems
//! may keep a direct write in a cache of their own; on those the file is opened with both.
//!
//! `file` alone uses this: it opens its file here, and reads and writes directly by way of these functions. A
//! write of a pair must never end while only this host remembers it. Who may write is decided elsewhere
//! (`lock`).

use std::cell::RefCell;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::RwLock;

use rustix::fs::{Advice, AtFlags, NFS_SUPER_MAGIC, OFlags, StatxFlags, fadvise, fstatfs, statx};
use rustix::io::Errno;

use super::backend::SECTOR_LEN;
use crate::limits::{BOUNCE_ALIGN_MAX, BOUNCE_LEN};

/// Who else uses a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody, ever: a VM that runs alone and cannot get a backup. The host's page cache helps, and a flush
    /// writes it back.
    Solo,
    /// The other half of the pair, or of one that may be formed while the guest runs, once this host is dead.
    Pair,
}

/// How a file is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Reads and writes go through the page cache.
    Buffered,
    /// Reads and writes go past the page cache.
    Direct {
        /// Bytes; the address of the memory must be a multiple of them.
        align: usize,
        /// Whether a finished write is durable without a flush.
        settles: bool,
    },
    /// Reads and writes go through the page cache, but a write ends when it is durable.
    Synchronous,
}

/// A file with the way in which it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The open file, or block device, with the disk's sectors.
    pub file: File,
    /// The way in which the file is read and written.
    pub way: Way,
    /// Length of the disk in bytes.
    pub capacity: u64,
    /// What tells this file from another one of the same path.
    pub identity: Identity,
    /// Who may ask the kernel for errors now. The kernel tells an error of writing back to one caller only,
    /// whoever asks first on this open file, and a write that ends when it is durable asks. So that the
    /// caller to whom the error belongs is told, flushes and holes have their turn alone, and so have writes
    /// with [`Way::Synchronous`]; direct writes share theirs.
    pub turn: RwLock<()>,
}

/// What tells a file from all others of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Number of the file system. A network file system may have another number after it was mounted again.
    pub device: u64,
    /// Number of the file in its file system.
    pub inode: u64,
    /// Number of the device that a device node leads to; 0 for a file.
    pub node: u64,
}

impl Identity {
    /// The identity of the file that has this metadata.
    #[must_use]
    pub fn of(meta: &Metadata) -> Identity {
        Identity {
            device: meta.dev(),
            inode: meta.ino(),
            node: meta.rdev(),
        }
    }
}

impl Opened {
    /// Whether a finished write is durable without a flush.
    #[must_use]
    pub fn settles(&self) -> bool {
        match self.way {
            Way::Buffered => false,
            Way::Direct { settles, .. } => settles,
            Way::Synchronous => true,
        }
    }
}

/// File systems of one host. Nobody else reads what a dead host has in its own disks, so direct I/O is enough
/// on them, as on a block device. From `linux/magic.h`: ext2 to ext4, XFS, Btrfs.
const LOCAL: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
/// Alignment in bytes where the kernel tells none: every device is content with it.
const ALIGN_UNKNOWN: usize = 4096;
/// `STATX_DIOALIGN`, since Linux 6.1.
const DIOALIGN: StatxFlags = StatxFlags::from_bits_retain(0x2000);

/// Opens the file of a disk.
///
/// # Errors
/// As the kernel gives them.
pub fn open(path: &Path, access: Access, read_only: bool) -> io::Result<Opened> {
    if access == Access::Solo {
        return opened(path, read_only, OFlags::empty(), Way::Buffered);
    }
    if let Some(opened) = open_direct(path, read_only)? {
        return Ok(opened);
    }
    open_synchronous(path, read_only)
}

/// Opens the file for writes that end when they are durable, and forgets what the page cache has of it: this
/// host may have filled the cache before the other one wrote.
///
/// # Errors
/// As the kernel gives them.
pub fn open_synchronous(path: &Path, read_only: bool) -> io::Result<Opened> {
    let opened = opened(path, read_only, OFlags::DSYNC, Way::Synchronous)?;
    // The call is only advice. NFS has looked whether its pages are still good when the file was opened.
    let _ = fadvise(&opened.file, 0, None, Advice::DontNeed);
    Ok(opened)
}

/// Opens the file for direct I/O. `None`: this file system has no direct I/O, or none for single sectors.
fn open_direct(path: &Path, read_only: bool) -> io::Result<Option<Opened>> {
    let direct = |flags, settles| {
        let way = Way::Direct {
            align: ALIGN_UNKNOWN,
            settles,
        };
        opened(path, read_only, OFlags::DIRECT | flags, way)
    };
    let mut found = match direct(OFlags::empty(), false) {
        Err(error) if refuses(&error) => return Ok(None),
        other => other?,
    };
    // A magic number has 32 bits.
    let kind = fstatfs(&found.file)?.f_type as u64 & 0xffff_ffff;
    let local = LOCAL.contains(&kind) || found.file.metadata()?.file_type().is_block_device();
    let settles = !local;
    // Linux commits a direct write to NFS before it answers it.
    if settles && kind != NFS_SUPER_MAGIC as u64 {
        found = match direct(OFlags::DSYNC, settles) {
            Err(error) if refuses(&error) => return Ok(None),
            other => other?,
        };
    }
    let Some(align) = alignment(&found.file) else {
        return Ok(None);
    };
    found.way = Way::Direct { align, settles };
    // Some file systems tell only when they are asked to read whether single sectors are possible.
    let sector = if found.capacity > SECTOR_LEN {
        SECTOR_LEN
    } else {
        0
    };
    let probe = with_bounce(align, |bounce| {
        found.file.read_at(&mut bounce[..SECTOR_LEN as usize], sector)
    });
    match probe {
        Err(error) if refuses(&error) => Ok(None),
        // Any other trouble is left to the first request.
        _ => Ok(Some(found)),
    }
}

/// Whether the error says that the file system cannot do this at all.
pub fn refuses(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::INVAL)
}

fn opened(path: &Path, read_only: bool, flags: OFlags, way: Way) -> io::Result<Opened> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let identity = Identity::of(&meta);
    // A block device has no length in its metadata, but an end.
    let capacity = file.seek(SeekFrom::End(0))?;
    Ok(Opened {
        file,
        way,
        capacity,
        identity,
        turn: RwLock::default(),
    })
}

/// Alignment in bytes that memory must have; `None`: there is no direct I/O for single sectors.
fn alignment(file: &File) -> Option<usize> {
    let Ok(stat) = statx(file, "", AtFlags::EMPTY_PATH, DIOALIGN) else {
        return Some(ALIGN_UNKNOWN);
    };
    if stat.stx_mask & DIOALIGN.bits() == 0 {
        return Some(ALIGN_UNKNOWN);
    }
    let sectors = (1..=SECTOR_LEN).contains(&u64::from(stat.stx_dio_offset_align));
    let align = stat.stx_dio_mem_align as usize;
    (sectors && (1..=BOUNCE_ALIGN_MAX).contains(&align)).then_some(align)
}

/// Fills `data` from `offset` by way of this thread's buffer.
///
/// # Errors
/// As the kernel gives them.
pub fn read(file: &File, align: usize, offset: u64, data: &mut [u8]) -> io::Result<()> {
    with_bounce(align, |bounce| {
        let mut at = offset;
        for part in data.chunks_mut(BOUNCE_LEN) {
            let mut rest = part;
            while !rest.is_empty() {
                let got = whole_sectors(|| file.read_at(&mut bounce[..rest.len()], at))?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let (filled, more) = rest.split_at_mut(got);
                filled.copy_from_slice(&bounce[..got]);
                rest = more;
                at += got as u64;
            }
        }
        Ok(())
    })
}

/// Writes `data` at `offset` by way of this thread's buffer.
///
/// # Errors
/// As the kernel gives them.
pub fn write(file: &File, align: usize, offset: u64, data: &[u8]) -> io::Result<()> {
    with_bounce(align, |bounce| {
        let mut at = offset;
        for part in data.chunks(BOUNCE_LEN) {
            let mut rest = part;
            while !rest.is_empty() {
                bounce[..rest.len()].copy_from_slice(rest);
                let put = whole_sectors(|| file.write_at(&bounce[..rest.len()], at))?;
                if put == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest = &rest[put..];
                at += put as u64;
            }
        }
        Ok(())
    })
}

/// Does one transfer, again if a signal interrupts it. If the transfer ends early, the rest must begin at a
/// sector.
fn whole_sectors(mut transfer: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match transfer() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return Ok(other? / SECTOR_LEN as usize * SECTOR_LEN as usize),
        }
    }
}

/// A thread's memory for direct I/O.
struct Bounce {
    memory: Vec<u8>,
    /// Offset in `memory` at which the aligned part begins.
    from: usize,
    align: usize,
}

thread_local! {
    /// The first direct transfer of a thread allocates the memory; transfers touch it as far as they reach.
    static BOUNCE: RefCell<Bounce> = const {
        RefCell::new(Bounce {
            memory: Vec::new(),
            from: 0,
            align: 0,
        })
    };
}

/// Gives `act` this thread's buffer of [`BOUNCE_LEN`] bytes, aligned to at least `align`.
fn with_bounce<T>(align: usize, act: impl FnOnce(&mut [u8]) -> T) -> T {
    BOUNCE.with_borrow_mut(|bounce| {
        if bounce.align < align {
            // A little more than the buffer, so that an aligned part of that length is in it.
            let memory = vec![0; BOUNCE_LEN + align];
            let from = memory.as_ptr().addr().wrapping_neg() % align;
            *bounce = Bounce { memory, from, align };
        }
        act(&mut bounce.memory[bounce.from..bounce.from + BOUNCE_LEN])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_aligned_as_asked_and_long_enough() {
        for align in [1, 512, 4096, 8192, 512] {
            with_bounce(align, |bounce| {
                assert_eq!(bounce.as_ptr().addr() % align, 0);
                assert_eq!(bounce.len(), BOUNCE_LEN);
            });
        }
    }

    #[test]
    fn what_is_longer_than_the_buffer_arrives_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, vec![0; 2 * BOUNCE_LEN + 4096]).unwrap();
        let opened = open(&path, Access::Pair, false).unwrap();
        let data: Vec<u8> = (0..2 * BOUNCE_LEN + 1024).map(|at| (at / 512) as u8).collect();
        write(&opened.file, 4096, 512, &data).unwrap();
        let mut back = vec![0; data.len()];
        read(&opened.file, 4096, 512, &mut back).unwrap();
        assert!(back == data);
        let end = read(&opened.file, 4096, opened.capacity - 512, &mut [0; 1024]);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
