//! `Pulse`: the heartbeats that one side of a pair sends (FT 2.3-d), and when the next one is due.
//!
//! A role decides whether a heartbeat is needed and what it says. This file adds from which process of which
//! pair it comes, and keeps the time at which the next one is due. It never decides that the peer is dead:
//! that is [`Detector`](crate::peer::detect::Detector)'s.

use crate::event::{Action, Epoch, PeerId};
use crate::mutation;
use crate::mutation::Mutation;
use messages::heartbeat::{Beat, Heartbeat};
use messages::time::{Span, Time};

/// The heartbeats of one side.
#[derive(Debug)]
pub struct Pulse {
    /// The link to whom they go.
    peer: PeerId,
    /// The epoch of the pair.
    epoch: Epoch,
    /// This process, as the peer knows it from the handshake.
    owner: u128,
    /// Time from one heartbeat to when the next one is due.
    interval: Span,
    /// When the role is to think of the next heartbeat.
    due: Time,
    /// When the last heartbeat was sent; 0 before any.
    sent: Time,
}

impl Pulse {
    /// The heartbeats to `peer` of the process `owner` in the pair `epoch`: one at once, then one each
    /// `interval`.
    #[must_use]
    pub fn new(now: Time, peer: PeerId, epoch: Epoch, owner: u128, interval: Span) -> Pulse {
        Pulse {
            peer,
            epoch,
            owner,
            interval,
            due: now,
            sent: Time(0),
        }
    }

    /// When the role is to think of the next heartbeat: to send it, or to skip it.
    #[must_use]
    pub fn due(&self) -> Time {
        self.due
    }

    /// Time since this side sent its last heartbeat.
    #[must_use]
    pub fn silence(&self, now: Time) -> Span {
        now.since(self.sent)
    }

    /// Puts the next heartbeat off until so many intervals from now.
    pub fn skip(&mut self, now: Time, intervals: u64) {
        self.due = now.after(Span(self.interval.0 * intervals));
    }

    /// The action that sends a heartbeat saying `beat`; the next one is due in an interval.
    #[must_use]
    pub fn send(&mut self, now: Time, beat: Beat) -> Action {
        self.sent = now;
        self.skip(now, 1);
        let heartbeat = Heartbeat {
            epoch: self.epoch,
            owner: self.owner,
            beat,
        };
        Action::Heartbeat(self.peer, heartbeat.encode())
    }

    /// The action that leaves a death notice with whoever watches this process. `settled`: the end of the
    /// process also ends all that its kernel did for it at its disks.
    #[must_use]
    pub fn last_word(&self, settled: bool) -> Action {
        let notice = Heartbeat {
            epoch: self.epoch,
            owner: self.owner,
            beat: Beat::Ended { settled },
        };
        Action::Notice(self.peer, notice.encode())
    }

    /// What the other half of this pair says in a datagram; `None` for anything else.
    #[must_use]
    pub fn hear(&self, bytes: &[u8]) -> Option<Beat> {
        Heartbeat::of_peer(bytes, self.epoch, self.owner)
    }

    /// The heartbeat in this datagram, if it is of this pair's epoch and of the process `owner`.
    #[must_use]
    pub fn hear_from(&self, bytes: &[u8], owner: u128) -> Option<Heartbeat> {
        let heartbeat = Heartbeat::decode(bytes).ok()?;
        let is_of_epoch = heartbeat.epoch == self.epoch || mutation::is(Mutation::NoticeOfAnyEpoch);
        (is_of_epoch && heartbeat.owner == owner).then_some(heartbeat)
    }
}
