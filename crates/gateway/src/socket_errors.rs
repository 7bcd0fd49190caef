//! Errors of datagrams that a socket has sent, each with the datagram that it is about.
//!
//! The network tells a sender later that nobody takes its datagram. On a socket that sends to many, the
//! kernel's plain error code does not say which datagram was meant, and it fails the next call instead, whose
//! datagram is then lost. With `IP_RECVERR` the kernel keeps each error with its destination (ip(7)), and
//! here they are read. Nothing here decides who is told.

use mio::net::UdpSocket;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

/// Sources of errors that the kernel names (`SO_EE_ORIGIN_..` of linux/errqueue.h).
mod origin {
    /// This host itself refused to send.
    pub const LOCAL: u8 = 1;
    /// An ICMP message came.
    pub const ICMP: u8 = 2;
    /// A message of ICMPv6 came.
    pub const ICMP6: u8 = 3;
}

/// Type of "destination unreachable" (RFC 792).
pub const UNREACHABLE: u8 = 3;
/// Code of "network unreachable".
pub const NET_UNREACHABLE: u8 = 0;
/// Code of "host unreachable".
pub const HOST_UNREACHABLE: u8 = 1;
/// Code of "communication administratively prohibited" (RFC 1812 section 5.2.7.1).
pub const PROHIBITED: u8 = 13;
/// Code of "port unreachable".
pub const PORT_UNREACHABLE: u8 = 3;
/// Code of "fragmentation needed and DF set".
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Type of "time exceeded".
pub const TIME_EXCEEDED: u8 = 11;

/// What the network, or this host, said about a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketError {
    /// Where the datagram was to go.
    pub to: SocketAddr,
    /// Who said it; `None`: this host.
    pub by: Option<IpAddr>,
    /// Type and code of the ICMP message, in the numbers of IPv4.
    pub kind: (u8, u8),
    /// Longest packet in bytes that gets through, if `kind` is that fragmentation is needed.
    pub mtu: u16,
    /// The first bytes of what the socket was given to send, or zeros if they are not known any more.
    pub beginning: [u8; BEGINNING_LEN],
}

/// Bytes of a message that an error repeats.
pub const BEGINNING_LEN: usize = 8;

/// Number of times that a datagram is sent again after the errors of others were in its way.
const TRIES: usize = 4;
/// Room for the kernel's description of an error.
const DESCRIPTION_LEN: usize = 512;

/// Has the kernel keep the errors of this socket. A failure leaves them untold.
pub fn keep(socket: &UdpSocket) {
    let is_ipv4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
    let kept = if is_ipv4 {
        setsockopt(socket, Ipv4RecvErr, &true)
    } else {
        // A socket of IPv6 may serve clients of IPv4 as well, whose errors the first option keeps.
        let _ = setsockopt(socket, Ipv4RecvErr, &true);
        setsockopt(socket, Ipv6RecvErr, &true)
    };
    if let Err(error) = kept {
        tracing::debug!(%error, "errors of datagrams are not kept");
    }
}

/// Takes the errors that the kernel has kept, as many as a turn may take. If more are left, the next call on
/// the socket fails, as it does after any error.
pub fn take(socket: &UdpSocket) -> impl Iterator<Item = SocketError> {
    // Errors that tell nothing about a datagram are passed over.
    let errors = (0..super::limits::DATAGRAMS_PER_TURN).map_while(|_| read(socket).ok());
    errors.flatten()
}

/// Has `transmit` send a datagram past the errors of earlier ones, which are given to `told`.
///
/// # Errors
/// The datagram itself cannot be sent. If the kernel has kept the error as well, `told` has got it.
pub fn send(
    socket: &UdpSocket,
    transmit: impl Fn() -> io::Result<usize>,
    mut told: impl FnMut(SocketError),
) -> io::Result<()> {
    let mut result = Ok(());
    for _ in 0..TRIES {
        match transmit() {
            Ok(_) => return Ok(()),
            // The socket's buffer is full: the datagram is lost, as on any network.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                let mut own = false;
                let mut others = error.kind() == ErrorKind::ConnectionRefused;
                for kept in take(socket) {
                    own |= kept.by.is_none();
                    others |= kept.by.is_some();
                    told(kept);
                }
                result = if own { Ok(()) } else { Err(error) };
                if own || !others {
                    break;
                }
            }
        }
    }
    result
}

