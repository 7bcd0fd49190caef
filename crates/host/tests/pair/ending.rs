//! How the two halves end, or do not: by the guest's power-off, by signals, and with events that nobody
//! reads.
//!
//! What an operator does to the processes of a pair, and what each half says of it.

use std::path::Path;

use report::{Course, HaltCode, Happening, Line, SuspicionWord};

use crate::replica::{Replica, ask};
use crate::site::Site;

#[test]
fn a_pair_answers_and_its_power_off_ends_both() {
    for spins in [false, true] {
        let site = Site::new();
        let (mut primary, mut backup, mut cable) = site.pair(spins);
        for n in 1..=100 {
            assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
        }
        cable.send(b"o").unwrap();
        assert_eq!(primary.says("ended"), "Some(Off(Off))");
        assert_eq!(backup.says("ended"), "Some(Off(Off))");
        assert_eq!(site.roles("backup"), ["backup", "halted"]);
    }
}

fn signal(replica: &Replica, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(&replica.child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// What the first line of events of this name holds.
fn event(events: &[Line], is: impl Fn(&Happening) -> bool) -> Happening {
    let line = events.iter().find(|line| is(&line.happening));
    line.expect("it was told").happening.clone()
}

#[test]
fn a_primary_that_is_told_to_end_leaves_the_vm_to_its_backup() {
    let site = Site::new();
    let (mut primary, mut backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    signal(&primary, rustix::process::Signal::TERM);
    assert_eq!(primary.says("ended"), "Some(Left)");
    let mut cable = site.gateway.accept();
    assert_eq!(
        ask(&mut cable, b"e-hello"),
        Some(2),
        "the guest goes on where it was"
    );
    cable.send(b"o").unwrap();
    assert_eq!(backup.says("ended"), "Some(Off(Off))");

    let left = event(&site.lines("primary"), |it| matches!(it, Happening::Halt(_)));
    assert!(
        matches!(&left, Happening::Halt(end) if end.code == HaltCode::Left),
        "{left:?}"
    );
    assert!(
        left.sentence()
            .unwrap()
            .starts_with("the VM goes on at 127.0.0.1:")
    );
    let told = event(&site.lines("backup"), |it| {
        matches!(it, Happening::Suspected { .. })
    });
    let expected = SuspicionWord::Left;
    assert!(
        matches!(told, Happening::Suspected { why, .. } if why == expected),
        "{told:?}"
    );
}

#[test]
fn a_backup_that_is_told_to_end_leaves_and_the_primary_says_that_it_is_alone() {
    let site = Site::new();
    let (mut primary, mut backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    signal(&backup, rustix::process::Signal::TERM);
    assert_eq!(backup.says("ended"), "None");
    for n in 2..=50 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    // Now there is nobody to leave the VM to: the first signal changes nothing, the second pulls the plug.
    signal(&primary, rustix::process::Signal::TERM);
    // Two signals of which the first was not looked at before the second came are one to the kernel.
    let events = site.dir.path().join("primary.events");
    let is_told = || {
        std::fs::read_to_string(&events)
            .unwrap()
            .contains(r#""event":"stop""#)
    };
    let mut n = 50;
    while n < 100 || !is_told() {
        n += 1;
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    signal(&primary, rustix::process::Signal::TERM);
    assert_eq!(primary.says("ended"), "Some(Off(Off))");

    let left = event(&site.lines("backup"), |it| matches!(it, Happening::Halt(_)));
    assert!(
        matches!(&left, Happening::Halt(end) if end.code == HaltCode::Left),
        "{left:?}"
    );
    let lines = site.lines("primary");
    let alone = event(&lines, |it| matches!(it, Happening::Alone { .. }));
    let expected = SuspicionWord::LinkLost;
    assert!(
        matches!(alone, Happening::Alone { epoch: 2, why, .. } if why == expected),
        "{alone:?}"
    );
    let courses: Vec<Course> = lines
        .iter()
        .filter_map(|line| match line.happening {
            Happening::Stop { course, .. } => Some(course),
            _ => None,
        })
        .collect();
    assert_eq!(courses, [Course::Explain, Course::PowerOff]);
}

#[test]
fn a_closed_terminal_ends_neither_half() {
    let site = Site::new();
    let (mut primary, mut backup, mut cable) = site.pair(false);
    for replica in [&primary, &backup] {
        signal(replica, rustix::process::Signal::HUP);
    }
    for n in 1..=50 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    cable.send(b"o").unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
    assert_eq!(site.roles("primary"), ["primary", "halted"]);
}

#[test]
fn events_that_nobody_reads_hold_up_neither_half() {
    let site = Site::new();
    let fifos: Vec<std::fs::File> = ["primary.events", "backup.events"]
        .iter()
        .map(|name| full_fifo(&site.dir.path().join(name)))
        .collect();
    let (mut primary, mut backup, mut cable) = site.pair(true);
    for n in 1..=50 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    cable.send(b"o").unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
    drop(fifos);
}

/// A FIFO that takes not one byte more, as long as the file that is returned is open.
fn full_fifo(path: &Path) -> std::fs::File {
    use rustix::fs::{CWD, FileType, Mode, OFlags};
    use std::io::Write;
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let open = rustix::fs::open(
        path,
        OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let mut fifo = std::fs::File::from(open.unwrap());
    // Whole pages first, then the bytes that are left.
    for length in [4096, 1] {
        while fifo.write(&vec![b'\n'; length]).is_ok() {}
    }
    fifo
}
