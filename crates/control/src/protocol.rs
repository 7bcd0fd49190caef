//! What is said over a control socket: a caller sends a [`Request`] as one line of JSON, and the VM answers
//! with one line, a [`Response`]. Only the events that were asked for follow as further lines.
//!
//! Callers are of the VM's own user, but what they send is checked all the same: a line has a bound
//! (`limits`), and what cannot be read is answered with a sentence.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::console::ConsoleWish;
use crate::request_id::RequestId;
use crate::status::Status;

/// What a caller wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The caller's number for it.
    pub id: RequestId,
    /// What is to be done.
    #[serde(flatten)]
    pub verb: Verb,
}

/// What is to be done. In a line the variant's name is the field `do`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Verb {
    /// Say how the VM is.
    Status,
    /// Ask the guest to switch off; `hard`: pull its plug.
    Stop {
        /// Whether the plug is pulled instead.
        #[serde(default)]
        hard: bool,
    },
    /// Press the guest's reset button.
    Reset,
    /// Have the guest stand, on both sides of a pair.
    Pause,
    /// Have a paused guest run on.
    Resume,
    /// Make a process that waits for this VM the backup of the running guest.
    Protect {
        /// Where that process waits.
        to: SocketAddr,
    },
    /// Make a process that waits for this VM the backup in place of the one that the VM has.
    MoveBackup {
        /// Where that process waits.
        to: SocketAddr,
    },
    /// Dismiss the backup, or send away the process that is to be it: the guest runs on without.
    Unprotect,
    /// The same, and the process remembers where it has called the backup.
    SuspendProtection,
    /// Make the process that waits there the backup again.
    ResumeProtection,
    /// Have the two sides change their roles: the backup is live, and the process asked is its backup.
    Failover,
    /// Take a snapshot of the guest, which follows the answer on the same connection (`snapshot`).
    Snapshot {
        /// Whether the guest's requests to its disks wait until the caller has kept the disks and says so.
        #[serde(default)]
        hook: bool,
    },
    /// Lead to the guest's console, on the same connection (`console`).
    Console(ConsoleWish),
    /// Give the last lines of events.
    Events {
        /// Whether the connection stays open, and further lines follow as they come.
        #[serde(default)]
        follow: bool,
        /// Lines before the one of this number are left out; lines are counted from 0 in each process.
        #[serde(default)]
        after: u64,
    },
}

impl Verb {
    /// Does it change anything? Only such a request is remembered. A snapshot and a console are their
    /// connection's alone: on another one it is another snapshot.
    #[must_use]
    pub fn changes(&self) -> bool {
        !matches!(
            self,
            Verb::Status | Verb::Events { .. } | Verb::Snapshot { .. } | Verb::Console(_)
        )
    }
}

/// The VM's answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The caller's number for the request; 0 where the request could not be read.
    pub id: RequestId,
    /// What became of it.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What became of a request. In a line the variant's name is the field `answer`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// How the VM is.
    Status {
        /// All that is known.
        status: Box<Status>,
    },
    /// What was asked for is under way, or done.
    Begun {
        /// The number of the next line of events: what comes of the request stands there or behind.
        events: u64,
    },
    /// Lines of events follow, one a line, as in the file of `--events`.
    Events {
        /// The number of the first of them.
        first: u64,
    },
    /// The guest's console follows.
    Console {
        /// The number of this process, drawn at random: another one counts other bytes.
        process: RequestId,
        /// How many bytes the guest had written to this process's console before the first that follows.
        first: u64,
    },
    /// A check has refused it, and nothing was changed.
    Refused {
        /// Why, in a word for programs.
        code: String,
        /// Why, and what to do, in a sentence.
        sentence: String,
    },
    /// It could not be read, or not be done.
    Failed {
        /// Why, in a sentence.
        sentence: String,
    },
}

impl Answer {
    /// A refusal.
    #[must_use]
    pub fn refused(code: &str, sentence: impl Into<String>) -> Answer {
        Answer::Refused {
            code: code.into(),
            sentence: sentence.into(),
        }
    }

    /// A failure.
    #[must_use]
    pub fn failed(sentence: impl Into<String>) -> Answer {
        Answer::Failed {
            sentence: sentence.into(),
        }
    }
}

/// Something to say as one line of JSON.
pub fn line(what: &impl Serialize) -> Vec<u8> {
    // Everything that is said is made of words, numbers and texts: there is nothing that JSON could not say.
    let mut line = serde_json::to_vec(what).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_they_are_documented() {
        let document = include_str!("../../../docs/control.md");
        let id = RequestId(0x5eed);
        for verb in [
            Verb::Status,
            Verb::Stop { hard: true },
            Verb::Reset,
            Verb::Pause,
            Verb::Resume,
            Verb::Protect {
                to: "10.0.0.3:7800".parse().unwrap(),
            },
            Verb::Unprotect,
            Verb::MoveBackup {
                to: "10.0.0.4:7800".parse().unwrap(),
            },
            Verb::SuspendProtection,
            Verb::ResumeProtection,
            Verb::Failover,
            Verb::Snapshot { hook: true },
            Verb::Console(ConsoleWish {
                by: "ada".into(),
                session: RequestId(0xada),
                view: false,
                force: true,
                last: 4096,
            }),
            Verb::Events {
                follow: true,
                after: 12,
            },
        ] {
            let text = String::from_utf8(line(&Request {
                id,
                verb: verb.clone(),
            }))
            .unwrap();
            assert_eq!(
                serde_json::from_str::<Request>(&text).unwrap(),
                Request { id, verb }
            );
            assert!(document.contains(text.trim_end()), "{text}");
        }
        let short: Request = serde_json::from_str(r#"{"id":"1","do":"events"}"#).unwrap();
        let expected = Verb::Events {
            follow: false,
            after: 0,
        };
        assert_eq!(short.verb, expected);
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        for id in ["", "xyz", "+1", "-1", "0x1", &"1".repeat(33)] {
            let text = format!(r#"{{"id":"{id}","do":"status"}}"#);
            assert!(serde_json::from_str::<Request>(&text).is_err(), "{id}");
        }
    }
}
