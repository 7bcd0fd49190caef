//! `EtcdError`: why a call has failed, and whether it may have changed something all the same. Each is one
//! sentence.
//!
//! Whoever changes something must know three endings apart: it is done, it is surely not done, nobody knows.

use crate::Revision;

/// Why a call has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// The settings are no good. No server was asked.
    #[error("{0}")]
    Settings(String),
    /// No server could be reached, or none that knows the others. Nothing was changed.
    #[error("no etcd server can be used: {reasons}")]
    Away {
        /// What became of the attempt at each server.
        reasons: String,
    },
    /// A server got the request and its answer did not come. What was asked may have been done, may be done
    /// later, or may never be done.
    #[error("it is not known whether etcd did what it was asked, since {endpoint} gave no answer: {reason}")]
    Unanswered {
        /// The server that got the request.
        endpoint: String,
        /// What happened instead of an answer.
        reason: String,
    },
    /// The server has refused, and will do so again. Nothing was changed.
    #[error("etcd at {endpoint} refuses: {message}")]
    Refused {
        /// The server that refused.
        endpoint: String,
        /// Its words.
        message: String,
        /// Number of gRPC's status, such as 5 for what does not exist.
        code: u64,
    },
    /// What has happened since the revision asked for is not known any more: read everything again.
    #[error("etcd has forgotten what changed before revision {}", .0.0)]
    Compacted(
        /// The oldest revision that is still known.
        Revision,
    ),
    /// The answer is longer than this client reads.
    #[error("the answer of {endpoint} is longer than {limit} bytes")]
    TooLarge {
        /// The server that answered.
        endpoint: String,
        /// Bytes that are read at most.
        limit: u64,
    },
    /// The connection of a watch has ended, or nothing came over it for too long: watch again.
    #[error("the watch at {endpoint} has ended: {reason}")]
    Ended {
        /// The server that was watched.
        endpoint: String,
        /// Why it has ended.
        reason: String,
    },
}
