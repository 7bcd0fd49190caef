//! The network between processes: links, and the path of heartbeats.
//!
//! A link joins two processes and is what TCP is: each direction delivers whole messages in order, late, or
//! not at all. It must never drop a message and deliver the next one. A cut delays everything until it is
//! mended or the link is reset; a reset loses the last part of what is under way, in each direction a part of
//! its own. Two processes may have several links, which fare each by itself. Heartbeats and the client's
//! frames are datagrams: each fares by itself.

use std::collections::VecDeque;

use replica::{Bulk, Span, Time};

use toy::random::Random;

use crate::names::ProcessId;

/// What arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A message.
    Message(Vec<u8>),
    /// A piece of a clone, over a bulk link.
    Bulk(Bulk),
    /// The news that the link is lost and nothing more will come.
    Lost,
}

impl Arrival {
    /// How many bytes it has on the wire, beside what every message has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Arrival::Message(bytes) => bytes.len() as u64,
            Arrival::Bulk(bulk) => bulk_bytes(bulk),
            Arrival::Lost => 0,
        }
    }
}

/// What a piece of a clone counts on a bulk link, in bytes.
#[must_use]
pub fn bulk_bytes(bulk: &Bulk) -> u64 {
    match bulk {
        Bulk::Pages(batch) => batch.content().len() as u64,
        Bulk::State(state) => state.len() as u64,
        Bulk::Sealed => 0,
    }
}

/// How a link behaves when it is well.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Shortest and longest time that a message is under way.
    pub latency: (Span, Span),
    /// Bandwidth, in bytes a millisecond.
    pub bytes_per_ms: u64,
}

/// The name of a link: its place among all links that were ever made in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkId(usize);

/// A datagram that a process leaves with its watcher, to be sent when the process has ended.
#[derive(Clone, Debug)]
pub struct Left {
    /// The link to the process that is to hear it.
    pub link: LinkId,
    /// What it says.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Direction {
    /// The process that the direction leads to.
    to: ProcessId,
    /// When to look for what has arrived; `None`: there is nothing to be looked for.
    due: Option<Time>,
    /// What is under way, each with the time at which it would arrive if nothing were cut.
    queue: VecDeque<(Time, Arrival)>,
    /// When the last byte of the last message leaves the sender.
    busy: Time,
    /// Nothing arrives before this time: the direction is cut until then.
    blocked: Time,
    /// Is the sender gone? Nothing more can be sent then.
    closed: bool,
}

#[derive(Debug)]
struct Link {
    options: LinkOptions,
    directions: [Direction; 2],
}

/// All links that were ever made, by name. A direction of a link is named by the process it leads *to*.
#[derive(Debug, Default)]
pub struct Network {
    links: Vec<Link>,
}

impl Network {
    /// Joins two processes with a new link that has nothing on it.
    pub fn connect(&mut self, options: LinkOptions, ends: [ProcessId; 2]) -> LinkId {
        let directions = ends.map(|to| Direction {
            to,
            due: None,
            queue: VecDeque::new(),
            busy: Time(0),
            blocked: Time(0),
            closed: false,
        });
        self.links.push(Link { options, directions });
        LinkId(self.links.len() - 1)
    }

    /// The links of a process, oldest first.
    #[must_use]
    pub fn links_of(&self, who: ProcessId) -> Vec<LinkId> {
        let ends_there = |link: &Link| link.directions.iter().any(|direction| direction.to == who);
        let links = self.links.iter().enumerate();
        links
            .filter(|(_, link)| ends_there(link))
            .map(|(index, _)| LinkId(index))
            .collect()
    }

    /// The process at the other end of a link of `who`.
    #[must_use]
    pub fn other_end(&self, link: LinkId, who: ProcessId) -> ProcessId {
        let [one, other] = &self.links[link.0].directions;
        if one.to == who { other.to } else { one.to }
    }

    fn direction(&mut self, link: LinkId, to: ProcessId) -> &mut Direction {
        let [one, other] = &mut self.links[link.0].directions;
        if one.to == to { one } else { other }
    }

    /// Sends a message to `to`. The answer is when to look for it with [`Network::arrive`]; `None`: it is
    /// lost.
    pub fn send(
        &mut self,
        random: &mut Random,
        now: Time,
        (link, to): (LinkId, ProcessId),
        message: Arrival,
    ) -> Option<Time> {
        let LinkOptions {
            latency: (low, high),
            bytes_per_ms,
        } = self.links[link.0].options;
        let direction = self.direction(link, to);
        if direction.closed {
            return None;
        }
        let bytes = message.bytes() + 60;
        let wire = Span(bytes * 1_000_000 / bytes_per_ms);
        direction.busy = direction.busy.max(now).after(wire);
        let ready = direction.busy.after(random.span(low, high));
        Some(direction.push(ready, message))
    }

    /// Somebody shall look for what has arrived at `to`, at `at` the latest. False if that is agreed already.
    pub fn appoint(&mut self, link: LinkId, to: ProcessId, at: Time) -> bool {
        let due = &mut self.direction(link, to).due;
        let news = due.is_none_or(|due| due > at);
        if news {
            *due = Some(at);
        }
        news
    }

