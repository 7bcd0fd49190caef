//! How a host is emptied.

use plan::{Action, Cause, Held};

use super::{codes, decide_at, drain, is_wait};
use crate::sample::{GIB, at, name, paired, vm_name};

#[test]
fn a_drained_host_loses_its_backups_and_hands_its_vms_over() {
    let vm = paired();
    let member = decide_at(at(100), &vm, |hosts| drain(hosts, 1));
    assert_eq!(member.action, Action::Prepare { host: name("c") });
    let owner = decide_at(at(100), &vm, |hosts| drain(hosts, 0));
    assert_eq!(owner.action, Action::HandOver { cause: Cause::Wanted });
    let both = decide_at(at(100), &vm, |hosts| {
        drain(hosts, 0);
        drain(hosts, 1);
    });
    assert_eq!(
        both.action,
        Action::Prepare { host: name("c") },
        "first to where it can be handed over"
    );
    let uncontrolled = decide_at(at(100), &vm, |hosts| {
        drain(hosts, 0);
        hosts[1].heard = Some(at(90).time);
    });
    assert_eq!(uncontrolled.action, Action::Prepare { host: name("c") });
    let nowhere = decide_at(at(100), &vm, |hosts| {
        drain(hosts, 1);
        hosts[2].networks.clear();
    });
    assert!(nowhere.stuck && is_wait(&nowhere));
    assert_eq!(
        codes(&nowhere.reasons),
        ["host-same", "host-draining", "host-network"]
    );
}

#[test]
fn a_drained_host_loses_one_vm_at_a_time_the_smallest_first_past_those_that_cannot_go() {
    let vm = paired();
    let held = |memory_bytes, controller: &str, stuck| Held {
        memory_bytes,
        controller: name(controller),
        stuck,
    };
    let with = |others: &[(&str, Held)], is_silent: bool| {
        decide_at(at(100), &vm, |hosts| {
            drain(hosts, 1);
            hosts[1].holds.insert(vm_name("shop"), held(GIB / 2, "a", false));
            for (name, held) in others {
                hosts[1].holds.insert(vm_name(name), held.clone());
            }
            if is_silent {
                hosts[2].heard = Some(at(90).time);
                hosts.push(crate::sample::host("d", at(100)));
            }
        })
    };
    let larger = ("ldap", held(GIB, "c", false));
    assert!(matches!(with(&[larger], false).action, Action::Prepare { .. }));
    let smaller = ("ldap", held(GIB / 4, "c", false));
    let waits = with(std::slice::from_ref(&smaller), false);
    assert!(is_wait(&waits) && codes(&waits.reasons) == ["turn"] && !waits.stuck);
    assert_eq!(
        waits.reasons[0].sentence(),
        "ldap goes first; this VM is next when that is done"
    );
    let stuck = ("ldap", held(GIB / 4, "c", true));
    assert!(matches!(with(&[stuck], false).action, Action::Prepare { .. }));
    assert!(
        matches!(with(&[smaller], true).action, Action::Prepare { .. }),
        "its agent is silent"
    );
}
