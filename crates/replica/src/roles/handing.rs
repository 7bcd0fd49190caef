//! `Handing`: the role of a primary that has left the VM to its backup and waits until that is live, to be
//! the backup itself (FT 3.3-c, docs/protocol.md "Handing over").
//!
//! Its guest stands where the log ends, in the state that the other side's has there, so no clone is needed.
//! It shows nothing. If the other side does not come, this one asks the arbiter like any side of a pair.

use crate::event::{Event, PeerId, Shown, Suspicion};
use crate::guest::Guest;
use crate::roles::call::Call;
use crate::roles::gate::Output;
use crate::roles::primary::Primary;
use crate::roles::table::Change;
use messages::joining::CutAt;
use messages::message::Message;
use messages::time::{Span, Time};

/// A primary that has said that it shows nothing more.
#[derive(Debug)]
pub struct Handing {
    /// What it was, with the outputs that have not left.
    primary: Box<Primary>,
}

impl Handing {
    /// What a primary becomes whose backup was told to go on in its place.
    #[must_use]
    pub fn new(primary: Box<Primary>) -> Handing {
        Handing { primary }
    }

    /// What it was: for a claim, if the other side does not come.
    #[must_use]
    pub fn into_primary(self) -> Box<Primary> {
        self.primary
    }

    /// The link to the other side.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.primary.peer()
    }

    /// The other side's process.
    #[must_use]
    pub fn backup(&self) -> u128 {
        self.primary.backup()
    }

    /// Time since the other side's last sign of life.
    #[must_use]
    pub fn silence(&self, now: Time) -> Span {
        self.primary.silence(now)
    }

    /// See [`crate::Node::console_room`]. Nothing is taken that would not be logged any more.
    #[must_use]
    pub fn console_room(&self) -> usize {
        0
    }

    /// Takes an event from the world, and gives the change of role that follows from it.
    pub fn handle(&mut self, call: &mut Call<'_>, event: Event) -> Option<Change> {
        self.primary.look_at_members(call.now);
        let peer = self.peer();
        match event {
            Event::Peer(from, bytes) if from == peer => match Message::decode(&bytes) {
                Ok(Message::Taken(epoch)) => Some(Change::Taken(epoch)),
                // It was sent before the other side heard that it is to go on.
                Ok(Message::Ack(_) | Message::Following { .. }) => None,
                Ok(Message::Diverged { .. }) => Some(Change::Suspect(Suspicion::Diverged)),
                _ => Some(Change::Suspect(Suspicion::Garbage)),
            },
            Event::LinkLost(from) if from == peer => Some(Change::Suspect(Suspicion::LinkLost)),
            event => {
                // An input waits for the guest, which goes on here if the other side does not come.
                self.primary.handle_while_claiming(call, event);
                None
            }
        }
    }

    /// Watches over the other side.
    pub fn slice(&mut self, call: &mut Call<'_>) -> Option<Change> {
        self.primary.look_at_members(call.now);
        self.primary.suspect(call.now)
    }

    /// When it must be called again.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.primary.watch()
    }

    /// What the backup that this side becomes has: where the log ends, the outputs that have not left, each
    /// with its number in the guest's life, and whether the guest stands as its operator wants.
    pub fn into_backup<G: Guest>(self, guest: &G) -> (CutAt, Vec<(u64, Shown)>, bool) {
        let (live, mut gate) = self.primary.into_parts();
        let cut = CutAt {
            base: live.recorder.log.base(),
            outputs: live.released + gate.outputs(),
            released: live.released,
            entropy: guest.pending_entropy(),
        };
        let mut number = live.released;
        let mut held = Vec::new();
        while let Some(released) = gate.force(Time(0)) {
            number += released.count;
            // A change of a disk is no output that a backup keeps: the guest knows that it is not done.
            if let Output::Shown(shown) = released.output {
                held.push((number, shown));
            }
        }
        (cut, held, live.recorder.paused)
    }
}
