//! `Writer` and `Reader`: numbers, runs of bytes and texts, as they stand in the log and in messages.
//!
//! A reader takes bytes from a file or a peer: it checks every length before it allocates, and never panics.

use crate::parcel::Parcel;

/// Why bytes are not what they were claimed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end too early.
    #[error("it ends too early")]
    Short,
    /// The bytes go on after what they were claimed to be.
    #[error("something follows its end")]
    Trailing,
    /// A number or a length is larger than it can be, or a number is written longer than it need be.
    #[error("a number or a length is larger than it can be")]
    TooLarge,
    /// Nobody has given a meaning to this tag.
    #[error("there is no kind {0}")]
    Tag(u8),
    /// This kind is known by its number, and belongs to a part of Lockstep that this program does not have.
    #[error("kind {0} belongs to a later release; run that release on both sides")]
    Later(u8),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
}

/// Appends values to bytes.
#[derive(Debug, Default)]
pub struct Writer(Parcel);

impl Writer {
    /// A writer with `room` bytes of room before what it will write.
    #[must_use]
    pub fn with_room(room: usize) -> Writer {
        Writer(Parcel::with_room(room))
    }

    /// The bytes that were written.
    #[must_use]
    pub fn into_parcel(self) -> Parcel {
        self.0
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Was nothing written so far?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Writes a number, seven bits a byte, low ones first; a byte's top bit says that another follows.
    pub fn varint(&mut self, mut value: u64) {
        loop {
            let low = (value & 0x7f).to_le_bytes()[0];
            value >>= 7;
            if value == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    /// Writes a signed number: 0, -1, 1, -2, .. as the varints 0, 1, 2, 3, ..
    pub fn signed(&mut self, value: i64) {
        let zigzag = (value << 1) ^ (value >> 63);
        self.varint(u64::from_le_bytes(zigzag.to_le_bytes()));
    }

    /// Writes a run of bytes with its length before it.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.raw(bytes);
    }
}

/// Takes values from bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader that stands at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// The bytes that were not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Is nothing left to read?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that nothing is left to read.
    ///
    /// # Errors
    /// If something is left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing)
        }
    }

    /// Reads the next `N` bytes, as they are.
    ///
    /// # Errors
    /// If fewer bytes are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    /// Reads a byte that is 0 for no and 1 for yes.
    ///
    /// # Errors
    /// If no byte is left, or it is another.
    pub fn truth(&mut self) -> Result<bool, Malformed> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed::TooLarge),
        }
    }

    /// Reads a number as [`Writer::varint`] writes it.
    ///
    /// # Errors
    /// If it ends early, needs more than 64 bits, or is written longer than it need be.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::TooLarge);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                // Each number has one form only, so that equal logs are equal bytes.
                return if byte == 0 && shift > 0 {
                    Err(Malformed::TooLarge)
                } else {
                    Ok(value)
                };
            }
        }
        Err(Malformed::TooLarge)
    }

    /// Reads a number of at most `max`.
    ///
    /// # Errors
    /// As [`Reader::varint`], and if the number is larger.
    pub fn varint_at_most(&mut self, max: u64) -> Result<u64, Malformed> {
        let value = self.varint()?;
        if value > max {
            Err(Malformed::TooLarge)
        } else {
            Ok(value)
        }
    }

    /// Reads a signed number as [`Writer::signed`] writes it.
    ///
    /// # Errors
    /// As [`Reader::varint`].
    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let zigzag = self.varint()?;
        let magnitude = i64::from_le_bytes((zigzag >> 1).to_le_bytes());
        Ok(if zigzag & 1 == 0 { magnitude } else { !magnitude })
    }

    /// Reads a run of at most `max` bytes, with its length before it.
    ///
    /// # Errors
    /// If it is longer, or ends early.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed::TooLarge)?;
        if length > max {
            return Err(Malformed::TooLarge);
        }
        let (head, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(head)
    }

    /// Reads a text of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Reader::bytes`], and if it is not UTF-8.
    pub fn text(&mut self, max: usize) -> Result<String, Malformed> {
        let bytes = self.bytes(max)?;
        Ok(std::str::from_utf8(bytes)
            .map_err(|_| Malformed::Text)?
            .to_owned())
    }
}
