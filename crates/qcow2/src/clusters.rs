//! `Clusters`: takes clusters of an image file for new data and tables, and gives them back. The reference
//! counts in the file follow what is taken here, in the order that `layer` has them written.
//!
//! What may never happen is that something durable refers to a cluster whose count is not durable: after a
//! loss of power the cluster would be given away twice. So counts are written first. A cluster that was given
//! up is free for others only after nothing durable refers to it, which `layer` sees to.

use std::io;

use crate::cache::{Cache, set_entry};
use crate::check::Counts;
use crate::count;
use crate::flaw::damaged;
use crate::header::{Header, REFTABLE_AT};
use crate::limits::{BLOCKS_CACHE_LEN, HOST_CLUSTERS_MAX, REFTABLE_LEN_MAX};
use crate::storage::Storage;
use crate::usage::Usage;

/// The clusters of an image that is written.
#[derive(Debug)]
pub struct Clusters {
    usage: Usage,
    /// Offsets of the refcount blocks in the file; 0: there is no such block.
    reftable: Vec<u64>,
    /// Where the refcount table is in the file, in bytes.
    reftable_offset: u64,
    /// Places in the refcount table that are to be written, because their blocks are new.
    new_blocks: Vec<usize>,
    blocks: Cache,
    cluster_bits: u32,
    order: u32,
    block_entries: u64,
}

impl Clusters {
    /// The clusters of an image that was looked at.
    pub fn new(header: &Header, counts: Counts) -> Clusters {
        Clusters {
            usage: counts.usage,
            reftable: counts.reftable,
            reftable_offset: header.reftable_offset,
            new_blocks: Vec::new(),
            blocks: Cache::new(BLOCKS_CACHE_LEN, header.cluster_len()),
            cluster_bits: header.cluster_bits,
            order: header.refcount_order,
            block_entries: header.block_entries(),
        }
    }

    /// Takes up to `want` free clusters in one piece, at least one: their offset in bytes, and how many.
    ///
    /// # Errors
    /// The file cannot become larger, or a refcount block cannot be read or made.
    pub fn take(&mut self, storage: &dyn Storage, want: u64) -> io::Result<(u64, u64)> {
        // A new block takes the first of its own clusters, so the next attempt finds another one or succeeds.
        for _ in 0..3 {
            let (first, found) = self.usage.find(want).ok_or(io::ErrorKind::StorageFull)?;
            let block = (first / self.block_entries) as usize;
            if self.reftable.get(block).is_none_or(|offset| *offset == 0) {
                self.add_block(storage, block)?;
                continue;
            }
            let length = found.min(self.block_entries - first % self.block_entries);
            self.load_block(storage, block)?;
            for cluster in first..first + length {
                self.set_count(cluster, 1);
                self.usage.take(cluster);
            }
            return Ok((first << self.cluster_bits, length));
        }
        Err(damaged("its refcount table leads to blocks in each other's place").into())
    }

    /// Gives clusters back that were just taken, and to which nothing refers.
    pub fn untake(&mut self, offset: u64, clusters: u64) {
        let first = offset >> self.cluster_bits;
        for cluster in first..first + clusters {
            self.set_count(cluster, 0);
            self.usage.free(cluster);
        }
    }

    /// Notes that one use of a cluster has ended, and durably so; whether the cluster is free now.
    ///
    /// # Errors
    /// The cluster's count cannot be read; then the cluster is lost for others.
    pub fn release(&mut self, storage: &dyn Storage, cluster: u64) -> io::Result<bool> {
        let block = (cluster / self.block_entries) as usize;
        self.load_block(storage, block)?;
        let offset = self.reftable.get(block).copied().unwrap_or(0);
        let index = (cluster % self.block_entries) as usize;
        let count = self
            .blocks
            .get(offset)
            .map_or(0, |bytes| count::get(bytes, index, self.order));
        let Some(count) = count.checked_sub(1) else {
            return Err(damaged("a cluster in use is counted as free").into());
        };
        self.set_count(cluster, count);
        if count == 0 {
            self.usage.free(cluster);
        }
        Ok(count == 0)
    }

    /// Is there anything that is not in the file yet?
    pub fn is_changed(&self) -> bool {
        self.blocks.is_changed() || !self.new_blocks.is_empty()
    }

    /// Should what is changed be written before more is?
    pub fn is_full(&self) -> bool {
        self.blocks.is_full()
    }

    /// Writes the changed counts. They must be durable before [`Clusters::write_reftable`].
    ///
    /// # Errors
    /// As the storage gives them.
    pub fn write_counts(&mut self, storage: &dyn Storage) -> io::Result<()> {
        self.blocks.write(storage)
    }

