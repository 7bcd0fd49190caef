//! `Files`: the files of a store's directory, without what they mean.
//!
//! ```text
//! store.id                 which store this is
//! KEY.00000000000000000007 version 7 of a key, whose '/' are ','; never changed
//! KEY.beat                 the signs of life of a presence, written over and over by its owner
//! .new.RANDOM              a version before it is linked to its name; nobody's, if its writer was killed
//! ```
//! A path can lead to an empty directory where a mount is missing, or to another store. So each look at the
//! directory also looks for the file that says which store it is.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::limits::FILES_MAX;
use crate::{Doubt, Key, Prefix, StoreError};

/// The file that says which store this is.
const STORE_ID: &str = "store.id";
/// What the name of a file begins with that is not linked yet. No key's name begins with a dot.
const OWN_FILES: &str = ".new.";
/// Bytes of a store's identity, with the end of its line.
const ID_LEN: usize = 37;
/// Digits of a version's number, as many as any u64 has.
const DIGITS: usize = 20;

/// The files of a store's directory.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    /// What `store.id` held when the directory was opened.
    id: Vec<u8>,
}

/// What was in the directory at one look.
#[derive(Debug, Default)]
pub struct Listing {
    /// The numbers of each key's versions.
    versions: BTreeMap<Key, Vec<u64>>,
    /// The names of files that are not linked yet.
    pub own: Vec<String>,
}

impl Listing {
    /// The number of a key's newest version; 0: there is none.
    pub fn newest(&self, key: &Key) -> u64 {
        self.numbers(key).iter().copied().max().unwrap_or(0)
    }

    /// The numbers of a key's versions, in no order.
    pub fn numbers(&self, key: &Key) -> &[u64] {
        self.versions.get(key).map_or(&[], Vec::as_slice)
    }

    /// The keys with this beginning, in their order.
    pub fn keys(&self, prefix: &Prefix) -> impl Iterator<Item = &Key> {
        self.versions.keys().filter(|key| prefix.holds(key))
    }
}

impl Files {
    /// The directory, which must hold a store.
    pub fn open(root: &Path) -> Result<Files, StoreError> {
        let mut files = Files {
            root: root.into(),
            id: Vec::new(),
        };
        match files.read(STORE_ID, ID_LEN)? {
            Some(id) if id.len() == ID_LEN => {
                files.id = id;
                Ok(files)
            }
            Some(_) => Err(files.damaged(STORE_ID)),
            None if !root.is_dir() => Err(files.away("it is not there", Doubt::Unchanged)),
            None => Err(StoreError::Refused(format!(
                "{} holds no store; if its file system is mounted, make one there",
                root.display()
            ))),
        }
    }

