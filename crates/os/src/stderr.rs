//! What this process says to people: lines on standard error, which nobody has to read.
//!
//! All of the program's words go through here, those of `tracing` too. So a closed terminal, a full pipe or a
//! stopped reader holds up neither a guest nor a gateway. Lines that found no room are counted, and a line in
//! their place tells their number.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::limits::{LAST_WORDS_PATIENCE, STDERR_BACKLOG_MAX};
use crate::outlet::{Outlet, Unit};
use crate::terminal;

/// Lines that were said before the outlet was opened; `None` from then on.
static EARLY: Mutex<Option<Vec<u8>>> = Mutex::new(Some(Vec::new()));

static OUTLET: LazyLock<Outlet> = LazyLock::new(|| {
    Outlet::new(
        "standard error",
        Unit::Lines,
        STDERR_BACKLOG_MAX,
        Box::new(|count| {
            format!("lockstep: {count} lines are missing here: they were not read in time\n").into_bytes()
        }),
        Box::new(Stderr {
            is_terminal: io::stderr().is_terminal(),
        }),
    )
});

/// Writes the lines that were said so far, and from here on each at once. This starts the thread that waits
/// for the reader, and no thread may be older than the sandbox of its process: call when the sandbox has been
/// entered.
pub fn open() {
    let early = EARLY.lock().unwrap_or_else(PoisonError::into_inner).take();
    // This thread opens the outlet, since not every kind of thread may start another.
    LazyLock::force(&OUTLET);
    if let Some(early) = early {
        OUTLET.push(&early);
    }
}

/// Writes the lines that were said so far while the outlet is not open, and waits until the reader has them:
/// for a process that waits for others before its sandbox is entered, and serves nobody yet.
pub fn write_early() {
    if let Some(early) = &mut *EARLY.lock().unwrap_or_else(PoisonError::into_inner) {
        // A reader that is gone wants no lines.
        let _ = io::stderr().write_all(early);
        early.clear();
    }
}

/// Says something; a line ends with a line feed. Never waits for the reader.
pub fn write(text: &[u8]) {
    if let Some(early) = &mut *EARLY.lock().unwrap_or_else(PoisonError::into_inner) {
        // Lines that find no room now would find none later either: a start says a few lines.
        let room = STDERR_BACKLOG_MAX - early.len();
        early.extend_from_slice(&text[..text.len().min(room)]);
        return;
    }
    OUTLET.push(text);
}

/// Says something that is no whole line, such as a count of progress that the next one overwrites.
pub fn write_text(text: fmt::Arguments<'_>) {
    write(text.to_string().as_bytes());
}

/// Says a line, without its line feed. Never waits for the reader.
pub fn tell(line: fmt::Arguments<'_>) {
    write(format!("{line}\n").as_bytes());
}

/// Waits until everything is written, for [`LAST_WORDS_PATIENCE`] at most. Call before the process ends.
pub fn finish() {
    open();
    // If it is not written, nobody is left who could be told.
    let _ = OUTLET.finish(LAST_WORDS_PATIENCE);
}

/// Number of lines that were never written.
#[must_use]
pub fn lost() -> u64 {
    OUTLET.lost()
}

/// Standard error for a subscriber of `tracing`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The sink behind the outlet: standard error itself.
struct Stderr {
    is_terminal: bool,
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_terminal && terminal::is_raw() {
            // A raw terminal goes down at a line feed, but not back to its left edge.
            let text: Vec<u8> = bytes
                .split_inclusive(|&byte| byte == b'\n')
                .flat_map(|line| [b"\r", line].concat())
                .collect();
            io::stderr().write_all(&text)?;
            io::stderr().write_all(b"\r")?;
            return Ok(bytes.len());
        }
        io::stderr().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
