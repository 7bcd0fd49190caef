//! The one thread of the gateway: waits for readiness and time, and hands each event to the part that it
//! concerns.
//!
//! A network frame goes from the VMM's socket to the client's, or back, within one turn, since this loop sits
//! on the path of every request. The loop never sleeps but in `poll`, and never waits for one party while
//! others have work.

mod counts;
mod peers;

use super::config::{
    Addresses, GatewayConfig, GatewayError, GatewayReady, GatewayStop, GuestListen, Protocol,
};
use super::destination::Rules;
use super::dns::DnsQueries;
use super::dns_streams::DnsStreams;
use super::door::{Admitted, Door};
use super::fragments::Fragments;
use super::gauges::Gauges;
use super::guests::{Guests, Observed};
use super::icmp;
use super::listener::GuestListener;
use super::mappings::{Datagram, Fate};
use super::nat::Destinations;
use super::peer::{Peer, PeerId, Standing};
use super::pings::Pings;
use super::segment::{Incoming, Segment};
use super::switch::Learned;
use super::tcp::TcpConnections;
use super::token::{Kind, from_token, token};
use super::udp::Udp;
use super::{dhcp, limits};
use cable::mac::is_for_vmms;
use cable::wire::Wire;
use mio::event::Event;
use mio::{Events, Poll, Token};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, UdpPacket, UdpRepr,
};
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Events taken in one turn; further ones come in the next turn.
const EVENTS_PER_TURN: usize = 256;

/// The whole gateway.
pub struct EventLoop {
    poll: Poll,
    listener: GuestListener,
    door: Door,
    /// Whether peers without a key are taken.
    takes_plain: bool,
    next_peer: PeerId,
    segment: Segment,
    destinations: Destinations,
    tcp: TcpConnections,
    udp: Udp,
    dns: DnsQueries,
    dns_streams: DnsStreams,
    fragments: Fragments,
    pings: Pings,
    /// Sources that were not read empty in their turn.
    unfinished: BTreeSet<Token>,
    /// When to go on accepting VMMs after a failure, or after a turn's share of them.
    accept_again: Option<Instant>,
    gauges: Arc<Gauges>,
    stopped: Arc<AtomicBool>,
}

impl EventLoop {
    /// Listens everywhere the configuration says.
    pub fn new(config: &GatewayConfig) -> Result<(Self, GatewayReady), GatewayError> {
        let addresses = config.addresses()?;
        let takes_plain = config.takes_plain()?;
        limits::raise_descriptor_limit();
        let poll = Poll::new().map_err(GatewayError::Poll)?;
        let registry = poll.registry();
        let waker = mio::Waker::new(registry, token(Kind::Stop, 0)).map_err(GatewayError::Poll)?;
        let listener = GuestListener::bind(&config.listen, registry)?;
        let (dns_streams, dns_address) = DnsStreams::listen(registry)?;
        let guests = Guests::new(addresses, &config.kept_leases(&addresses));
        let mut this = Self {
            listener,
            door: Door::new(config.keys.clone()),
            takes_plain,
            next_peer: 0,
            segment: Segment::new(addresses, guests, Instant::now()),
            destinations: Destinations::new(addresses, Rules::default(), config.resolvers.clone()),
            tcp: TcpConnections::new(config.guest_away_max),
            udp: Udp::default(),
            dns: DnsQueries::default(),
            dns_streams,
            fragments: Fragments::default(),
            pings: Pings::default(),
            unfinished: BTreeSet::new(),
            accept_again: None,
            gauges: Arc::default(),
            stopped: Arc::new(AtomicBool::new(false)),
            poll,
        };
        let ready = GatewayReady {
            forwards: this.listen_forwards(config, addresses)?,
            guests: config
                .forwards
                .iter()
                .map(|forward| SocketAddrV4::new(config.address_of(forward, &addresses), forward.guest_port))
                .collect(),
            listen: this.listener.address().map_err(GatewayError::Poll)?,
            #[cfg(feature = "parts")]
            gauges: Arc::clone(&this.gauges),
            stop: GatewayStop {
                waker: Arc::new(waker),
                stopped: Arc::clone(&this.stopped),
            },
        };
        let mut own_ports: Vec<u16> = ready.forwards.iter().map(SocketAddr::port).collect();
        own_ports.push(dns_address.port());
        if let GuestListen::Tcp(address) = ready.listen {
            own_ports.push(address.port());
        }
        let rules = Rules::new(&config.allow, &config.deny, own_ports, addresses.gateway);
        this.destinations = Destinations::new(addresses, rules, config.resolvers.clone());
        this.destinations.lead_dns_to(dns_address);
        Ok((this, ready))
    }

