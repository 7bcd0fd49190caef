//! `Gate`: the output rule. Outputs wait here, in order, until the backup has their entries (FT 2.2-c).
//!
//! The guest does not wait (FT 2.2-d). With a shared disk a write is an output (FT 4.1-a): it waits with the
//! other requests in `Disks`, and the gate holds its place in the order. Whether an acknowledged output may
//! still leave is the lease's matter (channel.rs); both must agree.

use std::collections::VecDeque;

use crate::event::Shown;
use crate::guest::disks::RequestId;
use crate::limits;
use crate::log::entry::Seq;
use crate::mutation;
use crate::mutation::Mutation;
use crate::time::{Span, Time};

/// An output as the gate knows it.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// The world shows it.
    Shown(Shown),
    /// The change of a disk that waits in `Disks` under this name.
    Change(RequestId),
}

#[derive(Debug)]
struct Held {
    /// The output's entry.
    entry: Seq,
    /// `None`: the slice that produced it has just ended.
    since: Option<Time>,
    bytes: usize,
    output: Output,
}

/// Outputs that have not left.
#[derive(Debug, Default)]
pub struct Gate {
    held: VecDeque<Held>,
    bytes: usize,
    acknowledged: Seq,
}

/// An output that leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct Released {
    /// The output that leaves.
    pub output: Output,
    /// For how long it was held.
    pub delay: Span,
    /// What it counted in the gate's buffer, see [`cost`].
    pub bytes: usize,
}

impl Gate {
    /// Holds an output of `bytes` bytes whose entry is `entry`. [`Gate::look`] tells since when.
    pub fn hold(&mut self, entry: Seq, output: Output, bytes: usize) {
        let bytes = cost(bytes);
        self.bytes += bytes;
        self.held.push_back(Held {
            entry,
            since: None,
            bytes,
            output,
        });
    }

    /// The time right after the guest ran: a guest stops at its outputs, so they are that old.
    pub fn look(&mut self, now: Time) {
        for held in self.held.iter_mut().rev().take_while(|held| held.since.is_none()) {
            held.since = Some(now);
        }
    }

    /// The backup has received everything up to `received`.
    pub fn acknowledge(&mut self, received: Seq) {
        self.acknowledged = self.acknowledged.max(received);
    }

    /// The first output, if its entry is acknowledged.
    pub fn release(&mut self, now: Time) -> Option<Released> {
        if self.held.front()?.entry > self.acknowledged && !mutation::is(Mutation::ReleaseBeforeAck) {
            return None;
        }
        self.force(now)
    }

    /// The first output in any case: for a replica that has won a claim and is alone.
    pub fn force(&mut self, now: Time) -> Option<Released> {
        let Held {
            since, bytes, output, ..
        } = self.held.pop_front()?;
        self.bytes -= bytes;
        Some(Released {
            output,
            delay: now.since(since.unwrap_or(now)),
            bytes,
        })
    }

    /// Is it as full as it may be? Then the guest must not produce more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes >= limits::HELD_BYTES_MAX
    }

    /// How many outputs are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// None held?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What the held outputs count in the buffer, in bytes, see [`cost`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What an output of so many bytes counts in a buffer.
#[must_use]
pub fn cost(bytes: usize) -> usize {
    bytes + limits::HELD_COST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(gate: &mut Gate, seq: u64) {
        let bytes = vec![0];
        gate.hold(Seq(seq), Output::Shown(Shown::Console { port: 0, bytes }), 1);
    }

    #[test]
    fn outputs_leave_in_order_once_acknowledged() {
        // FT 2.2-c.
        let mut gate = Gate::default();
        for seq in 1..=3 {
            hold(&mut gate, seq * 10);
            gate.look(Time(seq));
        }
        assert!(gate.release(Time(5)).is_none());
        gate.acknowledge(Seq(9));
        assert!(gate.release(Time(5)).is_none());
        gate.acknowledge(Seq(20));
        assert_eq!(
            gate.release(Time(5)).map(|released| released.delay),
            Some(Span(4))
        );
        assert!(gate.release(Time(5)).is_some());
        assert!(gate.release(Time(5)).is_none());
        gate.acknowledge(Seq(1));
        assert!(
            gate.release(Time(5)).is_none(),
            "what is acknowledged stays so, and no more"
        );
        assert_eq!(gate.len(), 1);
        assert!(gate.force(Time(5)).is_some());
        assert_eq!((gate.bytes(), gate.is_empty()), (0, true));
    }

    #[test]
    fn many_small_outputs_fill_it_too() {
        let mut gate = Gate::default();
        while !gate.is_full() {
            hold(&mut gate, 1);
        }
        assert!(gate.len() <= limits::HELD_BYTES_MAX / limits::HELD_COST);
    }
}
