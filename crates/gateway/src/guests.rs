//! The guests' addresses: which MAC has which IP, by lease or by having been seen.
//!
//! An address that was leased belongs to its MAC, so a guest finds its address again however often it boots
//! or fails over, and no other guest can claim it. A guest that is away for longer than a lease (`LEASE`) has
//! the address only until another guest wants one. The table is bounded, and when it is full the guest that
//! has been away longest makes room. Only MACs of VMMs that are connected come here (`switch`).
//!
//! A guest that uses what is another's is told to the operator: it would be one of two that nobody reaches.

use super::config::Addresses;
use super::limits;
use super::told::Told;
use cable::mac::Mac;
use smoltcp::wire::EthernetAddress;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::Instant;

/// What a packet's source address taught the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// The pair of MAC and address was known.
    Known,
    /// The pair of MAC and address is new.
    New,
    /// The address is not a guest's, or belongs to another guest.
    Refused,
}

#[derive(Debug)]
struct Guest {
    mac: EthernetAddress,
    hold: Hold,
    /// Number that counts up with each time that the pair was seen.
    used: u64,
    /// When the pair was last seen.
    seen: Instant,
}

/// How firmly a guest has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The operator has fixed the address.
    Fixed,
    /// The guest got the address by DHCP.
    Leased,
    /// The address was only seen: it belongs to the guest that used it last.
    Seen,
}

/// All known guests, with their addresses.
#[derive(Debug)]
pub struct Guests {
    addresses: Addresses,
    by_ip: BTreeMap<Ipv4Addr, Guest>,
    leases: HashMap<EthernetAddress, Ipv4Addr>,
    arp_sent: HashMap<Ipv4Addr, Instant>,
    next_use: u64,
    /// Guests that got no address, because none was left.
    empty_handed: Told,
    /// Packets of guests that used an address of another guest.
    mistaken: Told,
}

impl Guests {
    /// A table with the fixed leases in it.
    pub fn new(addresses: Addresses, fixed: &[([u8; 6], Ipv4Addr)]) -> Self {
        let mut guests = Self {
            addresses,
            by_ip: BTreeMap::new(),
            leases: HashMap::new(),
            arp_sent: HashMap::new(),
            next_use: 0,
            empty_handed: Told::default(),
            mistaken: Told::default(),
        };
        let now = Instant::now();
        for &(mac, address) in fixed {
            guests.bind(EthernetAddress(mac), address, Hold::Fixed, now);
            guests.leases.insert(EthernetAddress(mac), address);
        }
        guests
    }

    /// The address for a guest that asks for one: the address that it has, else the one that it wants if that
    /// is free, else the lowest free one, else that of a guest that is away (not `is_here`). An address whose
    /// guest has been away for longer than a lease is free. `None`: there is no address left.
    pub fn lease(
        &mut self,
        mac: EthernetAddress,
        wanted: Option<Ipv4Addr>,
        is_here: &dyn Fn(EthernetAddress) -> bool,
        now: Instant,
    ) -> Option<Ipv4Addr> {
        if let Some(&address) = self.leases.get(&mac) {
            if let Some(guest) = self.by_ip.get_mut(&address) {
                guest.seen = now;
            }
            return Some(address);
        }
        let first = self.addresses.first_lease.to_bits();
        let pool = (first..first + 2 * limits::GUESTS_MAX as u32).map(Ipv4Addr::from_bits);
        let is_free = |&address: &Ipv4Addr| self.is_free_for(mac, address, is_here, now);
        let free = wanted.into_iter().chain(pool).find(is_free);
        let address = match free {
            Some(address) if self.by_ip.contains_key(&address) || self.make_room(is_here) => Some(address),
            Some(_) => None,
            // Every address of the pool is somebody's.
            None => self.evict(is_here),
        };
        let Some(address) = address else {
            if let Some(untold) = self.empty_handed.one_more(now) {
                tracing::warn!(
                    "no address is left for the guest {}; give the gateway a larger `--subnet`{untold}",
                    Mac(mac.0)
                );
            }
            return None;
        };
        self.forget(address);
        self.bind(mac, address, Hold::Leased, now);
        self.leases.insert(mac, address);
        Some(address)
    }

