//! The words of the stable format: how roles, phases, suspicions, verdicts and wishes are called in events
//! and figures.
//!
//! `replica` has types of the same kind, which are not serialised themselves: a name there may change, a word
//! here never, since other programs read it (docs/events.md).

use replica::{Phase, RoleName, Suspicion, Verdict};
use serde::{Deserialize, Serialize};

/// What a replica is: the word for a [`RoleName`].
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleWord {
    /// Alone and live.
    #[default]
    Solo,
    /// Live, with a backup.
    Primary,
    /// Gets the state of a guest that runs elsewhere, to become its backup.
    Apprentice,
    /// Replays the log of a primary, and waits.
    Backup,
    /// Has suspected its peer and asks the arbiter.
    Claiming,
    /// Has handed the VM over to its backup, and waits to be the backup itself.
    Handing,
    /// Has stopped for good.
    Halted,
}

impl From<RoleName> for RoleWord {
    fn from(role: RoleName) -> RoleWord {
        match role {
            RoleName::Solo => RoleWord::Solo,
            RoleName::Primary => RoleWord::Primary,
            RoleName::Apprentice => RoleWord::Apprentice,
            RoleName::Backup => RoleWord::Backup,
            RoleName::Claiming => RoleWord::Claiming,
            RoleName::Handing => RoleWord::Handing,
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
            RoleWord::Apprentice => "backup-to-be",
            RoleWord::Backup => "backup",
            RoleWord::Claiming => "claimant",
            RoleWord::Handing => "side that hands over",
            RoleWord::Halted => "halted side",
        }
    }
}

/// How far a process is on its way to be the backup: the word for a [`Phase`].
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseWord {
    /// It is called, and gets the images that it lacks.
    #[default]
    Connecting,
    /// The guest's memory is copied.
    Copying,
    /// It replays the log, and is still behind.
    CatchingUp,
    /// It has caught up, and the arbiter is asked.
    Arming,
}

impl PhaseWord {
    /// The word as it stands in the format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PhaseWord::Connecting => "connecting",
            PhaseWord::Copying => "copying",
            PhaseWord::CatchingUp => "catching-up",
            PhaseWord::Arming => "arming",
        }
    }

    /// What happens with the process at `peer`, as a sentence.
    #[must_use]
    pub fn sentence(self, peer: &str) -> String {
        match self {
            PhaseWord::Connecting => format!("{peer} is called, and looks whether it can be the backup"),
            PhaseWord::Copying => format!("the guest's memory is copied to {peer} while the guest runs"),
            PhaseWord::CatchingUp => {
                format!("{peer} has the guest's memory, and replays what has happened since")
            }
            PhaseWord::Arming => {
                format!("{peer} has caught up, and the arbiter is asked whether the VM is ours")
            }
        }
    }
}

impl From<Phase> for PhaseWord {
    fn from(phase: Phase) -> PhaseWord {
        match phase {
            Phase::Connecting => PhaseWord::Connecting,
            Phase::Copying | Phase::Sealing => PhaseWord::Copying,
            Phase::CatchingUp => PhaseWord::CatchingUp,
            Phase::Arming => PhaseWord::Arming,
        }
    }
}

/// Why a peer is not trusted any more: the word for a [`Suspicion`].
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuspicionWord {
    /// The link broke.
    LinkLost,
    /// Neither a message nor a heartbeat came for the timeout.
    Silence,
    /// Nothing came over the link for far longer than the timeout, though heartbeats did.
    LinkSilence,
    /// The peer's execution parted from the log.
    Diverged,
    /// The backup could not follow for too long.
    Slow,
    /// The peer sent what no correct peer sends.
    Garbage,
    /// The primary leaves the VM to this side.
    Left,
    /// The primary's host says that the primary's process has ended.
    Ended,
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
            Suspicion::Ended => SuspicionWord::Ended,
        }
    }
}

impl SuspicionWord {
    /// The reason as a clause, to stand after a colon in a sentence.
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
            SuspicionWord::Ended => "its host says that the process has ended",
        }
    }
}

/// What the arbiter said: the word for a [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictWord {
    /// The epoch is this side's.
    Won,
    /// The epoch is the other side's.
    Lost,
    /// The arbiter could not be reached, or was another one than that of the pair.
    Unreachable,
}

impl From<Verdict> for VerdictWord {
    fn from(verdict: Verdict) -> VerdictWord {
        match verdict {
            Verdict::Won => VerdictWord::Won,
            Verdict::Lost { .. } => VerdictWord::Lost,
            Verdict::Unreachable => VerdictWord::Unreachable,
        }
    }
}

/// Who has switched the guest off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ender {
    /// The guest itself.
    Guest,
    /// The operator, who pulled its plug.
    Operator,
    /// This program, because the guest's kernel had panicked and `--on-panic stop` was given.
    Panic,
}

/// What is done about a guest whose kernel has panicked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPanic {
    /// Nothing: the guest stays as it is, for whoever wants to look.
    #[default]
    Keep,
    /// The guest's plug is pulled, on both sides of a pair.
    Stop,
    /// The guest's reset button is pressed.
    Reset,
}

/// By which way the operator asked for the end, or for a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// SIGTERM or SIGINT.
    Signal,
    /// Ctrl-A x on the console.
    Console,
    /// A request over the control socket, such as that of `lockstep stop`.
    Control,
    /// The setting `on_panic`, when the guest's kernel has panicked.
    Panic,
}

/// What is done about the operator's wish for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Course {
    /// Nothing yet: the operator is told what asking once more will do.
    Explain,
    /// The operator is asked on the console whether the VM shall be off on both sides.
    AskBack,
    /// The operator's answer was no, and the VM goes on.
    GoOn,
    /// The VM is left to the backup.
    Leave,
    /// The guest's plug is pulled, on both sides of a pair.
    PowerOff,
    /// This process ends at once.
    Quit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suspicion_has_a_word_and_a_clause_of_its_own() {
        let all = [
            (Suspicion::LinkLost, "link-lost"),
            (Suspicion::Silence, "silence"),
            (Suspicion::LinkSilence, "link-silence"),
            (Suspicion::Diverged, "diverged"),
            (Suspicion::Slow, "slow"),
            (Suspicion::Garbage, "garbage"),
            (Suspicion::Left, "left"),
            (Suspicion::Ended, "ended"),
        ];
        let words = all.map(|(suspicion, _)| SuspicionWord::from(suspicion));
        for (word, (_, expected)) in words.iter().zip(all) {
            assert_eq!(serde_json::to_value(word).unwrap(), expected);
        }
        let clauses: std::collections::BTreeSet<&str> = words.iter().map(|word| word.as_clause()).collect();
        assert_eq!(clauses.len(), all.len(), "{clauses:?}");
    }
}
