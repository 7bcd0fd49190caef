//! `Playback`: replays a whole log file on a guest, for `lockstep replay`. Its caller reads the file and
//! pushes the bytes; a `LogReader` makes entries of them, and a `Replayer` runs the guest by those.
//!
//! It shows nothing and asks no disk: the caller gets the guest's effects, compared with the log.

use machine::{Cut, Effect, Step};

use crate::guest::Guest;
use crate::guest::replay::{Divergence, Headway, Replayed, Replayer};
use vmlog::logfile::{End, LogError, LogReader};

/// Why a playback cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaybackError {
    /// The log is damaged, or goes on after its end.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The guest does something else than the log says.
    #[error(transparent)]
    Diverged(#[from] Divergence),
}

/// How far a playback has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Playing {
    /// There is more to run: call again.
    Busy,
    /// More bytes of the file are needed, or the word that there are no more.
    Hungry,
    /// The step asked for is reached; every entry up to it is applied.
    Reached,
    /// The log is at its end.
    Ended(End),
}

/// A guest, and the log file that it is replayed by.
#[derive(Debug)]
pub struct Playback<G: Guest> {
    guest: G,
    reader: LogReader,
    replayer: Replayer,
    /// Where the guest stood at first. After step 0 it is a snapshot, which has all entries up to here in it.
    from: Step,
    /// Where to stop; [`Step::NEVER`]: at the log's end.
    until: Step,
    /// Has the whole file been pushed?
    complete: bool,
    /// What the guest did since its effects were taken last.
    effects: Vec<Replayed>,
}

impl<G: Guest> Playback<G> {
    /// A playback on a guest made from the header that `reader` has read, up to `until` ([`Step::NEVER`]: to
    /// the end). A guest that is past step 0 is one that an earlier playback of this log has left at
    /// [`Playing::Reached`]; it goes on from there.
    pub fn new(guest: G, reader: LogReader, until: Step) -> Playback<G> {
        Playback {
            from: guest.now(),
            guest,
            reader,
            replayer: Replayer::default(),
            until,
            complete: false,
            effects: Vec::new(),
        }
    }

    /// Takes the next bytes of the file; none at all say that it is complete.
    pub fn push(&mut self, bytes: &[u8]) {
        self.complete |= bytes.is_empty();
        self.reader.push(bytes);
    }

    /// Replays at most `steps` steps.
    ///
    /// # Errors
    /// If the log is damaged, or the guest does something else than it says.
    pub fn slice(&mut self, cut: &dyn Cut, steps: u64) -> Result<Playing, PlaybackError> {
        if self.replayer.is_drained() {
            match self.reader.frame()? {
                // No channel has sent this, so the cost by which one keeps its window is 0.
                Some(mut entries) => {
                    entries.retain(|entry| self.from == Step(0) || entry.at > self.from);
                    self.replayer.push(entries, 0);
                }
                None if !self.complete => return Ok(Playing::Hungry),
                None => return Ok(Playing::Ended(self.reader.end())),
            }
        }
        let progress = self
            .replayer
            .slice(&mut self.guest, cut, steps, self.until, &mut self.effects)?;
        if progress == Headway::Busy && self.guest.now() >= self.until {
            let is_done = self.replayer.next_at().is_none_or(|at| at > self.until);
            return Ok(if is_done { Playing::Reached } else { Playing::Busy });
        }
        Ok(Playing::Busy)
    }

    /// Takes what the guest has shown since the last call, outputs and others, in order.
    pub fn take_effects(&mut self) -> impl Iterator<Item = Effect> + use<G> {
        std::mem::take(&mut self.effects)
            .into_iter()
            .map(|replayed| match replayed {
                Replayed::Output { effect, .. } | Replayed::Other(effect) => effect,
            })
    }

    /// The guest, where it stands.
    #[must_use]
    pub fn into_guest(self) -> G {
        self.guest
    }

    /// Digests compared so far.
    #[must_use]
    pub fn digests(&self) -> u64 {
        self.replayer.digests()
    }

    /// Outputs compared so far.
    #[must_use]
    pub fn outputs(&self) -> u64 {
        self.replayer.outputs()
    }

    /// The guest where it stands, to look at.
    pub fn guest(&mut self) -> &mut G {
        &mut self.guest
    }
}
