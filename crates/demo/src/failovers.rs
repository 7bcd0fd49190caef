//! What each failover cost the clients, and the copy after it: reckoned from when their writes were
//! acknowledged, and from the events that the replicas wrote.

use std::time::Duration;

use report::{Failover, History};

use super::client::Seen;
use super::kills::Survived;

/// A failover, from the kill until the VM was protected again, and what clients saw of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub failover: Failover,
    /// The longest pause of a client from this kill to the next, in milliseconds, but for those of the copy.
    pub pause_ms: f64,
    /// The longest pause of a client while the guest was copied.
    pub clone_gap_ms: f64,
}

impl Cost {
    /// The costs of a kill, which counts until the `next`.
    pub fn of(survived: &Survived, next: Duration, history: &History, seen: &[Seen]) -> Cost {
        let failover = history.failover(survived.killed_ns, survived.survivor, survived.backup);
        let at = |ms: f64| survived.killed + Duration::from_secs_f64(ms / 1e3);
        let alone = at(failover.live_ms)..at(failover.protected_ms);
        let cloning = at(failover.cloning_ms);
        // A gap in which the survivor went live is the failover's, whatever the copy may have added to it.
        let is_of_copy = |begin: Duration, end: Duration| alone.contains(&begin) && end > cloning;
        let longest = |counts: &dyn Fn(Duration, Duration) -> bool| {
            let gaps = seen.iter().map(|seen| longest_gap_ms(&seen.acks, counts));
            gaps.fold(0.0, f64::max)
        };
        let is_after_kill = |end| (survived.killed..next).contains(&end);
        Cost {
            failover,
            pause_ms: longest(&|begin, end| is_after_kill(end) && !is_of_copy(begin, end)),
            clone_gap_ms: longest(&is_of_copy),
        }
    }
}

/// The longest time between two acknowledgements, of those gaps that count, in milliseconds. `acks` ascend.
pub fn longest_gap_ms(acks: &[Duration], counts: &dyn Fn(Duration, Duration) -> bool) -> f64 {
    let gaps = acks.windows(2).filter(|pair| counts(pair[0], pair[1]));
    let longest = gaps.map(|pair| pair[1] - pair[0]).max();
    longest.unwrap_or_default().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::{Happening, Line, RoleWord};

    fn seen(acks_ms: &[u64]) -> Seen {
        Seen {
            acks: acks_ms.iter().map(|&ms| Duration::from_millis(ms)).collect(),
            ..Seen::default()
        }
    }

    /// A line that the survivor wrote so many milliseconds after the kill.
    fn line(ms: u64, happening: Happening) -> Line {
        Line {
            time_ns: 7_000_000_000 + ms * 1_000_000,
            wall_ns: 0,
            vm: "demo".into(),
            pid: 2,
            happening,
        }
    }

    #[test]
    fn a_pause_is_that_of_the_failover_or_that_of_the_copy() {
        let live = Happening::Role {
            role: RoleWord::Solo,
            epoch: 2,
            suspicion: None,
            detection_ms: 0.0,
            go_live_ms: 0.0,
        };
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
        let history = History::from(vec![line(25, live), line(700, protected)]);
        let survived = Survived {
            killed: Duration::from_millis(1_000),
            killed_ns: 7_000_000_000,
            survivor: 2,
            backup: 3,
            clones_failed: 0,
        };
        let clients = [
            seen(&[0, 998, 1_050, 1_060, 1_500, 1_750, 2_500]),
            seen(&[0, 990, 1_024, 1_026, 1_300, 1_320, 1_900, 5_000]),
        ];
        let cost = Cost::of(&survived, Duration::from_millis(1_800), &history, &clients);
        assert_eq!(cost.pause_ms, 52.0, "the survivor went live in between");
        assert_eq!(cost.clone_gap_ms, 580.0, "it begins before the VM is protected");
        let last = Cost::of(&survived, Duration::MAX, &history, &[seen(&[0, 1_710, 1_800])]);
        assert_eq!((last.pause_ms, last.clone_gap_ms), (1_710.0, 0.0));
    }

    #[test]
    fn a_gap_counts_whole() {
        let after = |ms| move |_: Duration, end: Duration| end >= Duration::from_millis(ms);
        let acks = seen(&[0, 300, 310, 900, 905]).acks;
        assert_eq!(longest_gap_ms(&acks, &after(312)), 590.0);
        assert_eq!(longest_gap_ms(&acks, &after(2_000)), 0.0);
    }
}
