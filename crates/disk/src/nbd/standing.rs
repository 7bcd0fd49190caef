//! `Standing`: how a disk at a server stands with it: who this process is there, which connection it has,
//! what is under way, and what may be lost. One lock is around all of it (`remote`).

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use block::nbd::{ClientError, Code, Shape};
use block::{Answer, Ask, Mode};
use replica::Epoch;

use super::line::{Line, LineError, Replies};
use crate::lock::{Holder, LockError};

/// Why a server does not let this process be the disk's writer any more.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    vm: String,
    ours: u64,
    theirs: u64,
}

/// What a request has come to.
pub(super) type Outcome = Result<Vec<u8>, (Code, String)>;

/// How a disk stands with its server.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Who this process is to the server; `None`: nobody.
    pub holder: Option<Holder>,
    /// What it wants to do there; `None`: to look, as a program without epochs.
    pub mode: Option<Mode>,
    /// As whom the lane has asked to be shown to the server, and for what.
    pub wanted: Option<(Holder, Mode)>,
    /// Has the server admitted this process as that one?
    pub shown: bool,
    /// Counts the connections of this process, and each change of what it is to the server.
    pub session: u64,
    pub line: Option<Arc<Line>>,
    /// The replies of a line that nobody reads yet.
    pub unread: Option<Replies>,
    /// A connection on which the handshake is going on.
    pub calling: Option<TcpStream>,
    /// Does the attendant run?
    pub attended: bool,
    /// Why there is no connection, for people.
    pub trouble: Option<String>,
    pub lost: Option<Lost>,
    pub closed: bool,
    /// What the server has said of itself, by which another one is known.
    pub answer: Option<Answer>,
    /// Requests that are answered, by their names; those that were cut off have no outcome.
    pub answered: BTreeMap<u64, Option<Outcome>>,
    /// Requests that are at the server, and whether each changes the disk.
    pub asked: BTreeMap<u64, bool>,
    pub cookie: u64,
    /// Changes that were answered, counted.
    pub changes: u64,
    /// How many of them a flush has made durable.
    pub settled: u64,
    /// Why what was answered may be lost.
    pub loss: Option<String>,
}

impl Standing {
    /// Notes that the server has admitted this process; whether the connection is to be used.
    pub fn entered(&mut self, ask: Option<&Ask>, line: &Arc<Line>, replies: Replies, shape: Shape) -> bool {
        if ask.is_some() && self.answer.is_some() && shape.answer.is_none() {
            self.trouble = Some("the server at this address knows no epochs any more".into());
            line.close();
            return false;
        }
        if let (Some(ask), Some(answer)) = (ask, shape.answer)
            && let Some(before) = self.answer.replace(answer)
        {
            if before.server != answer.server {
                self.answer = Some(before);
                self.trouble = Some("another disk server is at this address".into());
                line.close();
                return false;
            }
            if before.volatile != answer.volatile && self.settled < self.changes && ask.mode.writes() {
                self.loss = Some("the disk server has lost writes that were not flushed".into());
            }
        }
        // A VM without an arbiter has its place from here on, and nobody may take it unnoticed.
        if let (Some(Mode::Start), Some(answer), Some(holder)) = (self.mode, shape.answer, &mut self.holder) {
            holder.epoch = Epoch(answer.epoch);
            self.mode = Some(Mode::Write);
        }
        self.trouble = None;
        self.shown = true;
        // What was asked on a line that nobody reads is asked again.
        self.cut();
        self.line = Some(Arc::clone(line));
        self.unread = Some(replies);
        true
    }

    /// Notes that no answer comes to what was asked.
    pub fn cut(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        self.answered
            .extend(asked.into_keys().map(|cookie| (cookie, None)));
    }

    /// Ends the connection that there is, or is being made.
    pub fn hang_up(&mut self) {
        if let Some(line) = &self.line {
            line.close();
        }
        if let Some(calling) = self.calling.take() {
            // A connection that has ended already is as closed as it can be.
            let _ = calling.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Is known to the server as one who only looks at the disks of this holder.
    pub fn watch(&mut self, holder: &Holder) {
        self.holder = Some(holder.clone());
        self.mode = Some(Mode::Probe);
        self.wanted = None;
    }

    /// Notes why the server does not admit this process, and whether it never will.
    pub fn refused(&mut self, ask: Option<&Ask>, answer: Option<Answer>, error: &LineError) {
        self.trouble = Some(os::error::chain(error));
        let (Some(ask), Some(answer), LineError::Client(ClientError::Refused(_))) = (ask, answer, error)
        else {
            return;
        };
        if self.answer.is_some_and(|before| before.server != answer.server) {
            self.trouble = Some("another disk server is at this address".into());
            return;
        }
        let other = ![0, ask.token.owner].contains(&answer.owner) && answer.epoch >= ask.token.epoch;
        if ask.mode == Mode::Write && other {
            self.lost = Some(Lost {
                vm: ask.vm.clone(),
                ours: ask.token.epoch,
                theirs: answer.epoch,
            });
        }
    }
}

impl Lost {
    pub fn error(&self, name: &Path) -> LockError {
        LockError::Superseded {
            disk: name.display().to_string(),
            vm: self.vm.clone(),
            ours: self.ours,
            theirs: self.theirs,
        }
    }
}
