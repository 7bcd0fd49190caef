//! The DHCP server: gives each MAC the same address whenever it asks, and the gateway as router and resolver.
//!
//! The server has no state but the table of guests. It ignores anything that it cannot read, as a server on a
//! wire would.

use super::limits;
use super::segment::Segment;
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The port that DHCP servers listen on.
pub const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Shortest message in bytes; old clients drop shorter ones (RFC 1542 section 2.1).
const MESSAGE_LEN_MIN: usize = 300;

/// Handles one message of a client. `sender` is the network frame's source: a guest may ask for itself only.
/// Gives the address of a guest that has just taken its lease.
pub fn on_message(segment: &mut Segment, sender: EthernetAddress, payload: &[u8]) -> Option<Ipv4Addr> {
    let packet = DhcpPacket::new_checked(payload).ok()?;
    let request = DhcpRepr::parse(&packet).ok()?;
    if request.client_hardware_address != sender {
        return None;
    }
    let (message_type, address) = decide(segment, &request)?;
    answer(segment, &request, message_type, address);
    (message_type == DhcpMessageType::Ack).then_some(address)
}

fn decide(segment: &mut Segment, request: &DhcpRepr<'_>) -> Option<(DhcpMessageType, Ipv4Addr)> {
    let mac = request.client_hardware_address;
    match request.message_type {
        DhcpMessageType::Discover => {
            let address = segment.lease(mac, request.requested_ip)?;
            Some((DhcpMessageType::Offer, address))
        }
        DhcpMessageType::Request => {
            if request
                .server_identifier
                .is_some_and(|server| server != segment.addresses.gateway)
            {
                return None;
            }
            let wanted = request.requested_ip.unwrap_or(request.client_ip);
            if segment.lease(mac, Some(wanted)) == Some(wanted) {
                tracing::info!(%mac, address = %wanted, "lease");
                Some((DhcpMessageType::Ack, wanted))
            } else {
                Some((DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED))
            }
        }
        _ => None,
    }
}

fn answer(segment: &mut Segment, request: &DhcpRepr<'_>, message_type: DhcpMessageType, address: Ipv4Addr) {
    let addresses = segment.addresses;
    let granted = message_type != DhcpMessageType::Nak;
    let reply = DhcpRepr {
        message_type,
        transaction_id: request.transaction_id,
        secs: 0,
        client_hardware_address: request.client_hardware_address,
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: address,
        // Guests do not boot from here: a firmware that were told a server would try it for a minute.
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: granted.then_some(addresses.gateway),
        subnet_mask: granted.then(|| addresses.cidr.netmask()),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: request.broadcast,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(addresses.gateway),
        parameter_request_list: None,
        dns_servers: granted.then(|| [addresses.dns].into_iter().collect()),
        max_size: None,
        lease_duration: granted.then_some(limits::LEASE.as_secs() as u32),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let mut message = vec![0; reply.buffer_len().max(MESSAGE_LEN_MIN)];
    if reply
        .emit(&mut DhcpPacket::new_unchecked(message.as_mut_slice()))
        .is_err()
    {
        return;
    }
    // A client without an address cannot answer ARP, so the answer goes straight to the client's MAC, or to
    // all if the client asks for that.
    let renewing = request.client_ip != Ipv4Addr::UNSPECIFIED && granted;
    let to_ip = if renewing {
        request.client_ip
    } else {
        Ipv4Addr::BROADCAST
    };
    let to_mac = if request.broadcast {
        EthernetAddress::BROADCAST
    } else {
        request.client_hardware_address
    };
    segment.send_udp_to(
        to_mac,
        SocketAddrV4::new(addresses.gateway, SERVER_PORT),
        SocketAddrV4::new(to_ip, CLIENT_PORT),
        &message,
    );
}
