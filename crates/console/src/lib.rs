//! `Console`: the guest's serial line on this host: the terminal, a file, or a Unix socket. `World` writes to
//! it and takes what was typed.
//!
//! Reading and writing a terminal may block for as long as its user likes, so both are done by threads. The
//! guest's output is buffered; what finds no room past a bound is dropped, and a line tells where. A file is
//! bounded too, and a file or socket that is made here is its owner's alone: whoever writes to a console is
//! as good as logged in.
#![forbid(unsafe_code)]

mod all;
mod keys;
pub mod limits;
mod pending;
pub mod socket;
pub mod terminal;
mod typed;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::limits::{CONSOLE_BACKLOG_MAX, CONSOLE_FILE_LEN_MAX, CONSOLE_INPUT_CHUNKS};
use os::bounded_file::{Begin, BoundedFile};
use os::limits::LAST_WORDS_PATIENCE;
use os::outlet::{Outlet, Unit};
use os::terminal::RawMode;
use os::wake::Waker;
use report::amount;

pub use all::Consoles;
use pending::Pending;

pub use typed::{ConsoleError, Typed, Want};

/// Where the operator wants the guest's serial line to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleSpec {
    /// Output is dropped, and nothing is ever typed.
    None,
    /// Standard input and output.
    Stdio,
    /// Output to this file; no input.
    File(PathBuf),
    /// A Unix socket at this path, for one client at a time, whose bytes reach the guest as they are.
    Socket(PathBuf),
    /// The same with the escape key Ctrl-A, as in a terminal: for people, who want to send a break.
    Keys(PathBuf),
}

/// A console in use.
#[derive(Debug)]
pub struct Console {
    /// What was typed, from the thread that reads; `None`: nothing can be typed here.
    typed: Option<Receiver<Typed>>,
    /// What was taken from `typed` and not from here yet.
    pending: Pending,
    /// Takes the guest's output to whoever reads it; `None`: nobody does.
    output: Option<Outlet>,
    /// Puts the terminal back into its old mode when it is dropped.
    _terminal: Option<RawMode>,
    /// Removes the socket's file when it is dropped.
    _socket: Option<socket::SocketFile>,
}

impl Console {
    /// Opens a console and starts its threads.
    ///
    /// # Errors
    /// The file, socket or terminal cannot be used.
    pub fn open(spec: &ConsoleSpec, waker: &Waker) -> Result<Console, ConsoleError> {
        let mut console = Console {
            typed: None,
            pending: Pending::new(false),
            output: None,
            _terminal: None,
            _socket: None,
        };
        match spec {
            ConsoleSpec::None => {}
            ConsoleSpec::Stdio => {
                console._terminal = RawMode::enter().map_err(ConsoleError::Terminal)?;
                let (sender, typed) = sync_channel(CONSOLE_INPUT_CHUNKS);
                terminal::read_stdin(sender, waker.clone(), console._terminal.is_some());
                console.typed = Some(typed);
                console.pending = Pending::new(console._terminal.is_some());
                console.output = Some(outlet(Box::new(io::stdout())));
            }
            ConsoleSpec::File(path) => {
                let file = BoundedFile::open(path, Begin::Empty, CONSOLE_FILE_LEN_MAX).map_err(|source| {
                    ConsoleError::File {
                        path: path.clone(),
                        source,
                    }
                })?;
                console.output = Some(outlet(Box::new(file)));
            }
            ConsoleSpec::Socket(path) | ConsoleSpec::Keys(path) => {
                let keys = matches!(spec, ConsoleSpec::Keys(_));
                let (sender, typed): (SyncSender<Typed>, _) = sync_channel(CONSOLE_INPUT_CHUNKS);
                let (socket, client) = socket::listen(path, sender, waker.clone(), keys)?;
                console._socket = Some(socket);
                console.typed = Some(typed);
                console.pending = Pending::new(keys);
                console.output = Some(outlet(Box::new(client)));
            }
        }
        Ok(console)
    }

    /// Takes what the guest has written. Never waits.
    pub fn write(&self, bytes: &[u8]) {
        if let Some(output) = &self.output {
            output.push(bytes);
        }
    }

    /// Was something typed that [`Console::typed`] would give?
    pub fn has_typed(&mut self, want: Want) -> bool {
        self.fill();
        self.pending.has(want)
    }

    /// Takes out what is wanted; `None`: nothing at present. A Ctrl-A x comes before everything that was
    /// typed earlier, and a Ctrl-A b before what the guest has no room for, which is dropped then. What is
    /// not taken out holds the thread that reads, and so whoever types, as soon as there is too much of it
    /// ([`CONSOLE_INPUT_CHUNKS`], [`crate::limits::CONSOLE_AHEAD_CHUNKS`]).
    pub fn typed(&mut self, want: Want) -> Option<Typed> {
        self.fill();
        let (typed, dropped) = self.pending.take(want)?;
        if dropped > 0 {
            self.write(overtaken(dropped).as_bytes());
        }
        Some(typed)
    }

    /// Takes over what the thread that reads has brought, as far as there is room for it here.
    fn fill(&mut self) {
        while self.pending.has_room()
            && let Some(typed) = self.typed.as_ref().and_then(|typed| typed.try_recv().ok())
        {
            self.pending.push(typed);
        }
    }

    /// Bytes of the guest that went nowhere because nobody read them in time.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.output.as_ref().map_or(0, Outlet::lost)
    }

    /// Waits until the guest's last words are written, but not for ever.
    pub fn finish(&self) {
        if let Some(output) = &self.output {
            // Who does not read the last words in time does not want them.
            let _ = output.finish(LAST_WORDS_PATIENCE);
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.finish();
    }
}

fn outlet(sink: Box<dyn Write + Send>) -> Outlet {
    let notice = Box::new(|count| missing(count).into_bytes());
    Outlet::new(
        "the console's output",
        Unit::Bytes,
        CONSOLE_BACKLOG_MAX,
        notice,
        sink,
    )
}

/// The line that tells whoever types that a break has overtaken so many bytes.
fn overtaken(count: u64) -> String {
    let number = amount::grouped(count);
    format!(
        "\r\n[lockstep: {number} bytes that were typed before the break had not reached the guest and are \
         dropped]\r\n"
    )
}

/// The line that stands in a console's output where so many bytes of it are missing.
fn missing(count: u64) -> String {
    let number = amount::grouped(count);
    format!("\r\n[lockstep: {number} bytes of the console were not read in time and are lost]\r\n")
}
