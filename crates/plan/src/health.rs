//! When a VM is handed over because its owner is worse off than its member, and how that is damped, so that
//! no VM goes back and forth between two hosts that are ill in turn.
//!
//! The processes measure (docs/protocol.md); `Watch` only compares, and the planner decides with `damped`.

use messages::time::Time;

use crate::host::HostName;
use crate::limits::{HEALTH_STEADY, NO_WAY_BACK, SWAP_EVERY};
use crate::moment::{Now, Wall};

/// How a process is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Do the VM's network ports lead nowhere?
    pub is_net_down: bool,
    /// Since when the process has seen that; `None`: they lead somewhere, or it is not known.
    pub net_down_since: Option<Time>,
    /// The disk whose oldest request has waited for long, and since when; `None`: all disks answer.
    pub disk_away: Option<(String, Time)>,
    /// Does the arbiter not answer this process?
    pub is_arbiter_away: bool,
    /// Is its host so busy that the guest is slowed down?
    pub is_loaded: bool,
}

impl Health {
    /// Is this side better off than `other` in network or disk, and in nothing worse?
    #[must_use]
    fn is_better_than(&self, other: &Health) -> bool {
        let is_disk_away = |health: &Health| health.disk_away.is_some();
        let net_better = !self.is_net_down && other.is_net_down;
        let disk_better = !is_disk_away(self) && is_disk_away(other);
        let worse = (self.is_net_down && !other.is_net_down)
            || (is_disk_away(self) && !is_disk_away(other))
            || (self.is_arbiter_away && !other.is_arbiter_away)
            || (self.is_loaded && !other.is_loaded);
        (net_better || disk_better) && !worse
    }
}

/// How the owner's health compares with the member's, over time. An agent has one for each of its VMs, and
/// has it hear of every status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Health of the owner, as heard last.
    owner: Health,
    /// The member's host and its health, as heard last; `None`: there is none, or it is not known.
    member: Option<(HostName, Health)>,
    /// Since when this member's health is what it is, as heard.
    member_since: Time,
    /// Since when the member has been better off; `None`: it is not.
    better_since: Option<Time>,
}

impl Watch {
    /// Hears how both are off at this time, and on which host the member is. What was heard of a member on
    /// another host says nothing of this one.
    pub fn hear(&mut self, now: Time, owner: Health, member: Option<(HostName, Health)>) {
        if self.member != member {
            self.member_since = now;
        }
        let host = |member: &Option<(HostName, Health)>| member.as_ref().map(|(host, _)| host.clone());
        if host(&self.member) != host(&member) {
            self.better_since = None;
        }
        let better = member.as_ref().map(|(_, health)| health);
        let better = better.filter(|member| member.is_better_than(&owner));
        self.better_since = better.map(|member| {
            self.better_since
                .unwrap_or_else(|| self.begin_of_better(now, &owner, member))
        });
        (self.owner, self.member) = (owner, member);
    }

    /// Since when the member is better off, if that was not so at the last hearing. A process tells of its
    /// network only when that has been down for a second, and that second counts, if the member has been as
    /// well all the time as it is now. What a process tells of a disk may come sooner from the owner than
    /// from the member, so there the time counts from `now`.
    fn begin_of_better(&self, now: Time, owner: &Health, member: &Health) -> Time {
        let told = owner
            .net_down_since
            .filter(|_| owner.is_net_down && !member.is_net_down);
        told.map_or(now, |since| since.max(self.member_since).min(now))
    }

    /// How the owner is off, as heard last.
    #[must_use]
    pub fn owner(&self) -> &Health {
        &self.owner
    }

    /// Is the VM better off with its member, and has it been for long enough? A disk that does not answer the
    /// owner may still do the write that hangs, so only a fenced one lets the VM go (`is_fenced`).
    #[must_use]
    pub fn wants_swap(&self, now: Time, is_fenced: bool) -> bool {
        let is_steady = self
            .better_since
            .is_some_and(|since| now.since(since) >= HEALTH_STEADY);
        is_steady && (self.owner.disk_away.is_none() || is_fenced)
    }
}

/// Why a VM came to another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its owner was worse off than its member.
    Health,
    /// Its owner was gone.
    Failure,
    /// Somebody wanted it, by an order to the VM or by draining a host.
    Wanted,
}

/// One change of a VM's owner. Controllers keep these in the site's store: the next one must know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// When it was.
    pub at: Wall,
    /// The host of the owner before.
    pub from: HostName,
    /// The host of the owner since then.
    pub to: HostName,
    /// Why it was.
    pub cause: Cause,
}

