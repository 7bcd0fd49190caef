//! `status`, `protect`, `move-backup`, `unprotect`, `protection`, `failover`, `pause`, `resume`, `stop`,
//! `reset`, `snapshot`, `events`: the commands that ask and tell VMs that run on this host, through the
//! control socket of each VM's process (crate `control`).
//!
//! Nothing here knows what a VM is made of, and nothing but the process itself is asked: what is printed is
//! what the process has said just now.

mod snapshot;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use agent::types::{PowerWord, ProtectionWord};
use anyhow::{Result, anyhow};
use caller::{PATIENCE, VerbError};
use control::Verb;
use replica::VmName;

use crate::args::{
    BackupOfArgs, DryRunArgs, EventsOfArgs, NameArgs, OrderArgs, ProtectArgs, ProtectionCommand, StatusArgs,
    StopArgs,
};
use crate::args::{DeleteArgs, Patience};
use crate::exit::{NOT_AS_WANTED, TIME_IS_OVER};
use crate::site::{self, Site};
use crate::{spec, usage, values};
pub use snapshot::snapshot;
use terminal::Line;
use terminal::Screen;

/// Has the person at the terminal type the VM's name, unless that is not wanted (`yes`). `warning`: what is
/// to be known before.
pub fn confirm(command: &str, vm: &VmName, yes: bool, warning: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let sentence = anyhow!("`{command}` needs `--yes` without a terminal");
        return Err(usage::mark(sentence));
    }
    let mut terminal = std::io::stderr().lock();
    write!(terminal, "{warning}, type its name: ")?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() != vm.as_str() {
        return Err(VerbError::Refused(format!("that is not the name {vm}; nothing was changed")).into());
    }
    Ok(())
}

/// Prints how a VM is, or all.
pub fn status(args: &StatusArgs) -> Result<ExitCode> {
    let name = args.name.as_ref();
    if args.watch {
        return site::watch(&Site::needed()?, name, args.json);
    }
    let site = match name {
        Some(name) => Site::of(name)?,
        None => Site::here()?,
    };
    if let Some(site) = site {
        return site::status(&site, name, args.json);
    }
    let found = caller::find(&spec::local_directory(), name.map(VmName::as_str));
    let all = caller::statuses(&found, PATIENCE)?;
    let utf8 = Screen::of_stdout().utf8;
    match (name, args.json) {
        (Some(name), _) if all.is_empty() => return Err(VerbError::NoAnswer(name.clone()).into()),
        (None, false) if all.is_empty() => {
            tell!("lockstep: no VM with a name of its own runs here as this user");
        }
        (_, true) => all.iter().try_for_each(|status| {
            say!("{}", serde_json::to_string(status)?);
            anyhow::Ok(())
        })?,
        (Some(_), false) => all
            .iter()
            .for_each(|status| say!("{}", caller::detail(status, utf8).trim_end())),
        (None, false) => say!("{}", caller::list(&all, utf8).trim_end()),
    }
    let is_well = all.iter().all(control::Status::is_as_wanted);
    Ok(ExitCode::from(if is_well { 0 } else { NOT_AS_WANTED }))
}

/// Makes a backup of a VM that runs.
pub fn protect(args: &ProtectArgs) -> Result<ExitCode> {
    let name = &args.backup.name;
    let to = args.to.as_deref();
    match site_of(&args.backup, to)? {
        Some(site) => site::protection(&site, name, ProtectionWord::On, to, &args.backup.patience()),
        None => make_backup(&args.backup, &Verb::Protect { to: address(to)? }),
    }
}

/// Replaces the backup of a VM that runs.
pub fn move_backup(args: &ProtectArgs) -> Result<ExitCode> {
    let name = &args.backup.name;
    let to = args.to.as_deref();
    match site_of(&args.backup, to)? {
        Some(site) => site::swap(&site, name, "move-backup", to, &args.backup.patience()),
        None => make_backup(&args.backup, &Verb::MoveBackup { to: address(to)? }),
    }
}

/// The agent that looks after the VM, if one does. Only an agent can judge a change without making it.
fn site_for(vm: &VmName, dry_run: DryRunArgs) -> Result<Option<Site>> {
    if dry_run.is_wanted {
        let site = Site::needed()?.dry_run(true);
        site.vm(vm)?;
        return Ok(Some(site));
    }
    Ok(Site::of(vm)?)
}

/// The same, unless an address is meant, which only a process started by hand has.
fn site_of(args: &BackupOfArgs, to: Option<&str>) -> Result<Option<Site>> {
    match to {
        Some(to) if to.contains(':') && !args.dry_run.is_wanted => Ok(None),
        _ => site_for(&args.name, args.dry_run),
    }
}

/// The address of a process that waits, where no agent knows one.
fn address(to: Option<&str>) -> Result<SocketAddr> {
    let Some(to) = to else {
        let sentence = anyhow!(
            "no agent here looks after this VM, so say where a process waits that is to be its backup: \
             `--to HOST:PORT` (`lockstep backup --listen` on that host)"
        );
        return Err(usage::mark(sentence));
    };
    values::resolve(to).map_err(usage::mark)
}

/// Has a VM be none of the site's any more.
pub fn delete(args: &DeleteArgs) -> Result<ExitCode> {
    let warning = format!(
        "{} is forgotten by the site; its disks stay.\nTo delete it",
        args.name
    );
    confirm("delete", &args.name, args.yes || args.dry_run.is_wanted, &warning)?;
    site::delete(&args.name, args.dry_run)
}

