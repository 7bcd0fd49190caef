//! The keeper: sees that a guest which runs alone is protected again, as often as hosts last.
//!
//! Here stand what it is told (`KeeperOptions`), what it remembers, and how it chooses a host; what it does
//! in a world stands in `protecting.rs`. It must never know more of a process than that says of itself.

use std::fmt;

use replica::{Span, Time};

use toy_outside::{
    names::{HostId, ProcessId},
    network::LinkOptions,
};

use crate::{faults::show, host::Host};

/// How a guest is protected again.
#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// How often the keeper looks.
    pub every: Span,
    /// How long it waits after a clone that came to nothing.
    pub pause: Span,
    /// How bulk links behave when they are well.
    pub bulk: LinkOptions,
    /// Bytes that a bulk link takes before any of them has arrived.
    pub room: u64,
}

impl Default for KeeperOptions {
    /// A keeper that looks every millisecond, and bulk links that are well.
    fn default() -> KeeperOptions {
        KeeperOptions {
            every: Span::from_ms(1),
            pause: Span::from_ms(5),
            bulk: LinkOptions {
                latency: (Span::from_us(50), Span::from_us(100)),
                bytes_per_ms: 100_000,
            },
            room: 16 << 10,
        }
    }
}

impl fmt::Display for KeeperOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.bulk.latency;
        write!(
            f,
            "  keeper looks every {}, waits {}; bulk links {} to {}, {} bytes/ms, room for {} bytes",
            show(self.every),
            show(self.pause),
            show(low),
            show(high),
            self.bulk.bytes_per_ms,
            self.room
        )
    }
}

/// A process that is on its way to be the backup.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The process that has the guest.
    pub owner: ProcessId,
    /// The process that was started.
    pub newcomer: ProcessId,
    /// When that was.
    pub began: Time,
}

/// What the keeper remembers.
#[derive(Debug, Default)]
pub struct Keeper {
    /// The clone that is under way, as far as the keeper knows.
    pub(crate) attempt: Option<Attempt>,
    /// How many clones were begun.
    pub(crate) clones: u64,
    /// How often a backup was replaced by another one.
    pub(crate) replacements: u64,
    /// How often two processes changed their roles.
    pub(crate) hand_overs: u64,
    /// The keeper begins no clone before this time.
    pub(crate) not_before: Time,
}

/// The host for a backup of a process on host `owner`: of all others that are up the one that was troublesome
/// least often, and of these the first. `None`: there is no other.
pub(crate) fn choose(hosts: &[Host], owner: HostId) -> Option<HostId> {
    let others = (0..hosts.len()).map(HostId).filter(|host| *host != owner);
    others
        .filter(|host| hosts[host.0].is_up)
        .min_by_key(|host| trouble(&hosts[host.0]))
}

/// How often a host was troublesome.
fn trouble(host: &Host) -> u64 {
    host.deaths + host.failures
}

/// After how many clones a guest on host `owner` has a backup at the latest, if all goes well on the hosts
/// `fit` for one and each clone to any other comes to nothing; `None`: no other host is fit.
///
/// One clone may be under way from a time when anything went wrong, and come to nothing wherever it goes.
pub(crate) fn tries(hosts: &[Host], owner: HostId, fit: impl Fn(HostId) -> bool) -> Option<u64> {
    let others = || {
        let up = (0..hosts.len()).map(HostId).filter(|host| hosts[host.0].is_up);
        up.filter(|host| *host != owner)
    };
    let fit_trouble = others()
        .filter(|host| fit(*host))
        .map(|host| trouble(&hosts[host.0]) + 1)
        .min()?;
    // A host is chosen once more than it takes to make it the more troublesome one.
    let before = others().map(|host| (fit_trouble + 1).saturating_sub(trouble(&hosts[host.0])));
    Some(2 + before.sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(is_up: bool, deaths: u64) -> Host {
        Host {
            is_up,
            deaths,
            ..Host::default()
        }
    }

    #[test]
    fn a_backup_goes_to_another_host_that_is_up_and_was_least_troublesome() {
        let mut hosts = [
            host(true, 0),
            host(false, 0),
            host(true, 2),
            host(true, 1),
            host(true, 1),
        ];
        assert_eq!(choose(&hosts, HostId(0)), Some(HostId(3)));
        assert_eq!(choose(&hosts, HostId(3)), Some(HostId(0)));
        hosts[3].failures = 1;
        assert_eq!(choose(&hosts, HostId(0)), Some(HostId(4)));
    }

    #[test]
    fn hosts_that_are_not_fit_are_tried_until_they_are_the_more_troublesome_ones() {
        let mut hosts = [host(true, 0), host(true, 3), host(true, 0), host(false, 0)];
        let fit = |host: HostId| host == HostId(1);
        let most = tries(&hosts, HostId(0), fit).unwrap();
        let mut tried = 1;
        while let Some(chosen) = choose(&hosts, HostId(0))
            && !fit(chosen)
        {
            hosts[chosen.0].failures += 1;
            tried += 1;
        }
        assert!((4..=most).contains(&tried), "{tried} of {most}");
        assert_eq!(tries(&hosts, HostId(1), fit), None, "no other host is fit");
    }

    #[test]
    fn there_is_no_backup_without_another_host() {
        assert_eq!(choose(&[host(true, 0)], HostId(0)), None);
        assert_eq!(choose(&[host(true, 0), host(false, 1)], HostId(0)), None);
    }
}
