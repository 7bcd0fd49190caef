//! How one side of a VM is off on its host: whether the guest's network leads anywhere from there, whether
//! its disks and its arbiter answer, and whether its thread gets the processor. A control status carries it
//! to whoever compares the two sides, and each change is told.
//!
//! `World` of crate `host` has a [`HealthWatch`], shows it twice a second what is known, and hands on what is
//! to be told. Each rule tells a change only when it has lasted a while, so that neither people nor agents
//! see what is over at once.
//!
//! Nothing here comes to the node, and so nothing into the log: no replica decides anything by it.
#![forbid(unsafe_code)]

mod arbiter;
pub mod limits;
mod load;
mod network;

use std::collections::BTreeMap;

use replica::Time;

pub use arbiter::ArbiterWatch;
pub use network::Way;

use crate::limits::{DISK_PROBE_EVERY, HEALTH_LOOK_EVERY};
use control::{DiskAway, Health};
use disk::Trouble;
use load::Load;
use network::Network;
use report::Change;

/// How this side is off, as last seen.
#[derive(Debug, Default)]
pub struct HealthWatch {
    /// When to look next.
    due: Time,
    /// When a side that is not live probes its disks next.
    probe_due: Time,
    network: Network,
    /// The disks for which requests wait, by their numbers.
    disks: BTreeMap<u8, Trouble>,
    arbiter: ArbiterWatch,
    load: Load,
}

impl HealthWatch {
    /// When to look next.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.due
    }

    /// Is it time to look? It then counts as done.
    pub fn is_due(&mut self, now: Time) -> bool {
        let is_due = self.due <= now;
        if is_due {
            self.due = now.after(HEALTH_LOOK_EVERY);
        }
        is_due
    }

    /// Is it time to probe the disks, at a side that is not live? It then counts as done.
    pub fn is_probe_due(&mut self, now: Time) -> bool {
        let is_due = self.probe_due <= now;
        if is_due {
            self.probe_due = now.after(DISK_PROBE_EVERY);
        }
        is_due
    }

    /// Where the guest's ports lead now; gives what is to be told.
    pub fn sees_way(&mut self, now: Time, way: Way) -> Option<Change> {
        self.network.sees(now, way)
    }

    /// Measures how much of the processor the calling thread gets; gives what is to be told. Call it on the
    /// guest's thread alone.
    pub fn measures_load(&mut self, now: Time) -> Option<Change> {
        self.load.measures(now)
    }

    /// The arbiter, to be looked at.
    pub fn arbiter(&mut self) -> &mut ArbiterWatch {
        &mut self.arbiter
    }

    /// A disk is in trouble.
    pub fn sees_trouble(&mut self, trouble: &Trouble) {
        if trouble.waits {
            self.disks.insert(trouble.disk, trouble.clone());
        }
    }

    /// A disk is well again.
    pub fn sees_disk_well(&mut self, disk: u8) {
        self.disks.remove(&disk);
    }

    /// How this side is off. `wall_ns`: nanoseconds since 1970 at `now`; `waiting`: since when the guest
    /// stands for the arbiter.
    #[must_use]
    pub fn health(&self, now: Time, wall_ns: u64, waiting: Option<Time>) -> Health {
        let wall = |since: Time| wall_ns.saturating_sub(now.since(since).0);
        let (net_down, down) = self.network.state();
        let away = |trouble: &Trouble| DiskAway {
            disk: trouble.disk,
            path: trouble.path.display().to_string(),
            since_wall_ns: wall(trouble.since),
            why: trouble.what.clone(),
        };
        Health {
            net_down,
            net_down_since_wall_ns: down.map(|down| wall(down.since)),
            net_down_why: down.map(|down| down.why.clone()),
            disks_away: self.disks.values().map(away).collect(),
            arbiter_away_since_wall_ns: waiting.or(self.arbiter.away_since()).map(wall),
            loaded: self.load.held_up_since().is_some(),
            loaded_since_wall_ns: self.load.held_up_since().map(wall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replica::Span;

    fn at(ms: u64) -> Time {
        Time(Span::from_ms(ms).0)
    }

    #[test]
    fn a_health_names_disks_for_which_requests_wait_and_the_arbiter_for_which_the_guest_does() {
        let mut watch = HealthWatch::default();
        let trouble = |disk, waits| Trouble {
            disk,
            path: format!("/d{disk}").into(),
            what: "has not answered for 5 s".into(),
            sentence: String::new(),
            since: at(2_000),
            waits,
        };
        watch.sees_trouble(&trouble(1, true));
        watch.sees_trouble(&trouble(0, false));
        let health = watch.health(at(9_000), Span::from_ms(100_000).0, Some(at(8_000)));
        let expected = Health {
            net_down: Some(false),
            disks_away: vec![DiskAway {
                disk: 1,
                path: "/d1".into(),
                since_wall_ns: Span::from_ms(93_000).0,
                why: "has not answered for 5 s".into(),
            }],
            arbiter_away_since_wall_ns: Some(Span::from_ms(99_000).0),
            ..Health::default()
        };
        assert_eq!(health, expected);
        watch.sees_disk_well(1);
        let well = watch.health(at(9_000), 0, None);
        assert_eq!(well.disks_away, []);
        assert_eq!(well.arbiter_away_since_wall_ns, None);
    }

    #[test]
    fn looks_and_probes_come_as_often_as_they_should() {
        let mut watch = HealthWatch::default();
        assert!(watch.is_due(at(100)) && !watch.is_due(at(599)) && watch.is_due(at(600)));
        assert_eq!(watch.deadline(), at(1_100));
        assert!(
            watch.is_probe_due(at(100)) && !watch.is_probe_due(at(5_099)) && watch.is_probe_due(at(5_100))
        );
    }
}
