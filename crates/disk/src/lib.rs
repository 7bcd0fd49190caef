//! Disks: what a request does to a file, who may write, and the threads that wait for it.
//!
//! The order of overlapping requests is the protocol's business (FT 3.4-a, `replica`); whatever arrives here
//! may run at once and end in any order, because every completion comes back through the log.
//!
//! From the outside inwards: `pool` has a `lane` of threads for each disk, `policy` decides what an error
//! means to the guest, `lock` who may write, `backend` is something with sectors, `file` and `direct` a raw
//! file as such. docs/disks.md says what is promised.
#![forbid(unsafe_code)]

pub mod backend;
pub mod direct;
pub mod file;
mod lane;
pub mod limits;
pub mod lock;
mod policy;
pub mod pool;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use machine::DiskConfig;

pub use backend::{Backend, SECTOR_LEN};
pub use direct::Access;
pub use file::RawDisk;
pub use lane::{Completion, Trouble};
pub use lock::{DiskLock, Holder, LockError};
pub use pool::DiskPool;

/// Why a disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no such file, or no permission.
    #[error(
        "cannot open the disk {path}; make one with `truncate -s 4G {path}`, or check the path and its \
         permissions"
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not whole sectors.
    #[error(
        "the disk {path} has {bytes} bytes, which is no whole number of {SECTOR_LEN}-byte sectors above 0; \
         resize it with `truncate`"
    )]
    Size {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The other replica's machine has a larger one.
    #[error(
        "the disk {path} has {has} sectors and the guest expects {expects}; give both hosts the same disk, \
         or enlarge this one"
    )]
    Smaller {
        /// Which.
        path: PathBuf,
        /// Its sectors.
        has: u64,
        /// What the primary's has.
        expects: u64,
    },
    /// Not the disk of the other replica.
    #[error(
        "the disk {path} on host {host} is not the one that the primary has locked for epoch {epoch} of \
         '{vm}': {finding}; both sides must see the same file"
    )]
    NotShared {
        /// Which.
        path: PathBuf,
        /// On which host it is seen so.
        host: String,
        /// What its lock says.
        finding: String,
        /// Name of the VM that the pair is of.
        vm: String,
        /// Epoch in which the primary should have locked the disk.
        epoch: u64,
    },
    /// Somebody else writes to it.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// One disk of the guest: where its sectors are, and whether this process may change them.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    backend: Box<dyn Backend>,
    access: Access,
    read_only: bool,
    serial: String,
    /// Held by the one who writes. A backup has none until it goes live.
    lock: OnceLock<DiskLock>,
    /// Who had locked it when this side was shown that both have the same one; nobody in a primary from the
    /// start.
    proven: Mutex<Option<Holder>>,
    /// Why a flush has failed, if what it was to make durable may be gone: no later one may succeed. Held
    /// during each flush, because the kernel tells only one of two that run together.
    flush_lost: Mutex<Option<String>>,
    /// No other replica could take over.
    alone: AtomicBool,
}

impl Disk {
    /// Opens a raw disk. Nothing is locked and nothing may be written yet.
    ///
    /// # Errors
    /// It is not there, or not a whole number of sectors.
    pub fn open_raw(path: &Path, access: Access, read_only: bool, serial: &str) -> Result<Disk, DiskError> {
        let open = |source| DiskError::Open {
            path: path.into(),
            source,
        };
        // One disk, one lock, by whatever links it is reached.
        let path = path.canonicalize().map_err(open)?;
        let backend = RawDisk::open(&path, access, read_only).map_err(|source| DiskError::Open {
            path: path.clone(),
            source,
        })?;
        Disk::new(path, Box::new(backend), access, read_only, serial)
    }

    /// From any backend; `path` names the lock and the error messages.
    ///
    /// # Errors
    /// It is not a whole number of sectors.
    pub fn new(
        path: PathBuf,
        backend: Box<dyn Backend>,
        access: Access,
        read_only: bool,
        serial: &str,
    ) -> Result<Disk, DiskError> {
        let bytes = backend.capacity();
        if bytes == 0 || !bytes.is_multiple_of(SECTOR_LEN) {
            return Err(DiskError::Size { path, bytes });
        }
        Ok(Disk {
            path,
            backend,
            access,
            read_only,
            serial: serial.to_owned(),
            lock: OnceLock::new(),
            proven: Mutex::default(),
            flush_lost: Mutex::default(),
            alone: AtomicBool::new(access == Access::Solo),
        })
    }

    /// The device the guest sees.
    #[must_use]
    pub fn config(&self) -> DiskConfig {
        DiskConfig {
            sectors: self.backend.capacity() / SECTOR_LEN,
            read_only: self.read_only,
            serial: self.serial.clone(),
        }
    }

    /// Is it large enough for the guest the primary has built?
    ///
    /// # Errors
    /// It is smaller.
    pub fn check(&self, guest: &DiskConfig) -> Result<(), DiskError> {
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

    /// Is it the very disk that `writer` has locked, on whatever host that runs? The lock's owner is a random
    /// number, so a disk of the same name that is another one cannot pass. A read-only disk has no writer and
    /// is not asked.
    ///
    /// # Errors
    /// It is another one, or its lock cannot be read.
    pub fn check_writer(&self, writer: &Holder) -> Result<(), DiskError> {
        if self.read_only {
            return Ok(());
        }
        let mut found = lock::holder(&self.path)?;
        if found.as_ref() != Some(writer) {
            // A network file system may remember what was there before, but not beyond a change of the
            // directory.
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

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Becomes its writer, or stays it under a later epoch. A read-only disk needs no writer.
    ///
    /// # Errors
    /// Somebody else is, and may be.
    pub fn lock(&self, holder: &Holder) -> Result<(), LockError> {
        if self.read_only {
            return Ok(());
        }
        if let Some(lock) = self.lock.get() {
            return lock.renew(holder);
        }
        let lock = DiskLock::acquire(&self.path, holder)?;
        // Only one thread at a time makes a disk's process its writer (lane.rs).
        let _ = self.lock.set(lock);
        Ok(())
    }

    /// May this process change the disk, still? Asked before each change: a stalled old primary wakes up
    /// with a write in its hand (D6).
    fn may_write(&self) -> Result<(), LockError> {
        match self.lock.get() {
            Some(lock) => lock.confirm(),
            None => Err(LockError::NotHeld {
                disk: self.path.clone(),
            }),
        }
    }

    /// Opens the file anew, so that nothing is read that this host remembers. It must be the same one still:
    /// under a mount that is gone there may be an older copy.
    fn reopen(&self) -> io::Result<()> {
        match self.backend.reopen(self.is_placed()) {
            // Nobody writes to it, so nothing that is remembered of it can be old. The name may lead
            // elsewhere by now, or to what this process may not open.
            Err(error) if self.read_only => {
                tracing::debug!("{} stays open as it is: {error}", self.path.display());
                Ok(())
            }
            other => other,
        }
    }

    /// Does the lock show that the path leads to where both sides have the same disk? It was put in the place
    /// of the one that this side was shown, or is the first one of a primary.
    fn is_placed(&self) -> bool {
        let proven = guard(&self.proven);
        self.lock.get().is_some_and(|lock| {
            lock.is_in_place() && (proven.is_none() || lock.replaced() == proven.as_ref())
        })
    }

    /// No other replica can take over from here on.
    fn set_alone(&self) {
        self.alone.store(true, Ordering::SeqCst);
    }

    /// Is there no other replica that could take over from this one?
    fn is_alone(&self) -> bool {
        self.alone.load(Ordering::SeqCst)
    }
}

/// Locks a mutex.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic aborts the process, so nobody ever sees a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
