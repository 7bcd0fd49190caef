//! What counts as a change of an object, for whoever watches: its content without what only ages. A look
//! every 200 ms makes ages, figures and the numbers in sentences different each time; a watcher is told of
//! those once a second at most, all together, and of everything else at once.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::types::{HostObject, OperationObject, SiteObject, VmObject, operations_of};
use controller::scene::Scene;
use report::Reason;

/// Two accounts of when a state began that are nearer than this are one: hosts' clocks are not one clock.
const SAME_MOMENT_NS: u64 = 2_000_000_000;

/// What a watcher may be told of. Each topic is the name of the events that tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// The site as a whole.
    Site,
    /// A host.
    Host,
    /// A VM.
    Vm,
    /// The last operation of a VM.
    Operation,
    /// Something that has happened on a host of the site.
    Event,
    /// All objects with their present ages and figures.
    Figures,
}

impl Topic {
    /// All topics.
    pub const ALL: [Topic; 6] = [
        Topic::Site,
        Topic::Host,
        Topic::Vm,
        Topic::Operation,
        Topic::Event,
        Topic::Figures,
    ];

    /// The topic as it stands in a query, and as the name of its events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Site => "site",
            Topic::Host => "host",
            Topic::Vm => "vm",
            Topic::Operation => "operation",
            Topic::Event => "event",
            Topic::Figures => "figures",
        }
    }
}

/// All objects of a site at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotObject {
    /// The site as a whole, as the agent sees it that answers.
    pub site: SiteObject,
    /// The hosts of the site, in the order of their names.
    pub hosts: Vec<HostObject>,
    /// The VMs of the site, in the order of their names.
    pub vms: Vec<VmObject>,
    /// The last operation of each VM with which somebody has begun something.
    pub operations: Vec<OperationObject>,
}

/// That an object is there no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemovedObject {
    /// What it was: `vm` (its last operation is gone with it) or `host`.
    pub topic: Topic,
    /// Name of the VM or the host.
    pub name: String,
}

impl SnapshotObject {
    /// All objects of a scene.
    #[must_use]
    pub fn of(scene: &Scene) -> SnapshotObject {
        let vms = scene.vms.iter();
        SnapshotObject {
            site: SiteObject::of(scene),
            hosts: HostObject::all(scene),
            vms: vms.map(|(name, vm)| VmObject::of(name.as_str(), vm)).collect(),
            operations: operations_of(scene),
        }
    }

