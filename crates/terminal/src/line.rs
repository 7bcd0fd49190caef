//! The line of a terminal on which a command that waits shows how far that is, and the signals by which its
//! user has it wait no more.

use std::io::IsTerminal;

use os::signals::Signals;
use replica::VmName;

/// A line that is written again and again; nothing is shown where standard error is no terminal.
pub struct Line {
    /// What the line begins with each time.
    head: String,
    signals: Signals,
    /// Has a signal come?
    is_over: bool,
    is_terminal: bool,
}

impl Line {
    /// A line. From now on signals end the wait, and not this program.
    ///
    /// # Errors
    /// The signals cannot be caught.
    pub fn begin() -> std::io::Result<Line> {
        Ok(Line {
            head: String::new(),
            signals: Signals::catch()?,
            is_over: false,
            is_terminal: std::io::stderr().is_terminal(),
        })
    }

    /// A line about this VM, which begins with its name.
    ///
    /// # Errors
    /// As those of [`Line::begin`].
    pub fn about(vm: &VmName) -> std::io::Result<Line> {
        let head = format!("{vm}: ");
        Ok(Line {
            head,
            ..Line::begin()?
        })
    }

    /// Shows this in the place of what was shown, unless it is empty; false: the user wants to wait no more.
    pub fn show(&mut self, line: &str) -> bool {
        if self.is_terminal && !line.is_empty() {
            os::stderr::write_text(format_args!("\r\x1b[K{}{line}", self.head));
        }
        !self.is_over()
    }

    /// Does the user want to wait no more?
    pub fn is_over(&mut self) -> bool {
        self.is_over |= self.signals.take() > 0;
        self.is_over
    }

    /// Takes away what was shown.
    pub fn clear(&self) {
        if self.is_terminal {
            os::stderr::write_text(format_args!("\r\x1b[K"));
        }
    }
}
