//! What is judged of this host's part of a site: its agent, what the site keeps its wishes in, and its
//! arbiter.

use std::path::Path;

use agent::examination::Examination;
use arbiter::Place;

use crate::line::Line;

/// Judges the agent of this host. `socket`: where it was called; `found`: what it has told, or why it has
/// not; `version`: that of this program.
#[must_use]
pub fn agent(socket: &Path, found: &Result<Examination, String>, version: &str) -> Line {
    let socket = socket.display();
    match found {
        Err(why) => Line::no(
            "agent",
            format!("none answers at {socket} ({why}); `lockstep agent run` starts it"),
        ),
        Ok(told) if told.program.version != version => Line::warn(
            "agent",
            format!(
                "the one that runs is Lockstep {}, this program is {version}; end it and start it again, \
                 VMs go on meanwhile",
                told.program.version
            ),
        ),
        Ok(told) => Line::ok(
            "agent",
            format!("that of host {} answers at {socket}", told.program.host),
        ),
    }
}

/// Judges the directory in which the site keeps what people want, by what became of using it.
#[must_use]
pub fn store(tried: Result<u64, String>) -> Line {
    match tried {
        Ok(ms) => Line::ok("directory", format!("written, read and cleared in {ms} ms")),
        Err(sentence) => Line::no("directory", sentence),
    }
}

/// Judges the arbiter. `tried`: what became of writing there; `own`: the kind of its file system, if that is
/// one of this host alone.
#[must_use]
pub fn arbiter(place: &Place, tried: &Result<(), String>, own: Option<&str>) -> Line {
    match (tried, own) {
        (Err(why), _) => Line::no(
            "arbiter",
            format!("nothing can be written in {place} ({why}); without it no takeover is possible"),
        ),
        (Ok(()), Some(kind)) => Line::warn(
            "arbiter",
            format!(
                "{place} can be written, but is on a disk of this host ({kind}): when this host dies, the \
                 others cannot decide who goes on; keep it on a file server of its own"
            ),
        ),
        (Ok(()), None) => Line::ok("arbiter", format!("{place} can be written")),
    }
}

/// The kind of a file system, by the number that statfs(2) gives, if it is one of this host alone.
#[must_use]
pub fn own_kind(number: i64) -> Option<&'static str> {
    Some(match number {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlay",
        0x2fc1_2fc1 => "zfs",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Verdict::{No, Ok as Good, Warn};
    use membership::joining::Newcomer;

    fn told(version: &str) -> Examination {
        Examination {
            program: Newcomer::new("a", [10, 0, 0, 1].into(), version),
            translates: true,
            wall_ns: 0,
            mark_seen: None,
            echo: None,
        }
    }

    #[test]
    fn an_agent_is_there_and_of_this_release_or_it_is_said_what_to_do() {
        let judged = |found| agent(Path::new("/run/agent.sock"), &found, "0.2.0");
        assert_eq!(judged(Ok(told("0.2.0"))).verdict, Good);
        let older = judged(Ok(told("0.1.0")));
        assert_eq!(older.verdict, Warn);
        assert!(older.sentence.contains("0.1.0") && older.sentence.contains("0.2.0"));
        let none = judged(Err("no such file".into()));
        assert_eq!(none.verdict, No);
        assert!(none.sentence.contains("`lockstep agent run`"));
    }

    #[test]
    fn directory_and_arbiter_must_be_written_and_the_arbiter_elsewhere() {
        assert_eq!(store(Ok(3)).verdict, Good);
        assert_eq!(store(Err("away".into())).verdict, No);
        let path = &Place::Directory("/shared/arbiter".into());
        assert_eq!(arbiter(path, &Ok(()), own_kind(0x6969)).verdict, Good);
        assert_eq!(arbiter(path, &Ok(()), own_kind(0xef53)).verdict, Warn);
        assert_eq!(arbiter(path, &Err("full".into()), None).verdict, No);
    }
}
