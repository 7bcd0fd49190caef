//! ICMP: answers pings to the gateway, and tells guests of datagrams that nobody takes or that may not be
//! sent.
//!
//! Nothing is sent beyond the gateway, since that would need privileges.

use super::limits;
use super::segment::{IPV4_LEN, Incoming, Segment, emit_ipv4};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Repr};

/// Bytes of the offending packet's payload that an error repeats (RFC 792).
const REPEATED_LEN: usize = 8;

/// Handles an ICMP packet of a guest. Pings beyond the gateway are dropped: they would need privileges.
pub fn on_packet(segment: &mut Segment, packet: &Incoming<'_>) {
    if !segment.addresses.is_own(packet.to) {
        return;
    }
    let Ok(icmp) = Icmpv4Packet::new_checked(packet.payload) else {
        return;
    };
    let checksums = ChecksumCapabilities::default();
    if let Ok(Icmpv4Repr::EchoRequest { ident, seq_no, data }) = Icmpv4Repr::parse(&icmp, &checksums)
        && packet.whole.len() <= limits::MTU
    {
        send(segment, packet, &Icmpv4Repr::EchoReply { ident, seq_no, data });
    }
}

/// Tells a guest that nobody takes its datagram, or that the datagram may not be sent there.
pub fn unreachable(segment: &mut Segment, packet: &Incoming<'_>, is_forbidden: bool) {
    let header = Ipv4Repr {
        src_addr: packet.from,
        dst_addr: packet.to,
        next_header: IpProtocol::Udp,
        payload_len: packet.payload.len(),
        hop_limit: 64,
    };
    let data = &packet.payload[..packet.payload.len().min(REPEATED_LEN)];
    let reason = if is_forbidden {
        Icmpv4DstUnreachable::CommProhibited
    } else {
        Icmpv4DstUnreachable::PortUnreachable
    };
    send(
        segment,
        packet,
        &Icmpv4Repr::DstUnreachable { reason, header, data },
    );
}

fn send(segment: &mut Segment, cause: &Incoming<'_>, message: &Icmpv4Repr<'_>) {
    segment.send_ip(cause.from, IPV4_LEN + message.buffer_len(), |packet| {
        emit_ipv4(packet, cause.to, cause.from, IpProtocol::Icmp);
        message.emit(
            &mut Icmpv4Packet::new_unchecked(&mut packet[IPV4_LEN..]),
            &ChecksumCapabilities::default(),
        );
    });
}
