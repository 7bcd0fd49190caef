//! Printing an error as one line.
//!
//! Every binary of the project prints its errors with this function, once, where they end a command.

use std::error::Error;

/// The error and its causes, joined by colons.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
