//! What takes and gives up clusters of an image: writes to new places, zeroes, discards, and flushes.
//!
//! A new cluster gets its whole content before anything refers to it. A flush makes durable, one after the
//! other: data and reference counts; where new refcount blocks are; second-level tables; the first-level
//! table. Only then are clusters free for others that have lost their use. So whatever a loss of power leaves
//! in the file, its tables lead to whole clusters that are counted; at worst some are counted that nothing
//! uses.

use std::io;

use crate::cache::set_entry;
use crate::clusters::Clusters;
use crate::entry::{COPIED, Mapping, ZERO};
use crate::layer::{Below, Layer, State};
use crate::limits::{ALLOCATE_LEN_MAX, FREED_MAX};
use crate::storage::Storage;

/// What becomes of clusters whose content is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// They read as zeroes; clusters of the file that hold them are given up.
    Zero,
    /// They read as zeroes; clusters of the file that hold them are kept for later writes.
    ZeroKept,
    /// They may read as zeroes, or keep their content where the format has no way to say so.
    Forgotten,
}

impl Layer {
    /// Writes `data` at `offset`, all of it within the disk.
    ///
    /// # Errors
    /// As the storage gives them; then some of the data may be written.
    pub fn write(&self, mut offset: u64, mut data: &[u8], below: Below<'_>) -> io::Result<()> {
        while !data.is_empty() {
            let done = match self.overwrite(offset, data)? {
                0 => self.write_new(offset, data, below)?,
                done => done,
            };
            data = data.get(done..).unwrap_or_default();
            offset += done as u64;
        }
        Ok(())
    }

    /// Writes the beginning of `data` to new clusters; how many bytes of it. If another thread has made them
    /// meanwhile, writes there.
    fn write_new(&self, offset: u64, data: &[u8], below: Below<'_>) -> io::Result<usize> {
        let mut state = self.alone();
        self.make_room(&mut state)?;
        let table = self.ensure_table(&mut state, offset)?;
        let cluster_len = self.header.cluster_len();
        let within = self.within(offset);
        if let Mapping::Data(host) = self.mapping(&state, offset)? {
            let part = data.get(..(cluster_len - within) as usize).unwrap_or(data);
            self.storage.write(host + within, part)?;
            return Ok(part.len());
        }
        let start = offset - within;
        let wanted = self.wanted(&state, offset, data.len() as u64)?;
        // A cluster of zeroes may have kept its place in the file.
        let kept = match self.mapping(&state, offset)? {
            Mapping::Zero(Some(host)) => Some(host),
            _ => None,
        };
        let (host, taken) = match kept {
            Some(host) => (host, 1),
            None => writable(&mut state)?.take(&self.storage, wanted)?,
        };
        let length = (data.len() as u64).min(taken * cluster_len - within) as usize;
        let part = data.get(..length).unwrap_or(data);
        let done = self.fill(&state, (start, taken * cluster_len), (host, offset), part, below);
        if let Err(error) = done {
            if kept.is_none() {
                writable(&mut state)?.untake(host, taken);
            }
            return Err(error);
        }
        for cluster in 0..taken {
            let old = self.mapping(&state, start + cluster * cluster_len)?;
            if kept.is_none() {
                self.give_up(&mut state, old);
            }
            let new = (host + cluster * cluster_len) | COPIED;
            self.map(&mut state, table, start + cluster * cluster_len, new);
        }
        Ok(length)
    }

    /// Changes the entry of the cluster of the disk at `start` in the second-level table that is at `table`.
    fn map(&self, state: &mut State, table: u64, start: u64, entry: u64) {
        let index = self.entry_index(start);
        if let Some(bytes) = state.tables.change(table) {
            set_entry(bytes, index, entry);
        }
    }

    /// How many clusters, from that of `offset` on, are to be taken in one piece for `length` bytes: those of
    /// one second-level table that have no place in the file.
    fn wanted(&self, state: &State, offset: u64, length: u64) -> io::Result<u64> {
        let cluster_len = self.header.cluster_len();
        let start = offset - self.within(offset);
        let clusters = (self.within(offset) + length).div_ceil(cluster_len);
        let in_table = self.header.table_entries() - self.entry_index(offset) as u64;
        let most = clusters.min(in_table).min(ALLOCATE_LEN_MAX / cluster_len);
        let mut wanted = 1;
        while wanted < most {
            match self.mapping(state, start + wanted * cluster_len)? {
                Mapping::Data(_) | Mapping::Zero(Some(_)) => break,
                Mapping::Unmapped | Mapping::Zero(None) | Mapping::Compressed { .. } => wanted += 1,
            }
        }
        Ok(wanted)
    }

