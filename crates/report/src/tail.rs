//! The end of a replica's file of events, read while the replica writes it: for the line that is shown during
//! the load.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crate::{Figures, Happening, Line};

/// A file of events, as far as it was read.
#[derive(Debug, Default)]
pub struct Tail {
    path: PathBuf,
    /// `None`: there was no such file yet.
    file: Option<File>,
    /// A line that is not complete yet.
    rest: Vec<u8>,
    /// The newest figures, and when they were written.
    newest: Option<(u64, Figures)>,
}

impl Tail {
    /// The file at `path`, of which nothing was read.
    pub fn new(path: PathBuf) -> Tail {
        Tail {
            path,
            ..Tail::default()
        }
    }

    /// The newest figures, with the time at which they were written; `None`: none yet.
    pub fn figures(&mut self) -> Option<&(u64, Figures)> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let mut bytes = Vec::new();
        // What cannot be read now may be read at the next look.
        let _ = self.file.as_mut().map(|file| file.read_to_end(&mut bytes));
        self.take(&bytes);
        self.newest.as_ref()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return;
        };
        for line in self.rest[..end].split(|&byte| byte == b'\n') {
            if let Ok(Line {
                time_ns,
                happening: Happening::Figures(figures),
                ..
            }) = serde_json::from_slice(line)
            {
                self.newest = Some((time_ns, *figures));
            }
        }
        self.rest.drain(..=end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_when_it_is_whole() {
        let line = |time_ns| {
            let figures = Figures {
                step: time_ns,
                ..Figures::default()
            };
            let line = Line {
                time_ns,
                wall_ns: 0,
                vm: "demo".into(),
                pid: 1,
                happening: Happening::Figures(Box::new(figures)),
            };
            serde_json::to_string(&line).unwrap() + "\n"
        };
        let mut tail = Tail::default();
        let text = line(1) + &line(2);
        let (first, second) = text.as_bytes().split_at(text.len() - 9);
        tail.take(first);
        assert_eq!(tail.newest.as_ref().unwrap().0, 1);
        tail.take(second);
        assert_eq!(tail.newest.as_ref().unwrap().1.step, 2);
    }
}
