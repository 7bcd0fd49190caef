//! Standard input and output as the guest's console: raw mode, and the escape key Ctrl-A, as in QEMU.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Typed;
use crate::sandbox::{self, Kind};
use crate::wake::Waker;

const ESCAPE: u8 = 0x01;
const HELP: &[u8] = b"\r\nCtrl-A x  end\r\nCtrl-A h  this help\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n";

/// How the terminal was before, while it is raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal is raw while this lives.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Makes the terminal raw; `None`: standard input is none.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn enter() -> io::Result<Option<RawMode>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(RawMode(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was. For ends of the process that run no destructors.
pub fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // Nothing can be done if the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Starts the thread that reads standard input, whatever it is. Ends with it.
pub(super) fn read_stdin(sender: SyncSender<Typed>, waker: Waker, raw: bool) {
    sandbox::spawn(Kind::Console, "console input", move || {
        let mut keys = Keys::default();
        let mut buffer = [0; 256];
        while let Ok(length @ 1..) = io::stdin().read(&mut buffer) {
            let (bytes, action) = if raw {
                keys.take(&buffer[..length])
            } else {
                (buffer[..length].to_vec(), None)
            };
            let typed = (!bytes.is_empty()).then_some(Typed::Bytes(bytes));
            let quit = (action == Some(Action::Quit)).then_some(Typed::Quit);
            if action == Some(Action::Help) {
                let _ = io::stdout().write_all(HELP);
            }
            for typed in typed.into_iter().chain(quit) {
                if sender.send(typed).is_err() {
                    return;
                }
                waker.wake();
            }
        }
    });
}

/// What the escape key asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Quit,
    Help,
}

/// Finds the escape sequences.
#[derive(Debug, Default)]
struct Keys {
    escaped: bool,
}

impl Keys {
    /// What of `bytes` is for the guest, and what for us (the last, if several).
    fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, Option<Action>) {
        let mut out = Vec::with_capacity(bytes.len());
        let mut action = None;
        for &byte in bytes {
            match (std::mem::take(&mut self.escaped), byte) {
                (false, ESCAPE) => self.escaped = true,
                (true, b'x' | b'X') => action = Some(Action::Quit),
                (true, b'h' | b'?') => action = Some(Action::Help),
                (_, byte) => out.push(byte),
            }
        }
        (out, action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_key_is_taken_out_and_itself_when_doubled() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"ls\r"), (b"ls\r".to_vec(), None));
        assert_eq!(keys.take(b"a\x01\x01b"), (b"a\x01b".to_vec(), None));
        assert_eq!(keys.take(b"a\x01"), (b"a".to_vec(), None));
        assert_eq!(keys.take(b"x"), (Vec::new(), Some(Action::Quit)));
        assert_eq!(keys.take(b"\x01h"), (Vec::new(), Some(Action::Help)));
        assert_eq!(keys.take(b"x"), (b"x".to_vec(), None));
    }
}
