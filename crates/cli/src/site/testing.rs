//! `lockstep test`: a half of a VM is killed, as if its host had died, and what that took is told: by the
//! events of the half that was left, and by a client that has connected all the time.

use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::Instant;

use agent::types::{OperationObject, OperationState, VmObject};
use anyhow::{Context, Result, anyhow};
use report::{Failover, Happening, History, Line};
use serde::Serialize;
use serde_json::json;

use super::client::Site;
use super::probe::{Probe, Seen};
use super::waiting::Waited;
use crate::args::TestArgs;
use crate::exit::{STOPPED, TIME_IS_OVER};
use crate::{usage, vm_verbs};

/// What a test has shown. Times are milliseconds since the last sign of life of the half that was killed;
/// null: the events of the half that was left do not tell it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Shown<'a> {
    vm: &'a str,
    test: &'a str,
    operation: &'a str,
    killed_host: String,
    killed_pid: u32,
    live_host: String,
    backup_host: Option<String>,
    #[serde(flatten)]
    took: Took,
    probe: Option<Seen>,
}

/// What a failover took, in milliseconds since the last sign of life of the half that was killed; `None`:
/// that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Took {
    /// When the half that was left found out.
    suspected_ms: Option<f64>,
    /// When that half asked the arbiter.
    asked_ms: Option<f64>,
    /// When that half was live.
    live_ms: Option<f64>,
    /// When the VM was protected again.
    protected_ms: Option<f64>,
}