    /// Takes in what a watcher was told: `event` is the name of the event, `data` its JSON. Events that
    /// concern no object of a snapshot change nothing.
    ///
    /// # Errors
    /// The data are not what the event's name says.
    pub fn take(&mut self, event: &str, data: &str) -> serde_json::Result<()> {
        match event {
            "snapshot" | "figures" => *self = serde_json::from_str(data)?,
            "site" => self.site = serde_json::from_str(data)?,
            "vm" => {
                let vm: VmObject = serde_json::from_str(data)?;
                put(&mut self.vms, vm, |vm| &vm.name);
            }
            "host" => {
                let host: HostObject = serde_json::from_str(data)?;
                put(&mut self.hosts, host, |host| &host.name);
            }
            "operation" => {
                let operation: OperationObject = serde_json::from_str(data)?;
                put(&mut self.operations, operation, |operation| &operation.vm);
            }
            "removed" => {
                let removed: RemovedObject = serde_json::from_str(data)?;
                match removed.topic {
                    Topic::Vm => {
                        self.vms.retain(|vm| vm.name != removed.name);
                        self.operations.retain(|operation| operation.vm != removed.name);
                    }
                    Topic::Host => self.hosts.retain(|host| host.name != removed.name),
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Puts an object into a list that is ordered by `name`, in the place of the one of the same name.
fn put<T>(list: &mut Vec<T>, object: T, name: impl Fn(&T) -> &String) {
    match list.binary_search_by(|one| name(one).cmp(name(&object))) {
        Ok(place) => {
            if let Some(one) = list.get_mut(place) {
                *one = object;
            }
        }
        Err(place) => list.insert(place, object),
    }
}

/// Has the site changed since it was told of?
#[must_use]
pub fn is_site_changed(told: &SiteObject, now: &SiteObject) -> bool {
    let mut now = now.clone();
    let whys = [
        (&mut now.directory_away, &told.directory_away),
        (&mut now.arbiter_away, &told.arbiter_away),
    ];
    for (now, told) in whys {
        if let (Some(now), Some(told)) = (now, told) {
            keep_text(now, told);
        }
    }
    now != *told
}

/// Has the host changed since it was told of?
#[must_use]
pub fn is_host_changed(told: &HostObject, now: &HostObject) -> bool {
    let mut now = now.clone();
    if now.age_ms.is_some() && told.age_ms.is_some() {
        now.age_ms = told.age_ms;
    }
    now.free_bytes = told.free_bytes;
    now != *told
}

/// Has the VM changed since it was told of?
#[must_use]
pub fn is_vm_changed(told: &VmObject, now: &VmObject) -> bool {
    let mut now = now.clone();
    if now.observed.is_some() && told.observed.is_some() {
        now.observed.clone_from(&told.observed);
    }
    let replicas = [(&mut now.primary, &told.primary), (&mut now.backup, &told.backup)];
    for (now, told) in replicas {
        if let (Some(now), Some(told)) = (now, told) {
            now.figures.clone_from(&told.figures);
        }
    }
    let (protection, told_protection) = (&mut now.protection, &told.protection);
    if protection.since_wall_ns.abs_diff(told_protection.since_wall_ns) < SAME_MOMENT_NS {
        protection.since_wall_ns = told_protection.since_wall_ns;
        protection.since.clone_from(&told_protection.since);
    }
    keep_sentences(&mut protection.reasons, &told_protection.reasons);
    if let (Some(now), Some(told)) = (&mut now.operation, &told.operation) {
        keep_sentences(&mut now.reasons, &told.reasons);
    }
    now != *told
}

/// Has the operation changed since it was told of?
#[must_use]
pub fn is_operation_changed(told: &OperationObject, now: &OperationObject) -> bool {
    let mut now = now.clone();
    keep_sentences(&mut now.reasons, &told.reasons);
    now != *told
}

/// Takes the sentences of before where only their numbers differ.
fn keep_sentences(now: &mut [Reason], told: &[Reason]) {
    for (now, told) in now.iter_mut().zip(told) {
        if now.code == told.code {
            keep_text(&mut now.sentence, &told.sentence);
        }
    }
}

fn keep_text(now: &mut String, told: &str) {
    let is_of_words = |sign: &char| !sign.is_ascii_digit() && !['.', ','].contains(sign);
    if now
        .chars()
        .filter(is_of_words)
        .eq(told.chars().filter(is_of_words))
    {
        told.clone_into(now);
    }
}

#[cfg(test)]
pub mod samples {
    //! Objects for the tests of whoever watches.

    use super::*;
    use crate::api::types::{ObservedObject, OperationState, PowerWord, ProtectionObject, ProtectionWord};
    use report::{GuestWord, StateWord};

    /// A VM that needs a backup, of this generation.
    pub fn vm(name: &str, generation: u64) -> VmObject {
        VmObject {
            api: "v1".into(),
            name: name.into(),
            guest: GuestWord::Running,
            power: PowerWord::On,
            protection: ProtectionObject {
                state: StateWord::NeedsBackup,
                phase: None,
                flags: Vec::new(),
                reasons: vec![Reason::new("host-silent", "b has not answered for 3 s")],
                since: String::new(),
                since_wall_ns: 0,
                wanted: ProtectionWord::On,
            },
            epoch: 1,
            primary: None,
            backup: None,
            observed: Some(ObservedObject {
                by: "a".into(),
                age_ms: 3,
            }),
            operation: None,
            memory_bytes: 0,
            generation,
        }
    }

    /// A host of this name.
    pub fn host(name: &str) -> HostObject {
        HostObject {
            name: name.into(),
            state: "ready".into(),
            age_ms: Some(1),
            version: String::new(),
            memory_bytes: 2,
            free_bytes: 1,
            processors: 1,
            steps_per_second: 0,
            primaries: Vec::new(),
            backups: Vec::new(),
            stuck: Vec::new(),
            drained_by: String::new(),
        }
    }

    /// An operation of this VM.
    pub fn operation(vm: &str, state: OperationState) -> OperationObject {
        OperationObject {
            id: "1".into(),
            vm: vm.into(),
            kind: "protect".into(),
            by: "ada".into(),
            comment: String::new(),
            state,
            reasons: Vec::new(),
            started: String::new(),
            ended: String::new(),
        }
    }

    /// A site with these VMs.
    pub fn site(vms: Vec<VmObject>) -> SnapshotObject {
        SnapshotObject {
            site: SiteObject {
                api: "v1".into(),
                host: "a".into(),
                hosts_ready: 1,
                hosts: 1,
                directory_away: None,
                directory_away_since: String::new(),
                arbiter_away: None,
                unreadable: Vec::new(),
            },
            hosts: vec![host("a")],
            vms,
            operations: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::OperationState;
    use report::StateWord;
    use samples::{host, operation, site, vm};

    #[test]
    fn what_only_ages_is_no_change_and_anything_else_is() {
        let told = vm("shop", 1);
        let mut now = told.clone();
        now.observed.as_mut().unwrap().age_ms = 900;
        now.protection.since_wall_ns = 7;
        now.protection.reasons = vec![Reason::new("host-silent", "b has not answered for 12.5 s")];
        assert!(!is_vm_changed(&told, &now));
        for change in [
            |vm: &mut VmObject| vm.protection.state = StateWord::Protected,
            |vm: &mut VmObject| vm.protection.reasons[0].sentence = "c has not answered for 3 s".into(),
            |vm: &mut VmObject| vm.protection.reasons[0].code = "host-full".into(),
            |vm: &mut VmObject| vm.observed = None,
            |vm: &mut VmObject| vm.generation = 2,
            |vm: &mut VmObject| vm.protection.since_wall_ns = SAME_MOMENT_NS,
            |vm: &mut VmObject| vm.operation = Some(operation("shop", OperationState::Running)),
        ] {
            let mut now = told.clone();
            change(&mut now);
            assert!(is_vm_changed(&told, &now), "{now:?}");
        }
    }

    #[test]
    fn memory_that_is_free_and_ages_change_no_host() {
        let told = host("b");
        let mut now = HostObject {
            free_bytes: 0,
            age_ms: Some(400),
            ..told.clone()
        };
        assert!(!is_host_changed(&told, &now));
        now.age_ms = None;
        assert!(is_host_changed(&told, &now));
    }

    #[test]
    fn a_snapshot_takes_in_what_a_watcher_is_told() {
        let mut all = site(vec![vm("shop", 1)]);
        let text = |object: &VmObject| serde_json::to_string(object).unwrap();
        all.take("vm", &text(&vm("shop", 2))).unwrap();
        all.take("vm", &text(&vm("ldap", 1))).unwrap();
        let names: Vec<&str> = all.vms.iter().map(|vm| vm.name.as_str()).collect();
        assert_eq!((names, all.vms[1].generation), (vec!["ldap", "shop"], 2));
        let begun = operation("shop", OperationState::Running);
        all.take("operation", &serde_json::to_string(&begun).unwrap())
            .unwrap();
        all.take("removed", "{\"topic\":\"vm\",\"name\":\"shop\"}")
            .unwrap();
        assert_eq!((all.vms.len(), all.operations.len()), (1, 0));
        all.take("ping", "").unwrap();
        assert!(all.take("vm", "{}").is_err());
    }
}
