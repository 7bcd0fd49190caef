//! Overlays: images that hold only what differs from another disk, which stays as it is.
//!
//! An overlay is made beside its name first and gets the name when it is durable, so there is never half of
//! one. What lies in it is QEMU's format as everything here: `qemu-img` understands it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::chain::{Format, header_of, place_of};
use crate::flaw::{Flaw, Obstacle, OpenError};
use crate::header;
use crate::storage::{self, Storage};

/// Makes sure that `path` is an overlay of the disk `base`, and makes one if there is no such file. The disk
/// `base` is not changed.
///
/// # Errors
/// The file is there and is something else, or cannot be made.
pub fn ensure(path: &Path, base: &Path, format: Format) -> Result<(), OpenError> {
    let canonical = |path: &Path| path.canonicalize().map_err(|error| Obstacle::Io(error).at(path));
    let base = canonical(base)?;
    match storage::open(path, false) {
        Ok(file) => look_at(&canonical(path)?, &file, &base),
        Err(Obstacle::Io(error)) if error.kind() == io::ErrorKind::NotFound => make(path, &base, format),
        Err(obstacle) => Err(obstacle.at(path)),
    }
}

/// Looks whether an image is an overlay of `base`.
fn look_at(path: &Path, file: &File, base: &Path) -> Result<(), OpenError> {
    let header = header_of(file).map_err(|obstacle| obstacle.at(path))?;
    let other = |name: String| Obstacle::Flaw(Flaw::OtherBacking(name)).at(path);
    let Some(backing) = header.backing else {
        return Err(other("nothing".to_owned()));
    };
    let named = [base.to_owned()];
    match place_of(path, &backing, &named) {
        Ok(place) if place == base => Ok(()),
        _ => Err(other(backing.name)),
    }
}

fn make(path: &Path, base: &Path, format: Format) -> Result<(), OpenError> {
    let size = size_of(base, format).map_err(|obstacle| obstacle.at(base))?;
    let failed = |error: io::Error| Obstacle::Io(error).at(path);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = directory.canonicalize().map_err(failed)?;
    let invalid = |what: &str| failed(io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()));
    let name = name_from(&directory, base);
    let name = name
        .to_str()
        .ok_or_else(|| invalid("the name of the disk below it is no UTF-8"))?;
    let bytes = header::overlay(size, name, format.word());
    let bytes = bytes.ok_or_else(|| invalid("the disk below it is too large or its name too long"))?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let make = || {
        let file = File::create(&draft)?;
        Storage::write(&file, 0, &bytes)?;
        file.sync_all()?;
        // Fails if another process has made the file meanwhile.
        fs::hard_link(&draft, path)?;
        File::open(&directory)?.sync_all()
    };
    let made = make();
    // What stays behind if this fails is in nobody's way.
    let _ = fs::remove_file(&draft);
    made.map_err(failed)
}

/// Size in bytes of the disk in a file, in whole sectors.
fn size_of(path: &Path, format: Format) -> Result<u64, Obstacle> {
    let file = storage::open(path, false)?;
    match format {
        Format::Qcow2 => Ok(header_of(&file)?.size),
        Format::Raw => match file.length()? {
            0 => Err(Flaw::Empty.into()),
            length => Ok(length.next_multiple_of(512)),
        },
    }
}

/// How an overlay in `directory` names `base`: by its name alone if it is in the same directory, so that both
/// can be moved together.
fn name_from(directory: &Path, base: &Path) -> PathBuf {
    match (base.parent() == Some(directory), base.file_name()) {
        // The dot keeps a colon in the name from being taken for the end of a protocol.
        (true, Some(name)) if name.as_encoded_bytes().contains(&b':') => Path::new(".").join(name),
        (true, Some(name)) => name.into(),
        _ => base.to_owned(),
    }
}
