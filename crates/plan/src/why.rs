//! `Why`: every reason that people are given for how a VM is, for what is not done, and for why a host is not
//! taken. Each has a code for programs and a sentence that names the thing and says what to do.
//!
//! Placement, planner and face make these values; nothing else in the program words a reason of an agent. The
//! sentences are in `sentences`; docs/reasons.md is made of both.

use messages::time::Span;
use messages::vm_name::VmName;
use report::{FlagWord, Reason, SuspicionWord};

use crate::host::{HostName, Protocols};
use crate::moment::Wall;

/// What a host has too little of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// Memory, in bytes.
    Memory {
        /// What is free.
        free_bytes: u64,
        /// What the VM needs, with what the host keeps free.
        needed_bytes: u64,
    },
    /// Processors: each of them is busy.
    Processors {
        /// How many the host has.
        all: u32,
    },
}

/// What a host's program has not in common with the VM's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlike {
    /// The machine model.
    Model {
        /// The newest that the host has; `None`: none at all.
        newest: Option<u32>,
        /// That of the VM.
        wanted: u32,
    },
    /// The versions of the replicas' protocol.
    Protocol {
        /// Those of the host.
        spoken: Protocols,
        /// Those of the VM's process.
        wanted: Protocols,
    },
}

/// Why a host would be slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// It would run at this share of the owner's speed, in hundredths.
    Percent(u64),
    /// It cannot translate the guest's code, as the owner's host does.
    NoTranslator,
}

/// How a backup was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The owner came to suspect it.
    Suspected(SuspicionWord),
    /// It has taken the VM over from this host, and nobody follows it yet.
    TookOver,
    /// It diverged, as the process said.
    Diverged {
        /// Step of the guest.
        step: u64,
        /// First component that differs.
        part: String,
    },
}

/// How a VM came to have no process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was never started.
    Never,
    /// The guest switched itself off.
    SwitchedOff,
    /// This person stopped it.
    Stopped {
        /// Name of the person.
        by: String,
    },
    /// The process died, or its host did: nobody wanted that.
    Died,
}

