//! Telling the network where the guest is now (FT 2.3-c): a broadcast that bridges learn its address from.
//!
//! The guest's IP addresses are its own business and not known here, so the frame is a reverse-ARP request,
//! as QEMU sends after a migration. It is repeated, because any of them may be lost. `World` sends one on
//! each port in every round, after a takeover only: nothing is announced by a replica that is not live.

use replica::{Span, Time};

use crate::limits::{ANNOUNCE_FIRST_MS, ANNOUNCE_ROUNDS, ANNOUNCE_STEP_MS};

/// Shortest Ethernet frame without its checksum.
const FRAME_LEN_MIN: usize = 60;

/// When the next round of announcements is due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announcer {
    /// How many rounds are done and when the next one is due; `None`: not begun, or all are done.
    next: Option<(u32, Time)>,
}

impl Announcer {
    /// Begins the announcements, with a first round at once.
    pub fn begin(&mut self, now: Time) {
        self.next = Some((0, now));
    }

    /// Is a round due now? The answer yes counts it as done.
    pub fn is_due(&mut self, now: Time) -> bool {
        let Some((done, _)) = self.next.filter(|&(_, at)| at <= now) else {
            return false;
        };
        let pause = Span::from_ms(ANNOUNCE_FIRST_MS + u64::from(done) * ANNOUNCE_STEP_MS);
        self.next = (done + 1 < ANNOUNCE_ROUNDS).then(|| (done + 1, now.after(pause)));
        true
    }

    /// When the next round is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.next.map(|(_, at)| at)
    }
}

/// The reverse-ARP request that tells bridges where `mac` is.
#[must_use]
pub fn frame(mac: [u8; 6]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_LEN_MIN);
    frame.extend([0xff; 6]); // to all
    frame.extend(mac);
    frame.extend([0x80, 0x35]); // RARP
    frame.extend([0, 1, 8, 0, 6, 4, 0, 3]); // Ethernet, IPv4, their address lengths, "reverse request"
    frame.extend(mac);
    frame.extend([0; 4]);
    frame.extend(mac);
    frame.extend([0; 4]);
    frame.resize(FRAME_LEN_MIN, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_come_at_once_and_then_ever_more_rarely() {
        let mut announcer = Announcer::default();
        assert!(!announcer.is_due(Time(5)) && announcer.deadline().is_none());
        announcer.begin(Time(0));
        let mut at = Vec::new();
        while let Some(due) = announcer.deadline() {
            assert!(announcer.is_due(due));
            assert!(!announcer.is_due(due));
            at.push(due.0 / 1_000_000);
        }
        assert_eq!(at, [0, 50, 200, 450, 800]);
    }

    #[test]
    fn the_frame_is_a_padded_broadcast_from_the_guest() {
        let frame = frame([2, 0, 0, 0, 0, 9]);
        assert_eq!(frame.len(), 60);
        assert_eq!(
            frame[..14],
            [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x80, 0x35]
        );
    }
}
