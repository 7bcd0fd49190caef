//! `Host`: what is known of a host of the site, as its agent has told it last. `placement` judges hosts by
//! these facts, and the planner sees by them whose news is old and who is being drained.
//!
//! A fact may be as old as the news is: whoever uses one looks at `Host::age` first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use messages::time::{Span, Time};
use messages::vm_name::VmName;

use crate::limits::STALE_REMOTE;
use crate::moment::{Now, Wall};

/// The name of a host, as the site calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// A host's name. Any text will do: it stands in sentences and is compared, and is never a path.
    #[must_use]
    pub fn new(name: impl Into<String>) -> HostName {
        HostName(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The versions of a protocol that a program speaks, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocols {
    /// The oldest version that is spoken.
    pub oldest: u32,
    /// The newest version that is spoken.
    pub newest: u32,
}

impl Protocols {
    /// Is there a version that both speak?
    #[must_use]
    pub fn meet(self, other: Protocols) -> bool {
        self.oldest.max(other.oldest) <= self.newest.min(other.newest)
    }
}

/// How a host sees a storage of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// It is there, and its mark is that of the site.
    Shared,
    /// Something is there, but without the site's mark: another file of the same path.
    Other {
        /// Path of it on that host.
        path: String,
    },
}

/// That a host is being drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// When that was asked for.
    pub since: Wall,
    /// Who asked for it.
    pub by: String,
}

/// One VM of which a host holds a half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Size of its guest's memory, in bytes.
    pub memory_bytes: u64,
    /// The host whose agent controls it: where its owner runs.
    pub controller: HostName,
    /// Its controller has found no way to take it away from a host that is drained (`Decision::stuck`).
    pub stuck: bool,
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name of the host, one of its kind in the site.
    pub name: HostName,
    /// When its agent was heard last; `None`: never.
    pub heard: Option<Time>,
    /// Number that the host's kernel has drawn when it booted.
    pub boot: u128,
    /// Version of the program that is installed there, for sentences.
    pub version: String,
    /// Machine models that the program has (docs/protocol.md).
    pub models: BTreeSet<u32>,
    /// Versions of the replicas' protocol that the program speaks.
    pub protocols: Protocols,
    /// Memory that VMs may use in all, in bytes.
    pub memory_bytes: u64,
    /// Memory of it that is free, in bytes.
    pub free_bytes: u64,
    /// Processors that the host has for VMs.
    pub processors: u32,
    /// Processors of those that no VM's guest keeps busy.
    pub free_processors: u32,
    /// Steps a second of the loop by which agents measure their hosts; 0: not measured yet.
    pub steps_per_second: u64,
    /// Can guests' code be translated there?
    pub translates: bool,
    /// The part of the site that fails as a whole; `None`: the host is in no zone.
    pub zone: Option<String>,
    /// Storages of the site that the host sees, by name.
    pub storages: BTreeMap<String, Storage>,
    /// Networks of the site that the host has, by name.
    pub networks: BTreeSet<String>,
    /// That it is being drained; `None`: it is not.
    pub draining: Option<Drain>,
    /// Protected VMs of which it holds a half.
    pub protected: u32,
    /// Protected VMs of which it may hold a half.
    pub protected_max: u32,
    /// Time for a question to it and the answer, from this agent's host; `None`: not measured.
    pub round_trip: Option<Span>,
    /// VMs whose images and disks it knows from an earlier time.
    pub knows: BTreeSet<VmName>,
    /// VMs of which it holds a half now, by name.
    pub holds: BTreeMap<VmName, Held>,
}

impl Host {
    /// How long ago its agent was heard; `None`: never.
    #[must_use]
    pub fn age(&self, now: Now) -> Option<Span> {
        self.heard.map(|heard| now.time.since(heard))
    }

    /// Is what is known of it too old to be used?
    #[must_use]
    pub fn is_silent(&self, now: Now) -> bool {
        self.age(now).is_none_or(|age| age > STALE_REMOTE)
    }
}

/// The host of this name; `None`: the site has none of it.
#[must_use]
pub fn find<'a>(hosts: &'a [Host], name: &HostName) -> Option<&'a Host> {
    hosts.iter().find(|host| host.name == *name)
}
