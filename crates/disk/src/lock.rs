//! The lock of a disk: the file `DISK.lock` beside it says who writes, for which VM and epoch.
//!
//! There are four rules. A live writer keeps others out. A dead writer on this host (its `flock` is gone) is
//! replaced, and so is one, wherever it was, of whose epoch the arbiter says that it is over. A replica that
//! has won a later epoch of the same VM replaces an earlier one, alive or not (FT 2.3-e): the old one sees
//! before its next write that the file is not its own any more, and does not write.
//!
//! Between that look and the write there is a gap, and NFS may show the old file for some seconds more. Only
//! a disk server that refuses old epochs itself closes the gap; a directory allows nothing better.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use replica::Epoch;

use os::identity::{boot_id, host_name};
use replica::VmName;

const HEADER: &str = "lockstep disk lock 1";
/// Attempts to take a lock. An attempt fails only because another process has succeeded meanwhile.
const ATTEMPTS_MAX: u32 = 64;
/// Longest content of a lock file in bytes; no lock of ours is longer.
const CONTENT_LEN_MAX: u64 = 1024;

/// A process that wants to write, as a lock names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The VM for which the process writes.
    pub vm: VmName,
    /// The epoch in which the process writes; 0 for a VM that runs without a pair.
    pub epoch: Epoch,
    /// The random number of the process: [`replica::Claim::owner`].
    pub owner: u128,
}

/// Why a disk cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process writes to the disk.
    #[error(
        "the disk {disk} is in use by VM '{vm}' epoch {epoch} (pid {pid} on host {host}); stop it first, or \
         if it surely runs no more remove {disk}.lock"
    )]
    InUse {
        /// Path of the disk.
        disk: String,
        /// Name of the VM that uses the disk.
        vm: String,
        /// Epoch in which the disk was locked.
        epoch: u64,
        /// Number of the process that uses the disk.
        pid: u32,
        /// Name of the host on which that process runs.
        host: String,
    },
    /// The epoch of this process is over.
    #[error(
        "the disk {disk} belongs to epoch {theirs} of VM '{vm}' now and this process was epoch {ours}; it \
         must not write any more"
    )]
    Superseded {
        /// Path of the disk.
        disk: String,
        /// Name of the VM that has the disk now.
        vm: String,
        /// Epoch of this process.
        ours: u64,
        /// Epoch of the new writer.
        theirs: u64,
    },
    /// The file is not a lock of Lockstep.
    #[error("{path} is no lock of Lockstep; look at it and remove it if nothing uses the disk")]
    Damaged {
        /// Path of the lock file.
        path: PathBuf,
    },
    /// The kernel gave an error.
    #[error("cannot lock the disk with {path}; its directory must be writable")]
    Io {
        /// Path of the lock file.
        path: PathBuf,
        /// Error that the operating system gave.
        source: io::Error,
    },
    /// The server that decides who may write does not answer, or lets nobody in at present.
    #[error("cannot become the writer of the disk {disk}: {why}")]
    Server {
        /// Place of the disk.
        disk: PathBuf,
        /// What the network or the server has said.
        why: String,
    },
    /// The disk is locked, but its storage cannot be written.
    #[error("cannot write to the disk {disk}")]
    Unwritable {
        /// Path of the disk.
        disk: PathBuf,
        /// What the storage says.
        source: io::Error,
    },
    /// A write before going live, which is a bug of the caller.
    #[error("this process is not the writer of the disk {disk}")]
    NotHeld {
        /// Path of the disk.
        disk: PathBuf,
    },
}

impl LockError {
    /// Whether a later attempt may succeed without anybody doing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, LockError::Io { .. } | LockError::Server { .. })
    }
}

/// A lock that is held. Dropping it removes the lock file, if the file is still ours.
#[derive(Debug)]
pub struct DiskLock {
    disk: PathBuf,
    path: PathBuf,
    /// Whom the lock named that was found when this one was taken first.
    replaced: Option<Holder>,
    held: Mutex<Held>,
    /// Does the lock file stay when this is dropped?
    left: bool,
}

