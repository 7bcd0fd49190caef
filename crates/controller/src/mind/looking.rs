//! One look: what is known becomes what the planner looks at, the planner decides, and what it has decided is
//! carried out and shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use control::Status;
use machine::MODEL;
use messages::joining::{PROTOCOL, PROTOCOL_OLDEST};
use messages::time::Time;
use messages::vm_name::VmName;
use plan::limits::STALE_REMOTE;
use plan::{
    Decision, Desired, Face, Host, HostName, Need, Now, Ownership, Placement, Protocols, Seen, Site, Views,
    Vm, face, placement_of, plan,
};
use report::{FlagWord, RoleWord};

use super::told::Owner;
use super::{Handled, Mind};
use crate::VmFacts;
use crate::facts::HostFacts;
use crate::known::KnownVm;
use crate::limits::{OWNERSHIP_AGE, WRITE_PATIENCE};
use crate::lock;
use crate::records::{Place, Spec};
use crate::scene::{Scene, SceneVm, now};
use crate::sight;

impl Mind {
    /// Looks at everything, decides, acts, and shows what it has seen.
    pub(super) fn look(&mut self) {
        self.read_settings();
        self.take_exits();
        self.notice_silence();
        self.introduce();
        self.poll_others();
        let now = now();
        self.writing
            .retain(|_, since| now.time.since(*since) < WRITE_PATIENCE);
        let hosts = self.hosts();
        self.tell_changes(now, &hosts);
        let names: Vec<VmName> = self.known.vms.keys().cloned().collect();
        self.handled.retain(|vm, _| names.contains(vm));
        let mut vms = Vec::new();
        for name in &names {
            if let Some(vm) = self.vm(now, name) {
                vms.push(vm);
            }
        }
        self.want_owners(&vms);
        let (decisions, faces) = self.decide(now, &hosts, &vms);
        for (vm, decision) in vms.iter().zip(&decisions) {
            self.record(now, vm, decision);
            self.act(now, vm, decision);
            self.tell_silence(now, vm);
        }
        self.probe_guests(now);
        self.show(now, hosts, vms, decisions, faces);
    }

    /// What the planner says of each VM, and how each is.
    fn decide(&self, now: Now, hosts: &[Host], vms: &[Vm]) -> (Vec<Decision>, Vec<(Placement, Face)>) {
        let arbiter = self.config.arbiter.place.to_string();
        let away = self.arbiter_away.as_ref();
        let site = Site {
            me: &self.me,
            hosts,
            arbiter_away: away.map(|(since, _)| (arbiter.as_str(), now.time.since(*since))),
            directory_away: self.directory_away.as_ref().map(|(since, _)| *since),
            clones_max: self.config.resources.clones,
        };
        let decisions = plan(now, &site, vms, &self.backoff);
        let faces = vms.iter().zip(&decisions).map(|(vm, decision)| {
            let placement = placement_of(now, &site, vm, &self.backoff);
            let face = face(now, &site, vm, &placement, &decision.reasons);
            (placement, face)
        });
        let faces = faces.collect();
        (decisions, faces)
    }

    fn show(
        &self,
        now: Now,
        hosts: Vec<Host>,
        vms: Vec<Vm>,
        decisions: Vec<Decision>,
        faces: Vec<(Placement, Face)>,
    ) {
        let scenes = vms.into_iter().zip(decisions).zip(faces);
        let scenes = scenes.map(|((vm, decision), (placement, face))| {
            let name = vm.name().clone();
            let told = |is_wanted: fn(&Status) -> bool| self.newest(&name, is_wanted);
            let scene = SceneVm {
                known: self.known.vms.get(&name).cloned().unwrap_or_default(),
                facts: self.facts_of(&name),
                live: told(Status::is_live),
                backup: told(|status| status.role == Some(RoleWord::Backup)),
                vm,
                decision,
                placement,
                face,
            };
            (name, scene)
        });
        let scene = Scene {
            now,
            me: self.me.clone(),
            known: self.known.clone(),
            heard: self.heard.clone(),
            vms: scenes.collect(),
            hosts,
            directory_away: self.directory_away.clone(),
            arbiter_away: self
                .arbiter_away
                .as_ref()
                .map(|(since, why)| (now.wall_of(*since), why.clone())),
        };
        // Nobody may look at it just now.
        self.scene.send_replace(Arc::new(scene));
    }

    /// What a process of the VM has said last that is as wanted, and its host; of several the one of the
    /// highest epoch.
    fn newest(&self, vm: &VmName, is_wanted: fn(&Status) -> bool) -> Option<(HostName, Status)> {
        let all = self.heard.iter().flat_map(|(host, heard)| {
            let processes = heard.report.processes.iter();
            processes.map(move |told| (host, &told.status))
        });
        all.filter(|(_, status)| status.name == vm.as_str() && is_wanted(status))
            .max_by_key(|(_, status)| status.epoch)
            .map(|(host, status)| (host.clone(), status.clone()))
    }

