//! `Watch`: the changes of some keys, from one revision on, as they happen.
//!
//! A watch ends: with its connection, when nothing was heard for too long, when its server loses the others.
//! The caller makes a new one from [`Batch::next`] on and has missed nothing, unless that is compacted.

use std::fmt;
use std::io::{BufRead, Read};

use serde_json::Value;

use crate::EtcdError;
use crate::http::{Lines, status};
use crate::limits::LINE_LEN_MAX;
use crate::wire::{self, Change, Revision};

/// Changes of keys, as one server tells them.
pub struct Watch {
    endpoint: String,
    lines: Lines,
}

/// Changes that came together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The changes in their order; none in a message that only says how far the server has come.
    pub changes: Vec<Change>,
    /// The revision from which a new watch goes on.
    pub next: Revision,
}

impl Watch {
    /// Waits until the server says that it watches.
    pub(crate) fn begin(endpoint: String, lines: Lines) -> Result<Watch, EtcdError> {
        let mut watch = Watch { endpoint, lines };
        let first = watch.message()?;
        if wire::flag(&first, "created") {
            Ok(watch)
        } else {
            Err(watch.ended("it does not begin as etcd's watches do"))
        }
    }

    /// Waits for the next changes, but not longer than [`crate::limits::WATCH_QUIET_MAX`].
    ///
    /// # Errors
    /// [`EtcdError::Ended`]: watch again. [`EtcdError::Compacted`] and [`EtcdError::TooLarge`]: read
    /// everything again, then watch from there.
    pub fn wait(&mut self) -> Result<Batch, EtcdError> {
        let message = self.message()?;
        let changes: Option<Vec<Change>> =
            wire::items(&message, "events").and_then(|events| events.iter().map(wire::change).collect());
        let (Some(changes), Some(header)) = (changes, wire::header(&message)) else {
            return Err(self.ended("it says what is not etcd's"));
        };
        // While a watch catches up, the header is ahead of the changes.
        let last = changes.iter().map(|change| match change {
            Change::Put(found) => found.revision,
            Change::Delete { revision, .. } => *revision,
        });
        let last = last.max().unwrap_or(header);
        Ok(Batch {
            changes,
            next: Revision(last.0.saturating_add(1)),
        })
    }

    /// The next message of the server, if it says nothing of an end.
    fn message(&mut self) -> Result<Value, EtcdError> {
        let mut line = Vec::new();
        let read = Read::by_ref(&mut self.lines)
            .take(LINE_LEN_MAX + 1)
            .read_until(b'\n', &mut line);
        match read {
            Ok(_) if line.len() as u64 > LINE_LEN_MAX => {
                return Err(EtcdError::TooLarge {
                    endpoint: self.endpoint.clone(),
                    limit: LINE_LEN_MAX,
                });
            }
            Ok(_) if !line.ends_with(b"\n") => return Err(self.ended("the server has closed it")),
            Ok(_) => {}
            Err(error) => return Err(self.ended(&error.to_string())),
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(&line) else {
            return Err(self.ended("it says what is no JSON"));
        };
        if let Some(status) = status(&value) {
            return Err(self.ended(&status.message));
        }
        let result = value.get_mut("result").map(Value::take).unwrap_or_default();
        if let Some(revision) = wire::compacted(&result) {
            return Err(EtcdError::Compacted(revision));
        }
        if wire::flag(&result, "canceled") {
            let reason = result.get("cancel_reason").and_then(Value::as_str);
            return Err(self.ended(reason.unwrap_or("the server has cancelled it")));
        }
        Ok(result)
    }

    fn ended(&self, reason: &str) -> EtcdError {
        EtcdError::Ended {
            endpoint: self.endpoint.clone(),
            reason: reason.to_owned(),
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
