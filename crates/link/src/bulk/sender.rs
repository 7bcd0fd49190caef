//! `Sender`: the end of a bulk link that sends: a queue for the guest thread, and three threads.
//!
//! ```text
//! guest thread   hands records over and never waits
//! packers (2)    compress and encrypt
//! writer         calls the peer, then gives the packed records to the kernel, which paces them
//! ```
//! The writer waits in `poll` for its socket and for a waker, so that it can be ended at any time, whatever
//! the peer does; the packers wait for records. Nothing that the peer sends after the handshake is read,
//! except to find that it has gone.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::JoinHandle;

use replica::{Span, Time};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::codec::Encoder;
use super::connection::Connection;
use super::outbox::{Figures, Job, Outbox, Phase, Ready};
use super::record::Record;
use super::refusal::Refusal;
use super::seal::{self, Keys};
use super::token::Token;
use crate::LinkError;
use crate::connect::connect_bulk;
use crate::key::Security;
use crate::limits::{BULK_LOOKS, BULK_PACKERS, BULK_RATE_WITHIN};
use os::sandbox::{self, Kind};
use os::sys::{clock, socket};
use os::wake::Waker;

/// The end of a bulk link that sends. Dropping it ends the link at once: what is on the way is lost, and the
/// threads have ended.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    outbox: Mutex<Outbox>,
    /// Told when there is a record to pack, and at the end.
    work: Condvar,
    /// Calls the writer.
    writer: Waker,
    /// Calls the guest thread.
    guest: Waker,
    /// The keys of the session, once the peer has admitted the link.
    keys: OnceLock<Keys>,
}

impl Sender {
    /// Calls `peer`, where the main link leads on which it has handed out `token`. Returns at once: a thread
    /// calls. `waker` is called when the peer has admitted the link, when there is room again for somebody
    /// who found none, when nothing is on the way for somebody who asked, and when the link is over.
    /// `pace` is as in [`Sender::set_pace`].
    ///
    /// # Errors
    /// The host gives no more threads or descriptors.
    pub fn call(
        peer: SocketAddr,
        security: &Security,
        token: Token,
        pace: Option<u64>,
        waker: Waker,
    ) -> io::Result<Sender> {
        let shared = Arc::new(Shared {
            outbox: Mutex::default(),
            work: Condvar::new(),
            writer: Waker::new()?,
            guest: waker,
            keys: OnceLock::new(),
        });
        shared.lock().new_pace = Some(pace);
        // From here on, dropping the sender ends the threads that it has.
        let mut sender = Sender {
            shared,
            threads: Vec::new(),
        };
        for number in 0..BULK_PACKERS {
            let shared = sender.shared.clone();
            let name = format!("bulk pack {number}");
            let thread = sandbox::try_spawn(Kind::Bulk, name, move || shared.pack())?;
            sender.threads.push(thread);
        }
        let (shared, security) = (sender.shared.clone(), security.clone());
        let thread = sandbox::try_spawn(Kind::Caller, "bulk send", move || {
            let result = shared.call_and_write(peer, &security, token);
            shared.end(result.err());
        })?;
        sender.threads.push(thread);
        Ok(sender)
    }

    /// Cost ([`Record::cost`]) of what may still be handed over; 0 when the link is over.
    #[must_use]
    pub fn room(&self) -> usize {
        self.shared.look().map_or(0, |outbox| outbox.room())
    }

    /// Once the peer has admitted the link: its room, and what was done so far. `None`: it is not open, or
    /// its room is less than `least`, and the waker is called as [`Sender::has_room`] says.
    #[must_use]
    pub fn offer(&self, least: usize) -> Option<(usize, Figures)> {
        let mut outbox = self.shared.look()?;
        let takes = outbox.phase == Phase::Open && outbox.has_room(least);
        takes.then(|| (outbox.room(), outbox.figures))
    }

    /// Whether a record of this cost may be handed over. If not, the waker is called when there is room for
    /// many records again (`BULK_ROOM_AGAIN`), or the link is over.
    #[must_use]
    pub fn has_room(&self, cost: usize) -> bool {
        self.shared.look().is_some_and(|mut outbox| outbox.has_room(cost))
    }

    /// Hands a record over. Never waits.
    ///
    /// # Errors
    /// There is no room, and the waker is called as [`Sender::has_room`] says; or the link is over. The
    /// record comes back.
    pub fn send(&self, record: Record) -> Result<(), Record> {
        let Some(mut outbox) = self.shared.look() else {
            return Err(record);
        };
        outbox.push(clock::now(), record)?;
        drop(outbox);
        self.shared.work.notify_one();
        Ok(())
    }

