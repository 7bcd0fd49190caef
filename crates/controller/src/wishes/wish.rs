//! `Wisher` and `Change`: what all wishes have in common.

use control::Status;
use messages::vm_name::VmName;
use plan::HostName;
use serde::Serialize;
use store::{Expected, Key};

use crate::keeper::Write;
use crate::known::Record;
use crate::limits::COMMENT_BYTES_MAX;
use crate::records::{AskedRecord, KindRecord, OperationRecord, OperationState, Spec, VmKey};
use crate::scene::{Scene, SceneVm};
use membership::problem::Problem;

/// Who wishes, under which number, and why.
#[derive(Clone, Debug)]
pub struct Wisher {
    /// Name of the person.
    pub by: String,
    /// Number of the request, 32 hexadecimal digits: a repeated request does nothing twice.
    pub id: String,
    /// Why, in that person's words; empty: nothing was said.
    pub comment: String,
}

/// What a wish changes.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What is written, in this order.
    pub writes: Vec<Write>,
    /// What goes on from here.
    pub operation: Option<OperationRecord>,
    /// What is changed, or was so already, as a sentence.
    pub sentence: String,
    /// What would be changed, as a sentence, for whoever only wants to know.
    pub would: String,
    /// Was it so already?
    pub already: bool,
    /// The host that is chosen for it; `None`: it needs none, or none is there.
    pub host: Option<HostName>,
    /// How hosts are judged for it, where it needs one.
    pub verdicts: Vec<plan::Verdict>,
    /// The host that would be chosen of them.
    pub best: Option<HostName>,
}

impl Change {
    /// It is so already.
    pub(super) fn already(sentence: String) -> Change {
        Change {
            would: sentence.clone(),
            sentence,
            already: true,
            ..Change::default()
        }
    }

    /// The same, for which a host must be found that takes a backup of the VM. `to`: the one that is meant.
    pub(super) fn with_backup_on(self, vm: &SceneVm, to: Option<&HostName>) -> Change {
        if self.already {
            return self;
        }
        let mut verdicts = vm.placement.verdicts().to_vec();
        verdicts.retain(|verdict| to.is_none_or(|to| *to == verdict.host));
        let would_do = |host: &&HostName| {
            let mut verdicts = verdicts.iter();
            verdicts.any(|verdict| verdict.outcome.is_ok() && verdict.host == **host)
        };
        let host = to.or(vm.placement.best()).filter(would_do).cloned();
        let would = match &host {
            Some(host) => format!("{}; {host} would take the backup", self.would),
            None => format!("{}; no host can take the backup at present", self.would),
        };
        Change {
            host,
            verdicts,
            best: vm.placement.best().cloned(),
            would,
            ..self
        }
    }
}

impl Wisher {
    pub(super) fn asked(&self, scene: &Scene) -> AskedRecord {
        let comment = self.comment.chars().filter(|sign| !sign.is_control());
        AskedRecord {
            by: self.by.clone(),
            at_wall_ns: scene.now.wall.0,
            comment: comment.take(COMMENT_BYTES_MAX).collect(),
        }
    }

    pub(super) fn operation(&self, scene: &Scene, vm: &VmName, kind: KindRecord) -> OperationRecord {
        OperationRecord {
            id: self.id.clone(),
            vm: vm.to_string(),
            kind,
            asked: self.asked(scene),
            state: OperationState::Running,
            progress_wall_ns: scene.now.wall.0,
            confirmed: false,
            reasons: Vec::new(),
            ended_wall_ns: 0,
        }
    }
}

/// A value for a key; records are made of texts, numbers and words, which JSON can always say.
pub(super) fn write(key: Key, value: &impl Serialize, expected: Expected) -> Write {
    Write {
        key,
        value: Some(serde_json::to_vec(value).unwrap_or_default()),
        expected,
    }
}

pub(super) fn after<T>(record: Option<&Record<T>>) -> Expected {
    record.map_or(Expected::Absent, |record| Expected::Revision(record.revision))
}

/// The VM of this name that runs, with its owner's host and what its live process has said last.
///
/// # Errors
/// It is not seen to run, or there is none.
pub fn running<'a>(
    scene: &'a Scene,
    name: &VmName,
) -> Result<(&'a SceneVm, &'a HostName, &'a Status), Problem> {
    let (vm, _) = find(scene, name)?;
    match vm.running() {
        Some((owner, status)) => Ok((vm, owner, status)),
        None => {
            let reasons = vm.face.reasons.iter().map(plan::Why::reason).collect();
            Err(Problem::new("not-now", format!("{name} is not seen to run")).because(reasons))
        }
    }
}

/// The VM of this name.
///
/// # Errors
/// There is none; the nearest name is said.
pub fn find<'a>(scene: &'a Scene, vm: &VmName) -> Result<(&'a SceneVm, &'a Record<Spec>), Problem> {
    if let Some((scene_vm, spec)) = scene
        .vms
        .get(vm)
        .and_then(|scene_vm| Some((scene_vm, scene_vm.known.spec.as_ref()?)))
    {
        return Ok((scene_vm, spec));
    }
    if let Some((_, Err(why))) = scene.known.vm(vm).map(|(_, spec)| (spec, read_error(scene, vm))) {
        let detail = format!("the settings of {vm} make no sense to this agent: {why}");
        return Err(Problem::new("not-now", detail));
    }
    Err(no_vm(scene, vm))
}

