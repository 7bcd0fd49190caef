//! The `lockstep` program: reads the command line, calls `host`, prints. Exit codes: 0 done, 1 failed, 2 usage.

mod args;
mod demo;
mod gateway;
mod image;
mod log;
mod replay;
mod spec;
mod vm;
mod vm_file;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Rare happenings of host and gateway; RUST_LOG chooses what is shown.
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lockstep: {error:#}");
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
        Command::Primary(args) => return vm::primary(args),
        Command::Backup(args) => return vm::backup(args),
        Command::Gateway(args) => gateway::run(&args)?,
        Command::Image(command) => image::run(command)?,
        Command::Log(command) => return log::run(&command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "lockstep", &mut std::io::stdout());
        }
        Command::Man => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}