#[derive(Debug)]
struct Held {
    holder: Holder,
    /// The lock file, kept open to keep its `flock` and its inode number.
    _file: File,
    id: FileId,
    /// Whom the lock named in whose place this one was put.
    replaced: Option<Holder>,
    /// Whether each of our locks was put in the place of the one before; then all of them are in one
    /// directory.
    unbroken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// What a lock file says.
struct Content {
    vm: String,
    epoch: u64,
    owner: u128,
    pid: u32,
    host: String,
    boot: String,
}

impl Content {
    /// The holder that the file names; `None`: no VM has such a name.
    fn holder(&self) -> Option<Holder> {
        Some(Holder {
            vm: VmName::new(&self.vm).ok()?,
            epoch: Epoch(self.epoch),
            owner: self.owner,
        })
    }
}

impl DiskLock {
    /// Makes `holder` the writer of `disk`. The VM's epochs up to `ended` are over: 0 is none of them.
    ///
    /// # Errors
    /// Another process is the writer.
    pub fn acquire(disk: &Path, holder: &Holder, ended: Epoch) -> Result<DiskLock, LockError> {
        let path = lock_path(disk);
        let held = take(disk, &path, (holder, ended), holder)?;
        Ok(DiskLock {
            disk: disk.into(),
            path,
            replaced: held.replaced.clone(),
            held: Mutex::new(held),
            left: false,
        })
    }

    /// Keeps this process the writer, under a later epoch. That epoch replaces nobody: a process that has
    /// become the writer meanwhile runs the VM.
    ///
    /// # Errors
    /// Another process has become the writer.
    pub fn renew(&self, holder: &Holder) -> Result<(), LockError> {
        self.retake(&mut self.held(), holder)
    }

    /// Gives the lock up and leaves its file where it is: a later epoch of the VM puts its own in that place,
    /// and sees by it that it has found the same disk.
    pub fn leave(mut self) {
        self.left = true;
    }

    /// Takes the lock again, with the rights that it gives already.
    fn retake(&self, held: &mut Held, holder: &Holder) -> Result<(), LockError> {
        let mut new = take(&self.disk, &self.path, (&held.holder, Epoch(0)), holder)?;
        new.unbroken = held.unbroken && new.replaced.as_ref() == Some(&held.holder);
        *held = new;
        Ok(())
    }

    /// Whom the lock named that was found when this one was taken first; `None`: there was no lock.
    #[must_use]
    pub fn replaced(&self) -> Option<&Holder> {
        self.replaced.as_ref()
    }

    /// Whether the lock is beside the disk now, in the directory in which it was taken first. Once the lock
    /// was missing, the answer stays no.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let held = self.held();
        held.unbroken && holder(&self.disk).is_ok_and(|found| found.as_ref() == Some(&held.holder))
    }

