//! What the agent answers: the objects of its API. `lockstep status --json` prints these very objects. Fields
//! may be added; none changes its meaning.

use plan::{Face, Verdict, Wall, Why};
use report::{Figures, FlagWord, GuestWord, PhaseWord, Reason, StateWord};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use controller::happenings::Happened;
use controller::records::OperationRecord;
pub use controller::records::{OperationState, PowerWord, ProtectionWord};
use controller::scene::{Scene, SceneVm};

/// A moment of so many nanoseconds since 1970 as programs read it (RFC 3339, UTC); empty: it is not known.
#[must_use]
pub fn moment_of(wall_ns: u64) -> String {
    Wall(wall_ns).rfc3339()
}

/// The site, as this agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteObject {
    /// The version of this API: `v1`.
    pub api: String,
    /// Name of the host whose agent answers.
    pub host: String,
    /// How many hosts have an agent that answers this one, this one's own among them.
    pub hosts_ready: usize,
    /// How many hosts the site has in all.
    pub hosts: usize,
    /// Why the site's directory cannot be read, as a sentence; null: it can be read.
    pub directory_away: Option<String>,
    /// Since when the site's directory cannot be read (RFC 3339, UTC); empty: it can be read.
    pub directory_away_since: String,
    /// Why the arbiter does not answer, as a sentence; null: it answers.
    pub arbiter_away: Option<String>,
    /// Records in the site's directory that this agent cannot read, each with the reason.
    pub unreadable: Vec<String>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostObject {
    /// Name of the host.
    pub name: String,
    /// How the host is: `ready`, `draining` while it is being emptied, or `silent` if its agent does not
    /// answer.
    pub state: String,
    /// How old the news of the host is, in milliseconds; null: there never was any.
    pub age_ms: Option<u64>,
    /// Version of the program that the host's agent is part of.
    pub version: String,
    /// Memory of the host that VMs may use in all, in bytes.
    pub memory_bytes: u64,
    /// Memory that is free for further VMs, in bytes.
    pub free_bytes: u64,
    /// How many processors the host has for VMs.
    pub processors: u32,
    /// Measured speed of the host, in steps a second of a loop that is the same on all hosts; 0: it was not
    /// measured yet.
    pub steps_per_second: u64,
    /// Names of the VMs that run on the host.
    pub primaries: Vec<String>,
    /// Names of the VMs of which the host holds the backup.
    pub backups: Vec<String>,
    /// Names of those VMs of a drained host that have no way to another host at present.
    #[serde(default)]
    pub stuck: Vec<String>,
    /// Name of the person who has the host emptied; empty: nobody has.
    pub drained_by: String,
}

/// How a VM's protection stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProtectionObject {
    /// The state of the protection, in a word.
    pub state: StateWord,
    /// How far a process is on its way to be the backup; null: none is on its way.
    pub phase: Option<PhaseWord>,
    /// What is not as it should be though the VM goes on, each thing in a word.
    pub flags: Vec<FlagWord>,
    /// Why the state is not `protected`, and why each flag is there.
    pub reasons: Vec<Reason>,
    /// When the state became what it is (RFC 3339, UTC); empty: that is not known.
    pub since: String,
    /// When the state became what it is, in nanoseconds since 1970; 0: that is not known.
    pub since_wall_ns: u64,
    /// What people want of the protection.
    pub wanted: ProtectionWord,
}

/// A process of a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaObject {
    /// Name of the host of the process.
    pub host: String,
    /// Number of the process on its host; 0: it has not told of itself yet.
    pub pid: u32,
    /// What the process has counted and measured; null: nothing was told yet.
    pub figures: Option<Box<Figures>>,
}

/// Who has seen a VM, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObservedObject {
    /// Name of the host of the process that has told of the VM.
    pub by: String,
    /// How old the news of that process is, in milliseconds.
    pub age_ms: u64,
}

/// A VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VmObject {
    /// The version of this API: `v1`.
    pub api: String,
    /// Name of the VM.
    pub name: String,
    /// What the VM's guest does at present, in a word.
    pub guest: GuestWord,
    /// Whether the VM's guest shall run, as people want it.
    pub power: PowerWord,
    /// How the VM's protection stands.
    pub protection: ProtectionObject,
    /// The VM's epoch at the arbiter; 0: it was not seen to run.
    pub epoch: u64,
    /// The process that runs the guest; null: the VM is not seen to run.
    pub primary: Option<ReplicaObject>,
    /// The process that holds the backup; null: none is seen.
    pub backup: Option<ReplicaObject>,
    /// Who has told of the VM last, and how long ago; null: there is no news of it.
    pub observed: Option<ObservedObject>,
    /// What somebody has begun last with the VM; null: nothing was begun yet.
    pub operation: Option<OperationObject>,
    /// Size of the guest's memory, in bytes; 0: its settings make no sense.
    pub memory_bytes: u64,
    /// Counts the changes of the VM's settings, from 1.
    pub generation: u64,
}

