//! `Figures`: what a replica has counted and measured, in the form that programs read. The reporter makes
//! them from a node's metrics and the counts of the world around it.
//!
//! The names are a stable format (docs/events.md): one may be added, none changed or given another unit.

use replica::{Metrics, Span, Time};
use serde::{Deserialize, Serialize};

use super::words::{RoleWord, SuspicionWord};
use link::Traffic;

/// A distribution of lengths of time, in microseconds. Percentiles are at most an eighth too high.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// What the replica is to its VM.
    pub role: RoleWord,
    /// The epoch of the VM at its arbiter; 0 without one.
    pub epoch: u64,
    /// Time since the guest was started in this process, in seconds.
    pub up_s: f64,
    /// The step at which the guest stands.
    pub step: u64,
    /// Steps that the guest has run in the last second.
    pub steps_per_second: u64,
    /// Entries of the log so far.
    pub entries: u64,
    /// Bytes of the log so far.
    pub log_bytes: u64,
    /// Bytes sent on the link, with encryption and framing, without heartbeats and TCP headers.
    pub wire_sent_bytes: u64,
    /// Bytes received on the link, counted likewise.
    pub wire_received_bytes: u64,
    /// Megabits a second on the link in both directions together, since the figures before.
    pub log_mbit_s: f64,
    /// Messages that were sent to the other side.
    pub messages_sent: u64,
    /// Acknowledgements that were received from the other side.
    pub acks: u64,
    /// Outputs that the guest has made.
    pub outputs: u64,
    /// Outputs that have left for the world.
    pub outputs_released: u64,
    /// Outputs that wait for the backup at present.
    pub outputs_held: u64,
    /// How long outputs have waited for the backup.
    pub output_delay: Delays,
    /// How long messages and their acknowledgements took.
    pub round_trip: Delays,
    /// Bytes of the log that are sent and not acknowledged, or received and not executed.
    pub buffered_bytes: u64,
    /// Steps by which the backup is behind.
    pub lag_steps: u64,
    /// Time by which the backup is behind, in milliseconds.
    pub lag_ms: f64,
    /// Share of its speed at which the guest may run, in thousandths.
    pub speed_permille: u32,
    /// Time for which the guest stood because a buffer was full, in milliseconds.
    pub stalled_ms: f64,
    /// Inputs that were dropped because the guest did not take them.
    pub inputs_dropped: u64,
    /// Disk requests without an answer at present.
    pub disk_in_flight: u64,
    /// Digests of the guest's state that were written or compared.
    pub digests: u64,
    /// Questions to the arbiter who owns the VM.
    pub claims: u64,
    /// Why the other side was suspected last; null: it never was.
    pub suspicion: Option<SuspicionWord>,
    /// Time from the last sign of life to the last suspicion, in milliseconds.
    pub detection_ms: f64,
    /// Time from the last suspicion to being live, in milliseconds.
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
