//! `Figures`: what a replica has counted and measured, in the form that programs read. The reporter makes
//! them from a node's metrics and the counts of the world around it.
//!
//! The names are a stable format (docs/events.md): one may be added, none changed or given another unit.

use replica::{Metrics, Span, Time};
use serde::{Deserialize, Serialize};

use super::words::{RoleWord, SuspicionWord};
use link::Traffic;

/// A distribution of lengths of time, in microseconds. Percentiles are at most an eighth too high.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delays {
    /// Number of samples.
    pub count: u64,
    /// Mean of all samples, in microseconds.
    pub mean_us: f64,
    /// Half of all samples are at most this long.
    pub p50_us: f64,
    /// 99 of 100 samples are at most this long.
    pub p99_us: f64,
    /// The longest sample, in microseconds.
    pub longest_us: f64,
}

/// The figures of a replica and of its process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(
    missing_docs,
    reason = "each name is its meaning and its unit, as in `replica::Metrics`"
)]
pub struct Figures {
    pub role: RoleWord,
    pub epoch: u64,
    pub up_s: f64,
    pub step: u64,
    pub steps_per_second: u64,
    pub entries: u64,
    pub log_bytes: u64,
    /// Bytes sent on the link, with encryption and framing, without heartbeats and TCP headers.
    pub wire_sent_bytes: u64,
    /// Bytes received on the link, counted likewise.
    pub wire_received_bytes: u64,
    /// Megabits a second on the link in both directions together, since the figures before.
    pub log_mbit_s: f64,
    pub messages_sent: u64,
    pub acks: u64,
    pub outputs: u64,
    pub outputs_released: u64,
    pub outputs_held: u64,
    pub output_delay: Delays,
    pub round_trip: Delays,
    pub buffered_bytes: u64,
    pub lag_steps: u64,
    pub lag_ms: f64,
    pub speed_permille: u32,
    pub stalled_ms: f64,
    pub inputs_dropped: u64,
    pub disk_in_flight: u64,
    pub digests: u64,
    pub claims: u64,
    pub suspicion: Option<SuspicionWord>,
    pub detection_ms: f64,
    pub go_live_ms: f64,
    /// Bytes of the process that are in RAM; 0 if the kernel does not tell.
    pub resident_bytes: u64,
    /// Bytes of the guest's consoles that nobody read in time.
    pub console_bytes_lost: u64,
    /// Lines of the file of events that could not be written.
    pub event_lines_lost: u64,
    /// Lines on standard error that nobody read in time.
    pub stderr_lines_lost: u64,
}

/// What the world around a node has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Bytes on all links to the peer, past and present.
    pub traffic: Traffic,
    /// Bytes of the guest's consoles that nobody read in time.
    pub console_bytes_lost: u64,
}

impl From<&replica::Histogram> for Delays {
    fn from(histogram: &replica::Histogram) -> Delays {
        let us = |span: Span| span.0 as f64 / 1e3;
        Delays {
            count: histogram.count,
            mean_us: us(histogram.sum) / histogram.count.max(1) as f64,
            p50_us: us(histogram.percentile(50)),
            p99_us: us(histogram.percentile(99)),
            longest_us: us(histogram.longest),
        }
    }
}

impl Figures {
    /// The figures of a node now. `before`: when the last ones were made, and the traffic then.
    #[must_use]
    pub fn new(now: Time, started: Time, m: &Metrics, outside: Outside, before: (Time, Traffic)) -> Figures {
        let Outside {
            traffic,
            console_bytes_lost,
        } = outside;
        let bytes = (traffic.sent + traffic.received).saturating_sub(before.1.sent + before.1.received);
        let seconds = now.since(before.0).0 as f64 / 1e9;
        Figures {
            role: m.role.into(),
            epoch: m.epoch.0,
            up_s: now.since(started).0 as f64 / 1e9,
            step: m.step.0,
            steps_per_second: m.steps_per_second,
            entries: m.entries,
            log_bytes: m.log_bytes,
            wire_sent_bytes: traffic.sent,
            wire_received_bytes: traffic.received,
            log_mbit_s: if seconds > 0.0 {
                bytes as f64 * 8e-6 / seconds
            } else {
                0.0
            },
            messages_sent: m.messages_sent,
            acks: m.acks,
            outputs: m.outputs,
            outputs_released: m.outputs_released,
            outputs_held: m.outputs_held,
            output_delay: Delays::from(&m.output_delay),
            round_trip: Delays::from(&m.round_trip),
            buffered_bytes: m.buffered_bytes,
            lag_steps: m.lag_steps,
            lag_ms: ms(m.lag),
            speed_permille: m.speed_permille,
            stalled_ms: ms(m.stalled),
            inputs_dropped: m.inputs_dropped,
            disk_in_flight: m.disk_in_flight,
            digests: m.digests,
            claims: m.claims,
            suspicion: m.suspicion.map(SuspicionWord::from),
            detection_ms: ms(m.detection),
            go_live_ms: ms(m.go_live),
            resident_bytes: resident_bytes(),
            console_bytes_lost,
            event_lines_lost: 0,
            stderr_lines_lost: os::stderr::lost(),
        }
    }
}

/// Milliseconds, with their fraction.
pub(super) fn ms(span: Span) -> f64 {
    span.0 as f64 / 1e6
}

/// Bytes of this process that are in RAM; 0 if the kernel does not tell.
#[must_use]
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
