//! Disks: what requests do, and who may write.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use disk::{Access, Completion, Disk, DiskError, DiskLock, LockError};
use machine::{DiskOperation, DiskStatus};
use replica::{DiskAnswer, Epoch};
use support::{Pool, holder, make_disk};

#[test]
fn requests_do_what_they_say_alone_and_in_a_pair() {
    for access in [Access::Solo, Access::Pair] {
        requests_do_what_they_say(access);
    }
}

fn requests_do_what_they_say(access: Access) {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 64 << 10);
    let disk = Disk::open_raw(&path, access, false, "serial").unwrap();
    assert_eq!((disk.config().sectors, disk.config().read_only), (128, false));
    disk.lock(&holder("a", 0, 1)).unwrap();
    let mut pool = Pool::new(vec![disk]);
    let ok = (DiskStatus::Ok, Vec::new());
    assert_eq!(
        pool.run(DiskOperation::Write {
            sector: 2,
            data: vec![7; 1024].into()
        }),
        ok
    );
    assert_eq!(pool.run(DiskOperation::Flush), ok);
    let (status, data) = pool.run(DiskOperation::Read {
        sector: 1,
        bytes: 2048,
    });
    assert_eq!(status, DiskStatus::Ok);
    assert_eq!(data, [vec![0xaa; 512], vec![7; 1024], vec![0xaa; 512]].concat());
    for unmap in [false, true] {
        let zero = DiskOperation::WriteZeroes {
            sector: 2,
            sectors: 1,
            unmap,
        };
        assert_eq!(pool.run(zero), ok);
        let (_, data) = pool.run(DiskOperation::Read {
            sector: 1,
            bytes: 2048,
        });
        assert_eq!(
            data,
            [vec![0xaa; 512], vec![0; 512], vec![7; 512], vec![0xaa; 512]].concat()
        );
        assert_eq!(
            pool.run(DiskOperation::Write {
                sector: 2,
                data: vec![7; 512].into()
            }),
            ok
        );
    }
    assert_eq!(
        pool.run(DiskOperation::Discard {
            sector: 64,
            sectors: 64
        }),
        ok
    );
    assert_eq!(fs::metadata(&path).unwrap().len(), 64 << 10, "the size stays");
    drop(pool);
    assert!(!dir.path().join("disk.lock").exists());
}

#[test]
fn requests_beyond_the_end_fail_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let disk = Disk::open_raw(&path, Access::Solo, false, "").unwrap();
    disk.lock(&holder("a", 0, 1)).unwrap();
    let mut pool = Pool::new(vec![disk]);
    for operation in [
        DiskOperation::Write {
            sector: 7,
            data: vec![0; 1024].into(),
        },
        DiskOperation::Read {
            sector: 8,
            bytes: 512,
        },
        DiskOperation::Read {
            sector: u64::MAX / 512,
            bytes: 512,
        },
        DiskOperation::Discard {
            sector: 0,
            sectors: 9,
        },
        DiskOperation::WriteZeroes {
            sector: u64::MAX,
            sectors: u32::MAX,
            unmap: true,
        },
    ] {
        assert_eq!(pool.run(operation), (DiskStatus::Failed, Vec::new()));
    }
    assert_eq!(fs::read(&path).unwrap(), vec![0xaa; 4096]);
}

#[test]
fn a_read_only_disk_is_read_without_a_lock_and_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let disk = Disk::open_raw(&path, Access::Solo, true, "").unwrap();
    disk.lock(&holder("a", 0, 1)).unwrap();
    assert!(!dir.path().join("disk.lock").exists());
    let mut pool = Pool::new(vec![disk]);
    assert_eq!(
        pool.run(DiskOperation::Write {
            sector: 0,
            data: vec![0; 512].into()
        })
        .0,
        DiskStatus::Failed
    );
    assert_eq!(
        pool.run(DiskOperation::Read {
            sector: 0,
            bytes: 512
        }),
        (DiskStatus::Ok, vec![0xaa; 512])
    );
}

