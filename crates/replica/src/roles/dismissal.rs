//! How a primary gets rid of a backup while the guest runs: the operator wants none or another one, it is too
//! slow, or it does not answer and there is another one.
//!
//! An unwanted backup is asked to promise that it never claims; if it does not answer, the arbiter is asked
//! to exclude it. Of one that is too slow (FT 3.2-e) or suspected the arbiter is asked at once. Until one of
//! them has answered, the primary keeps all rules of its epoch.

use crate::event::{Action, Claim, ClaimKind, News, PeerId, Suspicion, Verdict};
use crate::limits;
use crate::options::PairOptions;
use crate::roles::call::{Call, earliest};
use crate::roles::table::Change;
use messages::time::{Span, Time};

/// Why a backup has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The operator wants no backup, or another one.
    Unwanted,
    /// It cannot follow, or is suspected while there is another backup.
    Suspected(Suspicion),
}

/// A dismissal that is under way.
#[derive(Debug)]
pub struct Dismissal {
    /// When the operator asked for it, or the backup was suspected.
    since: Time,
    reason: Reason,
    /// The backups that have to go.
    whom: Vec<PeerId>,
    /// What the arbiter was asked; `None`: it was not asked yet. The question stays the same until it is
    /// answered: the arbiter's record names the heirs that stood in the first question to arrive.
    asked: Option<Claim>,
    /// When the arbiter, which could not be reached, is asked again. Until it has answered, it may have given
    /// the next epoch to this side, and the backup could not take over.
    retry: Option<Time>,
    /// The operator has heard that neither the backup nor the arbiter answers.
    told: bool,
}

impl Dismissal {
    /// These backups have to go from now on. `before`: an earlier dismissal, whose question may be open.
    #[must_use]
    pub fn new(now: Time, whom: Vec<PeerId>, reason: Reason, before: Option<Dismissal>) -> Dismissal {
        let (asked, retry) = before.map_or((None, None), |before| (before.asked, before.retry));
        Dismissal {
            since: now,
            reason,
            whom,
            asked,
            retry,
            told: false,
        }
    }

    /// Why the backup has to go.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Has this backup to go?
    #[must_use]
    pub fn concerns(&self, peer: PeerId) -> bool {
        self.whom.contains(&peer)
    }

    /// This backup is suspected, so the arbiter is asked without waiting for a promise.
    pub fn suspect(&mut self, peer: PeerId, why: Suspicion) {
        self.reason = Reason::Suspected(why);
        if !self.concerns(peer) {
            self.whom.push(peer);
        }
    }

    /// This backup has gone. True: nobody else has to.
    pub fn on_gone(&mut self, peer: PeerId) -> bool {
        self.whom.retain(|whom| *whom != peer);
        self.whom.is_empty()
    }

    /// The question is answered. Whoever has to go and is still there is asked for his promise anew, or the
    /// arbiter is asked for the epoch after.
    pub fn begin_anew(&mut self, now: Time) {
        self.since = now;
        self.asked = None;
        self.retry = None;
    }

    /// May the backup or the arbiter still answer the operator in time?
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        !self.told && self.reason == Reason::Unwanted
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
            // Nobody has asked anything else in this process's name, so the record names these heirs.
            Verdict::Won if claim.heirs.is_empty() => Some(Change::Won),
            Verdict::Won => Some(Change::WonWithHeir),
            Verdict::Lost { .. } => Some(Change::Lost),
            Verdict::Unreachable => {
                self.retry = Some(now.after(limits::CLAIM_RETRY_MAX));
                None
            }
        }
    }

    /// A backup that does not answer for a timeout is excluded at the arbiter, while the guest runs on under
    /// the rules of a pair: this side asks for the next epoch. The operator hears when neither answers.
    /// `heirs`: the backups that stay, which are members of that epoch; `None`: one of them may not know that
    /// it is a member, and would not go on if this process died, so the question waits.
    pub fn look(&mut self, call: &mut Call<'_>, options: &PairOptions, heirs: Option<Vec<u128>>) {
        let waited = call.now.since(self.since);
        let is_time = self.reason != Reason::Unwanted || waited >= options.timeout;
        if is_time
            && self.asked.is_none()
            && let Some(heirs) = heirs
        {
            self.asked = Some(Claim {
                epoch: options.epoch.next(),
                owner: options.owner,
                after: Some(options.primary),
                heirs,
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
            let news = self
                .whom
                .iter()
                .map(|whom| Action::Tell(News::NotDismissed(*whom)));
            call.out.extend(news);
        }
    }

    /// The heirs in the question that the arbiter was asked and that is not answered. If there are any, no
    /// other question may take the place of that one, whatever becomes of the heirs.
    #[must_use]
    pub fn heirs(&self) -> Vec<u128> {
        let asked = self.asked.as_ref();
        asked.map(|claim| claim.heirs.clone()).unwrap_or_default()
    }

    /// When it must be looked at again. `may_ask`: the arbiter may be asked, if it is time.
    #[must_use]
    pub fn deadline(&self, timeout: Span, may_ask: bool) -> Option<Time> {
        let wait = if self.reason == Reason::Unwanted {
            timeout
        } else {
            Span(0)
        };
        let ask = (may_ask && self.asked.is_none()).then(|| self.since.after(wait));
        let give_up = self.is_fresh().then(|| self.since.after(patience(timeout)));
        earliest([ask, give_up, self.retry])
    }
}

/// After how long the operator hears that neither the backup nor the arbiter answers.
fn patience(timeout: Span) -> Span {
    Span(timeout.0.saturating_mul(limits::DISMISS_TIMEOUTS))
}
