//! `lockstep replay`: a machine again from its log, every output and digest compared.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use hart::{Interpreter, InterpreterOptions};
use machine::{Effect, Machine, Step};
use replica::playback::{Playback, Playing};
use replica::{End, LogReader};

use crate::args::ReplayArgs;
use crate::{log, spec, vm};

/// Steps of a slice when nobody asks for another length.
const SLICE: u64 = 10_000_000;

/// Replays a log to its end, or to `--until`.
pub fn run(args: &ReplayArgs) -> Result<()> {
    let mut file =
        File::open(&args.log).with_context(|| format!("cannot read the log {}", args.log.display()))?;
    let name = || args.log.display().to_string();
    let mut reader = LogReader::default();
    let mut chunk = vec![0; log::CHUNK];
    let header = loop {
        let length = file.read(&mut chunk).with_context(name)?;
        reader.push(&chunk[..length]);
        if let Some(header) = reader.header().with_context(name)? {
            break header.clone();
        }
        if length == 0 {
            bail!("{} ends within its header; nothing was recorded", name());
        }
    };
    let spec = spec::vm(&vm::load(&args.vm)?)?;
    let config = header.config(spec.boot()?).with_context(name)?;
    let engine = Box::new(Interpreter::new(InterpreterOptions { zeal: args.vm.zeal }));
    let guest = match &args.from {
        Some(path) => {
            let mut snapshot =
                File::open(path).with_context(|| format!("cannot read the snapshot {}", path.display()))?;
            Machine::restore(config, engine, &mut snapshot)
                .with_context(|| format!("cannot use the snapshot {}", path.display()))?
        }
        None => Machine::new(config, engine)?,
    };
    let until = args.until.map_or(Step::NEVER, Step);
    let mut playback = Playback::new(guest, reader, until);
    let cut = AtomicBool::new(false);
    let ending = loop {
        let playing = playback.slice(&cut, args.slice.unwrap_or(SLICE)).with_context(name)?;
        show(&mut playback, args.json);
        match playing {
            Playing::Busy => {}
            Playing::Hungry => {
                let length = file.read(&mut chunk).with_context(name)?;
                playback.push(&chunk[..length]);
            }
            Playing::Reached => break format!("stopped at step {}", playback.guest().now()),
            Playing::Ended(end) => break finished(end)?,
        }
    };
    if let Some(path) = &args.save {
        save(playback.guest(), path)?;
    }
    report(args, &mut playback, &ending);
    Ok(())
}

/// A log that was cut off is replayed as far as it goes; that is no failure.
fn finished(end: End) -> Result<String> {
    Ok(log::ending(end))
}

/// What the guest wrote to its console, unless the output is for a program.
fn show(playback: &mut Playback<Machine>, json: bool) {
    let mut out = std::io::stdout().lock();
    for effect in playback.take_effects() {
        if let (Effect::ConsoleWrite { bytes, .. }, false) = (effect, json) {
            // A closed terminal does not stop a replay.
            let _ = out.write_all(&bytes);
        }
    }
    let _ = out.flush();
}

fn save(machine: &mut Machine, path: &Path) -> Result<()> {
    let failed = || format!("cannot write the snapshot {}", path.display());
    let mut out = std::io::BufWriter::new(File::create(path).with_context(failed)?);
    machine.save(&mut out).with_context(failed)?;
    out.flush().with_context(failed)
}

fn report(args: &ReplayArgs, playback: &mut Playback<Machine>, ending: &str) {
    let (digests, outputs) = (playback.digests(), playback.outputs());
    let step = playback.guest().now().0;
    let digest = format!("{:032x}", playback.guest().digest().0);
    if args.json {
        let figures = serde_json::json!({
            "step": step, "digests_compared": digests, "outputs_compared": outputs,
            "divergences": 0, "digest": digest, "ending": ending,
        });
        println!("{figures}");
    } else {
        eprintln!("lockstep: replayed to step {step}: {digests} digests and {outputs} outputs equal; {ending}");
    }
}
