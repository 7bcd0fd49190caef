//! `Snapshotting`: a snapshot that leaves this process, over the connection of the caller who wants it
//! (`control::Part`). `World` gives it the pieces that the node gives out; a thread of its own packs them
//! and writes them, and hears what the caller says.
//!
//! The guest thread never waits here: the queue between the two threads has a bound, of which the node is
//! told as room. No file is opened in this process, so the sandbox knows nothing of snapshots, and a disk
//! that is full or does not answer is the caller's business.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control::Part;
use machine::{Config, SnapshotWriter};
use replica::log::snapshot::SnapshotHead;
use replica::{SnapshotEvent, SnapshotOrder, SnapshotPiece, Span, Time};
use rustix::event::{PollFd, PollFlags, poll};

use crate::header::header;
use crate::limits::{SNAPSHOT_BACKLOG_MAX, SNAPSHOT_FAREWELL};
use control::limits::PIECE_LEN_MAX;
use os::sandbox::{self, Kind};
use os::sys::clock;
use os::wake::Waker;

/// What the thread tells the guest thread.
#[derive(Debug)]
pub enum Told {
    /// Something that the node must hear.
    Event(SnapshotEvent),
    /// The caller has the whole file, of so many bytes.
    Over {
        /// Bytes of the file.
        bytes: u64,
    },
}

/// A snapshot that leaves.
#[derive(Debug)]
pub struct Snapshotting {
    shared: Arc<Shared>,
    /// How it is taken.
    pub order: SnapshotOrder,
    /// When it was begun.
    pub began: Time,
    /// For how long the guest stood for it, once the node has given out all of it; `None`: it
    /// has not.
    pub over: Option<Span>,
    /// The step at which it was taken; 0 before that.
    pub step: u64,
    /// Does the thread end by itself?
    is_let_go: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Calls the thread.
    thread: Waker,
    /// Calls the guest thread.
    guest: Waker,
}

/// What stands between the two threads.
#[derive(Debug, Default)]
struct Queue {
    /// Pieces that are not packed yet.
    pieces: VecDeque<SnapshotPiece>,
    /// Bytes of these.
    bytes: usize,
    told: VecDeque<Told>,
    /// Nobody wants it any more: the thread ends.
    closed: bool,
}

impl Snapshotting {
    /// Has a snapshot of the machine of `config`, the VM `vm`, leave over this connection, which does not
    /// block. `guest` calls the guest thread.
    ///
    /// # Errors
    /// This host gives no more threads or descriptors.
    pub fn begin(
        stream: UnixStream,
        vm: &str,
        config: &Config,
        order: SnapshotOrder,
        guest: Waker,
    ) -> io::Result<Snapshotting> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            thread: Waker::new()?,
            guest,
        });
        let mut packer = Packer {
            stream,
            shared: Arc::clone(&shared),
            vm: vm.to_owned(),
            config: config.clone(),
            hook: order.hook,
            file: SnapshotWriter::default(),
            pending: VecDeque::new(),
            sent: 0,
            wire: Vec::new(),
            bytes: 0,
            pages: 0,
            last: None,
        };
        sandbox::try_spawn(Kind::Bulk, "snapshot", move || packer.run())?;
        Ok(Snapshotting {
            shared,
            order,
            began: clock::now(),
            over: None,
            step: 0,
            is_let_go: false,
        })
    }

    /// Gives it the next piece.
    pub fn push(&mut self, piece: SnapshotPiece) {
        let mut queue = self.shared.lock();
        match &piece {
            SnapshotPiece::State { step, .. } => self.step = step.0,
            SnapshotPiece::Pages(_) => {}
            SnapshotPiece::Over { stood } => self.over = Some(*stood),
            // What was on its way is of no use.
            SnapshotPiece::Failed(_) => {
                queue.pieces.clear();
                queue.bytes = 0;
            }
        }
        queue.bytes += bytes_of(&piece);
        queue.pieces.push_back(piece);
        drop(queue);
        self.shared.thread.wake();
    }

    /// How many bytes it takes now.
    #[must_use]
    pub fn room(&self) -> SnapshotEvent {
        let queue = self.shared.lock();
        SnapshotEvent::Room(SNAPSHOT_BACKLOG_MAX.saturating_sub(queue.bytes) as u64)
    }

    /// What the thread has to tell.
    pub fn told(&mut self) -> Option<Told> {
        self.shared.lock().told.pop_front()
    }

    /// Leaves what was pushed last to the thread, which tells it to the caller and ends.
    pub fn let_go(mut self) {
        self.is_let_go = true;
    }
}

