//! The `lockstep` program: reads the command line, calls `host`, prints. Exit codes: 0 done, 1 failed, 2 usage.

/// Writes a line to the standard error, if anyone still reads it: a VM does not end because nobody does.
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::show(format_args!("{}\n", format_args!($($text)*)))
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

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use args::{Cli, Command};

/// Our reader has gone: there is nobody to tell.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Writes a line to the standard output. Ends the program, without a word, if its reader has gone (`lockstep log dump | head`).
fn write_line(text: std::fmt::Arguments<'_>) {
    if let Err(error) = writeln!(std::io::stdout(), "{text}") {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            tell!("lockstep: cannot write the output: {error}");
        }
        std::process::exit(1);
    }
}

/// Writes to the standard error, if anyone still reads it.
fn show(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Rare happenings of host and gateway; RUST_LOG chooses what is shown.
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .without_time()
        .log_internal_errors(false)
        .init();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            if !is_broken_pipe(&error) {
                tell!("lockstep: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
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
