//! Disks: what a request does to a file, who may write, and the threads that wait for it.
//!
//! The order of overlapping requests is the protocol's business (FT 3.4-a, `replica`). Whatever arrives here
//! may run at once and end in any order, because every completion comes back through the log.
//!
//! From the outside inwards: `pool` has a `lane` of threads for each disk, which take jobs from its `queue`
//! and tell what stands in `completion`; `policy` decides what an error means to the guest, `illness` what
//! people hear of it; `lock` says who may write; `backend` is the seam to what stores the sectors; `file` and
//! `direct` are a raw file, `qcow2` is an image, `memory` is a disk without a file, and `nbd` a disk at a
//! server. docs/disks.md says what is promised.
#![forbid(unsafe_code)]

pub mod backend;
mod completion;
pub mod direct;
mod disk_file;
mod error;
pub mod file;
mod guard;
mod illness;
mod keeper;
mod lane;
pub mod limits;
pub mod lock;
mod memory;
mod nbd;
mod policy;
pub mod pool;
mod qcow2;
mod queue;

use replica::Epoch;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use machine::DiskConfig;

pub use ::qcow2::Format;
pub use backend::{Backend, SECTOR_LEN};
pub use completion::{Completion, Size, Trouble};
pub use direct::Access;
pub use disk_file::DiskFile;
pub use error::DiskError;
pub use file::RawDisk;
pub use keeper::Keeper;
pub use lock::{DiskLock, Holder, LockError};
pub use nbd::{DiskSecurity, NbdDisk, NbdPlace, Of, PlaceError, Scheme};
pub use pool::DiskPool;

use crate::keeper::LockKeeper;
use crate::limits::PROBE_LEN;
use crate::qcow2::Qcow2Disk;

/// One disk of the guest: where its sectors are, and whether this process may change them.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    backend: Box<dyn Backend>,
    access: Access,
    read_only: bool,
    serial: String,
    /// Whether the serial tells the content, so that two disks with one serial are equal.
    tells_content: bool,
    keeper: Box<dyn Keeper>,
    /// Why a flush has failed, if data that it was to make durable may be gone: no later flush may succeed.
    /// The mutex is held during each flush, because the kernel tells an error to only one of two that run
    /// together.
    flush_lost: Mutex<Option<String>>,
    /// Whether no other replica could take over from this one.
    alone: AtomicBool,
}

impl Disk {
    /// Opens a disk of a VM, of whatever kind. Nothing is locked and nothing may be written yet; an overlay
    /// that is not there is made.
    ///
    /// # Errors
    /// The file is not there, or cannot be the disk of such a VM; the sentence says why.
    pub fn open(
        file: &DiskFile,
        of: Of<'_>,
        access: Access,
        read_only: bool,
        serial: &str,
    ) -> Result<Disk, DiskError> {
        if let Some(place) = file.place()? {
            if file.overlay.is_some()
                || file.backing.is_some()
                || file.format.is_some_and(|f| f != Format::Raw)
            {
                return Err(DiskError::NoFile {
                    path: file.path.clone(),
                });
            }
            return Disk::open_nbd(place, of, access, read_only, serial);
        }
        let path = file.written();
        if file.overlay.is_none() && file.format() == Format::Raw {
            let disk = Disk::open_raw(path, access, read_only, serial)?;
            return match file.format.is_none() && disk.begins_with(&::qcow2::MAGIC) {
                true => Err(DiskError::LooksLikeAnImage { path: path.into() }),
                false => Ok(disk),
            };
        }
        if access == Access::Pair {
            return Err(DiskError::ImageOfPair { path: path.into() });
        }
        let mut permitted = Vec::from_iter(file.backing.clone());
        if file.overlay.is_some() {
            ::qcow2::ensure_overlay(path, &file.path, file.format())?;
            permitted.push(file.path.clone());
        }
        // Links to one disk lead to one path, and so to one lock.
        let path = path.canonicalize().map_err(|error| DiskError::Open {
            path: path.into(),
            source: error,
        })?;
        let image = Qcow2Disk::open(&path, read_only, permitted)?;
        Disk::new(path, Box::new(image), access, read_only, serial)
    }

