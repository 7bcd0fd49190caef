//! The demo's result: figures for programs, a page for people.
//!
//! It is reckoned from what the clients saw and from the events that the replicas wrote; nothing is asked of
//! a process that still runs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use report::{HaltCode, Happening, Line, RoleWord, SuspicionWord, amount};
use serde::Serialize;

use super::client::Seen;
use super::processes::Pair;
use super::timeline::{draw, pause_ms, percentile};
use crate::args::{DemoArgs, Kill};
use crate::screen::Screen;

/// The load that was put on the guest, and what the clients saw.
pub struct Loaded {
    pub seen: Vec<Seen>,
    /// Time at which the signal was sent, since the start of the load.
    pub event: Option<Duration>,
    /// The same moment on CLOCK_BOOTTIME, to compare it with the replicas' events.
    pub event_boottime_ns: Option<u64>,
    /// Whether the old primary of `--kill stall` halted by itself.
    pub stalled_halted: Option<bool>,
}

/// The figures that `--json` prints.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    pub writes_acked: u64,
    pub writes_lost: u64,
    pub reads_wrong: u64,
    pub connections_opened: u64,
    pub connections_reset: u64,
    /// Longest time without an acknowledged write after the signal, of the client that had to wait longest.
    pub client_pause_ms: f64,
    /// Time from the signal to the survivor's suspicion.
    pub detection_ms: f64,
    /// Time from the suspicion to being live.
    pub go_live_ms: f64,
    /// The first part of it: the log is replayed to its end, and what comes first is waited for, the word of
    /// the old primary's host that its process has ended, or the end of its lease.
    pub lease_ms: f64,
    /// Whether the old primary's host said so.
    pub death_told: bool,
    /// The rest of it: the arbiter is asked, and the guest shown.
    pub claim_ms: f64,
    pub lag_ms_p50: f64,
    pub lag_ms_p99: f64,
    pub log_mbit_s: f64,
    pub output_delay_us_p50: f64,
    pub output_delay_us_p99: f64,
    pub digests_compared: u64,
    pub divergences: u64,
}

/// The figures, with what the page for people needs besides.
pub struct Report {
    pub figures: Figures,
    /// When the writes of all clients were acknowledged, in ascending order.
    acks: Vec<Duration>,
    event: Option<Duration>,
    kill: Kill,
    seconds: u64,
    ended_well: bool,
}

impl Report {
    /// The figures of what the clients saw and of what the replicas wrote.
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
        Ok(Report {
            figures,
            acks,
            event: loaded.event,
            kill: args.kill,
            seconds: args.seconds,
            ended_well: ended_well && loaded.stalled_halted != Some(false),
        })
    }

    /// Whether nothing was lost, wrong, reset or diverged, and every process ended as it should.
    pub fn is_good(&self) -> bool {
        let f = &self.figures;
        self.ended_well && f.writes_lost + f.reads_wrong + f.connections_reset + f.divergences == 0
    }

    /// The line for programs: what was asked of the demo, and what was seen.
    pub fn json(&self, args: &DemoArgs) -> Result<String> {
        let kill = args.kill.to_possible_value();
        Ok(serde_json::to_string(&serde_json::json!({
            "api": "v1",
            "version": env!("CARGO_PKG_VERSION"),
            "asked": {
                "kill": kill.as_ref().map(|kill| kill.get_name()),
                "seconds": args.seconds,
                "harts": args.harts,
                "clients": args.clients,
                "timeout_ms": args.timeout_ms,
                "timeout_only": args.timeout_only,
            },
            "seen": self.figures,
        }))?)
    }

    /// The page for people, the verdict first. A picture and a prompt included it has 24 lines, so that the
    /// verdict stays on the smallest terminal.
    pub fn text(&self, screen: &Screen) -> String {
        let f = &self.figures;
        let mut text = format!("  {}\n\n", self.verdict(screen));
        if let Some(event) = self.event {
            let pause = Duration::from_secs_f64(f.client_pause_ms / 1e3);
            text += &draw(&self.acks, event, pause, what(self.kill), screen);
            text.push('\n');
        }
        let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<28}{value}\n"));
        let writes = amount::grouped(f.writes_acked);
        line("acknowledged writes", format!("{writes} in {} s", self.seconds));
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
            line("  found out after", format!("{:.1} ms", f.detection_ms));
            if self.kill != Kill::Backup {
                let waited_for = match f.death_told {
                    true => "  told of its death after",
                    false => "  lease of the old primary",
                };
                line(waited_for, format!("{:.1} ms", f.lease_ms));
            }
            line("  claimed and live", format!("{:.1} ms", f.claim_ms));
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
            format!(
                "{}, {} differ",
                amount::grouped(f.digests_compared),
                f.divergences
            ),
        );
        text
    }

    /// Whether nothing was lost, in a sentence.
    fn verdict(&self, screen: &Screen) -> String {
        if self.is_good() {
            let sentence = "Nothing was lost, no connection was opened twice.";
            return format!("{} {sentence}", screen.green("PASSED:"));
        }
        let f = &self.figures;
        let all = [
            (f.writes_lost, "writes were lost"),
            (f.reads_wrong, "reads were wrong"),
            (f.connections_reset, "connections were reset"),
            (f.divergences, "digests differ"),
        ];
        let bad = all.into_iter().filter(|(count, _)| *count > 0);
        let mut faults: Vec<String> = bad.map(|(count, what)| format!("{count} {what}")).collect();
        if !self.ended_well {
            faults.push("a process did not end as it should".into());
        }
        format!("{} {}.", screen.red("FAILED:"), faults.join(", "))
    }
}

