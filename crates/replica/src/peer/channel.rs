//! `Sender`: the primary's end of the logging channel (FT 3.2-a), with its window, its acknowledgements and
//! the lease. The primary gives it finished frames and sends the messages that come out.
//!
//! The link delivers whole messages in order or breaks, so nothing is ever sent twice and only sizes are
//! remembered. The *lease* is the primary's right to release: an acknowledgement that echoes the time at
//! which the primary sent something proves that the backup trusted it after that time, and the backup goes
//! live no earlier than one timeout after its last acknowledgement. So until that time plus the timeout, less
//! a margin for clocks that differ, nobody else is live (docs/protocol.md).
//!
//! No frame is ever sent for which the backup may have no room, and no old answer extends the lease.

use std::collections::VecDeque;

use machine::Step;

use crate::limits;
use crate::mutation;
use crate::mutation::Mutation;
use messages::message::{Ack, Log};
use messages::time::{Span, Time};
use vmlog::codec::Frame;
use vmlog::entry::Seq;
use vmlog::parcel::Parcel;

/// A frame that was sent and is not acknowledged.
#[derive(Debug)]
struct InFlight {
    /// The last entry in the frame.
    last: Seq,
    /// What the frame counts in the backup's buffer, see [`Frame::cost`].
    cost: u64,
    /// When the frame was sent.
    sent: Time,
}

/// The peer sent an acknowledgement that no correct backup sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAck {
    /// It acknowledges more than was sent, or less than an acknowledgement before it.
    #[error("it acknowledges entries that were not sent")]
    Received,
    /// It echoes a time after the last message, or an earlier time than an acknowledgement before it.
    #[error("it echoes a time at which nothing was sent")]
    Echo,
    /// It says that more is executed than the log covers.
    #[error("it has executed beyond the log")]
    Executed,
}

/// What an acknowledgement tells that was not known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Does it echo a newer time than the acknowledgement before it, and so measure a round trip?
    pub newer: bool,
    /// When the newest frame was sent that it is the first to acknowledge; `None`: there is no such frame.
    pub frame: Option<Time>,
}

/// The primary's end of the channel.
#[derive(Debug)]
pub struct Sender {
    /// The failure-detection timeout of the pair, from which the lease and the signs of life are derived.
    timeout: Span,
    /// Frames that are not sent, because the backup may have no room for them.
    queue: VecDeque<Frame>,
    /// What the frames of `queue` count together.
    queue_cost: u64,
    /// Frames that were sent and are not acknowledged, oldest first.
    in_flight: VecDeque<InFlight>,
    /// What the frames of `in_flight` count together.
    in_flight_cost: u64,
    /// How much log the backup holds at most.
    window: u64,
    /// What the backup had in its buffer when it last said so. A frame is sent only if it, `in_flight_cost`
    /// and this together stay within `window`.
    peer_buffered: u64,
    /// The last entry that was sent.
    sent: Seq,
    /// The last entry that the backup has. Never falls, and never goes beyond `sent`.
    acknowledged: Seq,
    /// When the last message was sent over the link; the start before any.
    last_logged: Time,
    /// When the last message or heartbeat was sent; the start before any.
    last_sent: Time,
    /// The newest time that an acknowledgement or a heartbeat has echoed: the lease counts from it.
    echo: Option<Time>,
    /// The newest time that an acknowledgement has echoed. It may be older than `echo`, since heartbeats
    /// overtake acknowledgements; but acknowledgements come in order, so it never falls.
    acknowledged_echo: Option<Time>,
}

impl Sender {
    /// A channel on which nothing was sent yet.
    #[must_use]
    pub fn new(now: Time, timeout: Span) -> Sender {
        Sender {
            timeout,
            queue: VecDeque::new(),
            queue_cost: 0,
            in_flight: VecDeque::new(),
            in_flight_cost: 0,
            window: limits::BUFFER_COST_MAX,
            peer_buffered: 0,
            sent: Seq(0),
            acknowledged: Seq(0),
            last_logged: now,
            last_sent: now,
            echo: None,
            acknowledged_echo: None,
        }
    }

    /// The log of this channel goes on behind the entry `last`, which the other side has otherwise.
    pub fn begin(&mut self, last: Seq) {
        self.sent = last;
    }

    /// The log of this channel goes on behind the entry `last`, which the other side is known to have.
    pub fn begin_behind(&mut self, last: Seq) {
        self.sent = last;
        self.acknowledged = last;
    }

    /// Sets how much log the other side holds, in bytes and [`limits::ENTRY_COST`]s.
    pub fn set_window(&mut self, window: u64) {
        self.window = window;
    }

