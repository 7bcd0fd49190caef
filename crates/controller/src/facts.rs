//! `Report`: what an agent tells the other agents of its host and of the processes there. Each agent asks
//! each other for it a few times a second; so nobody needs the store to know how a VM is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use control::Status;
use machine::MODEL;
use messages::joining::{PROTOCOL, PROTOCOL_OLDEST};
use plan::limits::PROCESS_BYTES;
use serde::{Deserialize, Serialize};

use crate::Program;
use crate::happenings::Happened;
use membership::config::Config;

/// What an agent tells of its host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The host.
    pub host: HostFacts,
    /// Processes of VMs that run there.
    pub processes: Vec<ProcessReport>,
    /// VMs of this host that cannot be taken away from it though it is drained.
    pub stuck: Vec<String>,
    /// What has happened there after the number that was asked for, the oldest first.
    #[serde(default)]
    pub happened: Vec<Happened>,
    /// The number to ask for the next time.
    #[serde(default)]
    pub last_happened: u64,
}

/// A process of a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// What it has said last.
    pub status: Status,
    /// How old that was when the report was made, in milliseconds.
    pub age_ms: u64,
}

/// What is known of a host by its own agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Its name.
    pub name: String,
    /// The address at which processes of VMs on other hosts reach those of this host.
    pub address: IpAddr,
    /// Number that the kernel has drawn when the host booted.
    pub boot: String,
    /// Version of the program.
    pub version: String,
    /// Machine models that the program has.
    pub models: Vec<u32>,
    /// Oldest version of the replicas' protocol that it speaks.
    pub protocol_oldest: u32,
    /// Newest version of the replicas' protocol that it speaks.
    pub protocol_newest: u32,
    /// Memory that VMs may use in all, in bytes.
    pub memory_bytes: u64,
    /// Memory of it that is free, in bytes.
    pub free_bytes: u64,
    /// Processors that the host has for VMs.
    pub processors: u32,
    /// Steps a second of the loop by which agents measure their hosts; 0: it was not measured yet.
    #[serde(default)]
    pub steps_per_second: u64,
    /// Can guests' code be translated there?
    pub translates: bool,
    /// The part of the site that fails as a whole with it.
    pub zone: Option<String>,
    /// Protected VMs of which it may hold a half.
    pub protected_max: u32,
}

/// What does not change while the agent runs, but for the speed, which is measured when it begins.
#[derive(Clone, Debug)]
pub struct Fixed {
    facts: HostFacts,
    memory_percent: u64,
}

impl Fixed {
    /// What this host is, by its file and its kernel.
    #[must_use]
    pub fn new(config: &Config, program: &Program) -> Fixed {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        let facts = HostFacts {
            name: config.host.clone(),
            address: config.address,
            boot: os::identity::boot_id(),
            version: program.version.to_owned(),
            models: vec![MODEL],
            protocol_oldest: u32::try_from(PROTOCOL_OLDEST).unwrap_or(u32::MAX),
            protocol_newest: u32::try_from(PROTOCOL).unwrap_or(u32::MAX),
            memory_bytes: 0,
            free_bytes: 0,
            processors: config.resources.processors.map_or(all, |wanted| wanted.min(all)),
            steps_per_second: 0,
            translates: program.translates,
            zone: config.zone.clone(),
            protected_max: config.resources.protected_max,
        };
        Fixed {
            facts,
            memory_percent: config.resources.memory_percent,
        }
    }

    /// This host was measured: steps a second. The fastest measurement counts, since what else the host does
    /// only ever slows one down.
    pub fn measured(&mut self, steps_per_second: u64) {
        let best = self.facts.steps_per_second.max(steps_per_second);
        self.facts.steps_per_second = best;
    }

    /// What this host is now. `promised`: sizes in bytes of the memories of the guests of which it holds a
    /// half or is to hold one. A guest that has not touched its memory yet may do so at any time, so what the
    /// kernel calls available is not free.
    #[must_use]
    pub fn now(&self, promised: &[u64]) -> HostFacts {
        let memory = memory();
        let all = memory.all.saturating_mul(self.memory_percent) / 100;
        let taken = promised.iter().fold(0_u64, |sum, bytes| {
            sum.saturating_add(*bytes).saturating_add(PROCESS_BYTES)
        });
        HostFacts {
            memory_bytes: all,
            free_bytes: all.saturating_sub(taken).min(memory.available),
            ..self.facts.clone()
        }
    }
}

/// Memory of a host, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    all: u64,
    available: u64,
}

fn memory() -> Memory {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    parse(&text)
}

fn parse(meminfo: &str) -> Memory {
    let fields: BTreeMap<&str, u64> = meminfo
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
            Some((name, kib << 10))
        })
        .collect();
    let field = |name| fields.get(name).copied().unwrap_or(0);
    Memory {
        all: field("MemTotal"),
        available: field("MemAvailable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text =
            "MemTotal:       24576000 kB\nMemFree:  1 kB\nMemAvailable:   20000000 kB\nHugePages_Free: 0\n";
        let memory = parse(text);
        assert_eq!(
            (memory.all, memory.available),
            (24_576_000 << 10, 20_000_000 << 10)
        );
        assert_eq!(parse(""), Memory::default());
    }
}
