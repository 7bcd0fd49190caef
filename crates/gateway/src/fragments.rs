//! Puts together the IPv4 packets that guests send in fragments (RFC 791 section 3.2, RFC 815).
//!
//! `event_loop` gives every fragment to this file and takes whole packets out. Memory is bounded for each
//! guest and for all. A packet whose fragments overlap is dropped with all that still comes of it: no honest
//! sender makes such fragments, and what they mean depends on who reads them (RFC 5722). A fragment that
//! comes twice is no overlap: after a failover a guest may say again what it has said.

use super::limits;
use super::segment::IPV4_LEN;
use smoltcp::wire::{EthernetAddress, IpProtocol, Ipv4Packet};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::Instant;

/// What the fragments of one packet have in common (RFC 791), and the guest that sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    mac: EthernetAddress,
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: IpProtocol,
    ident: u16,
}

/// A packet of which some fragments have come.
#[derive(Debug)]
struct Packet {
    /// Payloads of the fragments by their offset in bytes. None overlaps another.
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Bytes in all pieces.
    length: usize,
    /// Header of the fragment at offset 0, options included.
    header: Vec<u8>,
    /// Length of the whole payload, if the last fragment has come.
    end: Option<usize>,
    /// Whether the packet is lost, and further fragments are dropped.
    is_spoiled: bool,
    /// Number that counts up with each new packet, so that the oldest can be found.
    order: u64,
    expires: Instant,
}

/// All packets of which some fragments have come.
#[derive(Debug, Default)]
pub struct Fragments {
    packets: HashMap<Name, Packet>,
    next_order: u64,
}

impl Fragments {
    /// Takes in a fragment whose header was checked. Returns the whole packet, as if it had never been in
    /// fragments, if this was the last fragment to come.
    pub fn take(
        &mut self,
        mac: EthernetAddress,
        fragment: &Ipv4Packet<&[u8]>,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let name = Name {
            mac,
            from: fragment.src_addr(),
            to: fragment.dst_addr(),
            protocol: fragment.next_header(),
            ident: fragment.ident(),
        };
        if !self.packets.contains_key(&name) {
            self.make_room(mac);
            self.packets.insert(name, Packet::new(self.next_order, now));
            self.next_order += 1;
        }
        let packet = self.packets.get_mut(&name)?;
        packet.add(fragment);
        let whole = packet.whole()?;
        self.packets.remove(&name);
        Some(whole)
    }

    /// Number of packets of which some fragments have come.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.packets.values().map(|packet| packet.expires).min()
    }

    /// Forgets packets whose fragments have not all come in time.
    pub fn on_deadline(&mut self, now: Instant) {
        self.packets.retain(|_, packet| packet.expires > now);
    }

    /// Forgets the oldest packet: of this guest if it has its share, else of all guests if there is no room.
    fn make_room(&mut self, mac: EthernetAddress) {
        let has_share =
            self.packets.keys().filter(|name| name.mac == mac).count() >= limits::FRAGMENTED_PER_GUEST_MAX;
        if has_share || self.packets.len() >= limits::FRAGMENTED_MAX {
            let theirs = self
                .packets
                .iter()
                .filter(|(name, _)| !has_share || name.mac == mac);
            let oldest = theirs
                .min_by_key(|(_, packet)| packet.order)
                .map(|(&name, _)| name);
            oldest.and_then(|name| self.packets.remove(&name));
        }
    }
}

impl Packet {
    fn new(order: u64, now: Instant) -> Self {
        Self {
            pieces: BTreeMap::new(),
            length: 0,
            header: Vec::new(),
            end: None,
            is_spoiled: false,
            order,
            expires: now + limits::REASSEMBLY_TIMEOUT,
        }
    }

    fn add(&mut self, fragment: &Ipv4Packet<&[u8]>) {
        let (start, payload) = (usize::from(fragment.frag_offset()), fragment.payload());
        if self.is_spoiled || self.pieces.get(&start).is_some_and(|piece| piece == payload) {
            return;
        }
        let end = start + payload.len();
        let is_last = !fragment.more_frags();
        let header_len = usize::from(fragment.header_len());
        // Fragments but the last have whole units of 8 bytes; a packet has 65,535 bytes with its header.
        let is_well_formed = !payload.is_empty()
            && (is_last || payload.len().is_multiple_of(8))
            && end + header_len <= usize::from(u16::MAX);
        let before = self.pieces.range(..=start).next_back();
        let fits = before.is_none_or(|(&at, piece)| at + piece.len() <= start)
            && self.pieces.range(start..).next().is_none_or(|(&at, _)| end <= at)
            && self.end.is_none_or(|whole| end <= whole && !is_last)
            && (!is_last || self.pieces.last_key_value().is_none_or(|(&at, _)| at < end));
        if !is_well_formed || !fits || self.pieces.len() >= limits::FRAGMENTS_PER_PACKET_MAX {
            tracing::debug!("a packet is dropped: its fragments do not fit together");
            self.is_spoiled = true;
            self.pieces.clear();
            return;
        }
        if start == 0 {
            self.header = fragment.as_ref()[..header_len].to_vec();
        }
        if is_last {
            self.end = Some(end);
        }
        self.length += payload.len();
        self.pieces.insert(start, payload.to_vec());
    }

