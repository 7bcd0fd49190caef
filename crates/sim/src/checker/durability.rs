//! What the guest was told is on the disk stays there, whatever dies.
//!
//! There are two promises. A write that was completed is what is read from then on, for as long as the guest
//! lives, on whichever host. And a write that was completed before a flush was submitted is there after that
//! flush was completed, even if everything loses its power. The check follows the guest's tape, so
//! "completed" is when the guest learned of it, and "submitted" when it asked. It must not know where the
//! caches of the world (`cache.rs`) have a write.

use std::{collections::BTreeMap, ops::Range};

use machine::{DiskOperation, DiskRequest, DiskStatus, Effect, Input};
use toy::hash::mix_bytes;

use toy_outside::{
    names::ProcessId,
    operation::{SECTOR, extent},
};

use crate::{
    checker::{Check, Violation, ensure},
    subject::Tape,
};

/// A content that a sector had: the first one, or one that a request wrote.
#[derive(Clone, Copy, Debug)]
struct Content {
    /// The number of the request that wrote it; `None` for the first content.
    id: Option<u64>,
    /// A hash of the content.
    hash: u64,
    /// The place of the request among all completed ones, from 1; `None` while it is pending, or if it
    /// failed.
    completed: Option<u64>,
}

/// What a sector may be: the content that is safe from all that can go wrong, and all that was written since.
#[derive(Clone, Debug)]
struct Sector {
    /// In the order in which they were written; the first one is safe.
    contents: Vec<Content>,
}

impl Default for Sector {
    fn default() -> Sector {
        let first = Content {
            id: None,
            hash: hash_of(&[0; SECTOR]),
            completed: Some(0),
        };
        Sector {
            contents: vec![first],
        }
    }
}

impl Sector {
    /// The place of the last content that was among the first `completed` ones.
    fn last(&self, completed: u64) -> usize {
        let by_then = |content: &Content| content.completed.is_some_and(|number| number <= completed);
        self.contents.iter().rposition(by_then).unwrap_or(0)
    }

    fn complete(&mut self, id: u64, number: u64) {
        let content = self.contents.iter_mut().find(|content| content.id == Some(id));
        if let Some(content) = content {
            content.completed = Some(number);
        }
    }

    /// The first `completed` requests are safe: what was before them is forgotten.
    fn settle(&mut self, completed: u64) {
        let last = self.last(completed);
        self.contents.drain(..last);
    }

    /// May a guest that lives read this? It may read what was completed last, or what was written later.
    fn may_be(&self, found: &[u8]) -> bool {
        let later = &self.contents[self.last(u64::MAX)..];
        later.iter().any(|content| content.hash == hash_of(found))
    }

    /// May this be left after everything has lost its power? Anything may, from the safe content on.
    fn may_be_left(&self, found: &[u8]) -> bool {
        self.contents.iter().any(|content| content.hash == hash_of(found))
    }
}

fn hash_of(content: &[u8]) -> u64 {
    mix_bytes(0, content)
}

/// A request that the guest has had no answer to.
#[derive(Debug)]
enum Pending {
    /// A read, which begins at sector `first`.
    Read { first: usize },
    /// A write, or something that makes zeroes, of these sectors.
    Change(Range<usize>),
    /// A flush, with the number of requests that were completed when it was submitted.
    Flush(u64),
}

/// Follows the life of a guest.
#[derive(Debug, Default)]
pub struct Durability {
    /// The process whose tape is followed; `None` before the first time.
    of: Option<ProcessId>,
    /// How many inputs of the tape were looked at.
    inputs: usize,
    /// How many effects of the tape were looked at.
    effects: usize,
    /// What each sector may be; those behind the end were never written.
    sectors: Vec<Sector>,
    /// Requests without an answer, by number.
    pending: BTreeMap<u64, Pending>,
    /// How many changes were completed.
    completed: u64,
}

