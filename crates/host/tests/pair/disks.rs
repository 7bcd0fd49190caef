//! How replicas open the disk that they share.
//!
//! Seen in `/proc`, because no request shows it: only a host that dies would.

#[path = "../../../disk/tests/support/mod.rs"]
mod flags;

use flags::{O_DIRECT, O_DSYNC, open_flags};

use crate::replica::{COPY, Replica, ask};
use crate::site::Site;

#[test]
fn whoever_has_or_can_get_another_half_has_its_disk_open_past_the_page_cache() {
    let site = Site::new();
    let path = site.dir.path().join("disk");
    let past_the_cache = |replica: &Replica| {
        let flags = open_flags(&replica.child.id().to_string(), &path);
        assert_eq!(flags.len(), 1, "{flags:?}");
        flags[0] & (O_DIRECT | O_DSYNC) != 0
    };
    let (mut primary, mut backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    assert!(past_the_cache(&primary) && past_the_cache(&backup));
    cable.send(b"o").unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
    let alone = site.start("run", None, false);
    let mut cable = site.gateway.accept();
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    assert!(!past_the_cache(&alone));
    drop(alone);
    // What is written before the backup is there must be there for its host too.
    let owner = site.start("owner", None, false);
    let mut cable = site.gateway.accept();
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    assert!(past_the_cache(&owner));
}

#[test]
fn a_disk_that_grows_is_told_to_both_guests_of_a_pair_and_found_by_the_survivor() {
    let site = Site::new();
    let resize = |bytes| {
        let disk = site.dir.path().join("disk");
        let file = std::fs::OpenOptions::new().write(true).open(disk).unwrap();
        file.set_len(bytes).unwrap();
    };
    let told = |who| {
        let events = site.events(who).into_iter();
        let mut sizes = events.filter(|event| event["event"] == "disk-size");
        sizes.find_map(|event| event["sectors"].as_u64())
    };
    let (mut primary, mut backup, mut cable) = site.pair(false);
    resize(128 << 10);
    // The guest answers with its state, into which the new size is mixed; the backup's answers are compared.
    while told("primary").is_none() {
        ask(&mut cable, b"e-hello").unwrap();
    }
    assert_eq!(told("primary"), Some(256));
    let last = ask(&mut cable, b"e-again").unwrap();
    primary.kill();
    // The survivor looks when it has taken over, and tells only what its guest does not know yet.
    resize(256 << 10);
    let mut cable = site.gateway.accept();
    // From its announcement on the survivor listens.
    cable.announcement().unwrap();
    cable.send(b"e-after").unwrap();
    let count = loop {
        // The survivor may give the last answers of the dead side once more.
        let answer = cable.receive().unwrap();
        if answer.starts_with(b"e-after") {
            break u64::from_le_bytes(*answer.last_chunk().unwrap());
        }
    };
    assert!(count > last, "{count} after {last}");
    while told("backup").is_none() {
        ask(&mut cable, b"e-hello").unwrap();
    }
    assert_eq!(told("backup"), Some(512));
    cable.send(b"o").unwrap();
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
}

#[test]
fn a_backup_says_that_its_copy_of_a_disk_is_smaller_as_soon_as_the_primarys_has_grown() {
    let site = Site::new();
    let copy = |name: &str| {
        let path = site.dir.path().join(name);
        std::fs::write(&path, vec![0; 64 << 10]).unwrap();
        path
    };
    let (ours, theirs) = (copy("primary.iso"), copy("backup.iso"));
    let start = |role, peer, path: &std::path::Path| {
        Replica::start_with(role, site.dir.path(), peer, false, &[(COPY, path)])
    };
    let mut backup = start("backup", None, &theirs);
    let address = backup.says("listening");
    let _primary = start("primary", Some(&address), &ours);
    let mut cable = site.gateway.accept();
    assert_eq!(backup.says("paired"), "1");
    let mut tells = |name: &str| loop {
        let events = site.events("backup").into_iter();
        let mut sentences = events.filter(|event| event["event"] == name);
        if let Some(event) = sentences.next() {
            break event;
        }
        ask(&mut cable, b"e-hello").unwrap();
    };
    let grow = |path: &std::path::Path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(128 << 10).unwrap();
    };
    grow(&ours);
    let trouble = tells("disk-trouble");
    let sentence = trouble["sentence"].as_str().unwrap();
    assert!(sentence.contains(theirs.to_str().unwrap()), "{sentence}");
    assert!(
        sentence.contains("after a takeover the guest would wait"),
        "{sentence}"
    );
    grow(&theirs);
    tells("disk-well");
}
