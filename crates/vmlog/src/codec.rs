//! The bytes of a log: frames of entries, encoding beside decoding. The recorder encodes, the backup and
//! `LogReader` decode. This file knows the bytes of a frame and `entry_bytes` those of the entries in it; no
//! other file knows any of them.
//!
//! File, channel and replay input are the same frames (docs/log-format.md). Whatever a decoder reads is only
//! claimed to be a log: every length is checked before it is used, and nothing panics (E2 of docs/style.md).
//! Each entry is written as the difference to the one before it ([`Base`]), across frames; so an [`Encoder`]
//! and a [`Decoder`] carry a little state, and frames are decoded in order.

use machine::Step;

use crate::bytes::{Malformed, Reader, Writer};
use crate::entry::{Entry, Seq};
use crate::entry_bytes::Base;
use crate::limits;
use crate::parcel::Parcel;

/// Version of the log format, in file headers. Version 1 also marked flushes of a disk as outputs, and
/// version 2 had neither breaks nor sizes of disks, nor said which version of virtio-mmio a machine has.
/// Version 3 had no marks, and named the program in place of the model. Version 4 had no digests that end
/// later than they begin.
pub const VERSION: u32 = 5;

/// The oldest version of the format that can be replayed: what is in such a log means the same today.
pub const VERSION_OLDEST_REPLAYED: u32 = 4;

/// The oldest version of the format that can still be looked at.
pub const VERSION_OLDEST: u32 = 1;

/// Bytes before the body of a frame: length of the body, CRC-32C of all that follows, first number.
pub const FRAME_HEAD: usize = 4 + 4 + 8;

/// Room before the entries of a frame: for its head, and for that of the message that carries it.
const FRAME_ROOM: usize = FRAME_HEAD + limits::LOG_HEAD_BYTES_MAX;

/// A finished frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The frame's bytes, head and body, the same in a file and in a message.
    pub bytes: Parcel,
    /// Number of the last entry in it.
    pub last: Seq,
    /// How many entries are in it.
    pub entries: u64,
}

impl Frame {
    /// What the frame counts in a buffer, see [`cost`].
    #[must_use]
    pub fn cost(&self) -> u64 {
        cost(self.bytes.len(), self.entries)
    }
}

/// What so many entries in so many bytes count in a buffer: [`limits::ENTRY_COST`] more for each entry.
#[must_use]
pub fn cost(bytes: usize, entries: u64) -> u64 {
    u64::try_from(bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(entries.saturating_mul(limits::ENTRY_COST))
}

/// Makes frames of entries.
#[derive(Debug)]
pub struct Encoder {
    base: Base,
    /// The entries of the frame that is not finished.
    body: Writer,
    /// How many entries `body` has.
    entries: u64,
}

impl Encoder {
    /// An encoder of a log that starts at `start`.
    #[must_use]
    pub fn new(start: Step) -> Encoder {
        Encoder {
            base: Base::new(start),
            body: Writer::with_room(FRAME_ROOM),
            entries: 0,
        }
    }

    /// An encoder that goes on behind `base`: a backup that goes live continues the same log.
    #[must_use]
    pub fn resume(base: Base) -> Encoder {
        Encoder {
            base,
            body: Writer::with_room(FRAME_ROOM),
            entries: 0,
        }
    }

    /// The last entry.
    #[must_use]
    pub fn base(&self) -> Base {
        self.base
    }

    /// Skips the steps up to `step`, of which no entry tells: somebody reads the log from there on who has
    /// the guest's state at that step. Panics if a frame is not finished, or if `step` is before the last
    /// entry.
    pub fn skip_to(&mut self, step: Step) {
        assert!(self.entries == 0 && step >= self.base.step, "a log goes forward");
        self.base.step = step;
    }

    /// The step of the last entry.
    #[must_use]
    pub fn step(&self) -> Step {
        self.base.step
    }

    /// The number of the last entry.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.base.seq
    }

    /// Bytes of the frame that is not finished.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Entries of the frame that is not finished.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Adds an entry and gives its number. Panics if its step is before that of the entry before it.
    pub fn push(&mut self, entry: &Entry) -> Seq {
        self.base.push(&mut self.body, entry);
        self.entries += 1;
        self.base.seq
    }

    /// Finishes the frame and begins another one; `None` if it has no entries.
    pub fn finish(&mut self) -> Option<Frame> {
        if self.entries == 0 {
            return None;
        }
        let body = std::mem::replace(&mut self.body, Writer::with_room(FRAME_ROOM));
        let mut bytes = body.into_parcel();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let first = self.base.seq.0 - self.entries + 1;
        let crc = frame_crc(first, &bytes);
        bytes.prepend(&first.to_le_bytes());
        bytes.prepend(&crc.to_le_bytes());
        bytes.prepend(&length.to_le_bytes());
        let entries = std::mem::take(&mut self.entries);
        Some(Frame {
            bytes,
            last: self.base.seq,
            entries,
        })
    }
}

