//! `DirectoryCells`: cells as the files of a directory on storage that both hosts share. `link(2)` is what
//! writes a cell once.
//!
//! A value is written to a file of its own and made durable; then that file is linked to the cell's name,
//! which succeeds for exactly one process, on local file systems and on NFS. The answer of the link is not
//! believed, since a network file system may lose the answer of a link that was made, or report a link that
//! was not: what counts is what the cell's file then holds.
//!
//! A process that is killed leaves a file of its own behind, whose name begins with a dot. It is nobody's
//! claim, and is removed after a week.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use replica::{Epoch, VmName};

use crate::ArbiterError;
use crate::cells::{Cell, Cells, Created};
use crate::limits::{CELL_LEN_MAX, CLAIM_AGE_MIN, CLAIMS_KEPT};
use crate::record::Process;
use crate::test_and_set::TestAndSet;

/// An arbiter in a shared directory.
pub type DirectoryArbiter = TestAndSet<DirectoryCells>;

/// What the names of files begin with that a process uses for itself alone. No VM's name begins with a dot.
const OWN_FILES: [&str; 2] = [".cell.", ".probe."];

/// Cells in a shared directory.
#[derive(Debug)]
pub struct DirectoryCells {
    directory: PathBuf,
}

impl DirectoryArbiter {
    /// Uses `directory` for claims of `process`, after having written a file there to see that it can.
    ///
    /// # Errors
    /// The directory does not exist or cannot be written.
    pub fn open(directory: &Path, process: Process) -> Result<DirectoryArbiter, ArbiterError> {
        Ok(TestAndSet::over(DirectoryCells::open(directory)?, process))
    }
}

impl DirectoryCells {
    /// Uses `directory`, after having written a file there to see that it can.
    ///
    /// # Errors
    /// The directory does not exist or cannot be written.
    pub fn open(directory: &Path) -> Result<DirectoryCells, ArbiterError> {
        let mut cells = DirectoryCells {
            directory: directory.into(),
        };
        cells.refresh()?;
        Ok(cells)
    }

    /// The VMs that have an identity here, in the order of their names.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn vms(&self) -> Result<Vec<VmName>, ArbiterError> {
        let names = self.names().map_err(|source| self.unusable(source))?;
        let vm = |name: &String| VmName::new(name.strip_suffix(".id")?).ok();
        let mut vms: Vec<VmName> = names.iter().filter_map(vm).collect();
        vms.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(vms)
    }

    fn unusable(&self, source: io::Error) -> ArbiterError {
        ArbiterError::Directory {
            path: self.directory.clone(),
            source,
        }
    }

    /// The file of a cell. Epochs have digits of fixed length, so that a listing is in their order.
    fn path(&self, vm: &VmName, cell: Cell) -> PathBuf {
        self.directory.join(match cell {
            Cell::Id => format!("{vm}.id"),
            Cell::Claim(epoch) => format!("{vm}.{:020}.claim", epoch.0),
            Cell::End(epoch) => format!("{vm}.{:020}.end", epoch.0),
        })
    }

    /// A path that no other process on any host uses.
    fn own_path(&self, start: &str) -> PathBuf {
        self.directory
            .join(format!("{start}{:032x}", os::entropy::random_u128()))
    }

    /// What the file of a cell holds; `None`: there is none.
    fn content(&self, path: &Path) -> Result<Option<Vec<u8>>, ArbiterError> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(CELL_LEN_MAX + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > CELL_LEN_MAX => Err(damaged(path)),
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unusable(error)),
        }
    }

    /// The names of the directory's files. What other programs called otherwise than in UTF-8 is passed over.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    /// As [`Cells::collect`].
    fn try_collect(&self, vm: &VmName) -> io::Result<()> {
        let names = self.names()?;
        let mut epochs: Vec<Epoch> = names.iter().filter_map(|name| epoch_in(name, vm)).collect();
        epochs.sort_unstable();
        let Some((&newest, older)) = epochs.split_last() else {
            return Ok(());
        };
        // Both times are the server's, so no host's clock can make a claim look old.
        let now = modified(&self.path(vm, Cell::Claim(newest)))?;
        let is_old = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age > CLAIM_AGE_MIN);
        let enough = older.len().saturating_sub(CLAIMS_KEPT - 1);
        for &epoch in &older[..enough] {
            let claim = self.path(vm, Cell::Claim(epoch));
            if is_old(modified(&claim)?) {
                fs::remove_file(claim)?;
                remove_if_there(&self.path(vm, Cell::End(epoch)))?;
            }
        }
        let is_own = |name: &&String| OWN_FILES.iter().any(|start| name.starts_with(start));
        for name in names.iter().filter(is_own) {
            let path = self.directory.join(name);
            // The process that it is of may remove it at this moment.
            if modified(&path).is_ok_and(is_old) {
                remove_if_there(&path)?;
            }
        }
        Ok(())
    }
}

