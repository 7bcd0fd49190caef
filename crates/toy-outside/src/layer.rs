//! A layer of caching: changes of the disk that are not on the medium yet, in their order.
//!
//! The page cache of a host and the cache of the drive are a layer each (`cache.rs`). A layer says what
//! leaves it: by a flush, for want of room, or because the layer is lost. It must not know where a change
//! goes from there.

use std::collections::VecDeque;

use replica::Time;

use toy::random::Random;

use crate::operation::SECTOR;

/// Changes that a layer holds at most; older ones go down by themselves.
const CHANGES_MAX: usize = 64;

/// A change that is not on the medium.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The place of its first byte on the disk.
    pub at: usize,
    /// What the disk holds from there on.
    pub data: Vec<u8>,
    /// When its sender hears that it is completed. A flush that was sent earlier leaves the change where it
    /// is.
    pub completed: Time,
}

impl Change {
    fn end(&self) -> usize {
        self.at + self.data.len()
    }

    /// Writes its part of `area`, a copy of the disk from byte `at` on, there.
    pub fn put(&self, at: usize, area: &mut [u8]) {
        let (from, to) = (self.at.max(at), self.end().min(at + area.len()));
        if from < to {
            area[from - at..to - at].copy_from_slice(&self.data[from - self.at..to - self.at]);
        }
    }

    fn overlaps(&self, other: &Change) -> bool {
        self.at < other.end() && other.at < self.end()
    }

    /// Its sectors, by number, and what each of them holds.
    pub fn sectors(&self) -> impl Iterator<Item = (usize, &[u8])> {
        (self.at / SECTOR..).zip(self.data.chunks(SECTOR))
    }
}

/// A cache of writes: changes in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    changes: VecDeque<Change>,
}

impl Layer {
    /// Takes a change; the answer is what must go down to make room for it.
    pub fn write(&mut self, change: Change) -> Option<Change> {
        self.changes.push_back(change);
        if self.changes.len() > CHANGES_MAX {
            return self.changes.pop_front();
        }
        None
    }

    /// Writes what the layer holds of `area`, a copy of the disk from byte `at` on, there.
    pub fn put(&self, at: usize, area: &mut [u8]) {
        for change in &self.changes {
            change.put(at, area);
        }
    }

    /// Takes out what was completed by `until`, in order, and with it what lies under that: an earlier change
    /// of the same place, by a process that died before it heard of its completion, must not show again.
    pub fn flush(&mut self, until: Time) -> Vec<Change> {
        let mut down = VecDeque::new();
        let mut stays = VecDeque::new();
        for change in self.changes.drain(..).rev() {
            if change.completed <= until || down.iter().any(|later| change.overlaps(later)) {
                down.push_front(change);
            } else {
                stays.push_front(change);
            }
        }
        self.changes = stays;
        down.into()
    }

    /// Empties the layer; nothing of what it held has gone down.
    pub fn forget(&mut self) -> Vec<Change> {
        self.changes.drain(..).collect()
    }

    /// Empties the layer, which is lost; the answer is what had gone down by itself before: of each change
    /// all, nothing, or some of its sectors. The order stays, as it decides only between changes of one
    /// sector, and there any of them may have been the last.
    pub fn lose(&mut self, random: &mut Random) -> Vec<Change> {
        let mut down = Vec::new();
        for change in self.changes.drain(..) {
            match random.below(3) {
                0 => {}
                1 => down.push(change),
                _ => {
                    let torn = change.sectors().filter(|_| random.permille(500));
                    down.extend(torn.map(|(sector, data)| Change {
                        at: sector * SECTOR,
                        data: data.to_vec(),
                        completed: change.completed,
                    }));
                }
            }
        }
        down
    }
}
