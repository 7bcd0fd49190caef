//! `Store`: what every store does, whatever it keeps its content in. The tests in `tests/conformance` are the
//! examination of an implementation.

use std::fmt;
use std::time::Duration;

use crate::limits::{PRESENCE_TTL_MAX, PRESENCE_TTL_MIN, VALUE_LEN_MAX};
use crate::{Expected, Key, Prefix, Revision, StoreError, Stored};

/// One change that a watch has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key holds this now.
    Written(Key, Stored),
    /// The key is not there any more.
    Removed(Key),
}

/// What a watch has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All that is there, read anew: at first, and whenever the store does not know any more what has changed
    /// in between. What is not in it is not there.
    Everything(Vec<(Key, Stored)>),
    /// What has changed since, in order. Of a key that changed several times perhaps only the last state. No
    /// change at all in the first answer after an error.
    Changes(Vec<Change>),
    /// Nothing until now.
    Nothing,
}

/// What the agents of a site share, under names. It is never needed by a VM that runs.
///
/// All calls block: those of etcd at most for their deadline, those of a directory for as long as the file
/// system does. Calls may be made by several threads at once.
pub trait Store: Send + Sync + fmt::Debug {
    /// What a key holds; `None`: it is not there. In a directory on a network file system it may be as old as
    /// what the file system's client remembers; a change that rests on it finds that out.
    ///
    /// # Errors
    /// The store is away, or damaged at that key ([`StoreError::Refused`]).
    fn read(&self, key: &Key) -> Result<Option<Stored>, StoreError>;

    /// All keys with this beginning and what they hold, in the order of the keys. At most 4096.
    ///
    /// # Errors
    /// As those of [`Store::read`], or there are more.
    fn list(&self, prefix: &Prefix) -> Result<Vec<(Key, Stored)>, StoreError>;

    /// Writes a key, if it is as expected: of several who expect the same state of it, one succeeds at most.
    /// It is durable when this returns. A key that was somebody's presence stays from now on.
    ///
    /// # Errors
    /// [`StoreError::Changed`]: it is not as expected. [`StoreError::Refused`]: the value is too long, the
    /// store is full, or may not be written. [`StoreError::Away`]: whether it was written may be unknown.
    fn write(&self, key: &Key, value: &[u8], expected: Expected) -> Result<Revision, StoreError>;

    /// Removes a key, if it is as expected. With [`Expected::Any`] or [`Expected::Absent`] it is no error
    /// that there is none.
    ///
    /// # Errors
    /// As those of [`Store::write`].
    fn remove(&self, key: &Key, expected: Expected) -> Result<(), StoreError>;

    /// Writes a key that is there for as long as its owner renews it, whatever it was before: an earlier run
    /// of the owner may have left it. `ttl` is from 2 seconds to an hour; 15 seconds are usual.
    ///
    /// Whether the key is there is a hint of who lives, and nothing may be safe only because of it: a host
    /// that stands still for a while is taken for dead and lives. A store without a clock of its own (a
    /// directory) has each reader wait with its own clock; one that has just begun to read takes what it
    /// finds for alive for `ttl`.
    ///
    /// # Errors
    /// As those of [`Store::write`].
    fn announce(&self, key: &Key, value: &[u8], ttl: Duration) -> Result<Box<dyn Presence>, StoreError>;

    /// Watches all keys with this beginning.
    ///
    /// # Errors
    /// The watch could not be begun on this host. That the store is away is an error of [`Watch::next`].
    fn watch(&self, prefix: &Prefix) -> Result<Box<dyn Watch>, StoreError>;
}

/// A key that is there for as long as its owner renews it.
pub trait Presence: Send + fmt::Debug {
    /// Says that the owner lives. To be called several times in the time to live. If the key has run out in
    /// between it is written again.
    ///
    /// # Errors
    /// [`StoreError::Changed`]: somebody else has written or removed the key, and it is not this owner's any
    /// more. [`StoreError::Away`]: call again.
    fn renew(&mut self) -> Result<(), StoreError>;

    /// Changes the value.
    ///
    /// # Errors
    /// As those of [`Presence::renew`] and of [`Store::write`].
    fn change(&mut self, value: &[u8]) -> Result<(), StoreError>;

    /// Removes the key, if it is still this owner's.
    ///
    /// # Errors
    /// The store is away: the key will run out.
    fn withdraw(self: Box<Self>) -> Result<(), StoreError>;
}

/// Sees what changes in a store.
pub trait Watch: Send + fmt::Debug {
    /// Waits until something has changed, but at most for `timeout`. The first answer is
    /// [`Seen::Everything`].
    ///
    /// # Errors
    /// The store is away. Nothing is missed by that: call again.
    fn next(&mut self, timeout: Duration) -> Result<Seen, StoreError>;
}

/// Refuses a value that is too long.
pub(crate) fn check_value(key: &Key, value: &[u8]) -> Result<(), StoreError> {
    if value.len() <= VALUE_LEN_MAX {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "the value of {key} has {} bytes, {VALUE_LEN_MAX} are the most that is kept",
        value.len()
    )))
}

/// Refuses a time to live out of range.
pub(crate) fn check_ttl(key: &Key, ttl: Duration) -> Result<(), StoreError> {
    if (PRESENCE_TTL_MIN..=PRESENCE_TTL_MAX).contains(&ttl) {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "{key} cannot live for {} ms: {} s to {} s are possible",
        ttl.as_millis(),
        PRESENCE_TTL_MIN.as_secs(),
        PRESENCE_TTL_MAX.as_secs()
    )))
}
