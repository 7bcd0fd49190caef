//! Where a write can be before it is safe: in the page cache of a host, then in the drive's cache, then on
//! the medium.
//!
//! Caches can be lost, the medium cannot. `Storage` says when a request takes effect, this file says on what.
//! A flush moves down what was completed before the flush was sent, and must never move anything else: that
//! is all that a disk promises. What a cache held when it was lost may have gone down by itself before, any
//! part of it, sector by sector. So a guest may rely on a write only if it has had the disk flushed since.

use std::collections::BTreeMap;

use machine::DiskOperation;
use replica::Time;

use toy::random::Random;

use crate::{
    layer::{Change, Layer},
    names::HostId,
    operation::{SECTOR, extent},
};

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
    /// How the hosts open the files.
    pub access: Access,
    /// Does a process that goes live open the files again, and so forget the pages that its host read
    /// earlier?
    pub reopens: bool,
    /// Does a flush reach the drive? If not, the host says all the same that the flush is done.
    pub passes_flushes: bool,
    /// Does a flush that fails also cost the drive what it held? A host that then only repeats the flush
    /// loses what its guest saw completed.
    pub drive_forgets: bool,
}

/// The page cache of one host, as far as it is about the disk.
#[derive(Clone, Debug, Default)]
struct PageCache {
    /// Writes that the drive has not got.
    written: Layer,
    /// What is read without asking the drive, by sector. It is right as long as nobody else writes.
    pages: BTreeMap<usize, Vec<u8>>,
    /// Does the next flush of this host fail?
    flush_fails: bool,
    /// How many processes of the host have the file open. If none has, the host is dead or the file closed,
    /// and what is still on its way to the drive passes the page cache by.
    open: usize,
}

/// Who sent a request, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The host that did the request.
    pub host: HostId,
    /// When the request was sent.
    pub sent: Time,
    /// When it will be answered.
    pub answered: Time,
}

/// The medium and the caches over it.
#[derive(Clone, Debug)]
pub struct Caches {
    options: CacheOptions,
    /// What is safe: all bytes of the disk.
    medium: Vec<u8>,
    /// The drive's own cache.
    drive: Layer,
    /// The page caches, by host.
    hosts: Vec<PageCache>,
    /// Decides what a lost cache has kept; a stream of its own, so that caches change nothing else of a
    /// world.
    random: Random,
}

impl Caches {
    /// A disk of zeroes with so many sectors, which so many hosts reach. Every host but the first has read
    /// some of the sectors in an earlier life.
    #[must_use]
    pub fn new(options: CacheOptions, sectors: u64, hosts: usize, seed: u64) -> Caches {
        let sectors = usize::try_from(sectors).unwrap_or(0);
        let mut random = Random::new(seed ^ 0xcac4e);
        let mut host = |index: usize| {
            let read = (0..sectors).filter(|_| index > 0 && random.permille(500));
            PageCache {
                pages: read.map(|sector| (sector, vec![0; SECTOR])).collect(),
                ..PageCache::default()
            }
        };
        let hosts = (0..hosts).map(&mut host).collect();
        Caches {
            options,
            medium: vec![0; sectors * SECTOR],
            drive: Layer::default(),
            hosts,
            random,
        }
    }

    /// Carries out an operation, or its first `whole` bytes. The answer is what the operation reads; `None`:
    /// it fails.
    pub fn perform(&mut self, asker: Asker, operation: &DiskOperation, whole: usize) -> Option<Vec<u8>> {
        let (sector, bytes) = extent(operation);
        let at = (sector as usize * SECTOR).min(self.medium.len());
        let bytes = bytes.min(whole).min(self.medium.len() - at);
        let data = match operation {
            DiskOperation::Read { .. } => return Some(self.read(asker.host, at, bytes)),
            DiskOperation::Flush => return self.flush(asker).then(Vec::new),
            DiskOperation::Write { data, .. } => data[..bytes].to_vec(),
            DiskOperation::Discard { .. } | DiskOperation::WriteZeroes { .. } => vec![0; bytes],
        };
        let change = Change {
            at,
            data,
            completed: asker.answered,
        };
        self.change(
            asker.host,
            change,
            matches!(operation, DiskOperation::Write { .. }),
        );
        Some(Vec::new())
    }

    fn access(&self, host: HostId) -> Access {
        if self.hosts[host.0].open == 0 {
            Access::Direct
        } else {
            self.options.access
        }
    }

    fn read(&mut self, host: HostId, at: usize, bytes: usize) -> Vec<u8> {
        let mut data = self.on_drive(at, bytes);
        if self.access(host) != Access::Direct {
            let pages = &mut self.hosts[host.0].pages;
            for (sector, below) in (at / SECTOR..).zip(data.chunks_mut(SECTOR)) {
                let page = pages.entry(sector).or_insert_with(|| below.to_vec());
                below.copy_from_slice(page);
            }
        }
        data
    }

