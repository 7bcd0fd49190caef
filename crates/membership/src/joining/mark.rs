//! `Mark`: a file that one host leaves in a directory and another one looks for there, by which both know
//! that it is the same directory. Two hosts may have different directories under one path, which nothing else
//! would show before a VM lives twice.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// What the file's name begins with. In an arbiter's directory such files are nobody's claims, and those of
/// processes that were killed are removed there after a week.
const START: &str = ".probe.";
/// Hexadecimal digits of a mark's name.
const NAME_LEN: usize = 32;

/// A mark. Its file is removed with this value.
#[derive(Debug)]
pub struct Mark {
    name: String,
    path: PathBuf,
}

impl Mark {
    /// Leaves a mark in a directory.
    ///
    /// # Errors
    /// The directory is not there, or cannot be written.
    pub fn leave(directory: &Path) -> io::Result<Mark> {
        let name = format!("{:032x}", os::entropy::random_u128());
        let path = directory.join(format!("{START}{name}"));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let mark = Mark { name, path };
        file.sync_all()?;
        Ok(mark)
    }

    /// The name by which another host looks for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // One that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// Can this be the name of a mark?
#[must_use]
pub fn is_mark(name: &str) -> bool {
    name.len() == NAME_LEN && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Is the mark of this name in the directory? Its name was drawn at random just now, so no file system can
/// remember that it is not there.
#[must_use]
pub fn sees(directory: &Path, name: &str) -> bool {
    is_mark(name) && directory.join(format!("{START}{name}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_seen_in_its_directory_alone_and_leaves_nothing_behind() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mark = Mark::leave(here.path()).unwrap();
        assert!(sees(here.path(), mark.name()) && !sees(there.path(), mark.name()));
        assert!(!sees(here.path(), "../secret"));
        drop(mark);
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 0);
        assert!(Mark::leave(&here.path().join("none")).is_err());
    }
}
