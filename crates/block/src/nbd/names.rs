//! The protocol's numbers (proto.md, "Values").

use bitflags::bitflags;

/// First word of a server.
pub(super) const SERVER_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// Second word of a newstyle server, and first of each option.
pub(super) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Second word of an oldstyle server.
pub(super) const OLDSTYLE_MAGIC: u64 = 0x0000_4202_8186_1253;
/// First word of an answer to an option.
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// First word of a request.
pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
/// First word of a simple reply.
pub(super) const SIMPLE_MAGIC: u32 = 0x6744_6698;
/// First word of a chunk of a structured reply.
pub(super) const CHUNK_MAGIC: u32 = 0x668e_33ef;

bitflags! {
    /// What a server can do in the handshake. A client's flags have the same bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct HandshakeFlags: u16 {
        /// Options get answers, and an unknown one does not end the connection.
        const FIXED_NEWSTYLE = 1;
        /// The answer to EXPORT_NAME has no 124 zeroes at its end.
        const NO_ZEROES = 1 << 1;
    }
}

bitflags! {
    /// What an export can do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TransmissionFlags: u16 {
        /// There are flags. Always set.
        const HAS_FLAGS = 1;
        /// Nothing may be changed.
        const READ_ONLY = 1 << 1;
        /// FLUSH is understood.
        const SEND_FLUSH = 1 << 2;
        /// A change may ask to be durable when it is answered.
        const SEND_FUA = 1 << 3;
        /// The storage has moving parts.
        const ROTATIONAL = 1 << 4;
        /// TRIM is understood.
        const SEND_TRIM = 1 << 5;
        /// WRITE_ZEROES is understood.
        const SEND_WRITE_ZEROES = 1 << 6;
        /// A read may ask to be answered in one piece.
        const SEND_DF = 1 << 7;
        /// A flush on one connection covers what was answered on the others.
        const CAN_MULTI_CONN = 1 << 8;
        /// WRITE_ZEROES may ask to fail where it would be slow.
        const SEND_FAST_ZERO = 1 << 11;
    }
}

bitflags! {
    /// What a request asks beside its command.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CommandFlags: u16 {
        /// The change is to be durable when it is answered.
        const FUA = 1;
        /// WRITE_ZEROES is to keep the space.
        const NO_HOLE = 1 << 1;
        /// The data that are read are to come in one piece.
        const DF = 1 << 2;
        /// BLOCK_STATUS is to tell one extent only.
        const REQ_ONE = 1 << 3;
        /// WRITE_ZEROES is to fail where it would be as slow as a write.
        const FAST_ZERO = 1 << 4;
    }
}

/// Options of the handshake.
pub(super) mod option {
    pub const EXPORT_NAME: u32 = 1;
    pub const ABORT: u32 = 2;
    pub const LIST: u32 = 3;
    pub const INFO: u32 = 6;
    pub const GO: u32 = 7;
    pub const STRUCTURED_REPLY: u32 = 8;
    pub const LIST_META_CONTEXT: u32 = 9;
    pub const SET_META_CONTEXT: u32 = 10;
}

/// Kinds of answers to options.
pub(super) mod reply {
    pub const ACK: u32 = 1;
    pub const SERVER: u32 = 2;
    pub const INFO: u32 = 3;
    pub const META_CONTEXT: u32 = 4;
    /// This bit is set in each error.
    pub const ERROR: u32 = 1 << 31;
    pub const ERR_UNSUP: u32 = ERROR + 1;
    pub const ERR_POLICY: u32 = ERROR + 2;
    pub const ERR_INVALID: u32 = ERROR + 3;
    pub const ERR_UNKNOWN: u32 = ERROR + 6;
}

/// Kinds of information about an export.
pub(super) mod info {
    pub const EXPORT: u16 = 0;
    pub const NAME: u16 = 1;
    pub const DESCRIPTION: u16 = 2;
    pub const BLOCK_SIZE: u16 = 3;
}

