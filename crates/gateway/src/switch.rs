//! The virtual Ethernet switch: which VMM gets which frame.
//!
//! A MAC address that was used with a key belongs to that key for as long as the gateway runs; nobody else
//! can use it. Among the key's connections the address is with the one that is live by the highest epoch, and
//! of the same epoch with the latest. So a backup that goes live takes over its guest's traffic with the
//! first frame that it sends, and a stalled old primary that wakes up cannot take the traffic back. A quiet
//! backup's connection probes and gets no frames.
//!
//! Without keys a MAC address belongs to the peer that connected last of those that sent a frame from it: a
//! backup connects when it goes live. A silent peer gets flooded frames only.
//!
//! Whoever goes on using an address that another VM has, and is not just a primary that has lost, has the
//! same address by mistake; both are told (`conflict`).
//!
//! The switch must never wait for a peer: a full queue drops frames, and connections look at `has_room`
//! first.

use super::conflict::Conflicts;
use super::limits;
use super::peer::{Live, Peer, PeerId, Standing};
use super::told::Told;
use cable::mac::{Mac, notice};
use cable::stream::Word;
use cable::wire::{Received, WireError};
use smoltcp::wire::EthernetAddress;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

/// What a frame's source address taught the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// The address has the owner that it had, who has been heard recently.
    Same,
    /// The address has the owner that it had, who had been silent for a while.
    Returned,
    /// The address has a new owner: a new guest, or a backup that took over.
    Moved,
    /// The peer may not use this address; its frame must be dropped.
    Refused,
}

#[derive(Debug)]
struct Owner {
    peer: PeerId,
    heard: Instant,
}

/// Which key a MAC address belongs to, and when the address was used.
#[derive(Debug)]
struct Binding {
    key: usize,
    used: Instant,
}

/// All connected VMMs and who owns which MAC address.
#[derive(Debug)]
pub struct Switch {
    /// The gateway's own address.
    own: Mac,
    peers: BTreeMap<PeerId, Peer>,
    owners: HashMap<EthernetAddress, Owner>,
    bindings: HashMap<EthernetAddress, Binding>,
    /// Peers with frames that were queued since the last flush.
    dirty: BTreeSet<PeerId>,
    /// Memory in which frames are built that nobody or several peers get.
    scratch: Vec<u8>,
    next_order: u64,
    /// Time at which to look for peers that have fallen silent.
    sweep: Option<Instant>,
    /// Whether a peer that connections waited for is gone.
    released: bool,
    refused: Told,
    conflicts: Conflicts,
    /// Keeps conflicts that come one after the other from filling the operator's log.
    telling: Told,
}

impl Switch {
    /// A switch without VMMs; `own` is the gateway's address.
    pub fn new(own: Mac) -> Self {
        Self {
            own,
            peers: BTreeMap::new(),
            owners: HashMap::new(),
            bindings: HashMap::new(),
            dirty: BTreeSet::new(),
            scratch: Vec::new(),
            next_order: 0,
            sweep: None,
            released: false,
            refused: Told::default(),
            conflicts: Conflicts::default(),
            telling: Told::default(),
        }
    }

    /// Connects a VMM. False: there are too many of its kind already.
    pub fn add(&mut self, id: PeerId, peer: Peer, now: Instant) -> bool {
        let (max, keyed) = match peer.standing {
            Standing::Plain { .. } => (limits::PLAIN_PEERS_MAX, false),
            Standing::Keyed { .. } => (limits::PEERS_PER_KEY_MAX, true),
        };
        let alike = || {
            let peers = self.peers.iter();
            peers.filter(|(_, other)| peer.standing.is_alike(other.standing))
        };
        if alike().count() >= max || self.peers.len() >= limits::PEERS_MAX {
            // A connection that shows no guest may have been cut, while its VMM has come again.
            let idle = alike().find(|(_, other)| other.macs == 0).map(|(&id, _)| id);
            let Some(idle) = idle else { return false };
            self.remove(idle, &"a newer connection needs its place");
        }
        if keyed {
            self.sweep.get_or_insert(now + limits::SWEEP_EVERY);
        }
        self.peers.insert(id, peer);
        // The bytes that came at the door may have brought the first frames with them.
        self.dirty.insert(id);
        true
    }

    /// Forgets a peer. Its MAC addresses stay with its key.
    pub fn remove(&mut self, id: PeerId, why: &dyn std::fmt::Display) -> Option<Peer> {
        let peer = self.peers.remove(&id)?;
        tracing::info!(peer = peer.name, %why, "VMM disconnected");
        self.owners.retain(|_, owner| owner.peer != id);
        self.conflicts.forget(id);
        self.dirty.remove(&id);
        self.released |= peer.awaited;
        Some(peer)
    }

