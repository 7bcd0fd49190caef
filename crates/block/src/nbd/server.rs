//! `Server`: a server's end of one connection. It says how many bytes it wants next, takes them, and gives
//! requests.
//!
//! The caller reads exactly [`Server::wants`] bytes, which lets the data of a write go from the socket to the
//! place from which they are written, without a copy between. Every byte is a stranger's.

use super::names::{
    Code, Command, CommandFlags, HandshakeFlags, OPTION_MAGIC, REQUEST_MAGIC, SERVER_MAGIC, command,
};
use super::options::{Exports, Haggling, Outcome};
use super::replies::Replies;
use crate::limits::{OPTION_LEN_MAX, OPTIONS_MAX, PAYLOAD_LEN_MAX};
use crate::wire::{Fields, Write};

/// Length of an option's head in bytes.
const OPTION_HEAD_LEN: usize = 16;
/// Length of a request's head in bytes.
const REQUEST_LEN: usize = 28;

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hangup {
    /// The client has said that it is done: the one end that is in order.
    #[error("the client has said goodbye")]
    Goodbye,
    /// The client does not speak the protocol.
    #[error("the client does not speak NBD as it should: {0}")]
    Protocol(&'static str),
    /// The client wants what it may not have, in a way to which there is no answer.
    #[error("{0}")]
    Refused(String),
}

/// What a client asks for during the transmission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's name for the request, which the reply repeats.
    pub cookie: u64,
    /// What it asks beside the command.
    pub flags: CommandFlags,
    /// What is to be done; an error is to be told instead, where the request makes no sense.
    pub command: Result<Command, Code>,
}

/// What the next bytes are.
#[derive(Debug)]
enum Phase {
    /// The flags of the client.
    Flags,
    /// The head of an option.
    Option,
    /// The data of an option.
    OptionData { option: u32, length: usize },
    /// The head of a request.
    Request,
    /// The data of a write, of which the head is known.
    Data {
        request: Request,
        offset: u64,
        length: u32,
    },
}

/// A server's end of a connection.
#[derive(Debug)]
pub struct Server {
    phase: Phase,
    options: u32,
    haggling: Haggling,
    /// Size of the entered export in bytes.
    bytes: u64,
    /// May the client ask for block status?
    allocation: bool,
    output: Vec<u8>,
}

impl Default for Server {
    fn default() -> Server {
        Server::new()
    }
}

impl Server {
    /// A connection that has just begun.
    #[must_use]
    pub fn new() -> Server {
        let mut output = Vec::new();
        output.put_u64(SERVER_MAGIC);
        output.put_u64(OPTION_MAGIC);
        output.put_u16(HandshakeFlags::all().bits());
        Server {
            phase: Phase::Flags,
            options: 0,
            haggling: Haggling::default(),
            bytes: 0,
            allocation: false,
            output,
        }
    }

    /// How many bytes are wanted next; at least 1 and at most [`PAYLOAD_LEN_MAX`].
    #[must_use]
    pub fn wants(&self) -> usize {
        match &self.phase {
            Phase::Flags => 4,
            Phase::Option => OPTION_HEAD_LEN,
            Phase::OptionData { length, .. } => *length,
            Phase::Request => REQUEST_LEN,
            Phase::Data { length, .. } => *length as usize,
        }
    }

    /// Takes what is to be sent to the client. Call it before each reading, and once more at the end.
    #[must_use]
    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Has the client entered an export? From then on only replies are sent.
    #[must_use]
    pub fn is_entered(&self) -> bool {
        matches!(self.phase, Phase::Request | Phase::Data { .. })
    }

    /// The form of the replies.
    #[must_use]
    pub fn replies(&self) -> Replies {
        Replies {
            structured: self.haggling.structured,
        }
    }

    /// Takes exactly the wanted bytes. The data of a write are taken out of `bytes`, all else is left there.
    ///
    /// # Errors
    /// The connection is over.
    pub fn take(
        &mut self,
        bytes: &mut Vec<u8>,
        exports: &mut dyn Exports,
    ) -> Result<Option<Request>, Hangup> {
        assert_eq!(bytes.len(), self.wants(), "the wanted bytes, all at once");
        match std::mem::replace(&mut self.phase, Phase::Request) {
            Phase::Flags => self.flags(bytes)?,
            Phase::Option => self.option(bytes, exports)?,
            Phase::OptionData { option, .. } => self.option_data(option, bytes, exports)?,
            Phase::Request => return self.request(bytes),
            Phase::Data {
                mut request, offset, ..
            } => {
                // A write that makes no sense has been read only to come behind it.
                if request.command.is_ok() {
                    let data = std::mem::take(bytes);
                    request.command = Ok(Command::Write { offset, data });
                }
                return Ok(Some(request));
            }
        }
        Ok(None)
    }

