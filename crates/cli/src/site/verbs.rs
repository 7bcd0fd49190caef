//! The commands themselves. Each has its wish put down by the agent, waits until it is so, and prints one
//! line of what became of it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use agent::types::{
    ChangeObject, Happened, HostObject, OperationObject, OperationState, PowerWord, ProtectionWord,
    SiteObject, VerdictObject, VmObject,
};
use anyhow::{Context, Result};
use replica::VmName;
use report::StateWord;
use serde_json::json;

use super::changes::Changes;
use super::client::Site;
use super::text;
use super::waiting::Waited;
use crate::args::{
    CheckArgs, CreateArgs, DrainArgs, DryRunArgs, MoveArgs, Patience, StartVmArgs, WaitArgs, Wanted,
};
use crate::exit::{NOT_AS_WANTED, STOPPED, TIME_IS_OVER};
use crate::usage;
use crate::vm_file::VmFile;
use membership::asking::AskError;
use terminal::Screen;

/// A look at whether an agent that says nothing has gone.
const EVENT_PATIENCE: Duration = Duration::from_secs(5);
/// VMs of a drained host that have no way to another one for so long will have none soon. A host that has
/// just refused is asked again meanwhile.
const STUCK_PATIENCE: Duration = Duration::from_secs(30);
/// A VM that stands or runs again does so soon after the wish.
const SOON: Duration = Duration::from_secs(20);

/// Prints how the VMs of the site are, or one.
pub fn status(site: &Site, name: Option<&VmName>, json: bool) -> Result<ExitCode> {
    let all: Vec<VmObject> = match name {
        Some(name) => vec![site.vm(name)?],
        None => site.get("/v1/vms")?,
    };
    let (screen, now_ns) = (Screen::of_stdout(), os::sys::clock::wall_ns());
    if json {
        for vm in &all {
            say!("{}", serde_json::to_string(vm)?);
        }
    } else if let (Some(_), [vm]) = (name, all.as_slice()) {
        say!("{}", text::vm(vm, screen.utf8, now_ns).trim_end());
    } else {
        let head: SiteObject = site.get("/v1/site")?;
        say!("{}", text::site(&head).trim_end());
        match all.as_slice() {
            [] => say!("there is no VM; `lockstep create VM.toml` makes one"),
            all => say!("{}", text::vms(all, screen.utf8, now_ns).trim_end()),
        }
    }
    let is_well = all.iter().all(text::is_as_wanted);
    Ok(ExitCode::from(if is_well { 0 } else { NOT_AS_WANTED }))
}

/// Prints the hosts of the site.
pub fn hosts(json: bool) -> Result<ExitCode> {
    let site = Site::needed()?;
    let all: Vec<HostObject> = site.get("/v1/hosts")?;
    if json {
        for host in &all {
            say!("{}", serde_json::to_string(host)?);
        }
    } else {
        let head: SiteObject = site.get("/v1/site")?;
        say!("{}", text::site(&head).trim_end());
        say!("{}", text::hosts(&all).trim_end());
    }
    let is_well = all.iter().all(|host| host.state == "ready");
    Ok(ExitCode::from(if is_well { 0 } else { NOT_AS_WANTED }))
}

/// Tells what was changed, or would be, and by which hosts.
pub fn tell_change(change: &ChangeObject) {
    say!("{}", change.sentence);
    if !change.hosts.is_empty() {
        say!("{}", text::verdicts(&change.hosts).trim_end());
    }
}

/// Makes a VM one of the site's, or changes its settings.
pub fn create(args: &CreateArgs) -> Result<ExitCode> {
    let site = Site::needed()?.dry_run(args.dry_run.is_wanted);
    let toml = VmFile::whole_text(&args.file)?;
    let protection = if args.unprotected {
        ProtectionWord::Off
    } else {
        ProtectionWord::On
    };
    let body = json!({ "toml": toml, "protection": protection, "comment": args.comment.comment });
    let change = site.change("POST", "/v1/vms", &body)?;
    tell_change(&change);
    Ok(ExitCode::SUCCESS)
}

