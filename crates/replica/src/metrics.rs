//! `Metrics`: plain numbers about a node. Roles, recorder and replayer write them down, and worlds print
//! them. They are for people: no role may decide anything by them.

use machine::Step;

use crate::event::{Epoch, Phase, RoleName, Suspicion};
use messages::time::{Span, Time};

/// Parts into which a histogram divides each power of two.
const PARTS: u64 = 8;
/// Buckets of a histogram, which reach to 2^31 microseconds; a longer time counts in the last one.
const BUCKETS: usize = 29 * PARTS as usize;

/// Samples of a length of time. Each power of two has eight buckets: a percentile is known to an eighth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// How many samples fell into each bucket. The first sixteen buckets are one microsecond wide.
    buckets: [u64; BUCKETS],
    /// Number of samples.
    pub count: u64,
    /// The sum of all samples.
    pub sum: Span,
    /// The longest sample.
    pub longest: Span,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: [0; BUCKETS],
            count: 0,
            sum: Span(0),
            longest: Span(0),
        }
    }
}

impl Histogram {
    /// Adds a sample.
    pub fn add(&mut self, sample: Span) {
        let us = sample.0 / 1000;
        let octave = u64::from(u64::BITS - (us / PARTS).leading_zeros()).max(1) - 1;
        let index = (octave * PARTS + (us >> octave)).min(self.buckets.len() as u64 - 1);
        if let Some(bucket) = self.buckets.get_mut(index as usize) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum = Span(self.sum.0.saturating_add(sample.0));
        self.longest = self.longest.max(sample);
    }

    /// An upper bound of this percentile (0 to 100), at most an eighth too high; zero without samples.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Span {
        let wanted = (self.count * percent.min(100)).div_ceil(100);
        let mut seen = 0;
        for (index, bucket) in (0_u64..).zip(&self.buckets) {
            seen += bucket;
            if seen >= wanted && seen > 0 {
                // The inverse of what `add` computes: where the next bucket begins.
                let octave = ((index + 1) / PARTS).max(1) - 1;
                let us = (index + 1 - octave * PARTS) << octave;
                return Span::from_us(us).min(self.longest);
            }
        }
        self.longest
    }
}

/// What a clone has counted and measured, on the owner's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloneFigures {
    /// How far it is.
    pub phase: Phase,
    /// When it began.
    pub began: Time,
    /// From its beginning to the entry that made the apprentice a member; zero before.
    pub took: Span,
    /// Rounds in which pages were copied before the cut.
    pub rounds: u32,
    /// Pages that were sent, each as often as it was.
    pub pages: u64,
    /// Bytes of the pages that were sent and are not zero.
    pub bytes: u64,
    /// Bytes of the state at the cut, without memory.
    pub state_bytes: u64,
    /// Pages that the guest had ever written when the first round began.
    pub touched: u32,
    /// Pages that were owed at the cut.
    pub owed_at_cut: u32,
    /// Pages that are owed now.
    pub owed: u32,
    /// For how long the guest stood at the cut.
    pub cut: Span,
    /// For how long the guest stood after the cut, since hardly more pages could be kept for it.
    pub stood: Span,
    /// Digests that were put into the log for the apprentice to compare.
    pub digests: u64,
    /// The share of its time in which the guest may run while the apprentice catches up, in thousandths; 0
    /// before that.
    pub permille: u32,
}

/// What a node has counted and measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The present role.
    pub role: RoleName,
    /// The epoch of the pair, or the one under which this replica went live; 0 for a guest that runs alone.
    pub epoch: Epoch,
    /// This side's network ports led nowhere when it suspected the other, so it asks the arbiter later.
    pub isolated: bool,
    /// The step at which the guest stood after its last slice.
    pub step: Step,
    /// Measured speed, in steps a second of host time while the guest ran.
    pub steps_per_second: u64,

    /// Log entries written (recording sides) or received (backup).
    pub entries: u64,
    /// Bytes of log frames written or received.
    pub log_bytes: u64,
    /// Messages sent to the peer, of any kind, without heartbeats.
    pub messages_sent: u64,
    /// Bytes of those messages.
    pub message_bytes_sent: u64,
    /// Acknowledgements sent (backup) or received (primary).
    pub acks: u64,

    /// Outputs the guest has produced.
    pub outputs: u64,
    /// Outputs shown to the world, counted in order (a disk write counts when the output rule lets it go).
    pub outputs_released: u64,
    /// Outputs held now (primary), or kept because they may not have left the primary (backup).
    pub outputs_held: u64,
    /// Bytes of the outputs that are held.
    pub held_bytes: u64,
    /// How long outputs were held, from production to release.
    pub output_delay: Histogram,
    /// How long messages took from their sending to their acknowledgement.
    pub round_trip: Histogram,

    /// What log counts in buffers (`log::codec::cost`): not yet acknowledged, sent or not (primary), or
    /// received and not executed (backup).
    pub buffered_bytes: u64,
    /// Steps the backup's execution is behind.
    pub lag_steps: u64,
    /// For how long the oldest log that the backup has not executed has been at the backup (FT 3.2-d).
    pub lag: Span,
    /// Share of its speed at which the primary may run, in thousandths (FT 3.2-e).
    pub speed_permille: u32,
    /// Time for which the guest stood because a buffer was full (FT 3.2-c).
    pub stalled: Span,
    /// Does the guest stand now because a buffer is full?
    pub stalled_now: bool,
    /// Frames and console bytes dropped because the guest did not take them.
    pub inputs_dropped: u64,
    /// Disk requests at the disk now.
    pub disk_in_flight: u64,

    /// Pages of the guest's memory that have come over the bulk link (apprentice).
    pub pages_placed: u64,
    /// The clone that is under way, or the last one that was; `None`: there was none.
    pub clone: Option<CloneFigures>,

    /// Digests recorded (recording sides) or compared (replaying sides).
    pub digests: u64,

    /// Why the peer is not trusted any more; `None`: it is, or there is none.
    pub suspicion: Option<Suspicion>,
    /// When it was suspected.
    pub suspected_at: Option<Time>,
    /// From the peer's last sign of life to the suspicion.
    pub detection: Span,
    /// When the primary's host said that the primary's process has ended, if this replica believed it.
    pub peer_ended_at: Option<Time>,
    /// When this replica went live alone, by a claim.
    pub live_at: Option<Time>,
    /// From the suspicion to going live.
    pub go_live: Span,
    /// Questions that the arbiter was asked, repeated ones too.
    pub claims: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_at_most_an_eighth_too_high() {
        for us in (0..300).chain([1000, 1023, 1024, 1025, 123_456, 86_400_000_000]) {
            let mut histogram = Histogram::default();
            histogram.add(Span::from_us(us));
            histogram.add(Span(u64::MAX));
            let found = histogram.percentile(50).0 / 1000;
            assert!(found > us || us > 1 << 31, "{us}: {found}");
            assert!(found <= us + 1 + us / 8, "{us}: {found}");
        }
    }

    #[test]
    fn percentiles_divide_the_samples() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(99), Span(0));
        for us in 0..1000 {
            histogram.add(Span::from_us(us));
        }
        assert_eq!(histogram.percentile(50), Span::from_us(512));
        assert_eq!(histogram.percentile(100), Span::from_us(999));
    }
}