    /// What has arrived at `to` by now, and when to look again. Nothing, if it was not agreed to look now.
    pub fn arrive(&mut self, now: Time, link: LinkId, to: ProcessId) -> (Vec<Arrival>, Option<Time>) {
        let direction = self.direction(link, to);
        let mut arrived = Vec::new();
        if direction.due.take_if(|due| *due <= now).is_none() {
            return (arrived, None);
        }
        while let Some((ready, _)) = direction.queue.front() {
            let ready = (*ready).max(direction.blocked);
            if ready > now {
                return (arrived, Some(ready));
            }
            arrived.extend(direction.queue.pop_front().map(|(_, arrival)| arrival));
        }
        (arrived, None)
    }

    /// Nothing arrives at `to` over this link until this time; then everything does.
    pub fn cut(&mut self, until: Time, link: LinkId, to: ProcessId) {
        let direction = self.direction(link, to);
        direction.blocked = direction.blocked.max(until);
    }

    /// Every cut is mended now.
    pub fn mend(&mut self, now: Time) {
        for direction in self.links.iter_mut().flat_map(|link| &mut link.directions) {
            direction.blocked = direction.blocked.min(now);
        }
    }

    /// The sender towards `to` is gone. Of what is under way the first `kept` messages arrive. A time of
    /// `after` later `to` learns that the link is lost; `None`: it never does. The answer is when to look for
    /// that news.
    pub fn close(
        &mut self,
        now: Time,
        (link, to): (LinkId, ProcessId),
        kept: u64,
        after: Option<Span>,
    ) -> Option<Time> {
        let direction = self.direction(link, to);
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
    pub fn under_way(&mut self, link: LinkId, to: ProcessId) -> u64 {
        self.direction(link, to).queue.len() as u64
    }
}

impl Direction {
    fn push(&mut self, ready: Time, arrival: Arrival) -> Time {
        let ready = self.queue.back().map_or(ready, |(last, _)| ready.max(*last));
        self.queue.push_back((ready, arrival));
        ready.max(self.blocked)
    }
}

/// How datagrams fare: heartbeats between processes, frames between the client and the guest.
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

#[cfg(test)]
mod tests {
    use super::*;

    const A: ProcessId = ProcessId::A;
    const B: ProcessId = ProcessId::B;

    /// Sends a message of this one byte to B at `now`.
    fn send(network: &mut Network, now: u64, link: LinkId, byte: u8) {
        let mut random = Random::new(1);
        let ready = network.send(&mut random, Time(now), (link, B), Arrival::Message(vec![byte]));
        if let Some(ready) = ready {
            network.appoint(link, B, ready);
        }
    }

    fn arrive(network: &mut Network, now: Time, link: LinkId) -> Vec<Arrival> {
        let (arrived, again) = network.arrive(now, link, B);
        if let Some(again) = again {
            network.appoint(link, B, again);
        }
        arrived
    }

    fn two_links() -> (Network, LinkId, LinkId) {
        let options = LinkOptions {
            latency: (Span::from_us(10), Span::from_us(20)),
            bytes_per_ms: 1_000_000,
        };
        let mut network = Network::default();
        let main = network.connect(options.clone(), [A, B]);
        let bulk = network.connect(options, [A, B]);
        (network, main, bulk)
    }

    #[test]
    fn a_cut_of_one_link_leaves_the_other_link_of_the_two_processes_alone() {
        let (mut network, main, bulk) = two_links();
        network.cut(Time(10_000_000), bulk, B);
        send(&mut network, 0, main, 1);
        send(&mut network, 0, bulk, 2);
        let ms = Time(1_000_000);
        assert_eq!(arrive(&mut network, ms, main), [Arrival::Message(vec![1])]);
        assert_eq!(arrive(&mut network, ms, bulk), []);
        network.mend(ms);
        network.appoint(bulk, B, ms);
        assert_eq!(arrive(&mut network, ms, bulk), [Arrival::Message(vec![2])]);
    }

    #[test]
    fn a_link_that_breaks_loses_the_end_of_what_is_under_way_and_another_link_nothing() {
        let (mut network, main, bulk) = two_links();
        for byte in 0..3 {
            send(&mut network, 0, main, byte);
            send(&mut network, 0, bulk, byte);
        }
        let news = network.close(Time(5), (bulk, B), 1, Some(Span::from_us(100)));
        network.appoint(bulk, B, news.unwrap());
        send(&mut network, 6, bulk, 9);
        let ms = Time(1_000_000);
        let whole = [0, 1, 2].map(|byte| Arrival::Message(vec![byte]));
        assert_eq!(arrive(&mut network, ms, main), whole);
        assert_eq!(
            arrive(&mut network, ms, bulk),
            [Arrival::Message(vec![0]), Arrival::Lost]
        );
    }

    #[test]
    fn a_process_has_the_links_that_end_at_it() {
        let (mut network, main, bulk) = two_links();
        let third = ProcessId::nth(2);
        let options = network.links[0].options.clone();
        let later = network.connect(options, [B, third]);
        assert_eq!(network.links_of(A), [main, bulk]);
        assert_eq!(network.links_of(B), [main, bulk, later]);
        assert_eq!(network.other_end(later, third), B);
        assert_eq!(network.other_end(later, B), third);
    }
}
