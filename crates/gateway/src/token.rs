//! Numbers for everything that the loop waits for, packed into mio's one number.
//!
//! A token names a kind of thing and its number, and holds no reference: the loop looks the thing up.

use mio::Token;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody asked the gateway to stop.
    Stop = 0,
    /// A VMM connects.
    GuestListener = 1,
    /// A VMM sent frames or takes some.
    Peer = 2,
    /// A client connects to a TCP forward.
    TcpForward = 3,
    /// The host side of a TCP connection.
    Connection = 4,
    /// Datagrams for a guest's port, or errors of those that it has sent.
    UdpMapping = 5,
    /// Datagrams of clients for a UDP forward.
    UdpForward = 6,
    /// An answer from a resolver.
    DnsQuery = 7,
    /// A guest connects to the resolver's port.
    DnsListener = 8,
    /// Either side of such a connection.
    DnsStream = 9,
    /// Answers to a guest's ping.
    Ping = 10,
}

const KIND_BITS: u32 = 4;

/// The token of the thing with number `id` of a kind. Numbers are never used twice, so a late event meets
/// nobody.
pub fn token(kind: Kind, id: u64) -> Token {
    Token(((id as usize) << KIND_BITS) | kind as usize)
}

/// The reverse of `token`.
pub fn from_token(token: Token) -> (Kind, u64) {
    let kind = match token.0 & ((1 << KIND_BITS) - 1) {
        0 => Kind::Stop,
        1 => Kind::GuestListener,
        2 => Kind::Peer,
        3 => Kind::TcpForward,
        4 => Kind::Connection,
        5 => Kind::UdpMapping,
        6 => Kind::UdpForward,
        7 => Kind::DnsQuery,
        8 => Kind::DnsListener,
        9 => Kind::DnsStream,
        _ => Kind::Ping,
    };
    (kind, (token.0 >> KIND_BITS) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        for kind in [
            Kind::Stop,
            Kind::GuestListener,
            Kind::Peer,
            Kind::TcpForward,
            Kind::Connection,
            Kind::UdpMapping,
            Kind::UdpForward,
            Kind::DnsQuery,
            Kind::DnsListener,
            Kind::DnsStream,
            Kind::Ping,
        ] {
            for id in [0, 1, 77, 1 << 50] {
                assert_eq!(from_token(token(kind, id)), (kind, id));
            }
        }
    }
}
