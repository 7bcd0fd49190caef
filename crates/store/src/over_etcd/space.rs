//! `Space`: the keys of a cluster that are the store's, with what is done to them, and what etcd's errors
//! mean for a store.
//!
//! A key's name in etcd is a prefix and the key. What else is under the prefix, such as the arbiter's keys,
//! is passed over.

use etcd::{Client, Compare, EtcdError, KeyValue, Keys, Lease, Operation};

use crate::limits::KEYS_MAX;
use crate::{Doubt, Expected, Key, Prefix, Revision, StoreError, Stored};

/// The keys of a cluster that are the store's.
#[derive(Debug)]
pub struct Space {
    pub client: Client,
    /// What all names of the store begin with.
    pub prefix: String,
}

impl Space {
    pub fn name_of(&self, key: &Key) -> Vec<u8> {
        format!("{}{key}", self.prefix).into_bytes()
    }

    /// The key of the store that has this name; `None`: it is none of the store's, such as the arbiter's.
    pub fn key_of(&self, name: &[u8]) -> Option<Key> {
        Key::new(str::from_utf8(name).ok()?.strip_prefix(&self.prefix)?).ok()
    }

    pub fn keys_of(&self, prefix: &Prefix) -> Keys {
        Keys::Prefix(format!("{}{}", self.prefix, prefix.as_str()).into_bytes())
    }

    /// Everything with this beginning, and the revision of the cluster at which it was read.
    pub fn list(&self, prefix: &Prefix) -> Result<(Vec<(Key, Stored)>, etcd::Revision), StoreError> {
        let range = self.client.range(&self.keys_of(prefix), KEYS_MAX);
        let range = range.map_err(|error| self.unread(&error))?;
        if range.more {
            return Err(StoreError::Refused(format!(
                "{} holds more than the {KEYS_MAX} keys under {} that are read",
                self.client.name(),
                self.prefix
            )));
        }
        let own = |found: KeyValue| Some((self.key_of(&found.key)?, stored(found)));
        Ok((range.found.into_iter().filter_map(own).collect(), range.revision))
    }

    /// Makes a change if the key is as expected, and gives the revision after it; else the key's revision.
    pub fn change(
        &self,
        key: &Key,
        expected: Expected,
        operation: Operation,
    ) -> Result<Result<Revision, Option<Revision>>, StoreError> {
        let name = self.name_of(key);
        let revision = match expected {
            Expected::Absent => Some(0),
            Expected::Revision(Revision(revision)) => Some(revision),
            Expected::Any => None,
        };
        let conditions: Vec<Compare> = revision
            .map(|revision| Compare {
                key: name.clone(),
                revision: etcd::Revision(revision),
            })
            .into_iter()
            .collect();
        let read = Operation::Get { key: name };
        let outcome = self.client.transact(&conditions, &[operation], &[read]);
        let outcome = outcome.map_err(|error| self.trouble(&error))?;
        Ok(if outcome.succeeded {
            Ok(Revision(outcome.revision.0))
        } else {
            Err(outcome.found.first().map(|found| Revision(found.revision.0)))
        })
    }

    /// Writes a key if it is as expected.
    pub fn write(
        &self,
        key: &Key,
        value: &[u8],
        expected: Expected,
        lease: Option<Lease>,
    ) -> Result<Revision, StoreError> {
        let put = Operation::Put {
            key: self.name_of(key),
            value: value.to_vec(),
            lease,
        };
        self.change(key, expected, put)?
            .map_err(|found| changed(key, found))
    }

    /// A key as etcd has it; `None`: it is not there.
    pub fn find(&self, key: &Key) -> Result<Option<KeyValue>, StoreError> {
        let range = self.client.range(&Keys::One(self.name_of(key)), 1);
        let range = range.map_err(|error| self.unread(&error))?;
        Ok(range.found.into_iter().next())
    }

    /// What an error of etcd means for a change that was asked for.
    pub fn trouble(&self, error: &EtcdError) -> StoreError {
        let doubt = match error {
            EtcdError::Settings(_) | EtcdError::Refused { .. } => {
                return StoreError::Refused(error.to_string());
            }
            EtcdError::Away { .. } | EtcdError::Compacted(_) => Doubt::Unchanged,
            EtcdError::Unanswered { .. } | EtcdError::TooLarge { .. } | EtcdError::Ended { .. } => {
                Doubt::Unknown
            }
        };
        StoreError::Away {
            place: self.client.name(),
            doubt,
            reason: error.to_string(),
        }
    }

    /// What an error of etcd means where nothing was to be changed.
    pub fn unread(&self, error: &EtcdError) -> StoreError {
        match self.trouble(error) {
            StoreError::Away { place, reason, .. } => StoreError::Away {
                place,
                doubt: Doubt::Unchanged,
                reason,
            },
            other => other,
        }
    }
}

/// A key of etcd as readers of the store see it.
pub fn stored(found: KeyValue) -> Stored {
    Stored {
        value: found.value,
        revision: Revision(found.revision.0),
    }
}

/// The error of a key that is not as expected.
pub fn changed(key: &Key, found: Option<Revision>) -> StoreError {
    StoreError::Changed {
        key: key.clone(),
        found,
    }
}
