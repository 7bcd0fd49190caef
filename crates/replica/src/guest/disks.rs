//! `Disks`: the guest's requests that no disk has answered yet, and which of them may be at a disk at the
//! same time. `Live` puts requests in, sends those that come out to the world, and brings the answers back.
//!
//! The guest may have many requests in flight, and they may be done in any order, unless two of them overlap
//! and one of them changes something: then the later one waits until the earlier one is done, so that the
//! result does not depend on the disk (FT 3.4-a). Overlap in guest memory cannot matter: data is copied out
//! at submission and in at completion (FT 3.4-b). A read or a flush is no output (outputs.rs): it needs
//! neither acknowledgement nor lease and may overtake held writes. A change of a disk waits here too while
//! the output rule holds it: the gate has only its [`RequestId`] and says when it may go.
//!
//! Two requests that overlap are never at a disk together if one of them changes it.

use std::collections::VecDeque;

use machine::{DiskOperation, DiskRequest, DiskStatus, Input};

use crate::event::DiskAnswer;
use crate::guest::outputs::changes;
use crate::limits;
use crate::mutation;
use crate::mutation::Mutation;

/// Names a request for the life of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// Number of the disk.
    pub disk: u8,
    /// Number of the request among those to that disk, as the guest's device gave it.
    pub id: u64,
}

/// Where a request stands on its way to the disk.
#[derive(Debug)]
enum State {
    /// The output rule holds it until [`Disks::release`].
    Held(DiskRequest),
    /// It may go to the disk as soon as nothing earlier overlaps.
    Ready(DiskRequest),
    /// It is at the disk, and its answer is still to come.
    Issued,
}

/// A request that is not done.
#[derive(Debug)]
struct Slot {
    /// Its name.
    request: RequestId,
    /// The first sector that it touches.
    first: u64,
    /// The sector behind the last one that it touches.
    end: u64,
    /// Does it change what others see? Then it needs the lease, and the disk without what overlaps it.
    changes: bool,
    /// May a guest that is off leave it unfinished? Only a read.
    optional: bool,
    /// How many bytes a good answer has.
    reads: usize,
    /// How many bytes it writes.
    writes: usize,
    state: State,
}

impl Slot {
    fn new(request: DiskRequest, state: fn(DiskRequest) -> State) -> Slot {
        let (first, sectors, reads) = match &request.operation {
            DiskOperation::Read { sector, bytes } => (*sector, sectors_of(u64::from(*bytes)), *bytes),
            DiskOperation::Write { sector, data } => {
                let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
                (*sector, sectors_of(bytes), 0)
            }
            // A flush overlaps nothing: the writes that it concerns are completed, and so not here any more.
            DiskOperation::Flush => (0, 0, 0),
            DiskOperation::Discard { sector, sectors }
            | DiskOperation::WriteZeroes { sector, sectors, .. } => (*sector, u64::from(*sectors), 0),
        };
        Slot {
            request: RequestId {
                disk: request.disk,
                id: request.id,
            },
            first,
            end: first.saturating_add(sectors),
            changes: changes(&request.operation),
            optional: matches!(request.operation, DiskOperation::Read { .. }),
            reads: usize::try_from(reads).unwrap_or(usize::MAX),
            writes: match &request.operation {
                DiskOperation::Write { data, .. } => data.len(),
                _ => 0,
            },
            state: state(request),
        }
    }

    fn overlaps(&self, other: &Slot) -> bool {
        !mutation::is(Mutation::DiskOverlap)
            && self.request.disk == other.request.disk
            && (self.changes || other.changes)
            && self.first < other.end
            && other.first < self.end
    }
}

fn sectors_of(bytes: u64) -> u64 {
    bytes.div_ceil(512)
}

/// Who keeps requests from the disks. What one of them allows, the other may still forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// The role of the replica: it hands the VM over, or has no lease yet.
    Role,
    /// A snapshot, with which the disks are kept.
    Snapshot,
}

/// All requests of the guest that are not done.
#[derive(Debug, Default)]
pub struct Disks {
    /// The requests in the order in which the guest submitted them: an earlier one makes a later one wait.
    slots: VecDeque<Slot>,
    /// Answers to requests that are too long to be done: they were made here, without a disk.
    refused: VecDeque<Input>,
    /// Does no request go to a disk for now, because the role wants none there? Those that are there go on.
    held_by_role: bool,
    /// The same, because of a snapshot.
    held_by_snapshot: bool,
    /// May [`Disks::next`] find a request? False from when it has found none until a request is submitted,
    /// released or answered, so that a node that polls often does not search the list each time.
    stirred: bool,
}

