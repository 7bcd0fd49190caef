//! `Links`: the connections to other replicas, each named by the `PeerId` by which the node knows it. `World`
//! owns them, and has them carry out what the node says to a peer.
//!
//! ```text
//!   Open -- the link breaks: Event::LinkLost --> Broken -- close, hang up --> gone
//!   Open -- close ---------------------------------------------------------> gone
//!   Open -- hang up --> Leaving -- its last words are with the kernel, or had their time --> gone
//! ```
//! Messages in a row are collected, and written together by `flush`. A link that breaks is told to the
//! operator and to the node, once, and its heartbeats are heard until the node closes the link: the notice
//! that the peer's process has ended comes among them. Nothing here blocks but the farewell of a process that
//! ends.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use replica::{Event, PeerId, Span, Time};

use crate::limits::LINKS_MAX;
use link::{Heartbeats, Link, LinkError, Traffic};
use os::error;
use os::limits::{BATCH_MAX, LAST_WORDS_PATIENCE};
use os::poll::{Interest, Poller, Token};
use os::sys::clock;
use report::Reporter;

/// Each peer has two tokens from here on, for its messages and for its heartbeats. Those before are of
/// `world` and `cables`.
const FIRST: u64 = 1 << 32;

/// All links of a process.
#[derive(Debug, Default)]
pub struct Links {
    /// At most [`LINKS_MAX`], in the order in which they were made.
    ends: Vec<End>,
    /// The link that was hung up last, while what was queued for its peer leaves.
    leaving: Option<Leaving>,
    /// Was a message queued at any link and not handed to the kernel yet?
    is_dirty: bool,
    /// Traffic of links that are gone.
    past: Traffic,
}

/// This process's end of a link.
#[derive(Debug)]
struct End {
    peer: PeerId,
    address: SocketAddr,
    state: State,
}

/// What a link is good for.
#[derive(Debug)]
enum State {
    /// Messages and heartbeats come and go.
    Open(Box<Line>),
    /// The connection is gone, and only heartbeats are heard.
    Broken(Heartbeats),
}

/// A connection and what waits in it.
#[derive(Debug)]
struct Line {
    link: Link,
    /// Has the link bytes that the kernel did not take? Then the poller also waits until it takes some.
    is_stuck: bool,
    /// Were messages queued and not handed to the kernel yet?
    is_dirty: bool,
}

/// A connection with whose peer the node is done: nothing of it is read any more.
#[derive(Debug)]
struct Leaving {
    peer: PeerId,
    link: Link,
    /// When its last words have had their time.
    until: Time,
}

/// Who must hear what happens to a link.
pub struct Ears<'a> {
    /// Waits for the sockets.
    pub poller: &'a Poller,
    /// Tells the operator.
    pub reporter: &'a mut Reporter,
    /// Takes the events for the node.
    pub handle: &'a mut dyn FnMut(Event),
}

impl End {
    fn line(&mut self) -> Option<&mut Line> {
        match &mut self.state {
            State::Open(line) => Some(line),
            State::Broken(_) => None,
        }
    }

    fn heartbeats(&mut self) -> &mut Heartbeats {
        match &mut self.state {
            State::Open(line) => line.link.heartbeats(),
            State::Broken(heartbeats) => heartbeats,
        }
    }

    fn traffic(&self) -> Traffic {
        match &self.state {
            State::Open(line) => line.link.traffic(),
            State::Broken(_) => Traffic::default(),
        }
    }

    /// Has the poller wait for an open link.
    fn register(&self, poller: &Poller) -> io::Result<()> {
        let State::Open(line) = &self.state else {
            return Ok(());
        };
        poller.add(&line.link, messages(self.peer), Interest::Read)?;
        poller.add(&line.link.heartbeats_fd(), heartbeats(self.peer), Interest::Read)
    }
}

impl Links {
    /// Is this the token of a link?
    #[must_use]
    pub fn owns(token: Token) -> bool {
        token.0 >= FIRST
    }

