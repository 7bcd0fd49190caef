//! `StoreError`: why a store has not done what it was asked. Each is one sentence.
//!
//! Three endings must be known apart by whoever changes something: it is done, it is not done, nobody knows.

use std::fmt;

use crate::{Key, Revision};

/// Why a store has not done what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached; it may be there again later.
    #[error("{place} cannot be reached, {doubt}: {reason}")]
    Away {
        /// The store, as people call it.
        place: String,
        /// Whether something may have been changed.
        doubt: Doubt,
        /// What happened.
        reason: String,
    },
    /// The key is not as it was expected to be. Nothing was changed.
    #[error("{key} {}", found_text(.found))]
    Changed {
        /// Name of the key.
        key: Key,
        /// Its revision; `None`: it is not there, or it changes too fast to say.
        found: Option<Revision>,
    },
    /// The store does not do that, and will not unless something else is changed before. Nothing was changed.
    #[error("{0}")]
    Refused(
        /// Why not, as a sentence that says what to do.
        String,
    ),
}

/// What is known of the store's content after it could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing was changed.
    Unchanged,
    /// What was asked may have been done, may be done later, or never: read, and decide anew.
    Unknown,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doubt::Unchanged => "nothing was changed",
            Doubt::Unknown => "it is not known whether something was changed",
        })
    }
}

fn found_text(found: &Option<Revision>) -> String {
    match found {
        Some(revision) => format!("was changed by somebody else, its revision is {}", revision.0),
        None => "was changed or removed by somebody else".into(),
    }
}
