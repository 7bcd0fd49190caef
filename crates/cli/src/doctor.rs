//! `lockstep doctor`: looks whether this host, and the others of its site, can hold VMs well. The crate
//! `doctor` looks and judges; here its findings are printed.

use std::process::ExitCode;

use anyhow::Result;
use doctor::{Line, Patient, Verdict};

use crate::args::DoctorArgs;
use crate::exit::NOT_AS_WANTED;
use crate::{site, spec};

/// Prints what is found, a line for each finding.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let lines = doctor::examine(&Patient {
        config: args.config.clone(),
        sockets: spec::local_directory(),
        agent: site::named_socket(),
        no_translation: host::build::can_translate().err().map(|why| why.to_string()),
        version: env!("CARGO_PKG_VERSION"),
        peers: args.peers,
    });
    for line in &lines {
        match args.json {
            true => say!("{}", serde_json::to_string(line)?),
            false => say!("{}", text(line)),
        }
    }
    let count = |verdict: Verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let (ok, warn, no) = (count(Verdict::Ok), count(Verdict::Warn), count(Verdict::No));
    if !args.json {
        say!("{ok} ok, {warn} warn, {no} no");
    }
    Ok(ExitCode::from(if no == 0 { 0 } else { NOT_AS_WANTED }))
}

/// A finding as people read it.
fn text(line: &Line) -> String {
    let host = line
        .host
        .as_ref()
        .map_or(String::new(), |host| format!("{host}, "));
    format!(
        "{:<4}  {host}{}: {}",
        line.verdict.word(),
        line.about,
        line.sentence
    )
}
