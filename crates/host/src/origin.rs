//! `Origin`: the snapshot from which a VM goes on, with `lockstep run --from`. Its head and images are read
//! before the VM is set up, and its machine, by a builder of `build`, once the process is in the sandbox.
//!
//! Nothing of the file is believed: what does not fit is a sentence.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use disk::Disk;
use machine::{Boot, Config};
use os::sys::clock;
use replica::Span;
use replica::log::header::Mismatch;
use replica::log::snapshot::{SnapshotError, SnapshotHead};

use crate::header::FEATURES;

/// Bytes of a snapshot that are read at once.
const READ_LEN: usize = 1 << 20;

/// The snapshot from which a VM goes on.
#[derive(Debug)]
pub struct Origin {
    /// Its file.
    pub path: PathBuf,
    /// What it says of itself.
    pub head: SnapshotHead,
    /// The images that it holds.
    pub boot: Boot,
}

/// Why no VM goes on from a file.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The file cannot be opened.
    #[error("cannot read the snapshot {path}")]
    Open {
        /// Path of the file.
        path: PathBuf,
        /// What the operating system said of the file.
        source: std::io::Error,
    },
    /// The file is no snapshot, or a damaged one.
    #[error("cannot use the snapshot {path}")]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with the file.
        source: SnapshotError,
    },
    /// This program, or this host's processor, computes another machine.
    #[error("cannot go on from the snapshot {path} here; use the release that made it, on such a host")]
    Machine {
        /// Path of the file.
        path: PathBuf,
        /// What differs.
        source: Mismatch,
    },
    /// A disk is another one than the guest's.
    #[error("disk {number} does not fit the snapshot {path}: {why}")]
    Disk {
        /// Path of the file.
        path: PathBuf,
        /// Number of the disk, from 0.
        number: usize,
        /// What differs.
        why: String,
    },
}

impl Origin {
    /// Reads the file up to where its machine begins, and gives the rest of the file for a builder.
    ///
    /// # Errors
    /// It cannot be read, is no snapshot, or is one of a machine that this program does not compute.
    pub fn open(path: &Path) -> Result<(Origin, BufReader<File>), OriginError> {
        let file = File::open(path).map_err(|source| OriginError::Open {
            path: path.into(),
            source,
        })?;
        let mut file = BufReader::with_capacity(READ_LEN, file);
        let of_file = |source| OriginError::File {
            path: path.into(),
            source,
        };
        let head = SnapshotHead::read(&mut file).map_err(of_file)?;
        let computed = head.header.computed_here(FEATURES);
        computed.map_err(|source| OriginError::Machine {
            path: path.into(),
            source,
        })?;
        let boot = head.read_images(&mut file).map_err(of_file)?;
        let path = path.into();
        Ok((Origin { path, head, boot }, file))
    }

    /// The configuration of the machine, whose disks these are.
    ///
    /// # Errors
    /// A disk cannot be the guest's.
    pub fn config(&self, disks: &[Disk]) -> Result<Config, OriginError> {
        for (number, (disk, theirs)) in disks.iter().zip(&self.head.header.disks).enumerate() {
            let ours = disk.config();
            let bytes = |sectors: u64| report::amount::bytes(sectors.saturating_mul(512));
            let why = if ours.read_only != theirs.read_only {
                let how = |read_only| {
                    if read_only {
                        "can only be read"
                    } else {
                        "can be written"
                    }
                };
                format!(
                    "the guest's {}, and this one {}",
                    how(theirs.read_only),
                    how(ours.read_only)
                )
            } else if ours.sectors < theirs.sectors {
                let [ours, theirs] = [ours.sectors, theirs.sectors].map(bytes);
                format!("the guest's has {theirs}, and this one {ours}")
            } else if let Err(error) = disk.check(theirs) {
                error.to_string()
            } else {
                continue;
            };
            let path = self.path.clone();
            return Err(OriginError::Disk { path, number, why });
        }
        let config = self.head.header.config(self.boot.clone());
        config.map_err(|source| OriginError::Machine {
            path: self.path.clone(),
            source,
        })
    }

    /// For how long the guest was not run. A host whose clock is behind that of the snapshot's host knows
    /// nothing of that.
    #[must_use]
    pub fn asleep(&self) -> Span {
        Span(clock::wall_ns().saturating_sub(self.head.wall_ns))
    }
}