    /// Reads once from a peer. True: the peer comes back after a silence, and connections may have lost
    /// something.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn receive(&mut self, id: PeerId, now: Instant) -> Result<(Received, bool), WireError> {
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok((Received::Nothing, false));
        };
        let received = peer.wire.receive()?;
        if received == Received::Nothing {
            return Ok((received, false));
        }
        let silence = peer.heard.replace(now);
        let returned = peer.wire.is_keyed()
            && silence.is_some_and(|heard| now.saturating_duration_since(heard) >= limits::OUTAGE);
        Ok((received, returned))
    }

    /// The peer, so that its frames can be taken out.
    pub fn peer_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(&id)
    }

    /// The MAC addresses that a peer owns.
    pub fn owned_by(&self, id: PeerId) -> Vec<EthernetAddress> {
        let owned = self.owners.iter().filter(|(_, owner)| owner.peer == id);
        owned.map(|(&mac, _)| mac).collect()
    }

    /// Peers from which a peer that owns no address may take one over: those with the same rights that own
    /// some.
    pub fn owners_before(&self, id: PeerId) -> Vec<PeerId> {
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.macs == 0) else {
            return Vec::new();
        };
        let owners = self
            .peers
            .iter()
            .filter(|(_, other)| other.macs > 0 && peer.standing.is_alike(other.standing));
        owners.map(|(&id, _)| id).collect()
    }

    /// Number of VMMs that are connected.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether somebody who is connected owns this address.
    pub fn is_here(&self, mac: EthernetAddress) -> bool {
        self.owners.contains_key(&mac)
    }

    /// When a frame last came from this address; `None`: nobody who is connected owns it.
    pub fn heard(&self, mac: EthernetAddress) -> Option<Instant> {
        self.owners.get(&mac).map(|owner| owner.heard)
    }

    /// Takes in a word of a peer with a key about its connection.
    pub fn on_word(&mut self, id: PeerId, word: Word, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        match (word, &mut peer.standing) {
            (Word::Ping, _) => {
                peer.asks = true;
                peer.wire.answer(limits::PEER_QUEUE_MAX);
                self.dirty.insert(id);
                // A VM that lost its guest to a backup ends soon; one that goes on living is another VM.
                if let Some(mac) = peer.lost {
                    self.on_conflict(id, mac, now);
                }
            }
            (Word::Live { epoch }, Standing::Keyed { live, .. }) => {
                let order = self.next_order;
                self.next_order += 1;
                *live = Some(Live { epoch, order });
                tracing::info!(peer = peer.name, epoch, "VMM is live");
            }
            (Word::Live { .. } | Word::Pong, _) => {}
        }
    }

    /// Notes that `mac` was seen at a peer.
    pub fn learn(&mut self, from: PeerId, mac: EthernetAddress, now: Instant) -> Learned {
        if let Some(owner) = self.owners.get_mut(&mac)
            && owner.peer == from
        {
            let silence = now.saturating_duration_since(owner.heard);
            owner.heard = now;
            return if silence >= limits::OUTAGE {
                Learned::Returned
            } else {
                Learned::Same
            };
        }
        self.forget_an_idle_mac(from, now);
        if !self.may_own(from, mac) {
            self.on_conflict(from, mac, now);
            if let Some(untold) = self.refused.one_more(now) {
                let peer = self.peers.get(&from).map_or("", |peer| &peer.name);
                tracing::warn!(
                    "what the VM at {peer} sends from the Ethernet address {} is dropped: the address \
                     belongs to another VM, or the VM uses too many{untold}",
                    Mac(mac.0)
                );
            }
            return Learned::Refused;
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            return Learned::Refused;
        };
        peer.macs += 1;
        peer.lost = None;
        tracing::info!(%mac, peer = peer.name, "MAC address has a new owner");
        let owner = Owner {
            peer: from,
            heard: now,
        };
        let key = match peer.standing {
            Standing::Keyed { key, .. } => Some(key),
            Standing::Plain { .. } => None,
        };
        if let Some(previous) = self.owners.insert(mac, owner)
            && let Some(peer) = self.peers.get_mut(&previous.peer)
        {
            peer.macs -= 1;
            peer.lost = Some(mac);
            self.conflicts.on_loss(previous.peer, mac, now);
        }
        if let Some(key) = key {
            self.bind(mac, key, now);
        }
        Learned::Moved
    }

    /// Whether a peer may become the owner of an address.
    fn may_own(&self, from: PeerId, mac: EthernetAddress) -> bool {
        let Some(peer) = self.peers.get(&from) else {
            return false;
        };
        if peer.macs >= limits::MACS_PER_PEER_MAX {
            return false;
        }
        let bound = self.bindings.get(&mac).map(|binding| binding.key);
        let Standing::Keyed { key, live } = peer.standing else {
            let owner = self.owners.get(&mac).map(|owner| owner.peer);
            return bound.is_none() && owner < Some(from);
        };
        let Some(live) = live else { return false };
        if bound.is_some_and(|bound| bound != key) {
            return false;
        }
        let owner = self
            .owners
            .get(&mac)
            .and_then(|owner| self.peers.get(&owner.peer));
        match owner.map(|owner| owner.standing) {
            Some(Standing::Keyed { live: other, .. }) => other < Some(live),
            Some(Standing::Plain { .. }) | None => true,
        }
    }

    /// Notes that a peer uses an address that another peer has, and tells both if that goes on.
    fn on_conflict(&mut self, by: PeerId, mac: EthernetAddress, now: Instant) {
        let Some(owner) = self.owners.get(&mac).map(|owner| owner.peer) else {
            return;
        };
        // A quiet backup is no VM that could be reached.
        let is_quiet = |peer: &Peer| matches!(peer.standing, Standing::Keyed { live: None, .. });
        if owner == by || self.peers.get(&by).is_none_or(is_quiet) || !self.conflicts.on_use(mac, by, now) {
            return;
        }
        let frame = notice(self.own, Mac(mac.0));
        for id in [by, owner] {
            self.send_to_peer(id, &frame);
        }
        if let Some(untold) = self.telling.one_more(now) {
            let name = |id| self.peers.get(&id).map_or("", |peer| &peer.name);
            tracing::warn!(
                "two VMs use the Ethernet address {}, and only the one at {} is reached, not the one at {}: \
                 give each VM a `--name` of its own, or a `--mac`{untold}",
                Mac(mac.0),
                name(owner),
                name(by)
            );
        }
    }

    /// Forgets the address of a peer that has been silent longest, if the peer has its share of addresses and
    /// that one is idle.
    fn forget_an_idle_mac(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self
            .peers
            .get_mut(&id)
            .filter(|peer| peer.macs >= limits::MACS_PER_PEER_MAX)
        else {
            return;
        };
        let owned = self.owners.iter().filter(|(_, owner)| owner.peer == id);
        let idle = owned.filter(|(_, owner)| now.saturating_duration_since(owner.heard) >= limits::MAC_IDLE);
        let oldest = idle.min_by_key(|(_, owner)| owner.heard).map(|(&mac, _)| mac);
        if let Some(mac) = oldest {
            self.owners.remove(&mac);
            peer.macs -= 1;
        }
    }

    fn bind(&mut self, mac: EthernetAddress, key: usize, now: Instant) {
        self.bindings.insert(mac, Binding { key, used: now });
        if self
            .bindings
            .values()
            .filter(|binding| binding.key == key)
            .count()
            > limits::MACS_PER_KEY_MAX
        {
            // At most `PEERS_PER_KEY_MAX` times `MACS_PER_PEER_MAX` addresses are in use, so one of them is
            // not.
            let oldest = self
                .bindings
                .iter()
                .filter(|(mac, binding)| binding.key == key && !self.owners.contains_key(mac))
                .min_by_key(|(_, binding)| binding.used)
                .map(|(&mac, _)| mac);
            oldest.and_then(|mac| self.bindings.remove(&mac));
        }
    }

    /// Passes a guest's frame on to other guests.
    pub fn relay(&mut self, from: PeerId, to: EthernetAddress, frame: &[u8]) {
        match self.owners.get(&to).map(|owner| owner.peer) {
            Some(owner) if owner == from => {}
            Some(owner) => self.enqueue(owner, frame, limits::PEER_QUEUE_MAX),
            None if self.bindings.contains_key(&to) => {}
            None => self.flood(Some(from), frame),
        }
    }

    /// Sends a frame of the gateway's own, built in place by `fill`.
    pub fn send<R>(&mut self, to: EthernetAddress, length: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        if let Some(owner) = self.owners.get(&to)
            && let Some(peer) = self.peers.get_mut(&owner.peer)
            && let Some(frame) = peer.wire.reserve(length, limits::PEER_QUEUE_MAX)
        {
            self.dirty.insert(owner.peer);
            return fill(frame);
        }
        let mut frame = std::mem::take(&mut self.scratch);
        frame.clear();
        frame.resize(length, 0);
        let result = fill(&mut frame);
        // If the owner is known and its queue is full, the frame is lost; if the address belongs to a key,
        // the frame is for nobody else. Only a frame to an address that nobody owns is flooded.
        if !self.owners.contains_key(&to) && !self.bindings.contains_key(&to) {
            self.flood(None, &frame);
        }
        self.scratch = frame;
        result
    }

    /// Whether a connection may send more to this address. If not, `flush` will tell when it may.
    pub fn has_room(&mut self, to: EthernetAddress) -> bool {
        let Some(peer) = self
            .owners
            .get(&to)
            .and_then(|owner| self.peers.get_mut(&owner.peer))
        else {
            return true;
        };
        let room = peer.wire.backlog() < limits::PEER_HIGH_WATER;
        peer.awaited |= !room;
        room
    }

    /// Marks a peer whose socket takes bytes again.
    pub fn on_writable(&mut self, id: PeerId) {
        self.dirty.insert(id);
    }

    /// Writes out the queued frames. True: a queue for which connections wait has drained.
    pub fn flush(&mut self) -> bool {
        while let Some(id) = self.dirty.pop_first() {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            if let Err(error) = peer.wire.flush() {
                self.remove(id, &error);
            } else if peer.awaited && peer.wire.backlog() < limits::PEER_LOW_WATER {
                peer.awaited = false;
                self.released = true;
            }
        }
        std::mem::take(&mut self.released)
    }

    /// The time at which `on_deadline` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.sweep.into_iter().chain(self.conflicts.deadline()).min()
    }

    /// Peers whose guests are to be asked now whether they are there, with the addresses that other peers
    /// have taken over from them.
    pub fn losers_to_ask(&mut self, now: Instant) -> Vec<(PeerId, EthernetAddress)> {
        self.conflicts.losers_to_ask(now)
    }

    /// Sends a frame of the gateway's own to a peer, whatever addresses it has.
    pub fn send_to_peer(&mut self, peer: PeerId, frame: &[u8]) {
        self.enqueue(peer, frame, limits::PEER_QUEUE_MAX);
    }

    /// Disconnects peers that have stopped asking whether the gateway is there: their path is cut, or they
    /// are gone.
    pub fn on_deadline(&mut self, now: Instant) {
        let Some(planned) = self.sweep.filter(|&at| at <= now) else {
            return;
        };
        // A gateway that was not scheduled itself blames nobody for the time that it slept through.
        if now.saturating_duration_since(planned) >= limits::SWEEP_EVERY {
            for peer in self.peers.values_mut() {
                peer.heard = peer.heard.map(|_| now);
            }
        }
        let is_gone = |peer: &Peer| {
            peer.heard
                .is_some_and(|heard| now.saturating_duration_since(heard) >= limits::PEER_GONE)
        };
        let gone = self.peers.iter().filter(|(_, peer)| peer.asks && is_gone(peer));
        for id in gone.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.remove(id, &"it has fallen silent");
        }
        self.sweep = self
            .peers
            .values()
            .any(|peer| peer.wire.is_keyed())
            .then_some(now + limits::SWEEP_EVERY);
    }

    fn flood(&mut self, except: Option<PeerId>, frame: &[u8]) {
        let others: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|&(&id, peer)| Some(id) != except && peer.takes_frames())
            .map(|(&id, _)| id)
            .collect();
        for id in others {
            self.enqueue(id, frame, limits::PEER_FLOOD_MAX);
        }
    }

    fn enqueue(&mut self, id: PeerId, frame: &[u8], limit: usize) {
        if let Some(room) = self
            .peers
            .get_mut(&id)
            .and_then(|peer| peer.wire.reserve(frame.len(), limit))
        {
            room.copy_from_slice(frame);
            self.dirty.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::PeerStream;
    use cable::keyed::{Callee, Caller, Next, Records};
    use cable::wire::Wire;
    use mio::net::UnixStream;

    /// One end of a connection whose other end does not matter.
    fn records() -> Records {
        let key = link::Key::new([1; 32]);
        let (mut caller, greeting) = Caller::new(&key).unwrap();
        let (mut callee, mut to_callee) = (Callee::default(), greeting.to_vec());
        loop {
            match callee
                .take(&std::mem::take(&mut to_callee), std::slice::from_ref(&key))
                .unwrap()
            {
                Next::Done(done) => return done.records,
                Next::Send(bytes) => match caller.take(&bytes).unwrap() {
                    Next::Send(bytes) => to_callee = bytes,
                    Next::More | Next::Done(_) => panic!("the caller speaks last"),
                },
                Next::More => panic!("a message came whole"),
            }
        }
    }

    /// A peer with this key that only probes, and the other end of its connection.
    fn probe(key: usize) -> (Peer, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        let wire = Wire::new(PeerStream::Unix(near), Some(records()));
        let standing = Standing::Keyed { key, live: None };
        (Peer::new(wire, standing, format!("key {key}")), far)
    }

    #[test]
    fn a_peer_that_asks_without_end_and_never_reads_costs_no_more_than_its_queue() {
        let mut switch = Switch::new(Mac([2; 6]));
        let (peer, _far) = probe(0);
        assert!(switch.add(1, peer, Instant::now()));
        for _ in 0..limits::PEER_QUEUE_MAX {
            switch.on_word(1, Word::Ping, Instant::now());
        }
        let backlog = switch.peer_mut(1).unwrap().wire.backlog();
        assert!(backlog <= limits::PEER_QUEUE_MAX + 4, "{backlog} bytes wait");
    }

    #[test]
    fn silent_peers_without_a_key_keep_nobody_out() {
        let mut switch = Switch::new(Mac([2; 6]));
        let now = Instant::now();
        let mut far_ends = Vec::new();
        for id in 0..2 * limits::PLAIN_PEERS_MAX {
            let (near, far) = UnixStream::pair().unwrap();
            far_ends.push(far);
            let wire = Wire::new(PeerStream::Unix(near), None);
            let peer = Peer::new(wire, Standing::Plain { is_new: true }, id.to_string());
            assert!(switch.add(id as PeerId, peer, now), "{id}");
            // The first half of them say nothing, and the second half show a guest each.
            if id >= limits::PLAIN_PEERS_MAX {
                switch.learn(id as PeerId, EthernetAddress([2, 0, 0, 0, 0, id as u8]), now);
            }
        }
        let (peer, _far) = probe(0);
        assert!(switch.add(1000, peer, now), "the others have places of their own");
        let (near, _far) = UnixStream::pair().unwrap();
        let wire = Wire::new(PeerStream::Unix(near), None);
        let peer = Peer::new(wire, Standing::Plain { is_new: true }, "one more".into());
        assert!(!switch.add(1001, peer, now), "nobody loses a guest");
    }

    #[test]
    fn a_key_finds_a_place_among_its_idle_connections_when_all_are_taken() {
        let mut switch = Switch::new(Mac([2; 6]));
        let mut far_ends = Vec::new();
        let mut add = |switch: &mut Switch, id: usize, key: usize| {
            let (peer, far) = probe(key);
            far_ends.push(far);
            switch.add(id as PeerId, peer, Instant::now())
        };
        for id in 0..limits::PEERS_MAX {
            assert!(add(&mut switch, id, id / limits::PEERS_PER_KEY_MAX));
        }
        assert!(
            add(&mut switch, 1000, 0),
            "a connection of its own key makes room"
        );
        assert!(!add(&mut switch, 1001, 99), "nobody else's does");
        assert_eq!(switch.len(), limits::PEERS_MAX);
    }

    #[test]
    fn an_address_that_is_idle_for_minutes_makes_room_for_another_of_its_peer() {
        let mut switch = Switch::new(Mac([2; 6]));
        let (near, _far) = UnixStream::pair().unwrap();
        let wire = Wire::new(PeerStream::Unix(near), None);
        let start = Instant::now();
        let peer = Peer::new(wire, Standing::Plain { is_new: false }, "a bridge".into());
        switch.add(1, peer, start);
        let mac = |number| EthernetAddress([2, 0, 0, 0, 0, number]);
        let count = limits::MACS_PER_PEER_MAX as u8;
        for number in 0..count {
            assert_eq!(switch.learn(1, mac(number), start), Learned::Moved);
        }
        assert_eq!(switch.learn(1, mac(count), start), Learned::Refused);
        let later = start + limits::MAC_IDLE;
        switch.learn(1, mac(0), later);
        assert_eq!(switch.learn(1, mac(count), later), Learned::Moved);
        assert!(switch.is_here(mac(0)) && switch.is_here(mac(count)));
        assert_eq!(switch.owned_by(1).len(), limits::MACS_PER_PEER_MAX);
    }
}