    /// Queues a frame, which is sent when the backup has room for it.
    pub fn push(&mut self, frame: Frame) {
        self.queue_cost += frame.cost();
        self.queue.push_back(frame);
    }

    /// The next frame, if the backup has room for it (FT 3.2-c). `released`: how many outputs have left.
    pub fn next(&mut self, now: Time, released: u64) -> Option<Log> {
        let cost = self.queue.front()?.cost();
        if cost + self.in_flight_cost + self.peer_buffered > self.window {
            return None;
        }
        let frame = self.queue.pop_front()?;
        self.queue_cost -= cost;
        self.in_flight_cost += cost;
        self.in_flight.push_back(InFlight {
            last: frame.last,
            cost,
            sent: now,
        });
        self.sent = frame.last;
        Some(self.log(now, released, frame.bytes))
    }

    /// A message without a frame: a sign of life, and news of what was released.
    pub fn keepalive(&mut self, now: Time, released: u64) -> Log {
        self.log(now, released, Parcel::default())
    }

    /// The time that a heartbeat of this side is to say, when it is sent now.
    pub fn beat(&mut self, now: Time) -> Time {
        self.last_sent = self.last_sent.max(now);
        self.last_sent
    }

    /// A heartbeat of the backup has come, which echoes the time `echo`. True if that is newer than all that
    /// was echoed before. What no correct backup sends is ignored, like a heartbeat that is lost.
    pub fn on_beat(&mut self, echo: Time) -> bool {
        let newer = echo <= self.last_sent && self.echo.is_none_or(|known| known < echo);
        if newer {
            self.echo = Some(echo);
        }
        newer
    }

    fn log(&mut self, now: Time, released: u64, frame: Parcel) -> Log {
        self.last_logged = now;
        Log {
            sent: self.beat(now),
            released,
            frame,
        }
    }

    /// When a message must go over the link as a sign of life, if no other has gone by then.
    #[must_use]
    pub fn keepalive_due(&self) -> Time {
        self.last_logged
            .after(Span(self.timeout.0 / limits::KEEPALIVES_PER_TIMEOUT))
    }

    /// Takes an acknowledgement. `step`: the step of the last entry of the log.
    ///
    /// # Errors
    /// If no correct backup would send it.
    pub fn on_ack(&mut self, ack: &Ack, step: Step) -> Result<Acknowledged, BadAck> {
        if ack.received > self.sent || ack.received < self.acknowledged {
            return Err(BadAck::Received);
        }
        if ack.echo > self.last_sent || self.acknowledged_echo.is_some_and(|echo| ack.echo < echo) {
            return Err(BadAck::Echo);
        }
        if ack.executed > step {
            return Err(BadAck::Executed);
        }
        self.acknowledged = ack.received;
        self.peer_buffered = ack.buffered.min(self.window);
        let mut frame = None;
        while let Some(front) = self.in_flight.front()
            && front.last <= ack.received
        {
            self.in_flight_cost -= front.cost;
            frame = Some(front.sent);
            self.in_flight.pop_front();
        }
        let newer = self.acknowledged_echo.is_none_or(|echo| echo < ack.echo);
        self.acknowledged_echo = Some(ack.echo);
        self.echo = self.echo.max(Some(ack.echo));
        Ok(Acknowledged { newer, frame })
    }

    /// Has the backup answered something that was sent at this time or later? Then it was alive after it.
    #[must_use]
    pub fn is_answered_since(&self, time: Time) -> bool {
        self.echo.is_some_and(|echo| echo >= time)
    }

    /// Until when this replica may release outputs; `None`: not at all.
    #[must_use]
    fn lease(&self) -> Option<Time> {
        let span = self.timeout.0 - self.timeout.0 / limits::LEASE_MARGIN_PART;
        Some(self.echo?.after(Span(span)))
    }

    /// May this replica release outputs now?
    #[must_use]
    pub fn has_lease(&self, now: Time) -> bool {
        self.lease().is_some_and(|end| now < end) || mutation::is(Mutation::ReleaseWithoutLease)
    }

    /// The last entry that the backup has.
    #[must_use]
    pub fn acknowledged(&self) -> Seq {
        self.acknowledged
    }

