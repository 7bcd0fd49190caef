//! The bytes of a log: entries and frames, encoding beside decoding. The recorder encodes, the backup and
//! `LogReader` decode; no other file knows these bytes.
//!
//! File, channel and replay input are the same frames (docs/log-format.md). Whatever a decoder reads is only
//! claimed to be a log: every length is checked before it is used, and nothing panics (E2 of docs/style.md).
//! Steps, `mtime` and rates are written as differences to the entry before, across frames; so an [`Encoder`]
//! and a [`Decoder`] carry a little state, and frames are decoded in order.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions
)]

use machine::{Control, DiskStatus, Input, PowerState, Step};

use crate::limits;
use crate::log::bytes::{Malformed, Reader, Writer};
use crate::log::entry::{Digest, Entry, EntryKind, Epoch, Mark, Seq};
use crate::log::parcel::Parcel;

/// Version of the log format, in file headers. Version 1 also marked flushes of a disk as outputs, and
/// version 2 had neither breaks nor sizes of disks, nor said which version of virtio-mmio a machine has.
/// Version 3 had no marks, and named the program in place of the model.
pub const VERSION: u32 = 4;

/// The oldest version of the format that can still be looked at. Only a log of [`VERSION`] can be replayed.
pub const VERSION_OLDEST: u32 = 1;

/// Bytes before the body of a frame: length of the body, CRC-32C of all that follows, first number.
pub const FRAME_HEAD: usize = 4 + 4 + 8;

const TAG_PROGRESS: u8 = 0;
const TAG_OUTPUT: u8 = 1;
const TAG_CLOCK: u8 = 2;
const TAG_CLOCK_RATE: u8 = 3;
const TAG_CONSOLE: u8 = 4;
const TAG_NET_FRAME: u8 = 5;
const TAG_DISK_OK: u8 = 6;
const TAG_DISK_FAILED: u8 = 7;
const TAG_ENTROPY: u8 = 8;
const TAG_POWER_OFF: u8 = 9;
const TAG_RESET: u8 = 10;
const TAG_DIGEST: u8 = 11;
const TAG_OFF: u8 = 12;
const TAG_FAILED: u8 = 13;
const TAG_GUARDED: u8 = 14;
const TAG_HANDED_OVER: u8 = 15;
const TAG_QUIESCE: u8 = 16;
const TAG_QUIET: u8 = 17;
const TAG_RESUME: u8 = 18;
const TAG_SNAPSHOT: u8 = 19;
const TAG_DISMISSED: u8 = 20;
const TAG_BREAK: u8 = 21;
const TAG_DISK_SIZE: u8 = 22;

/// The last entry, relative to which the next one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The last entry's number.
    pub seq: Seq,
    /// The last entry's step.
    pub step: Step,
    /// `mtime` of the last `Clock` entry; 0 before any.
    pub mtime: u64,
    /// Rate of the last `Clock` entry; 0 before any.
    pub rate: u32,
}

impl Base {
    /// Before the first entry of a log that starts at `start`.
    #[must_use]
    pub const fn new(start: Step) -> Base {
        Base {
            seq: Seq(0),
            step: start,
            mtime: 0,
            rate: 0,
        }
    }
}

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
    /// A decoder of a log that starts at `start`.
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
        assert!(entry.at >= self.base.step, "entries go forward");
        let delta = entry.at.since(self.base.step);
        let w = &mut self.body;
        match &entry.kind {
            EntryKind::Progress => head(w, TAG_PROGRESS, delta),
            EntryKind::Output { check } => {
                head(w, TAG_OUTPUT, delta);
                w.raw(&check.to_le_bytes());
            }
            EntryKind::Input(input) => push_input(w, &mut self.base, delta, input),
            EntryKind::Digest(digest) => {
                head(w, TAG_DIGEST, delta);
                w.varint(u64::try_from(digest.parts.len()).unwrap_or(u64::MAX));
                for (name, value) in &digest.parts {
                    w.bytes(name.as_bytes());
                    w.raw(&value.to_le_bytes());
                }
            }
            EntryKind::Mark(mark) => push_mark(w, delta, mark),
            EntryKind::Off(PowerState::Off) => head(w, TAG_OFF, delta),
            EntryKind::Off(PowerState::Failed(code)) => {
                head(w, TAG_FAILED, delta);
                w.varint(u64::from(*code));
            }
        }
        self.base.step = entry.at;
        self.base.seq.0 += 1;
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

