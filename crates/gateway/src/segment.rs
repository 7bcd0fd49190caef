//! The gateway's own place on the virtual segment: it wraps IP packets into frames for guests and answers
//! ARP.
//!
//! Everything the gateway sends to guests passes here, once, on its way from TCP, UDP, DHCP or ICMP to the
//! switch.

use super::config::Addresses;
use super::guests::{Guests, Observed};
use super::held::Held;
use super::limits;
use super::switch::Switch;
use cable::mac::Mac;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

/// Bytes of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Bytes of a UDP header.
pub const UDP_LEN: usize = 8;
const HOP_LIMIT: u8 = 64;

/// An IP packet of a guest whose header was checked.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    pub mac: EthernetAddress,
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    /// The packet with its header, without padding.
    pub whole: &'a [u8],
    /// The packet without its header.
    pub payload: &'a [u8],
}

impl Incoming<'_> {
    /// Routers that the packet may still pass.
    pub fn hops(&self) -> u8 {
        Ipv4Packet::new_unchecked(self.whole).hop_limit()
    }

    /// Whether routers may cut the packet into fragments.
    pub fn may_fragment(&self) -> bool {
        !Ipv4Packet::new_unchecked(self.whole).dont_frag()
    }
}

/// The virtual segment as the gateway sees it.
#[derive(Debug)]
pub struct Segment {
    pub switch: Switch,
    pub guests: Guests,
    pub addresses: Addresses,
    mac: EthernetAddress,
    /// Time at which the event that is being handled was taken.
    pub now: Instant,
    /// Datagrams for guests whose MAC is asked for.
    held: Held,
    datagram: Vec<u8>,
    next_ident: u16,
}

impl Segment {
    /// A segment without VMMs.
    pub fn new(addresses: Addresses, guests: Guests, now: Instant) -> Self {
        let mac = addresses.mac();
        Self {
            switch: Switch::new(Mac(mac.0)),
            guests,
            addresses,
            mac,
            now,
            held: Held::default(),
            datagram: Vec::new(),
            next_ident: 0,
        }
    }

    /// The gateway's own MAC address.
    pub fn mac(&self) -> EthernetAddress {
        self.mac
    }

    /// The address for a guest that asks for one; see `Guests::lease`.
    pub fn lease(&mut self, mac: EthernetAddress, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let Self {
            switch, guests, now, ..
        } = self;
        guests.lease(mac, wanted, &|mac| switch.is_here(mac), *now)
    }

    /// Notes that a packet came from this pair of addresses.
    pub fn observe(&mut self, mac: EthernetAddress, address: Ipv4Addr) -> Observed {
        let Self {
            switch, guests, now, ..
        } = self;
        let observed = guests.observe(mac, address, &|mac| switch.is_here(mac), *now);
        if observed != Observed::Refused {
            for packet in self.held.take(address) {
                self.send_ip_to(mac, packet.len(), |room| room.copy_from_slice(&packet));
            }
        }
        observed
    }

    /// The time at which `ask_again` has something to do.
    pub fn ask_deadline(&self) -> Option<Instant> {
        self.held.deadline()
    }

    /// Number of times that datagrams were dropped because nobody had their address.
    pub fn unclaimed(&self) -> u64 {
        self.held.unclaimed()
    }

    /// When something last came from the guest with this address; `None`: no VM that is connected has it.
    pub fn heard(&self, guest: Ipv4Addr) -> Option<Instant> {
        let mac = self.guests.mac_of(guest)?;
        self.switch.heard(mac)
    }

    /// Whether a connection may send more to this guest.
    pub fn has_room(&mut self, guest: Ipv4Addr) -> bool {
        self.guests
            .mac_of(guest)
            .is_none_or(|mac| self.switch.has_room(mac))
    }

    /// Sends an IP packet to a guest; `fill` writes it into place.
    ///
    /// If the guest's MAC is not known, the segment is asked for it, and the packet is lost as on any
    /// Ethernet.
    pub fn send_ip<R>(&mut self, guest: Ipv4Addr, length: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        match self.guests.mac_of(guest) {
            Some(mac) => self.send_ip_to(mac, length, fill),
            None => {
                if self.guests.may_ask(guest, self.now) {
                    self.ask(guest);
                }
                fill(&mut vec![0; length])
            }
        }
    }

    /// Sends an IP packet to a MAC address.
    pub fn send_ip_to<R>(
        &mut self,
        mac: EthernetAddress,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        let source = self.mac;
        self.switch.send(mac, ETHERNET_LEN + length, |frame| {
            emit_ethernet(frame, source, mac, EthernetProtocol::Ipv4);
            fill(&mut frame[ETHERNET_LEN..])
        })
    }

    /// Sends a datagram to a guest, in fragments if it is long.
    pub fn send_udp(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        let mut datagram = std::mem::take(&mut self.datagram);
        emit_udp(&mut datagram, from, to, payload);
        self.send_long((*from.ip(), *to.ip()), IpProtocol::Udp, &datagram);
        self.datagram = datagram;
    }

