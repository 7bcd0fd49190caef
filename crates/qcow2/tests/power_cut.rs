//! The power fails at each write of an image, and then nothing that was flushed is missing, and
//! `qemu-img check` finds clusters without a use at worst.
//!
//! The storage here keeps apart what is durable and what is not. When the power fails, each sector of 512
//! bytes has the content of one of the writes since the last sync, or that of the sync.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

mod qemu;

use qcow2::Image;
use qcow2::parts::{Storage, image_on};
use qemu::{Draw, img, run};

const SECTOR: usize = 512;
const DISK_LEN: usize = 4 << 20;
const SECTORS: usize = DISK_LEN / SECTOR;
/// Points at which the power fails, for each kind of image.
const POINTS: u64 = 84;

/// Storage whose power fails at one of its writes.
#[derive(Debug, Clone)]
struct Fragile(Arc<Mutex<Parts>>);

#[derive(Debug)]
struct Parts {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What sectors have held since the last sync.
    since: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Writes and syncs that are done until the power fails.
    left: u64,
    done: u64,
    /// How many were done when the header was told of a new refcount table.
    moved: Option<u64>,
    /// Whether the next sync fails, and the power does not.
    sync_fails: bool,
}

impl Fragile {
    fn new(bytes: &[u8], left: u64) -> Fragile {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        Fragile(Arc::new(Mutex::new(Parts {
            now: bytes.clone(),
            durable: bytes,
            since: BTreeMap::new(),
            left,
            done: 0,
            moved: None,
            sync_fails: false,
        })))
    }

    /// What a write leaves in the sectors, and whether it is the last one.
    fn put(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut parts = self.0.lock().unwrap();
        if parts.left == 0 {
            return Err(io::Error::other("no power"));
        }
        let (from, to) = (offset as usize, offset as usize + data.len());
        if (offset, data.len()) == (48, 12) {
            parts.moved = Some(parts.done);
        }
        if parts.now.len() < to {
            parts.now.resize(to.next_multiple_of(SECTOR), 0);
        }
        parts.now[from..to].copy_from_slice(data);
        for sector in from / SECTOR..to.div_ceil(SECTOR) {
            let content = parts.now[sector * SECTOR..(sector + 1) * SECTOR].to_vec();
            parts.since.entry(sector).or_default().push(content);
        }
        parts.tick()
    }

    /// What is found when the power is back.
    fn after(&self, draw: &mut Draw) -> Vec<u8> {
        let parts = self.0.lock().unwrap();
        let mut found = parts.durable.clone();
        for (sector, contents) in &parts.since {
            let kept = draw.below(contents.len() + 1);
            if kept > 0 {
                let to = (sector + 1) * SECTOR;
                if found.len() < to {
                    found.resize(to, 0);
                }
                found[sector * SECTOR..to].copy_from_slice(&contents[kept - 1]);
            }
        }
        found
    }
}

impl Parts {
    fn tick(&mut self) -> io::Result<()> {
        self.left -= 1;
        self.done += 1;
        if self.left == 0 {
            return Err(io::Error::other("the power has failed"));
        }
        Ok(())
    }
}

impl Storage for Fragile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let parts = self.0.lock().unwrap();
        data.fill(0);
        let from = (offset as usize).min(parts.now.len());
        let length = data.len().min(parts.now.len() - from);
        data[..length].copy_from_slice(&parts.now[from..from + length]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(offset, data)
    }

    fn forget(&self, offset: u64, length: u64) -> io::Result<()> {
        // Nobody may read this.
        self.put(offset, &vec![0xee; length as usize])
    }

    fn sync(&self) -> io::Result<()> {
        let mut parts = self.0.lock().unwrap();
        if parts.left == 0 {
            return Err(io::Error::other("no power"));
        }
        if std::mem::take(&mut parts.sync_fails) {
            return Err(io::Error::other("the drive has lost something"));
        }
        parts.tick()?;
        parts.durable = parts.now.clone();
        parts.since.clear();
        Ok(())
    }
}

/// What a guest knows of its disk: what each sector may hold after the power has failed, the newest last. A
/// sector is known by the number that fills it.
struct Ledger(Vec<Vec<u64>>);

impl Ledger {
    fn new(image: &Image) -> Ledger {
        Ledger(
            sectors(image, 0, SECTORS)
                .into_iter()
                .map(|number| vec![number])
                .collect(),
        )
    }

