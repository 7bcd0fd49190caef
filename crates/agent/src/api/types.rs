//! What the agent answers: the objects of its API. `lockstep status --json` prints these very objects. Fields
//! may be added; none changes its meaning.

use plan::{Face, Verdict, Wall, Why};
use report::{Figures, FlagWord, GuestWord, PhaseWord, Reason, StateWord};
use serde::{Deserialize, Serialize};

pub use crate::happenings::Happened;
use crate::records::OperationRecord;
pub use crate::records::{OperationState, PowerWord, ProtectionWord};
use crate::scene::{Scene, SceneVm};

/// A moment as programs read it (RFC 3339, UTC); empty: it is not known.
#[must_use]
pub fn moment(wall: Wall) -> String {
    if wall.0 == 0 {
        return String::new();
    }
    wall.to_string().replacen(' ', "T", 1).replace(" UTC", "Z")
}

/// The site, as this agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteObject {
    /// Version of this API.
    pub api: String,
    /// The host whose agent answers.
    pub host: String,
    /// Hosts whose agents answer this one.
    pub hosts_ready: usize,
    /// All hosts of the site.
    pub hosts: usize,
    /// Why the directory cannot be read; null: it can be.
    pub directory_away: Option<String>,
    /// Since when it cannot be read; empty: it can be.
    pub directory_away_since: String,
    /// Why the arbiter does not answer; null: it does.
    pub arbiter_away: Option<String>,
    /// Records in the directory that this agent cannot read.
    pub unreadable: Vec<String>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostObject {
    /// Name of the host.
    pub name: String,
    /// `ready`, `draining` or `silent`.
    pub state: String,
    /// How old the news of it is, in milliseconds; null: there never was any.
    pub age_ms: Option<u64>,
    /// Version of its program.
    pub version: String,
    /// Memory that VMs may use in all, in bytes.
    pub memory_bytes: u64,
    /// Memory of it that is free, in bytes.
    pub free_bytes: u64,
    /// Processors that it has for VMs.
    pub processors: u32,
    /// Measured speed, in steps a second of a loop that is the same on all hosts; 0: not measured yet.
    pub steps_per_second: u64,
    /// VMs that run there.
    pub primaries: Vec<String>,
    /// VMs of which it holds the backup.
    pub backups: Vec<String>,
    /// Who drains it; empty: nobody.
    pub drained_by: String,
}

/// How a VM's protection stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionObject {
    /// The state in a word.
    pub state: StateWord,
    /// How far a process is on its way to be the backup; null where none is.
    pub phase: Option<PhaseWord>,
    /// What is not as it should be, though the VM goes on.
    pub flags: Vec<FlagWord>,
    /// Why the state is not `protected`, and why each flag is there.
    pub reasons: Vec<Reason>,
    /// When the state became what it is; empty: not known.
    pub since: String,
    /// The same in nanoseconds since 1970; 0: not known.
    pub since_wall_ns: u64,
    /// What people want.
    pub wanted: ProtectionWord,
}

/// A process of a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaObject {
    /// Its host.
    pub host: String,
    /// Number of the process; 0: it has not told of itself yet.
    pub pid: u32,
    /// What it has counted and measured; null: nothing yet.
    pub figures: Option<Box<Figures>>,
}

/// Who has seen a VM, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedObject {
    /// The host of the process that has told.
    pub by: String,
    /// How old its news is, in milliseconds.
    pub age_ms: u64,
}

/// A VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmObject {
    /// Version of this API.
    pub api: String,
    /// Name of the VM.
    pub name: String,
    /// What its guest does.
    pub guest: GuestWord,
    /// Whether its guest shall run.
    pub power: PowerWord,
    /// How its protection stands.
    pub protection: ProtectionObject,
    /// Its epoch at the arbiter.
    pub epoch: u64,
    /// Where it runs; null: it is not seen to run.
    pub primary: Option<ReplicaObject>,
    /// Where its backup is; null: none is seen.
    pub backup: Option<ReplicaObject>,
    /// Who has seen that; null: there is no news.
    pub observed: Option<ObservedObject>,
    /// What somebody has begun last; null: nothing.
    pub operation: Option<OperationObject>,
    /// Size of its memory, in bytes.
    pub memory_bytes: u64,
    /// Counts the changes of its settings.
    pub generation: u64,
}

/// Something that somebody has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationObject {
    /// Its number.
    pub id: String,
    /// The VM.
    pub vm: String,
    /// What is to be done: a verb of the command line.
    pub kind: String,
    /// Who has begun it.
    pub by: String,
    /// Why, in that person's words.
    pub comment: String,
    /// How far it is.
    pub state: OperationState,
    /// What became of it, or is in its way, as sentences.
    pub reasons: Vec<Reason>,
    /// When it began.
    pub started: String,
    /// When it ended; empty: it goes on.
    pub ended: String,
}

/// What is answered to a request that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeObject {
    /// What was changed, or was so already, as a sentence.
    pub sentence: String,
    /// Was it so already, so that nothing was changed?
    pub already: bool,
    /// What goes on from here; null: all is done.
    pub operation: Option<OperationObject>,
}

/// A token by which a host may join the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenObject {
    /// The token, as a person carries it.
    pub token: String,
    /// Where the host that joins calls the agent: an address, and its port if that is not the usual one.
    pub agent: String,
    /// How long the token is good, in seconds.
    pub valid_s: u64,
}

/// How a host is judged for a VM's backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictObject {
    /// The host.
    pub host: String,
    /// Would it do?
    pub fits: bool,
    /// Would it be chosen?
    pub chosen: bool,
    /// Everything that speaks against it.
    pub reasons: Vec<Reason>,
    /// Memory that is free there, in bytes; 0 if it does not fit.
    pub free_bytes: u64,
    /// Time for a question to it and the answer, in microseconds; null: not measured.
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
            started: moment(Wall(record.asked.at_wall_ns)),
            ended: moment(Wall(record.ended_wall_ns)),
        }
    }
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
            directory_away_since: away.map_or_else(String::new, |(since, _)| moment(*since)),
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
                drained_by: host
                    .draining
                    .as_ref()
                    .map_or_else(String::new, |drain| drain.by.clone()),
            }
        });
        hosts.collect()
    }
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
            operation: vm.known.operation.as_ref().map(|record| {
                let mut operation = OperationObject::from(&record.value);
                if record.value.state == OperationState::Running {
                    operation.reasons = vm.decision.reasons.iter().map(Why::reason).collect();
                }
                operation
            }),
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
        since: moment(face.since),
        since_wall_ns: told.since_wall_ns,
        wanted,
    }
}

impl VerdictObject {
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