fn head(w: &mut Writer, tag: u8, delta: u64) {
    w.raw(&[tag]);
    w.varint(delta);
}

fn push_mark(w: &mut Writer, delta: u64, mark: &Mark) {
    match mark {
        Mark::Guarded { epoch, owner, member } => {
            head(w, TAG_GUARDED, delta);
            w.varint(epoch.0);
            w.raw(&owner.to_le_bytes());
            w.raw(&member.to_le_bytes());
        }
        Mark::HandedOver { epoch } => {
            head(w, TAG_HANDED_OVER, delta);
            w.varint(epoch.0);
        }
        Mark::Quiesce => head(w, TAG_QUIESCE, delta),
        Mark::Quiet => head(w, TAG_QUIET, delta),
        Mark::Resume => head(w, TAG_RESUME, delta),
        Mark::Snapshot(name) => {
            head(w, TAG_SNAPSHOT, delta);
            w.raw(&name.to_le_bytes());
        }
        Mark::Dismissed { member } => {
            head(w, TAG_DISMISSED, delta);
            w.raw(&member.to_le_bytes());
        }
    }
}

fn push_input(w: &mut Writer, base: &mut Base, delta: u64, input: &Input) {
    match input {
        Input::Clock { mtime, rate } => {
            let same = *rate == base.rate;
            head(w, if same { TAG_CLOCK } else { TAG_CLOCK_RATE }, delta);
            w.signed(i64::from_le_bytes(mtime.wrapping_sub(base.mtime).to_le_bytes()));
            if !same {
                w.signed(i64::from(*rate) - i64::from(base.rate));
            }
            base.mtime = *mtime;
            base.rate = *rate;
        }
        Input::Console { port, bytes } => {
            head(w, TAG_CONSOLE, delta);
            w.raw(&[*port]);
            w.bytes(bytes);
        }
        Input::NetFrame { port, frame } => {
            head(w, TAG_NET_FRAME, delta);
            w.raw(&[*port]);
            w.bytes(frame);
        }
        Input::DiskDone {
            disk,
            id,
            status,
            data,
        } => {
            let ok = *status == DiskStatus::Ok;
            head(w, if ok { TAG_DISK_OK } else { TAG_DISK_FAILED }, delta);
            w.raw(&[*disk]);
            w.varint(*id);
            w.bytes(data);
        }
        Input::Entropy { bytes } => {
            head(w, TAG_ENTROPY, delta);
            w.bytes(bytes);
        }
        Input::Break { port } => {
            head(w, TAG_BREAK, delta);
            w.raw(&[*port]);
        }
        Input::DiskSize { disk, sectors } => {
            head(w, TAG_DISK_SIZE, delta);
            w.raw(&[*disk]);
            w.varint(*sectors);
        }
        Input::Control(Control::PowerOff) => head(w, TAG_POWER_OFF, delta),
        Input::Control(Control::Reset) => head(w, TAG_RESET, delta),
    }
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
            let entry = self.entry(&mut r).map_err(|why| FrameError::Entry(number, why))?;
            self.base.step = entry.at;
            self.base.seq = Seq(number);
            entries.push(entry);
        }
        Ok(entries)
    }

    fn entry(&mut self, r: &mut Reader<'_>) -> Result<Entry, Malformed> {
        let [tag] = r.array()?;
        let at = Step(r.varint_at_most(limits::STEPS_PER_ENTRY_MAX)?)
            .0
            .checked_add(self.base.step.0)
            .map(Step)
            .filter(|&step| step != Step::NEVER)
            .ok_or(Malformed::TooLarge)?;
        let kind = match tag {
            TAG_PROGRESS => EntryKind::Progress,
            TAG_OUTPUT => EntryKind::Output {
                check: u32::from_le_bytes(r.array()?),
            },
            TAG_CLOCK => EntryKind::Input(self.clock(r, false)?),
            TAG_CLOCK_RATE => EntryKind::Input(self.clock(r, true)?),
            TAG_DIGEST => EntryKind::Digest(digest(r)?),
            TAG_OFF => EntryKind::Off(PowerState::Off),
            TAG_FAILED => {
                let code = r.varint_at_most(u64::from(u16::MAX))?;
                EntryKind::Off(PowerState::Failed(u16::try_from(code).unwrap_or(u16::MAX)))
            }
            TAG_GUARDED..=TAG_DISMISSED => EntryKind::Mark(mark(r, tag)?),
            _ => EntryKind::Input(input(r, tag)?),
        };
        Ok(Entry { at, kind })
    }

    fn clock(&mut self, r: &mut Reader<'_>, with_rate: bool) -> Result<Input, Malformed> {
        let mtime = self
            .base
            .mtime
            .checked_add_signed(r.signed()?)
            .ok_or(Malformed::TooLarge)?;
        if mtime > limits::MTIME_MAX {
            return Err(Malformed::TooLarge);
        }
        let mut rate = self.base.rate;
        if with_rate {
            let sum = i64::from(rate)
                .checked_add(r.signed()?)
                .ok_or(Malformed::TooLarge)?;
            rate = u32::try_from(sum).map_err(|_| Malformed::TooLarge)?;
        }
        self.base.mtime = mtime;
        self.base.rate = rate;
        Ok(Input::Clock { mtime, rate })
    }
}