    fn written(&mut self, from: usize, count: usize, number: u64) {
        self.0[from..from + count]
            .iter_mut()
            .for_each(|may| may.push(number));
    }

    fn flushed(&mut self) {
        self.0.iter_mut().for_each(|may| {
            may.drain(..may.len() - 1);
        });
    }

    fn compare(&self, image: &Image, newest: bool, what: &str) {
        for (sector, number) in sectors(image, 0, SECTORS).into_iter().enumerate() {
            let may = &self.0[sector];
            let allowed = if newest { &may[may.len() - 1..] } else { may };
            assert!(
                allowed.contains(&number),
                "{what}: sector {sector} has {number}, not {allowed:?}"
            );
        }
    }
}

/// The number that fills each of some sectors; a sector with several fails the test.
fn sectors(image: &Image, from: usize, count: usize) -> Vec<u64> {
    let mut bytes = vec![0; count * SECTOR];
    image.read((from * SECTOR) as u64, &mut bytes).unwrap();
    let number = |sector: &[u8]| {
        let number = u64::from_le_bytes(*sector.first_chunk().unwrap());
        let even = sector[8..] == sector[..SECTOR - 8];
        assert!(even, "a sector has the content of several writes");
        number
    };
    bytes.chunks(SECTOR).map(number).collect()
}

fn filled(count: usize, number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(count * SECTOR / 8)
}

/// A guest works until the power fails or it is done; `much`: it fills the disk.
fn work(
    image: &Image,
    ledger: &mut Ledger,
    draw: &mut Draw,
    (steps, base): (u64, u64),
    much: bool,
) -> io::Result<()> {
    for step in 0..steps {
        let from = draw.below(SECTORS);
        let most = if much || draw.below(4) == 0 { 600 } else { 20 };
        let count = (1 + draw.below(most)).min(SECTORS - from);
        let (offset, length) = ((from * SECTOR) as u64, (count * SECTOR) as u64);
        let number = base + step;
        match draw.below(12) {
            0 => {
                image.flush()?;
                ledger.flushed();
            }
            1 => {
                ledger.written(from, count, 0);
                image.write_zeroes(offset, length, draw.below(2) == 0)?;
            }
            2 => {
                // A discarded sector may hold what it held, or zeroes.
                let before: Vec<u64> = ledger.0[from..from + count]
                    .iter()
                    .map(|may| may[may.len() - 1])
                    .collect();
                ledger.written(from, count, 0);
                image.discard(offset, length)?;
                let now = sectors(image, from, count);
                for (index, before) in before.into_iter().enumerate() {
                    assert!(now[index] == 0 || now[index] == before);
                    if now[index] != 0 {
                        ledger.0[from + index].push(before);
                    }
                }
            }
            _ => {
                ledger.written(from, count, number);
                image.write(offset, &filled(count, number))?;
            }
        }
    }
    image.flush()?;
    ledger.flushed();
    Ok(())
}

/// Opens an image in memory, above `base.raw` if it is an overlay.
fn open(storage: &Fragile, directory: &Path, is_overlay: bool) -> Image {
    let base = is_overlay.then(|| fs::File::open(directory.join("base.raw")).unwrap());
    image_on(Box::new(storage.clone()), base, true).unwrap()
}

/// `qemu-img check` finds nothing wrong with the image, or clusters without a use if `leaks`.
fn check(directory: &Path, bytes: &[u8], leaks: bool, what: &str) {
    fs::write(directory.join("found.qcow2"), bytes).unwrap();
    let (code, text) = run(directory, "qemu-img", &["check", "-f", "qcow2", "found.qcow2"]);
    let is_right = code == Some(0) || (leaks && code == Some(3));
    assert!(is_right, "{what}: {code:?} {text}");
}