    /// Makes a store of the directory, unless it is one already.
    pub fn create(root: &Path) -> Result<(), StoreError> {
        let files = Files {
            root: root.into(),
            id: Vec::new(),
        };
        let own = files.write_own(format!("{}\n", os::entropy::uuid()).as_bytes())?;
        let linked = fs::hard_link(files.path(&own), files.path(STORE_ID));
        files.remove_own(&own);
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(files.trouble(&error, Doubt::Unknown))
            }
            _ => files.sync(),
        }
    }

    /// How people call the place, in the middle of a sentence.
    pub fn place(&self) -> String {
        format!("the store in {}", self.root.display())
    }

    /// What is in the directory now.
    pub fn listing(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        let mut marked = false;
        let entries = fs::read_dir(&self.root).map_err(|error| self.trouble(&error, Doubt::Unchanged))?;
        for (count, entry) in entries.enumerate() {
            if count >= FILES_MAX {
                return Err(StoreError::Refused(format!(
                    "{} holds more than {FILES_MAX} files",
                    self.root.display()
                )));
            }
            let entry = entry.map_err(|error| self.trouble(&error, Doubt::Unchanged))?;
            // What other programs have put there is none of ours, whatever it is called.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            marked |= name == STORE_ID;
            if let Some((key, number)) = version_in(&name) {
                listing.versions.entry(key).or_default().push(number);
            } else if name.starts_with(OWN_FILES) {
                listing.own.push(name);
            }
        }
        if !marked || self.read(STORE_ID, ID_LEN)?.as_deref() != Some(&self.id) {
            return Err(self.away("another directory is there, or none is mounted", Doubt::Unchanged));
        }
        Ok(listing)
    }

    /// What a file holds, but no more than `limit` bytes and one; `None`: there is no such file.
    pub fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let mut bytes = Vec::new();
        let read =
            File::open(self.path(name)).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.trouble(&error, Doubt::Unchanged)),
        }
    }

    /// Writes a file that nobody else knows, which is on its disk when this returns; its name.
    pub fn write_own(&self, bytes: &[u8]) -> Result<String, StoreError> {
        let name = format!("{OWN_FILES}{:032x}", os::entropy::random_u128());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.path(&name));
        let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        if let Err(error) = written {
            // A full directory must not fill up further with each attempt.
            self.remove_own(&name);
            return Err(self.trouble(&error, Doubt::Unchanged));
        }
        Ok(name)
    }

    /// Gives a file of ours a second name, unless that is taken. The answer is not to be believed.
    pub fn link(&self, own: &str, name: &str) -> io::Result<()> {
        fs::hard_link(self.path(own), self.path(name))
    }

    /// Removes a file of ours. One that stays behind does no harm.
    pub fn remove_own(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    /// Has all names durable that the directory has.
    pub fn sync(&self) -> Result<(), StoreError> {
        File::open(&self.root)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| self.away(&error.to_string(), Doubt::Unknown))
    }

    /// Writes a small file over what it held, all at once as far as its length stays the same. Nobody is told
    /// that it is on its disk.
    pub fn write_over(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path(name))
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|error| self.trouble(&error, Doubt::Unchanged))
    }

    /// When a file was changed last, by the clock of the directory's server.
    pub fn modified(&self, name: &str) -> io::Result<SystemTime> {
        fs::metadata(self.path(name))?.modified()
    }

    /// The error of a directory that cannot be used for now.
    pub fn away(&self, reason: &str, doubt: Doubt) -> StoreError {
        StoreError::Away {
            place: self.place(),
            doubt,
            reason: reason.to_owned(),
        }
    }

    /// The error of a file that is none of ours, though its name is.
    pub fn damaged(&self, name: &str) -> StoreError {
        StoreError::Refused(format!(
            "{} is not as Lockstep wrote it; remove it to go back to what was before",
            self.path(name).display()
        ))
    }

    /// What an error of the operating system means for the store.
    pub fn trouble(&self, error: &io::Error, doubt: Doubt) -> StoreError {
        let root = self.root.display();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                StoreError::Refused(format!(
                    "{root} is full, make room there; nothing was changed: {error}"
                ))
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                StoreError::Refused(format!("{root} may not be used by this user: {error}"))
            }
            ErrorKind::Unsupported => StoreError::Refused(format!(
                "{root} lies on a file system without hard links, which a store needs: {error}"
            )),
            _ => self.away(&error.to_string(), doubt),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// The name of a version's file.
pub fn version_name(key: &Key, number: u64) -> String {
    format!("{}.{number:0DIGITS$}", file_name(key))
}

/// The name of the file with a presence's signs of life.
pub fn beat_name(key: &Key) -> String {
    format!("{}.beat", file_name(key))
}

/// A key as a file's name begins with it. No key has a comma.
fn file_name(key: &Key) -> String {
    key.as_str().replace('/', ",")
}

/// The key and the number in a file's name, if it is that of a version.
fn version_in(name: &str) -> Option<(Key, u64)> {
    let (start, digits) = name.rsplit_once('.')?;
    if start.contains('/') || digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok().filter(|number| *number > 0)?;
    Some((Key::new(&start.replace(',', "/")).ok()?, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_versions_are_told_from_all_others() {
        for text in ["a", "vms/web/spec", "vms/a.1/b.beat", "a.00000000000000000001"] {
            let key = Key::new(text).unwrap();
            assert_eq!(version_in(&version_name(&key, 7)), Some((key.clone(), 7)));
            assert_eq!(version_in(&beat_name(&key)), None);
        }
        for name in [
            "store.id",
            ".new.00000000000000000001",
            "a",
            "a.1",
            "a.00000000000000000000",
            "a.99999999999999999999",
            "a.+0000000000000000001",
            "..00000000000000000001",
            "a,,b.00000000000000000001",
            "owner,web.00000000000000000001",
        ] {
            assert_eq!(version_in(name), None, "{name}");
        }
    }
}
