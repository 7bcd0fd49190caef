//! Images that are not used, each with a sentence that says why and what to do.

mod qemu;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use qcow2::{Format, Image, Options};
use qemu::{Draw, img, io, run};

/// Opens an image, and says why it is refused.
fn refused_with(path: &Path, options: &Options) -> String {
    let error = Image::open(path, options).map(|_| ()).unwrap_err();
    let source = std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"));
    let text = format!("{error}{source}");
    assert!(!text.contains('\n'), "{text}");
    text
}

/// The same for reading, when the sentence must have these parts.
fn refused(path: &Path, parts: &[&str]) {
    for write in [false, true] {
        let text = refused_with(
            path,
            &Options {
                write,
                ..Options::default()
            },
        );
        for part in parts {
            assert!(text.contains(part), "{text} has no {part}");
        }
    }
}

/// A new image with data in it, of these options.
fn make(directory: &Path, options: &str) -> std::path::PathBuf {
    let path = directory.join("x.qcow2");
    let _ = fs::remove_file(&path);
    img(
        directory,
        &["create", "-q", "-f", "qcow2", "-o", options, "x.qcow2", "2M"],
    );
    io(directory, "x.qcow2", &["write -P 1 0 256k"]);
    path
}

fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn long(path: &Path, offset: u64) -> u64 {
    let mut bytes = [0; 8];
    fs::File::open(path)
        .unwrap()
        .read_exact_at(&mut bytes, offset)
        .unwrap();
    u64::from_be_bytes(bytes)
}

#[test]
fn what_the_format_has_and_this_program_has_not_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let path = make(directory, "compression_type=zstd");
    refused(&path, &["x.qcow2", "zstd", "qemu-img convert"]);
    let path = make(directory, "extended_l2=on");
    refused(&path, &["extended L2", "qemu-img convert"]);
    fs::remove_file(&path).unwrap();
    img(
        directory,
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "data_file=x.data",
            "x.qcow2",
            "1M",
        ],
    );
    refused(&path, &["external data file", "qemu-img convert"]);
    fs::remove_file(&path).unwrap();
    let secret = ["--object", "secret,id=s,data=abc"];
    let options = "encrypt.format=aes,encrypt.key-secret=s";
    let create = ["create", "-q", "-f", "qcow2", "-o", options, "x.qcow2", "1M"];
    img(directory, &[&create[..1], &secret, &create[1..]].concat());
    refused(&path, &["is encrypted", "qemu-img convert"]);
    // To make an image with LUKS, qemu-img measures the processor, which fails on a busy host.
    let path = make(directory, "compat=1.1");
    patch(&path, 32, &2_u32.to_be_bytes());
    refused(&path, &["is encrypted", "qemu-img convert"]);
    let path = make(directory, "compat=1.1");
    patch(&path, 72, &(1_u64 << 40).to_be_bytes());
    refused(&path, &["features", "0x10000000000", "qemu-img convert"]);
    patch(&path, 72, &1_u64.to_be_bytes());
    refused(&path, &["not closed properly", "qemu-img check -r all"]);
    patch(&path, 72, &2_u64.to_be_bytes());
    refused(&path, &["marked as corrupt", "qemu-img check"]);
    patch(&path, 4, &4_u32.to_be_bytes());
    refused(&path, &["version 4", "qemu-img convert"]);
}

#[test]
fn a_file_that_is_no_image_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let path = directory.join("x.qcow2");
    refused(&path, &["cannot use the qcow2 image", "No such file"]);
    fs::write(&path, [0; 4096]).unwrap();
    refused(&path, &["does not begin as a qcow2 image", "format=raw"]);
    fs::write(&path, b"QFI\xfb").unwrap();
    refused(&path, &["ends within its header"]);
    refused(directory, &["is no regular file"]);
    refused(Path::new("/dev/null"), &["is no regular file"]);
    let pipe = directory.join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    refused(&pipe, &["is no regular file"]);
}