    /// Writes whole clusters of the file: the `length` bytes of the disk from `start` on, which are to be at
    /// `host`. They are `part` at `offset`, and around it what was there before.
    fn fill(
        &self,
        state: &State,
        (start, length): (u64, u64),
        (host, offset): (u64, u64),
        part: &[u8],
        below: Below<'_>,
    ) -> io::Result<()> {
        let cluster_len = self.header.cluster_len();
        let (head, end) = (offset - start, offset - start + part.len() as u64);
        if head == 0 && end == length {
            return self.storage.write(host, part);
        }
        let mut bytes = vec![0; length as usize];
        let mut before = |cluster: u64| {
            let at = cluster * cluster_len;
            let place = bytes.get_mut(at as usize..(at + cluster_len) as usize);
            place.map_or(Ok(()), |place| self.content(state, start + at, place, below))
        };
        if head != 0 {
            before(0)?;
        }
        // The last cluster, if it is not the first one, which is there already.
        let last = (length - 1) / cluster_len;
        if end != length && (last != 0 || head == 0) {
            before(last)?;
        }
        if let Some(place) = bytes.get_mut(head as usize..end as usize) {
            place.copy_from_slice(part);
        }
        self.storage.write(host, &bytes)
    }

    /// The content of the cluster of the disk at `start`, which has no place of its own in the file. What is
    /// behind the end of the disk is zero.
    fn content(&self, state: &State, start: u64, place: &mut [u8], below: Below<'_>) -> io::Result<()> {
        match self.mapping(state, start)? {
            mapping @ Mapping::Compressed { .. } => place.copy_from_slice(&self.decompress(mapping)?),
            Mapping::Unmapped => {
                let within = (self.header.size - start).min(place.len() as u64) as usize;
                below(start, place.get_mut(..within).unwrap_or_default())?;
            }
            Mapping::Zero(_) | Mapping::Data(_) => {}
        }
        Ok(())
    }

    /// The second-level table for `offset`, in memory; makes one if there is none. Its place in the file.
    fn ensure_table(&self, state: &mut State, offset: u64) -> io::Result<u64> {
        let found = self.load_table(state, offset)?;
        if found != 0 {
            return Ok(found);
        }
        let (table, _) = writable(state)?.take(&self.storage, 1)?;
        let bytes = vec![0; self.header.cluster_len() as usize];
        // Written at once, so that a file system without space says so before anything needs the table.
        if let Err(error) = self.storage.write(table, &bytes) {
            writable(state)?.untake(table, 1);
            return Err(error);
        }
        state.tables.insert(table, bytes);
        let index = self.table_index(offset);
        if let Some(entry) = state.l1.get_mut(index) {
            *entry = table | COPIED;
        }
        state.new_tables.insert(index);
        Ok(table)
    }

    /// Empties the whole clusters from `start` to `end`, both at beginnings of clusters.
    ///
    /// # Errors
    /// As the storage gives them; then some of the clusters may be empty.
    pub fn empty(&self, mut start: u64, end: u64, how: Emptied, has_below: bool) -> io::Result<()> {
        let covers = self.header.table_covers();
        while start < end {
            let stop = end.min(start - start % covers + covers);
            let mut state = self.alone();
            self.make_room(&mut state)?;
            let mut table = self.load_table(&mut state, start)?;
            if table == 0 && has_below && how != Emptied::Forgotten {
                table = self.ensure_table(&mut state, start)?;
            }
            // Without a table and with nothing below, all this reads as zeroes already.
            if table != 0 {
                while start < stop {
                    self.empty_one(&mut state, table, start, (how, has_below))?;
                    start += self.header.cluster_len();
                }
            }
            start = stop;
        }
        Ok(())
    }

