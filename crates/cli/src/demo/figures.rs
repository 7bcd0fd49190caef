//! The demo's result: figures for programs, a page for people.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::Loaded;
use super::processes::Pair;
use super::timeline::{draw, pause_ms, percentile};
use crate::args::{DemoArgs, Kill};

/// What `--json` prints.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    pub writes_acked: u64,
    pub writes_lost: u64,
    pub reads_wrong: u64,
    pub connections_opened: u64,
    pub connections_reset: u64,
    /// Longest time without an acknowledged write after the signal, worst client.
    pub client_pause_ms: f64,
    /// From the signal to the survivor's suspicion.
    pub detection_ms: f64,
    /// From the suspicion to being live.
    pub go_live_ms: f64,
    pub lag_ms_p50: f64,
    pub lag_ms_p99: f64,
    pub log_mbit_s: f64,
    pub output_delay_us_p50: f64,
    pub output_delay_us_p99: f64,
    pub digests_compared: u64,
    pub divergences: u64,
}

/// The result.
pub struct Report {
    pub figures: Figures,
    picture: String,
    kill: Kill,
    seconds: u64,
    ended_well: bool,
}

impl Report {
    /// From what the clients saw and what the replicas wrote.
    pub fn new(args: &DemoArgs, loaded: &Loaded, pair: &Pair, ended_well: bool) -> Result<Report> {
        let mut figures = Figures {
            connections_opened: loaded.seen.len() as u64,
            ..Figures::default()
        };
        for seen in &loaded.seen {
            figures.writes_acked += seen.acks.len() as u64;
            figures.writes_lost += seen.writes_lost;
            figures.reads_wrong += seen.reads_wrong;
            figures.connections_reset += u64::from(seen.reset.is_some());
            if let Some(reason) = &seen.reset {
                tell!("demo: a client lost its connection: {reason}");
            }
            if let Some(event) = loaded.event {
                figures.client_pause_ms = figures.client_pause_ms.max(pause_ms(&seen.acks, event));
            }
        }
        let primary = events(&pair.primary_events)?;
        let backup = events(&pair.backup_events)?;
        figures.of_replicas(&primary, &backup, args.kill, loaded.event_boottime_ns);
        let mut acks: Vec<Duration> = loaded
            .seen
            .iter()
            .flat_map(|seen| seen.acks.iter().copied())
            .collect();
        acks.sort();
        let picture = loaded
            .event
            .map_or_else(String::new, |event| draw(&acks, event, what(args.kill)));
        Ok(Report {
            figures,
            picture,
            kill: args.kill,
            seconds: args.seconds,
            ended_well: ended_well && loaded.stalled_halted != Some(false),
        })
    }

    /// Nothing lost, wrong, reset or diverged, and everybody ended as they should.
    pub fn is_good(&self) -> bool {
        let f = &self.figures;
        self.ended_well && f.writes_lost + f.reads_wrong + f.connections_reset + f.divergences == 0
    }

    /// The page for people.
    pub fn text(&self) -> String {
        let f = &self.figures;
        let mut text = format!("\n{}\n", self.picture);
        let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<28}{value}\n"));
        line(
            "acknowledged writes",
            format!("{} in {} s", f.writes_acked, self.seconds),
        );
        line(
            "lost / read wrong",
            format!("{} / {}", f.writes_lost, f.reads_wrong),
        );
        line(
            "connections opened / reset",
            format!("{} / {}", f.connections_opened, f.connections_reset),
        );
        if self.kill != Kill::None {
            line(
                "longest pause of a client",
                format!("{:.0} ms", f.client_pause_ms),
            );
            line("  of it, until suspicion", format!("{:.0} ms", f.detection_ms));
            line("  of it, until live", format!("{:.1} ms", f.go_live_ms));
        }
        line(
            "lag of the backup",
            format!("{:.1} ms (p99 {:.1} ms)", f.lag_ms_p50, f.lag_ms_p99),
        );
        line("log on the wire", format!("{:.2} Mbit/s", f.log_mbit_s));
        let delay = format!(
            "{:.0} us (p99 {:.0} us)",
            f.output_delay_us_p50, f.output_delay_us_p99
        );
        line("delay of an output", delay);
        line(
            "digests compared",
            format!("{}, {} differ", f.digests_compared, f.divergences),
        );
        text.push_str(if self.is_good() {
            "\n  Nothing was lost, and no connection was opened twice.\n"
        } else {
            "\n  FAILED: see above.\n"
        });
        text
    }
}

impl Figures {
    /// The primary knows delays, lag and bandwidth; the backup what it compared; the survivor how it went live.
    fn of_replicas(&mut self, primary: &[Value], backup: &[Value], kill: Kill, event_ns: Option<u64>) {
        let paired: Vec<&Value> = of(primary, "figures")
            .filter(|line| line["role"] == "primary")
            .collect();
        // The boot is not what is measured: the second half of the time as a pair is the load.
        let loaded = &paired[paired.len() / 2..];
        let sorted = |key: &str| {
            let mut values: Vec<f64> = loaded.iter().filter_map(|line| line[key].as_f64()).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let lags = sorted("lag_ms");
        self.lag_ms_p50 = percentile(&lags, 50.0);
        self.lag_ms_p99 = percentile(&lags, 99.0);
        let rates = sorted("log_mbit_s");
        self.log_mbit_s = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
        if let Some(last) = paired.last() {
            self.output_delay_us_p50 = last["output_delay"]["p50_us"].as_f64().unwrap_or_default();
            self.output_delay_us_p99 = last["output_delay"]["p99_us"].as_f64().unwrap_or_default();
        }
        let compared =
            of(backup, "figures").filter(|line| line["role"] == "backup" || line["role"] == "solo");
        self.digests_compared = compared
            .filter_map(|line| line["digests"].as_u64())
            .max()
            .unwrap_or(0);
        self.divergences = of(backup, "role")
            .filter(|line| line["suspicion"] == "diverged")
            .count() as u64
            + of(backup, "halt")
                .filter(|line| line["why"].as_str().is_some_and(|why| why.contains("Diverged")))
                .count() as u64;
        let survivor = if kill == Kill::Backup { primary } else { backup };
        let Some(event_ns) = event_ns else { return };
        let after = |line: &&Value| line["time_ns"].as_u64() >= Some(event_ns);
        let time_of = |role: &str| {
            let line = of(survivor, "role")
                .filter(after)
                .find(|line| line["role"] == role)?;
            Some((line["time_ns"].as_u64()?.saturating_sub(event_ns)) as f64 / 1e6)
        };
        let suspected = time_of("claiming").unwrap_or_default();
        self.detection_ms = suspected;
        self.go_live_ms = time_of("solo").map_or(0.0, |live| live - suspected);
    }
}

fn of<'a>(lines: &'a [Value], event: &'static str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["event"] == event)
}

/// The lines of a replica's report. The last one of a killed process may be cut off.
fn events(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

fn what(kill: Kill) -> &'static str {
    match kill {
        Kill::Primary => "SIGKILL to the primary",
        Kill::Backup => "SIGKILL to the backup",
        Kill::Stall => "SIGSTOP to the primary",
        Kill::None => "",
    }
}
