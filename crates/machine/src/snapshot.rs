//! A machine as bytes, and back: [`Machine::save`], [`Machine::restore`] and the two for everything but RAM.
//!
//! A recording's replay may start from a snapshot, and the fields are those that digests see ([`Visit`]).
//!
//! *State* is everything but RAM: `"LSTATE"`, version, digest of the configuration, the fields of
//! [`Visit`] in their order (numbers as 8 bytes little-endian, byte runs and lists with their length), digest
//! of all that. A *snapshot* is `"LSSNAP"`, version, the state with its length, the pages that are not zero
//! (number, length, content; a length of 4096 is the page itself, less is an LZ4 block), an end mark, digest
//! of all that.
//!
//! Nothing believes the bytes: whatever they are, restoring gives a machine that cannot misbehave or a
//! [`RestoreError`], never a panic. The digests find accidents, not forgeries.

use std::{
    fmt,
    io::{self, Read, Write},
};

use hart::{Engine, Visit, Visitor, ram::PAGE};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    Config, Digest, Machine, PageContent,
    boot::BootError,
    limits::STATE_BYTES_MAX,
    narrow::{index, low16, wide},
};

/// The version of both formats. It goes up with every change of any component's fields.
const VERSION: u16 = 2;
/// What a state begins with.
const STATE_MAGIC: [u8; 6] = *b"LSTATE";
/// What a snapshot begins with.
const SNAPSHOT_MAGIC: [u8; 6] = *b"LSSNAP";
/// Bytes of a digest at the end of either.
const DIGEST_BYTES: usize = 16;
/// The page number after the last page.
const END: u32 = u32::MAX;

