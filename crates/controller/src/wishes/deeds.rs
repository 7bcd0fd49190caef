//! Wishes that are done once: that a VM go elsewhere, that a host be emptied, that what was begun be ended.

use messages::vm_name::VmName;
use plan::HostName;
use report::StateWord;
use store::{Expected, Key};

use super::wish::{Change, Wisher, after, find, host, running, with_operation, write};
use crate::keeper::Write;
use crate::records::{
    DrainRecord, EndWord, EndedRecord, KindRecord, OperationRecord, OperationState, Place, VmKey,
};
use crate::scene::{Scene, SceneVm};
use membership::problem::Problem;

/// What somebody wants done with a VM that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Its two sides change their roles.
    Failover,
    /// It runs on this host.
    Move(String),
    /// It has another backup, on this host.
    MoveBackup(Option<String>),
    /// Its reset button is pressed.
    Reset,
    /// The process of one of its halves is killed.
    Test {
        /// That of the owner, or else that of the backup?
        of_owner: bool,
        /// Even if no third host could take a new backup?
        anyway: bool,
    },
}

/// Something is done with a VM that runs.
///
/// # Errors
/// It does not run or has no backup, something else is under way, or there is no such VM or host.
pub fn deed(scene: &Scene, name: &VmName, deed: &Deed, wisher: &Wisher) -> Result<Change, Problem> {
    let (vm, owner, status) = running(scene, name)?;
    let member = vm.member();
    let needs_backup = |command: &str| {
        let detail =
            format!("{name} has no backup, and `{command}` needs one: `lockstep protect {name}` makes it");
        Problem::new("not-now", detail).because(vm.face.reasons.iter().map(plan::Why::reason).collect())
    };
    // The backup goes first to where the VM is to run, and where it is to be.
    let mut backup_on = None;
    let kind = match deed {
        Deed::Failover if member.is_none() => return Err(needs_backup("failover")),
        Deed::Failover => KindRecord::Failover {
            from: owner.as_str().to_owned(),
            epoch: status.epoch,
        },
        Deed::Move(to) => {
            let to = host(scene, to)?;
            if to == *owner {
                return Ok(Change::already(format!("{name} is on {to} already")));
            }
            if member != Some(&to) {
                takes(name, vm, &to)?;
                backup_on = Some(Some(to.clone()));
            }
            KindRecord::Move {
                to: to.as_str().to_owned(),
            }
        }
        Deed::MoveBackup(to) => {
            let to = to.as_deref().map(|to| host(scene, to)).transpose()?;
            if to.is_some() && to.as_ref() == member {
                let to = to.map_or_else(String::new, |to| to.to_string());
                return Ok(Change::already(format!(
                    "the backup of {name} is on {to} already"
                )));
            }
            if to.as_ref() == Some(owner) {
                let detail = format!(
                    "{name} runs on {owner}, and its backup is for when that host dies; `lockstep failover \
                     {name}` swaps the two sides"
                );
                return Err(Problem::new("not-now", detail));
            }
            if let Some(to) = &to {
                takes(name, vm, to)?;
            }
            backup_on = Some(to.clone());
            KindRecord::MoveBackup {
                from: member.map(|member| member.as_str().to_owned()),
                to: to.map(|to| to.as_str().to_owned()),
            }
        }
        Deed::Reset => KindRecord::Reset,
        Deed::Test { of_owner, anyway } => test(name, vm, *of_owner, *anyway)?,
    };
    let change = with_operation(scene, name, vm, None, kind, wisher)?;
    Ok(match backup_on {
        Some(to) => change.with_backup_on(vm, to.as_ref()),
        None => change,
    })
}

/// A host is to take the backup of a VM.
///
/// # Errors
/// It is none for this VM, whatever is waited for.
fn takes(name: &VmName, vm: &SceneVm, host: &HostName) -> Result<(), Problem> {
    let refusals = vm.placement.of(host).and_then(|outcome| outcome.as_ref().err());
    let lasting: Vec<_> = refusals
        .into_iter()
        .flatten()
        .filter(|why| is_lasting(why))
        .collect();
    if lasting.is_empty() {
        return Ok(());
    }
    let detail = format!("{host} cannot take the backup of {name}; nothing was changed");
    let reasons = lasting.into_iter().map(plan::Why::reason).collect();
    Err(Problem::new("host-refused", detail).because(reasons))
}

