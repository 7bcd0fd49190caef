//! What is left of a TCP connection that both sides have closed: a few bytes, from which late segments are
//! answered.
//!
//! RFC 9293 has the side that closed first wait (TIME-WAIT), so that it can send a last acknowledgement again
//! that was lost. The wait is shorter here than on the Internet, since the way to a guest is short, and there
//! are limits: under churn the oldest waits end early. Segments that belong to no connection are answered
//! from here too, and `endpoint` asks from here whether a guest still knows a connection.

use super::limits;
use super::segment::{IPV4_LEN, Segment, emit_ipv4};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;
use std::time::Instant;

/// The two ends of a connection as the guest sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    pub guest: SocketAddrV4,
    pub outside: SocketAddrV4,
}

/// The numbers of a connection's last acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastWord {
    pub seq: TcpSeqNumber,
    pub ack: TcpSeqNumber,
}

/// All connections that wait for late segments.
#[derive(Debug, Default)]
pub struct Late {
    /// The last words of each connection, with the number of the entry in `queue` that ends its wait.
    waiting: HashMap<Ends, (LastWord, u64)>,
    /// Waits in the order in which they end; some of them have ended before.
    queue: VecDeque<(Instant, Ends, u64)>,
    next: u64,
}

impl Late {
    /// Begins to wait. The guest's end is acknowledged at once, unless that `is_said` already.
    pub fn add(&mut self, segment: &mut Segment, ends: Ends, last: LastWord, is_said: bool) {
        if self.queue.len() >= limits::LATE_MAX
            && let Some((_, ends, number)) = self.queue.pop_front()
        {
            self.forget(&ends, number);
        }
        self.queue
            .push_back((segment.now + limits::TIME_WAIT, ends, self.next));
        self.waiting.insert(ends, (last, self.next));
        self.next += 1;
        if !is_said {
            acknowledge(segment, ends, last);
        }
    }

    /// Whether a connection with these ends is waited for.
    pub fn has(&self, ends: &Ends) -> bool {
        self.waiting.contains_key(ends)
    }

    /// Number of connections that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Handles a segment. False: the segment belongs to none of these connections, or opens a new one, which
    /// ends the wait.
    pub fn on_segment(&mut self, segment: &mut Segment, ends: Ends, tcp: &TcpPacket<&[u8]>) -> bool {
        let Some(&(last, _)) = self.waiting.get(&ends) else {
            return false;
        };
        if tcp.rst() || tcp.syn() {
            // The guest uses the port again before our wait is over, and knows better than we do that it is
            // free.
            self.waiting.remove(&ends);
            return tcp.rst();
        }
        if tcp.segment_len() > 0 {
            acknowledge(segment, ends, last);
        }
        true
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.queue.front().map(|&(at, ..)| at)
    }

    /// Forgets connections that have waited for long enough.
    pub fn on_deadline(&mut self, now: Instant) {
        while let Some(&(at, ends, number)) = self.queue.front()
            && at <= now
        {
            self.queue.pop_front();
            self.forget(&ends, number);
        }
    }

    fn forget(&mut self, ends: &Ends, number: u64) {
        if self.waiting.get(ends).is_some_and(|&(_, own)| own == number) {
            self.waiting.remove(ends);
        }
    }
}

/// Answers a segment that belongs to no connection with a reset (RFC 9293 section 3.10.7.1).
pub fn refuse(segment: &mut Segment, ends: Ends, tcp: &TcpPacket<&[u8]>) {
    let (from, to) = (*ends.outside.ip(), *ends.guest.ip());
    let checksums = ChecksumCapabilities::default();
    let Ok(offending) = TcpRepr::parse(tcp, &to.into(), &from.into(), &checksums) else {
        return;
    };
    if offending.control == TcpControl::Rst {
        return;
    }
    let (seq, ack) = match offending.ack_number {
        Some(acknowledged) => (acknowledged, None),
        None => (
            TcpSeqNumber(0),
            Some(offending.seq_number + offending.segment_len()),
        ),
    };
    send(segment, ends, TcpControl::Rst, seq, ack);
}

/// Asks the guest whether it still knows a connection: an acknowledgement with a sequence number from before
/// `last`, which a guest that knows the connection answers with the number that it expects, and any other
/// guest with a reset (RFC 9293 section 3.8.4).
pub fn probe(segment: &mut Segment, ends: Ends, last: LastWord) {
    let before = TcpSeqNumber(last.seq.0.wrapping_sub(1));
    send(segment, ends, TcpControl::None, before, Some(last.ack));
}

fn acknowledge(segment: &mut Segment, ends: Ends, last: LastWord) {
    send(segment, ends, TcpControl::None, last.seq, Some(last.ack));
}

fn send(
    segment: &mut Segment,
    ends: Ends,
    control: TcpControl,
    seq_number: TcpSeqNumber,
    ack_number: Option<TcpSeqNumber>,
) {
    let (from, to) = (*ends.outside.ip(), *ends.guest.ip());
    let bare = TcpRepr {
        src_port: ends.outside.port(),
        dst_port: ends.guest.port(),
        control,
        seq_number,
        ack_number,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None, None, None],
        timestamp: None,
        payload: &[],
    };
    segment.send_ip(to, IPV4_LEN + bare.buffer_len(), |packet| {
        emit_ipv4(packet, from, to, IpProtocol::Tcp);
        let mut tcp = TcpPacket::new_unchecked(&mut packet[IPV4_LEN..]);
        bare.emit(
            &mut tcp,
            &from.into(),
            &to.into(),
            &ChecksumCapabilities::default(),
        );
    });
}
