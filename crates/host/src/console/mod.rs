//! The guest's serial line on this host: the terminal, a file, or a Unix socket.
//!
//! Reading and writing a terminal may block for as long as its user likes, so both are done by threads. The
//! guest's output is buffered, and dropped past a bound, as on a serial line that nobody reads.

pub mod socket;
pub mod terminal;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::limits::{CONSOLE_BACKLOG_MAX, CONSOLE_INPUT_CHUNKS};
use crate::sandbox::{self, Kind};
use crate::wake::Waker;

/// What the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleSpec {
    /// Nowhere.
    None,
    /// Standard input and output.
    Stdio,
    /// Output to this file; no input.
    File(PathBuf),
    /// A Unix socket at this path, for one client at a time.
    Socket(PathBuf),
}

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The file cannot be written.
    #[error("cannot write the console's output to {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen for the console's clients on {path}; remove it if no other VM uses it")]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The terminal does not do as told.
    #[error("cannot set up the terminal for the console; use `--serial FILE`")]
    Terminal(#[source] io::Error),
}

/// What comes from a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Bytes for the guest.
    Bytes(Vec<u8>),
    /// The user typed the escape for "end".
    Quit,
}

/// A console in use.
#[derive(Debug)]
pub struct Console {
    typed: Option<Receiver<Typed>>,
    output: Option<Output>,
    /// Puts the terminal back.
    _terminal: Option<terminal::RawMode>,
    /// Removes the socket.
    _socket: Option<socket::SocketFile>,
}

impl Console {
    /// Opens it and starts its threads.
    ///
    /// # Errors
    /// The file, socket or terminal cannot be used.
    pub fn open(spec: &ConsoleSpec, waker: &Waker) -> Result<Console, ConsoleError> {
        let mut console = Console {
            typed: None,
            output: None,
            _terminal: None,
            _socket: None,
        };
        match spec {
            ConsoleSpec::None => {}
            ConsoleSpec::Stdio => {
                console._terminal = terminal::RawMode::enter().map_err(ConsoleError::Terminal)?;
                let (sender, typed) = sync_channel(CONSOLE_INPUT_CHUNKS);
                terminal::read_stdin(sender, waker.clone(), console._terminal.is_some());
                console.typed = Some(typed);
                console.output = Some(Output::new(Box::new(io::stdout())));
            }
            ConsoleSpec::File(path) => {
                let file = File::create(path).map_err(|source| ConsoleError::File {
                    path: path.clone(),
                    source,
                })?;
                console.output = Some(Output::new(Box::new(file)));
            }
            ConsoleSpec::Socket(path) => {
                let (sender, typed): (SyncSender<Typed>, _) = sync_channel(CONSOLE_INPUT_CHUNKS);
                let (socket, client) = socket::listen(path, sender, waker.clone())?;
                console._socket = Some(socket);
                console.typed = Some(typed);
                console.output = Some(Output::new(Box::new(client)));
            }
        }
        Ok(console)
    }

    /// The guest writes.
    pub fn write(&self, bytes: &[u8]) {
        if let Some(output) = &self.output {
            output.push(bytes);
        }
    }

    /// What was typed next.
    pub fn typed(&self) -> Option<Typed> {
        self.typed.as_ref()?.try_recv().ok()
    }

    /// Bytes of the guest that went nowhere because nobody read them in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.output
            .as_ref()
            .map_or(0, |output| output.shared.pending().dropped)
    }
}

/// A thread that writes, and the bytes that wait for it.
#[derive(Debug)]
struct Output {
    shared: Arc<Pending>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Mutex<Bytes>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Bytes {
    waiting: Vec<u8>,
    dropped: u64,
    closed: bool,
}

impl Pending {
    fn pending(&self) -> MutexGuard<'_, Bytes> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for bytes; `None`: there will be none any more.
    fn take(&self) -> Option<Vec<u8>> {
        let empty = |bytes: &mut Bytes| bytes.waiting.is_empty() && !bytes.closed;
        let mut bytes = self
            .more
            .wait_while(self.pending(), empty)
            .unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut bytes.waiting);
        (!taken.is_empty()).then_some(taken)
    }
}

impl Output {
    fn new(mut sink: Box<dyn Write + Send>) -> Output {
        let shared = Arc::new(Pending::default());
        let pending = Arc::clone(&shared);
        let thread = sandbox::spawn(Kind::Console, "console output", move || {
            let mut broken = false;
            while let Some(bytes) = pending.take() {
                let result = sink.write_all(&bytes).and_then(|()| sink.flush());
                if let Err(error) = result
                    && !std::mem::replace(&mut broken, true)
                {
                    tracing::warn!("the console's output is lost: {error}");
                }
            }
        });
        Output {
            shared,
            thread: Some(thread),
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut pending = self.shared.pending();
        if pending.waiting.len() + bytes.len() > CONSOLE_BACKLOG_MAX {
            pending.dropped += bytes.len() as u64;
            return;
        }
        pending.waiting.extend_from_slice(bytes);
        drop(pending);
        self.shared.more.notify_one();
    }
}

impl Drop for Output {
    /// The guest's last words are written before the process ends.
    fn drop(&mut self) {
        self.shared.pending().closed = true;
        self.shared.more.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
