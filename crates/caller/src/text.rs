//! A status as people read it: a line for each process, or a page for one. Nothing here is for programs,
//! which read JSON; the words may change.

use std::time::Duration;

use replica::Span;
use report::{RoleWord, StateWord, amount};

use control::Status;

/// The sign before a state; `utf8`: may it be another than ASCII's?
#[must_use]
pub fn sign(state: StateWord, utf8: bool) -> &'static str {
    match (state, utf8) {
        (StateWord::Protected, true) => "●",
        (StateWord::Protected, false) => "*",
        (StateWord::Starting, true) => "◐",
        (StateWord::Starting, false) => ">",
        (StateWord::NeedsBackup, true) => "▲",
        (StateWord::NeedsBackup, false) => "!",
        (StateWord::Suspended, true) => "‖",
        (StateWord::Suspended, false) => "=",
        (StateWord::Unprotected, true) => "○",
        (StateWord::Unprotected, false) => "o",
        (StateWord::Off, true) => "■",
        (StateWord::Off, false) => "-",
        (StateWord::Standing, true) => "✖",
        (StateWord::Standing, false) => "x",
        (StateWord::Unknown, _) => "?",
    }
}

/// What a process is to its VM, in a word.
fn role(role: Option<RoleWord>) -> &'static str {
    match role {
        Some(RoleWord::Solo) => "alone",
        Some(RoleWord::Primary) => "primary",
        Some(RoleWord::Apprentice) => "backup-to-be",
        Some(RoleWord::Backup) => "backup",
        Some(RoleWord::Claiming) => "claimant",
        Some(RoleWord::Handing) => "handing over",
        Some(RoleWord::Halted) => "halted",
        None => "-",
    }
}

/// For how long something has been, up to `now`; both in nanoseconds since 1970.
#[must_use]
pub fn since(wall_ns: u64, now_ns: u64) -> String {
    match wall_ns {
        0 => "-".into(),
        _ => amount::lasted(Span(now_ns.saturating_sub(wall_ns))),
    }
}

/// A table with a line for each process, and its reasons below it.
#[must_use]
pub fn list(all: &[Status], utf8: bool) -> String {
    let head = ["VM", "ROLE", "GUEST", "PROTECTION", "PEER", "LAG", "PID", "SINCE"];
    let row = |status: &Status| {
        let state = status.protection.state;
        let lag = status.figures.as_ref().filter(|_| state == StateWord::Protected);
        [
            status.name.clone(),
            role(status.role).into(),
            status.guest.as_str().into(),
            format!("{} {}", sign(state, utf8), state.as_str()),
            status.peer.clone().unwrap_or_else(|| "-".into()),
            lag.map_or("-".into(), |figures| format!("{:.1} ms", figures.lag_ms)),
            match status.pid {
                0 => "-".into(),
                pid => pid.to_string(),
            },
            since(status.protection.since_wall_ns, status.observed.wall_ns),
        ]
    };
    let below = |status: &Status| {
        let reasons = status.protection.reasons.iter();
        reasons.map(|reason| reason.sentence.clone()).collect()
    };
    let rows = all.iter().map(|status| (row(status), below(status)));
    table(head, &rows.collect::<Vec<_>>())
}

