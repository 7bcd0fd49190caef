//! `Happenings`: what has happened to the VMs of this host and to its agent, for whoever asks what it was.
//! The last few thousand are kept in memory; each is also a line of a file, which outlives the agent.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use utoipa::ToSchema;

use crate::limits::{EVENTS_BYTES, EVENTS_KEPT, NEWS_MAX, REPORT_EVENTS_MAX};
use crate::lock;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Happened {
    /// Counts what has happened on this host since its agent began, from 1.
    pub number: u64,
    /// When that was, in nanoseconds since 1970.
    pub at_wall_ns: u64,
    /// Name of the host on which it has happened.
    pub host: String,
    /// Name of the VM; null: it is about the host.
    pub vm: Option<String>,
    /// What has happened, in a word: an event of docs/events.md, or one of the agent's own.
    pub kind: String,
    /// What has happened, as a sentence.
    pub sentence: String,
}

/// What has happened.
#[derive(Debug)]
pub struct Happenings {
    host: String,
    path: PathBuf,
    kept: Mutex<Kept>,
    /// What has just happened here or on another host, for the one who tells listeners of it.
    news: broadcast::Sender<Happened>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    all: VecDeque<Happened>,
    /// The file and its length; `None`: it cannot be written, or was not opened yet.
    file: Option<(File, u64)>,
}

impl Happenings {
    /// Nothing has happened yet on this host; the file is in `directory`.
    #[must_use]
    pub fn new(host: &str, directory: &Path) -> Happenings {
        Happenings {
            host: host.to_owned(),
            path: directory.join("events.jsonl"),
            kept: Mutex::default(),
            news: broadcast::channel(NEWS_MAX).0,
        }
    }

    /// Hears what happens from now on, on this host and on others.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Happened> {
        self.news.subscribe()
    }

    /// Something has happened on another host, as its agent says, which keeps it.
    pub fn heard(&self, happened: Happened) {
        // Nobody listens any more when the agent ends.
        let _ = self.news.send(happened);
    }

    /// Something has happened.
    pub fn happened(&self, at_wall_ns: u64, vm: Option<&str>, kind: &str, sentence: impl Into<String>) {
        let mut kept = lock(&self.kept);
        kept.last += 1;
        let happened = Happened {
            number: kept.last,
            at_wall_ns,
            host: self.host.clone(),
            vm: vm.map(str::to_owned),
            kind: kind.to_owned(),
            sentence: sentence.into(),
        };
        self.write(&mut kept, &happened);
        self.heard(happened.clone());
        if kept.all.len() >= EVENTS_KEPT {
            kept.all.pop_front();
        }
        kept.all.push_back(happened);
    }

    /// Number of what has happened last; 0: nothing.
    #[must_use]
    pub fn last(&self) -> u64 {
        lock(&self.kept).last
    }

    /// The next things that have happened after the one of this number, as many as a report has, and the
    /// number after which there is more. A number that was not given yet is of an agent before this one, and
    /// what has happened since that began is told from its beginning.
    #[must_use]
    pub fn next(&self, number: u64) -> (Vec<Happened>, u64) {
        let kept = lock(&self.kept);
        let number = if number > kept.last { 0 } else { number };
        let next = kept.all.iter().filter(|happened| happened.number > number);
        let next: Vec<Happened> = next.take(REPORT_EVENTS_MAX).cloned().collect();
        let last = next.last().map_or(number, |happened| happened.number);
        (next, last)
    }

    /// What has happened after the one of this number, to this VM or to any.
    #[must_use]
    pub fn after(&self, number: u64, vm: Option<&str>) -> Vec<Happened> {
        let kept = lock(&self.kept);
        let is_wanted =
            |happened: &&Happened| happened.number > number && (vm.is_none() || happened.vm.as_deref() == vm);
        kept.all.iter().filter(is_wanted).cloned().collect()
    }

    /// Writes a line. A file that has become long is put aside, in the place of the one before.
    fn write(&self, kept: &mut Kept, happened: &Happened) {
        let mut line = serde_json::to_vec(happened).unwrap_or_default();
        line.push(b'\n');
        let length = line.len() as u64;
        if kept
            .file
            .as_ref()
            .is_some_and(|(_, written)| written + length > EVENTS_BYTES)
        {
            kept.file = None;
            // If it cannot be put aside it goes on growing until it can be.
            let _ = fs::rename(&self.path, self.path.with_extension("jsonl.1"));
        }
        if kept.file.is_none() {
            let opened = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&self.path);
            kept.file = opened.ok().map(|file| {
                let written = file.metadata().map_or(0, |data| data.len());
                (file, written)
            });
        }
        if let Some((file, written)) = &mut kept.file {
            match file.write_all(&line) {
                Ok(()) => *written += length,
                // A disk that is full now may have room later; memory has the line.
                Err(_) => kept.file = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_happened_is_kept_up_to_the_bound_and_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let happenings = Happenings::new("a", dir.path());
        for number in 0..EVENTS_KEPT as u64 + 2 {
            let vm = if number % 2 == 0 { "shop" } else { "web" };
            happenings.happened(number, Some(vm), "protected", "it is protected");
        }
        let all = happenings.after(0, None);
        assert_eq!((all.len(), all[0].number), (EVENTS_KEPT, 3));
        let last = happenings.after(EVENTS_KEPT as u64, Some("web"));
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].number, EVENTS_KEPT as u64 + 2);
        let text = fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        assert_eq!(text.lines().count(), EVENTS_KEPT + 2);
        let first: Happened = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((first.number, first.vm.as_deref()), (1, Some("shop")));
    }

    #[test]
    fn what_has_happened_is_told_in_parts_and_anew_after_an_agent_before() {
        let dir = tempfile::tempdir().unwrap();
        let happenings = Happenings::new("a", dir.path());
        let mut news = happenings.listen();
        for _ in 0..REPORT_EVENTS_MAX + 1 {
            happenings.happened(0, None, "host-back", "b answers");
        }
        assert_eq!(news.try_recv().unwrap().number, 1);
        let (first, last) = happenings.next(0);
        assert_eq!((first.len(), last), (REPORT_EVENTS_MAX, REPORT_EVENTS_MAX as u64));
        let (second, last) = happenings.next(last);
        assert_eq!((second.len(), last), (1, happenings.last()));
        assert_eq!(happenings.next(last), (Vec::new(), last));
        assert_eq!(happenings.next(last + 1).0.len(), REPORT_EVENTS_MAX);
    }

    #[test]
    fn a_long_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let happenings = Happenings::new("a", dir.path());
        let sentence = "x".repeat(1 << 20);
        for _ in 0..=EVENTS_BYTES >> 20 {
            happenings.happened(0, None, "agent-started", sentence.clone());
        }
        let length = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
        assert!(length("events.jsonl") < 3 << 20 && length("events.jsonl.1") <= EVENTS_BYTES);
    }

    #[test]
    fn a_file_that_cannot_be_written_hinders_nobody() {
        let happenings = Happenings::new("a", Path::new("/nowhere/at/all"));
        happenings.happened(0, None, "agent-started", "the agent begins");
        assert_eq!(happenings.after(0, None).len(), 1);
    }
}
