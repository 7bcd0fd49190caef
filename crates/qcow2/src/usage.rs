//! `Usage`: which clusters of an image file are in use, one bit for each.
//!
//! It is made when an image is opened, of all its reference counts, and is what clusters are taken from after
//! that. A cluster that it says is free is referred to by nothing that is durable.

use crate::limits::HOST_CLUSTERS_MAX;

/// The clusters of a file; those behind the last bit are free.
#[derive(Debug, Default)]
pub struct Usage {
    words: Vec<u64>,
    /// No cluster before this one is free.
    first: u64,
}

impl Usage {
    /// Is the cluster in use?
    pub fn has(&self, cluster: u64) -> bool {
        let word = self.words.get((cluster / 64) as usize);
        word.is_some_and(|word| word >> (cluster % 64) & 1 != 0)
    }

    /// Notes that a cluster below [`HOST_CLUSTERS_MAX`] is in use.
    pub fn take(&mut self, cluster: u64) {
        let index = (cluster / 64) as usize;
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        if let Some(word) = self.words.get_mut(index) {
            *word |= 1 << (cluster % 64);
        }
        if cluster == self.first {
            self.first += 1;
        }
    }

    /// Notes that a cluster is free.
    pub fn free(&mut self, cluster: u64) {
        if let Some(word) = self.words.get_mut((cluster / 64) as usize) {
            *word &= !(1 << (cluster % 64));
            self.first = self.first.min(cluster);
        }
    }

    /// The first free cluster, and how many from there on are free, at most `want`. `None`: the file would
    /// become too large.
    pub fn find(&mut self, want: u64) -> Option<(u64, u64)> {
        while self.has(self.first) {
            let word = self.words.get((self.first / 64) as usize);
            // A whole word of clusters in use is passed over at once.
            let full = word == Some(&u64::MAX) && self.first.is_multiple_of(64);
            self.first += if full { 64 } else { 1 };
        }
        let start = self.first;
        let room = HOST_CLUSTERS_MAX.saturating_sub(start).min(want);
        let length = (0..room).take_while(|more| !self.has(start + more)).count() as u64;
        (length > 0).then_some((start, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_clusters_are_found_in_one_piece() {
        let mut usage = Usage::default();
        assert_eq!(usage.find(3), Some((0, 3)));
        (0..130).for_each(|cluster| usage.take(cluster));
        assert_eq!(usage.find(5), Some((130, 5)));
        usage.free(70);
        usage.free(72);
        assert_eq!(usage.find(5), Some((70, 1)));
        usage.take(70);
        assert_eq!(usage.find(1), Some((72, 1)));
        assert!(usage.has(129) && !usage.has(72) && !usage.has(1 << 40));
    }

    #[test]
    fn no_cluster_is_found_where_the_file_would_become_too_large() {
        let mut usage = Usage {
            words: Vec::new(),
            first: HOST_CLUSTERS_MAX - 2,
        };
        assert_eq!(usage.find(5), Some((HOST_CLUSTERS_MAX - 2, 2)));
        usage.first = HOST_CLUSTERS_MAX;
        assert_eq!(usage.find(5), None);
    }
}
