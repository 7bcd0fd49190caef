//! `Replayer`: the log's entries become the guest's life again. Runs to an entry's step, injects, compares.
//!
//! A backup replays with it from the channel, and `lockstep replay` from a file. It never runs the guest
//! beyond the end of the log that it has (FT 3.2-c), since anything may have happened there.

use std::collections::VecDeque;

use machine::{Control, Cut, DiskRequest, Effect, Input, PowerState, Step, Stop};

use crate::guest::Guest;
use crate::guest::outputs::Outputs;
use crate::limits;
use vmlog::entry::{Digest, Entry, EntryKind, check};

/// A replica's execution parted from the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("execution parted from the log at step {at}, first in {part}")]
pub struct Divergence {
    /// The step at which it was noticed; of a digest that had begun before, the step of its begin.
    pub at: Step,
    /// The first component that differs, or what the guest did that the log does not know.
    pub part: String,
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headway {
    /// There is more to run.
    Busy,
    /// All of the log that has come is replayed.
    Drained,
    /// There is more to run, and it must wait: as many outputs are kept as may be, and the primary has not
    /// said that they have left.
    Blocked,
    /// The guest is off, as the log says.
    Off(PowerState),
}

/// What the replayed guest did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// An output that is equal to the one in the log.
    Output {
        /// Number of the output in the guest's life, from 1.
        index: u64,
        /// What the guest gave out.
        effect: Effect,
    },
    /// Any other effect.
    Other(Effect),
}

/// An entry that waits to be replayed.
#[derive(Debug)]
struct Queued {
    entry: Entry,
    /// What becomes free in the buffer with this entry: a frame's whole cost at its last one, else 0.
    cost: u64,
}

/// Replays a log.
#[derive(Debug, Default)]
pub struct Replayer {
    queue: VecDeque<Queued>,
    /// What `queue` counts in the backup's buffer.
    cost: u64,
    /// Outputs that the guest has produced at its present step and whose entries have not come up yet, with
    /// their checks. The guest may not go on to another step while there are any.
    produced: VecDeque<(Effect, u32)>,
    /// Outputs of the guest's life that were equal to those of the log.
    outputs: u64,
    /// Wishes for entropy that are not answered, in order.
    entropy: VecDeque<u32>,
    /// The guest's power state, once it and the log have said that it is off.
    off: Option<PowerState>,
    /// Digests that were compared with those of the log.
    digests: u64,
    /// The step of the digest that the log has begun and not ended, and the guest's digest at that step, or
    /// `None` while pages of it are left to hash; `None` in place of both: the log has begun none.
    begun: Option<(Step, Option<Digest>)>,
}

impl Replayer {
    /// A replayer that begins in the middle of a guest's life, after `outputs` outputs, with these wishes for
    /// entropy unanswered.
    #[must_use]
    pub fn from_cut(outputs: u64, entropy: &[u32]) -> Replayer {
        Replayer {
            outputs,
            entropy: entropy.iter().copied().collect(),
            ..Replayer::default()
        }
    }

    /// Adds the entries of a frame, in order, which together count `cost` in the backup's buffer.
    pub fn push(&mut self, entries: Vec<Entry>, cost: u64) {
        self.cost += cost;
        let last = entries.len();
        // The room that a frame takes is free again when its last entry is done.
        self.queue
            .extend(entries.into_iter().enumerate().map(|(index, entry)| Queued {
                entry,
                cost: if index + 1 == last { cost } else { 0 },
            }));
    }

    /// What all entries that wait to be replayed count in the backup's buffer.
    #[must_use]
    pub fn buffered(&self) -> u64 {
        self.cost
    }

    /// Digests that were equal to those of the log so far.
    #[must_use]
    pub fn digests(&self) -> u64 {
        self.digests
    }

    /// Outputs that were equal to those of the log so far.
    #[must_use]
    pub fn outputs(&self) -> u64 {
        self.outputs
    }

    /// Drops the log from its last output on, which no correct replica does: only for
    /// [`crate::mutation::Mutation::DrainShort`].
    pub fn forget_last_output(&mut self) {
        let output = |queued: &Queued| matches!(queued.entry.kind, EntryKind::Output { .. });
        if let Some(index) = self.queue.iter().rposition(output) {
            self.cost -= self.queue.drain(index..).map(|queued| queued.cost).sum::<u64>();
        }
    }