impl Drop for Snapshotting {
    fn drop(&mut self) {
        if !self.is_let_go {
            self.shared.lock().closed = true;
            self.shared.thread.wake();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, told: Told) {
        self.lock().told.push_back(told);
        self.guest.wake();
    }
}

/// What a piece counts in the queue.
fn bytes_of(piece: &SnapshotPiece) -> usize {
    match piece {
        SnapshotPiece::State { state, .. } => state.len(),
        SnapshotPiece::Pages(batch) => batch.content().len(),
        SnapshotPiece::Over { .. } | SnapshotPiece::Failed(_) => 0,
    }
}

/// The thread's part: packs pieces, writes them, and listens.
struct Packer {
    stream: UnixStream,
    shared: Arc<Shared>,
    vm: String,
    config: Config,
    /// Do the guest's requests wait until the caller says that it has kept the disks?
    hook: bool,
    file: SnapshotWriter,
    /// Bytes of the file that are not on the wire yet, and how many of the first of them are.
    pending: VecDeque<Arc<[u8]>>,
    sent: usize,
    /// What the caller has not taken yet.
    wire: Vec<u8>,
    /// Bytes of the file so far.
    bytes: u64,
    /// Pages that were packed.
    pages: u64,
    /// The last line, which follows what is pending, and the time at which the caller must have it.
    last: Option<(Part, Instant)>,
}

impl Packer {
    /// Works until all is said, or until nobody wants to hear it.
    fn run(&mut self) {
        loop {
            // What comes from here on calls again.
            self.shared.thread.clear();
            match self.work() {
                Ok(false) => {}
                Ok(true) => {
                    if matches!(self.last, Some((Part::Done { .. }, _))) {
                        let bytes = self.bytes;
                        self.shared.tell(Told::Over { bytes });
                    }
                    return;
                }
                Err(error) => {
                    let why = match error.kind() {
                        io::ErrorKind::BrokenPipe
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::UnexpectedEof => "whoever wanted it has gone".to_owned(),
                        _ => format!("it cannot leave: {error}"),
                    };
                    self.shared.tell(Told::Event(SnapshotEvent::Lost(why)));
                    return;
                }
            }
            self.wait();
        }
    }

    /// Listens, packs and writes as far as that goes now; true: there is nothing more to do.
    fn work(&mut self) -> io::Result<bool> {
        if self.shared.lock().closed {
            return Ok(true);
        }
        self.listen()?;
        if let Some(failed) = self.take_failed() {
            self.take_piece(failed)?;
        }
        loop {
            while !self.wire.is_empty() {
                match self.stream.write(&self.wire) {
                    Ok(0) => return Err(io::ErrorKind::BrokenPipe.into()),
                    Ok(written) => drop(self.wire.drain(..written)),
                    Err(error) if is_transient(&error) => {
                        let is_late = |(_, until): &(Part, Instant)| *until <= Instant::now();
                        return match self.last.as_ref().is_some_and(is_late) {
                            true => Err(io::ErrorKind::TimedOut.into()),
                            false => Ok(false),
                        };
                    }
                    Err(error) => return Err(error),
                }
            }
            if self.pack_next() {
                continue;
            }
            if self.last.is_some() {
                return Ok(true);
            }
            let Some(piece) = self.take() else {
                return Ok(false);
            };
            self.take_piece(piece)?;
        }
    }

