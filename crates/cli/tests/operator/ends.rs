//! How a VM and its halves end: by signals, by the guest itself, and by a panic of its kernel.

use super::*;

#[test]
fn a_primary_told_to_end_leaves_the_vm_to_its_backup_and_says_so() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair();
    primary.signal(Signal::TERM);
    let said = primary.ends_well();
    assert!(said.contains("lockstep: leaving the VM to the backup"), "{said}");
    assert!(said.contains("lockstep: the VM goes on at 127.0.0.1:"), "{said}");
    assert_eq!(site.code("primary"), HaltCode::Left);

    let line = backup.says("this side is live, epoch 2");
    assert!(line.ends_with("; the VM has no backup now"), "{line}");
    backup.echoes(b'b');
    backup.types(b"o");
    let said = backup.ends_well();
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("lockstep: the guest has switched itself off, "),
        "{said}"
    );
    assert_eq!(site.code("backup"), HaltCode::Off);
    let why = site.events("backup").into_iter().find_map(|it| match it {
        Happening::Suspected { whom, why, .. } => Some((whom, why)),
        _ => None,
    });
    assert_eq!(why, Some((RoleWord::Primary, SuspicionWord::Left)));
}

#[test]
fn a_primary_that_has_lost_the_vm_to_its_backup_ends_with_3_and_says_that_nothing_is_wrong() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair();
    primary.signal(Signal::STOP);
    backup.says("this side is live, epoch 2");
    primary.signal(Signal::CONT);
    let (status, said) = primary.ends();
    assert_eq!(status.code(), Some(3), "{said}");
    assert_eq!(site.code("primary"), HaltCode::Lost);
    backup.echoes(b'b');
    backup.types(b"o");
    backup.ends_well();
}

#[test]
fn a_backup_told_to_end_leaves_and_both_say_that_the_vm_has_none_now() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair();
    backup.signal(Signal::INT);
    let said = backup.ends_well();
    assert!(said.contains("the VM has no backup any more"), "{said}");
    assert_eq!(site.code("backup"), HaltCode::Left);
    let line = primary.says("is gone");
    assert!(line.ends_with("; the VM goes on here without a backup"), "{line}");
    primary.echoes(b'b');
    primary.types(b"o");
    primary.ends_well();
}

#[test]
fn a_backup_that_still_waits_ends_at_a_signal_and_lives_through_a_hang_up() {
    let site = Site::new();
    let (mut backup, address) = site.backup();
    backup.signal(Signal::HUP);
    let mut primary = Replica::start(&mut site.half("primary", &address));
    backup.says("paired with");
    primary.echoes(b'a');
    let (mut second, _) = site.backup();
    second.signal(Signal::TERM);
    let said = second.ends_well();
    assert!(said.contains("no pair was made"), "{said}");
}

#[test]
fn a_guest_alone_ignores_a_hang_up_and_is_unplugged_by_the_second_signal() {
    let site = Site::new();
    let mut alone = Replica::start(&mut site.lockstep("run"));
    alone.echoes(b'a');
    alone.signal(Signal::HUP);
    alone.echoes(b'b');
    alone.signal(Signal::TERM);
    let line = alone.says("lockstep: ");
    assert!(line.contains("the guest cannot be asked to switch off"), "{line}");
    alone.echoes(b'c');
    alone.signal(Signal::TERM);
    let said = alone.ends_well();
    assert!(
        said.contains("pulling the guest's plug\nlockstep: the operator has pulled the guest's plug, "),
        "{said}"
    );
}

#[test]
fn the_end_of_a_guest_is_told_on_both_sides_with_who_ended_it_when_and_its_console() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair();
    primary.types(b"o");
    for half in [&mut primary, &mut backup] {
        let said = half.ends_well();
        let last = said.lines().last().unwrap();
        assert!(
            last.starts_with("lockstep: the guest has switched itself off, on both sides, "),
            "{said}"
        );
        assert!(last.contains(" s after its start, at step "), "{last}");
    }
    for role in ["primary", "backup"] {
        let Some(Happening::Halt(ending)) = site.events(role).pop() else {
            panic!("{role}")
        };
        assert_eq!((ending.code, ending.by), (HaltCode::Off, Some(Ender::Guest)));
        assert!(ending.step > 0 && ending.up_s > 0.0, "{ending:?}");
        assert_eq!(ending.console, "stdio");
    }
}

#[test]
fn a_guest_without_a_terminal_says_at_its_end_where_its_console_is() {
    let site = Site::new();
    let log = site.path("console.log").display().to_string();
    let (switch, byte) = (6, 28);
    let off = [
        lui(switch, 0x100),
        lui(byte, 5),
        addi(byte, byte, 0x555),
        sw(byte, switch, 0),
    ];
    std::fs::write(site.path("firmware"), off.map(u32::to_le_bytes).concat()).unwrap();
    let ends = |serial: &str| Replica::start(site.lockstep("run").args(["--serial", serial])).ends_well();
    for (serial, clause) in [
        (log.as_str(), format!("; its console is in {log}\n")),
        (
            "none",
            "; its console led nowhere: `--serial FILE` would have kept it\n".into(),
        ),
    ] {
        let said = ends(serial);
        assert!(said.ends_with(&clause), "{said}");
    }
}

#[test]
fn a_panic_of_the_guests_kernel_is_told_and_answered_as_asked() {
    let site = Site::new();
    std::fs::write(site.path("firmware"), writer(PANIC)).unwrap();
    let mut kept = Replica::start(site.lockstep("run").args(["--serial", "none"]));
    let line = kept.says("has panicked");
    let expected = "lockstep: the guest's kernel has panicked: Kernel panic - not syncing: no root; \
                    the guest stays as it is";
    assert!(line.starts_with(expected), "{line}");

    let mut stopped = Replica::start(site.lockstep("run").args(["--on-panic", "stop"]));
    let (status, said) = stopped.ends();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("the guest's kernel panicked, and the guest was switched off"),
        "{said}"
    );
    let mut console = String::new();
    stopped
        .child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut console)
        .unwrap();
    assert_eq!(console, PANIC, "the kernel has said all that it had to say");

    // A guest that is reset panics again, and that is told again.
    let mut reset = Replica::start(site.lockstep("run").args(["--on-panic", "reset"]));
    for _ in 0..3 {
        reset.says("the guest is reset as soon as the kernel has said why");
    }
}

#[test]
fn a_pair_whose_guest_panics_stops_on_both_sides_if_asked() {
    let site = Site::new();
    std::fs::write(site.path("firmware"), writer(PANIC)).unwrap();
    let stops = |role: &str, address: &str| {
        let mut half = site.half(role, address);
        half.args(["--on-panic", "stop"]);
        Replica::start(&mut half)
    };
    let mut backup = stops("backup", "127.0.0.1:0");
    let line = backup.says("waiting for the primary on");
    let mut primary = stops("primary", line.rsplit(' ').next().unwrap());
    for half in [&mut primary, &mut backup] {
        let (_, said) = half.ends();
        assert!(said.contains("off, on both sides"), "{said}");
    }
    assert_eq!(site.code("primary"), HaltCode::Panicked);
    let told = |role: &str| {
        let events = site.events(role);
        events
            .iter()
            .filter(|it| matches!(it, Happening::GuestPanic { .. }))
            .count()
    };
    assert_eq!((told("primary"), told("backup")), (1, 0));
}
