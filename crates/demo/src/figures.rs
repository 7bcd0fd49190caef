//! The demo's result: figures for programs, a page for people.
//!
//! It is reckoned from what the clients saw and from the events that the replicas wrote; nothing is asked of
//! a process that still runs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use report::{History, RoleWord, amount};
use serde::Serialize;

use super::client::Seen;
use super::failovers::Cost;
use super::kills::Survived;
use super::timeline::draw;
use crate::options::{Kill, Options};
use terminal::{Screen, tell};

/// The load that was put on the guest, and what the clients saw.
pub struct Loaded {
    /// When the load began on CLOCK_BOOTTIME, to compare it with the replicas' events.
    pub began_ns: u64,
    /// Time for which the clients wrote.
    pub lasted: Duration,
    pub seen: Vec<Seen>,
    /// The kills that the VM has survived, in the order of their times.
    pub survived: Vec<Survived>,
}

/// The figures that `--json` prints. What is the same for each failover is said of the one with the longest
/// pause of a client; lists have an element for each failover.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    pub writes_acked: u64,
    pub writes_lost: u64,
    pub reads_wrong: u64,
    pub connections_opened: u64,
    pub connections_reset: u64,
    /// How often a half was killed, or stopped, and the VM went on and was protected again.
    pub failovers: usize,
    /// Longest time without an acknowledged write after the first signal, of the client that had to wait
    /// longest. What a client waited while the guest was copied is counted below.
    pub client_pause_ms: f64,
    /// The same from each signal to the next.
    pub client_pauses_ms: Vec<f64>,
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
    /// Time from the signal until both halves of the new pair knew that they are one.
    pub unprotected_ms: Vec<f64>,
    /// Processes that were to be the backup and did not become it.
    pub clones_failed: u32,
    /// Time for which the guest stood at the cut of its copy.
    pub clone_cut_us: Vec<f64>,
    /// What was copied.
    pub clone_bytes: Vec<u64>,
    /// Longest time without an acknowledged write while the guest was copied, of all copies and clients.
    pub clone_longest_client_gap_ms: f64,
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
    /// When the VM had no backup.
    unprotected: Vec<Range<Duration>>,
    kill: Kill,
    lasted: Duration,
    ended_well: bool,
}

