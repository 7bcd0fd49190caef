//! What processes of this host tell each other through a directory of the host's own, which is empty after a
//! boot: that they live, and that they run a VM for which no arbiter is asked.
//!
//! The kernel drops a `flock` when the process that holds it ends, however it ends. So a lock that can be had
//! is proof that its holder is gone, where a process number is none. Only files of this host's own can prove
//! that: a network file system may give a lock away while its holder is cut off.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use replica::VmName;

/// Why this host's directory is of no use, or the VM runs here already.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The directory cannot be used.
    #[error(
        "the directory {path} for this host's locks cannot be used; set XDG_RUNTIME_DIR to one of your own"
    )]
    Directory {
        /// Path of the directory.
        path: PathBuf,
        /// What the operating system said of it.
        source: io::Error,
    },
    /// Another process runs the VM.
    #[error(
        "{vm} runs already on this host ({whose}); stop it there, or give this VM a name of its own with \
         `--name`"
    )]
    Runs {
        /// Name of the VM.
        vm: VmName,
        /// "pid 4211", as that process has written it.
        whose: String,
    },
}

/// A directory of this host and this user.
#[derive(Clone, Debug)]
pub struct LocalDirectory(PathBuf);

/// A file that this process holds locked as long as it lives, and that holds its owner's number. The file is
/// left behind: only so can others see that the process has ended.
#[derive(Debug)]
pub struct SignOfLife {
    path: PathBuf,
    _held: File,
}

/// The right of this process to run a VM on this host where no arbiter is asked.
#[derive(Debug)]
pub struct LocalLock {
    _held: File,
}

impl LocalDirectory {
    /// Uses a directory, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or others may write in it.
    pub fn open(path: &Path) -> Result<LocalDirectory, LocalError> {
        let failed = |source| LocalError::Directory {
            path: path.into(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let found = fs::symlink_metadata(path).map_err(failed)?;
        let is_ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
        // A name in a directory that others may write in could be taken before it is made here.
        if !is_ours || found.mode() & 0o022 != 0 {
            let source = io::Error::other("others may write in it, or it is no directory of this user");
            return Err(failed(source));
        }
        Ok(LocalDirectory(path.into()))
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the sign that the process of `owner` lives, which claims at `arbiter`.
    ///
    /// # Errors
    /// The directory cannot be written, or its file system has no locks.
    pub fn sign(&self, vm: &VmName, owner: u128, arbiter: &str) -> Result<SignOfLife, LocalError> {
        let failed = |source| LocalError::Directory {
            path: self.0.clone(),
            source,
        };
        let path = self.0.join(format!("{vm}.{owner:032x}.alive"));
        let make = || -> io::Result<File> {
            let own = self.0.join(format!(".{owner:032x}"));
            let mut file = OpenOptions::new().write(true).create_new(true).open(&own)?;
            write!(file, "{owner:032x}\n{arbiter}\n")?;
            file.lock()?;
            // Whoever sees the name sees it locked.
            fs::rename(&own, &path)?;
            Ok(file)
        };
        let held = make().map_err(failed)?;
        Ok(SignOfLife { path, _held: held })
    }

    /// Removes the signs of processes of this VM that claimed at `arbiter` and have ended. Call it only when
    /// no record there is open, or none that one of these processes may own: without its sign it could not be
    /// closed without asking any more.
    pub fn sweep(&self, vm: &VmName, arbiter: &str) {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str());
            let owner = name.and_then(|name| name.strip_prefix(vm.as_str())?.strip_prefix('.'));
            let Some(owner) = owner.and_then(|owner| owner.strip_suffix(".alive")) else {
                continue;
            };
            // A sign of the VM "a.1" is none of "a", and does not hold "1." before the number.
            let is_ours = fs::read_to_string(&path).is_ok_and(|text| text == format!("{owner}\n{arbiter}\n"));
            if is_ours && File::open(&path).is_ok_and(|file| file.try_lock_shared().is_ok()) {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// The right to run this VM on this host.
    ///
    /// # Errors
    /// Another process has it.
    pub fn lock(&self, vm: &VmName) -> Result<LocalLock, LocalError> {
        let path = self.0.join(format!("{vm}.lock"));
        let failed = |source| LocalError::Directory {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // For people alone; the process may be about to write it.
                let _ = (&file).take(64).read_to_string(&mut text);
                let whose = match text.trim() {
                    "" => "another process".into(),
                    pid => format!("pid {pid}"),
                };
                let vm = vm.clone();
                return Err(LocalError::Runs { vm, whose });
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(LocalLock { _held: file })
    }
}

impl SignOfLife {
    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(name: &str) -> VmName {
        VmName::new(name).unwrap()
    }

    #[test]
    fn a_vm_has_one_process_on_a_host_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalDirectory::open(&dir.path().join("run")).unwrap();
        let held = local.lock(&vm("web")).unwrap();
        let refused = local.lock(&vm("web")).unwrap_err().to_string();
        let expected = format!("web runs already on this host (pid {})", std::process::id());
        assert!(refused.starts_with(&expected), "{refused}");
        local.lock(&vm("shop")).unwrap();
        drop(held);
        local.lock(&vm("web")).unwrap();
    }

    #[test]
    fn signs_of_the_dead_are_swept_and_those_of_the_living_and_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalDirectory::open(dir.path()).unwrap();
        let alive = local.sign(&vm("web"), 1, "x").unwrap();
        drop(local.sign(&vm("web"), 2, "x").unwrap());
        drop(local.sign(&vm("web.1"), 3, "x").unwrap());
        // A VM of this name at another arbiter is another VM.
        drop(local.sign(&vm("web"), 4, "y").unwrap());
        local.sweep(&vm("web"), "x");
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                format!("web.{:032x}.alive", 1),
                format!("web.{:032x}.alive", 4),
                format!("web.1.{:032x}.alive", 3)
            ]
        );
        assert_eq!(
            fs::read_to_string(alive.path()).unwrap(),
            format!("{:032x}\nx\n", 1)
        );
    }

    #[test]
    fn a_directory_in_which_others_may_write_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(matches!(
            LocalDirectory::open(&path),
            Err(LocalError::Directory { .. })
        ));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(matches!(
            LocalDirectory::open(&link),
            Err(LocalError::Directory { .. })
        ));
    }
}
