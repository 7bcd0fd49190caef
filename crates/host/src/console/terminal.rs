//! Standard input as the guest's console, with the escape key Ctrl-A, as in QEMU. A thread reads it and
//! queues what is typed for the guest thread.
//!
//! The escape key is taken out only in a terminal: what comes from a file or a pipe reaches the guest as it
//! is.

use std::io::{self, Read, Write};
use std::sync::mpsc::SyncSender;

use super::typed::Typed;
use crate::limits::CONSOLE_INPUT_LEN;
use os::sandbox::{self, Kind};
use os::wake::Waker;

const ESCAPE: u8 = 0x01;
const HELP: &[u8] =
    b"\r\nCtrl-A x  switch the VM off; end a backup\r\nCtrl-A h  this help\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n";

/// Starts the thread that reads standard input, and ends at its end. `raw`: it is a terminal in raw mode.
pub(super) fn read_stdin(sender: SyncSender<Typed>, waker: Waker, raw: bool) {
    sandbox::spawn(Kind::Console, "console input", move || {
        let mut keys = Keys::default();
        let mut buffer = [0; CONSOLE_INPUT_LEN];
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

/// What a run of keys amounts to, with the escape key taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// For the guest thread.
    Typed(Typed),
    /// The user wants to know the escape sequences.
    Help,
}

/// Finds the escape sequences in what is typed.
#[derive(Debug, Default)]
struct Keys {
    /// Was the last key the escape key? Then the next one says what it means.
    escaped: bool,
}

impl Keys {
    /// What `bytes` amount to, in the order in which they were typed.
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
