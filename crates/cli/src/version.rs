//! `lockstep version`: what this program is and what it understands. Two hosts whose lines are equal can make
//! a pair, and a log can be replayed by a program whose log format and machine model are those of the log.
//!
//! `--version` says the same of the program and its commit alone.

use anyhow::Result;
use serde::Serialize;

/// The version with the commit that it was built of, for `--version`.
pub const WITH_COMMIT: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("LOCKSTEP_COMMIT"),
    ")"
);

/// All that `lockstep version` tells.
#[derive(Serialize)]
struct Version {
    version: &'static str,
    commit: &'static str,
    /// Version of the protocol between the halves of a pair.
    protocol: u64,
    /// Version of the format of logs.
    log_format: u32,
    /// What a guest can see of its machine: programs with other models compute other guests.
    machine_model: String,
    /// Can this host run translated code? If not, every instruction is interpreted.
    translates: bool,
}

/// Prints the version.
pub fn run(json: bool) -> Result<()> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("LOCKSTEP_COMMIT"),
        protocol: replica::peer::joining::PROTOCOL,
        log_format: replica::log::codec::VERSION,
        machine_model: format!("virt {}", hart::isa::string()),
        translates: host::build::can_translate().is_ok(),
    };
    if json {
        say!("{}", serde_json::to_string(&version)?);
        return Ok(());
    }
    say!("lockstep {WITH_COMMIT}");
    say!("protocol between the halves of a pair: {}", version.protocol);
    say!("format of logs: {}", version.log_format);
    say!("machine model: {}", version.machine_model);
    match host::build::can_translate() {
        Ok(()) => say!("this host: the guest is translated to machine code"),
        Err(why) => say!("this host: every instruction is interpreted, since {why}"),
    }
    Ok(())
}