/// Lets the power fail at many points of the work on an image that `make` has qemu-img make.
fn survives(make: &[&str], grows: bool) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let base: Vec<u8> = (0..SECTORS)
        .flat_map(|sector| filled(1, (1 << 40) | (sector as u64 % 7)))
        .collect();
    fs::write(directory.join("base.raw"), base).unwrap();
    img(directory, make);
    let is_overlay = make.contains(&"-b");
    let image = fs::read(directory.join("x.qcow2")).unwrap();
    let works = |left: u64| {
        let storage = Fragile::new(&image, left);
        let disk = open(&storage, directory, is_overlay);
        let mut ledger = Ledger::new(&disk);
        let done = work(&disk, &mut ledger, &mut Draw(1), (60, 1), grows);
        (storage, disk, ledger, done)
    };
    let (storage, disk, ledger, done) = works(u64::MAX);
    done.unwrap();
    ledger.compare(&disk, true, "without a failure");
    drop(disk);
    check(
        directory,
        &storage.0.lock().unwrap().now.clone(),
        false,
        "without a failure",
    );
    let (all, moved) = {
        let parts = storage.0.lock().unwrap();
        (parts.done, parts.moved)
    };
    assert_eq!(moved.is_some(), grows, "whether the refcount table grows");
    let around = moved.into_iter().flat_map(|moved| moved - 6..moved + 40);
    let points = (0..POINTS).map(|point| 1 + point * all / POINTS).chain(around);
    for (point, left) in points.enumerate() {
        let what = format!("{make:?}, the power fails at write {left}");
        let (storage, disk, ledger, _) = works(left);
        drop(disk);
        let mut draw = Draw(left);
        let found = storage.after(&mut draw);
        check(directory, &found, true, &what);
        // Whoever comes next finds a disk to go on with.
        let storage = Fragile::new(&found, u64::MAX);
        let disk = open(&storage, directory, is_overlay);
        ledger.compare(&disk, false, &what);
        let mut ledger = Ledger::new(&disk);
        work(&disk, &mut ledger, &mut draw, (10, 1000), false).unwrap();
        ledger.compare(&disk, true, &what);
        drop(disk);
        if point % 4 == 0 {
            let now = storage.0.lock().unwrap().now.clone();
            check(directory, &now, true, &what);
        }
    }
}

#[test]
fn an_image_of_the_smallest_clusters_whose_refcount_table_grows_survives() {
    let options = "cluster_size=512,refcount_bits=64";
    survives(
        &["create", "-q", "-f", "qcow2", "-o", options, "x.qcow2", "4M"],
        true,
    );
}

#[test]
fn an_image_of_version_2_survives() {
    let options = "compat=0.10,cluster_size=4k";
    survives(
        &["create", "-q", "-f", "qcow2", "-o", options, "x.qcow2", "4M"],
        false,
    );
}

#[test]
fn an_image_of_compressed_clusters_survives() {
    let options = "cluster_size=4k";
    survives(
        &[
            "convert", "-q", "-c", "-O", "qcow2", "-o", options, "base.raw", "x.qcow2",
        ],
        false,
    );
}

#[test]
fn an_image_of_compressed_clusters_of_version_2_survives() {
    let options = "compat=0.10,cluster_size=64k";
    survives(
        &[
            "convert", "-q", "-c", "-O", "qcow2", "-o", options, "base.raw", "x.qcow2",
        ],
        false,
    );
}

#[test]
fn an_overlay_survives() {
    let options = "cluster_size=8k,refcount_bits=1";
    survives(
        &[
            "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "-o", options, "x.qcow2",
        ],
        false,
    );
}

#[test]
fn an_image_with_all_its_tables_survives() {
    let options = "cluster_size=64k,preallocation=metadata";
    survives(
        &["create", "-q", "-f", "qcow2", "-o", options, "x.qcow2", "4M"],
        false,
    );
}

#[test]
fn an_image_that_could_not_be_made_durable_is_not_written_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    img(directory, &["create", "-q", "-f", "qcow2", "x.qcow2", "4M"]);
    for seed in 0..20 {
        let storage = Fragile::new(&fs::read(directory.join("x.qcow2")).unwrap(), u64::MAX);
        let image = open(&storage, directory, false);
        image.write(0, &filled(4, 1)).unwrap();
        image.flush().unwrap();
        let mut ledger = Ledger::new(&image);
        image.write(1 << 20, &filled(4, 2)).unwrap();
        ledger.written(2048, 4, 2);
        storage.0.lock().unwrap().sync_fails = true;
        image.flush().unwrap_err();
        for offset in [0, 2 << 20] {
            let text = image.write(offset, &filled(4, 3)).unwrap_err().to_string();
            assert!(
                text.contains("is not written any more") && text.contains("lost something"),
                "{text}"
            );
        }
        image.flush().unwrap_err();
        ledger.compare(&image, true, "what can be read");
        drop(image);
        let found = storage.after(&mut Draw(seed));
        check(directory, &found, true, "after a failed sync");
        ledger.compare(
            &open(&Fragile::new(&found, u64::MAX), directory, false),
            false,
            "after it",
        );
    }
}
