//! Who may claim, and which outputs wait for whom: the members of a guest.
//!
//! A process is a member from the guest's first step, or because it has handed the guest over, or because the
//! log says so (`Guarded`). Whoever has received that entry may claim the next epoch, and nobody else that
//! joined; and every output that the owner shows after it must be known to the member by then. The check
//! reads the owner's messages as they are sent, and notes of each when it is looked at on the other side. It
//! must not ask a node how far it has come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use machine::{Effect, Step};
use replica::{
    EntryKind, Epoch, Mark,
    log::{codec::Decoder, entry::check},
    peer::message::Message,
};

use toy_outside::names::ProcessId;

use crate::{
    checker::{Check, Violation, ensure},
    subject::{Tape, hash_of, is_shown},
};

/// What a message of an owner tells its reader.
#[derive(Debug, Default)]
struct Told {
    /// The epoch of which it says that the reader is a member, if it does.
    guards: Option<Epoch>,
    /// The checks of the outputs whose entries are in it.
    outputs: Vec<u32>,
}

/// How far the guest had come when the owner sent the entry that makes a process a member.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// How many outputs had been numbered.
    shown: usize,
    /// How many effects there had been.
    effects: usize,
}

/// A process that follows a guest.
#[derive(Debug)]
struct Follower {
    owner: ProcessId,
    /// Reads the owner's log; `None`: the owner has not told of the cut at which it begins.
    decoder: Option<Decoder>,
    /// What the messages say that are under way, oldest first.
    under_way: VecDeque<Told>,
    /// When the owner sent the entry that makes the process a member; `None`: it has not.
    guarded: Option<Moment>,
    /// Has the process received that entry?
    is_member: bool,
    /// The checks of the outputs whose entries the process has received.
    has: BTreeSet<u32>,
    /// Does the owner not count on it any more, since it went on alone in a later epoch, or has dismissed it?
    is_over: bool,
}

/// The processes that follow a guest.
#[derive(Debug, Default)]
pub struct Guard {
    followers: BTreeMap<ProcessId, Follower>,
    /// The pairs of a backup and a primary whose guest the backup has built: it has said, or is about to say,
    /// that it is ready. Whatever becomes of either later, the word may still be under way.
    ready: BTreeSet<(ProcessId, ProcessId)>,
    /// How many of them the log has made members.
    guarded: u64,
}

impl Guard {
    /// `who` is about to join the guest of `owner`.
    pub fn on_join(&mut self, who: ProcessId, owner: ProcessId) {
        self.followers.insert(who, Follower::new(owner, None, None));
    }

    /// `who` is a member of the guest of `owner` from that guest's first step on. `is_late`: of an epoch that
    /// is over already, so the owner does not count on it.
    pub fn on_boot(&mut self, who: ProcessId, owner: ProcessId, is_late: bool) {
        self.ready.insert((who, owner));
        let beginning = Moment { shown: 0, effects: 0 };
        let decoder = Some(Decoder::new(Step(0)));
        let follower = Follower {
            is_over: is_late,
            ..Follower::new(owner, decoder, Some(beginning))
        };
        self.followers.insert(who, follower);
    }

    /// `who` has handed its guest over to `owner`, whose tape this is, and is a member from that step on.
    pub fn on_heir(&mut self, who: ProcessId, owner: ProcessId, tape: &Tape) {
        let decoder = self
            .followers
            .get(&owner)
            .and_then(|follower| follower.decoder.clone());
        self.followers
            .insert(who, Follower::new(owner, decoder, Some(Moment::of(tape))));
    }

    /// How many processes the log has made members.
    #[must_use]
    pub fn guarded(&self) -> u64 {
        self.guarded
    }

    /// `owner`, with this tape, sends a message to `who`, whose random number is `number`. Gives the
    /// epoch of which the message makes `who` a member.
    pub fn on_send(
        &mut self,
        owner: ProcessId,
        (who, number): (ProcessId, u128),
        bytes: &[u8],
        tape: &Tape,
    ) -> Option<Epoch> {
        let of_owner = |follower: &&mut Follower| follower.owner == owner;
        let clone = self.followers.get_mut(&who).filter(of_owner)?;
        let mut told = Told::default();
        match Message::decode(bytes) {
            Ok(Message::Cut(cut)) => clone.decoder = Some(Decoder::resume(cut.base)),
            Ok(Message::Log(log)) if !log.frame.is_empty() => {
                let entries = clone.decoder.as_mut().map(|decoder| decoder.frame(&log.frame));
                for entry in entries.and_then(Result::ok).unwrap_or_default() {
                    match entry.kind {
                        EntryKind::Output { check } => told.outputs.push(check),
                        EntryKind::Mark(Mark::Guarded { epoch, member, .. }) if member == number => {
                            told.guards = Some(epoch);
                        }
                        _ => {}
                    }
                }
            }
            Ok(message) if is_of_follower(&message) => return None,
            _ => {}
        }
        let guards = told.guards.filter(|_| clone.guarded.is_none());
        if guards.is_some() {
            self.guarded += 1;
            clone.guarded = Some(Moment::of(tape));
        }
        clone.under_way.push_back(told);
        guards
    }

