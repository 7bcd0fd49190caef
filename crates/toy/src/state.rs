//! The parts of a toy's state as bytes: numbers, runs of bytes, requests to a disk.
//!
//! A clone takes over a toy's state as bytes: `board.rs` and the programs write and read their own state with
//! the functions here. Encoding stands beside decoding. Bytes that are no state are refused; nothing here may
//! panic, since the bytes come from another process.

use machine::{DiskOperation, DiskRequest};
use replica::log::bytes::{Malformed, Reader, Writer};

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

/// Reads a number of at most 32 bits.
///
/// # Errors
/// The bytes are no such number.
pub fn read_small(r: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(r.varint()?).map_err(|_| Malformed::TooLarge)
}

/// Writes a request to a disk.
pub fn write_request(w: &mut Writer, request: &DiskRequest) {
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

/// Reads a request to a disk.
///
/// # Errors
/// The bytes are no such request.
pub fn read_request(r: &mut Reader<'_>) -> Result<DiskRequest, Malformed> {
    let [disk] = r.array()?;
    let id = r.varint()?;
    let operation = match r.array()? {
        [0] => DiskOperation::Read {
            sector: r.varint()?,
            bytes: read_small(r)?,
        },
        [1] => DiskOperation::Write {
            sector: r.varint()?,
            data: read_bytes(r)?.into(),
        },
        [2] => DiskOperation::Flush,
        [3] => DiskOperation::Discard {
            sector: r.varint()?,
            sectors: read_small(r)?,
        },
        [4] => DiskOperation::WriteZeroes {
            sector: r.varint()?,
            sectors: read_small(r)?,
            unmap: r.truth()?,
        },
        [unknown] => return Err(Malformed::Tag(unknown)),
    };
    Ok(DiskRequest { disk, id, operation })
}
