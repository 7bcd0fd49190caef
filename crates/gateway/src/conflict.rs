//! Two VMs with the same Ethernet address: only one of them can be reached, so both must hear of it.
//!
//! A takeover looks the same for a moment: the stalled primary that wakes up still uses the address that its
//! backup has by now. But it ends as soon as it hears that it has lost. So `switch` brings every use of an
//! address that another VM has, and what goes on for longer than a takeover is a conflict, told once in a
//! while. A guest that has lost its address may be one that only answers, and so would say nothing any more;
//! it is asked a few times, by `segment`. Nothing here decides who has the address.

use super::limits;
use super::peer::PeerId;
use smoltcp::wire::EthernetAddress;
use std::collections::HashMap;
use std::time::Instant;

/// The use of an address by a VM that does not have it.
#[derive(Debug)]
struct Conflict {
    since: Instant,
    last: Instant,
    told: Option<Instant>,
}

/// A VM whose address another one has taken over.
#[derive(Debug)]
struct Loser {
    peer: PeerId,
    mac: EthernetAddress,
    /// When to ask its guest next whether it is there, and how often after that.
    ask_at: Instant,
    asks: u32,
}

/// All uses of addresses by VMs that do not have them.
#[derive(Debug, Default)]
pub struct Conflicts {
    uses: HashMap<(EthernetAddress, PeerId), Conflict>,
    /// VMs that have lost an address within the last seconds.
    losers: Vec<Loser>,
}

impl Conflicts {
    /// Notes that a VM uses the address of another one. True: this is a conflict and is to be told.
    pub fn on_use(&mut self, mac: EthernetAddress, by: PeerId, now: Instant) -> bool {
        let is_new = !self.uses.contains_key(&(mac, by));
        if is_new && self.uses.len() >= limits::CONFLICTS_MAX {
            let quiet = self.uses.iter().min_by_key(|(_, conflict)| conflict.last);
            if let Some((&quiet, _)) = quiet {
                self.uses.remove(&quiet);
            }
        }
        let fresh = Conflict {
            since: now,
            last: now,
            told: None,
        };
        let conflict = self.uses.entry((mac, by)).or_insert(fresh);
        if now.saturating_duration_since(conflict.last) > limits::CONFLICT_OVER {
            (conflict.since, conflict.told) = (now, None);
        }
        conflict.last = now;
        let is_conflict = now.saturating_duration_since(conflict.since) >= limits::CONFLICT_AFTER;
        let was_told = conflict
            .told
            .is_some_and(|told| now.saturating_duration_since(told) < limits::CONFLICT_TOLD_EVERY);
        if is_conflict && !was_told {
            conflict.told = Some(now);
        }
        is_conflict && !was_told
    }

    /// Forgets a VM that has disconnected.
    pub fn forget(&mut self, peer: PeerId) {
        self.uses.retain(|&(_, by), _| by != peer);
        self.losers.retain(|loser| loser.peer != peer);
    }

    /// Notes that another VM has taken an address over from this one, which is still connected.
    pub fn on_loss(&mut self, peer: PeerId, mac: EthernetAddress, now: Instant) {
        self.losers.retain(|loser| (loser.peer, loser.mac) != (peer, mac));
        if self.losers.len() < limits::CONFLICTS_MAX {
            let (ask_at, asks) = (now + limits::LOSER_ASKED_EVERY, limits::LOSER_ASKED_MAX);
            self.losers.push(Loser {
                peer,
                mac,
                ask_at,
                asks,
            });
        }
    }

    /// When `losers_to_ask` has something to give.
    pub fn deadline(&self) -> Option<Instant> {
        self.losers.iter().map(|loser| loser.ask_at).min()
    }

    /// VMs whose guests are to be asked now whether they are there, with the addresses that they have lost.
    pub fn losers_to_ask(&mut self, now: Instant) -> Vec<(PeerId, EthernetAddress)> {
        let mut due = Vec::new();
        for loser in self.losers.iter_mut().filter(|loser| loser.ask_at <= now) {
            due.push((loser.peer, loser.mac));
            loser.asks -= 1;
            loser.ask_at = now + limits::LOSER_ASKED_EVERY;
        }
        self.losers.retain(|loser| loser.asks > 0);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_use_that_goes_on_is_told_once_and_a_short_one_is_not() {
        let mut conflicts = Conflicts::default();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        // A stalled primary wakes up and ends; much later another one does.
        for ms in [0, 10, 2_900, 300_000, 300_500] {
            assert!(!conflicts.on_use(MAC, 1, after(ms)), "{ms} ms");
        }
        assert!(!conflicts.on_use(MAC, 2, after(303_000)), "another VM");
        assert!(conflicts.on_use(MAC, 1, after(303_000)));
        for ms in [304_000, 350_000, 400_000] {
            assert!(!conflicts.on_use(MAC, 1, after(ms)), "{ms} ms");
        }
        conflicts.forget(1);
        assert!(!conflicts.on_use(MAC, 1, after(400_001)));
    }

    #[test]
    fn a_guest_that_lost_its_address_is_asked_for_as_long_as_it_takes_to_tell_a_conflict() {
        let (mut conflicts, mut asked) = (Conflicts::default(), Vec::new());
        let start = Instant::now();
        conflicts.on_loss(1, MAC, start);
        while let Some(at) = conflicts.deadline() {
            asked.extend(conflicts.losers_to_ask(at));
            // It answers each time.
            if conflicts.on_use(MAC, 1, at) {
                asked.push((0, MAC));
            }
        }
        assert_eq!(
            asked,
            [(1, MAC), (1, MAC), (1, MAC), (1, MAC), (0, MAC), (1, MAC)]
        );
    }

    #[test]
    fn a_vm_that_uses_ever_other_addresses_takes_no_more_than_a_bounded_table() {
        let mut conflicts = Conflicts::default();
        let now = Instant::now();
        for number in 0..10_000_u16 {
            let [high, low] = number.to_be_bytes();
            conflicts.on_use(EthernetAddress([2, 0, 0, 0, high, low]), 1, now);
        }
        assert_eq!(conflicts.uses.len(), limits::CONFLICTS_MAX);
    }
}
