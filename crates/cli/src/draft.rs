//! `Draft`: a file that has no name until it is whole. Then it gets its name, and name and content are on the
//! disk before the program says so. A program that is killed leaves nothing behind.
//!
//! Only its user can read it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use tempfile::NamedTempFile;

/// A file without its name.
#[derive(Debug)]
pub struct Draft {
    /// The name that it gets.
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// It has no name at all.
    Nameless(File),
    /// This file system knows no files without names: it has another name beside, which goes with the
    /// program, unless that is killed.
    Named(NamedTempFile),
}

impl Draft {
    /// Makes an empty file that is to be at `path`.
    ///
    /// # Errors
    /// The directory takes no file.
    pub fn make(path: &Path) -> io::Result<Draft> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let content = match openat(CWD, directory(path), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Content::Nameless(file.into()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                Content::Named(NamedTempFile::new_in(directory(path))?)
            }
            Err(error) => return Err(error.into()),
        };
        let path = path.into();
        Ok(Draft { path, content })
    }

    /// The file, to write it.
    pub fn file(&mut self) -> &mut File {
        match &mut self.content {
            Content::Nameless(file) => file,
            Content::Named(file) => file.as_file_mut(),
        }
    }

    /// Gives the file its name; with `replace` also where there is a file of this name.
    ///
    /// # Errors
    /// The disk does not take it, or there is a file of this name. Nothing was changed then.
    pub fn keep(mut self, replace: bool) -> io::Result<()> {
        self.file().sync_all()?;
        match self.content {
            Content::Nameless(file) if !replace => link(&file, &self.path)?,
            Content::Nameless(file) => {
                // The name must pass from one file to the other at once, so the new one has a name before.
                let beside = NamedTempFile::new_in(directory(&self.path))?.into_temp_path();
                std::fs::remove_file(&beside)?;
                link(&file, &beside)?;
                beside.persist(&self.path).map_err(|error| error.error)?;
            }
            Content::Named(file) if replace => drop(file.persist(&self.path).map_err(|error| error.error)?),
            Content::Named(file) => {
                drop(file.persist_noclobber(&self.path).map_err(|error| error.error)?);
            }
        }
        File::open(directory(&self.path))?.sync_all()
    }
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, name, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_draft_has_its_name_when_it_is_whole_and_never_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kept");
        let names = || dir.path().read_dir().unwrap().count();
        let named = |path: &Path| Draft {
            path: path.into(),
            content: Content::Named(NamedTempFile::new_in(dir.path()).unwrap()),
        };
        for make in [
            &|path: &Path| Draft::make(path).unwrap(),
            &named as &dyn Fn(&Path) -> Draft,
        ] {
            let _ = std::fs::remove_file(&path);
            let mut draft = make(&path);
            draft.file().write_all(b"one").unwrap();
            assert!(!path.exists());
            drop(draft);
            assert_eq!(names(), 0, "what is given up leaves nothing");

            let mut draft = make(&path);
            draft.file().write_all(b"two").unwrap();
            draft.keep(false).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"two");
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

            let error = make(&path).keep(false).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(&path).unwrap(), b"two");
            let mut draft = make(&path);
            draft.file().write_all(b"three").unwrap();
            draft.keep(true).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"three");
            assert_eq!(names(), 1);
        }
    }
}