/// Something that somebody has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationObject {
    /// Number of the operation: that of the request which has begun it, 32 hexadecimal digits.
    pub id: String,
    /// Name of the VM.
    pub vm: String,
    /// What is to be done: a verb of the command line.
    pub kind: String,
    /// Name of the person who has begun the operation.
    pub by: String,
    /// Why it was begun, in that person's words; empty: nothing was said.
    pub comment: String,
    /// How far the operation is, in a word.
    pub state: OperationState,
    /// What the operation waits for, or why it has failed, as sentences.
    pub reasons: Vec<Reason>,
    /// When the operation began (RFC 3339, UTC).
    pub started: String,
    /// When the operation ended (RFC 3339, UTC); empty: it goes on.
    pub ended: String,
}

/// What is answered to a request that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeObject {
    /// What was changed, or was so already, as a sentence.
    pub sentence: String,
    /// Whether it was so already, so that nothing was changed.
    pub already: bool,
    /// The operation that goes on from here; null: all is done.
    pub operation: Option<OperationObject>,
    /// Whether it was a dry run: the sentence says what would be done, and nothing was changed.
    #[serde(default)]
    pub dry_run: bool,
    /// In a dry run, name of the host that would be chosen; null: none would be, or none has to be.
    #[serde(default)]
    pub host: Option<String>,
    /// In a dry run, how hosts are judged where the wish needs one.
    #[serde(default)]
    pub hosts: Vec<VerdictObject>,
}

/// The settings of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingsObject {
    /// Name of the VM.
    pub name: String,
    /// The text of `VM.toml`, with its comments and with whole paths.
    pub toml: String,
    /// Counts the changes of the VM's settings, from 1.
    pub generation: u64,
    /// Whether the VM shall have a backup, as people want it.
    pub protection: ProtectionWord,
}

/// A token by which a host may join the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenObject {
    /// The text of the token, as a person carries it.
    pub token: String,
    /// Where the host that joins calls the agent: an address, and its port if that is not the usual one.
    pub agent: String,
    /// How long the token is good, in seconds.
    pub valid_s: u64,
}

/// How a host is judged for a VM's backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerdictObject {
    /// Name of the host.
    pub host: String,
    /// Whether the host would do for the VM's backup.
    pub fits: bool,
    /// Whether the host would be chosen, since it is the best of those that would do.
    pub chosen: bool,
    /// Everything that speaks against the host, as sentences.
    pub reasons: Vec<Reason>,
    /// Memory that is free on the host, in bytes; 0: it would not do.
    pub free_bytes: u64,
    /// Time for a question to the host and its answer, in microseconds; null: it was not measured.
    pub round_trip_us: Option<u64>,
}

impl From<&OperationRecord> for OperationObject {
    fn from(record: &OperationRecord) -> OperationObject {
        OperationObject {
            id: record.id.clone(),
            vm: record.vm.clone(),
            kind: record.kind.word().to_owned(),
            by: record.asked.by.clone(),
            comment: record.asked.comment.clone(),
            state: record.state,
            reasons: record.reasons.clone(),
            started: moment_of(record.asked.at_wall_ns),
            ended: moment_of(record.ended_wall_ns),
        }
    }
}

/// What was begun last with each VM of a scene.
#[must_use]
pub fn operations_of(scene: &Scene) -> Vec<OperationObject> {
    let vms = scene.vms.values();
    vms.filter_map(operation_of).collect()
}

/// What was begun last with a VM. One that goes on has for reasons what the planner waits for.
fn operation_of(vm: &SceneVm) -> Option<OperationObject> {
    let record = &vm.known.operation.as_ref()?.value;
    let mut operation = OperationObject::from(record);
    if record.state == OperationState::Running {
        operation.reasons = vm.decision.reasons.iter().map(Why::reason).collect();
    }
    Some(operation)
}

impl SiteObject {
    /// The site of a scene.
    #[must_use]
    pub fn of(scene: &Scene) -> SiteObject {
        let away = scene.directory_away.as_ref();
        SiteObject {
            api: "v1".into(),
            host: scene.me.to_string(),
            hosts_ready: scene
                .hosts
                .iter()
                .filter(|host| !host.is_silent(scene.now))
                .count(),
            hosts: scene.hosts.len(),
            directory_away: away.map(|(_, why)| why.clone()),
            directory_away_since: away.map_or_else(String::new, |(since, _)| since.rfc3339()),
            arbiter_away: scene.arbiter_away.as_ref().map(|(_, why)| why.clone()),
            unreadable: scene
                .known
                .unreadable
                .iter()
                .map(|(key, why)| format!("{key}: {why}"))
                .collect(),
        }
    }
}

