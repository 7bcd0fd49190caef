//! Wishes that last: whether a VM's guest runs, and whether it has a backup.

use messages::vm_name::VmName;
use plan::Wall;

use super::wish::{Change, Wisher, after, find, host, with_operation, write};
use crate::records::{AskedRecord, KindRecord, PowerWord, ProtectionWord, Spec, VmKey};
use crate::scene::{Scene, SceneVm};
use membership::problem::Problem;

/// Whether the guest shall run.
///
/// # Errors
/// Something else is under way, there is no such VM or host, or the VM may live elsewhere.
pub fn power(
    scene: &Scene,
    name: &VmName,
    wanted: PowerWord,
    hard: bool,
    on: Option<&str>,
    wisher: &Wisher,
) -> Result<Change, Problem> {
    let (vm, before) = find(scene, name)?;
    if let Some(change) = is_so(name, vm, &before.value, wanted, hard)? {
        return Ok(change);
    }
    let lives = vm.running();
    let home = match (on, &before.value.home) {
        (Some(on), _) => host(scene, on)?.as_str().to_owned(),
        (None, _) if wanted != PowerWord::On || lives.is_some() => {
            before.value.home.clone().unwrap_or_default()
        }
        (None, _) => first_home(scene, vm),
    };
    let spec = Spec {
        power: wanted,
        hard,
        power_asked: wisher.asked(scene),
        home: Some(home).filter(|home| !home.is_empty()),
        ..before.value.clone()
    };
    let kind = match (wanted, lives) {
        (PowerWord::Off, _) => KindRecord::Stop,
        (PowerWord::On, None) => KindRecord::Start,
        // It is done as soon as the VM's controller has seen the wish.
        (PowerWord::On | PowerWord::Paused, _) => {
            let word = if wanted == PowerWord::On {
                "runs on"
            } else {
                "is paused"
            };
            let would = match wanted {
                PowerWord::On => format!("{name} would run on"),
                PowerWord::Paused | PowerWord::Off => format!("{name} would be paused"),
            };
            return Ok(Change {
                writes: vec![write(VmKey::Spec.of(name), &spec, after(Some(before)))],
                sentence: format!("{name} {word}"),
                would,
                ..Change::default()
            });
        }
    };
    let host = (kind == KindRecord::Start).then(|| spec.home.clone()).flatten();
    let change = with_operation(scene, name, vm, Some((before, spec)), kind, wisher)?;
    Ok(match host {
        Some(host) if !change.already => Change {
            would: format!("{name} would be started on {host}"),
            host: Some(plan::HostName::new(host)),
            ..change
        },
        _ => change,
    })
}

/// Is the guest as is wanted already, so that nothing is to be done?
fn is_so(
    name: &VmName,
    vm: &SceneVm,
    before: &Spec,
    wanted: PowerWord,
    hard: bool,
) -> Result<Option<Change>, Problem> {
    let lives = vm.running();
    let is_paused = lives.is_some_and(|(_, status)| status.paused_since_wall_ns.is_some());
    let since = |asked: &AskedRecord| Wall(asked.at_wall_ns).rfc3339();
    let is_wanted = before.power == wanted;
    match (wanted, lives) {
        (PowerWord::On, Some((host, _))) if is_wanted && !is_paused => {
            return Ok(Some(Change::already(format!("{name} runs already, on {host}"))));
        }
        (PowerWord::Paused, Some(_)) if is_wanted && is_paused => {
            return Ok(Some(Change::already(format!("{name} is paused already"))));
        }
        (PowerWord::Off, Some(_)) if !hard && !has_power_button(vm) => {
            let detail = format!(
                "the guest of {name} cannot be asked to switch off, since its board has no power button: \
                 switch it off from inside, or pull its plug with `lockstep stop {name} --hard`"
            );
            return Err(Problem::new("not-now", detail));
        }
        (PowerWord::Paused, None) => {
            return Err(Problem::new(
                "not-now",
                format!("{name} does not run; there is nothing to pause"),
            ));
        }
        (PowerWord::Off, None) if is_wanted && vm.vm.seen.member.is_none() => {
            let when = since(&before.power_asked);
            let when = if when.is_empty() {
                String::new()
            } else {
                format!(", since {when}")
            };
            return Ok(Some(Change::already(format!("{name} is off{when}"))));
        }
        _ => {}
    }
    Ok(None)
}

/// Has the board of a VM that runs a power button, by which the guest can be asked to switch off?
fn has_power_button(vm: &SceneVm) -> bool {
    vm.live_view().is_some_and(|view| view.process.has_power_button)
}

/// The host on which a VM is started if nobody says where: where it ran last if that host is there, else
/// this one.
fn first_home(scene: &Scene, vm: &SceneVm) -> String {
    let last = vm.known.place.as_ref().map(|place| place.value.owner.as_str());
    let is_ready = |name: &&str| {
        let host = scene.hosts.iter().find(|host| host.name.as_str() == *name);
        host.is_some_and(|host| !host.is_silent(scene.now) && host.draining.is_none())
    };
    last.filter(is_ready).unwrap_or(scene.me.as_str()).to_owned()
}

/// Whether the VM shall have a backup; `to`: on this host.
///
/// # Errors
/// Something else is under way, or there is no such VM or host.
pub fn protection(
    scene: &Scene,
    name: &VmName,
    wanted: ProtectionWord,
    to: Option<&str>,
    wisher: &Wisher,
) -> Result<Change, Problem> {
    let (vm, before) = find(scene, name)?;
    let to = to.map(|to| host(scene, to)).transpose()?;
    let member = vm.member();
    let is_wanted = before.value.protection == wanted;
    match (wanted, member) {
        (ProtectionWord::On, Some(member)) if is_wanted => match to {
            Some(to) if to != *member => {
                let detail = format!(
                    "{name} has its backup on {member}; `lockstep move-backup {name} --to {to}` replaces it"
                );
                return Err(Problem::new("not-now", detail));
            }
            _ => {
                return Ok(Change::already(format!(
                    "{name} is protected already, backup {member}"
                )));
            }
        },
        (ProtectionWord::Suspended | ProtectionWord::Off, None) if is_wanted => {
            return Ok(Change::already(format!("{name} has no backup, as is wanted")));
        }
        _ => {}
    }
    let spec = Spec {
        protection: wanted,
        protection_asked: Some(wisher.asked(scene)),
        ..before.value.clone()
    };
    let kind = match wanted {
        ProtectionWord::On => KindRecord::Protect {
            to: to.as_ref().map(|to| to.as_str().to_owned()),
        },
        ProtectionWord::Suspended | ProtectionWord::Off => KindRecord::Unprotect,
    };
    let change = with_operation(scene, name, vm, Some((before, spec)), kind, wisher)?;
    Ok(match wanted {
        ProtectionWord::On if vm.member().is_none() => change.with_backup_on(vm, to.as_ref()),
        _ => change,
    })
}
