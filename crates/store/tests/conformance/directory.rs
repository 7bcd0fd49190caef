//! The store in a directory, and what can go wrong with it alone: strange files, missing mounts, full disks,
//! writers with old listings.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use store::limits::VERSIONS_KEPT;
use store::{Directory, Expected, Prefix, Seen, StoreError};
use tempfile::TempDir;

use crate::writer::Writer;
use crate::{LONG, Place, content, key, value_of};

/// A directory that several hosts use.
pub struct Shared {
    path: PathBuf,
    away: PathBuf,
    _parent: TempDir,
}

impl Place for Shared {
    fn new() -> Shared {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("store");
        fs::create_dir(&path).unwrap();
        Directory::create(&path).unwrap();
        let away = parent.path().join("away");
        Shared {
            path,
            away,
            _parent: parent,
        }
    }

    fn address(&self) -> String {
        format!("directory {}", self.path.display())
    }

    fn go_away(&mut self) {
        fs::rename(&self.path, &self.away).unwrap();
    }

    fn come_back(&mut self) {
        fs::rename(&self.away, &self.path).unwrap();
    }
}

impl Shared {
    fn version(&self, name: &str, number: u64) -> PathBuf {
        self.path.join(format!("{name}.{number:020}"))
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn is_away<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Away { .. }))
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn strange_files_are_passed_over_and_torn_ones_are_never_read() {
    let place = Shared::new();
    let store = place.host();
    let web = key("vms/web/spec");
    store.write(&web, b"1", Expected::Absent).unwrap();
    store.write(&web, b"2", Expected::Any).unwrap();
    for name in [
        "a",
        ".hidden",
        "x.00000000000000000000",
        "a b.00000000000000000001",
        "owner,w.beat",
    ] {
        fs::write(place.path.join(name), "garbage").unwrap();
    }
    fs::create_dir(place.path.join("lost+found")).unwrap();
    File::create(place.path.join(OsStr::from_bytes(b"\xff"))).unwrap();
    assert_eq!(content(&*store, ""), ["vms/web/spec=2"]);
    let whole = fs::read(place.version("vms,web,spec", 2)).unwrap();
    let torn = place.version("vms,web,spec", 3);
    for bytes in [
        &b""[..],
        b"garbage",
        &whole[..whole.len() - 1],
        &whole,
        &[0; 4096],
    ] {
        fs::write(&torn, bytes).unwrap();
        let reason = refusal(store.read(&web));
        assert!(
            reason.contains(torn.to_str().unwrap()) && reason.contains("remove it"),
            "{reason}"
        );
        refusal(store.list(&Prefix::all()));
        refusal(store.write(&web, b"3", Expected::Any));
    }
    fs::remove_file(&torn).unwrap();
    assert_eq!(value_of(&*store, &web), Some(b"2".to_vec()));
    fs::create_dir(&torn).unwrap();
    store.read(&web).unwrap_err();
    fs::remove_dir(&torn).unwrap();
    store.write(&web, b"3", Expected::Any).unwrap();
}

#[test]
fn another_directory_at_the_same_path_is_noticed() {
    let mut place = Shared::new();
    let store = place.host();
    let web = key("vms/web/spec");
    let first = store.write(&web, b"1", Expected::Absent).unwrap();
    let mut watch = store.watch(&Prefix::all()).unwrap();
    watch.next(LONG).unwrap();
    place.go_away();
    // A mount that is missing, and then another store.
    fs::create_dir(&place.path).unwrap();
    let looks = |watch: &mut dyn store::Watch| {
        assert!(is_away(store.read(&web)) && is_away(store.list(&Prefix::all())));
        assert!(is_away(store.write(&web, b"2", Expected::Any)) && is_away(watch.next(Duration::ZERO)));
    };
    looks(&mut *watch);
    assert!(refusal(Directory::open(&place.path)).contains("holds no store"));
    Directory::create(&place.path).unwrap();
    looks(&mut *watch);
    fs::remove_dir_all(&place.path).unwrap();
    assert!(is_away(Directory::open(&place.path)) && is_away(Directory::create(&place.path)));
    place.come_back();
    // Making a store where one is changes nothing.
    Directory::create(&place.path).unwrap();
    assert_eq!(store.read(&web).unwrap().unwrap().revision, first);
    assert_eq!(watch.next(Duration::ZERO).unwrap(), Seen::Nothing);
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let place = Shared::new();
    let store = place.host();
    store.write(&key("vms/web/spec"), b"1", Expected::Absent).unwrap();
    let before = place.names();
    let error = Writer::write_nothing(&place.address());
    assert!(
        error.contains("is full, make room there; nothing was changed"),
        "{error}"
    );
    assert_eq!(place.names(), before);
    assert_eq!(content(&*store, ""), ["vms/web/spec=1"]);
}

#[test]
fn old_versions_and_leftovers_are_removed_and_young_ones_are_not() {
    let place = Shared::new();
    let store = place.host();
    let web = key("vms/web/spec");
    let leftover = place.path.join(".new.00000000000000000000000000000000");
    fs::write(&leftover, "torn").unwrap();
    let age = |path: &Path, days: u64| {
        let time = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        File::options()
            .append(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    for _ in 0..40 {
        store.write(&web, b"x", Expected::Any).unwrap();
    }
    // All are young: store.id, 40 versions and the leftover.
    assert_eq!(place.names().len(), 42);
    for number in 1..=30 {
        age(&place.version("vms,web,spec", number), 2);
    }
    age(&leftover, 2);
    store.write(&web, b"y", Expected::Any).unwrap();
    // Version 41 and 15 before it are kept, and of the older ones those from 26 to 30 are old.
    let first = 41 - VERSIONS_KEPT as u64 + 1;
    assert!(!place.version("vms,web,spec", first - 1).exists());
    assert!(place.version("vms,web,spec", first).exists());
    assert!(leftover.exists());
    age(&leftover, 9);
    store.write(&web, b"z", Expected::Any).unwrap();
    assert!(!leftover.exists());
    assert!(place.version("vms,web,spec", first).exists() == (first > 30));
    assert_eq!(value_of(&*store, &web), Some(b"z".to_vec()));
}

#[test]
fn many_writers_that_were_killed_leave_nothing_that_is_read() {
    let place = Shared::new();
    let store = place.host();
    for number in 0..50 {
        fs::write(place.path.join(format!(".new.{number:032x}")), "torn").unwrap();
    }
    assert_eq!(content(&*store, ""), [""; 0]);
    store.write(&key("a"), b"1", Expected::Absent).unwrap();
    assert_eq!(content(&*place.host(), ""), ["a=1"]);
}
