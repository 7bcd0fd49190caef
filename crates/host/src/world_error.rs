//! `WorldError`: what ends a replica from outside the protocol. `World` and `drive` give it; the program
//! prints it with its causes and ends, which for the peer is a crash.
//!
//! A drive that fails is none of these: the guest waits for it.

use std::io;

use crate::log_file::LogError;
use disk::LockError;
use report::HaltCode;

/// An error of the world around a node, after which its replica cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The host gives no more of what waiting takes: file descriptors or threads.
    #[error(
        "this host gives no more file descriptors or threads; raise the limits (`ulimit -n`, `ulimit -u`)"
    )]
    Poll(#[from] io::Error),
    /// The disks belong to a writer of a newer epoch, or to another VM.
    #[error("the VM stops here")]
    Fenced(#[source] LockError),
    /// The log cannot be recorded.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl WorldError {
    /// The word for this error in the event that tells the end.
    #[must_use]
    pub fn code(&self) -> HaltCode {
        match self {
            WorldError::Poll(_) => HaltCode::Host,
            WorldError::Fenced(_) => HaltCode::Fenced,
            WorldError::Log(_) => HaltCode::Log,
        }
    }
}
