//! Finding the peer: the backup listens, the primary calls until it answers.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use replica::Span;
use rustix::event::{PollFd, PollFlags, poll};

use super::heartbeat::Side;
use super::key::Security;
use super::{Link, LinkError, handshake::handshake};
use crate::limits::{CONNECT_RETRY, CONNECT_TIMEOUT, HANDSHAKES_MAX};
use crate::sys::clock;
use crate::wake::Waker;

/// How the search for the peer goes; for a progress line.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Counts from 1.
    pub number: u32,
    /// Since the first.
    pub waited: Span,
    /// Why this one failed.
    pub error: &'a io::Error,
}

/// Calls `peer` until it answers or `patience` is over. `progress` is told of each failed attempt; when it
/// says `false` the search ends.
///
/// # Errors
/// Nobody answers, or who answers is not a peer with the same key.
pub fn connect(
    peer: SocketAddr,
    security: &Security,
    patience: Span,
    progress: &mut dyn FnMut(&Attempt<'_>) -> bool,
) -> Result<Link, LinkError> {
    let started = clock::now();
    for number in 1.. {
        let error = match TcpStream::connect_timeout(&peer, CONNECT_TIMEOUT) {
            // A stranger or a wrong key does not get better by waiting.
            Ok(stream) => return handshake(stream, Side::Initiator, security),
            Err(error) => error,
        };
        let waited = clock::now().since(started);
        let attempt = Attempt {
            number,
            waited,
            error: &error,
        };
        if !progress(&attempt) {
            return Err(LinkError::Stopped);
        }
        if waited >= patience {
            return Err(LinkError::Unreachable { peer, source: error });
        }
        thread::sleep(CONNECT_RETRY.min(Duration::from_nanos(patience.0)));
    }
    Err(LinkError::Stopped)
}

/// A caller at the listener.
#[derive(Debug)]
pub enum Arrival<'a> {
    /// It could not be accepted as the peer.
    Refused(&'a LinkError),
}

/// Where a backup waits for its primary.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    security: Security,
}

impl Listener {
    /// Opens the port.
    ///
    /// # Errors
    /// The address is taken or not of this host.
    pub fn bind(address: SocketAddr, security: Security) -> Result<Listener, LinkError> {
        let open = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = open().map_err(|source| LinkError::Listen { address, source })?;
        Ok(Listener {
            listener,
            address,
            security,
        })
    }

    /// Where it listens, with the port number the kernel chose if none was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for a peer with the same key. Strangers are shown to `progress` and dropped; each has its own
    /// thread, so that a silent one keeps nobody out. `stop` becoming readable ends the wait.
    ///
    /// # Errors
    /// The listener broke, or `stop`.
    pub fn accept(
        &self,
        stop: Option<BorrowedFd<'_>>,
        progress: &mut dyn FnMut(&Arrival<'_>),
    ) -> Result<Link, LinkError> {
        let listen_error = |source| LinkError::Listen {
            address: self.address,
            source,
        };
        let waker = Waker::new().map_err(listen_error)?;
        let (sender, results) = channel();
        let mut going_on = 0;
        loop {
            self.wait(&waker, stop, going_on < HANDSHAKES_MAX)
                .map_err(listen_error)??;
            waker.clear();
            while let Ok(result) = results.try_recv() {
                going_on -= 1;
                match result {
                    Ok(link) => return Ok(link),
                    Err(error) => progress(&Arrival::Refused(&error)),
                }
            }
            while going_on < HANDSHAKES_MAX {
                match self.listener.accept() {
                    Ok((stream, _)) => {
                        self.greet(stream, &sender, &waker);
                        going_on += 1;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_callers_fault(&error) => {}
                    Err(error) => return Err(listen_error(error)),
                }
            }
        }
    }

    /// Until a caller comes, a handshake ends, or `stop` (the inner error).
    fn wait(
        &self,
        waker: &Waker,
        stop: Option<BorrowedFd<'_>>,
        more: bool,
    ) -> io::Result<Result<(), LinkError>> {
        let callers = if more { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = vec![
            PollFd::new(waker, PollFlags::IN),
            PollFd::new(&self.listener, callers),
        ];
        if let Some(stop) = &stop {
            fds.push(PollFd::new(stop, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let stopped = fds.get(2).is_some_and(|fd| !fd.revents().is_empty());
        Ok(if stopped { Err(LinkError::Stopped) } else { Ok(()) })
    }

    fn greet(&self, stream: TcpStream, sender: &Sender<Result<Link, LinkError>>, waker: &Waker) {
        let (security, sender, waker) = (self.security.clone(), sender.clone(), waker.clone());
        thread::spawn(move || {
            // Nobody waits any more if another caller was accepted first.
            let _ = sender.send(handshake(stream, Side::Responder, &security));
            waker.wake();
        });
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// `accept` passes on errors of a connection that broke before it was accepted.
fn is_callers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