impl Figures {
    /// Adds what the replicas wrote: the primary knows delays, lag and bandwidth; the backup knows what it
    /// compared; the survivor knows how it went live.
    fn of_replicas(&mut self, primary: &[Line], backup: &[Line], kill: Kill, event_ns: Option<u64>) {
        let paired: Vec<&report::Figures> = figures(primary)
            .filter(|figures| figures.role == RoleWord::Primary)
            .collect();
        // The boot is not measured: the second half of the time as a pair is the load.
        let loaded = &paired[paired.len() / 2..];
        let mut lags: Vec<f64> = loaded.iter().map(|figures| figures.lag_ms).collect();
        lags.sort_by(f64::total_cmp);
        self.lag_ms_p50 = percentile(&lags, 50.0);
        self.lag_ms_p99 = percentile(&lags, 99.0);
        let rates = loaded.iter().map(|figures| figures.log_mbit_s);
        self.log_mbit_s = rates.sum::<f64>() / loaded.len().max(1) as f64;
        if let Some(last) = paired.last() {
            self.output_delay_us_p50 = last.output_delay.p50_us;
            self.output_delay_us_p99 = last.output_delay.p99_us;
        }
        let compared =
            figures(backup).filter(|figures| matches!(figures.role, RoleWord::Backup | RoleWord::Solo));
        self.digests_compared = compared.map(|figures| figures.digests).max().unwrap_or(0);
        let diverged = |line: &&Line| match &line.happening {
            Happening::Suspected { why, .. } => *why == SuspicionWord::Diverged,
            Happening::Halt(ending) => ending.code == HaltCode::Diverged,
            _ => false,
        };
        self.divergences = backup.iter().filter(diverged).count() as u64;
        let survivor = if kill == Kill::Backup { primary } else { backup };
        let Some(event_ns) = event_ns else { return };
        let time_of = |wanted: RoleWord| {
            let is = |line: &&Line| matches!(line.happening, Happening::Role { role, .. } if role == wanted);
            let line = survivor.iter().filter(|line| line.time_ns >= event_ns).find(is)?;
            Some((line.time_ns - event_ns) as f64 / 1e6)
        };
        let suspected = time_of(RoleWord::Claiming).unwrap_or_default();
        self.detection_ms = suspected;
        self.go_live_ms = time_of(RoleWord::Solo).map_or(0.0, |live| live - suspected);
        let is_claim = |line: &&Line| matches!(line.happening, Happening::Claim { .. });
        let claim = survivor
            .iter()
            .filter(|line| line.time_ns >= event_ns)
            .find(is_claim);
        self.lease_ms = claim.map_or(0.0, |claim| (claim.time_ns - event_ns) as f64 / 1e6 - suspected);
        self.claim_ms = self.go_live_ms - self.lease_ms;
        let is_told = |line: &Line| matches!(line.happening, Happening::PeerEnded { .. });
        self.death_told = survivor.iter().any(is_told);
    }
}

fn figures(lines: &[Line]) -> impl Iterator<Item = &report::Figures> {
    lines.iter().filter_map(|line| match &line.happening {
        Happening::Figures(figures) => Some(&**figures),
        _ => None,
    })
}

/// The lines of a replica's events. The last line of a killed process may be cut off.
fn events(path: &Path) -> Result<Vec<Line>> {
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
