//! Disks that are ill: what the guest sees of it, what people are told, and that no flush lies.

mod support;

use std::fs;
use std::io;
use std::sync::{Arc, Condvar, Mutex};

use disk::{Access, Backend, Completion, Disk, Trouble};
use machine::{DiskOperation, DiskStatus};
use replica::DiskAnswer;
use support::{Pool, holder, make_disk};

/// How a disk of the test behaves, and what it has done.
#[derive(Debug, Default)]
struct Script {
    /// Errors of the next writes, reads and flushes, one for each.
    writes: Vec<io::ErrorKind>,
    reads: Vec<io::ErrorKind>,
    flushes: Vec<io::ErrorKind>,
    /// Whether all requests hang.
    hangs: bool,
    /// Whether a write is durable by itself.
    settles: bool,
    /// Requests in the order in which they were done, failures too.
    done: Vec<&'static str>,
}

/// A disk of the test.
#[derive(Clone, Debug, Default)]
struct Scripted(Arc<(Mutex<Script>, Condvar)>);

impl Scripted {
    fn new(script: Script) -> Scripted {
        Scripted(Arc::new((Mutex::new(script), Condvar::new())))
    }

    /// A disk of 8 sectors.
    fn disk(&self, access: Access) -> (tempfile::TempDir, Disk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path().join("disk"), Box::new(self.clone()), access, false, "").unwrap();
        disk.lock(&holder("a", 1, 1)).unwrap();
        (dir, disk)
    }

    fn done(&self) -> Vec<&'static str> {
        self.0.0.lock().unwrap().done.clone()
    }

    fn release(&self) {
        self.0.0.lock().unwrap().hangs = false;
        self.0.1.notify_all();
    }

    fn act(&self, name: &'static str, errors: fn(&mut Script) -> &mut Vec<io::ErrorKind>) -> io::Result<()> {
        let script = self.0.0.lock().unwrap();
        let mut script = self.0.1.wait_while(script, |script| script.hangs).unwrap();
        script.done.push(name);
        let errors = errors(&mut script);
        if errors.is_empty() {
            return Ok(());
        }
        Err(errors.remove(0).into())
    }
}

