//! Disk images in the format qcow2, as QEMU, clouds and distributions have them: read, written, and laid over
//! one another. [`Image`] is the disk that an image holds; `disk` makes a backend of it.
//!
//! From the outside inwards: `chain` opens the files that belong to an image, `check` looks at its tables
//! before anything else does, `layer` finds clusters and `growth` adds some, which `clusters` takes from the
//! file by its reference counts (`count`, `usage`); `cache` keeps tables in memory, `entry` and `header` are
//! the format's words, and `storage` is the file. `overlay` makes images.
//!
//! An image is never written in an order in which a loss of power could make its tables refer to what is not
//! there (`growth`). No bytes of an image decide how much memory or time is used (`limits`), nor which other
//! files are opened (`chain`). docs/disks.md says what is promised.
#![forbid(unsafe_code)]

mod cache;
mod chain;
mod check;
mod clusters;
mod count;
mod entry;
mod flaw;
mod growth;
mod header;
mod layer;
pub mod limits;
mod overlay;
mod storage;
mod usage;

use std::io;
use std::path::{Path, PathBuf};

pub use crate::chain::Format;
use crate::chain::Node;
use crate::flaw::Obstacle;
pub use crate::flaw::{Flaw, OpenError};
use crate::growth::Emptied;
use crate::header::AUTOCLEAR_AT;
pub use crate::header::MAGIC;
use crate::layer::Layer;
use crate::limits::ZEROES_LEN;
pub use crate::overlay::ensure as ensure_overlay;
use crate::storage::Storage;

/// How an image is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Is the image to be written? Then nobody else may use it.
    pub write: bool,
    /// Backing files that may lie in any directory, because the operator has named them.
    pub permitted: Vec<PathBuf>,
}

/// The disk that an image and the files below it hold. Several threads may use it at once; requests that
/// overlap must not run at the same time. Dropping it makes durable what was written.
#[derive(Debug)]
pub struct Image {
    top: Layer,
    below: Vec<Node>,
    write: bool,
}

/// The size in bytes of the disk that an image holds, by its header alone.
///
/// # Errors
/// The image cannot be opened, or its header has a flaw.
pub fn capacity(path: &Path) -> Result<u64, OpenError> {
    let look = || -> Result<u64, Obstacle> { Ok(chain::header_of(&storage::open(path, false)?)?.size) };
    look().map_err(|obstacle| obstacle.at(path))
}

impl Image {
    /// Opens an image and the files below it, and looks at all their tables. Until the first write nothing is
    /// changed, but that an image loses bitmaps that writes would make wrong.
    ///
    /// # Errors
    /// One of the files cannot be used; the sentence says which, and what to do.
    pub fn open(path: &Path, options: &Options) -> Result<Image, OpenError> {
        let failed = |obstacle: Obstacle| obstacle.at(path);
        let file = storage::open(path, options.write).map_err(failed)?;
        let header = chain::header_of(&file).map_err(failed)?;
        let place = path.canonicalize().map_err(|error| failed(error.into()))?;
        let named = options.permitted.iter().map(|path| path.canonicalize());
        // A file that is not there permits nothing.
        let permitted: Vec<PathBuf> = named.filter_map(Result::ok).collect();
        let below = chain::open_below(&place, &header, &permitted)?;
        Image::on(Box::new(file), header, below, options.write).map_err(failed)
    }

    /// Opens the image in this storage, above the files `below`.
    fn on(
        storage: Box<dyn Storage>,
        header: header::Header,
        below: Vec<Node>,
        write: bool,
    ) -> Result<Image, Obstacle> {
        let autoclear = header.autoclear;
        let top = chain::layer_of(storage, header, write)?;
        if write && autoclear != 0 {
            top.storage.write(AUTOCLEAR_AT, &[0; 8])?;
            top.storage.sync()?;
        }
        Ok(Image { top, below, write })
    }

