//! The guests' addresses: which MAC has which IP, by lease or by having been seen.
//!
//! An address that was leased belongs to its MAC for the life of the gateway, so a guest finds its address again however
//! often it boots or fails over, and no other guest can claim it. Nothing here expires: a guest that is away comes back.

use super::config::Addresses;
use super::limits;
use smoltcp::wire::EthernetAddress;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::Instant;

/// What a packet's source address taught the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// The pair was known.
    Known,
    /// The pair is new.
    New,
    /// The address is not a guest's, or belongs to another guest.
    Refused,
}

#[derive(Debug)]
struct Guest {
    mac: EthernetAddress,
    /// A lease holds for good; an address that was only seen goes to whoever used it last.
    leased: bool,
}

/// All known guests.
#[derive(Debug)]
pub struct Guests {
    addresses: Addresses,
    by_ip: BTreeMap<Ipv4Addr, Guest>,
    leases: HashMap<EthernetAddress, Ipv4Addr>,
    arp_sent: HashMap<Ipv4Addr, Instant>,
}

impl Guests {
    /// A table with the fixed leases in it.
    pub fn new(addresses: Addresses, fixed: &[([u8; 6], Ipv4Addr)]) -> Self {
        let mut guests = Self {
            addresses,
            by_ip: BTreeMap::new(),
            leases: HashMap::new(),
            arp_sent: HashMap::new(),
        };
        for &(mac, address) in fixed {
            guests.bind(EthernetAddress(mac), address);
        }
        guests
    }

    /// The address for a guest that asks for one: the one it has, else the one it wants if free, else the lowest free one.
    /// `None`: there is none left.
    pub fn lease(&mut self, mac: EthernetAddress, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        if let Some(&address) = self.leases.get(&mac) {
            return Some(address);
        }
        if self.leases.len() >= limits::GUESTS_MAX {
            return None;
        }
        let first = self.addresses.first_lease.to_bits();
        let pool = (first..first + 2 * limits::GUESTS_MAX as u32).map(Ipv4Addr::from_bits);
        let address = wanted
            .into_iter()
            .chain(pool)
            .find(|&address| self.is_free_for(mac, address))?;
        self.bind(mac, address);
        Some(address)
    }

    /// Notes that a packet came from this pair.
    pub fn observe(&mut self, mac: EthernetAddress, address: Ipv4Addr) -> Observed {
        if !self.addresses.is_guest(address) {
            return Observed::Refused;
        }
        let full = self.by_ip.len() >= limits::GUESTS_MAX;
        match self.by_ip.get_mut(&address) {
            Some(guest) if guest.mac == mac => Observed::Known,
            Some(guest) if guest.leased => Observed::Refused,
            None if full => Observed::Refused,
            _ => {
                self.by_ip.insert(address, Guest { mac, leased: false });
                self.arp_sent.remove(&address);
                Observed::New
            }
        }
    }

    /// The MAC of an address, if known.
    pub fn mac_of(&self, address: Ipv4Addr) -> Option<EthernetAddress> {
        self.by_ip.get(&address).map(|guest| guest.mac)
    }

    /// All addresses of a MAC.
    pub fn addresses_of(&self, mac: EthernetAddress) -> Vec<Ipv4Addr> {
        self.by_ip
            .iter()
            .filter(|(_, guest)| guest.mac == mac)
            .map(|(&address, _)| address)
            .collect()
    }

    /// Whether it is time to ask for this address on the segment, and notes that it was asked.
    pub fn may_ask(&mut self, address: Ipv4Addr, now: Instant) -> bool {
        if !self.addresses.is_guest(address) {
            return false;
        }
        if self.arp_sent.len() >= limits::GUESTS_MAX {
            self.arp_sent.clear();
        }
        let due = self
            .arp_sent
            .get(&address)
            .is_none_or(|&sent| now.saturating_duration_since(sent) >= limits::ARP_RETRY);
        if due {
            self.arp_sent.insert(address, now);
        }
        due
    }

    fn is_free_for(&self, mac: EthernetAddress, address: Ipv4Addr) -> bool {
        self.addresses.is_guest(address)
            && self
                .by_ip
                .get(&address)
                .is_none_or(|guest| guest.mac == mac && !guest.leased)
    }

    fn bind(&mut self, mac: EthernetAddress, address: Ipv4Addr) {
        self.by_ip.insert(address, Guest { mac, leased: true });
        self.leases.insert(mac, address);
        self.arp_sent.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::gateway::config::{GatewayConfig, GuestListen};

    fn guests(fixed: &[([u8; 6], Ipv4Addr)]) -> Guests {
        let addresses = GatewayConfig::new(GuestListen::Unix("x".into()))
            .addresses()
            .unwrap();
        Guests::new(addresses, fixed)
    }

    fn mac(number: u16) -> EthernetAddress {
        let [high, low] = number.to_be_bytes();
        EthernetAddress([2, 0, 0, 0, high, low])
    }

    fn ip(host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 2, host)
    }

    #[test]
    fn leases_are_stable_and_start_at_host_15() {
        let mut guests = guests(&[(mac(9).0, ip(16))]);
        assert_eq!(guests.lease(mac(1), None), Some(ip(15)));
        assert_eq!(guests.lease(mac(2), None), Some(ip(17)));
        assert_eq!(guests.lease(mac(1), Some(ip(99))), Some(ip(15)));
        assert_eq!(guests.lease(mac(9), None), Some(ip(16)));
        assert_eq!(guests.lease(mac(3), Some(ip(15))), Some(ip(18)));
        assert_eq!(guests.lease(mac(4), Some(ip(40))), Some(ip(40)));
    }

    #[test]
    fn a_leased_address_cannot_be_taken_and_a_seen_one_can() {
        let mut guests = guests(&[]);
        guests.lease(mac(1), None);
        assert_eq!(guests.observe(mac(2), ip(15)), Observed::Refused);
        assert_eq!(guests.observe(mac(2), ip(20)), Observed::New);
        assert_eq!(guests.observe(mac(2), ip(20)), Observed::Known);
        assert_eq!(guests.observe(mac(3), ip(20)), Observed::New);
        for address in [ip(2), ip(3), ip(0), ip(255), Ipv4Addr::new(8, 8, 8, 8)] {
            assert_eq!(guests.observe(mac(3), address), Observed::Refused);
        }
    }

    #[test]
    fn a_segment_without_free_addresses_gives_no_lease() {
        let mut guests = guests(&[]);
        let given = (0..1000)
            .filter(|&number| guests.lease(mac(number), None).is_some())
            .count();
        assert_eq!(given, 255 - 15);
    }
}
