//! `WorldError`: what ends a replica from outside the protocol.

use std::io;

use crate::log_file::LogError;
use disk::LockError;

/// What ends a replica from outside the protocol.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The kernel does not let us wait.
    #[error(
        "this host gives no more file descriptors or threads; raise the limits (`ulimit -n`, `ulimit -u`)"
    )]
    Poll(#[from] io::Error),
    /// The disks belong to somebody else.
    #[error("the VM stops here")]
    Fenced(#[source] LockError),
    /// The log cannot be recorded.
    #[error(transparent)]
    Log(#[from] LogError),
}