/// Reads one error from the kernel. `None`: it is not about a datagram that a guest could be told of.
fn read(socket: &UdpSocket) -> nix::Result<Option<SocketError>> {
    let mut beginning = [0; BEGINNING_LEN];
    let mut description = [0; DESCRIPTION_LEN];
    let mut parts = [IoSliceMut::new(&mut beginning)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut description), flags)?;
    let to = message.address.and_then(|address| {
        let of_ipv4 = address.as_sockaddr_in().copied();
        let of_ipv4 = of_ipv4.map(|address| SocketAddrV4::from(address).into());
        let of_ipv6 = address.as_sockaddr_in6().copied();
        of_ipv4.or(of_ipv6.map(|address| SocketAddrV6::from(address).into()))
    });
    let told = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4RecvErr(error, by) => {
            let by = by.map(|by| Ipv4Addr::from_bits(u32::from_be(by.sin_addr.s_addr)));
            Some((error, by.map(IpAddr::V4)))
        }
        ControlMessageOwned::Ipv6RecvErr(error, by) => {
            let by = by.map(|by| Ipv6Addr::from(by.sin6_addr.s6_addr));
            Some((error, by.map(IpAddr::V6)))
        }
        _ => None,
    });
    Ok(to.zip(told).and_then(|(to, (error, by))| {
        let kind = match error.ee_origin {
            origin::LOCAL if error.ee_errno == nix::libc::EMSGSIZE as u32 => {
                (UNREACHABLE, FRAGMENTATION_NEEDED)
            }
            origin::ICMP => (error.ee_type, error.ee_code),
            origin::ICMP6 => in_numbers_of_ipv4(error.ee_type, error.ee_code)?,
            _ => return None,
        };
        let by = by.filter(|_| error.ee_origin != origin::LOCAL);
        let mtu = u16::try_from(error.ee_info).unwrap_or(u16::MAX);
        Some(SocketError {
            to,
            by,
            kind,
            mtu,
            beginning,
        })
    }))
}

/// Type and code of an error of ICMPv6 as IPv4 has them (RFC 7915 section 5.2).
fn in_numbers_of_ipv4(kind: u8, code: u8) -> Option<(u8, u8)> {
    match (kind, code) {
        (1, 1) => Some((UNREACHABLE, PROHIBITED)),
        (1, 4) => Some((UNREACHABLE, PORT_UNREACHABLE)),
        (1, _) => Some((UNREACHABLE, HOST_UNREACHABLE)),
        (3, code) => Some((TIME_EXCEEDED, code)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        keep(&socket);
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn an_error_names_its_datagram_and_the_next_datagram_is_sent() {
        let (sender, _) = bound();
        let (receiver, open) = bound();
        let (first, closed) = bound();
        drop(first);
        let mut errors = Vec::new();
        sender.send_to(b"lost", closed).unwrap();
        // On the loopback the error is there when the call returns, and is in the way of the next datagram.
        let transmit = || sender.send_to(b"kept", open);
        send(&sender, transmit, |error| errors.push(error)).unwrap();
        let refused = SocketError {
            to: closed,
            by: Some(Ipv4Addr::LOCALHOST.into()),
            kind: (UNREACHABLE, PORT_UNREACHABLE),
            mtu: 0,
            beginning: *b"lost\0\0\0\0",
        };
        assert_eq!(errors, [refused]);
        let mut buffer = [0; 8];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);
        assert_eq!(take(&sender).next(), None);
    }
}
