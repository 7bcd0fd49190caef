//! Calls ports of other hosts that their agents have opened for this, and nothing else.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use agent::examination::Echo;
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery};

use crate::limits::{DATAGRAM_BYTES_MAX, DATAGRAMS_MAX, ECHO_PATIENCE};
use crate::peers::Reached;

/// Bytes of a packet before its datagram: IPv4 and UDP.
const HEADERS: usize = 28;

/// Calls a port that answers for a moment.
#[must_use]
pub fn reach(echo: &Echo) -> Reached {
    let word = echo.word.as_bytes();
    let said = |result: io::Result<()>| result.map_err(|error| error.to_string());
    let udp = datagram(echo.address, word, word.len());
    let packet = match (&udp, echo.address) {
        (Ok(()), SocketAddr::V4(_)) => packet_bytes(echo.address).map(|bytes| {
            let longest = (bytes as usize).min(DATAGRAM_BYTES_MAX);
            let length = longest.saturating_sub(HEADERS).max(word.len());
            let passes = datagram(echo.address, word, length).is_ok();
            (u32::try_from(longest).unwrap_or(u32::MAX), passes)
        }),
        _ => None,
    };
    Reached {
        port: echo.address.port(),
        tcp: said(stream(echo.address, word)),
        udp: said(udp),
        packet,
    }
}

/// Is the word said to whoever calls by TCP?
fn stream(address: SocketAddr, word: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, ECHO_PATIENCE)?;
    stream.set_read_timeout(Some(ECHO_PATIENCE))?;
    let mut said = vec![0; word.len()];
    stream.read_exact(&mut said)?;
    match said == word {
        true => Ok(()),
        false => Err(io::Error::other("something else answers")),
    }
}

/// Does a datagram of this length that begins with the word come back, without being cut into pieces on its
/// way?
fn datagram(address: SocketAddr, word: &[u8], length: usize) -> io::Result<()> {
    let socket = connected(address)?;
    socket.set_read_timeout(Some(ECHO_PATIENCE))?;
    if address.is_ipv4() {
        sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO)?;
    }
    let mut datagram = word.to_vec();
    datagram.resize(length, 0);
    let mut back = vec![0; length];
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..DATAGRAMS_MAX {
        let exchanged = socket.send(&datagram).and_then(|_| socket.recv(&mut back));
        match exchanged {
            Ok(received) if received == length && back == datagram => return Ok(()),
            Ok(_) => last = io::Error::other("something else answers"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                last = io::Error::new(io::ErrorKind::TimedOut, "no answer");
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Bytes that a packet to this address may have, as far as this host's routes say.
fn packet_bytes(address: SocketAddr) -> Option<u32> {
    sockopt::ip_mtu(connected(address).ok()?).ok()
}

fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => [0, 0, 0, 0].into(),
        SocketAddr::V6(_) => [0; 16].into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// A port that says this word, and sends datagrams of at most this length back; it ends with the test.
    fn port(word: &'static str, length_max: usize) -> SocketAddr {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                let _ = stream.write_all(word.as_bytes());
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 16_384];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                if length <= length_max {
                    let _ = udp.send_to(&buffer[..length], from);
                }
            }
        });
        address
    }

    fn echo(address: SocketAddr) -> Echo {
        Echo {
            address,
            word: "0123".into(),
        }
    }

    #[test]
    fn a_port_that_answers_is_reached_and_short_datagrams_alone_are_seen() {
        let whole = reach(&echo(port("0123", usize::MAX)));
        assert_eq!((&whole.tcp, &whole.udp), (&Ok(()), &Ok(())));
        assert_eq!(whole.packet, Some((DATAGRAM_BYTES_MAX as u32, true)));
        let narrow = reach(&echo(port("0123", 1_000)));
        assert_eq!((narrow.udp, narrow.packet.unwrap().1), (Ok(()), false));
    }

    #[test]
    fn a_port_that_is_closed_or_says_something_else_is_not_reached() {
        let other = reach(&echo(port("4567", 0)));
        assert_eq!(other.tcp, Err("something else answers".into()));
        assert_eq!((other.udp, other.packet), (Err("no answer".into()), None));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let closed = reach(&echo(closed));
        assert!(closed.tcp.is_err() && closed.udp.is_err());
    }
}