/// Has a VM be none of the site's any more.
pub fn delete(name: &VmName, dry_run: DryRunArgs) -> Result<ExitCode> {
    let site = Site::needed()?.dry_run(dry_run.is_wanted);
    let change = site.change("DELETE", &format!("/v1/vms/{name}"), &json!({}))?;
    tell_change(&change);
    Ok(ExitCode::SUCCESS)
}

/// Starts a VM.
pub fn start(args: &StartVmArgs) -> Result<ExitCode> {
    let site = Site::needed()?.dry_run(args.dry_run.is_wanted);
    let name = &args.name;
    let body = json!({ "wanted": PowerWord::On, "on": args.on, "comment": args.comment.comment });
    let change = site.change("PUT", &format!("/v1/vms/{name}/power"), &body)?;
    let code = finish(&site, &change, &args.patience, |vm| {
        let host = vm.primary.as_ref().map_or("", |primary| primary.host.as_str());
        format!("{} runs on {host}", vm.name)
    })?;
    match args.wait_for {
        Some(Wanted::Protected) if code == 0 && !args.patience.no_wait && !change.dry_run => {
            await_state(&site, name, Wanted::Protected, args.patience.timeout)
        }
        _ => Ok(ExitCode::from(code)),
    }
}

/// Switches a VM off.
pub fn stop(site: &Site, name: &VmName, hard: bool, timeout: Duration) -> Result<ExitCode> {
    let body = json!({ "wanted": PowerWord::Off, "hard": hard });
    let change = site.change("PUT", &format!("/v1/vms/{name}/power"), &body)?;
    let patience = Patience {
        no_wait: false,
        timeout,
    };
    let code = finish(site, &change, &patience, |vm| format!("{} is off", vm.name))?;
    if code == TIME_IS_OVER && !hard {
        tell!("lockstep: {name} has not switched off; `lockstep stop {name} --hard` pulls its plug");
    }
    Ok(ExitCode::from(code))
}

/// Has a VM's guest stand, or run on.
pub fn power(site: &Site, name: &VmName, wanted: PowerWord) -> Result<ExitCode> {
    let body = json!({ "wanted": wanted });
    let change = site.change("PUT", &format!("/v1/vms/{name}/power"), &body)?;
    if change.dry_run {
        tell_change(&change);
        return Ok(ExitCode::SUCCESS);
    }
    let is_paused = |vm: &VmObject| vm.protection.flags.contains(&report::FlagWord::Paused);
    let is_so = |vm: &VmObject| is_paused(vm) == (wanted == PowerWord::Paused);
    match site.await_vm(name, SOON, &is_so)? {
        Some((true, _)) => {
            tell_change(&change);
            Ok(ExitCode::SUCCESS)
        }
        Some((false, vm)) => {
            tell!(
                "lockstep: {} after {} s; it goes on",
                state_sentence(&vm),
                SOON.as_secs()
            );
            Ok(ExitCode::from(TIME_IS_OVER))
        }
        None => Ok(ExitCode::from(STOPPED)),
    }
}

/// Has a VM be protected, or not.
pub fn protection(
    site: &Site,
    name: &VmName,
    wanted: ProtectionWord,
    to: Option<&str>,
    patience: &Patience,
) -> Result<ExitCode> {
    let body = json!({ "wanted": wanted, "to": to });
    let change = site.change("PUT", &format!("/v1/vms/{name}/protection"), &body)?;
    let code = finish(site, &change, patience, state_sentence)?;
    Ok(ExitCode::from(code))
}

/// Has the two sides of a VM change their roles, its backup move, or its reset button be pressed.
pub fn swap(
    site: &Site,
    name: &VmName,
    verb: &str,
    to: Option<&str>,
    patience: &Patience,
) -> Result<ExitCode> {
    let body = to.map_or_else(|| json!({}), |to| json!({ "to": to }));
    let change = site.change("POST", &format!("/v1/vms/{name}/{verb}"), &body)?;
    let code = finish(site, &change, patience, |vm| match verb {
        "reset" => format!("{} is reset", vm.name),
        _ => state_sentence(vm),
    })?;
    Ok(ExitCode::from(code))
}

