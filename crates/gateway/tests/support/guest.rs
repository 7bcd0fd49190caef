//! A guest for gateway tests: a smoltcp host that speaks to a real gateway over the stream framing.
//!
//! It waits only for frames and for its own stack's timers, so no test depends on how fast the machine is.

#![allow(dead_code, reason = "each test binary uses its own part of the double")]

use cable::keyed::{Caller, KeyedError, Next};
use cable::stream::{Item, Word};
use cable::wire::{Wire as FrameWire, WireError};
use gateway::{self, GatewayConfig, GatewayReady, GuestListen};
use link::Key;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{dhcpv4, icmp, tcp, udp};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Icmpv4Packet, Icmpv4Repr, IpCidr, IpProtocol, Ipv4Packet, TcpPacket,
};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
pub const FIRST_LEASE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub const GATEWAY_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);

/// A gateway on a thread of its own, stopped when dropped.
pub struct Gateway {
    pub ready: GatewayReady,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Unless `change` says otherwise, whoever connects may take part, and guests reach the host's loopback.
    pub fn start(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let mut config = GatewayConfig::new(GuestListen::Tcp("127.0.0.1:0".parse().unwrap()));
        config.insecure = true;
        config.allow.push("127.0.0.1".parse().unwrap());
        change(&mut config);
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            gateway::run(config, |ready| tell.send(ready).unwrap()).unwrap();
        });
        Self {
            ready: told.recv().unwrap(),
            thread: Some(thread),
        }
    }

    /// One with TCP or UDP forwards on free ports, written without the host part: `tcp`, `:7`.
    pub fn with_forward(protocol: &str, guest: &str) -> Self {
        Self::start(|config| {
            config
                .forwards
                .push(format!("{protocol}:127.0.0.1:0-{guest}").parse().unwrap());
        })
    }

    pub fn forward(&self) -> SocketAddr {
        self.ready.forwards[0]
    }

    pub fn connect(&self) -> TcpStream {
        let GuestListen::Tcp(address) = self.ready.listen else {
            panic!("a TCP gateway")
        };
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.ready.stop.stop();
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            // A second panic would hide the test's own.
            assert!(
                outcome.is_ok() || std::thread::panicking(),
                "the gateway panicked"
            );
        }
    }
}

/// A connection to the gateway: whole frames in and out.
pub struct Wire {
    wire: FrameWire<TcpStream>,
    inbox: VecDeque<Vec<u8>>,
    /// TCP segments the stack has taken in.
    pub segments: usize,
}

impl Wire {
    /// One in the clear.
    pub fn new(gateway: &Gateway) -> Self {
        Self::plain(gateway.connect())
    }

    /// One in the clear, on a connection of the caller's.
    pub fn plain(stream: TcpStream) -> Self {
        Self::of(FrameWire::new(stream, None))
    }

    /// One with a key that only probes, as a quiet replica has it. Fails as that would.
    pub fn probe(gateway: &Gateway, key: &Key) -> Result<Self, KeyedError> {
        let mut stream = gateway.connect();
        let (mut caller, greeting) = Caller::new(key)?;
        stream.write_all(&greeting).unwrap();
        loop {
            let mut bytes = [0; 128];
            let length = stream.read(&mut bytes).map_err(|_| KeyedError::Stranger)?;
            if length == 0 {
                return Err(KeyedError::Stranger);
            }
            match caller.take(&bytes[..length])? {
                Next::More => {}
                Next::Send(bytes) => stream.write_all(&bytes).unwrap(),
                Next::Done(done) => return Ok(Self::of(FrameWire::new(stream, Some(done.records)))),
            }
        }
    }

    /// One with a key that is live in this epoch.
    pub fn live(gateway: &Gateway, key: &Key, epoch: u64) -> Self {
        let mut wire = Self::probe(gateway, key).unwrap();
        wire.say(Word::Live { epoch });
        wire
    }

    fn of(wire: FrameWire<TcpStream>) -> Self {
        Self {
            wire,
            inbox: VecDeque::new(),
            segments: 0,
        }
    }

    pub fn say(&mut self, word: Word) {
        self.wire.say(word);
        self.flush();
    }

    pub fn send(&mut self, frame: &[u8]) {
        self.send_many(frame, 1);
    }

