//! `Versions`: the keys of a directory, each of which is a row of versions with numbers. The newest one is
//! what the key holds.
//!
//! A write makes the version after the one that it has looked at. `link(2)` gives that version's name to one
//! writer alone, on local file systems and on NFS. The answer of the link is not believed, since a network
//! file system may lose the answer of a link that was made, or report one that was not: what counts is the
//! number in the file that has the name then. A writer that has looked at an old listing finds its number
//! taken; or, if that version was removed long ago, that the versions after it do not follow its own.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::files::{Files, Listing, beat_name, version_name};
use super::version::{Kind, Version};
use crate::limits::{
    HEAD_LEN_MAX, KEYS_MAX, LEFTOVER_AGE_MIN, TRIES_MAX, VALUE_LEN_MAX, VERSION_AGE_MIN, VERSIONS_KEPT,
};
use crate::{Doubt, Expected, Key, Prefix, Revision, StoreError, Stored};

/// Bytes of the file with the signs of life.
const BEAT_LEN: usize = 32 + 1 + 20 + 1;

/// The keys of a directory.
#[derive(Debug)]
pub struct Versions {
    pub files: Files,
    /// The last sign of life of each presence, as this process has seen it.
    beats: Mutex<BTreeMap<Key, Beat>>,
}

/// A sign of life, which counts from when it was seen first, by this host's own clock.
#[derive(Debug)]
struct Beat {
    /// The `id` of the version whose owner gave it.
    id: u128,
    content: Vec<u8>,
    since: Instant,
}

/// How a key must be, that a version is written.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// As callers of a store say it.
    Expected(Expected),
    /// The newest version has this `id`, whether readers still see the key or not.
    Is(u128),
}

/// What has become of an attempt to write a version.
enum Linked {
    /// It is the version of its number.
    Ours,
    /// Another one is.
    Taken,
}

impl Versions {
    pub fn over(files: Files) -> Versions {
        Versions {
            files,
            beats: Mutex::default(),
        }
    }

    /// The newest version of a key; `None`: there is none.
    pub fn newest(&self, key: &Key) -> Result<Option<Version>, StoreError> {
        for _ in 0..TRIES_MAX {
            let number = self.files.listing()?.newest(key);
            if number == 0 {
                return Ok(None);
            }
            if let Some(version) = self.version(key, number)? {
                return Ok(Some(version));
            }
            // It was removed since, because newer ones are there.
        }
        let reason = format!("it lists versions of {key} that are not there");
        Err(self.files.away(&reason, Doubt::Unchanged))
    }

    /// A version of a key; `None`: it is not there.
    pub fn version(&self, key: &Key, number: u64) -> Result<Option<Version>, StoreError> {
        let name = version_name(key, number);
        let Some(bytes) = self.files.read(&name, HEAD_LEN_MAX + VALUE_LEN_MAX)? else {
            return Ok(None);
        };
        let version = Version::parse(&bytes, key, number);
        version.map(Some).ok_or_else(|| self.files.damaged(&name))
    }

    /// Do readers see the key in this state?
    pub fn shows(&self, key: &Key, id: u128, kind: Kind) -> Result<bool, StoreError> {
        match kind {
            Kind::Value => Ok(true),
            Kind::Removed => Ok(false),
            Kind::Presence { ttl } => self.lives(key, id, ttl),
        }
    }

    /// What a key holds for readers.
    pub fn read(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        match self.newest(key)? {
            Some(version) if self.shows(key, version.id, version.kind)? => Ok(Some(stored(version))),
            _ => Ok(None),
        }
    }

    /// What all keys with this beginning hold for readers.
    pub fn list(&self, prefix: &Prefix) -> Result<Vec<(Key, Stored)>, StoreError> {
        let listing = self.files.listing()?;
        let mut found = Vec::new();
        for key in listing.keys(prefix) {
            let stored = match self.version(key, listing.newest(key))? {
                Some(version) if self.shows(key, version.id, version.kind)? => Some(stored(version)),
                Some(_) => None,
                None => self.read(key)?,
            };
            found.extend(stored.map(|stored| (key.clone(), stored)));
            check_count(found.len())?;
        }
        Ok(found)
    }

