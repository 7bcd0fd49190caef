//! Where a write can be before it is safe: in the page cache of a host, then in the drive's cache, then on the
//! medium. Caches can be lost, the medium cannot.
//!
//! `Storage` says when a request takes effect, this says on what. A flush moves down what was completed before it
//! was sent, and nothing else: that is all that a disk promises. What a cache held when it was lost may have gone
//! down by itself before, any part of it, sector by sector. So whoever was told that something is on the disk
//! must have had it flushed.

use std::collections::{BTreeMap, VecDeque};

use machine::DiskOperation;
use replica::Time;

use crate::{
    random::Random,
    storage::{SECTOR, extent},
    world::Side,
};

/// Changes that a cache holds at most; older ones go down by themselves.
const DIRTY_MAX: usize = 64;

/// How a host opens the files of its disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Through its page cache: a write is completed when it is there.
    Buffered,
    /// Reads through its page cache; a write is completed when it is on the medium.
    Synchronous,
    /// Past its page cache: a write is completed when the drive has it.
    Direct,
}

/// What hosts do about their caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// How they open the files.
    pub access: Access,
    /// Does a side that goes live open them again, and so forget the pages that its host read earlier?
    pub reopens: bool,
    /// Does a flush reach the drive? `false`: the host says that it is done.
    pub passes_flushes: bool,
    /// Does a flush that fails also cost the drive what it held? Who then only repeats the flush loses what the
    /// guest saw completed.
    pub drive_forgets: bool,
}

/// A change that is not on the medium.
#[derive(Clone, Debug)]
struct Dirty {
    /// The first byte.
    at: usize,
    data: Vec<u8>,
    /// When its sender hears that it is completed. A flush that was sent earlier leaves it where it is.
    completed: Time,
}

impl Dirty {
    fn end(&self) -> usize {
        self.at + self.data.len()
    }

    /// Puts what it has to say about `area`, which begins at byte `at`, there.
    fn put(&self, at: usize, area: &mut [u8]) {
        let (from, to) = (self.at.max(at), self.end().min(at + area.len()));
        if from < to {
            area[from - at..to - at].copy_from_slice(&self.data[from - self.at..to - self.at]);
        }
    }

    fn overlaps(&self, other: &Dirty) -> bool {
        self.at < other.end() && other.at < self.end()
    }

    fn sectors(&self) -> impl Iterator<Item = (usize, &[u8])> {
        (self.at / SECTOR..).zip(self.data.chunks(SECTOR))
    }
}

/// A cache of writes: changes in the order in which they came.
#[derive(Clone, Debug, Default)]
struct Layer {
    dirty: VecDeque<Dirty>,
}

impl Layer {
    /// Takes a change; the answer is what must go down to make room for it.
    fn write(&mut self, change: Dirty) -> Option<Dirty> {
        self.dirty.push_back(change);
        if self.dirty.len() > DIRTY_MAX {
            return self.dirty.pop_front();
        }
        None
    }

    /// What was completed by `until` leaves it, in order, and with it what lies under that: an earlier change of
    /// the same place, by a side that died before it heard of it, must not show again.
    fn flush(&mut self, until: Time) -> Vec<Dirty> {
        let mut down = VecDeque::new();
        let mut stays = VecDeque::new();
        for change in self.dirty.drain(..).rev() {
            if change.completed <= until || down.iter().any(|later| change.overlaps(later)) {
                down.push_front(change);
            } else {
                stays.push_front(change);
            }
        }
        self.dirty = stays;
        down.into()
    }

