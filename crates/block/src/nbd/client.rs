//! `Client`: a client's end of one connection. It says how many bytes it wants next, takes them, and gives
//! events; what is to be sent it writes into buffers of the caller.
//!
//! It asks for structured replies, says who it is if it has an epoch ([`Ask`]), and enters an export. Whether
//! the server fences is known by its answer ([`Shape::answer`]) alone. Each request is answered exactly once,
//! and a reply to no request ends the connection.

use super::calls::{Call, Calls, Done};
use super::client_error::ClientError;
use super::names::{
    Code, HandshakeFlags, OLDSTYLE_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC, REQUEST_MAGIC, SERVER_MAGIC,
    TransmissionFlags, command, info, option, reply,
};
use crate::ask::{Answer, Ask};
use crate::limits::{OPTION_LEN_MAX, OPTIONS_MAX, PAYLOAD_LEN_MAX};
use crate::wire::{Fields, Write};

/// Which export a client wants, and who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Name of the export; at most [`crate::limits::NAME_LEN_MAX`] bytes.
    pub export: String,
    /// What it says of itself; `None`: nothing, as a program without epochs.
    pub ask: Option<Ask>,
}

/// The export that a client has entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its size in bytes.
    pub bytes: u64,
    /// What it can do.
    pub flags: TransmissionFlags,
    /// Requests begin and end at multiples of so many bytes.
    pub block_min: u32,
    /// Longest read or write in bytes; at most [`PAYLOAD_LEN_MAX`].
    pub payload_max: u32,
    /// What a fencing server says of itself; `None`: the server knows nothing of epochs.
    pub answer: Option<Answer>,
}

/// What a server has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client has entered the export, and requests may be sent.
    Entered(Shape),
    /// A request is answered.
    Done {
        /// The request's name.
        cookie: u64,
        /// The data that were read, which are empty for all but a read; or why it has failed, and a text for
        /// people.
        outcome: Result<Vec<u8>, (Code, String)>,
    },
}

/// What the next bytes are.
#[derive(Debug)]
enum Phase {
    Greeting,
    /// The head of an answer to this option.
    Answer {
        option: u32,
    },
    /// The data of an answer.
    AnswerData {
        option: u32,
        kind: u32,
        length: usize,
    },
    /// The answer to EXPORT_NAME.
    ExportName,
    /// Replies, in the hands of `calls`.
    Entered,
}

/// A client's end of a connection.
#[derive(Debug)]
pub struct Client {
    want: Want,
    phase: Phase,
    output: Vec<u8>,
    /// Answers to options, so that a server cannot go on for ever.
    answers: u32,
    no_zeroes: bool,
    shape: Shape,
    calls: Calls,
}

impl Client {
    /// A connection that has just begun.
    #[must_use]
    pub fn new(want: Want) -> Client {
        Client {
            want,
            phase: Phase::Greeting,
            output: Vec::new(),
            answers: 0,
            no_zeroes: false,
            shape: Shape {
                bytes: 0,
                flags: TransmissionFlags::empty(),
                block_min: 1,
                payload_max: PAYLOAD_LEN_MAX,
                answer: None,
            },
            calls: Calls::default(),
        }
    }

    /// How many bytes are wanted next; at least 1 and at most [`PAYLOAD_LEN_MAX`].
    #[must_use]
    pub fn wants(&self) -> usize {
        match &self.phase {
            Phase::Greeting => 18,
            Phase::Answer { .. } => 20,
            Phase::ExportName if self.no_zeroes => 10,
            Phase::ExportName => 134,
            Phase::AnswerData { length, .. } => *length,
            Phase::Entered => self.calls.wants(),
        }
    }

