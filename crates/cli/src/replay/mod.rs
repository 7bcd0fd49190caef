//! `lockstep replay`: runs a machine again from its log, and compares every output and digest.
//!
//! The machine is that of the log: what is given of it must be the same, and images that are not given are
//! looked for (`originals`). The guest's console is shown, everything else that it puts out is dropped. A
//! difference is an error.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use console::ConsoleSpec;
use host::{ReplayOptions, Replayed};
use machine::{Effect, Machine, Step};

use crate::args::ReplayArgs;
use crate::fits::fits;
use crate::watching::Watching;
use crate::{log, spec, usage, vm};

mod originals;

/// Replays a log to its end, or to `--until`.
pub fn run(args: &ReplayArgs) -> Result<()> {
    let file = vm::load(&args.vm)?;
    let mut spec = spec::vm(&file).map_err(usage::mark)?;
    let header = log::header_of(&args.log)?;
    fits("the log", &file, &spec, &header)?;
    originals::find(&header, &mut spec)?;
    let is_shown = !args.result.json && spec.serial != ConsoleSpec::None;
    let mut options = ReplayOptions::default();
    options.until = args.until.map_or(options.until, Step);
    options.slice = args.slice.unwrap_or(options.slice);
    let watching = Watching::new(&args.profile)?;
    let (engine, watch) = (spec::engine(&args.engine), watching.watch()?);
    let mut seen = |effect| show(effect, is_shown);
    let (replayed, mut machine) = match &args.from {
        Some(path) => {
            let build = &mut host::build::snapshot(path, engine, watch);
            host::replay(&spec, &args.log, options, build, &mut seen)?
        }
        None => host::replay(
            &spec,
            &args.log,
            options,
            &mut host::build::watched(engine, spec.images(), watch),
            &mut seen,
        )?,
    };
    if let Some(path) = &args.save {
        save(&mut machine, path)?;
    }
    report(&replayed, &mut machine, args.result.json, watching.finish()?);
    Ok(())
}

/// Shows what the guest wrote to its console, if somebody wants to see it.
fn show(effect: Effect, is_shown: bool) {
    if let (Effect::ConsoleWrite { bytes, .. }, true) = (effect, is_shown) {
        let mut out = std::io::stdout().lock();
        // A closed terminal does not stop a replay.
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
    }
}

fn save(machine: &mut Machine, path: &Path) -> Result<()> {
    let failed = || format!("cannot write the snapshot {}", path.display());
    let mut out = std::io::BufWriter::new(File::create(path).with_context(failed)?);
    machine.save(&mut out).with_context(failed)?;
    out.flush().with_context(failed)
}

fn report(replayed: &Replayed, machine: &mut Machine, json: bool, profile: Option<serde_json::Value>) {
    let Replayed {
        at,
        end,
        digests,
        outputs,
    } = replayed;
    // A log that was cut off is replayed as far as it goes; that is no failure.
    let ending = end.map_or_else(|| format!("stopped at step {at}"), log::ending);
    if json {
        let mut figures = serde_json::json!({
            "step": at.0, "digests_compared": digests, "outputs_compared": outputs,
            "divergences": 0, "digest": format!("{:032x}", machine.digest().0), "ending": ending,
        });
        if let Some(profile) = profile {
            figures["profile"] = profile;
        }
        say!("{figures}");
    } else {
        tell!(
            "lockstep: replayed to step {at}; equal digests: {digests}, equal outputs: {outputs}; {ending}"
        );
    }
}