/// Does this speak against a host for what the host is? What it is short of, or what is under way there, may
/// pass while an operation waits for it.
fn is_lasting(why: &plan::Why) -> bool {
    use plan::Why;
    matches!(
        why,
        Why::HostModel { .. }
            | Why::HostStorage { .. }
            | Why::HostStorageOther { .. }
            | Why::HostNetwork { .. }
    )
}

/// A half of a VM is to be killed, to see that the VM goes on.
fn test(name: &VmName, vm: &SceneVm, of_owner: bool, anyway: bool) -> Result<KindRecord, Problem> {
    let live = vm.live.as_ref();
    let member = vm.member().filter(|_| vm.face.state == StateWord::Protected);
    let (Some((owner, status)), Some(member)) = (live, member) else {
        let reasons = vm.face.reasons.iter().map(plan::Why::reason).collect();
        let detail = format!(
            "{name} is {}, and only a VM that is protected outlives its test; nothing was changed",
            vm.face.state.as_str()
        );
        return Err(Problem::new("not-now", detail).because(reasons));
    };
    if vm.placement.best().is_none() && !anyway {
        let verdicts = vm.placement.verdicts().iter();
        let reasons = verdicts.filter_map(|verdict| verdict.outcome.as_ref().err());
        let reasons = reasons.flatten().map(plan::Why::reason).collect();
        let detail = format!(
            "no third host is left that could take a new backup of {name}; with `--anyway` the test is made \
             all the same, and the new backup comes where the process was killed, if that host can hold it; \
             nothing was changed"
        );
        return Err(Problem::new("no-spare-host", detail).because(reasons));
    }
    let epoch = status.epoch;
    Ok(if of_owner {
        let from = owner.as_str().to_owned();
        KindRecord::TestFailover { from, epoch }
    } else {
        let host = member.as_str().to_owned();
        KindRecord::TestBackup { host, epoch }
    })
}

/// A host is to be emptied, or may be filled again.
///
/// # Errors
/// There is no such host.
pub fn drain(scene: &Scene, name: &str, wanted: bool, wisher: &Wisher) -> Result<Change, Problem> {
    let name = host(scene, name)?;
    let before = scene.known.drains.get(&name);
    let Ok(key) = Key::drain(name.as_str()) else {
        return Err(Problem::new("no-host", format!("{name} cannot be a host's name")));
    };
    let (write, sentence, would) = match (wanted, before) {
        (true, Some(_)) => return Ok(Change::already(format!("{name} is being drained already"))),
        (false, None) => return Ok(Change::already(format!("{name} is not being drained"))),
        (true, None) => {
            let record = DrainRecord {
                asked: wisher.asked(scene),
            };
            let sentence = format!("{name} is being drained; `lockstep hosts` shows what it still holds");
            (
                write(key, &record, Expected::Absent),
                sentence,
                would_drain(scene, &name),
            )
        }
        (false, Some(before)) => {
            let write = Write {
                key,
                value: None,
                expected: Expected::Revision(before.revision),
            };
            let would = format!("{name} would take VMs again");
            (write, format!("{name} takes VMs again"), would)
        }
    };
    Ok(Change {
        writes: vec![write],
        sentence,
        would,
        ..Change::default()
    })
}

/// What would become of the VMs of a host that is drained, as a sentence.
fn would_drain(scene: &Scene, host: &HostName) -> String {
    let moves = scene.vms.iter().filter_map(|(name, vm)| {
        let (owner, member) = (vm.live.as_ref().map(|(owner, _)| owner), vm.member());
        let best = vm.placement.best();
        Some(match (owner == Some(host), member == Some(host), member, best) {
            (true, _, Some(member), _) => format!("{name} would run on {member}, where its backup is"),
            (true, _, None, Some(best)) => format!("{name} would go to {best}"),
            (_, true, _, Some(best)) => format!("the backup of {name} would go to {best}"),
            (true, ..) | (_, true, ..) => format!("no host can take {name} at present, so it would stay"),
            _ => return None,
        })
    });
    let moves: Vec<String> = moves.collect();
    match moves.as_slice() {
        [] => format!("{host} would be drained, and holds no VM"),
        moves => format!("{host} would be drained: {}", moves.join("; ")),
    }
}

