//! Hosts, processes and VMs as they are when nothing is amiss: tests change what they are about.

use std::collections::{BTreeMap, BTreeSet};

use messages::time::{Span, Time};
use messages::vm_name::VmName;
use plan::{
    Asked, Cloning, Desired, Hang, Host, HostName, Need, Now, Ownership, Power, Process, Protected,
    Protocols, Seen, Site, Storage, View, Vm, Wall, Watch,
};
use report::{GuestWord, PhaseWord, Protection, Reason, RoleWord, StateWord};

/// A second, in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
/// A GiB, in bytes.
pub const GIB: u64 = 1 << 30;
/// The wall clock where time is zero: 2026-11-28 21:40:31 UTC.
const BEGINNING: u64 = 1_795_902_031;

/// The moment `ms` after the beginning.
pub fn at_ms(ms: u64) -> Now {
    let ns = ms * 1_000_000;
    Now {
        time: Time(ns),
        wall: Wall(BEGINNING * SECOND + ns),
    }
}

/// The moment so many seconds after the beginning.
pub fn at(seconds: u64) -> Now {
    at_ms(seconds * 1_000)
}

pub fn name(host: &str) -> HostName {
    HostName::new(host)
}

pub fn vm_name(vm: &str) -> VmName {
    VmName::new(vm).unwrap()
}

/// A host that was heard just now and has everything.
pub fn host(host: &str, now: Now) -> Host {
    Host {
        name: name(host),
        heard: Some(now.time),
        boot: 1,
        version: "0.2.0".into(),
        models: BTreeSet::from([1, 2]),
        protocols: Protocols { oldest: 2, newest: 3 },
        memory_bytes: 16 * GIB,
        free_bytes: 8 * GIB,
        processors: 4,
        free_processors: 2,
        steps_per_second: 1_000_000_000,
        translates: true,
        zone: None,
        storages: BTreeMap::from([("nas".to_owned(), Storage::Shared)]),
        networks: BTreeSet::from(["lan".to_owned()]),
        draining: None,
        protected: 0,
        protected_max: 8,
        round_trip: None,
        knows: BTreeSet::new(),
        holds: BTreeMap::new(),
    }
}

/// Hosts `a`, `b` and so on.
pub fn hosts(count: usize, now: Now) -> Vec<Host> {
    ["a", "b", "c", "d", "e"]
        .iter()
        .take(count)
        .map(|name| host(name, now))
        .collect()
}

pub fn site<'a>(me: &'a HostName, hosts: &'a [Host]) -> Site<'a> {
    Site {
        me,
        hosts,
        arbiter_away: None,
        directory_away: None,
        clones_max: 1,
    }
}

pub fn need(vm: &str, owner: &str) -> Need {
    Need {
        vm: vm_name(vm),
        memory_bytes: GIB / 2,
        owner: name(owner),
        member: None,
        apart: false,
        model: 2,
        protocols: Protocols { oldest: 3, newest: 3 },
        storages: BTreeSet::from(["nas".to_owned()]),
        networks: BTreeSet::from(["lan".to_owned()]),
        allow_slow: false,
        barred: BTreeMap::new(),
        named: None,
    }
}

/// What a process says that has this role, in the words that a process of this program has.
pub fn process(role: RoleWord, peer: Option<&str>) -> Process {
    let (state, reason) = match role {
        RoleWord::Solo => (StateWord::Unprotected, Some("user")),
        RoleWord::Primary | RoleWord::Backup => (StateWord::Protected, None),
        RoleWord::Apprentice => (StateWord::Starting, Some("copying")),
        RoleWord::Claiming => (StateWord::Standing, Some("suspected")),
        RoleWord::Handing => (StateWord::Standing, Some("handing-over")),
        RoleWord::Halted => (StateWord::Off, Some("off")),
    };
    let guest = match role {
        RoleWord::Halted => GuestWord::Off,
        RoleWord::Claiming | RoleWord::Handing => GuestWord::Standing,
        RoleWord::Apprentice => GuestWord::Waiting,
        RoleWord::Solo | RoleWord::Primary | RoleWord::Backup => GuestWord::Running,
    };
    Process {
        number: 1,
        role: Some(role),
        guest,
        is_paused: false,
        protection: Protection {
            state,
            phase: None,
            flags: Vec::new(),
            reasons: reason
                .map(|code| Reason::new(code, format!("it is as {code} says")))
                .into_iter()
                .collect(),
            since_wall_ns: at(0).wall.0,
        },
        epoch: 1,
        first_epoch: Some(1),
        peer: peer.map(name),
        clone: None,
        sync: None,
        is_dismissing: false,
        is_swapping: false,
        has_snapshot: false,
        can_have_backup: true,
        has_power_button: false,
        panic: None,
        output_delay: None,
    }
}

/// A clone to this host.
pub fn clone(to: &str, phase: PhaseWord) -> Cloning {
    Cloning {
        to: name(to),
        phase,
        done_bytes: GIB / 4,
        total_bytes: GIB / 2,
        bytes_per_second: Some(256 << 20),
        lag: Span::from_ms(300),
        outputs: 3,
    }
}

pub fn view(host: &str, process: Process) -> View {
    View {
        host: name(host),
        process,
        age: Span(0),
    }
}

/// Nothing of the VM is seen.
pub fn nothing_seen() -> Seen {
    Seen {
        here: None,
        elsewhere: None,
        member: None,
        ended: None,
        gone_since: None,
        ownership: Ownership::Unknown,
        starting: None,
        asking: None,
        prepared: None,
        ordered: None,
        refused: None,
        not_handed_over: None,
        lost: None,
        health: Watch::default(),
        swaps: Vec::new(),
        is_fenced: false,
        outdone: None,
        amiss: Vec::new(),
        hang: Hang::default(),
    }
}

/// A VM that shall run with a backup, and whose process on `owner` says this.
pub fn vm(vm: &str, owner: &str, process: Process) -> Vm {
    Vm {
        need: need(vm, owner),
        desired: Desired {
            power: Power::On,
            power_asked: ada(0),
            protected: Protected::On,
            protected_asked: Some(ada(0)),
            starts_cold: false,
            swaps_for_health: true,
            resets_hung: false,
        },
        seen: Seen {
            here: Some(view(owner, process)),
            ..nothing_seen()
        },
        operation: None,
    }
}

/// Ada's word, given so many seconds after the beginning.
pub fn ada(seconds: u64) -> Asked {
    Asked {
        by: "ada".into(),
        at: at(seconds).wall,
        comment: "switch firmware".into(),
    }
}

/// The VM alone on `a`.
pub fn solo() -> Vm {
    vm("shop", "a", process(RoleWord::Solo, None))
}

/// The VM on `a`, with its backup on `b`.
pub fn paired() -> Vm {
    vm("shop", "a", process(RoleWord::Primary, Some("b")))
}
