//! Shares: how much of something each guest, client or forward has, so that none of them takes everything.
//!
//! The table only counts; its callers compare the counts with `limits`.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

/// Counts by holder; a holder of nothing takes no memory.
#[derive(Debug)]
pub struct Shares<K>(HashMap<K, usize>);

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Shares<K> {
    /// How much a holder has.
    pub fn of(&self, holder: &K) -> usize {
        self.0.get(holder).copied().unwrap_or(0)
    }

    /// The holder that has most.
    pub fn most(&self) -> Option<&K> {
        let most = self.0.iter().max_by_key(|(_, count)| **count);
        most.map(|(holder, _)| holder)
    }

    /// Who gives something up for one more of this holder: the holder itself if it has its share, else the
    /// holder that has most of them if there is no room for anybody. `None`: nobody has to.
    pub fn who_gives_way(&self, holder: K, share: usize, is_full: bool) -> Option<K>
    where
        K: Copy,
    {
        if self.of(&holder) >= share {
            Some(holder)
        } else if is_full {
            Some(self.most().copied().unwrap_or(holder))
        } else {
            None
        }
    }

    /// Counts one more for a holder.
    pub fn add(&mut self, holder: K) {
        *self.0.entry(holder).or_default() += 1;
    }

    /// Counts one less for a holder. A holder that has nothing keeps having nothing.
    pub fn remove(&mut self, holder: &K) {
        if let Some(count) = self.0.get_mut(holder) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(holder);
            }
        }
    }
}

/// Where a client comes from, as far as shares are concerned: of an IPv6 address the network, since a host
/// has all addresses of its network.
pub fn source_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_count_up_and_down_and_leave_nothing_behind() {
        let mut shares = Shares::default();
        shares.add("a");
        shares.add("a");
        shares.remove(&"a");
        shares.remove(&"b");
        assert_eq!((shares.of(&"a"), shares.of(&"b")), (1, 0));
        shares.remove(&"a");
        assert!(shares.0.is_empty());
    }

    #[test]
    fn a_holder_of_its_share_gives_way_itself_and_else_who_has_most_if_there_is_no_room() {
        let mut shares = Shares::default();
        for holder in ["a", "b", "b", "b"] {
            shares.add(holder);
        }
        assert_eq!(shares.who_gives_way("b", 3, true), Some("b"));
        assert_eq!(shares.who_gives_way("b", 3, false), Some("b"));
        assert_eq!(shares.who_gives_way("a", 4, true), Some("b"));
        assert_eq!(shares.who_gives_way("a", 4, false), None);
        assert_eq!(Shares::default().who_gives_way("a", 1, true), Some("a"));
    }

    #[test]
    fn a_host_with_many_ipv6_addresses_is_one_source() {
        let source = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1:2:3"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }
}
