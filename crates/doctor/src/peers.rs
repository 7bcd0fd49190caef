//! What is judged of another host, as it is seen from this one.

use agent::examination::{Examination, PeerObject};
use arbiter::Place;
use membership::joining::Newcomer;

use crate::limits::{CLOCKS_MS_MAX, ROUND_TRIP_US_MAX};
use crate::line::Line;

/// What became of calling a port of another host that was to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Number of the port on the other host.
    pub port: u16,
    /// Whether the word came back by TCP; an error says why not, as a clause.
    pub tcp: Result<(), String>,
    /// Whether the word came back by UDP; an error says why not, as a clause.
    pub udp: Result<(), String>,
    /// Bytes that a packet to it may have, by this host's own routes, and whether a datagram of that size
    /// came back; `None`: that was not tried.
    pub packet: Option<(u32, bool)>,
}

/// What was seen of another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// What this host's agent has found.
    pub peer: PeerObject,
    /// What became of a port that was to answer; `None`: there was none.
    pub reached: Option<Reached>,
}

/// Judges another host. `here`: this program; `arbiter`: where a mark was left.
#[must_use]
pub fn judge(facts: &PeerFacts, here: &Newcomer, arbiter: &Place) -> Vec<Line> {
    let peer = &facts.peer;
    let lines = match &peer.examination {
        None => vec![Line::no(
            "agent",
            format!(
                "does not answer at {} ({}); start it, or open the port",
                peer.agent, peer.trouble
            ),
        )],
        Some(told) => {
            let mut lines = vec![
                round_trip(peer),
                build(here, told),
                clock(peer.clock_ahead_ms),
                mark(told.mark_seen, arbiter, &peer.host),
            ];
            lines.extend(ports(facts.reached.as_ref()));
            lines
        }
    };
    lines.into_iter().map(|line| line.of(&peer.host)).collect()
}

fn round_trip(peer: &PeerObject) -> Line {
    let ms = format!(
        "{}.{:02} ms",
        peer.round_trip_us / 1_000,
        peer.round_trip_us % 1_000 / 10
    );
    let sentence = format!("answers at {} after {ms}", peer.agent);
    if peer.round_trip_us > ROUND_TRIP_US_MAX {
        let more = "if that is the network and no busy host, each answer of a protected VM waits as long";
        return Line::warn("agent", format!("{sentence}; {more}"));
    }
    Line::ok("agent", sentence)
}

fn build(here: &Newcomer, told: &Examination) -> Line {
    let there = &told.program;
    if let Some(sentence) = here.is_too_different(there) {
        return Line::no("build", sentence);
    }
    if !told.translates {
        return Line::warn(
            "build",
            format!("{} interprets guests' code: about eight times slower", there.host),
        );
    }
    if here.version != there.version {
        return Line::warn(
            "build",
            format!(
                "Lockstep {} there, {} here; they can make pairs",
                there.version, here.version
            ),
        );
    }
    Line::ok(
        "build",
        format!("Lockstep {} with the same machine model", there.version),
    )
}

fn clock(ahead_ms: i64) -> Line {
    let off = ahead_ms.unsigned_abs();
    let side = if ahead_ms < 0 { "behind" } else { "ahead" };
    if off > CLOCKS_MS_MAX {
        return Line::warn(
            "clock",
            format!(
                "{}.{} s {side}: happenings of the two hosts are hard to read together; start chrony \
                 there and here",
                off / 1_000,
                off % 1_000 / 100
            ),
        );
    }
    Line::ok(
        "clock",
        format!("differs by less than {} ms", off.max(1) / 10 * 10 + 10),
    )
}

fn mark(seen: Option<bool>, arbiter: &Place, host: &str) -> Line {
    let (what, kind) = match arbiter {
        Place::Directory(_) => ("shared directory", "directory"),
        Place::Etcd(_) => ("shared etcd", "etcd"),
        Place::Server(_) => ("shared disk server", "disk server"),
    };
    match seen {
        Some(true) => Line::ok(what, format!("sees in {arbiter} what was written here")),
        Some(false) => Line::no(
            what,
            format!("{arbiter} on {host} is another {kind}; it is not shared: a VM could live twice"),
        ),
        None => Line::warn(
            what,
            "was not tried, since nothing could be written here, or nothing read there in time",
        ),
    }
}

