//! What a child of the sandbox tests has opened before it enters the sandbox.

use std::io;
use std::net::{SocketAddr, UdpSocket};

/// Sockets that are made before the sandbox is entered.
pub struct Made {
    /// Somebody who listens, on TCP.
    pub other: SocketAddr,
    /// For datagrams; connected to nobody.
    pub loose: UdpSocket,
    /// For datagrams; connected.
    pub heartbeats: UdpSocket,
}

impl Made {
    /// Somebody listens at `other`.
    ///
    /// # Errors
    /// This host gives no sockets.
    pub fn new(other: SocketAddr) -> io::Result<Made> {
        let loose = UdpSocket::bind("127.0.0.1:0")?;
        let heartbeats = UdpSocket::bind("127.0.0.1:0")?;
        heartbeats.connect(loose.local_addr()?)?;
        Ok(Made {
            other,
            loose,
            heartbeats,
        })
    }
}
