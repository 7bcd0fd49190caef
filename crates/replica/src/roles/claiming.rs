//! `Claiming`: between suspicion and certainty. Asks the arbiter, and meanwhile shows and says nothing.
//!
//! The question is a test-and-set (FT 2.3-e): of the two sides of a pair at most one ever hears `Won`, and
//! only that one goes on. A side that cannot ask waits, with the guest paused, as long as it takes.

use crate::mutation;
use crate::mutation::Mutation;
use crate::roles::call::Call;
use machine::Cut;

use crate::event::{Action, Claim, Event, Next, Verdict};
use crate::guest::Guest;
use crate::guest::replay::Headway;
use crate::limits;
use crate::roles::backup::Backup;
use crate::roles::primary::Primary;
use crate::roles::table::Change;
use crate::time::{Span, Time};

/// What the replica was before.
#[derive(Debug)]
pub enum Was {
    /// It has the guest, and outputs that it holds.
    Primary(Box<Primary>),
    /// It has the guest up to some step, and a log to drain.
    Backup(Box<Backup>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Not before this time.
    Later(Time),
    /// It was asked at this time, and there is no answer yet.
    Asked(Time),
}

/// Between suspicion and certainty.
#[derive(Debug)]
pub struct Claiming {
    /// What it was.
    pub was: Was,
    claim: Claim,
    question: Question,
    /// When it asks if its network ports turn out to lead somewhere; `None`: they are not what it waits for.
    sooner: Option<Time>,
    retry: Span,
    drained: bool,
}

impl Claiming {
    /// Suspicion has fallen on the peer. With `patience` the question waits so much longer than it must: this
    /// side's network ports lead nowhere, and if the other side is alive, it shall have the VM.
    #[must_use]
    pub fn new(now: Time, claim: Claim, was: Was, patience: Span) -> Claiming {
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
            question: Question::Later(earliest.after(patience)),
            sooner: (patience > Span(0)).then_some(earliest),
            retry: limits::CLAIM_RETRY_FIRST,
            drained,
        }
    }

    /// The epoch it asks for.
    #[must_use]
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// Takes what the world tells.
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
                    Was::Backup(_) => {}
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
            Verdict::Won => Some(Change::Won),
            Verdict::Lost => Some(Change::Lost),
            Verdict::Unreachable => {
                self.question = Question::Later(now.after(self.retry));
                self.retry = Span(self.retry.0 * 2).min(limits::CLAIM_RETRY_MAX);
                None
            }
        }
    }

    /// Drains the log, if there is one, then asks.
    pub fn slice<G: Guest>(&mut self, call: &mut Call<'_>, cut: &dyn Cut, guest: &mut G) -> Option<Change> {
        if let Was::Backup(backup) = &mut self.was
            && !self.drained
        {
            // FT 2.3-b: through the last entry received. Before the question, not after: a replica that
            // turns out to have diverged must not take the epoch from one that is well.
            if mutation::is(Mutation::DrainShort) {
                backup.forget_last_output();
            }
            match backup.replay(call, cut, guest, true) {
                Ok(Headway::Busy) => return None,
                Ok(Headway::Drained | Headway::Off(_)) => self.drained = true,
                Err(change) => return Some(change),
            }
            // FT 3.3-a: a guest that was switched off stays off.
            if let Some(state) = backup.is_over(guest) {
                return Some(Change::Off(state));
            }
        }
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
            call.out.push_back(Action::Ask(self.claim));
        }
        None
    }

    /// When to be called again.
    pub fn next(&self, now: Time) -> Next {
        match self.deadline() {
            Some(time) if time <= now => Next::Busy,
            deadline => Next::At(deadline),
        }
    }

    /// The earliest thing to do.
    pub fn deadline(&self) -> Option<Time> {
        if !self.drained {
            return Some(Time(0));
        }
        Some(match self.question {
            Question::Later(time) => time,
            Question::Asked(since) => since.after(limits::CLAIM_ANSWER),
        })
    }
}