fn mark(r: &mut Reader<'_>, tag: u8) -> Result<Mark, Malformed> {
    let process = |r: &mut Reader<'_>| r.array().map(u128::from_le_bytes);
    Ok(match tag {
        TAG_GUARDED => Mark::Guarded {
            epoch: Epoch(r.varint()?),
            owner: process(r)?,
            member: process(r)?,
        },
        TAG_HANDED_OVER => Mark::HandedOver {
            epoch: Epoch(r.varint()?),
        },
        TAG_QUIESCE => Mark::Quiesce,
        TAG_QUIET => Mark::Quiet,
        TAG_RESUME => Mark::Resume,
        TAG_SNAPSHOT => Mark::Snapshot(process(r)?),
        TAG_DISMISSED => Mark::Dismissed { member: process(r)? },
        unknown => return Err(Malformed::Tag(unknown)),
    })
}

/// Tags of entries that a later release writes: of disks that each side has for itself.
const LATER: std::ops::RangeInclusive<u8> = 24..=27;

fn input(r: &mut Reader<'_>, tag: u8) -> Result<Input, Malformed> {
    let bytes = limits::INPUT_BYTES_MAX;
    Ok(match tag {
        TAG_CONSOLE => Input::Console {
            port: byte(r)?,
            bytes: r.bytes(bytes)?.to_vec(),
        },
        TAG_NET_FRAME => Input::NetFrame {
            port: byte(r)?,
            frame: r.bytes(bytes)?.to_vec(),
        },
        TAG_DISK_OK | TAG_DISK_FAILED => Input::DiskDone {
            disk: byte(r)?,
            id: r.varint()?,
            status: if tag == TAG_DISK_OK {
                DiskStatus::Ok
            } else {
                DiskStatus::Failed
            },
            data: r.bytes(limits::DISK_BYTES_MAX)?.to_vec(),
        },
        TAG_ENTROPY => Input::Entropy {
            bytes: r.bytes(bytes)?.to_vec(),
        },
        TAG_BREAK => Input::Break { port: byte(r)? },
        TAG_DISK_SIZE => Input::DiskSize {
            disk: byte(r)?,
            sectors: r.varint()?,
        },
        TAG_POWER_OFF => Input::Control(Control::PowerOff),
        TAG_RESET => Input::Control(Control::Reset),
        later if LATER.contains(&later) => return Err(Malformed::Later(later)),
        unknown => return Err(Malformed::Tag(unknown)),
    })
}

fn byte(r: &mut Reader<'_>) -> Result<u8, Malformed> {
    let [byte] = r.array()?;
    Ok(byte)
}

fn digest(r: &mut Reader<'_>) -> Result<Digest, Malformed> {
    let count = r.varint_at_most(limits::DIGEST_PARTS_MAX)?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let name = r.text(limits::DIGEST_NAME_MAX)?;
        parts.push((name, u64::from_le_bytes(r.array()?)));
    }
    Ok(Digest { parts })
}