/// Suspends the protection of a VM that runs, or resumes it.
pub fn protection(command: &ProtectionCommand) -> Result<ExitCode> {
    match command {
        ProtectionCommand::Suspend(args) => dismiss("protection suspend", args, true),
        ProtectionCommand::Resume(args) => match site_for(&args.name, args.dry_run)? {
            Some(site) => {
                let patience = args.patience();
                site::protection(&site, &args.name, ProtectionWord::On, None, &patience)
            }
            None => make_backup(args, &Verb::ResumeProtection),
        },
    }
}

/// Gives an order that has the guest copied, and shows how far it is.
fn make_backup(args: &BackupOfArgs, order: &Verb) -> Result<ExitCode> {
    let vm = &args.name;
    let process = caller::process(&spec::local_directory(), vm)?;
    let mut line = Line::about(vm)?;
    let patience = (!args.no_wait).then_some(args.timeout);
    let protecting = caller::protect(&process, order, patience, &mut |text| line.show(text));
    if patience.is_some() {
        line.clear();
    }
    let protecting = protecting?;
    let sentence = protecting.sentence(vm);
    match protecting.exit_code() {
        0 => say!("{sentence}"),
        _ => tell!("lockstep: {sentence}"),
    }
    Ok(ExitCode::from(protecting.exit_code()))
}

/// Dismisses the backup of a VM that runs.
pub fn unprotect(args: &OrderArgs) -> Result<ExitCode> {
    dismiss("unprotect", args, false)
}

/// Dismisses the backup. `suspended`: its host is remembered.
fn dismiss(command: &str, args: &OrderArgs, suspended: bool) -> Result<ExitCode> {
    let vm = &args.name;
    let site = site_for(vm, args.dry_run)?;
    if let Some(site) = &site {
        // What is wished can be wished back, and the VM's agent says so.
        let wanted = if suspended {
            ProtectionWord::Suspended
        } else {
            ProtectionWord::Off
        };
        return site::protection(site, vm, wanted, None, &Patience::usual());
    }
    let process = caller::process(&spec::local_directory(), vm)?;
    let warning =
        format!("{vm} has no backup then: if this host dies, so does its guest.\nTo dismiss its backup");
    confirm(command, vm, args.yes, &warning)?;
    say!("{}", caller::unprotect(&process, vm, suspended)?);
    Ok(ExitCode::SUCCESS)
}

/// Has the guest of a VM stand, or with `paused` false run on.
pub fn pause(args: &NameArgs, paused: bool) -> Result<ExitCode> {
    let vm = &args.name;
    if let Some(site) = site_for(vm, args.dry_run)? {
        let wanted = if paused { PowerWord::Paused } else { PowerWord::On };
        return site::power(&site, vm, wanted);
    }
    let process = caller::process(&spec::local_directory(), vm)?;
    say!("{}", caller::pause(&process, vm, paused)?);
    Ok(ExitCode::SUCCESS)
}

/// Has the two sides of a VM change their roles.
pub fn failover(args: &NameArgs) -> Result<ExitCode> {
    let vm = &args.name;
    if let Some(site) = site_for(vm, args.dry_run)? {
        return site::swap(&site, vm, "failover", None, &Patience::usual());
    }
    let process = caller::process(&spec::local_directory(), vm)?;
    say!("{}", caller::failover(&process, vm)?);
    Ok(ExitCode::SUCCESS)
}

/// Switches a VM off.
pub fn stop(args: &StopArgs) -> Result<ExitCode> {
    let vm = &args.name;
    let site = site_for(vm, args.dry_run)?;
    let process = || caller::process(&spec::local_directory(), vm);
    if site.is_none() {
        process()?;
    }
    if args.hard {
        let warning = format!("{vm} is switched off without being asked.\nTo pull its plug");
        confirm("stop --hard", vm, args.yes || args.dry_run.is_wanted, &warning)?;
    }
    if let Some(site) = site {
        return site::stop(&site, vm, args.hard, args.timeout);
    }
    let process = process()?;
    if caller::stop(&process, args.hard, args.timeout)? {
        say!("{vm} is off");
        return Ok(ExitCode::SUCCESS);
    }
    let seconds = args.timeout.as_secs();
    tell!("lockstep: {vm} is not off after {seconds} s, and is still being switched off");
    Ok(ExitCode::from(TIME_IS_OVER))
}

/// Presses a VM's reset button.
pub fn reset(args: &OrderArgs) -> Result<ExitCode> {
    let vm = &args.name;
    let site = site_for(vm, args.dry_run)?;
    let process = || caller::process(&spec::local_directory(), vm);
    if site.is_none() {
        process()?;
    }
    let warning = format!("{vm} boots anew without being asked.\nTo reset it");
    confirm("reset", vm, args.yes || args.dry_run.is_wanted, &warning)?;
    if let Some(site) = site {
        return site::swap(&site, vm, "reset", None, &Patience::usual());
    }
    caller::reset(&process()?)?;
    say!("{vm} is reset");
    Ok(ExitCode::SUCCESS)
}

/// Prints what has happened in a VM's process, and what happens.
pub fn events(args: &EventsOfArgs) -> Result<()> {
    let site = match &args.name {
        Some(name) => Site::of(name)?,
        None => Some(Site::needed()?),
    };
    let name = args.name.as_ref();
    let name = match (site, name) {
        (Some(site), name) => return site::events(&site, name, args.follow),
        (None, Some(name)) => name,
        (None, None) => return Ok(()),
    };
    let process = caller::process(&spec::local_directory(), name)?;
    Ok(caller::events(&process, args.follow, &mut |line| {
        say!("{line}");
    })?)
}