    /// Writes where the new refcount blocks are; whether there were any. That must be durable before anything
    /// that refers to clusters which are counted there.
    ///
    /// # Errors
    /// As the storage gives them.
    pub fn write_reftable(&mut self, storage: &dyn Storage) -> io::Result<bool> {
        let any = !self.new_blocks.is_empty();
        while let Some(&block) = self.new_blocks.last() {
            let offset = self.reftable.get(block).copied().unwrap_or(0);
            storage.write(self.reftable_offset + block as u64 * 8, &offset.to_be_bytes())?;
            self.new_blocks.pop();
        }
        Ok(any)
    }

    fn load_block(&mut self, storage: &dyn Storage, block: usize) -> io::Result<()> {
        match self.reftable.get(block) {
            Some(&offset) if offset != 0 => self.blocks.load(storage, offset),
            _ => Err(damaged("a cluster in use is not counted").into()),
        }
    }

    /// Changes the count of a cluster whose block is in memory.
    fn set_count(&mut self, cluster: u64, count: u64) {
        let offset = self.reftable.get((cluster / self.block_entries) as usize);
        let block = offset.and_then(|offset| self.blocks.change(*offset));
        if let Some(block) = block {
            count::set(block, (cluster % self.block_entries) as usize, self.order, count);
        }
    }

    /// Makes a refcount block in the first of the clusters that are counted in it. None of them is in use, as
    /// there were no counts for them.
    fn add_block(&mut self, storage: &dyn Storage, block: usize) -> io::Result<()> {
        if block >= self.reftable.len() {
            return self.grow(storage);
        }
        let cluster = block as u64 * self.block_entries;
        if self.usage.has(cluster) {
            return Err(damaged("a cluster in use is not counted").into());
        }
        let offset = cluster << self.cluster_bits;
        let mut bytes = vec![0; 1 << self.cluster_bits];
        count::set(&mut bytes, 0, self.order, 1);
        // Written at once, so that a file system without space says so before anything needs the block.
        storage.write(offset, &bytes)?;
        self.blocks.insert(offset, bytes);
        self.usage.take(cluster);
        self.new_blocks.push(block);
        if let Some(entry) = self.reftable.get_mut(block) {
            *entry = offset;
        }
        Ok(())
    }

    /// Makes a longer refcount table, and the blocks that count its clusters and their own. All of them lie
    /// behind the clusters that the old table counts, and the header names the new table once that is
    /// durable.
    fn grow(&mut self, storage: &dyn Storage) -> io::Result<()> {
        let old_len = self.reftable.len();
        let per_cluster = (1_u64 << self.cluster_bits) / 8;
        let old_clusters = old_len as u64 / per_cluster;
        let table = old_clusters + old_clusters.div_ceil(2) + 1;
        let first = old_len as u64 * self.block_entries;
        // So many blocks that they count themselves and the table.
        let mut blocks = 1;
        while blocks * self.block_entries < blocks + table {
            blocks += 1;
        }
        if table << self.cluster_bits > REFTABLE_LEN_MAX || first + blocks + table > HOST_CLUSTERS_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut reftable = self.reftable.clone();
        reftable.resize((table * per_cluster) as usize, 0);
        let blocks_at = |index: u64| (first + index) << self.cluster_bits;
        for index in 0..blocks {
            let mut bytes = vec![0; 1 << self.cluster_bits];
            let counted = (blocks + table).saturating_sub(index * self.block_entries);
            for cluster in 0..counted.min(self.block_entries) {
                count::set(&mut bytes, cluster as usize, self.order, 1);
            }
            storage.write(blocks_at(index), &bytes)?;
            if let Some(entry) = reftable.get_mut(old_len + index as usize) {
                *entry = blocks_at(index);
            }
        }
        let table_at = blocks_at(blocks);
        let mut bytes = vec![0; reftable.len() * 8];
        for (index, entry) in reftable.iter().enumerate() {
            set_entry(&mut bytes, index, *entry);
        }
        self.write_counts(storage)?;
        storage.sync()?;
        storage.write(table_at, &bytes)?;
        storage.sync()?;
        let mut pointer = table_at.to_be_bytes().to_vec();
        pointer.extend((table as u32).to_be_bytes());
        storage.write(REFTABLE_AT, &pointer)?;
        storage.sync()?;
        (first..first + blocks + table).for_each(|cluster| self.usage.take(cluster));
        self.reftable = reftable;
        // The new table has the places of all new blocks already.
        self.new_blocks.clear();
        let old_at = std::mem::replace(&mut self.reftable_offset, table_at) >> self.cluster_bits;
        for cluster in old_at..old_at + old_clusters {
            if let Err(error) = self.release(storage, cluster) {
                tracing::warn!("a cluster of the old refcount table is lost: {error}");
            }
        }
        Ok(())
    }
}