#[test]
fn unusable_disks_are_said_to_be_so() {
    let dir = tempfile::tempdir().unwrap();
    let words = |path: &Path| {
        Disk::open_raw(path, Access::Solo, false, "")
            .unwrap_err()
            .to_string()
    };
    let missing = dir.path().join("none");
    let make = format!("make one with `truncate -s 4G {}`", missing.display());
    assert!(words(&missing).contains(&make));
    assert!(words(dir.path()).ends_with("; give a file or a block device"));
    assert!(words(&make_disk(dir.path(), "odd", 1000)).contains("has 1000 bytes, which is no whole number"));
    assert!(words(&make_disk(dir.path(), "empty", 0)).contains("is empty; give it a size"));
    assert!(words(Path::new("/dev/null")).contains("a device without sectors"));
    let small = Disk::open_raw(&make_disk(dir.path(), "small", 1024), Access::Solo, false, "").unwrap();
    let mut guest = small.config();
    small.check(&guest).unwrap();
    guest.sectors = 3;
    let error = small.check(&guest).unwrap_err();
    assert!(matches!(
        error,
        DiskError::Smaller {
            has: 2,
            expects: 3,
            ..
        }
    ));
}

#[test]
fn a_second_writer_is_refused_and_told_who_is_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let first = DiskLock::acquire(&path, &holder("a", 3, 1), Epoch(0)).unwrap();
    for second in [
        holder("b", 0, 2),
        holder("b", 9, 2),
        holder("a", 0, 2),
        holder("a", 3, 2),
    ] {
        let error = DiskLock::acquire(&path, &second, Epoch(0))
            .unwrap_err()
            .to_string();
        let who = format!("is in use by VM 'a' epoch 3 (pid {} on host ", std::process::id());
        assert!(error.contains(&who), "{error}");
    }
    first.confirm().unwrap();
    drop(first);
    DiskLock::acquire(&path, &holder("b", 0, 2), Epoch(0)).unwrap();
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["disk"], "nothing stays behind");
}

#[test]
fn a_writer_on_another_host_is_replaced_once_the_arbiter_says_that_its_epoch_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let lock = dir.path().join("disk.lock");
    let left_by = |vm: &str, epoch: u64| {
        let text = format!(
            "lockstep disk lock 1\nvm {vm}\nepoch {epoch}\nowner {:032x}\npid 1\nhost far-away\nboot x\n",
            7
        );
        fs::write(&lock, text).unwrap();
    };
    // A start begins with epoch 0, which supersedes nobody by itself.
    let start = holder("a", 0, 1);
    for (vm, epoch, ended, is_replaced) in [
        ("a", 3, 0, false),
        ("a", 3, 2, false),
        ("a", 3, 3, true),
        ("a", 2, 3, true),
        ("b", 3, 3, false),
        // A VM that runs without its arbiter is not known to it.
        ("a", 0, 3, false),
    ] {
        left_by(vm, epoch);
        let taken = DiskLock::acquire(&path, &start, Epoch(ended));
        assert_eq!(taken.is_ok(), is_replaced, "{vm} {epoch} {ended}: {taken:?}");
    }
}

#[test]
fn a_later_epoch_supersedes_a_live_writer_which_then_writes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let old = Disk::open_raw(&path, Access::Solo, false, "").unwrap();
    old.lock(&holder("a", 3, 1)).unwrap();
    let mut old = Pool::new(vec![old]);
    assert_eq!(
        old.run(DiskOperation::Write {
            sector: 0,
            data: vec![1; 512].into()
        })
        .0,
        DiskStatus::Ok
    );

    let mut new = Pool::new(vec![Disk::open_raw(&path, Access::Solo, false, "").unwrap()]);
    new.pool.become_writer(&holder("a", 4, 2), true);
    // This request is queued behind the lock, not beside it.
    new.submit(DiskOperation::Write {
        sector: 0,
        data: vec![2; 512].into(),
    });
    assert!(matches!(new.completion(), Completion::Writer));
    assert!(matches!(
        new.completion(),
        Completion::Done(DiskAnswer {
            status: DiskStatus::Ok,
            ..
        })
    ));

    old.submit(DiskOperation::Write {
        sector: 0,
        data: vec![3; 512].into(),
    });
    match old.completion() {
        Completion::Fenced(LockError::Superseded {
            ours: 3, theirs: 4, ..
        }) => {}
        other => panic!("{other:?}"),
    }
    drop(old);
    assert_eq!(fs::read(&path).unwrap()[..512], [2; 512]);
    assert_eq!(
        new.run(DiskOperation::Write {
            sector: 1,
            data: vec![4; 512].into()
        })
        .0,
        DiskStatus::Ok
    );
    assert!(
        dir.path().join("disk.lock").exists(),
        "the old one must not remove the new one's lock"
    );
}

#[test]
fn an_earlier_epoch_cannot_take_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let _new = DiskLock::acquire(&path, &holder("a", 4, 2), Epoch(0)).unwrap();
    let pool = Pool::new(vec![Disk::open_raw(&path, Access::Solo, false, "").unwrap()]);
    pool.pool.become_writer(&holder("a", 3, 1), true);
    assert!(matches!(
        pool.completion(),
        Completion::Fenced(LockError::Superseded { .. })
    ));
}

