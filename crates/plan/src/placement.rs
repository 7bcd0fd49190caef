//! Which host gets a VM's backup: for every host of the site either a score or all of its refusals. The
//! planner takes the best one, `lockstep check` and a status show them all, so what people read is what was
//! decided (FT 3.1-d).
//!
//! It promises nothing: only the host's own agent knows its host, and grants a reservation or refuses.

use std::collections::{BTreeMap, BTreeSet};

use messages::time::Span;
use messages::vm_name::VmName;
use report::amount::bytes;

use crate::host::{Host, HostName, Protocols, Storage};
use crate::limits::{
    BUFFER_BYTES, PROCESS_BYTES, RESERVE_PERMILLE, SPEED_ALIKE_PERMILLE, SPEED_GOOD_PERMILLE,
    SPEED_LEAST_PERMILLE,
};
use crate::moment::Now;
use crate::why::{Scarce, Slow, Unlike, Why};

/// What a VM needs of a host for its backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Name of the VM.
    pub vm: VmName,
    /// Size of its guest's memory, in bytes.
    pub memory_bytes: u64,
    /// The host where its owner runs, or ran last.
    pub owner: HostName,
    /// The host that holds its backup; `None`: there is none.
    pub member: Option<HostName>,
    /// Shall the backup be in another zone than the owner?
    pub apart: bool,
    /// Machine model of its guest.
    pub model: u32,
    /// Versions of the replicas' protocol that its process speaks.
    pub protocols: Protocols,
    /// Storages that hold its disks.
    pub storages: BTreeSet<String>,
    /// Networks at which its ports are.
    pub networks: BTreeSet<String>,
    /// Is a slow host better than none for it, however slow?
    pub allow_slow: bool,
    /// Hosts that are left alone at present, each with the reason (`Backoff::bars`).
    pub barred: BTreeMap<HostName, Why>,
    /// The host that somebody wants for it: it is not shunned, and it may be slow as if there were no other.
    pub named: Option<HostName>,
}

impl Need {
    /// Memory that a host must have free for the VM, in bytes, beside what the host keeps free.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.memory_bytes.saturating_add(PROCESS_BYTES + BUFFER_BYTES)
    }
}

/// How well a host suits a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// More is better. The figure is only good for comparing hosts for one VM at one moment.
    pub points: i64,
    /// Its share of the owner's speed, in thousandths; `None`: one of both was not measured.
    pub speed_permille: Option<u64>,
    /// Memory that is free there now, in bytes.
    pub free_bytes: u64,
    /// Time for a question to it and the answer; `None`: not measured.
    pub round_trip: Option<Span>,
}

/// A host, as it is judged for a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The host.
    pub host: HostName,
    /// How well it suits the VM, or everything that speaks against it.
    pub outcome: Result<Score, Vec<Why>>,
}

/// All hosts of the site, as they are judged for a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One for each host, in the order of their names.
    verdicts: Vec<Verdict>,
    /// The host where the owner runs.
    owner: HostName,
}

/// Judges every host for a VM. Two hosts of one name count as one, the first.
#[must_use]
pub fn judge(now: Now, need: &Need, hosts: &[Host]) -> Placement {
    let by_name: BTreeMap<&HostName, &Host> = hosts.iter().rev().map(|host| (&host.name, host)).collect();
    let owner = by_name.get(&need.owner).copied();
    let mut verdicts: Vec<Verdict> = by_name
        .values()
        .map(|host| {
            let refusals = refusals(now, need, owner, host);
            Verdict {
                host: host.name.clone(),
                outcome: if refusals.is_empty() {
                    Ok(score(need, owner, host))
                } else {
                    Err(refusals)
                },
            }
        })
        .collect();
    // Slow hosts are for when there is no other, or for whoever asks for one.
    let is_slow = |verdict: &Verdict| {
        matches!(&verdict.outcome, Ok(score)
            if score.speed_permille.is_some_and(|speed| speed < SPEED_GOOD_PERMILLE))
    };
    let has_fast = verdicts
        .iter()
        .any(|verdict| verdict.outcome.is_ok() && !is_slow(verdict));
    for verdict in &mut verdicts {
        let is_wanted = need.allow_slow || need.named.as_ref() == Some(&verdict.host);
        if has_fast
            && !is_wanted
            && is_slow(verdict)
            && let Ok(score) = &verdict.outcome
        {
            let slow = Slow::Percent(score.speed_permille.unwrap_or(0) / 10);
            let host = verdict.host.clone();
            verdict.outcome = Err(vec![Why::HostSlow { host, slow }]);
        }
    }
    Placement {
        verdicts,
        owner: need.owner.clone(),
    }
}