#[test]
fn an_image_with_snapshots_inside_can_only_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = make(directory.path(), "compat=1.1");
    img(directory.path(), &["snapshot", "-c", "one", "x.qcow2"]);
    let write = Options {
        write: true,
        ..Options::default()
    };
    let text = refused_with(&path, &write);
    assert!(
        text.contains("internal snapshots") && text.contains("overlay=FILE"),
        "{text}"
    );
    Image::open(&path, &Options::default()).unwrap();
}

/// Damages the image in a file.
type Damage = fn(&Path);

#[test]
fn an_image_that_contradicts_itself_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let damage: [(&str, Damage); 12] = [
        ("two uses", |path| {
            // Two entries of the second-level table lead to one cluster.
            let table = long(path, long(path, 40)) & !(1 << 63);
            patch(path, table + 8, &long(path, table).to_be_bytes());
        }),
        ("two uses", |path| {
            // A cluster of the disk is the first-level table.
            let (l1, table) = (long(path, 40), long(path, long(path, 40)) & !(1 << 63));
            patch(path, table + 8, &(l1 | 1 << 63).to_be_bytes());
        }),
        ("not marked", |path| {
            patch(path, 40, &long(path, 48).to_be_bytes());
        }),
        ("behind the end", |path| {
            let table = long(path, long(path, 40)) & !(1 << 63);
            patch(path, table + 8, &(1_u64 << 40 | 1 << 63).to_be_bytes());
        }),
        ("behind the end", |path| {
            patch(path, 40, &(1_u64 << 40).to_be_bytes());
        }),
        ("no beginning of a cluster", |path| {
            patch(path, 40, &513_u64.to_be_bytes());
        }),
        ("no beginning of a cluster", |path| {
            let table = long(path, long(path, 40)) & !(1 << 63);
            patch(path, table, &(long(path, table) + 512).to_be_bytes());
        }),
        ("L1 table is too small", |path| {
            patch(path, 24, &(1_u64 << 50).to_be_bytes());
        }),
        ("more or larger tables", |path| {
            patch(path, 36, &u32::MAX.to_be_bytes());
        }),
        ("2^30 bytes", |path| patch(path, 20, &30_u32.to_be_bytes())),
        ("no refcount table", |path| patch(path, 56, &0_u32.to_be_bytes())),
        ("512-byte sectors", |path| {
            patch(path, 24, &1000_u64.to_be_bytes());
        }),
    ];
    for (part, damage) in damage {
        let path = make(directory, "compat=1.1");
        damage(&path);
        let text = refused_with(
            &path,
            &Options {
                write: true,
                ..Options::default()
            },
        );
        assert!(text.contains(part), "{text} has no {part}");
    }
}

#[test]
fn an_image_that_would_take_too_much_memory_or_time_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let path = make(directory, "cluster_size=512");
    patch(&path, 56, &0x8000_u32.to_be_bytes());
    refused(&path, &["more or larger tables", "cluster_size=2M"]);
    let path = make(directory, "cluster_size=512");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(((1 << 27) + 1) * 512).unwrap();
    refused(&path, &["more clusters", "cluster_size=2M"]);
    // 513 tables of 2 MiB, in a file that has hardly a byte.
    let path = make(directory, "cluster_size=2M");
    patch(&path, 24, &(513_u64 << 39).to_be_bytes());
    patch(&path, 36, &513_u32.to_be_bytes());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(600 << 21).unwrap();
    let l1 = long(&path, 40);
    for table in 0..513 {
        patch(
            &path,
            l1 + table * 8,
            &(1 << 63 | (table + 20) << 21).to_be_bytes(),
        );
    }
    refused(&path, &["more or larger tables"]);
}

#[test]
fn a_name_of_a_backing_file_that_is_too_long_or_too_far_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = make(directory.path(), "cluster_size=2M");
    patch(&path, 8, &512_u64.to_be_bytes());
    patch(&path, 16, &1024_u32.to_be_bytes());
    refused(&path, &["name of its backing file"]);
    patch(&path, 16, &8_u32.to_be_bytes());
    patch(&path, 8, &(1_u64 << 17).to_be_bytes());
    refused(&path, &["name of its backing file"]);
    patch(&path, 8, &u64::MAX.to_be_bytes());
    refused(&path, &["name of its backing file"]);
}

