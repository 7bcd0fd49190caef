//! How a primary gets rid of its backup while the guest runs: the operator wants none, or it is too slow.
//!
//! The backup is asked to promise that it never claims; if it does not answer, the arbiter is asked to
//! exclude it. Of one that is too slow the arbiter is asked at once (FT 3.2-e). Until one of them has
//! answered, the primary keeps all rules of a pair.

use crate::event::{Action, Claim, ClaimKind, News, PeerId, Verdict};
use crate::limits;
use crate::options::PairOptions;
use crate::roles::call::{Call, earliest};
use crate::roles::table::Change;
use crate::time::{Span, Time};

/// A dismissal that is under way.
#[derive(Debug)]
pub struct Dismissal {
    /// When the operator asked for it, or the backup was found to be too slow.
    since: Time,
    /// Is it for the backup's slowness?
    is_for_slowness: bool,
    /// What the arbiter was asked, since the backup did not answer; `None`: it was not asked yet.
    asked: Option<Claim>,
    /// When the arbiter, which could not be reached, is asked again. Until it has answered, it may have given
    /// the next epoch to this side, and the backup could not take over.
    retry: Option<Time>,
    /// The operator has heard that neither the backup nor the arbiter answers.
    told: bool,
}

impl Dismissal {
    /// The operator wants it now. `before`: what came of an earlier wish, whose claim may still be open.
    #[must_use]
    pub fn new(now: Time, before: Option<Dismissal>) -> Dismissal {
        let (asked, retry) = before.map_or((None, None), |before| (before.asked, before.retry));
        Dismissal {
            since: now,
            is_for_slowness: false,
            asked,
            retry,
            told: false,
        }
    }

    /// The backup is too slow. Nobody waits for this, and nothing changes until the arbiter has answered.
    #[must_use]
    pub fn for_slowness(now: Time) -> Dismissal {
        Dismissal {
            is_for_slowness: true,
            ..Dismissal::new(now, None)
        }
    }

    /// Is it for the backup's slowness?
    #[must_use]
    pub fn is_for_slowness(&self) -> bool {
        self.is_for_slowness
    }

    /// May the backup or the arbiter still answer the operator in time?
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        !self.told && !self.is_for_slowness
    }

    /// Is the backup's promise enough? Once the arbiter was asked, its verdict is waited for all the same: it
    /// may have closed the epoch in which this side would go on.
    #[must_use]
    pub fn takes_promise(&self) -> bool {
        self.asked.is_none()
    }

    /// The arbiter's answer, which counts however late it comes.
    pub fn on_verdict(&mut self, now: Time, claim: &Claim, verdict: &Verdict) -> Option<Change> {
        if self.asked.as_ref() != Some(claim) {
            return None;
        }
        match verdict {
            Verdict::Won => Some(Change::Won),
            Verdict::Lost { .. } => Some(Change::Lost),
            Verdict::Unreachable => {
                self.retry = Some(now.after(limits::CLAIM_RETRY_MAX));
                None
            }
        }
    }

    /// A backup that does not answer for a timeout is excluded at the arbiter, while the guest runs on under
    /// the rules of a pair: this side asks for the next epoch. The operator hears when neither answers.
    pub fn look(&mut self, call: &mut Call<'_>, options: &PairOptions, backup: PeerId) {
        let waited = call.now.since(self.since);
        if (self.is_for_slowness || waited >= options.timeout) && self.asked.is_none() {
            self.asked = Some(Claim {
                epoch: options.epoch.next(),
                owner: options.owner,
                after: Some(options.primary),
                heirs: Vec::new(),
                kind: ClaimKind::Resolve,
            });
            self.retry = Some(call.now);
        }
        if let Some(claim) = &self.asked
            && self.retry.take_if(|at| *at <= call.now).is_some()
        {
            call.metrics.claims += 1;
            call.out.push_back(Action::Ask(claim.clone()));
            // The answer may get lost. The same question gets the same answer.
            self.retry = Some(call.now.after(limits::CLAIM_ANSWER));
        }
        if waited >= patience(options.timeout) && self.is_fresh() {
            self.told = true;
            call.out.push_back(Action::Tell(News::NotDismissed(backup)));
        }
    }

    /// When it must be looked at again.
    #[must_use]
    pub fn deadline(&self, timeout: Span) -> Option<Time> {
        let wait = if self.is_for_slowness { Span(0) } else { timeout };
        let ask = self.asked.is_none().then(|| self.since.after(wait));
        let give_up = self.is_fresh().then(|| self.since.after(patience(timeout)));
        earliest([ask, give_up, self.retry])
    }
}

/// After how long the operator hears that neither the backup nor the arbiter answers.
fn patience(timeout: Span) -> Span {
    Span(timeout.0.saturating_mul(limits::DISMISS_TIMEOUTS))
}
