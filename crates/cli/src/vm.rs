//! `run`, `record`, `primary`, `backup`: a machine on this terminal.
//!
//! Each command reads the file and the flags, hands the machine to `host`, and turns the way in which it
//! ended into an exit code.

use std::fs::File;
use std::io::{BufReader, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use console::ConsoleSpec;
use host::build::InterpreterOptions;
use host::run::Build;
use host::{FirmwareSpec, Origin, Outcome, PairSpec, Pairing, RunError, SetupError, VmSpec};
use link::LinkError;
use machine::{Config, Machine};
use replica::{Hello, Span};
use report::Figures;
use serde::Serialize;

use crate::args::{
    BackupArgs, EventsArgs, PairArgs, ProfileArgs, RecordArgs, RunArgs, SandboxArgs, StartArgs, VmArgs,
};
use crate::vm_file::VmFile;
use crate::watching::Watching;
use crate::{boots, fits, spec, usage};

/// Time between two sentences about a backup that does not answer.
const CALLING_EVERY: Duration = Duration::from_secs(5);

/// Runs a machine alone.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let mut process = alone(
        &args.vm,
        &args.start,
        &args.sandbox,
        &args.events,
        &args.profile,
        args.origin.from.as_deref(),
    )?;
    let origin = process.origin.take();
    live(
        &process,
        spec::engine(&args.engine),
        None,
        origin,
        args.result.json,
    )
}

/// Runs a machine alone and writes its log.
pub fn record(args: &RecordArgs) -> Result<ExitCode> {
    let process = alone(
        &args.vm,
        &args.start,
        &args.sandbox,
        &args.events,
        &args.profile,
        None,
    )?;
    live(
        &process,
        spec::engine(&args.engine),
        Some(&args.output),
        None,
        args.result.json,
    )
}

/// What builds the machine of a process.
type Builder<'a> = Box<dyn FnMut(&Config) -> Result<Machine, String> + 'a>;

/// A process with a machine alone.
struct Process {
    spec: VmSpec,
    watching: Watching,
    /// The snapshot from which it goes on, and the rest of its file; `None`: it boots, or somebody has it.
    origin: Option<(Origin, BufReader<File>)>,
}

/// Begins a process with a machine alone, which goes on from the snapshot `from` or boots.
fn alone(
    vm: &VmArgs,
    start: &StartArgs,
    sandbox: &SandboxArgs,
    events: &EventsArgs,
    profile: &ProfileArgs,
    from: Option<&Path>,
) -> Result<Process> {
    os::sandbox::keep_right_to_be_served_soon();
    sandbox.begin()?;
    let mut file = load(vm)?.with_start_flags(start);
    let origin = from.map(Origin::open).transpose()?;
    if let (Some((origin, _)), None) = (&origin, &file.name) {
        file.name = Some(origin.head.vm.clone());
    }
    let file = boots::ready(file, origin.is_some())?;
    let mut spec = spec::alone(&file).map_err(usage::mark)?;
    if spec.protect.is_some() {
        // It may become one half of a pair while it runs.
        os::sandbox::ask_to_be_served_soon();
    }
    spec::tell(&mut spec, events);
    spec.sandbox = !sandbox.no_sandbox;
    if let Some((origin, _)) = &origin {
        fits::adopt(&file, &mut spec, &origin.head.header).map_err(usage::mark)?;
    } else if spec.kernel.is_none() && !matches!(spec.firmware, FirmwareSpec::File(_)) {
        return Err(usage::mark(SetupError::NothingToBoot));
    }
    let watching = Watching::new(profile)?;
    Ok(Process {
        spec,
        watching,
        origin,
    })
}

/// Runs a machine alone to its end, with a `log` or without.
fn live(
    process: &Process,
    engine: InterpreterOptions,
    log: Option<&Path>,
    origin: Option<(Origin, BufReader<File>)>,
    json: bool,
) -> Result<ExitCode> {
    let Process { spec, watching, .. } = process;
    begin(spec, json)?;
    greet(spec, "switches it off");
    let watch = watching.watch()?;
    let (origin, rest) = origin.unzip();
    let mut build: Builder<'_> = match (&origin, rest) {
        (Some(origin), Some(rest)) => Box::new(host::build::restored(&origin.path, rest, engine, watch)),
        _ => Box::new(host::build::watched(engine, spec.images(), watch)),
    };
    let outcome = host::run(spec, log, origin.as_ref(), &mut *build);
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
    run_half(args, host::primary, "asks whether to switch it off")
}

/// Runs the copy that takes over.
pub fn backup(args: &BackupArgs) -> Result<ExitCode> {
    match &args.listen {
        None => run_half(&args.pair, host::backup, "ends this backup"),
        Some(listen) => attend(listen, args.wait, &args.pair),
    }
}