    /// The step of the last entry that waits; `None`: none waits.
    #[must_use]
    pub fn horizon(&self) -> Option<Step> {
        self.queue.back().map(|queued| queued.entry.at)
    }

    /// The step of the next entry; `None`: none waits.
    #[must_use]
    pub fn next_at(&self) -> Option<Step> {
        self.queue.front().map(|queued| queued.entry.at)
    }

    /// Is nothing left to replay?
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }

    /// Has a digest begun of which pages are left to hash?
    #[must_use]
    pub fn hashes(&self) -> bool {
        matches!(self.begun, Some((_, None)))
    }

    /// The guest's power state, once it is off as the log says.
    #[must_use]
    pub fn off(&self) -> Option<PowerState> {
        self.off
    }

    /// Takes what the guest has done at its last step and the log says nothing of, for a replica that goes
    /// live there: outputs without an entry, and wishes for entropy without an answer.
    pub fn take_loose_ends(&mut self) -> (Vec<Effect>, Vec<u32>) {
        let outputs = self.produced.drain(..).map(|(effect, _)| effect).collect();
        (outputs, self.entropy.drain(..).collect())
    }

    /// Replays at most `steps` steps, and not beyond `limit`. Effects go to `replayed`.
    ///
    /// # Errors
    /// When the guest does something else than the log says.
    pub fn slice<G: Guest>(
        &mut self,
        guest: &mut G,
        cut: &dyn Cut,
        steps: u64,
        limit: Step,
        replayed: &mut Vec<Replayed>,
    ) -> Result<Headway, Divergence> {
        let until = guest.now().after(steps).min(limit);
        if let Some((_, found @ None)) = &mut self.begun {
            *found = guest.hash_some(limits::HASH_PAGES);
        }
        let mut inputs = 0;
        while let Some(front) = self.queue.front() {
            // A snapshot of this guest has hardly room for the pages that are overwritten.
            if guest.frozen_room() < limits::FROZEN_RESERVE {
                return Ok(Headway::Busy);
            }
            // FT 2.1-b: an entry is applied exactly at its step, not an instruction sooner or later.
            let at = front.entry.at;
            if guest.now() < at {
                if guest.now() >= until {
                    return Ok(Headway::Busy);
                }
                if self.run(guest, cut, at, until, replayed)? {
                    return Ok(Headway::Busy);
                }
                continue;
            }
            let is_end = matches!(front.entry.kind, EntryKind::DigestEnds(_));
            // What is left is hashed in portions: whoever waits for this replica is answered meanwhile.
            if inputs >= limits::INJECT_PER_SLICE || is_end && self.hashes() {
                return Ok(Headway::Busy);
            }
            let Some(Queued { entry, cost }) = self.queue.pop_front() else {
                break;
            };
            inputs += usize::from(matches!(entry.kind, EntryKind::Input(_)));
            self.cost -= cost;
            self.apply(guest, cut, entry, replayed)?;
        }
        Ok(self.off.map_or(Headway::Drained, Headway::Off))
    }

    /// Runs the guest towards the next entry's step `at`, at most to `until`. True: the slice is over.
    fn run<G: Guest>(
        &mut self,
        guest: &mut G,
        cut: &dyn Cut,
        at: Step,
        until: Step,
        replayed: &mut Vec<Replayed>,
    ) -> Result<bool, Divergence> {
        // The log marks an output at the step that produced it: each meets its entry before the guest goes
        // on.
        self.nothing_unknown(guest.now())?;
        if self.off.is_some() {
            return Err(diverged(guest.now(), "an entry after the guest was off"));
        }
        let stop = at.min(until);
        let why = guest.run(stop, cut);
        let here = guest.now();
        self.collect(guest, replayed);
        match why {
            Stop::Reached => Ok(false),
            Stop::Effects => {
                if here < at {
                    self.nothing_unknown(here)?;
                }
                Ok(false)
            }
            Stop::Cut | Stop::Full => Ok(true),
            _ if here >= at => Ok(false),
            Stop::Waiting { .. } => Err(diverged(here, "the guest waits where it ran")),
            Stop::Off(_) => Err(diverged(here, "the guest is off where it ran")),
        }
    }

    /// Applies an entry at whose step the guest stands: injects it, or compares the guest with it.
    fn apply<G: Guest>(
        &mut self,
        guest: &mut G,
        cut: &dyn Cut,
        entry: Entry,
        replayed: &mut Vec<Replayed>,
    ) -> Result<(), Divergence> {
        let here = guest.now();
        if here > entry.at {
            return Err(diverged(here, "the log begins earlier than the guest"));
        }
        if let EntryKind::Output { check: wanted } = entry.kind {
            return self.match_output(here, wanted, replayed);
        }
        self.nothing_unknown(here)?;
        if self.off.is_some() {
            return Err(diverged(here, "an entry after the guest was off"));
        }
        match entry.kind {
            EntryKind::Input(input) => {
                match &input {
                    Input::Entropy { .. } => drop(self.entropy.pop_front()),
                    Input::Control(Control::Reset) => self.entropy.clear(),
                    _ => {}
                }
                guest.inject(&input);
                self.collect(guest, replayed);
            }
            EntryKind::Digest(wanted) => {
                self.digests += 1;
                compare(here, &wanted, &guest.digest())?;
            }
            EntryKind::DigestBegins => {
                guest.begin_digest();
                self.begun = Some((here, None));
            }
            // Of one that had begun before this replica's part of the log there is nothing to compare.
            EntryKind::DigestEnds(wanted) => {
                if let Some((at, Some(found))) = self.begun.take() {
                    self.digests += 1;
                    compare(at, &wanted, &found)?;
                }
            }
            EntryKind::Off(wanted) => {
                if guest.run(here, cut) != Stop::Off(wanted) {
                    return Err(diverged(here, "the power"));
                }
                self.off = Some(wanted);
            }
            EntryKind::Progress | EntryKind::Output { .. } | EntryKind::Mark(_) => {}
        }
        Ok(())
    }

    /// Compares an output's entry with the oldest output that waits for one.
    fn match_output(
        &mut self,
        here: Step,
        wanted: u32,
        replayed: &mut Vec<Replayed>,
    ) -> Result<(), Divergence> {
        match self.produced.pop_front() {
            Some((effect, check)) if check == wanted => {
                self.outputs += 1;
                let index = self.outputs;
                replayed.push(Replayed::Output { index, effect });
                Ok(())
            }
            Some((effect, _)) => Err(diverged(here, name(&effect))),
            None => Err(diverged(here, "an output that did not come")),
        }
    }

    /// Fails if the guest has produced an output for which the log has no entry.
    fn nothing_unknown(&self, here: Step) -> Result<(), Divergence> {
        match self.produced.front() {
            Some((effect, _)) => Err(diverged(here, name(effect))),
            None => Ok(()),
        }
    }

    /// Takes the guest's effects: outputs wait for their entries, everything else goes to `replayed` at once.
    fn collect<G: Guest>(&mut self, guest: &mut G, replayed: &mut Vec<Replayed>) {
        while let Some(effect) = guest.take_effect() {
            if Outputs.is_output(&effect) {
                let check = check(&effect);
                self.produced.push_back((effect, check));
                continue;
            }
            if let Effect::EntropyWanted { bytes } = effect {
                self.entropy.push_back(bytes);
            }
            replayed.push(Replayed::Other(effect));
        }
    }
}

fn diverged(at: Step, part: &str) -> Divergence {
    Divergence {
        at,
        part: part.to_owned(),
    }
}

/// What to call an effect in the sentence of a divergence.
fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::ConsoleWrite { .. } => "an output to a console",
        Effect::NetTransmit { .. } => "an output to a network",
        Effect::Disk(DiskRequest { .. }) => "an output to a disk",
        Effect::PoweredOff(_) => "the power",
        Effect::EntropyWanted { .. } => "a wish for entropy",
    }
}

fn compare(at: Step, wanted: &Digest, found: &Digest) -> Result<(), Divergence> {
    for (index, (name, value)) in wanted.parts.iter().enumerate() {
        if found.parts.get(index) != Some(&(name.clone(), *value)) {
            return Err(diverged(at, name));
        }
    }
    match found.parts.get(wanted.parts.len()) {
        Some((name, _)) => Err(diverged(at, name)),
        None => Ok(()),
    }
}
