//! `DirectoryWatch`: sees what changes in a directory by looking again and again, since no file system tells
//! of what other hosts do. A look reads the names of the files, and only the versions that are new.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::version::Kind;
use super::versions::{Versions, check_count, stored};
use crate::limits::POLL_EVERY;
use crate::{Change, Key, Prefix, Seen, StoreError, Stored, Watch};

/// Sees what changes in a directory.
#[derive(Debug)]
pub struct DirectoryWatch {
    versions: Arc<Versions>,
    prefix: Prefix,
    /// The keys as they were at the last look; `None`: there was no look yet.
    known: Option<BTreeMap<Key, Known>>,
    /// Whether the last look failed, so that the next one shall not follow at once.
    failed: bool,
}

/// A key as it was at the last look.
#[derive(Clone, Copy, Debug)]
struct Known {
    number: u64,
    id: u128,
    kind: Kind,
    /// Whether readers saw the key.
    shown: bool,
}

impl DirectoryWatch {
    pub fn new(versions: Arc<Versions>, prefix: Prefix) -> DirectoryWatch {
        DirectoryWatch {
            versions,
            prefix,
            known: None,
            failed: false,
        }
    }

    /// What is different from the last look.
    fn look(&mut self) -> Result<Seen, StoreError> {
        let listing = self.versions.files.listing()?;
        let before = self.known.as_ref();
        let mut now = BTreeMap::new();
        let mut changes = Vec::new();
        for key in listing.keys(&self.prefix) {
            let old = before.and_then(|before| before.get(key)).copied();
            let (known, value) = self.look_at(key, listing.newest(key), old)?;
            changes.extend(value.map(|value| Change::Written(key.clone(), value)));
            if let Some(known) = known {
                if old.is_some_and(|old| old.shown) && !known.shown {
                    changes.push(Change::Removed(key.clone()));
                }
                now.insert(key.clone(), known);
            }
        }
        let gone = before
            .into_iter()
            .flatten()
            .filter(|(key, old)| old.shown && !now.contains_key(key));
        changes.extend(gone.map(|(key, _)| Change::Removed(key.clone())));
        check_count(now.values().filter(|known| known.shown).count())?;
        let first = self.known.replace(now).is_none();
        Ok(match (first, changes.is_empty()) {
            (true, _) => Seen::Everything(changes.into_iter().filter_map(written).collect()),
            (false, true) => Seen::Nothing,
            (false, false) => Seen::Changes(changes),
        })
    }

    /// A key as it is now, and what it holds if that is new to readers; `None` and `None`: it is not there.
    fn look_at(
        &self,
        key: &Key,
        number: u64,
        old: Option<Known>,
    ) -> Result<(Option<Known>, Option<Stored>), StoreError> {
        if let Some(mut known) = old.filter(|old| old.number == number) {
            let shown = self.versions.shows(key, known.id, known.kind)?;
            // The value of a presence that comes back is read again.
            if known.shown || !shown {
                known.shown = shown;
                return Ok((Some(known), None));
            }
        }
        let version = match self.versions.version(key, number)? {
            None => self.versions.newest(key)?,
            found => found,
        };
        let Some(version) = version else {
            return Ok((None, None));
        };
        let known = Known {
            number: version.number,
            id: version.id,
            kind: version.kind,
            shown: self.versions.shows(key, version.id, version.kind)?,
        };
        Ok((Some(known), known.shown.then(|| stored(version))))
    }
}

impl Watch for DirectoryWatch {
    fn next(&mut self, timeout: Duration) -> Result<Seen, StoreError> {
        let begin = Instant::now();
        let mut pause = self.failed;
        loop {
            let left = timeout.saturating_sub(begin.elapsed());
            if pause {
                thread::sleep(left.min(POLL_EVERY));
            }
            let seen = self.look();
            self.failed = seen.is_err();
            match seen {
                Ok(Seen::Nothing) if begin.elapsed() < timeout => pause = true,
                seen => return seen,
            }
        }
    }
}

fn written(change: Change) -> Option<(Key, Stored)> {
    match change {
        Change::Written(key, stored) => Some((key, stored)),
        Change::Removed(_) => None,
    }
}