#[test]
fn an_image_whose_counts_are_wrong_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let write = Options {
        write: true,
        ..Options::default()
    };
    for (count, part) in [(0_u16, "counted 0 times"), (2, "counted 2 times")] {
        let path = make(directory, "compat=1.1");
        let block = long(&path, long(&path, 48));
        // The fifth cluster is one of the disk's.
        patch(&path, block + 10, &count.to_be_bytes());
        let text = refused_with(&path, &write);
        assert!(
            text.contains(part) && text.contains("qemu-img check -r all"),
            "{text}"
        );
        Image::open(&path, &Options::default()).unwrap();
        let (code, text) = run(directory, "qemu-img", &["check", "-r", "all", "x.qcow2"]);
        assert_eq!(code, Some(0), "{text}");
        Image::open(&path, &write).unwrap();
    }
    // A cluster that is counted and not used is only lost.
    let path = make(directory, "compat=1.1");
    let block = long(&path, long(&path, 48));
    patch(&path, block + 200, &1_u16.to_be_bytes());
    Image::open(&path, &write).unwrap();
}

#[test]
fn only_plain_files_beside_the_image_or_named_by_the_operator_are_backing_files() {
    let directory = tempfile::tempdir().unwrap();
    let (directory, other) = (directory.path(), tempfile::tempdir().unwrap());
    let path = directory.join("x.qcow2");
    let overlay = |name: &str, format: &str| {
        let _ = fs::remove_file(&path);
        img(
            directory,
            &[
                "create", "-q", "-u", "-f", "qcow2", "-b", name, "-F", format, "x.qcow2", "1M",
            ],
        );
    };
    overlay("/etc/shadow", "raw");
    refused(
        &path,
        &[
            "x.qcow2",
            "backing file `/etc/shadow`",
            "another directory",
            "backing=/etc/shadow",
        ],
    );
    fs::write(directory.join("base.raw"), [7; 4096]).unwrap();
    symlink("/etc/shadow", directory.join("link.raw")).unwrap();
    overlay("link.raw", "raw");
    refused(&path, &["backing file `link.raw`", "another directory"]);
    overlay("../base.raw", "raw");
    refused(&path, &["base.raw"]);
    for name in [
        "json:{\"driver\":\"file\",\"filename\":\"base.raw\"}",
        "nbd://host/x",
        "file:base.raw",
    ] {
        overlay(name, "raw");
        refused(&path, &["no plain path", "qemu-img rebase"]);
    }
    overlay("missing.raw", "raw");
    refused(&path, &["missing.raw", "No such file"]);
    fs::create_dir(directory.join("folder")).unwrap();
    overlay("folder", "raw");
    refused(&path, &["is no regular file"]);
    overlay("base.raw", "vmdk");
    refused(&path, &["of the format `vmdk`", "qemu-img convert"]);
    overlay("base.raw", "qcow2");
    refused(&path, &["base.raw", "does not begin as a qcow2 image"]);

    // What the operator has named may lie anywhere.
    let base = other.path().join("base.raw");
    fs::write(&base, [7; 4096]).unwrap();
    overlay(base.to_str().unwrap(), "raw");
    refused(&path, &["another directory"]);
    let options = Options {
        write: true,
        permitted: vec![directory.join("none"), base.clone()],
    };
    let image = Image::open(&path, &options).unwrap();
    let mut found = [0; 512];
    image.read(0, &mut found).unwrap();
    assert_eq!(found, [7; 512]);
    image.write(0, &[8; 512]).unwrap();
    drop(image);
    assert_eq!(fs::read(&base).unwrap(), [7; 4096]);
}

