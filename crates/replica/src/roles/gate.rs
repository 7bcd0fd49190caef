//! `Gate`: the output rule. Outputs wait here, in order, until the backup has their entries (FT 2.2-c).
//!
//! The guest does not wait (FT 2.2-d). With a shared disk a write is an output (FT 4.1-a): it waits with the
//! other requests in `Disks`, and the gate holds its place in the order. Whether an acknowledged output may
//! still leave is the lease's matter (peer/channel.rs); both must agree, and `Primary::release` asks both.
//!
//! No output ever overtakes another here.

use std::collections::VecDeque;

use crate::event::Shown;
use crate::guest::disks::RequestId;
use crate::limits;
use crate::mutation;
use crate::mutation::Mutation;
use messages::time::{Span, Time};
use vmlog::entry::Seq;

/// An output that waits for its acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Something that the world is to show; it waits here.
    Shown(Shown),
    /// A change of a disk; the request itself waits in `Disks` under this name.
    Change(RequestId),
}

/// An output in the gate.
#[derive(Debug)]
struct Held {
    /// The entry that marks the output: when the backup has it, the output may leave.
    entry: Seq,
    /// Since when it is held; `None`: there was no [`Gate::look`] since the slice that produced it.
    since: Option<Time>,
    /// What it counts in `Gate::bytes`, see [`cost`].
    bytes: usize,
    /// How many outputs of the guest have left with it: itself, and those before it that are not held here.
    count: u64,
    output: Output,
}

/// The outputs that have not left, oldest first.
#[derive(Debug, Default)]
pub struct Gate {
    held: VecDeque<Held>,
    /// What all held outputs count together: at most [`limits::HELD_BYTES_MAX`] and what one slice adds.
    bytes: usize,
    /// The last entry that the backup is known to have. Never falls.
    acknowledged: Seq,
}

/// An output that leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct Released {
    /// What is to be shown or done now.
    pub output: Output,
    /// For how long it was held.
    pub delay: Span,
    /// What it counted in the gate's buffer, see [`cost`].
    pub bytes: usize,
    /// How many outputs of the guest have left with it.
    pub count: u64,
}

impl Gate {
    /// Holds an output of `bytes` bytes that `entry` marks. The next [`Gate::look`] says since when.
    pub fn hold(&mut self, entry: Seq, output: Output, bytes: usize) {
        self.hold_last_of(1, entry, output, bytes);
    }

    /// Holds the last one of `count` outputs, as [`Gate::hold`] does; the others before it need not be held.
    pub fn hold_last_of(&mut self, count: u64, entry: Seq, output: Output, bytes: usize) {
        let bytes = cost(bytes);
        self.bytes += bytes;
        self.held.push_back(Held {
            entry,
            since: None,
            bytes,
            count,
            output,
        });
    }

    /// Tells the time right after a slice: new outputs are held since then, since an output ends the slice.
    pub fn look(&mut self, now: Time) {
        for held in self.held.iter_mut().rev().take_while(|held| held.since.is_none()) {
            held.since = Some(now);
        }
    }

    /// Notes that the backup has received every entry up to `received`.
    pub fn acknowledge(&mut self, received: Seq) {
        self.acknowledged = self.acknowledged.max(received);
    }

    /// Takes out the oldest output, if its entry is acknowledged (FT 2.2-c).
    pub fn release(&mut self, now: Time) -> Option<Released> {
        if self.held.front()?.entry > self.acknowledged && !mutation::is(Mutation::ReleaseBeforeAck) {
            return None;
        }
        self.force(now)
    }

    /// Takes out the oldest output, acknowledged or not: for a replica that has won a claim and is alone.
    pub fn force(&mut self, now: Time) -> Option<Released> {
        let Held {
            since,
            bytes,
            count,
            output,
            ..
        } = self.held.pop_front()?;
        self.bytes -= bytes;
        Some(Released {
            output,
            delay: now.since(since.unwrap_or(now)),
            bytes,
            count,
        })
    }

    /// Has the backup acknowledged nothing yet?
    #[must_use]
    pub fn knows_nothing(&self) -> bool {
        self.acknowledged == Seq(0)
    }

    /// Are [`limits::HELD_BYTES_MAX`] bytes held? Then the guest must not produce more (FT 3.2-c).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes >= limits::HELD_BYTES_MAX
    }

    /// How many outputs of the guest have not left, those that need not be held among them.
    #[must_use]
    pub fn outputs(&self) -> u64 {
        self.held.iter().map(|held| held.count).sum()
    }

    /// How many outputs are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Is no output held?
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

/// What an output of so many bytes counts in a buffer: more, so that many small ones fill it too.
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
