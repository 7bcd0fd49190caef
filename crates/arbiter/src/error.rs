//! `ArbiterError`: why an arbiter is of no use, or refuses a start. Each is one sentence with what to do.

use std::io;
use std::path::PathBuf;

use etcd::EtcdError;

/// Why an arbiter is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ArbiterError {
    /// The directory cannot be written.
    #[error(
        "the arbiter directory {path} cannot be written; it must exist on storage that both hosts share, \
         and be writable for this user"
    )]
    Directory {
        /// Path of the arbiter's directory.
        path: PathBuf,
        /// What the operating system said of the directory.
        source: io::Error,
    },
    /// The etcd cluster cannot be used.
    #[error(
        "the arbiter {place} cannot be used; both hosts must reach it, and its user must be allowed to read \
         and write there"
    )]
    Etcd {
        /// The cluster, as people write it.
        place: String,
        /// What has become of the last question.
        source: EtcdError,
    },
    /// The disk server cannot be reached, or has failed.
    #[error("the arbiter {place} cannot be used; both hosts must reach that disk server, with its key")]
    Server {
        /// The server, as people write it.
        place: String,
        /// What has become of the last question.
        source: io::Error,
    },
    /// This is not the arbiter of the other side.
    #[error(
        "{place} on host {host} {finding} epoch {epoch} of '{vm}' that the primary has claimed; both sides \
         must see the same arbiter"
    )]
    NotShared {
        /// The arbiter, as this side calls it.
        place: String,
        /// Name of this host, from which the arbiter looks so.
        host: String,
        /// "does not know", or "knows another owner of".
        finding: &'static str,
        /// Name of the VM whose claim was looked for.
        vm: String,
        /// Epoch of the pair, which the primary has claimed.
        epoch: u64,
    },
    /// The epoch after this process's own went to somebody else.
    #[error(
        "epoch {epoch} of '{vm}' is taken: the backup of an earlier call has gone live, \
         or the VM was started elsewhere; look for it before you start it again"
    )]
    Overtaken {
        /// Name of the VM whose epoch it is.
        vm: String,
        /// Epoch that went to somebody else.
        epoch: u64,
    },
    /// The VM runs, as far as anybody knows.
    #[error(
        "{vm} runs as epoch {epoch} {whereabouts}; stop it there, or, if that host is surely off, \
         `lockstep release {vm} --epoch {epoch} {flag}`"
    )]
    Open {
        /// Name of the VM.
        vm: String,
        /// Epoch whose owner has not said that it has ended.
        epoch: u64,
        /// Where and since when that owner runs.
        whereabouts: String,
        /// The flag by which a command is told of this arbiter.
        flag: String,
    },
    /// What has the name of a claim is of another program, or damaged.
    #[error("{what} is no claim of Lockstep; look at it and remove it if the VM runs nowhere")]
    Damaged {
        /// The claim's file, or whatever keeps it.
        what: String,
    },
    /// The file system said that a file was made, and it is not there.
    #[error(
        "{path} was made and is not there; the file system that holds the arbiter directory does not keep \
         its word, use another one"
    )]
    Vanished {
        /// Path of the file.
        path: PathBuf,
    },
    /// There is no such epoch to be closed.
    #[error("{place} knows no epoch {epoch} of '{vm}' that this process owns")]
    NotOwned {
        /// The arbiter, as this side calls it.
        place: String,
        /// Name of the VM.
        vm: String,
        /// Epoch that was to be closed.
        epoch: u64,
    },
    /// No answer could be had.
    #[error("the arbiter cannot be reached: {0}")]
    Unreachable(String),
    /// The thread that asks the arbiter waits for it, and is not waited for.
    #[error(
        "the arbiter does not answer, so the end of epoch {epoch} is not written down there; a start on \
         another host will ask for `lockstep release`"
    )]
    Silent {
        /// Epoch that was to be closed.
        epoch: u64,
    },
}

/// A text that names no arbiter, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoPlace(pub(crate) String);

impl ArbiterError {
    /// Is this a refusal after which everything is as it was?
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, ArbiterError::Open { .. })
    }
}
