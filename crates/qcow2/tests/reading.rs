//! Images that QEMU has made are read as QEMU reads them.

mod qemu;

use std::fs;
use std::path::Path;

use qcow2::{Image, Options};
use qemu::{Draw, img, io};

const MIB: usize = 1 << 20;

/// A disk with data, holes and zeroes.
fn disk(directory: &Path, name: &str, length: usize) -> Vec<u8> {
    let mut draw = Draw(length as u64);
    let mut bytes = vec![0; length];
    for _ in 0..20 {
        let from = draw.below(length / 512) * 512;
        let count = (1 + draw.below(300 << 10)).min(length - from);
        let data = draw.bytes(count);
        bytes[from..from + count].copy_from_slice(&data);
    }
    fs::write(directory.join(name), &bytes).unwrap();
    bytes
}

fn open(path: &Path) -> Image {
    Image::open(path, &Options::default()).unwrap()
}

/// The disk is that of the bytes, read in one piece and in pieces that begin and end anywhere.
fn is(image: &Image, expected: &[u8], what: &str) {
    assert_eq!(image.capacity(), expected.len() as u64, "{what}");
    let mut found = vec![9; expected.len()];
    image.read(0, &mut found).unwrap();
    assert!(found == expected, "{what}");
    let mut draw = Draw(5);
    for _ in 0..50 {
        let from = draw.below(expected.len());
        let count = draw.below(200_000).min(expected.len() - from);
        let mut found = vec![9; count];
        image.read(from as u64, &mut found).unwrap();
        assert!(found == expected[from..from + count], "{what} {from} {count}");
    }
}

#[test]
fn images_of_both_versions_and_of_all_sizes_of_clusters_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let expected = disk(directory, "raw", 5 * MIB + 7 * 512);
    for compat in ["0.10", "1.1"] {
        for cluster in ["512", "4k", "64k", "2M"] {
            for compress in [false, true] {
                let options = format!("compat={compat},cluster_size={cluster}");
                let mut arguments = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", &options];
                if compress {
                    arguments.push("-c");
                }
                arguments.extend(["raw", "x.qcow2"]);
                img(directory, &arguments);
                let what = format!("{options} {compress}");
                is(&open(&directory.join("x.qcow2")), &expected, &what);
                let write = Options {
                    write: true,
                    ..Options::default()
                };
                is(
                    &Image::open(&directory.join("x.qcow2"), &write).unwrap(),
                    &expected,
                    &what,
                );
                fs::remove_file(directory.join("x.qcow2")).unwrap();
            }
        }
    }
}

#[test]
fn images_with_space_for_all_their_clusters_are_read_and_so_are_clusters_of_zeroes() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for preallocation in ["off", "metadata", "falloc", "full"] {
        let options = format!("preallocation={preallocation},lazy_refcounts=on");
        img(
            directory,
            &["create", "-q", "-f", "qcow2", "-o", &options, "x.qcow2", "3M"],
        );
        io(
            directory,
            "x.qcow2",
            &[
                "write -P 7 100k 300k",
                "write -z 192k 64k",
                "write -z -u 256k 64k",
            ],
        );
        let mut expected = vec![0; 3 * MIB];
        expected[100 << 10..192 << 10].fill(7);
        expected[320 << 10..400 << 10].fill(7);
        is(&open(&directory.join("x.qcow2")), &expected, preallocation);
    }
}

#[test]
fn a_chain_of_backing_files_is_read_through() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut expected = disk(directory, "base.raw", 3 * MIB);
    let mut below = ("base.raw".to_owned(), "raw");
    for level in 0..7_u8 {
        let name = format!("{level}.qcow2");
        let size = (3 + level as usize / 2) * MIB;
        let options = format!("cluster_size={}k", 4 << (level % 4));
        let size_text = size.to_string();
        img(
            directory,
            &[
                "create", "-q", "-f", "qcow2", "-b", &below.0, "-F", below.1, "-o", &options, &name,
                &size_text,
            ],
        );
        let from = level as usize * 333 * 512;
        io(directory, &name, &[&format!("write -P {} {from} 70k", level + 1)]);
        expected.resize(size, 0);
        expected[from..from + (70 << 10)].fill(level + 1);
        is(&open(&directory.join(&name)), &expected, &name);
        below = (name, "qcow2");
    }
}

#[test]
fn a_backing_file_that_is_larger_or_smaller_ends_where_the_disk_ends_or_is_zero_behind() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let base = disk(directory, "base.raw", MIB + 512);
    for (name, size) in [("small.qcow2", 512 << 10), ("large.qcow2", 2 * MIB)] {
        let size_text = size.to_string();
        img(
            directory,
            &[
                "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", name, &size_text,
            ],
        );
        let mut expected = base.clone();
        expected.resize(size, 0);
        is(&open(&directory.join(name)), &expected, name);
    }
}

#[test]
fn a_disk_of_20_tib_with_little_in_it_is_read_and_written() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    img(directory, &["create", "-q", "-f", "qcow2", "x.qcow2", "20T"]);
    io(
        directory,
        "x.qcow2",
        &["write -P 3 19T 64k", "write -P 4 5000G 1M"],
    );
    let path = directory.join("x.qcow2");
    let write = Options {
        write: true,
        ..Options::default()
    };
    let image = Image::open(&path, &write).unwrap();
    assert_eq!(image.capacity(), 20 << 40);
    let byte = |offset: u64| {
        let mut byte = [9];
        image.read(offset, &mut byte).unwrap();
        byte[0]
    };
    assert_eq!(
        [byte(19 << 40), byte((19 << 40) + 65536), byte(5000 << 30)],
        [3, 0, 4]
    );
    image.write((20 << 40) - 512, &[5; 512]).unwrap();
    image.write(7 << 40, &[6; 512]).unwrap();
    assert_eq!(
        [byte((20 << 40) - 1), byte(7 << 40), byte((7 << 40) + 512)],
        [5, 6, 0]
    );
    drop(image);
    img(directory, &["check", "x.qcow2"]);
    io(
        directory,
        "x.qcow2",
        &[
            "read -P 5 21990232555008 512",
            "read -P 6 7T 512",
            "read -P 3 19T 64k",
        ],
    );
    assert!(fs::metadata(&path).unwrap().len() < 64 << 20);
}

#[test]
fn an_image_with_snapshots_inside_is_read_as_it_is_now() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    img(directory, &["create", "-q", "-f", "qcow2", "x.qcow2", "1M"]);
    io(directory, "x.qcow2", &["write -P 1 0 1M"]);
    img(directory, &["snapshot", "-c", "before", "x.qcow2"]);
    io(directory, "x.qcow2", &["write -P 2 64k 64k"]);
    let mut expected = vec![1; MIB];
    expected[64 << 10..128 << 10].fill(2);
    is(&open(&directory.join("x.qcow2")), &expected, "now");
}