/// A machine cannot be restored from these bytes.
#[derive(Debug)]
pub enum RestoreError {
    /// The bytes cannot be read, or end too early.
    Read(io::Error),
    /// The bytes do not begin as a snapshot or a state does.
    NotASnapshot,
    /// The bytes were written in this version of the format, which is not ours.
    Version(u16),
    /// The bytes belong to a machine with another configuration.
    OtherConfig,
    /// The bytes are damaged: their digest does not agree.
    Checksum,
    /// A field has a value that no machine can have.
    Field {
        /// The path of the component, like `virtio2.queue`.
        component: String,
        /// What is wrong with the field.
        reason: &'static str,
    },
    /// The page of this number is outside RAM or does not decompress.
    Page(u32),
    /// The configuration makes no machine.
    Boot(BootError),
    /// The machine lacks its images, which the first reset would load.
    NoImages,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What the system or `Boot` says is the error's source, and is told behind it.
            RestoreError::Read(_) => f.write_str("it cannot be read to its end"),
            RestoreError::NotASnapshot => f.write_str("it is no snapshot of Lockstep"),
            RestoreError::Version(version) => {
                write!(
                    f,
                    "it has version {version}, and this program reads version {VERSION}"
                )
            }
            RestoreError::OtherConfig => {
                f.write_str("it belongs to a machine with another configuration or other boot images")
            }
            RestoreError::Checksum => f.write_str("it is damaged: its checksum is wrong"),
            RestoreError::Field { component, reason } => {
                write!(f, "it is not of a machine: {component}: {reason}")
            }
            RestoreError::Page(page) => write!(f, "it is damaged: page {page}"),
            RestoreError::Boot(_) => f.write_str("its machine cannot be built"),
            RestoreError::NoImages => f.write_str("its machine has not got its firmware and kernel yet"),
        }
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RestoreError::Read(error) => Some(error),
            RestoreError::Boot(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for RestoreError {
    fn from(error: io::Error) -> RestoreError {
        RestoreError::Read(error)
    }
}

impl Machine {
    /// Everything but RAM, as bytes.
    ///
    /// # Panics
    /// If effects wait: they would be lost.
    pub fn save_state(&mut self) -> Vec<u8> {
        assert!(!self.has_effects(), "effects are taken before the state is saved");
        let mut bytes = Vec::from(STATE_MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.config_digest().0.to_le_bytes());
        bytes.extend(save_part(self));
        let digest = Digest::of(&bytes);
        bytes.extend(digest.0.to_le_bytes());
        bytes
    }

    /// Replaces everything but RAM.
    ///
    /// # Errors
    /// If the bytes are not a state of a machine with this configuration, or the machine lacks its images.
    /// The machine is then in no particular state: drop it.
    pub fn restore_state(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        if !self.has_images() {
            return Err(RestoreError::NoImages);
        }
        let (body, digest) = bytes
            .split_last_chunk::<DIGEST_BYTES>()
            .ok_or(RestoreError::NotASnapshot)?;
        let rest = body
            .strip_prefix(&STATE_MAGIC)
            .ok_or(RestoreError::NotASnapshot)?;
        let (version, rest) = rest.split_first_chunk().ok_or(RestoreError::NotASnapshot)?;
        check_version(u16::from_le_bytes(*version))?;
        if Digest::of(body).0 != u128::from_le_bytes(*digest) {
            return Err(RestoreError::Checksum);
        }
        let (config, fields) = rest.split_first_chunk().ok_or(RestoreError::NotASnapshot)?;
        if u128::from_le_bytes(*config) != self.config_digest().0 {
            return Err(RestoreError::OtherConfig);
        }
        restore_part(self, fields)?;
        self.forget();
        Ok(())
    }

    /// Writes the whole machine.
    ///
    /// # Errors
    /// If `out` does not take it.
    ///
    /// # Panics
    /// If effects wait: they would be lost.
    pub fn save(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut writer = SnapshotWriter::default();
        writer.state(&self.save_state(), out)?;
        for page in self.used_pages() {
            if let Some(content) = self.read_page(page) {
                writer.page(page, PageContent::Bytes(content), out)?;
            }
        }
        writer.end(out)
    }

    /// Reads a whole machine. `config` must equal the one it was saved with.
    ///
    /// # Errors
    /// If the bytes are not a snapshot of a machine with this configuration.
    pub fn restore(
        config: Config,
        engine: Box<dyn Engine>,
        from: &mut dyn Read,
    ) -> Result<Machine, RestoreError> {
        let mut machine = Machine::blank(config, engine).map_err(RestoreError::Boot)?;
        let mut from = Hashing {
            inner: from,
            hasher: Xxh3::new(),
        };
        if from.chunk()? != SNAPSHOT_MAGIC {
            return Err(RestoreError::NotASnapshot);
        }
        check_version(u16::from_le_bytes(from.chunk()?))?;
        let length = u64::from_le_bytes(from.chunk()?);
        if length > STATE_BYTES_MAX {
            return Err(RestoreError::Checksum);
        }
        let mut state = Vec::new(); // Grows as bytes come: the length may be a lie.
        (&mut from).take(length).read_to_end(&mut state)?;
        machine.restore_state(&state)?;
        let mut packed = [0; PAGE];
        let mut content = [0; PAGE];
        loop {
            let page = u32::from_le_bytes(from.chunk()?);
            if page == END {
                break;
            }
            let length = usize::from(u16::from_le_bytes(from.chunk()?));
            let packed = packed.get_mut(..length).ok_or(RestoreError::Page(page))?;
            from.read_exact(packed)?;
            let content = if length == PAGE {
                &*packed
            } else {
                match lz4_flex::block::decompress_into(packed, &mut content) {
                    Ok(PAGE) => &content,
                    _ => return Err(RestoreError::Page(page)),
                }
            };
            machine
                .place(page, PageContent::Bytes(content))
                .map_err(|_| RestoreError::Page(page))?;
        }
        let digest = from.hasher.digest128();
        if u128::from_le_bytes(from.chunk()?) != digest {
            return Err(RestoreError::Checksum);
        }
        Ok(machine)
    }
}

/// Writes a snapshot piece by piece, for whoever gets a machine's state and pages one after the other while
/// the machine runs on ([`Machine::freeze`], [`Machine::copy_owed`]). What comes out is what
/// [`Machine::restore`] reads. The pieces are the state, pages in any order, and the end.
#[derive(Default)]
pub struct SnapshotWriter {
    /// The hash of all bytes so far.
    hasher: Xxh3,
}

impl fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotWriter")
    }
}

impl SnapshotWriter {
    /// Writes the beginning, with everything but RAM as [`Machine::save_state`] gives it.
    ///
    /// # Errors
    /// If `out` does not take it.
    pub fn state(&mut self, state: &[u8], out: &mut dyn Write) -> io::Result<()> {
        self.put(&SNAPSHOT_MAGIC, out)?;
        self.put(&VERSION.to_le_bytes(), out)?;
        self.put(&wide(state.len()).to_le_bytes(), out)?;
        self.put(state, out)
    }

    /// Writes a page of RAM, each page once at most; one that is zero takes no place, since RAM is zero at
    /// first.
    ///
    /// # Errors
    /// If `out` does not take it.
    pub fn page(&mut self, page: u32, content: PageContent<'_>, out: &mut dyn Write) -> io::Result<()> {
        let PageContent::Bytes(content) = content else {
            return Ok(());
        };
        let packed = lz4_flex::block::compress(content);
        let content = if packed.len() < PAGE { &packed } else { content };
        self.put(&page.to_le_bytes(), out)?;
        self.put(&low16(wide(content.len())).to_le_bytes(), out)?;
        self.put(content, out)
    }

