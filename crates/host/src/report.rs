//! What a replica tells the programs that watch it: one JSON object per line, for role changes and figures.
//!
//! `time_ns` is CLOCK_BOOTTIME and comparable between processes of one host; `wall_ns` is for people. The
//! core's types are not serialised themselves (L3); the mirror types here are the stable format.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use replica::{Metrics, RoleName, Span, Suspicion, Time};
use serde::Serialize;

use crate::link::Traffic;
use crate::sys::clock;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Happening {
    /// The replica changed its role. The first line of each process says its first role.
    Role {
        /// Now.
        role: &'static str,
        /// Of the pair, or of the claim that was won.
        epoch: u64,
        /// Why the peer is not trusted any more.
        suspicion: Option<&'static str>,
        /// From the peer's last sign of life to the suspicion.
        detection_ms: f64,
        /// From the suspicion to being live.
        go_live_ms: f64,
    },
    /// The arbiter was asked.
    Claim {
        /// For which epoch.
        epoch: u64,
    },
    /// It has answered.
    Verdict {
        /// For which epoch.
        epoch: u64,
        /// `won`, `lost` or `unreachable`.
        verdict: &'static str,
        /// More about it.
        reason: Option<String>,
    },
    /// Alone and live: outputs leave from here on.
    GoLive {
        /// Under this epoch.
        epoch: u64,
    },
    /// This process is the writer of the disks.
    DiskWriter,
    /// The link to the peer is gone.
    LinkLost {
        /// Why.
        reason: String,
    },
    /// The operator asked for the end.
    Stop,
    /// The replica has ended.
    Halt {
        /// Why.
        why: String,
    },
    /// Figures, now and then and at the end.
    Figures(Box<Figures>),
}

/// A line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time_ns: u64,
    wall_ns: u64,
    vm: &'a str,
    pid: u32,
    #[serde(flatten)]
    happening: &'a Happening,
}

/// A distribution of lengths of time, in microseconds; percentiles are at most an eighth too high.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Delays {
    /// Samples.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Half are below.
    pub p50_us: f64,
    /// 99 of 100 are below.
    pub p99_us: f64,
    /// The longest.
    pub longest_us: f64,
}

/// The figures of a replica and of its process.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "each name is its meaning and its unit, as in `replica::Metrics`"
)]
pub struct Figures {
    pub role: &'static str,
    pub epoch: u64,
    pub up_s: f64,
    pub step: u64,
    pub steps_per_second: u64,
    pub entries: u64,
    pub log_bytes: u64,
    /// Sent and received on the link, with encryption and framing, without heartbeats and TCP headers.
    pub wire_sent_bytes: u64,
    pub wire_received_bytes: u64,
    /// The same per second since the figures before, both directions.
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
    pub suspicion: Option<&'static str>,
    pub detection_ms: f64,
    pub go_live_ms: f64,
    /// Memory of the process in RAM.
    pub resident_bytes: u64,
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

/// The word for a role.
#[must_use]
pub fn role_word(role: RoleName) -> &'static str {
    match role {
        RoleName::Solo => "solo",
        RoleName::Primary => "primary",
        RoleName::Backup => "backup",
        RoleName::Claiming => "claiming",
        RoleName::Halted => "halted",
    }
}

/// The word for a suspicion.
#[must_use]
pub fn suspicion_word(suspicion: Suspicion) -> &'static str {
    match suspicion {
        Suspicion::LinkLost => "link-lost",
        Suspicion::Silence => "silence",
        Suspicion::LinkSilence => "link-silence",
        Suspicion::Diverged => "diverged",
        Suspicion::Garbage => "garbage",
        Suspicion::Slow => "slow",
        Suspicion::Left => "left",
    }
}

fn ms(span: Span) -> f64 {
    span.0 as f64 / 1e6
}

/// Memory of this process in RAM; 0 if the kernel does not tell.
#[must_use]
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Writes lines and remembers what must be compared.
#[derive(Debug)]
pub struct Reporter {
    sink: Option<File>,
    vm: String,
    every: Option<Span>,
    started: Time,
    /// When figures were written last, and the traffic then.
    last: (Time, Traffic),
    role: Option<RoleName>,
}

/// The file for reports cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write events to {path}; check the directory and its permissions")]
pub struct ReportError {
    /// Which.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

impl Reporter {
    /// A reporter for `vm` that appends to `sink`, with figures `every` so often.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn new(vm: &str, sink: Option<&Path>, every: Option<Span>) -> Result<Reporter, ReportError> {
        let open = |path: &Path| {
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map_err(|source| ReportError {
                    path: path.into(),
                    source,
                })
        };
        let now = clock::now();
        Ok(Reporter {
            sink: sink.map(open).transpose()?,
            vm: vm.to_owned(),
            every,
            started: now,
            last: (now, Traffic::default()),
            role: None,
        })
    }

    /// Writes a line, in one write, so that several processes may share the file.
    pub fn happened(&mut self, happening: &Happening) {
        if !matches!(happening, Happening::Figures(_)) {
            tracing::info!(?happening);
        }
        let Some(sink) = &mut self.sink else { return };
        let line = Line {
            time_ns: clock::now().0,
            wall_ns: clock::wall_ns(),
            vm: &self.vm,
            pid: std::process::id(),
            happening,
        };
        let written = serde_json::to_string(&line).map_err(io::Error::from);
        if let Err(error) = written.and_then(|line| sink.write_all((line + "\n").as_bytes())) {
            tracing::warn!("events are not written any more: {error}");
            self.sink = None;
        }
    }

    /// Tells of a change of role, if there is one.
    pub fn look_at_role(&mut self, metrics: &Metrics) {
        if self.role == Some(metrics.role) {
            return;
        }
        self.role = Some(metrics.role);
        self.happened(&Happening::Role {
            role: role_word(metrics.role),
            epoch: metrics.epoch.0,
            suspicion: metrics.suspicion.map(suspicion_word),
            detection_ms: ms(metrics.detection),
            go_live_ms: ms(metrics.go_live),
        });
    }

    /// When figures are due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        Some(self.last.0.after(self.every?))
    }

    /// Writes figures if they are due.
    pub fn look_at_figures(&mut self, now: Time, metrics: &Metrics, traffic: Traffic) {
        if self.deadline().is_some_and(|at| at <= now) {
            let figures = self.figures(now, metrics, traffic);
            self.happened(&Happening::Figures(Box::new(figures)));
        }
    }

    /// The figures now.
    pub fn figures(&mut self, now: Time, m: &Metrics, traffic: Traffic) -> Figures {
        let (then, before) = std::mem::replace(&mut self.last, (now, traffic));
        let bytes = (traffic.sent + traffic.received).saturating_sub(before.sent + before.received);
        let seconds = now.since(then).0 as f64 / 1e9;
        Figures {
            role: role_word(m.role),
            epoch: m.epoch.0,
            up_s: now.since(self.started).0 as f64 / 1e9,
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
            suspicion: m.suspicion.map(suspicion_word),
            detection_ms: ms(m.detection),
            go_live_ms: ms(m.go_live),
            resident_bytes: resident_bytes(),
        }
    }
}
