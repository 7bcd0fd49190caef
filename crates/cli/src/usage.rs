//! `Usage`: an error of what the user wrote, whether as a flag or in `VM.toml`: a setting that is unknown, is
//! missing, or has a value that it cannot have. `main` gives it the exit code 2; every other error has 1.
//!
//! `values`, `spec` and `vm_file` say what is wrong, and the commands mark it by [`mark`] before anything is
//! opened. What a file, a name or the network turns out to be is no fault of what was written.

use std::fmt;

/// An error of what the user wrote.
#[derive(Debug)]
pub struct Usage(anyhow::Error);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Usage {}

/// A name that has no address, as far as this host can find out. It may be written well, so this is no error
/// of usage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unresolved(pub String);

/// Marks an error as one of usage, unless it is that a name has no address.
pub fn mark(error: impl Into<anyhow::Error>) -> anyhow::Error {
    let error = error.into();
    if error.is::<Unresolved>() {
        return error;
    }
    Usage(error).into()
}