    /// Writes the end.
    ///
    /// # Errors
    /// If `out` does not take it.
    pub fn end(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.put(&END.to_le_bytes(), out)?;
        out.write_all(&self.hasher.digest128().to_le_bytes())
    }

    fn put(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        self.hasher.update(bytes);
        out.write_all(bytes)
    }
}

/// The fields of one component, as bytes without a frame.
pub fn save_part(part: &mut dyn Visit) -> Vec<u8> {
    let mut saver = Saver { bytes: Vec::new() };
    part.visit(&mut saver);
    saver.bytes
}

/// Replaces the fields of one component by what [`save_part`] wrote.
///
/// # Errors
/// If the bytes are not such fields. The component is then in no particular state.
pub fn restore_part(part: &mut dyn Visit, bytes: &[u8]) -> Result<(), RestoreError> {
    let mut restorer = Restorer {
        bytes,
        path: Vec::new(),
        error: None,
    };
    part.visit(&mut restorer);
    restorer.finish()
}

fn check_version(version: u16) -> Result<(), RestoreError> {
    if version == VERSION {
        Ok(())
    } else {
        Err(RestoreError::Version(version))
    }
}

/// A reader that hashes what passes.
struct Hashing<'a, T: ?Sized> {
    inner: &'a mut T,
    /// The hash of all bytes that have passed.
    hasher: Xxh3,
}

impl Hashing<'_, dyn Read + '_> {
    fn chunk<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Hashing<'_, dyn Read + '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.hasher.update(into.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Appends every field it visits.
struct Saver {
    bytes: Vec<u8>,
}

impl Visitor for Saver {
    fn enter(&mut self, _: &'static str) {}

    fn leave(&mut self) {}

    fn u64(&mut self, _: &'static str, value: &mut u64) {
        self.bytes.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, _: &'static str, value: &mut Vec<u8>, max: usize) {
        debug_assert!(value.len() <= max);
        self.bytes.extend(wide(value.len()).to_le_bytes());
        self.bytes.extend_from_slice(value);
    }

    fn length(&mut self, _: &'static str, length: usize, max: usize) -> usize {
        debug_assert!(length <= max);
        self.bytes.extend(wide(length).to_le_bytes());
        length
    }
}

/// Overwrites every field it visits, until something is wrong.
struct Restorer<'a> {
    /// The bytes that are not yet restored.
    bytes: &'a [u8],
    /// The components in which the visit is, from the outside in.
    path: Vec<&'static str>,
    /// The first thing that was wrong. From then on no field is overwritten.
    error: Option<RestoreError>,
}

impl Restorer<'_> {
    /// The next number; `None` if something is wrong.
    fn number(&mut self) -> Option<u64> {
        if self.error.is_some() {
            return None;
        }
        let Some((number, rest)) = self.bytes.split_first_chunk() else {
            self.reject("the bytes end too early");
            return None;
        };
        self.bytes = rest;
        Some(u64::from_le_bytes(*number))
    }

    /// The next number if it is at most `max`; `None` if something is wrong.
    fn bounded(&mut self, max: usize) -> Option<usize> {
        let length = index(self.number()?);
        if length > max {
            self.reject("a length above its maximum");
            return None;
        }
        Some(length)
    }

    fn finish(mut self) -> Result<(), RestoreError> {
        if !self.bytes.is_empty() {
            self.reject("there are bytes left over");
        }
        self.error.map_or(Ok(()), Err)
    }
}

impl Visitor for Restorer<'_> {
    fn enter(&mut self, name: &'static str) {
        self.path.push(name);
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn u64(&mut self, _: &'static str, value: &mut u64) {
        if let Some(number) = self.number() {
            *value = number;
        }
    }

    fn bytes(&mut self, _: &'static str, value: &mut Vec<u8>, max: usize) {
        let Some(length) = self.bounded(max) else { return };
        match self.bytes.split_at_checked(length) {
            Some((bytes, rest)) => {
                *value = Vec::from(bytes);
                self.bytes = rest;
            }
            None => self.reject("the bytes end too early"),
        }
    }

    fn length(&mut self, _: &'static str, length: usize, max: usize) -> usize {
        // Each element takes a byte at least, so garbage cannot make a list longer than it is itself.
        let fits = |length: &usize| *length <= self.bytes.len();
        match self.bounded(max) {
            Some(length) if fits(&length) => length,
            Some(_) => {
                self.reject("the bytes end too early");
                length
            }
            None => length,
        }
    }

    fn reject(&mut self, reason: &'static str) {
        if self.error.is_none() {
            self.error = Some(RestoreError::Field {
                component: self.path.join("."),
                reason,
            });
        }
    }
}
