//! The directory arbiter under examination, and what can go wrong with a directory alone: what a killed
//! claimant leaves behind in it, claims of earlier versions, old claims that are removed, no room, and files
//! of others.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use arbiter::{
    Arbiter, Cell, Cells, Closing, DirectoryArbiter, DirectoryCells, LocalDirectory, Process, Record, start,
};
use replica::{Epoch, Verdict, VmName};

use crate::claimant::{Claimant, WRITES_NOTHING};
use crate::{LOST, Place, arbiter, claim, claim_after, expect, last, vm};

/// A directory on a local file system.
pub struct Directory {
    above: tempfile::TempDir,
}

impl Directory {
    fn path(&self) -> PathBuf {
        self.above.path().join("arbiter")
    }

    fn away(&self) -> PathBuf {
        self.above.path().join("away")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn claim_file(&self, epoch: u64) -> PathBuf {
        self.file(&format!("web.{epoch:020}.claim"))
    }

    /// The names in the directory, in their order.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Place for Directory {
    type Cells = DirectoryCells;

    fn new() -> Directory {
        let above = tempfile::tempdir().unwrap();
        fs::create_dir(above.path().join("arbiter")).unwrap();
        Directory { above }
    }

    fn cells(&self) -> DirectoryCells {
        DirectoryCells::open(&self.path()).unwrap()
    }

    fn address(&self) -> String {
        self.path().display().to_string()
    }

    fn go_away(&self) {
        fs::rename(self.path(), self.away()).unwrap();
    }

    fn come_back(&self) {
        fs::rename(self.away(), self.path()).unwrap();
    }

    fn spoil(&self, cell: Cell, bytes: &[u8]) {
        let name = match cell {
            Cell::Id => "web.id".into(),
            Cell::Claim(epoch) => format!("web.{:020}.claim", epoch.0),
            Cell::End(epoch) => format!("web.{:020}.end", epoch.0),
        };
        fs::write(self.file(&name), bytes).unwrap();
    }
}

#[test]
fn nothing_stays_behind_but_claims_ends_and_the_identity() {
    let place = Directory::new();
    let mut arbiter = arbiter(&place);
    expect(&mut arbiter, &claim(1, 1), Verdict::Won);
    expect(&mut arbiter, &claim(1, 2), LOST);
    arbiter.close(&vm(), Epoch(1), 1, &Closing::Off).unwrap();
    arbiter.close(&vm(), Epoch(1), 1, &Closing::Off).unwrap();
    let claims = [
        "web.00000000000000000001.claim",
        "web.00000000000000000001.end",
        "web.id",
    ];
    assert_eq!(place.names(), claims);
}

#[test]
fn a_directory_that_cannot_be_used_is_said_so_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [dir.path().join("none"), file, "/proc".into()] {
        let error = DirectoryArbiter::open(&path, Process::here(None)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("cannot be written; it must exist on storage that both hosts share"),
            "{error}"
        );
    }
}

#[test]
fn whatever_a_killed_claimant_has_left_behind_the_epoch_is_decided_once() {
    // In their order, what a claim does: a file of its own, empty and then full; the link; that file removed.
    let won = Directory::new();
    expect(&mut arbiter(&won), &claim(1, 1), Verdict::Won);
    let text = fs::read(won.claim_file(1)).unwrap();
    let own = ".cell.0123456789abcdef0123456789abcdef";
    let none: &[u8] = b"";
    for (left, has_linked) in [
        (Some(none), false),
        (Some(&text), false),
        (Some(&text), true),
        (None, true),
    ] {
        for first in [1, 2] {
            let place = Directory::new();
            if let Some(left) = left {
                fs::write(place.file(own), left).unwrap();
            }
            if has_linked {
                fs::write(place.claim_file(1), &text).unwrap();
            }
            let mut arbiter = arbiter(&place);
            let mut verdicts = [1, 2].map(|_| LOST);
            for owner in [first, 3 - first] {
                verdicts[owner as usize - 1] = arbiter.claim(&vm(), &claim(1, owner)).verdict;
            }
            let winner = if has_linked { 1 } else { first };
            let expected = [1, 2].map(|owner| if owner == winner { Verdict::Won } else { LOST });
            assert_eq!(verdicts, expected, "{left:?} {has_linked} {first}");
            assert_eq!(last(&mut arbiter), Some((1, winner)));
        }
    }
}