    fn flags(&mut self, bytes: &[u8]) -> Result<(), Hangup> {
        let flags = Fields(bytes).u32().unwrap_or_default();
        let known = u16::try_from(flags).ok().and_then(HandshakeFlags::from_bits);
        let Some(flags) = known else {
            return Err(Hangup::Protocol("unknown flags"));
        };
        self.haggling.no_zeroes = flags.contains(HandshakeFlags::NO_ZEROES);
        self.phase = Phase::Option;
        Ok(())
    }

    fn option(&mut self, bytes: &[u8], exports: &mut dyn Exports) -> Result<(), Hangup> {
        let mut fields = Fields(bytes);
        let (magic, option, length) = (fields.u64(), fields.u32(), fields.u32());
        if magic != Some(OPTION_MAGIC) {
            return Err(Hangup::Protocol("an option begins with other bytes"));
        }
        let (option, length) = (option.unwrap_or_default(), length.unwrap_or_default() as usize);
        if length > OPTION_LEN_MAX {
            return Err(Hangup::Protocol("an option is too long"));
        }
        self.options += 1;
        if self.options > OPTIONS_MAX {
            return Err(Hangup::Protocol("too many options"));
        }
        if length == 0 {
            return self.option_data(option, &[], exports);
        }
        self.phase = Phase::OptionData { option, length };
        Ok(())
    }

    fn option_data(&mut self, option: u32, data: &[u8], exports: &mut dyn Exports) -> Result<(), Hangup> {
        self.phase = match self.haggling.option(option, data, exports, &mut self.output) {
            Outcome::More => Phase::Option,
            Outcome::Entered { bytes, allocation } => {
                self.bytes = bytes;
                self.allocation = allocation;
                Phase::Request
            }
            Outcome::Aborted => return Err(Hangup::Goodbye),
            Outcome::Refused(text) => return Err(Hangup::Refused(text)),
        };
        Ok(())
    }

    fn request(&mut self, bytes: &[u8]) -> Result<Option<Request>, Hangup> {
        let mut fields = Fields(bytes);
        let fields = (
            fields.u32(),
            fields.u16(),
            fields.u16(),
            fields.u64(),
            fields.u64(),
            fields.u32(),
        );
        let (Some(REQUEST_MAGIC), Some(flags), Some(kind), Some(cookie), Some(offset), Some(length)) = fields
        else {
            return Err(Hangup::Protocol("a request begins with other bytes"));
        };
        if kind == command::DISCONNECT {
            return Err(Hangup::Goodbye);
        }
        let command = self.command(kind, offset, length);
        let known = CommandFlags::from_bits(flags);
        let request = Request {
            cookie,
            flags: known.unwrap_or(CommandFlags::empty()),
            command: command.and_then(|command| known.map(|_| command).ok_or(Code::Invalid)),
        };
        if kind == command::WRITE && length > 0 {
            if length > PAYLOAD_LEN_MAX {
                return Err(Hangup::Protocol("a write is too long"));
            }
            self.phase = Phase::Data {
                request,
                offset,
                length,
            };
            return Ok(None);
        }
        Ok(Some(request))
    }

    /// The command of a request, a write still without its data.
    fn command(&self, kind: u16, offset: u64, length: u32) -> Result<Command, Code> {
        let fits = offset
            .checked_add(u64::from(length))
            .is_some_and(|end| end <= self.bytes);
        let changes = matches!(kind, command::WRITE | command::TRIM | command::WRITE_ZEROES);
        if kind == command::FLUSH {
            return Ok(Command::Flush);
        }
        if length == 0 || (!fits && !changes) {
            return Err(Code::Invalid);
        }
        if !fits {
            return Err(Code::NoSpace);
        }
        match kind {
            command::READ if length > PAYLOAD_LEN_MAX => Err(Code::Invalid),
            command::READ => Ok(Command::Read { offset, length }),
            command::WRITE => Ok(Command::Write {
                offset,
                data: Vec::new(),
            }),
            command::TRIM => Ok(Command::Trim { offset, length }),
            command::WRITE_ZEROES => Ok(Command::WriteZeroes { offset, length }),
            command::BLOCK_STATUS if self.allocation => Ok(Command::BlockStatus { offset, length }),
            _ => Err(Code::Invalid),
        }
    }
}
