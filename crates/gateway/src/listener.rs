//! The socket, TCP or Unix, to which VMMs connect.
//!
//! `event_loop` accepts from it; nothing is read from a VMM here.

use super::config::{GatewayError, GuestListen};
use super::peer::PeerStream;
use super::token::{Kind, token};
use cable::wire::notice_cuts;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry};
use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// VMMs that the kernel lets wait to be accepted.
const BACKLOG: i32 = 128;

/// A listening socket for VMMs.
#[derive(Debug)]
pub enum GuestListener {
    Tcp(TcpListener),
    /// A Unix socket; its path is removed with the listener.
    Unix(UnixListener, PathBuf),
}

impl GuestListener {
    /// Listens and registers.
    pub fn bind(listen: &GuestListen, registry: &Registry) -> Result<Self, GatewayError> {
        let fail = |source| GatewayError::Listen {
            address: listen.to_string(),
            purpose: "VMs",
            source,
        };
        let token = token(Kind::GuestListener, 0);
        match listen {
            GuestListen::Tcp(address) => {
                let mut listener = TcpListener::bind(*address).map_err(fail)?;
                registry
                    .register(&mut listener, token, Interest::READABLE)
                    .map_err(GatewayError::Poll)?;
                Ok(Self::Tcp(listener))
            }
            GuestListen::Unix(path) => {
                remove_if_dead(path);
                let mut listener = bind_private(path).map_err(fail)?;
                registry
                    .register(&mut listener, token, Interest::READABLE)
                    .map_err(GatewayError::Poll)?;
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    /// The address to which VMMs connect, with the port that was chosen.
    pub fn address(&self) -> io::Result<GuestListen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(GuestListen::Tcp),
            Self::Unix(_, path) => Ok(GuestListen::Unix(path.clone())),
        }
    }

    /// One VMM that wants to connect, with a name for messages and the address from which it calls, unless
    /// that is this host.
    pub fn accept(&self) -> io::Result<(PeerStream, String, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                // A failure here leaves a slower connection, not a wrong one.
                let _ = stream.set_nodelay(true);
                notice_cuts(&stream);
                Ok((PeerStream::Tcp(stream), address.to_string(), Some(address.ip())))
            }
            Self::Unix(listener, path) => {
                let (stream, _) = listener.accept()?;
                Ok((PeerStream::Unix(stream), path.display().to_string(), None))
            }
        }
    }
}

impl Drop for GuestListener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Listens on a socket to which only this user can connect. The mode is set before the file exists, so that
/// there is no moment at which others could.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(UnixListener::from_std(OwnedFd::from(socket).into()))
}

/// Removes a socket file whose server is gone. Anything else is left for `bind` to complain about.
fn remove_if_dead(path: &Path) {
    let dead = std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    let is_socket = std::fs::metadata(path)
        .is_ok_and(|data| std::os::unix::fs::FileTypeExt::is_socket(&data.file_type()));
    if dead && is_socket {
        let _ = std::fs::remove_file(path);
    }
}