    /// Hears the caller: its one word is that the disks are kept, and its end is the end.
    fn listen(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    let said = buffer.get(..length).unwrap_or_default();
                    if self.hook && said.contains(&b'\n') {
                        self.hook = false;
                        self.shared.tell(Told::Event(SnapshotEvent::GoOn));
                    }
                }
                Err(error) if is_transient(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts the next bytes of the file on the wire, or the last line behind them; false: there is nothing.
    fn pack_next(&mut self) -> bool {
        let Some(bytes) = self.pending.front().cloned() else {
            return false;
        };
        let rest = bytes.get(self.sent..).unwrap_or_default();
        let piece = rest.get(..PIECE_LEN_MAX.min(rest.len())).unwrap_or_default();
        self.sent += piece.len();
        if self.sent == bytes.len() {
            self.pending.pop_front();
            self.sent = 0;
        }
        let length = piece.len() as u64;
        if length > 0 {
            self.bytes += length;
            let pages = self.pages;
            self.wire = control::line(&Part::Bytes { length, pages });
            self.wire.extend_from_slice(piece);
        }
        if let (true, Some((last, _))) = (self.pending.is_empty(), &self.last) {
            self.wire.extend(control::line(last));
        }
        true
    }

    /// The next piece, if there is one.
    fn take(&mut self) -> Option<SnapshotPiece> {
        let mut queue = self.shared.lock();
        let piece = queue.pieces.pop_front()?;
        let before = queue.bytes;
        queue.bytes = before.saturating_sub(bytes_of(&piece));
        let is_room_news = before > SNAPSHOT_BACKLOG_MAX / 2 && queue.bytes <= SNAPSHOT_BACKLOG_MAX / 2;
        drop(queue);
        if is_room_news || matches!(piece, SnapshotPiece::State { .. }) {
            self.shared.guest.wake();
        }
        Some(piece)
    }

    /// The word that it comes to nothing, before which nothing else need leave.
    fn take_failed(&mut self) -> Option<SnapshotPiece> {
        let mut queue = self.shared.lock();
        let is_failed = matches!(queue.pieces.front(), Some(SnapshotPiece::Failed(_)));
        is_failed.then(|| queue.pieces.pop_front()).flatten()
    }

    /// Makes bytes of the file of a piece, or a line of what it says.
    fn take_piece(&mut self, piece: SnapshotPiece) -> io::Result<()> {
        match piece {
            SnapshotPiece::State { step, state, pages } => {
                let (pages, quiet, at) = (u64::from(pages), self.hook, step);
                self.wire = control::line(&Part::Step {
                    step: step.0,
                    pages,
                    disks: self.config.disks.len() as u64,
                    quiet,
                });
                let head = SnapshotHead {
                    vm: self.vm.clone(),
                    at,
                    wall_ns: clock::wall_ns(),
                    header: header(&self.config),
                };
                let boot = &self.config.boot;
                let mut packed = Vec::new();
                self.file.state(&state, &mut packed)?;
                self.pending.extend([
                    Arc::from(&*head.to_file()),
                    boot.firmware.clone(),
                    boot.kernel.clone(),
                    boot.initrd.clone(),
                    packed.into(),
                ]);
            }
            SnapshotPiece::Pages(batch) => {
                let mut packed = Vec::new();
                for (page, content) in batch.pages() {
                    self.file.page(page, content, &mut packed)?;
                    self.pages += 1;
                }
                self.pending.push_back(packed.into());
            }
            SnapshotPiece::Over { stood } => {
                let mut packed = Vec::new();
                std::mem::take(&mut self.file).end(&mut packed)?;
                let stood_ms = stood.0 as f64 / 1e6;
                self.end(packed, Part::Done { stood_ms });
            }
            SnapshotPiece::Failed(why) => {
                self.pending.clear();
                self.sent = 0;
                self.end(Vec::new(), Part::Failed { why });
            }
        }
        Ok(())
    }

    /// These are the last bytes of the file, and this is the last line.
    fn end(&mut self, packed: Vec<u8>, last: Part) {
        self.pending.push_back(packed.into());
        self.last = Some((last, Instant::now() + SNAPSHOT_FAREWELL));
    }

    /// Waits until the caller takes more or says something, or there are more pieces.
    fn wait(&self) {
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, !self.wire.is_empty());
        let mut fds = [
            PollFd::new(&self.shared.thread, PollFlags::IN),
            PollFd::new(&self.stream, wanted),
        ];
        let left = |(_, until): &(Part, Instant)| until.saturating_duration_since(Instant::now());
        let left = self.last.as_ref().map(left);
        let left = left.map(|span: Duration| clock::timespec(span.as_nanos() as u64));
        // An error is met again by whoever reads or writes next.
        let _ = poll(&mut fds, left.as_ref());
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
