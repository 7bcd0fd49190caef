//! `Stream`: a connection over TCP, a Unix socket or a tunnel, read by one thread and written by several; and
//! `Listener`, from which they come.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use link::{LinkError, Security, Tunnel};
use rustix::net::sockopt;

use crate::config::Door;
use crate::limits::{DEAD_AFTER, HANDSHAKE_TIMEOUT};

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP, by holders of the key alone.
    Tunnel(Tunnel),
}

impl Stream {
    /// The connection below, if it is TCP.
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(stream) => Some(stream),
            Stream::Tunnel(tunnel) => Some(tunnel.stream()),
            Stream::Unix(_) => None,
        }
    }

    /// Who is at the other end, for people.
    #[must_use]
    pub fn peer(&self) -> String {
        match self.socket().map(TcpStream::peer_addr) {
            Some(Ok(peer)) => peer.to_string(),
            Some(Err(_)) => "nobody".into(),
            None => "this host".into(),
        }
    }

    /// Ends the connection in both directions; whoever reads or writes comes back.
    pub fn close(&self) {
        // A connection that has ended already is as closed as it can be.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Tunnel(tunnel) => tunnel.stream().shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// How long a read may wait; `None`: for ever.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(patience),
            Stream::Tunnel(tunnel) => tunnel.stream().set_read_timeout(patience),
            Stream::Unix(stream) => stream.set_read_timeout(patience),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).read(bytes),
            Stream::Tunnel(tunnel) => (&mut &*tunnel).read(bytes),
            Stream::Unix(stream) => (&mut &*stream).read(bytes),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).write(bytes),
            Stream::Tunnel(tunnel) => (&mut &*tunnel).write(bytes),
            Stream::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection that was taken, and with which nothing has been said.
#[derive(Debug)]
pub enum Taken {
    /// Over TCP, where NBD is spoken in the clear.
    Tcp(TcpStream),
    /// Over a Unix socket, where NBD is spoken.
    Unix(UnixStream),
    /// Over TCP, where the caller first shows that it has the key.
    Guarded(TcpStream, Security),
}

impl Taken {
    /// Makes a stream of it, which may take as long as the caller does, up to the limit of the handshake.
    ///
    /// # Errors
    /// The caller is a stranger, or has gone.
    pub fn stream(self) -> Result<Stream, LinkError> {
        let socket = match &self {
            Taken::Tcp(stream) | Taken::Guarded(stream, _) => Some(stream),
            Taken::Unix(_) => None,
        };
        if let Some(stream) = socket
            && let Err(error) = notice_death(stream)
        {
            // On a kernel that lacks one of the options the connection is as good as any other.
            tracing::debug!("a connection has not all options that it should: {error}");
        }
        Ok(match self {
            Taken::Tcp(stream) => Stream::Tcp(stream),
            Taken::Unix(stream) => Stream::Unix(stream),
            Taken::Guarded(stream, security) => {
                // A socket that takes no timeout is waited for as any other.
                let _ = stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT));
                Stream::Tunnel(Tunnel::take(stream, &security)?)
            }
        })
    }
}

/// Has the kernel find out a client that has died without a word.
fn notice_death(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, DEAD_AFTER / 5)?;
    sockopt::set_tcp_keepintvl(stream, DEAD_AFTER / 5)?;
    Ok(sockopt::set_tcp_keepcnt(stream, 5)?)
}

/// What a server listens on.
#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// One place where a server listens.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    door: Door,
    /// How callers show that they may come in; `None`: they need not.
    security: Option<Security>,
    /// Are no more connections taken?
    closing: AtomicBool,
}

impl Listener {
    /// Listens at a door. A socket that a dead server has left behind is replaced.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn at(door: &Door, security: Option<Security>) -> io::Result<Listener> {
        let (socket, door) = match door {
            Door::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                // A port that was left to the kernel is known now.
                let address = listener.local_addr()?;
                (Socket::Tcp(listener), Door::Tcp(address))
            }
            Door::Unix(path) => {
                // The state's lock keeps a second server of the same exports out.
                if UnixStream::connect(path).is_err() {
                    let _ = std::fs::remove_file(path);
                }
                (Socket::Unix(UnixListener::bind(path)?), door.clone())
            }
        };
        Ok(Listener {
            socket,
            door,
            security,
            closing: AtomicBool::new(false),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Waits for a connection; `None`: no more are taken.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn accept(&self) -> io::Result<Option<Taken>> {
        let taken = match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                match self.security.clone() {
                    Some(security) => Taken::Guarded(stream, security),
                    None => Taken::Tcp(stream),
                }
            }
            Socket::Unix(listener) => Taken::Unix(listener.accept()?.0),
        };
        Ok((!self.closing.load(Ordering::SeqCst)).then_some(taken))
    }

    /// Takes no more connections.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        // Whoever waits for connections sees by this one that no more are taken. Where nobody listens any
        // more, nobody has to be woken.
        let _ = match &self.door {
            Door::Tcp(address) => TcpStream::connect(address).map(drop),
            Door::Unix(path) => UnixStream::connect(path).map(drop),
        };
    }
}
