//! `Directory`: a store in a directory that the hosts share, on a local file system or on NFS.
//!
//! Nothing is ever changed in place but signs of life, and no value can be read before it is whole and on its
//! disk: a process that is killed at any point leaves what was there before, or what it has written. It asks
//! nobody to run anything, so it is the store of a few hosts; for more there is etcd.

mod files;
mod presence;
mod version;
mod versions;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::store::{check_ttl, check_value};
use crate::{Expected, Key, Prefix, Presence, Revision, Store, StoreError, Stored, Watch};
use files::Files;
use presence::DirectoryPresence;
use version::Kind;
use versions::{Condition, Versions};
use watch::DirectoryWatch;

/// A store in a directory that the hosts share.
#[derive(Debug)]
pub struct Directory {
    versions: Arc<Versions>,
}

impl Directory {
    /// Makes a store of a directory, unless it is one already. Only a person knows that the directory is the
    /// right one and its file system mounted, so [`Directory::open`] never does this.
    ///
    /// # Errors
    /// The directory does not exist, or cannot be written.
    pub fn create(path: &Path) -> Result<(), StoreError> {
        Files::create(path)
    }

    /// Uses the store in a directory.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: the directory holds no store. [`StoreError::Away`]: it does not exist.
    pub fn open(path: &Path) -> Result<Directory, StoreError> {
        Ok(Directory {
            versions: Arc::new(Versions::over(Files::open(path)?)),
        })
    }
}

impl Store for Directory {
    fn read(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.versions.read(key)
    }

    fn list(&self, prefix: &Prefix) -> Result<Vec<(Key, Stored)>, StoreError> {
        self.versions.list(prefix)
    }

    fn write(&self, key: &Key, value: &[u8], expected: Expected) -> Result<Revision, StoreError> {
        check_value(key, value)?;
        let version = self
            .versions
            .put(key, Kind::Value, value, Condition::Expected(expected))?;
        Ok(Revision(version.map_or(0, |version| version.number)))
    }

    fn remove(&self, key: &Key, expected: Expected) -> Result<(), StoreError> {
        self.versions
            .put(key, Kind::Removed, b"", Condition::Expected(expected))
            .map(drop)
    }

    fn announce(&self, key: &Key, value: &[u8], ttl: Duration) -> Result<Box<dyn Presence>, StoreError> {
        check_value(key, value)?;
        check_ttl(key, ttl)?;
        let versions = Arc::clone(&self.versions);
        Ok(Box::new(DirectoryPresence::announce(versions, key, value, ttl)?))
    }

    fn watch(&self, prefix: &Prefix) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(DirectoryWatch::new(
            Arc::clone(&self.versions),
            prefix.clone(),
        )))
    }
}