    /// Notes that a packet came from this pair.
    pub fn observe(
        &mut self,
        mac: EthernetAddress,
        address: Ipv4Addr,
        is_here: &dyn Fn(EthernetAddress) -> bool,
        now: Instant,
    ) -> Observed {
        if !self.addresses.is_guest(address) {
            return Observed::Refused;
        }
        match self.by_ip.get_mut(&address) {
            Some(guest) if guest.mac == mac => {
                guest.used = self.next_use;
                guest.seen = now;
                self.next_use += 1;
                return Observed::Known;
            }
            Some(guest) if guest.hold != Hold::Seen => {
                if let Some(untold) = self.mistaken.one_more(now) {
                    tracing::warn!(
                        "the guest {} gets no network: it uses {address}, which is the lease of the guest \
                         {}; let it ask for an address of its own (DHCP), or give it another one{untold}",
                        Mac(mac.0),
                        Mac(guest.mac.0)
                    );
                }
                return Observed::Refused;
            }
            Some(_) => {}
            None => {
                self.keep_to_its_share(mac);
                if !self.make_room(is_here) {
                    return Observed::Refused;
                }
            }
        }
        self.bind(mac, address, Hold::Seen, now);
        Observed::New
    }

    /// Number of known addresses.
    pub fn len(&self) -> usize {
        self.by_ip.len()
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

    /// Whether it is time to ask for this address on the segment. Notes that the address was asked for.
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

    fn is_free_for(
        &self,
        mac: EthernetAddress,
        address: Ipv4Addr,
        is_here: &dyn Fn(EthernetAddress) -> bool,
        now: Instant,
    ) -> bool {
        let is_free = |guest: &Guest| {
            let has_expired = now.saturating_duration_since(guest.seen) >= limits::LEASE;
            match guest.hold {
                Hold::Fixed => false,
                Hold::Seen if guest.mac == mac => true,
                Hold::Leased | Hold::Seen => has_expired && !is_here(guest.mac),
            }
        };
        self.addresses.is_guest(address) && self.by_ip.get(&address).is_none_or(is_free)
    }

    /// Forgets the oldest of the addresses that a MAC uses without a lease, if the MAC has its share of them.
    fn keep_to_its_share(&mut self, mac: EthernetAddress) {
        let seen = |guest: &Guest| guest.mac == mac && guest.hold == Hold::Seen;
        if self.by_ip.values().filter(|guest| seen(guest)).count() >= limits::ADDRESSES_PER_MAC_MAX {
            self.forget_oldest(&seen);
        }
    }

    /// Makes room for one address. False: the table is full of guests that are here.
    fn make_room(&mut self, is_here: &dyn Fn(EthernetAddress) -> bool) -> bool {
        self.by_ip.len() < limits::GUESTS_MAX || self.evict(is_here).is_some()
    }

    /// Forgets the address that is held least firmly: an address that was only seen, else a lease, of a guest
    /// that is away; else an address that was only seen.
    fn evict(&mut self, is_here: &dyn Fn(EthernetAddress) -> bool) -> Option<Ipv4Addr> {
        let away = |guest: &Guest| !is_here(guest.mac);
        self.forget_oldest(&|guest| guest.hold == Hold::Seen && away(guest))
            .or_else(|| self.forget_oldest(&|guest| guest.hold == Hold::Leased && away(guest)))
            .or_else(|| self.forget_oldest(&|guest| guest.hold == Hold::Seen))
    }

    fn forget_oldest(&mut self, which: &dyn Fn(&Guest) -> bool) -> Option<Ipv4Addr> {
        let candidates = self.by_ip.iter().filter(|(_, guest)| which(guest));
        let (&address, _) = candidates.min_by_key(|(_, guest)| guest.used)?;
        self.forget(address);
        Some(address)
    }

    fn forget(&mut self, address: Ipv4Addr) {
        if let Some(guest) = self.by_ip.remove(&address)
            && self.leases.get(&guest.mac) == Some(&address)
        {
            self.leases.remove(&guest.mac);
        }
    }

    fn bind(&mut self, mac: EthernetAddress, address: Ipv4Addr, hold: Hold, now: Instant) {
        let used = self.next_use;
        self.next_use += 1;
        let guest = Guest {
            mac,
            hold,
            used,
            seen: now,
        };
        self.by_ip.insert(address, guest);
        self.arp_sent.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GatewayConfig, GuestListen};

    fn guests(fixed: &[([u8; 6], Ipv4Addr)]) -> Guests {
        let addresses = GatewayConfig::new(GuestListen::Unix("x".into()))
            .addresses()
            .unwrap();
        Guests::new(addresses, fixed)
    }

    /// Every guest is connected.
    fn here(_: EthernetAddress) -> bool {
        true
    }

    fn now() -> Instant {
        Instant::now()
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
        assert_eq!(guests.lease(mac(1), None, &here, now()), Some(ip(15)));
        assert_eq!(guests.lease(mac(2), None, &here, now()), Some(ip(17)));
        assert_eq!(guests.lease(mac(1), Some(ip(99)), &here, now()), Some(ip(15)));
        assert_eq!(guests.lease(mac(9), None, &here, now()), Some(ip(16)));
        assert_eq!(guests.lease(mac(3), Some(ip(15)), &here, now()), Some(ip(18)));
        assert_eq!(guests.lease(mac(4), Some(ip(40)), &here, now()), Some(ip(40)));
    }

    #[test]
    fn a_leased_address_cannot_be_taken_and_a_seen_one_can() {
        let mut guests = guests(&[]);
        guests.lease(mac(1), None, &here, now());
        assert_eq!(guests.observe(mac(2), ip(15), &here, now()), Observed::Refused);
        assert_eq!(guests.observe(mac(2), ip(20), &here, now()), Observed::New);
        assert_eq!(guests.observe(mac(2), ip(20), &here, now()), Observed::Known);
        assert_eq!(guests.observe(mac(3), ip(20), &here, now()), Observed::New);
        for address in [ip(2), ip(3), ip(0), ip(255), Ipv4Addr::new(8, 8, 8, 8)] {
            assert_eq!(guests.observe(mac(3), address, &here, now()), Observed::Refused);
        }
    }

    #[test]
    fn a_segment_without_free_addresses_gives_no_lease() {
        let mut guests = guests(&[]);
        let given = (0..1000)
            .filter(|&number| guests.lease(mac(number), None, &here, now()).is_some())
            .count();
        assert_eq!(given, 255 - 15);
    }

    #[test]
    fn a_full_table_takes_the_address_of_the_guest_that_has_been_away_longest() {
        let mut guests = guests(&[(mac(0).0, ip(15))]);
        for number in 1..241 {
            guests.lease(mac(number), None, &here, now());
        }
        assert_eq!(guests.lease(mac(1000), None, &here, now()), None);
        // The second guest was seen again and the first was not; the fixed address is nobody else's.
        assert_eq!(guests.observe(mac(1), ip(16), &here, now()), Observed::Known);
        let is_here = |address| ![mac(0), mac(1), mac(2)].contains(&address);
        assert_eq!(guests.lease(mac(1000), None, &is_here, now()), Some(ip(17)));
        assert_eq!(guests.lease(mac(1), None, &here, now()), Some(ip(16)));
        assert_eq!(guests.lease(mac(0), None, &here, now()), Some(ip(15)));
    }

    #[test]
    fn a_guest_that_claims_every_address_keeps_nobody_out() {
        let mut guests = guests(&[]);
        for host in 20..250 {
            assert_eq!(guests.observe(mac(66), ip(host), &here, now()), Observed::New);
        }
        assert_eq!(guests.len(), limits::ADDRESSES_PER_MAC_MAX);
        assert_eq!(guests.lease(mac(1), None, &here, now()), Some(ip(15)));
    }

    #[test]
    fn the_address_of_a_guest_that_is_away_for_longer_than_a_lease_is_given_to_another() {
        let mut guests = guests(&[]);
        let (away, start) = (|address| address != mac(1), now());
        assert_eq!(guests.lease(mac(1), None, &here, start), Some(ip(15)));
        let soon = start + limits::LEASE / 2;
        assert_eq!(
            guests.lease(mac(2), None, &away, soon),
            Some(ip(16)),
            "it may come back"
        );
        // A guest that is here keeps its address, however silent it is.
        let late = start + 2 * limits::LEASE;
        assert_eq!(guests.lease(mac(3), None, &here, late), Some(ip(17)));
        assert_eq!(guests.lease(mac(4), None, &away, late), Some(ip(15)));
        // The first one comes back after all.
        assert_eq!(guests.observe(mac(1), ip(15), &here, late), Observed::Refused);
        assert_eq!(guests.lease(mac(1), Some(ip(15)), &here, late), Some(ip(18)));
    }
}
