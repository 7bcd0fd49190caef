//! What is written to images is what QEMU reads, and QEMU finds nothing wrong with them.

mod qemu;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use qcow2::{Format, Image, Options};
use qemu::{Draw, img, io, run};

const MIB: usize = 1 << 20;

fn open(path: &Path) -> Image {
    let write = Options {
        write: true,
        ..Options::default()
    };
    Image::open(path, &write).unwrap()
}

/// Writes, zeroes, discards and flushes at random, and the same to a model, which must be equal at each time.
fn work(image: &Image, model: &mut [u8], draw: &mut Draw, steps: usize) {
    for step in 0..steps {
        let from = draw.below(model.len() / 512) * 512;
        let most = if draw.below(5) == 0 { 700 } else { 40 };
        let count = ((1 + draw.below(most)) * 512).min(model.len() - from);
        let place = &mut model[from..from + count];
        match draw.below(14) {
            0 => image.flush().unwrap(),
            1 => {
                image
                    .write_zeroes(from as u64, count as u64, draw.below(2) == 0)
                    .unwrap();
                place.fill(0);
            }
            2 => {
                image.discard(from as u64, count as u64).unwrap();
                let mut found = vec![9; count];
                image.read(from as u64, &mut found).unwrap();
                for (found, before) in found.chunks(512).zip(place.chunks(512)) {
                    assert!(found == before || found.iter().all(|byte| *byte == 0));
                }
                place.copy_from_slice(&found);
            }
            3..8 => {
                let mut found = vec![9; count];
                image.read(from as u64, &mut found).unwrap();
                assert!(found == place, "step {step}");
            }
            _ => {
                place.copy_from_slice(&draw.bytes(count));
                image.write(from as u64, place).unwrap();
            }
        }
    }
}

/// QEMU finds nothing wrong with the image, and in it what is in the model.
fn is_right(directory: &Path, image: &str, model: &[u8], what: &str) {
    let (code, text) = run(directory, "qemu-img", &["check", "-f", "qcow2", image]);
    assert_eq!(code, Some(0), "{what}: {text}");
    fs::write(directory.join("model.raw"), model).unwrap();
    let compare = ["compare", "-f", "raw", "-F", "qcow2", "model.raw", image];
    let (code, text) = run(directory, "qemu-img", &compare);
    assert_eq!(code, Some(0), "{what}: {text}");
}

#[test]
fn random_writes_to_all_kinds_of_images_are_what_qemu_reads() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let length = 6 * MIB + 512;
    let base = Draw(3).bytes(length);
    fs::write(directory.join("base.raw"), &base).unwrap();
    let size = length.to_string();
    let kinds = [
        "cluster_size=512",
        "cluster_size=512,refcount_bits=64",
        "cluster_size=1k,compat=0.10",
        "cluster_size=4k,refcount_bits=1",
        "cluster_size=64k,refcount_bits=2",
        "cluster_size=64k,preallocation=metadata",
        "cluster_size=2M,refcount_bits=8",
    ];
    for (number, options) in kinds.into_iter().enumerate() {
        for way in ["empty", "full", "compressed", "overlay"] {
            let is_preallocated = options.contains("preallocation");
            let small_counts = options.contains("refcount_bits=1") || options.contains("refcount_bits=2");
            if (is_preallocated && way != "empty") || (small_counts && way == "compressed") {
                continue;
            }
            match way {
                "empty" => img(
                    directory,
                    &["create", "-q", "-f", "qcow2", "-o", options, "x.qcow2", &size],
                ),
                "overlay" => img(
                    directory,
                    &[
                        "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "-o", options,
                        "x.qcow2",
                    ],
                ),
                _ => {
                    let mut arguments = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", options];
                    arguments.extend((way == "compressed").then_some("-c"));
                    arguments.extend(["base.raw", "x.qcow2"]);
                    img(directory, &arguments);
                }
            }
            let what = format!("{options} {way}");
            let mut model = if way == "empty" {
                vec![0; length]
            } else {
                base.clone()
            };
            let mut draw = Draw(number as u64);
            for _ in 0..2 {
                let image = open(&directory.join("x.qcow2"));
                work(&image, &mut model, &mut draw, 100);
                drop(image);
                is_right(directory, "x.qcow2", &model, &what);
            }
            fs::remove_file(directory.join("x.qcow2")).unwrap();
        }
    }
}

#[test]
fn several_threads_write_to_one_image_side_by_side() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let length = 8 * MIB;
    fs::write(directory.join("base.raw"), Draw(4).bytes(length)).unwrap();
    img(
        directory,
        &["convert", "-c", "-f", "raw", "-O", "qcow2", "base.raw", "x.qcow2"],
    );
    let image = open(&directory.join("x.qcow2"));
    let base = fs::read(directory.join("base.raw")).unwrap();
    let parts = Mutex::new(Vec::new());
    // Each thread has each fourth block of four sectors, so that all threads write to each cluster.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (image, base, parts) = (&image, &base, &parts);
            scope.spawn(move || {
                let mut draw = Draw(thread as u64);
                let mut mine = Vec::new();
                for _ in 0..400 {
                    let from = (draw.below(length / 8192) * 4 + thread) * 2048;
                    let data = draw.bytes(2048);
                    match draw.below(20) {
                        0 => image.flush().unwrap(),
                        1 => {
                            image.write_zeroes(from as u64, 2048, true).unwrap();
                            mine.push((from, vec![0; 2048]));
                        }
                        _ => {
                            image.write(from as u64, &data).unwrap();
                            mine.push((from, data));
                        }
                    }
                    let (from, expected) = match mine.last() {
                        Some((from, data)) => (*from, data.as_slice()),
                        None => (0, &base[..2048]),
                    };
                    let mut found = vec![9; 2048];
                    image.read(from as u64, &mut found).unwrap();
                    assert!(found == expected || mine.is_empty());
                }
                parts.lock().unwrap().extend(mine);
            });
        }
    });
    drop(image);
    let mut model = base;
    for (from, data) in parts.into_inner().unwrap() {
        model[from..from + data.len()].copy_from_slice(&data);
    }
    is_right(directory, "x.qcow2", &model, "threads");
}

