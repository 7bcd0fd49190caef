//! The toy's state as bytes: what a clone takes over of a board and its program beside the memory.
//!
//! Encoding stands beside decoding. Bytes that are no state are refused; nothing here may panic, since the
//! bytes come from another process.

use machine::{Clock, DiskOperation, DiskRequest, PowerState, Step};
use replica::log::bytes::{Malformed, Reader, Writer};
use replica::mutation::{self, Mutation};

use crate::board::Board;

/// Longest run of bytes in a state: a write of a few sectors.
const BYTES_MAX: usize = 64 << 10;
/// Most items of a list in a state.
pub const ITEMS_MAX: u64 = 1 << 16;

/// Writes a number that may be missing.
pub fn write_option(w: &mut Writer, value: Option<u64>) {
    w.raw(&[u8::from(value.is_some())]);
    w.varint(value.unwrap_or(0));
}

/// Reads a number that may be missing.
///
/// # Errors
/// The bytes are no such number.
pub fn read_option(r: &mut Reader<'_>) -> Result<Option<u64>, Malformed> {
    let some = r.truth()?;
    let value = r.varint()?;
    Ok(some.then_some(value))
}

/// Reads a run of bytes.
///
/// # Errors
/// The bytes are no such run.
pub fn read_bytes(r: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    Ok(r.bytes(BYTES_MAX)?.to_vec())
}

fn small(r: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(r.varint()?).map_err(|_| Malformed::TooLarge)
}

/// Writes everything of a board but its memory, and effects, of which there are none at a cut.
pub fn write_board(w: &mut Writer, board: &Board) {
    w.varint(board.now.0);
    let (step, mtime, rate) = board.clock.base();
    w.varint(step.0);
    w.varint(mtime);
    w.varint(u64::from(rate));
    w.varint(board.submitted());
    w.raw(&[u8::from(board.is_off())]);
    w.varint(board.pending().len() as u64);
    for request in board.pending() {
        write_request(w, request);
    }
}

/// Reads what [`write_board`] wrote into a board, whose memory stays.
///
/// # Errors
/// The bytes are no board.
pub fn read_board(r: &mut Reader<'_>, board: &mut Board) -> Result<(), Malformed> {
    board.now = Step(r.varint()?);
    let step = Step(r.varint()?);
    let mtime = r.varint()?;
    board.clock = Clock::from_base(step, mtime, small(r)?);
    let submitted = r.varint()?;
    let off = r.truth()?.then_some(PowerState::Off);
    let mut pending = Vec::new();
    for _ in 0..r.varint_at_most(ITEMS_MAX)? {
        pending.push(read_request(r)?);
    }
    if mutation::is(Mutation::DiskNotTaken) {
        pending.clear();
    }
    board.take_over(submitted, off, pending);
    Ok(())
}

fn write_request(w: &mut Writer, request: &DiskRequest) {
    w.raw(&[request.disk]);
    w.varint(request.id);
    match &request.operation {
        DiskOperation::Read { sector, bytes } => {
            w.raw(&[0]);
            w.varint(*sector);
            w.varint(u64::from(*bytes));
        }
        DiskOperation::Write { sector, data } => {
            w.raw(&[1]);
            w.varint(*sector);
            w.bytes(data);
        }
        DiskOperation::Flush => w.raw(&[2]),
        DiskOperation::Discard { sector, sectors } => {
            w.raw(&[3]);
            w.varint(*sector);
            w.varint(u64::from(*sectors));
        }
        DiskOperation::WriteZeroes {
            sector,
            sectors,
            unmap,
        } => {
            w.raw(&[4]);
            w.varint(*sector);
            w.varint(u64::from(*sectors));
            w.raw(&[u8::from(*unmap)]);
        }
    }
}

fn read_request(r: &mut Reader<'_>) -> Result<DiskRequest, Malformed> {
    let [disk] = r.array()?;
    let id = r.varint()?;
    let operation = match r.array()? {
        [0] => DiskOperation::Read {
            sector: r.varint()?,
            bytes: small(r)?,
        },
        [1] => DiskOperation::Write {
            sector: r.varint()?,
            data: read_bytes(r)?.into(),
        },
        [2] => DiskOperation::Flush,
        [3] => DiskOperation::Discard {
            sector: r.varint()?,
            sectors: small(r)?,
        },
        [4] => DiskOperation::WriteZeroes {
            sector: r.varint()?,
            sectors: small(r)?,
            unmap: r.truth()?,
        },
        [unknown] => return Err(Malformed::Tag(unknown)),
    };
    Ok(DiskRequest { disk, id, operation })
}
