//! `Pulse`: the heartbeats that one side of a pair sends (FT 2.3-d), and when the next one is due.
//!
//! A role decides what a heartbeat says and whether one is needed; here stands who it is from, and the time.
//! It never decides that the peer is dead: that is [`Detector`](crate::peer::detect::Detector)'s.

use crate::event::{Action, Epoch};
use crate::peer::message::{Beat, Heartbeat};
use crate::time::{Span, Time};

/// The heartbeats of one side.
#[derive(Debug)]
pub struct Pulse {
    epoch: Epoch,
    owner: u128,
    interval: Span,
    /// When the next one is to be thought of.
    due: Time,
    /// When the last one was sent; 0 before any.
    sent: Time,
}

impl Pulse {
    /// The heartbeats of the process `owner` in the pair `epoch`, the first one at once and then `interval`
    /// apart.
    #[must_use]
    pub fn new(now: Time, epoch: Epoch, owner: u128, interval: Span) -> Pulse {
        Pulse {
            epoch,
            owner,
            interval,
            due: now,
            sent: Time(0),
        }
    }

    /// When the next heartbeat is to be thought of.
    #[must_use]
    pub fn due(&self) -> Time {
        self.due
    }

    /// Time since the last heartbeat was sent.
    #[must_use]
    pub fn silence(&self, now: Time) -> Span {
        now.since(self.sent)
    }

    /// None is needed for so many intervals from now.
    pub fn skip(&mut self, now: Time, intervals: u64) {
        self.due = now.after(Span(self.interval.0 * intervals));
    }

    /// Sends one that says `beat`; the next is due in an interval.
    #[must_use]
    pub fn send(&mut self, now: Time, beat: Beat) -> Action {
        self.sent = now;
        self.skip(now, 1);
        let heartbeat = Heartbeat {
            epoch: self.epoch,
            owner: self.owner,
            beat,
        };
        Action::Heartbeat(heartbeat.encode())
    }

    /// What the other half of this pair says in a datagram; `None` for anything else.
    #[must_use]
    pub fn hear(&self, bytes: &[u8]) -> Option<Beat> {
        Heartbeat::of_peer(bytes, self.epoch, self.owner)
    }
}
