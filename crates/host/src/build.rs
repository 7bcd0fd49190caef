//! Builders of machines: the guest that `run`, `replay`, `primary` and `backup` are given, with an engine
//! that suits this host. Those are generic in their guest, and tests give them toys instead.
//!
//! What a machine computes must not depend on the engine that is chosen here.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use hart::profile::{Profile, Sampler, Watch};
use hart::{Engine, Interpreter};
pub use hart::{InterpreterOptions, NoTranslation, Translate, can_translate};
use machine::{Config, Machine};

use crate::spec::Images;
use os::sandbox::privileges::lock_ram;
use os::sys::clock;

/// A builder of machines, for `run`, `replay`, `primary` and `backup`.
///
/// The sentence of an error says what is wrong with the configuration, or with which of the files of
/// `images`.
pub fn machine(engine: InterpreterOptions, images: Images) -> impl FnMut(&Config) -> Result<Machine, String> {
    watched(engine, images, Watch::default())
}

/// A builder of machines without a state, for a guest that runs elsewhere.
pub fn blank(engine: InterpreterOptions) -> impl FnMut(&Config) -> Result<Machine, String> {
    move |config| {
        let engine = watched_engine(engine, Watch::default());
        let machine = Machine::blank(config.clone(), engine)
            .map_err(|error| error.sentence(&|image| format!("the {image}")))?;
        lock_ram(machine.ram());
        Ok(machine)
    }
}

/// A builder of a machine whose engine is watched. If it builds a second one, that is not watched.
pub fn watched(
    engine: InterpreterOptions,
    images: Images,
    mut watch: Watch,
) -> impl FnMut(&Config) -> Result<Machine, String> {
    move |config| {
        let engine = watched_engine(engine, std::mem::take(&mut watch));
        let machine = Machine::new(config.clone(), engine)
            .map_err(|error| error.sentence(&|image| images.called(image)))?;
        lock_ram(machine.ram());
        Ok(machine)
    }
}

/// A builder of the machine that a snapshot of a replay holds, for a replay that starts in the middle.
pub fn snapshot(
    path: &Path,
    engine: InterpreterOptions,
    mut watch: Watch,
) -> impl FnMut(&Config) -> Result<Machine, String> {
    move |config| {
        let mut file = File::open(path)
            .map_err(|error| format!("cannot read the snapshot {}: {error}", path.display()))?;
        restore(path, &mut file, config, engine, std::mem::take(&mut watch))
    }
}

/// A builder of the machine that `file` holds, the rest of the snapshot at `path` (`crate::Origin`). It
/// builds one machine.
pub fn restored(
    path: &Path,
    mut file: impl Read,
    engine: InterpreterOptions,
    mut watch: Watch,
) -> impl FnMut(&Config) -> Result<Machine, String> {
    move |config| {
        let machine = restore(path, &mut file, config, engine, std::mem::take(&mut watch))?;
        lock_ram(machine.ram());
        Ok(machine)
    }
}

fn restore(
    path: &Path,
    file: &mut dyn Read,
    config: &Config,
    engine: InterpreterOptions,
    watch: Watch,
) -> Result<Machine, String> {
    let engine = watched_engine(engine, watch);
    Machine::restore(config.clone(), engine, file).map_err(|error| {
        format!(
            "cannot use the snapshot {}: {}",
            path.display(),
            os::error::chain(&error)
        )
    })
}

/// A profile that takes a sample each time the guest has run `every` steps.
#[must_use]
pub fn profile(every: u64) -> Arc<Profile> {
    Arc::new(Profile::new(every, || clock::now().0))
}

fn watched_engine(options: InterpreterOptions, watch: Watch) -> Box<dyn Engine> {
    let profile = watch.profile.clone();
    let engine = Interpreter::watched(options, watch);
    match profile {
        Some(profile) => Box::new(Sampler::new(engine, profile)),
        None => Box::new(engine),
    }
}