    /// The whole packet, if all fragments have come.
    fn whole(&self) -> Option<Vec<u8>> {
        let end = self.end?;
        // No piece overlaps another or reaches beyond the end, so the lengths say that nothing is missing.
        if self.is_spoiled || self.length != end || self.header.len() < IPV4_LEN {
            return None;
        }
        let length = u16::try_from(self.header.len() + end).ok()?;
        let mut whole = Vec::with_capacity(usize::from(length));
        whole.extend_from_slice(&self.header);
        self.pieces
            .values()
            .for_each(|piece| whole.extend_from_slice(piece));
        let mut packet = Ipv4Packet::new_unchecked(&mut whole[..]);
        packet.set_total_len(length);
        packet.set_more_frags(false);
        packet.fill_checksum();
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
    const OTHER: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

    /// A fragment of the packet `ident` with these bytes of the payload.
    fn fragment(ident: u16, start: usize, payload: &[u8], more: bool) -> Vec<u8> {
        let mut bytes = vec![0; IPV4_LEN + payload.len()];
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
        packet.set_version(4);
        packet.set_header_len(IPV4_LEN as u8);
        packet.set_total_len((IPV4_LEN + payload.len()) as u16);
        packet.set_ident(ident);
        packet.set_more_frags(more);
        packet.set_frag_offset(start as u16);
        packet.set_next_header(IpProtocol::Udp);
        packet.payload_mut().copy_from_slice(payload);
        packet.fill_checksum();
        bytes
    }

    fn take(fragments: &mut Fragments, mac: EthernetAddress, bytes: &[u8], now: Instant) -> Option<Vec<u8>> {
        fragments.take(mac, &Ipv4Packet::new_checked(bytes).unwrap(), now)
    }

    fn payload(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index * 7 + index / 256) as u8).collect()
    }

    /// Gives these fragments, each `(start, end)` of a payload that ends with the highest; what comes out.
    fn puts_together(parts: &[(usize, usize)]) -> Option<Vec<u8>> {
        let (mut fragments, now) = (Fragments::default(), Instant::now());
        let all = parts.iter().map(|&(_, end)| end).max().unwrap();
        let bytes = payload(all);
        let mut whole = None;
        for &(start, end) in parts {
            let part = fragment(1, start, &bytes[start..end], end < all);
            whole = whole.or(take(&mut fragments, MAC, &part, now));
        }
        let whole = whole?;
        let packet = Ipv4Packet::new_checked(&whole[..]).unwrap();
        assert!(packet.verify_checksum() && !packet.more_frags() && packet.frag_offset() == 0);
        assert_eq!(packet.payload(), bytes);
        Some(whole)
    }

    #[test]
    fn fragments_are_put_together_in_any_order_and_may_come_twice() {
        for parts in [
            &[(0, 16), (16, 40), (40, 43)][..],
            &[(40, 43), (16, 40), (0, 16)],
            &[(16, 40), (0, 16), (16, 40), (0, 16), (40, 43)],
            &[(0, 1480), (1480, 2960), (64_000, 65_515), (2960, 64_000)],
        ] {
            assert!(puts_together(parts).is_some(), "{parts:?}");
        }
    }

    #[test]
    fn fragments_that_overlap_spoil_their_packet_for_good() {
        for parts in [
            &[(0, 16), (8, 24), (24, 30)][..],
            &[(0, 16), (0, 24), (24, 30)],
            &[(0, 24), (8, 16), (24, 30)],
            &[(8, 24), (0, 16), (24, 30), (0, 8)],
            &[(24, 30), (0, 30)],
        ] {
            assert!(puts_together(parts).is_none(), "{parts:?}");
        }
    }

    #[test]
    fn impossible_fragments_give_nothing() {
        let (mut fragments, now) = (Fragments::default(), Instant::now());
        let impossible = [
            [fragment(1, 0, &[1; 12], true), fragment(1, 16, &[1; 8], false)],
            [
                fragment(2, 65_512, &[1; 16], false),
                fragment(2, 0, &[1; 8], true),
            ],
            [fragment(3, 0, &[], true), fragment(3, 0, &[1; 8], true)],
            // The packet ends before it ends.
            [fragment(4, 64, &[1; 8], true), fragment(4, 8, &[1; 8], false)],
            [fragment(5, 8, &[1; 8], false), fragment(5, 16, &[1; 8], false)],
        ];
        for pair in &impossible {
            assert!(
                pair.iter()
                    .all(|part| take(&mut fragments, MAC, part, now).is_none())
            );
        }
        assert!(
            fragments
                .packets
                .values()
                .all(|packet| packet.is_spoiled && packet.pieces.is_empty())
        );
    }

    #[test]
    fn a_packet_may_not_come_in_crumbs() {
        let (mut fragments, now) = (Fragments::default(), Instant::now());
        for index in 0..=limits::FRAGMENTS_PER_PACKET_MAX {
            take(&mut fragments, MAC, &fragment(1, index * 8, &[0; 8], true), now);
        }
        assert!(fragments.packets.values().all(|packet| packet.is_spoiled));
    }

    #[test]
    fn packets_that_never_come_whole_are_forgotten_and_take_no_more_than_their_share() {
        let (mut fragments, now) = (Fragments::default(), Instant::now());
        take(&mut fragments, OTHER, &fragment(1, 0, &[7; 8], true), now);
        for ident in 0..1000 {
            take(&mut fragments, MAC, &fragment(ident, 0, &[7; 8], true), now);
        }
        assert_eq!(fragments.len(), 1 + limits::FRAGMENTED_PER_GUEST_MAX);
        assert!(take(&mut fragments, OTHER, &fragment(1, 8, &[7; 1], false), now).is_some());
        let end = fragments.deadline().unwrap();
        assert_eq!(end, now + limits::REASSEMBLY_TIMEOUT);
        fragments.on_deadline(end - Duration::from_nanos(1));
        assert_ne!(fragments.len(), 0);
        fragments.on_deadline(end);
        assert_eq!((fragments.len(), fragments.deadline()), (0, None));
    }
}
