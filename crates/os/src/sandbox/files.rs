//! The files of a process under landlock: those that were named, and nothing else.
//!
//! Landlock knows files and whole directories, not names in a directory. Where the name of a file becomes
//! known only later (a lock beside its disk, a claim, the files of a rotation) the directory is allowed, with
//! everything below it that the process' user may touch.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::{Mode, OFlags, fstatfs, open};

/// The version of landlock with which this was tried. It tells files apart since version 1, stops moving
/// names since 2, cutting short since 3, TCP ports since 4, telling devices what to do since 5, and
/// signalling other processes and calling abstract sockets since 6. Of an older kernel we take what it has.
const TRIED: ABI = ABI::V6;

/// The right to read a file or list a directory.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
/// The right to open a file again, to read and change it; a disk is also asked how large its sectors are.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | IoctlDev});
/// The right to make files in a directory, write, read, rename and remove them, and to list the directory.
const REPLACE: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | ReadDir | MakeReg | RemoveFile});
/// The right to make sockets in a directory, and to remove them.
const SOCKETS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{MakeSock | RemoveFile});

/// Magic numbers of the kernel's own file systems of pipes and sockets.
const NOWHERE: [i64; 2] = [0x5049_5045, 0x534f_434b];

/// The files, directories and ports that a process needs after its start.
#[derive(Debug, Default)]
pub struct Files {
    paths: Vec<(PathBuf, BitFlags<AccessFs>)>,
    /// TCP ports that the process connects to; `None`: all.
    ports: Option<Vec<u16>>,
}

impl Files {
    /// Allows reading this file again, or this directory and what is below it.
    pub fn read(&mut self, path: impl Into<PathBuf>) {
        self.paths.push((path.into(), READ));
    }

    /// Allows opening this file again, to read and write it.
    pub fn write(&mut self, path: impl Into<PathBuf>) {
        self.paths.push((path.into(), WRITE));
    }

    /// Allows making, writing, renaming and removing files in this directory.
    pub fn replace(&mut self, directory: impl Into<PathBuf>) {
        self.paths.push((directory.into(), REPLACE));
    }

    /// Allows writing this file and its like in the same directory, unless it is a device or a pipe, whose
    /// likes are others' business.
    pub fn replace_like(&mut self, path: &Path) {
        let path = path.canonicalize().unwrap_or_else(|_| path.into());
        match path.metadata() {
            Ok(data) if !data.is_file() => self.write(path),
            _ => self.replace(directory_of(&path)),
        }
    }

    /// Allows making a socket at this path, and removing it.
    pub fn socket(&mut self, path: &Path) {
        self.paths.push((directory_of(path), SOCKETS));
    }

    /// Allows connecting to these TCP ports, on whatever host. Without a call all ports are allowed; a second
    /// call adds more.
    pub fn connect_to(&mut self, ports: impl IntoIterator<Item = u16>) {
        self.ports.get_or_insert_default().extend(ports);
    }

    /// From here on this thread, and those it starts, can open nothing else. Returns the files that keep the
    /// rules in force, to be held as long as the process lives, and how much of the rules this kernel knows.
    pub(super) fn restrict(&self) -> Result<(Vec<OwnedFd>, RulesetStatus), RulesetError> {
        let mut network = BitFlags::from(AccessNet::BindTcp);
        if self.ports.is_some() {
            network |= AccessNet::ConnectTcp;
        }
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(TRIED))?
            .handle_access(network)?
            .scope(Scope::from_all(TRIED))?
            .create()?;
        // The kernel makes the files of /proc and /sys anew when they were not used for a while, and the
        // rules would not hold for the new ones, so the old ones are held open. The storage of a disk, on the
        // other hand, may be held by nothing but the disk.
        let mut held = Vec::new();
        for (path, access) in &self.paths {
            rules = allow(rules, path, *access, &mut held)?;
        }
        for &port in self.ports.iter().flatten() {
            rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
        Ok((held, rules.restrict_self()?.ruleset))
    }
}

/// Adds a rule for a path. A file that is not there cannot be opened, now or later, so no rule is needed; the
/// code that needs the file says so.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
    held: &mut Vec<OwnedFd>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(file) = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map(File::from) else {
        return Ok(rules);
    };
    let Ok(kind) = file.metadata().map(|data| data.file_type()) else {
        return Ok(rules);
    };
    // The pipe or socket that /dev/stdout may stand for is in no file system, and a rule is neither needed
    // nor possible.
    let nowhere = fstatfs(&file).is_ok_and(|system| NOWHERE.contains(&system.f_type));
    if nowhere || kind.is_socket() {
        return Ok(rules);
    }
    let access = if kind.is_dir() {
        access
    } else {
        access & AccessFs::from_file(TRIED)
    };
    let rules = rules.add_rule(PathBeneath::new(file.as_fd(), access));
    if path.starts_with("/proc") || path.starts_with("/sys") {
        held.push(file.into());
    }
    rules
}

/// The directory in which `path` has its entry.
pub fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.into(),
        _ => ".".into(),
    }
}

/// Tries what must still work at a takeover: opens a file of this process again, or makes a file beside it
/// and removes that file.
pub(super) fn rehearse(path: &Path, change: bool) -> io::Result<()> {
    if !path.is_dir() {
        OpenOptions::new().read(true).write(change).open(path)?;
    }
    if !change {
        return Ok(());
    }
    let name = format!(".lockstep.{:032x}", crate::entropy::random_u128());
    let probe = if path.is_dir() {
        path.join(name)
    } else {
        directory_of(path).join(name)
    };
    OpenOptions::new().write(true).create_new(true).open(&probe)?;
    std::fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_no_directory_is_in_this_one() {
        assert_eq!(directory_of(Path::new("disk")), Path::new("."));
        assert_eq!(directory_of(Path::new("a/disk")), Path::new("a"));
        assert_eq!(directory_of(Path::new("/disk")), Path::new("/"));
    }

    #[test]
    fn a_rehearsal_leaves_nothing_behind_and_finds_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("disk");
        assert!(rehearse(&disk, true).is_err());
        std::fs::write(&disk, "x").unwrap();
        rehearse(&disk, true).unwrap();
        rehearse(directory.path(), true).unwrap();
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    }
}
