//! `Lines`: the last lines of events, kept in memory for whoever asks later. The guest's thread leaves them
//! here, and the server's thread takes copies; neither holds the lock for longer than a copy of a few lines.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{LINES_LEN_MAX, LINES_MAX};

/// The last lines; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// The lines, each with its line feed.
    lines: VecDeque<Box<[u8]>>,
    /// Bytes of all of them.
    len: usize,
    /// The number of the first line that is kept.
    first: u64,
}

impl Lines {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a line, and forgets the oldest ones for which there is no room any more.
    pub fn push(&self, line: &[u8]) {
        let mut kept = self.kept();
        kept.lines.push_back(line.into());
        kept.len += line.len();
        while kept.lines.len() > LINES_MAX || kept.len > LINES_LEN_MAX {
            let Some(oldest) = kept.lines.pop_front() else {
                return;
            };
            kept.len -= oldest.len();
            kept.first += 1;
        }
    }

    /// The number of the line that comes next.
    pub fn next(&self) -> u64 {
        let kept = self.kept();
        kept.first + kept.lines.len() as u64
    }

    /// The number of the first line that is kept, or of `from` if that comes later.
    pub fn first(&self, from: u64) -> u64 {
        let kept = self.kept();
        from.clamp(kept.first, kept.first + kept.lines.len() as u64)
    }

    /// Appends lines from the one of number `from` on to `out`, until there are about `room` bytes of them.
    /// Gives how many lines before the first of them are lost, and the number of the line that follows.
    pub fn copy(&self, from: u64, room: usize, out: &mut Vec<u8>) -> (u64, u64) {
        let kept = self.kept();
        let lost = kept.first.saturating_sub(from);
        let mut next = from.max(kept.first);
        let begin = out.len();
        let skipped = usize::try_from(next - kept.first).unwrap_or(usize::MAX);
        for line in kept.lines.iter().skip(skipped) {
            if out.len() - begin >= room {
                break;
            }
            out.extend_from_slice(line);
            next += 1;
        }
        (lost, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_what_is_lost_is_known() {
        let lines = Lines::default();
        for number in 0..LINES_MAX + 3 {
            lines.push(format!("{number}\n").as_bytes());
        }
        let mut out = Vec::new();
        let next = LINES_MAX as u64 + 3;
        assert_eq!(lines.copy(0, usize::MAX, &mut out), (3, next));
        assert!(out.starts_with(b"3\n4\n"));
        out.clear();
        assert_eq!(lines.copy(4, 3, &mut out), (0, 6), "as much as there is room for");
        assert_eq!(out, b"4\n5\n");
        assert_eq!(
            (lines.first(0), lines.first(u64::MAX), lines.next()),
            (3, next, next)
        );
    }

    #[test]
    fn long_lines_do_not_fill_the_memory() {
        let lines = Lines::default();
        for _ in 0..LINES_MAX {
            lines.push(&[b'x'; 64 << 10]);
        }
        assert!(lines.kept().len <= LINES_LEN_MAX);
    }
}
