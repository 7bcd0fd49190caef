//! `Watching`: who watches a run for `--profile` and `--perf-map`, and where the report goes at the end.
//!
//! Commands that run a guest here hand the watch to `host` with the engine; what is learned is told by the
//! crate `profile`. The guest computes the same with a watch and without.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use hart::profile::{Profile, Watch};
use profile::{EVERY_DEFAULT, PerfMap, Summary, Symbols};

use crate::args::ProfileArgs;

/// What the flags ask for.
pub struct Watching {
    profile: Option<Arc<Profile>>,
    symbols: Arc<Symbols>,
    map: bool,
    /// The file for the report, if the report does not go to the standard error. It is opened at the start:
    /// at the end this process may open nothing any more.
    file: Option<(PathBuf, File)>,
}

impl Watching {
    /// Gets ready to watch a run.
    pub fn new(args: &ProfileArgs) -> Result<Watching> {
        let every = args.profile_every.unwrap_or(EVERY_DEFAULT);
        let make = |path: PathBuf| match File::create(&path) {
            Ok(file) => Ok((path, file)),
            Err(error) => Err(error).with_context(|| format!("cannot write the profile {}", path.display())),
        };
        Ok(Watching {
            profile: args.profile.as_ref().map(|_| host::build::profile(every)),
            symbols: Arc::new(Symbols::load(&args.symbols)?),
            map: args.perf_map,
            file: args.profile.clone().flatten().map(make).transpose()?,
        })
    }

    /// The watch that the engine is given.
    pub fn watch(&self) -> Result<Watch> {
        let mut watch = Watch {
            profile: self.profile.clone(),
            map: None,
        };
        if self.map {
            let map =
                PerfMap::of_process(self.symbols.clone()).context("cannot write a map for perf in /tmp")?;
            tell!(
                "lockstep: perf finds the names of generated code in {}",
                map.path().display()
            );
            watch.map = Some(Box::new(map));
        }
        Ok(watch)
    }

    /// Tells people what was learned, and returns it for programs.
    pub fn finish(&self) -> Result<Option<serde_json::Value>> {
        let Some(profile) = &self.profile else {
            return Ok(None);
        };
        let summary = Summary::new(profile, &self.symbols);
        match &self.file {
            Some((path, file)) => (&*file)
                .write_all(summary.to_string().as_bytes())
                .with_context(|| format!("cannot write the profile {}", path.display()))?,
            // If its reader has gone, there is nobody to tell.
            None => os::stderr::write_text(format_args!("{summary}")),
        }
        Ok(Some(serde_json::to_value(&summary)?))
    }
}