#[test]
fn a_write_without_a_lock_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let mut pool = Pool::new(vec![Disk::open_raw(&path, Access::Solo, false, "").unwrap()]);
    pool.submit(DiskOperation::Write {
        sector: 0,
        data: vec![3; 512].into(),
    });
    assert!(matches!(
        pool.completion(),
        Completion::Fenced(LockError::NotHeld { .. })
    ));
    assert_eq!(fs::read(&path).unwrap()[..512], [0xaa; 512]);
}

#[test]
fn a_lock_that_was_removed_by_hand_is_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let lock = DiskLock::acquire(&path, &holder("a", 1, 1), Epoch(0)).unwrap();
    fs::remove_file(dir.path().join("disk.lock")).unwrap();
    lock.confirm().unwrap();
    assert!(dir.path().join("disk.lock").exists());
    lock.renew(&holder("a", 2, 1)).unwrap();
    lock.confirm().unwrap();
}

#[test]
fn a_primary_started_again_does_not_take_the_disk_from_the_backup_that_has_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    // The old primary, started again before the timeout, finds the lock of a dead process of its own host.
    let again = DiskLock::acquire(&path, &holder("a", 0, 3), Epoch(0)).unwrap();
    let live = DiskLock::acquire(&path, &holder("a", 6, 2), Epoch(0)).unwrap();
    // Whatever epoch it claims now, that is not the epoch that follows from what it had.
    let error = again.renew(&holder("a", 7, 3)).unwrap_err();
    assert!(matches!(error, LockError::InUse { epoch: 6, .. }), "{error}");
    live.confirm().unwrap();
    assert_eq!(disk_holder(&path), "epoch 6");
}

fn disk_holder(path: &Path) -> String {
    let text = fs::read_to_string(path.with_extension("lock")).unwrap();
    text.lines()
        .find(|line| line.starts_with("epoch"))
        .unwrap()
        .to_owned()
}

#[test]
fn the_lock_shows_that_it_is_where_it_was_until_it_was_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    std::mem::forget(DiskLock::acquire(&path, &holder("a", 3, 1), Epoch(0)).unwrap());
    let lock = DiskLock::acquire(&path, &holder("a", 4, 2), Epoch(0)).unwrap();
    assert_eq!(lock.replaced(), Some(&holder("a", 3, 1)));
    lock.renew(&holder("a", 5, 2)).unwrap();
    assert!(lock.is_in_place());
    fs::remove_file(dir.path().join("disk.lock")).unwrap();
    assert!(!lock.is_in_place());
    // The lock is taken again, but perhaps in another directory.
    lock.confirm().unwrap();
    assert!(!lock.is_in_place());
}

#[test]
fn a_foreign_lock_file_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    fs::write(dir.path().join("disk.lock"), "something else").unwrap();
    let error = DiskLock::acquire(&path, &holder("a", 1, 1), Epoch(0))
        .unwrap_err()
        .to_string();
    assert!(error.contains("is no lock of Lockstep"), "{error}");
}

#[test]
fn a_live_writer_on_another_host_is_not_replaced_though_its_flock_cannot_be_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let text = format!(
        "lockstep disk lock 1\nvm a\nepoch 1\nowner {:032x}\npid 77\nhost elsewhere\nboot other\n",
        9
    );
    fs::write(dir.path().join("disk.lock"), text).unwrap();
    let error = DiskLock::acquire(&path, &holder("a", 1, 1), Epoch(0))
        .unwrap_err()
        .to_string();
    assert!(error.contains("(pid 77 on host elsewhere)"), "{error}");
    DiskLock::acquire(&path, &holder("a", 2, 1), Epoch(0)).unwrap();
}

/// Name of a variable, set in a child process that shall lock this disk and then stand still.
const CHILD: &str = "LOCKSTEP_TEST_LOCK";

#[test]
fn child_that_locks() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let _lock = DiskLock::acquire(Path::new(&path), &holder("a", 5, 1), Epoch(0)).unwrap();
    println!("locked");
    // Stands still until it is killed or its parent is gone.
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn locking_child(path: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_locks", "--nocapture"])
        .env(CHILD, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("locked")));
    child
}

