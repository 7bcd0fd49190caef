//! `Calls`: the requests of a client that are not answered, and the replies to them (proto.md, "Simple reply
//! message" and "Structured reply chunk message").

use std::collections::BTreeMap;

use super::client_error::ClientError;
use super::names::{CHUNK_MAGIC, Code, CommandFlags, REQUEST_MAGIC, SIMPLE_MAGIC, chunk, command};
use crate::limits::{OPTION_LEN_MAX, REQUESTS_MAX};
use crate::wire::{Fields, Write};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The content of the range.
    Read,
    /// To write data, which the caller sends behind the head.
    Write,
    /// That everything answered before is durable. It has no range.
    Flush,
    /// That the content of the range is not needed any more.
    Trim,
    /// That the range has nothing but zeroes.
    WriteZeroes,
}

/// A request of this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The client's name for the request, which no other one has that is not answered.
    pub cookie: u64,
    /// What it asks for.
    pub operation: Operation,
    /// What it asks beside.
    pub flags: CommandFlags,
    /// Where the range begins, in bytes.
    pub offset: u64,
    /// Length of the range in bytes.
    pub length: u32,
}

/// A request that is answered: its name; and the data that were read, which are empty for all but a read, or
/// why it has failed, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The request's name.
    pub cookie: u64,
    /// What has become of it.
    pub outcome: Result<Vec<u8>, (Code, String)>,
}

/// A request that is not answered.
#[derive(Debug)]
struct Pending {
    offset: u64,
    /// How many bytes are read; 0 for all but a read.
    length: u32,
    data: Vec<u8>,
    /// How many bytes of data are there.
    filled: u64,
    failure: Option<(Code, String)>,
}

/// What the next bytes of a reply are.
#[derive(Debug, Default)]
enum Phase {
    /// The part of a reply's head that both forms have.
    #[default]
    Reply,
    /// The rest of the head of a chunk.
    ChunkLength { flags: u16, kind: u16, cookie: u64 },
    /// What stands before the data of a chunk, or the whole content of another chunk.
    Chunk { chunk: Chunk, length: usize },
    /// Data that were read.
    Data {
        chunk: Chunk,
        offset: u64,
        length: usize,
    },
}

/// A chunk of which the head is known.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    done: bool,
    kind: u16,
    cookie: u64,
    /// Length of what follows in bytes.
    length: u32,
}

/// The requests of a client that are not answered.
#[derive(Debug, Default)]
pub(super) struct Calls {
    phase: Phase,
    /// Do replies come in chunks?
    pub structured: bool,
    pending: BTreeMap<u64, Pending>,
}

impl Calls {
    /// How many bytes are wanted next.
    pub fn wants(&self) -> usize {
        match &self.phase {
            Phase::Reply => 16,
            Phase::ChunkLength { .. } => 4,
            Phase::Chunk { length, .. } | Phase::Data { length, .. } => *length,
        }
    }

    /// May another request be sent?
    pub fn has_room(&self) -> bool {
        self.pending.len() < REQUESTS_MAX
    }

    /// Writes the head of a request.
    pub fn call(&mut self, call: Call, out: &mut Vec<u8>) {
        let Call {
            cookie,
            operation,
            flags,
            offset,
            length,
        } = call;
        let pending = Pending {
            offset,
            length: if operation == Operation::Read { length } else { 0 },
            data: Vec::new(),
            filled: 0,
            failure: None,
        };
        let before = self.pending.insert(cookie, pending);
        assert!(
            before.is_none() && self.pending.len() <= REQUESTS_MAX,
            "a call too many"
        );
        out.put_u32(REQUEST_MAGIC);
        out.put_u16(flags.bits());
        out.put_u16(match operation {
            Operation::Read => command::READ,
            Operation::Write => command::WRITE,
            Operation::Flush => command::FLUSH,
            Operation::Trim => command::TRIM,
            Operation::WriteZeroes => command::WRITE_ZEROES,
        });
        out.put_u64(cookie);
        out.put_u64(offset);
        out.put_u32(length);
    }

    /// Takes exactly the wanted bytes. Data that were read are taken out of `bytes`, all else is left there.
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Done>, ClientError> {
        match std::mem::replace(&mut self.phase, Phase::Reply) {
            Phase::Reply => self.reply(bytes),
            Phase::ChunkLength { flags, kind, cookie } => {
                let length = Fields(bytes).u32().unwrap_or_default();
                self.chunk(Chunk {
                    done: flags & chunk::DONE != 0,
                    kind,
                    cookie,
                    length,
                })
            }
            Phase::Chunk { chunk, .. } => self.chunk_content(chunk, bytes),
            Phase::Data { chunk, offset, .. } => self.data(chunk, offset, bytes),
        }
    }

    fn reply(&mut self, bytes: &[u8]) -> Result<Option<Done>, ClientError> {
        let mut fields = Fields(bytes);
        match fields.u32() {
            Some(SIMPLE_MAGIC) => {
                let (Some(error), Some(cookie)) = (fields.u32(), fields.u64()) else {
                    return Err(ClientError::Protocol("a reply that is cut off"));
                };
                self.simple(error, cookie)
            }
            Some(CHUNK_MAGIC) if self.structured => {
                let (Some(flags), Some(kind), Some(cookie)) = (fields.u16(), fields.u16(), fields.u64())
                else {
                    return Err(ClientError::Protocol("a reply that is cut off"));
                };
                self.phase = Phase::ChunkLength { flags, kind, cookie };
                Ok(None)
            }
            _ => Err(ClientError::Protocol("a reply begins with other bytes")),
        }
    }

