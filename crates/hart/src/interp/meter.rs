//! `Meter`: counts for a [`Profile`] what one run of the interpreter does.
//!
//! It is not there unless somebody asked for a profile. The run tells it, whenever the way of execution
//! changes between interpreter and generated code, how far the steps have come. Nothing that the guest can
//! see may ever depend on it.

use std::sync::MutexGuard;

use super::code::CodePages;
use crate::{
    Step,
    mmu::Mmu,
    op::Op,
    profile::{Counts, Profile, Tally, Why},
};

/// What the caches have counted since they were made.
#[derive(Clone, Copy)]
struct Totals {
    /// What the translator made and dropped.
    tally: Tally,
    /// How many entries of the TLB were made for loads, for stores and for fetches.
    fills: [u64; 3],
    /// How often entries of the TLB were dropped that were good until then.
    drops: u64,
}

impl Totals {
    fn of(mmu: &Mmu, code: &CodePages) -> Totals {
        let translations = code.translations.as_ref();
        Totals {
            tally: translations.map_or_else(Tally::default, |translations| translations.tally()),
            fills: mmu.fills(),
            drops: mmu.drops(),
        }
    }
}

/// Counts during one run.
pub(super) struct Meter<'a> {
    /// Where the counts go, which nobody else sees before the run has ended.
    counts: MutexGuard<'a, Counts>,
    /// The host's clock, in nanoseconds.
    clock: fn() -> u64,
    /// What the clock showed when the run began.
    began: u64,
    /// What the caches had counted when the run began.
    before: Totals,
    /// All steps before this one are counted.
    at: u64,
    /// Why the steps from there on are interpreted, if they are.
    why: Why,
}

impl<'a> Meter<'a> {
    /// Begins a run at step `now`.
    pub fn begin(profile: &'a Profile, mmu: &Mmu, code: &CodePages, now: Step) -> Meter<'a> {
        let off = code.translations.is_none();
        Meter {
            counts: profile.counts(),
            clock: profile.clock,
            began: (profile.clock)(),
            before: Totals::of(mmu, code),
            at: now.0,
            why: if off { Why::Off } else { Why::Cold },
        }
    }

    /// Ends the run.
    pub fn end(mut self, mmu: &Mmu, code: &CodePages) {
        let (now, before) = (Totals::of(mmu, code), self.before);
        let counts = &mut *self.counts;
        counts.running_ns += (self.clock)().saturating_sub(self.began);
        counts.tally.add(now.tally, before.tally);
        counts.drops += now.drops - before.drops;
        for (sum, (now, before)) in counts
            .fills
            .iter_mut()
            .zip(now.fills.into_iter().zip(before.fills))
        {
            *sum += now - before;
        }
    }

    /// Counts the steps from the last one counted up to `to` as interpreted.
    pub fn interpreted(&mut self, to: Step) {
        self.counts.interpreted[self.why as usize] += to.0 - self.at;
        self.at = to.0;
    }

    /// Counts the steps from the last one counted up to `to` as done by generated code, which was entered
    /// once.
    pub fn entered(&mut self, to: Step) {
        self.counts.entries += 1;
        self.counts.entered_steps += to.0 - self.at;
        self.at = to.0;
        // What generated code leaves to the dispatch loop.
        self.why = Why::Cold;
    }

    /// Notes why the steps that follow are interpreted.
    pub fn blame(&mut self, why: Why) {
        self.why = why;
    }

    /// The host's time, in nanoseconds.
    pub fn clock(&self) -> u64 {
        (self.clock)()
    }

    /// Counts the time since `began` as the translator's.
    pub fn translated(&mut self, began: u64) {
        self.counts.translating_ns += self.clock().saturating_sub(began);
    }

    /// Counts an op that the interpreter did for generated code.
    #[inline]
    pub fn help(&mut self, op: Op) {
        self.counts.help(op);
    }
}