    /// Adds the link to a peer that has none. [`Links::register`] has the poller wait for it.
    pub fn add(&mut self, peer: PeerId, link: Link) {
        assert!(!self.is_full(), "more than {LINKS_MAX} links");
        let address = link.peer();
        let line = Line {
            link,
            is_stuck: false,
            is_dirty: false,
        };
        let state = State::Open(Box::new(line));
        self.ends.push(End { peer, address, state });
    }

    /// Has the poller wait for all links. Call once.
    ///
    /// # Errors
    /// A link cannot be waited for.
    pub fn register(&self, poller: &Poller) -> io::Result<()> {
        self.ends.iter().try_for_each(|end| end.register(poller))
    }

    /// Adds the link to a peer that has none, and has the poller wait for it.
    ///
    /// # Errors
    /// The link cannot be waited for.
    pub fn join(&mut self, peer: PeerId, link: Link, poller: &Poller) -> io::Result<()> {
        self.add(peer, link);
        self.ends.last().map_or(Ok(()), |end| end.register(poller))
    }

    /// Is there no room for one more link?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.ends.len() >= LINKS_MAX
    }

    /// Has the node no peer?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Where the link to this peer leads, or led before it broke.
    #[must_use]
    pub fn address(&self, peer: PeerId) -> Option<SocketAddr> {
        let end = self.ends.iter().find(|end| end.peer == peer)?;
        Some(end.address)
    }

    /// Does any link lead to this address?
    #[must_use]
    pub fn lead_to(&self, address: SocketAddr) -> bool {
        self.ends.iter().any(|end| end.address == address)
    }

    /// Bytes on the wire of all links, those that are gone among them.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let leaving = self.leaving.iter().map(|leaving| leaving.link.traffic());
        let there = self.ends.iter().map(End::traffic).chain(leaving);
        there.fold(self.past, sum)
    }

    /// Is a message of any peer in this process already? One read may bring more messages than a batch takes.
    /// The kernel knows nothing of the rest, so it wakes nobody for it.
    #[must_use]
    pub fn has_message(&self) -> bool {
        self.unread().next().is_some()
    }

    /// The links of which a message is in this process already.
    pub fn unread(&self) -> impl Iterator<Item = Token> {
        self.ends.iter().filter_map(|end| match &end.state {
            State::Open(line) if line.link.has_message() => Some(messages(end.peer)),
            _ => None,
        })
    }

    /// Are there messages that the kernel was not asked to take yet?
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Takes what has come for this token: a batch of messages or of heartbeats.
    ///
    /// # Errors
    /// The poller cannot be told what to wait for. What the link says is an event, not an error.
    pub fn read(&mut self, token: Token, ears: &mut Ears<'_>) -> io::Result<()> {
        let peer = PeerId((token.0.saturating_sub(FIRST) / 2) as u32);
        match self.find(peer) {
            Some(index) if token == messages(peer) => self.read_messages(index, ears)?,
            Some(index) => self.read_heartbeats(index, ears),
            None => self.push_last_words(peer),
        }
        Ok(())
    }

    fn read_messages(&mut self, index: usize, ears: &mut Ears<'_>) -> io::Result<()> {
        let peer = self.ends[index].peer;
        let Some(line) = self.ends[index].line() else {
            return Ok(());
        };
        for _ in 0..BATCH_MAX {
            match line.link.receive() {
                Ok(Some(message)) => (ears.handle)(Event::Peer(peer, message)),
                Ok(None) => break,
                Err(error) => {
                    self.lose(index, &error, ears);
                    return Ok(());
                }
            }
        }
        if line.is_stuck {
            self.flush_one(index, ears)?;
        }
        Ok(())
    }

    fn read_heartbeats(&mut self, index: usize, ears: &mut Ears<'_>) {
        let peer = self.ends[index].peer;
        let heartbeats = self.ends[index].heartbeats();
        for _ in 0..BATCH_MAX {
            let Some(beat) = heartbeats.receive() else { return };
            (ears.handle)(Event::Heartbeat(peer, beat));
        }
    }

    /// Puts a message into the queue for this peer. Nothing leaves before [`Links::flush`].
    pub fn send(&mut self, peer: PeerId, message: &[u8], ears: &mut Ears<'_>) {
        let Some(index) = self.find(peer) else { return };
        let Some(line) = self.ends[index].line() else {
            return;
        };
        match line.link.send(message) {
            Ok(()) => {
                line.is_dirty = true;
                self.is_dirty = true;
            }
            Err(error) => self.lose(index, &error, ears),
        }
    }

    /// Sends a heartbeat to this peer.
    pub fn beat(&mut self, peer: PeerId, payload: &[u8]) {
        let line = self.find(peer).and_then(|index| self.ends[index].line());
        if let Some(line) = line {
            line.link.heartbeats().send(payload);
        }
    }

    /// The last heartbeat to this peer, for somebody else to send once this process has ended. `None`: there
    /// is no link.
    #[must_use]
    pub fn seal_last(&mut self, peer: PeerId, payload: &[u8]) -> Option<Vec<u8>> {
        let index = self.find(peer)?;
        Some(self.ends[index].heartbeats().seal_last(payload))
    }

    /// Hands the kernel the queued messages of all links. If it does not take all, the poller says when it
    /// takes more.
    ///
    /// # Errors
    /// The poller cannot be told what to wait for. What a link says is an event, not an error.
    pub fn flush(&mut self, ears: &mut Ears<'_>) -> io::Result<()> {
        self.is_dirty = false;
        for index in 0..self.ends.len() {
            if self.ends[index].line().is_some_and(|line| line.is_dirty) {
                self.flush_one(index, ears)?;
            }
        }
        Ok(())
    }

    fn flush_one(&mut self, index: usize, ears: &mut Ears<'_>) -> io::Result<()> {
        let peer = self.ends[index].peer;
        let Some(line) = self.ends[index].line() else {
            return Ok(());
        };
        line.is_dirty = false;
        let stuck = match line.link.flush() {
            Ok(all) => !all,
            Err(error) => {
                self.lose(index, &error, ears);
                return Ok(());
            }
        };
        if stuck != std::mem::replace(&mut line.is_stuck, stuck) {
            let interest = if stuck {
                Interest::ReadWrite
            } else {
                Interest::Read
            };
            ears.poller.modify(&line.link, messages(peer), interest)?;
        }
        Ok(())
    }

    /// Closes the connection of a link that has failed, and tells the node and the operator.
    fn lose(&mut self, index: usize, error: &LinkError, ears: &mut Ears<'_>) {
        let mut end = self.ends.remove(index);
        if let State::Open(line) = end.state {
            self.past = sum(self.past, line.link.traffic());
            end.state = State::Broken(line.link.into());
        }
        let peer = end.peer;
        self.ends.insert(index, end);
        ears.reporter.lost_link(error::chain(error));
        (ears.handle)(Event::LinkLost(peer));
    }

    /// Closes the link to a peer at once: what is queued for the peer is not sent, and nothing of the peer is
    /// heard any more.
    pub fn close(&mut self, peer: PeerId, poller: &Poller) {
        if let Some(line) = self.take(peer, poller) {
            self.past = sum(self.past, line.link.traffic());
        }
    }

    /// As [`Links::close`], but what is queued for the peer leaves first, within [`LAST_WORDS_PATIENCE`].
    /// This does not wait for it.
    ///
    /// # Errors
    /// The poller cannot be told what to wait for.
    pub fn hang_up(&mut self, peer: PeerId, poller: &Poller) -> io::Result<()> {
        let Some(line) = self.take(peer, poller) else {
            return Ok(());
        };
        // Whoever was hung up before has had its time.
        self.end_leaving();
        let mut leaving = Leaving {
            peer,
            link: line.link,
            until: clock::now().after(patience()),
        };
        if leaving.is_over() {
            self.past = sum(self.past, leaving.link.traffic());
            return Ok(());
        }
        poller.modify(&leaving.link, messages(peer), Interest::Write)?;
        self.leaving = Some(leaving);
        Ok(())
    }

    /// Takes a link away, of which nothing is heard any more; gives the connection if that is not broken.
    fn take(&mut self, peer: PeerId, poller: &Poller) -> Option<Line> {
        let index = self.find(peer)?;
        let mut end = self.ends.remove(index);
        // The watcher has the same socket behind a descriptor of its own, so closing it here is not enough.
        let removed = poller.remove(end.heartbeats());
        removed.unwrap_or_else(|error| tracing::debug!("heartbeats were not waited for: {error}"));
        match end.state {
            State::Open(line) => Some(*line),
            State::Broken(_) => None,
        }
    }

    /// When [`Links::on_time`] must be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.leaving.as_ref().map(|leaving| leaving.until)
    }

    /// Closes the link that was hung up, if its time is over.
    pub fn on_time(&mut self, now: Time) {
        if self.deadline().is_some_and(|until| until <= now) {
            self.end_leaving();
        }
    }

    fn push_last_words(&mut self, peer: PeerId) {
        let leaving = self.leaving.as_mut().filter(|leaving| leaving.peer == peer);
        if leaving.is_some_and(Leaving::is_over) {
            self.end_leaving();
        }
    }

    fn end_leaving(&mut self) {
        if let Some(leaving) = self.leaving.take() {
            self.past = sum(self.past, leaving.link.traffic());
        }
    }

    /// Says the last words to all peers, for instance that the guest is off (FT 3.3-a), and waits for all of
    /// them together no longer than [`LAST_WORDS_PATIENCE`].
    pub fn say_farewell(&mut self) {
        let until = clock::now().after(patience());
        let lines = self.ends.iter_mut().filter_map(End::line);
        let leaving = self.leaving.iter_mut().map(|leaving| &mut leaving.link);
        let mut links: Vec<&mut Link> = lines.map(|line| &mut line.link).chain(leaving).collect();
        // Nobody's words wait for a peer that does not read.
        for link in &mut links {
            let _ = link.flush();
        }
        for link in links {
            let left = until.since(clock::now());
            if link.backlog() > 0
                && left.0 > 0
                && let Err(error) = link.drain(Duration::from_nanos(left.0))
            {
                tracing::debug!("a peer did not hear the last words: {}", error::chain(&error));
            }
        }
    }

    fn find(&self, peer: PeerId) -> Option<usize> {
        self.ends.iter().position(|end| end.peer == peer)
    }
}

