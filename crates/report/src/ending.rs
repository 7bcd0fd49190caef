//! `Ending`: how a replica ended, for programs and for people. The drive loop makes one from the node's last
//! word or from an error, and the reporter tells it as the last event.
//!
//! It only describes: the program's exit code and what is printed of an error are the program's business.

use machine::{PowerState, Step};
use replica::{Halt, RoleName, Span};
use serde::{Deserialize, Serialize};

use super::amount;
use super::words::Ender;
use os::error;

/// How a replica ended, in a word for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaltCode {
    /// The guest is off.
    #[default]
    Off,
    /// The guest reported a failure.
    Failed,
    /// The guest's kernel panicked, and the guest was switched off for that.
    Panicked,
    /// The arbiter gave the epoch to the other side.
    Lost,
    /// This side's execution parted from the log.
    Diverged,
    /// The other side broke the protocol.
    Peer,
    /// This process was to become a backup and has not. The VM is none the worse.
    Abandoned,
    /// The primary has dismissed this backup, as its operator wanted.
    Dismissed,
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

    /// The exit code of a process that ends like this. 3: the arbiter has given the VM to the other side, and
    /// this side has ended as it should; that is no failure to be mended, but not what was started either.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            HaltCode::Off | HaltCode::Left | HaltCode::Dismissed | HaltCode::Quit => 0,
            HaltCode::Lost => 3,
            HaltCode::Abandoned
            | HaltCode::Failed
            | HaltCode::Panicked
            | HaltCode::Diverged
            | HaltCode::Peer
            | HaltCode::Fenced
            | HaltCode::Log
            | HaltCode::Host => 1,
        }
    }
}

/// What is known of a guest at the end of its replica, whatever ended it.
#[derive(Clone, Copy, Debug)]
pub struct Last<'a> {
    /// What the replica was until then.
    pub role: RoleName,
    /// Address of the other half of the pair.
    pub peer: &'a str,
    /// The guest's step.
    pub step: Step,
    /// Time since the guest was started here.
    pub up: Span,
    /// Where the guest's console is, in the words of `--serial`.
    pub console: &'a str,
    /// Who has switched the guest off, if it is off.
    pub by: Ender,
}

/// How a replica ended, with what is known of the reasons. The fields behind the sentence belong to some
/// codes and are left out with any other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// The kind of ending, for programs.
    pub code: HaltCode,
    /// The ending as a sentence, for people.
    pub sentence: String,
    /// The guest's step at the end.
    #[serde(default)]
    pub step: u64,
    /// Seconds from the start of the guest here to the end.
    #[serde(default)]
    pub up_s: f64,
    /// Where the guest's console is, in the words of `--serial`.
    #[serde(default)]
    pub console: String,
    /// With [`HaltCode::Off`], [`HaltCode::Failed`] and [`HaltCode::Panicked`]: who has switched the guest
    /// off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Ender>,
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
    fn new(code: HaltCode, sentence: impl Into<String>, last: &Last<'_>) -> Ending {
        Ending {
            code,
            sentence: sentence.into(),
            step: last.step.0,
            up_s: last.up.0 as f64 / 1e9,
            console: last.console.to_owned(),
            ..Ending::default()
        }
    }

    /// The end of a node. `halt`: why it stopped, or `None` if the operator did not wait for it. `last`: what
    /// is known of it besides.
    #[must_use]
    pub fn of_node(halt: Option<&Halt>, last: &Last<'_>) -> Ending {
        let new = |code, sentence: &str| Ending::new(code, sentence, last);
        match halt {
            None if last.role == RoleName::Backup => new(
                HaltCode::Left,
                "this backup has left; the VM has no backup any more",
            ),
            None => new(
                HaltCode::Quit,
                "this process has ended without waiting for its guest",
            ),
            Some(Halt::Off(PowerState::Off)) => Ending {
                by: Some(last.by),
                ..new(
                    match last.by {
                        Ender::Panic => HaltCode::Panicked,
                        Ender::Guest | Ender::Operator => HaltCode::Off,
                    },
                    &last.off_sentence(None),
                )
            },
            Some(Halt::Off(PowerState::Failed(code))) => Ending {
                by: Some(last.by),
                guest_code: Some(*code),
                ..new(HaltCode::Failed, &last.off_sentence(Some(*code)))
            },
            Some(Halt::Abandoned(why)) => new(
                HaltCode::Abandoned,
                &format!(
                    "this side has not become the backup: {why}; if the VM still runs, it runs at {}",
                    last.peer
                ),
            ),
            Some(Halt::Dismissed) => new(
                HaltCode::Dismissed,
                &format!("{} has dismissed this backup; the VM goes on there", last.peer),
            ),
            Some(Halt::Left) => new(HaltCode::Left, &format!("the VM goes on at {}", last.peer)),
            Some(Halt::Lost(epoch)) => Ending {
                epoch: Some(epoch.0),
                ..new(
                    HaltCode::Lost,
                    &format!(
                        "the other side has won epoch {}; this side has halted, nothing is lost",
                        epoch.0
                    ),
                )
            },
            Some(Halt::Diverged { at, part }) => Ending {
                at: Some(at.0),
                part: Some(part.clone()),
                ..new(
                    HaltCode::Diverged,
                    &format!("this side parted from the log at step {at}, first in {part}; please report it"),
                )
            },
            Some(Halt::Peer(how)) => new(
                HaltCode::Peer,
                &format!("the other side broke the protocol: {how}"),
            ),
        }
    }

    /// The end by an error that is none of the protocol's: `error` with its causes is the sentence.
    #[must_use]
    pub fn of_error(code: HaltCode, error: &dyn std::error::Error, last: &Last<'_>) -> Ending {
        Ending::new(code, error::chain(error), last)
    }
}