    /// Writes the next version of a key, if its state is as the condition says; `None`: the key was to be
    /// removed and is not there.
    pub fn put(
        &self,
        key: &Key,
        kind: Kind,
        value: &[u8],
        condition: Condition,
    ) -> Result<Option<Version>, StoreError> {
        for _ in 0..TRIES_MAX {
            let newest = self.newest(key)?;
            let visible = match &newest {
                Some(newest) if self.shows(key, newest.id, newest.kind)? => Some(Revision(newest.number)),
                _ => None,
            };
            let holds = match condition {
                Condition::Expected(Expected::Any) => true,
                Condition::Expected(Expected::Absent) => visible.is_none(),
                Condition::Expected(Expected::Revision(revision)) => visible == Some(revision),
                Condition::Is(id) => newest.as_ref().is_some_and(|newest| newest.id == id),
            };
            if !holds {
                return Err(changed(key, visible));
            }
            if kind == Kind::Removed && newest.as_ref().is_none_or(|newest| newest.kind == Kind::Removed) {
                return Ok(None);
            }
            let version = Version {
                key: key.clone(),
                number: newest.as_ref().map_or(0, |newest| newest.number) + 1,
                id: os::entropy::random_u128(),
                after: newest.map_or(0, |newest| newest.id),
                kind,
                value: value.to_vec(),
            };
            if let Linked::Ours = self.link(&version)? {
                return Ok(Some(version));
            }
        }
        match condition {
            Condition::Expected(Expected::Any) => {
                let reason = format!("{key} is written by others over and over");
                Err(self.files.away(&reason, Doubt::Unchanged))
            }
            _ => Err(changed(key, None)),
        }
    }

    /// Gives a version the name of its number, unless another one has it.
    fn link(&self, version: &Version) -> Result<Linked, StoreError> {
        let Version { key, number, id, .. } = version;
        let own = self.files.write_own(&version.encode())?;
        let name = version_name(key, *number);
        let linked = self.files.link(&own, &name);
        self.files.remove_own(&own);
        // After this the version may be there, whatever the errors are.
        let doubtful = |error: StoreError| match error {
            StoreError::Away { reason, .. } => self.files.away(&reason, Doubt::Unknown),
            other => other,
        };
        match (self.version(key, *number).map_err(doubtful)?, linked) {
            (Some(found), _) if found.id == *id => {}
            (Some(_), _) => return Ok(Linked::Taken),
            (None, Ok(())) => {
                return Err(self
                    .files
                    .away(&format!("{name} was made and is not there"), Doubt::Unknown));
            }
            (None, Err(error)) if error.kind() == ErrorKind::AlreadyExists => return Ok(Linked::Taken),
            (None, Err(error)) => return Err(self.files.trouble(&error, Doubt::Unknown)),
        }
        // The name is durable only after this, and only what is durable may be told.
        self.files.sync()?;
        let listing = self.files.listing().map_err(doubtful)?;
        if listing.newest(key) > *number {
            // Somebody has written since, over this version; or this number was used and removed long ago.
            return match self.version(key, number + 1).map_err(doubtful)? {
                Some(next) if next.after == *id => Ok(Linked::Ours),
                Some(_) => Ok(Linked::Taken),
                None => {
                    let reason = format!("version {number} of {key} was removed at once");
                    Err(self.files.away(&reason, Doubt::Unknown))
                }
            };
        }
        if let Err(error) = self.collect(&listing, key, *number) {
            tracing::debug!("old versions in {} stay: {error}", self.files.place());
        }
        Ok(Linked::Ours)
    }

    /// Removes versions of a key that nobody can ask for any more, from the oldest on, and files that killed
    /// writers left behind. Failing does no harm.
    fn collect(&self, listing: &Listing, key: &Key, newest: u64) -> io::Result<()> {
        // Both times are the server's, so no host's clock can make a version look old.
        let now = self.files.modified(&version_name(key, newest))?;
        let is_old = |time: SystemTime, age| now.duration_since(time).is_ok_and(|since| since > age);
        let mut numbers = listing.numbers(key).to_vec();
        numbers.sort_unstable();
        let enough = numbers.len().saturating_sub(VERSIONS_KEPT);
        for &number in &numbers[..enough] {
            let name = version_name(key, number);
            if !is_old(self.files.modified(&name)?, VERSION_AGE_MIN) {
                break;
            }
            self.files.remove_own(&name);
        }
        for name in &listing.own {
            // The process that it is of may remove it at this moment.
            if self
                .files
                .modified(name)
                .is_ok_and(|time| is_old(time, LEFTOVER_AGE_MIN))
            {
                self.files.remove_own(name);
            }
        }
        Ok(())
    }