#[test]
fn old_claims_are_removed_but_never_the_newest_sixteen_nor_the_identity() {
    let place = Directory::new();
    let mut arbiter = arbiter(&place);
    for epoch in 1..=40 {
        expect(&mut arbiter, &claim(epoch, 1), Verdict::Won);
        if epoch < 40 {
            arbiter.close(&vm(), Epoch(epoch), 1, &Closing::Stopped).unwrap();
        }
    }
    fs::write(place.file(".cell.left"), "x").unwrap();
    fs::write(place.file("web.00000000000000000001.claim.mine"), "x").unwrap();
    assert_eq!(place.names().len(), 40 + 39 + 1 + 2, "nothing is old enough");
    let age = |name: &str, days: u64| {
        let file = File::options().write(true).open(place.file(name)).unwrap();
        let then = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(days * 86_400);
        file.set_modified(then).unwrap();
    };
    // All but three of them get old; a host that is 10 years ahead changes nothing, since only the server's
    // times count.
    for name in place.names() {
        let recent = [2, 3, 4].map(|epoch| format!("web.{epoch:020}.claim"));
        age(&name, if recent.contains(&name) { 6 } else { 8 });
    }
    expect(&mut arbiter, &claim(41, 1), Verdict::Won);
    let claims: Vec<u64> = (1..=41)
        .filter(|&epoch| place.claim_file(epoch).exists())
        .collect();
    let expected: Vec<u64> = [2, 3, 4].into_iter().chain(26..=41).collect();
    assert_eq!(claims, expected);
    let ends = (1..=40).filter(|epoch| place.file(&format!("web.{epoch:020}.end")).exists());
    let ended: Vec<u64> = [2, 3, 4].into_iter().chain(26..=39).collect();
    assert_eq!(ends.collect::<Vec<u64>>(), ended, "an end goes with its claim");
    assert!(place.file("web.id").exists() && !place.file(".cell.left").exists());
    assert!(place.file("web.00000000000000000001.claim.mine").exists());
    // What is left is as true as before.
    assert_eq!(last(&mut arbiter), Some((41, 1)));
    expect(&mut arbiter, &claim(30, 2), LOST);
    expect(&mut arbiter, &claim(7, 2), LOST);
    expect(&mut arbiter, &claim_after(42, 2, 1), Verdict::Won);
}

#[test]
fn claims_of_an_earlier_version_are_understood_and_only_a_person_ends_them() {
    let place = Directory::new();
    let text = format!("lockstep claim 1\nvm web\nepoch 7\nowner {:032x}\n", 1);
    fs::write(place.claim_file(7), &text).unwrap();
    let mut arbiter = arbiter(&place);
    // They are claims like any other for who asks about them or has to go on after them.
    arbiter.check(&vm(), Epoch(7), 1).unwrap();
    expect(&mut arbiter, &claim(7, 1), Verdict::Won);
    expect(&mut arbiter, &claim(7, 2), LOST);
    // But nobody knows where their owner runs, nor whether it has ended.
    let refused = start::begin(&mut arbiter, &vm(), 2, &mut |_| {}).unwrap_err();
    assert!(refused.is_refusal());
    let refused = refused.to_string();
    assert!(
        refused
            .starts_with("web runs as epoch 7 on a host that its claim does not name, as an earlier version"),
        "{refused}"
    );
    assert!(
        refused.contains("if that host is surely off, `lockstep release web --epoch 7 --arb"),
        "{refused}"
    );
    let released = Closing::Released {
        by: "ada on a".into(),
    };
    arbiter.close(&vm(), Epoch(7), 1, &released).unwrap();
    assert_eq!(
        start::begin(&mut arbiter, &vm(), 2, &mut |_| {}).unwrap(),
        Epoch(8)
    );
}

