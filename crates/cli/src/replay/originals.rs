//! The images of a recorded machine, which a log does not hold but names by length and SHA-256.
//!
//! Those that were not given are looked for where `lockstep image` keeps its images and where distributions
//! put OpenSBI and U-Boot. What is not found is told, all at once. Nothing here changes a file.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use host::spec::FIRMWARE_PATHS;
use host::{FirmwareSpec, VmSpec};
use image::{Cache, U_BOOT_PATHS};
use replica::{Header, ImageId};
use report::amount;

use crate::log::objects::hex;

/// Bytes of a SHA-256 that are shown, which are enough to tell images apart.
const SHOWN: usize = 4;

/// Names in `spec` the images of the log that it does not name yet.
pub fn find(header: &Header, spec: &mut VmSpec) -> Result<()> {
    let mut firmware = match &spec.firmware {
        FirmwareSpec::File(path) => Some(path.clone()),
        FirmwareSpec::Distribution | FirmwareSpec::None => None,
    };
    let wanted = [
        ("firmware", header.firmware, &mut firmware),
        ("kernel", header.kernel, &mut spec.kernel),
        ("initrd", header.initrd, &mut spec.initrd),
    ];
    let mut missing = Vec::new();
    let mut flags = Vec::new();
    for (what, id, path) in wanted {
        if path.is_some() || id.length == 0 {
            continue;
        }
        *path = candidates().into_iter().find(|path| is_image(path, id));
        if path.is_none() {
            let (bytes, sha256) = (amount::grouped(id.length), hex(&id.sha256[..SHOWN]));
            missing.push(format!("the {what} of {bytes} bytes with SHA-256 {sha256}.."));
            flags.push(format!("`--{what} FILE`"));
        }
    }
    if missing.is_empty() {
        // A log without a firmware is of a kernel that ran without one.
        spec.firmware = firmware.map_or(FirmwareSpec::None, FirmwareSpec::File);
        return Ok(());
    }
    bail!(
        "the log was made with {}, which is not among the images of `lockstep image`; give {}",
        missing.join(" and "),
        flags.join(" and ")
    )
}

/// The files of all images in the cache, and this host's firmware and U-Boot.
fn candidates() -> Vec<PathBuf> {
    let files = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        entries.flatten().map(|entry| entry.path())
    };
    let images = Cache::of_user().map(|cache| files(cache.root()).collect::<Vec<_>>());
    let images = images.unwrap_or_default().into_iter();
    let images = images.flat_map(|directory| files(&directory).collect::<Vec<_>>());
    let of_host = FIRMWARE_PATHS.iter().chain(&U_BOOT_PATHS);
    of_host.map(PathBuf::from).chain(images).collect()
}

/// Is this file the image? Only a file of the right length is read.
fn is_image(path: &Path, id: ImageId) -> bool {
    let has_length = path
        .metadata()
        .is_ok_and(|meta| meta.is_file() && meta.len() == id.length);
    has_length && std::fs::read(path).is_ok_and(|bytes| ImageId::of(&bytes) == id)
}
