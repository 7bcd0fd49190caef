//! TCP segments made by hand, of a guest that need not keep to the rules.
//!
//! The guest is the one with MAC 1 at the first lease. Tests of what hostile guests do, and those that need
//! more connections than a whole stack for each would leave room for, take their segments from here.
#![allow(dead_code, reason = "each test binary uses its own part of the segments")]

use super::guest::{FIRST_LEASE, GATEWAY, GATEWAY_MAC, Wire, mac, tcp_segment};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket,
    TcpRepr, TcpSeqNumber,
};

/// An empty segment from a port of the guest to a port of the gateway.
pub fn segment_from<'a>(guest_port: u16, port: u16) -> TcpRepr<'a> {
    TcpRepr {
        src_port: guest_port,
        dst_port: port,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(1000),
        ack_number: None,
        window_len: 4000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None, None, None],
        timestamp: None,
        payload: &[],
    }
}

/// The network frame of a segment.
pub fn frame_of(segment: &TcpRepr<'_>) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    let mut frame = vec![0; 34 + segment.buffer_len()];
    EthernetRepr {
        src_addr: mac(1),
        dst_addr: GATEWAY_MAC,
        ethertype: EthernetProtocol::Ipv4,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    Ipv4Repr {
        src_addr: FIRST_LEASE,
        dst_addr: GATEWAY,
        next_header: IpProtocol::Tcp,
        payload_len: segment.buffer_len(),
        hop_limit: 64,
    }
    .emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &checksums);
    let mut tcp = TcpPacket::new_unchecked(&mut frame[34..]);
    segment.emit(&mut tcp, &FIRST_LEASE.into(), &GATEWAY.into(), &checksums);
    frame
}

/// The guest opens a connection and closes its half at once. False: it was refused.
pub fn open_and_close(wire: &mut Wire, guest_port: u16, port: u16) -> bool {
    let mut segment = segment_from(guest_port, port);
    segment.control = TcpControl::Syn;
    wire.send(&frame_of(&segment));
    let theirs = loop {
        let frame = wire.receive();
        if let Some((_, tcp)) = tcp_segment(&frame)
            && tcp.dst_port() == guest_port
        {
            if tcp.rst() {
                return false;
            }
            break tcp.seq_number() + 1;
        }
    };
    close(wire, segment, theirs);
    true
}

/// The guest takes the next connection of a client at `port`, and closes its half if it is asked to. Gives
/// the port from which the gateway connects.
pub fn accept(wire: &mut Wire, port: u16, and_close: bool) -> u16 {
    let (from, theirs) = loop {
        let frame = wire.receive();
        if let Some((_, tcp)) = tcp_segment(&frame)
            && tcp.syn()
            && tcp.dst_port() == port
        {
            break (tcp.src_port(), tcp.seq_number() + 1);
        }
    };
    let mut segment = segment_from(port, from);
    segment.control = TcpControl::Syn;
    segment.ack_number = Some(theirs);
    wire.send(&frame_of(&segment));
    if and_close {
        close(wire, segment, theirs);
    }
    from
}

fn close(wire: &mut Wire, mut segment: TcpRepr<'_>, theirs: TcpSeqNumber) {
    segment.control = TcpControl::Fin;
    segment.seq_number = TcpSeqNumber(1001);
    segment.ack_number = Some(theirs);
    wire.send(&frame_of(&segment));
}
