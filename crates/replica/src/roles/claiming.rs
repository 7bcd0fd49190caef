//! `Claiming`: the role between suspicion and certainty. Either half of a pair becomes it when it suspects
//! the other; the arbiter's answer makes it `Solo` or halts it.
//!
//! The question to the arbiter is a test-and-set (FT 2.3-e): of the two sides of a pair at most one ever
//! hears `Won`, and only that one goes on. A side that cannot reach the arbiter waits as long as it takes.
//!
//! This role never shows the world anything, and never sends or acknowledges anything to the peer.

use machine::Cut;

use crate::event::{Action, Claim, ClaimKind, Event, Suspicion, Verdict};
use crate::guest::Guest;
use crate::guest::replay::Headway;
use crate::limits;
use crate::mutation;
use crate::mutation::Mutation;
use crate::roles::backup::Backup;
use crate::roles::call::{Call, earliest};
use crate::roles::primary::Primary;
use crate::roles::table::Change;
use messages::time::{Span, Time};

/// The role in which a replica came to suspect its peer, with everything in it.
#[derive(Debug)]
pub enum Was {
    /// It was the primary: its gate may hold outputs.
    Primary(Box<Primary>),
    /// It was the backup: a part of the log may still have to be replayed.
    Backup(Box<Backup>),
}

/// Where the question to the arbiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// It is to be asked, but not before this time.
    Later(Time),
    /// It was asked at this time, and there is no answer yet.
    Asked(Time),
}

/// A replica that has suspected its peer and does not yet know whether it may go on.
#[derive(Debug)]
pub struct Claiming {
    /// What it was; it goes on from there if it wins.
    pub was: Was,
    /// What the arbiter is asked for: the epoch after that of the pair, or if the other side has won that and
    /// this side is a member of it, the one after.
    claim: Claim,
    /// The other side's process.
    other: u128,
    question: Question,
    /// When it could ask without its patience; it asks then if its network ports turn out to lead somewhere.
    /// `None`: it has no patience to cut short, is about to leave, or has asked.
    sooner: Option<Time>,
    /// How long to wait if the arbiter cannot be reached this time; twice as long after each such answer.
    retry: Span,
    /// Is all received log replayed? The arbiter is not asked before. A primary has none to replay.
    drained: bool,
    /// Has a death notice of the primary come that was not taken into account yet?
    death: bool,
}

impl Claiming {
    /// What a replica becomes that suspects its peer. It asks the arbiter later than it could by `patience`:
    /// with ports that lead nowhere, or an operator who wants it to leave, a living peer shall ask first.
    /// `other`: the peer's process. `leaving`: the operator does, so that this side waits however well its
    /// ports are.
    #[must_use]
    pub fn new(
        now: Time,
        claim: Claim,
        (was, other): (Was, u128),
        why: Suspicion,
        patience: Span,
        leaving: bool,
    ) -> Claiming {
        // The primary's lease must be over before the backup can be live; a primary waits for nobody, since
        // a backup shows nothing before it has won.
        let earliest = match &was {
            Was::Primary(_) => now,
            Was::Backup(_) if mutation::is(Mutation::ClaimTooEarly) => now,
            Was::Backup(backup) => backup.claim_not_before().map_or(now, |time| time.max(now)),
        };
        let drained = matches!(was, Was::Primary(_));
        Claiming {
            was,
            claim,
            other,
            question: Question::Later(earliest.after(patience)),
            sooner: (patience > Span(0) && !leaving).then_some(earliest),
            retry: limits::CLAIM_RETRY_FIRST,
            drained,
            death: matches!(why, Suspicion::Ended),
        }
    }

    /// What the arbiter is asked for.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// See [`crate::Node::console_room`]. What a primary takes here waits for its guest to go on.
    #[must_use]
    pub fn console_room(&self) -> usize {
        match &self.was {
            Was::Primary(primary) => primary.console_room(),
            Was::Backup(_) => usize::MAX,
        }
    }

    /// Takes an event from the world, and gives the change of role that follows from it.
    pub fn handle(&mut self, call: &mut Call<'_>, event: Event) -> Option<Change> {
        match event {
            Event::Verdict(claim, verdict) if claim == self.claim => self.on_verdict(call.now, verdict),
            Event::Ports(true) => {
                if let Some(sooner) = self.sooner.take() {
                    self.question = Question::Later(sooner);
                }
                None
            }
            event => {
                match &mut self.was {
                    Was::Primary(primary) => primary.handle_while_claiming(call, event),
                    Was::Backup(backup) if mutation::is(Mutation::AckWhileClaiming) => {
                        backup.acknowledge_while_claiming(call, event);
                    }
                    Was::Backup(backup) => {
                        if let Event::Heartbeat(_, bytes) = event {
                            self.death |= backup.hear_death(call, &bytes);
                        }
                    }
                }
                None
            }
        }
    }

