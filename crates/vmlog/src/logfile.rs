//! `LogReader`: a log file as entries. Its caller reads the file and pushes the bytes; header and entries
//! come out, for `Playback` and for `lockstep log`.
//!
//! A file whose last frame is cut off is a recording whose program died: it ends, cleanly, before that frame.
//! Anything else that does not fit is corruption, told with its offset; its entries never come out.

use machine::Step;

use crate::bytes::{Malformed, Reader};
use crate::codec;
use crate::codec::{Decoder, Extent, FrameError};
use crate::entry::{Entry, EntryKind};
use crate::header::{Header, MAGIC};
use crate::limits;

/// What is wrong with a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The file does not begin as a log does.
    #[error("this is not a Lockstep log")]
    Magic,
    /// The log has another version of the format.
    #[error(
        "the log has format version {found} and this program reads versions {oldest} to {}; \
         use the release that recorded it",
        codec::VERSION
    )]
    Version {
        /// The version that the file says it has.
        found: u32,
        /// The oldest version that this reader reads.
        oldest: u32,
    },
    /// The header is damaged.
    #[error("the log's header is damaged: {0}")]
    Header(Malformed),
    /// The header's checksum is wrong.
    #[error("the log's header is damaged: its checksum is wrong")]
    HeaderChecksum,
    /// A frame is damaged.
    #[error("the log is damaged at byte {offset}: {why}")]
    Frame {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong with it.
        why: FrameError,
    },
    /// Something follows the entry that says the guest is off.
    #[error("the log goes on at byte {offset} though the guest was switched off before")]
    AfterOff {
        /// Byte of the file at which the log goes on.
        offset: u64,
    },
}

/// How a log file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the guest switched off: it is the guest's whole life.
    Off,
    /// After a whole frame, with the guest running: the recording was stopped, or a pair took another way.
    Open {
        /// The last step that it covers.
        at: Step,
    },
    /// In the middle of a frame or the header: the recording program or its host died, or the disk was full.
    Cut {
        /// The last step that it covers.
        at: Step,
        /// Where the unfinished frame begins.
        offset: u64,
        /// How many bytes of it there are.
        bytes: u64,
    },
}

/// Takes the bytes of a file and gives its header and its entries.
#[derive(Debug, Default)]
pub struct LogReader {
    /// Bytes of the file that were pushed and may not be used up.
    buffer: Vec<u8>,
    /// How many of `buffer`, from the first, are used up.
    used: usize,
    /// Offset in the file of `buffer[0]`.
    offset: u64,
    /// The header, and the decoder of the frames behind it; `None`: the header is not complete yet.
    log: Option<(Header, Decoder)>,
    /// Has an entry said that the guest is off? Then nothing may follow it.
    off: bool,
    /// Are logs of older versions read too? Nobody replays what comes out, since another guest has lived it.
    to_look_at: bool,
}

/// Bytes before the header's body: magic, version, length and CRC-32C of the body.
const HEAD: usize = 8 + 4 + 4 + 4;

impl LogReader {
    /// A reader that also reads logs of older versions, from [`codec::VERSION_OLDEST`] on: for whoever looks
    /// at them. A reader by `default` reads only what this program can replay.
    #[must_use]
    pub fn to_look_at() -> LogReader {
        LogReader {
            to_look_at: true,
            ..LogReader::default()
        }
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.offset = self.at();
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The header, once enough bytes are there.
    ///
    /// # Errors
    /// If this is no log, or one of another version.
    pub fn header(&mut self) -> Result<Option<&Header>, LogError> {
        if self.log.is_none() {
            self.log = self.read_header()?;
        }
        Ok(self.log.as_ref().map(|(header, _)| header))
    }

    fn read_header(&mut self) -> Result<Option<(Header, Decoder)>, LogError> {
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer.get(..known) != MAGIC.get(..known) {
            return Err(LogError::Magic);
        }
        let mut r = Reader::new(&self.buffer);
        if self.buffer.len() < HEAD {
            return Ok(None);
        }
        let mut word = || r.array::<4>().map(u32::from_le_bytes).map_err(LogError::Header);
        let (_, _) = (word()?, word()?);
        let (found, length, crc) = (word()?, word()?, word()?);
        let oldest = if self.to_look_at {
            codec::VERSION_OLDEST
        } else {
            codec::VERSION_OLDEST_REPLAYED
        };
        if !(oldest..=codec::VERSION).contains(&found) {
            return Err(LogError::Version { found, oldest });
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > limits::HEADER_BYTES_MAX {
            return Err(LogError::Header(Malformed::TooLarge));
        }
        let Some(body) = r.rest().get(..length) else {
            return Ok(None);
        };
        if crc32c::crc32c(body) != crc {
            return Err(LogError::HeaderChecksum);
        }
        let mut r = Reader::new(body);
        let header = Header::read_version(&mut r, found).map_err(LogError::Header)?;
        r.end().map_err(LogError::Header)?;
        self.used = HEAD.saturating_add(length);
        let decoder = Decoder::new(header.start);
        Ok(Some((header, decoder)))
    }

    /// The entries of the next frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// If the log is damaged; it says where.
    pub fn frame(&mut self) -> Result<Option<Vec<Entry>>, LogError> {
        self.header()?;
        let offset = self.at();
        let Some((_, decoder)) = &mut self.log else {
            return Ok(None);
        };
        let damaged = |why| LogError::Frame { offset, why };
        let rest = self.buffer.get(self.used..).unwrap_or_default();
        if self.off && !rest.is_empty() {
            return Err(LogError::AfterOff { offset });
        }
        let Extent::Bytes(whole) = codec::extent(rest).map_err(damaged)? else {
            return Ok(None);
        };
        let entries = decoder.frame(rest).map_err(damaged)?;
        self.used = self.used.saturating_add(whole);
        let off = |entry: &Entry| matches!(entry.kind, EntryKind::Off(_));
        if let Some(index) = entries.iter().position(off) {
            self.off = true;
            if index.saturating_add(1) != entries.len() {
                return Err(LogError::AfterOff { offset });
            }
        }
        Ok(Some(entries))
    }

    /// How the file ends, after its last byte was pushed and [`LogReader::frame`] gave `None`.
    #[must_use]
    pub fn end(&self) -> End {
        let at = self.log.as_ref().map_or(Step(0), |(_, decoder)| decoder.step());
        let bytes = self.buffer.len().saturating_sub(self.used);
        if bytes > 0 || self.log.is_none() {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            return End::Cut {
                at,
                offset: self.at(),
                bytes,
            };
        }
        if self.off { End::Off } else { End::Open { at } }
    }

    /// Offset in the file of the next byte that is not used up.
    fn at(&self) -> u64 {
        self.offset
            .saturating_add(u64::try_from(self.used).unwrap_or(u64::MAX))
    }
}