    /// `who` looks at the next message that has come for it. Gives the epoch of which the message says that
    /// it is a member.
    pub fn on_receive(&mut self, who: ProcessId, bytes: &[u8]) -> Option<Epoch> {
        let clone = self.followers.get_mut(&who)?;
        if Message::decode(bytes).is_ok_and(|message| is_of_follower(&message)) {
            return None;
        }
        let told = clone.under_way.pop_front()?;
        clone.is_member |= told.guards.is_some();
        clone.has.extend(told.outputs);
        told.guards
    }

    /// `who` goes live in an epoch of its own, whose members are `heirs`. A process that is on its way to be
    /// a member is still.
    pub fn on_go_live(&mut self, who: ProcessId, heirs: &[ProcessId]) {
        for (name, follower) in &mut self.followers {
            let leaves = follower.owner == who && follower.guarded.is_some() && !heirs.contains(name);
            follower.is_over |= leaves;
        }
    }

    /// Does `owner` count on `who`, since the log says that this is a member?
    #[must_use]
    pub fn counts_on(&self, owner: ProcessId, who: ProcessId) -> bool {
        let follower = self.followers.get(&who);
        follower.is_some_and(|follower| follower.owner == owner && follower.guarded.is_some())
    }

    /// Has `who` built the guest with which `owner` is about to begin?
    #[must_use]
    pub fn is_ready(&self, who: ProcessId, owner: ProcessId) -> bool {
        self.ready.contains(&(who, owner))
    }

    /// `who` has promised never to claim.
    pub fn on_dismissed(&mut self, who: ProcessId) {
        if let Some(clone) = self.followers.get_mut(&who) {
            clone.is_over = true;
            clone.is_member = false;
        }
    }

    /// Does the owner that `who` follows not count on it any more, or on another member too, which knows that
    /// it is one?
    #[must_use]
    pub fn is_spare(&self, who: ProcessId) -> bool {
        let Some(follower) = self.followers.get(&who) else {
            return true;
        };
        let others = self.followers.iter().filter(|(name, _)| **name != who);
        let mut members = others.filter(|(_, other)| other.is_member && !other.is_over);
        follower.is_over || members.any(|(_, other)| other.owner == follower.owner)
    }

    /// `who`, which has joined a guest while that ran, asks for the next epoch.
    ///
    /// # Errors
    /// If it has not received the entry that makes it a member.
    pub fn may_ask(&self, who: ProcessId) -> Result<(), Violation> {
        let is_member = self.followers.get(&who).is_some_and(|clone| clone.is_member);
        ensure(is_member, Check::Guard, || {
            format!("{who} claims though it is no member")
        })
    }

    /// `who`, whose guest has this tape, shows an output, stamped as the guest's node has it, or has a disk
    /// changed.
    ///
    /// # Errors
    /// If a member of this moment has not received the output's entry.
    pub fn may_show(&self, who: ProcessId, effect: &Effect, tape: &Tape) -> Result<(), Violation> {
        let counts = |follower: &&Follower| follower.owner == who && !follower.is_over;
        for (member, clone) in &self.followers {
            if let Some(moment) = Some(clone).filter(counts).and_then(|clone| clone.guarded) {
                let waits = is_later(effect, moment, tape) && !clone.has.contains(&check(effect));
                ensure(!waits, Check::Guard, || {
                    format!("{who} shows an output whose entry {member}, a member, has not received")
                })?;
            }
        }
        Ok(())
    }
}

/// Is this a message of a follower to its owner?
fn is_of_follower(message: &Message) -> bool {
    matches!(
        message,
        Message::Ack(_) | Message::Following { .. } | Message::Diverged { .. } | Message::Dismissed
    )
}

impl Moment {
    /// The present moment in the life of the guest with this tape.
    fn of(tape: &Tape) -> Moment {
        Moment {
            shown: tape.shown.len(),
            effects: tape.effects.len(),
        }
    }
}

impl Follower {
    /// A follower of `owner`. `guarded`: since when it is a member, if it is.
    fn new(owner: ProcessId, decoder: Option<Decoder>, guarded: Option<Moment>) -> Follower {
        Follower {
            owner,
            decoder,
            under_way: VecDeque::new(),
            guarded,
            is_member: guarded.is_some(),
            has: BTreeSet::new(),
            is_over: false,
        }
    }
}

/// Did the guest produce this effect after that moment?
fn is_later(effect: &Effect, moment: Moment, tape: &Tape) -> bool {
    if is_shown(effect) {
        let mut bare = effect.clone();
        let number = crate::subject::unstamp(&mut bare);
        let hash = hash_of(&bare);
        // A power-off has no stamp; it is the last output.
        number.map_or(
            tape.shown.last() == Some(&hash) && tape.shown.len() > moment.shown,
            |number| number > moment.shown as u64,
        )
    } else {
        let later = tape.effects.iter().skip(moment.effects);
        later.into_iter().any(|at| at.what == *effect)
    }
}
