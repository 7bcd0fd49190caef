//! Standard input as the guest's console, in a terminal with the escape key Ctrl-A (`keys`). A thread reads
//! it and queues what is typed for the guest thread.
//!
//! The escape key is taken out only in a terminal: what comes from a file or a pipe reaches the guest as it
//! is.

use std::io::{self, Read, Write};
use std::sync::mpsc::SyncSender;

use crate::keys::{HELP, Key, Keys};
use crate::limits::CONSOLE_INPUT_LEN;
use crate::typed::Typed;
use os::sandbox::{self, Kind};
use os::wake::Waker;

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
