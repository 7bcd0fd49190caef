//! The guest's side of a gateway: frames on a byte stream to another process, which outlives this one.
//!
//! When the gateway goes away the cable is out: frames are dropped and a thread tries to plug it in again. While its first
//! try is under way frames wait: what a replica shows as it goes live is what a client waits for.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::stream::{FrameReader, write_frame};
use crate::limits::{CONNECT_TIMEOUT, GATEWAY_BACKLOG_MAX, GATEWAY_RETRY};
use crate::sandbox::{self, Kind};
use crate::wake::Waker;

/// Where a gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// `HOST:PORT` with a numeric host, or else the path of a Unix socket (`unix:` in front is allowed).
    #[must_use]
    pub fn parse(text: &str) -> Endpoint {
        match text.parse() {
            Ok(address) => Endpoint::Tcp(address),
            Err(_) => Endpoint::Unix(text.strip_prefix("unix:").unwrap_or(text).into()),
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        let connection = match self {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Connection::Tcp(stream)
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Connection::Unix(stream)
            }
        };
        Ok(connection)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => path.display().fmt(f),
        }
    }
}

#[derive(Debug)]
enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
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

/// A cable to a gateway, plugged in or not.
#[derive(Debug)]
pub struct Plug {
    endpoint: Endpoint,
    waker: Waker,
    connection: Option<Connection>,
    reader: FrameReader,
    /// Frames with their lengths; those before `written` are gone.
    outgoing: Vec<u8>,
    written: usize,
    /// Frames dropped because the cable was out or the gateway did not read.
    dropped: u64,
    /// What the thread has to say of each try: `None` if it failed.
    connected: (Sender<Option<Connection>>, Receiver<Option<Connection>>),
    /// A thread is trying to connect.
    trying: bool,
    /// It has not failed yet: frames wait for it.
    first_try: bool,
    /// Tells that thread that nobody waits any more.
    gone: Arc<AtomicBool>,
}

impl Plug {
    /// A cable that is out.
    #[must_use]
    pub fn new(endpoint: Endpoint, waker: Waker) -> Plug {
        Plug {
            endpoint,
            waker,
            connection: None,
            reader: FrameReader::default(),
            outgoing: Vec::new(),
            written: 0,
            dropped: 0,
            connected: channel(),
            trying: false,
            first_try: false,
            gone: Arc::default(),
        }
    }

    /// Plugs it in at once, to see at the start that the gateway is there.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect_now(&mut self) -> io::Result<()> {
        self.connection = Some(self.endpoint.connect()?);
        Ok(())
    }

    /// Begins to plug it in; the waker calls when it is in, and then [`Plug::on_wake`] must be called.
    pub fn connect(&mut self) {
        if self.trying || self.connection.is_some() {
            return;
        }
        self.trying = true;
        self.first_try = true;
        let (endpoint, sender, waker) = (
            self.endpoint.clone(),
            self.connected.0.clone(),
            self.waker.clone(),
        );
        let gone = Arc::clone(&self.gone);
        sandbox::spawn(Kind::Cable, "cable", move || {
            while !gone.load(Ordering::SeqCst) {
                let connection = endpoint.connect().inspect_err(|error| {
                    tracing::debug!("the gateway at {endpoint} does not answer: {error}");
                });
                let done = connection.is_ok();
                let _ = sender.send(connection.ok());
                waker.wake();
                if done {
                    return;
                }
                thread::sleep(GATEWAY_RETRY);
            }
        });
    }

    /// Looks whether the cable has been plugged in; `true`: now, and [`Plug::fd`] is new.
    pub fn on_wake(&mut self) -> bool {
        while let Ok(answer) = self.connected.1.try_recv() {
            self.first_try = false;
            if answer.is_some() {
                tracing::info!("connected to the gateway at {}", self.endpoint);
                self.trying = false;
                self.connection = answer;
                return true;
            }
            self.outgoing.clear();
        }
        false
    }

    /// What to wait for; `None`: the cable is out.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }

    /// Queues a frame, or drops it, as a card does when its queue is full or its cable is out.
    pub fn transmit(&mut self, frame: &[u8]) {
        let backlog = self.outgoing.len() - self.written;
        let leads_somewhere = self.connection.is_some() || self.first_try;
        let fits = leads_somewhere && backlog + frame.len() <= GATEWAY_BACKLOG_MAX;
        if !fits || write_frame(&mut self.outgoing, frame).is_err() {
            self.dropped += 1;
        }
    }

    /// Writes what the kernel takes. `true`: nothing is left, or it waits for [`Plug::on_wake`].
    pub fn flush(&mut self) -> bool {
        if self.first_try {
            return true;
        }
        while let Some(connection) = &mut self.connection
            && self.written < self.outgoing.len()
        {
            match connection.write(&self.outgoing[self.written..]) {
                Ok(length @ 1..) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.outgoing.drain(..self.written);
                    self.written = 0;
                    return false;
                }
                Ok(_) => self.unplugged("it closed the connection"),
                Err(error) => self.unplugged(&error.to_string()),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        true
    }

    /// The next frame that has arrived.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.reader.pop() {
                Ok(Some(frame)) => return Some(frame.to_vec()),
                Ok(None) => {}
                Err(error) => {
                    self.unplugged(&error.to_string());
                    return None;
                }
            }
            match self.reader.read_from(self.connection.as_mut()?) {
                Ok(1..) => {}
                Ok(0) => self.unplugged("it closed the connection"),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => self.unplugged(&error.to_string()),
            }
        }
    }

    /// Frames of the guest that went nowhere.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn unplugged(&mut self, why: &str) {
        tracing::warn!("lost the gateway at {}: {why}; connecting again", self.endpoint);
        self.connection = None;
        self.reader = FrameReader::default();
        self.outgoing.clear();
        self.written = 0;
        self.connect();
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
    }
}
