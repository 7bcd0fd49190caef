//! At which of the host's addresses a datagram came, so that the answer leaves from the same one.
//!
//! A forward that listens on all addresses would otherwise answer from the address that the host's routes
//! prefer, and a client that has sent to another one would not take the answer. The kernel tells and takes
//! the address beside each datagram (`IP_PKTINFO`, ip(7) and ipv6(7)). `clients` uses this file for its
//! sockets.

use mio::net::UdpSocket;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

/// Room for what the kernel says beside a datagram.
const BESIDE_LEN: usize = 256;

/// An address of this host, as the kernel says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LocalAddress {
    /// Four bytes of an address of IPv4.
    Ipv4([u8; 4]),
    /// Sixteen bytes of an address of IPv6, and the interface, which a link-local address needs.
    Ipv6([u8; 16], u32),
}

/// Has the kernel tell the address of each datagram. If it cannot, answers leave from the address that the
/// host's routes prefer.
pub fn keep(socket: &UdpSocket) {
    let is_ipv4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
    let kept = if is_ipv4 {
        setsockopt(socket, Ipv4PacketInfo, &true)
    } else {
        setsockopt(socket, Ipv6RecvPacketInfo, &true)
    };
    if let Err(error) = kept {
        tracing::debug!(%error, "addresses of datagrams are not told");
    }
}

/// Receives a datagram: its length, who sent it, and at which address it came.
///
/// # Errors
/// There is none, or the error of an earlier one is in the way.
pub fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<LocalAddress>)> {
    let mut beside = [0; BESIDE_LEN];
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut beside),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let from = message.address.as_ref().and_then(address_of);
    let from = from.ok_or(ErrorKind::InvalidData)?;
    let local = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            // The kernel has the bytes of an address in the order of the network.
            Some(LocalAddress::Ipv4(info.ipi_spec_dst.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(LocalAddress::Ipv6(info.ipi6_addr.s6_addr, info.ipi6_ifindex))
        }
        _ => None,
    });
    Ok((message.bytes, from, local))
}

/// Sends a datagram from an address of this host; `None`: from the address that the host's routes prefer.
///
/// # Errors
/// The datagram cannot be sent, or the error of an earlier one is in the way.
pub fn send(
    socket: &UdpSocket,
    payload: &[u8],
    to: SocketAddr,
    from: Option<LocalAddress>,
) -> io::Result<usize> {
    let Some(from) = from else {
        return socket.send_to(payload, to);
    };
    let parts = [IoSlice::new(payload)];
    let to = SockaddrStorage::from(to);
    let send = |beside: ControlMessage<'_>| {
        sendmsg(
            socket.as_raw_fd(),
            &parts,
            &[beside],
            MsgFlags::MSG_DONTWAIT,
            Some(&to),
        )
    };
    let sent = match from {
        LocalAddress::Ipv4(bytes) => {
            let mut info = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: nix::libc::in_addr { s_addr: 0 },
                ipi_addr: nix::libc::in_addr { s_addr: 0 },
            };
            info.ipi_spec_dst.s_addr = u32::from_ne_bytes(bytes);
            send(ControlMessage::Ipv4PacketInfo(&info))
        }
        LocalAddress::Ipv6(bytes, interface) => {
            let info = in6_pktinfo {
                ipi6_addr: nix::libc::in6_addr { s6_addr: bytes },
                // fe80::/10: such an address is one on its interface only.
                ipi6_ifindex: if bytes[0] == 0xfe && bytes[1] & 0xc0 == 0x80 {
                    interface
                } else {
                    0
                },
            };
            send(ControlMessage::Ipv6PacketInfo(&info))
        }
    };
    Ok(sent?)
}

fn address_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    let of_ipv4 = address.as_sockaddr_in().copied();
    let of_ipv4 = of_ipv4.map(|address| SocketAddrV4::from(address).into());
    let of_ipv6 = address.as_sockaddr_in6().copied();
    of_ipv4.or(of_ipv6.map(|address| SocketAddrV6::from(address).into()))
}
