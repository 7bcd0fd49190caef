//! `Detector`: turns the peer's silence into suspicion (FT 2.3-d, 2-g). Both halves of a pair have one; what
//! follows from a suspicion is the role's business.
//!
//! Two things are signs of life: messages over the link, and heartbeats, which go beside it as datagrams. TCP
//! keeps quiet for long after a lost packet, so heartbeats alone bridge an outage; but a link that stays
//! silent for [`limits::LINK_PATIENCE`] is of no use, whatever the heartbeats say.
//!
//! Time in which this replica itself did not run never counts: the peer's messages may be waiting here.

use crate::event::Suspicion;
use crate::limits;
use messages::time::{Span, Time};

/// Watches one peer.
#[derive(Debug)]
pub struct Detector {
    /// The failure-detection timeout of the pair.
    timeout: Span,
    /// When the last message or heartbeat came, moved forward by the time in which this replica did not run.
    heard: Time,
    /// When the last message came over the link, moved forward likewise.
    linked: Time,
    /// Has any message come yet? Before the first one, silence may last [`limits::START_TIMEOUTS`] timeouts.
    met: bool,
    /// When [`Detector::look`] was called last: then this replica certainly ran.
    looked: Time,
}

impl Detector {
    /// Starts to watch a peer that has not said anything yet. It gets [`limits::START_TIMEOUTS`] timeouts.
    #[must_use]
    pub fn new(now: Time, timeout: Span) -> Detector {
        Detector {
            timeout,
            heard: now,
            linked: now,
            met: false,
            looked: now,
        }
    }

    /// Notes that a message came over the link: a sign of life of the peer and of the link.
    pub fn on_message(&mut self, now: Time) {
        self.heard = self.heard.max(now);
        self.linked = self.linked.max(now);
        self.met = true;
    }

    /// Notes that a heartbeat came: a sign of life of the peer, not of the link.
    pub fn on_heartbeat(&mut self, now: Time) {
        self.heard = self.heard.max(now);
    }

    /// Notes that this replica runs. Call in every call of the node, before anything else.
    pub fn look(&mut self, now: Time) {
        let gap = now.since(self.looked);
        self.looked = self.looked.max(now);
        // A replica that runs is here at least once in an interval. For any longer its host did not let it
        // run: that time moves the peer's last signs of life forward instead of counting as silence.
        let stall = Span(gap.0.saturating_sub(self.interval().0));
        self.heard = self.heard.after(stall).min(now);
        self.linked = self.linked.after(stall).min(now);
    }

    /// Is the peer suspect by now, and for which kind of silence?
    #[must_use]
    pub fn suspects(&self, now: Time) -> Option<Suspicion> {
        if now < self.deadline() {
            return None;
        }
        Some(if now < self.silent_at() {
            Suspicion::LinkSilence
        } else {
            Suspicion::Silence
        })
    }

    /// When the peer becomes suspect if nothing comes from it before.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let patience = Span(limits::START_TIMEOUTS * self.timeout.0).max(limits::LINK_PATIENCE);
        self.silent_at().min(self.linked.after(patience))
    }

    /// When the silence of messages and heartbeats together has lasted too long.
    fn silent_at(&self) -> Time {
        let timeouts = if self.met { 1 } else { limits::START_TIMEOUTS };
        self.heard.after(Span(self.timeout.0 * timeouts))
    }

    /// Time since the peer's last sign of life, less the time in which this replica did not run.
    #[must_use]
    pub fn silence(&self, now: Time) -> Span {
        now.since(self.heard)
    }

    /// Time since the last message over the link, less the time in which this replica did not run.
    #[must_use]
    pub fn link_silence(&self, now: Time) -> Span {
        now.since(self.linked)
    }

    /// Longest time between two heartbeats of a primary whose link is silent, and between two looks.
    #[must_use]
    pub fn interval(&self) -> Span {
        Span(self.timeout.0 / limits::HEARTBEATS_PER_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Span = Span::from_ms(400);

    fn ms(ms: u64) -> Time {
        Time(Span::from_ms(ms).0)
    }

    /// Looks every ten milliseconds until it suspects; heartbeats come as long as `beats` says so.
    fn until_suspicion(detector: &mut Detector, from: u64, beats: impl Fn(u64) -> bool) -> (u64, Suspicion) {
        let mut now = from;
        loop {
            detector.look(ms(now));
            if let Some(why) = detector.suspects(ms(now)) {
                return (now, why);
            }
            if beats(now) {
                detector.on_heartbeat(ms(now));
            }
            now += 10;
        }
    }

    #[test]
    fn silence_for_the_timeout_is_suspicion() {
        // FT 2.3-d.
        let mut detector = Detector::new(ms(0), TIMEOUT);
        detector.on_message(ms(50));
        assert_eq!(
            until_suspicion(&mut detector, 50, |_| false),
            (450, Suspicion::Silence)
        );
    }

    #[test]
    fn heartbeats_bridge_an_outage_that_holds_the_link_up_for_longer() {
        // FT 2-g, 2.3-d. Nothing comes for 350 of 400 ms, then heartbeats; TCP's next attempt is at 600 ms.
        let mut detector = Detector::new(ms(0), TIMEOUT);
        detector.on_message(ms(50));
        for now in (50..=590).step_by(10) {
            detector.look(ms(now));
            assert_eq!(detector.suspects(ms(now)), None, "at {now} ms");
            if now >= 400 {
                detector.on_heartbeat(ms(now));
            }
        }
        detector.on_message(ms(600));
        assert_eq!(detector.suspects(ms(600)), None);
    }

    #[test]
    fn a_link_that_stays_silent_is_suspect_though_heartbeats_come() {
        let mut detector = Detector::new(ms(0), TIMEOUT);
        detector.look(ms(50));
        detector.on_message(ms(50));
        assert_eq!(
            until_suspicion(&mut detector, 60, |_| true),
            (10_050, Suspicion::LinkSilence)
        );
    }

    #[test]
    fn a_peer_that_still_starts_gets_longer() {
        let mut detector = Detector::new(ms(0), TIMEOUT);
        assert_eq!(until_suspicion(&mut detector, 0, |_| false).0, 1600);
    }

    #[test]
    fn ones_own_stall_is_not_counted() {
        let mut detector = Detector::new(ms(0), TIMEOUT);
        detector.on_message(ms(100));
        detector.look(ms(100));
        detector.look(ms(5_000));
        assert_eq!(detector.suspects(ms(5_000)), None);
        // 50 ms are how seldom it looks anyway.
        assert_eq!(until_suspicion(&mut detector, 5_000, |_| false).0, 5_350);
    }

    #[test]
    fn many_short_stalls_are_not_counted_either() {
        // A busy host lets it run for a moment every 150 ms; the peer was last heard just before.
        let mut detector = Detector::new(ms(0), TIMEOUT);
        detector.on_message(ms(0));
        for now in (0..=900).step_by(150) {
            detector.look(ms(now));
            assert_eq!(detector.suspects(ms(now)), None, "at {now} ms");
        }
    }
}
