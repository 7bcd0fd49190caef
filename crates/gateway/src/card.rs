//! What smoltcp takes for the network card of one TCP connection.
//!
//! `endpoint` gives it one packet of the guest at a time, and reads from it afterwards what the segments that
//! left have told the guest. It sends through `segment` and keeps nothing between two calls.

use super::limits;
use super::segment::{IPV4_LEN, Segment};
use super::window::Window;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{TcpPacket, TcpSeqNumber};
use std::net::Ipv4Addr;

/// The way to one guest, with at most one packet from that guest.
pub struct Card<'a> {
    segment: &'a mut Segment,
    guest: Ipv4Addr,
    /// The packet that smoltcp takes in next.
    pub incoming: Option<&'a [u8]>,
    /// Whether to send even if the VMM reads too slowly: a reset is not worth waiting for.
    pub forced: bool,
    pub exhausted: bool,
    /// Number of segments with data, SYN or FIN that were sent.
    pub sent: usize,
    /// Whether a segment without SYN was sent.
    pub left_syn: bool,
    /// The last acknowledgement number that was sent.
    pub said: Option<TcpSeqNumber>,
    /// What the guest's window is judged by.
    window: &'a mut Window,
}

impl<'a> Card<'a> {
    /// A way to this guest.
    pub fn new(segment: &'a mut Segment, guest: Ipv4Addr, window: &'a mut Window) -> Self {
        Self {
            segment,
            guest,
            incoming: None,
            forced: false,
            exhausted: false,
            sent: 0,
            left_syn: false,
            said: None,
            window,
        }
    }

    fn outgoing(&mut self) -> Outgoing<'_> {
        Outgoing {
            segment: self.segment,
            guest: self.guest,
            sent: &mut self.sent,
            left_syn: &mut self.left_syn,
            said: &mut self.said,
            window: self.window,
        }
    }
}

impl Device for Card<'_> {
    type RxToken<'b>
        = Packet<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Outgoing<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: StackInstant) -> Option<(Packet<'_>, Outgoing<'_>)> {
        let packet = self.incoming.take()?;
        Some((Packet(packet), self.outgoing()))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Outgoing<'_>> {
        if !self.forced && !self.segment.has_room(self.guest) {
            self.exhausted = true;
            return None;
        }
        Some(self.outgoing())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = limits::MTU;
        capabilities
    }
}

/// A packet of the guest.
pub struct Packet<'a>(&'a [u8]);

impl RxToken for Packet<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Room for a packet to the guest.
pub struct Outgoing<'a> {
    segment: &'a mut Segment,
    guest: Ipv4Addr,
    sent: &'a mut usize,
    left_syn: &'a mut bool,
    said: &'a mut Option<TcpSeqNumber>,
    window: &'a mut Window,
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let Self {
            segment,
            guest,
            sent,
            left_syn,
            said,
            window,
        } = self;
        segment.send_ip(guest, length, |packet| {
            let result = f(packet);
            if let Some(tcp) = packet
                .get(IPV4_LEN..)
                .and_then(|tcp| TcpPacket::new_checked(tcp).ok())
            {
                *sent += usize::from(tcp.segment_len() > 0);
                window.on_sent(tcp.seq_number() + tcp.segment_len(), tcp.segment_len());
                *left_syn |= !tcp.syn() && !tcp.rst();
                if tcp.ack() {
                    *said = Some(tcp.ack_number());
                }
            }
            result
        })
    }
}
