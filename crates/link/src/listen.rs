//! Where a backup waits for its primary, among whoever else calls.
//!
//! A caller that has the key gets a main link, or, if it shows a token that was handed out on a main link,
//! the bulk link that belongs to it.
//!
//! One loop serves all callers and never waits for a single one of them. A caller has little to give before
//! it has shown that it has the key: a place among [`HANDSHAKES_MAX`], for [`HANDSHAKE_TIMEOUT`]. When all
//! places are taken, the oldest caller of the source that has the most places is dropped; a caller that has
//! shown the key keeps its place. So silent connections, however many, keep the genuine primary out for no
//! longer than its own handshake takes.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use replica::Time;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::agreement::End;
use super::bulk::connection::Connection;
use super::bulk::token::Tokens;
use super::key::Security;
use super::noise::{Made, NoiseHandshake};
use super::{Link, LinkError};
use crate::limits::{CALLERS_PER_TURN, HANDSHAKES_MAX, REFUSALS_TOLD_MAX, REFUSALS_WITHIN, SHORTAGE_PAUSE};
use os::sys::clock;

#[cfg(doc)]
use crate::limits::HANDSHAKE_TIMEOUT;

/// What became of callers at the listener that are not the peer.
#[derive(Debug)]
pub enum Arrival<'a> {
    /// A caller could not be accepted as the peer.
    Refused(&'a LinkError),
    /// This many more callers were refused, too many to name each.
    Untold(u64),
}

/// A caller that was let in.
#[derive(Debug)]
pub enum Incoming {
    /// A primary, or another side that has the key: a main link.
    Main(Box<Link>),
    /// A caller that has the key and has shown an expected token: a bulk link.
    Bulk(Connection),
}

/// Where a backup waits for its primary.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    security: Security,
    /// Tokens of the bulk links that may come.
    tokens: Tokens,
    /// The socket for the heartbeats of the main link that is taken; `None`: one is made for it.
    datagrams: Option<UdpSocket>,
    /// Handshakes with all callers, in the order of their arrival.
    callers: Vec<NoiseHandshake>,
    refusals: Refusals,
    /// Before this time the host has no descriptor or memory to take a caller with.
    short_until: Option<Time>,
}

impl Listener {
    /// Opens the port of a listener.
    ///
    /// # Errors
    /// The address is taken or not one of this host.
    pub fn bind(address: SocketAddr, security: Security) -> Result<Listener, LinkError> {
        let open = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = open().map_err(|source| LinkError::Listen { address, source })?;
        Ok(Listener {
            listener,
            address,
            security,
            tokens: Tokens::default(),
            datagrams: None,
            callers: Vec::new(),
            refusals: Refusals::default(),
            short_until: None,
        })
    }