    fn on_verdict(&mut self, now: Time, verdict: Verdict) -> Option<Change> {
        let Question::Asked(_) = self.question else {
            return None;
        };
        match verdict {
            Verdict::Won if self.claim.heirs.is_empty() => Some(Change::Won),
            Verdict::Won => Some(Change::WonWithHeir),
            Verdict::Lost { heir } if self.is_member_of_next(heir) => {
                // The other side was faster, and this side is a member of its epoch: it may claim the one
                // after. The other side shows nothing in its epoch before this side has answered it there.
                self.claim = Claim {
                    epoch: self.claim.epoch.next(),
                    after: Some(self.other),
                    heirs: Vec::new(),
                    kind: ClaimKind::Failover,
                    ..self.claim.clone()
                };
                self.question = Question::Later(now);
                self.retry = limits::CLAIM_RETRY_FIRST;
                None
            }
            Verdict::Lost { .. } => Some(Change::Lost),
            Verdict::Unreachable => {
                self.question = Question::Later(now.after(self.retry));
                self.retry = Span(self.retry.0 * 2).min(limits::CLAIM_RETRY_MAX);
                None
            }
        }
    }

    /// Is this side a member of the epoch that it has just lost? `heir`: the arbiter's record says so.
    fn is_member_of_next(&self, heir: bool) -> bool {
        (heir && !mutation::is(Mutation::HeirGivesUp)) || mutation::is(Mutation::EverybodyIsHeir)
    }

    /// Replays what is left of the log, then asks the arbiter when it is time.
    pub fn slice<G: Guest>(&mut self, call: &mut Call<'_>, cut: &dyn Cut, guest: &mut G) -> Option<Change> {
        if let Was::Primary(primary) = &mut self.was {
            primary.slice_while_claiming(call, guest);
        }
        if let Was::Backup(backup) = &mut self.was
            && !self.drained
        {
            // FT 2.3-b: the log is replayed through the last entry received. That comes before the question:
            // a replica that turns out to have diverged must not take the epoch from one that is well.
            // A side that is handed the VM writes the log on, which cannot go on in front of its own end.
            if mutation::is(Mutation::DrainShort) && !backup.is_heir_wanted() {
                backup.forget_last_output();
            }
            match backup.replay(call, cut, guest, true) {
                Ok(Headway::Busy | Headway::Blocked) => return None,
                Ok(Headway::Drained | Headway::Off(_)) => self.drained = true,
                Err(change) => return Some(change),
            }
            // FT 3.3-a: a guest that was switched off stays off.
            if let Some(state) = backup.is_over(guest) {
                return Some(Change::Off(state));
            }
        }
        self.look_at_death(call.now, guest);
        let ask = match self.question {
            Question::Later(time) => time <= call.now,
            Question::Asked(since) => call.now.since(since) >= limits::CLAIM_ANSWER,
        };
        if ask && mutation::is(Mutation::LiveWithoutClaim) {
            return Some(Change::Won);
        }
        if ask {
            self.question = Question::Asked(call.now);
            self.sooner = None;
            call.metrics.claims += 1;
            call.out.push_back(Action::Ask(self.claim.clone()));
        }
        None
    }

    /// Puts the question forward if the primary is known to be dead: nobody is left to be patient with. If a
    /// write of it may still be under way at a disk, the question waits for the end of the lease.
    fn look_at_death<G: Guest>(&mut self, now: Time, guest: &G) {
        let Was::Backup(backup) = &self.was else {
            return;
        };
        if !std::mem::take(&mut self.death) {
            return;
        }
        let sooner = self.sooner.take();
        if let Question::Later(time) = self.question {
            let void = backup.is_lease_void(guest);
            self.question = Question::Later(if void { now } else { sooner.unwrap_or(time) });
        }
    }

    /// The earliest time at which there is something to do.
    pub fn deadline(&self) -> Option<Time> {
        if !self.drained || self.death {
            return Some(Time(0));
        }
        let question = match self.question {
            Question::Later(time) => time,
            Question::Asked(since) => since.after(limits::CLAIM_ANSWER),
        };
        match &self.was {
            Was::Primary(primary) => earliest([Some(question), primary.deadline_while_claiming()]),
            Was::Backup(_) => Some(question),
        }
    }
}
