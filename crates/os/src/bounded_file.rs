//! `BoundedFile`: a file of lines or bytes that grows to a bound and then begins anew.
//!
//! At the bound `FILE` becomes `FILE.1`, which replaces the `FILE.1` before it, so that the newest content is
//! always there and both files together take at most twice the bound. Only an ordinary file is turned over; a
//! FIFO or a terminal is written as it is.
//!
//! The file of events (crate `report`) and the file of a guest's console (crate `host`) are such files. A
//! write may wait for a FIFO's reader or a dead file server, so the guest thread must never write here
//! itself: both crates put an `Outlet` before the file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Mode of a file that is made here: only its owner may read it. A guest's console and names of hosts are
/// nobody else's business.
const MODE: u32 = 0o600;

/// What becomes of the content that a file has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The content stays, and what is written goes behind it.
    Behind,
    /// The content is removed first.
    Empty,
}

/// A file of bounded length.
#[derive(Debug)]
pub struct BoundedFile {
    file: File,
    /// Path of the file and its longest length in bytes; `None`: it is no ordinary file, and has no bound.
    bound: Option<(PathBuf, u64)>,
}

impl BoundedFile {
    /// Opens or makes a file of at most `bytes_max` bytes. Never waits, not even for the reader of a FIFO.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn open(path: &Path, begin: Begin, bytes_max: u64) -> io::Result<BoundedFile> {
        if std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo()) {
            // With the FIFO's reading end open too, opening does not wait for a reader, which may come and
            // go.
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            return Ok(BoundedFile { file, bound: None });
        }
        let file = append(path)?;
        let bound = if file.metadata()?.is_file() {
            // Behind a symbolic link such as /dev/stdout the file is turned over, not the link.
            Some((path.canonicalize()?, bytes_max))
        } else {
            None
        };
        if begin == Begin::Empty && bound.is_some() {
            file.set_len(0)?;
        }
        Ok(BoundedFile { file, bound })
    }

    /// Makes room for this many bytes.
    fn turn_over(&mut self, bytes: usize) -> io::Result<()> {
        let Some((path, bytes_max)) = &self.bound else {
            return Ok(());
        };
        let ours = self.file.metadata()?;
        if ours.len() == 0 || ours.len() + bytes as u64 <= *bytes_max {
            return Ok(());
        }
        // Another process that writes to the same file may have turned it over already.
        let named = std::fs::metadata(path);
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
            std::fs::rename(path, old(path))?;
        }
        self.file = append(path)?;
        Ok(())
    }
}

/// Path to which the older half goes.
fn old(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

impl Write for BoundedFile {
    /// One `write(2)`, so that several processes may share the file.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.turn_over(bytes.len())?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn at_its_bound_a_file_begins_anew_and_one_old_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut file = BoundedFile::open(&path, Begin::Behind, 10).unwrap();
        for line in ["one..\n", "two\n", "three\n", "four\n", "five\n", "six\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(text(&old(&path)), "four\nfive\n");
        assert_eq!(text(&path), "six\n");
        assert_eq!((mode(&path), mode(&old(&path))), (0o600, 0o600));
        // A line that is longer than the bound is written all the same, alone.
        file.write_all(b"a line of many bytes\n").unwrap();
        file.write_all(b"end\n").unwrap();
        assert_eq!(text(&old(&path)), "a line of many bytes\n");
        assert_eq!(text(&path), "end\n");
    }

    #[test]
    fn two_that_share_a_file_turn_it_over_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let open = || BoundedFile::open(&path, Begin::Behind, 10).unwrap();
        let (mut left, mut right) = (open(), open());
        left.write_all(b"left\n").unwrap();
        right.write_all(b"rght\n").unwrap();
        left.write_all(b"new 1\n").unwrap();
        right.write_all(b"2\n").unwrap();
        assert_eq!(text(&old(&path)), "left\nrght\n");
        assert_eq!(text(&path), "new 1\n2\n");
    }

    #[test]
    fn what_is_there_stays_or_goes_as_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "before\n").unwrap();
        for (begin, after) in [(Begin::Behind, "before\nx\n"), (Begin::Empty, "x\n")] {
            let mut file = BoundedFile::open(&path, begin, 100).unwrap();
            file.write_all(b"x\n").unwrap();
            assert_eq!(text(&path), after);
        }
    }

    #[test]
    fn a_device_is_written_as_it_is() {
        let mut null = BoundedFile::open(Path::new("/dev/null"), Begin::Empty, 1).unwrap();
        null.write_all(b"many bytes").unwrap();
        null.write_all(b"many bytes").unwrap();
    }
}