#[test]
fn discarded_clusters_give_their_space_back_and_are_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    img(directory, &["create", "-q", "-f", "qcow2", "x.qcow2", "64M"]);
    let path = directory.join("x.qcow2");
    let image = open(&path);
    let space = || {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(&path).unwrap().blocks() * 512
    };
    image.write(0, &vec![7; 32 * MIB]).unwrap();
    image.flush().unwrap();
    let (full, length) = (space(), fs::metadata(&path).unwrap().len());
    image.discard(0, 32 << 20).unwrap();
    image.flush().unwrap();
    assert!(space() < full / 8, "{} of {full}", space());
    image.write(32 << 20, &vec![8; 32 * MIB]).unwrap();
    image.flush().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
    drop(image);
    let model = [vec![0; 32 * MIB], vec![8; 32 * MIB]].concat();
    is_right(directory, "x.qcow2", &model, "discarded");
}

#[test]
fn more_changed_tables_than_are_kept_in_memory_are_written_before_a_flush() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    // Each of these tables has 2 MiB, so 32 of them fill the memory for tables.
    img(
        directory,
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "cluster_size=2M",
            "x.qcow2",
            "40T",
        ],
    );
    let image = open(&directory.join("x.qcow2"));
    let covers = (2 << 20) / 8 * (2_u64 << 20);
    for table in 0..40 {
        image.write(table * covers, &[table as u8 + 1; 512]).unwrap();
    }
    for table in 0..40 {
        let mut found = [0; 512];
        image.read(table * covers, &mut found).unwrap();
        assert_eq!(found, [table as u8 + 1; 512]);
    }
    drop(image);
    img(directory, &["check", "x.qcow2"]);
    io(
        directory,
        "x.qcow2",
        &[&format!("read -P 40 {} 512", 39 * covers)],
    );
}

#[test]
fn more_clusters_than_wait_to_be_free_are_given_up_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    img(
        directory,
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "cluster_size=512",
            "x.qcow2",
            "64M",
        ],
    );
    let image = open(&directory.join("x.qcow2"));
    image.write(0, &vec![7; 40 * MIB]).unwrap();
    image.discard(0, 40 << 20).unwrap();
    let mut found = vec![9; 40 * MIB];
    image.read(0, &mut found).unwrap();
    assert!(found.iter().all(|byte| *byte == 0));
    // What was given up before this flush is taken again.
    image.write(50 << 20, &vec![8; 8 * MIB]).unwrap();
    drop(image);
    assert!(fs::metadata(directory.join("x.qcow2")).unwrap().len() < 44 << 20);
    let model = [vec![0; 50 * MIB], vec![8; 8 * MIB], vec![0; 6 * MIB]].concat();
    is_right(directory, "x.qcow2", &model, "given up");
}

#[test]
fn bitmaps_that_a_write_would_make_wrong_are_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    img(directory, &["create", "-q", "-f", "qcow2", "x.qcow2", "1M"]);
    img(directory, &["bitmap", "--add", "x.qcow2", "backup"]);
    let autoclear = || {
        let mut bits = [0; 8];
        let file = fs::File::open(directory.join("x.qcow2")).unwrap();
        file.read_exact_at(&mut bits, 88).unwrap();
        u64::from_be_bytes(bits)
    };
    assert_eq!(autoclear(), 1);
    open(&directory.join("x.qcow2")).write(0, &[1; 512]).unwrap();
    assert_eq!(autoclear(), 0);
    let mut model = vec![0; MIB];
    model[..512].fill(1);
    img(directory, &["check", "-r", "leaks", "x.qcow2"]);
    is_right(directory, "x.qcow2", &model, "bitmaps");
}

#[test]
fn an_overlay_takes_all_writes_and_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::create_dir(directory.join("other")).unwrap();
    let mut model = Draw(8).bytes(3 * MIB);
    fs::write(directory.join("base.raw"), &model).unwrap();
    img(
        directory,
        &[
            "convert",
            "-c",
            "-f",
            "raw",
            "-O",
            "qcow2",
            "base.raw",
            "./base:1.qcow2",
        ],
    );
    let before = fs::read(directory.join("base:1.qcow2")).unwrap();
    for (overlay, base, format) in [
        ("y.qcow2", "base:1.qcow2", Format::Qcow2),
        ("other/y.qcow2", "base:1.qcow2", Format::Qcow2),
        ("z.qcow2", "base.raw", Format::Raw),
    ] {
        let (path, base) = (directory.join(overlay), directory.join(base));
        let mut draw = Draw(9);
        let mut model = model.clone();
        for _ in 0..2 {
            qcow2::ensure_overlay(&path, &base, format).unwrap();
            let options = Options {
                write: true,
                permitted: vec![base.clone()],
            };
            let image = Image::open(&path, &options).unwrap();
            work(&image, &mut model, &mut draw, 60);
            drop(image);
            is_right(directory, overlay, &model, overlay);
        }
    }
    assert!(fs::read(directory.join("base:1.qcow2")).unwrap() == before);
    model.truncate(4);
    assert_eq!(fs::read(directory.join("base.raw")).unwrap()[..4], model);
    let names = fs::read_dir(directory).unwrap().count();
    assert_eq!(
        names, 6,
        "drafts are gone: other, y, z, base.raw, base:1.qcow2, model.raw"
    );
}
