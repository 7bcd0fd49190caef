//! ICMP: answers pings to the gateway, and tells guests of datagrams that nobody takes, that may not be sent
//! or that do not arrive.
//!
//! `event_loop` says what this host itself refuses; `mappings`, `clients` and `pings` what the network said
//! later. Nothing here is sent beyond the gateway.

use super::segment::{IPV4_LEN, Incoming, Segment, UDP_LEN, emit_ipv4};
use super::socket_errors::{FRAGMENTATION_NEEDED, PORT_UNREACHABLE, SocketError, TIME_EXCEEDED, UNREACHABLE};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, IpProtocol};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// Bytes of the header of an ICMP message.
const ICMP_LEN: usize = 8;
/// Bytes of the offending packet that an error quotes: the whole error has 576 bytes at most (RFC 1812
/// section 4.3.2.3).
const QUOTED_LEN_MAX: usize = 576 - IPV4_LEN - ICMP_LEN;

/// Handles an ICMP packet of a guest to the gateway.
pub fn on_packet(segment: &mut Segment, packet: &Incoming<'_>) {
    let Ok(icmp) = Icmpv4Packet::new_checked(packet.payload) else {
        return;
    };
    let checksums = ChecksumCapabilities::default();
    if let Ok(Icmpv4Repr::EchoRequest { ident, seq_no, data }) = Icmpv4Repr::parse(&icmp, &checksums) {
        let reply = Icmpv4Repr::EchoReply { ident, seq_no, data };
        let mut message = vec![0; reply.buffer_len()];
        reply.emit(&mut Icmpv4Packet::new_unchecked(&mut message[..]), &checksums);
        segment.send_long((packet.to, packet.from), IpProtocol::Icmp, &message);
    }
}

/// The guest's port that refused a datagram, and the port of the gateway that the datagram came from, if this
/// is what a guest's ICMP packet says.
pub fn refused(segment: &Segment, packet: &Incoming<'_>) -> Option<(SocketAddrV4, u16)> {
    let icmp = Icmpv4Packet::new_checked(packet.payload).ok()?;
    let says_so = u8::from(icmp.msg_type()) == UNREACHABLE && icmp.msg_code() == PORT_UNREACHABLE;
    if !says_so || !icmp.verify_checksum() {
        return None;
    }
    let quoted = packet.payload.get(ICMP_LEN..)?;
    let header_len = usize::from(quoted.first()? & 0x0f) * 4;
    let from_gateway = quoted.get(12..16)? == segment.addresses.gateway.octets();
    let to_guest = quoted.get(16..20)? == packet.from.octets();
    let ports = quoted.get(header_len..)?.first_chunk::<4>()?;
    let is_udp = *quoted.get(9)? == u8::from(IpProtocol::Udp);
    let [gateway_port, guest_port] = [[ports[0], ports[1]], [ports[2], ports[3]]].map(u16::from_be_bytes);
    let guest = SocketAddrV4::new(packet.from, guest_port);
    (from_gateway && to_guest && is_udp).then_some((guest, gateway_port))
}

/// Answers a guest's packet, which could not go on, with an error.
pub fn answer(segment: &mut Segment, packet: &Incoming<'_>, kind: (u8, u8)) {
    let quoted = &packet.whole[..packet.whole.len().min(QUOTED_LEN_MAX)];
    // This host says so, and not the destination: guests know it by the gateway's address.
    let by = if segment.addresses.is_own(packet.to) {
        packet.to
    } else {
        segment.addresses.gateway
    };
    send_error(segment, (by, packet.from), (kind, 0), quoted);
}

/// Tells a guest what was said about a datagram that went from the first of these places to the second. The
/// guest finds the sender by the header that is quoted; the rest of the datagram is not known any more.
pub fn tell(
    segment: &mut Segment,
    by: Ipv4Addr,
    (guest, to): (SocketAddrV4, SocketAddrV4),
    error: &SocketError,
) {
    if !matches!(error.kind.0, UNREACHABLE | TIME_EXCEEDED) {
        return;
    }
    let mut quoted = [0; IPV4_LEN + UDP_LEN];
    emit_ipv4(&mut quoted, *guest.ip(), *to.ip(), IpProtocol::Udp);
    let ports = [guest.port().to_be_bytes(), to.port().to_be_bytes()];
    quoted[IPV4_LEN..IPV4_LEN + 4].copy_from_slice(ports.as_flattened());
    quoted[IPV4_LEN + 5] = UDP_LEN as u8;
    send_error(segment, (by, *guest.ip()), (error.kind, error.mtu), &quoted);
}

/// Tells a guest what was said about its echo request to an address, under this identifier.
pub fn tell_pinger(
    segment: &mut Segment,
    (guest, to, ident): (Ipv4Addr, Ipv4Addr, u16),
    error: &SocketError,
) {
    if !matches!(error.kind.0, UNREACHABLE | TIME_EXCEEDED) {
        return;
    }
    let by = match error.by {
        Some(IpAddr::V4(by)) => by,
        _ => segment.addresses.gateway,
    };
    let mut quoted = [0; IPV4_LEN + ICMP_LEN];
    emit_ipv4(&mut quoted, guest, to, IpProtocol::Icmp);
    // The kernel has sent the request with an identifier of its own, and keeps the rest: type and number.
    quoted[IPV4_LEN..].copy_from_slice(&error.beginning);
    quoted[IPV4_LEN + 4..IPV4_LEN + 6].copy_from_slice(&ident.to_be_bytes());
    send_error(segment, (by, guest), (error.kind, error.mtu), &quoted);
}

/// Sends an error: its type and code, the longest packet that gets through if that is the error (RFC 1191
/// section 4), and the beginning of the packet that it is about.
fn send_error(
    segment: &mut Segment,
    (from, to): (Ipv4Addr, Ipv4Addr),
    ((kind, code), mtu): ((u8, u8), u16),
    quoted: &[u8],
) {
    let mtu = if (kind, code) == (UNREACHABLE, FRAGMENTATION_NEEDED) {
        mtu
    } else {
        0
    };
    segment.send_ip(to, IPV4_LEN + ICMP_LEN + quoted.len(), |packet| {
        emit_ipv4(packet, from, to, IpProtocol::Icmp);
        let message = &mut packet[IPV4_LEN..];
        message[ICMP_LEN..].copy_from_slice(quoted);
        message[6..ICMP_LEN].copy_from_slice(&mtu.to_be_bytes());
        let mut icmp = Icmpv4Packet::new_unchecked(message);
        icmp.set_msg_type(kind.into());
        icmp.set_msg_code(code);
        icmp.fill_checksum();
    });
}