#[test]
fn the_lock_of_a_killed_process_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let mut child = locking_child(&path);
    let error = DiskLock::acquire(&path, &holder("b", 0, 2), Epoch(0))
        .unwrap_err()
        .to_string();
    assert!(error.contains(&format!("(pid {} ", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(dir.path().join("disk.lock").exists());
    let lock = DiskLock::acquire(&path, &holder("b", 0, 2), Epoch(0)).unwrap();
    lock.confirm().unwrap();
}

#[test]
fn of_many_who_find_a_dead_writer_one_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = make_disk(dir.path(), &format!("disk{round}"), 4096);
        let mut child = locking_child(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        let start = std::sync::Barrier::new(4);
        let locks: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|owner| {
                    let (start, path) = (&start, &path);
                    scope.spawn(move || {
                        start.wait();
                        DiskLock::acquire(path, &holder("b", 0, 10 + owner), Epoch(0))
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(locks.iter().filter(|lock| lock.is_ok()).count(), 1, "{locks:?}");
    }
}

#[test]
fn a_disk_that_grows_or_shrinks_is_told_once_and_the_new_sectors_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 64 << 10);
    let disk = Disk::open_raw(&path, Access::Pair, false, "serial").unwrap();
    disk.lock(&holder("a", 0, 1)).unwrap();
    let mut pool = Pool::new(vec![disk]);
    let resize = |bytes| {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(bytes).unwrap();
    };
    let told = |pool: &Pool| match pool.completion() {
        Completion::Size(size) => (size.disk, size.before, size.sectors),
        other => panic!("{other:?}"),
    };
    resize(128 << 10);
    pool.pool.measure();
    assert_eq!(told(&pool), (0, 128, 256));
    let write = |sector| DiskOperation::Write {
        sector,
        data: vec![7; 512].into(),
    };
    assert_eq!(pool.run(write(255)).0, DiskStatus::Ok, "a sector that is new");
    resize(32 << 10);
    pool.pool.measure();
    assert_eq!(told(&pool), (0, 256, 64));
    // A request looks by itself before it waits, for it may come from a guest that knows a newer size.
    resize(256 << 10);
    assert_eq!(pool.run(write(511)).0, DiskStatus::Ok);
    pool.pool.measure();
    assert_eq!(told(&pool), (0, 64, 512));
}

/// Gives a file another length.
fn resize(path: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

#[test]
fn a_copy_that_is_smaller_than_the_guest_knows_the_disk_is_told_until_it_is_as_large() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 64 << 10);
    let disk = Disk::open_raw(&path, Access::Pair, true, "serial").unwrap();
    let pool = Pool::new(vec![disk]);
    pool.pool.guest_knows(0, 128);
    pool.pool.guest_knows(7, 128);
    pool.pool.guest_knows(0, 256);
    let Completion::Trouble(trouble) = pool.completion() else {
        panic!("nothing was told");
    };
    assert!(trouble.what.contains("65536 bytes"), "{}", trouble.what);
    assert!(trouble.what.contains("131072"), "{}", trouble.what);
    assert!(
        trouble.sentence.contains("copy the primary's file"),
        "{}",
        trouble.sentence
    );
    resize(&path, 128 << 10);
    assert!(matches!(pool.completion(), Completion::Recovered { disk: 0, .. }));
}

#[test]
fn a_request_behind_the_end_of_a_smaller_copy_waits_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 64 << 10);
    let disk = Disk::open_raw(&path, Access::Pair, true, "serial").unwrap();
    let mut pool = Pool::new(vec![disk]);
    pool.submit(DiskOperation::Read {
        sector: 200,
        bytes: 512,
    });
    let Completion::Trouble(trouble) = pool.completion() else {
        panic!("nothing was told");
    };
    assert!(
        trouble.sentence.contains("the guest waits"),
        "{}",
        trouble.sentence
    );
    resize(&path, 128 << 10);
    assert_eq!(pool.answer(), (0, DiskStatus::Ok));
    assert!(matches!(pool.completion(), Completion::Recovered { .. }));
}

#[test]
fn a_survivor_finds_what_was_added_before_it_opened_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 128 << 10);
    let disk = Disk::open_raw(&path, Access::Pair, false, "serial").unwrap();
    let pool = Pool::new(vec![disk]);
    // The primary opened the disk when it was half as large, and died before it looked again.
    pool.pool.guest_knows(0, 128);
    pool.pool.become_writer(&holder("a", 2, 1), true);
    let Completion::Size(size) = pool.completion() else {
        panic!("the guest is not told");
    };
    assert_eq!((size.before, size.sectors), (128, 256));
    assert!(matches!(pool.completion(), Completion::Writer));
}
