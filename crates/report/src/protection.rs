//! `Protection`: how a VM's protection stands, in one word, with a sentence for everything that is not as it
//! should be. `lockstep status` shows it; programs read it as JSON (docs/control.md).
//!
//! The reporter has a [`Guarding`], which hears of every happening and nothing else: so whatever changes the
//! state has been told as an event too, and the words are the same for all who ask. Nothing here decides what
//! a replica does.

use std::collections::BTreeMap;

use machine::PAGE;
use replica::Metrics;
use serde::{Deserialize, Serialize};

use super::happening::Happening;
use super::words::{PhaseWord, RoleWord, VerdictWord};

/// A backup that is further behind than this, in milliseconds, is said to be behind.
const BEHIND_MS: f64 = 250.0;
/// A primary that may run at less than this share of its speed, in thousandths, is said to be throttled.
const THROTTLED_PERMILLE: u32 = 800;

/// How a VM's protection stands, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateWord {
    /// A backup follows the guest, and can take it over.
    Protected,
    /// A process is on its way to be the backup, or a pair is being made.
    Starting,
    /// The VM has lost its backup or has none though one was wanted, and nothing is under way.
    NeedsBackup,
    /// Nobody has asked for a backup.
    Unprotected,
    /// The guest is off, or this process runs it no more.
    Off,
    /// The guest stands until the arbiter has decided.
    Standing,
    /// Nothing is known of the process at present.
    Unknown,
}

impl StateWord {
    /// The word as it stands in the format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StateWord::Protected => "protected",
            StateWord::Starting => "starting",
            StateWord::NeedsBackup => "needs-backup",
            StateWord::Unprotected => "unprotected",
            StateWord::Off => "off",
            StateWord::Standing => "standing",
            StateWord::Unknown => "unknown",
        }
    }
}

/// What the guest does, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestWord {
    /// It runs.
    Running,
    /// There is none yet: the process waits for the other side.
    Waiting,
    /// It stands until the arbiter has decided.
    Standing,
    /// Its kernel has panicked.
    Panicked,
    /// It is off, or runs here no more.
    Off,
    /// Nothing is known of it at present.
    Unknown,
}

impl GuestWord {
    /// The word as it stands in the format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GuestWord::Running => "running",
            GuestWord::Waiting => "waiting",
            GuestWord::Standing => "standing",
            GuestWord::Panicked => "panicked",
            GuestWord::Off => "off",
            GuestWord::Unknown => "unknown",
        }
    }
}

/// Something that is not as it should be, though the VM goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlagWord {
    /// The backup is more than a quarter of a second behind.
    Behind,
    /// The primary may run at less than four fifths of its speed, so that the backup can follow.
    Throttled,
    /// A disk is ill.
    DiskTrouble,
    /// The guest's kernel has panicked.
    Panicked,
    /// The arbiter does not answer.
    ArbiterAway,
}

/// Why something is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The reason in a word, for programs.
    pub code: String,
    /// The reason in a sentence, for people.
    pub sentence: String,
}

impl Reason {
    /// A reason with this code.
    #[must_use]
    pub fn new(code: &str, sentence: impl Into<String>) -> Reason {
        Reason {
            code: code.to_owned(),
            sentence: sentence.into(),
        }
    }
}

/// How a VM's protection stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// The state in a word.
    pub state: StateWord,
    /// How far a process is on its way to be the backup; null where none is.
    pub phase: Option<PhaseWord>,
    /// What is not as it should be, though the VM goes on.
    pub flags: Vec<FlagWord>,
    /// Why the state is not `protected`, and why each flag is there.
    pub reasons: Vec<Reason>,
    /// When the state became what it is, in nanoseconds since 1970; 0 if that is not known.
    pub since_wall_ns: u64,
}

impl Protection {
    /// The state of a process of which only this reason is known.
    #[must_use]
    pub fn only(state: StateWord, reason: Reason) -> Protection {
        Protection {
            state,
            phase: None,
            flags: Vec::new(),
            reasons: vec![reason],
            since_wall_ns: 0,
        }
    }
}

