//! What is judged of this host's files: the site's key, the directory of sockets, and that for what must
//! outlive a boot.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use report::amount::rounded;

use crate::limits::{ROOM_ENOUGH, ROOM_MIN};
use crate::line::Line;

/// Bits of a mode that let others than the user write.
const OTHERS_WRITE: u32 = 0o022;

/// What was seen of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryFacts {
    /// Whether the path leads to a directory that belongs to this user.
    pub is_ours: bool,
    /// The directory's mode, as `chmod` takes it.
    pub mode: u32,
}

/// Judges the site's key by what became of reading it.
#[must_use]
pub fn key(read: Result<(), String>) -> Line {
    match read {
        Ok(()) => Line::ok("key", "it can be read by its user alone"),
        Err(sentence) => Line::no("key", sentence),
    }
}

/// What a directory is; `None`: it is not there.
///
/// # Errors
/// It cannot be looked at.
pub fn look(path: &Path) -> io::Result<Option<DirectoryFacts>> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(DirectoryFacts {
            is_ours: found.is_dir() && found.uid() == rustix::process::geteuid().as_raw(),
            mode: found.mode(),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Judges the directory of the processes' sockets: who may write there could take a name before its process
/// does.
#[must_use]
pub fn sockets(path: &Path, found: io::Result<Option<DirectoryFacts>>) -> Line {
    let path = path.display();
    match found {
        Ok(None) => Line::ok(
            "sockets",
            format!("{path} is not there yet; the first process makes it"),
        ),
        Ok(Some(facts)) if !facts.is_ours => Line::no(
            "sockets",
            format!("{path} is no directory of this user; remove it, or be that user"),
        ),
        Ok(Some(facts)) if facts.mode & OTHERS_WRITE != 0 => Line::no(
            "sockets",
            format!("others may write in {path}; `chmod 700 {path}`"),
        ),
        Ok(Some(_)) => Line::ok("sockets", format!("{path} is this user's alone")),
        Err(error) => Line::no("sockets", format!("{path} cannot be used ({error})")),
    }
}

/// Judges the directory for what must outlive a boot: its room, in bytes, or why nothing can be written.
#[must_use]
pub fn state(path: &Path, room: Result<u64, String>) -> Line {
    let path = path.display();
    match room {
        Err(why) => Line::no("state", format!("nothing can be written in {path} ({why})")),
        Ok(bytes) if bytes < ROOM_MIN => Line::no(
            "state",
            format!(
                "{path} has {} free, too little for happenings and last words; make room",
                rounded(bytes)
            ),
        ),
        Ok(bytes) if bytes < ROOM_ENOUGH => Line::warn(
            "state",
            format!(
                "{path} has {} free; images of further VMs may not fit",
                rounded(bytes)
            ),
        ),
        Ok(bytes) => Line::ok(
            "state",
            format!("{path} can be written and has {} free", rounded(bytes)),
        ),
    }
}

/// Room in a directory, in bytes, after having written a file there; of one that is not there yet, the room
/// where it would be made.
///
/// # Errors
/// Nothing can be written, with the reason.
pub fn room(path: &Path) -> Result<u64, String> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    let scratch: PathBuf = there.join(format!(".doctor.{:032x}", os::entropy::random_u128()));
    let written = std::fs::write(&scratch, b"x").and_then(|()| std::fs::remove_file(&scratch));
    written.map_err(|error| error.to_string())?;
    let system = rustix::fs::statvfs(there).map_err(|error| error.to_string())?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Verdict::{No, Ok as Good, Warn};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn each_state_of_a_directory_has_its_verdict() {
        let found = |is_ours, mode| Ok(Some(DirectoryFacts { is_ours, mode }));
        let path = Path::new("/run/lockstep");
        let of_sockets = [
            (Ok(None), Good),
            (found(true, 0o40_700), Good),
            (found(true, 0o40_755), Good),
            (found(true, 0o40_775), No),
            (found(false, 0o40_700), No),
            (Err(io::Error::other("no")), No),
        ];
        for (found, verdict) in of_sockets {
            let line = sockets(path, found);
            assert_eq!(line.verdict, verdict, "{}", line.sentence);
        }
        let of_state = [
            (Ok(2 << 30), Good),
            (Ok(100 << 20), Warn),
            (Ok(1 << 20), No),
            (Err("read-only".to_owned()), No),
        ];
        for (room, verdict) in of_state {
            assert_eq!(state(path, room).verdict, verdict);
        }
        assert_eq!(key(Err("open to others".into())).verdict, No);
    }

    #[test]
    fn a_directory_is_seen_as_it_is_and_nothing_is_left_in_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(look(&dir.path().join("none")).unwrap().is_none());
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let seen = look(dir.path()).unwrap().unwrap();
        assert!(seen.is_ours && seen.mode & OTHERS_WRITE != 0);
        assert!(room(&dir.path().join("not/there/yet")).unwrap() > 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(room(Path::new("/proc")).is_err());
    }
}