/// A table: its head, and its rows, each with sentences that stand on lines of their own below it.
#[must_use]
pub fn table<const N: usize>(head: [&str; N], rows: &[([String; N], Vec<String>)]) -> String {
    let mut widths = head.map(str::len);
    for (row, _) in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let laid = |cells: &[String]| {
        let cells = cells.iter().zip(widths);
        let line: Vec<String> = cells.map(|(cell, width)| format!("{cell:width$}")).collect();
        line.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = laid(&head.map(str::to_owned));
    for (row, below) in rows {
        text += &laid(row);
        for sentence in below {
            text += &format!("      {sentence}\n");
        }
    }
    text
}

/// The reasons of a status, each on a line.
fn why(status: &Status) -> String {
    let reasons = status.protection.reasons.iter();
    reasons
        .map(|reason| format!("      {}\n", reason.sentence))
        .collect()
}

/// All that people want to know of one process.
#[must_use]
pub fn detail(status: &Status, utf8: bool) -> String {
    let state = status.protection.state;
    let mut text = format!("{} {}: {}", sign(state, utf8), status.name, state.as_str());
    if status.pid != 0 {
        text += &format!(", {} here (pid {})", role(status.role), status.pid);
    }
    if let Some(peer) = &status.peer
        && state == StateWord::Protected
    {
        let other = match status.role {
            Some(RoleWord::Backup) => "primary",
            _ => "backup",
        };
        text += &format!(", {other} {peer}");
    }
    if status.epoch != 0 {
        text += &format!(", epoch {}", status.epoch);
    }
    text += "\n";
    text += &why(status);
    let needs = matches!(state, StateWord::NeedsBackup | StateWord::Unprotected);
    if needs && status.is_live() {
        let name = &status.name;
        text += &format!("      `lockstep protect {name} --to HOST:PORT` makes a backup\n");
    }
    let mut line = |title: &str, words: String| text += &format!("{title:>10}  {words}\n");
    let Some(f) = &status.figures else {
        line("Guest", status.guest.as_str().into());
        return text;
    };
    let paused = |from| format!(" for {},", since(from, status.observed.wall_ns));
    line(
        "Guest",
        format!(
            "{}{} here for {}, {} M steps/s, process {}",
            status.guest.as_str(),
            status.paused_since_wall_ns.map(paused).unwrap_or_default(),
            amount::lasted(Span(Duration::from_secs_f64(f.up_s.max(0.0)).as_nanos() as u64)),
            amount::grouped(f.steps_per_second / 1_000_000),
            amount::bytes(f.resident_bytes >> 20 << 20)
        ),
    );
    if state == StateWord::Protected {
        line(
            "Log",
            format!(
                "{:.1} ms behind, {:.2} Mbit/s, round trip {:.0} us (p99 {:.0} us), {} digests equal",
                f.lag_ms,
                f.log_mbit_s,
                f.round_trip.p50_us,
                f.round_trip.p99_us,
                amount::grouped(f.digests)
            ),
        );
        line(
            "Outputs",
            format!(
                "delay {:.0} us (p99 {:.0} us), {} held",
                f.output_delay.p50_us, f.output_delay.p99_us, f.outputs_held
            ),
        );
    }
    if let Some(arbiter) = &status.arbiter {
        line("Arbiter", arbiter.clone());
    }
    let ailing = ailments(status).into_iter();
    ailing.for_each(|(title, words)| line(title, words));
    line("Seen", format!("{} ms ago", status.observed.age_ms));
    text
}

/// What is wrong with this side, each with a title. Disks and an arbiter that are away are not repeated: they
/// are among the reasons.
fn ailments(status: &Status) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    let Some(health) = &status.health else { return told };
    let lasted = |since_wall_ns| since(since_wall_ns, status.observed.wall_ns);
    if let (Some(since), Some(why)) = (health.net_down_since_wall_ns, &health.net_down_why) {
        let words = format!("leads nowhere from here for {}: {why}", lasted(since));
        told.push(("Network", words));
    }
    if let Some(since) = health.loaded_since_wall_ns {
        let lasted = lasted(since);
        let words = format!("busy for {lasted}: the guest gets less than 80 % of the time that it wants");
        told.push(("Host", words));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::Health;
    use report::Reason;

    #[test]
    fn a_page_shows_of_a_sides_health_what_is_wrong_and_nothing_else() {
        let mut status = Status::only("web", 1, StateWord::Protected, Reason::new("", ""));
        status.figures = Some(Box::default());
        status.observed.wall_ns = 9_000_000_000;
        status.health = Some(Health::default());
        let text = detail(&status, false);
        assert!(!text.contains("Network") && !text.contains("Host"), "{text}");
        status.health = Some(Health {
            net_down: Some(true),
            net_down_since_wall_ns: Some(2_000_000_000),
            net_down_why: Some("the gateway does not answer".into()),
            loaded: true,
            loaded_since_wall_ns: Some(4_000_000_000),
            ..Health::default()
        });
        let text = detail(&status, false);
        for line in [
            "   Network  leads nowhere from here for 7.0 s: the gateway does not answer\n",
            "      Host  busy for 5.0 s: the guest gets less than 80 % of the time that it wants\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn a_status_of_an_older_release_has_no_health() {
        let status = Status::only("web", 1, StateWord::Off, Reason::new("", ""));
        let mut object = serde_json::to_value(&status).unwrap();
        object.as_object_mut().unwrap().remove("health");
        assert_eq!(serde_json::from_value::<Status>(object).unwrap(), status);
    }
}
