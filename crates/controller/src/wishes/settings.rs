//! Wishes about a VM's settings: that it be there, or not any more.

use messages::vm_name::VmName;
use report::StateWord;
use store::Expected;

use super::wish::{Change, Wisher, after, no_vm, write};
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
    let would = match before {
        None => format!("{name} would be created"),
        Some(_) => format!(
            "the settings of {name} would be changed, and take effect when it is started the next time"
        ),
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
        would,
        ..Change::default()
    };
    Ok((name, change))
}

/// The settings that somebody wishes a VM to have.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The text of `VM.toml`.
    pub toml: &'a str,
    /// Whether the VM shall have a backup; `None`: as it is wanted already.
    pub protection: Option<ProtectionWord>,
    /// The generation of the settings that were read before; `None`: whatever is there is replaced.
    pub generation: Option<u64>,
}

/// Changes the settings of a VM.
///
/// # Errors
/// They make no sense or are another VM's, somebody else has changed them, or there is no such VM.
pub fn settings(
    scene: &Scene,
    name: &VmName,
    wished: &Settings<'_>,
    read_vm: fn(&str) -> Result<VmFacts, String>,
    wisher: &Wisher,
) -> Result<Change, Problem> {
    // Settings that make no sense to this agent can be mended, so it need not have seen the VM.
    let Some((_, before)) = scene.known.vm(name) else {
        return Err(no_vm(scene, name));
    };
    let generation = before.value.generation;
    if wished.generation.is_some_and(|read| read != generation) {
        let detail = format!(
            "somebody else has changed the settings of {name} meanwhile: they are of generation {generation} \
             now; look at them and try again"
        );
        return Err(Problem::new("changed", detail));
    }
    let facts = read_vm(wished.toml).map_err(|why| Problem::new("bad-request", why))?;
    if facts.name != *name {
        let detail = format!(
            "these are the settings of {}, and a VM keeps its name: {name}",
            facts.name
        );
        return Err(Problem::new("bad-request", detail));
    }
    let mut spec = Spec {
        toml: wished.toml.to_owned(),
        ..before.value.clone()
    };
    if let Some(protection) = wished.protection.filter(|word| *word != spec.protection) {
        spec.protection = protection;
        spec.protection_asked = Some(wisher.asked(scene));
    }
    if spec == before.value {
        return Ok(Change::already(format!("{name} is as you want it")));
    }
    if spec.toml != before.value.toml {
        spec.generation += 1;
    }
    let (sentence, would) = said(scene, name, &before.value, &spec);
    Ok(Change {
        writes: vec![write(VmKey::Spec.of(name), &spec, after(Some(before)))],
        sentence,
        would,
        ..Change::default()
    })
}

/// What is changed, and when it takes effect, as it is said when it is done and before.
fn said(scene: &Scene, name: &VmName, before: &Spec, now: &Spec) -> (String, String) {
    let vm = scene.vms.get(name);
    let runs = vm.is_some_and(|vm| vm.running().is_some());
    let keys = differing(&before.toml, &now.toml);
    let wished = match now.protection {
        ProtectionWord::On => "it is to have a backup from now on",
        ProtectionWord::Suspended => "it is to have no backup for now",
        ProtectionWord::Off => "it is to have no backup from now on",
    };
    let protection = Some(wished).filter(|_| before.protection != now.protection);
    let (plural, list) = (keys.len() != 1, keys.join(", "));
    let text = |done: &str| match (keys.is_empty(), before.toml == now.toml) {
        (false, _) => format!("{list} of {name} {done} changed"),
        (true, false) => format!("the text of the settings of {name} {done} changed, and none of them"),
        (true, true) => format!("the wish for {name} {done} changed"),
    };
    let mut rest = String::new();
    if !keys.is_empty() && runs {
        let take = if plural { "take" } else { "takes" };
        rest += &format!(", and {take} effect when it is started the next time");
    }
    if let Some(protection) = protection {
        rest += &format!("; {protection}");
    }
    let is = if plural && !keys.is_empty() { "are" } else { "is" };
    (text(is) + &rest, text("would be") + &rest)
}

/// The settings in which two texts differ, in the order of their names.
fn differing(before: &str, now: &str) -> Vec<String> {
    let table = |text: &str| text.parse::<toml::Table>().unwrap_or_default();
    let (before, now) = (table(before), table(now));
    let mut keys: Vec<String> = before.keys().chain(now.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| before.get(key) != now.get(key));
    keys
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
        would: format!("{name} would be deleted; its disks would be as they are"),
        ..Change::default()
    })
}
