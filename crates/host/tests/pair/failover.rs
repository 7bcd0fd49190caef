//! A half of a pair dies or is ill: the other one goes on where it was, and nothing is lost.
//!
//! One request is under way at each death; a client that asks again must see one guest throughout.

use std::io::{BufRead, BufReader};

use crate::replica::{Replica, ask};
use crate::site::Site;

#[test]
fn when_the_primary_is_killed_the_backup_goes_on_where_it_was() {
    for spins in [false, true] {
        let site = Site::new();
        let (mut primary, mut backup, mut cable) = site.pair(spins);
        let mut last = 0;
        for _ in 0..100 {
            last = ask(&mut cable, b"e-hello").unwrap();
        }
        cable.send(b"w\x05kept").unwrap();
        last += u64::from(cable.receive().is_some());
        // One request is under way when the primary dies.
        cable.send(b"w\x06last").unwrap();
        primary.kill();

        let mut cable = site.gateway.accept();
        assert_eq!(cable.announcement().unwrap().len(), 60);
        // Nothing answered is forgotten; the one under way was done or not (FT 2.2-e), so it is asked again.
        let mut count = 0;
        while count <= last {
            cable.send(b"e-after").unwrap();
            loop {
                let answer = cable.receive().unwrap();
                if answer.starts_with(b"e-after") {
                    count = u64::from_le_bytes(*answer.last_chunk().unwrap());
                    break;
                }
                assert!(answer.starts_with(b"w\x06last"), "{answer:?}");
            }
        }
        assert!(count <= last + 2, "{count} after {last}");
        cable.send(b"w\x07live").unwrap();
        while !cable.receive().unwrap().starts_with(b"w\x07live") {}
        assert_eq!(
            (&site.disk(5)[..6], &site.disk(7)[..6]),
            (&b"w\x05kept"[..], &b"w\x07live"[..])
        );
        cable.send(b"o").unwrap();
        assert_eq!(backup.says("ended"), "Some(Off(Off))");
        assert_eq!(site.roles("backup"), ["backup", "claiming", "solo", "halted"]);
        let live = site
            .events("backup")
            .into_iter()
            .find(|event| event["event"] == "go-live")
            .unwrap();
        assert_eq!(live["epoch"], 2);
    }
}

/// From here on the process can write no file beyond so many bytes: a disk that is ill for it alone.
fn limit_files(replica: &Replica, bytes: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let (current, maximum) = (bytes, None);
    let pid = Pid::from_child(&replica.child);
    prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

#[test]
fn a_disk_that_is_ill_for_the_primary_alone_makes_the_guest_wait_and_a_failover_loses_nothing() {
    let site = Site::new();
    // The primary's events come as they happen.
    let path = site.dir.path().join("primary.events");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
    let pipe = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mut lines = BufReader::new(pipe).lines();
    let mut event = |name: &str| loop {
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["event"] == name {
            return line;
        }
    };
    let (mut primary, mut backup, mut cable) = site.pair(false);
    limit_files(&primary, Some(64 * 512));

    cable.send(b"w\x50first").unwrap();
    let trouble = event("disk-trouble");
    assert_eq!(trouble["disk"], 0);
    let what = trouble["what"].as_str().unwrap();
    assert!(what.starts_with("cannot be written: File too large"), "{what}");
    // The guest goes on as far as it does not need that sector.
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    limit_files(&primary, None);
    assert!(cable.receive().unwrap().starts_with(b"w\x50first"));
    assert!(event("disk-well")["lasted_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(site.disk(0x50)[..7], *b"w\x50first");

    limit_files(&primary, Some(64 * 512));
    cable.send(b"w\x51second").unwrap();
    event("disk-trouble");
    primary.kill();
    let mut cable = site.gateway.accept();
    while !cable.receive().unwrap().starts_with(b"w\x51second") {}
    assert_eq!(site.disk(0x51)[..8], *b"w\x51second");
    cable.send(b"o").unwrap();
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
}

#[test]
fn when_the_backup_is_killed_the_primary_goes_on_alone() {
    let site = Site::new();
    let (mut primary, mut backup, mut cable) = site.pair(true);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    backup.kill();
    for n in 2..=50 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    cable.send(b"o").unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(site.roles("primary"), ["primary", "claiming", "solo", "halted"]);
}

#[test]
fn a_backup_whose_arbiter_directory_was_replaced_meanwhile_does_not_go_live() {
    // A mount that is gone leaves an empty directory of the same name.
    let site = Site::new();
    let (mut primary, mut backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    let (path, away) = (site.dir.path().join("arbiter"), site.dir.path().join("away"));
    std::fs::rename(&path, &away).unwrap();
    std::fs::create_dir(&path).unwrap();
    primary.kill();
    let refusal = loop {
        // The last line may not be whole yet.
        let text = std::fs::read_to_string(site.dir.path().join("backup.events")).unwrap();
        let mut events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        if let Some(event) = events.find(|event| event["event"] == "verdict") {
            break event;
        }
        assert!(backup.child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    };
    assert_eq!(refusal["verdict"], "unreachable");
    assert!(
        refusal["reason"]
            .as_str()
            .unwrap()
            .contains("does not know epoch 1"),
        "{refusal}"
    );
    // When the mount is back it does.
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    let mut cable = site.gateway.accept();
    cable.announcement().unwrap();
    cable.send(b"o").unwrap();
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
}