    /// Does the disk begin with these bytes? A disk that cannot be read says so at its first request.
    fn begins_with(&self, bytes: &[u8]) -> bool {
        let mut sector = [0; SECTOR_LEN as usize];
        self.backend.read(0, &mut sector).is_ok() && sector.starts_with(bytes)
    }

    /// Opens a raw disk. Nothing is locked and nothing may be written yet.
    ///
    /// # Errors
    /// The file is not there, is empty, or is not a whole number of sectors.
    pub fn open_raw(path: &Path, access: Access, read_only: bool, serial: &str) -> Result<Disk, DiskError> {
        let open = |source| DiskError::Open {
            path: path.into(),
            source,
        };
        // Links to one disk lead to one path, and so to one lock.
        let path = path.canonicalize().map_err(open)?;
        let backend = RawDisk::open(&path, access, read_only).map_err(|source| DiskError::Open {
            path: path.clone(),
            source,
        })?;
        Disk::new(path, Box::new(backend), access, read_only, serial)
    }

    /// A disk on any backend; `path` names the lock and stands in the error messages.
    ///
    /// # Errors
    /// The backend is empty or not a whole number of sectors.
    pub fn new(
        path: PathBuf,
        backend: Box<dyn Backend>,
        access: Access,
        read_only: bool,
        serial: &str,
    ) -> Result<Disk, DiskError> {
        let keeper = Box::new(LockKeeper::new(&path));
        Disk::kept(path, backend, keeper, access, read_only, serial)
    }

    /// A disk of a VM at an NBD server. The server is asked how large the disk is, and nothing else is done
    /// yet.
    ///
    /// # Errors
    /// The server cannot be reached or has no such disk for the VM, or the disk is for a pair and the server
    /// knows no epochs.
    pub fn open_nbd(
        place: NbdPlace,
        of: Of<'_>,
        access: Access,
        read_only: bool,
        serial: &str,
    ) -> Result<Disk, DiskError> {
        let path = PathBuf::from(place.to_string());
        let remote = NbdDisk::open(place, of, read_only).map_err(|source| DiskError::Server {
            path: path.clone(),
            source,
        })?;
        if access == Access::Pair && !read_only && !remote.is_fenced() {
            return Err(DiskError::Unfenced { path });
        }
        let backend = Box::new(remote.clone());
        Disk::kept(path, backend, Box::new(remote), access, read_only, serial)
    }

    fn kept(
        path: PathBuf,
        backend: Box<dyn Backend>,
        keeper: Box<dyn Keeper>,
        access: Access,
        read_only: bool,
        serial: &str,
    ) -> Result<Disk, DiskError> {
        let bytes = backend.capacity();
        if bytes == 0 {
            let is_file = std::fs::metadata(&path).is_ok_and(|meta| meta.is_file());
            return Err(if is_file {
                DiskError::Empty { path }
            } else {
                DiskError::EmptyDevice { path }
            });
        }
        if !bytes.is_multiple_of(SECTOR_LEN) {
            return Err(DiskError::Size { path, bytes });
        }
        Ok(Disk {
            path,
            backend,
            access,
            read_only,
            serial: serial.to_owned(),
            tells_content: false,
            keeper,
            flush_lost: Mutex::default(),
            alone: AtomicBool::new(access == Access::Solo),
        })
    }

    /// The device that the guest sees.
    #[must_use]
    pub fn config(&self) -> DiskConfig {
        DiskConfig {
            sectors: self.backend.capacity() / SECTOR_LEN,
            read_only: self.read_only,
            serial: self.serial.clone(),
        }
    }

    /// Checks that the disk is large enough for a guest that knows it as `guest`, and if its serial tells its
    /// content, that it has the content that the guest knows.
    ///
    /// # Errors
    /// The disk is smaller, or has another content.
    pub fn check(&self, guest: &DiskConfig) -> Result<(), DiskError> {
        if self.tells_content && guest.serial != self.serial {
            return Err(DiskError::OtherContent {
                path: self.path.clone(),
                has: self.serial.clone(),
                expects: guest.serial.clone(),
            });
        }
        let has = self.config().sectors;
        if has < guest.sectors {
            return Err(DiskError::Smaller {
                path: self.path.clone(),
                has,
                expects: guest.sectors,
            });
        }
        Ok(())
    }

