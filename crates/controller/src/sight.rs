//! From what this agent has read and heard to what the planner looks at: the statuses of processes and the
//! reports of other agents become `plan::View` and `plan::Host`, with hosts by name where a status has
//! addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use control::Status;
use messages::time::{Span, Time};
use messages::vm_name::VmName;
use plan::{Cloning, Drain, Health, Held, Host, HostName, Now, Process, Protocols, View, Wall};
use report::{FlagWord, PhaseWord, RoleWord};

use crate::facts::{HostFacts, Report};
use crate::known::Known;

/// What was heard of a host.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When that was.
    pub at: Time,
    /// What its agent told.
    pub report: Report,
    /// Time for the question and the answer; `None`: it is this agent's own.
    pub round_trip: Option<Span>,
}

/// What this agent has heard of each host, its own too.
pub type AllHeard = BTreeMap<HostName, Heard>;

/// The host at this address; `None`: none that is known has it.
fn host_at(known: &Known, heard: &AllHeard, address: IpAddr) -> Option<HostName> {
    let told = heard
        .iter()
        .find(|(_, heard)| heard.report.host.address == address);
    let card = || known.hosts.iter().find(|(_, card)| card.value.address == address);
    told.map(|(name, _)| name.clone())
        .or_else(|| card().map(|(name, _)| name.clone()))
}

/// The host of a process that a status names by its address. A host that nobody knows keeps the address as
/// its name.
#[must_use]
pub fn host_of(known: &Known, heard: &AllHeard, peer: &str) -> HostName {
    let address = peer.parse::<SocketAddr>().ok().map(|address| address.ip());
    let host = address.and_then(|address| host_at(known, heard, address));
    host.unwrap_or_else(|| HostName::new(peer))
}

/// The host of the other half of a process on `own`; `None`: it has none. Where the address says nothing,
/// since the other side has called from another of its host's addresses, it is where the VM's other half is
/// seen, or was noted last.
fn peer_host(known: &Known, heard: &AllHeard, own: &HostName, status: &Status) -> Option<HostName> {
    let peer = status
        .peer
        .as_ref()
        .filter(|_| status.role != Some(RoleWord::Solo))?;
    let address = peer.parse::<SocketAddr>().ok().map(|address| address.ip());
    if let Some(host) = address.and_then(|address| host_at(known, heard, address)) {
        return Some(host);
    }
    let is_other_half = |told: &Status| {
        let is_live = told.is_live();
        let may_be = is_live || told.role == Some(RoleWord::Backup);
        told.name == status.name && may_be && is_live != status.is_live()
    };
    let others = heard.iter().filter(|(host, _)| *host != own);
    let mut seen = others.filter(|(_, heard)| {
        let mut processes = heard.report.processes.iter();
        processes.any(|told| is_other_half(&told.status))
    });
    let noted = || {
        let vm = VmName::new(&status.name).ok()?;
        let place = known.vms.get(&vm)?.place.as_ref()?;
        let noted = match status.is_live() {
            true => place.value.member.clone()?,
            false => place.value.owner.clone(),
        };
        Some(HostName::new(noted)).filter(|noted| noted != own)
    };
    let host = seen.next().map(|(host, _)| host.clone()).or_else(noted);
    Some(host.unwrap_or_else(|| HostName::new(peer.as_str())))
}

/// What the status of a process on `own` says, for the planner.
#[must_use]
pub fn process(known: &Known, heard: &AllHeard, own: &HostName, status: &Status) -> Process {
    let figures = status.figures.as_deref();
    let reason = |code: &str| {
        let all = &status.protection.reasons;
        all.iter()
            .find(|reason| reason.code == code)
            .map(|reason| reason.sentence.clone())
    };
    let is_panicked = status.protection.flags.contains(&FlagWord::Panicked);
    Process {
        number: status.pid.into(),
        role: status.role,
        guest: status.guest,
        is_paused: status.paused_since_wall_ns.is_some(),
        protection: status.protection.clone(),
        epoch: status.epoch,
        first_epoch: status.first_epoch,
        peer: peer_host(known, heard, own, status),
        clone: status.clone.as_ref().map(|clone| Cloning {
            to: host_of(known, heard, &clone.peer),
            phase: clone.phase,
            done_bytes: clone.copied_bytes,
            total_bytes: clone.total_bytes,
            bytes_per_second: None,
            lag: figures
                .filter(|_| clone.phase == PhaseWord::CatchingUp)
                .map_or(Span(0), |figures| Span((figures.lag_ms * 1e6) as u64)),
            outputs: figures.map_or(0, |figures| figures.outputs_held),
        }),
        sync: None,
        is_dismissing: status.is_dismissing,
        is_swapping: status.is_swapping,
        has_snapshot: status.has_snapshot,
        can_have_backup: status.arbiter.is_some(),
        has_power_button: false,
        panic: is_panicked.then(|| reason("panicked")).flatten(),
        output_delay: figures
            .filter(|figures| figures.output_delay.count > 0)
            .map(|figures| Span((figures.output_delay.p99_us * 1e3) as u64)),
    }
}

