//! `Remote`: the connection to a disk's server, kept through every failure of the server and the network.
//!
//! A thread of its own, the attendant, makes the connection, reads the replies, and calls again when the
//! connection has ended. The threads of the lane send requests and wait for their replies; a request whose
//! connection has ended is sent again on the next one. That is right because the node never has two requests
//! out that overlap (FT 3.4-a), and because a fencing server has finished or dropped everything of an old
//! connection before it admits the next one. Of a server that knows no epochs nobody knows that.
//!
//! Becoming the disk's writer is a connection that the server has admitted; and a server that will never
//! admit this process again ends this replica.

use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use block::nbd::{Call, Code, CommandFlags, Operation, Shape, Want};
use block::{Ask, Mode, Token};

use super::line::{Line, Replies};
use super::standing::Standing;
use super::way::Way;
use crate::guard::guard;
use crate::limits::{NBD_AWAY_AFTER, NBD_RETRY_MAX, NBD_RETRY_MIN};
use crate::lock::{Holder, LockError};

/// What the threads of a disk share.
#[derive(Debug)]
pub(super) struct Remote {
    pub way: Way,
    /// The disk's place, for people.
    pub name: PathBuf,
    pub shape: Shape,
    inside: Mutex<Standing>,
    /// Called at each change of what is inside.
    changed: Condvar,
}

impl Remote {
    /// A disk to which there is no connection yet.
    pub fn new(way: Way, shape: Shape) -> Remote {
        Remote {
            name: way.place.to_string().into(),
            way,
            shape,
            inside: Mutex::new(Standing {
                answer: shape.answer,
                ..Standing::default()
            }),
            changed: Condvar::new(),
        }
    }