#[test]
fn where_no_byte_can_be_written_nothing_is_won_and_nothing_stays_behind() {
    let place = Directory::new();
    expect(&mut arbiter(&place), &claim(1, 9), Verdict::Won);
    let before = place.names();
    // As on a full disk, the process can make files and write nothing in them. The signal that would tell it
    // so is ignored from its start.
    let mut shell = Command::new("sh");
    let program = std::env::current_exe().unwrap();
    shell
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(program);
    shell.env(WRITES_NOTHING, "1");
    let mut claimant = Claimant::start_by(shell, &place.address(), 1, (2, 4), "");
    let mut heard = Vec::new();
    while let Some((word, epoch)) = claimant.says() {
        if word == "waits" {
            break;
        }
        heard.push((word, epoch));
    }
    let expected = [("asks", 2), ("unreachable", 2), ("asks", 3), ("unreachable", 3)];
    assert_eq!(heard, expected.map(|(word, epoch)| (word.to_owned(), epoch)));
    assert_eq!(place.names(), before);
}

#[test]
fn a_process_that_was_killed_on_this_host_is_seen_to_be_gone_and_one_that_lives_is_not() {
    let place = Directory::new();
    let local = place.above.path().join("local");
    let program = || Command::new(std::env::current_exe().unwrap());
    let sign = local.display().to_string();
    let mut owner = Claimant::start_by(program(), &place.address(), 1, (1, 2), &sign);
    assert_eq!(owner.wins(), [1]);
    let mut arbiter = arbiter(&place);
    let record = arbiter.last(&vm()).unwrap().unwrap();
    assert!(record.lives_here() && !record.has_surely_ended());
    assert!(
        start::clear(&mut arbiter, &vm(), 2, &mut |_| {})
            .unwrap_err()
            .is_refusal()
    );

    owner.kill();
    let record = arbiter.last(&vm()).unwrap().unwrap();
    assert!(!record.lives_here() && record.has_surely_ended());
    // Nothing is changed while its backup has time; then the start writes down what it has seen.
    let mut wait = |last: &Record| {
        assert_eq!(*last, record);
        assert!(!place.file("web.00000000000000000001.end").exists());
    };
    assert_eq!(start::begin(&mut arbiter, &vm(), 2, &mut wait).unwrap(), Epoch(2));
    let end = fs::read_to_string(place.file("web.00000000000000000001.end")).unwrap();
    assert!(end.contains("\nwhy gone\n"), "{end}");

    // Without its sign nothing proves that the process is gone: another one may have its number.
    let mut owner = Claimant::start_by(program(), &place.address(), 3, (3, 4), &sign);
    assert_eq!(owner.wins(), [3]);
    owner.kill();
    LocalDirectory::open(&local)
        .unwrap()
        .sweep(&vm(), &place.address());
    assert!(
        start::begin(&mut arbiter, &vm(), 4, &mut |_| {})
            .unwrap_err()
            .is_refusal()
    );
}

#[test]
fn a_start_waits_for_the_backup_of_each_owner_that_has_ended_while_it_waited() {
    let place = Directory::new();
    let sign = place.above.path().join("local").display().to_string();
    let owns_and_is_killed = |owner: u128, epoch: u64| {
        let program = Command::new(std::env::current_exe().unwrap());
        let claims = (epoch, epoch + 1);
        let mut owner = Claimant::start_by(program, &place.address(), owner, claims, &sign);
        assert_eq!(owner.wins(), [epoch]);
        owner.kill();
    };
    owns_and_is_killed(1, 1);
    let mut waited = Vec::new();
    let mut wait = |last: &Record| {
        waited.push(last.epoch);
        // A backup takes the VM over, and is killed before its own backup could.
        if last.epoch == Epoch(1) {
            owns_and_is_killed(2, 2);
        }
    };
    assert_eq!(
        start::clear(&mut arbiter(&place), &vm(), 9, &mut wait).unwrap(),
        Epoch(2)
    );
    assert_eq!(waited, [Epoch(1), Epoch(2)]);
}

#[test]
fn names_of_vms_and_files_of_others_are_kept_apart() {
    let place = Directory::new();
    for name in [
        "web.1.claim",
        "web.00000000000000000xyz.claim",
        "web.claim",
        "webx.00000000000000000004.claim",
    ] {
        fs::write(place.file(name), "x").unwrap();
    }
    let mut arbiter = arbiter(&place);
    assert_eq!(arbiter.last(&vm()).unwrap(), None);
    let mut cells = place.cells();
    assert_eq!(cells.last(&VmName::new("webx").unwrap()).unwrap(), Some(Epoch(4)));
    assert_eq!(
        start::begin(&mut arbiter, &vm(), 1, &mut |_| {}).unwrap(),
        Epoch(1)
    );
}
