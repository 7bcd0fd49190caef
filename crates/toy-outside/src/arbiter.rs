//! The arbiter: a test-and-set per epoch, behind a network of its own.
//!
//! A side asks it before it goes live alone. A question takes effect at one moment, whether or not the answer
//! finds its way back. What the two sides believe must never contradict what is written here.

use std::collections::BTreeMap;

use replica::{Checked, Claim, Epoch, Span, Time, Verdict};

use toy::random::Random;

use crate::names::ProcessId;

/// How the arbiter behaves when it is reachable.
#[derive(Clone, Debug)]
pub struct ArbiterOptions {
    /// Shortest and longest time of a question on its way there, and of an answer on its way back.
    pub latency: (Span, Span),
    /// Answers that get lost after the question took effect, of a thousand. Half of the askers hear
    /// `Unreachable` then, half hear nothing.
    pub lost_permille: u64,
    /// Until the world is healed, B asks another arbiter than A, one that has never heard of the pair: the
    /// same path leads elsewhere on its host.
    pub apart: bool,
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// When it takes effect; `None`: never.
    pub takes: Option<Time>,
    /// When an answer comes; `None`: never.
    pub answers: Option<Time>,
    /// Is the answer that nobody could be reached?
    pub unreachable: bool,
}

/// The claim that has won an epoch.
#[derive(Clone, Debug)]
struct Record {
    owner: u128,
    /// Who is a member of the epoch from its first moment.
    heirs: Vec<u128>,
    /// Has its owner said that the epoch is over?
    is_closed: bool,
}

/// The arbiter, or two of them if the sides do not see the same one.
#[derive(Debug)]
pub struct Arbiter {
    options: ArbiterOptions,
    /// What is written of each epoch, as A finds it, and B too unless there are two arbiters.
    records: BTreeMap<Epoch, Record>,
    /// What is written of each epoch at the second arbiter, which only B sees.
    elsewhere: BTreeMap<Epoch, Record>,
    /// No question gets through before this time.
    away: Time,
}

impl Arbiter {
    /// An arbiter that has granted an epoch to an owner, as `granted` says; `None`: it has granted none.
    #[must_use]
    pub fn new(options: ArbiterOptions, granted: Option<(Epoch, u128)>) -> Arbiter {
        let record = |(epoch, owner)| {
            let record = Record {
                owner,
                heirs: Vec::new(),
                is_closed: false,
            };
            (epoch, record)
        };
        Arbiter {
            options,
            records: granted.map(record).into_iter().collect(),
            elsewhere: BTreeMap::new(),
            away: Time(0),
        }
    }

    /// Draws the fate of a question that is asked now.
    pub fn ask(&mut self, random: &mut Random, now: Time) -> Fate {
        let (low, high) = self.options.latency;
        let arrives = now.after(random.span(low, high));
        if arrives < self.away && random.permille(700) {
            let answers = Some(arrives.after(random.span(Span::from_ms(1), Span::from_ms(500))));
            return Fate {
                takes: None,
                answers,
                unreachable: true,
            };
        }
        // Otherwise the question waits in a queue on its way, and may take effect long after its asker gave
        // up.
        let takes = arrives.max(self.away);
        let lost = random.permille(self.options.lost_permille);
        if lost && random.permille(500) {
            return Fate {
                takes: Some(takes),
                answers: None,
                unreachable: true,
            };
        }
        let answers = takes.after(random.span(low, high));
        Fate {
            takes: Some(takes),
            answers: Some(answers),
            unreachable: lost,
        }
    }

    /// The question of a side takes effect. If it names another owner of the epoch before than is written
    /// here, it was meant for another arbiter and changes nothing.
    pub fn take(&mut self, side: ProcessId, claim: &Claim) -> Verdict {
        let before = claim.epoch.0.checked_sub(1).map(Epoch);
        let known = before.and_then(|before| self.owner(side, before));
        if claim.after.is_some_and(|after| known != Some(after)) {
            return Verdict::Unreachable;
        }
        let records = if self.is_elsewhere(side) {
            &mut self.elsewhere
        } else {
            &mut self.records
        };
        let record = records.entry(claim.epoch).or_insert_with(|| Record {
            owner: claim.owner,
            heirs: claim.heirs.clone(),
            is_closed: false,
        });
        if record.owner == claim.owner {
            Verdict::Won
        } else {
            Verdict::Lost {
                heir: record.heirs.contains(&claim.owner),
            }
        }
    }

    /// A side that runs a guest asks whether `epoch` is still `owner`'s. An arbiter that has never heard of
    /// the epoch says nothing.
    #[must_use]
    pub fn check(&self, side: ProcessId, epoch: Epoch, owner: u128) -> Checked {
        let later = self.owner(side, Epoch(epoch.0 + 1)).is_some();
        match self.owner(side, epoch) {
            None => Checked::Unreachable,
            Some(is) if is == owner && !later => Checked::Yours,
            Some(_) => Checked::Superseded,
        }
    }

    /// The last epoch that anybody has claimed, its owner, and whether it is closed; `None`: nobody has
    /// claimed one.
    #[must_use]
    pub fn last(&self) -> Option<(Epoch, u128, bool)> {
        let (epoch, record) = self.records.last_key_value()?;
        Some((*epoch, record.owner, record.is_closed))
    }

    /// The owner of an epoch says that it is over.
    pub fn close(&mut self, epoch: Epoch, owner: u128) {
        if let Some(record) = self.records.get_mut(&epoch) {
            record.is_closed |= record.owner == owner;
        }
    }

    /// Who has an epoch, as this side finds it.
    #[must_use]
    pub fn owner(&self, side: ProcessId, epoch: Epoch) -> Option<u128> {
        let records = if self.is_elsewhere(side) {
            &self.elsewhere
        } else {
            &self.records
        };
        records.get(&epoch).map(|record| record.owner)
    }

    /// Who is a member of an epoch from its first moment, as this side finds it.
    #[must_use]
    pub fn heirs(&self, side: ProcessId, epoch: Epoch) -> &[u128] {
        let records = if self.is_elsewhere(side) {
            &self.elsewhere
        } else {
            &self.records
        };
        records.get(&epoch).map_or(&[], |record| &record.heirs)
    }

    fn is_elsewhere(&self, side: ProcessId) -> bool {
        self.options.apart && side == ProcessId::B
    }

    /// No question gets through until this time.
    pub fn leave(&mut self, until: Time) {
        self.away = self.away.max(until);
    }

    /// The arbiter can be reached from now on, loses no answer, and is the same for both sides.
    pub fn mend(&mut self, now: Time) {
        self.away = self.away.min(now);
        self.options.lost_permille = 0;
        self.options.apart = false;
    }
}
