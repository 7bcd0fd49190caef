//! `Layer`: one qcow2 image: finds where the clusters of a disk are, and reads and overwrites them. `growth`
//! adds to it what takes and gives up clusters.
//!
//! Threads that only read, or overwrite what is in the image already, work side by side; the lock of `State`
//! keeps the clusters where they are meanwhile. Whoever moves a cluster has the lock alone.
//!
//! What is not in this image is read from `Below`: the backing file, or zeroes. Nothing here opens a file,
//! and nothing below is ever written.

use std::collections::BTreeSet;
use std::io;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use flate2::{Decompress, FlushDecompress};

use crate::cache::{Cache, entry};
use crate::check::Checked;
use crate::clusters::Clusters;
use crate::entry::{self, Mapping};
use crate::flaw::damaged;
use crate::header::Header;
use crate::limits::TABLES_CACHE_LEN;
use crate::storage::{Guarded, Storage};

/// What lies below an image: fills the bytes from an offset of the guest's disk.
pub type Below<'a> = &'a dyn Fn(u64, &mut [u8]) -> io::Result<()>;

/// One image.
#[derive(Debug)]
pub struct Layer {
    pub(crate) storage: Guarded,
    pub(crate) header: Header,
    state: RwLock<State>,
}

/// The tables of an image, as they will be in the file after the next flush.
#[derive(Debug)]
pub(crate) struct State {
    /// Entries of the first-level table.
    pub l1: Vec<u64>,
    /// Places in the first-level table that are to be written, because their tables are new.
    pub new_tables: BTreeSet<usize>,
    pub tables: Cache,
    /// What is needed to write; `None`: the image is only read.
    pub clusters: Option<Clusters>,
    /// Clusters of the file that have lost a use since the tables were written; the tables in the file still
    /// refer to them.
    pub given_up: Vec<u64>,
}

impl Layer {
    /// An image that was looked at.
    pub fn new(storage: Box<dyn Storage>, header: Header, checked: Checked) -> Layer {
        let state = State {
            l1: checked.l1,
            new_tables: BTreeSet::new(),
            tables: Cache::new(TABLES_CACHE_LEN, header.cluster_len()),
            clusters: checked.counts.map(|counts| Clusters::new(&header, counts)),
            given_up: Vec::new(),
        };
        Layer {
            storage: Guarded::new(storage),
            header,
            state: RwLock::new(state),
        }
    }

    /// Fills `data` from `offset`, all of it within the disk.
    ///
    /// # Errors
    /// As the storage gives them, or a compressed cluster is damaged.
    pub fn read(&self, mut offset: u64, mut data: &mut [u8], below: Below<'_>) -> io::Result<()> {
        while !data.is_empty() {
            let state = self.shared(offset)?;
            let (mapping, length) = self.run(&state, offset, data.len() as u64)?;
            let (part, rest) = data.split_at_mut(length as usize);
            match mapping {
                Mapping::Unmapped => {
                    // What is below never changes.
                    drop(state);
                    below(offset, part)?;
                }
                Mapping::Zero(_) => part.fill(0),
                Mapping::Data(host) => self.storage.read(host, part)?,
                Mapping::Compressed { .. } => {
                    let cluster = self.decompress(mapping)?;
                    let from = self.within(offset) as usize;
                    let found = cluster.get(from..from + part.len()).unwrap_or_default();
                    part.copy_from_slice(found);
                }
            }
            data = rest;
            offset += length;
        }
        Ok(())
    }

    /// Overwrites what is in clusters of this image already; how many bytes of `data`, from its beginning on,
    /// were written so.
    ///
    /// # Errors
    /// As the storage gives them.
    pub(crate) fn overwrite(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let state = self.shared(offset)?;
        let (mapping, length) = self.run(&state, offset, data.len() as u64)?;
        let Mapping::Data(host) = mapping else {
            return Ok(0);
        };
        let part = data.get(..length as usize).unwrap_or(data);
        self.storage.write(host, part)?;
        Ok(part.len())
    }

