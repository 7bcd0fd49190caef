//! Disks: what a request does to a file, who may write, and the threads that wait for it.
//!
//! The order of overlapping requests is the protocol's business (FT 3.4-a, `replica`). Whatever arrives here
//! may run at once and end in any order, because every completion comes back through the log.
//!
//! From the outside inwards: `pool` has a `lane` of threads for each disk, which take jobs from its `queue`
//! and tell what stands in `completion`; `policy` decides what an error means to the guest, `illness` what
//! people hear of it; `lock` says who may write; `backend` is the seam to what stores the sectors; `file` and
//! `direct` are a raw file, `memory` is a disk without one. docs/disks.md says what is promised.
#![forbid(unsafe_code)]

pub mod backend;
mod completion;
pub mod direct;
pub mod file;
mod illness;
mod lane;
pub mod limits;
pub mod lock;
mod memory;
mod policy;
pub mod pool;
mod queue;

use replica::Epoch;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use machine::DiskConfig;

pub use backend::{Backend, SECTOR_LEN};
pub use completion::{Completion, Size, Trouble};
pub use direct::Access;
pub use file::RawDisk;
pub use lock::{DiskLock, Holder, LockError};
pub use pool::DiskPool;

use crate::limits::PROBE_LEN;

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
    /// The lock, held by the process that writes. A backup has none until it goes live.
    lock: Mutex<Option<DiskLock>>,
    /// Whom the disk's lock named when this side was shown that both sides have the same disk; nobody in a
    /// process that was primary from the start.
    proven: Mutex<Option<Holder>>,
    /// Why a flush has failed, if data that it was to make durable may be gone: no later flush may succeed.
    /// The mutex is held during each flush, because the kernel tells an error to only one of two that run
    /// together.
    flush_lost: Mutex<Option<String>>,
    /// Whether no other replica could take over from this one.
    alone: AtomicBool,
}

impl Disk {
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
            lock: Mutex::default(),
            proven: Mutex::default(),
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
        let mut found = lock::holder(&self.path)?;
        if found.as_ref() != Some(writer) {
            // A network file system may remember an older lock, but not beyond a change of the directory.
            lock::touch_directory(&self.path)?;
            found = lock::holder(&self.path)?;
        }
        let finding = match found {
            Some(found) if found == *writer => {
                *guard(&self.proven) = Some(found);
                return Ok(());
            }
            Some(found) => format!(
                "{}.lock names epoch {} of '{}'",
                self.path.display(),
                found.epoch.0,
                found.vm
            ),
            None => format!("there is no {}.lock", self.path.display()),
        };
        Err(DiskError::NotShared {
            path: self.path.clone(),
            host: os::identity::host_name(),
            finding,
            vm: writer.vm.to_string(),
            epoch: writer.epoch.0,
        })
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
        let mut lock = guard(&self.lock);
        if let Some(lock) = &*lock {
            return lock.renew(holder);
        }
        *lock = Some(DiskLock::acquire(&self.path, holder, ended)?);
        Ok(())
    }

    /// Checks that this process may still change the disk. Asked before each change, because a primary that
    /// stood still may wake up with a write in its hand after the other side has gone live.
    fn may_write(&self) -> Result<(), LockError> {
        match &*guard(&self.lock) {
            Some(lock) => lock.confirm(),
            None => Err(LockError::NotHeld {
                disk: self.path.clone(),
            }),
        }
    }

    /// Looks whether the path leads to the file that this side has open, before anything is changed beside
    /// it: under a mount that is gone there may be an older copy, and a lock that was left there would
    /// outlast this process's way to it. Nobody locks a read-only disk, so it is not looked for.
    fn look_for(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        let is_locked = guard(&self.lock).is_some();
        let placed = if is_locked {
            self.is_placed()
        } else {
            // The primary's lock is where it was when this side was shown it.
            let proven = guard(&self.proven).clone();
            proven.is_some() && lock::holder(&self.path).is_ok_and(|found| found == proven)
        };
        self.backend.look_for(placed)
    }

    /// Opens the file anew, so that nothing is read that this host remembers. The file must be the same one:
    /// under a mount that is gone there may be an older copy.
    fn reopen(&self) -> io::Result<()> {
        match self.backend.reopen(self.is_placed()) {
            // Nobody writes to a read-only disk, so nothing that is remembered of it can be old. The name may
            // lead elsewhere by now, or to a file that this process may not open.
            Err(error) if self.read_only => {
                tracing::debug!("{} stays open as it is: {error}", self.path.display());
                Ok(())
            }
            other => other,
        }
    }

    /// Whether the lock shows that the path leads to where both sides have the same disk: it was put in the
    /// place of the lock that this side was shown, or it is the first lock of a primary.
    fn is_placed(&self) -> bool {
        let proven = guard(&self.proven);
        guard(&self.lock).as_ref().is_some_and(|lock| {
            lock.is_in_place() && (proven.is_none() || lock.replaced() == proven.as_ref())
        })
    }

    /// Ends that this process is the disk's writer, in favour of `next`, whose lock will stand in this one's
    /// place. No request of this process is at the disk.
    pub fn stand_by(&self, next: &Holder) {
        if let Some(lock) = guard(&self.lock).take() {
            lock.leave();
        }
        *guard(&self.proven) = Some(next.clone());
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

/// Locks a mutex.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic aborts the process, so nobody ever sees a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
