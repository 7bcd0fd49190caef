//! Standard output: the lines that commands print.
//!
//! Where a program reads the result there (`--json`), a guest's console must not stand in between: after
//! [`divert`] what is written to file descriptor 1 goes to standard error, and only [`write_line`] still
//! writes to standard output. Call it before any thread is started.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// Standard output, once it is diverted.
static RESULT: OnceLock<File> = OnceLock::new();

/// From here on standard output is for results alone; everything else that would be written there goes to
/// standard error.
///
/// # Errors
/// As the kernel gives them.
pub fn divert() -> io::Result<()> {
    let result = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    // A second call finds it diverted already.
    let _ = RESULT.set(result.into());
    Ok(())
}

/// Writes a line to the standard output. Ends the program, without a word, if its reader has gone, as in
/// `lockstep log dump | head`.
pub fn write_line(text: std::fmt::Arguments<'_>) {
    let written = match RESULT.get() {
        Some(mut result) => writeln!(result, "{text}"),
        None => writeln!(io::stdout(), "{text}"),
    };
    if let Err(error) = written {
        if error.kind() != ErrorKind::BrokenPipe {
            crate::tell!("lockstep: cannot write the output: {error}");
        }
        os::stderr::finish();
        std::process::exit(1);
    }
}