fn frame_crc(first: u64, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&first.to_le_bytes()), body)
}

/// What is wrong with bytes that were claimed to be a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The checksum in a frame's head is not that of its body.
    #[error("the checksum of a frame is wrong")]
    Checksum,
    /// The frame's head says that its body is longer than any can be, or empty.
    #[error("a frame claims {0} bytes, more than any frame has")]
    Length(u64),
    /// The frame does not follow on the one before: frames are missing, or come twice.
    #[error("a frame begins with entry {found}, not {wanted}")]
    Order {
        /// Number of the first entry, as the frame's head says.
        found: u64,
        /// Number of the entry that must come next.
        wanted: u64,
    },
    /// The entry of this number is malformed.
    #[error("entry {0}: {1}")]
    Entry(u64, Malformed),
}

/// Where the first frame in some bytes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The bytes end before the frame does.
    Short,
    /// The frame has this many bytes.
    Bytes(usize),
}

/// How long the frame at the start of `bytes` is.
///
/// # Errors
/// If the length in its head is impossible.
pub fn extent(bytes: &[u8]) -> Result<Extent, FrameError> {
    let Some(length) = bytes.first_chunk::<4>() else {
        return Ok(Extent::Short);
    };
    let length = u32::from_le_bytes(*length);
    let body = usize::try_from(length).unwrap_or(usize::MAX);
    if body == 0 || body > limits::FRAME_BYTES_MAX {
        return Err(FrameError::Length(u64::from(length)));
    }
    let whole = FRAME_HEAD.saturating_add(body);
    Ok(if bytes.len() < whole {
        Extent::Short
    } else {
        Extent::Bytes(whole)
    })
}

/// Makes entries of frames.
#[derive(Clone, Debug)]
pub struct Decoder {
    base: Base,
}

impl Decoder {
    /// A decoder of a log that starts at `start`.
    #[must_use]
    pub fn new(start: Step) -> Decoder {
        Decoder {
            base: Base::new(start),
        }
    }

    /// A decoder that goes on behind `base`.
    #[must_use]
    pub fn resume(base: Base) -> Decoder {
        Decoder { base }
    }

    /// The last entry decoded.
    #[must_use]
    pub fn base(&self) -> Base {
        self.base
    }

    /// The number of the last entry decoded.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.base.seq
    }

    /// The step of the last entry decoded.
    #[must_use]
    pub fn step(&self) -> Step {
        self.base.step
    }

    /// The last `mtime` in a `Clock` entry; 0 before any.
    #[must_use]
    pub fn mtime(&self) -> u64 {
        self.base.mtime
    }

    /// Decodes one whole frame, as [`extent`] measured it.
    ///
    /// # Errors
    /// What is wrong with the frame. The decoder is of no further use then.
    pub fn frame(&mut self, bytes: &[u8]) -> Result<Vec<Entry>, FrameError> {
        let Extent::Bytes(whole) = extent(bytes)? else {
            return Err(FrameError::Length(0));
        };
        let fail = |_| FrameError::Length(0);
        let mut r = Reader::new(bytes.get(..whole).unwrap_or_default());
        r.array::<4>().map_err(fail)?;
        let crc = u32::from_le_bytes(r.array().map_err(fail)?);
        let first = u64::from_le_bytes(r.array().map_err(fail)?);
        if crc != frame_crc(first, r.rest()) {
            return Err(FrameError::Checksum);
        }
        let wanted = self.base.seq.0.saturating_add(1);
        if first != wanted {
            return Err(FrameError::Order { found: first, wanted });
        }
        let mut entries = Vec::new();
        while !r.is_empty() {
            let number = self.base.seq.0.saturating_add(1);
            let entry = self.base.entry(&mut r);
            entries.push(entry.map_err(|why| FrameError::Entry(number, why))?);
        }
        Ok(entries)
    }
}
