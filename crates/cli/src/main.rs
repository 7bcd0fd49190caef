//! The `lockstep` program: reads the command line, calls `host`, `gateway` or `image`, and prints.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage (`usage`), 3 the other side has taken the VM over, or a status
//! is not as wanted, 4 refused (`vm_verbs`, `release`, and starts of a VM that runs already), 5 no process of
//! the VM answers, 124 the time is over. Nothing below this crate reads arguments or the
//! environment.

#[macro_use]
extern crate terminal;

mod agent;
mod args;
mod boots;
mod console;
mod demo;
mod disk_server;
mod doctor;
mod draft;
mod exit;
mod fits;
mod gateway;
mod help;
mod host_file;
mod image;
mod joining;
mod log;
mod manual;
mod release;
mod replay;
mod site;
mod spec;
mod speed;
mod usage;
mod values;
mod version;
mod vm;
mod vm_file;
mod vm_verbs;
mod warnings;
mod watching;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use caller::VerbError;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use membership::asking::AskError;

use args::{Cli, Command, TestCommand};

/// Whether the error is that our reader has gone, so that there is nobody to tell.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Commands that people know from other managers of VMs, which are called otherwise here.
const COMMANDS_OF_OTHERS: &str = "ps list top suspend migrate";

/// Reads the command line; ends the process where that is the answer.
fn arguments() -> Cli {
    let matches = args::with_words(Cli::command(), "lockstep").try_get_matches();
    let error = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => return cli,
        Err(error) => error,
    };
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
        && COMMANDS_OF_OTHERS.split(' ').any(|known| known == word)
    {
        tell!(
            "lockstep: there is no `{word}`: `lockstep status` lists VMs, `pause` and `resume` are the \
             guest's, `protection suspend` and `protection resume` the backup's, and `move` takes a VM to \
             another host"
        );
        os::stderr::finish();
        std::process::exit(2);
    }
    error.exit()
}

/// The whole program, where it is a primary's watcher: it reads no command line and opens nothing.
fn watch() -> ExitCode {
    match os::watcher::watch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell!("lockstep: {error}; `lockstep primary` starts its watcher itself");
            os::stderr::finish();
            ExitCode::from(2)
        }
    }
}

/// The exit code of a command that has failed with this error.
fn exit_code(error: &anyhow::Error) -> u8 {
    let is_refusal = error
        .downcast_ref::<host::RunError>()
        .is_some_and(host::RunError::is_refusal);
    match (error.is::<usage::Usage>(), is_refusal) {
        (true, _) => 2,
        (_, true) => 4,
        _ => match (error.downcast_ref::<AskError>(), error.downcast_ref()) {
            (Some(error), _) => error.exit_code(),
            (None, Some(error)) => joining::exit_code(error),
            (None, None) => error.downcast_ref().map_or(1, VerbError::exit_code),
        },
    }
}

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == spec::WATCHER)
    {
        return watch();
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == ::agent::SPEED)
    {
        return speed::run();
    }
    let cli = arguments();
    warnings::show();
    let code = match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            if !is_broken_pipe(&error) {
                tell!("lockstep: {error:#}");
            }
            ExitCode::from(exit_code(&error))
        }
    };
    os::stderr::finish();
    code
}

/// Whether the command enters a sandbox; such a command opens the outlet of the standard error then.
fn enters_a_sandbox(command: &Command) -> bool {
    matches!(
        command,
        Command::Run(_) | Command::Record(_) | Command::Primary(_) | Command::Backup(_) | Command::Gateway(_)
    )
}

fn run(command: Command) -> Result<ExitCode> {
    if !enters_a_sandbox(&command) {
        os::stderr::open();
    }
    match command {
        Command::Demo(args) => return demo::run(args),
        Command::Run(args) => return vm::run(&args),
        Command::Record(args) => return vm::record(&args),
        Command::Replay(args) => replay::run(&args)?,
        Command::Primary(args) => return vm::primary(&args),
        Command::Backup(args) => return vm::backup(&args),
        Command::Create(args) => return site::create(&args),
        Command::Set(args) => return site::set(&args),
        Command::Edit(args) => return site::edit(&args),
        Command::Delete(args) => return vm_verbs::delete(&args),
        Command::Start(args) => return site::start(&args),
        Command::Move(args) => return site::move_vm(&args),
        Command::Drain(args) => return site::drain(&args),
        Command::Undrain(args) => return site::undrain(&args.host, args.dry_run),
        Command::Hosts(args) => return site::hosts(args.json),
        Command::Check(args) => return site::check(&args),
        Command::Operations(args) => return site::operations(args.json),
        Command::Cancel(args) => return site::cancel(&args.id, args.dry_run),
        Command::Wait(args) => return site::wait(&args),
        Command::Test(TestCommand::Failover(args)) => return site::test(&args, true),
        Command::Test(TestCommand::Backup(args)) => return site::test(&args, false),
        Command::Status(args) => return vm_verbs::status(&args),
        Command::Protect(args) => return vm_verbs::protect(&args),
        Command::MoveBackup(args) => return vm_verbs::move_backup(&args),
        Command::Unprotect(args) => return vm_verbs::unprotect(&args),
        Command::Failover(args) => return vm_verbs::failover(&args),
        Command::Protection(command) => return vm_verbs::protection(&command),
        Command::Pause(args) => return vm_verbs::pause(&args, true),
        Command::Resume(args) => return vm_verbs::pause(&args, false),
        Command::Stop(args) => return vm_verbs::stop(&args),
        Command::Reset(args) => return vm_verbs::reset(&args),
        Command::Snapshot(args) => return vm_verbs::snapshot(&args),
        Command::Console(args) => return console::console(&args),
        Command::Events(args) => vm_verbs::events(&args)?,
        Command::Release(args) => return release::run(&args),
        Command::Agent(command) => return agent::run(&command),
        Command::Doctor(args) => return doctor::run(&args),
        Command::Gateway(args) => gateway::run(&args)?,
        Command::DiskServer(args) => return disk_server::run(&args),
        Command::Image(command) => image::run(command)?,
        Command::Log(command) => return log::run(&command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lockstep", &mut script);
            std::io::stdout().write_all(&script)?;
        }
        Command::Man { directory } => manual::run(directory.as_deref())?,
        Command::Version { json } => version::run(json)?,
    }
    Ok(ExitCode::SUCCESS)
}
