//! `Cache`: tables of an image that are kept in memory, some of them changed. Second-level tables and
//! refcount blocks are tables of one cluster each, and are known by their offset in the file.
//!
//! The cache writes no table by itself: in which order tables may become durable is decided in `layer`. A
//! changed table stays in memory until it is written.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::storage::Storage;

/// Tables of one cluster each.
#[derive(Debug)]
pub struct Cache {
    tables: BTreeMap<u64, Table>,
    table_len: usize,
    /// Tables that are kept at most, but for changed ones.
    tables_max: usize,
    /// Number of changed tables.
    changed: usize,
    /// Counts uses, so that a table tells when it was used last.
    clock: AtomicU64,
}

#[derive(Debug)]
struct Table {
    bytes: Vec<u8>,
    is_changed: bool,
    used: AtomicU64,
}

impl Cache {
    /// An empty cache of so many bytes, for tables of `table_len` bytes.
    pub fn new(cache_len: usize, table_len: u64) -> Cache {
        let table_len = table_len as usize;
        Cache {
            tables: BTreeMap::new(),
            table_len,
            // Two tables must be there at once when one is made of another.
            tables_max: (cache_len / table_len).max(4),
            changed: 0,
            clock: AtomicU64::new(0),
        }
    }

    /// Is the table at this offset in memory?
    pub fn has(&self, offset: u64) -> bool {
        self.tables.contains_key(&offset)
    }

    /// The table at this offset, if it is in memory.
    pub fn get(&self, offset: u64) -> Option<&[u8]> {
        let table = self.tables.get(&offset)?;
        table
            .used
            .store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(&table.bytes)
    }

    /// Puts the table at this offset into memory, if it is not there.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn load(&mut self, storage: &dyn Storage, offset: u64) -> io::Result<()> {
        if self.has(offset) {
            return Ok(());
        }
        let mut bytes = vec![0; self.table_len];
        storage.read(offset, &mut bytes)?;
        self.make_room();
        self.put(offset, bytes, false);
        Ok(())
    }

    /// Puts a new, changed table into memory. No table is at this offset yet.
    pub fn insert(&mut self, offset: u64, bytes: Vec<u8>) {
        self.make_room();
        self.put(offset, bytes, true);
        self.changed += 1;
    }

    fn put(&mut self, offset: u64, bytes: Vec<u8>, is_changed: bool) {
        let used = AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed));
        let table = Table {
            bytes,
            is_changed,
            used,
        };
        self.tables.insert(offset, table);
    }

    /// The table at this offset, to be changed.
    pub fn change(&mut self, offset: u64) -> Option<&mut [u8]> {
        let table = self.tables.get_mut(&offset)?;
        self.changed += usize::from(!std::mem::replace(&mut table.is_changed, true));
        *table.used.get_mut() = self.clock.fetch_add(1, Ordering::Relaxed);
        Some(&mut table.bytes)
    }

    /// Are there tables to be written?
    pub fn is_changed(&self) -> bool {
        self.changed > 0
    }

    /// Are so many tables changed that they should be written before others are changed?
    pub fn is_full(&self) -> bool {
        self.changed > self.tables_max / 2
    }

    /// Writes all changed tables. A table that cannot be written stays changed.
    ///
    /// # Errors
    /// As the storage gives them.
    pub fn write(&mut self, storage: &dyn Storage) -> io::Result<()> {
        if self.changed == 0 {
            return Ok(());
        }
        for (offset, table) in self.tables.iter_mut().filter(|(_, table)| table.is_changed) {
            storage.write(*offset, &table.bytes)?;
            table.is_changed = false;
            self.changed -= 1;
        }
        Ok(())
    }

    /// Forgets the half of the unchanged tables that was used longest ago, if the cache is full.
    fn make_room(&mut self) {
        if self.tables.len() < self.tables_max {
            return;
        }
        let unchanged = self.tables.values().filter(|table| !table.is_changed);
        let mut uses: Vec<u64> = unchanged
            .map(|table| table.used.load(Ordering::Relaxed))
            .collect();
        uses.sort_unstable();
        let Some(&limit) = uses.get(uses.len() / 2) else {
            return;
        };
        self.tables
            .retain(|_, table| table.is_changed || *table.used.get_mut() > limit);
    }
}

/// The number of 64 bits that is the entry `index` of a table; 0 behind its end.
pub fn entry(table: &[u8], index: usize) -> u64 {
    let found = table.get(index * 8..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Changes the entry `index` of a table.
pub fn set_entry(table: &mut [u8], index: usize, entry: u64) {
    if let Some(place) = table.get_mut(index * 8..index * 8 + 8) {
        place.copy_from_slice(&entry.to_be_bytes());
    }
}

/// A table of so many entries.
///
/// # Errors
/// The table cannot be read.
pub fn read_table(storage: &dyn Storage, offset: u64, entries: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; entries * 8];
    storage.read(offset, &mut bytes)?;
    Ok((0..entries).map(|index| entry(&bytes, index)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> std::fs::File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 * 512).unwrap();
        file
    }

    #[test]
    fn a_full_cache_forgets_what_was_used_longest_ago_and_nothing_that_is_changed() {
        let (file, mut cache) = (file(), Cache::new(8 * 512, 512));
        for table in 0..8 {
            cache.load(&file, table * 512).unwrap();
        }
        set_entry(cache.change(0).unwrap(), 1, 7);
        cache.get(512).unwrap();
        cache.load(&file, 8 * 512).unwrap();
        assert!(cache.has(0) && cache.has(512) && cache.has(8 * 512));
        assert!(!cache.has(2 * 512));
        assert!(cache.tables.len() <= 8);
        for table in 9..64 {
            cache.load(&file, table * 512).unwrap();
        }
        assert_eq!(entry(cache.get(0).unwrap(), 1), 7);
    }

    #[test]
    fn changed_tables_are_kept_beyond_the_bound_until_they_are_written() {
        let (file, mut cache) = (file(), Cache::new(4 * 512, 512));
        for table in 0..8 {
            cache.insert(table * 512, vec![table as u8; 512]);
            assert_eq!(cache.is_full(), table >= 2);
        }
        cache.write(&file).unwrap();
        assert!(!cache.is_changed() && !cache.is_full());
        let mut byte = [0];
        Storage::read(&file, 7 * 512, &mut byte).unwrap();
        assert_eq!(byte, [7]);
        cache.load(&file, 9 * 512).unwrap();
        assert!(cache.tables.len() <= 4 + 1);
    }
}
