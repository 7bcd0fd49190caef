//! `Tail`: the last bytes that the guest has written to its console, kept in memory for whoever watches it.
//! The guest's thread leaves them here, and the server's thread takes copies; neither holds the lock for
//! longer than a copy of some kilobytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::TAIL_LEN_MAX;

/// The last bytes.
#[derive(Debug, Default)]
pub struct Tail(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    /// How many bytes were written in all.
    end: u64,
    /// The number of the first byte since the process went live last.
    begins: u64,
    /// Does somebody watch, who is to be called when there is more?
    is_watched: bool,
}

impl Kept {
    /// The number of the first byte that is kept.
    fn first(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }
}

impl Tail {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what the guest has written, and forgets the oldest bytes for which there is no room any more.
    /// True: somebody watches.
    pub fn push(&self, bytes: &[u8]) -> bool {
        let mut kept = self.kept();
        let new = bytes.get(bytes.len().saturating_sub(TAIL_LEN_MAX)..);
        kept.bytes.extend(new.unwrap_or_default());
        kept.end += bytes.len() as u64;
        let excess = kept.bytes.len().saturating_sub(TAIL_LEN_MAX);
        kept.bytes.drain(..excess);
        kept.is_watched
    }

    /// Forgets what was written so far.
    pub fn forget(&self) {
        let mut kept = self.kept();
        kept.bytes.clear();
        kept.begins = kept.end;
    }

    /// Somebody watches from here on, or nobody does any more.
    pub fn watched(&self, is_watched: bool) {
        self.kept().is_watched = is_watched;
    }

    /// The number of the byte from which on somebody is shown the last `count` bytes: where a line begins, if
    /// not all of them are kept or wanted.
    pub fn last(&self, count: u64) -> u64 {
        let kept = self.kept();
        let from = kept.end.saturating_sub(count).max(kept.first());
        let skipped = usize::try_from(from - kept.first()).unwrap_or(usize::MAX);
        if from == kept.begins {
            return from;
        }
        let mut bytes = kept.bytes.iter().skip(skipped);
        let line = bytes.position(|&byte| byte == b'\n');
        line.map_or(from, |length| from + length as u64 + 1)
    }

    /// Up to `room` bytes from the one of number `from` on. Gives how many before the first of them are lost,
    /// and the bytes.
    pub fn copy(&self, from: u64, room: usize) -> (u64, Vec<u8>) {
        let kept = self.kept();
        let lost = kept.first().saturating_sub(from);
        let from = from.max(kept.first());
        let skipped = usize::try_from(from - kept.first()).unwrap_or(usize::MAX);
        let (first, second) = kept.bytes.as_slices();
        let (first, skipped) = match first.get(skipped..) {
            Some(first) => (first, 0),
            None => (&[][..], skipped - first.len()),
        };
        let mut bytes = [first, second.get(skipped..).unwrap_or_default()].concat();
        bytes.truncate(room);
        (lost, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_kept_and_what_is_lost_is_known() {
        let tail = Tail::default();
        assert!(!tail.push(b"one\ntwo\nthree"));
        assert_eq!(tail.last(1_000), 0);
        assert_eq!(tail.last(8), 8, "from the beginning of a line on");
        assert_eq!(tail.last(3), 10, "or within one that has no beginning there");
        assert_eq!(tail.copy(8, 3), (0, b"thr".to_vec()));
        assert_eq!(tail.copy(13, 3), (0, Vec::new()));
        tail.watched(true);
        assert!(tail.push(&vec![b'x'; 3 * TAIL_LEN_MAX]));
        let (lost, bytes) = tail.copy(8, usize::MAX);
        assert_eq!(lost, 5 + 2 * TAIL_LEN_MAX as u64);
        assert_eq!(bytes.len(), TAIL_LEN_MAX);
        assert_eq!(tail.last(u64::MAX), 13 + 2 * TAIL_LEN_MAX as u64);
    }

    #[test]
    fn a_process_that_goes_live_again_shows_all_since_then() {
        let tail = Tail::default();
        tail.push(b"of an earlier epoch\n");
        tail.forget();
        tail.push(b"half a line\nlogin: ");
        assert_eq!(tail.last(1_000), 20);
        assert_eq!(tail.copy(20, 1_000), (0, b"half a line\nlogin: ".to_vec()));
        assert_eq!(tail.copy(0, 4), (20, b"half".to_vec()));
    }
}
