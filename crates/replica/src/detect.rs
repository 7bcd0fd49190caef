//! `Detector`: silence becomes suspicion (FT 2.3-d), and this side's own signs of life.
//!
//! What counts is the link: log, acknowledgements, and the empty log messages that fill the gaps. Heartbeat
//! datagrams go another way; they only tell which kind of silence it is. Losing them alone is no failure.
//!
//! Time in which this replica itself did not look is not the peer's silence: its messages may be waiting.

use crate::{Span, Suspicion, Time, limits};

/// Watches one peer.
#[derive(Debug)]
pub struct Detector {
    timeout: Span,
    /// The last message, moved forward by the time in which nobody looked.
    heard: Time,
    /// Has any message come yet?
    met: bool,
    heartbeat: Option<Time>,
    looked: Time,
}

impl Detector {
    /// Starts to watch. A peer that never said anything gets [`limits::START_TIMEOUTS`] timeouts.
    #[must_use]
    pub fn new(now: Time, timeout: Span) -> Detector {
        Detector {
            timeout,
            heard: now,
            met: false,
            heartbeat: None,
            looked: now,
        }
    }

    /// A message came over the link.
    pub fn on_message(&mut self, now: Time) {
        self.heard = self.heard.max(now);
        self.met = true;
    }

    /// A heartbeat came.
    pub fn on_heartbeat(&mut self, now: Time) {
        self.heartbeat = Some(now);
    }

    /// The replica is awake. Call at every entry, before anything else.
    pub fn look(&mut self, now: Time) {
        let gap = now.since(self.looked);
        self.looked = self.looked.max(now);
        // It looks at least once per keepalive interval when all is well; twice that is a stall of its own.
        if gap.0 > 2 * self.interval().0 {
            self.heard = self.heard.after(gap).min(now);
        }
    }

    /// Is it suspect by now, and how?
    #[must_use]
    pub fn suspects(&self, now: Time) -> Option<Suspicion> {
        if now < self.deadline() {
            return None;
        }
        let beats = self
            .heartbeat
            .is_some_and(|beat| now.since(beat).0 <= 2 * self.interval().0);
        Some(if beats {
            Suspicion::LinkSilence
        } else {
            Suspicion::Silence
        })
    }

    /// When silence becomes suspicion.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let timeouts = if self.met { 1 } else { limits::START_TIMEOUTS };
        self.heard.after(Span(self.timeout.0 * timeouts))
    }

    /// Since the last sign of life over the link.
    #[must_use]
    pub fn silence(&self, now: Time) -> Span {
        now.since(self.heard)
    }

    /// Longest time between two signs of life of this side.
    #[must_use]
    pub fn interval(&self) -> Span {
        Span(self.timeout.0 / limits::KEEPALIVES_PER_TIMEOUT)
    }
}