    /// Checks that the lock is still ours. If an operator or an older epoch has removed the file, takes the
    /// lock again.
    ///
    /// # Errors
    /// A later epoch has the lock, or another VM.
    pub fn confirm(&self) -> Result<(), LockError> {
        let mut held = self.held();
        match file_id(&self.path) {
            Ok(Some(id)) if id == held.id => Ok(()),
            Ok(_) => {
                let holder = held.holder.clone();
                self.retake(&mut held, &holder)
            }
            Err(source) => Err(LockError::Io {
                path: self.path.clone(),
                source,
            }),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.held
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for DiskLock {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let ours = self.held().id;
        if file_id(&self.path).is_ok_and(|id| id == Some(ours)) {
            // A lock file that is left behind is taken over by the next writer, so a failure does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The writer, dead or alive, that the lock file beside `disk` names; `None`: there is no such file.
///
/// # Errors
/// The file cannot be read, or is no lock.
pub fn holder(disk: &Path) -> Result<Option<Holder>, LockError> {
    let path = lock_path(disk);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LockError::Io { path, source }),
    };
    let content = read_content(&file, &path)?;
    match content.holder() {
        Some(holder) => Ok(Some(holder)),
        None => Err(LockError::Damaged { path }),
    }
}

/// Changes the directory of `disk`, and leaves nothing behind in it.
///
/// # Errors
/// The directory cannot be written.
pub fn touch_directory(disk: &Path) -> Result<(), LockError> {
    let path = lock_path(disk);
    let probe = path.with_extension(format!("lock.{:032x}", os::entropy::random_u128()));
    File::create_new(&probe)
        .and_then(|_| fs::remove_file(&probe))
        .map_err(|source| LockError::Io { path, source })
}

fn lock_path(disk: &Path) -> PathBuf {
    let mut path = disk.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Puts the lock of `holder` beside the disk. `rights`: the holder as which it may replace another's lock,
/// and the last epoch of its VM that is over.
fn take(disk: &Path, path: &Path, rights: (&Holder, Epoch), holder: &Holder) -> Result<Held, LockError> {
    let io = |source| LockError::Io {
        path: path.into(),
        source,
    };
    for _ in 0..ATTEMPTS_MAX {
        let old = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(error)),
        };
        // If we got the old file's `flock`, we keep it until the file is replaced: of two processes that find
        // a dead writer, only one goes on.
        let mut replaced = None;
        if let Some(old) = &old {
            let content = read_content(old, path)?;
            // If the old file was replaced in the meantime, the next attempt sees the new one.
            let dead = old.try_lock().is_ok();
            if file_id(path).map_err(io)? != Some(id_of(old).map_err(io)?) {
                continue;
            }
            may_replace(disk, &content, rights, dead)?;
            replaced = content.holder();
        }
        let own = path.with_extension(format!("lock.{:032x}", os::entropy::random_u128()));
        let file = write_content(&own, holder).map_err(io)?;
        let placed = if old.is_some() {
            fs::rename(&own, path)
        } else {
            fs::hard_link(&own, path).and_then(|()| fs::remove_file(&own))
        };
        if let Err(error) = placed {
            let _ = fs::remove_file(&own);
            if error.kind() == io::ErrorKind::AlreadyExists {
                continue;
            }
            return Err(io(error));
        }
        sync_directory(path).map_err(io)?;
        let id = id_of(&file).map_err(io)?;
        if file_id(path).map_err(io)? == Some(id) {
            return Ok(Held {
                holder: holder.clone(),
                _file: file,
                id,
                replaced,
                unbroken: true,
            });
        }
    }
    Err(io(io::ErrorKind::ResourceBusy.into()))
}

fn may_replace(
    disk: &Path,
    old: &Content,
    (new, ended): (&Holder, Epoch),
    dead: bool,
) -> Result<(), LockError> {
    let same_vm = old.vm == new.vm.as_str();
    // Epoch 0 is that of a VM whose arbiter, if it has one, knows nothing of this writer.
    if same_vm && (1..=ended.0).contains(&old.epoch) {
        return Ok(());
    }
    if same_vm && old.owner == new.owner && old.epoch <= new.epoch.0 {
        return Ok(());
    }
    if same_vm && old.epoch < new.epoch.0 {
        return Ok(());
    }
    if same_vm && new.epoch.0 != 0 && old.epoch > new.epoch.0 {
        return Err(LockError::Superseded {
            disk: disk.display().to_string(),
            vm: old.vm.clone(),
            ours: new.epoch.0,
            theirs: old.epoch,
        });
    }
    // After a reboot only the name says "this host"; inside containers with other names only the boot does.
    let this_host = old.boot == boot_id() || old.host == host_name();
    if dead && this_host {
        return Ok(());
    }
    Err(LockError::InUse {
        disk: disk.display().to_string(),
        vm: old.vm.clone(),
        epoch: old.epoch,
        pid: old.pid,
        host: old.host.clone(),
    })
}

fn write_content(path: &Path, holder: &Holder) -> io::Result<File> {
    let Holder { vm, epoch, owner } = holder;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let (pid, host, boot) = (std::process::id(), host_name(), boot_id());
    let epoch = epoch.0;
    let text = format!(
        "{HEADER}\nvm {vm}\nepoch {epoch}\nowner {owner:032x}\npid {pid}\nhost {host}\nboot {boot}\n"
    );
    let result = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = result {
        let _ = fs::remove_file(path);
        return Err(error);
    }
    if let Err(error) = file.try_lock() {
        // Some network file systems have no locks. Then a dead writer is not recognised as dead, which is
        // safe.
        tracing::warn!("no file locks at {}: {error}", path.display());
    }
    Ok(file)
}

fn read_content(mut file: &File, path: &Path) -> Result<Content, LockError> {
    let mut bytes = Vec::new();
    (&mut file)
        .take(CONTENT_LEN_MAX)
        .read_to_end(&mut bytes)
        .map_err(|source| LockError::Io {
            path: path.into(),
            source,
        })?;
    parse(&bytes).ok_or_else(|| LockError::Damaged { path: path.into() })
}

fn parse(bytes: &[u8]) -> Option<Content> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()? != HEADER {
        return None;
    }
    let mut field = |name: &str| {
        lines
            .next()?
            .strip_prefix(name)?
            .strip_prefix(' ')
            .map(str::to_owned)
    };
    Some(Content {
        vm: field("vm")?,
        epoch: field("epoch")?.parse().ok()?,
        owner: u128::from_str_radix(&field("owner")?, 16).ok()?,
        pid: field("pid")?.parse().ok()?,
        host: field("host")?,
        boot: field("boot")?,
    })
}

fn id_of(file: &File) -> io::Result<FileId> {
    let meta = file.metadata()?;
    Ok(FileId {
        device: meta.dev(),
        inode: meta.ino(),
    })
}

fn file_id(path: &Path) -> io::Result<Option<FileId>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(FileId {
            device: meta.dev(),
            inode: meta.ino(),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