    /// Size of the disk in bytes: whole sectors of 512 bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.top.header.size
    }

    /// Fills `data` from `offset`, in bytes.
    ///
    /// # Errors
    /// As the storage gives them; a compressed cluster is damaged; or the bytes are not within the disk.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.within(offset, data.len() as u64)?;
        self.top
            .read(offset, data, &|offset, data| self.read_below(0, offset, data))
    }

    /// Writes `data` at `offset`, in bytes.
    ///
    /// # Errors
    /// As the storage gives them; the image was opened to be read; or the bytes are not within the disk.
    pub fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.within(offset, data.len() as u64)?;
        self.writable()?;
        self.top
            .write(offset, data, &|offset, data| self.read_below(0, offset, data))
    }

    /// Makes durable all that was written before.
    ///
    /// # Errors
    /// As the storage gives them. If something may be lost, this and all later writes and flushes fail.
    pub fn flush(&self) -> io::Result<()> {
        match self.write {
            true => self.top.flush(),
            false => Ok(()),
        }
    }

    /// Gives up the content of whole clusters within these bytes: they keep their content or read as zeroes.
    ///
    /// # Errors
    /// As those of [`Image::write`].
    pub fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.within(offset, length)?;
        self.writable()?;
        let (start, end) = self.whole_clusters(offset, length);
        // Version 2 cannot say that a cluster is zero, and what is below must not be seen again.
        if self.top.header.version < 3 && !self.below.is_empty() {
            return Ok(());
        }
        self.top
            .empty(start, end, Emptied::Forgotten, !self.below.is_empty())
    }

    /// Makes these bytes zero; with `unmap` the space of whole clusters is given up.
    ///
    /// # Errors
    /// As those of [`Image::write`].
    pub fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.within(offset, length)?;
        self.writable()?;
        let has_below = !self.below.is_empty();
        let can_mark = self.top.header.version >= 3 || (unmap && !has_below);
        let (start, end) = self.whole_clusters(offset, length);
        if !can_mark || start >= end {
            return self.write_plain_zeroes(offset, offset + length);
        }
        let how = if unmap { Emptied::Zero } else { Emptied::ZeroKept };
        self.write_plain_zeroes(offset, start)?;
        self.top.empty(start, end, how, has_below)?;
        self.write_plain_zeroes(end.min(offset + length), offset + length)
    }

    fn write_plain_zeroes(&self, mut offset: u64, end: u64) -> io::Result<()> {
        let zeroes = vec![0; ZEROES_LEN.min(end.saturating_sub(offset) as usize)];
        while offset < end {
            let part = (end - offset).min(zeroes.len() as u64);
            self.write(offset, zeroes.get(..part as usize).unwrap_or_default())?;
            offset += part;
        }
        Ok(())
    }

    /// The whole clusters within these bytes, from where to where. The last cluster of the disk counts as
    /// whole if the bytes reach to the end of the disk.
    fn whole_clusters(&self, offset: u64, length: u64) -> (u64, u64) {
        let cluster_len = self.top.header.cluster_len();
        let end = offset + length;
        let end = match end == self.capacity() {
            true => end.next_multiple_of(cluster_len),
            false => end - end % cluster_len,
        };
        (offset.next_multiple_of(cluster_len), end)
    }

    /// Fills `data` with what the files below the image hold, from the file `index` on.
    fn read_below(&self, index: usize, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let Some(node) = self.below.get(index) else {
            data.fill(0);
            return Ok(());
        };
        let inside = node.size().saturating_sub(offset).min(data.len() as u64);
        let (data, behind) = data.split_at_mut(inside as usize);
        behind.fill(0);
        match node {
            Node::Raw(file, _) => Storage::read(file, offset, data),
            Node::Qcow2(layer) => layer.read(offset, data, &|offset, data| {
                self.read_below(index + 1, offset, data)
            }),
        }
    }

    fn within(&self, offset: u64, length: u64) -> io::Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.capacity() => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the bytes are not within the disk of the image",
            )),
        }
    }

    fn writable(&self) -> io::Result<()> {
        match self.write {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::ReadOnlyFilesystem,
                "the image was opened to be read",
            )),
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!("an image is left as it was at an earlier flush: {error}");
        }
    }
}

/// Parts of the crate that tests and the fuzzer look at by themselves (docs/style.md N7).
#[cfg(feature = "parts")]
pub mod parts {
    use std::fs::File;

    use super::{Image, chain};
    use crate::chain::Node;
    pub use crate::flaw::Obstacle;
    pub use crate::storage::Storage;

    /// The image that is in this storage; what it says of a backing file is not followed, and `below` is the
    /// raw disk below it.
    ///
    /// # Errors
    /// The image has a flaw, or the storage gives an error.
    pub fn image_on(storage: Box<dyn Storage>, below: Option<File>, write: bool) -> Result<Image, Obstacle> {
        let header = chain::header_of(&*storage)?;
        let mut nodes = Vec::new();
        if let Some(file) = below {
            let length = file.length()?;
            nodes.push(Node::Raw(file, length));
        }
        Image::on(storage, header, nodes, write)
    }
}