    fn simple(&mut self, error: u32, cookie: u64) -> Result<Option<Done>, ClientError> {
        let pending = self.pending(cookie)?;
        if let Some(code) = Code::of(error) {
            pending.failure = Some((code, String::new()));
        } else if pending.length > 0 {
            let (offset, length) = (pending.offset, pending.length);
            if self.structured {
                return Err(ClientError::Protocol("a read without chunks"));
            }
            self.phase = Phase::Data {
                chunk: Chunk {
                    done: true,
                    kind: chunk::OFFSET_DATA,
                    cookie,
                    length,
                },
                offset,
                length: length as usize,
            };
            return Ok(None);
        }
        self.done(cookie)
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<Option<Done>, ClientError> {
        self.pending(chunk.cookie)?;
        let length = chunk.length as usize;
        let wants = match chunk.kind {
            chunk::NONE if length == 0 && chunk.done => return self.done(chunk.cookie),
            chunk::OFFSET_DATA if length > 8 => 8,
            chunk::OFFSET_HOLE if length == 12 => 12,
            kind if kind & chunk::ERROR_BIT != 0 && (6..=OPTION_LEN_MAX).contains(&length) => length,
            _ => return Err(ClientError::Protocol("a chunk that makes no sense")),
        };
        self.phase = Phase::Chunk { chunk, length: wants };
        Ok(None)
    }

    fn chunk_content(&mut self, chunk: Chunk, bytes: &[u8]) -> Result<Option<Done>, ClientError> {
        let mut fields = Fields(bytes);
        match chunk.kind {
            chunk::OFFSET_DATA => {
                let (offset, length) = (fields.u64().unwrap_or_default(), chunk.length - 8);
                self.pending(chunk.cookie)?.range(offset, length)?;
                self.phase = Phase::Data {
                    chunk,
                    offset,
                    length: length as usize,
                };
                return Ok(None);
            }
            chunk::OFFSET_HOLE => {
                let (offset, length) = (fields.u64().unwrap_or_default(), fields.u32().unwrap_or_default());
                let pending = self.pending(chunk.cookie)?;
                let range = pending.range(offset, length)?;
                pending.whole()[range].fill(0);
                pending.filled += u64::from(length);
            }
            _ => {
                let code = fields.u32().and_then(Code::of);
                let text = fields.u16().and_then(|length| fields.bytes(usize::from(length)));
                let (Some(code), Some(text)) = (code, text) else {
                    return Err(ClientError::Protocol("an error that makes no sense"));
                };
                let text = String::from_utf8_lossy(text).into_owned();
                self.pending(chunk.cookie)?.failure.get_or_insert((code, text));
            }
        }
        match chunk.done {
            true => self.done(chunk.cookie),
            false => Ok(None),
        }
    }

    fn data(&mut self, chunk: Chunk, offset: u64, bytes: &mut Vec<u8>) -> Result<Option<Done>, ClientError> {
        let pending = self.pending(chunk.cookie)?;
        let range = pending.range(offset, bytes.len() as u32)?;
        pending.filled += bytes.len() as u64;
        if bytes.len() == pending.length as usize {
            pending.data = std::mem::take(bytes);
        } else {
            pending.whole()[range].copy_from_slice(bytes);
        }
        match chunk.done {
            true => self.done(chunk.cookie),
            false => Ok(None),
        }
    }

    fn pending(&mut self, cookie: u64) -> Result<&mut Pending, ClientError> {
        let found = self.pending.get_mut(&cookie);
        found.ok_or(ClientError::Protocol("a reply to no request"))
    }

    fn done(&mut self, cookie: u64) -> Result<Option<Done>, ClientError> {
        let pending = self.pending.remove(&cookie);
        let pending = pending.ok_or(ClientError::Protocol("a reply to no request"))?;
        let outcome = match pending.failure {
            Some(failure) => Err(failure),
            None if pending.filled == u64::from(pending.length) => Ok(pending.data),
            None => return Err(ClientError::Protocol("a read that lacks data")),
        };
        Ok(Some(Done { cookie, outcome }))
    }
}

impl Pending {
    /// The place in the data of a range of the export.
    fn range(&self, offset: u64, length: u32) -> Result<std::ops::Range<usize>, ClientError> {
        let begin = offset
            .checked_sub(self.offset)
            .and_then(|begin| u32::try_from(begin).ok());
        let end = begin.and_then(|begin| begin.checked_add(length));
        match (begin, end) {
            (Some(begin), Some(end)) if end <= self.length => Ok(begin as usize..end as usize),
            _ => Err(ClientError::Protocol("data that nobody asked for")),
        }
    }

    /// All data, with zeroes where none have come.
    fn whole(&mut self) -> &mut [u8] {
        self.data.resize(self.length as usize, 0);
        &mut self.data
    }
}