/// That there is no VM of this name; the nearest one is said.
#[must_use]
pub fn no_vm(scene: &Scene, vm: &VmName) -> Problem {
    let names = scene.known.vms.keys().map(VmName::as_str);
    let nearest = names.min_by_key(|name| distance(name, vm.as_str()));
    let nearest = nearest.filter(|name| distance(name, vm.as_str()) <= 2);
    let hint = match nearest {
        Some(name) => format!("; there is {name}"),
        None => "; `lockstep status` lists those that there are".into(),
    };
    Problem::new("no-vm", format!("there is no VM called {vm}{hint}"))
}

/// Why a VM that the store has is in no scene.
fn read_error(scene: &Scene, vm: &VmName) -> Result<(), String> {
    let unreadable = scene.known.unreadable.get(VmKey::Spec.of(vm).as_str());
    Err(unreadable
        .cloned()
        .unwrap_or_else(|| "they were not read yet".into()))
}

/// How many letters must be changed to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, letter) in a.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (other, above) in b.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(*other != letter);
            diagonal = *above;
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// The host of this name.
pub(super) fn host(scene: &Scene, name: &str) -> Result<HostName, Problem> {
    let name = HostName::new(name);
    if scene.hosts.iter().any(|host| host.name == name) {
        return Ok(name);
    }
    let all: Vec<&str> = scene.hosts.iter().map(|host| host.name.as_str()).collect();
    let detail = format!("there is no host called {name}; the site has {}", all.join(", "));
    Err(Problem::new("no-host", detail))
}

/// What is under way with the VM must have ended, or be the same. Protection can be given up at any time:
/// whatever needs a backup gives way to that.
fn free(before: Option<&OperationRecord>, kind: &KindRecord) -> Result<Option<OperationRecord>, Problem> {
    let Some(before) = before.filter(|before| before.state == OperationState::Running) else {
        return Ok(None);
    };
    if before.kind.word() == kind.word() {
        return Ok(Some(before.clone()));
    }
    if *kind == KindRecord::Unprotect && before.kind.needs_backup() && !before.is_decided() {
        return Ok(None);
    }
    let (word, id) = (before.kind.word(), &before.id);
    let detail = format!(
        "`{word}` of {} is under way, begun by {}; wait for it, or end it with `lockstep cancel {id}`",
        before.vm, before.asked.by
    );
    Err(Problem::new("busy", detail))
}

/// A change of a VM's settings with what follows of it.
pub(super) fn with_operation(
    scene: &Scene,
    name: &VmName,
    vm: &SceneVm,
    spec: Option<(&Record<Spec>, Spec)>,
    kind: KindRecord,
    wisher: &Wisher,
) -> Result<Change, Problem> {
    let under_way = free(vm.known.operation.as_ref().map(|record| &record.value), &kind)?;
    let mut writes = Vec::new();
    if let Some((before, spec)) = spec
        && before.value != spec
    {
        writes.push(write(VmKey::Spec.of(name), &spec, after(Some(before))));
    }
    let word = kind.word();
    if let Some(operation) = under_way.filter(|operation| operation.kind == kind) {
        return Ok(Change {
            writes,
            operation: Some(operation),
            ..Change::already(format!("`{word}` of {name} is under way already"))
        });
    }
    let operation = wisher.operation(scene, name, kind);
    let expected = after(vm.known.operation.as_ref());
    writes.push(write(VmKey::Operation.of(name), &operation, expected));
    Ok(Change {
        writes,
        sentence: format!("`{word}` of {name} has begun"),
        would: format!("`{word}` of {name} would begin"),
        operation: Some(operation),
        ..Change::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(kind: KindRecord) -> OperationRecord {
        OperationRecord {
            id: "5eed".into(),
            vm: "shop".into(),
            kind,
            asked: AskedRecord {
                by: "root".into(),
                at_wall_ns: 0,
                comment: String::new(),
            },
            state: OperationState::Running,
            progress_wall_ns: 0,
            confirmed: false,
            reasons: Vec::new(),
            ended_wall_ns: 0,
        }
    }

    #[test]
    fn what_needs_a_backup_gives_way_to_unprotect_and_nothing_else_does() {
        let protect = running(KindRecord::Protect { to: None });
        assert!(matches!(free(Some(&protect), &KindRecord::Unprotect), Ok(None)));
        assert!(free(Some(&protect), &KindRecord::Reset).is_err());
        assert!(free(Some(&running(KindRecord::Stop)), &KindRecord::Unprotect).is_err());
        let again = running(KindRecord::Unprotect);
        assert!(matches!(free(Some(&again), &KindRecord::Unprotect), Ok(Some(_))));
        let ended = OperationRecord {
            state: OperationState::Done,
            ..running(KindRecord::Stop)
        };
        assert!(matches!(free(Some(&ended), &KindRecord::Unprotect), Ok(None)));
    }

    #[test]
    fn the_nearest_name_is_the_one_with_the_fewest_changes() {
        assert_eq!(distance("shop", "shop"), 0);
        assert_eq!(distance("shop", "shp"), 1);
        assert_eq!(distance("shop", "chip"), 2);
        assert_eq!(distance("", "abc"), 3);
    }
}