/// Until when a VM stays where it is instead of being handed over to `to` for its health; `None`: it may go.
#[must_use]
pub fn damped(now: Now, swaps: &[Swap], to: &HostName) -> Option<Wall> {
    let ends = swaps.iter().filter_map(|swap| {
        let wait = match swap.cause {
            // A host that failed is no place to go back to.
            Cause::Health | Cause::Failure if swap.from == *to => NO_WAY_BACK,
            Cause::Health => SWAP_EVERY,
            Cause::Failure | Cause::Wanted => return None,
        };
        Some(Wall(swap.at.0.saturating_add(wait.0)))
    });
    ends.max().filter(|end| *end > now.wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net_down() -> Health {
        Health {
            is_net_down: true,
            ..Health::default()
        }
    }

    fn disk_away() -> Health {
        Health {
            disk_away: Some(("vda".into(), Time(0))),
            ..Health::default()
        }
    }

    fn on(host: &str, health: Health) -> Option<(HostName, Health)> {
        Some((HostName::new(host), health))
    }

    fn well() -> Option<(HostName, Health)> {
        on("b", Health::default())
    }

    fn ms(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    #[test]
    fn a_member_must_be_better_off_for_two_seconds_without_a_break() {
        let mut watch = Watch::default();
        watch.hear(ms(0), net_down(), well());
        assert!(!watch.wants_swap(ms(1_999), false));
        assert!(watch.wants_swap(ms(2_000), false));
        watch.hear(ms(1_900), Health::default(), well());
        watch.hear(ms(1_950), net_down(), well());
        assert!(!watch.wants_swap(ms(3_900), false));
        assert!(watch.wants_swap(ms(3_950), false));
        watch.hear(ms(4_000), net_down(), None);
        assert!(!watch.wants_swap(ms(9_000), false), "nobody is better off");
    }

    #[test]
    fn the_time_before_a_dead_network_was_told_counts_if_the_member_was_well() {
        let down = |since| Health {
            net_down_since: Some(ms(since)),
            ..net_down()
        };
        let mut watch = Watch::default();
        watch.hear(ms(0), Health::default(), well());
        watch.hear(ms(11_200), down(10_000), well());
        assert!(!watch.wants_swap(ms(11_999), false) && watch.wants_swap(ms(12_000), false));
        // Both were cut off, and the member is back first.
        watch.hear(ms(12_100), down(10_000), on("b", down(10_000)));
        watch.hear(ms(14_000), down(10_000), well());
        assert!(!watch.wants_swap(ms(15_999), false) && watch.wants_swap(ms(16_000), false));
        // An agent that has just started knows nothing of the time before.
        let mut watch = Watch::default();
        watch.hear(ms(20_000), down(10_000), well());
        assert!(!watch.wants_swap(ms(21_999), false) && watch.wants_swap(ms(22_000), false));
    }

    #[test]
    fn a_member_on_another_host_is_watched_anew() {
        let down = || Health {
            net_down_since: Some(ms(0)),
            ..net_down()
        };
        let mut watch = Watch::default();
        watch.hear(ms(0), Health::default(), well());
        watch.hear(ms(1_000), down(), well());
        assert!(watch.wants_swap(ms(2_000), false));
        watch.hear(ms(2_000), down(), on("c", Health::default()));
        assert!(!watch.wants_swap(ms(3_999), false));
        assert!(watch.wants_swap(ms(4_000), false));
    }

    #[test]
    fn a_member_that_is_worse_in_anything_is_not_better() {
        let arbiter_away = Health {
            is_arbiter_away: true,
            ..Health::default()
        };
        let loaded = Health {
            is_loaded: true,
            ..Health::default()
        };
        for member in [disk_away(), arbiter_away, loaded, net_down()] {
            let mut watch = Watch::default();
            watch.hear(ms(0), net_down(), on("b", member.clone()));
            assert!(!watch.wants_swap(ms(5_000), true), "{member:?}");
        }
        // What both lack does not keep the VM.
        let both = Health {
            is_net_down: true,
            ..arbiter_away_health()
        };
        let mut watch = Watch::default();
        watch.hear(ms(0), both, on("b", arbiter_away_health()));
        assert!(watch.wants_swap(ms(2_000), false));
    }

    fn arbiter_away_health() -> Health {
        Health {
            is_arbiter_away: true,
            ..Health::default()
        }
    }

    #[test]
    fn a_disk_that_hangs_lets_the_vm_go_only_if_it_is_fenced() {
        let mut watch = Watch::default();
        watch.hear(ms(0), disk_away(), well());
        assert!(!watch.wants_swap(ms(2_000), false));
        assert!(watch.wants_swap(ms(2_000), true));
    }

    #[test]
    fn health_moves_a_vm_once_in_ten_minutes_and_not_back_within_an_hour() {
        let minutes = |minutes: u64| Wall((1_000 + minutes) * 60_000_000_000);
        let now = |at: u64| Now {
            time: Time(0),
            wall: minutes(at),
        };
        let (a, b, c) = (HostName::new("a"), HostName::new("b"), HostName::new("c"));
        let swap = |cause| Swap {
            at: minutes(0),
            from: a.clone(),
            to: b.clone(),
            cause,
        };
        let health = [swap(Cause::Health)];
        assert_eq!(damped(now(9), &health, &c), Some(minutes(10)));
        assert_eq!(damped(now(10), &health, &c), None);
        assert_eq!(damped(now(59), &health, &a), Some(minutes(60)));
        assert_eq!(damped(now(60), &health, &a), None);
        let failure = [swap(Cause::Failure)];
        assert_eq!(damped(now(1), &failure, &c), None);
        assert_eq!(damped(now(59), &failure, &a), Some(minutes(60)));
        assert_eq!(damped(now(0), &[swap(Cause::Wanted)], &a), None);
    }
}