    /// Takes what is to be sent to the server during the handshake. Call it before each reading.
    #[must_use]
    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// What a fencing server has said of itself so far, also where it has refused in the end.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        self.shape.answer
    }

    /// May another request be sent?
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.calls.has_room()
    }

    /// Writes the head of a request; the data of a write are to follow directly. The client has entered the
    /// export, and has room.
    pub fn call(&mut self, call: Call, out: &mut Vec<u8>) {
        self.calls.call(call, out);
    }

    /// Writes a goodbye, behind which nothing may be sent.
    pub fn goodbye(out: &mut Vec<u8>) {
        out.put_u32(REQUEST_MAGIC);
        out.put_u16(0);
        out.put_u16(command::DISCONNECT);
        out.put_u64(0);
        out.put_u64(0);
        out.put_u32(0);
    }

    /// Takes exactly the wanted bytes. Data that were read are taken out of `bytes`, all else is left there.
    ///
    /// # Errors
    /// The connection is over.
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Event>, ClientError> {
        assert_eq!(bytes.len(), self.wants(), "the wanted bytes, all at once");
        match std::mem::replace(&mut self.phase, Phase::Entered) {
            Phase::Greeting => self.greeting(bytes).map(|()| None),
            Phase::Answer { option } => self.answer_head(option, bytes),
            Phase::AnswerData { option, kind, .. } => self.hear(option, kind, bytes),
            Phase::ExportName => self.export_name(bytes).map(Some),
            Phase::Entered => {
                let done = self.calls.take(bytes)?;
                Ok(done.map(|Done { cookie, outcome }| Event::Done { cookie, outcome }))
            }
        }
    }

    fn greeting(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let mut fields = Fields(bytes);
        let (first, second, flags) = (fields.u64(), fields.u64(), fields.u16());
        if first != Some(SERVER_MAGIC) {
            return Err(ClientError::Protocol("it begins with other bytes"));
        }
        if second == Some(OLDSTYLE_MAGIC) {
            return Err(ClientError::Oldstyle);
        }
        if second != Some(OPTION_MAGIC) {
            return Err(ClientError::Protocol("it begins with other bytes"));
        }
        let flags = HandshakeFlags::from_bits_truncate(flags.unwrap_or_default());
        self.no_zeroes = flags.contains(HandshakeFlags::NO_ZEROES);
        self.output.put_u32(u32::from(flags.bits()));
        if flags.contains(HandshakeFlags::FIXED_NEWSTYLE) {
            self.option(option::STRUCTURED_REPLY, &[]);
        } else {
            self.ask_by_name();
        }
        Ok(())
    }

    fn option(&mut self, option: u32, data: &[u8]) {
        self.output.put_u64(OPTION_MAGIC);
        self.output.put_u32(option);
        self.output.put_length(data.len());
        self.output.extend_from_slice(data);
        self.phase = Phase::Answer { option };
    }

    fn ask_by_name(&mut self) {
        let name = self.want.export.clone().into_bytes();
        self.option(option::EXPORT_NAME, &name);
        self.phase = Phase::ExportName;
    }

    fn say_who(&mut self, ask: &Ask) {
        let (mut data, query) = (Vec::new(), ask.to_string());
        data.put_length(self.want.export.len());
        data.extend_from_slice(self.want.export.as_bytes());
        data.put_u32(1);
        data.put_length(query.len());
        data.extend_from_slice(query.as_bytes());
        self.option(option::SET_META_CONTEXT, &data);
    }

    fn go(&mut self) {
        let mut data = Vec::new();
        data.put_length(self.want.export.len());
        data.extend_from_slice(self.want.export.as_bytes());
        data.put_u16(1);
        data.put_u16(info::BLOCK_SIZE);
        self.option(option::GO, &data);
    }

    fn answer_head(&mut self, option: u32, bytes: &[u8]) -> Result<Option<Event>, ClientError> {
        let mut fields = Fields(bytes);
        let (magic, to, kind, length) = (fields.u64(), fields.u32(), fields.u32(), fields.u32());
        if magic != Some(OPTION_REPLY_MAGIC) || to != Some(option) {
            return Err(ClientError::Protocol("an answer to another option"));
        }
        let (kind, length) = (kind.unwrap_or_default(), length.unwrap_or_default() as usize);
        self.answers += 1;
        if length > OPTION_LEN_MAX || self.answers > OPTIONS_MAX {
            return Err(ClientError::Protocol("its answers have no end"));
        }
        if length == 0 {
            return self.hear(option, kind, &[]);
        }
        self.phase = Phase::AnswerData { option, kind, length };
        Ok(None)
    }

    /// Takes an answer to an option, and goes on to the next option behind the last answer to this one.
    fn hear(&mut self, option: u32, kind: u32, data: &[u8]) -> Result<Option<Event>, ClientError> {
        let failed = kind & reply::ERROR != 0;
        if !failed && kind != reply::ACK {
            self.phase = Phase::Answer { option };
            return self.detail(kind, data).map(|()| None);
        }
        let text = || String::from_utf8_lossy(data).into_owned();
        match option {
            option::STRUCTURED_REPLY => {
                self.calls.structured = !failed;
                match self.want.ask.clone() {
                    Some(ask) if self.calls.structured => self.say_who(&ask),
                    _ => self.go(),
                }
            }
            option::SET_META_CONTEXT => match kind {
                reply::ERR_UNKNOWN => return Err(ClientError::Unknown(text())),
                reply::ERR_POLICY => return Err(ClientError::Refused(text())),
                // A server without metadata contexts knows nothing of epochs, and says so by any other error.
                _ => self.go(),
            },
            _ if kind == reply::ACK => {
                self.phase = Phase::Entered;
                return self.entered().map(Some);
            }
            _ if kind == reply::ERR_UNSUP => self.ask_by_name(),
            _ if kind == reply::ERR_UNKNOWN => return Err(ClientError::Unknown(text())),
            _ => return Err(ClientError::Refused(text())),
        }
        Ok(None)
    }

    /// What an answer tells before the last one.
    fn detail(&mut self, kind: u32, data: &[u8]) -> Result<(), ClientError> {
        let mut fields = Fields(data);
        match kind {
            reply::META_CONTEXT => {
                let name = fields.u32().and_then(|_| std::str::from_utf8(fields.0).ok());
                if let Some(answer) = name.and_then(|name| name.parse().ok()) {
                    self.shape.answer = Some(answer);
                }
            }
            reply::INFO => match fields.u16() {
                Some(info::EXPORT) => self.size(&mut fields)?,
                Some(info::BLOCK_SIZE) => {
                    let (Some(min), Some(_), Some(max)) = (fields.u32(), fields.u32(), fields.u32()) else {
                        return Err(ClientError::Protocol("block sizes that are cut off"));
                    };
                    if !min.is_power_of_two() || max < min {
                        return Err(ClientError::Protocol("block sizes that make no sense"));
                    }
                    self.shape.block_min = min;
                    self.shape.payload_max = (max - max % min).min(PAYLOAD_LEN_MAX);
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn size(&mut self, fields: &mut Fields<'_>) -> Result<(), ClientError> {
        let (Some(bytes), Some(flags)) = (fields.u64(), fields.u16()) else {
            return Err(ClientError::Protocol("an export without a size"));
        };
        self.shape.bytes = bytes;
        self.shape.flags = TransmissionFlags::from_bits_truncate(flags);
        Ok(())
    }

    fn export_name(&mut self, bytes: &[u8]) -> Result<Event, ClientError> {
        self.size(&mut Fields(bytes))?;
        self.entered()
    }

    fn entered(&mut self) -> Result<Event, ClientError> {
        if !self.shape.flags.contains(TransmissionFlags::HAS_FLAGS) {
            return Err(ClientError::Protocol("an export without flags"));
        }
        Ok(Event::Entered(self.shape))
    }
}
