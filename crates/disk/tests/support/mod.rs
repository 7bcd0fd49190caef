//! A pool of disks that a test drives by hand.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::path::Path;

use disk::{Completion, Disk, DiskPool, Holder};
use machine::{DiskOperation, DiskRequest, DiskStatus};
use os::wake::Waker;
use replica::VmName;
use replica::{DiskAnswer, Epoch};

pub const O_DSYNC: u32 = 0o10_000;
pub const O_DIRECT: u32 = 0o40_000;

/// The flags with which a process has a file open, one value for each time, from `/proc/PROCESS/fdinfo`.
pub fn open_flags(process: &str, path: &Path) -> Vec<u32> {
    let path = path.canonicalize().unwrap();
    let process = Path::new("/proc").join(process);
    let numbers = fs::read_dir(process.join("fd"))
        .unwrap()
        .map(|entry| entry.unwrap());
    let ours = numbers.filter(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == path));
    let flags = |entry: fs::DirEntry| {
        let info = fs::read_to_string(process.join("fdinfo").join(entry.file_name())).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        u32::from_str_radix(line.trim(), 8).unwrap()
    };
    ours.map(flags).collect()
}

pub fn holder(vm: &str, epoch: u64, owner: u128) -> Holder {
    Holder {
        vm: VmName::new(vm).unwrap(),
        epoch: Epoch(epoch),
        owner,
    }
}

pub fn make_disk(dir: &Path, name: &str, bytes: usize) -> std::path::PathBuf {
    let path = dir.join(name);
    fs::write(&path, vec![0xaa; bytes]).unwrap();
    path
}

pub struct Pool {
    pub pool: DiskPool,
    waker: Waker,
    next: u64,
}

impl Pool {
    pub fn new(disks: Vec<Disk>) -> Pool {
        let waker = Waker::new().unwrap();
        Pool {
            pool: DiskPool::new(disks, &waker).unwrap(),
            waker,
            next: 0,
        }
    }

    pub fn completion(&self) -> Completion {
        loop {
            if let Some(completion) = self.pool.completion() {
                return completion;
            }
            let mut fds = [rustix::event::PollFd::new(
                &self.waker,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut fds, None).unwrap();
            self.waker.clear();
        }
    }

    /// Waits for a completion, a tenth of a second at most.
    pub fn wait_a_little(&self) {
        let tenth = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let mut fds = [rustix::event::PollFd::new(
            &self.waker,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut fds, Some(&tenth)).unwrap();
        self.waker.clear();
    }

    pub fn submit(&mut self, operation: DiskOperation) -> u64 {
        self.submit_to(0, operation)
    }

    /// Begins a request and gives its number.
    pub fn submit_to(&mut self, disk: u8, operation: DiskOperation) -> u64 {
        let id = self.next;
        self.next += 1;
        self.pool.submit(DiskRequest { disk, id, operation });
        id
    }

    /// The next answer; nothing else may come before it.
    pub fn answer(&self) -> (u64, DiskStatus) {
        match self.completion() {
            Completion::Done(DiskAnswer { id, status, .. }) => (id, status),
            other => panic!("{other:?}"),
        }
    }

    pub fn run(&mut self, operation: DiskOperation) -> (DiskStatus, Vec<u8>) {
        self.submit(operation);
        match self.completion() {
            Completion::Done(DiskAnswer { id, status, data, .. }) => {
                assert_eq!(id, self.next - 1);
                (status, data)
            }
            other => panic!("{other:?}"),
        }
    }
}