    /// Sends a frame so many times over, all at once.
    pub fn send_many(&mut self, frame: &[u8], times: usize) {
        for _ in 0..times {
            queue(&mut self.wire, frame);
        }
        self.flush();
    }

    /// The next frame, waited for.
    pub fn receive(&mut self) -> Vec<u8> {
        while self.inbox.is_empty() {
            assert!(self.wait(None), "the gateway closed the connection");
        }
        self.inbox.pop_front().unwrap()
    }

    /// Lets the stack see a frame that the test has looked at.
    pub fn put_back(&mut self, frame: Vec<u8>) {
        self.inbox.push_back(frame);
    }

    /// Whether the gateway closes this connection, whatever it sends before.
    pub fn is_closed(&mut self) -> bool {
        while self.wait(None) {}
        true
    }

    fn flush(&mut self) {
        self.wire.stream().set_write_timeout(None).unwrap();
        assert!(self.wire.flush().unwrap(), "a blocking socket takes everything");
    }

    /// Waits for bytes, at most for `patience`. False: the other side has closed.
    fn wait(&mut self, patience: Option<Duration>) -> bool {
        self.wire
            .stream()
            .set_read_timeout(patience.map(|limit| limit.max(Duration::from_millis(1))))
            .unwrap();
        match self.wire.receive() {
            Ok(_) => {}
            Err(WireError::Closed) => return false,
            Err(WireError::Io(error)) if error.kind() == ErrorKind::TimedOut => {}
            Err(WireError::Io(error)) if error.kind() == ErrorKind::ConnectionReset => return false,
            Err(error) => panic!("{error}"),
        }
        let is_keyed = self.wire.is_keyed();
        while let Some(item) = FrameWire::<TcpStream>::pop(&mut self.wire.reader, is_keyed).unwrap() {
            match item {
                Item::Frame(frame) => self.inbox.push_back(frame.to_vec()),
                Item::Word(_) => {}
            }
        }
        true
    }
}

fn queue(wire: &mut FrameWire<TcpStream>, frame: &[u8]) {
    wire.reserve(frame.len(), usize::MAX)
        .unwrap()
        .copy_from_slice(frame);
}

/// A guest: a stack, its sockets and its wire. The wire can be replaced, which is a failover.
pub struct Guest {
    pub wire: Wire,
    pub sockets: SocketSet<'static>,
    pub interface: Interface,
    mac: EthernetAddress,
    started: Instant,
}

impl Guest {
    /// A guest without an address.
    pub fn new(gateway: &Gateway, number: u8) -> Self {
        Self::on(Wire::new(gateway), number)
    }

    /// A guest without an address, on this wire.
    pub fn on(wire: Wire, number: u8) -> Self {
        Self::with_mac(wire, mac(number))
    }

    /// A guest without an address, on this wire, with this Ethernet address.
    pub fn with_mac(mut wire: Wire, mac: EthernetAddress) -> Self {
        let mut config = Config::new(mac.into());
        config.random_seed = u64::from(mac.0[5]) * 7919;
        let interface = Interface::new(config, &mut wire, StackInstant::ZERO);
        Self {
            wire,
            sockets: SocketSet::new(Vec::new()),
            interface,
            mac,
            started: Instant::now(),
        }
    }

    /// A guest with a lease.
    pub fn with_lease(gateway: &Gateway, number: u8) -> Self {
        let mut guest = Self::new(gateway, number);
        guest.lease();
        guest
    }