/// Waits for whichever running VM comes, and runs the copy of it.
fn attend(listen: &str, wait: Option<Duration>, args: &PairArgs) -> Result<ExitCode> {
    if let Some(file) = &args.vm.file {
        return Err(usage::mark(anyhow::anyhow!(
            "with `--listen` the VM brings its own settings; leave {} out",
            file.display()
        )));
    }
    args.sandbox.begin_half()?;
    let ours = load(&args.vm)?.with_pair_flags(args);
    let images = image::Cache::of_user()?.root().join("images");
    std::fs::create_dir_all(&images)?;
    let mut waits = spec::attend(listen, &ours, images).map_err(usage::mark)?;
    waits.patience = wait.map(|wait| Span(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)));
    if args.result.json && spec::vm(&ours)?.serial == ConsoleSpec::Stdio {
        terminal::divert()?;
    }
    let mut consider = |hello: &Hello| {
        let (mut vm, pair) =
            spec::of_visitor(hello, &ours, &args.events).map_err(|error| format!("{error:#}"))?;
        vm.sandbox = !args.sandbox.no_sandbox;
        Ok((vm, pair))
    };
    let mut calls = Calls::waiting(waits.address);
    let mut tell = |pairing: &Pairing<'_>| {
        calls.show(pairing);
        os::stderr::write_early();
        if let (Pairing::Listening(address), true) = (pairing, args.result.json) {
            say!("{}", serde_json::json!({ "listen": address }));
        }
    };
    let mut build = host::build::blank(spec::engine(&args.engine));
    let outcome = host::attend(&waits, &mut consider, &mut build, &mut tell);
    finish_half(outcome, args.result.json)
}

/// What `host` does with one half of a pair.
type Half =
    fn(&VmSpec, &PairSpec, Build<'_, Machine>, &mut dyn FnMut(&Pairing<'_>)) -> Result<Outcome, RunError>;

/// Runs one half of a pair to its end.
fn run_half(args: &PairArgs, run: Half, what_quit_does: &str) -> Result<ExitCode> {
    let (vm, pair) = begin_half(args)?;
    let mut calls = Calls::new(&pair);
    let mut tell = |pairing: &Pairing<'_>| {
        calls.show(pairing);
        if matches!(pairing, Pairing::Paired { .. }) {
            greet(&vm, what_quit_does);
        }
    };
    let mut build = host::build::machine(spec::engine(&args.engine), vm.images());
    finish_half(run(&vm, &pair, &mut build, &mut tell), args.result.json)
}

/// Begins one half of a pair.
fn begin_half(args: &PairArgs) -> Result<(VmSpec, PairSpec)> {
    args.sandbox.begin_half()?;
    let file = boots::ready(load(&args.vm)?.with_pair_flags(args), false)?;
    let (mut vm, pair) = spec::pair(&file, args).map_err(usage::mark)?;
    vm.sandbox = !args.sandbox.no_sandbox;
    begin(&vm, args.result.json)?;
    Ok((vm, pair))
}

/// What every command that runs a guest does before it opens anything: it leaves standard output to the
/// result if a program reads that, and warns of a guest that cannot get far.
fn begin(vm: &VmSpec, json: bool) -> Result<()> {
    if json && vm.serial == ConsoleSpec::Stdio {
        terminal::divert()?;
    }
    if vm.kernel.is_some() && vm.initrd.is_none() && vm.disks.is_empty() {
        tell!(
            "lockstep: warning: there is neither an initrd nor a disk; unless the kernel brings an initramfs \
             of its own, or boots from the network, it will find no root file system and panic"
        );
    }
    Ok(())
}

/// Tells whoever sits at the terminal whose console it is now, and how to leave it: the guest gets Ctrl-C.
fn greet(vm: &VmSpec, what_quit_does: &str) {
    if vm.serial == ConsoleSpec::Stdio && std::io::stdin().is_terminal() {
        tell!(
            "lockstep: this is the console of {}; Ctrl-A x {what_quit_does}, Ctrl-A h helps",
            vm.name
        );
    }
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

/// Tells how a pair comes about; of a backup that does not answer now and then.
struct Calls {
    backup: SocketAddr,
    patience: Duration,
    began: Instant,
    /// When the last call was told; `None`: none was.
    told: Option<Instant>,
}

impl Calls {
    fn new(pair: &PairSpec) -> Calls {
        Calls {
            backup: pair.address,
            patience: Duration::from_nanos(pair.patience.0),
            began: Instant::now(),
            told: None,
        }
    }

    /// As told by a host that waits for whichever VM comes.
    fn waiting(address: SocketAddr) -> Calls {
        Calls {
            backup: address,
            patience: Duration::ZERO,
            began: Instant::now(),
            told: None,
        }
    }

    fn show(&mut self, pairing: &Pairing<'_>) {
        match pairing {
            Pairing::Listening(address) => tell!("lockstep: waiting for the primary on {address}"),
            Pairing::Calling { error, .. } => self.call(error),
            Pairing::Refused(error) => tell!("lockstep: {}", os::error::chain(*error)),
            Pairing::RefusedMore(count) => tell!("lockstep: {count} more callers were refused"),
            Pairing::Paired { peer, epoch } => tell!("lockstep: paired with {peer}, epoch {}", epoch.0),
        }
    }

    fn call(&mut self, error: &std::io::Error) {
        if self.told.is_some_and(|told| told.elapsed() < CALLING_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        tell!(
            "lockstep: calling the backup {}, {} s of {} s: {error}",
            self.backup,
            self.began.elapsed().as_secs(),
            self.patience.as_secs()
        );
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

/// Prints the result for programs and gives the exit code; `host` has told people how the machine ended.
fn finish(outcome: &Outcome, json: bool, profile: Option<serde_json::Value>) -> Result<ExitCode> {
    if json {
        let result = Ended {
            figures: &outcome.figures,
            profile,
        };
        say!("{}", serde_json::to_string(&result)?);
    }
    Ok(ExitCode::from(outcome.code.exit_code()))
}
