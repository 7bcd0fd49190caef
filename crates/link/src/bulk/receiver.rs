//! `Receiver`: the end of a bulk link that receives: one thread, and a queue for the guest thread.
//!
//! The thread reads, decrypts, decompresses and checks; what is left for the guest thread is to use the
//! records. When the guest thread does not take them, the thread stops reading, and TCP keeps the sender
//! waiting. The thread waits in `poll` for its socket or for a waker, so that it can be ended at any time.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::codec::{self, Shape};
use super::connection::Connection;
use super::order::Order;
use super::record::Record;
use super::seal::{Opener, WIRE_RECORD_LEN_MAX};
use crate::LinkError;
use crate::limits::{BULK_BUFFERS_MAX, BULK_PAGE_LEN_MAX, BULK_READ_AGAIN, BULK_RECEIVED_MAX, LINK_READ_LEN};
use os::sandbox::{self, Kind};
use os::wake::Waker;

/// The end of a bulk link that receives. Dropping it ends the link at once, and its thread has ended.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What a receiver has received so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Records that have come whole.
    pub records: u64,
    /// Pages in them, those of zeros included.
    pub pages: u64,
    /// Bytes of content in them, after decompression. Pages of zeros have no content.
    pub content_bytes: u64,
    /// Bytes that came from the kernel, without those of the handshake.
    pub wire_bytes: u64,
}

#[derive(Debug)]
struct Shared {
    inbox: Mutex<Inbox>,
    /// Calls the thread of the receiver.
    reader: Waker,
    /// Calls the guest thread.
    guest: Waker,
}

/// What the thread and the guest thread share.
#[derive(Debug, Default)]
struct Inbox {
    records: VecDeque<Record>,
    /// Cost of `records`; at most [`BULK_RECEIVED_MAX`].
    waiting: usize,
    /// Whether the thread has a record in hand for which there is no room.
    is_full: bool,
    /// Why nothing more comes, until the guest thread has heard it.
    error: Option<LinkError>,
    /// Whether nothing more comes.
    is_over: bool,
    /// Whether the guest thread has given the link up.
    is_given_up: bool,
    /// Buffers of contents, to be used again.
    buffers: Vec<Vec<u8>>,
    figures: Received,
}

