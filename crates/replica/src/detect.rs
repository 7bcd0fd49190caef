//! `Detector`: silence becomes suspicion (FT 2.3-d, 2-g), and this side's own signs of life.
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

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Span = Span::from_ms(400);

    fn ms(ms: u64) -> Time {
        Time(Span::from_ms(ms).0)
    }

    /// Looks every ten milliseconds until it suspects.
    fn until_suspicion(detector: &mut Detector, from: u64) -> (u64, Suspicion) {
        let mut now = from;
        loop {
            detector.look(ms(now));
            if let Some(why) = detector.suspects(ms(now)) {
                return (now, why);
            }
            now += 10;
        }
    }

    #[test]
    fn silence_for_the_timeout_is_suspicion() {
        // FT 2.3-d.
        let mut detector = Detector::new(ms(0), TIMEOUT);
        detector.on_message(ms(50));
        assert_eq!(until_suspicion(&mut detector, 50), (450, Suspicion::Silence));
    }

    #[test]
    fn heartbeats_change_only_the_name_of_it() {
        // FT 2-g, 2.3-d.
        let mut detector = Detector::new(ms(0), TIMEOUT);
        detector.on_message(ms(50));
        detector.look(ms(50));
        detector.on_heartbeat(ms(430));
        assert_eq!(until_suspicion(&mut detector, 60), (450, Suspicion::LinkSilence));
    }

    #[test]
    fn a_peer_that_still_starts_gets_longer() {
        let mut detector = Detector::new(ms(0), TIMEOUT);
        assert_eq!(until_suspicion(&mut detector, 0).0, 1600);
    }

    #[test]
    fn ones_own_stall_is_not_counted() {
        let mut detector = Detector::new(ms(0), TIMEOUT);
        detector.on_message(ms(100));
        detector.look(ms(100));
        detector.look(ms(5_000));
        assert_eq!(detector.suspects(ms(5_000)), None);
        assert_eq!(until_suspicion(&mut detector, 5_000).0, 5_400);
    }
}
