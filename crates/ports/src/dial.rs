//! `Dialer`: reaches a gateway by several attempts beside each other, of which the first that is through
//! wins. `plug` runs it on a thread of its own, because it waits; the guest thread must not.
//!
//! A SYN that is lost in an outage is sent again by the kernel only after a second, and then after two more.
//! So a new attempt begins every [`GATEWAY_DIAL_EVERY`]; of those that nobody has answered the oldest are
//! given up, but for the very first, which has time enough for any path. With a key the handshake is part of
//! an attempt.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::limits::{GATEWAY_DIAL_EVERY, GATEWAY_DIALS_MAX, GATEWAY_REFUSED_PAUSE};
use cable::keyed::{Caller, KeyedError, Next};
use cable::wire::{Wire, notice_cuts};
use link::Security;
use link::limits::CONNECT_TIMEOUT;
use os::sys::clock;

/// Where a gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and a TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Begins to connect, without waiting for the gateway's answer.
    fn begin(&self) -> io::Result<Connection> {
        Ok(match self {
            Endpoint::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                match socket.connect(&(*address).into()) {
                    Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                        return Err(error);
                    }
                    _ => {}
                }
                let stream = TcpStream::from(socket);
                stream.set_nodelay(true)?;
                Connection::Tcp(stream)
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Connection::Unix(stream)
            }
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A stream socket to a gateway, of either kind.
#[derive(Debug)]
pub enum Connection {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Connection {
    /// Is this attempt to connect through? An error says that it has failed.
    fn is_through(&self) -> io::Result<bool> {
        let Connection::Tcp(stream) = self else {
            return Ok(true);
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(buffer),
            Connection::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.write(bytes),
            Connection::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Connection::Tcp(stream) => stream.as_fd(),
            Connection::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answers at the endpoint, or the connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Somebody answers, but it is no gateway for this VM.
    #[error(transparent)]
    Keyed(#[from] KeyedError),
}

/// How far an attempt has come.
#[derive(Debug)]
enum Stage {
    /// The kernel has no answer from the endpoint yet.
    Connecting,
    /// The connection is made, and the handshake that proves the key is under way.
    Greeting(Caller),
}

/// One attempt to reach the gateway.
#[derive(Debug)]
struct Attempt {
    stream: Connection,
    /// When the attempt began; it is given up after [`CONNECT_TIMEOUT`].
    began: Instant,
    stage: Stage,
}

/// A series of attempts to reach one gateway.
#[derive(Debug)]
pub struct Dialer {
    endpoint: Endpoint,
    security: Security,
    /// The attempts under way, in the order in which they began; at most [`GATEWAY_DIALS_MAX`].
    attempts: Vec<Attempt>,
    /// When the next attempt begins.
    next: Instant,
}

impl Dialer {
    /// A dialer that has not begun any attempt.
    #[must_use]
    pub fn new(endpoint: Endpoint, security: Security) -> Dialer {
        Dialer {
            endpoint,
            security,
            attempts: Vec::new(),
            next: Instant::now(),
        }
    }

    /// Waits for at most [`GATEWAY_DIAL_EVERY`] for something to come of the attempts; `None`: nothing yet.
    /// Call again after an error too.
    ///
    /// # Errors
    /// An attempt has failed. The others go on.
    pub fn step(&mut self) -> Result<Option<Wire<Connection>>, DialError> {
        let now = Instant::now();
        if self.next <= now {
            self.next = now + GATEWAY_DIAL_EVERY;
            self.begin(now)?;
        }
        for index in self.wait(now) {
            match self.advance(index) {
                Ok(None) => {}
                Ok(Some(wire)) => return Ok(Some(wire)),
                Err(error) => {
                    self.attempts.remove(index);
                    if matches!(error, DialError::Keyed(_)) {
                        self.next = now + GATEWAY_REFUSED_PAUSE;
                    }
                    return Err(error);
                }
            }
        }
        if let Some(index) = self
            .attempts
            .iter()
            .position(|attempt| attempt.began + CONNECT_TIMEOUT <= now)
        {
            self.attempts.remove(index);
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        Ok(None)
    }

    /// Begins one more attempt; if there are too many, the second oldest ends for it.
    fn begin(&mut self, now: Instant) -> io::Result<()> {
        if self.attempts.len() >= GATEWAY_DIALS_MAX {
            self.attempts.remove(1);
        }
        self.attempts.push(Attempt {
            stream: self.endpoint.begin()?,
            began: now,
            stage: Stage::Connecting,
        });
        Ok(())
    }

    /// Waits, and gives the indices of the attempts of which something has come, the last one first: so the
    /// others keep their places when one is removed.
    fn wait(&self, now: Instant) -> Vec<usize> {
        let patience = self.next.saturating_duration_since(now);
        let mut fds: Vec<PollFd<'_>> = self
            .attempts
            .iter()
            .map(|attempt| {
                let flags = match attempt.stage {
                    Stage::Connecting => PollFlags::OUT,
                    Stage::Greeting(_) => PollFlags::IN,
                };
                PollFd::new(&attempt.stream, flags)
            })
            .collect();
        let patience = clock::timespec(patience.min(Duration::from_secs(1)).as_nanos() as u64);
        // A wait that a signal interrupts is only a short one.
        let _ = poll(&mut fds, Some(&patience));
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        (0..fds.len()).rev().filter(|&index| ready(&fds[index])).collect()
    }

    /// Takes an attempt as far as it comes without waiting; gives its connection once that is ready.
    fn advance(&mut self, index: usize) -> Result<Option<Wire<Connection>>, DialError> {
        let Attempt { stream, stage, .. } = &mut self.attempts[index];
        match stage {
            Stage::Connecting => {
                if !stream.is_through()? {
                    return Ok(None);
                }
                match &self.security {
                    Security::Insecure => {
                        let attempt = self.attempts.remove(index);
                        notice_cuts(&attempt.stream);
                        Ok(Some(Wire::new(attempt.stream, None)))
                    }
                    Security::Key(key) => {
                        let (caller, greeting) = Caller::new(key)?;
                        stream.write_all(&greeting)?;
                        *stage = Stage::Greeting(caller);
                        Ok(None)
                    }
                }
            }
            Stage::Greeting(caller) => {
                let mut bytes = [0; 128];
                let length = match stream.read(&mut bytes) {
                    Ok(0) => return Err(KeyedError::Stranger.into()),
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                match caller.take(&bytes[..length])? {
                    Next::More => Ok(None),
                    Next::Send(bytes) => {
                        stream.write_all(&bytes)?;
                        Ok(None)
                    }
                    Next::Done(done) => {
                        let attempt = self.attempts.remove(index);
                        Ok(Some(Wire::new(attempt.stream, Some(done.records))))
                    }
                }
            }
        }
    }
}
