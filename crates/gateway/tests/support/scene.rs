//! Scenes: how most tests of the gateway begin, and what is outside of a gateway and its guest.
//!
//! `guest.rs` has the two halves, a gateway and a guest; here they are put together, with servers, resolvers
//! and clients on the host's loopback. Nothing here may wait for a time: a test goes on when what it waits
//! for has happened.
#![allow(dead_code, reason = "each test binary uses its own part of the scenes")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::{self, JoinHandle};

use gateway::GatewayConfig;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use smoltcp::wire::IpEndpoint;

use super::guest::{Gateway, Guest};

/// A gateway as [`Gateway::start`] makes it, and a guest with a lease.
pub fn start(change: impl FnOnce(&mut GatewayConfig)) -> (Gateway, Guest) {
    let gateway = Gateway::start(change);
    let guest = Guest::with_lease(&gateway, 1);
    (gateway, guest)
}

/// A gateway with a forward as [`Gateway::with_forward`] makes it, and a guest with a lease.
pub fn with_forward(protocol: &str, guest: &str) -> (Gateway, Guest) {
    let gateway = Gateway::with_forward(protocol, guest);
    let guest = Guest::with_lease(&gateway, 1);
    (gateway, guest)
}

/// A server of the guest on port 7, and a client of the gateway's forward that is connected to it.
pub fn connected(gateway: &Gateway, guest: &mut Guest) -> (SocketHandle, TcpStream) {
    let server = guest.listen(7);
    let client = TcpStream::connect(gateway.forward()).unwrap();
    guest.run_until(|guest| guest.tcp(server).may_send());
    (server, client)
}

/// A client of the gateway's forward; `None` if the gateway has reset it already. The kernel makes the
/// connection before the gateway sees it, so a reset may come even before `connect` has returned.
pub fn call(gateway: &Gateway) -> Option<TcpStream> {
    match TcpStream::connect(gateway.forward()) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        client => Some(client.unwrap()),
    }
}

/// A TCP server on the host's loopback that accepts nobody yet, and its port.
pub fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A UDP socket on the host's loopback, and its address.
pub fn datagrams() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A resolver on the host's loopback that answers one question with the same bytes, marked as an answer, and
/// `more` behind them; its address, and a thread that gives the question.
pub fn resolver(more: &'static [u8]) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let (socket, address) = datagrams();
    let thread = thread::spawn(move || {
        let mut buffer = [0; 512];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let mut answer = [&buffer[..length], more].concat();
        answer[2] |= 0x80;
        socket.send_to(&answer, from).unwrap();
        buffer[..length].to_vec()
    });
    (address, thread)
}

/// A question for the address of `example.org`.
pub const QUESTION: &[u8] = b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";

/// The guest asks a resolver; the answer.
pub fn ask(guest: &mut Guest, server: Ipv4Addr) -> Vec<u8> {
    let socket = guest.bind_udp(5353);
    guest.udp(socket).send_slice(QUESTION, (server, 53)).unwrap();
    let (answer, from) = datagram(guest, socket);
    assert_eq!(from, (server, 53).into());
    answer
}

/// The next datagram that the guest gets at a socket, and who sent it.
pub fn datagram(guest: &mut Guest, socket: SocketHandle) -> (Vec<u8>, IpEndpoint) {
    let mut received = None;
    guest.run_until(|guest| {
        if let Ok((bytes, meta)) = guest.udp(socket).recv() {
            received = Some((bytes.to_vec(), meta.endpoint));
        }
        received.is_some()
    });
    received.unwrap()
}

/// The guest takes what has arrived at a TCP socket.
pub fn receive(guest: &mut Guest, handle: SocketHandle, into: &mut Vec<u8>) {
    while guest.tcp(handle).can_recv() {
        guest
            .tcp(handle)
            .recv(|bytes| {
                into.extend_from_slice(bytes);
                (bytes.len(), ())
            })
            .unwrap();
    }
}

/// The guest calls a place from one of its ports, and waits until it is refused.
pub fn is_refused(guest: &mut Guest, place: (Ipv4Addr, u16), port: u16) {
    let client = guest.open(place, port);
    guest.run_until(|guest| guest.tcp(client).state() == State::Closed);
}

/// A connection of a client that has another address of the loopback.
pub fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}
