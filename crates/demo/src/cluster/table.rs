//! What `demo --cluster` tells: a table of its steps with what the client waited in each, and the verdict; or
//! the figures for programs.

use std::time::Duration;

use anyhow::Result;
use report::{Failover, History, amount};
use serde::Serialize;

use super::course::{Lived, Place, Step, What, name, sentence};
use super::site::{NAMES, Site};
use crate::client::Seen;
use crate::failovers::longest_gap_ms;
use crate::figures::{Figures, Report};
use crate::options::{DirectoryKind, Options};
use terminal::Screen;

/// Columns before what stands below a row.
const INDENT: usize = 18;

/// A step with its figures.
#[derive(Debug, Serialize)]
struct Row {
    /// Milliseconds since the load began.
    at_ms: f64,
    /// The hosts that have the VM from then on, the primary's first.
    hosts: Vec<&'static str>,
    /// What happened.
    what: String,
    /// The longest time without an acknowledged write that ended in this step, in milliseconds.
    client_gap_ms: f64,
    /// What people read below the row: programs have it elsewhere.
    #[serde(skip)]
    below: Vec<String>,
}

/// What `seen` has beside the figures of `lockstep demo`.
#[derive(Debug, Serialize)]
struct ClusterFigures<'a> {
    #[serde(flatten)]
    demo: &'a Figures,
    hosts: [&'static str; 3],
    /// Hosts on which the guest ran, in this order.
    ran_on: &'a [&'static str],
    protected_again_ms: &'a [f64],
    alone_ms: f64,
    reasons: &'a [String],
    handed_over_ms: f64,
    hand_over_gap_ms: f64,
    steps: &'a [Row],
}

/// What is told.
pub struct Table {
    report: Report,
    rows: Vec<Row>,
    ran_on: Vec<&'static str>,
    kind: DirectoryKind,
    protected_again_ms: Vec<f64>,
    alone_ms: f64,
    reasons: Vec<String>,
    handed_over_ms: f64,
    hand_over_gap_ms: f64,
}

impl Table {
    /// What is told of this life, of which the processes of the VM have written the history.
    pub fn new(args: &Options, site: &Site, lived: &Lived, history: &History, ended_well: bool) -> Table {
        let failovers = lived.loaded.survived.iter();
        let failovers = failovers.map(|kill| history.failover(kill.killed_ns, kill.survivor, kill.backup));
        let failovers: Vec<Failover> = failovers.collect();
        let rows = rows(lived, &failovers);
        let gap_of = |what: What| {
            let mut steps = lived.steps.iter().zip(&rows);
            steps
                .find(|(step, _)| step.what == what)
                .map_or(0.0, |(_, row)| row.client_gap_ms)
        };
        let mut ran_on: Vec<&'static str> = lived.steps.iter().map(|step| name(step.place.primary)).collect();
        ran_on.dedup();
        Table {
            report: Report::new(args, &lived.loaded, history, ended_well),
            ran_on,
            kind: site.kind,
            protected_again_ms: lived.protected_again.iter().copied().map(ms).collect(),
            alone_ms: ms(lived.alone),
            reasons: lived.reasons.clone(),
            handed_over_ms: ms(lived.handed_over),
            hand_over_gap_ms: gap_of(What::HandedOver),
            rows,
        }
    }

    /// Whether nothing was lost, wrong, reset or diverged, and every process ended as it should.
    pub fn is_good(&self) -> bool {
        self.report.is_good()
    }

    /// The line for programs: what was asked of the demo, and what was seen.
    pub fn json(&self, args: &Options) -> Result<String> {
        let directory = match self.kind {
            DirectoryKind::Shared => "shared",
            DirectoryKind::Etcd => "etcd",
        };
        let seen = ClusterFigures {
            demo: &self.report.figures,
            hosts: NAMES,
            ran_on: &self.ran_on,
            protected_again_ms: &self.protected_again_ms,
            alone_ms: self.alone_ms,
            reasons: &self.reasons,
            handed_over_ms: self.handed_over_ms,
            hand_over_gap_ms: self.hand_over_gap_ms,
            steps: &self.rows,
        };
        Ok(serde_json::to_string(&serde_json::json!({
            "api": "v1",
            "version": env!("CARGO_PKG_VERSION"),
            "asked": {
                "cluster": true,
                "directory": directory,
                "netns": args.netns,
                "seconds": args.seconds,
                "harts": args.harts,
                "timeout_ms": args.timeout_ms,
                "timeout_only": args.timeout_only,
            },
            "seen": seen,
        }))?)
    }