/// How the protection of a VM has gone until now, by what has happened in this process.
#[derive(Debug, Default)]
pub struct Guarding {
    /// The role that this process has.
    role: RoleWord,
    /// The peer's address, and why it is suspected; `None`: it is not, or there is none.
    suspected: Option<(String, String)>,
    /// Why the VM has no backup any more; `None`: it has one, or never had.
    lost: Option<Reason>,
    /// The backup that was dismissed last; `None`: none was since the last backup.
    dismissed: Option<String>,
    /// The process on its way to be the backup, and how far it is; `None`: there is none.
    coming: Option<(String, PhaseWord)>,
    /// The last process that has not become the backup, and why; `None`: there was none since the last
    /// backup.
    failed: Option<(String, String)>,
    /// The sentence of an arbiter that does not answer.
    waiting: Option<String>,
    /// What is wrong with each ill disk, by its number.
    troubles: BTreeMap<u8, String>,
    /// What the guest's kernel has said of its panic.
    panic: Option<String>,
    /// How this process has ended, as a sentence.
    ended: Option<String>,
    /// When the state became what it is, in nanoseconds since 1970.
    since_wall_ns: u64,
}

impl Guarding {
    /// Hears of a happening, at this time in nanoseconds since 1970.
    pub fn hear(&mut self, happening: &Happening, wall_ns: u64) {
        let before = self.state();
        self.take(happening);
        if self.since_wall_ns == 0 || before != self.state() {
            self.since_wall_ns = wall_ns;
        }
    }

    fn take(&mut self, happening: &Happening) {
        match happening {
            Happening::Role { role, .. } => {
                self.role = *role;
                if *role != RoleWord::Claiming {
                    self.waiting = None;
                }
                if matches!(role, RoleWord::Primary | RoleWord::Backup) {
                    (self.lost, self.failed, self.suspected) = (None, None, None);
                }
            }
            Happening::Suspected { peer, .. } => {
                let sentence = happening.sentence().unwrap_or_default();
                self.suspected = Some((peer.clone(), sentence));
            }
            Happening::Alone { .. } => {
                let sentence = happening.sentence().unwrap_or_default();
                self.lost = Some(Reason::new("backup-lost", sentence));
            }
            Happening::GoLive {
                was: RoleWord::Backup,
                ..
            } => {
                let peer = self.suspected.as_ref().map_or("the primary", |(peer, _)| peer);
                let sentence =
                    format!("this side has taken the VM over from {peer}, and nobody follows it yet");
                self.lost = Some(Reason::new("took-over", sentence));
            }
            Happening::Cloning { peer, phase } => self.coming = Some((peer.clone(), *phase)),
            Happening::Dismissed { peer } => {
                (self.lost, self.failed) = (None, None);
                self.dismissed = Some(peer.clone());
            }
            Happening::CloneFailed { peer, why } => {
                self.coming = None;
                self.failed = Some((peer.clone(), why.clone()));
            }
            Happening::Protected { .. } => {
                (self.coming, self.failed, self.lost) = (None, None, None);
                self.dismissed = None;
            }
            Happening::Waiting { .. } => self.waiting = happening.sentence(),
            Happening::Verdict { verdict, .. } if *verdict != VerdictWord::Unreachable => self.waiting = None,
            Happening::DiskTrouble { disk, sentence, .. } => {
                self.troubles.insert(*disk, sentence.clone());
            }
            Happening::DiskWell { disk, .. } => {
                self.troubles.remove(disk);
            }
            Happening::GuestPanic { line, .. } => self.panic = Some(line.clone()),
            Happening::Reset { .. } => self.panic = None,
            Happening::Halt(ending) => self.ended = Some(ending.sentence.clone()),
            _ => {}
        }
    }

    /// What the guest does.
    #[must_use]
    pub fn guest(&self) -> GuestWord {
        match self.role {
            _ if self.ended.is_some() => GuestWord::Off,
            RoleWord::Halted => GuestWord::Off,
            RoleWord::Claiming => GuestWord::Standing,
            RoleWord::Apprentice => GuestWord::Waiting,
            _ if self.panic.is_some() => GuestWord::Panicked,
            RoleWord::Solo | RoleWord::Primary | RoleWord::Backup => GuestWord::Running,
        }
    }

