//! The schedule: what will happen in a world, and when.
//!
//! The world puts things on it and `course.rs` takes the earliest one off. Of two things at one time the one
//! that was put on first happens first, so that a world never depends on how a heap is arranged inside. The
//! schedule must never draw anything: whoever puts something on it has drawn the time before.

use std::{cmp::Ordering, cmp::Reverse, collections::BinaryHeap};

use machine::Input;
use replica::{Answered, Claim, Epoch, Event, HandshakeEvent, MayOwn, Time, Wanted};

use toy_outside::{
    names::ProcessId,
    network::{Left, LinkId},
};

use crate::faults::Fault;

/// Something that will happen.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A process looks at its events and runs its guest. The number must be the process's present ticket.
    Turn(ProcessId, u64),
    /// The slice of a process is over, and it does what its node wants. The number must be its present
    /// ticket.
    Act(ProcessId, u64),
    /// A process that stood still goes on.
    Resume(ProcessId),
    /// Messages may have arrived for this process over the link.
    Link(LinkId, ProcessId),
    /// Requests may take effect at the disk.
    Storage,
    /// The question of a process reaches the arbiter.
    Arbiter {
        /// Who asks.
        who: ProcessId,
        /// What is asked.
        claim: Claim,
        /// When the asker gets an answer; `None`: never.
        answers: Option<Time>,
        /// Is the answer that nobody could be reached, though the question took effect?
        unreachable: bool,
    },
    /// The question of a process, whether the epoch is still its own, reaches the arbiter.
    Check {
        /// Who asks.
        who: ProcessId,
        /// The epoch that is asked about.
        epoch: Epoch,
        /// When the asker gets an answer; `None`: never.
        answers: Option<Time>,
        /// Is the answer that nobody could be reached?
        unreachable: bool,
    },
    /// Something that a process waits for in its handshake is done on its host.
    Handshake(ProcessId, HandshakeEvent),
    /// A process that is to be a primary calls a backup.
    Call(ProcessId),
    /// The question of a process that is to be a primary reaches the arbiter.
    Wanted {
        /// Who asks.
        who: ProcessId,
        /// What is asked.
        wanted: Wanted,
        /// When the asker gets an answer; `None`: it gives up after a long time.
        answers: Option<Time>,
        /// Is the answer that nobody could be reached, though the question took effect?
        unreachable: bool,
    },
    /// The arbiter's answer reaches a process that is to be a primary.
    Answered(ProcessId, Answered),
    /// The arbiter hears of a process, which has ended without a pair, what that may own.
    GivenUp(ProcessId, MayOwn),
    /// The founder looks after the pair that is to be.
    Founder,
    /// The keeper looks after the guest.
    Keeper,
    /// An agent does something, or what it waits for comes.
    Errand(toy_site::Errand),
    /// An event comes for a process.
    Deliver(ProcessId, Event),
    /// A frame of the client, or typed bytes, for whoever has the guest's address.
    ToGuest(Input),
    /// A frame of the guest for the client: the number of the request that it answers, and its content.
    ToClient(u64, Vec<u8>),
    /// The client makes a request, for the first time or again.
    Client,
    /// Somebody types at the console.
    Typing,
    /// A process's host looks whether its network ports lead somewhere.
    Ports(ProcessId),
    /// The watcher of a process that has ended tells of it.
    Notice(ProcessId, Left),
    /// A death notice comes that means nobody here.
    StrayNotice,
    /// Something goes wrong.
    Fault(Fault),
}

/// Something that will happen, its time, and its number among all that were ever put on the schedule.
struct Scheduled {
    at: Time,
    order: u64,
    what: What,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// All that will happen, earliest first.
#[derive(Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Reverse<Scheduled>>,
    /// How many things were ever put on it.
    count: u64,
}

impl Schedule {
    /// Puts something on the schedule.
    pub fn put(&mut self, at: Time, what: What) {
        self.count += 1;
        let order = self.count;
        self.heap.push(Reverse(Scheduled { at, order, what }));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    /// Takes the next thing off.
    pub fn take(&mut self) -> Option<(Time, What)> {
        self.heap.pop().map(|Reverse(next)| (next.at, next.what))
    }

    /// When the next thing that is known by now arrives for a process.
    pub fn next_arrival(&self, who: ProcessId) -> Option<Time> {
        let arrives = |Reverse(next): &Reverse<Scheduled>| match next.what {
            What::Deliver(to, _) | What::Link(_, to) if to == who => Some(next.at),
            _ => None,
        };
        self.heap.iter().filter_map(arrives).min()
    }
}
