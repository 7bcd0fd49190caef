//! The link between the two sides, and the path of their heartbeats.
//!
//! The link is what TCP is: each direction delivers whole messages in order, late, or not at all. It must
//! never drop a message and deliver the next one. A cut delays everything until it is mended or the link is
//! reset; a reset loses the last part of what is under way, in each direction a part of its own. Heartbeats
//! and the client's frames are datagrams: each fares by itself.

use std::collections::VecDeque;

use replica::{Span, Time};

use crate::{pair::SideName, random::Random};

/// What arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A message.
    Message(Vec<u8>),
    /// The news that the link is lost and nothing more will come.
    Lost,
}

/// How the link behaves when it is well.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Shortest and longest time that a message is under way.
    pub latency: (Span, Span),
    /// Bandwidth, in bytes a millisecond.
    pub bytes_per_ms: u64,
}

#[derive(Debug, Default)]
struct Direction {
    /// What is under way, each with the time at which it would arrive if nothing were cut.
    queue: VecDeque<(Time, Arrival)>,
    /// When the last byte of the last message leaves the sender.
    busy: Time,
    /// Nothing arrives before this time: the direction is cut until then.
    blocked: Time,
    /// Is the sender gone? Nothing more can be sent then.
    closed: bool,
}

/// Both directions of the link. A direction is named by the side it leads *to*.
#[derive(Debug)]
pub struct Link {
    options: LinkOptions,
    directions: [Direction; 2],
}

impl Link {
    /// A link with nothing on it.
    #[must_use]
    pub fn new(options: LinkOptions) -> Link {
        Link {
            options,
            directions: Default::default(),
        }
    }

    /// Sends a message to `to`. The answer is when to look for it with [`Link::arrive`]; `None`: it is lost.
    pub fn send(&mut self, random: &mut Random, now: Time, to: SideName, message: Vec<u8>) -> Option<Time> {
        let direction = &mut self.directions[to.index()];
        if direction.closed {
            return None;
        }
        let bytes = message.len() as u64 + 60;
        let wire = Span(bytes * 1_000_000 / self.options.bytes_per_ms);
        direction.busy = direction.busy.max(now).after(wire);
        let (low, high) = self.options.latency;
        let ready = direction.busy.after(random.span(low, high));
        Some(direction.push(ready, Arrival::Message(message)))
    }

    /// What has arrived at `to` by now, and when to look again.
    pub fn arrive(&mut self, now: Time, to: SideName) -> (Vec<Arrival>, Option<Time>) {
        let direction = &mut self.directions[to.index()];
        let mut arrived = Vec::new();
        while let Some((ready, _)) = direction.queue.front() {
            let ready = (*ready).max(direction.blocked);
            if ready > now {
                return (arrived, Some(ready));
            }
            arrived.extend(direction.queue.pop_front().map(|(_, arrival)| arrival));
        }
        (arrived, None)
    }

    /// Nothing arrives at `to` until this time; then everything does.
    pub fn cut(&mut self, until: Time, to: SideName) {
        let direction = &mut self.directions[to.index()];
        direction.blocked = direction.blocked.max(until);
    }

    /// Every cut is mended now.
    pub fn mend(&mut self, now: Time) {
        for direction in &mut self.directions {
            direction.blocked = direction.blocked.min(now);
        }
    }

    /// The sender towards `to` is gone. Of what is under way the first `kept` messages arrive. A time of
    /// `after` later `to` learns that the link is lost; `None`: it never does. The answer is when to look for
    /// that news.
    pub fn close(&mut self, now: Time, to: SideName, kept: u64, after: Option<Span>) -> Option<Time> {
        let direction = &mut self.directions[to.index()];
        if direction.closed {
            return None;
        }
        direction.closed = true;
        direction
            .queue
            .truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        let last = direction.queue.back().map_or(now, |(ready, _)| *ready).max(now);
        Some(direction.push(last.after(after?), Arrival::Lost))
    }

    /// How many messages are on their way to `to`.
    #[must_use]
    pub fn under_way(&self, to: SideName) -> u64 {
        self.directions[to.index()].queue.len() as u64
    }

    /// Can nothing be sent to `to` any more?
    #[must_use]
    pub fn is_closed(&self, to: SideName) -> bool {
        self.directions[to.index()].closed
    }
}

impl Direction {
    fn push(&mut self, ready: Time, arrival: Arrival) -> Time {
        let ready = self.queue.back().map_or(ready, |(last, _)| ready.max(*last));
        self.queue.push_back((ready, arrival));
        ready.max(self.blocked)
    }
}

/// How datagrams fare: heartbeats between the sides, frames between the client and the guest.
#[derive(Clone, Debug)]
pub struct DatagramOptions {
    /// Shortest and longest time that a datagram is under way; one may overtake another.
    pub latency: (Span, Span),
    /// How many of a thousand get lost.
    pub loss_permille: u64,
    /// How many of a thousand arrive twice.
    pub twice_permille: u64,
}

impl DatagramOptions {
    /// When the copies of one datagram arrive: none, one or two times.
    pub fn arrivals(&self, random: &mut Random, now: Time) -> Vec<Time> {
        if random.permille(self.loss_permille) {
            return Vec::new();
        }
        let copies = 1 + usize::from(random.permille(self.twice_permille));
        let (low, high) = self.latency;
        (0..copies).map(|_| now.after(random.span(low, high))).collect()
    }
}
