//! What people see of a VM: one word, the reasons, and how old the news is.

use messages::time::{Span, Time};
use plan::{
    Backoff, End, Ended, Face, Health, Host, Loss, Lost, Ownership, Protected, Seen, Site, Vm, Watch, Why,
    face, placement_of,
};
use report::{FlagWord, GuestWord, PhaseWord, Reason, RoleWord, StateWord};

use crate::sample::{ada, at, clone, hosts, name, nothing_seen, paired, process, site, solo, view, vm};

/// What is seen of the VM by the agent on `a`, of two hosts that both run.
fn seen(vm: &Vm) -> Face {
    seen_with(vm, |_, _| {})
}

fn seen_with(vm: &Vm, change: impl FnOnce(&mut Vec<Host>, &mut Site<'_>)) -> Face {
    let now = at(100);
    let mut hosts = hosts(2, now);
    let me = name("a");
    let mut changed = site(&me, &[]);
    change(&mut hosts, &mut changed);
    let site = Site {
        hosts: &hosts,
        ..changed
    };
    let placement = placement_of(now, &site, vm, &Backoff::new(1));
    face(now, &site, vm, &placement, &[])
}

fn codes(face: &Face) -> Vec<&str> {
    face.reasons.iter().map(Why::code).collect()
}

fn silent(hosts: &mut [Host]) {
    hosts[1].heard = Some(at(80).time);
}

#[test]
fn a_vm_that_has_its_backup_is_protected_without_a_reason() {
    let face = seen(&paired());
    assert_eq!(
        (face.state, face.guest),
        (StateWord::Protected, GuestWord::Running)
    );
    assert_eq!((face.flags, face.reasons), (vec![], vec![]));
    let observed = face.observed.unwrap();
    assert_eq!((observed.by, observed.age), (name("a"), Span(0)));
    assert_eq!(face.since, at(0).wall);
    let mut replacing = paired();
    replacing.seen.here.as_mut().unwrap().process.clone = Some(clone("c", PhaseWord::Copying));
    let face = seen(&replacing);
    assert_eq!(
        (face.state, face.phase),
        (StateWord::Protected, Some(PhaseWord::Copying))
    );
}

#[test]
fn a_vm_alone_has_the_word_of_what_is_wanted_for_it() {
    let mut vm = solo();
    assert_eq!(
        (seen(&vm).state, codes(&seen(&vm))),
        (StateWord::Starting, vec!["choosing"])
    );
    let face = seen_with(&vm, |hosts, _| silent(hosts));
    assert_eq!(
        (face.state, codes(&face)),
        (StateWord::NeedsBackup, vec!["host-silent"])
    );
    let face = seen_with(&vm, |hosts, _| hosts.truncate(1));
    assert_eq!(
        (face.state, codes(&face)),
        (StateWord::NeedsBackup, vec!["no-hosts"])
    );
    vm.desired.protected = Protected::Suspended;
    let face = seen(&vm);
    assert_eq!((face.state, codes(&face)), (StateWord::Suspended, vec!["user"]));
    assert_eq!(
        face.reasons[0].sentence(),
        "by ada at 2026-11-28 21:40:31 UTC: \"switch firmware\"; `lockstep protection resume shop` undoes it"
    );
    vm.desired.protected = Protected::Off;
    let face = seen(&vm);
    assert_eq!((face.state, codes(&face)), (StateWord::Unprotected, vec!["user"]));
    vm.desired.protected_asked = Some(ada(50));
    assert_eq!(seen(&vm).since, at(50).wall, "it is as old as the wish");
    vm.desired.protected_asked = None;
    assert_eq!(codes(&seen(&vm)), ["policy"]);
}

#[test]
fn a_backup_on_its_way_is_shown_with_its_phase() {
    let mut vm = solo();
    for (phase, sentence) in [
        (PhaseWord::Connecting, "b is called, to be the backup"),
        (
            PhaseWord::Copying,
            "memory is copied to b: 256 MiB of 512 MiB, 256 MiB/s, ready in 1.0 s",
        ),
        (
            PhaseWord::CatchingUp,
            "b replays what has happened since, 0.3 s behind",
        ),
        (
            PhaseWord::Arming,
            "b has caught up; 3 earlier outputs still have to leave",
        ),
    ] {
        vm.seen.here.as_mut().unwrap().process.clone = Some(clone("b", phase));
        let face = seen(&vm);
        assert_eq!((face.state, face.phase), (StateWord::Starting, Some(phase)));
        assert_eq!(face.reasons[0].sentence(), sentence);
    }
    let process = &mut vm.seen.here.as_mut().unwrap().process;
    process.clone = None;
    process.sync = Some(plan::Syncing {
        disk: "vda".into(),
        done_bytes: 1 << 30,
        total_bytes: 8 << 30,
        bytes_per_second: Some(512 << 20),
    });
    assert_eq!(codes(&seen(&vm)), ["syncing-disks"]);
}

#[test]
fn what_is_lost_is_told_with_what_each_host_says() {
    let mut vm = solo();
    vm.seen.lost = Some(Lost {
        host: Some(name("b")),
        at: at(90).wall,
        how: Loss::Suspected(report::SuspicionWord::Silence),
    });
    let process = &mut vm.seen.here.as_mut().unwrap().process;
    process.protection.state = StateWord::NeedsBackup;
    process.protection.reasons = vec![
        Reason::new("backup-lost", "10.0.0.2 is lost"),
        Reason::new("clone-failed", "10.0.0.2 has not become the backup"),
    ];
    let face = seen_with(&vm, |hosts, site| {
        silent(hosts);
        site.arbiter_away = Some(("a b c", Span::from_ms(9_000)));
        site.directory_away = Some(at(50).wall);
    });
    assert_eq!(face.state, StateWord::NeedsBackup);
    assert_eq!(
        codes(&face),
        [
            "backup-lost",
            "host-silent",
            "arbiter-away",
            "clone-failed",
            "directory-away"
        ]
    );
    assert_eq!(face.flags, [FlagWord::ArbiterAway]);
    let told = face.protection();
    assert_eq!(told.reasons.len(), 5);
    assert_eq!(told.reasons[0].code, "backup-lost");
}

#[test]
fn a_vm_without_arbiter_says_so_instead_of_asking_hosts() {
    let mut vm = solo();
    let process = &mut vm.seen.here.as_mut().unwrap().process;
    process.can_have_backup = false;
    process.protection.reasons.clear();
    let now = at(100);
    let hosts = hosts(2, now);
    let me = name("a");
    let site = site(&me, &hosts);
    let backoff = Backoff::new(1);
    let placement = placement_of(now, &site, &vm, &backoff);
    let planned = plan::plan(now, &site, std::slice::from_ref(&vm), &backoff)
        .remove(0)
        .reasons;
    let face = face(now, &site, &vm, &placement, &planned);
    assert_eq!(
        (face.state, codes(&face)),
        (StateWord::NeedsBackup, vec!["no-arbiter"])
    );
}

#[test]
fn the_members_answer_counts_where_the_owners_agent_is_silent() {
    let mut vm = paired();
    vm.need.owner = name("b");
    vm.seen = Seen {
        here: Some(view("a", process(RoleWord::Backup, Some("b")))),
        elsewhere: Some(view("b", process(RoleWord::Primary, Some("a")))),
        ..nothing_seen()
    };
    let face = seen(&vm);
    assert_eq!((face.state, face.reasons), (StateWord::Protected, vec![]));
    assert_eq!(face.observed.unwrap().by, name("b"));
    vm.seen.elsewhere.as_mut().unwrap().age = Span::from_ms(5_001);
    let face = seen(&vm);
    assert_eq!(
        (face.state, codes(&face)),
        (StateWord::Protected, vec!["agent-away"])
    );
    assert_eq!(face.observed.unwrap().by, name("a"));
    // The owner that took over counts, and not the one before that still looked well.
    vm.seen.elsewhere.as_mut().unwrap().age = Span::from_ms(4_000);
    let mut survivor = process(RoleWord::Solo, None);
    survivor.epoch = 2;
    vm.seen.here = Some(view("a", survivor));
    assert_eq!(seen(&vm).state, StateWord::Starting);
}

#[test]
fn old_news_is_unknown_with_what_was_last() {
    let mut vm = paired();
    for (host, limit, code) in [("a", 3_000, "process-silent"), ("b", 5_000, "agent-away")] {
        let last = view(host, process(RoleWord::Primary, Some("c")));
        (vm.seen.here, vm.seen.elsewhere) = if host == "a" {
            (Some(last), None)
        } else {
            (None, Some(last))
        };
        for (age, state) in [(limit, StateWord::Protected), (limit + 1, StateWord::Unknown)] {
            for view in [&mut vm.seen.here, &mut vm.seen.elsewhere].into_iter().flatten() {
                view.age = Span::from_ms(age);
            }
            let face = seen(&vm);
            assert_eq!(face.state, state, "{host} {age}");
            if state == StateWord::Unknown {
                assert_eq!(face.guest, GuestWord::Unknown);
                assert_eq!(codes(&face), [code]);
                let when = at(100).wall.0 - age * 1_000_000;
                assert_eq!(face.last, Some((StateWord::Protected, plan::Wall(when))));
                assert_eq!(face.observed, None);
            }
        }
    }
}

#[test]
fn a_vm_that_is_off_says_how_that_came_about() {
    let mut vm = solo();
    let ended = |how| Ended {
        how,
        at: at(60).wall,
        age: Span(0),
    };
    vm.seen = nothing_seen();
    for how in [
        End::Never,
        End::SwitchedOff,
        End::Stopped { by: "ada".into() },
        End::Died,
    ] {
        vm.seen.ended = Some(ended(how));
        let face = seen(&vm);
        assert_eq!((face.state, face.guest), (StateWord::Off, GuestWord::Off));
        assert_eq!((codes(&face), face.since), (vec!["off"], at(60).wall));
    }
    vm.seen.ownership = Ownership::Open {
        epoch: 7,
        host: name("b"),
    };
    assert_eq!(codes(&seen(&vm)), ["off", "claim-open"]);
    vm.seen.ended.as_mut().unwrap().age = Span::from_ms(5_001);
    vm.seen.outdone = Some((7, Some(name("b"))));
    let face = seen(&vm);
    assert_eq!(
        (face.state, codes(&face)),
        (StateWord::Unknown, vec!["lost", "agent-away", "claim-open"])
    );
    vm.seen.starting = Some(Time(0));
    assert_eq!(seen(&vm).state, StateWord::Starting);
}

#[test]
fn a_process_that_decides_or_ends_has_its_own_words() {
    for (role, state, code) in [
        (RoleWord::Claiming, StateWord::Standing, "suspected"),
        (RoleWord::Handing, StateWord::Standing, "handing-over"),
        (RoleWord::Halted, StateWord::Off, "off"),
    ] {
        let face = seen(&vm("shop", "a", process(role, Some("b"))));
        assert_eq!((face.state, codes(&face)), (state, vec![code]));
    }
}

#[test]
fn what_is_amiss_with_a_pair_is_a_flag_with_a_sentence() {
    let mut vm = paired();
    let mut watch = Watch::default();
    let disk_away = Health {
        disk_away: Some(("vda".into(), at(93).time)),
        ..Health::default()
    };
    watch.hear(at(99).time, disk_away, None);
    vm.seen.health = watch;
    vm.seen.amiss = vec![
        (FlagWord::OnePath, "10.0.0.2".into()),
        (FlagWord::Unfenced, "vda".into()),
        (FlagWord::Insecure, String::new()),
        (FlagWord::Skewed, "0.2.0 and 0.3.0".into()),
    ];
    let process = &mut vm.seen.here.as_mut().unwrap().process;
    process.output_delay = Some(Span::from_ms(31));
    process.panic = Some("Kernel panic - not syncing".into());
    process.protection.flags = vec![FlagWord::Behind, FlagWord::Throttled, FlagWord::DiskTrouble];
    process.protection.reasons = vec![
        Reason::new("behind", "the backup is 300 ms behind"),
        Reason::new("throttled", "the guest runs at 61 %"),
        Reason::new("disk-away", "the disk vda is ill"),
    ];
    let face = seen_with(&vm, |hosts, site| {
        hosts.push(crate::sample::host("c", at(100)));
        hosts[2].free_bytes = 0;
        site.arbiter_away = Some(("a b c", Span::from_ms(9_000)));
    });
    assert_eq!(face.state, StateWord::Protected);
    use FlagWord::{
        ArbiterAway, Behind, DiskTrouble, Insecure, NoSpareHost, OnePath, Panicked, Skewed, SlowOutputs,
        Throttled, Unfenced,
    };
    assert_eq!(
        face.flags,
        [
            ArbiterAway,
            Panicked,
            DiskTrouble,
            SlowOutputs,
            OnePath,
            Unfenced,
            Insecure,
            Skewed,
            NoSpareHost,
            Behind,
            Throttled
        ]
    );
    assert_eq!(
        codes(&face),
        [
            "arbiter-away",
            "panicked",
            "disk-away",
            "slow-outputs",
            "one-path",
            "unfenced",
            "insecure",
            "skewed",
            "no-spare-host",
            "behind",
            "throttled"
        ]
    );
}

#[test]
fn two_hosts_have_no_spare_one_and_that_is_no_news() {
    assert_eq!(seen(&paired()).flags, []);
}