impl Disks {
    /// Takes a request that the output rule holds, and gives the name by which [`Disks::release`] lets it go.
    pub fn hold(&mut self, request: DiskRequest) -> RequestId {
        let slot = Slot::new(request, State::Held);
        let id = slot.request;
        self.slots.push_back(slot);
        id
    }

    /// Takes a request that the output rule does not hold: the guest has just submitted it, or it is done
    /// again after a takeover. A read of more than [`limits::DISK_BYTES_MAX`] fails without a disk.
    pub fn submit(&mut self, request: DiskRequest) {
        self.stirred = true;
        let slot = Slot::new(request, State::Ready);
        if slot.reads > limits::DISK_BYTES_MAX {
            self.refused.push_back(failed(slot.request));
            return;
        }
        self.slots.push_back(slot);
    }

    /// Lets a held request go: the gate says that the output rule is kept.
    pub fn release(&mut self, id: RequestId) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.request == id) else {
            return;
        };
        slot.state = match std::mem::replace(&mut slot.state, State::Issued) {
            State::Held(request) => State::Ready(request),
            state => state,
        };
        self.stirred = true;
    }

    /// Says whether requests are kept from the disks until further notice, so that soon none is there (FT
    /// 3.3-d). The guest may run on; it gets its answers later.
    pub fn hold_back(&mut self, by: HeldBy, held_back: bool) {
        match by {
            HeldBy::Role => self.held_by_role = held_back,
            HeldBy::Snapshot => self.held_by_snapshot = held_back,
        }
        self.stirred = true;
    }

    /// The next request that may go to its disk. `writes`: may one go that changes a disk?
    pub fn next(&mut self, writes: bool) -> Option<DiskRequest> {
        if !self.stirred || self.held_by_role || self.held_by_snapshot {
            return None;
        }
        let may_go = |(index, slot): &(usize, &Slot)| {
            matches!(slot.state, State::Ready(_))
                && (writes || !slot.changes)
                && !self
                    .slots
                    .iter()
                    .take(*index)
                    .any(|earlier| earlier.overlaps(slot))
        };
        let found = self.slots.iter().enumerate().find(may_go).map(|(index, _)| index);
        let Some(slot) = found.and_then(|index| self.slots.get_mut(index)) else {
            // Where writes were forbidden, one may only have lacked the lease: search again next time.
            self.stirred = !writes;
            return None;
        };
        match std::mem::replace(&mut slot.state, State::Issued) {
            State::Ready(request) => Some(request),
            State::Held(_) | State::Issued => None,
        }
    }

    /// Takes a disk's answer and gives what the guest gets; `None` if no such request is at a disk.
    pub fn done(&mut self, answer: DiskAnswer) -> Option<Input> {
        let DiskAnswer {
            disk,
            id,
            status,
            data,
        } = answer;
        let request = RequestId { disk, id };
        let issued = |slot: &Slot| slot.request == request && matches!(slot.state, State::Issued);
        let index = self.slots.iter().position(issued)?;
        let slot = self.slots.remove(index)?;
        self.stirred = true;
        // An answer of another length than was asked for is a failure of the disk, not the guest's problem.
        if status == DiskStatus::Ok && data.len() == slot.reads {
            return Some(Input::DiskDone {
                disk,
                id,
                status,
                data,
            });
        }
        Some(failed(request))
    }

    /// Takes out an answer that needed no disk.
    pub fn take_refused(&mut self) -> Option<Input> {
        self.refused.pop_front()
    }

    /// Bytes of data of all requests that are not done: what they write and what they read.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots
            .iter()
            .map(|slot| slot.reads.saturating_add(slot.writes))
            .sum()
    }

    /// How many requests are at a disk.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| matches!(slot.state, State::Issued))
            .count()
    }

    /// Is anything left that must be finished before the machine may be gone: a change of a disk, or a flush?
    #[must_use]
    pub fn changes_left(&self) -> bool {
        self.slots.iter().any(|slot| !slot.optional)
    }
}