/// A person has said that the process of this epoch of a VM surely runs no more: that it has ended is written
/// down in the place of its host's agent.
///
/// # Errors
/// There is no such VM.
pub fn ended(scene: &Scene, name: &VmName, epoch: u64) -> Result<Change, Problem> {
    let (vm, _) = find(scene, name)?;
    let Some(before) = vm.known.place.as_ref() else {
        return Ok(Change::already(format!("{name} never ran")));
    };
    if before.value.epoch > epoch || before.value.ended.is_some() {
        return Ok(Change::already(format!("{name} has ended already")));
    }
    let place = Place {
        ended: Some(EndedRecord {
            how: EndWord::Died,
            by: String::new(),
            at_wall_ns: scene.now.wall.0,
        }),
        ..before.value.clone()
    };
    Ok(Change {
        writes: vec![write(VmKey::Place.of(name), &place, after(Some(before)))],
        sentence: format!("{name} has ended"),
        ..Change::default()
    })
}

/// Ends an operation. What its step under way does is done.
///
/// # Errors
/// There is none of this number.
pub fn cancel(scene: &Scene, id: &str) -> Result<Change, Problem> {
    let found = scene.known.vms.iter().find_map(|(name, known)| {
        let record = known.operation.as_ref()?;
        (record.value.id == id).then_some((name, record))
    });
    let Some((name, record)) = found else {
        return Err(Problem::new(
            "no-operation",
            format!("there is no operation {id}"),
        ));
    };
    if record.value.state != OperationState::Running {
        return Ok(Change::already(format!("operation {id} has ended already")));
    }
    if record.value.is_decided() {
        let detail = format!(
            "`{}` of {name} is decided: its process is killed, and {name} gets another backup by itself; \
             nothing was changed",
            record.value.kind.word()
        );
        return Err(Problem::new("decided", detail));
    }
    let operation = OperationRecord {
        state: OperationState::Cancelled,
        ended_wall_ns: scene.now.wall.0,
        ..record.value.clone()
    };
    let word = operation.kind.word();
    let would = format!("`{word}` of {name} would not be gone on with, and what was begun would be ended");
    Ok(Change {
        writes: vec![write(VmKey::Operation.of(name), &operation, after(Some(record)))],
        sentence: format!("`{word}` of {name} is not gone on with; what was begun is ended"),
        would,
        operation: Some(operation),
        ..Change::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known::{KnownVm, Record};
    use plan::HostName;

    #[test]
    fn a_host_is_refused_at_once_for_what_it_is_and_not_for_how_it_is_now() {
        let host = HostName::new("b");
        let storage = plan::Why::HostStorage {
            host: host.clone(),
            storage: "nas".into(),
        };
        let refused = plan::Why::HostRefused {
            host: host.clone(),
            sentence: "another backup is being made here".into(),
            until: plan::Wall(0),
        };
        assert!(is_lasting(&storage));
        assert!(!is_lasting(&refused));
        assert!(!is_lasting(&plan::Why::HostSilent { host, age: None }));
    }

    #[test]
    fn a_test_is_cancelled_until_it_is_decided() {
        let vm = VmName::new("web").unwrap();
        let wisher = Wisher {
            by: "ada".into(),
            id: "7".into(),
            comment: String::new(),
        };
        for (confirmed, expected) in [(false, Ok(())), (true, Err("decided"))] {
            let mut scene = Scene::empty(crate::scene::now(), HostName::new("a"));
            let kind = KindRecord::TestBackup {
                host: "b".into(),
                epoch: 3,
            };
            let operation = OperationRecord {
                confirmed,
                ..wisher.operation(&scene, &vm, kind)
            };
            let known = KnownVm {
                operation: Some(Record {
                    value: operation,
                    revision: store::Revision(1),
                }),
                ..KnownVm::default()
            };
            scene.known.vms.insert(vm.clone(), known);
            let cancelled = cancel(&scene, "7");
            let told = cancelled
                .as_ref()
                .map(|_| ())
                .map_err(|problem| problem.code.as_str());
            assert_eq!(told, expected);
            if let Ok(change) = cancelled {
                assert_eq!(change.operation.unwrap().state, OperationState::Cancelled);
            }
        }
    }
}