impl HostObject {
    /// The hosts of a scene.
    #[must_use]
    pub fn all(scene: &Scene) -> Vec<HostObject> {
        let hosts = scene.hosts.iter().map(|host| {
            let of_host = |is_live: bool| -> Vec<String> {
                let report = scene.heard.get(&host.name).map(|heard| &heard.report);
                let processes = report.into_iter().flat_map(|report| &report.processes);
                let named =
                    processes.filter(|told| told.status.is_live() == is_live && told.status.role.is_some());
                named.map(|told| told.status.name.clone()).collect()
            };
            let is_silent = host.is_silent(scene.now);
            HostObject {
                name: host.name.to_string(),
                state: match (&host.draining, is_silent) {
                    (_, true) => "silent",
                    (Some(_), false) => "draining",
                    (None, false) => "ready",
                }
                .to_owned(),
                age_ms: host.age(scene.now).map(|age| age.0 / 1_000_000),
                version: host.version.clone(),
                memory_bytes: host.memory_bytes,
                free_bytes: host.free_bytes,
                processors: host.processors,
                steps_per_second: host.steps_per_second,
                primaries: if is_silent { Vec::new() } else { of_host(true) },
                backups: if is_silent { Vec::new() } else { of_host(false) },
                stuck: stuck_on(host),
                drained_by: host
                    .draining
                    .as_ref()
                    .map_or_else(String::new, |drain| drain.by.clone()),
            }
        });
        hosts.collect()
    }
}

/// The VMs of a drained host that have no way to another one, as their controllers say.
fn stuck_on(host: &plan::Host) -> Vec<String> {
    let held = host.holds.iter().filter(|_| host.draining.is_some());
    let stuck = held.filter(|(_, held)| held.stuck);
    stuck.map(|(vm, _)| vm.to_string()).collect()
}

impl VmObject {
    /// A VM of a scene.
    #[must_use]
    pub fn of(name: &str, vm: &SceneVm) -> VmObject {
        let spec = vm.known.spec.as_ref().map(|spec| &spec.value);
        let face = &vm.face;
        let is_known = face.observed.is_some();
        let replica = |told: &Option<(plan::HostName, control::Status)>| {
            let (host, status) = told.as_ref().filter(|_| is_known)?;
            Some(ReplicaObject {
                host: host.to_string(),
                pid: status.pid,
                figures: status.figures.clone(),
            })
        };
        let (primary, mut backup) = (replica(&vm.live), replica(&vm.backup));
        // The owner knows its backup before that has told of itself.
        let member = vm.member();
        if vm.live_view().is_some()
            && member.map(plan::HostName::as_str) != backup.as_ref().map(|backup| backup.host.as_str())
        {
            backup = member.map(|host| ReplicaObject {
                host: host.to_string(),
                pid: 0,
                figures: None,
            });
        }
        VmObject {
            api: "v1".into(),
            name: name.to_owned(),
            guest: face.guest,
            power: spec.map_or(PowerWord::Off, |spec| spec.power),
            protection: protection(face, spec.map_or(ProtectionWord::On, |spec| spec.protection)),
            epoch: vm.live.as_ref().map_or(0, |(_, status)| status.epoch),
            primary,
            backup,
            observed: face.observed.as_ref().map(|seen| ObservedObject {
                by: seen.by.to_string(),
                age_ms: seen.age.0 / 1_000_000,
            }),
            operation: operation_of(vm),
            memory_bytes: vm.facts.as_ref().map_or(0, |facts| facts.memory_bytes),
            generation: spec.map_or(0, |spec| spec.generation),
        }
    }
}

fn protection(face: &Face, wanted: ProtectionWord) -> ProtectionObject {
    let told = face.protection();
    ProtectionObject {
        state: told.state,
        phase: told.phase,
        flags: told.flags,
        reasons: told.reasons,
        since: face.since.rfc3339(),
        since_wall_ns: told.since_wall_ns,
        wanted,
    }
}

impl ChangeObject {
    /// What was changed, or was so already.
    #[must_use]
    pub fn new(sentence: String, already: bool) -> ChangeObject {
        ChangeObject {
            sentence,
            already,
            operation: None,
            dry_run: false,
            host: None,
            hosts: Vec::new(),
        }
    }
}

impl VerdictObject {
    /// How hosts are judged for a further backup. `best`: the host that would be chosen.
    #[must_use]
    pub fn of_all(verdicts: &[Verdict], best: Option<&plan::HostName>) -> Vec<VerdictObject> {
        let verdicts = verdicts.iter();
        verdicts.map(|verdict| VerdictObject::of(verdict, best)).collect()
    }

    /// How a host is judged. `best`: the host that would be chosen.
    #[must_use]
    pub fn of(verdict: &Verdict, best: Option<&plan::HostName>) -> VerdictObject {
        let score = verdict.outcome.as_ref().ok();
        VerdictObject {
            host: verdict.host.to_string(),
            fits: score.is_some(),
            chosen: best == Some(&verdict.host),
            reasons: match &verdict.outcome {
                Ok(_) => Vec::new(),
                Err(reasons) => reasons.iter().map(Why::reason).collect(),
            },
            free_bytes: score.map_or(0, |score| score.free_bytes),
            round_trip_us: score
                .and_then(|score| score.round_trip)
                .map(|span| span.0 / 1_000),
        }
    }
}