/// Has a half of a VM killed, waits until the VM is protected again, and tells what that took.
pub fn test(args: &TestArgs, of_owner: bool) -> Result<ExitCode> {
    let (name, site) = (&args.name, Site::needed()?);
    let (verb, what) = match of_owner {
        true => ("test failover", "primary"),
        false => ("test backup", "backup"),
    };
    let before = site.fresh_vm(name)?;
    let half = if of_owner { &before.primary } else { &before.backup };
    let (host, pid) = half
        .as_ref()
        .map_or((String::new(), 0), |half| (half.host.clone(), half.pid));
    // Of one that is not, the agent says so.
    let is_protected = before.protection.state == report::StateWord::Protected;
    let warning = format!(
        "the {what} of {name} on {host} (process {pid}) is killed, as if its host had died.\nTo do that"
    );
    vm_verbs::confirm(verb, name, args.yes, &warning)?;
    let probe = args.probe.as_deref().filter(|_| is_protected);
    let line = args.probe_line.as_deref();
    let probe = probe.map(|to| begin_probe(to, line));
    let probe = probe.transpose()?;
    let path = format!("/v1/vms/{name}/{}", verb.replace(' ', "-"));
    let change = site.change("POST", &path, &json!({ "anyway": args.anyway }))?;
    let operation = change
        .operation
        .context("the agent has begun nothing, and does not say why")?;
    announce(args, what, &host, pid);
    let began = Instant::now();
    let waited = site.await_end(&operation, args.timeout)?;
    let id = &operation.id;
    let ended = match waited {
        Waited::Ended(ended) => ended,
        Waited::TimeIsOver => {
            let seconds = began.elapsed().as_secs();
            tell!("lockstep: {name} is not protected again after {seconds} s; `{verb}` goes on as {id}");
            return Ok(ExitCode::from(TIME_IS_OVER));
        }
        Waited::Stopped => {
            tell!("lockstep: `{verb}` of {name} goes on as {id}");
            return Ok(ExitCode::from(STOPPED));
        }
    };
    let seen = probe.and_then(Probe::end);
    if ended.state != OperationState::Done {
        return Ok(failed(args, verb, &ended));
    }
    let after = site.fresh_vm(name)?;
    let lines = site.text(&format!("/v1/vms/{name}/lines"))?;
    let shown = Shown {
        vm: name.as_str(),
        test: verb,
        operation: id,
        killed_host: host,
        killed_pid: pid,
        live_host: after.primary.as_ref().map_or(String::new(), |it| it.host.clone()),
        backup_host: after.backup.as_ref().map(|it| it.host.clone()),
        took: took(&lines, before.epoch + 1, pid_of(&after)).unwrap_or_default(),
        probe: seen,
    };
    match args.json {
        true => say!("{}", serde_json::to_string(&shown)?),
        false => say!("{}", text(&shown)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells what is killed.
fn announce(args: &TestArgs, what: &str, host: &str, pid: u32) {
    if !args.json {
        let name = &args.name;
        say!(
            "killing the {what} of {name} on {host} (process {pid}): the real thing, as if its host had died"
        );
    }
}

/// Tells why a test has failed.
fn failed(args: &TestArgs, verb: &str, ended: &OperationObject) -> ExitCode {
    tell!("lockstep: `{verb}` of {} has failed", args.name);
    for reason in &ended.reasons {
        tell!("      {}", reason.sentence);
    }
    ExitCode::FAILURE
}

fn begin_probe(to: &str, line: Option<&str>) -> Result<Probe> {
    let mut addresses = to
        .to_socket_addrs()
        .map_err(|error| usage::mark(anyhow!("`--probe {to}`: {error}")))?;
    let address = addresses.next().context("the name of the probe has no address")?;
    Probe::begin(address, line)
        .with_context(|| format!("nobody answers at {to}, so there is nothing to probe; nothing was changed"))
}

fn pid_of(vm: &VmObject) -> u32 {
    vm.primary.as_ref().map_or(0, |primary| primary.pid)
}

/// What it took, by the events of the process that was left, which has claimed this epoch then; `None`: they
/// do not tell of that claim, or not of what came before it.
fn took(lines: &str, epoch: u64, pid: u32) -> Option<Took> {
    let lines: Vec<Line> = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let is_claim =
        |line: &Line| matches!(line.happening, Happening::Claim { epoch: asked } if asked == epoch);
    let claim = lines.iter().position(is_claim)?;
    let mut before = lines.iter().take(claim).rev();
    let killed_ns = before.find_map(|line| match line.happening {
        // All times count from the last sign of life.
        Happening::Suspected { after_ms, .. } => Some(line.time_ns.saturating_sub((after_ms * 1e6) as u64)),
        _ => None,
    })?;
    let Failover {
        suspected_ms,
        claimed_ms,
        live_ms,
        protected_ms,
        ..
    } = History::from(lines).failover(killed_ns, pid, 0);
    // Where a history says nothing it has 0, and nothing is over at the very moment of the last sign of life.
    let known = |ms: f64| (ms > 0.0).then_some(ms);
    Some(Took {
        suspected_ms: known(suspected_ms),
        asked_ms: known(claimed_ms),
        live_ms: known(live_ms),
        protected_ms: known(protected_ms),
    })
}

/// What people read of it.
fn text(shown: &Shown<'_>) -> String {
    let (live, ms) = (&shown.live_host, |from: f64, to: f64| (to - from).max(0.0));
    let took = &shown.took;
    let mut text = match (took.suspected_ms, took.asked_ms, took.live_ms) {
        (Some(suspected), Some(asked), Some(at)) => format!(
            "  found out after {suspected:.0} ms, ready to ask {:.0} ms later, arbiter {:.0} ms: live on \
             {live} after {at:.0} ms",
            ms(suspected, asked),
            ms(asked, at),
        ),
        _ => format!("  live on {live}; its events do not tell after what time"),
    };
    if let Some(probe) = &shown.probe {
        text += &format!(
            "\n  a client that asks every 5 ms: longest gap {:.0} ms, {} of {} questions without an answer",
            probe.longest_gap_ms, probe.failed, probe.tried
        );
    }
    if let Some(backup) = &shown.backup_host {
        text += &format!("\n  protected again, backup {backup}");
        if let Some(ms) = took.protected_ms {
            text += &format!(", after {:.1} s", ms / 1e3);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ms: u64, event: &str) -> String {
        let time_ns = ms * 1_000_000;
        format!("{{\"time_ns\":{time_ns},\"wall_ns\":{time_ns},\"vm\":\"web\",\"pid\":7,{event}}}\n")
    }

    #[test]
    fn what_a_failover_took_is_reckoned_from_the_last_sign_of_life() {
        let suspected = "\"event\":\"suspected\",\"whom\":\"primary\",\"peer\":\"a\",\"why\":\"silence\",\
                         \"reason\":null,\"after_ms\":";
        let role = |role: &str| {
            format!(
                "\"event\":\"role\",\"role\":\"{role}\",\"epoch\":3,\"suspicion\":null,\"detection_ms\":0.0,\
                 \"go_live_ms\":0.0"
            )
        };
        let lines = [
            // An earlier one is not meant.
            line(100, &format!("{suspected}10.0")),
            line(120, "\"event\":\"claim\",\"epoch\":2"),
            line(1_009, &format!("{suspected}9.0")),
            line(1_010, &role("claiming")),
            line(1_490, "\"event\":\"claim\",\"epoch\":3"),
            line(1_500, &role("solo")),
        ];
        let took = took(&lines.concat(), 3, 7);
        let expected = Took {
            suspected_ms: Some(10.0),
            asked_ms: Some(490.0),
            live_ms: Some(500.0),
            // Nothing tells of a backup, so it has not come about after 0 ms.
            protected_ms: None,
        };
        assert_eq!(took, Some(expected));
        assert_eq!(super::took("", 3, 7), None);
        // The claim of this epoch is not told, and what an earlier one took is none of its.
        assert_eq!(super::took(&lines.concat(), 4, 7), None);
    }

    /// A test of the VM shop that took so long.
    fn shown(took: Took) -> Shown<'static> {
        Shown {
            vm: "shop",
            test: "test failover",
            operation: "1",
            killed_host: "a".into(),
            killed_pid: 7,
            live_host: "b".into(),
            backup_host: Some("c".into()),
            took,
            probe: None,
        }
    }

    #[test]
    fn people_read_what_it_took_and_what_a_client_saw() {
        let mut shown = shown(Took {
            suspected_ms: Some(9.0),
            asked_ms: Some(485.0),
            live_ms: Some(503.0),
            protected_ms: Some(11_800.0),
        });
        let without = text(&shown);
        assert_eq!(
            without,
            "  found out after 9 ms, ready to ask 476 ms later, arbiter 18 ms: live on b after 503 ms\n  \
             protected again, backup c, after 11.8 s"
        );
        shown.probe = Some(Seen {
            tried: 2_000,
            failed: 3,
            longest_gap_ms: 507.2,
        });
        assert!(text(&shown).contains("longest gap 507 ms, 3 of 2000 questions without an answer\n"));
    }

    #[test]
    fn what_is_not_known_is_no_zero() {
        let shown = shown(Took::default());
        assert_eq!(
            text(&shown),
            "  live on b; its events do not tell after what time\n  protected again, backup c"
        );
        let told = serde_json::to_value(&shown).unwrap();
        assert!(
            told["live_ms"].is_null() && told["suspected_ms"].is_null(),
            "{told}"
        );
    }
}