    /// Address of the listener, with the port number that the kernel chose if none was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The set of tokens, each of which admits one bulk link. It is empty at first. Another thread may add to
    /// it while this one listens.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        self.tokens.clone()
    }

    /// Has the heartbeats of a main link go through this socket, of which somebody else may have a copy. Only
    /// one main link at a time may be kept then.
    pub fn use_datagrams(&mut self, datagrams: UdpSocket) {
        self.datagrams = Some(datagrams);
    }

    /// Blocks until a peer with the same key has called for a main link. Others are shown to `progress` and
    /// dropped, also a bulk link, which has no business here before the main link to which it belongs. The
    /// wait ends when `stop` becomes readable.
    ///
    /// # Errors
    /// The listener broke, or `stop` became readable.
    pub fn accept(
        &mut self,
        stop: Option<BorrowedFd<'_>>,
        progress: &mut dyn FnMut(&Arrival<'_>),
    ) -> Result<Link, LinkError> {
        loop {
            if let Some(link) = self.accept_until(None, stop, progress)? {
                return Ok(link);
            }
        }
    }

    /// As [`Listener::accept`], but waits no longer than `until`, if that is given. `None`: nobody was let in
    /// until then.
    ///
    /// # Errors
    /// As [`Listener::accept`].
    pub fn accept_until(
        &mut self,
        until: Option<Time>,
        stop: Option<BorrowedFd<'_>>,
        progress: &mut dyn FnMut(&Arrival<'_>),
    ) -> Result<Option<Link>, LinkError> {
        while until.is_none_or(|until| clock::now() < until) {
            match self.turn(until, stop, progress)? {
                Some(Incoming::Main(link)) => return Ok(Some(*link)),
                Some(Incoming::Bulk(bulk)) => {
                    let peer = bulk.peer();
                    self.refusals.tell(&LinkError::Intruder { peer }, progress);
                }
                None => {}
            }
        }
        Ok(None)
    }

    /// Blocks until a peer with the same key has called for a main link, or for a bulk link whose token is
    /// expected. Strangers are shown to `progress` and dropped. The wait ends when `stop` becomes readable.
    ///
    /// # Errors
    /// The listener broke, or `stop` became readable.
    pub fn next(
        &mut self,
        stop: Option<BorrowedFd<'_>>,
        progress: &mut dyn FnMut(&Arrival<'_>),
    ) -> Result<Incoming, LinkError> {
        loop {
            if let Some(incoming) = self.turn(None, stop, progress)? {
                return Ok(incoming);
            }
        }
    }

    /// As [`Listener::next`], but waits no longer than `until`. `None`: nobody was let in until then.
    ///
    /// # Errors
    /// As [`Listener::next`].
    pub fn next_until(
        &mut self,
        until: Time,
        stop: Option<BorrowedFd<'_>>,
        progress: &mut dyn FnMut(&Arrival<'_>),
    ) -> Result<Option<Incoming>, LinkError> {
        while clock::now() < until {
            if let Some(incoming) = self.turn(Some(until), stop, progress)? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    /// Goes on with all callers, and gives one that is let in; without one, waits for more to do.
    fn turn(
        &mut self,
        until: Option<Time>,
        stop: Option<BorrowedFd<'_>>,
        progress: &mut dyn FnMut(&Arrival<'_>),
    ) -> Result<Option<Incoming>, LinkError> {
        if let Some(incoming) = self.advance(progress) {
            return Ok(Some(incoming));
        }
        self.take_callers(progress)?;
        self.wait(until, stop).map_err(|source| self.broken(source))??;
        Ok(None)
    }

    /// Goes on with every caller as far as possible without waiting; gives the first that is let in.
    fn advance(&mut self, progress: &mut dyn FnMut(&Arrival<'_>)) -> Option<Incoming> {
        let mut index = 0;
        while let Some(caller) = self.callers.get_mut(index) {
            let result = match caller.advance() {
                Ok(false) if clock::now() < caller.deadline() => {
                    index += 1;
                    continue;
                }
                Ok(false) => Err(caller.silence()),
                Ok(true) => Ok(()),
                Err(error) => Err(error),
            };
            let caller = self.callers.remove(index);
            match result.and_then(|()| caller.finish()) {
                Ok(Made::Main(link)) => return Some(Incoming::Main(link)),
                Ok(Made::Bulk(connection)) => return Some(Incoming::Bulk(connection)),
                Err(error) => self.refusals.tell(&error, progress),
            }
        }
        None
    }

    fn take_callers(&mut self, progress: &mut dyn FnMut(&Arrival<'_>)) -> Result<(), LinkError> {
        if self.short_until.is_some_and(|until| clock::now() < until) {
            return Ok(());
        }
        self.short_until = None;
        for _ in 0..CALLERS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, _)) => self.greet(stream, progress),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Of all connections of this process, strangers' are the first that it can do without.
                Err(error) if is_shortage(&error) && !self.callers.is_empty() => self.make_room(progress),
                // The whole host has none left, or the rest of this process uses them. The caller waits in
                // the kernel.
                Err(error) if is_shortage(&error) => {
                    tracing::warn!(%error, "cannot take a caller at {} yet", self.address);
                    self.short_until = Some(clock::now().after(SHORTAGE_PAUSE));
                    break;
                }
                Err(error) if is_callers_fault(&error) => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
        Ok(())
    }

    fn greet(&mut self, stream: TcpStream, progress: &mut dyn FnMut(&Arrival<'_>)) {
        if self.callers.len() >= HANDSHAKES_MAX {
            self.make_room(progress);
        }
        let mut caller = match NoiseHandshake::new(stream, End::Listens(self.tokens()), &self.security) {
            Ok(caller) => caller,
            Err(error) => return self.refusals.tell(&error, progress),
        };
        let copy = self.datagrams.as_ref().and_then(|socket| socket.try_clone().ok());
        caller.use_datagrams(copy);
        // The handshake sends its greeting now, and reads what the caller says at its next turn.
        match caller.greet() {
            Ok(()) => self.callers.push(caller),
            Err(error) => self.refusals.tell(&error, progress),
        }
    }

    /// Drops the oldest caller of the source that has the most places.
    fn make_room(&mut self, progress: &mut dyn FnMut(&Arrival<'_>)) {
        let mut places = BTreeMap::<[u8; 8], usize>::new();
        for caller in &self.callers {
            *places.entry(source(caller.peer().ip())).or_default() += 1;
        }
        let rank = |caller: &NoiseHandshake| {
            let count = places.get(&source(caller.peer().ip())).copied().unwrap_or(0);
            (!caller.is_authenticated(), count)
        };
        // `max_by_key` takes the last of equals, so the oldest is looked at last.
        let goes = (0..self.callers.len())
            .rev()
            .max_by_key(|index| self.callers.get(*index).map(rank));
        if let Some(index) = goes {
            let caller = self.callers.remove(index);
            self.refusals.tell(&caller.silence(), progress);
        }
    }

    /// Blocks until a caller comes or says something, a handshake's time is over, it is `until`, or `stop` is
    /// readable (the inner error).
    fn wait(&self, until: Option<Time>, stop: Option<BorrowedFd<'_>>) -> io::Result<Result<(), LinkError>> {
        let calls = match self.short_until {
            Some(_) => PollFlags::empty(),
            None => PollFlags::IN,
        };
        let mut fds = vec![PollFd::new(&self.listener, calls)];
        fds.extend(
            self.callers
                .iter()
                .map(|caller| PollFd::new(caller, caller.wants())),
        );
        if let Some(stop) = &stop {
            fds.push(PollFd::new(stop, PollFlags::IN));
        }
        let now = clock::now();
        let timeout = self
            .callers
            .iter()
            .map(NoiseHandshake::deadline)
            .chain(self.short_until)
            .chain(until)
            .map(|time| time.since(now).0)
            .min();
        match poll(&mut fds, timeout.map(clock::timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let stopped = stop.is_some() && fds.last().is_some_and(|fd| !fd.revents().is_empty());
        Ok(if stopped { Err(LinkError::Stopped) } else { Ok(()) })
    }

    fn broken(&self, source: io::Error) -> LinkError {
        LinkError::Listen {
            address: self.address,
            source,
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Which refusals are told of one by one, so that a flood of callers is no flood of lines.
#[derive(Debug, Default)]
struct Refusals {
    since: Time,
    told: u64,
    untold: u64,
}

impl Refusals {
    fn tell(&mut self, error: &LinkError, progress: &mut dyn FnMut(&Arrival<'_>)) {
        let now = clock::now();
        if now.since(self.since) >= REFUSALS_WITHIN {
            if self.untold > 0 {
                progress(&Arrival::Untold(self.untold));
            }
            *self = Refusals {
                since: now,
                ..Refusals::default()
            };
        }
        if self.told < REFUSALS_TOLD_MAX {
            self.told += 1;
            progress(&Arrival::Refused(error));
        } else {
            self.untold += 1;
        }
    }
}

/// What counts as one source: an IPv4 address, or the part of an IPv6 address that a site is given.
fn source(address: IpAddr) -> [u8; 8] {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [0, 0, 0, 0, a, b, c, d]
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h, ..] = v6.octets();
            [a, b, c, d, e, f, g, h]
        }
    }
}

/// Whether the error is of a connection that broke before it was accepted; accept(2) passes those on.
fn is_callers_fault(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET
        )
    )
}

/// Whether the host has no descriptors or no memory for one more connection.
fn is_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::process::Command;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    /// Name of a variable that is set in a child process whose limit of open files may be changed.
    const CHILD: &str = "LOCKSTEP_TEST_SHORTAGE";

    #[test]
    fn a_host_without_descriptors_keeps_a_caller_waiting_and_does_not_end_the_listener() {
        if std::env::var_os(CHILD).is_some() {
            return take_a_caller_without_descriptors();
        }
        let name =
            "listen::tests::a_host_without_descriptors_keeps_a_caller_waiting_and_does_not_end_the_listener";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && words.contains("1 passed"), "{words}");
    }

    fn take_a_caller_without_descriptors() {
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Security::Insecure).unwrap();
        let _caller = TcpStream::connect(listener.address()).unwrap();
        let before = getrlimit(Resource::Nofile);
        let lowest_free = File::open("/dev/null").unwrap().as_raw_fd();
        let none = Rlimit {
            current: u64::try_from(lowest_free).ok(),
            ..before
        };
        setrlimit(Resource::Nofile, none).unwrap();
        let taken = listener.take_callers(&mut |_| {});
        setrlimit(Resource::Nofile, before).unwrap();
        taken.unwrap();
        assert!(listener.callers.is_empty());
        while listener.callers.is_empty() {
            listener.wait(None, None).unwrap().unwrap();
            listener.take_callers(&mut |_| {}).unwrap();
        }
    }
}
