//! `DirectoryPresence`: a key of a directory that is there while its owner gives signs of life. The key is a
//! version as any other; a sign of life is a count in a file beside it, which only the owner writes.

use std::sync::Arc;
use std::time::Duration;

use super::version::{Kind, Version};
use super::versions::{Condition, Versions, changed};
use crate::store::check_value;
use crate::{Expected, Key, Presence, Revision, StoreError};

/// A key of a directory that is there while its owner gives signs of life.
#[derive(Debug)]
pub struct DirectoryPresence {
    versions: Arc<Versions>,
    key: Key,
    kind: Kind,
    /// The `id` of the version that this owner has written last.
    id: u128,
    /// Signs of life given so far.
    count: u64,
}

impl DirectoryPresence {
    /// Writes the key, whatever it was.
    pub fn announce(
        versions: Arc<Versions>,
        key: &Key,
        value: &[u8],
        ttl: Duration,
    ) -> Result<DirectoryPresence, StoreError> {
        // The file has whole milliseconds.
        let kind = Kind::Presence {
            ttl: Duration::from_millis(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        };
        let version = versions.put(key, kind, value, Condition::Expected(Expected::Any))?;
        let mut presence = DirectoryPresence {
            versions,
            key: key.clone(),
            kind,
            id: id_of(version),
            count: 0,
        };
        presence.beat()?;
        Ok(presence)
    }

    fn beat(&mut self) -> Result<(), StoreError> {
        self.count += 1;
        self.versions.beat(&self.key, self.id, self.count)
    }
}

impl Presence for DirectoryPresence {
    fn renew(&mut self) -> Result<(), StoreError> {
        match self.versions.newest(&self.key)? {
            Some(newest) if newest.id == self.id => self.beat(),
            newest => {
                let there = newest.filter(|newest| newest.kind != Kind::Removed);
                Err(changed(&self.key, there.map(|there| Revision(there.number))))
            }
        }
    }

    fn change(&mut self, value: &[u8]) -> Result<(), StoreError> {
        check_value(&self.key, value)?;
        let version = self
            .versions
            .put(&self.key, self.kind, value, Condition::Is(self.id))?;
        self.id = id_of(version);
        self.beat()
    }

    fn withdraw(self: Box<Self>) -> Result<(), StoreError> {
        match self
            .versions
            .put(&self.key, Kind::Removed, b"", Condition::Is(self.id))
        {
            Ok(_) => {
                self.versions.forget_beat(&self.key);
                Ok(())
            }
            // It is another owner's now, or nobody's.
            Err(StoreError::Changed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The `id` of a version that was written; only a removal may have found nothing to do.
fn id_of(version: Option<Version>) -> u128 {
    version.map_or(0, |version| version.id)
}