    /// Sends the payload of an IP packet to a guest, in fragments if it is long. If the guest's MAC is not
    /// known, the segment is asked for it, and the packet waits for an answer.
    pub fn send_long(&mut self, (from, to): (Ipv4Addr, Ipv4Addr), protocol: IpProtocol, payload: &[u8]) {
        let ident = self.next_ident;
        self.next_ident = ident.wrapping_add(1);
        let chunk_len = (limits::MTU - IPV4_LEN) & !7;
        let chunks = payload.len().div_ceil(chunk_len);
        for (index, chunk) in payload.chunks(chunk_len).enumerate() {
            self.send_or_hold(to, IPV4_LEN + chunk.len(), |packet| {
                emit_ipv4(packet, from, to, protocol);
                let mut packet = Ipv4Packet::new_unchecked(packet);
                if chunks > 1 {
                    packet.set_ident(ident);
                    packet.set_dont_frag(false);
                    packet.set_more_frags(index + 1 < chunks);
                    // The offset is less than 64 KiB, since a packet's length has 16 bits.
                    packet.set_frag_offset((index * chunk_len) as u16);
                    packet.fill_checksum();
                }
                packet.payload_mut().copy_from_slice(chunk);
            });
        }
    }

    fn send_or_hold(&mut self, guest: Ipv4Addr, length: usize, fill: impl FnOnce(&mut [u8])) {
        match self.guests.mac_of(guest) {
            Some(mac) => self.send_ip_to(mac, length, fill),
            None if self.addresses.is_guest(guest) => {
                let mut packet = vec![0; length];
                fill(&mut packet);
                if self.held.hold(guest, packet, self.now) {
                    self.ask(guest);
                }
            }
            None => {}
        }
    }

    /// Sends one unfragmented datagram to a MAC address, for DHCP, whose client has no address yet.
    pub fn send_udp_to(
        &mut self,
        mac: EthernetAddress,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
    ) {
        let mut datagram = std::mem::take(&mut self.datagram);
        emit_udp(&mut datagram, from, to, payload);
        self.send_ip_to(mac, IPV4_LEN + datagram.len(), |packet| {
            emit_ipv4(packet, *from.ip(), *to.ip(), IpProtocol::Udp);
            packet[IPV4_LEN..].copy_from_slice(&datagram);
        });
        self.datagram = datagram;
    }

    /// Answers an ARP request for one of the gateway's addresses. Returns the sender's two addresses, to be
    /// noted.
    pub fn on_arp(&mut self, payload: &[u8]) -> Option<(EthernetAddress, Ipv4Addr)> {
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&ArpPacket::new_checked(payload).ok()?).ok()?
        else {
            return None;
        };
        if operation == ArpOperation::Request && self.addresses.is_own(target_protocol_addr) {
            self.send_arp(ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: self.mac,
                source_protocol_addr: target_protocol_addr,
                target_hardware_addr: source_hardware_addr,
                target_protocol_addr: source_protocol_addr,
            });
        }
        Some((source_hardware_addr, source_protocol_addr))
    }

    /// Does what is due: looks after the peers, asks again for guests for whom datagrams wait, and asks
    /// guests that have lost their address to another VM whether they are there.
    pub fn on_deadline(&mut self) {
        self.switch.on_deadline(self.now);
        for guest in self.held.on_deadline(self.now) {
            self.ask(guest);
        }
        for (peer, mac) in self.switch.losers_to_ask(self.now) {
            for guest in self.guests.addresses_of(mac) {
                let question = self.question_for(guest);
                let mut frame = vec![0; ETHERNET_LEN + question.buffer_len()];
                emit_ethernet(&mut frame, self.mac, mac, EthernetProtocol::Arp);
                question.emit(&mut ArpPacket::new_unchecked(&mut frame[ETHERNET_LEN..]));
                self.switch.send_to_peer(peer, &frame);
            }
        }
    }

    fn ask(&mut self, guest: Ipv4Addr) {
        self.send_arp(self.question_for(guest));
    }

    fn question_for(&self, guest: Ipv4Addr) -> ArpRepr {
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: self.mac,
            source_protocol_addr: self.addresses.gateway,
            target_hardware_addr: EthernetAddress::BROADCAST,
            target_protocol_addr: guest,
        }
    }

    fn send_arp(&mut self, arp: ArpRepr) {
        let ArpRepr::EthernetIpv4 {
            target_hardware_addr: to,
            ..
        } = arp
        else {
            return;
        };
        let source = self.mac;
        self.switch.send(to, ETHERNET_LEN + arp.buffer_len(), |frame| {
            emit_ethernet(frame, source, to, EthernetProtocol::Arp);
            arp.emit(&mut ArpPacket::new_unchecked(&mut frame[ETHERNET_LEN..]));
        });
    }
}

/// Writes an IPv4 header in front of the payload that fills the rest of `packet`.
pub fn emit_ipv4(packet: &mut [u8], from: Ipv4Addr, to: Ipv4Addr, protocol: IpProtocol) {
    let header = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: protocol,
        payload_len: packet.len() - IPV4_LEN,
        hop_limit: HOP_LIMIT,
    };
    header.emit(
        &mut Ipv4Packet::new_unchecked(packet),
        &ChecksumCapabilities::default(),
    );
}

fn emit_ethernet(frame: &mut [u8], from: EthernetAddress, to: EthernetAddress, ethertype: EthernetProtocol) {
    EthernetRepr {
        src_addr: from,
        dst_addr: to,
        ethertype,
    }
    .emit(&mut EthernetFrame::new_unchecked(frame));
}

fn emit_udp(out: &mut Vec<u8>, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
    out.clear();
    out.resize(UDP_LEN + payload.len(), 0);
    UdpRepr {
        src_port: from.port(),
        dst_port: to.port(),
    }
    .emit(
        &mut UdpPacket::new_unchecked(out.as_mut_slice()),
        &(*from.ip()).into(),
        &(*to.ip()).into(),
        payload.len(),
        |out| out.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
}