    /// It is lost. What had gone down by itself: of each change all, nothing, or some of its sectors. The order
    /// stays, as it decides only between changes of one sector, and there any of them may have been the last.
    fn lose(&mut self, random: &mut Random) -> Vec<Dirty> {
        let mut down = Vec::new();
        for change in self.dirty.drain(..) {
            match random.below(3) {
                0 => {}
                1 => down.push(change),
                _ => {
                    let torn = change.sectors().filter(|_| random.permille(500));
                    down.extend(torn.map(|(sector, data)| Dirty {
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

/// The page cache of one host, as far as it is about the disk.
#[derive(Clone, Debug, Default)]
struct Host {
    written: Layer,
    /// What is read without asking the drive, by sector: right as long as nobody else writes.
    pages: BTreeMap<usize, Vec<u8>>,
    /// Its next flush fails.
    flush_fails: bool,
    /// The file is closed, or the host dead: what is still on its way passes it by.
    is_gone: bool,
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The side whose host did the request.
    pub side: Side,
    /// When the request was sent.
    pub sent: Time,
    /// When it will be answered.
    pub answered: Time,
}

/// The medium and the caches over it.
#[derive(Clone, Debug)]
pub struct Caches {
    options: CacheOptions,
    medium: Vec<u8>,
    drive: Layer,
    hosts: [Host; 2],
    random: Random,
}

impl Caches {
    /// A disk of zeroes, of so many sectors. The host of side B has read some of it in an earlier life.
    #[must_use]
    pub fn new(options: CacheOptions, sectors: u64, seed: u64) -> Caches {
        let sectors = usize::try_from(sectors).unwrap_or(0);
        let mut random = Random::new(seed ^ 0xcac4e);
        let read = (0..sectors).filter(|_| random.permille(500));
        let pages = read.map(|sector| (sector, vec![0; SECTOR])).collect();
        let backup = Host {
            pages,
            ..Host::default()
        };
        Caches {
            options,
            medium: vec![0; sectors * SECTOR],
            drive: Layer::default(),
            hosts: [Host::default(), backup],
            random,
        }
    }

    /// Carries out an operation, or the first `whole` bytes of one. What it reads, or `None` if it fails.
    pub fn perform(&mut self, asker: Asker, operation: &DiskOperation, whole: usize) -> Option<Vec<u8>> {
        let (sector, bytes) = extent(operation);
        let at = (sector as usize * SECTOR).min(self.medium.len());
        let bytes = bytes.min(whole).min(self.medium.len() - at);
        let data = match operation {
            DiskOperation::Read { .. } => return Some(self.read(asker.side, at, bytes)),
            DiskOperation::Flush => return self.flush(asker).then(Vec::new),
            DiskOperation::Write { data, .. } => data[..bytes].to_vec(),
            DiskOperation::Discard { .. } | DiskOperation::WriteZeroes { .. } => vec![0; bytes],
        };
        let change = Dirty {
            at,
            data,
            completed: asker.answered,
        };
        self.change(
            asker.side,
            change,
            matches!(operation, DiskOperation::Write { .. }),
        );
        Some(Vec::new())
    }

    fn access(&self, side: Side) -> Access {
        if self.hosts[side.index()].is_gone {
            Access::Direct
        } else {
            self.options.access
        }
    }

    fn read(&mut self, side: Side, at: usize, bytes: usize) -> Vec<u8> {
        let mut data = self.on_drive(at, bytes);
        if self.access(side) != Access::Direct {
            let pages = &mut self.hosts[side.index()].pages;
            for (sector, below) in (at / SECTOR..).zip(data.chunks_mut(SECTOR)) {
                let page = pages.entry(sector).or_insert_with(|| below.to_vec());
                below.copy_from_slice(page);
            }
        }
        data
    }

    /// `writes`: is it plain data? What a synchronous file promises is only about that.
    fn change(&mut self, side: Side, change: Dirty, writes: bool) {
        let access = self.access(side);
        let host = &mut self.hosts[side.index()];
        if access != Access::Direct {
            let pages = change.sectors().map(|(sector, data)| (sector, data.to_vec()));
            host.pages.extend(pages);
        }
        match access {
            Access::Buffered => {
                if let Some(oldest) = host.written.write(change) {
                    self.hand_down(oldest);
                }
            }
            Access::Direct => self.hand_down(change),
            Access::Synchronous => {
                self.hand_down(change);
                if writes {
                    self.flush_drive(Time(u64::MAX));
                }
            }
        }
    }

    fn flush(&mut self, asker: Asker) -> bool {
        let host = &mut self.hosts[asker.side.index()];
        if std::mem::take(&mut host.flush_fails) {
            // As kernels do: the error is told once, what could not be written is forgotten, and the next flush
            // finds nothing to do.
            for change in host.written.dirty.drain(..) {
                for (sector, _) in change.sectors() {
                    host.pages.remove(&sector);
                }
            }
            if self.options.drive_forgets {
                self.drive.dirty.clear();
            }
            return false;
        }
        for change in host.written.flush(asker.sent) {
            self.hand_down(change);
        }
        if self.options.passes_flushes {
            self.flush_drive(asker.sent);
        }
        true
    }

    /// The drive has it from now on.
    fn hand_down(&mut self, change: Dirty) {
        if let Some(oldest) = self.drive.write(change) {
            oldest.put(0, &mut self.medium);
        }
    }

    fn flush_drive(&mut self, until: Time) {
        for change in self.drive.flush(until) {
            change.put(0, &mut self.medium);
        }
    }

    /// What the drive gives to whoever reads.
    fn on_drive(&self, at: usize, bytes: usize) -> Vec<u8> {
        let mut area = self.medium[at..at + bytes].to_vec();
        for change in &self.drive.dirty {
            change.put(at, &mut area);
        }
        area
    }

    /// A side goes live.
    pub fn on_go_live(&mut self, side: Side) {
        if self.options.reopens {
            self.write_back(side);
        }
    }

    /// A side's process ends: its host's page cache survives, and is written back when the file is closed.
    pub fn close(&mut self, side: Side) {
        self.write_back(side);
        self.hosts[side.index()].is_gone = true;
    }

    fn write_back(&mut self, side: Side) {
        let host = &mut self.hosts[side.index()];
        host.pages.clear();
        for change in host.written.flush(Time(u64::MAX)) {
            self.hand_down(change);
        }
    }

    /// A side's host dies, with its page cache.
    pub fn host_dies(&mut self, side: Side) {
        let host = &mut self.hosts[side.index()];
        host.pages.clear();
        host.is_gone = true;
        for change in host.written.lose(&mut self.random) {
            self.hand_down(change);
        }
    }

    /// The next flush of a side fails.
    pub fn fail_flush(&mut self, side: Side) {
        self.hosts[side.index()].flush_fails = true;
    }

    /// No flush fails any more.
    pub fn mend(&mut self) {
        for host in &mut self.hosts {
            host.flush_fails = false;
        }
    }

    /// The drive loses its power, and what it has not been told to keep.
    pub fn power_cut(&mut self) {
        for change in self.drive.lose(&mut self.random) {
            change.put(0, &mut self.medium);
        }
    }

    /// What is on the disk when both sides have closed it.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        let mut closed = self.clone();
        for side in Side::BOTH {
            closed.close(side);
        }
        closed.on_drive(0, closed.medium.len())
    }

    /// What is on the disk if hosts and drive lose their power now.
    #[must_use]
    pub fn content_after_power_cut(&self) -> Vec<u8> {
        let mut dead = self.clone();
        for side in Side::BOTH {
            dead.host_dies(side);
        }
        dead.power_cut();
        dead.medium
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Side = Side::A;

    fn caches(access: Access) -> Caches {
        let options = CacheOptions {
            access,
            reopens: true,
            passes_flushes: true,
            drive_forgets: false,
        };
        Caches::new(options, 4, 1)
    }

    fn at(side: Side, sent: u64) -> Asker {
        Asker {
            side,
            sent: Time(sent),
            answered: Time(sent + 10),
        }
    }

    fn write(caches: &mut Caches, asker: Asker, byte: u8) {
        let operation = DiskOperation::Write {
            sector: 0,
            data: vec![byte; 4 * SECTOR].into(),
        };
        caches.perform(asker, &operation, usize::MAX);
    }

    fn read(caches: &mut Caches, side: Side) -> Vec<u8> {
        let operation = DiskOperation::Read {
            sector: 0,
            bytes: 4 * SECTOR as u32,
        };
        let data = caches.perform(at(side, 1000), &operation, usize::MAX);
        data.unwrap_or_default().chunks(SECTOR).map(|s| s[0]).collect()
    }

    fn flush(caches: &mut Caches, asker: Asker) -> bool {
        caches.perform(asker, &DiskOperation::Flush, usize::MAX).is_some()
    }

    fn on_medium(caches: &Caches) -> Vec<u8> {
        caches.medium.chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    #[test]
    fn a_dead_host_takes_completed_writes_along_only_if_they_were_buffered() {
        for (access, lost) in [
            (Access::Buffered, true),
            (Access::Synchronous, false),
            (Access::Direct, false),
        ] {
            let loses = |seed: u64| {
                let mut caches = caches(access);
                caches.random = Random::new(seed);
                write(&mut caches, at(A, 0), 7);
                caches.on_go_live(Side::B);
                caches.host_dies(A);
                read(&mut caches, Side::B) != [7; 4]
            };
            assert_eq!((0..20).any(loses), lost, "{access:?}");
        }
    }

    #[test]
    fn a_process_that_dies_leaves_its_page_cache() {
        let mut caches = caches(Access::Buffered);
        write(&mut caches, at(A, 0), 7);
        caches.close(A);
        caches.on_go_live(Side::B);
        assert_eq!(read(&mut caches, Side::B), [7; 4]);
    }

    #[test]
    fn a_flush_is_about_what_was_completed_before_it_was_sent() {
        let mut caches = caches(Access::Direct);
        write(&mut caches, at(A, 0), 1);
        write(&mut caches, at(A, 20), 2);
        assert!(flush(&mut caches, at(A, 29)));
        assert_eq!(on_medium(&caches), [1; 4], "the second was completed at 30");
        assert!(flush(&mut caches, at(A, 30)));
        assert_eq!(on_medium(&caches), [2; 4]);
        caches.power_cut();
        assert_eq!(on_medium(&caches), [2; 4]);
    }

    #[test]
    fn a_flush_leaves_nothing_behind_that_would_hide_what_it_moved() {
        let mut caches = caches(Access::Direct);
        let late = Asker {
            answered: Time(500),
            ..at(A, 0)
        };
        write(&mut caches, late, 1);
        write(&mut caches, at(Side::B, 20), 2);
        assert!(flush(&mut caches, at(Side::B, 40)));
        assert_eq!(read(&mut caches, Side::B), [2; 4]);
        caches.power_cut();
        assert_eq!(on_medium(&caches), [2; 4]);
    }

    #[test]
    fn a_lost_cache_may_have_kept_any_sector_of_any_write() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..10_000 {
            let mut caches = caches(Access::Direct);
            caches.random = Random::new(seed);
            write(&mut caches, at(A, 0), 1);
            write(&mut caches, at(A, 20), 2);
            caches.power_cut();
            seen.insert(on_medium(&caches));
        }
        assert_eq!(seen.len(), 81, "0, 1 or 2 in each of four sectors");
    }

    #[test]
    fn a_failed_flush_is_told_once_and_costs_what_the_page_cache_held() {
        for (access, kept) in [(Access::Buffered, [0; 4]), (Access::Direct, [7; 4])] {
            let mut caches = caches(access);
            write(&mut caches, at(A, 0), 7);
            caches.fail_flush(A);
            assert!(!flush(&mut caches, at(A, 20)));
            assert!(flush(&mut caches, at(A, 40)));
            assert_eq!(on_medium(&caches), kept, "{access:?}");
            assert_eq!(read(&mut caches, A), kept, "{access:?}");
        }
    }

    #[test]
    fn pages_of_an_earlier_life_are_read_until_the_file_is_opened_again() {
        let mut caches = caches(Access::Synchronous);
        write(&mut caches, at(A, 0), 7);
        assert_ne!(caches.clone().read(Side::B, 0, 4 * SECTOR), [7; 4 * SECTOR]);
        caches.on_go_live(Side::B);
        assert_eq!(read(&mut caches, Side::B), [7; 4]);
    }
}
