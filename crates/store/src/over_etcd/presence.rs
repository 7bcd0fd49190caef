//! `EtcdPresence`: a key of etcd that goes with its lease, and the lease that its owner keeps alive. The key
//! is the owner's for as long as it has that lease.

use std::sync::Arc;
use std::time::Duration;

use etcd::Lease;

use super::space::{Space, changed};
use crate::store::check_value;
use crate::{Doubt, Expected, Key, Presence, Revision, StoreError};

/// A key of etcd that goes with its lease.
#[derive(Debug)]
pub struct EtcdPresence {
    space: Arc<Space>,
    key: Key,
    value: Vec<u8>,
    ttl: Duration,
    lease: Lease,
    /// Revision of the key as this owner has written it last; `None`: not known to be written with the lease.
    revision: Option<Revision>,
}

impl EtcdPresence {
    /// Writes the key, whatever it was.
    pub fn announce(
        space: Arc<Space>,
        key: &Key,
        value: &[u8],
        ttl: Duration,
    ) -> Result<EtcdPresence, StoreError> {
        let lease = space.client.grant(ttl).map_err(|error| space.unread(&error))?;
        let mut presence = EtcdPresence {
            space,
            key: key.clone(),
            value: value.to_vec(),
            ttl,
            lease,
            revision: None,
        };
        let written = presence.write(value, Expected::Any);
        if written.is_err() {
            // It would run out by itself.
            let _ = presence.space.client.revoke(lease);
        }
        written.map(|()| presence)
    }

    /// Writes the key with the lease.
    fn write(&mut self, value: &[u8], expected: Expected) -> Result<(), StoreError> {
        let written = self.space.write(&self.key, value, expected, Some(self.lease));
        if let Err(StoreError::Away {
            doubt: Doubt::Unknown,
            ..
        }) = written
        {
            self.revision = None;
        }
        self.revision = Some(written?);
        Ok(())
    }
}

impl Presence for EtcdPresence {
    fn renew(&mut self) -> Result<(), StoreError> {
        let alive = self.space.client.keep_alive(self.lease);
        let alive = alive.map_err(|error| self.space.unread(&error))?;
        match self.space.find(&self.key)? {
            Some(there) if there.lease == Some(self.lease) => {
                self.revision = Some(Revision(there.revision.0));
                Ok(())
            }
            // It went with the lease, or an attempt to write it has failed.
            None if !alive || self.revision.is_none() => {
                if !alive {
                    let lease = self.space.client.grant(self.ttl);
                    self.lease = lease.map_err(|error| self.space.unread(&error))?;
                    self.revision = None;
                }
                let value = self.value.clone();
                self.write(&value, Expected::Absent)
            }
            there => Err(changed(&self.key, there.map(|there| Revision(there.revision.0)))),
        }
    }

    fn change(&mut self, value: &[u8]) -> Result<(), StoreError> {
        check_value(&self.key, value)?;
        if self.revision.is_none() {
            self.renew()?;
        }
        let expected = self.revision.map_or(Expected::Absent, Expected::Revision);
        self.write(value, expected)?;
        self.value = value.to_vec();
        Ok(())
    }

    fn withdraw(self: Box<Self>) -> Result<(), StoreError> {
        // The key goes with its lease; one that is another owner's now has another lease.
        let revoked = self.space.client.revoke(self.lease);
        revoked.map_err(|error| self.space.trouble(&error))
    }
}
