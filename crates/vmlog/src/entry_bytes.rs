//! The bytes of an entry, encoding beside decoding: what stands in a frame between its head and its end.
//!
//! `codec` makes frames of these bytes and takes frames apart; nobody else calls this file. Steps, `mtime`
//! and rates are written as differences to the entry before, so both directions go through a [`Base`], the
//! last entry, and move it on. Whatever is read is only claimed to be an entry: every length is checked
//! before it is used, and nothing that is read causes a panic (E2 of docs/style.md).

use machine::{Control, DiskStatus, Input, PowerState, Step};

use crate::bytes::{Malformed, Reader, Writer};
use crate::entry::{Digest, Entry, EntryKind, Epoch, Mark, Seq};
use crate::limits;

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
const TAG_DIGEST_BEGINS: u8 = 23;
const TAG_DIGEST_ENDS: u8 = 28;
const TAG_PAUSED: u8 = 29;

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

    /// Writes an entry, which becomes the last one. Panics if its step is before that of the entry before it.
    pub fn push(&mut self, w: &mut Writer, entry: &Entry) {
        assert!(entry.at >= self.step, "entries go forward");
        let delta = entry.at.since(self.step);
        match &entry.kind {
            EntryKind::Progress => head(w, TAG_PROGRESS, delta),
            EntryKind::Output { check } => {
                head(w, TAG_OUTPUT, delta);
                w.raw(&check.to_le_bytes());
            }
            EntryKind::Input(input) => push_input(w, self, delta, input),
            EntryKind::Digest(digest) => push_digest(w, TAG_DIGEST, delta, digest),
            EntryKind::DigestBegins => head(w, TAG_DIGEST_BEGINS, delta),
            EntryKind::DigestEnds(digest) => push_digest(w, TAG_DIGEST_ENDS, delta, digest),
            EntryKind::Mark(mark) => push_mark(w, delta, mark),
            EntryKind::Off(PowerState::Off) => head(w, TAG_OFF, delta),
            EntryKind::Off(PowerState::Failed(code)) => {
                head(w, TAG_FAILED, delta);
                w.varint(u64::from(*code));
            }
        }
        self.step = entry.at;
        self.seq.0 += 1;
    }

    /// Reads the next entry, which becomes the last one.
    ///
    /// # Errors
    /// What is wrong with the bytes. Nothing can be read behind them then.
    pub fn entry(&mut self, r: &mut Reader<'_>) -> Result<Entry, Malformed> {
        let [tag] = r.array()?;
        let at = Step(r.varint_at_most(limits::STEPS_PER_ENTRY_MAX)?)
            .0
            .checked_add(self.step.0)
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
            TAG_DIGEST_BEGINS => EntryKind::DigestBegins,
            TAG_DIGEST_ENDS => EntryKind::DigestEnds(digest(r)?),
            TAG_OFF => EntryKind::Off(PowerState::Off),
            TAG_FAILED => {
                let code = r.varint_at_most(u64::from(u16::MAX))?;
                EntryKind::Off(PowerState::Failed(u16::try_from(code).unwrap_or(u16::MAX)))
            }
            TAG_GUARDED..=TAG_DISMISSED | TAG_PAUSED => EntryKind::Mark(mark(r, tag)?),
            _ => EntryKind::Input(input(r, tag)?),
        };
        self.step = at;
        self.seq = Seq(self.seq.0.saturating_add(1));
        Ok(Entry { at, kind })
    }

    fn clock(&mut self, r: &mut Reader<'_>, with_rate: bool) -> Result<Input, Malformed> {
        let mtime = self
            .mtime
            .checked_add_signed(r.signed()?)
            .ok_or(Malformed::TooLarge)?;
        if mtime > limits::MTIME_MAX {
            return Err(Malformed::TooLarge);
        }
        let mut rate = self.rate;
        if with_rate {
            let sum = i64::from(rate)
                .checked_add(r.signed()?)
                .ok_or(Malformed::TooLarge)?;
            rate = u32::try_from(sum).map_err(|_| Malformed::TooLarge)?;
        }
        self.mtime = mtime;
        self.rate = rate;
        Ok(Input::Clock { mtime, rate })
    }
}

fn head(w: &mut Writer, tag: u8, delta: u64) {
    w.raw(&[tag]);
    w.varint(delta);
}

fn push_digest(w: &mut Writer, tag: u8, delta: u64, digest: &Digest) {
    head(w, tag, delta);
    w.varint(u64::try_from(digest.parts.len()).unwrap_or(u64::MAX));
    for (name, value) in &digest.parts {
        w.bytes(name.as_bytes());
        w.raw(&value.to_le_bytes());
    }
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
        Mark::Paused(paused) => {
            head(w, TAG_PAUSED, delta);
            w.raw(&[u8::from(*paused)]);
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
        TAG_PAUSED => Mark::Paused(r.truth()?),
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