impl Receiver {
    /// Receives over `connection`, for a guest of this shape. `waker` is called when a record has come after
    /// there was none, and when nothing more comes.
    ///
    /// # Errors
    /// The host gives no more threads or descriptors.
    ///
    /// # Panics
    /// The page size is 0 or above [`BULK_PAGE_LEN_MAX`].
    pub fn new(connection: Connection, shape: Shape, waker: Waker) -> io::Result<Receiver> {
        assert!(
            (1..=BULK_PAGE_LEN_MAX).contains(&shape.page_len),
            "pages of {} bytes",
            shape.page_len
        );
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            reader: Waker::new()?,
            guest: waker,
        });
        let of_thread = shared.clone();
        let thread = sandbox::try_spawn(Kind::Bulk, "bulk receive", move || {
            let error = of_thread.read(connection, shape).err();
            of_thread.end(error);
        })?;
        Ok(Receiver {
            shared,
            thread: Some(thread),
        })
    }

    /// The next record. `None`: none is there now, and the waker is called when one is; or the link is over
    /// and the error was told.
    ///
    /// # Errors
    /// The link is over: the peer has closed it or died, or has sent what no correct peer sends. Told once,
    /// after all records that came before.
    pub fn receive(&mut self) -> Result<Option<Record>, LinkError> {
        let mut inbox = self.shared.lock();
        let Some(record) = inbox.records.pop_front() else {
            return inbox.error.take().map_or(Ok(None), Err);
        };
        inbox.waiting -= record.cost();
        if inbox.is_full && inbox.waiting <= BULK_READ_AGAIN {
            inbox.is_full = false;
            self.shared.reader.wake();
        }
        Ok(Some(record))
    }

    /// Whether a record is there, or an error that was not told. Whoever does not take all records at once
    /// must come back without being called.
    #[must_use]
    pub fn has_record(&self) -> bool {
        let inbox = self.shared.lock();
        !inbox.records.is_empty() || inbox.error.is_some()
    }

    /// Cost ([`Record::cost`]) of the records that wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiting
    }

    /// Whether nothing more comes than what waits to be taken.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.lock().is_over
    }

    /// Gives back the buffer of a record that was used, so that it need not be allocated anew.
    pub fn recycle(&self, buffer: Vec<u8>) {
        let mut inbox = self.shared.lock();
        if inbox.buffers.len() < BULK_BUFFERS_MAX {
            inbox.buffers.push(buffer);
        }
    }

    /// What was received so far.
    #[must_use]
    pub fn figures(&self) -> Received {
        self.shared.lock().figures
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.lock().is_given_up = true;
        self.shared.reader.wake();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended the process.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, error: Option<LinkError>) {
        let mut inbox = self.lock();
        inbox.is_over = true;
        inbox.error = error;
        drop(inbox);
        self.guest.wake();
    }

    /// Reads until the link is over, or given up (which is no error).
    fn read(&self, mut connection: Connection, shape: Shape) -> Result<(), LinkError> {
        let peer = connection.peer;
        let mut opener = Opener::new(connection.keys.clone());
        let mut order = Order::default();
        let mut wire = Wire::default();
        let mut body = Vec::new();
        loop {
            let opened = opener.open(wire.bytes(), &mut body);
            if let Some(length) = opened.map_err(|refusal| refusal.into_error(peer))? {
                wire.take(length);
                let buffer = self.lock().buffers.pop().unwrap_or_default();
                let record = codec::decode(&body, shape, buffer)
                    .and_then(|record| order.check(&record).map(|()| record))
                    .map_err(|refusal| refusal.into_error(peer))?;
                if !self
                    .deliver(record)
                    .map_err(|source| LinkError::Io { peer, source })?
                {
                    return Ok(());
                }
                continue;
            }
            match connection.stream.read(wire.space()) {
                Ok(0) => return Err(LinkError::Closed { peer }),
                Ok(length) => {
                    wire.put(length);
                    self.lock().figures.wire_bytes += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [
                        PollFd::new(&connection.stream, PollFlags::IN),
                        PollFd::new(&self.reader, PollFlags::IN),
                    ];
                    wait(&mut fds).map_err(|source| LinkError::Io { peer, source })?;
                    self.reader.clear();
                }
                Err(error) => return Err(LinkError::from_io(peer, error)),
            }
            if self.lock().is_given_up {
                return Ok(());
            }
        }
    }

    /// Puts a record into the inbox, after waiting for room. `false`: the link is given up.
    fn deliver(&self, record: Record) -> io::Result<bool> {
        let cost = record.cost();
        loop {
            let mut inbox = self.lock();
            if inbox.is_given_up {
                return Ok(false);
            }
            inbox.is_full |= inbox.waiting + cost > BULK_RECEIVED_MAX;
            if !inbox.is_full {
                let figures = &mut inbox.figures;
                figures.records += 1;
                figures.content_bytes += record.content_len() as u64;
                if let Record::Pages(pages) = &record {
                    figures.pages += pages.len() as u64;
                }
                inbox.waiting += cost;
                inbox.records.push_back(record);
                let is_first = inbox.records.len() == 1;
                drop(inbox);
                if is_first {
                    self.guest.wake();
                }
                return Ok(true);
            }
            drop(inbox);
            wait(&mut [PollFd::new(&self.reader, PollFlags::IN)])?;
            self.reader.clear();
        }
    }
}

/// Waits until one of `fds` is ready.
fn wait(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    match poll(fds, None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Bytes from the kernel that were not opened yet: less than one record, and what one read brings beyond.
#[derive(Debug)]
struct Wire {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Wire {
    fn default() -> Wire {
        Wire {
            buffer: vec![0; WIRE_RECORD_LEN_MAX + LINK_READ_LEN].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }
}

impl Wire {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn take(&mut self, length: usize) {
        self.start += length;
    }

    /// Space for the next read. There is some, since less than a whole record is left when more is read.
    fn space(&mut self) -> &mut [u8] {
        if self.buffer.len() - self.end < LINK_READ_LEN {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    fn put(&mut self, length: usize) {
        self.end += length;
    }
}
