//! `lockstep replay`: runs a machine again from its log, and compares every output and digest.
//!
//! The machine is that of the log: what is given of it must be the same, and images that are not given are
//! looked for (`originals`). The guest's console is shown, everything else that it puts out is dropped. A
//! difference is an error.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use console::ConsoleSpec;
use host::{ReplayOptions, Replayed, VmSpec};
use machine::{Effect, Machine, Step};
use replica::Header;
use report::amount;

use crate::args::ReplayArgs;
use crate::vm_file::VmFile;
use crate::watching::Watching;
use crate::{log, spec, usage, vm};

mod originals;

/// Replays a log to its end, or to `--until`.
pub fn run(args: &ReplayArgs) -> Result<()> {
    let file = vm::load(&args.vm)?;
    let mut spec = spec::vm(&file).map_err(usage::mark)?;
    let header = log::header_of(&args.log)?;
    fits(&file, &spec, &header)?;
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

/// Is what was given of the machine what the log says? What is not given, or means nothing to a replay, is
/// left to the log.
fn fits(file: &VmFile, spec: &VmSpec, header: &Header) -> Result<()> {
    let differs = |flag: &str, log: String, given: String| {
        bail!("the log's machine has {log}, not {given}; leave `--{flag}` out (or the line of VM.toml)")
    };
    if file.memory.is_some() && spec.memory != header.memory {
        let [log, given] = [header.memory, spec.memory].map(amount::bytes);
        return differs("memory", format!("{log} of memory"), given);
    }
    if file
        .harts
        .is_some_and(|harts| harts as u64 != u64::from(header.harts))
    {
        return differs("harts", format!("{} harts", header.harts), spec.harts.to_string());
    }
    if file.append.is_some() && spec.append != header.command_line {
        let log = format!("the command line `{}`", header.command_line);
        return differs("append", log, format!("`{}`", spec.append));
    }
    if file.virtio.is_some() && spec.virtio != header.virtio {
        let [log, given] = [header.virtio, spec.virtio].map(|virtio| virtio.version().to_string());
        return differs("virtio", format!("version {log} of virtio-mmio"), given);
    }
    if !spec.disks.is_empty() && spec.disks.len() != header.disks.len() {
        let log = format!("{} disks", header.disks.len());
        return differs("disk", log, spec.disks.len().to_string());
    }
    if !spec.nets.is_empty() && spec.nets.len() != header.nets.len() {
        let log = format!("{} network devices", header.nets.len());
        return differs("net", log, spec.nets.len().to_string());
    }
    let macs = spec.nets.iter().zip(&header.nets);
    if let Some((_, log)) = macs
        .into_iter()
        .find(|(given, log)| given.mac.is_some_and(|mac| mac != log.mac))
    {
        let log = format!("the Ethernet address {}", log::objects::hex(&log.mac));
        return differs("mac", log, file.mac.clone().unwrap_or_default());
    }
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
