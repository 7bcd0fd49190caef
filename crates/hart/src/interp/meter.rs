//! `Meter`: counts for a [`Profile`] what a run of the interpreter does. Not there unless somebody
//! asked, and never looked at by anything that the guest can see.

use std::sync::MutexGuard;

use super::{Caches, Core};
use crate::{
    Step, jit,
    op::Op,
    profile::{Counts, Part, Place, Profile, Tally, Why},
};

/// What the caches have counted.
#[derive(Clone, Copy)]
struct Totals {
    tally: Tally,
    fills: [u64; 3],
    drops: u64,
}

impl Totals {
    fn of(caches: &Caches) -> Totals {
        let translations = caches.code.translations.as_ref();
        Totals {
            tally: translations.map_or_else(Tally::default, |translations| translations.tally()),
            fills: caches.mmu.fills(),
            drops: caches.mmu.drops(),
        }
    }
}

/// Counts during one run.
pub(super) struct Meter<'a> {
    counts: MutexGuard<'a, Counts>,
    clock: fn() -> u64,
    began: u64,
    before: Totals,
    /// All steps before this one are counted.
    at: u64,
    /// Why the next ones are interpreted, if they are.
    why: Why,
}

impl<'a> Meter<'a> {
    /// At the start of a run.
    pub fn begin(profile: &'a Profile, caches: &Caches, now: Step) -> Meter<'a> {
        let off = caches.code.translations.is_none();
        Meter {
            counts: profile.counts(),
            clock: profile.clock,
            began: (profile.clock)(),
            before: Totals::of(caches),
            at: now.0,
            why: if off { Why::Off } else { Why::Cold },
        }
    }

    /// At its end.
    pub fn end(mut self, caches: &Caches) {
        let (now, before) = (Totals::of(caches), self.before);
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

    /// The steps up to there were interpreted.
    pub fn interpreted(&mut self, to: Step) {
        self.counts.interpreted[self.why as usize] += to.0 - self.at;
        self.at = to.0;
    }

    /// The steps up to there were done by generated code.
    fn entered(&mut self, to: Step) {
        self.counts.entries += 1;
        self.counts.entered_steps += to.0 - self.at;
        self.at = to.0;
    }

    /// An op was done for generated code.
    #[inline]
    pub fn help(&mut self, op: Op) {
        self.counts.help(op);
    }
}

impl Core<'_> {
    /// The dispatch loop is where `left` steps are left: those since the last time were interpreted.
    #[cold]
    pub(super) fn meter_interpreted(&mut self, left: u64) {
        let to = Step(self.chunk_end.0 - left);
        if let Some(meter) = &mut self.meter {
            meter.interpreted(to);
        }
    }

    /// What follows is interpreted, and why.
    #[cold]
    pub(super) fn blame(&mut self, why: Why) {
        if let Some(meter) = &mut self.meter {
            meter.why = why;
        }
    }

    /// Generated code is left, with so many steps left unless the stretch has ended.
    #[cold]
    pub(super) fn meter_entered(&mut self, left: u64) {
        let to = match self.stopped {
            Some(_) => self.now,
            None => Step(self.chunk_end.0 - left),
        };
        if let Some(meter) = &mut self.meter {
            meter.entered(to);
            // What it leaves for the dispatch loop.
            meter.why = Why::Cold;
        }
    }

    /// Makes a superblock of what begins at a slot of the present page, whose address is `pc`, for whoever watches.
    #[cold]
    pub(super) fn make(&mut self, pc: u64, slot: usize) -> Option<jit::Code> {
        let clock = self.meter.as_ref().map(|meter| (meter.clock, (meter.clock)()));
        let Caches { mmu, code, .. } = &mut *self.caches;
        let page = (self.page_pc, self.place);
        let code = code.make(self.arena, mmu, self.ram, page, slot, self.x[2]);
        if let (Some(meter), Some((clock, began))) = (&mut self.meter, clock) {
            meter.counts.translating_ns += clock().saturating_sub(began);
        }
        if let (Some(_), Some(map)) = (code, &mut self.map)
            && let Some(translations) = &self.caches.code.translations
        {
            let place = Place::of(self.hart, pc);
            let [(hot, hot_size), (cold, cold_size)] = translations.newest();
            map.made(hot, hot_size, Part::Hot(place));
            if cold_size > 0 {
                map.made(cold, cold_size, Part::Cold(place));
            }
        }
        code
    }
}
