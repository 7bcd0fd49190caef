//! `Etcd`: a store in an etcd cluster, under a prefix of its keys.
//!
//! A revision is etcd's `mod_revision`, and every change is a transaction that compares it. A presence has
//! one of etcd's leases, which is a hint as any presence is; etcd's locks and elections are not used, since
//! they rest on leases.

mod presence;
mod space;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use etcd::{Client, Operation, Settings};

use crate::limits::PART_LEN_MAX;
use crate::store::{check_ttl, check_value};
use crate::{Expected, Key, Prefix, Presence, Revision, Store, StoreError, Stored, Watch};
use presence::EtcdPresence;
use space::{Space, changed, stored};
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
        Ok(Box::new(EtcdPresence::announce(
            Arc::clone(&self.space),
            key,
            value,
            ttl,
        )?))
    }

    fn watch(&self, prefix: &Prefix) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(EtcdWatch::begin(&self.space, prefix)?))
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
        for name in [
            "/lockstep/1/owner/web",
            "/lockstep/1/",
            "/lockstep/10",
            "/other/a",
            "/lockstep/1/a\0",
        ] {
            assert_eq!(store.space.key_of(name.as_bytes()), None, "{name}");
        }
        assert_eq!(store.space.key_of(b"/lockstep/1/\xff"), None);
    }
}