    /// Reads the settings of VMs that are new or have been changed.
    fn read_settings(&mut self) {
        let read_vm = self.program.read_vm;
        for (name, known) in &self.known.vms {
            let Some(spec) = &known.spec else {
                continue;
            };
            let is_known = self
                .facts
                .get(name)
                .is_some_and(|(text, _)| *text == spec.value.toml);
            if !is_known {
                let text = spec.value.toml.clone();
                let facts = read_vm(&text);
                self.facts.insert(name.clone(), (text, facts));
            }
        }
        let vms = &self.known.vms;
        self.facts.retain(|name, _| vms.contains_key(name));
    }

    /// What a VM's settings say.
    pub(super) fn facts_of(&self, vm: &VmName) -> Result<VmFacts, String> {
        match self.facts.get(vm) {
            Some((_, facts)) => facts.clone(),
            None => Err("its settings were not read yet".into()),
        }
    }

    /// Sizes of the memories of the site's VMs, in bytes.
    fn sizes(&self) -> BTreeMap<VmName, u64> {
        let sizes = self.facts.iter().filter_map(|(name, (_, facts))| {
            let facts = facts.as_ref().ok()?;
            Some((name.clone(), facts.memory_bytes))
        });
        sizes.collect()
    }

    /// What this host is, with the memory that its processes may use set aside.
    pub(super) fn facts_of_host(&self) -> HostFacts {
        let sizes = self.sizes();
        let here = self.heard.get(&self.me);
        let mut held: Vec<(u32, VmName)> = here.map_or_else(Vec::new, |heard| {
            let processes = heard.report.processes.iter();
            let named =
                processes.filter_map(|told| Some((told.status.pid, VmName::new(&told.status.name).ok()?)));
            named.collect()
        });
        for (pid, vm) in lock(&self.processes).pids() {
            if !held.iter().any(|(known, _)| *known == pid) {
                held.push((pid, vm.clone()));
            }
        }
        let promised: Vec<u64> = held
            .iter()
            .map(|(_, vm)| sizes.get(vm).copied().unwrap_or(0))
            .collect();
        self.fixed.now(&promised)
    }

    /// The hosts of the site, this one too.
    fn hosts(&self) -> Vec<Host> {
        let sizes = self.sizes();
        let mut names: Vec<&HostName> = self.known.hosts.keys().chain(self.heard.keys()).collect();
        names.push(&self.me);
        names.sort();
        names.dedup();
        names
            .into_iter()
            .map(|name| sight::host(name, &self.known, &self.heard, &sizes))
            .collect()
    }

    /// Tells for which VMs the arbiter is to be asked: those that have no process and are to have one, and
    /// those of this host of which nobody has written down how they ended.
    fn want_owners(&self, vms: &[Vm]) {
        let wanted = vms.iter().filter(|vm| {
            // What a host told that is silent by now is no sight of a process.
            let is_fresh = |view: &plan::View| view.age <= STALE_REMOTE;
            let is_seen = vm.seen.here.is_some() || vm.seen.elsewhere.as_ref().is_some_and(is_fresh);
            let is_to_run = !matches!(vm.desired.power, plan::Power::Off { .. });
            let has_run = self
                .known
                .vms
                .get(vm.name())
                .is_some_and(|known| known.place.is_some());
            let is_untold = has_run && vm.need.owner == self.me && vm.seen.ended.is_none();
            !is_seen && (is_to_run || is_untold)
        });
        *lock(&self.wanted_owners) = wanted.map(|vm| vm.name().clone()).collect();
    }

    /// A VM, for the planner; `None`: it is being created or deleted, or its settings make no sense.
    fn vm(&mut self, now: Now, name: &VmName) -> Option<Vm> {
        let facts = self.facts_of(name).ok()?;
        let known = self.known.vms.get(name)?.clone();
        let spec = known.spec.as_ref()?.value.clone();
        let views = Views::of(&self.me, sight::views(now.time, &self.known, &self.heard, name));
        let live = self.newest(name, Status::is_live);
        let backup = self.newest(name, |status| status.role == Some(RoleWord::Backup));
        let health = |told: &Option<(HostName, Status)>| {
            let (_, status) = told.as_ref()?;
            Some(sight::health(now, status.health.as_ref()?))
        };
        let member_host = backup.as_ref().map(|(host, _)| host.clone());
        let (owner, member) = (health(&live), member_host.zip(health(&backup)));
        let skewed = skewed(live.as_ref(), backup.as_ref());
        let operation = known
            .operation
            .as_ref()
            .and_then(|record| record.value.operation());
        let handled = self.handled.entry(name.clone()).or_default();
        let begun = known.operation.as_ref().map(|record| &record.value.id);
        if begun != handled.operation.as_ref() {
            handled.operation = begun.cloned();
            // What was ordered for an earlier one is no matter any more.
            handled.memory.on_confirmed();
            // Somebody wants a host that failed before, so it is tried once more.
            if let Some(to) = operation.as_ref().and_then(|operation| operation.kind.named()) {
                self.backoff.forgive(name, to);
            }
        }
        let place = known.place.as_ref().map(|place| &place.value);
        if let Some(owner) = owner {
            handled.memory.on_health(now.time, owner, member);
        }
        if operation.as_ref().is_some_and(|operation| operation.is_confirmed) {
            handled.memory.on_confirmed();
        }
        handled.memory.looks(now.time, &views, place.is_some());
        let here = views.here.as_ref().filter(|view| view.process.is_live());
        let here = here.and_then(|view| {
            let live = live.as_ref().filter(|(host, _)| *host == self.me);
            live.map(|(_, status)| (status, view.age))
        });
        let hang = handled.hang.look(now, here, &facts.hang, place);
        let mut seen = seen(now, handled, &known, views, self.owners.get(name));
        seen.hang = hang;
        seen.amiss.extend(skewed);
        Some(Vm {
            need: need(name, &facts, home(&spec, place, &self.me)),
            desired: desired(&spec, &facts, self.config.restart.cold),
            seen,
            operation,
        })
    }
}

