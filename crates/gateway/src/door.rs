//! Where VMMs come in: tells VMMs with a key from strangers, without waiting for anybody.
//!
//! A visitor costs a socket and a few bytes. There are few places, each for a short time. When all places are
//! taken, the oldest visitor of the address that has most of them is sent away, so that a crowd pushes out
//! itself first. No visitor can send a network frame.

use super::limits;
use super::peer::{PeerId, PeerStream};
use super::told::Told;
use cable::keyed::{Callee, KeyedError, Next, Records};
use link::Key;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::Instant;

/// A VMM that has shown a key and may come in.
#[derive(Debug)]
pub struct Admitted {
    pub stream: PeerStream,
    pub records: Records,
    /// Number of the VMM's key.
    pub key: usize,
    pub name: String,
}

#[derive(Debug)]
struct Visitor {
    stream: PeerStream,
    name: String,
    /// Address from which the visitor calls; `None`: this host.
    source: Option<IpAddr>,
    callee: Callee,
    deadline: Instant,
}

/// All visitors, who have not shown a key yet.
#[derive(Debug)]
pub struct Door {
    keys: Vec<Key>,
    /// Visitors by number, and so in order of arrival and of deadlines.
    visitors: BTreeMap<PeerId, Visitor>,
    refused: Told,
}

impl Door {
    /// A door for those who have one of the keys; without keys, for nobody.
    pub fn new(keys: Vec<Key>) -> Self {
        Self {
            keys,
            visitors: BTreeMap::new(),
            refused: Told::default(),
        }
    }

    /// Whether this peer is a visitor.
    pub fn has(&self, id: PeerId) -> bool {
        self.visitors.contains_key(&id)
    }

    /// Takes in a visitor. `said` are the bytes that were read from it already.
    pub fn receive(
        &mut self,
        id: PeerId,
        (stream, name, source): (PeerStream, String, Option<IpAddr>),
        said: &[u8],
        now: Instant,
    ) -> Option<Admitted> {
        if self.visitors.len() >= limits::VISITORS_MAX {
            self.push_one_out();
        }
        let visitor = Visitor {
            stream,
            name,
            source,
            callee: Callee::default(),
            deadline: now + limits::HANDSHAKE_TIMEOUT,
        };
        self.visitors.insert(id, visitor);
        self.take(id, said, now).or_else(|| self.on_ready(id, now))
    }

    /// Reads what a visitor has sent. `Some`: the visitor may come in.
    pub fn on_ready(&mut self, id: PeerId, now: Instant) -> Option<Admitted> {
        loop {
            let visitor = self.visitors.get_mut(&id)?;
            let mut bytes = [0; 128];
            match visitor.stream.read(&mut bytes) {
                Ok(length @ 1..) => {
                    if let Some(admitted) = self.take(id, &bytes[..length], now) {
                        return Some(admitted);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    tracing::debug!(peer = visitor.name, "a visitor left");
                    self.visitors.remove(&id);
                    return None;
                }
            }
        }
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.visitors.values().next().map(|visitor| visitor.deadline)
    }

    /// Sends away visitors that took too long.
    pub fn on_deadline(&mut self, now: Instant) {
        while let Some(first) = self.visitors.first_entry()
            && first.get().deadline <= now
        {
            let visitor = first.remove();
            if let Some(untold) = self.refused.one_more(now) {
                tracing::warn!(
                    "the caller {} was refused: it did not show a key in time{untold}",
                    visitor.name
                );
            }
        }
    }

    fn take(&mut self, id: PeerId, bytes: &[u8], now: Instant) -> Option<Admitted> {
        let visitor = self.visitors.get_mut(&id)?;
        if bytes.is_empty() {
            return None;
        }
        match visitor.callee.take(bytes, &self.keys) {
            Ok(Next::More) => None,
            Ok(Next::Send(bytes)) => {
                // The socket is fresh: if a few bytes do not fit, it is no connection.
                if visitor.stream.write_all(&bytes).is_err() {
                    self.visitors.remove(&id);
                }
                None
            }
            Ok(Next::Done(done)) => {
                let mut visitor = self.visitors.remove(&id)?;
                visitor.stream.write_all(&done.send).ok()?;
                Some(Admitted {
                    stream: visitor.stream,
                    records: done.records,
                    key: done.key,
                    name: visitor.name,
                })
            }
            Err(error) => {
                self.refuse(id, error, now);
                None
            }
        }
    }

    fn refuse(&mut self, id: PeerId, error: KeyedError, now: Instant) {
        let Some(mut visitor) = self.visitors.remove(&id) else {
            return;
        };
        if let Some(untold) = self.refused.one_more(now) {
            tracing::warn!("the VM at {} was refused: {error}{untold}", visitor.name);
        }
        // If the visitor does not hear its last words, nothing is lost.
        let _ = visitor.stream.write_all(&Callee::last_words(error));
    }

    fn push_one_out(&mut self) {
        let mut crowd: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for visitor in self.visitors.values() {
            *crowd.entry(visitor.source).or_default() += 1;
        }
        let most = crowd.values().max().copied().unwrap_or(0);
        let oldest = self
            .visitors
            .iter()
            .find(|(_, visitor)| crowd.get(&visitor.source) == Some(&most));
        if let Some((&id, _)) = oldest {
            self.visitors.remove(&id);
        }
    }
}
