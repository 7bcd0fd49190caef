//! `WorldError`: what ends a replica from outside the protocol.

use std::io;

use crate::log_file::LogError;
use disk::LockError;
use report::HaltCode;

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

impl WorldError {
    /// The word for it in the event that tells the end.
    #[must_use]
    pub fn code(&self) -> HaltCode {
        match self {
            WorldError::Poll(_) => HaltCode::Host,
            WorldError::Fenced(_) => HaltCode::Fenced,
            WorldError::Log(_) => HaltCode::Log,
        }
    }
}
