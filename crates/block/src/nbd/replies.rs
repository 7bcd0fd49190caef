//! `Replies`: how a server answers requests, in the form on which the client and it have agreed (proto.md,
//! "Simple reply message" and "Structured reply chunk message").

use super::names::{BASE_ALLOCATION_ID, CHUNK_MAGIC, Code, Extent, SIMPLE_MAGIC, chunk};
use crate::limits::{EXTENTS_MAX, TEXT_LEN_MAX};
use crate::wire::{Write, shortened};

/// The form of a server's replies on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replies {
    /// Do replies come in chunks?
    pub(super) structured: bool,
}

impl Replies {
    /// Says that a request without an answer of its own is done.
    pub fn done(self, cookie: u64, out: &mut Vec<u8>) {
        simple(0, cookie, out);
    }

    /// Writes what stands before the data of a read, all of which come at once. The data are to follow
    /// directly.
    pub fn before_data(self, cookie: u64, offset: u64, length: u32, out: &mut Vec<u8>) {
        if self.structured {
            head(chunk::OFFSET_DATA, cookie, u64::from(length) + 8, out);
            out.put_u64(offset);
        } else {
            simple(0, cookie, out);
        }
    }

    /// Says that a request has failed; a client that can hear it gets the text too.
    pub fn failed(self, cookie: u64, code: Code, text: &str, out: &mut Vec<u8>) {
        if self.structured {
            let text = shortened(text, TEXT_LEN_MAX);
            head(chunk::ERROR, cookie, 6 + text.len() as u64, out);
            out.put_u32(code.number());
            out.put_u16(text.len() as u16);
            out.extend_from_slice(text.as_bytes());
        } else {
            simple(code.number(), cookie, out);
        }
    }

    /// Tells the extents from where a client has asked for them; at least one, and at most [`EXTENTS_MAX`] of
    /// them are told.
    pub fn extents(self, cookie: u64, extents: &[Extent], out: &mut Vec<u8>) {
        let extents = &extents[..extents.len().min(EXTENTS_MAX)];
        head(chunk::BLOCK_STATUS, cookie, 4 + 8 * extents.len() as u64, out);
        out.put_u32(BASE_ALLOCATION_ID);
        for extent in extents {
            out.put_u32(extent.length);
            // NBD_STATE_HOLE and NBD_STATE_ZERO.
            out.put_u32(if extent.hole { 3 } else { 0 });
        }
    }
}

fn simple(error: u32, cookie: u64, out: &mut Vec<u8>) {
    out.put_u32(SIMPLE_MAGIC);
    out.put_u32(error);
    out.put_u64(cookie);
}

/// The head of a reply's only chunk.
fn head(kind: u16, cookie: u64, length: u64, out: &mut Vec<u8>) {
    out.put_u32(CHUNK_MAGIC);
    out.put_u16(chunk::DONE);
    out.put_u16(kind);
    out.put_u64(cookie);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}
