//! What a server answers to a client's options, until the client enters an export (proto.md, "Handshake
//! phase").
//!
//! What exports there are, and who may enter them, is said by [`Exports`]. An option that makes no sense gets
//! an error and the next one is heard; only what leaves no way back into step ends the connection.

use super::names::{
    BASE_ALLOCATION, BASE_ALLOCATION_ID, FENCE_ID, OPTION_REPLY_MAGIC, TransmissionFlags, info, option, reply,
};
use crate::ask::{Answer, Ask, NAMESPACE};
use crate::limits::{NAME_LEN_MAX, PAYLOAD_LEN_MAX, QUERIES_MAX, TEXT_LEN_MAX};
use crate::wire::{Fields, Write, shortened};

/// An export as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its size in bytes.
    pub bytes: u64,
    /// What it can do. `HAS_FLAGS` and `SEND_DF` are added where they are due.
    pub flags: TransmissionFlags,
    /// Whatever people should know of it.
    pub description: String,
    /// Requests begin and end at multiples of so many bytes: a power of two from 1 to 65,536.
    pub block_min: u32,
    /// Requests of multiples of so many bytes are fast: a power of two from 512 on.
    pub block_preferred: u32,
}

/// Why a client may not use an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such export.
    Unknown(String),
    /// There is, but not for this client; the text says why.
    Policy(String),
}

/// The exports of a server, and who may use them.
pub trait Exports {
    /// The names of all exports.
    fn names(&mut self) -> Vec<String>;

    /// The export of this name; the empty name means the one that there is. Nothing changes by this.
    ///
    /// # Errors
    /// There is none, or not for this client.
    fn describe(&mut self, name: &str) -> Result<Export, Refused>;

    /// What the server says of itself to a client of Lockstep. Nothing changes by this.
    ///
    /// # Errors
    /// There is no such export, or it is not of this VM.
    fn answer(&mut self, name: &str, ask: &Ask) -> Result<Answer, Refused>;

    /// Admits a client to an export; `ask` is what a client of Lockstep has said of itself. May take as long
    /// as a write of another client that is cut off by this.
    ///
    /// # Errors
    /// The client may not enter, and why.
    fn enter(&mut self, name: &str, ask: Option<&Ask>) -> Result<Export, Refused>;
}

/// The metadata contexts that a client has set.
#[derive(Clone, Debug, Default)]
struct Contexts {
    /// The export for which they were set.
    export: String,
    /// Is `base:allocation` among them?
    allocation: bool,
    /// What a client of Lockstep has said of itself.
    ask: Option<Ask>,
}

/// What follows from an option.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The next option may come.
    More,
    /// The client has entered an export of this size.
    Entered {
        /// The size of the export in bytes.
        bytes: u64,
        /// May the client ask for block status?
        allocation: bool,
    },
    /// The client has said goodbye.
    Aborted,
    /// The client may not enter, and the protocol has no words to say so.
    Refused(String),
}

/// What was agreed on so far.
#[derive(Debug, Default)]
pub(super) struct Haggling {
    /// Are the client's answers to EXPORT_NAME without zeroes at their end?
    pub no_zeroes: bool,
    /// Do replies come in chunks?
    pub structured: bool,
    contexts: Contexts,
}