impl Placement {
    /// Every host with what is thought of it, in the order of their names.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// The host that suits the VM best; of two that suit it alike, the one whose name comes first. `None`:
    /// each host has a refusal.
    #[must_use]
    pub fn best(&self) -> Option<&HostName> {
        let scored = self.verdicts.iter().filter_map(|verdict| {
            let score = verdict.outcome.as_ref().ok()?;
            Some((score.points, &verdict.host))
        });
        // The order is reversed, since the last of several largest ones is taken.
        let best = scored.rev().max_by_key(|(points, _)| *points);
        best.map(|(_, host)| host)
    }

    /// What is thought of this host; `None`: the site has no such host.
    #[must_use]
    pub fn of(&self, host: &HostName) -> Option<&Result<Score, Vec<Why>>> {
        let verdict = self.verdicts.iter().find(|verdict| verdict.host == *host)?;
        Some(&verdict.outcome)
    }

    /// Why no host takes the backup: everything that speaks against each host but the owner's, or that there
    /// is no other host. Empty if a host takes it.
    #[must_use]
    pub fn refusals(&self) -> Vec<Why> {
        let mut others = self
            .verdicts
            .iter()
            .filter(|verdict| verdict.host != self.owner)
            .peekable();
        if others.peek().is_none() {
            return vec![Why::NoHosts];
        }
        if self.best().is_some() {
            return Vec::new();
        }
        others
            .filter_map(|verdict| verdict.outcome.as_ref().err())
            .flatten()
            .cloned()
            .collect()
    }
}

impl Score {
    /// What would be said of the host if it were chosen, for `lockstep check`.
    #[must_use]
    pub fn sentence(&self, host: &HostName, owner: &HostName) -> String {
        let mut text = format!(
            "{host} would be chosen: {} free",
            bytes(self.free_bytes >> 20 << 20)
        );
        if let Some(speed) = self.speed_permille {
            text += &format!(", {} % of {owner}'s speed", speed / 10);
        }
        if let Some(round_trip) = self.round_trip {
            text += &format!(", {} us away", round_trip.0 / 1_000);
        }
        text
    }
}

/// Everything that speaks against a host, but that it is slow while another is not.
fn refusals(now: Now, need: &Need, owner: Option<&Host>, host: &Host) -> Vec<Why> {
    let name = || host.name.clone();
    let mut refusals = Vec::new();
    // FT 3.3-b: the two halves of a VM are never on one host.
    if host.name == need.owner || need.member.as_ref() == Some(&host.name) {
        refusals.push(Why::HostSame {
            host: name(),
            is_owner: host.name == need.owner,
        });
    }
    if host.is_silent(now) {
        let age = host.age(now);
        refusals.push(Why::HostSilent { host: name(), age });
    }
    if let Some(drain) = &host.draining {
        refusals.push(Why::HostDraining {
            host: name(),
            since: drain.since,
            by: drain.by.clone(),
        });
    }
    let zone = owner.and_then(|owner| owner.zone.as_ref());
    if let Some(zone) = zone
        && need.apart
        && host.name != need.owner
        && host.zone.as_ref() == Some(zone)
    {
        refusals.push(Why::HostZone {
            host: name(),
            zone: zone.clone(),
        });
    }
    // Somebody who names the host has read that it is shunned; that it has just refused still counts.
    let is_named = need.named.as_ref() == Some(&host.name);
    if let Some(why) = need.barred.get(&host.name)
        && !(is_named && matches!(why, Why::HostShunned { .. }))
    {
        refusals.push(why.clone());
    }
    refusals.extend(unlike(need, owner, host));
    refusals.extend(missing(need, host));
    refusals.extend(room(need, host));
    refusals.extend(slowness(need, owner, host));
    refusals
}

/// What the host's program has not in common with the VM's.
fn unlike(need: &Need, owner: Option<&Host>, host: &Host) -> Vec<Why> {
    let refusal = |unlike| Why::HostModel {
        host: host.name.clone(),
        version: host.version.clone(),
        unlike,
        wanted_version: owner.map(|owner| owner.version.clone()),
    };
    let mut refusals = Vec::new();
    if !host.models.contains(&need.model) {
        refusals.push(refusal(Unlike::Model {
            newest: host.models.last().copied(),
            wanted: need.model,
        }));
    }
    if !host.protocols.meet(need.protocols) {
        refusals.push(refusal(Unlike::Protocol {
            spoken: host.protocols,
            wanted: need.protocols,
        }));
    }
    refusals
}

