//! Wishes about a VM's settings: that it be there, or not any more.

use messages::vm_name::VmName;
use report::StateWord;
use store::Expected;

use super::wish::{Change, Wisher, after, write};
use crate::VmFacts;
use crate::keeper::Write;
use crate::records::{AskedRecord, PowerWord, ProtectionWord, Spec, VmKey};
use crate::scene::Scene;
use membership::problem::Problem;

/// Creates a VM of these settings, or changes the settings of one.
///
/// # Errors
/// The settings make no sense, or the directory is away.
pub fn create(
    scene: &Scene,
    toml: &str,
    read_vm: fn(&str) -> Result<VmFacts, String>,
    protection: ProtectionWord,
    wisher: &Wisher,
) -> Result<(VmName, Change), Problem> {
    let facts = read_vm(toml).map_err(|why| Problem::new("bad-request", why))?;
    let before = scene.known.vm(&facts.name).map(|(_, spec)| spec);
    let name = facts.name;
    let spec = match before {
        Some(before) if before.value.toml == toml => {
            let sentence = format!("{name} is as in the file");
            return Ok((name, Change::already(sentence)));
        }
        Some(before) => Spec {
            generation: before.value.generation + 1,
            toml: toml.to_owned(),
            ..before.value.clone()
        },
        None => Spec {
            generation: 1,
            toml: toml.to_owned(),
            created: wisher.asked(scene),
            power: PowerWord::Off,
            hard: false,
            power_asked: AskedRecord::default(),
            protection,
            protection_asked: None,
            home: None,
            rest: serde_json::Map::new(),
        },
    };
    let sentence = match before {
        None => format!("{name} is created; `lockstep start {name}` starts it"),
        Some(_) => {
            format!("the settings of {name} are changed, and take effect when it is started the next time")
        }
    };
    let change = Change {
        writes: vec![write(VmKey::Spec.of(&name), &spec, after(before))],
        sentence,
        ..Change::default()
    };
    Ok((name, change))
}

/// Deletes a VM: its settings and what is known of it. Disks stay.
///
/// # Errors
/// It runs, or there is none of this name.
pub fn delete(scene: &Scene, name: &VmName) -> Result<Change, Problem> {
    let Some(known) = scene.known.vms.get(name) else {
        return Ok(Change::already(format!("there is no VM called {name}")));
    };
    if let Some(vm) = scene.vms.get(name)
        && let Some((host, _)) = &vm.live
        && vm.face.state != StateWord::Off
    {
        let detail = format!("{name} runs on {host}; switch it off first, with `lockstep stop {name}`");
        return Err(Problem::new("not-now", detail));
    }
    let remove = |key: VmKey, revision| Write {
        key: key.of(name),
        value: None,
        expected: Expected::Revision(revision),
    };
    // The settings last: until they are gone, the VM can be deleted again.
    let writes = [
        known
            .operation
            .as_ref()
            .map(|record| remove(VmKey::Operation, record.revision)),
        known
            .place
            .as_ref()
            .map(|record| remove(VmKey::Place, record.revision)),
        known
            .spec
            .as_ref()
            .map(|record| remove(VmKey::Spec, record.revision)),
    ];
    Ok(Change {
        writes: writes.into_iter().flatten().collect(),
        sentence: format!("{name} is deleted; its disks are as they were"),
        ..Change::default()
    })
}
