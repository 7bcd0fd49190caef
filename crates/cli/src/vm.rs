//! `run`, `record`, `primary`, `backup`: a machine on this terminal.
//!
//! Each command reads the file and the flags, hands the machine to `host`, and turns the way in which it
//! ended into an exit code.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use host::{Outcome, PairSpec, Pairing, RunError, VmSpec};
use link::LinkError;
use machine::PowerState;
use replica::Halt;
use report::Figures;
use serde::Serialize;

use crate::args::{PairArgs, ProfileArgs, RecordArgs, RunArgs, SandboxArgs, VmArgs};
use crate::profile::Watching;
use crate::spec;
use crate::vm_file::VmFile;

/// Runs a machine alone.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    alone(&args.vm, &args.sandbox, None, &args.profile, args.json)
}

/// Runs a machine alone and writes its log.
pub fn record(args: &RecordArgs) -> Result<ExitCode> {
    alone(
        &args.vm,
        &args.sandbox,
        Some(&args.output),
        &args.profile,
        args.json,
    )
}

fn alone(
    vm: &VmArgs,
    sandbox: &SandboxArgs,
    log: Option<&Path>,
    profile: &ProfileArgs,
    json: bool,
) -> Result<ExitCode> {
    sandbox.begin()?;
    let mut spec = spec::vm(&load(vm)?)?;
    spec.sandbox = !sandbox.no_sandbox;
    let watching = Watching::new(profile)?;
    let mut build = host::build::watched(vm.engine(), watching.watch()?);
    let outcome = host::run(&spec, log, &mut build);
    // Nothing writes to the map any more, and its file is complete.
    drop(build);
    let profile = match &outcome {
        // The figures that were gathered until then may tell why.
        Err(_) => watching.finish().unwrap_or_default(),
        Ok(_) => watching.finish()?,
    };
    finish(&outcome?, json, profile)
}

/// Runs the live half of a pair.
pub fn primary(args: &PairArgs) -> Result<ExitCode> {
    let (vm, pair) = half(args)?;
    let outcome = host::primary(&vm, &pair, &mut host::build::machine(args.vm.engine()), &mut show);
    finish_half(outcome, args.json)
}

/// Runs the copy that takes over.
pub fn backup(args: &PairArgs) -> Result<ExitCode> {
    let (vm, pair) = half(args)?;
    let outcome = host::backup(&vm, &pair, &mut host::build::machine(args.vm.engine()), &mut show);
    finish_half(outcome, args.json)
}

/// Begins one half of a pair.
fn half(args: &PairArgs) -> Result<(VmSpec, PairSpec)> {
    args.sandbox.begin_half()?;
    let file = load(&args.vm)?.with_pair_flags(args);
    let (mut vm, pair) = spec::pair(&file, args)?;
    vm.sandbox = !args.sandbox.no_sandbox;
    Ok((vm, pair))
}

/// As [`finish`], except that a half that was told to end before it met the other has done as it was told.
fn finish_half(outcome: Result<Outcome, RunError>, json: bool) -> Result<ExitCode> {
    match outcome {
        Err(RunError::Link(LinkError::Stopped)) => {
            tell!("lockstep: stopped while waiting for the other side; no pair was made");
            Ok(ExitCode::SUCCESS)
        }
        outcome => finish(&outcome?, json, None),
    }
}

/// The file, with the flags over it.
pub fn load(args: &VmArgs) -> Result<VmFile> {
    Ok(VmFile::load(args.file.as_deref())?.with_flags(args))
}

fn show(pairing: &Pairing<'_>) {
    match pairing {
        Pairing::Listening(address) => tell!("lockstep: waiting for the primary on {address}"),
        Pairing::Calling { attempt: 1, error } => {
            tell!("lockstep: the backup does not answer yet ({error}); calling");
        }
        Pairing::Calling { .. } => {}
        Pairing::Refused(error) => tell!("lockstep: {}", os::error::chain(*error)),
        Pairing::RefusedMore(count) => tell!("lockstep: {count} more callers were refused"),
        Pairing::Paired { peer, epoch } => tell!("lockstep: paired with {peer}, epoch {}", epoch.0),
    }
}

/// The way in which a machine ended, for programs.
#[derive(Serialize)]
struct Ended<'a> {
    #[serde(flatten)]
    figures: &'a Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<serde_json::Value>,
}

/// Prints the result for programs and gives the exit code; `host` has told people how the machine ended. The
/// guest's own failure, a lost claim and a divergence are failures of the command.
fn finish(outcome: &Outcome, json: bool, profile: Option<serde_json::Value>) -> Result<ExitCode> {
    let code = match &outcome.halt {
        None | Some(Halt::Off(PowerState::Off) | Halt::Left) => 0,
        Some(Halt::Off(PowerState::Failed(_)) | Halt::Lost(_) | Halt::Diverged { .. } | Halt::Peer(_)) => 1,
    };
    if json {
        let result = Ended {
            figures: &outcome.figures,
            profile,
        };
        say!("{}", serde_json::to_string(&result)?);
    }
    Ok(ExitCode::from(code))
}
