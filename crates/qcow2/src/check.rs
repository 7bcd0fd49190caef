//! What an image is looked at for before it is used: that its tables are in its file, that no cluster has two
//! uses, and, before it is written, that its reference counts are right.
//!
//! An image that contradicts itself would lose what is in it when it is written: a cluster that is counted as
//! free is given away a second time. So all tables are read when an image is opened, within the bounds of
//! `limits`. Nothing is changed or mended here.

use crate::cache::{entry, read_table};
use crate::count;
use crate::entry::{self, COPIED, Mapping};
use crate::flaw::{Flaw, Obstacle, damaged};
use crate::header::Header;
use crate::limits::{HOST_CLUSTERS_MAX, TABLES_LEN_MAX};
use crate::storage::Storage;
use crate::usage::Usage;

/// What was read while an image was looked at.
#[derive(Debug)]
pub struct Checked {
    /// Entries of the first-level table.
    pub l1: Vec<u64>,
    /// What is needed to write; `None`: the image is only read.
    pub counts: Option<Counts>,
}

/// The reference counts of an image, as far as they are kept in memory.
#[derive(Debug)]
pub struct Counts {
    /// Entries of the refcount table.
    pub reftable: Vec<u64>,
    /// Which clusters are in use.
    pub usage: Usage,
}

/// Looks at all tables of an image; `write`: the image is to be written.
///
/// # Errors
/// The image has a flaw, or cannot be read.
pub fn check(storage: &dyn Storage, header: &Header, write: bool) -> Result<Checked, Obstacle> {
    if write && header.has_snapshots {
        return Err(Flaw::Snapshots.into());
    }
    let clusters = storage.length()?.div_ceil(header.cluster_len());
    if clusters > HOST_CLUSTERS_MAX {
        return Err(Flaw::TooLarge("more clusters").into());
    }
    let mut uses = Uses {
        clusters: vec![0; clusters as usize],
        cluster_bits: header.cluster_bits,
        tables_len: 0,
    };
    uses.own(0, header.cluster_len())?;
    uses.own(header.l1_offset, header.l1_entries as u64 * 8)?;
    let l1 = read_table(storage, header.l1_offset, header.l1_entries)?;
    let mut table = vec![0; header.cluster_len() as usize];
    for &l1_entry in &l1 {
        let offset = entry::table(l1_entry, header.cluster_bits)?;
        if offset == 0 {
            continue;
        }
        if write && l1_entry & COPIED == 0 {
            return Err(not_its_own(l1_entry).into());
        }
        uses.own_table(offset)?;
        storage.read(offset, &mut table)?;
        for index in 0..header.table_entries() as usize {
            uses.map(entry(&table, index), header.version, write)?;
        }
    }
    let counts = match write {
        true => Some(uses.compare(storage, header)?),
        false => None,
    };
    Ok(Checked { l1, counts })
}

/// What each cluster of a file is used for.
struct Uses {
    /// For each cluster: [`OWNED`], or by how many compressed clusters it is used.
    clusters: Vec<u16>,
    cluster_bits: u32,
    /// Bytes of tables that were read until now.
    tables_len: u64,
}

/// The cluster is a table, or holds one cluster of the guest's disk.
const OWNED: u16 = 1 << 15;

impl Uses {
    /// Notes the one use of the clusters in which these bytes are.
    fn own(&mut self, offset: u64, length: u64) -> Result<(), Flaw> {
        for cluster in self.clusters_of(offset, length)? {
            let found = self.clusters.get_mut(cluster as usize);
            match found {
                Some(uses @ 0) => *uses = OWNED,
                _ => return Err(self.twice(cluster)),
            }
        }
        Ok(())
    }

    /// The same for a table of one cluster that is going to be read.
    fn own_table(&mut self, offset: u64) -> Result<(), Flaw> {
        self.tables_len += 1 << self.cluster_bits;
        if self.tables_len > TABLES_LEN_MAX {
            return Err(Flaw::TooLarge("more or larger tables"));
        }
        self.own(offset, 1)
    }

    /// Notes one use, beside others of the kind, of the clusters in which these bytes are.
    fn share(&mut self, offset: u64, length: u64) -> Result<(), Flaw> {
        for cluster in self.clusters_of(offset, length)? {
            let found = self.clusters.get_mut(cluster as usize);
            match found {
                Some(uses) if *uses < OWNED - 1 => *uses += 1,
                _ => return Err(self.twice(cluster)),
            }
        }
        Ok(())
    }