impl Haggling {
    /// Answers an option.
    pub fn option(
        &mut self,
        option: u32,
        data: &[u8],
        exports: &mut dyn Exports,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let mut answers = Answers { option, out };
        match option {
            option::EXPORT_NAME => return self.enter_by_name(data, exports, out),
            option::INFO | option::GO => return self.go(data, exports, &mut answers),
            option::ABORT => {
                answers.ack();
                return Outcome::Aborted;
            }
            option::LIST if data.is_empty() => {
                for name in exports.names() {
                    let mut body = Vec::new();
                    body.put_length(name.len());
                    body.extend_from_slice(name.as_bytes());
                    answers.put(reply::SERVER, &body);
                }
                answers.ack();
            }
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                answers.ack();
            }
            option::LIST | option::STRUCTURED_REPLY => {
                answers.error(reply::ERR_INVALID, "this option has no data");
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                self.set_contexts(data, exports, &mut answers);
            }
            _ => answers.error(reply::ERR_UNSUP, "this server does not know the option"),
        }
        Outcome::More
    }

    fn enter_by_name(&mut self, data: &[u8], exports: &mut dyn Exports, out: &mut Vec<u8>) -> Outcome {
        let Some(name) = export_name(data) else {
            return Outcome::Refused("the name of the export is too long, or no text".into());
        };
        let contexts = self.contexts_of(name);
        let export = match exports.enter(name, contexts.ask.as_ref()) {
            Ok(export) => export,
            Err(Refused::Unknown(text) | Refused::Policy(text)) => return Outcome::Refused(text),
        };
        out.put_u64(export.bytes);
        out.put_u16(self.flags(&export).bits());
        if !self.no_zeroes {
            out.extend_from_slice(&[0; 124]);
        }
        Outcome::Entered {
            bytes: export.bytes,
            allocation: contexts.allocation,
        }
    }

    /// GO, which enters an export, and INFO, which only looks at it.
    fn go(&mut self, data: &[u8], exports: &mut dyn Exports, answers: &mut Answers<'_>) -> Outcome {
        let Some((name, wanted)) = parse_go(data) else {
            answers.error(reply::ERR_INVALID, "the option's data are not in order");
            return Outcome::More;
        };
        let contexts = self.contexts_of(name);
        let enters = answers.option == option::GO;
        let found = match enters {
            true => exports.enter(name, contexts.ask.as_ref()),
            false => exports.describe(name),
        };
        let export = match found {
            Ok(export) => export,
            Err(refused) => {
                answers.refuse(&refused);
                return Outcome::More;
            }
        };
        let mut body = Vec::new();
        body.put_u16(info::EXPORT);
        body.put_u64(export.bytes);
        body.put_u16(self.flags(&export).bits());
        answers.put(reply::INFO, &body);
        for wanted in wanted {
            answers.info(wanted, name, &export);
        }
        answers.ack();
        match enters {
            true => Outcome::Entered {
                bytes: export.bytes,
                allocation: contexts.allocation,
            },
            false => Outcome::More,
        }
    }

    fn flags(&self, export: &Export) -> TransmissionFlags {
        let mut flags = export.flags | TransmissionFlags::HAS_FLAGS;
        flags.set(TransmissionFlags::SEND_DF, self.structured);
        flags
    }

    /// The contexts that count for an export: those that were set for this very one.
    fn contexts_of(&self, name: &str) -> Contexts {
        match self.contexts.export == name {
            true => self.contexts.clone(),
            false => Contexts::default(),
        }
    }

    fn set_contexts(&mut self, data: &[u8], exports: &mut dyn Exports, answers: &mut Answers<'_>) {
        let sets = answers.option == option::SET_META_CONTEXT;
        if sets {
            self.contexts = Contexts::default();
        }
        let parsed = parse_queries(data).filter(|_| self.structured);
        let Some((name, queries)) = parsed else {
            let text = "structured replies come first, then a name and at most 8 queries";
            return answers.error(reply::ERR_INVALID, text);
        };
        let mut contexts = Contexts {
            export: name.to_owned(),
            ..Contexts::default()
        };
        let mut fence = None;
        for query in &queries {
            if *query == BASE_ALLOCATION || (!sets && *query == "base:") {
                contexts.allocation = true;
            } else if query.starts_with(NAMESPACE) {
                match query.parse::<Ask>() {
                    Ok(ask) => {
                        match exports.answer(name, &ask) {
                            Ok(answer) => fence = Some(answer),
                            Err(refused) => return answers.refuse(&refused),
                        }
                        contexts.ask = Some(ask);
                    }
                    Err(error) => return answers.error(reply::ERR_INVALID, &error.to_string()),
                }
            }
        }
        if let Err(refused) = exports.describe(name) {
            return answers.refuse(&refused);
        }
        if contexts.allocation || (!sets && queries.is_empty()) {
            answers.context(sets, BASE_ALLOCATION_ID, BASE_ALLOCATION);
        }
        if let Some(answer) = fence {
            answers.context(sets, FENCE_ID, &answer.to_string());
        }
        answers.ack();
        if sets {
            self.contexts = contexts;
        }
    }
}

fn export_name(data: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(data).ok()?;
    (name.len() <= NAME_LEN_MAX).then_some(name)
}

/// The export and the kinds of information of GO and INFO.
fn parse_go(data: &[u8]) -> Option<(&str, Vec<u16>)> {
    let mut fields = Fields(data);
    let name = export_name(fields.text()?.as_bytes())?;
    let count = fields.u16()?;
    // The option's data are bounded, and so is what is read of them.
    let wanted: Option<Vec<u16>> = (0..count).map(|_| fields.u16()).collect();
    fields.0.is_empty().then_some((name, wanted?))
}

/// The export and the queries of an option for metadata contexts.
fn parse_queries(data: &[u8]) -> Option<(&str, Vec<&str>)> {
    let mut fields = Fields(data);
    let name = export_name(fields.text()?.as_bytes())?;
    let count = fields.u32()?;
    if count > QUERIES_MAX {
        return None;
    }
    let queries: Option<Vec<&str>> = (0..count).map(|_| fields.text()).collect();
    fields.0.is_empty().then_some((name, queries?))
}

/// The answers to one option.
struct Answers<'a> {
    option: u32,
    out: &'a mut Vec<u8>,
}

impl Answers<'_> {
    fn put(&mut self, kind: u32, body: &[u8]) {
        self.out.put_u64(OPTION_REPLY_MAGIC);
        self.out.put_u32(self.option);
        self.out.put_u32(kind);
        self.out.put_length(body.len());
        self.out.extend_from_slice(body);
    }

    fn ack(&mut self) {
        self.put(reply::ACK, &[]);
    }

    fn error(&mut self, kind: u32, text: &str) {
        self.put(kind, shortened(text, TEXT_LEN_MAX).as_bytes());
    }

    fn refuse(&mut self, refused: &Refused) {
        match refused {
            Refused::Unknown(text) => self.error(reply::ERR_UNKNOWN, text),
            Refused::Policy(text) => self.error(reply::ERR_POLICY, text),
        }
    }

    /// Tells one kind of information about an export; a kind that is not known is passed over.
    fn info(&mut self, kind: u16, name: &str, export: &Export) {
        let mut body = Vec::new();
        body.put_u16(kind);
        match kind {
            info::NAME => body.extend_from_slice(name.as_bytes()),
            info::DESCRIPTION => {
                body.extend_from_slice(shortened(&export.description, TEXT_LEN_MAX).as_bytes());
            }
            info::BLOCK_SIZE => {
                body.put_u32(export.block_min);
                body.put_u32(export.block_preferred);
                body.put_u32(PAYLOAD_LEN_MAX);
            }
            _ => return,
        }
        self.put(reply::INFO, &body);
    }

    fn context(&mut self, sets: bool, id: u32, name: &str) {
        let mut body = Vec::new();
        body.put_u32(if sets { id } else { 0 });
        body.extend_from_slice(name.as_bytes());
        self.put(reply::META_CONTEXT, &body);
    }
}