fn failed(RequestId { disk, id }: RequestId) -> Input {
    Input::DiskDone {
        disk,
        id,
        status: DiskStatus::Failed,
        data: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(id: u64, sector: u64, sectors: u32) -> DiskRequest {
        let operation = DiskOperation::Read {
            sector,
            bytes: sectors * 512,
        };
        DiskRequest {
            disk: 0,
            id,
            operation,
        }
    }

    fn write(id: u64, sector: u64, sectors: usize) -> DiskRequest {
        let operation = DiskOperation::Write {
            sector,
            data: vec![0; sectors * 512].into(),
        };
        DiskRequest {
            disk: 0,
            id,
            operation,
        }
    }

    fn answer(id: u64, bytes: usize) -> DiskAnswer {
        DiskAnswer {
            disk: 0,
            id,
            status: DiskStatus::Ok,
            data: vec![0; bytes],
        }
    }

    fn ids(disks: &mut Disks) -> Vec<u64> {
        std::iter::from_fn(|| disks.next(true))
            .map(|request| request.id)
            .collect()
    }

    #[test]
    fn only_overlapping_requests_wait_for_each_other() {
        // FT 3.4-a.
        let mut disks = Disks::default();
        disks.submit(write(0, 10, 4));
        disks.submit(read(1, 13, 2)); // overlaps 0
        disks.submit(read(2, 14, 2)); // overlaps 1, but neither changes anything
        disks.submit(write(3, 15, 1)); // overlaps 2
        disks.submit(write(4, 14, 1)); // overlaps 1 and 2
        assert_eq!(ids(&mut disks), [0, 2]);
        disks.done(answer(2, 1024));
        assert_eq!(ids(&mut disks), [3]);
        disks.done(answer(0, 0));
        assert_eq!(ids(&mut disks), [1]);
        disks.done(answer(1, 1024));
        assert_eq!(ids(&mut disks), [4]);
    }

    #[test]
    fn reads_overtake_held_writes_but_not_the_same_place() {
        // FT 3.4-a, 4.1-a.
        let mut disks = Disks::default();
        let held = disks.hold(write(0, 0, 1));
        disks.submit(read(1, 5, 1));
        disks.submit(read(2, 0, 1));
        assert_eq!(ids(&mut disks), [1]);
        disks.release(held);
        assert_eq!(disks.next(false), None, "the lease is over");
        assert_eq!(ids(&mut disks), [0]);
        disks.done(answer(0, 0));
        assert_eq!(ids(&mut disks), [2]);
    }

    #[test]
    fn requests_that_are_held_back_wait_while_those_at_the_disks_end() {
        // FT 3.3-d.
        let mut disks = Disks::default();
        disks.submit(write(1, 0, 1));
        assert_eq!(ids(&mut disks), [1]);
        disks.hold_back(HeldBy::Role, true);
        disks.hold_back(HeldBy::Snapshot, true);
        disks.submit(read(2, 8, 1));
        assert_eq!((ids(&mut disks), disks.in_flight()), (vec![], 1));
        assert!(disks.done(answer(1, 0)).is_some());
        assert_eq!((ids(&mut disks), disks.in_flight()), (vec![], 0));
        disks.hold_back(HeldBy::Role, false);
        assert_eq!(
            ids(&mut disks),
            [],
            "the other one still holds them (sim seed 505059)"
        );
        disks.hold_back(HeldBy::Snapshot, false);
        assert_eq!(ids(&mut disks), [2]);
    }

    #[test]
    fn an_answer_nobody_asked_for_is_dropped_and_a_wrong_one_is_a_failure() {
        let mut disks = Disks::default();
        assert_eq!(disks.done(answer(0, 512)), None);
        disks.submit(read(0, 0, 1));
        assert_eq!(disks.done(answer(0, 512)), None, "not at the disk yet");
        assert_eq!(ids(&mut disks), [0]);
        assert_eq!(
            disks.done(answer(0, 511)),
            Some(failed(RequestId { disk: 0, id: 0 }))
        );
        assert_eq!(disks.done(answer(0, 512)), None, "answered already");
    }

    #[test]
    fn a_read_beyond_the_limit_fails_without_a_disk() {
        let mut disks = Disks::default();
        disks.submit(read(0, 0, 1 << 16));
        assert_eq!(disks.next(true), None);
        assert_eq!(disks.take_refused(), Some(failed(RequestId { disk: 0, id: 0 })));
    }

    #[test]
    fn a_flush_passes_held_writes_and_needs_no_lease() {
        let mut disks = Disks::default();
        disks.hold(write(0, 0, 8));
        disks.submit(DiskRequest {
            disk: 0,
            id: 1,
            operation: DiskOperation::Flush,
        });
        assert_eq!(disks.next(false).map(|request| request.id), Some(1));
        assert!(disks.changes_left());
    }

    #[test]
    fn a_flush_waits_for_nobody_and_other_disks_do_not_overlap() {
        let mut disks = Disks::default();
        disks.submit(write(0, 0, 8));
        disks.submit(DiskRequest {
            disk: 0,
            id: 1,
            operation: DiskOperation::Flush,
        });
        disks.submit(DiskRequest {
            disk: 1,
            ..write(0, 0, 8)
        });
        assert_eq!(ids(&mut disks), [0, 1, 0]);
        assert!(disks.changes_left());
        assert_eq!(disks.in_flight(), 3);
    }
}
