//! The demo's directory: key, arbiter, events, sockets and what the processes say, for this user alone.
//!
//! It is removed at the end, unless it is to be kept. A demo that was killed leaves its directory behind; the
//! next demo removes it. Whose demo still runs is told by a lock, which goes with the process; a directory
//! that is to be kept has none.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use link::Key;

/// How the names of all directories of demos begin.
const PREFIX: &str = "lockstep-demo-";
/// The file in such a directory that its demo has locked.
const LOCK: &str = "lock";

/// The directory of a demo that runs.
pub struct Directory {
    directory: tempfile::TempDir,
    /// `None`: the directory is kept.
    _lock: Option<File>,
}

impl Directory {
    /// Makes the directory with a new key in it. `keep`: it is not removed at the end.
    pub fn make(keep: bool) -> Result<Directory> {
        sweep(&std::env::temp_dir());
        let owner_alone = Permissions::from_mode(0o700);
        let mut builder = tempfile::Builder::new();
        let mut directory = builder.prefix(PREFIX).permissions(owner_alone).tempdir()?;
        directory.disable_cleanup(keep);
        let lock = (!keep).then(|| lock(directory.path())).transpose();
        let lock = lock.context("cannot lock the demo's directory")?;
        write_key(&directory.path().join("key"))?;
        std::fs::create_dir(directory.path().join("arbiter"))?;
        Ok(Directory {
            directory,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Makes the lock's file. It has its name only when it is locked: a lock of that name that nobody holds is of
/// a demo that has ended.
fn lock(directory: &Path) -> std::io::Result<File> {
    let unlocked = directory.join("lock.new");
    let file = File::create_new(&unlocked)?;
    file.lock()?;
    std::fs::rename(unlocked, directory.join(LOCK))?;
    Ok(file)
}

/// Removes what demos that were killed have left in `place`. What cannot be removed belongs to somebody else.
fn sweep(place: &Path) {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let of_demos = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for directory in of_demos.map(|entry| entry.path()) {
        if is_left_behind(&directory) {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

fn is_left_behind(directory: &Path) -> bool {
    File::open(directory.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

/// A new key of the demo's pair that only this user can read, as replicas demand.
fn write_key(path: &Path) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(Key::generate()?.to_hex().as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_demo_left_behind_is_swept_away() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = place.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (live, dead) = (make("lockstep-demo-live"), make("lockstep-demo-dead"));
        let (young, other) = (make("lockstep-demo-young"), make("other"));
        let _held = lock(&live).unwrap();
        drop(lock(&dead).unwrap());
        drop(lock(&other).unwrap());
        sweep(place.path());
        assert!(live.exists() && young.exists() && other.exists() && !dead.exists());
    }
}