fn ports(reached: Option<&Reached>) -> Vec<Line> {
    let Some(reached) = reached else {
        return vec![Line::warn(
            "ports",
            "were not tried: none of its pair's range is free, or another doctor is at work",
        )];
    };
    let port = reached.port;
    let mut lines = Vec::new();
    for (word, result) in [("TCP", &reached.tcp), ("UDP", &reached.udp)] {
        lines.push(match result {
            Ok(()) => Line::ok("ports", format!("{word} port {port} is reached")),
            Err(why) => Line::no(
                "ports",
                format!(
                    "{word} port {port} is not reached ({why}); open the whole range of `[pair]` for \
                     TCP and UDP"
                ),
            ),
        });
    }
    match reached.packet {
        Some((bytes, true)) => lines.push(Line::ok("packets", format!("of {bytes} bytes come through"))),
        Some((bytes, false)) => lines.push(Line::warn(
            "packets",
            format!(
                "of {bytes} bytes, as this host would send them, do not come through: copying memory may \
                 stand; give the interfaces of both hosts the same MTU"
            ),
        )),
        None => {}
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Verdict;

    fn here() -> Newcomer {
        Newcomer::new("a", [10, 0, 0, 1].into(), "0.2.0")
    }

    /// Another host at which nothing is wrong.
    fn good() -> PeerFacts {
        PeerFacts {
            peer: PeerObject {
                host: "b".into(),
                agent: ([10, 0, 0, 2], 7701).into(),
                round_trip_us: 210,
                clock_ahead_ms: -12,
                examination: Some(Examination {
                    program: Newcomer::new("b", [10, 0, 0, 2].into(), "0.2.0"),
                    translates: true,
                    wall_ns: 0,
                    mark_seen: Some(true),
                    echo: None,
                }),
                trouble: String::new(),
            },
            reached: Some(Reached {
                port: 7899,
                tcp: Ok(()),
                udp: Ok(()),
                packet: Some((1_500, true)),
            }),
        }
    }

    fn wrong(facts: &PeerFacts) -> Vec<Line> {
        let lines = judge(facts, &here(), &Place::Directory("/shared/arbiter".into()));
        assert!(lines.iter().all(|line| line.host.as_deref() == Some("b")));
        lines
            .into_iter()
            .filter(|line| line.verdict != Verdict::Ok)
            .collect()
    }

    #[test]
    fn nothing_is_said_against_a_good_neighbour() {
        assert!(wrong(&good()).is_empty(), "{:?}", wrong(&good()));
    }

    type Fault = fn(&mut PeerFacts);
    fn told(facts: &mut PeerFacts) -> &mut Examination {
        facts.peer.examination.as_mut().unwrap()
    }
    fn reached(facts: &mut PeerFacts) -> &mut Reached {
        facts.reached.as_mut().unwrap()
    }
    /// What is changed in the facts of a good one, and which line is wrong then.
    const FAULTS: &[(Fault, Verdict, &str, &str)] = &[
        (
            |f| f.peer.examination = None,
            Verdict::No,
            "agent",
            "10.0.0.2:7701",
        ),
        (
            |f| f.peer.round_trip_us = 2_500,
            Verdict::Warn,
            "agent",
            "2.50 ms",
        ),
        (
            |f| told(f).program.models = vec![0],
            Verdict::No,
            "build",
            "two halves",
        ),
        (
            |f| told(f).program.version = "0.3.0".into(),
            Verdict::Warn,
            "build",
            "0.3.0 there",
        ),
        (
            |f| told(f).translates = false,
            Verdict::Warn,
            "build",
            "eight times",
        ),
        (
            |f| f.peer.clock_ahead_ms = -4_200,
            Verdict::Warn,
            "clock",
            "4.2 s behind",
        ),
        (
            |f| told(f).mark_seen = Some(false),
            Verdict::No,
            "shared directory",
            "not shared",
        ),
        (
            |f| told(f).mark_seen = None,
            Verdict::Warn,
            "shared directory",
            "not tried",
        ),
        (|f| f.reached = None, Verdict::Warn, "ports", "not tried"),
        (
            |f| reached(f).tcp = Err("refused".into()),
            Verdict::No,
            "ports",
            "TCP port 7899",
        ),
        (
            |f| reached(f).udp = Err("lost".into()),
            Verdict::No,
            "ports",
            "UDP port 7899",
        ),
        (
            |f| reached(f).packet = Some((9_000, false)),
            Verdict::Warn,
            "packets",
            "9000",
        ),
    ];

    #[test]
    fn each_fault_of_a_neighbour_is_one_line_that_says_what_to_do() {
        for (fault, verdict, about, part) in FAULTS {
            let mut facts = good();
            fault(&mut facts);
            let wrong = wrong(&facts);
            let [line] = wrong.as_slice() else {
                panic!("{about}: {wrong:?}");
            };
            assert_eq!((line.verdict, line.about), (*verdict, *about));
            assert!(line.sentence.contains(part), "{}", line.sentence);
        }
    }
}