    /// Takes in a change by a host. A synchronous file makes only plain data durable; `writes` says if this
    /// is such.
    fn change(&mut self, host: HostId, change: Change, writes: bool) {
        let access = self.access(host);
        let host = &mut self.hosts[host.0];
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
        let host = &mut self.hosts[asker.host.0];
        if std::mem::take(&mut host.flush_fails) {
            // As kernels do: the error is told once, what could not be written is forgotten, and the next
            // flush finds nothing to do.
            for change in host.written.forget() {
                for (sector, _) in change.sectors() {
                    host.pages.remove(&sector);
                }
            }
            if self.options.drive_forgets {
                self.drive.forget();
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

    /// The drive has this change from now on.
    fn hand_down(&mut self, change: Change) {
        if let Some(oldest) = self.drive.write(change) {
            oldest.put(0, &mut self.medium);
        }
    }

    fn flush_drive(&mut self, until: Time) {
        for change in self.drive.flush(until) {
            change.put(0, &mut self.medium);
        }
    }

    /// What the drive gives to a host that reads.
    fn on_drive(&self, at: usize, bytes: usize) -> Vec<u8> {
        let mut area = self.medium[at..at + bytes].to_vec();
        self.drive.put(at, &mut area);
        area
    }

    /// A process of this host opens the file.
    pub fn open(&mut self, host: HostId) {
        self.hosts[host.0].open += 1;
    }

    /// A process of this host goes live, and may open the file again.
    pub fn on_go_live(&mut self, host: HostId) {
        if self.options.reopens {
            self.write_back(host);
        }
    }

    /// A process of this host ends: the page cache survives, and is written back as the file is closed.
    pub fn close(&mut self, host: HostId) {
        self.write_back(host);
        let cache = &mut self.hosts[host.0];
        cache.open = cache.open.saturating_sub(1);
    }

    fn write_back(&mut self, host: HostId) {
        let host = &mut self.hosts[host.0];
        host.pages.clear();
        for change in host.written.flush(Time(u64::MAX)) {
            self.hand_down(change);
        }
    }

    /// A host dies, with its page cache.
    pub fn host_dies(&mut self, host: HostId) {
        let host = &mut self.hosts[host.0];
        host.pages.clear();
        host.open = 0;
        for change in host.written.lose(&mut self.random) {
            self.hand_down(change);
        }
    }

    /// The next flush of a host fails.
    pub fn fail_flush(&mut self, host: HostId) {
        self.hosts[host.0].flush_fails = true;
    }

    /// No flush fails any more.
    pub fn mend(&mut self) {
        for host in &mut self.hosts {
            host.flush_fails = false;
        }
    }

    /// The drive loses its power, and with it what was not flushed.
    pub fn power_cut(&mut self) {
        for change in self.drive.lose(&mut self.random) {
            change.put(0, &mut self.medium);
        }
    }

    /// What is on the disk when all processes have closed it.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        let mut closed = self.clone();
        for host in (0..self.hosts.len()).map(HostId) {
            closed.write_back(host);
        }
        closed.on_drive(0, closed.medium.len())
    }

    /// What is on the disk if hosts and drive lose their power now.
    #[must_use]
    pub fn content_after_power_cut(&self) -> Vec<u8> {
        let mut dead = self.clone();
        for host in (0..self.hosts.len()).map(HostId) {
            dead.host_dies(host);
        }
        dead.power_cut();
        dead.medium
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HostId = HostId(0);
    const B: HostId = HostId(1);

    fn caches(access: Access) -> Caches {
        let options = CacheOptions {
            access,
            reopens: true,
            passes_flushes: true,
            drive_forgets: false,
        };
        let mut caches = Caches::new(options, 4, 2, 1);
        caches.open(A);
        caches.open(B);
        caches
    }

    fn at(host: HostId, sent: u64) -> Asker {
        Asker {
            host,
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

    fn read(caches: &mut Caches, host: HostId) -> Vec<u8> {
        let operation = DiskOperation::Read {
            sector: 0,
            bytes: 4 * SECTOR as u32,
        };
        let data = caches.perform(at(host, 1000), &operation, usize::MAX);
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
                caches.on_go_live(B);
                caches.host_dies(A);
                read(&mut caches, B) != [7; 4]
            };
            assert_eq!((0..20).any(loses), lost, "{access:?}");
        }
    }

    #[test]
    fn a_process_that_dies_leaves_its_page_cache() {
        let mut caches = caches(Access::Buffered);
        write(&mut caches, at(A, 0), 7);
        caches.close(A);
        caches.on_go_live(B);
        assert_eq!(read(&mut caches, B), [7; 4]);
    }

    #[test]
    fn the_page_cache_serves_a_host_until_its_last_process_has_closed_the_file() {
        let mut caches = caches(Access::Buffered);
        caches.open(A);
        caches.close(A);
        write(&mut caches, at(A, 0), 7);
        assert_ne!(read(&mut caches, B), [7; 4], "the write is in a page cache");
        caches.close(A);
        write(&mut caches, at(A, 20), 8);
        caches.on_go_live(B);
        assert_eq!(
            read(&mut caches, B),
            [8; 4],
            "the write has passed the page cache by"
        );
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
        write(&mut caches, at(B, 20), 2);
        assert!(flush(&mut caches, at(B, 40)));
        assert_eq!(read(&mut caches, B), [2; 4]);
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
        assert_ne!(caches.clone().read(B, 0, 4 * SECTOR), [7; 4 * SECTOR]);
        caches.on_go_live(B);
        assert_eq!(read(&mut caches, B), [7; 4]);
    }
}
