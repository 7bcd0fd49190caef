//! A person at a guest's console, over a connection to its control socket or through agents
//! (`control::Word`).

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use control::limits::TYPED_LEN_MAX;
use control::{Answer, ConsoleWish, RequestId, Verb, Word, line};

use crate::client::{CallError, Caller};
use crate::verbs::{PATIENCE, VerbError, begun};

/// What a person hears at a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Bytes of the guest.
    Bytes(Vec<u8>),
    /// So many bytes of the guest are missing here.
    Missed(u64),
    /// This one types from here on.
    Taken(String),
    /// The process lives.
    Alive,
    /// The guest is shown by another process from here on.
    Left,
}

/// A person's end of a console.
#[derive(Debug)]
pub struct Watching {
    caller: Caller,
    /// What was typed and has not left yet.
    unsent: Vec<u8>,
    /// The number of the process at the other end.
    pub process: RequestId,
    /// How many bytes the guest had written to that process before the next one that comes.
    pub position: u64,
    /// Bytes before the one of this number were heard over an earlier connection.
    known: u64,
}

impl Watching {
    /// Asks over a connection to the VM's process for its console.
    ///
    /// # Errors
    /// It is refused, or there is no answer.
    pub fn begin(mut caller: Caller, wish: ConsoleWish) -> Result<Watching, VerbError> {
        let answer = caller.ask(&Verb::Console(wish), PATIENCE)?;
        Watching::answered(caller, answer)
    }

    /// The same over a connection on which it was asked for already, by an agent in between.
    ///
    /// # Errors
    /// It is refused, or there is no answer.
    pub fn begun(mut caller: Caller) -> Result<Watching, VerbError> {
        let answer = caller.answer(RequestId::default(), PATIENCE)?;
        Watching::answered(caller, answer)
    }

    fn answered(caller: Caller, answer: Answer) -> Result<Watching, VerbError> {
        match answer {
            Answer::Console { process, first } => Ok(Watching {
                caller,
                unsent: Vec::new(),
                process,
                position: first,
                known: 0,
            }),
            other => match begun(other) {
                Ok(_) => Err(VerbError::Failed("it answers another question".into())),
                Err(error) => Err(error),
            },
        }
    }

    /// Leaves out what was heard over an earlier connection to the same process, up to this position. Gives
    /// how many bytes are missing in between.
    pub fn resume(&mut self, process: RequestId, position: u64) -> u64 {
        if process != self.process {
            return 0;
        }
        self.known = position;
        self.position.saturating_sub(position)
    }

    /// What is said next; `None`: nothing has come whole yet. It does not wait, except for the rest of what
    /// has begun to come.
    ///
    /// # Errors
    /// The connection has ended, or what comes cannot be read.
    pub fn hear(&mut self) -> Result<Option<Heard>, CallError> {
        let Some(text) = self.caller.line(Instant::now())? else {
            return Ok(None);
        };
        let word = serde_json::from_slice::<Word>(&text).map_err(|error| CallError::Unknown {
            vm: self.caller.vm.clone(),
            why: error.to_string(),
        })?;
        Ok(Some(match word {
            Word::Bytes { length } => {
                let bytes = self.caller.bytes(length, Instant::now() + PATIENCE)?;
                let mut bytes = bytes.ok_or_else(|| CallError::Silent(self.caller.vm.clone()))?;
                let known = self.known.saturating_sub(self.position).min(length);
                bytes.drain(..usize::try_from(known).unwrap_or(0));
                self.position = self.position.saturating_add(length);
                Heard::Bytes(bytes)
            }
            Word::Missed { bytes } => {
                self.position = self.position.saturating_add(bytes);
                Heard::Missed(bytes)
            }
            Word::Taken { by } => Heard::Taken(by),
            Word::Left => Heard::Left,
            // What only a caller says means nothing here.
            Word::Alive | Word::Typed { .. } => Heard::Alive,
        }))
    }

    /// Takes what was typed, and sends as much as the VM takes now; the rest leaves at a later call.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn types(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        for some in bytes.chunks(TYPED_LEN_MAX) {
            let length = some.len() as u64;
            self.unsent.extend(line(&Word::Typed { length }));
            self.unsent.extend_from_slice(some);
        }
        while !self.unsent.is_empty() {
            match self.caller.stream().write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(CallError::Ended(self.caller.vm.clone())),
            }
        }
        Ok(())
    }

    /// How many bytes wait until the VM takes them.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }
}

impl AsFd for Watching {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.caller.stream().as_fd()
    }
}