    /// Checks that this is the very disk that `writer` has locked, on whatever host that process runs. The
    /// lock's owner is a random number, so another disk of the same name cannot pass. A read-only disk has no
    /// writer and passes unchecked.
    ///
    /// # Errors
    /// The disk is another one, or its lock cannot be read.
    pub fn check_writer(&self, writer: &Holder) -> Result<(), DiskError> {
        if self.read_only {
            return Ok(());
        }
        self.keeper.check_writer(writer)
    }

    /// The present size of the storage in whole sectors.
    fn measure(&self) -> io::Result<u64> {
        Ok(self.backend.measure()? / SECTOR_LEN)
    }

    /// Reads the beginning of the disk past this host's memory, if it can, and changes nothing.
    fn probe(&self) -> io::Result<()> {
        let length = self.backend.capacity().min(PROBE_LEN);
        self.backend.read(0, &mut vec![0; length as usize])
    }

    /// Path of the disk.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes this process the disk's writer, or keeps it so under a later epoch. A read-only disk needs no
    /// writer.
    ///
    /// # Errors
    /// Another process is the writer and keeps the right to be.
    pub fn lock(&self, holder: &Holder) -> Result<(), LockError> {
        self.lock_after(holder, Epoch(0))
    }

    /// As [`Disk::lock`], for a VM whose arbiter says that its epochs up to `ended` are over: who has locked
    /// the disk in one of them, on whatever host, does not use it any more.
    ///
    /// # Errors
    /// As those of [`Disk::lock`].
    pub fn lock_after(&self, holder: &Holder, ended: Epoch) -> Result<(), LockError> {
        if self.read_only {
            return Ok(());
        }
        self.keeper.lock(holder, ended)?;
        self.backend.begin_writing().map_err(|source| {
            // A lock that is of no use is given back.
            self.keeper.release();
            LockError::Unwritable {
                disk: self.path.clone(),
                source,
            }
        })
    }

    /// Checks that this process may still change the disk. Asked before each change, because a primary that
    /// stood still may wake up with a write in its hand after the other side has gone live.
    fn may_write(&self) -> Result<(), LockError> {
        self.keeper.confirm()
    }

    /// Looks whether the path leads to the file that this side has open, before anything is changed beside
    /// it: under a mount that is gone there may be an older copy, and a lock that was left there would
    /// outlast this process's way to it. Nobody locks a read-only disk, so it is not looked for.
    fn look_for(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.backend.look_for(self.keeper.is_placed())
    }

    /// Opens the file anew, so that nothing is read that this host remembers. The file must be the same one:
    /// under a mount that is gone there may be an older copy.
    fn reopen(&self) -> io::Result<()> {
        match self.backend.reopen(self.keeper.is_placed()) {
            // Nobody writes to a read-only disk, so nothing that is remembered of it can be old. The name may
            // lead elsewhere by now, or to a file that this process may not open.
            Err(error) if self.read_only => {
                tracing::debug!("{} stays open as it is: {error}", self.path.display());
                Ok(())
            }
            other => other,
        }
    }

    /// Ends that this process is the disk's writer, in favour of `next`, whose lock will stand in this one's
    /// place. No request of this process is at the disk.
    pub fn stand_by(&self, next: &Holder) {
        self.keeper.stand_by(next);
        self.alone.store(false, Ordering::SeqCst);
    }

    /// Notes that no other replica can take over from here on, as a backup could from a primary that is
    /// killed: so nobody is advised to kill this one.
    pub fn set_alone(&self) {
        self.alone.store(true, Ordering::SeqCst);
    }

    /// Whether there is no other replica that could take over from this one.
    fn is_alone(&self) -> bool {
        self.alone.load(Ordering::SeqCst)
    }
}
