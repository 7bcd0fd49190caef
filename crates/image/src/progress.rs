//! What a build tells its caller while it runs.
//!
//! The stages are in the order in which a build passes them. `cache`, `apt`, `appliance` and `debian` report
//! them by the function that the caller has given; `cli` shows them to people. A report must never change
//! what is built, and the function must return quickly, as the build waits for it.

use std::fmt;

/// Called often enough for a progress bar; the function must return quickly.
pub(super) type Report<'a> = &'a mut dyn FnMut(Progress);

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The stage that is under way.
    pub stage: Stage,
    /// Number of units of the stage that are done.
    pub done: u64,
    /// Number of units of the whole stage; 0 while that is not known.
    pub total: u64,
    /// What `done` and `total` count.
    pub unit: Unit,
}

impl Progress {
    /// The beginning of a stage of which nothing is known yet.
    pub(super) fn begin(stage: Stage) -> Self {
        Self {
            stage,
            done: 0,
            total: 0,
            unit: Unit::Packages,
        }
    }
}

/// What a build is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Another process builds an image in the same cache.
    Waiting,
    /// apt reads the mirror's lists.
    Lists,
    /// apt fetches packages.
    Download,
    /// Packages are taken apart.
    Unpack,
    /// Debian is installed, under emulation.
    Install,
    /// The initramfs is put together.
    Initramfs,
    /// The filesystem is written.
    Disk,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting for another build",
            Self::Lists => "reading the package lists",
            Self::Download => "downloading packages",
            Self::Unpack => "unpacking packages",
            Self::Install => "installing Debian",
            Self::Initramfs => "writing the initramfs",
            Self::Disk => "writing the disk",
        })
    }
}

/// What the numbers of a [`Progress`] count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Packages of Debian.
    Packages,
    /// Bytes of a file or a download.
    Bytes,
}