    /// The clusters in which these bytes are, all of them in the file.
    fn clusters_of(&self, offset: u64, length: u64) -> Result<std::ops::RangeInclusive<u64>, Flaw> {
        let end = offset.checked_add(length.max(1) - 1);
        let last = end.map(|end| end >> self.cluster_bits);
        match last {
            Some(last) if last < self.clusters.len() as u64 => Ok(offset >> self.cluster_bits..=last),
            _ => Err(damaged(format!("{offset:#x} is behind the end of the file"))),
        }
    }

    fn twice(&self, cluster: u64) -> Flaw {
        damaged(format!(
            "the cluster at {:#x} has two uses",
            cluster << self.cluster_bits
        ))
    }

    /// Notes what an entry of a second-level table uses.
    fn map(&mut self, l2_entry: u64, version: u32, write: bool) -> Result<(), Flaw> {
        match entry::mapping(l2_entry, version, self.cluster_bits)? {
            Mapping::Unmapped | Mapping::Zero(None) => Ok(()),
            Mapping::Zero(Some(_)) | Mapping::Data(_) if write && l2_entry & COPIED == 0 => {
                Err(not_its_own(l2_entry))
            }
            Mapping::Zero(Some(offset)) | Mapping::Data(offset) => self.own(offset, 1),
            Mapping::Compressed { offset, length } => self.share(offset, length),
        }
    }

    /// Looks whether the counts in the image are those of these uses. A count that is too high, or is of a
    /// cluster without any use, is only a cluster that is lost for others.
    fn compare(mut self, storage: &dyn Storage, header: &Header) -> Result<Counts, Obstacle> {
        let reftable_len = header.reftable_clusters << header.cluster_bits;
        self.own(header.reftable_offset, reftable_len)?;
        let reftable = read_table(storage, header.reftable_offset, (reftable_len / 8) as usize)?;
        for &offset in &reftable {
            if entry::block(offset, header.cluster_bits)? != 0 {
                self.own_table(offset)?;
            }
        }
        let mut usage = Usage::default();
        let mut block = vec![0; header.cluster_len() as usize];
        for (index, &offset) in reftable.iter().enumerate() {
            let first = index as u64 * header.block_entries();
            if offset == 0 {
                self.uncounted(first, first + header.block_entries())?;
                continue;
            }
            if first >= HOST_CLUSTERS_MAX {
                return Err(Flaw::TooLarge("more clusters").into());
            }
            storage.read(offset, &mut block)?;
            for index in 0..header.block_entries() {
                let count = count::get(&block, index as usize, header.refcount_order);
                let cluster = first + index;
                self.compare_one(cluster, count)?;
                if count != 0 && cluster < HOST_CLUSTERS_MAX {
                    usage.take(cluster);
                }
            }
        }
        self.uncounted(reftable.len() as u64 * header.block_entries(), u64::MAX)?;
        Ok(Counts { reftable, usage })
    }

    fn compare_one(&self, cluster: u64, count: u64) -> Result<(), Flaw> {
        let uses = self.clusters.get(cluster as usize).copied().unwrap_or(0);
        let is_right = match uses {
            OWNED => count == 1,
            shared => count >= u64::from(shared),
        };
        if is_right {
            return Ok(());
        }
        let place = cluster << self.cluster_bits;
        let uses = if uses == OWNED { 1 } else { uses };
        Err(damaged(format!(
            "the cluster at {place:#x} has {uses} uses and is counted {count} times"
        )))
    }

    /// Looks whether clusters for which there are no counts are used, from `first` to before `end`.
    fn uncounted(&self, first: u64, end: u64) -> Result<(), Flaw> {
        let end = end.min(self.clusters.len() as u64);
        let uses = self.clusters.get(first as usize..end as usize);
        match uses.is_none_or(|uses| uses.iter().all(|uses| *uses == 0)) {
            true => Ok(()),
            false => Err(damaged("some of its clusters are not counted")),
        }
    }
}

fn not_its_own(entry: u64) -> Flaw {
    damaged(format!(
        "the entry {entry:#x} is not marked as the only one of its cluster"
    ))
}