impl Last<'_> {
    /// Who has ended the guest, when, and where its console is. `code`: the failure that the guest reported.
    fn off_sentence(&self, code: Option<u16>) -> String {
        let on_both = match self.role {
            RoleName::Primary | RoleName::Backup => ", on both sides",
            RoleName::Solo
            | RoleName::Apprentice
            | RoleName::Claiming
            | RoleName::Handing
            | RoleName::Halted => "",
        };
        let who = match (self.by, code) {
            (_, Some(code)) => format!("the guest reported a failure with code {code} and is off{on_both}"),
            (Ender::Guest, None) => format!("the guest has switched itself off{on_both}"),
            (Ender::Operator, None) => format!("the operator has pulled the guest's plug{on_both}"),
            (Ender::Panic, None) => {
                format!("the guest's kernel panicked, and the guest was switched off{on_both} (`--on-panic`)")
            }
        };
        let socket = self.console.strip_prefix("unix:");
        let socket = socket.or_else(|| self.console.strip_prefix("keys:"));
        let console = match (self.console, socket) {
            ("stdio", _) => String::new(),
            ("none", _) => "; its console led nowhere: `--serial FILE` would have kept it".into(),
            (_, Some(path)) => format!("; its console was the socket {path}"),
            (path, None) => format!("; its console is in {path}"),
        };
        let why = match (code, self.console) {
            (None, _) | (Some(_), "none") => "",
            (Some(_), _) => "; the last lines of its console say why",
        };
        let (after, step) = (amount::lasted(self.up), amount::grouped(self.step.0));
        format!("{who}, {after} after its start, at step {step}{console}{why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Last<'static> = Last {
        role: RoleName::Primary,
        peer: "10.0.0.2:7800",
        step: Step(1_234_567),
        up: Span::from_ms(12_340),
        console: "/run/shop.log",
        by: Ender::Guest,
    };

    fn sentence(state: PowerState, last: Last<'_>) -> String {
        Ending::of_node(Some(&Halt::Off(state)), &last).sentence
    }

    #[test]
    fn every_code_is_documented_with_its_exit_code() {
        let document = include_str!("../../../docs/events.md");
        for code in [
            HaltCode::Off,
            HaltCode::Failed,
            HaltCode::Panicked,
            HaltCode::Lost,
            HaltCode::Diverged,
            HaltCode::Peer,
            HaltCode::Left,
            HaltCode::Quit,
            HaltCode::Fenced,
            HaltCode::Log,
            HaltCode::Host,
        ] {
            let word = serde_json::to_value(code).unwrap();
            let row = format!("| `{}` | {} |", word.as_str().unwrap(), code.exit_code());
            assert!(document.contains(&row), "{row}");
        }
    }

    #[test]
    fn the_end_of_a_guest_says_who_ended_it_when_and_where_its_console_is() {
        assert_eq!(
            sentence(PowerState::Off, LAST),
            "the guest has switched itself off, on both sides, 12.3 s after its start, at step 1,234,567; \
             its console is in /run/shop.log"
        );
        let last = Last {
            role: RoleName::Solo,
            by: Ender::Operator,
            console: "unix:/run/shop",
            ..LAST
        };
        assert_eq!(
            sentence(PowerState::Off, last),
            "the operator has pulled the guest's plug, 12.3 s after its start, at step 1,234,567; \
             its console was the socket /run/shop"
        );
        let last = Last {
            console: "none",
            ..LAST
        };
        assert_eq!(
            sentence(PowerState::Failed(3), last),
            "the guest reported a failure with code 3 and is off, on both sides, 12.3 s after its start, \
             at step 1,234,567; its console led nowhere: `--serial FILE` would have kept it"
        );
        let last = Last {
            role: RoleName::Solo,
            by: Ender::Panic,
            console: "stdio",
            ..LAST
        };
        assert_eq!(
            sentence(PowerState::Off, last),
            "the guest's kernel panicked, and the guest was switched off (`--on-panic`), 12.3 s after its \
             start, at step 1,234,567"
        );
    }
}
