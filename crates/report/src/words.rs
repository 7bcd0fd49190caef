//! The words of the stable format: how roles, suspicions, verdicts and wishes are called in events and
//! figures.
//!
//! The core's types are not serialised themselves (L3): a name there may change, a word here may not.

use replica::{RoleName, Suspicion, Verdict};
use serde::{Deserialize, Serialize};

/// What a replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleWord {
    /// Alone and live.
    #[default]
    Solo,
    /// Live, with a backup.
    Primary,
    /// Replays the log of a primary, and waits.
    Backup,
    /// Has suspected its peer and asks the arbiter.
    Claiming,
    /// Has stopped for good.
    Halted,
}

impl From<RoleName> for RoleWord {
    fn from(role: RoleName) -> RoleWord {
        match role {
            RoleName::Solo => RoleWord::Solo,
            RoleName::Primary => RoleWord::Primary,
            RoleName::Backup => RoleWord::Backup,
            RoleName::Claiming => RoleWord::Claiming,
            RoleName::Halted => RoleWord::Halted,
        }
    }
}

impl RoleWord {
    /// The word as it stands in sentences.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RoleWord::Solo => "survivor",
            RoleWord::Primary => "primary",
            RoleWord::Backup => "backup",
            RoleWord::Claiming => "claimant",
            RoleWord::Halted => "halted side",
        }
    }
}

/// Why a peer is not trusted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuspicionWord {
    /// The link broke.
    LinkLost,
    /// Nothing came for the timeout.
    Silence,
    /// Nothing came over the link for the timeout, though heartbeats did.
    LinkSilence,
    /// Its execution parted from the log.
    Diverged,
    /// It could not follow.
    Slow,
    /// It sent what no correct peer sends.
    Garbage,
    /// It leaves the VM to this side.
    Left,
}

impl From<Suspicion> for SuspicionWord {
    fn from(suspicion: Suspicion) -> SuspicionWord {
        match suspicion {
            Suspicion::LinkLost => SuspicionWord::LinkLost,
            Suspicion::Silence => SuspicionWord::Silence,
            Suspicion::LinkSilence => SuspicionWord::LinkSilence,
            Suspicion::Diverged => SuspicionWord::Diverged,
            Suspicion::Slow => SuspicionWord::Slow,
            Suspicion::Garbage => SuspicionWord::Garbage,
            Suspicion::Left => SuspicionWord::Left,
        }
    }
}

impl SuspicionWord {
    /// For sentences, after a colon.
    #[must_use]
    pub fn as_clause(self) -> &'static str {
        match self {
            SuspicionWord::LinkLost => "the link is closed",
            SuspicionWord::Silence => "nothing comes from it, nor a heartbeat",
            SuspicionWord::LinkSilence => "nothing comes over the link, though heartbeats do",
            SuspicionWord::Diverged => "its execution parted from the log",
            SuspicionWord::Slow => "it could not follow",
            SuspicionWord::Garbage => "it sent what no correct replica sends",
            SuspicionWord::Left => "it leaves the VM to this side",
        }
    }
}

/// What the arbiter said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictWord {
    /// The epoch is this side's.
    Won,
    /// It is the other side's.
    Lost,
    /// It could not be asked.
    Unreachable,
}

impl From<Verdict> for VerdictWord {
    fn from(verdict: Verdict) -> VerdictWord {
        match verdict {
            Verdict::Won => VerdictWord::Won,
            Verdict::Lost => VerdictWord::Lost,
            Verdict::Unreachable => VerdictWord::Unreachable,
        }
    }
}

/// Who asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// SIGTERM or SIGINT.
    Signal,
    /// Ctrl-A x on the console.
    Console,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Course {
    /// Nothing yet: it is said what the next time will do.
    Explain,
    /// It is asked back on the console whether the VM shall be off on both sides.
    AskBack,
    /// The answer was no.
    GoOn,
    /// The VM is left to the backup.
    Leave,
    /// The guest's plug is pulled, on both sides of a pair.
    PowerOff,
    /// This process ends at once.
    Quit,
}
