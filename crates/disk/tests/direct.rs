//! What a pair writes is past this host's page cache, and what it reads is not from there.

mod support;

use std::fs;
use std::path::Path;

use disk::{Access, Completion, Disk};
use machine::{DiskOperation, DiskStatus};
use support::{O_DIRECT, O_DSYNC, Pool, holder, make_disk, open_flags};

#[test]
fn the_disk_of_a_pair_is_open_past_the_page_cache_and_that_of_a_vm_alone_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for read_only in [false, true] {
        let path = make_disk(dir.path(), "pair", 4096);
        let _disk = Disk::open_raw(&path, Access::Pair, read_only, "").unwrap();
        let found = open_flags("self", &path);
        assert!(
            matches!(found[..], [flags] if flags & (O_DIRECT | O_DSYNC) != 0),
            "{found:?}"
        );
        let path = make_disk(dir.path(), "solo", 4096);
        let _disk = Disk::open_raw(&path, Access::Solo, read_only, "").unwrap();
        let found = open_flags("self", &path);
        assert!(
            matches!(found[..], [flags] if flags & (O_DIRECT | O_DSYNC) == 0),
            "{found:?}"
        );
    }
}

#[test]
fn any_run_of_sectors_is_read_and_written_in_a_pair() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 8 << 20);
    let disk = Disk::open_raw(&path, Access::Pair, false, "").unwrap();
    disk.lock(&holder("a", 1, 1)).unwrap();
    let mut pool = Pool::new(vec![disk]);
    let mut expected = fs::read(&path).unwrap();
    for (round, (sector, sectors)) in [(0, 1), (1, 1), (3, 7), (16_383, 1), (5, 4096 + 3), (9, 10_000)]
        .into_iter()
        .enumerate()
    {
        let data: Vec<u8> = (0..sectors * 512).map(|at| (at / 512 + round) as u8).collect();
        expected[sector * 512..][..data.len()].copy_from_slice(&data);
        let data = data.into();
        let sector = sector as u64;
        let done = pool.run(DiskOperation::Write { sector, data });
        assert_eq!(done, (DiskStatus::Ok, Vec::new()));
        let bytes = 512 * sectors as u32;
        let (status, data) = pool.run(DiskOperation::Read { sector, bytes });
        assert_eq!(status, DiskStatus::Ok);
        assert!(
            data == expected[sector as usize * 512..][..bytes as usize],
            "round {round}"
        );
    }
    assert!(fs::read(&path).unwrap() == expected);
}

fn first_byte(pool: &mut Pool) -> u8 {
    let (status, data) = pool.run(DiskOperation::Read {
        sector: 0,
        bytes: 512,
    });
    assert_eq!(status, DiskStatus::Ok);
    data[0]
}

fn waiting_backup(path: &Path, read_only: bool) -> Pool {
    Pool::new(vec![Disk::open_raw(path, Access::Pair, read_only, "").unwrap()])
}

#[test]
fn a_takeover_waits_while_the_path_leads_to_another_file_than_at_the_start() {
    // A copy of the same size stands in the file's place, as under a mount that is gone.
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mount");
    let away = dir.path().join("away");
    for name in [&mount, &away] {
        fs::create_dir(name).unwrap();
    }
    let path = make_disk(&mount, "disk", 4096);
    let mut pool = waiting_backup(&path, false);
    fs::rename(&path, away.join("disk")).unwrap();
    fs::write(&path, vec![0x55; 4096]).unwrap();
    pool.pool.become_writer(&holder("a", 2, 1), true);
    let sentence = match pool.completion() {
        Completion::Trouble(trouble) => trouble.sentence,
        other => panic!("{other:?}"),
    };
    let told = "it is another one than when this side started; mount the right one again";
    assert!(sentence.contains(told), "{sentence}");
    let left = || fs::read_dir(&mount).unwrap().count();
    assert_eq!(left(), 1, "no lock is left beside the wrong file");

    fs::rename(away.join("disk"), &path).unwrap();
    assert!(matches!(pool.completion(), Completion::Recovered { .. }));
    assert!(matches!(pool.completion(), Completion::Writer));
    assert_eq!(first_byte(&mut pool), 0xaa);
}

#[test]
fn only_a_takeover_opens_the_disk_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_disk(dir.path(), "disk", 4096);
    let mut pool = waiting_backup(&path, false);
    fs::remove_file(&path).unwrap();
    pool.pool.become_writer(&holder("a", 2, 1), false);
    assert!(matches!(pool.completion(), Completion::Writer));
    assert_eq!(first_byte(&mut pool), 0xaa);
}

#[test]
fn a_read_only_disk_that_cannot_be_opened_again_stays_as_it_was_at_the_start() {
    for replaced in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = make_disk(dir.path(), "disk", 4096);
        let mut pool = waiting_backup(&path, true);
        fs::remove_file(&path).unwrap();
        if replaced {
            fs::write(&path, vec![0x55; 4096]).unwrap();
        }
        pool.pool.become_writer(&holder("a", 2, 1), true);
        assert!(matches!(pool.completion(), Completion::Writer));
        assert_eq!(first_byte(&mut pool), 0xaa);
    }
}