/// The storages and networks that the host has not.
fn missing(need: &Need, host: &Host) -> Vec<Why> {
    let storages = need.storages.iter().filter_map(|storage| {
        let name = host.name.clone();
        match host.storages.get(storage) {
            Some(Storage::Shared) => None,
            Some(Storage::Other { path }) => Some(Why::HostStorageOther {
                host: name,
                path: path.clone(),
            }),
            None => Some(Why::HostStorage {
                host: name,
                storage: storage.clone(),
            }),
        }
    });
    let networks = need.networks.difference(&host.networks);
    let networks = networks.map(|network| Why::HostNetwork {
        host: host.name.clone(),
        network: network.clone(),
    });
    storages.chain(networks).collect()
}

/// What the host has too little of.
fn room(need: &Need, host: &Host) -> Vec<Why> {
    let mut refusals = Vec::new();
    let full = |scarce| Why::HostFull {
        host: host.name.clone(),
        vm: need.vm.clone(),
        scarce,
    };
    let kept_free = u128::from(host.memory_bytes) * u128::from(RESERVE_PERMILLE) / 1_000;
    let kept_free = u64::try_from(kept_free).unwrap_or(u64::MAX);
    let needed_bytes = need.bytes().saturating_add(kept_free);
    if host.free_bytes < needed_bytes {
        refusals.push(full(Scarce::Memory {
            free_bytes: host.free_bytes,
            needed_bytes,
        }));
    }
    if host.free_processors == 0 {
        refusals.push(full(Scarce::Processors { all: host.processors }));
    }
    if host.protected >= host.protected_max {
        refusals.push(Why::HostLimit {
            host: host.name.clone(),
            limit: host.protected_max,
        });
    }
    refusals
}

/// That the host is so slow that only somebody's word would have it taken.
fn slowness(need: &Need, owner: Option<&Host>, host: &Host) -> Option<Why> {
    if need.allow_slow {
        return None;
    }
    let slow = if owner.is_some_and(|owner| owner.translates) && !host.translates {
        Slow::NoTranslator
    } else {
        let speed = speed_permille(owner, host).filter(|speed| *speed < SPEED_LEAST_PERMILLE)?;
        Slow::Percent(speed / 10)
    };
    Some(Why::HostSlow {
        host: host.name.clone(),
        slow,
    })
}

/// The host's share of the owner's speed, in thousandths; `None`: one of both was not measured.
fn speed_permille(owner: Option<&Host>, host: &Host) -> Option<u64> {
    let owner = owner?.steps_per_second;
    if owner == 0 || host.steps_per_second == 0 {
        return None;
    }
    let share = u128::from(host.steps_per_second) * 1_000 / u128::from(owner);
    Some(u64::try_from(share).unwrap_or(u64::MAX))
}

/// A share of the owner's speed without what may be noise: what is within the noise of two measurements of
/// one host is the owner's own speed, and the rest counts from there on. So nowhere does a small difference
/// make a large one.
fn without_noise(permille: u64) -> u64 {
    let least = permille.saturating_sub(SPEED_ALIKE_PERMILLE);
    permille
        .saturating_add(SPEED_ALIKE_PERMILLE)
        .min(1_000)
        .max(least)
}

/// How well a host suits a VM that has no refusal against it: a thousand points for the owner's speed, as
/// many for memory that is all free, and small change for the rest.
fn score(need: &Need, owner: Option<&Host>, host: &Host) -> Score {
    let speed = speed_permille(owner, host);
    // More than the owner's speed is of little use to a backup, which never runs ahead.
    let mut points = without_noise(speed.unwrap_or(SPEED_GOOD_PERMILLE)).min(1_200);
    let left = host.free_bytes.saturating_sub(need.bytes());
    let share = u128::from(left) * 1_000 / u128::from(host.memory_bytes.max(1));
    points += u64::try_from(share.min(1_000)).unwrap_or(0);
    if host.knows.contains(&need.vm) {
        points += 300;
    }
    // Each output waits for a round trip: 10 us cost a point, a millisecond all of the hundred.
    let away = host.round_trip.map_or(50, |round_trip| round_trip.0 / 10_000);
    let crowd = u64::from(host.protected).saturating_mul(25);
    let minus = away.min(100) + crowd.min(500);
    Score {
        points: i64::try_from(points).unwrap_or(0) - i64::try_from(minus).unwrap_or(0),
        speed_permille: speed,
        free_bytes: host.free_bytes,
        round_trip: host.round_trip,
    }
}
