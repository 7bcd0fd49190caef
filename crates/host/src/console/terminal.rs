//! Standard input and output as the guest's console: raw mode, and the escape key Ctrl-A, as in QEMU.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Typed;
use crate::sandbox::{self, Kind};
use crate::wake::Waker;

const ESCAPE: u8 = 0x01;
const HELP: &[u8] =
    b"\r\nCtrl-A x  switch the VM off; end a backup\r\nCtrl-A h  this help\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n";

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

/// Is the terminal raw at present?
pub(crate) fn is_raw() -> bool {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner).is_some()
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
            let keys = if raw {
                keys.take(&buffer[..length])
            } else {
                vec![Key::Typed(Typed::Bytes(buffer[..length].to_vec()))]
            };
            for key in keys {
                let typed = match key {
                    Key::Typed(typed) => typed,
                    Key::Help => {
                        let _ = io::stdout().write_all(HELP);
                        continue;
                    }
                };
                if sender.send(typed).is_err() {
                    return;
                }
                waker.wake();
            }
        }
    });
}

/// What keys are, with the escape key taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// For the guest thread.
    Typed(Typed),
    /// A question to us.
    Help,
}

/// Finds the escape sequences.
#[derive(Debug, Default)]
struct Keys {
    escaped: bool,
}

impl Keys {
    /// What `bytes` are, in the order in which they were typed.
    fn take(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut plain = Vec::new();
        for &byte in bytes {
            let key = match (std::mem::take(&mut self.escaped), byte) {
                (false, ESCAPE) => {
                    self.escaped = true;
                    continue;
                }
                (true, b'x' | b'X') => Key::Typed(Typed::Quit),
                (true, b'h' | b'?') => Key::Help,
                (_, byte) => {
                    plain.push(byte);
                    continue;
                }
            };
            if !plain.is_empty() {
                keys.push(Key::Typed(Typed::Bytes(std::mem::take(&mut plain))));
            }
            keys.push(key);
        }
        if !plain.is_empty() {
            keys.push(Key::Typed(Typed::Bytes(plain)));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: &[u8]) -> Key {
        Key::Typed(Typed::Bytes(bytes.to_vec()))
    }

    #[test]
    fn the_escape_key_is_taken_out_and_itself_when_doubled() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"ls\r"), [bytes(b"ls\r")]);
        assert_eq!(keys.take(b"a\x01\x01b"), [bytes(b"a\x01b")]);
        assert_eq!(keys.take(b"a\x01"), [bytes(b"a")]);
        assert_eq!(keys.take(b"x"), [Key::Typed(Typed::Quit)]);
        assert_eq!(keys.take(b"\x01h"), [Key::Help]);
        assert_eq!(keys.take(b"x"), [bytes(b"x")]);
    }

    #[test]
    fn what_is_typed_around_the_escape_stays_before_and_behind_it() {
        let mut keys = Keys::default();
        let expected = [bytes(b"ls"), Key::Typed(Typed::Quit), bytes(b"y")];
        assert_eq!(keys.take(b"ls\x01xy"), expected);
    }
}