    /// Has so much log gathered for lack of window that the guest must stop?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue_cost >= limits::UNSENT_COST_MAX
    }

    /// Do frames wait for the backup to have room?
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Is everything that was sent acknowledged?
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// What all frames that are not acknowledged count, sent or not.
    #[must_use]
    pub fn buffered(&self) -> u64 {
        self.queue_cost + self.in_flight_cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Span = Span::from_ms(800);

    fn frame(last: u64, bytes: usize) -> Frame {
        Frame {
            bytes: vec![0; bytes].into(),
            last: Seq(last),
            entries: 1,
        }
    }

    fn ack(received: u64, echo: Time, buffered: u64) -> Ack {
        Ack {
            received: Seq(received),
            executed: Step(0),
            echo,
            buffered,
            behind: Span(0),
        }
    }

    fn newer(sender: &mut Sender, ack: &Ack) -> bool {
        sender.on_ack(ack, Step(0)).is_ok_and(|told| told.newer)
    }

    #[test]
    fn the_lease_counts_from_the_sending_of_what_was_acknowledged() {
        let mut sender = Sender::new(Time(0), TIMEOUT);
        assert!(
            !sender.has_lease(Time(0)),
            "none before the first acknowledgement"
        );
        let log = sender.keepalive(Time(1000), 0);
        assert!(newer(&mut sender, &ack(0, log.sent, 0)));
        let end = Time(1000).after(Span::from_ms(700));
        assert_eq!(sender.lease(), Some(end));
        assert!(sender.has_lease(Time(end.0 - 1)) && !sender.has_lease(end));
        // The same answer again proves nothing new, however late it comes.
        assert!(!newer(&mut sender, &ack(0, log.sent, 0)));
        assert_eq!(sender.lease(), Some(end));
    }

    #[test]
    fn a_heartbeat_renews_the_lease_while_acknowledgements_are_stuck() {
        // FT 2.3-d.
        let mut sender = Sender::new(Time(0), TIMEOUT);
        let log = sender.keepalive(Time(1000), 0);
        let beat = sender.beat(Time(2000));
        assert!(sender.on_beat(beat));
        let end = Time(2000).after(Span::from_ms(700));
        assert_eq!(sender.lease(), Some(end));
        // The acknowledgement was sent before the heartbeat and comes after it: an old proof, no broken one.
        assert!(newer(&mut sender, &ack(0, log.sent, 0)));
        assert_eq!(sender.lease(), Some(end));
        assert!(!sender.on_beat(beat), "it proves nothing twice");
        assert!(!sender.on_beat(Time(9999)), "nothing was sent then");
        assert_eq!(sender.lease(), Some(end));
    }

    #[test]
    fn the_window_is_what_the_backup_has_room_for() {
        // FT 3.2-a, 3.2-c.
        let mut sender = Sender::new(Time(0), TIMEOUT);
        let half = usize::try_from(limits::BUFFER_COST_MAX / 2).unwrap_or(0) - 64;
        for last in 1..=3 {
            sender.push(frame(last, half));
        }
        assert!(sender.next(Time(1), 0).is_some() && sender.next(Time(2), 0).is_some());
        assert!(sender.next(Time(3), 0).is_none());
        assert!(sender.is_full());
        // Received, but not executed: no room yet.
        assert!(
            sender
                .on_ack(&ack(2, Time(2), limits::BUFFER_COST_MAX), Step(0))
                .is_ok()
        );
        assert!(sender.next(Time(4), 0).is_none());
        assert!(
            sender
                .on_ack(&ack(2, Time(2), limits::BUFFER_COST_MAX / 2), Step(0))
                .is_ok()
        );
        assert!(sender.next(Time(5), 0).is_some());
        assert_eq!(sender.buffered(), limits::BUFFER_COST_MAX / 2);
    }

    #[test]
    fn impossible_acknowledgements_are_refused() {
        let mut sender = Sender::new(Time(0), TIMEOUT);
        sender.push(frame(5, 10));
        sender.next(Time(10), 0);
        assert_eq!(
            sender.on_ack(&ack(6, Time(10), 0), Step(0)),
            Err(BadAck::Received)
        );
        assert_eq!(sender.on_ack(&ack(5, Time(11), 0), Step(0)), Err(BadAck::Echo));
        let beyond = Ack {
            executed: Step(1),
            ..ack(5, Time(10), 0)
        };
        assert_eq!(sender.on_ack(&beyond, Step(0)), Err(BadAck::Executed));
        let told = sender.on_ack(&ack(5, Time(10), 0), Step(0));
        let frame = Some(Time(10));
        assert_eq!(told, Ok(Acknowledged { newer: true, frame }));
        assert_eq!(
            sender.on_ack(&ack(4, Time(10), 0), Step(0)),
            Err(BadAck::Received)
        );
        assert_eq!(sender.on_ack(&ack(5, Time(9), 0), Step(0)), Err(BadAck::Echo));
    }
}