    fn empty_one(
        &self,
        state: &mut State,
        table: u64,
        start: u64,
        (how, has_below): (Emptied, bool),
    ) -> io::Result<()> {
        let old = self.mapping(state, start)?;
        let keeps = how == Emptied::ZeroKept;
        let new = match old {
            Mapping::Zero(None) => return Ok(()),
            Mapping::Zero(Some(_)) if keeps => return Ok(()),
            Mapping::Unmapped if !has_below || how == Emptied::Forgotten => return Ok(()),
            Mapping::Data(host) if keeps => host | COPIED | ZERO,
            _ if has_below => ZERO,
            _ => 0,
        };
        if !keeps || !matches!(old, Mapping::Data(_)) {
            self.give_up(state, old);
        }
        self.map(state, table, start, new);
        Ok(())
    }

    /// Notes that clusters of the file have lost a use that durable tables still have.
    fn give_up(&self, state: &mut State, old: Mapping) {
        let bits = self.header.cluster_bits;
        match old {
            Mapping::Unmapped | Mapping::Zero(None) => {}
            Mapping::Data(host) | Mapping::Zero(Some(host)) => state.given_up.push(host >> bits),
            Mapping::Compressed { offset, length } => {
                state
                    .given_up
                    .extend(offset >> bits..=(offset + length - 1) >> bits);
            }
        }
    }

    /// Writes what is changed if it is so much that there should not be more.
    fn make_room(&self, state: &mut State) -> io::Result<()> {
        let is_full = state.tables.is_full()
            || state.given_up.len() >= FREED_MAX
            || state.clusters.as_ref().is_some_and(Clusters::is_full);
        if is_full { self.settle(state) } else { Ok(()) }
    }

    /// Makes durable all that was written.
    ///
    /// # Errors
    /// As the storage gives them. If something may be lost, nothing can be written from then on.
    pub fn flush(&self) -> io::Result<()> {
        // Most of the data are made durable while others read and write.
        self.storage.sync()?;
        let mut state = self.alone();
        let is_changed = state.tables.is_changed()
            || !state.new_tables.is_empty()
            || !state.given_up.is_empty()
            || state.clusters.as_ref().is_some_and(Clusters::is_changed);
        if is_changed {
            self.settle(&mut state)
        } else {
            Ok(())
        }
    }

    /// Makes the tables durable, in the order that the beginning of this file gives.
    fn settle(&self, state: &mut State) -> io::Result<()> {
        let storage: &dyn Storage = &self.storage;
        let clusters = writable(state)?;
        clusters.write_counts(storage)?;
        storage.sync()?;
        if clusters.write_reftable(storage)? {
            storage.sync()?;
        }
        if state.tables.is_changed() {
            state.tables.write(storage)?;
            storage.sync()?;
        }
        if !state.new_tables.is_empty() {
            while let Some(&index) = state.new_tables.first() {
                let entry = state.l1.get(index).copied().unwrap_or(0);
                let at = self.header.l1_offset + index as u64 * 8;
                storage.write(at, &entry.to_be_bytes())?;
                state.new_tables.pop_first();
            }
            storage.sync()?;
        }
        self.release(state)
    }

    /// Gives up for good what nothing in the file refers to any more, and has the file system take its space.
    fn release(&self, state: &mut State) -> io::Result<()> {
        let storage: &dyn Storage = &self.storage;
        let given_up = std::mem::take(&mut state.given_up);
        let clusters = writable(state)?;
        for cluster in given_up {
            match clusters.release(storage, cluster) {
                Ok(true) => {
                    let offset = cluster << self.header.cluster_bits;
                    if let Err(error) = storage.forget(offset, self.header.cluster_len()) {
                        tracing::debug!("the space of a cluster is not given back: {error}");
                    }
                }
                Ok(false) => {}
                Err(error) => tracing::warn!("a cluster is lost for others: {error}"),
            }
        }
        // The next flush makes these counts durable; until then clusters may be counted that nothing uses.
        clusters.write_counts(storage)
    }
}

/// The clusters of an image that is written.
fn writable(state: &mut State) -> io::Result<&mut Clusters> {
    let clusters = state.clusters.as_mut();
    clusters.ok_or_else(|| io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the image is only read"))
}