/// How a process is off, for the planner. A side that cannot know whether its network leads somewhere is not
/// known to be better off.
#[must_use]
pub fn health(now: Now, told: &control::Health) -> Health {
    let time_of = |wall: u64| Time(now.time.0.saturating_sub(now.since_wall(Wall(wall)).0));
    Health {
        is_net_down: told.net_down != Some(false),
        net_down_since: told.net_down_since_wall_ns.map(time_of),
        disk_away: told
            .disks_away
            .first()
            .map(|disk| (disk.path.clone(), time_of(disk.since_wall_ns))),
        is_arbiter_away: told.arbiter_away_since_wall_ns.is_some(),
        is_loaded: told.loaded,
    }
}

/// All views of a VM's processes that were told, with how old each is at `now`.
#[must_use]
pub fn views(now: Time, known: &Known, heard: &AllHeard, vm: &VmName) -> Vec<View> {
    let of_host = |(name, heard_of): (&HostName, &Heard)| {
        let since = now.since(heard_of.at);
        let processes = heard_of.report.processes.iter();
        let of_vm = processes.filter(|process| process.status.name == vm.as_str());
        let views = of_vm.map(|told| View {
            host: name.clone(),
            process: process(known, heard, name, &told.status),
            age: Span(since.0.saturating_add(told.age_ms.saturating_mul(1_000_000))),
        });
        views.collect::<Vec<_>>()
    };
    heard.iter().flat_map(of_host).collect()
}

/// A host for the planner. `sizes` are the memories of the site's VMs, in bytes.
#[must_use]
pub fn host(name: &HostName, known: &Known, heard: &AllHeard, sizes: &BTreeMap<VmName, u64>) -> Host {
    let told = heard.get(name);
    let facts = told.map(|told| &told.report.host);
    let draining = known.drains.get(name).map(|drain| Drain {
        since: Wall(drain.value.asked.at_wall_ns),
        by: drain.value.asked.by.clone(),
    });
    let holds = told.map_or_else(BTreeMap::new, |told| {
        holds(name, known, heard, &told.report, sizes)
    });
    let protected = holds.keys().filter(|vm| known.vm(vm).is_some()).count();
    let of_facts = |pick: fn(&HostFacts) -> u64| facts.map_or(0, pick);
    Host {
        name: name.clone(),
        heard: told.map(|told| told.at),
        boot: facts.map_or(0, |facts| boot_number(&facts.boot)),
        version: facts.map_or_else(String::new, |facts| facts.version.clone()),
        models: facts.map_or_else(BTreeSet::new, |facts| facts.models.iter().copied().collect()),
        protocols: facts.map_or_else(Protocols::default, |facts| Protocols {
            oldest: facts.protocol_oldest,
            newest: facts.protocol_newest,
        }),
        memory_bytes: of_facts(|facts| facts.memory_bytes),
        free_bytes: of_facts(|facts| facts.free_bytes),
        processors: facts.map_or(0, |facts| facts.processors),
        // Guests that stand idle keep no processor busy, and nobody measures the others yet.
        free_processors: facts.map_or(0, |facts| facts.processors),
        steps_per_second: of_facts(|facts| facts.steps_per_second),
        translates: facts.is_some_and(|facts| facts.translates),
        zone: facts.and_then(|facts| facts.zone.clone()),
        storages: BTreeMap::new(),
        networks: BTreeSet::new(),
        draining,
        protected: u32::try_from(protected).unwrap_or(u32::MAX),
        protected_max: facts.map_or(0, |facts| facts.protected_max),
        round_trip: told.and_then(|told| told.round_trip),
        knows: BTreeSet::new(),
        holds,
    }
}

fn holds(
    name: &HostName,
    known: &Known,
    heard: &AllHeard,
    report: &Report,
    sizes: &BTreeMap<VmName, u64>,
) -> BTreeMap<VmName, Held> {
    let held = report.processes.iter().filter_map(|told| {
        let vm = VmName::new(&told.status.name).ok()?;
        let peer = peer_host(known, heard, name, &told.status).filter(|_| !told.status.is_live());
        let controller = peer.unwrap_or_else(|| name.clone());
        // Its controller alone knows, which for a backup is the agent of another host.
        let told = if controller == *name {
            Some(report)
        } else {
            heard.get(&controller).map(|heard| &heard.report)
        };
        let held = Held {
            memory_bytes: sizes.get(&vm).copied().unwrap_or(0),
            stuck: told.is_some_and(|told| told.stuck.iter().any(|stuck| stuck == vm.as_str())),
            controller,
        };
        Some((vm, held))
    });
    held.collect()
}

/// The kernel's random number of a boot, as a number.
fn boot_number(text: &str) -> u128 {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0)
}
