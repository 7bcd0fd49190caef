//! `Ending`: how a replica ended, for programs and for people. The drive loop makes one from the node's last
//! word or from an error, and the reporter tells it as the last event.
//!
//! It only describes: the program's exit code and what is printed of an error are the program's business.

use machine::PowerState;
use replica::{Halt, RoleName};
use serde::{Deserialize, Serialize};

use os::error;

/// How a replica ended, in a word for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaltCode {
    /// The guest is off.
    Off,
    /// The guest reported a failure.
    Failed,
    /// The arbiter gave the epoch to the other side.
    Lost,
    /// This side's execution parted from the log.
    Diverged,
    /// The other side broke the protocol.
    Peer,
    /// The operator had this side leave: a primary to its backup, or a backup.
    Left,
    /// The operator did not wait for an orderly end.
    Quit,
    /// The disks belong to somebody else.
    Fenced,
    /// The log of a recording could not be written.
    Log,
    /// This host gave no more file descriptors or threads.
    Host,
}

impl HaltCode {
    /// Could the replica not go on, for a reason that is none of the protocol's? The program ends with an
    /// error then.
    #[must_use]
    pub fn is_error(self) -> bool {
        matches!(self, HaltCode::Fenced | HaltCode::Log | HaltCode::Host)
    }
}

/// How a replica ended, with what is known of the reasons. Each of the last four fields belongs to one code
/// and is left out with any other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// The kind of ending, for programs.
    pub code: HaltCode,
    /// The ending as a sentence, for people.
    pub sentence: String,
    /// With [`HaltCode::Diverged`]: the step at which the divergence was noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// With [`HaltCode::Diverged`]: the first component that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// With [`HaltCode::Lost`]: the epoch that the other side has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// With [`HaltCode::Failed`]: the guest's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_code: Option<u16>,
}

impl Ending {
    fn new(code: HaltCode, sentence: impl Into<String>) -> Ending {
        Ending {
            code,
            sentence: sentence.into(),
            at: None,
            part: None,
            epoch: None,
            guest_code: None,
        }
    }

    /// The end of a node. `halt`: why it stopped, or `None` if the operator did not wait for it. `role`: what
    /// it was until then. `peer`: address of the other half.
    #[must_use]
    pub fn of_node(halt: Option<&Halt>, role: RoleName, peer: &str) -> Ending {
        match halt {
            None if role == RoleName::Backup => Ending::new(
                HaltCode::Left,
                "this backup has left; the VM has no backup any more",
            ),
            None => Ending::new(
                HaltCode::Quit,
                "this process has ended without waiting for its guest",
            ),
            Some(Halt::Off(PowerState::Off)) => Ending::new(HaltCode::Off, "the guest is off"),
            Some(Halt::Off(PowerState::Failed(code))) => Ending {
                guest_code: Some(*code),
                ..Ending::new(
                    HaltCode::Failed,
                    format!(
                        "the guest says that it failed, with code {code}; the last lines of its console say \
                         why"
                    ),
                )
            },
            Some(Halt::Left) => Ending::new(HaltCode::Left, format!("the VM goes on at {peer}")),
            Some(Halt::Lost(epoch)) => Ending {
                epoch: Some(epoch.0),
                ..Ending::new(
                    HaltCode::Lost,
                    format!(
                        "the other side has won epoch {}; this side has halted, nothing is lost",
                        epoch.0
                    ),
                )
            },
            Some(Halt::Diverged { at, part }) => Ending {
                at: Some(at.0),
                part: Some(part.clone()),
                ..Ending::new(
                    HaltCode::Diverged,
                    format!("this side parted from the log at step {at}, first in {part}; please report it"),
                )
            },
            Some(Halt::Peer(how)) => Ending::new(
                HaltCode::Peer,
                format!("the other side broke the protocol: {how}"),
            ),
        }
    }

    /// The end by an error that is none of the protocol's: `error` with its causes is the sentence.
    #[must_use]
    pub fn of_error(code: HaltCode, error: &dyn std::error::Error) -> Ending {
        Ending::new(code, error::chain(error))
    }
}
