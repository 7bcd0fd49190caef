//! `Typed`: what comes from a console of any kind, and `ConsoleError`, why there may be none. The kinds of
//! consoles make both, and `World` takes them; nothing here reads or writes.

use std::io;
use std::path::PathBuf;

/// What was typed at a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Bytes for the guest.
    Bytes(Vec<u8>),
    /// The user typed Ctrl-A b: a break on the serial line.
    Break,
    /// The user typed Ctrl-A x: a wish for the end.
    Quit,
}

/// What is to be taken from a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// What was typed next, if a guest with so many bytes of room takes it whole.
    Next {
        /// Bytes for which the guest has room.
        room: usize,
    },
    /// The answer to the question that followed a Ctrl-A x: what was typed behind that key.
    Answer,
}

impl Typed {
    /// How many bytes of room it takes at the guest.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Typed::Bytes(bytes) => bytes.len(),
            Typed::Break | Typed::Quit => 0,
        }
    }

    /// Does it take no room at the guest?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The file for the output cannot be written.
    #[error("cannot write the console's output to {path}; check the directory and its permissions")]
    File {
        /// The file that was to take the output.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen for the console's clients on {path}; {}", way_out(source))]
    Socket {
        /// The path of the socket.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The terminal cannot be put into raw mode.
    #[error("cannot set up the terminal for the console; use `--serial FILE`")]
    Terminal(#[source] io::Error),
}

/// What to do about a socket on which nobody can listen. Another VM may use it; one that a VM has left behind
/// is replaced, and is no error.
fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "remove it if no other VM uses it, or choose another",
        _ => "check the directory and its permissions",
    }
}