    /// The state in a word.
    fn state(&self) -> StateWord {
        match self.role {
            _ if self.ended.is_some() => StateWord::Off,
            RoleWord::Halted => StateWord::Off,
            RoleWord::Claiming => StateWord::Standing,
            RoleWord::Primary | RoleWord::Backup => StateWord::Protected,
            RoleWord::Apprentice => StateWord::Starting,
            RoleWord::Solo if self.coming.is_some() => StateWord::Starting,
            RoleWord::Solo if self.lost.is_some() || self.failed.is_some() => StateWord::NeedsBackup,
            RoleWord::Solo => StateWord::Unprotected,
        }
    }

    /// How the protection stands, with what the node has measured.
    #[must_use]
    pub fn protection(&self, metrics: &Metrics) -> Protection {
        let mut told = Protection {
            state: self.state(),
            phase: self.coming.as_ref().map(|(_, phase)| *phase),
            flags: Vec::new(),
            reasons: self.why(),
            since_wall_ns: self.since_wall_ns,
        };
        let mut flag = |word, code: &str, sentence: String| {
            told.flags.push(word);
            told.reasons.push(Reason::new(code, sentence));
        };
        let lag_ms = super::figures::ms(metrics.lag);
        let is_paired = matches!(self.role, RoleWord::Primary | RoleWord::Backup);
        if is_paired && lag_ms > BEHIND_MS {
            let sentence =
                format!("the backup is {lag_ms:.0} ms behind; a takeover would last so much longer");
            flag(FlagWord::Behind, "behind", sentence);
        }
        if self.role == RoleWord::Primary && (1..THROTTLED_PERMILLE).contains(&metrics.speed_permille) {
            let sentence = format!(
                "the guest runs at {} % of its speed, so that the backup can follow",
                metrics.speed_permille / 10
            );
            flag(FlagWord::Throttled, "throttled", sentence);
        }
        for sentence in self.troubles.values() {
            flag(FlagWord::DiskTrouble, "disk-away", sentence.clone());
        }
        if let Some(line) = &self.panic {
            let sentence = format!("the guest's kernel has panicked: {line}");
            flag(FlagWord::Panicked, "panicked", sentence);
        }
        if let Some(sentence) = &self.waiting {
            flag(FlagWord::ArbiterAway, "arbiter-away", sentence.clone());
        }
        told
    }

    /// Why the state is not `protected`.
    fn why(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        match self.state() {
            StateWord::Off => {
                let sentence = self.ended.clone();
                let sentence = sentence.unwrap_or_else(|| "this process runs the guest no more".into());
                reasons.push(Reason::new("off", sentence));
            }
            StateWord::Standing => {
                let sentence = self.suspected.as_ref().map(|(_, sentence)| sentence.clone());
                let sentence = sentence.unwrap_or_else(|| "the arbiter is asked who goes on".into());
                reasons.push(Reason::new("suspected", sentence));
            }
            StateWord::Starting => reasons.push(match &self.coming {
                Some((peer, phase)) => Reason::new(phase.as_str(), phase.sentence(peer)),
                None => Reason::new(
                    "copying",
                    "this process gets the guest's state, to become its backup",
                ),
            }),
            StateWord::Unprotected => reasons.push(match &self.dismissed {
                Some(peer) => Reason::new(
                    "dismissed",
                    format!("its backup {peer} was dismissed; if this host dies, so does the guest"),
                ),
                None => Reason::new(
                    "user",
                    "the VM was started to run alone; if this host dies, so does the guest",
                ),
            }),
            StateWord::NeedsBackup => {
                reasons.extend(self.lost.clone());
                if let Some((peer, why)) = &self.failed {
                    let sentence = format!("{peer} has not become the backup: {why}");
                    reasons.push(Reason::new("clone-failed", sentence));
                }
            }
            StateWord::Protected | StateWord::Unknown => {}
        }
        reasons
    }
}

/// How much of a guest's memory a clone has copied, in bytes, of how many, as far as is known: what is
/// written again while it is copied is copied again.
#[must_use]
pub fn copied(pages: u64, owed: u64) -> (u64, u64) {
    let bytes = |pages: u64| pages.saturating_mul(PAGE as u64);
    (bytes(pages), bytes(pages.saturating_add(owed)))
}
