//! Ethernet frames on a byte stream, as QEMU's `-netdev stream` writes them: a 4-byte big-endian length, then the frame.
//!
//! Both ends use it: the VMM side and the gateway. It holds no socket, so it serves blocking and non-blocking callers alike.
//! It never trusts a length: a peer that claims a longer frame than [`FRAME_LEN_MAX`] is an error, not an allocation.

use std::io::{self, Read};

/// The longest frame either side may send: 64 KiB of payload with an Ethernet header.
pub const FRAME_LEN_MAX: usize = 65_550;
/// Bytes of the length in front of each frame.
pub const HEADER_LEN: usize = 4;
/// Room offered to one `read`. Most frames are 1.5 KiB, so one call fetches a burst.
const READ_LEN: usize = 64 * 1024;

/// A frame that does not fit the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes is outside the allowed 1..={FRAME_LEN_MAX}")]
pub struct FrameError {
    /// The length found or asked for.
    pub length: usize,
}

/// Collects bytes from a stream and hands out whole frames.
///
/// Memory is bounded as long as the caller pops until `None` between pushes: one frame and one read.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// Invariant: `start <= end <= bytes.len()`; `start..end` is received and not yet popped.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameReader {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Adds what one `read` of `source` yields and returns its length; 0 is the end of the stream.
    ///
    /// # Errors
    /// Those of the source, `WouldBlock` among them.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.make_room(READ_LEN);
        let length = source.read(&mut self.bytes[self.end..])?;
        self.end += length;
        Ok(length)
    }

    /// The next whole frame, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// A length outside the allowed range. The stream has lost its framing and must be closed.
    pub fn pop(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let received = &self.bytes[self.start..self.end];
        let Some((header, rest)) = received.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let length = checked_length(u32::from_be_bytes(*header) as usize)?;
        if rest.len() < length {
            return Ok(None);
        }
        let frame = self.start + HEADER_LEN..self.start + HEADER_LEN + length;
        self.start = frame.end;
        Ok(Some(&self.bytes[frame]))
    }

    fn make_room(&mut self, length: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.bytes.len() - self.end < length {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            self.bytes.resize(self.bytes.len().max(self.end + length), 0);
        }
    }
}

/// Appends one frame with its length to `out`.
///
/// # Errors
/// The frame is empty or too long; nothing was appended.
pub fn write_frame(out: &mut Vec<u8>, frame: &[u8]) -> Result<(), FrameError> {
    let length = checked_length(frame.len())?;
    out.extend_from_slice(&header(length));
    out.extend_from_slice(frame);
    Ok(())
}

/// Appends the length and `length` zero bytes for the caller to fill: a frame built in place, without a copy.
///
/// # Errors
/// The frame is empty or too long; nothing was appended.
pub fn reserve_frame(out: &mut Vec<u8>, length: usize) -> Result<&mut [u8], FrameError> {
    let length = checked_length(length)?;
    out.extend_from_slice(&header(length));
    let start = out.len();
    out.resize(start + length, 0);
    Ok(&mut out[start..])
}

fn header(length: usize) -> [u8; HEADER_LEN] {
    // `checked_length` keeps it far below 4 GiB.
    (length as u32).to_be_bytes()
}

fn checked_length(length: usize) -> Result<usize, FrameError> {
    if (1..=FRAME_LEN_MAX).contains(&length) {
        Ok(length)
    } else {
        Err(FrameError { length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_split_of_the_stream() {
        let frames: [&[u8]; 4] = [b"a", &[7; 1514], &[9; FRAME_LEN_MAX], b"last"];
        let mut bytes = Vec::new();
        for frame in frames {
            write_frame(&mut bytes, frame).unwrap();
        }
        for chunk in [1, 3, 1500, 70_000, bytes.len()] {
            let mut reader = FrameReader::default();
            let mut popped = Vec::new();
            for piece in bytes.chunks(chunk) {
                reader.push(piece);
                while let Some(frame) = reader.pop().unwrap() {
                    popped.push(frame.to_vec());
                }
            }
            assert_eq!(popped, frames);
        }
    }

    #[test]
    fn reading_from_a_stream_gives_the_frames_and_then_the_end() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, b"one").unwrap();
        reserve_frame(&mut bytes, 3).unwrap().copy_from_slice(b"two");
        let mut source = bytes.as_slice();
        let mut reader = FrameReader::default();
        assert_eq!(reader.read_from(&mut source).unwrap(), 14);
        assert_eq!(reader.pop().unwrap(), Some(&b"one"[..]));
        assert_eq!(reader.pop().unwrap(), Some(&b"two"[..]));
        assert_eq!(reader.pop().unwrap(), None);
        assert_eq!(reader.read_from(&mut source).unwrap(), 0);
    }

    #[test]
    fn a_bad_length_is_refused_before_its_bytes_arrive() {
        for length in [0, FRAME_LEN_MAX as u32 + 1, u32::MAX] {
            let mut reader = FrameReader::default();
            reader.push(&length.to_be_bytes());
            assert_eq!(
                reader.pop(),
                Err(FrameError {
                    length: length as usize
                })
            );
        }
        let mut out = Vec::new();
        assert!(write_frame(&mut out, &[]).is_err());
        assert!(write_frame(&mut out, &vec![0; FRAME_LEN_MAX + 1]).is_err());
        assert!(out.is_empty());
    }
}