    pub fn inside(&self) -> MutexGuard<'_, Standing> {
        guard(&self.inside)
    }

    /// Says how this process shows itself on its next connection.
    fn want(&self, inside: &mut Standing) -> Want {
        // Also a connection of nobody has a number: whoever is to be shown meanwhile is not taken for nobody.
        inside.session += 1;
        let ask = match (&inside.holder, inside.mode) {
            (Some(holder), Some(mode)) => Some(Ask {
                vm: holder.vm.to_string(),
                token: Token {
                    epoch: holder.epoch.0,
                    owner: holder.owner,
                    session: inside.session,
                },
                mode,
            }),
            _ => None,
        };
        Want {
            export: self.way.place.export.clone(),
            ask,
        }
    }

    /// Makes a connection as whoever this process is now. What is wrong is noted inside.
    fn connect(&self) -> bool {
        let mut inside = self.inside();
        let want = self.want(&mut inside);
        let session = inside.session;
        drop(inside);
        let ask = want.ask.clone();
        let mut answer = None;
        let mut begun = |stream: &TcpStream| self.inside().calling = stream.try_clone().ok();
        let made = self.way.call(&mut begun);
        let made = made.and_then(|socket| Line::enter(socket, want, &mut answer));
        let mut inside = self.inside();
        inside.calling = None;
        let done = match made {
            // Somebody else is to be shown to the server by now, or nobody any more.
            Ok((line, ..)) if inside.closed || inside.session != session => {
                line.close();
                false
            }
            Err(_) if inside.session != session => false,
            Ok((line, replies, shape)) => inside.entered(ask.as_ref(), &line, replies, shape),
            Err(error) => {
                inside.refused(ask.as_ref(), answer, &error);
                false
            }
        };
        self.changed.notify_all();
        done
    }

    /// Keeps the connection until the disk is closed.
    pub fn attend(&self) {
        let mut pause = NBD_RETRY_MIN;
        loop {
            let mut inside = self.inside();
            if inside.closed || inside.lost.is_some() {
                inside.cut();
                self.changed.notify_all();
                return;
            }
            let replies = inside.unread.take();
            drop(inside);
            if let Some(replies) = replies {
                self.read(replies);
                pause = NBD_RETRY_MIN;
            } else if !self.connect() {
                self.rest(pause);
                pause = (pause * 2).min(NBD_RETRY_MAX);
            }
        }
    }

    /// Takes the replies of a connection until it ends.
    fn read(&self, mut replies: Replies) {
        loop {
            let next = replies.next();
            let mut inside = self.inside();
            match next {
                Ok((cookie, outcome)) => {
                    // Counted with the answer, before a loss behind it can be judged.
                    let changed = inside.asked.remove(&cookie) == Some(true) && outcome.is_ok();
                    inside.changes += u64::from(changed);
                    inside.answered.insert(cookie, Some(outcome));
                }
                Err(error) => {
                    inside.line = None;
                    inside.trouble = Some(os::error::chain(&error));
                    inside.cut();
                }
            }
            self.changed.notify_all();
            if inside.line.is_none() {
                return;
            }
        }
    }

    /// Waits before the next call, unless the disk is closed or somebody else is to be shown to the server.
    fn rest(&self, pause: Duration) {
        let inside = self.inside();
        let session = inside.session;
        let waits = |inside: &mut Standing| !inside.closed && inside.session == session;
        drop(
            self.changed
                .wait_timeout_while(inside, pause, waits)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Sends a request and waits for its reply, on as many connections as it takes.
    pub fn ask(&self, operation: Operation, offset: u64, length: u32, data: &[u8]) -> io::Result<Vec<u8>> {
        let changes = !matches!(operation, Operation::Read | Operation::Flush);
        loop {
            let (line, cookie, before) = self.line(changes)?;
            let call = Call {
                cookie,
                operation,
                flags: CommandFlags::empty(),
                offset,
                length,
            };
            line.send(call, data);
            let mut inside = self
                .changed
                .wait_while(self.inside(), |inside| !inside.answered.contains_key(&cookie))
                .unwrap_or_else(PoisonError::into_inner);
            let Some(Some(outcome)) = inside.answered.remove(&cookie) else {
                continue;
            };
            let data = outcome.map_err(|(code, text)| error_of(code, &text))?;
            if operation == Operation::Flush {
                inside.settled = inside.settled.max(before);
            }
            return Ok(data);
        }
    }

    /// Waits for a connection, and takes a name for a request on it; and how many changes are answered.
    fn line(&self, changes: bool) -> io::Result<(Arc<Line>, u64, u64)> {
        let waits = |inside: &mut Standing| inside.line.is_none() && inside.lost.is_none() && !inside.closed;
        let (mut inside, _) = self
            .changed
            .wait_timeout_while(self.inside(), NBD_AWAY_AFTER, waits)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(lost) = &inside.lost {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                lost.error(&self.name),
            ));
        }
        let Some(line) = inside.line.clone() else {
            let why = inside
                .trouble
                .clone()
                .unwrap_or_else(|| "there is no connection yet".into());
            return Err(io::Error::new(io::ErrorKind::NotConnected, why));
        };
        inside.cookie += 1;
        let cookie = inside.cookie;
        inside.asked.insert(cookie, changes);
        Ok((line, cookie, inside.changes))
    }

    /// Is known to the server as this holder from the next connection on, and waits for that one.
    pub fn show(&self, holder: &Holder, mode: Mode) -> Result<(), LockError> {
        let mut inside = self.inside();
        if inside.wanted.as_ref() != Some(&(holder.clone(), mode)) {
            inside.wanted = Some((holder.clone(), mode));
            inside.holder = Some(holder.clone());
            inside.mode = Some(mode);
            inside.shown = false;
            inside.session += 1;
            inside.hang_up();
            self.changed.notify_all();
        }
        let attended = inside.attended;
        drop(inside);
        if !attended {
            // No thread has been started yet; the attendant goes on with this connection.
            self.connect();
        }
        let waits =
            |inside: &mut Standing| attended && !inside.shown && inside.lost.is_none() && !inside.closed;
        let (inside, _) = self
            .changed
            .wait_timeout_while(self.inside(), NBD_AWAY_AFTER, waits)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(lost) = &inside.lost {
            return Err(lost.error(&self.name));
        }
        if inside.shown {
            return Ok(());
        }
        let why = inside
            .trouble
            .clone()
            .unwrap_or_else(|| "it has not answered yet".into());
        Err(LockError::Server {
            disk: self.name.clone(),
            why,
        })
    }
}

/// What the host's own storage would have said.
fn error_of(code: Code, text: &str) -> io::Error {
    let kind = match code {
        Code::NoSpace => io::ErrorKind::StorageFull,
        Code::Shutdown => io::ErrorKind::NotConnected,
        Code::NotPermitted => io::ErrorKind::PermissionDenied,
        Code::Invalid | Code::Overflow | Code::NotSupported => io::ErrorKind::InvalidInput,
        Code::Io | Code::NoMemory | Code::Other(_) => io::ErrorKind::Other,
    };
    let text = if text.is_empty() {
        "the server has failed"
    } else {
        text
    };
    io::Error::new(kind, text.to_owned())
}

impl Remote {
    /// Ends the use of the disk, with a word to the server.
    pub fn close(&self) {
        let mut inside = self.inside();
        inside.closed = true;
        let line = inside.line.clone();
        drop(inside);
        if let Some(line) = line {
            line.say_goodbye();
        }
        self.inside().hang_up();
        self.changed.notify_all();
    }
}