    /// Serves until it is stopped.
    pub fn run(mut self) -> Result<(), GatewayError> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.stopped.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(GatewayError::Poll)?,
            }
            self.segment.now = Instant::now();
            for token in std::mem::take(&mut self.unfinished) {
                self.on_ready(token, None);
            }
            for event in &events {
                self.on_ready(event.token(), Some(event));
            }
            self.on_time();
            self.settle();
        }
        Ok(())
    }

    fn listen_forwards(
        &mut self,
        config: &GatewayConfig,
        addresses: Addresses,
    ) -> Result<Vec<SocketAddr>, GatewayError> {
        let registry = self.poll.registry();
        config
            .forwards
            .iter()
            .map(|forward| {
                let guest = config.address_of(forward, &addresses);
                match forward.protocol {
                    Protocol::Tcp => {
                        let now = self.segment.now;
                        self.tcp.forwards.listen(forward, guest, registry, now)
                    }
                    Protocol::Udp => self.udp.clients.listen(forward, guest, registry),
                }
            })
            .collect()
    }

    /// Time for which `poll` may wait.
    fn patience(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.tcp.deadline(),
            self.udp.deadline(),
            self.dns.deadline(),
            self.dns_streams.deadline(),
            self.door.deadline(),
            self.segment.switch.deadline(),
            self.segment.ask_deadline(),
            self.fragments.deadline(),
            self.pings.deadline(),
            self.accept_again,
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn on_ready(&mut self, token: Token, event: Option<&Event>) {
        let registry = self.poll.registry();
        let segment = &mut self.segment;
        let (kind, id) = from_token(token);
        let more = match kind {
            Kind::Stop => false,
            Kind::GuestListener => {
                self.on_vmm();
                false
            }
            Kind::Peer => {
                if event.is_some_and(Event::is_writable) {
                    segment.switch.on_writable(id);
                }
                if self.door.has(id) {
                    let admitted = self.door.on_ready(id, segment.now);
                    self.admit(id, admitted);
                }
                self.on_peer(id)
            }
            Kind::TcpForward => {
                self.tcp.on_forward(segment, registry, id as usize);
                false
            }
            Kind::Connection => {
                if let Some(event) = event {
                    self.tcp.on_event(segment, id, event);
                }
                false
            }
            Kind::UdpMapping => self.udp.mappings.on_ready(segment, &mut self.destinations, id),
            Kind::UdpForward => self.udp.on_forward(segment, id as usize),
            Kind::DnsQuery => {
                self.dns.on_answer(segment, registry, id);
                false
            }
            Kind::DnsListener => self
                .dns_streams
                .on_listener(segment.now, registry, &mut self.destinations),
            Kind::Ping => self.pings.on_ready(segment, id),
            Kind::DnsStream => {
                self.dns_streams.on_ready(id, segment.now, registry);
                false
            }
        };
        if more {
            self.unfinished.insert(token);
        }
    }

    fn on_time(&mut self) {
        let registry = self.poll.registry();
        self.tcp.on_deadline(&mut self.segment, registry);
        self.udp.on_deadline(self.segment.now);
        let dns_needs = (&mut self.destinations, self.udp.mappings.ports_mut());
        self.dns.on_deadline(&mut self.segment, registry, dns_needs);
        self.dns_streams
            .on_deadline(self.segment.now, registry, &mut self.destinations);
        self.door.on_deadline(self.segment.now);
        self.segment.on_deadline();
        self.fragments.on_deadline(self.segment.now);
        self.pings.on_deadline(self.segment.now);
        if self.accept_again.is_some_and(|at| at <= self.segment.now) {
            self.accept_again = None;
            self.on_vmm();
        }
    }

    /// Writes out what the turn produced. Connections that waited for a VMM to read go on as soon as the VMM
    /// has read.
    fn settle(&mut self) {
        self.tcp.resume_stalled(&mut self.segment, self.poll.registry());
        let segment = &self.segment;
        let is_here = |guest| segment.heard(guest).is_some();
        self.tcp.forwards.look(segment.now, is_here);
        // Who has an answer of this turn finds its numbers.
        self.show_gauges();
        while self.segment.switch.flush() && self.tcp.resume_starved(&mut self.segment) {
            self.show_gauges();
        }
    }

    fn on_vmm(&mut self) {
        for _ in 0..limits::ACCEPTS_PER_TURN {
            let (mut stream, name, source) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    tracing::warn!("a VM that connects cannot be accepted at present: {error}");
                    self.accept_again = Some(self.segment.now + limits::ACCEPT_RETRY);
                    return;
                }
            };
            let id = self.next_peer;
            self.next_peer += 1;
            if let Err(error) = stream.register(self.poll.registry(), token(Kind::Peer, id)) {
                tracing::warn!("the VM at {name} is refused, because its socket cannot be watched: {error}");
            } else if self.takes_plain {
                let standing = Standing::Plain { is_new: true };
                self.welcome(id, Peer::new(Wire::new(stream, None), standing, name));
            } else {
                let visitor = (stream, name, source);
                let admitted = self.door.receive(id, visitor, &[], self.segment.now);
                self.admit(id, admitted);
            }
        }
        // Further VMMs come in the next turn.
        self.accept_again = Some(self.segment.now);
    }

    /// Takes in a visitor that has shown its key.
    fn admit(&mut self, id: PeerId, admitted: Option<Admitted>) {
        if let Some(admitted) = admitted {
            let standing = Standing::Keyed {
                key: admitted.key,
                live: None,
            };
            let wire = Wire::new(admitted.stream, Some(admitted.records));
            self.welcome(id, Peer::new(wire, standing, admitted.name));
        }
    }

    fn recover(&mut self, mac: EthernetAddress, age: Duration) {
        let guests = self.segment.guests.addresses_of(mac);
        self.tcp.recover(&mut self.segment, &guests, age);
    }

    fn on_frame(&mut self, from: PeerId, bytes: &[u8]) {
        let Ok(frame) = EthernetFrame::new_checked(bytes) else {
            return;
        };
        let (source, destination) = (frame.src_addr(), frame.dst_addr());
        let own = self.segment.mac();
        if !source.is_unicast() || source == own || is_for_vmms(bytes) {
            return;
        }
        let learned = self.segment.switch.learn(from, source, self.segment.now);
        if learned == Learned::Refused {
            return;
        }
        if destination != own {
            self.segment.switch.relay(from, destination, bytes);
        }
        if destination == own || !destination.is_unicast() {
            match frame.ethertype() {
                EthernetProtocol::Arp => self.on_arp(source, frame.payload()),
                EthernetProtocol::Ipv4 => self.on_ipv4(source, frame.payload()),
                _ => {}
            }
        }
        // Recovery comes after the network frame: what the frame acknowledges need not be sent again.
        let age = match learned {
            Learned::Moved => Duration::ZERO,
            Learned::Returned => limits::OUTAGE_DATA_AGE,
            Learned::Same | Learned::Refused => return,
        };
        self.recover(source, age);
    }

    fn on_arp(&mut self, source: EthernetAddress, payload: &[u8]) {
        if let Some((mac, address)) = self.segment.on_arp(payload)
            && mac == source
        {
            self.observe(mac, address);
        }
    }

    /// Notes whom a packet is from. False: the sender may not use this address.
    fn observe(&mut self, mac: EthernetAddress, address: Ipv4Addr) -> bool {
        let observed = self.segment.observe(mac, address);
        if observed == Observed::New {
            // Clients may be waiting for this guest.
            self.tcp.recover(&mut self.segment, &[address], Duration::ZERO);
        }
        observed != Observed::Refused
    }

    fn on_ipv4(&mut self, mac: EthernetAddress, whole: &[u8]) {
        let Ok(ip) = Ipv4Packet::new_checked(whole) else {
            return;
        };
        let (from, to) = (ip.src_addr(), ip.dst_addr());
        if ip.version() != 4 || !ip.verify_checksum() {
            return;
        }
        if ip.more_frags() || ip.frag_offset() != 0 {
            if self.observe(mac, from)
                && let Some(whole) = self.fragments.take(mac, &ip, self.segment.now)
            {
                self.on_ipv4(mac, &whole);
            }
            return;
        }
        let whole = &whole[..usize::from(ip.total_len())];
        let packet = Incoming {
            mac,
            from,
            to,
            whole,
            payload: ip.payload(),
        };
        if ip.next_header() == IpProtocol::Udp {
            self.on_udp(&packet);
        } else if self.observe(mac, from) {
            match ip.next_header() {
                IpProtocol::Tcp => {
                    let registry = self.poll.registry();
                    self.tcp
                        .on_packet(&mut self.segment, registry, &mut self.destinations, &packet);
                }
                IpProtocol::Icmp => match icmp::refused(&self.segment, &packet) {
                    Some((guest, port)) => self.udp.clients.on_refused(self.segment.now, guest, port),
                    None if self.segment.addresses.is_own(to) => icmp::on_packet(&mut self.segment, &packet),
                    None => self.on_ping(&packet),
                },
                _ => {}
            }
        }
    }

    fn on_ping(&mut self, packet: &Incoming<'_>) {
        let registry = self.poll.registry();
        let fate = self
            .pings
            .send(&mut self.segment, registry, &mut self.destinations, packet);
        self.return_to_sender(packet, fate);
    }

    /// Tells a guest that its packet could not be sent. Packets to many are answered by nobody (RFC 1122
    /// section 3.2.2).
    fn return_to_sender(&mut self, packet: &Incoming<'_>, fate: Fate) {
        if let Fate::Returned(kind, code) = fate
            && !packet.to.is_broadcast()
            && !packet.to.is_multicast()
        {
            icmp::answer(&mut self.segment, packet, (kind, code));
        }
    }

    fn on_udp(&mut self, packet: &Incoming<'_>) {
        let Ok(udp) = UdpPacket::new_checked(packet.payload) else {
            return;
        };
        let checksums = smoltcp::phy::ChecksumCapabilities::default();
        if UdpRepr::parse(&udp, &packet.from.into(), &packet.to.into(), &checksums).is_err() {
            return;
        }
        let ends = (
            SocketAddrV4::new(packet.from, udp.src_port()),
            SocketAddrV4::new(packet.to, udp.dst_port()),
        );
        let for_us = self.segment.addresses.is_own(packet.to) || packet.to.is_broadcast();
        if udp.dst_port() == dhcp::SERVER_PORT && for_us {
            if let Some(guest) = dhcp::on_message(&mut self.segment, packet.mac, udp.payload()) {
                self.tcp.doubt(guest, self.segment.now);
            }
            return;
        }
        if !self.observe(packet.mac, packet.from) {
            return;
        }
        let registry = self.poll.registry();
        if self.destinations.is_dns(ends.1) {
            self.dns.on_question(
                &mut self.segment,
                registry,
                (&mut self.destinations, self.udp.mappings.ports_mut()),
                ends,
                udp.payload(),
            );
            return;
        }
        let datagram = Datagram {
            mac: packet.mac,
            guest: ends.0,
            outside: ends.1,
            hops: packet.hops(),
            may_fragment: packet.may_fragment(),
            payload: udp.payload(),
        };
        let destinations = &mut self.destinations;
        let fate = self
            .udp
            .on_datagram(&mut self.segment, registry, destinations, &datagram);
        self.return_to_sender(packet, fate);
    }
}
