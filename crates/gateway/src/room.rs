//! Who asks for a place in a full table, and when the table is looked through for a connection that can make
//! room.
//!
//! `tcp` looks, and evicts what it finds. A look through a full table costs more than a refusal, so after one
//! that found nothing the same asker waits for a moment; an asker that asks all the time keeps no other one
//! from looking.

use super::limits;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

/// For whom a place is wanted, and so which connections may make room: those of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// A guest that has its share of connections.
    Guest(Ipv4Addr),
    /// Any guest.
    AnyGuest,
    /// A forward that has its share, by its number.
    Forward(usize),
    /// An address of clients that has its share.
    Source(IpAddr),
    /// Any client.
    AnyClient,
}

/// Askers whose last look found nothing. There are few: each of them holds a whole share of the table.
#[derive(Debug, Default)]
pub struct Looks(HashMap<Asker, Instant>);

impl Looks {
    /// Whether this asker may have the table looked through.
    pub fn may_look(&self, asker: Asker, now: Instant) -> bool {
        self.0.get(&asker).is_none_or(|&again| again <= now)
    }

    /// Notes that a look found nothing.
    pub fn found_nothing(&mut self, asker: Asker, now: Instant) {
        self.0.insert(asker, now + limits::EVICTION_RETRY);
    }

    /// When an asker may have the table looked through again. Clients in the kernel's queue wait for that: a
    /// connection that is spared now can make room later, without any event.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// Forgets who may look again.
    pub fn on_deadline(&mut self, now: Instant) {
        self.0.retain(|_, again| *again > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_all_the_time_waits_and_nobody_else_does() {
        let (mut looks, now) = (Looks::default(), Instant::now());
        let (greedy, other) = (Asker::Guest([10, 0, 2, 15].into()), Asker::AnyGuest);
        looks.found_nothing(greedy, now);
        assert!(!looks.may_look(greedy, now) && looks.may_look(other, now));
        let later = looks.deadline().unwrap();
        assert!(looks.may_look(greedy, later));
        looks.on_deadline(later);
        assert_eq!(looks.deadline(), None);
    }
}