/// Why something is as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A backup is wanted, and a host is being looked for.
    Choosing,
    /// A host is called, to be the backup.
    Connecting {
        /// The host.
        host: HostName,
    },
    /// Memory is copied.
    Copying {
        /// Where it is copied to.
        host: HostName,
        /// Bytes that were copied.
        done_bytes: u64,
        /// Bytes that are to be copied in all, as far as is known.
        total_bytes: u64,
        /// Bytes a second; `None`: not known yet.
        bytes_per_second: Option<u64>,
    },
    /// A host has the memory and replays what has happened since.
    CatchingUp {
        /// The host.
        host: HostName,
        /// How far it is behind.
        lag: Span,
    },
    /// A host has caught up, and the arbiter is asked.
    Arming {
        /// The host.
        host: HostName,
        /// Outputs of before that have not left.
        outputs: u64,
    },
    /// A disk of the backup is brought up to date.
    SyncingDisks {
        /// Name of the disk.
        disk: String,
        /// Bytes that were copied.
        done_bytes: u64,
        /// Bytes that are to be copied in all.
        total_bytes: u64,
        /// Bytes a second; `None`: not known yet.
        bytes_per_second: Option<u64>,
    },
    /// A host has too little of something.
    HostFull {
        /// The host.
        host: HostName,
        /// The VM that needs it.
        vm: VmName,
        /// What is scarce.
        scarce: Scarce,
    },
    /// A host's agent is not heard.
    HostSilent {
        /// The host.
        host: HostName,
        /// For how long; `None`: it was never heard.
        age: Option<Span>,
    },
    /// A host is being drained.
    HostDraining {
        /// The host.
        host: HostName,
        /// Since when.
        since: Wall,
        /// Who asked for it.
        by: String,
    },
    /// A host holds a half of the VM already.
    HostSame {
        /// The host.
        host: HostName,
        /// Does it run the primary? If not, it holds the backup.
        is_owner: bool,
    },
    /// A host would fail together with the owner's.
    HostZone {
        /// The host.
        host: HostName,
        /// The zone in which both are.
        zone: String,
    },
    /// A host has failed the VM, and is left alone for a while.
    HostShunned {
        /// The host.
        host: HostName,
        /// The VM.
        vm: VmName,
        /// What it did, as a clause: `was too slow`.
        why: String,
        /// When it did that.
        at: Wall,
        /// When it is tried again.
        until: Wall,
    },
    /// A host's program does not fit the VM.
    HostModel {
        /// The host.
        host: HostName,
        /// Version of its program.
        version: String,
        /// What does not fit.
        unlike: Unlike,
        /// Version of the program on the owner's host; `None`: not known.
        wanted_version: Option<String>,
    },
    /// A host does not see a storage.
    HostStorage {
        /// The host.
        host: HostName,
        /// The storage.
        storage: String,
    },
    /// A host sees something else in a storage's place.
    HostStorageOther {
        /// The host.
        host: HostName,
        /// Path of it on that host.
        path: String,
    },
    /// A host lacks a network.
    HostNetwork {
        /// The host.
        host: HostName,
        /// The network.
        network: String,
    },
    /// A host would be slow.
    HostSlow {
        /// The host.
        host: HostName,
        /// How slow.
        slow: Slow,
    },
    /// A host holds as many protected VMs as it may.
    HostLimit {
        /// The host.
        host: HostName,
        /// How many that are.
        limit: u32,
    },
    /// A host's agent has refused, or has not done it.
    HostRefused {
        /// The host.
        host: HostName,
        /// What its agent said, as a clause or sentence.
        sentence: String,
        /// When it is asked again.
        until: Wall,
    },
    /// The site has no other host.
    NoHosts,
    /// The arbiter is silent.
    ArbiterAway {
        /// What the arbiter is.
        place: String,
        /// For how long.
        age: Span,
    },
    /// It was tried, and is tried again.
    Tries {
        /// How many times.
        count: u32,
        /// What came of the last one.
        last: String,
        /// When it is tried again; `None`: it is not.
        next: Option<Wall>,
    },
    /// The VM has lost its backup.
    BackupLost {
        /// The host of the backup; `None`: not known.
        host: Option<HostName>,
        /// When it was lost.
        at: Wall,
        /// How it was lost.
        how: Loss,
    },
    /// Somebody wants it so.
    User {
        /// The VM.
        vm: VmName,
        /// Name of that person.
        by: String,
        /// When that person said so.
        at: Wall,
        /// Why, in that person's words; empty: nothing was said.
        comment: String,
        /// The command that undoes it, without the VM's name.
        undo: &'static str,
    },
    /// The VM's settings want it so.
    Policy {
        /// The VM.
        vm: VmName,
    },
    /// The VM has no process.
    Off {
        /// The VM.
        vm: VmName,
        /// How that came about.
        how: End,
        /// When it did.
        at: Wall,
    },
    /// The guest's kernel has panicked.
    Panicked {
        /// What it wrote.
        line: String,
    },
    /// The guest hangs, as its agent has found.
    GuestSilent {
        /// The VM.
        vm: VmName,
        /// What tells that, as a clause.
        why: String,
        /// For how long.
        age: Span,
    },
    /// A disk does not answer.
    DiskAway {
        /// Name of the disk.
        disk: String,
        /// For how long.
        age: Span,
    },
    /// Nobody knows whether an earlier owner has ended.
    ClaimOpen {
        /// The VM.
        vm: VmName,
        /// The owner's epoch.
        epoch: u64,
        /// The owner's host.
        host: HostName,
    },
    /// The other side has the VM.
    Lost {
        /// The host that has it; `None`: not known.
        host: Option<HostName>,
        /// The epoch that it won.
        epoch: u64,
    },
    /// The site's directory cannot be read.
    DirectoryAway {
        /// When it was read last.
        since: Wall,
    },
    /// The agent is silent that tells of the VM.
    AgentAway {
        /// The VM.
        vm: VmName,
        /// The agent's host.
        host: HostName,
        /// For how long; `None`: it was never heard.
        age: Option<Span>,
    },
    /// The VM's process is silent, and the agent of its host is not.
    ProcessSilent {
        /// The VM.
        vm: VmName,
        /// The host.
        host: HostName,
        /// For how long.
        age: Span,
    },
    /// The process has an order, and its status does not show yet what comes of it.
    Ordered,
    /// Another VM goes first.
    Turn {
        /// The VM that goes first.
        first: VmName,
    },
    /// A VM that died waits for a member to take it over, before it is started anew.
    ColdStart {
        /// When it is started.
        at: Wall,
    },
    /// It goes well, but not as well as it should.
    Flag {
        /// What is amiss.
        flag: FlagWord,
        /// A value for the sentence, such as a host or a time; empty: the sentence has none.
        what: String,
    },
    /// What the VM's process says of itself, in its own code and sentence (docs/control.md).
    Told(Reason),
}

