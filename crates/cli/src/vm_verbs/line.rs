//! The line of a terminal on which a command that waits for a VM shows how far that is, and the signals by
//! which its user has it wait no more.

use std::io::IsTerminal;

use os::signals::Signals;
use replica::VmName;

/// A line about one VM, written again and again; nothing is shown where standard error is no terminal.
pub struct Line<'a> {
    vm: &'a VmName,
    signals: Signals,
    is_terminal: bool,
}

impl<'a> Line<'a> {
    /// A line about this VM. From now on signals end the wait, and not this program.
    ///
    /// # Errors
    /// The signals cannot be caught.
    pub fn about(vm: &'a VmName) -> std::io::Result<Line<'a>> {
        Ok(Line {
            vm,
            signals: Signals::catch()?,
            is_terminal: std::io::stderr().is_terminal(),
        })
    }

    /// Shows this in the place of what was shown, unless it is empty; false: the user wants to wait no more.
    pub fn show(&mut self, line: &str) -> bool {
        if self.is_terminal && !line.is_empty() {
            os::stderr::write_text(format_args!("\r\x1b[K{}: {line}", self.vm));
        }
        self.signals.take() == 0
    }

    /// Takes away what was shown.
    pub fn clear(&self) {
        if self.is_terminal {
            os::stderr::write_text(format_args!("\r\x1b[K"));
        }
    }
}
