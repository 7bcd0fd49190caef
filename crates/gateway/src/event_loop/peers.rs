//! Network frames and words of VMMs that are connected.
//!
//! They are taken in fair turns, and in the order that counts where two VMMs have one guest. This is a part
//! of the loop: it never waits for a VMM.

use super::super::limits;
use super::super::peer::{Peer, PeerId, PeerStream, Standing};
use super::super::token::{Kind, token};
use super::EventLoop;
use cable::keyed::is_greeting;
use cable::stream::{Item, Word};
use cable::wire::{Received, Wire, WireError};

impl EventLoop {
    pub(super) fn welcome(&mut self, id: PeerId, peer: Peer) {
        let name = peer.name.clone();
        if self.segment.switch.add(id, peer, self.segment.now) {
            tracing::info!(peer = name, "VMM connected");
            // What the peer has sent by now brings no event any more.
            self.unfinished.insert(token(Kind::Peer, id));
        } else {
            tracing::warn!("the VM at {name} was refused: too many VMs are connected");
        }
    }

    /// Handles what a VMM has sent. True: there may be more.
    pub(super) fn on_peer(&mut self, id: PeerId) -> bool {
        let mut returned = false;
        let more = self.read_peer(id, &mut returned);
        if returned {
            // The VMM's path was cut for a while: what was lost is sent again at once, after the VMM's own
            // frames, which may acknowledge some of it.
            for mac in self.segment.switch.owned_by(id) {
                self.recover(mac, limits::OUTAGE_DATA_AGE);
            }
        }
        more
    }

    fn read_peer(&mut self, id: PeerId, returned: &mut bool) -> bool {
        let mut items = limits::ITEMS_PER_TURN;
        for _ in 0..limits::READS_PER_TURN {
            // What the last turn left is handled first.
            match self.take_items(id, &mut items) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => {
                    self.segment.switch.remove(id, &error);
                    return false;
                }
            }
            match self.segment.switch.receive(id, self.segment.now) {
                Ok((Received::Some, after_silence)) => *returned |= after_silence,
                Ok((Received::Nothing, _)) => return false,
                Err(error) => {
                    self.segment.switch.remove(id, &error);
                    return false;
                }
            }
            let Some(peer) = self.segment.switch.peer_mut(id) else {
                return false;
            };
            if let Standing::Plain { is_new } = &mut peer.standing
                && std::mem::take(is_new)
                && is_greeting(peer.wire.reader.waiting())
            {
                self.show_to_the_door(id);
                return false;
            }
        }
        true
    }

    /// Handles what the owners of addresses have sent by now, before a peer that owns no address may take one
    /// over. A primary that leaves its VM to the backup has shown those frames, so the backup does not show
    /// them again.
    fn hear_owners_out(&mut self, id: PeerId) {
        for owner in self.segment.switch.owners_before(id) {
            let mut turns = limits::TURNS_BEFORE_TAKEOVER;
            while turns > 0 && self.on_peer(owner) {
                turns -= 1;
            }
            if turns == 0 {
                self.unfinished.insert(token(Kind::Peer, owner));
            }
        }
    }

    /// Handles what has been read of a peer, at most `items` frames and words, and counts them down. True:
    /// nothing is left.
    fn take_items(&mut self, id: PeerId, items: &mut usize) -> Result<bool, WireError> {
        let Some(peer) = self.segment.switch.peer_mut(id) else {
            return Ok(true);
        };
        let is_keyed = peer.wire.is_keyed();
        // The network frames are borrowed from the reader while the rest of the gateway works on them.
        let mut reader = std::mem::take(&mut peer.wire.reader);
        let is_empty = loop {
            let Some(left) = items.checked_sub(1) else {
                break false;
            };
            let Some(item) = Wire::<PeerStream>::pop(&mut reader, is_keyed)? else {
                break true;
            };
            // With a key a peer may own an address from this word on; without a key it may from any frame on.
            let may_take_over = match item {
                Item::Word(word) => matches!(word, Word::Live { .. }),
                Item::Frame(_) => !is_keyed,
            };
            if may_take_over {
                self.hear_owners_out(id);
            }
            match item {
                Item::Frame(frame) => self.on_frame(id, frame),
                Item::Word(word) => {
                    let now = self.segment.now;
                    self.segment.switch.on_word(id, word, now);
                }
            }
            *items = left;
        };
        if let Some(peer) = self.segment.switch.peer_mut(id) {
            peer.wire.reader = reader;
        }
        Ok(is_empty)
    }

    /// Sends a peer that was taken for one without a key to the door, where it goes on with its handshake.
    fn show_to_the_door(&mut self, id: PeerId) {
        if let Some(peer) = self.segment.switch.remove(id, &"it has a key") {
            let said = peer.wire.reader.waiting().to_vec();
            let visitor = (peer.wire.into_stream(), peer.name, None);
            let admitted = self.door.receive(id, visitor, &said, self.segment.now);
            self.admit(id, admitted);
        }
    }
}