/// The flag of a pair whose halves run programs of different versions.
fn skewed(
    live: Option<&(HostName, Status)>,
    backup: Option<&(HostName, Status)>,
) -> Option<(FlagWord, String)> {
    let (one, other) = (&live?.1.version, &backup?.1.version);
    // A process of an older release does not tell its version, which then is another one.
    let told = |version: &str| match version {
        "" => "an older one".to_owned(),
        version => version.to_owned(),
    };
    (one != other).then(|| (FlagWord::Skewed, format!("{} and {}", told(one), told(other))))
}

fn desired(spec: &Spec, facts: &VmFacts, starts_cold: bool) -> Desired {
    Desired {
        power: spec.power(),
        power_asked: (&spec.power_asked).into(),
        protected: spec.protection.into(),
        protected_asked: spec.protection_asked.as_ref().map(Into::into),
        starts_cold,
        swaps_for_health: true,
        resets_hung: facts.hang.resets,
    }
}

/// The host where a VM runs, ran last, or is to be started: somebody may have wanted it elsewhere since it
/// ended.
fn home(spec: &Spec, place: Option<&Place>, me: &HostName) -> HostName {
    let ran = place.filter(|place| !place.owner.is_empty());
    let is_over = |place: &Place| {
        let ended = place.ended.as_ref();
        ended.is_some_and(|ended| ended.at_wall_ns < spec.power_asked.at_wall_ns)
    };
    let last = ran.map(|place| place.owner.as_str());
    let home = match ran {
        Some(place) if !is_over(place) => last,
        _ => spec.home.as_deref().or(last),
    };
    HostName::new(home.unwrap_or(me.as_str()))
}

fn need(vm: &VmName, facts: &VmFacts, owner: HostName) -> Need {
    Need {
        vm: vm.clone(),
        memory_bytes: facts.memory_bytes,
        owner,
        member: None,
        apart: false,
        model: MODEL,
        protocols: Protocols {
            oldest: u32::try_from(PROTOCOL_OLDEST).unwrap_or(u32::MAX),
            newest: u32::try_from(PROTOCOL).unwrap_or(u32::MAX),
        },
        storages: std::collections::BTreeSet::new(),
        networks: std::collections::BTreeSet::new(),
        allow_slow: false,
        barred: BTreeMap::new(),
        named: None,
    }
}

fn seen(now: Now, handled: &Handled, known: &KnownVm, views: Views, owner: Option<&(Time, Owner)>) -> Seen {
    let place = known.place.as_ref().map(|place| &place.value);
    let ownership = owner.filter(|(at, _)| now.time.since(*at) < OWNERSHIP_AGE);
    handled.memory.seen(
        views,
        match place {
            Some(place) => place.ended.as_ref().map(crate::records::EndedRecord::ended),
            None => Some(crate::records::never_started()),
        },
        place.map_or_else(Vec::new, |place| {
            place.swaps.iter().map(crate::records::SwapRecord::swap).collect()
        }),
        ownership.map_or(Ownership::Unknown, |(_, owner)| {
            named_by_site(owner.ownership.clone(), place)
        }),
    )
}

/// What the arbiter says of the owner, with the name that its host has in the site. The arbiter's record has
/// the name that the owner's computer gives itself, which may be another one.
fn named_by_site(ownership: Ownership, place: Option<&Place>) -> Ownership {
    match (ownership, place) {
        (Ownership::Open { epoch, .. }, Some(place)) if place.epoch == epoch => Ownership::Open {
            epoch,
            host: HostName::new(place.owner.clone()),
        },
        (ownership, _) => ownership,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_claim_is_of_the_host_as_the_site_calls_it() {
        let open = |epoch: u64, host: &str| Ownership::Open {
            epoch,
            host: HostName::new(host),
        };
        let place = Place {
            owner: "a".into(),
            epoch: 3,
            ..Place::default()
        };
        assert_eq!(named_by_site(open(3, "debian"), Some(&place)), open(3, "a"));
        // Nobody has written down where the VM went then.
        assert_eq!(named_by_site(open(4, "debian"), Some(&place)), open(4, "debian"));
        assert_eq!(named_by_site(open(3, "debian"), None), open(3, "debian"));
        let closed = named_by_site(Ownership::Closed, Some(&place));
        assert_eq!(closed, Ownership::Closed);
    }
}