impl Why {
    /// The host that the reason is about, for programs; `None`: it is about none, or about the VM as a whole.
    #[must_use]
    pub fn host(&self) -> Option<&HostName> {
        match self {
            Why::Connecting { host }
            | Why::Copying { host, .. }
            | Why::CatchingUp { host, .. }
            | Why::Arming { host, .. }
            | Why::HostFull { host, .. }
            | Why::HostSilent { host, .. }
            | Why::HostDraining { host, .. }
            | Why::HostSame { host, .. }
            | Why::HostZone { host, .. }
            | Why::HostShunned { host, .. }
            | Why::HostModel { host, .. }
            | Why::HostStorage { host, .. }
            | Why::HostStorageOther { host, .. }
            | Why::HostNetwork { host, .. }
            | Why::HostSlow { host, .. }
            | Why::HostLimit { host, .. }
            | Why::HostRefused { host, .. }
            | Why::ClaimOpen { host, .. }
            | Why::AgentAway { host, .. }
            | Why::ProcessSilent { host, .. } => Some(host),
            Why::BackupLost { host, .. } | Why::Lost { host, .. } => host.as_ref(),
            _ => None,
        }
    }

    /// The reason in a word, for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Why::Choosing => "choosing",
            Why::Connecting { .. } => "connecting",
            Why::Copying { .. } => "copying",
            Why::CatchingUp { .. } => "catching-up",
            Why::Arming { .. } => "arming",
            Why::SyncingDisks { .. } => "syncing-disks",
            Why::HostFull { .. } => "host-full",
            Why::HostSilent { .. } => "host-silent",
            Why::HostDraining { .. } => "host-draining",
            Why::HostSame { .. } => "host-same",
            Why::HostZone { .. } => "host-zone",
            Why::HostShunned { .. } => "host-shunned",
            Why::HostModel { .. } => "host-model",
            Why::HostStorage { .. } => "host-storage",
            Why::HostStorageOther { .. } => "host-storage-other",
            Why::HostNetwork { .. } => "host-network",
            Why::HostSlow { .. } => "host-slow",
            Why::HostLimit { .. } => "host-limit",
            Why::HostRefused { .. } => "host-refused",
            Why::NoHosts => "no-hosts",
            Why::ArbiterAway { .. } => "arbiter-away",
            Why::Tries { .. } => "tries",
            Why::BackupLost { .. } => "backup-lost",
            Why::User { .. } => "user",
            Why::Policy { .. } => "policy",
            Why::Off { .. } => "off",
            Why::Panicked { .. } => "panicked",
            Why::GuestSilent { .. } => "guest-silent",
            Why::DiskAway { .. } => "disk-away",
            Why::ClaimOpen { .. } => "claim-open",
            Why::Lost { .. } => "lost",
            Why::DirectoryAway { .. } => "directory-away",
            Why::AgentAway { .. } => "agent-away",
            Why::ProcessSilent { .. } => "process-silent",
            Why::Ordered => "ordered",
            Why::Turn { .. } => "turn",
            Why::ColdStart { .. } => "cold-start",
            Why::Flag { flag, .. } => flag.as_str(),
            Why::Told(reason) => &reason.code,
        }
    }
}

/// A reason of which only code and sentence matter.
pub(crate) fn told(code: &str, sentence: &str) -> Why {
    Why::Told(Reason::new(code, sentence))
}
