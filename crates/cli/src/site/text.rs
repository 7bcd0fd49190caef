//! What people read of a site: a table of its VMs, a page about one, a table of its hosts. Nothing here is
//! for programs, which read JSON; the words may change.

use agent::types::{HostObject, OperationObject, SiteObject, VerdictObject, VmObject};
use caller::{since, table};
use report::{GuestWord, StateWord, amount};

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

/// The state with its sign, and a mark if something is not as it should be though the VM goes on.
fn state(vm: &VmObject, utf8: bool) -> String {
    let word = vm.protection.state;
    let mark = if word == StateWord::Protected && !vm.protection.flags.is_empty() {
        " (!)"
    } else {
        ""
    };
    format!("{} {}{mark}", caller::sign(word, utf8), word.as_str())
}

/// How a VM is, in the cells of a line: its name, its guest, its protection, both hosts, and why it is so.
#[must_use]
pub fn cells(vm: &VmObject) -> [String; 6] {
    let host = |replica: &Option<agent::types::ReplicaObject>| {
        or_dash(replica.as_ref().map(|replica| replica.host.clone()))
    };
    let reasons = vm
        .protection
        .reasons
        .iter()
        .map(|reason| reason.sentence.as_str());
    [
        vm.name.clone(),
        vm.guest.as_str().to_owned(),
        vm.protection.state.as_str().to_owned(),
        host(&vm.primary),
        host(&vm.backup),
        reasons.collect::<Vec<_>>().join("; "),
    ]
}

/// The first line of every table: how the site itself is.
#[must_use]
pub fn site(site: &SiteObject) -> String {
    let arbiter = match &site.arbiter_away {
        None => "arbiter ok".to_owned(),
        Some(why) => format!("arbiter away ({why})"),
    };
    let directory = match &site.directory_away {
        None => "directory ok".to_owned(),
        Some(why) => {
            let since = &site.directory_away_since;
            format!("directory away since {since} ({why}): wishes and places may be old, VMs run on")
        }
    };
    let mut text = format!(
        "{} of {} hosts answer, {arbiter}, {directory}; seen by {}\n",
        site.hosts_ready, site.hosts, site.host
    );
    for unreadable in &site.unreadable {
        text += &format!("      this agent cannot read {unreadable}\n");
    }
    text
}

/// All VMs of a site.
#[must_use]
pub fn vms(all: &[VmObject], utf8: bool, now_ns: u64) -> String {
    let rows = all.iter().map(|vm| {
        let is_protected = vm.protection.state == StateWord::Protected;
        let figures = vm.primary.as_ref().and_then(|primary| primary.figures.as_ref());
        let figure = |text: fn(&report::Figures) -> String| {
            or_dash(figures.filter(|_| is_protected).map(|figures| text(figures)))
        };
        let cells = [
            vm.name.clone(),
            vm.guest.as_str().to_owned(),
            state(vm, utf8),
            or_dash(vm.primary.as_ref().map(|primary| primary.host.clone())),
            or_dash(vm.backup.as_ref().map(|backup| backup.host.clone())),
            figure(|figures| format!("{:.1} ms", figures.lag_ms)),
            figure(|figures| format!("{:.1} Mbit/s", figures.log_mbit_s)),
            since(vm.protection.since_wall_ns, now_ns),
        ];
        let reasons = vm.protection.reasons.iter().map(|reason| reason.sentence.clone());
        (cells, reasons.collect())
    });
    let head = [
        "VM",
        "GUEST",
        "PROTECTION",
        "PRIMARY",
        "BACKUP",
        "LAG",
        "LOG",
        "SINCE",
    ];
    table(head, &rows.collect::<Vec<_>>())
}

