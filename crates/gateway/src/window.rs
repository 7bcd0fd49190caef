//! The window that a guest offers on a TCP connection, as smoltcp is to see it.
//!
//! A guest may close its window while data is on its way to it, and drop that data: Linux does when a slow
//! program has let its memory fill up. RFC 9293 section 3.8.6 has the sender send such data again (SHLD-16).
//! smoltcp 0.14 takes a closed window to mean that nothing is on its way. It gives up its retransmission
//! timer for one that asks for room, asks behind the lost data, with an empty segment if there is nothing
//! more, and once there is room again no timer runs: the connection stands still for good.
//!
//! So while data is on its way, `endpoint` shows smoltcp a closed window as one that is open by a single
//! unit. smoltcp then sends the first bytes again whenever its timer runs out, which asks for room too. This
//! file changes nothing else about a packet, and never a window that the guest has opened.

use super::segment::{IPV4_LEN, Incoming};
use smoltcp::wire::{Ipv4Packet, TcpPacket, TcpSeqNumber};
use std::borrow::Cow;

/// What has to be known to tell whether data is on its way to a guest.
#[derive(Debug, Default)]
pub struct Window {
    /// The sequence number that follows what was sent; `None`: nothing was.
    sent: Option<TcpSeqNumber>,
    /// Whether the window was last shown as closed. smoltcp then asks for room with segments of one byte.
    is_closed: bool,
}

impl Window {
    /// The guest's packet as smoltcp is to get it.
    pub fn show<'a>(&mut self, packet: &Incoming<'a>, tcp: &TcpPacket<&[u8]>) -> Cow<'a, [u8]> {
        let is_closed = tcp.ack() && !tcp.syn() && !tcp.rst() && tcp.window_len() == 0;
        let is_awaited = self.sent.is_some_and(|sent| tcp.ack_number() < sent);
        self.is_closed = is_closed && !is_awaited;
        if !is_closed || !is_awaited {
            return Cow::Borrowed(packet.whole);
        }
        let mut whole = packet.whole.to_vec();
        let header_len = usize::from(Ipv4Packet::new_unchecked(&whole).header_len()).max(IPV4_LEN);
        let mut shown = TcpPacket::new_unchecked(&mut whole[header_len..]);
        shown.set_window_len(1);
        shown.fill_checksum(&packet.from.into(), &packet.to.into());
        Cow::Owned(whole)
    }

    /// Notes that a segment with `length` bytes of the sequence space has left, of which the last one is the
    /// one before `end`. What only asks for room is not on its way: a guest without room does not take it.
    pub fn on_sent(&mut self, end: TcpSeqNumber, length: usize) {
        if length > usize::from(self.is_closed) {
            self.sent = Some(self.sent.map_or(end, |sent| sent.max(end)));
        }
    }
}
