//! The virtual Ethernet switch: which VMM gets which frame.
//!
//! A MAC address belongs to the newest peer that sent a frame from it. That is how a backup that goes live takes over its
//! guest's traffic: it announces itself, and from then on unicast frames go there. Until then the backup, which has the same
//! MAC and is silent, gets flooded frames only.
//!
//! It must never wait for a peer: a full queue drops frames, and connections look at `has_room` first.

use super::limits;
use super::peer::{Peer, PeerStream, Received};
use super::token::{Kind, token};
use mio::Registry;
use smoltcp::wire::EthernetAddress;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::time::Instant;

/// Names a peer; never used twice.
pub type PeerId = u64;

/// What a frame's source address taught the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// The owner was known and has been heard recently.
    Same,
    /// The owner was known but had been silent for a while.
    Returned,
    /// The address has a new owner: a new guest, or a backup that took over.
    Moved,
    /// The peer owns too many addresses already; its frame must be dropped.
    Refused,
}

#[derive(Debug)]
struct Owner {
    peer: PeerId,
    heard: Instant,
}

/// All connected VMMs and who owns which MAC address.
#[derive(Debug, Default)]
pub struct Switch {
    peers: BTreeMap<PeerId, Peer>,
    next_id: PeerId,
    owners: HashMap<EthernetAddress, Owner>,
    /// Peers with frames that were queued since the last flush.
    dirty: BTreeSet<PeerId>,
    /// Where frames are built that nobody or several peers get.
    scratch: Vec<u8>,
}

impl Switch {
    /// Connects a VMM. `None`: there are too many already.
    pub fn add(
        &mut self,
        stream: PeerStream,
        name: String,
        registry: &Registry,
    ) -> io::Result<Option<PeerId>> {
        if self.peers.len() >= limits::PEERS_MAX {
            return Ok(None);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.peers
            .insert(id, Peer::new(stream, name, registry, token(Kind::Peer, id))?);
        Ok(Some(id))
    }

    /// Forgets a peer and its addresses.
    pub fn remove(&mut self, id: PeerId, why: &dyn std::fmt::Display) {
        if let Some(peer) = self.peers.remove(&id) {
            tracing::info!(peer = peer.name, %why, "VMM disconnected");
            self.owners.retain(|_, owner| owner.peer != id);
            self.dirty.remove(&id);
        }
    }

    /// Reads once from a peer.
    pub fn receive(&mut self, id: PeerId) -> io::Result<Received> {
        self.peers
            .get_mut(&id)
            .map_or(Ok(Received::Nothing), Peer::receive)
    }

    /// The peer itself, to take frames out.
    pub fn peer_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(&id)
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
        let Some(peer) = self.peers.get_mut(&from) else {
            return Learned::Refused;
        };
        if peer.macs >= limits::MACS_PER_PEER_MAX {
            return Learned::Refused;
        }
        peer.macs += 1;
        tracing::info!(%mac, peer = peer.name, "MAC address has a new owner");
        if let Some(previous) = self.owners.insert(
            mac,
            Owner {
                peer: from,
                heard: now,
            },
        ) && let Some(peer) = self.peers.get_mut(&previous.peer)
        {
            peer.macs -= 1;
        }
        Learned::Moved
    }

    /// Passes a guest's frame on to other guests.
    pub fn relay(&mut self, from: PeerId, to: EthernetAddress, frame: &[u8]) {
        match self.owners.get(&to).map(|owner| owner.peer) {
            Some(owner) if owner == from => {}
            Some(owner) => self.enqueue(owner, frame, limits::PEER_QUEUE_MAX),
            None => self.flood(Some(from), frame),
        }
    }

    /// Sends a frame of the gateway's own, built in place by `fill`.
    pub fn send<R>(&mut self, to: EthernetAddress, length: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        if let Some(owner) = self.owners.get(&to)
            && let Some(peer) = self.peers.get_mut(&owner.peer)
            && let Some(frame) = peer.enqueue(length, limits::PEER_QUEUE_MAX)
        {
            self.dirty.insert(owner.peer);
            return fill(frame);
        }
        let mut frame = std::mem::take(&mut self.scratch);
        frame.clear();
        frame.resize(length, 0);
        let result = fill(&mut frame);
        // A full queue of a known owner is a lost frame; only a frame without an owner is flooded.
        if !self.owners.contains_key(&to) {
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
        let room = peer.backlog() < limits::PEER_HIGH_WATER;
        peer.awaited |= !room;
        room
    }

    /// Marks a peer whose socket takes bytes again.
    pub fn on_writable(&mut self, id: PeerId) {
        self.dirty.insert(id);
    }

    /// Writes out what was queued. True: a queue that connections wait for has drained.
    pub fn flush(&mut self) -> bool {
        let mut drained = false;
        while let Some(id) = self.dirty.pop_first() {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            if let Err(error) = peer.flush() {
                drained |= peer.awaited;
                self.remove(id, &error);
            } else if peer.awaited && peer.backlog() < limits::PEER_LOW_WATER {
                peer.awaited = false;
                drained = true;
            }
        }
        drained
    }

    fn flood(&mut self, except: Option<PeerId>, frame: &[u8]) {
        let others: Vec<PeerId> = self
            .peers
            .keys()
            .copied()
            .filter(|&id| Some(id) != except)
            .collect();
        for id in others {
            self.enqueue(id, frame, limits::PEER_FLOOD_MAX);
        }
    }

    fn enqueue(&mut self, id: PeerId, frame: &[u8], limit: usize) {
        if let Some(room) = self
            .peers
            .get_mut(&id)
            .and_then(|peer| peer.enqueue(frame.len(), limit))
        {
            room.copy_from_slice(frame);
            self.dirty.insert(id);
        }
    }
}
