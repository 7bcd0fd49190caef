//! `History`: what all replicas of a VM wrote into their files of events, read back in the order of their
//! times, and what follows from it: what a failover took, how many digests were compared. For programs that
//! look at a VM from outside, such as the demo. Nothing here asks a process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::ending::HaltCode;
use crate::figures::Figures;
use crate::happening::{Happening, Line};
use crate::words::{RoleWord, SuspicionWord};

/// The events of all replicas of a VM.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of their times.
    lines: Vec<Line>,
}

/// What a failover took, and the making of the backup that followed. Times are milliseconds since the kill,
/// and 0 where the history says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Failover {
    /// The survivor suspected the other half.
    pub suspected_ms: f64,
    /// It asked the arbiter.
    pub claimed_ms: f64,
    /// It was live.
    pub live_ms: f64,
    /// Whether the other half's host told that its process had ended.
    pub death_told: bool,
    /// A process was called that was to be the backup.
    pub cloning_ms: f64,
    /// Both halves of the new pair knew that they are one.
    pub protected_ms: f64,
    /// Microseconds for which the guest stood at the cut.
    pub cut_us: f64,
    /// Bytes that were copied.
    pub bytes: u64,
}

impl History {
    /// Reads files of events. The last line of a killed process may be cut off, and does not count.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn read(files: &[PathBuf]) -> io::Result<History> {
        let mut lines: Vec<Line> = Vec::new();
        for file in files {
            let text = fs::read_to_string(file)?;
            lines.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
        }
        Ok(lines.into())
    }

    /// The figures that were written at `since_ns` of CLOCK_BOOTTIME or later, with the processes that wrote
    /// them.
    pub fn figures(&self, since_ns: u64) -> impl Iterator<Item = (u32, &Figures)> {
        let lines = self.lines.iter().filter(move |line| line.time_ns >= since_ns);
        lines.filter_map(|line| match &line.happening {
            Happening::Figures(figures) => Some((line.pid, &**figures)),
            _ => None,
        })
    }

    /// The failover from a kill at `killed_ns` of CLOCK_BOOTTIME on, by the numbers of the processes that
    /// survived and that became its backup.
    #[must_use]
    pub fn failover(&self, killed_ns: u64, survivor: u32, backup: u32) -> Failover {
        let since = |line: &Line| (line.time_ns - killed_ns) as f64 / 1e6;
        let by = |pid: u32| {
            let after = self.lines.iter().filter(move |line| line.time_ns >= killed_ns);
            after.filter(move |line| line.pid == pid)
        };
        let first = |pid, is: fn(&Happening) -> bool| by(pid).find(|line| is(&line.happening)).map(since);
        let suspected_ms = first(survivor, |it| is_role(it, RoleWord::Claiming)).unwrap_or_default();
        let claimed = first(survivor, |it| matches!(it, Happening::Claim { .. }));
        let live_ms = first(survivor, |it| is_role(it, RoleWord::Solo)).unwrap_or(suspected_ms);
        let cloning = first(survivor, |it| matches!(it, Happening::Cloning { .. }));
        let knows = first(backup, |it| is_role(it, RoleWord::Backup)).unwrap_or_default();
        let mut failover = Failover {
            suspected_ms,
            claimed_ms: claimed.unwrap_or(suspected_ms),
            live_ms,
            death_told: by(survivor).any(|line| matches!(line.happening, Happening::PeerEnded { .. })),
            cloning_ms: cloning.unwrap_or(live_ms),
            ..Failover::default()
        };
        for line in by(survivor) {
            if let Happening::Protected { cut_us, bytes, .. } = line.happening {
                failover.protected_ms = since(line).max(knows);
                (failover.cut_us, failover.bytes) = (cut_us, bytes);
                break;
            }
        }
        failover
    }

    /// How many digests all backups have compared. A backup that has taken over counts on from there, once
    /// its guest is copied, with the digests that it writes.
    #[must_use]
    pub fn digests_compared(&self) -> u64 {
        let (mut counts, mut writers) = (BTreeMap::new(), BTreeSet::new());
        for line in &self.lines {
            let was_backup = counts.contains_key(&line.pid);
            match &line.happening {
                Happening::Cloning { .. } if was_backup => {
                    writers.insert(line.pid);
                }
                // What was compared last may stand only in the first figures after the takeover.
                Happening::Figures(figures)
                    if figures.role == RoleWord::Backup
                        || figures.role == RoleWord::Solo && was_backup && !writers.contains(&line.pid) =>
                {
                    counts.insert(line.pid, figures.digests);
                }
                _ => {}
            }
        }
        counts.values().sum()
    }

    /// How many backups have diverged from their primaries.
    #[must_use]
    pub fn divergences(&self) -> usize {
        let count = |is: fn(&Happening) -> bool| {
            let lines = self.lines.iter().filter(|line| is(&line.happening));
            lines.count()
        };
        // Both sides tell of a divergence, if they live to tell.
        let halts = count(|it| matches!(it, Happening::Halt(end) if end.code == HaltCode::Diverged));
        let reports = count(|it| match it {
            Happening::Suspected { why, .. } => *why == SuspicionWord::Diverged,
            _ => false,
        });
        halts.max(reports)
    }
}

