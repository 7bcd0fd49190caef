//! `lockstep demo`: builds the guest if it is missing, and has the crate `demo` show what becomes of it.

use std::process::ExitCode;

use ::demo::{Kill, Options};
use anyhow::{Result, anyhow};

use crate::args::DemoArgs;
use crate::{image, spec, usage};

/// Runs the demo.
pub fn run(args: DemoArgs) -> Result<ExitCode> {
    if !args.cluster && args.kill == Kill::None && args.kills != 1 {
        return Err(usage::mark(anyhow!(
            "`--kill none` kills nobody; leave `--kills` out"
        )));
    }
    // Before the demo has namespaces of its own: an image is made of what the network gives.
    let appliance = image::appliance(&::image::ApplianceOptions::default())?;
    let options = Options {
        kill: args.kill,
        kills: args.kills,
        seconds: args.seconds,
        harts: args.harts,
        clients: args.clients,
        timeout_ms: args.timeout_ms,
        timeout_only: args.timeout_only,
        directory: args.directory,
        netns: args.netns,
        is_within: args.is_within,
        keep: args.keep,
        json: args.json,
        sockets: spec::local_directory(),
    };
    match args.cluster {
        true => ::demo::of_cluster(&appliance, &options),
        false => ::demo::of_pair(&appliance, &options),
    }
}
