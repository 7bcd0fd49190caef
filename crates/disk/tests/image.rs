//! Disks in qcow2 images, for VMs that run alone.

mod support;

use std::fs;
use std::path::Path;

use disk::{Access, Disk, DiskError, DiskFile, Format, LockError, Of};
use machine::{DiskOperation, DiskStatus};
use replica::VmName;
use support::{Pool, holder, make_disk};

const OK: (DiskStatus, Vec<u8>) = (DiskStatus::Ok, Vec::new());

fn open(file: &DiskFile, read_only: bool) -> Result<Disk, DiskError> {
    open_for(Access::Solo, file, read_only)
}

fn open_for(access: Access, file: &DiskFile, read_only: bool) -> Result<Disk, DiskError> {
    // A file needs no key.
    let of = Of {
        vm: &VmName::new("vm").unwrap(),
        security: None,
    };
    Disk::open(file, of, access, read_only, "serial")
}

fn overlay(base: &Path, path: &Path) -> DiskFile {
    DiskFile {
        overlay: Some(path.into()),
        ..DiskFile::at(base)
    }
}

fn read(pool: &mut Pool, sector: u64, bytes: u32) -> Vec<u8> {
    let (status, data) = pool.run(DiskOperation::Read { sector, bytes });
    assert_eq!(status, DiskStatus::Ok);
    data
}

#[test]
fn a_guest_writes_to_an_overlay_and_finds_that_again_when_it_is_given_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (base, path) = (
        make_disk(dir.path(), "base.raw", 64 << 10),
        dir.path().join("mine.qcow2"),
    );
    let disk = open(&overlay(&base, &path), false).unwrap();
    assert_eq!((disk.config().sectors, disk.config().read_only), (128, false));
    assert!(disk.path().ends_with("mine.qcow2"));
    disk.lock(&holder("a", 0, 1)).unwrap();
    assert!(dir.path().join("mine.qcow2.lock").exists());
    let mut pool = Pool::new(vec![disk]);
    let write = |sector, byte| DiskOperation::Write {
        sector,
        data: vec![byte; 1024].into(),
    };
    assert_eq!(pool.run(write(2, 7)), OK);
    let zero = DiskOperation::WriteZeroes {
        sector: 3,
        sectors: 1,
        unmap: true,
    };
    assert_eq!(pool.run(zero), OK);
    assert_eq!(
        pool.run(DiskOperation::Discard {
            sector: 100,
            sectors: 8
        }),
        OK
    );
    assert_eq!(pool.run(DiskOperation::Flush), OK);
    assert_eq!(pool.run(write(127, 7)).0, DiskStatus::Failed, "behind the end");
    let expected = [vec![0xaa; 512], vec![7; 512], vec![0; 512], vec![0xaa; 512]].concat();
    assert_eq!(read(&mut pool, 1, 2048), expected);
    drop(pool);
    assert_eq!(fs::read(&base).unwrap(), vec![0xaa; 64 << 10]);

    // The overlay is an image like others, which a guest may have for reading only.
    for file in [DiskFile::at(&path), overlay(&base, &path)] {
        let read_only = file.overlay.is_none();
        let disk = open(&file, read_only).unwrap();
        disk.lock(&holder("a", 0, 2)).unwrap();
        let mut pool = Pool::new(vec![disk]);
        assert_eq!(read(&mut pool, 1, 2048), expected);
        let status = pool.run(write(8, 9)).0;
        assert_eq!(status == DiskStatus::Failed, read_only);
    }
}

#[test]
fn an_image_has_one_writer_and_its_tables_are_looked_at_when_that_is_certain() {
    let dir = tempfile::tempdir().unwrap();
    let (base, path) = (
        make_disk(dir.path(), "base.raw", 64 << 10),
        dir.path().join("mine.qcow2"),
    );
    let first = open(&overlay(&base, &path), false).unwrap();
    first.lock(&holder("a", 0, 1)).unwrap();
    let second = open(&DiskFile::at(&path), false).unwrap();
    let error = second.lock(&holder("b", 0, 2)).unwrap_err();
    assert!(matches!(error, LockError::InUse { .. }), "{error}");
    drop(first);
    // The refcount of the header's cluster.
    let mut image = fs::read(&path).unwrap();
    image[2 << 16..(2 << 16) + 2].fill(0);
    fs::write(&path, image).unwrap();
    let error = second.lock(&holder("b", 0, 2)).unwrap_err();
    assert!(!error.is_passing());
    let text = os::error::chain(&error);
    assert!(
        text.contains("cannot write to the disk") && text.contains("qemu-img check -r all"),
        "{text}"
    );
    assert!(
        !dir.path().join("mine.qcow2.lock").exists(),
        "the lock is given back"
    );
}

#[test]
fn the_name_or_the_operator_says_what_a_file_is_and_never_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let (base, path) = (
        make_disk(dir.path(), "base.raw", 64 << 10),
        dir.path().join("mine.qcow2"),
    );
    open(&overlay(&base, &path), false).unwrap();
    let other = dir.path().join("mine.img");
    fs::copy(&path, &other).unwrap();
    let text = open(&DiskFile::at(&other), false).unwrap_err().to_string();
    assert!(
        text.contains("format=qcow2") && text.contains("format=raw"),
        "{text}"
    );
    let said = |format| DiskFile {
        format: Some(format),
        ..DiskFile::at(&other)
    };
    assert_eq!(open(&said(Format::Qcow2), true).unwrap().config().sectors, 128);
    let length = fs::metadata(&other).unwrap().len();
    assert_eq!(
        open(&said(Format::Raw), false).unwrap().config().sectors,
        length / 512
    );
    let text = open(&DiskFile::at(dir.path().join("none.qcow2")), false).unwrap_err();
    assert!(text.to_string().contains("none.qcow2"), "{text}");
    let raw = make_disk(dir.path(), "raw.qcow2", 4096);
    let text = open(&DiskFile::at(raw), false).unwrap_err().to_string();
    assert!(text.contains("does not begin as a qcow2 image"), "{text}");
}

#[test]
fn a_pair_has_no_images() {
    let dir = tempfile::tempdir().unwrap();
    let (base, path) = (
        make_disk(dir.path(), "base.raw", 64 << 10),
        dir.path().join("mine.qcow2"),
    );
    for file in [DiskFile::at(&path), overlay(&base, &path)] {
        let text = open_for(Access::Pair, &file, false).unwrap_err().to_string();
        assert!(
            text.contains("qemu-img convert -O raw") && text.contains("mine.qcow2"),
            "{text}"
        );
    }
    assert!(!path.exists());
    open_for(Access::Pair, &DiskFile::at(&base), false).unwrap();
}
