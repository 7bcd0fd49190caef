//! Ethernet frames on a byte stream, as QEMU's `-netdev stream` writes them: a 4-byte big-endian length, then
//! the frame.
//!
//! Both ends use this file: the VMM's and the gateway's. It holds no socket, so it serves blocking and
//! non-blocking callers alike. It never trusts a length: a peer that claims a longer frame than
//! [`FRAME_LEN_MAX`] gets an error, not an allocation.
//!
//! Every frame is so short that the first byte of its length is zero. Between two programs of Lockstep that
//! share a key (`keyed`) that byte says what follows: a frame, or a [`Word`] about the connection. Plain
//! framing, without a key, has no words.

use std::io::{self, Read};

/// The longest frame either side may send: 64 KiB of payload with an Ethernet header.
pub const FRAME_LEN_MAX: usize = 65_550;
/// Bytes of the length in front of each frame.
pub const HEADER_LEN: usize = 4;
/// Room in bytes that is offered to one `read`. Most frames are 1.5 KiB, so one call fetches a burst.
const READ_LEN: usize = 64 * 1024;

/// A frame that does not fit the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes is outside the allowed 1..={FRAME_LEN_MAX}")]
pub struct FrameError {
    /// Length in bytes that was found or asked for.
    pub length: usize,
}

/// What two programs that share a key say to each other between frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The VMM's question whether the gateway is there, asked so that both ends notice a cut.
    Ping,
    /// The answer to a question.
    Pong,
    /// The connection shows its guest to the world from here on, by virtue of this epoch (0: it has none).
    /// Until then it is a probe: it owns no address, and no frames pass.
    Live {
        /// Epoch of the VMM. Of two connections with the same key the one with the higher epoch has the
        /// guest's address.
        epoch: u64,
    },
}

const PING: u8 = 1;
const PONG: u8 = 2;
const LIVE: u8 = 3;

/// One thing in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An Ethernet frame.
    Frame(&'a [u8]),
    /// A word about the connection.
    Word(Word),
}

/// Bytes received and not yet used.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Invariant: `start <= end <= bytes.len()`; `start..end` is received and not yet used.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Room for at least `length` more bytes; [`Inbox::add`] says how many came.
    pub fn room(&mut self, length: usize) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.bytes.len() - self.end < length {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            self.bytes.resize(self.bytes.len().max(self.end + length), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Notes that `length` bytes of the room have been filled.
    pub fn add(&mut self, length: usize) {
        self.end += length;
        assert!(self.end <= self.bytes.len(), "more bytes than there was room for");
    }

    /// Bytes that have been received and not yet taken out as frames.
    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes `length` bytes, which must be there.
    pub fn take(&mut self, length: usize) -> &[u8] {
        let taken = self.start..self.start + length;
        self.start = taken.end;
        &self.bytes[taken]
    }
}

/// Collects bytes from a stream and hands out whole frames.
///
/// Memory is bounded as long as the caller pops until `None` between pushes: one frame and one read.
#[derive(Debug, Default)]
pub struct FrameReader {
    inbox: Inbox,
}

impl FrameReader {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.inbox.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.inbox.add(bytes.len());
    }

    /// Adds the bytes that one `read` of `source` yields and returns their number; 0 is the end of the
    /// stream.
    ///
    /// # Errors
    /// The errors of the source, `WouldBlock` among them.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        let length = source.read(self.inbox.room(READ_LEN))?;
        self.inbox.add(length);
        Ok(length)
    }

    /// Number of bytes that were received and not yet popped.
    #[must_use]
    pub fn waiting(&self) -> &[u8] {
        self.inbox.waiting()
    }

    pub(super) fn inbox(&mut self) -> &mut Inbox {
        &mut self.inbox
    }

    /// The next whole frame, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// A length outside the allowed range. The stream has lost its framing and must be closed.
    pub fn pop(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(length) = self.whole()? else {
            return Ok(None);
        };
        self.inbox.take(HEADER_LEN);
        Ok(Some(self.inbox.take(length)))
    }

    /// The next whole frame or word of a connection with a key, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// As [`FrameReader::pop`], and for a word that does not exist.
    pub fn pop_item(&mut self) -> Result<Option<Item<'_>>, FrameError> {
        let Some(&kind) = self.inbox.waiting().first() else {
            return Ok(None);
        };
        if kind == 0 {
            return Ok(self.pop()?.map(Item::Frame));
        }
        let Some(header) = self.inbox.waiting().first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        let [_, payload_len @ ..] = *header;
        let word = match (kind, payload_len) {
            (PING, [0, 0, 0]) => Word::Ping,
            (PONG, [0, 0, 0]) => Word::Pong,
            (LIVE, [0, 0, 8]) => {
                let Some(epoch) = self.inbox.waiting()[HEADER_LEN..].first_chunk() else {
                    return Ok(None);
                };
                Word::Live {
                    epoch: u64::from_be_bytes(*epoch),
                }
            }
            _ => return Err(FrameError { length }),
        };
        self.inbox.take(HEADER_LEN + usize::from(payload_len[2]));
        Ok(Some(Item::Word(word)))
    }

    /// Length of the next frame, once it is here whole.
    fn whole(&self) -> Result<Option<usize>, FrameError> {
        let Some((header, rest)) = self.inbox.waiting().split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let length = checked_length(u32::from_be_bytes(*header) as usize)?;
        Ok((rest.len() >= length).then_some(length))
    }
}

/// Appends a word.
pub fn write_word(out: &mut Vec<u8>, word: Word) {
    match word {
        Word::Ping => out.extend([PING, 0, 0, 0]),
        Word::Pong => out.extend([PONG, 0, 0, 0]),
        Word::Live { epoch } => {
            out.extend([LIVE, 0, 0, 8]);
            out.extend(epoch.to_be_bytes());
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
    // `checked_length` keeps the length far below 4 GiB.
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
    fn words_stand_between_frames_and_survive_any_split() {
        let mut bytes = Vec::new();
        write_word(&mut bytes, Word::Live { epoch: 1 << 40 });
        write_frame(&mut bytes, b"frame").unwrap();
        write_word(&mut bytes, Word::Ping);
        write_word(&mut bytes, Word::Pong);
        for chunk in 1..bytes.len() {
            let mut reader = FrameReader::default();
            let mut popped = Vec::new();
            for piece in bytes.chunks(chunk) {
                reader.push(piece);
                while let Some(item) = reader.pop_item().unwrap() {
                    popped.push(format!("{item:?}"));
                }
            }
            assert_eq!(popped.len(), 4, "in pieces of {chunk}");
            assert_eq!(popped[0], "Word(Live { epoch: 1099511627776 })");
            assert_eq!(popped[3], "Word(Pong)");
        }
        for unknown in [[9, 0, 0, 0], [PING, 0, 0, 1], [LIVE, 1, 0, 8]] {
            let mut reader = FrameReader::default();
            reader.push(&unknown);
            assert!(reader.pop_item().is_err());
            assert!(reader.pop().is_err(), "plain framing has no words");
        }
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
