//! `Etcd`: a store in an etcd cluster, under a prefix of its keys.
//!
//! A revision is etcd's `mod_revision`, and every change is a transaction that compares it. A presence has one
//! of etcd's leases, which is a hint as any presence is; etcd's locks and elections are not used, since they
//! rest on leases.

mod presence;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use etcd::{Client, Compare, EtcdError, KeyValue, Keys, Lease, Operation, Settings};

use crate::limits::{KEYS_MAX, PART_LEN_MAX};
use crate::store::{check_ttl, check_value};
use crate::{Doubt, Expected, Key, Prefix, Presence, Revision, Store, StoreError, Stored, Watch};
use presence::EtcdPresence;
use watch::EtcdWatch;

/// A store in an etcd cluster.
#[derive(Debug)]
pub struct Etcd {
    space: Arc<Space>,
}

impl Etcd {
    /// The prefix of a site's keys, if nothing else is wanted.
    pub const PREFIX: &str = "/lockstep/1/";

    /// A store in this cluster, under this prefix: 1 to 64 letters, digits and `-_./`, with a '/' at the end.
    /// Nothing is asked of the cluster yet.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: the settings or the prefix are no good.
    pub fn new(settings: Settings, prefix: &str) -> Result<Etcd, StoreError> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        if prefix.len() > PART_LEN_MAX || !prefix.ends_with('/') || !prefix.bytes().all(good) {
            return Err(StoreError::Refused(format!(
                "{prefix:?} cannot be a prefix in etcd: use up to {PART_LEN_MAX} letters, digits, '-', '_', \
                 '.' and '/', with a '/' at the end"
            )));
        }
        let client = Client::new(settings).map_err(|error| StoreError::Refused(error.to_string()))?;
        Ok(Etcd {
            space: Arc::new(Space {
                client,
                prefix: prefix.to_owned(),
            }),
        })
    }
}

/// The keys of a cluster that are the store's.
#[derive(Debug)]
struct Space {
    client: Client,
    prefix: String,
}

impl Space {
    fn name_of(&self, key: &Key) -> Vec<u8> {
        format!("{}{key}", self.prefix).into_bytes()
    }

    /// The key of the store that has this name; `None`: it is none of the store's, such as the arbiter's.
    fn key_of(&self, name: &[u8]) -> Option<Key> {
        Key::new(str::from_utf8(name).ok()?.strip_prefix(&self.prefix)?).ok()
    }

    fn keys_of(&self, prefix: &Prefix) -> Keys {
        Keys::Prefix(format!("{}{}", self.prefix, prefix.as_str()).into_bytes())
    }

    /// Everything with this beginning, and the revision after which a watch goes on.
    fn list(&self, prefix: &Prefix) -> Result<(Vec<(Key, Stored)>, etcd::Revision), StoreError> {
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

    /// Makes a change if the key is as expected, and gives the revision after it; the key as it was found else.
    fn change(
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
    fn write(
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
        self.change(key, expected, put)?.map_err(|found| changed(key, found))
    }

    /// A key as etcd has it; `None`: it is not there.
    fn find(&self, key: &Key) -> Result<Option<KeyValue>, StoreError> {
        let range = self.client.range(&Keys::One(self.name_of(key)), 1);
        let range = range.map_err(|error| self.unread(&error))?;
        Ok(range.found.into_iter().next())
    }

    /// What an error of etcd means for a change that was asked for.
    fn trouble(&self, error: &EtcdError) -> StoreError {
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
    fn unread(&self, error: &EtcdError) -> StoreError {
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

impl Store for Etcd {
    fn read(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        Ok(self.space.find(key)?.map(stored))
    }

    fn list(&self, prefix: &Prefix) -> Result<Vec<(Key, Stored)>, StoreError> {
        self.space.list(prefix).map(|(found, _)| found)
    }

    fn write(&self, key: &Key, value: &[u8], expected: Expected) -> Result<Revision, StoreError> {
        check_value(key, value)?;
        self.space.write(key, value, expected, None)
    }

    fn remove(&self, key: &Key, expected: Expected) -> Result<(), StoreError> {
        let delete = Operation::Delete {
            key: self.space.name_of(key),
        };
        let removed = self.space.change(key, expected, delete)?;
        removed.map(drop).map_err(|found| changed(key, found))
    }

    fn announce(&self, key: &Key, value: &[u8], ttl: Duration) -> Result<Box<dyn Presence>, StoreError> {
        check_value(key, value)?;
        check_ttl(key, ttl)?;
        Ok(Box::new(EtcdPresence::announce(Arc::clone(&self.space), key, value, ttl)?))
    }

    fn watch(&self, prefix: &Prefix) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(EtcdWatch::begin(&self.space, prefix)?))
    }
}

fn stored(found: KeyValue) -> Stored {
    Stored {
        value: found.value,
        revision: Revision(found.revision.0),
    }
}

fn changed(key: &Key, found: Option<Revision>) -> StoreError {
    StoreError::Changed {
        key: key.clone(),
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_with_a_slash_and_holds_nothing_strange() {
        let settings = || Settings::new(&["http://127.0.0.1:1"]);
        for good in ["/", Etcd::PREFIX, "a/"] {
            assert!(Etcd::new(settings(), good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "\0/", "a b/", &"x/".repeat(40)] {
            let error = Etcd::new(settings(), bad).unwrap_err();
            assert!(error.to_string().contains("cannot be a prefix"), "{bad}");
        }
    }

    #[test]
    fn keys_that_are_not_the_stores_are_passed_over() {
        let store = Etcd::new(Settings::new(&["http://127.0.0.1:1"]), Etcd::PREFIX).unwrap();
        let key = Key::new("vms/web/spec").unwrap();
        assert_eq!(store.space.key_of(&store.space.name_of(&key)), Some(key));
        for name in ["/lockstep/1/owner/web", "/lockstep/1/", "/lockstep/10", "/other/a", "/lockstep/1/a\0"] {
            assert_eq!(store.space.key_of(name.as_bytes()), None, "{name}");
        }
        assert_eq!(store.space.key_of(b"/lockstep/1/\xff"), None);
    }
}
