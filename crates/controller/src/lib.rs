//! What an agent sees and does, without its API. It starts the processes of VMs so that they outlive it, and
//! keeps each VM protected without anybody's help.
//!
//! What an agent thinks is the crate `plan`. The only one who can act for a VM is the agent of the host where
//! its live process runs: it is the VM's controller, so there is no leader and no election. An agent that has
//! just started knows as much as one that has run for a year: the site's store has what people want, and the
//! processes what is so.
//!
//! Map, from below: `limits` has all bounds; `records` is what stands in the store, with `hang_records` in
//! it, `known` what was read of it, `keeper` the store itself; `processes` are those of this host, and
//! `killing` ends one of them for a test; `facts` is what agents tell each other, `sight` makes of it what
//! the planner looks at; `happenings` is what has happened; `mind` looks, decides and acts, and gives a
//! `scene` of what it sees; `wishes` are the changes that people make. The crate `agent` answers people and
//! other agents with all of it.
#![forbid(unsafe_code)]

pub mod facts;
pub mod hang_records;
pub mod happenings;
pub mod keeper;
mod killing;
pub mod known;
pub mod limits;
pub mod mind;
pub mod processes;
pub mod records;
pub mod scene;
mod sight;
pub mod wishes;

use std::path::PathBuf;

/// What an agent must be told of the program that it is part of.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program's file, which is started for each VM.
    pub executable: PathBuf,
    /// Its version.
    pub version: &'static str,
    /// Can it run guests' code translated on this host?
    pub translates: bool,
    /// The directory of this user's control sockets.
    pub sockets: PathBuf,
    /// Reads the settings of a VM; the sentence of an error says what is wrong with them.
    pub read_vm: fn(&str) -> Result<VmFacts, String>,
    /// For a program that starts agents to try them: every process that this agent starts ends with it, and
    /// writes what happens into a file of its own in this directory. `None`: processes outlive the agent.
    pub trial: Option<PathBuf>,
}

/// What an agent must know of a VM's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmFacts {
    /// Name of the VM.
    pub name: messages::vm_name::VmName,
    /// Size of its guest's memory, in bytes.
    pub memory_bytes: u64,
    /// Do the settings say where its console is?
    pub has_console: bool,
    /// How its guest is watched for a hang.
    pub hang: HangFacts,
}

/// How the settings of a VM want its guest to be watched for a hang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HangFacts {
    /// Where the guest answers as long as it is well: an address and a TCP port; `None`: it is not probed.
    pub probe: Option<(String, u16)>,
    /// For how long the guest may be silent before that is told.
    pub after: messages::time::Span,
    /// Is a guest that hangs reset? If not, it is only told.
    pub resets: bool,
}

/// Locks what threads share. A thread that has panicked has ended the whole process, so no lock is poisoned.
pub fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
