//! The operator's signals: SIGINT and SIGTERM ask for the end; SIGHUP asks for nothing.
//!
//! SIGINT and SIGTERM each become a byte in a pipe, which stands in the guest thread's `epoll` (poll.rs).
//! `World` of crate `host` takes the number of bytes and asks that crate's `Operator` what they mean. A
//! handler must never do more than write the byte.
//!
//! A terminal that is closed sends SIGHUP to the programs that were started in it, and a VM must not end from
//! that. SIGPIPE is ignored by the Rust runtime: a client that went away is an error of a write, not the end.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::{pipe, unregister};

/// Catches the operator's signals while it lives.
#[derive(Debug)]
pub struct Signals {
    pipe: UnixStream,
    ids: Vec<SigId>,
}

impl Signals {
    /// Begins to catch the signals.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn catch() -> io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let mut ids = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            ids.push(pipe::register(signal, write.try_clone()?)?);
        }
        // Nobody looks at this flag: the signal is caught, and nothing else happens.
        ids.push(flag::register(SIGHUP, Arc::default())?);
        Ok(Signals { pipe: read, ids })
    }

    /// Number of signals that have come since the last call.
    pub fn take(&mut self) -> usize {
        self.pipe.read(&mut [0; 64]).unwrap_or(0)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            unregister(id);
        }
    }
}