impl Report {
    /// The figures of what the clients saw and of what the replicas wrote.
    pub fn new(args: &Options, loaded: &Loaded, history: &History, ended_well: bool) -> Report {
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
        }
        let survived = &loaded.survived;
        let nexts = survived.iter().skip(1).map(|next| next.killed);
        let costs: Vec<Cost> = (survived.iter().zip(nexts.chain([Duration::MAX])))
            .map(|(survived, next)| Cost::of(survived, next, history, &loaded.seen))
            .collect();
        figures.of_failovers(&costs);
        figures.clones_failed = survived.iter().map(|survived| survived.clones_failed).sum();
        figures.of_replicas(history, loaded.began_ns);
        let mut acks: Vec<Duration> = loaded
            .seen
            .iter()
            .flat_map(|seen| seen.acks.iter().copied())
            .collect();
        acks.sort();
        let unprotected = survived.iter().zip(&costs).map(|(survived, cost)| {
            let lasted = Duration::from_secs_f64(cost.failover.protected_ms / 1e3);
            survived.killed..survived.killed + lasted
        });
        Report {
            unprotected: unprotected.collect(),
            figures,
            acks,
            kill: args.kill,
            lasted: loaded.lasted,
            ended_well,
        }
    }

    /// Whether nothing was lost, wrong, reset or diverged, and every process ended as it should.
    pub fn is_good(&self) -> bool {
        let f = &self.figures;
        self.ended_well && f.writes_lost + f.reads_wrong + f.connections_reset + f.divergences == 0
    }

    /// The line for programs: what was asked of the demo, and what was seen.
    pub fn json(&self, args: &Options) -> Result<String> {
        let kill = args.kill.to_possible_value();
        Ok(serde_json::to_string(&serde_json::json!({
            "api": "v1",
            "version": env!("CARGO_PKG_VERSION"),
            "asked": {
                "kill": kill.as_ref().map(|kill| kill.get_name()),
                "kills": args.kills,
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
        if !self.unprotected.is_empty() {
            text += &draw(&self.acks, &self.unprotected, what(self.kill), screen);
            text.push('\n');
        }
        let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<28}{value}\n"));
        let writes = amount::grouped(f.writes_acked);
        let seconds = self.lasted.as_secs_f64();
        line("acknowledged writes", format!("{writes} in {seconds:.0} s"));
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
            let unprotected = amount::grouped(longest_of(&f.unprotected_ms).round() as u64);
            let gap = f.clone_longest_client_gap_ms;
            line(
                "protected again after",
                format!("{unprotected} ms (a pause of {gap:.0} ms)"),
            );
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
    pub fn verdict(&self, screen: &Screen) -> String {
        let f = &self.figures;
        if self.is_good() {
            let sentence = match f.failovers {
                0 | 1 => "Nothing was lost, no connection was opened twice.".to_owned(),
                count => format!("Nothing was lost in {} failovers.", amount::grouped(count as u64)),
            };
            return format!("{} {sentence}", screen.green("PASSED:"));
        }
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
    /// Adds what the failovers cost.
    fn of_failovers(&mut self, costs: &[Cost]) {
        self.failovers = costs.len();
        let all = |of: fn(&Cost) -> f64| costs.iter().map(of).collect::<Vec<f64>>();
        self.client_pauses_ms = all(|cost| cost.pause_ms);
        self.unprotected_ms = all(|cost| cost.failover.protected_ms);
        self.clone_cut_us = all(|cost| cost.failover.cut_us);
        self.clone_bytes = costs.iter().map(|cost| cost.failover.bytes).collect();
        self.clone_longest_client_gap_ms = longest_of(&all(|cost| cost.clone_gap_ms));
        let longest = costs.iter().max_by(|a, b| a.pause_ms.total_cmp(&b.pause_ms));
        let longest = longest.copied().unwrap_or_default();
        let failover = longest.failover;
        self.client_pause_ms = longest.pause_ms;
        self.detection_ms = failover.suspected_ms;
        self.go_live_ms = failover.live_ms - failover.suspected_ms;
        self.lease_ms = failover.claimed_ms - failover.suspected_ms;
        self.claim_ms = failover.live_ms - failover.claimed_ms;
        self.death_told = failover.death_told;
    }

    /// Adds what the replicas wrote: primaries know delays, lag and bandwidth, and backups what they
    /// compared. The boot is not measured.
    fn of_replicas(&mut self, history: &History, load_began_ns: u64) {
        let loaded = history.figures(load_began_ns);
        let paired: Vec<_> = loaded
            .filter(|(_, figures)| figures.role == RoleWord::Primary)
            .collect();
        let mut lags: Vec<f64> = paired.iter().map(|(_, figures)| figures.lag_ms).collect();
        lags.sort_by(f64::total_cmp);
        self.lag_ms_p50 = percentile(&lags, 50.0);
        self.lag_ms_p99 = percentile(&lags, 99.0);
        let rates = paired.iter().map(|(_, figures)| figures.log_mbit_s);
        self.log_mbit_s = rates.sum::<f64>() / paired.len().max(1) as f64;
        // A primary's delays count from its beginning: its last figures have all of them.
        let last: BTreeMap<u32, &report::Figures> = paired.into_iter().collect();
        for delay in last.values().map(|figures| &figures.output_delay) {
            self.output_delay_us_p50 = self.output_delay_us_p50.max(delay.p50_us);
            self.output_delay_us_p99 = self.output_delay_us_p99.max(delay.p99_us);
        }
        self.digests_compared = history.digests_compared();
        self.divergences = history.divergences() as u64;
    }
}

/// The value at `per_cent` of an ascending list; 0 for an empty one.
fn percentile(sorted: &[f64], per_cent: f64) -> f64 {
    let index = ((sorted.len() as f64 - 1.0) * per_cent / 100.0).round().max(0.0) as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}

/// The longest of these times; 0: there is none.
fn longest_of(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

fn what(kill: Kill) -> &'static str {
    match kill {
        Kill::Primary => "SIGKILL to the primary",
        Kill::Backup => "SIGKILL to the backup",
        Kill::Stall => "SIGSTOP to the primary",
        Kill::None => "",
    }
}
