//! `EtcdWatch`: what one watch of etcd tells, on a thread of its own, since a watch of etcd waits for its
//! server alone.
//!
//! The thread reads everything once, watches from that revision on, and goes on from the last revision that
//! it has seen whenever a watch ends. It reads everything again only if that revision is compacted.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use etcd::{Client, EtcdError};

use super::space::{Space, stored};
use crate::limits::{RETRY_EVERY, SEEN_KEPT};
use crate::{Change, Prefix, Seen, StoreError, Watch};

/// Sees what changes in an etcd cluster.
#[derive(Debug)]
pub struct EtcdWatch {
    seen: Receiver<Result<Seen, StoreError>>,
    /// Why the cluster cannot be reached at present, as far as the thread knows; `None`: it can.
    away: Option<StoreError>,
    /// The thread's connections, which are cut when nobody watches any more.
    space: Arc<Space>,
    /// Has the thread end that waits for a retry.
    _watched: Sender<()>,
}

/// What the thread works with.
struct Watcher {
    space: Arc<Space>,
    prefix: Prefix,
    seen: SyncSender<Result<Seen, StoreError>>,
    watched: Receiver<()>,
    /// The revision of the first change that was not seen; `None`: everything must be read.
    next: Option<etcd::Revision>,
    /// The last that was said is an error.
    away: bool,
}

/// Nobody watches any more.
struct Unwatched;

/// Why one turn of the thread has ended.
enum Turn {
    /// Nothing bad: the connection has ended, or it is to be watched from elsewhere.
    Again,
    /// The store is away.
    Away(StoreError),
}

impl EtcdWatch {
    /// Starts the thread.
    pub fn begin(space: &Space, prefix: &Prefix) -> Result<EtcdWatch, StoreError> {
        let refused = |why: &dyn std::fmt::Display| StoreError::Refused(why.to_string());
        let client = Client::another(&space.client).map_err(|error| refused(&error))?;
        let space = Arc::new(Space {
            client,
            prefix: space.prefix.clone(),
        });
        let (tell, seen) = sync_channel(SEEN_KEPT);
        let (watched, unwatched) = channel();
        let watcher = Watcher {
            space: Arc::clone(&space),
            prefix: prefix.clone(),
            seen: tell,
            watched: unwatched,
            next: None,
            away: false,
        };
        let thread = thread::Builder::new().name("store-watch".into());
        let started = thread.spawn(move || {
            let _: Unwatched = watcher.run();
        });
        started.map_err(|error| refused(&format!("no thread for a watch can be started: {error}")))?;
        Ok(EtcdWatch {
            seen,
            away: None,
            space,
            _watched: watched,
        })
    }
}

impl Watch for EtcdWatch {
    fn next(&mut self, timeout: Duration) -> Result<Seen, StoreError> {
        let seen = match self.seen.recv_timeout(timeout) {
            Ok(seen) => seen,
            // While the cluster is away, that nothing comes does not mean that nothing has changed.
            Err(RecvTimeoutError::Timeout) => return self.away.clone().map_or(Ok(Seen::Nothing), Err),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(StoreError::Refused(
                    "the thread of the watch has ended; watch again".into(),
                ));
            }
        };
        self.away = seen.as_ref().err().cloned();
        seen
    }
}

impl Drop for EtcdWatch {
    fn drop(&mut self) {
        self.space.client.shut_down();
    }
}

impl Watcher {
    fn run(mut self) -> Unwatched {
        loop {
            match self.turn() {
                Err(unwatched) => return unwatched,
                Ok(Turn::Again) => {}
                Ok(Turn::Away(error)) => {
                    self.away = true;
                    if self.seen.send(Err(error)).is_err() {
                        return Unwatched;
                    }
                }
            }
            // A server that ends each watch at once is not asked again and again without a pause.
            match self
                .watched
                .recv_timeout(if self.away { RETRY_EVERY } else { RETRY_EVERY / 10 })
            {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return Unwatched,
            }
        }
    }

    /// Reads everything if that is needed, and watches for as long as one watch lasts.
    fn turn(&mut self) -> Result<Turn, Unwatched> {
        let next = match self.next {
            Some(next) => next,
            None => match self.space.list(&self.prefix) {
                Ok((found, revision)) => {
                    self.tell(Seen::Everything(found))?;
                    let next = etcd::Revision(revision.0.saturating_add(1));
                    self.next = Some(next);
                    next
                }
                Err(error) => return Ok(Turn::Away(error)),
            },
        };
        let keys = self.space.keys_of(&self.prefix);
        let mut watch = match self.space.client.watch(&keys, next) {
            Ok(watch) => watch,
            Err(error) => return Ok(self.after(&error)),
        };
        if self.away {
            self.tell(Seen::Changes(Vec::new()))?;
        }
        loop {
            match watch.wait() {
                Ok(batch) => {
                    self.next = Some(batch.next);
                    let changes: Vec<Change> = batch
                        .changes
                        .into_iter()
                        .filter_map(|change| self.own(change))
                        .collect();
                    if !changes.is_empty() {
                        self.tell(Seen::Changes(changes))?;
                    }
                }
                Err(error) => return Ok(self.after(&error)),
            }
        }
    }

    /// What follows from the end of a watch.
    fn after(&mut self, error: &EtcdError) -> Turn {
        match error {
            EtcdError::Compacted(_) | EtcdError::TooLarge { .. } => {
                self.next = None;
                Turn::Again
            }
            EtcdError::Ended { .. } => Turn::Again,
            _ => Turn::Away(self.space.unread(error)),
        }
    }

    fn tell(&mut self, seen: Seen) -> Result<(), Unwatched> {
        self.away = false;
        self.seen.send(Ok(seen)).map_err(|_| Unwatched)
    }

    /// A change of a key of the store.
    fn own(&self, change: etcd::Change) -> Option<Change> {
        match change {
            etcd::Change::Put(found) => {
                let key = self.space.key_of(&found.key)?;
                Some(Change::Written(key, stored(found)))
            }
            etcd::Change::Delete { key, .. } => self.space.key_of(&key).map(Change::Removed),
        }
    }
}
