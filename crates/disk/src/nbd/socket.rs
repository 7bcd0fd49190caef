//! `Socket`: a connection to a disk server, in the clear or through a tunnel.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use block::control::WANT_NBD;
use link::{LinkError, Security, Tunnel};
use rustix::net::sockopt;

use crate::limits::{NBD_CONNECT_PATIENCE, NBD_DEAD_AFTER, NBD_HANDSHAKE_PATIENCE};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The network or the server is away.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server does not let this process through its door.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// A connection to a server.
#[derive(Debug)]
pub enum Socket {
    /// In the clear.
    Plain(TcpStream),
    /// Through a tunnel.
    Tunnel(Tunnel),
}

impl Socket {
    /// Makes a connection to the first address that answers, and goes through its door; `None` means that it
    /// has none. `begun` is given the connection before anything is said, so that somebody else can end it.
    ///
    /// # Errors
    /// Nobody answers, or the door stays shut.
    pub fn call(
        addresses: &[SocketAddr],
        security: Option<&Security>,
        begun: &mut dyn FnMut(&TcpStream),
    ) -> Result<Socket, SocketError> {
        let stream = connect(addresses)?;
        begun(&stream);
        let Some(security) = security else {
            return Ok(Socket::Plain(stream));
        };
        stream.set_read_timeout(Some(NBD_HANDSHAKE_PATIENCE))?;
        let tunnel = Tunnel::call(stream, security)?;
        tunnel.stream().set_read_timeout(None)?;
        (&tunnel).write_all(&[WANT_NBD])?;
        Ok(Socket::Tunnel(tunnel))
    }

    /// Says how long a read may wait.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let stream = match self {
            Socket::Plain(stream) => stream,
            Socket::Tunnel(tunnel) => tunnel.stream(),
        };
        stream.set_read_timeout(Some(patience))
    }

    /// Ends the connection; whoever reads or writes comes back.
    pub fn close(&self) {
        let stream = match self {
            Socket::Plain(stream) => stream,
            Socket::Tunnel(tunnel) => tunnel.stream(),
        };
        // A connection that has ended already is as closed as it can be.
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// Writes one piece behind the other, together where the kernel takes both.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn write_both(&self, head: &[u8], data: &[u8]) -> io::Result<()> {
        let mut stream = match self {
            Socket::Plain(stream) => stream,
            Socket::Tunnel(tunnel) => {
                let mut tunnel = tunnel;
                // A record of its own for each piece costs less than copying the data once more.
                tunnel.write_all(head)?;
                return tunnel.write_all(data);
            }
        };
        let mut written = 0;
        while written < head.len() {
            match stream.write_vectored(&[IoSlice::new(&head[written..]), IoSlice::new(data)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        stream.write_all(&data[written - head.len()..])
    }
}

impl Read for &Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(stream) => (&mut &*stream).read(bytes),
            Socket::Tunnel(tunnel) => (&mut &*tunnel).read(bytes),
        }
    }
}

fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect_timeout(address, NBD_CONNECT_PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                // NBD has no word to ask whether the server lives. The kernel finds out, and a server that is
                // slow, but alive, keeps its connection.
                sockopt::set_socket_keepalive(&stream, true)?;
                sockopt::set_tcp_keepidle(&stream, NBD_DEAD_AFTER / 5)?;
                sockopt::set_tcp_keepintvl(&stream, NBD_DEAD_AFTER / 5)?;
                sockopt::set_tcp_keepcnt(&stream, 5)?;
                let ms = u32::try_from(NBD_DEAD_AFTER.as_millis()).unwrap_or(u32::MAX);
                sockopt::set_tcp_user_timeout(&stream, ms)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
