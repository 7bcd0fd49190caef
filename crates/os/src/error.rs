//! Printing an error as one line.
//!
//! Code that tells people an error, in a sentence or in a warning, makes the text here. Nothing is printed
//! here.

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
