//! `Keys`: the escape key Ctrl-A and what follows it, as in QEMU, found in what a person types. A terminal
//! has these keys, and so has a socket that the operator gave them to (`keys:SOCKET`).
//!
//! What comes from a program, a file or a pipe never passes through here: it reaches the guest as it is.

use crate::typed::Typed;

const ESCAPE: u8 = 0x01;
/// What Ctrl-A h says.
pub(super) const HELP: &[u8] = b"\r\nCtrl-A x  switch the VM off; end a backup\r\n\
Ctrl-A b  send a break: in Linux the next key is a SysRq command\r\n\
Ctrl-A h  this help\r\n\
Ctrl-A Ctrl-A  send Ctrl-A\r\n";

/// What a run of keys amounts to, with the escape key taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// For the guest thread.
    Typed(Typed),
    /// The user wants to know the escape sequences.
    Help,
}

/// Finds the escape sequences in what is typed.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Was the last key the escape key? Then the next one says what it means.
    escaped: bool,
}

impl Keys {
    /// What `bytes` amount to, in the order in which they were typed.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut plain = Vec::new();
        for &byte in bytes {
            let key = match (std::mem::take(&mut self.escaped), byte) {
                (false, ESCAPE) => {
                    self.escaped = true;
                    continue;
                }
                (true, b'x' | b'X') => Key::Typed(Typed::Quit),
                (true, b'b' | b'B') => Key::Typed(Typed::Break),
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
        assert_eq!(keys.take(b"\x01bh"), [Key::Typed(Typed::Break), bytes(b"h")]);
        assert_eq!(keys.take(b"x"), [bytes(b"x")]);
    }

    #[test]
    fn what_is_typed_around_the_escape_stays_before_and_behind_it() {
        let mut keys = Keys::default();
        let expected = [bytes(b"ls"), Key::Typed(Typed::Quit), bytes(b"y")];
        assert_eq!(keys.take(b"ls\x01xy"), expected);
    }
}
