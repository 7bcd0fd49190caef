//! The keeper: protects a guest again that runs alone after a failover, as often as hosts last.
//!
//! A replica cannot be joined by a new one while its guest runs. So the keeper does what an operator can do:
//! at a moment at which nothing is under way it stops the guest, copies it and forms a pair anew, the process
//! that has the epoch as its primary and a new process on another host as its backup, in the same epoch. In
//! the world that takes no time. The keeper must not take anything over that the guest has not got yet: what
//! was sent to the process and not injected is lost, as on any network.

use replica::{Guest, RoleName};

use crate::{
    checker::oracle,
    host::Host,
    names::{HostId, ProcessId},
    process::{Half, Phase},
    schedule::What,
    subject::Subject,
    world::World,
};

/// The host on which the keeper starts a backup for a process on host `owner`: of all others that are up the
/// one that has died least often, and of these the first. `None`: there is no other.
fn choose(hosts: &[Host], owner: HostId) -> Option<HostId> {
    let others = (0..hosts.len()).map(HostId).filter(|host| *host != owner);
    others
        .filter(|host| hosts[host.0].is_up)
        .min_by_key(|host| hosts[host.0].deaths)
}

impl<G: Subject> World<G> {
    /// The keeper looks, protects the guest if it can, and looks again later.
    pub(crate) fn on_keeper(&mut self) {
        let Some(every) = self.options.keeper else {
            return;
        };
        if self.is_anybody_alive() {
            self.schedule(self.now.after(every), What::Keeper);
        }
        let alone = self.role(self.owner()) == Some(RoleName::Solo);
        if alone
            && self.is_quiet()
            && let Some(host) = choose(&self.hosts, self.process(self.owner()).host)
        {
            self.protect(host);
        }
    }

    /// Is there a host on which the guest could have a backup?
    pub(crate) fn has_shelter(&self) -> bool {
        choose(&self.hosts, self.process(self.owner()).host).is_some()
    }

    /// Is nothing under way that a copy of the guest would miss?
    fn is_quiet(&self) -> bool {
        let process = self.process(self.owner());
        let between_turns =
            process.is_running() && process.phase == Phase::Waits && process.in_hand.is_none();
        let node = process.node.as_ref();
        let answered = node.is_some_and(|node| node.guest().pending_disk().is_empty());
        between_turns && !self.is_off() && answered
    }

    /// Forms a pair anew of the process where the guest lives and of a new process on `host`.
    fn protect(&mut self, host: HostId) {
        let owner = self.owner();
        self.trace(Some(owner), || format!("= gets a backup on {host}"));
        let (primary, backup) = (self.copy(owner, None), self.copy(owner, Some(owner)));
        let (Some(primary), Some(backup)) = (primary, backup) else {
            return;
        };
        self.checks.single.on_join(owner, primary.epoch);
        self.processes[owner].join(&self.options, primary, self.now);
        self.turn_at(owner, self.now);
        self.start(host, backup);
    }

    /// A copy of the guest of a process as one half of a pair: another guest that has lived the same life.
    /// `None`, and a violation, if it has not.
    fn copy(&mut self, of: ProcessId, follows: Option<ProcessId>) -> Option<Half<G>> {
        let process = self.process(of);
        let tape = process.tape.borrow().clone();
        let guest = process.node.as_ref()?.guest().inner();
        let lived = oracle::run::<G>(&self.config, &tape, guest.now(), guest.fingerprint());
        let epoch = process.epoch;
        match lived {
            Ok((guest, _)) => Some(Half {
                guest,
                tape,
                epoch,
                follows,
            }),
            Err(violation) => {
                self.judge(Err(violation));
                None
            }
        }
    }
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
    fn a_backup_goes_to_another_host_that_is_up_and_has_died_least_often() {
        let hosts = [
            host(true, 0),
            host(false, 0),
            host(true, 2),
            host(true, 1),
            host(true, 1),
        ];
        assert_eq!(choose(&hosts, HostId(0)), Some(HostId(3)));
        assert_eq!(choose(&hosts, HostId(3)), Some(HostId(0)));
    }

    #[test]
    fn there_is_no_backup_without_another_host() {
        assert_eq!(choose(&[host(true, 0)], HostId(0)), None);
        assert_eq!(choose(&[host(true, 0), host(false, 1)], HostId(0)), None);
    }
}
