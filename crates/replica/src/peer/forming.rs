//! `Caller`: what a primary decides between the handshakes by which it wants to form a pair.
//!
//! A `Handshake` leads one talk over one link. A primary may need several of them, each with a call of its
//! own, until it has a pair or never will: here stand which epoch each of them asks the arbiter for, after
//! which end of a talk the primary calls again, and what it may own when it gives up. Like the handshake it
//! does no IO: whoever carries a handshake out asks it, and never decides any of this himself. A backup has
//! nothing of the kind, since it owns nothing: whatever ends a talk, it waits for the next caller.

use crate::event::{Claim, ClaimKind, Epoch};
use crate::mutation::{self, Mutation};
use crate::peer::handshake::{Failure, HandshakeEvent};

/// What a primary asks the arbiter for when a backup has welcomed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The epoch after the last one, which must be over, as for each start of a VM: this process has won none
    /// yet, so there is nothing that a backup could have gone on with.
    AfterLast,
    /// Just this one: the epoch after the last that this process has won. The backup of an earlier talk may
    /// have taken the primary for dead and claimed that epoch; then the VM runs there.
    Exactly(Claim),
}

/// What the arbiter has answered a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The primary has this epoch.
    Won(Epoch),
    /// Another process has it, or owns the VM.
    Refused,
    /// There was no answer, so the primary may have the epoch or not.
    Unreachable,
}

/// What a primary may own at the arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayOwn {
    /// It has asked for nothing, or has lost all that it asked for.
    Nothing,
    /// This epoch, its newest.
    Epoch(Epoch),
    /// The newest epoch of the VM is this process's, or is not: its last question had no answer.
    Unknown,
}

/// A primary that wants a pair.
#[derive(Debug, Default)]
pub struct Caller {
    /// The process, as the arbiter knows it.
    owner: u128,
    /// The newest epoch that it has won; `None`: none yet.
    won: Option<Epoch>,
    /// Has it asked for an epoch without an answer that says whose that is?
    is_in_doubt: bool,
}

impl Caller {
    /// A primary that has not called yet. `owner`: its process, as the arbiter knows it.
    #[must_use]
    pub fn new(owner: u128) -> Caller {
        Caller {
            owner,
            ..Caller::default()
        }
    }

    /// What the arbiter is to be asked for, now that a handshake says `AskNext`. Never the epoch of an
    /// earlier talk: its backup may be a member there, of which this side does not know.
    pub fn ask(&mut self) -> Wanted {
        self.is_in_doubt = true;
        let Some(last) = self.won else {
            return Wanted::AfterLast;
        };
        let again = Some(last).filter(|_| mutation::is(Mutation::EpochAgain));
        let epoch = again.unwrap_or(last.next());
        Wanted::Exactly(Claim {
            epoch,
            owner: self.owner,
            after: (epoch > last).then_some(self.owner),
            heirs: Vec::new(),
            kind: ClaimKind::Start,
        })
    }

    /// Takes the arbiter's answer, and gives what it is for the handshake; `None`: this process forms no pair
    /// any more.
    pub fn answered(&mut self, answer: Answered) -> Option<HandshakeEvent> {
        self.is_in_doubt = answer == Answered::Unreachable;
        match answer {
            Answered::Won(epoch) => Some(HandshakeEvent::Granted(*self.won.insert(epoch))),
            Answered::Refused => None,
            Answered::Unreachable => Some(HandshakeEvent::ArbiterUnreachable),
        }
    }

    /// Does the primary call again after a handshake that has ended so? It does if the talk only broke off:
    /// the backup may have been stopped just then, and another one may listen there soon. Any other reason
    /// would be met again.
    #[must_use]
    pub fn calls_again(failure: &Failure) -> bool {
        matches!(failure, Failure::LinkLost | Failure::Silence)
    }

    /// What a primary that ends without a pair may own, and has to give up. A question that was not answered
    /// may have been granted, and the VM could be started nowhere else.
    #[must_use]
    pub fn may_own(&self) -> MayOwn {
        if self.is_in_doubt && !mutation::is(Mutation::DoubtForgotten) {
            return MayOwn::Unknown;
        }
        self.won.map_or(MayOwn::Nothing, MayOwn::Epoch)
    }
}
