//! Wishes that are done once: that a VM go elsewhere, that a host be emptied, that what was begun be ended.

use messages::vm_name::VmName;
use plan::HostName;
use store::{Expected, Key};

use super::wish::{Change, Wisher, after, find, host, with_operation, write};
use crate::keeper::Write;
use crate::records::{DrainRecord, KindRecord, OperationRecord, OperationState, VmKey};
use crate::scene::Scene;
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
}

/// Something is done with a VM that runs.
///
/// # Errors
/// It does not run or has no backup, something else is under way, or there is no such VM or host.
pub fn deed(scene: &Scene, name: &VmName, deed: &Deed, wisher: &Wisher) -> Result<Change, Problem> {
    let (vm, _) = find(scene, name)?;
    let Some((owner, _)) = vm.live.as_ref().filter(|_| vm.face.observed.is_some()) else {
        let reasons = vm.face.reasons.iter().map(plan::Why::reason).collect();
        let detail = format!("{name} is not seen to run");
        return Err(Problem::new("not-now", detail).because(reasons));
    };
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
        },
        Deed::Move(to) => {
            let to = host(scene, to)?;
            if to == *owner {
                return Ok(Change::already(format!("{name} is on {to} already")));
            }
            if member != Some(&to) {
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
            backup_on = Some(to.clone());
            KindRecord::MoveBackup {
                from: member.map(|member| member.as_str().to_owned()),
                to: to.map(|to| to.as_str().to_owned()),
            }
        }
        Deed::Reset => KindRecord::Reset,
    };
    let change = with_operation(scene, name, vm, None, kind, wisher)?;
    Ok(match backup_on {
        Some(to) => change.with_backup_on(vm, to.as_ref()),
        None => change,
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
