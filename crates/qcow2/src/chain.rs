//! The files below an image: which backing files are followed, and how they are opened.
//!
//! The name of a backing file stands in the image, and an image comes from anywhere. Followed blindly, it
//! would show a guest any file of its host. So a backing file is a plain path to a regular file, in the
//! image's own directory or named by the operator; it is opened for reading alone, as what the image says it
//! is, and its content never decides that.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::check::check;
use crate::flaw::{Flaw, Obstacle, OpenError};
use crate::header::{Backing, Header};
use crate::layer::Layer;
use crate::limits::{BACKING_DEPTH_MAX, HEADER_LEN_MAX};
use crate::storage::{self, Storage};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Nothing but the sectors of a disk.
    Raw,
    /// A qcow2 image.
    Qcow2,
}

impl Format {
    /// The word for the format, as it stands in images and on command lines.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        }
    }
}

/// A file below an image.
#[derive(Debug)]
pub enum Node {
    /// A raw disk, with its length in bytes.
    Raw(File, u64),
    /// Another image.
    Qcow2(Box<Layer>),
}

impl Node {
    /// Size of the disk in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Node::Raw(_, length) => *length,
            Node::Qcow2(layer) => layer.header.size,
        }
    }
}

/// Reads the header of the image in a file.
///
/// # Errors
/// The file cannot be read, or is no image that can be used.
pub fn header_of(storage: &dyn Storage) -> Result<Header, Obstacle> {
    let length = storage.length()?.min(HEADER_LEN_MAX as u64);
    let mut bytes = vec![0; length as usize];
    storage.read(0, &mut bytes)?;
    Ok(Header::parse(&bytes)?)
}

/// Opens an image by its header and tables; what is below it is not opened.
///
/// # Errors
/// The image cannot be read, or has a flaw.
pub fn layer_of(storage: Box<dyn Storage>, header: Header, write: bool) -> Result<Layer, Obstacle> {
    let checked = check(&*storage, &header, write)?;
    Ok(Layer::new(storage, header, checked))
}

/// Opens all files below the image `path`, which is canonical. `permitted`: files that may lie anywhere,
/// because the operator has named them; canonical paths.
///
/// # Errors
/// One of the files may not be followed, or cannot be used.
pub fn open_below(path: &Path, header: &Header, permitted: &[PathBuf]) -> Result<Vec<Node>, OpenError> {
    let mut nodes = Vec::new();
    let mut above = path.to_owned();
    let mut next = header.backing.clone();
    while let Some(backing) = next.take() {
        if nodes.len() == BACKING_DEPTH_MAX {
            return Err(Obstacle::from(Flaw::BackingDepth).at(path));
        }
        let place = place_of(&above, &backing, permitted)?;
        let format = format_of(&backing).map_err(|flaw| Obstacle::from(flaw).at(&above))?;
        let file = storage::open(&place, false).map_err(|obstacle| obstacle.at(&place))?;
        match format {
            Format::Raw => {
                let length = file.length().map_err(|error| Obstacle::from(error).at(&place))?;
                nodes.push(Node::Raw(file, length));
            }
            Format::Qcow2 => {
                let open = || -> Result<_, Obstacle> {
                    let header = header_of(&file)?;
                    let backing = header.backing.clone();
                    Ok((layer_of(Box::new(file), header, false)?, backing))
                };
                let (layer, backing) = open().map_err(|obstacle| obstacle.at(&place))?;
                nodes.push(Node::Qcow2(Box::new(layer)));
                next = backing;
            }
        }
        above = place;
    }
    Ok(nodes)
}

/// The format of a backing file, which must be said.
fn format_of(backing: &Backing) -> Result<Format, Flaw> {
    match backing.format.as_deref() {
        Some("raw") => Ok(Format::Raw),
        Some("qcow2") => Ok(Format::Qcow2),
        Some(other) => Err(Flaw::BackingFormatUnknown(backing.name.clone(), other.to_owned())),
        None => Err(Flaw::BackingFormat(backing.name.clone())),
    }
}

/// The canonical path of the backing file of the image `above`, if it may be followed.
///
/// # Errors
/// It may not be followed, or there is no such file.
pub fn place_of(above: &Path, backing: &Backing, permitted: &[PathBuf]) -> Result<PathBuf, OpenError> {
    let refused = |flaw| Obstacle::Flaw(flaw).at(above);
    let name = &backing.name;
    // QEMU takes what stands before a colon for a protocol, unless a slash comes first.
    let before_slash = name.split('/').next().unwrap_or_default();
    if before_slash.contains(':') {
        return Err(refused(Flaw::BackingUrl(name.clone())));
    }
    let directory = above.parent().unwrap_or(Path::new("/"));
    let written = directory.join(name);
    let found = |source| OpenError::File {
        path: written.clone(),
        source,
    };
    let place = written.canonicalize().map_err(found)?;
    if place.parent() != Some(directory) && !permitted.contains(&place) {
        return Err(refused(Flaw::BackingElsewhere(name.clone())));
    }
    if !place.metadata().map_err(found)?.is_file() {
        return Err(refused(Flaw::BackingNoFile(name.clone())));
    }
    Ok(place)
}