/// Moves a VM to another host.
pub fn move_vm(args: &MoveArgs) -> Result<ExitCode> {
    let site = Site::needed()?.dry_run(args.dry_run.is_wanted);
    swap(&site, &args.name, "move", Some(&args.to), &args.patience)
}

/// Has a host emptied, and waits until it is.
pub fn drain(args: &DrainArgs) -> Result<ExitCode> {
    let site = Site::needed()?.dry_run(args.dry_run.is_wanted);
    let body = json!({ "wanted": true, "comment": args.comment.comment });
    let change = site.change("PUT", &format!("/v1/hosts/{}/drain", args.host), &body)?;
    if args.patience.no_wait || change.dry_run {
        tell_change(&change);
        return Ok(ExitCode::SUCCESS);
    }
    let (began, mut hopeless) = (Instant::now(), Hopeless::default());
    loop {
        let all: Vec<HostObject> = site.get("/v1/hosts")?;
        let host = all.iter().find(|host| host.name == args.host);
        let host = host.with_context(|| format!("{} is none of the site's hosts any more", args.host))?;
        let held: Vec<&str> = host
            .primaries
            .iter()
            .chain(&host.backups)
            .map(String::as_str)
            .collect();
        if held.is_empty() {
            say!("{} is empty", args.host);
            return Ok(ExitCode::SUCCESS);
        }
        let is_hopeless = hopeless.look(&held, &host.stuck, Instant::now());
        if is_hopeless || began.elapsed() >= args.patience.timeout {
            tell!(
                "lockstep: {} still holds {}; it goes on being drained",
                args.host,
                held.join(", ")
            );
            for name in held {
                let vm: VmObject = site.get(&format!("/v1/vms/{name}"))?;
                for reason in &vm.protection.reasons {
                    tell!("      {name}: {}", reason.sentence);
                }
            }
            return Ok(ExitCode::from(NOT_AS_WANTED));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Since when no VM of a drained host has had a way to another host.
#[derive(Default)]
struct Hopeless {
    since: Option<Instant>,
}

impl Hopeless {
    /// Looks at the VMs that the host holds and at those of them that have no way. True: none has had one for
    /// some time, in which a host that has just refused was asked again.
    fn look(&mut self, held: &[&str], stuck: &[String], now: Instant) -> bool {
        let is_so = held.iter().all(|name| stuck.iter().any(|stuck| stuck == name));
        self.since = self.since.filter(|_| is_so).or(is_so.then_some(now));
        self.since
            .is_some_and(|since| now.duration_since(since) >= STUCK_PATIENCE)
    }
}

/// Lets a host take VMs again.
pub fn undrain(host: &str, dry_run: DryRunArgs) -> Result<ExitCode> {
    let site = Site::needed()?.dry_run(dry_run.is_wanted);
    let change = site.change(
        "PUT",
        &format!("/v1/hosts/{host}/drain"),
        &json!({ "wanted": false }),
    )?;
    tell_change(&change);
    Ok(ExitCode::SUCCESS)
}

/// Says of each host whether it would do for a VM's backup.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let site = Site::needed()?;
    let query = args.to.as_ref().map_or(String::new(), |to| format!("?to={to}"));
    let verdicts: Vec<VerdictObject> = site.get(&format!("/v1/vms/{}/check{query}", args.name))?;
    if args.json {
        for verdict in &verdicts {
            say!("{}", serde_json::to_string(verdict)?);
        }
    } else {
        say!("{}", text::verdicts(&verdicts).trim_end());
    }
    let is_good = verdicts.iter().any(|verdict| verdict.fits);
    Ok(ExitCode::from(if is_good { 0 } else { 4 }))
}

/// Prints what was begun last with each VM.
pub fn operations(json: bool) -> Result<ExitCode> {
    let site = Site::needed()?;
    let all: Vec<OperationObject> = site.get("/v1/operations")?;
    for operation in &all {
        match json {
            true => say!("{}", serde_json::to_string(operation)?),
            false => say!("{}", text::operation(operation)),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what has happened on all hosts of the site, to this VM or to any, one JSON object a line; and with
/// `follow` what happens, until a signal.
pub fn events(site: &Site, name: Option<&VmName>, follow: bool) -> Result<()> {
    let mut told: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    if !follow {
        return print_events(site, name, &mut told);
    }
    let mut changes = Changes::of(site, "event");
    let mut is_away = false;
    loop {
        let next = changes.next(EVENT_PATIENCE);
        if std::mem::take(&mut is_away) && next.is_ok() {
            tell!("lockstep: the agent answers again");
        }
        match next {
            Ok(Some(next)) if next.event == "event" => {
                let happened = serde_json::from_str(&next.data).map_err(AskError::Unknown)?;
                print_event(&happened, name, &mut told)?;
            }
            // What has happened before, or was missed, is asked for.
            Ok(Some(next)) if next.event == "snapshot" => {
                if let Err(error) = print_events(site, name, &mut told) {
                    tell!("lockstep: {error:#}; it is called again and again");
                    is_away = true;
                    changes = Changes::of(site, "event");
                    changes.pause();
                }
            }
            Ok(_) => {}
            Err(AskError::Call(error)) => {
                if !is_away {
                    tell!("lockstep: {error}; it is called again and again");
                }
                is_away = true;
                changes.pause();
            }
            Err(refused) => return Err(refused.into()),
        }
    }
}

/// Prints what has happened on all hosts and was not printed yet. `told`: number and time of what was printed
/// last of each host.
fn print_events(site: &Site, name: Option<&VmName>, told: &mut BTreeMap<String, (u64, u64)>) -> Result<()> {
    let vm = name.map_or(String::new(), |name| format!("&vm={name}"));
    let all: Vec<Happened> = site.get(&format!("/v1/events?site=true{vm}"))?;
    all.iter()
        .try_for_each(|happened| print_event(happened, name, told))
}

fn print_event(
    happened: &Happened,
    name: Option<&VmName>,
    told: &mut BTreeMap<String, (u64, u64)>,
) -> Result<()> {
    let is_meant = name.is_none_or(|name| happened.vm.as_deref() == Some(name.as_str()));
    let (number, time) = (happened.number, happened.at_wall_ns);
    let last = told.entry(happened.host.clone()).or_default();
    // Numbers begin anew with each agent.
    if is_meant && (number > last.0 || time > last.1) {
        *last = (number, time.max(last.1));
        say!("{}", serde_json::to_string(happened)?);
    }
    Ok(())
}

/// Ends an operation.
pub fn cancel(id: &str, dry_run: DryRunArgs) -> Result<ExitCode> {
    let site = Site::needed()?.dry_run(dry_run.is_wanted);
    let change = site.change("DELETE", &format!("/v1/operations/{id}"), &json!({}))?;
    tell_change(&change);
    Ok(ExitCode::SUCCESS)
}

/// Has the record of a VM's epoch closed, if `confirm` agrees, which hears where the record has it run.
pub fn release(
    site: &Site,
    name: &VmName,
    epoch: u64,
    confirm: impl Fn(&str) -> Result<()>,
) -> Result<ExitCode> {
    let path = format!("/v1/vms/{name}/release");
    let body = json!({ "epoch": epoch });
    let asked = site.clone().dry_run(true).change("POST", &path, &body)?;
    let change = if asked.already {
        asked
    } else {
        confirm(&asked.sentence)?;
        site.change("POST", &path, &body)?
    };
    say!("{}", change.sentence);
    Ok(ExitCode::SUCCESS)
}

/// Waits until a VM is as wanted.
pub fn wait(args: &WaitArgs) -> Result<ExitCode> {
    let site = Site::needed()?;
    await_state(&site, &args.name, args.wanted, args.timeout)
}

fn await_state(site: &Site, name: &VmName, wanted: Wanted, timeout: Duration) -> Result<ExitCode> {
    let is_so = |vm: &VmObject| match wanted {
        Wanted::Protected => vm.protection.state == StateWord::Protected,
        Wanted::Running => vm.primary.is_some() && vm.guest == report::GuestWord::Running,
        Wanted::Off => vm.protection.state == StateWord::Off,
    };
    match site.await_vm(name, timeout, &is_so)? {
        Some((true, vm)) => {
            say!("{}", state_sentence(&vm));
            Ok(ExitCode::SUCCESS)
        }
        Some((false, vm)) => {
            tell!("lockstep: {} after {} s", state_sentence(&vm), timeout.as_secs());
            for reason in &vm.protection.reasons {
                tell!("      {}", reason.sentence);
            }
            Ok(ExitCode::from(TIME_IS_OVER))
        }
        None => Ok(ExitCode::from(STOPPED)),
    }
}

/// How a VM is, in one sentence.
fn state_sentence(vm: &VmObject) -> String {
    let mut text = format!("{} is {}", vm.name, vm.protection.state.as_str());
    if let Some(primary) = &vm.primary {
        text += &format!(", on {}", primary.host);
    }
    if let Some(backup) = &vm.backup
        && vm.protection.state == StateWord::Protected
    {
        text += &format!(", backup {}", backup.host);
    }
    text
}

/// Waits until what was begun has ended, and says how; gives the exit code. `done` says what is so then.
fn finish(
    site: &Site,
    change: &ChangeObject,
    patience: &Patience,
    done: impl Fn(&VmObject) -> String,
) -> Result<u8> {
    let Some(operation) = &change.operation else {
        tell_change(change);
        return Ok(0);
    };
    let (id, word) = (&operation.id, &operation.kind);
    if patience.no_wait {
        say!("{}; its number is {id}", change.sentence);
        return Ok(0);
    }
    let name = crate::values::name(&operation.vm).map_err(usage::mark)?;
    match site.await_end(operation, patience.timeout)? {
        Waited::Ended(ended) => match ended.state {
            OperationState::Done => {
                say!("{}", done(&site.fresh_vm(&name)?));
                Ok(0)
            }
            OperationState::Cancelled => {
                tell!("lockstep: somebody has cancelled `{word}` of {name}");
                Ok(1)
            }
            OperationState::Failed | OperationState::Running => {
                tell!("lockstep: `{word}` of {name} has failed");
                for reason in &ended.reasons {
                    tell!("      {}", reason.sentence);
                }
                Ok(1)
            }
        },
        Waited::TimeIsOver => {
            let seconds = patience.timeout.as_secs();
            tell!(
                "lockstep: `{word}` of {name} is not done after {seconds} s, and goes on as {id}; `lockstep \
                 cancel {id}` ends it"
            );
            Ok(TIME_IS_OVER)
        }
        Waited::Stopped => {
            tell!("lockstep: `{word}` of {name} goes on as {id}; `lockstep cancel {id}` ends it");
            Ok(STOPPED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_hopeless_when_all_that_is_left_has_had_no_way_for_some_time() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let stuck = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut hopeless = Hopeless::default();
        // One of both is on its way.
        assert!(!hopeless.look(&["shop", "web"], &stuck(&["web"]), at(0)));
        assert!(!hopeless.look(&["shop", "web"], &stuck(&["web"]), at(100)));
        assert!(!hopeless.look(&["web"], &stuck(&["web"]), at(101)));
        // A host takes it for a moment, and it counts anew.
        assert!(!hopeless.look(&["web"], &stuck(&[]), at(120)));
        assert!(!hopeless.look(&["web"], &stuck(&["web"]), at(121)));
        assert!(!hopeless.look(&["web"], &stuck(&["web"]), at(150)));
        assert!(hopeless.look(&["web"], &stuck(&["web"]), at(151)));
    }
}