#[test]
fn a_backing_file_without_a_format_is_not_guessed() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("base.raw"), [7; 4096]).unwrap();
    let create = [
        "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "x.qcow2", "1M",
    ];
    img(directory, &create);
    let path = directory.join("x.qcow2");
    // The extension that says the format is the first one, behind a header of 112 bytes.
    assert_eq!(long(&path, 112) >> 32, 0xe279_2aca);
    patch(&path, 112, &0x1234_u32.to_be_bytes());
    refused(
        &path,
        &["does not say the format", "`base.raw`", "qemu-img rebase -u -F"],
    );
}

#[test]
fn a_chain_is_followed_as_far_as_the_bound_and_no_further() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    img(directory, &["create", "-q", "-f", "qcow2", "0.qcow2", "1M"]);
    for level in 1..=9 {
        let (below, name) = (format!("{}.qcow2", level - 1), format!("{level}.qcow2"));
        img(
            directory,
            &["create", "-q", "-f", "qcow2", "-b", &below, "-F", "qcow2", &name],
        );
    }
    Image::open(&directory.join("8.qcow2"), &Options::default()).unwrap();
    refused(&directory.join("9.qcow2"), &["more than 8 backing files"]);
    // An image that is its own backing file has no end.
    img(
        directory,
        &["rebase", "-u", "-b", "0.qcow2", "-F", "qcow2", "0.qcow2"],
    );
    refused(&directory.join("0.qcow2"), &["more than 8 backing files"]);
}

#[test]
fn a_file_that_is_there_is_an_overlay_of_that_disk_or_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("base.raw"), [7; 4096]).unwrap();
    fs::write(directory.join("other.raw"), [7; 4096]).unwrap();
    let (base, path) = (directory.join("base.raw"), directory.join("y.qcow2"));
    let refused = || {
        qcow2::ensure_overlay(&path, &base, Format::Raw)
            .unwrap_err()
            .to_string()
    };
    img(
        directory,
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            "other.raw",
            "-F",
            "raw",
            "y.qcow2",
        ],
    );
    let text = refused();
    assert!(text.contains("is an overlay of `other.raw`"), "{text}");
    fs::remove_file(&path).unwrap();
    img(directory, &["create", "-q", "-f", "qcow2", "y.qcow2", "1M"]);
    let text = refused();
    assert!(text.contains("is an overlay of `nothing`"), "{text}");
    fs::write(&path, "text").unwrap();
    let text = refused();
    assert!(text.contains("does not begin as a qcow2 image"), "{text}");
}

#[test]
fn bytes_behind_the_end_of_the_disk_and_writes_to_what_is_only_read_fail() {
    let directory = tempfile::tempdir().unwrap();
    let path = make(directory.path(), "compat=1.1");
    let image = Image::open(&path, &Options::default()).unwrap();
    let end = image.capacity();
    for offset in [end, end - 256, u64::MAX] {
        image.read(offset, &mut [0; 512]).unwrap_err();
    }
    image.write(0, &[0; 512]).unwrap_err();
    image.discard(0, 512).unwrap_err();
    image.write_zeroes(0, 512, true).unwrap_err();
    image.flush().unwrap();
}

#[test]
fn any_change_of_the_tables_is_refused_or_read_and_never_more() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let path = make(directory, "cluster_size=4k");
    let image = fs::read(&path).unwrap();
    let mut draw = Draw(1);
    for _ in 0..250 {
        let mut changed = image.clone();
        for _ in 0..1 + draw.below(3) {
            // The header and the tables are in the first clusters.
            let at = draw.below(6 << 12);
            changed[at] ^= 1 << draw.below(8);
        }
        fs::write(&path, &changed).unwrap();
        let write = draw.below(2) == 0;
        let options = Options {
            write,
            ..Options::default()
        };
        let Ok(image) = Image::open(&path, &options) else {
            continue;
        };
        let mut data = vec![0; (image.capacity() as usize).min(1 << 20)];
        let _ = image.read(0, &mut data);
        if write {
            let _ = image.write(4096, &[3; 9 << 10]);
            let _ = image.flush();
        }
    }
}
