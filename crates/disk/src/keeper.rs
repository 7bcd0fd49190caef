//! `Keeper`: what keeps others from writing to a disk. A file has a lock beside it; a disk server has a fence
//! of its own.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use replica::Epoch;

use crate::error::DiskError;
use crate::guard::guard;
use crate::lock::{self, DiskLock, Holder, LockError};

/// What keeps others from writing to a disk.
pub trait Keeper: Send + Sync + std::fmt::Debug {
    /// Checks that this is the very disk that `writer` has locked, on whatever host that process runs. The
    /// lock's owner is a random number, so another disk of the same name cannot pass.
    ///
    /// # Errors
    /// The disk is another one, or it cannot be known whose it is.
    fn check_writer(&self, writer: &Holder) -> Result<(), DiskError>;

    /// Makes this process the disk's writer, or keeps it so under a later epoch. The VM's epochs up to
    /// `ended` are over: whoever has locked the disk in one of them does not use it any more.
    ///
    /// # Errors
    /// Another process is the writer and keeps the right to be.
    fn lock(&self, holder: &Holder, ended: Epoch) -> Result<(), LockError>;

    /// Checks that this process may still change the disk.
    ///
    /// # Errors
    /// It may not, or it is not known whether it may.
    fn confirm(&self) -> Result<(), LockError>;

    /// Whether the disk's name surely leads to where both sides have the same disk.
    fn is_placed(&self) -> bool;

    /// Ends that this process is the disk's writer, in favour of whoever comes.
    fn release(&self);

    /// Ends that this process is the disk's writer, in favour of `next`.
    fn stand_by(&self, next: &Holder);
}

/// The lock beside a file.
#[derive(Debug)]
pub struct LockKeeper {
    path: PathBuf,
    /// The lock, held by the process that writes. A backup has none until it goes live.
    lock: Mutex<Option<DiskLock>>,
    /// Whom the disk's lock named when this side was shown that both sides have the same disk; nobody in a
    /// process that was primary from the start.
    proven: Mutex<Option<Holder>>,
}

impl LockKeeper {
    /// The lock beside the file at `path`; nothing is locked yet.
    #[must_use]
    pub fn new(path: &Path) -> LockKeeper {
        LockKeeper {
            path: path.into(),
            lock: Mutex::default(),
            proven: Mutex::default(),
        }
    }
}

impl Keeper for LockKeeper {
    fn check_writer(&self, writer: &Holder) -> Result<(), DiskError> {
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

    fn lock(&self, holder: &Holder, ended: Epoch) -> Result<(), LockError> {
        let mut lock = guard(&self.lock);
        if let Some(lock) = &*lock {
            return lock.renew(holder);
        }
        *lock = Some(DiskLock::acquire(&self.path, holder, ended)?);
        Ok(())
    }

    /// Asked before each change, because a primary that stood still may wake up with a write in its hand
    /// after the other side has gone live.
    fn confirm(&self) -> Result<(), LockError> {
        match &*guard(&self.lock) {
            Some(lock) => lock.confirm(),
            None => Err(LockError::NotHeld {
                disk: self.path.clone(),
            }),
        }
    }

    /// The lock of this process was put in the place of the lock that this side was shown, or it is the first
    /// lock of a primary; before this process has a lock, the primary's is where it was when this side was
    /// shown it.
    fn is_placed(&self) -> bool {
        let proven = guard(&self.proven);
        match &*guard(&self.lock) {
            Some(lock) => lock.is_in_place() && (proven.is_none() || lock.replaced() == proven.as_ref()),
            None => proven.is_some() && lock::holder(&self.path).is_ok_and(|found| found == *proven),
        }
    }

    fn release(&self) {
        drop(guard(&self.lock).take());
    }

    /// The lock of `next` will stand in this one's place.
    fn stand_by(&self, next: &Holder) {
        if let Some(lock) = guard(&self.lock).take() {
            lock.leave();
        }
        *guard(&self.proven) = Some(next.clone());
    }
}