impl Durability {
    /// Looks at what has happened to the guest since the last call. `who` is where the guest lives; if that
    /// has changed, its life is followed from its beginning again, by the tape of that process.
    ///
    /// # Errors
    /// If the guest has read what is older than a completed write.
    pub fn follow(&mut self, who: ProcessId, tape: &Tape) -> Result<(), Violation> {
        if self.of != Some(who) {
            *self = Durability {
                of: Some(who),
                ..Durability::default()
            };
        }
        loop {
            let input = tape.inputs.get(self.inputs);
            let effect = tape.effects.get(self.effects);
            // An effect and an input at one step are taken in the order that demands less of the disk.
            if let Some(effect) = effect
                && input.is_none_or(|input| effect.step <= input.step)
            {
                self.effects += 1;
                if let Effect::Disk(request) = &effect.what {
                    self.on_submit(request);
                }
            } else if let Some(input) = input {
                self.inputs += 1;
                if let Input::DiskDone { id, status, data, .. } = &input.what {
                    self.on_done(*id, *status, data)?;
                }
            } else {
                return Ok(());
            }
        }
    }

    fn on_submit(&mut self, request: &DiskRequest) {
        let (first, bytes) = extent(&request.operation);
        let first = first as usize;
        let sectors = first..first + bytes.div_ceil(SECTOR);
        let pending = match &request.operation {
            DiskOperation::Read { .. } => Pending::Read { first },
            DiskOperation::Flush => Pending::Flush(self.completed),
            DiskOperation::Write { data, .. } => {
                for (sector, data) in sectors.clone().zip(data.chunks(SECTOR)) {
                    self.write(sector, request.id, hash_of(data));
                }
                Pending::Change(sectors)
            }
            DiskOperation::Discard { .. } | DiskOperation::WriteZeroes { .. } => {
                for sector in sectors.clone() {
                    self.write(sector, request.id, hash_of(&[0; SECTOR]));
                }
                Pending::Change(sectors)
            }
        };
        self.pending.insert(request.id, pending);
    }

    fn sector(&mut self, sector: usize) -> &mut Sector {
        if self.sectors.len() <= sector {
            self.sectors.resize_with(sector + 1, Sector::default);
        }
        &mut self.sectors[sector]
    }

    fn write(&mut self, sector: usize, id: u64, hash: u64) {
        self.sector(sector).contents.push(Content {
            id: Some(id),
            hash,
            completed: None,
        });
    }

    fn on_done(&mut self, id: u64, status: DiskStatus, data: &[u8]) -> Result<(), Violation> {
        let Some(pending) = self.pending.remove(&id) else {
            return Ok(());
        };
        if status != DiskStatus::Ok {
            // A change that failed may have been made or not; a flush that failed promises nothing.
            return Ok(());
        }
        match pending {
            Pending::Read { first } => {
                for (sector, found) in (first..).zip(data.chunks(SECTOR)) {
                    ensure(self.sector(sector).may_be(found), Check::Durability, || {
                        format!(
                            "disk request {id} read from sector {sector} what is older than a completed write"
                        )
                    })?;
                }
            }
            Pending::Change(sectors) => {
                self.completed += 1;
                let number = self.completed;
                for sector in sectors {
                    self.sector(sector).complete(id, number);
                }
            }
            Pending::Flush(completed) => {
                for sector in &mut self.sectors {
                    sector.settle(completed);
                }
            }
        }
        Ok(())
    }

    /// Checks what is on the disk while the guest lives, or when it has ended by its own will.
    ///
    /// # Errors
    /// If a completed write is missing.
    pub fn check_content(&self, content: &[u8]) -> Result<(), Violation> {
        self.check(content, Sector::may_be, "a completed write is missing")
    }

    /// Checks what is on the disk after everything has lost its power.
    ///
    /// # Errors
    /// If a write is missing that was completed before a flush was submitted that is completed.
    pub fn check_content_after_power_cut(&self, content: &[u8]) -> Result<(), Violation> {
        self.check(content, Sector::may_be_left, "a flushed write is missing")
    }

    fn check(
        &self,
        content: &[u8],
        may_be: impl Fn(&Sector, &[u8]) -> bool,
        what: &str,
    ) -> Result<(), Violation> {
        let untouched = Sector::default();
        for (number, found) in content.chunks(SECTOR).enumerate() {
            let sector = self.sectors.get(number).unwrap_or(&untouched);
            ensure(may_be(sector, found), Check::Durability, || {
                format!("{what} from sector {number}")
            })?;
        }
        Ok(())
    }
}