/// Kinds of chunks of a structured reply.
pub(super) mod chunk {
    pub const NONE: u16 = 0;
    pub const OFFSET_DATA: u16 = 1;
    pub const OFFSET_HOLE: u16 = 2;
    pub const BLOCK_STATUS: u16 = 5;
    /// This bit is set in each error.
    pub const ERROR_BIT: u16 = 1 << 15;
    pub const ERROR: u16 = ERROR_BIT + 1;
    /// The flag of a reply's last chunk.
    pub const DONE: u16 = 1;
}

/// Commands of the transmission.
pub(super) mod command {
    pub const READ: u16 = 0;
    pub const WRITE: u16 = 1;
    pub const DISCONNECT: u16 = 2;
    pub const FLUSH: u16 = 3;
    pub const TRIM: u16 = 4;
    pub const WRITE_ZEROES: u16 = 6;
    pub const BLOCK_STATUS: u16 = 7;
}

/// The one metadata context that the protocol itself defines.
pub(super) const BASE_ALLOCATION: &str = "base:allocation";
/// The number by which answers to BLOCK_STATUS name `base:allocation`.
pub(super) const BASE_ALLOCATION_ID: u32 = 1;
/// The number of the context with which a fencing server answers an [`Ask`](crate::Ask); it has no extents.
pub(super) const FENCE_ID: u32 = 2;

/// Why a request has failed: the numbers of proto.md, "Error values".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The export is read-only, or the client is cut off.
    NotPermitted,
    /// The storage has failed.
    Io,
    /// The server has no memory left.
    NoMemory,
    /// The request makes no sense.
    Invalid,
    /// The storage is full, or the place is behind its end.
    NoSpace,
    /// The answer does not fit into one piece.
    Overflow,
    /// It cannot be done, or not fast.
    NotSupported,
    /// The server is about to end.
    Shutdown,
    /// A number that the protocol does not have.
    Other(u32),
}

impl Code {
    const EIO: u32 = 5;
    const NUMBERS: [(Code, u32); 8] = [
        (Code::NotPermitted, 1),
        (Code::Io, Code::EIO),
        (Code::NoMemory, 12),
        (Code::Invalid, 22),
        (Code::NoSpace, 28),
        (Code::Overflow, 75),
        (Code::NotSupported, 95),
        (Code::Shutdown, 108),
    ];

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Code::Other(number) => number,
            _ => {
                let found = Code::NUMBERS.iter().find(|(code, _)| *code == self);
                found.map_or(Code::EIO, |(_, number)| *number)
            }
        }
    }

    /// What a number on the wire means; 0 means nothing bad and has no code.
    #[must_use]
    pub fn of(number: u32) -> Option<Code> {
        let found = Code::NUMBERS.iter().find(|(_, candidate)| *candidate == number);
        match found {
            Some((code, _)) => Some(*code),
            None => (number != 0).then_some(Code::Other(number)),
        }
    }
}

/// What a request asks for. Places and lengths are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The content of a range.
    Read {
        /// Where the range begins.
        offset: u64,
        /// Its length, at least 1.
        length: u32,
    },
    /// To write data.
    Write {
        /// Where the data go.
        offset: u64,
        /// The data, at least one byte.
        data: Vec<u8>,
    },
    /// That everything answered before is durable when this is answered.
    Flush,
    /// That the content of a range is not needed any more.
    Trim {
        /// Where the range begins.
        offset: u64,
        /// Its length.
        length: u32,
    },
    /// That a range has nothing but zeroes.
    WriteZeroes {
        /// Where the range begins.
        offset: u64,
        /// Its length.
        length: u32,
    },
    /// Where a range has data, and where it has none.
    BlockStatus {
        /// Where the range begins.
        offset: u64,
        /// Its length.
        length: u32,
    },
}

/// A piece of an export, as `base:allocation` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its length in bytes, at least 1.
    pub length: u32,
    /// Does it take no space, and is it read as zeroes?
    pub hole: bool,
}
