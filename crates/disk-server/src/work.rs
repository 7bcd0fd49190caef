//! What a request does to an export, and the reply to it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use block::limits::PAYLOAD_LEN_MAX;
use block::nbd::{Code, Command, CommandFlags, Hangup, Replies, Request};
use rustix::io::Errno;

use crate::site::{Entered, Site};
use crate::stream::Stream;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The conversation is over.
    #[error(transparent)]
    Hangup(#[from] Hangup),
    /// The connection has broken, or was closed because the client is cut off.
    #[error("the connection has ended")]
    Io(#[from] io::Error),
    /// A flush has failed: the client has to come back and write again.
    #[error("a flush has failed")]
    Lost,
}

/// What the threads of a connection share.
#[derive(Debug)]
pub struct Work {
    site: Arc<Site>,
    entered: Entered,
    replies: Replies,
    stream: Arc<Stream>,
    /// Held while a reply is sent, so that replies stand behind each other.
    sending: Mutex<()>,
}

impl Work {
    /// The work of a connection that has entered an export.
    #[must_use]
    pub fn new(site: &Arc<Site>, entered: Entered, replies: Replies, stream: &Arc<Stream>) -> Work {
        Work {
            site: Arc::clone(site),
            entered,
            replies,
            stream: Arc::clone(stream),
            sending: Mutex::new(()),
        }
    }

    /// Sends replies.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        (&*self.stream).write_all(bytes)
    }

    /// Ends the connection, for all its threads.
    pub fn close(&self) {
        self.stream.close();
    }

    /// Does a request that waits for no drive. Gives back one that may.
    ///
    /// # Errors
    /// The connection must end.
    pub fn at_once(&self, request: Request, out: &mut Vec<u8>) -> Result<Option<Request>, End> {
        match &request.command {
            Ok(Command::Read { offset, length }) => {
                let begin = out.len();
                self.replies.before_data(request.cookie, *offset, *length, out);
                let data = out.len();
                out.resize(data + *length as usize, 0);
                if self.entered.offer.storage.read_now(*offset, &mut out[data..]) {
                    return Ok(None);
                }
                out.truncate(begin);
                Ok(Some(request))
            }
            Ok(Command::Write { .. }) if !request.flags.contains(CommandFlags::FUA) => {
                self.carry_out(request, out)?;
                Ok(None)
            }
            Ok(_) => Ok(Some(request)),
            Err(code) => {
                let text = "the request makes no sense for this export";
                self.replies.failed(request.cookie, *code, text, out);
                Ok(None)
            }
        }
    }

    /// Does a request, however long that takes.
    ///
    /// # Errors
    /// The connection must end: the client is cut off, or has to write again.
    pub fn carry_out(&self, request: Request, out: &mut Vec<u8>) -> Result<(), End> {
        let Request {
            cookie,
            flags,
            command,
        } = request;
        let storage = &self.entered.offer.storage;
        match command {
            Ok(Command::Read { offset, length }) => {
                let begin = out.len();
                self.replies.before_data(cookie, offset, length, out);
                let data = out.len();
                out.resize(data + length as usize, 0);
                if let Err(error) = storage.read(offset, &mut out[data..]) {
                    out.truncate(begin);
                    self.fail(cookie, &error, out);
                }
            }
            Ok(Command::BlockStatus { offset, length }) => {
                let one = flags.contains(CommandFlags::REQ_ONE);
                self.replies
                    .extents(cookie, &storage.extents(offset, length, one), out);
            }
            Ok(Command::Flush) => {
                storage.flush().map_err(|error| self.lose(&error))?;
                self.replies.done(cookie, out);
            }
            Ok(change) => self.change(cookie, flags, &change, out)?,
            Err(code) => self.replies.failed(cookie, code, "", out),
        }
        Ok(())
    }

    /// Changes the disk, if this client still may.
    fn change(
        &self,
        cookie: u64,
        flags: CommandFlags,
        change: &Command,
        out: &mut Vec<u8>,
    ) -> Result<(), End> {
        if !self.entered.may_write {
            let text = "this connection may only read";
            self.replies.failed(cookie, Code::NotPermitted, text, out);
            return Ok(());
        }
        if !self.entered.begin() {
            // Cut off: a reply would tell the client what it cannot know, and its connection is closed.
            return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
        }
        let durable = flags.contains(CommandFlags::FUA);
        let storage = &self.entered.offer.storage;
        let done = match change {
            Command::Write { offset, data } => storage.write(*offset, data, durable).map(|()| true),
            Command::Trim { offset, length } => storage.trim(*offset, u64::from(*length)).map(|()| true),
            Command::WriteZeroes { offset, length } => {
                let keep = flags.contains(CommandFlags::NO_HOLE);
                let fast = flags.contains(CommandFlags::FAST_ZERO);
                storage.write_zeroes(*offset, u64::from(*length), keep, fast)
            }
            _ => Ok(true),
        };
        self.entered.end();
        match done {
            Ok(true) => {
                if durable && !matches!(change, Command::Write { .. }) {
                    storage.flush().map_err(|error| self.lose(&error))?;
                }
                self.replies.done(cookie, out);
            }
            Ok(false) => {
                let text = "zeroes are no faster than data here";
                self.replies.failed(cookie, Code::NotSupported, text, out);
            }
            Err(error) if durable && !is_full(&error) => return Err(self.lose(&error)),
            Err(error) => self.fail(cookie, &error, out),
        }
        Ok(())
    }

    fn fail(&self, cookie: u64, error: &io::Error, out: &mut Vec<u8>) {
        let code = if is_full(error) { Code::NoSpace } else { Code::Io };
        let text = error.to_string();
        tracing::warn!("the export {}: {text}", self.entered.offer.name);
        self.replies.failed(cookie, code, &text, out);
    }

    fn lose(&self, error: &io::Error) -> End {
        tracing::error!(
            "the export {} cannot be flushed: {error}",
            self.entered.offer.name
        );
        self.site.lose(&self.entered.offer);
        End::Lost
    }
}

/// Whether the storage has no room.
fn is_full(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG)
    )
}

/// How much room a request takes while it waits.
#[must_use]
pub fn size(request: &Request) -> usize {
    match &request.command {
        Ok(Command::Write { data, .. }) => data.len(),
        Ok(Command::Read { length, .. }) => (*length).min(PAYLOAD_LEN_MAX) as usize,
        _ => 0,
    }
}
