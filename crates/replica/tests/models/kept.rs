//! The recordings of a model as they are kept in the repository: `tests/models/N`.
//!
//! A log names its images by their content, and so they are found there. `ends.txt` has a line for each log:
//! its name, the step at which the guest is off, and the digest of its whole state there.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use machine::{Boot, Config, Digest, Step};
use replica::ImageId;

/// Where the table of ends is.
const ENDS: &str = "ends.txt";

/// How a recorded life ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The log's name.
    pub name: String,
    /// The step at which the guest is off.
    pub step: Step,
    /// The digest of its state there, as `lockstep replay --json` prints it.
    pub digest: Digest,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.step.0, self.digest)
    }
}

/// The directory of the present model's recordings.
pub fn directory() -> PathBuf {
    PathBuf::from(format!(
        "{}/../../tests/models/{}",
        env!("CARGO_MANIFEST_DIR"),
        machine::MODEL
    ))
}

/// How each life of the present model ends.
pub fn ends() -> Vec<End> {
    let path = directory().join(ENDS);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let end = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next()?.to_owned();
        let step = Step(words.next()?.parse().ok()?);
        let digest = Digest(u128::from_str_radix(words.next()?, 16).ok()?);
        Some(End { name, step, digest })
    };
    let ends = text
        .lines()
        .map(|line| end(line).expect("a name, a step and a digest"));
    ends.collect()
}

/// Writes the table of ends.
pub fn write_ends(ends: &[End]) {
    let text: String = ends.iter().map(|end| format!("{end}\n")).collect();
    fs::write(directory().join(ENDS), text).unwrap();
}

/// The names of all logs that are there, in their order.
pub fn logs() -> Vec<String> {
    let mut names: Vec<String> = files("log").map(|(name, _)| name).collect();
    names.sort();
    names
}

/// A log.
pub fn log(name: &str) -> Vec<u8> {
    let path = directory().join(format!("{name}.log"));
    fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Writes a log, and the images of its machine unless they are there.
pub fn write(name: &str, log: &[u8], config: &Config) {
    fs::create_dir_all(directory()).unwrap();
    for image in [&config.boot.firmware, &config.boot.kernel, &config.boot.initrd] {
        let there = images().any(|there| *there == **image);
        if !image.is_empty() && !there {
            fs::write(directory().join(format!("{name}.bin")), image).unwrap();
        }
    }
    fs::write(directory().join(format!("{name}.log")), log).unwrap();
}

/// The images that a log names.
pub fn boot(firmware: ImageId, kernel: ImageId, initrd: ImageId) -> Boot {
    let find = |id: ImageId| {
        let image = images().find(|image| ImageId::of(image) == id);
        image.map(Arc::from).unwrap_or_default()
    };
    Boot {
        firmware: find(firmware),
        kernel: find(kernel),
        initrd: find(initrd),
        command_line: String::new(),
    }
}

fn images() -> impl Iterator<Item = Vec<u8>> {
    files("bin").map(|(_, path)| fs::read(path).unwrap())
}

/// The files whose names end so: name without that end, and path.
fn files(end: &'static str) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(directory()).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths = paths.filter(move |path| path.extension().is_some_and(|found| found == end));
    paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
}