    /// Asks for an address and takes it.
    pub fn lease(&mut self) -> (Ipv4Addr, Ipv4Addr, Vec<Ipv4Addr>) {
        let handle = self.sockets.add(dhcpv4::Socket::new());
        let mut lease = None;
        self.run_until(|guest| {
            if let Some(dhcpv4::Event::Configured(config)) =
                guest.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll()
            {
                let router = config.router.unwrap();
                let dns = config.dns_servers.iter().copied().collect();
                lease = Some((config.address, router, dns));
            }
            lease.is_some()
        });
        self.sockets.remove(handle);
        let (address, router, dns) = lease.unwrap();
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            addresses.push(IpCidr::Ipv4(address)).unwrap();
        });
        self.interface
            .routes_mut()
            .add_default_ipv4_route(router)
            .unwrap();
        (address.address(), router, dns)
    }

    /// Runs the stack until `done`, which may use the sockets.
    pub fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        loop {
            self.poll();
            let finished = done(self);
            self.poll();
            if finished {
                return;
            }
            let now = self.now();
            let patience = self.interface.poll_delay(now, &self.sockets).map(Duration::from);
            if patience != Some(Duration::ZERO) && self.wire.inbox.is_empty() {
                assert!(self.wire.wait(patience), "the gateway closed the connection");
            }
        }
    }

    /// The guest now lives elsewhere: same state, new connection, which announces itself. The old wire is
    /// returned.
    pub fn move_to(&mut self, wire: Wire) -> Wire {
        let old = std::mem::replace(&mut self.wire, wire);
        self.announce();
        old
    }

    /// Sends a gratuitous ARP.
    pub fn announce(&mut self) {
        let address = self.interface.ipv4_addr().unwrap();
        let announcement = arp(self.mac, address, address);
        self.wire.send(&announcement);
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// A TCP socket listening on `port`.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let mut socket = new_tcp();
        socket.listen(port).unwrap();
        self.sockets.add(socket)
    }

    /// A TCP socket connecting to an address.
    pub fn open(&mut self, to: (Ipv4Addr, u16), port: u16) -> SocketHandle {
        let mut socket = new_tcp();
        socket.connect(self.interface.context(), to, port).unwrap();
        self.sockets.add(socket)
    }

    pub fn bind_udp(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 16 * 1024]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    pub fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Pings an address and waits for the answer.
    pub fn ping(&mut self, to: Ipv4Addr) {
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 2], vec![0; 256]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(icmp::Endpoint::Ident(77)).unwrap();
        let request = Icmpv4Repr::EchoRequest {
            ident: 77,
            seq_no: 1,
            data: b"are you there",
        };
        let room = socket.send(request.buffer_len(), to.into()).unwrap();
        request.emit(&mut Icmpv4Packet::new_unchecked(room), &Default::default());
        let handle = self.sockets.add(socket);
        self.run_until(|guest| {
            let socket = guest.sockets.get_mut::<icmp::Socket<'_>>(handle);
            let Ok((bytes, from)) = socket.recv() else {
                return false;
            };
            let packet = Icmpv4Packet::new_checked(bytes).unwrap();
            let answer = Icmpv4Repr::parse(&packet, &Default::default()).unwrap();
            assert_eq!(from, to.into());
            answer
                == Icmpv4Repr::EchoReply {
                    ident: 77,
                    seq_no: 1,
                    data: b"are you there",
                }
        });
        self.sockets.remove(handle);
    }

    /// Lets the stack take what has come, and send what it has to send.
    pub fn poll(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        self.wire.flush();
    }

    fn now(&self) -> StackInstant {
        StackInstant::from_micros(self.started.elapsed().as_micros() as i64)
    }
}

pub fn mac(number: u8) -> EthernetAddress {
    EthernetAddress([0x52, 0x54, 0, 0, 0, number])
}

/// The TCP segment in a frame, with the address it comes from.
pub fn tcp_segment(frame: &[u8]) -> Option<(Ipv4Addr, TcpPacket<&[u8]>)> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let is_ip = frame.ethertype() == EthernetProtocol::Ipv4;
    let ip = is_ip.then(|| Ipv4Packet::new_checked(frame.payload()))?.ok()?;
    let is_tcp = ip.next_header() == IpProtocol::Tcp;
    let tcp = is_tcp.then(|| TcpPacket::new_checked(ip.payload()))?.ok()?;
    Some((ip.src_addr(), tcp))
}

/// An ARP request as a broadcast frame.
pub fn arp(from: EthernetAddress, address: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: from,
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: wanted,
    };
    let mut frame = vec![0; 14 + request.buffer_len()];
    let header = EthernetRepr {
        src_addr: from,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    header.emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    request.emit(&mut ArpPacket::new_unchecked(&mut frame[14..]));
    frame
}

/// `length` bytes that differ from place to place.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn new_tcp() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; 128 * 1024]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_ack_delay(None);
    socket
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: StackInstant) -> Option<(Received, Sending<'_>)> {
        let frame = self.inbox.pop_front()?;
        self.segments += usize::from(tcp_segment(&frame).is_some());
        Some((Received(frame), Sending(&mut self.wire)))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.wire))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

pub struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub struct Sending<'a>(&'a mut FrameWire<TcpStream>);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        queue(self.0, &frame);
        result
    }
}
