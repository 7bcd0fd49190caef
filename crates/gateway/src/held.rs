//! Datagrams for guests whose MAC address is not known yet, held until it is (RFC 1122 section 2.3.2.2).
//!
//! `segment` puts packets in here when it has to ask the segment for the MAC, and takes them out with the
//! guest's first sign of life. The first datagram of a client to a silent guest would be lost otherwise. TCP
//! repeats what is lost, so its packets are not held. What waits is bounded for each address and for all, and
//! for a few seconds.

use super::limits;
use super::told::Told;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

#[derive(Debug)]
struct Waiting {
    packets: Vec<Vec<u8>>,
    /// Bytes in all packets.
    length: usize,
    /// Time at which the segment is asked again.
    ask_at: Instant,
    expires: Instant,
}

/// All packets that wait.
#[derive(Debug, Default)]
pub struct Held {
    by_guest: BTreeMap<Ipv4Addr, Waiting>,
    /// Times that nobody had the address for which packets waited.
    unclaimed: Told,
}

impl Held {
    /// Holds an IP packet for a guest. If too much waits already, the packet is lost. True: it is the first
    /// for this guest, so the segment is to be asked.
    pub fn hold(&mut self, guest: Ipv4Addr, packet: Vec<u8>, now: Instant) -> bool {
        let is_first = !self.by_guest.contains_key(&guest);
        if is_first && self.by_guest.len() >= limits::HELD_GUESTS_MAX {
            return false;
        }
        let waiting = self.by_guest.entry(guest).or_insert_with(|| Waiting {
            packets: Vec::new(),
            length: 0,
            ask_at: now + limits::ARP_RETRY,
            expires: now + limits::HELD_TIMEOUT,
        });
        if waiting.length + packet.len() <= limits::HELD_PER_GUEST_LEN_MAX {
            waiting.length += packet.len();
            waiting.packets.push(packet);
        }
        is_first
    }

    /// The packets that wait for a guest, in their order.
    pub fn take(&mut self, guest: Ipv4Addr) -> Vec<Vec<u8>> {
        self.by_guest
            .remove(&guest)
            .map(|waiting| waiting.packets)
            .unwrap_or_default()
    }

    /// Number of times that packets were dropped because nobody had their address.
    pub fn unclaimed(&self) -> u64 {
        self.unclaimed.total
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let times = self
            .by_guest
            .values()
            .map(|waiting| waiting.ask_at.min(waiting.expires));
        times.min()
    }

    /// Forgets what has waited too long. Returns the addresses for which the segment is to be asked again.
    pub fn on_deadline(&mut self, now: Instant) -> Vec<Ipv4Addr> {
        let expired = self.by_guest.extract_if(.., |_, waiting| waiting.expires <= now);
        for (guest, waiting) in expired {
            if let Some(untold) = self.unclaimed.one_more(now) {
                tracing::warn!(
                    "no guest answers at {guest}, to which a forward leads, so that {} datagrams of clients \
                     were dropped; start the VM, or name another one in the forward{untold}",
                    waiting.packets.len()
                );
            }
        }
        let due = self
            .by_guest
            .iter_mut()
            .filter(|(_, waiting)| waiting.ask_at <= now);
        due.map(|(&guest, waiting)| {
            waiting.ask_at = now + limits::ARP_RETRY;
            guest
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: usize) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a00_0200 + number as u32)
    }

    #[test]
    fn packets_wait_in_order_and_the_segment_is_asked_until_they_have_waited_too_long() {
        let (mut held, now) = (Held::default(), Instant::now());
        assert!(held.hold(ip(20), vec![1], now));
        assert!(!held.hold(ip(20), vec![2], now));
        let mut asked = 0;
        while let Some(at) = held.deadline() {
            asked += held.on_deadline(at).len();
        }
        assert_eq!(asked, 14, "every 200 ms for three seconds");
        assert_eq!(held.unclaimed(), 1);
        held.hold(ip(20), vec![1], now);
        held.hold(ip(20), vec![2], now);
        assert_eq!(held.take(ip(20)), [[1], [2]]);
        assert_eq!((held.take(ip(20)).len(), held.deadline()), (0, None));
    }

    #[test]
    fn what_waits_is_bounded_for_each_guest_and_for_all() {
        let (mut held, now) = (Held::default(), Instant::now());
        for number in 0..1000 {
            for _ in 0..200 {
                held.hold(ip(number), vec![0; 1500], now);
            }
        }
        assert_eq!(held.by_guest.len(), limits::HELD_GUESTS_MAX);
        for waiting in held.by_guest.values() {
            assert!(waiting.length <= limits::HELD_PER_GUEST_LEN_MAX);
            assert_eq!(waiting.length, 1500 * waiting.packets.len());
        }
    }
}