    /// An empty buffer for contents. Most were used before, which saves the guest thread from waiting for
    /// memory of the kernel's.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        let outbox = self.shared.look();
        outbox.map(|mut outbox| outbox.buffer()).unwrap_or_default()
    }

    /// Cost of what was handed over and what the kernel has not taken yet.
    #[must_use]
    pub fn on_the_way(&self) -> usize {
        self.shared.lock().on_the_way()
    }

    /// Whether the kernel has taken everything, so that dropping the sender loses nothing. If not, the waker
    /// is called when it is so, or the link is over.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.shared.lock().is_drained()
    }

    /// Sends at most so many bytes a second from now on, counted on the wire; `None`: as many as the network
    /// takes.
    pub fn set_pace(&self, pace: Option<u64>) {
        let mut outbox = self.shared.lock();
        outbox.new_pace = Some(pace);
        // While the peer is being called, being called means the end to the writer; it looks later.
        if outbox.phase == Phase::Open {
            self.shared.writer.wake();
        }
    }

    /// How far the link has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.lock().phase
    }

    /// Why the link is over; told once.
    #[must_use]
    pub fn take_error(&self) -> Option<LinkError> {
        self.shared.look()?.error.take()
    }

    /// What was done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.shared.lock().figures
    }

    /// Ends the link as dropping it does, without waiting for the end of its threads. They are served later
    /// than the guest thread, and may be long in coming to it.
    pub fn let_go(mut self) {
        self.threads.clear();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.lock().is_given_up = true;
        self.shared.work.notify_all();
        self.shared.writer.wake();
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended the process.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outbox for the guest thread, which does not wait for a thread that is served later than itself
    /// and was stopped with the outbox in hand. `None`: just that is the case, and the guest thread is called
    /// at once, to try again.
    fn look(&self) -> Option<MutexGuard<'_, Outbox>> {
        for _ in 0..BULK_LOOKS {
            match self.outbox.try_lock() {
                Ok(outbox) => return Some(outbox),
                Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
        }
        self.guest.wake();
        None
    }

    /// The link is over. Calls whoever waits.
    fn end(&self, error: Option<LinkError>) {
        self.lock().end(error);
        self.work.notify_all();
        self.guest.wake();
    }

    /// A packer: from one record to the next, until the link is over.
    fn pack(&self) {
        let mut encoder = Encoder::default();
        let mut body = Vec::new();
        let mut free = Time(0);
        while let Some((mut job, keys)) = self.next_job() {
            let (since, used) = (job.since.max(free), clock::thread_ns());
            let cost = job.record.cost();
            body.clear();
            let compressed = encoder.encode(&job.record, job.compress, &mut body);
            let mut wire = std::mem::take(&mut job.wire);
            let sealed = seal::seal(keys, job.number, &body, &mut wire);
            free = clock::now();
            let (wanted, got) = (free.since(since).0, clock::thread_ns() - used);
            self.lock().figures.service.add(wanted, got);
            if !self.packed(job, compressed, body.len(), sealed.map(|()| Ready { wire, cost })) {
                return;
            }
        }
    }

    /// Waits for a record to pack, and before that for the link. `None`: the link is over.
    fn next_job(&self) -> Option<(Job, &Keys)> {
        let mut outbox = self.lock();
        loop {
            if outbox.is_given_up || outbox.phase == Phase::Over {
                return None;
            }
            if let Some(keys) = self.keys.get()
                && let Some(job) = outbox.take()
            {
                return Some((job, keys));
            }
            outbox = self.work.wait(outbox).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a packed record back. `false`: the link is over.
    fn packed(&self, job: Job, compressed: bool, body_len: usize, ready: Result<Ready, Refusal>) -> bool {
        let mut outbox = self.lock();
        if outbox.phase == Phase::Over {
            return false;
        }
        let figures = &mut outbox.figures;
        figures.content_bytes += job.record.content_len() as u64;
        figures.packed_bytes += body_len as u64;
        let has_content = job.record.content_len() > 0;
        figures.raw_records += u64::from(has_content && !compressed);
        match job.record {
            Record::Pages(pages) => {
                figures.pages += pages.len() as u64;
                figures.zero_pages += (pages.len() - pages.contents()) as u64;
                outbox.put_buffer(pages.into_buffer());
            }
            Record::Image { piece, .. } | Record::State(piece) => outbox.put_buffer(piece.bytes),
            Record::Sealed => {}
        }
        // The numbers of a session last for longer than any host does: without one, nothing more is sent.
        let Ok(ready) = ready else { return false };
        if outbox.put_packed(job.number, ready) {
            self.writer.wake();
        }
        true
    }

    /// The writer, from the first call to the end of the link.
    ///
    /// # Errors
    /// No peer admits the link, or it breaks.
    fn call_and_write(&self, peer: SocketAddr, security: &Security, token: Token) -> Result<(), LinkError> {
        let connection = connect_bulk(peer, security, token, self.writer.as_fd())?;
        {
            let mut outbox = self.lock();
            let _ = self.keys.set(connection.keys.clone());
            outbox.phase = Phase::Open;
        }
        self.work.notify_all();
        self.guest.wake();
        self.write(connection).map_err(|error| match error {
            Ending::Error(error) => error,
            Ending::Io(source) => LinkError::from_io(peer, source),
        })
    }

    /// Writes records until the link is over or given up.
    fn write(&self, mut connection: Connection) -> Result<(), Ending> {
        let mut meter = Meter::default();
        let mut current: Option<Ready> = None;
        let mut written = 0;
        loop {
            {
                let mut outbox = self.lock();
                if outbox.is_given_up {
                    return Ok(());
                }
                if let Some(pace) = outbox.new_pace.take() {
                    set_pace(&connection, pace);
                }
                if let Some(done) = current.take_if(|ready| written == ready.wire.len()) {
                    if outbox.written(done) {
                        self.guest.wake();
                    }
                    written = 0;
                }
                if current.is_none() {
                    current = outbox.take_ready();
                }
                meter.tell(&mut outbox.figures, current.is_some());
            }
            let wants = match &current {
                None => PollFlags::IN,
                Some(ready) => match connection.stream.write(&ready.wire[written..]) {
                    Ok(length) => {
                        written += length;
                        meter.bytes += length as u64;
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => PollFlags::IN | PollFlags::OUT,
                    Err(error) => return Err(Ending::Io(error)),
                },
            };
            self.wait(&mut connection, wants)?;
        }
    }

    /// Waits until the socket is ready or somebody calls the writer.
    fn wait(&self, connection: &mut Connection, wants: PollFlags) -> Result<(), Ending> {
        let mut fds = [
            PollFd::new(&connection.stream, wants),
            PollFd::new(&self.writer, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Ending::Io(error.into())),
        }
        let [of_peer, of_writer] = fds.map(|fd| fd.revents());
        if !of_writer.is_empty() {
            self.writer.clear();
        }
        if of_peer.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return self.hear(connection);
        }
        Ok(())
    }

    /// Looks what the peer says, which after the handshake can only be that it has gone.
    fn hear(&self, connection: &mut Connection) -> Result<(), Ending> {
        let peer = connection.peer;
        match connection.stream.read(&mut [0]) {
            Ok(0) => Err(Ending::Error(LinkError::Closed { peer })),
            Ok(_) => Err(Ending::Error(LinkError::Garbage {
                peer,
                what: "it says something on a link where it only listens",
            })),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(Ending::Io(error)),
        }
    }
}

/// Why the writer ends.
enum Ending {
    Error(LinkError),
    Io(io::Error),
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn set_pace(connection: &Connection, pace: Option<u64>) {
    if let Err(error) = socket::set_max_pacing_rate(&connection.stream, pace) {
        let peer = connection.peer;
        tracing::warn!("the kernel does not pace the bulk link to {peer}: {error}");
    }
}

/// Measures how fast the kernel takes bytes while there are some for it.
#[derive(Debug, Default)]
struct Meter {
    /// Bytes taken since the last report.
    bytes: u64,
    /// Bytes and time of the measurement that is going on.
    within: (u64, Span),
    /// Time of the last report, if there was something to send after it.
    busy_since: Option<Time>,
}

impl Meter {
    /// Reports what was taken since the last report. `busy`: there is something to send now.
    fn tell(&mut self, figures: &mut Figures, busy: bool) {
        let now = clock::now();
        let bytes = std::mem::take(&mut self.bytes);
        figures.wire_bytes += bytes;
        let (sum, time) = &mut self.within;
        *sum += bytes;
        if let Some(since) = self.busy_since {
            time.0 += now.since(since).0;
        }
        self.busy_since = busy.then_some(now);
        if *time >= BULK_RATE_WITHIN {
            let rate = u128::from(*sum) * 1_000_000_000 / u128::from(time.0);
            figures.rate = Some(u64::try_from(rate).unwrap_or(u64::MAX));
            self.within = (0, Span(0));
        }
    }
}