impl Leaving {
    /// Hands the kernel what it takes; is nothing left, or nobody there to read it?
    fn is_over(&mut self) -> bool {
        self.link.flush().unwrap_or_else(|error| {
            tracing::debug!("a peer did not hear the last words: {}", error::chain(&error));
            true
        })
    }
}

fn messages(peer: PeerId) -> Token {
    Token(FIRST + 2 * u64::from(peer.0))
}

fn heartbeats(peer: PeerId) -> Token {
    Token(messages(peer).0 + 1)
}

fn sum(one: Traffic, other: Traffic) -> Traffic {
    Traffic {
        sent: one.sent + other.sent,
        received: one.received + other.received,
    }
}

fn patience() -> Span {
    Span(u64::try_from(LAST_WORDS_PATIENCE.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use link::{Key, Listener, Security, connect_from};

    use super::*;
    use crate::watch::Watch;

    const MEMBER: PeerId = PeerId(0);
    const APPRENTICE: PeerId = PeerId(3);
    /// More than the kernels of both ends keep for a peer that does not read.
    const LONG: usize = 24 << 20;

    /// A process with two links, and their other ends.
    struct Site {
        links: Links,
        watch: Watch,
        poller: Poller,
        reporter: Reporter,
        events: Vec<Event>,
        member: Link,
        apprentice: Link,
    }

    impl Site {
        fn new() -> Site {
            let mut watch = Watch::start(&[], ([127, 0, 0, 1], 0).into(), None);
            let mut links = Links::default();
            let poller = Poller::new().unwrap();
            let (member, far_member) = call(&watch);
            watch.meet(MEMBER, &member);
            links.add(MEMBER, member);
            links.register(&poller).unwrap();
            let (apprentice, far_apprentice) = call(&watch);
            watch.meet(APPRENTICE, &apprentice);
            links.join(APPRENTICE, apprentice, &poller).unwrap();
            Site {
                links,
                watch,
                poller,
                reporter: Reporter::new("vm", None, None).unwrap(),
                events: Vec::new(),
                member: far_member,
                apprentice: far_apprentice,
            }
        }

        fn with<T>(&mut self, work: impl FnOnce(&mut Links, &mut Ears<'_>) -> T) -> T {
            let (poller, reporter) = (&self.poller, &mut self.reporter);
            let handle = &mut |event| self.events.push(event);
            let mut ears = Ears {
                poller,
                reporter,
                handle,
            };
            work(&mut self.links, &mut ears)
        }

        fn send(&mut self, peer: PeerId, message: &[u8]) {
            self.with(|links, ears| links.send(peer, message, ears));
        }

        fn flush(&mut self) {
            self.with(|links, ears| links.flush(ears)).unwrap();
        }

        /// Waits for a source and reads all that are ready.
        fn turn(&mut self) {
            let ready: Vec<Token> = self.poller.wait(None, false).unwrap().collect();
            for token in ready {
                self.with(|links, ears| links.read(token, ears)).unwrap();
            }
        }

        /// Waits until so many events have come, and gives them in the order of their names.
        fn events(&mut self, count: usize) -> Vec<Event> {
            while self.events.len() < count {
                self.turn();
            }
            let mut events = std::mem::take(&mut self.events);
            events.sort_by_key(|event| format!("{event:?}"));
            events
        }
    }

    /// A link whose heartbeats go through a socket of `watch`, and its other end.
    fn call(watch: &Watch) -> (Link, Link) {
        let security = Security::Key(Key::new([7; 32]));
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), security.clone()).unwrap();
        let address = listener.address();
        let far = thread::spawn(move || listener.accept(None, &mut |_| {}).unwrap());
        let patience = Span::from_ms(600_000);
        let near = connect_from(address, &security, watch.socket(), patience, &mut |_| true).unwrap();
        (near, far.join().unwrap())
    }

    /// Waits for the next message at the other end of a link.
    fn next(link: &mut Link) -> Result<Vec<u8>, LinkError> {
        loop {
            if let Some(message) = link.receive()? {
                return Ok(message);
            }
            thread::yield_now();
        }
    }

    fn next_beat(link: &mut Link) -> Vec<u8> {
        loop {
            if let Some(beat) = link.heartbeats().receive() {
                return beat;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn messages_and_heartbeats_of_two_links_carry_the_names_of_their_peers() {
        let mut site = Site::new();
        site.send(MEMBER, b"log");
        site.send(APPRENTICE, b"cut");
        assert!(
            site.links.is_dirty() && site.links.traffic().sent == 0,
            "collected"
        );
        site.flush();
        assert!(!site.links.is_dirty() && site.links.traffic().sent > 0);
        assert_eq!(next(&mut site.member).unwrap(), b"log");
        assert_eq!(next(&mut site.apprentice).unwrap(), b"cut");
        for (far, word) in [(&mut site.member, b"ack"), (&mut site.apprentice, b"lag")] {
            far.send(word).unwrap();
            assert!(far.flush().unwrap());
        }
        let came = [
            Event::Peer(MEMBER, b"ack".to_vec()),
            Event::Peer(APPRENTICE, b"lag".to_vec()),
        ];
        assert_eq!(site.events(2), came);

        site.links.beat(MEMBER, b"to the member");
        site.links.beat(APPRENTICE, b"to the apprentice");
        assert_eq!(next_beat(&mut site.member), b"to the member");
        assert_eq!(next_beat(&mut site.apprentice), b"to the apprentice");
        site.member.heartbeats().send(b"m");
        site.apprentice.heartbeats().send(b"a");
        let came = [
            Event::Heartbeat(MEMBER, b"m".to_vec()),
            Event::Heartbeat(APPRENTICE, b"a".to_vec()),
        ];
        assert_eq!(site.events(2), came);
    }

    #[test]
    fn a_broken_link_is_told_once_and_its_last_heartbeat_still_comes() {
        let mut site = Site::new();
        let traffic = site.links.traffic();
        let other = call(&site.watch).1;
        let member = std::mem::replace(&mut site.member, other);
        let mut left = Heartbeats::from(member);
        assert_eq!(site.events(1), [Event::LinkLost(MEMBER)]);
        assert!(site.links.address(MEMBER).is_some() && site.links.traffic() == traffic);
        site.send(MEMBER, b"nobody hears this");
        assert!(!site.links.is_dirty());
        site.send(APPRENTICE, b"well");
        site.flush();
        assert_eq!(next(&mut site.apprentice).unwrap(), b"well");
        left.send(b"ended");
        assert_eq!(site.events(1), [Event::Heartbeat(MEMBER, b"ended".to_vec())]);
        assert!(site.links.seal_last(MEMBER, b"too").is_some());

        site.links.close(MEMBER, &site.poller);
        assert!(site.links.address(MEMBER).is_none() && site.links.seal_last(MEMBER, b"too").is_none());
        left.send(b"too late");
        site.apprentice.heartbeats().send(b"a");
        assert_eq!(site.events(1), [Event::Heartbeat(APPRENTICE, b"a".to_vec())]);
    }

    #[test]
    fn what_was_queued_leaves_after_a_hang_up_while_the_other_link_goes_on() {
        let mut site = Site::new();
        assert!(site.links.is_full() && site.watch.socket().is_none());
        site.send(APPRENTICE, &vec![1; LONG]);
        site.send(APPRENTICE, b"abandoned");
        site.links.hang_up(APPRENTICE, &site.poller).unwrap();
        site.watch.forget(APPRENTICE);
        assert!(!site.links.is_full() && site.links.deadline().is_some());
        assert!(site.watch.socket().is_some(), "for the next link");
        // The apprentice has not read anything yet, and the member is heard all the same.
        site.apprentice.heartbeats().send(b"nobody hears this");
        site.member.send(b"ack").unwrap();
        site.member.flush().unwrap();
        assert_eq!(site.events(1), [Event::Peer(MEMBER, b"ack".to_vec())]);

        let far = std::mem::replace(&mut site.apprentice, call(&site.watch).1);
        let reader = thread::spawn(move || {
            let mut far = far;
            (next(&mut far).unwrap().len(), next(&mut far).unwrap())
        });
        while site.links.deadline().is_some() {
            site.turn();
        }
        assert_eq!(reader.join().unwrap(), (LONG, b"abandoned".to_vec()));
        assert!(site.events.is_empty() && site.links.traffic().sent > LONG as u64);
    }

    #[test]
    fn last_words_that_nobody_reads_have_their_time() {
        let mut site = Site::new();
        site.send(APPRENTICE, &vec![1; LONG]);
        site.links.hang_up(APPRENTICE, &site.poller).unwrap();
        let until = site.links.deadline().unwrap();
        site.links.on_time(Time(until.0 - 1));
        assert!(site.links.deadline().is_some());
        site.links.on_time(until);
        assert!(site.links.deadline().is_none());
        assert!(next(&mut site.apprentice).is_err());
    }

    #[test]
    fn what_is_queued_for_a_peer_that_is_dropped_does_not_leave() {
        let mut site = Site::new();
        site.send(APPRENTICE, b"never said");
        site.send(MEMBER, b"log");
        site.links.close(APPRENTICE, &site.poller);
        site.flush();
        assert!(matches!(
            next(&mut site.apprentice),
            Err(LinkError::Closed { .. })
        ));
        assert_eq!(next(&mut site.member).unwrap(), b"log");
    }

    #[test]
    fn a_peer_that_does_not_read_keeps_no_other_from_the_last_words() {
        let mut site = Site::new();
        site.send(MEMBER, &vec![1; LONG]);
        site.send(APPRENTICE, b"off");
        site.links.say_farewell();
        assert_eq!(next(&mut site.apprentice).unwrap(), b"off");
    }
}