/// All that people want to know of one VM.
#[must_use]
pub fn vm(vm: &VmObject, utf8: bool, now_ns: u64) -> String {
    let word = vm.protection.state;
    let mut text = format!("{} {}: {}", caller::sign(word, utf8), vm.name, word.as_str());
    if let Some(primary) = &vm.primary {
        text += &format!(", primary {}", primary.host);
    }
    if let Some(backup) = &vm.backup {
        text += &format!(", backup {}", backup.host);
    }
    text += &format!(", epoch {}\n", vm.epoch);
    for reason in &vm.protection.reasons {
        text += &format!("      {}\n", reason.sentence);
    }
    let mut line = |title: &str, what: String| text += &format!("{title:>10}  {what}\n");
    line("Since", since(vm.protection.since_wall_ns, now_ns));
    let memory = amount::bytes(vm.memory_bytes);
    line(
        "Guest",
        format!(
            "{}, {memory}, settings of generation {}",
            vm.guest.as_str(),
            vm.generation
        ),
    );
    for (title, replica) in [("Primary", &vm.primary), ("Backup", &vm.backup)] {
        let Some(replica) = replica else {
            continue;
        };
        let figures = replica.figures.as_ref();
        let figures = figures.map_or(String::new(), |figures| {
            format!(
                ", {} M steps/s, {} resident",
                figures.steps_per_second / 1_000_000,
                amount::rounded(figures.resident_bytes)
            )
        });
        line(title, format!("{} (pid {}){figures}", replica.host, replica.pid));
    }
    let paired = vm.backup.as_ref().and(vm.primary.as_ref());
    if let Some(figures) = paired.and_then(|primary| primary.figures.as_ref()) {
        line(
            "Log",
            format!(
                "{:.1} Mbit/s, {:.1} ms behind, {} digests equal",
                figures.log_mbit_s, figures.lag_ms, figures.digests
            ),
        );
        let delay = &figures.output_delay;
        line(
            "Outputs",
            format!(
                "delay {:.0} us (p99 {:.0} us), {} held",
                delay.p50_us, delay.p99_us, figures.outputs_held
            ),
        );
    }
    if let Some(operation) = &vm.operation {
        line("Operation", self::operation(operation));
    }
    if let Some(seen) = &vm.observed {
        line(
            "Seen",
            format!("{:.1} s ago, as {} says", seen.age_ms as f64 / 1e3, seen.by),
        );
    }
    text
}

/// All hosts of a site.
#[must_use]
pub fn hosts(all: &[HostObject]) -> String {
    let rows = all.iter().map(|host| {
        let drained = match host.drained_by.as_str() {
            "" => Vec::new(),
            by => vec![format!(
                "is being drained by {by}; `lockstep undrain {}` ends that",
                host.name
            )],
        };
        let names = |names: &[String]| match names {
            [] => "-".to_owned(),
            names => names.join(" "),
        };
        let cells = [
            host.name.clone(),
            host.state.clone(),
            or_dash(host.age_ms.map(|age| format!("{:.1} s", age as f64 / 1e3))),
            amount::rounded(host.free_bytes),
            amount::rounded(host.memory_bytes),
            names(&host.primaries),
            names(&host.backups),
            host.version.clone(),
        ];
        (cells, drained)
    });
    let head = [
        "HOST",
        "STATE",
        "HEARD",
        "FREE",
        "MEMORY",
        "PRIMARIES",
        "BACKUPS",
        "VERSION",
    ];
    table(head, &rows.collect::<Vec<_>>())
}

/// How each host is judged for a VM's backup.
#[must_use]
pub fn verdicts(all: &[VerdictObject]) -> String {
    let lines = all.iter().map(|verdict| {
        let round_trip = verdict.round_trip_us;
        let away = round_trip.map_or(String::new(), |us| format!(", {:.1} ms away", us as f64 / 1e3));
        match (verdict.fits, verdict.chosen) {
            (true, chosen) => {
                let free = amount::rounded(verdict.free_bytes);
                let word = if chosen { "would be chosen" } else { "would do" };
                format!("ok    {} {word}: {free} free{away}\n", verdict.host)
            }
            (false, _) => {
                let reasons = verdict
                    .reasons
                    .iter()
                    .map(|reason| format!("no    {}\n", reason.sentence));
                reasons.collect()
            }
        }
    });
    lines.collect()
}

/// An operation, on one line.
#[must_use]
pub fn operation(operation: &OperationObject) -> String {
    let state = serde_json::to_value(operation.state).unwrap_or_default();
    let mut text = format!(
        "{} {}: {} by {} at {}, {}",
        operation.kind,
        operation.vm,
        state.as_str().unwrap_or_default(),
        operation.by,
        operation.started,
        operation.id
    );
    if !operation.comment.is_empty() {
        text += &format!(" \"{}\"", operation.comment);
    }
    for reason in &operation.reasons {
        text += &format!("; {}", reason.sentence);
    }
    text
}

/// Is all as it is wanted with this VM?
#[must_use]
pub fn is_as_wanted(vm: &VmObject) -> bool {
    use StateWord::{Off, Protected, Suspended, Unprotected};
    let is_off_as_wanted = vm.protection.state != Off || vm.power == agent::types::PowerWord::Off;
    matches!(vm.protection.state, Protected | Suspended | Unprotected | Off)
        && is_off_as_wanted
        && vm.guest != GuestWord::Unknown
}