    /// The state for several threads, with the second-level table for `offset` in memory, if there is one.
    pub(crate) fn shared(&self, offset: u64) -> io::Result<RwLockReadGuard<'_, State>> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let table = self.table_at(&state, offset)?;
        if table == 0 || state.tables.has(table) {
            return Ok(state);
        }
        drop(state);
        let mut state = self.alone();
        self.load_table(&mut state, offset)?;
        Ok(RwLockWriteGuard::downgrade(state))
    }

    /// The state for one thread, when no other reads or writes.
    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, State> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the second-level table for `offset` into memory; its place in the file, or 0: there is none.
    pub(crate) fn load_table(&self, state: &mut State, offset: u64) -> io::Result<u64> {
        let table = self.table_at(state, offset)?;
        if table != 0 {
            state.tables.load(&self.storage, table)?;
        }
        Ok(table)
    }

    /// Where the second-level table for `offset` is in the file; 0: there is none.
    fn table_at(&self, state: &State, offset: u64) -> io::Result<u64> {
        let found = state.l1.get(self.table_index(offset)).copied();
        let found = found.ok_or_else(|| damaged("its L1 table is too small for its disk"))?;
        Ok(entry::table(found, self.header.cluster_bits)?)
    }

    /// Place in the first-level table of the second-level table for `offset`.
    pub(crate) fn table_index(&self, offset: u64) -> usize {
        (offset / self.header.table_covers()) as usize
    }

    /// Place in its second-level table of the cluster of the disk in which `offset` is.
    pub(crate) fn entry_index(&self, offset: u64) -> usize {
        ((offset >> self.header.cluster_bits) % self.header.table_entries()) as usize
    }

    /// How far `offset` is behind the beginning of its cluster.
    pub(crate) fn within(&self, offset: u64) -> u64 {
        offset % self.header.cluster_len()
    }

    /// Where the cluster of the disk is in which `offset` is. Its second-level table is in memory.
    pub(crate) fn mapping(&self, state: &State, offset: u64) -> io::Result<Mapping> {
        let table = self.table_at(state, offset)?;
        if table == 0 {
            return Ok(Mapping::Unmapped);
        }
        let bytes = state.tables.get(table);
        let bytes = bytes.ok_or_else(|| io::Error::other("a table of the image is not in memory"))?;
        let found = entry(bytes, self.entry_index(offset));
        Ok(entry::mapping(
            found,
            self.header.version,
            self.header.cluster_bits,
        )?)
    }

    /// Where the bytes from `offset` on are, and how many of at most `length` are so in one piece.
    fn run(&self, state: &State, offset: u64, length: u64) -> io::Result<(Mapping, u64)> {
        let cluster_len = self.header.cluster_len();
        let within = self.within(offset);
        let first = self.mapping(state, offset)?;
        let mut found = cluster_len - within;
        let covers = self.header.table_covers();
        let table_end = covers - offset % covers;
        let end = length.min(table_end);
        while found < end {
            let next = self.mapping(state, offset + found)?;
            let goes_on = match (first, next) {
                (Mapping::Unmapped, Mapping::Unmapped) | (Mapping::Zero(_), Mapping::Zero(_)) => true,
                (Mapping::Data(host), Mapping::Data(next)) => next == host + within + found,
                _ => false,
            };
            if !goes_on {
                break;
            }
            found += cluster_len;
        }
        let first = match first {
            Mapping::Data(host) => Mapping::Data(host + within),
            other => other,
        };
        Ok((first, found.min(end)))
    }

    /// The content of a compressed cluster.
    pub(crate) fn decompress(&self, mapping: Mapping) -> io::Result<Vec<u8>> {
        let Mapping::Compressed { offset, length } = mapping else {
            return Err(io::Error::other("the cluster is not compressed"));
        };
        let mut compressed = vec![0; length as usize];
        self.storage.read(offset, &mut compressed)?;
        let mut cluster = vec![0; self.header.cluster_len() as usize];
        let mut stream = Decompress::new(false);
        // What is behind the end of the compressed bytes may be the beginning of another cluster.
        let done = stream.decompress(&compressed, &mut cluster, FlushDecompress::Finish);
        if done.is_err() || stream.total_out() != cluster.len() as u64 {
            return Err(damaged(format!("the compressed cluster at {offset:#x} cannot be read")).into());
        }
        Ok(cluster)
    }
}