    /// Writes a sign of life: the count must be another one than before.
    pub fn beat(&self, key: &Key, id: u128, count: u64) -> Result<(), StoreError> {
        let content = format!("{id:032x} {count:020}\n");
        self.files.write_over(&beat_name(key), content.as_bytes())
    }

    /// Removes the signs of life of a presence that was removed.
    pub fn forget_beat(&self, key: &Key) {
        self.files.remove_own(&beat_name(key));
    }

    /// Has the owner of this version given a sign of life within `ttl`? Whatever is another content than at
    /// the last look is one.
    fn lives(&self, key: &Key, id: u128, ttl: Duration) -> Result<bool, StoreError> {
        let content = self.files.read(&beat_name(key), BEAT_LEN)?.unwrap_or_default();
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(beat) = beats.get(key)
            && (beat.id, &beat.content) == (id, &content)
        {
            return Ok(beat.since.elapsed() <= ttl);
        }
        if beats.len() >= KEYS_MAX
            && let Some(oldest) = beats.iter().min_by_key(|(_, beat)| beat.since)
        {
            let oldest = oldest.0.clone();
            beats.remove(&oldest);
        }
        let since = Instant::now();
        beats.insert(key.clone(), Beat { id, content, since });
        Ok(true)
    }
}

/// Refuses to read more keys than a store may have.
pub fn check_count(count: usize) -> Result<(), StoreError> {
    if count <= KEYS_MAX {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "the store holds more than the {KEYS_MAX} keys that are read"
    )))
}

/// A version as readers see it.
pub fn stored(version: Version) -> Stored {
    Stored {
        value: version.value,
        revision: Revision(version.number),
    }
}

pub fn changed(key: &Key, found: Option<Revision>) -> StoreError {
    StoreError::Changed {
        key: key.clone(),
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(directory: &std::path::Path) -> Versions {
        Files::create(directory).unwrap();
        Versions::over(Files::open(directory).unwrap())
    }

    /// What a writer makes that has looked at a listing whose newest version is this one.
    fn after(old: Option<&Version>) -> Version {
        Version {
            key: Key::new("a").unwrap(),
            number: old.map_or(0, |old| old.number) + 1,
            id: os::entropy::random_u128(),
            after: old.map_or(0, |old| old.id),
            kind: Kind::Value,
            value: b"late".to_vec(),
        }
    }

    #[test]
    fn a_writer_with_an_old_listing_never_wins() {
        let directory = tempfile::tempdir().unwrap();
        let versions = versions(directory.path());
        let key = Key::new("a").unwrap();
        let any = Condition::Expected(Expected::Any);
        let mut made = Vec::new();
        for _ in 0..8 {
            made.extend(versions.put(&key, Kind::Value, b"x", any).unwrap());
        }
        // The number is taken.
        for old in [None, Some(&made[0]), Some(&made[6])] {
            assert!(matches!(versions.link(&after(old)).unwrap(), Linked::Taken));
        }
        // The number is free again, since the first versions were collected: the next one does not follow, or
        // is not there either.
        for number in 1..=3 {
            versions.files.remove_own(&version_name(&key, number));
        }
        assert!(matches!(
            versions.link(&after(Some(&made[1]))).unwrap(),
            Linked::Taken
        ));
        let doubtful = versions.link(&after(None));
        assert!(matches!(
            doubtful,
            Err(StoreError::Away {
                doubt: Doubt::Unknown,
                ..
            })
        ));
        assert_eq!(versions.newest(&key).unwrap().as_ref(), made.last());
        // One that was written over at once is told so.
        let newest = made.pop().unwrap();
        let ours = after(Some(&newest));
        let next = after(Some(&ours));
        let own = versions.files.write_own(&next.encode()).unwrap();
        versions
            .files
            .link(&own, &version_name(&key, next.number))
            .unwrap();
        assert!(matches!(versions.link(&ours).unwrap(), Linked::Ours));
    }

    #[test]
    fn a_link_that_says_no_and_was_made_counts() {
        let directory = tempfile::tempdir().unwrap();
        let versions = versions(directory.path());
        let version = after(None);
        // An answer that was lost: the name is there when the writer asks again.
        let own = versions.files.write_own(&version.encode()).unwrap();
        versions.files.link(&own, &version_name(&version.key, 1)).unwrap();
        assert!(matches!(versions.link(&version).unwrap(), Linked::Ours));
    }
}