impl Cells for DirectoryCells {
    fn create(&mut self, vm: &VmName, cell: Cell, value: &[u8]) -> Result<Created, ArbiterError> {
        let path = self.path(vm, cell);
        let own = self.own_path(OWN_FILES[0]);
        write_durably(&own, value).map_err(|source| self.unusable(source))?;
        let linked = fs::hard_link(&own, &path);
        // A file that stays behind does no harm.
        let _ = fs::remove_file(&own);
        if let Err(error) = &linked
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            // The link may have been made all the same; whoever asks again will see.
            return Err(self.unusable(io::Error::new(error.kind(), error.to_string())));
        }
        let Some(found) = self.content(&path)? else {
            return Err(match linked {
                Ok(()) => ArbiterError::Vanished { path },
                Err(error) => self.unusable(error),
            });
        };
        // The name is durable only after this, whoever has made it, and only what is durable may be told.
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| self.unusable(source))?;
        if found == value {
            Ok(Created::Now)
        } else {
            Ok(Created::Before(found))
        }
    }

    fn read(&mut self, vm: &VmName, cell: Cell) -> Result<Option<Vec<u8>>, ArbiterError> {
        self.content(&self.path(vm, cell))
    }

    fn last(&mut self, vm: &VmName) -> Result<Option<Epoch>, ArbiterError> {
        let names = self.names().map_err(|source| self.unusable(source))?;
        Ok(names.iter().filter_map(|name| epoch_in(name, vm)).max())
    }

    /// Makes a file in the directory and removes it: so the directory can be written, and what a network file
    /// system remembers of it is out of date.
    fn refresh(&mut self) -> Result<(), ArbiterError> {
        let probe = self.own_path(OWN_FILES[1]);
        let result = write_durably(&probe, b"probe\n").and_then(|()| fs::remove_file(&probe));
        result.map_err(|source| self.unusable(source))
    }

    fn collect(&mut self, vm: &VmName) {
        if let Err(error) = self.try_collect(vm) {
            tracing::debug!("old claims in {} stay: {error}", self.directory.display());
        }
    }

    fn place(&self) -> String {
        format!("the arbiter directory {}", self.directory.display())
    }

    fn flag(&self) -> String {
        format!("--arbiter {}", self.directory.display())
    }

    fn damaged(&self, vm: &VmName, cell: Cell) -> ArbiterError {
        damaged(&self.path(vm, cell))
    }
}

fn damaged(path: &Path) -> ArbiterError {
    ArbiterError::Damaged {
        what: path.display().to_string(),
    }
}

/// The epoch in this file's name, if it is the name of a claim of `vm`.
fn epoch_in(name: &str, vm: &VmName) -> Option<Epoch> {
    let rest = name.strip_prefix(vm.as_str())?.strip_prefix('.')?;
    let digits = rest.strip_suffix(".claim")?;
    // A VM named "a.1" must not be seen as claims of "a".
    (digits.len() == 20).then(|| digits.parse().ok().map(Epoch))?
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes a new file, which is on its disk when this returns.
fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let result = file.write_all(content).and_then(|()| file.sync_all());
    if result.is_err() {
        // A full directory must not fill up further with each retry.
        let _ = fs::remove_file(path);
    }
    result
}
