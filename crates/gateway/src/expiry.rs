//! When the entries of a table have been idle for too long: mappings, clients of forwards and pings use it.
//!
//! A table tells of an entry that it has begun, and at the deadline gives all its entries with the times of
//! their last use. An entry's use moves no deadline: a look that comes too early is repeated. The table
//! itself removes what is due.

use std::time::{Duration, Instant};

/// The next look at a table's entries.
#[derive(Debug, Default)]
pub struct Expiry {
    /// No entry is due before this time; `None`: the table is empty.
    look_at: Option<Instant>,
}

impl Expiry {
    /// The time at which `due` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Notes that an entry has begun now, which is due once it is idle for `after`.
    pub fn on_begun(&mut self, now: Instant, after: Duration) {
        self.look_at.get_or_insert(now + after);
    }

    /// The entries that have been idle for `after`, of all those that the table has; none before the
    /// deadline.
    pub fn due<K>(
        &mut self,
        now: Instant,
        after: Duration,
        entries: impl Iterator<Item = (K, Instant)>,
    ) -> Vec<K> {
        if self.look_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let is_idle = |used: &Instant| now.saturating_duration_since(*used) >= after;
        let (idle, others): (Vec<_>, Vec<_>) = entries.partition(|(_, used)| is_idle(used));
        self.look_at = others.iter().map(|(_, used)| *used + after).min();
        idle.into_iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_due_once_it_is_idle_and_a_use_puts_that_off() {
        let (start, after) = (Instant::now(), Duration::from_secs(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut expiry = Expiry::default();
        assert_eq!(
            (
                expiry.deadline(),
                expiry.due(at(0), after, [(1, at(0))].into_iter())
            ),
            (None, vec![])
        );
        expiry.on_begun(at(0), after);
        expiry.on_begun(at(3), after);
        assert_eq!(expiry.deadline(), Some(at(10)));
        assert!(
            expiry
                .due(at(9), after, [(1, at(0)), (2, at(3))].into_iter())
                .is_empty()
        );
        let due = expiry.due(at(10), after, [(1, at(0)), (2, at(3))].into_iter());
        assert_eq!((due, expiry.deadline()), (vec![1], Some(at(13))));
        assert!(expiry.due(at(13), after, [(2, at(7))].into_iter()).is_empty());
        assert_eq!(expiry.due(at(17), after, [(2, at(7))].into_iter()), [2]);
        assert_eq!(expiry.deadline(), None);
    }
}