    /// The table for people, and the verdict below it.
    pub fn text(&self, screen: &Screen) -> String {
        let (arrow, dash) = if screen.utf8 { ("▶", "–") } else { (">", "-") };
        let width = self.rows.iter().map(|row| row.what.chars().count()).max();
        let width = width.unwrap_or(0);
        let head = format!(
            "  {:>7}  {:<6} {:<width$}  longest gap",
            "t", "VM", "what happened"
        );
        let mut text = format!("{head}\n");
        for row in &self.rows {
            let hosts = match row.hosts.as_slice() {
                [primary, backup] => format!("{primary} {arrow} {backup}"),
                [primary] => format!("{primary} {arrow} {dash}"),
                _ => String::new(),
            };
            let seconds = row.at_ms / 1e3;
            let (what, gap) = (&row.what, row.client_gap_ms);
            text += &format!("  {seconds:>5.1} s  {hosts:<6} {what:<width$}  {gap:>8.0} ms\n");
            let room = screen.width.saturating_sub(INDENT + 1);
            let lines = row.below.iter().flat_map(|sentence| wrapped(sentence, room));
            text.extend(lines.map(|line| format!("{:INDENT$}{line}\n", "")));
        }
        let f = &self.report.figures;
        let equal = f.digests_compared.saturating_sub(f.divergences);
        text += &format!(
            "\n  {} connection, {} resets; {} acknowledged writes, {} lost, {} wrong;\n  {} digests equal\n",
            f.connections_opened,
            f.connections_reset,
            amount::grouped(f.writes_acked),
            f.writes_lost,
            f.reads_wrong,
            amount::grouped(equal),
        );
        text + &format!("  {}\n", self.report.verdict(screen))
    }
}

/// A sentence in lines of so many columns; a sentence has two more in all its lines but the first.
fn wrapped(sentence: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The steps with what the client waited in each.
fn rows(lived: &Lived, failovers: &[Failover]) -> Vec<Row> {
    let ends = lived.steps.iter().skip(1).map(|step| step.at);
    let ends = ends.chain([Duration::MAX]);
    let rows = lived.steps.iter().zip(ends).map(|(step, end)| Row {
        at_ms: ms(step.at),
        hosts: hosts(step.place),
        what: told(step, lived, failovers),
        client_gap_ms: gap(&lived.loaded.seen, step.at, end),
        below: match step.what {
            What::Alone => lived.reasons.clone(),
            _ => Vec::new(),
        },
    });
    rows.collect()
}

/// What happened in a step, with its figures.
fn told(step: &Step, lived: &Lived, failovers: &[Failover]) -> String {
    let text = sentence(step);
    match step.what {
        What::Killed { kill, .. } => match failovers.get(kill) {
            Some(it) => format!(
                "{text}: found {:.0}, lease {:.0}, claim {:.0} ms",
                it.suspected_ms,
                it.claimed_ms - it.suspected_ms,
                it.live_ms - it.claimed_ms
            ),
            None => text,
        },
        What::Protected => {
            let before = lived.steps.iter().filter(|other| other.at < step.at);
            let number = before.filter(|other| other.what == What::Protected).count();
            match lived.protected_again.get(number) {
                Some(took) => format!("{text}, {:.1} s later", took.as_secs_f64()),
                None => text,
            }
        }
        What::HandedOver => format!("{text}, in {:.0} ms", ms(lived.handed_over)),
        What::Begun | What::Alone | What::Revived { .. } => text,
    }
}

fn hosts(place: Place) -> Vec<&'static str> {
    let backup = place.backup.map(name);
    std::iter::once(name(place.primary)).chain(backup).collect()
}

/// The longest time without an acknowledged write that ended in this span, in milliseconds.
fn gap(seen: &[Seen], from: Duration, until: Duration) -> f64 {
    let ends_there = |_, end| (from..until).contains(&end);
    let gaps = seen.iter().map(|seen| longest_gap_ms(&seen.acks, &ends_there));
    gaps.fold(0.0, f64::max)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(acks_ms: &[u64]) -> Seen {
        Seen {
            acks: acks_ms.iter().copied().map(Duration::from_millis).collect(),
            ..Seen::default()
        }
    }

    #[test]
    fn a_gap_belongs_to_the_step_in_which_it_ends() {
        // A host dies at 100, and its clients go on at 600.
        let seen = [seen(&[10, 20, 99, 600, 610, 640])];
        let ms = Duration::from_millis;
        assert_eq!(gap(&seen, ms(0), ms(100)), 79.0);
        assert_eq!(gap(&seen, ms(100), ms(605)), 501.0);
        assert_eq!(gap(&seen, ms(605), Duration::MAX), 30.0);
        assert_eq!(gap(&seen, ms(700), Duration::MAX), 0.0);
    }

    #[test]
    fn a_sentence_is_wrapped_between_its_words() {
        assert_eq!(wrapped("one two three", 80), ["one two three"]);
        assert_eq!(wrapped("one two three", 7), ["one two", "  three"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abcdefgh", "  ij"]);
    }
}