impl From<Vec<Line>> for History {
    fn from(mut lines: Vec<Line>) -> History {
        lines.sort_by_key(|line| line.time_ns);
        History { lines }
    }
}

fn is_role(happening: &Happening, wanted: RoleWord) -> bool {
    matches!(happening, Happening::Role { role, .. } if *role == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::PhaseWord;

    /// A line that the process wrote so many milliseconds after the kill.
    fn line(ms: u64, pid: u32, happening: Happening) -> Line {
        Line {
            time_ns: 7_000_000_000 + ms * 1_000_000,
            wall_ns: 0,
            vm: "demo".into(),
            pid,
            happening,
        }
    }

    fn role(role: RoleWord) -> Happening {
        Happening::Role {
            role,
            epoch: 2,
            suspicion: None,
            detection_ms: 0.0,
            go_live_ms: 0.0,
        }
    }

    fn cloning() -> Happening {
        Happening::Cloning {
            peer: "127.0.0.1:1".into(),
            phase: PhaseWord::Connecting,
        }
    }

    fn figures(role: RoleWord, digests: u64) -> Happening {
        Happening::Figures(Box::new(Figures {
            role,
            digests,
            ..Figures::default()
        }))
    }

    #[test]
    fn a_failover_is_read_from_its_own_processes_and_from_its_own_time_on() {
        let protected = Happening::Protected {
            peer: "127.0.0.1:1".into(),
            epoch: 2,
            took_ms: 670.0,
            cut_us: 900.0,
            pages: 5,
            bytes: 20_480,
            stood_ms: 0.0,
            rounds: 1,
            touched_pages: 1,
            owed_pages: 1,
        };
        let ended = Happening::PeerEnded {
            peer: "127.0.0.1:2".into(),
            after_ms: 3.0,
        };
        // The files come one after the other.
        let history = History::from(vec![
            line(702, 3, role(RoleWord::Backup)),
            line(900, 3, role(RoleWord::Claiming)),
            line(20, 2, role(RoleWord::Claiming)),
            line(23, 2, ended),
            line(24, 2, Happening::Claim { epoch: 2 }),
            line(25, 2, role(RoleWord::Solo)),
            line(30, 2, cloning()),
            line(700, 2, protected),
        ]);
        let failover = history.failover(7_000_000_000, 2, 3);
        let expected = Failover {
            suspected_ms: 20.0,
            claimed_ms: 24.0,
            live_ms: 25.0,
            death_told: true,
            cloning_ms: 30.0,
            protected_ms: 702.0,
            cut_us: 900.0,
            bytes: 20_480,
        };
        assert_eq!(failover, expected);
        let next = history.failover(7_800_000_000, 3, 4);
        assert_eq!((next.suspected_ms, next.protected_ms), (100.0, 0.0));
    }

    #[test]
    fn digests_that_a_survivor_writes_are_not_compared() {
        let history = History::from(vec![
            line(0, 1, figures(RoleWord::Primary, 9)),
            line(0, 2, figures(RoleWord::Backup, 7)),
            line(1, 2, figures(RoleWord::Solo, 8)),
            line(2, 2, cloning()),
            line(3, 2, figures(RoleWord::Solo, 10)),
            line(4, 2, figures(RoleWord::Primary, 12)),
            line(4, 3, cloning()),
            line(5, 3, figures(RoleWord::Backup, 2)),
        ]);
        assert_eq!(history.digests_compared(), 10);
    }
}