impl Backend for Scripted {
    fn capacity(&self) -> u64 {
        4096
    }
    fn measure(&self) -> io::Result<u64> {
        Ok(4096)
    }
    fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        self.act("read", |script| &mut script.reads)
    }
    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        self.act("write", |script| &mut script.writes)
    }
    fn flush(&self) -> io::Result<()> {
        self.act("flush", |script| &mut script.flushes)
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        self.act("discard", |script| &mut script.writes)
    }
    fn write_zeroes(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        self.act("zeroes", |script| &mut script.writes)
    }
    fn settles(&self) -> bool {
        self.0.0.lock().unwrap().settles
    }
    fn look_for(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
    fn reopen(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
}

const READ: DiskOperation = DiskOperation::Read {
    sector: 0,
    bytes: 512,
};

fn write() -> DiskOperation {
    DiskOperation::Write {
        sector: 0,
        data: vec![1; 512].into(),
    }
}

fn trouble(pool: &Pool) -> Trouble {
    match pool.completion() {
        Completion::Trouble(trouble) => trouble,
        other => panic!("{other:?}"),
    }
}

fn recovered(pool: &Pool) {
    match pool.completion() {
        Completion::Recovered { disk: 0, .. } => {}
        other => panic!("{other:?}"),
    }
}

const BROKEN: io::ErrorKind = io::ErrorKind::Other;

#[test]
fn a_full_disk_makes_the_write_of_a_vm_alone_wait_and_a_bad_sector_fails_its_read() {
    let script = Scripted::new(Script {
        writes: vec![io::ErrorKind::StorageFull],
        reads: vec![BROKEN],
        ..Script::default()
    });
    let (_dir, disk) = script.disk(Access::Solo);
    let mut pool = Pool::new(vec![disk]);
    let written = pool.submit(write());
    assert!(trouble(&pool).sentence.contains("no space left for the disk"));
    let read = pool.submit(READ);
    let (mut answers, mut told, mut well) = (Vec::new(), String::new(), false);
    while answers.len() < 2 || told.is_empty() || !well {
        match pool.completion() {
            Completion::Done(DiskAnswer { id, status, .. }) => answers.push((id, status)),
            Completion::Trouble(trouble) => told = trouble.sentence,
            Completion::Recovered { .. } => well = true,
            other => panic!("{other:?}"),
        }
    }
    answers.sort_by_key(|(id, _)| *id);
    assert_eq!(answers, [(written, DiskStatus::Ok), (read, DiskStatus::Failed)]);
    assert!(told.contains("the guest is told that its read failed"), "{told}");
}

#[test]
fn in_a_pair_a_request_that_fails_waits_until_the_disk_is_well_and_people_are_told_once() {
    for operation in [
        READ,
        write(),
        DiskOperation::Discard {
            sector: 0,
            sectors: 1,
        },
    ] {
        let script = Scripted::new(Script {
            writes: vec![BROKEN; 2],
            reads: vec![BROKEN; 2],
            ..Script::default()
        });
        let (_dir, disk) = script.disk(Access::Pair);
        let mut pool = Pool::new(vec![disk]);
        let id = pool.submit(operation);
        let Trouble { sentence, what, .. } = trouble(&pool);
        assert!(what.starts_with("cannot be "), "{what}");
        let advice = format!(
            "the guest waits, and it is tried again each second; if the backup's way to the disk is well, \
             kill this primary (`kill -9 {}`): the backup takes over and nothing is lost",
            std::process::id()
        );
        assert!(sentence.ends_with(&advice), "{sentence}");
        assert_eq!(pool.answer(), (id, DiskStatus::Ok));
        recovered(&pool);
    }
}

#[test]
fn who_is_alone_is_not_advised_to_kill_himself() {
    let script = Scripted::new(Script {
        writes: vec![BROKEN],
        ..Script::default()
    });
    let (_dir, disk) = script.disk(Access::Pair);
    let mut pool = Pool::new(vec![disk]);
    pool.pool.become_writer(&holder("a", 2, 1), false);
    let id = pool.submit(write());
    assert!(matches!(pool.completion(), Completion::Writer));
    let sentence = trouble(&pool).sentence;
    assert!(sentence.ends_with("it is tried again each second"), "{sentence}");
    assert_eq!(pool.answer(), (id, DiskStatus::Ok));
}

#[test]
fn after_a_flush_of_a_vm_alone_has_failed_none_succeeds_any_more() {
    // The kernel has dropped the pages and would report success the next time.
    for kind in [BROKEN, io::ErrorKind::StorageFull] {
        let script = Scripted::new(Script {
            flushes: vec![kind],
            ..Script::default()
        });
        let (_dir, disk) = script.disk(Access::Solo);
        let mut pool = Pool::new(vec![disk]);
        assert_eq!(pool.run(write()).0, DiskStatus::Ok);
        let first = pool.submit(DiskOperation::Flush);
        assert_eq!(pool.answer(), (first, DiskStatus::Failed));
        let sentence = trouble(&pool).sentence;
        assert!(
            sentence.contains("all its flushes fail from now on"),
            "{sentence}"
        );
        assert_eq!(pool.run(write()).0, DiskStatus::Ok);
        assert_eq!(pool.run(DiskOperation::Flush).0, DiskStatus::Failed);
        assert_eq!(script.done(), ["write", "flush", "write"], "not even tried");
    }
}

#[test]
fn after_a_flush_of_a_pair_has_failed_with_a_cache_behind_it_the_guest_stands() {
    let script = Scripted::new(Script {
        flushes: vec![BROKEN],
        ..Script::default()
    });
    let (_dir, disk) = script.disk(Access::Pair);
    let mut pool = Pool::new(vec![disk]);
    pool.submit(DiskOperation::Flush);
    let sentence = trouble(&pool).sentence;
    assert!(
        sentence.contains("the guest stands for good; if the backup's way"),
        "{sentence}"
    );
    pool.submit(DiskOperation::Flush);
    // A discard of a pair is flushed before it is answered, so the discard stands as well.
    pool.submit(DiskOperation::Discard {
        sector: 0,
        sectors: 1,
    });
    for _ in 0..8 {
        assert_eq!(pool.run(READ).0, DiskStatus::Ok, "only flushes stand");
    }
    assert_eq!(script.done().iter().filter(|done| **done == "flush").count(), 1);
}

#[test]
fn a_flush_of_a_pair_is_tried_again_where_every_write_was_durable_before() {
    let script = Scripted::new(Script {
        flushes: vec![BROKEN; 2],
        settles: true,
        ..Script::default()
    });
    let (_dir, disk) = script.disk(Access::Pair);
    let mut pool = Pool::new(vec![disk]);
    let id = pool.submit(DiskOperation::Flush);
    assert!(trouble(&pool).what.starts_with("cannot be flushed"));
    assert_eq!(pool.answer(), (id, DiskStatus::Ok));
    recovered(&pool);
}

#[test]
fn a_hole_in_the_disk_of_a_pair_is_durable_when_the_guest_hears_of_it() {
    let script = Scripted::default();
    let (_dir, disk) = script.disk(Access::Pair);
    let mut pool = Pool::new(vec![disk]);
    let (sector, sectors, unmap) = (0, 1, true);
    pool.run(DiskOperation::Discard { sector, sectors });
    pool.run(DiskOperation::WriteZeroes {
        sector,
        sectors,
        unmap,
    });
    assert_eq!(script.done(), ["discard", "flush", "zeroes", "flush"]);
}

#[test]
fn a_lock_that_cannot_be_looked_at_makes_the_guest_wait() {
    // This is the error of a disk server that is away: the answer is neither yes nor no.
    for access in [Access::Solo, Access::Pair] {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let disk = Disk::new(
            inner.join("disk"),
            Box::new(Scripted::default()),
            access,
            false,
            "",
        )
        .unwrap();
        disk.lock(&holder("a", 1, 1)).unwrap();
        let mut pool = Pool::new(vec![disk]);
        let away = dir.path().join("away");
        fs::rename(&inner, &away).unwrap();
        fs::write(&inner, "not a directory").unwrap();
        let id = pool.submit(write());
        let sentence = trouble(&pool).sentence;
        assert!(sentence.contains("cannot lock the disk with"), "{sentence}");
        fs::remove_file(&inner).unwrap();
        fs::rename(&away, &inner).unwrap();
        assert_eq!(pool.answer(), (id, DiskStatus::Ok));
        recovered(&pool);
    }
}

#[test]
fn a_disk_that_hangs_holds_up_neither_requests_nor_the_lock_of_another_one() {
    let script = Scripted::new(Script {
        hangs: true,
        ..Script::default()
    });
    let (_dir, hung) = script.disk(Access::Pair);
    let other = tempfile::tempdir().unwrap();
    let path = make_disk(other.path(), "disk", 4096);
    let well = Disk::open_raw(&path, Access::Pair, false, "").unwrap();
    let mut pool = Pool::new(vec![hung, well]);
    let mut hanging: Vec<u64> = (0..20).map(|_| pool.submit(write())).collect();
    let read = pool.submit_to(1, READ);
    assert_eq!(pool.answer(), (read, DiskStatus::Ok));

    pool.pool.become_writer(&holder("a", 2, 1), true);
    let written = pool.submit_to(1, write());
    assert_eq!(pool.answer(), (written, DiskStatus::Ok));
    assert_eq!(fs::read(&path).unwrap()[..512], [1; 512]);

    script.release();
    let mut writer = false;
    while !writer || !hanging.is_empty() {
        match pool.completion() {
            Completion::Writer => writer = true,
            Completion::Done(DiskAnswer { id, .. }) => hanging.retain(|one| *one != id),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_threads_of_a_disk_are_named_after_it() {
    let (_dir, disk) = Scripted::default().disk(Access::Solo);
    let mut pool = Pool::new(vec![disk]);
    // A thread names itself when it begins; after an answer, one has begun.
    assert_eq!(pool.run(READ).0, DiskStatus::Ok);
    let names = fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    let names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
    assert!(names.iter().any(|name| name.starts_with("disk0.")), "{names:?}");
}

/// The next completion, while the pool is asked whether a disk does not answer.
fn while_listening(pool: &Pool, is_live: bool) -> Completion {
    loop {
        pool.pool.look_for_silence(is_live);
        if let Some(completion) = pool.pool.completion() {
            return completion;
        }
        pool.wait_a_little();
    }
}

#[test]
fn a_request_that_hangs_is_told_once_and_is_over_when_it_is_answered() {
    let script = Scripted::new(Script {
        hangs: true,
        ..Script::default()
    });
    let (_dir, disk) = script.disk(Access::Solo);
    let mut pool = Pool::new(vec![disk]);
    let id = pool.submit(READ);
    let Completion::Trouble(told) = while_listening(&pool, true) else {
        panic!("an answer came");
    };
    assert!(told.waits);
    assert_eq!(told.what, "has not answered for 5 s");
    assert!(
        told.sentence.ends_with("the guest waits; look at its storage"),
        "{}",
        told.sentence
    );
    pool.pool.look_for_silence(true);
    script.release();
    assert_eq!(pool.answer(), (id, DiskStatus::Ok));
    recovered(&pool);
}

#[test]
fn a_backup_probes_its_disk_and_tells_when_it_cannot_be_read_and_when_it_can() {
    let script = Scripted::new(Script {
        reads: vec![BROKEN; 2],
        ..Script::default()
    });
    let (_dir, disk) = script.disk(Access::Pair);
    let pool = Pool::new(vec![disk]);
    pool.pool.probe();
    let told = trouble(&pool);
    assert!(told.waits);
    assert!(
        told.sentence
            .contains("after a takeover the guest would wait for it"),
        "{}",
        told.sentence
    );
    // The same trouble is no news, and nothing is probed by itself.
    while script.done().len() < 3 {
        pool.pool.probe();
        std::thread::yield_now();
    }
    recovered(&pool);
    assert!(script.done().iter().all(|done| *done == "read"));
}

#[test]
fn a_probe_that_hangs_is_told_and_does_not_keep_a_takeover_waiting() {
    let script = Scripted::new(Script {
        hangs: true,
        ..Script::default()
    });
    let (_dir, disk) = script.disk(Access::Pair);
    let mut pool = Pool::new(vec![disk]);
    pool.pool.probe();
    let Completion::Trouble(told) = while_listening(&pool, false) else {
        panic!("an answer came");
    };
    assert!(told.waits);
    let end = "has not answered for 5 s on this host; after a takeover the guest would wait for it";
    assert!(told.sentence.ends_with(end), "{}", told.sentence);
    pool.pool.become_writer(&holder("a", 2, 1), true);
    assert!(matches!(pool.completion(), Completion::Writer));
    // From here on requests show how the disk is, so nothing is probed.
    pool.pool.probe();
    script.release();
    recovered(&pool);
    let id = pool.submit(READ);
    assert_eq!(pool.answer(), (id, DiskStatus::Ok));
    assert_eq!(script.done(), ["read", "read"]);
}

#[test]
fn a_takeover_ends_what_a_probe_has_found() {
    let script = Scripted::new(Script {
        reads: vec![BROKEN],
        ..Script::default()
    });
    let (_dir, disk) = script.disk(Access::Pair);
    let pool = Pool::new(vec![disk]);
    pool.pool.probe();
    trouble(&pool);
    pool.pool.become_writer(&holder("a", 2, 1), true);
    recovered(&pool);
    assert!(matches!(pool.completion(), Completion::Writer));
}
