//! The `lockstep` program: reads the command line, calls `host`, `gateway` or `image`, and prints.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage. Nothing below this crate reads arguments or the environment.

/// Writes a line to the standard error. Waits for no reader: a VM neither stands nor ends because nobody
/// reads.
macro_rules! tell {
    ($($text:tt)*) => {
        os::stderr::tell(format_args!($($text)*))
    };
}

/// Prints a line to the standard output; see [`write_line`].
macro_rules! say {
    ($($text:tt)*) => {
        $crate::write_line(format_args!($($text)*))
    };
}

mod args;
mod demo;
mod gateway;
mod image;
mod log;
mod profile;
mod replay;
mod spec;
mod vm;
mod vm_file;
mod warnings;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use args::{Cli, Command};

/// Whether the error is that our reader has gone, so that there is nobody to tell.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Writes a line to the standard output. Ends the program, without a word, if its reader has gone, as in
/// `lockstep log dump | head`.
fn write_line(text: std::fmt::Arguments<'_>) {
    if let Err(error) = writeln!(std::io::stdout(), "{text}") {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            tell!("lockstep: cannot write the output: {error}");
        }
        os::stderr::finish();
        std::process::exit(1);
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    warnings::show();
    let code = match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            if !is_broken_pipe(&error) {
                tell!("lockstep: {error:#}");
            }
            ExitCode::FAILURE
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
        Command::Demo(args) => return demo::run(&args),
        Command::Run(args) => return vm::run(&args),
        Command::Record(args) => return vm::record(&args),
        Command::Replay(args) => replay::run(&args)?,
        Command::Primary(args) => return vm::primary(&args),
        Command::Backup(args) => return vm::backup(&args),
        Command::Gateway(args) => gateway::run(&args)?,
        Command::Image(command) => image::run(command)?,
        Command::Log(command) => return log::run(&command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lockstep", &mut script);
            std::io::stdout().write_all(&script)?;
        }
        Command::Man => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}
