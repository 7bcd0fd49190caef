//! How a VM gets a backup, or another one: choose a host, have its agent grant a reservation, tell the
//! process. Which of these is next follows from what is seen.
//!
//! A host that has granted a reservation is kept as long as nothing new speaks against it; that it has less
//! room since then is its own doing.

use messages::time::Time;

use crate::action::Action;
use crate::decision::{Decision, Look};
use crate::host::HostName;
use crate::moment::Wall;
use crate::placement::{Need, Placement, judge};
use crate::vm::Process;
use crate::why::{Why, told};

impl Look<'_> {
    /// All hosts, as they are judged for a backup of this VM, which runs on `owner` and has a backup on
    /// `member`; `named`: somebody wants the new one there.
    pub fn placement(
        &self,
        owner: &HostName,
        member: Option<&HostName>,
        named: Option<&HostName>,
    ) -> Placement {
        let hosts = self.site.hosts;
        let barred = hosts.iter().filter_map(|host| {
            let (now, vm) = (self.now, self.vm.name());
            let why = match named {
                Some(named) if *named == host.name => self.backoff.bars_named(now, vm, named)?,
                _ => self.backoff.bars(now, vm, &host.name)?,
            };
            Some((host.name.clone(), why))
        });
        let need = Need {
            owner: owner.clone(),
            member: member.cloned(),
            barred: barred.collect(),
            named: named.cloned(),
            ..self.vm.need.clone()
        };
        judge(self.now, &need, hosts)
    }

    /// The next step towards a backup at `named`, or at the host that suits the VM best.
    ///
    /// # Errors
    /// No host takes it, or the one that is named does not: everything that speaks against that.
    pub fn obtain(&self, process: &Process, named: Option<&HostName>) -> Result<Decision, Vec<Why>> {
        let member = process.member();
        if process.has_snapshot {
            let sentence = "a snapshot is being taken, and only one copy of the guest is made at a time";
            let why = told("cannot-protect", sentence);
            return Ok(Decision::wait(vec![why], None));
        }
        let placement = self.placement(self.site.me, member, named);
        if let Some(host) = self.prepared()
            && named.is_none_or(|named| named == host)
            && is_still_fit(&placement, host)
        {
            let to = host.clone();
            return Ok(Decision::order(match member {
                Some(_) => Action::MoveBackup { to },
                None => Action::Protect { to },
            }));
        }
        // A host that has fallen silent since it was asked is not waited for.
        if let Some((host, until)) = self.asking()
            && named.is_none_or(|named| named == host)
            && is_still_fit(&placement, host)
        {
            return Ok(Decision::wait(vec![Why::Choosing], Some(until)));
        }
        let host = match named {
            Some(named) => match placement.of(named) {
                Some(Ok(_)) => named,
                Some(Err(refusals)) => return Err(refusals.clone()),
                None => {
                    let (host, age) = (named.clone(), None);
                    return Err(vec![Why::HostSilent { host, age }]);
                }
            },
            None => placement.best().ok_or_else(|| placement.refusals())?,
        };
        if let Some(first) = self.first {
            let first = first.clone();
            return Ok(Decision::wait(vec![Why::Turn { first }], None));
        }
        Ok(Decision::order(Action::Prepare { host: host.clone() }))
    }

    /// When a host that is left alone is tried again, or the one that is named; `None`: none is left alone.
    pub fn next_try(&self, named: Option<&HostName>) -> Option<Time> {
        let (now, vm) = (self.now, self.vm.name());
        if let Some(named) = named {
            return self.backoff.named_until(now, vm, named);
        }
        let hosts = self.site.hosts.iter();
        hosts
            .filter_map(|host| self.backoff.until(now, vm, &host.name))
            .min()
    }

    /// How many times hosts have failed the VM, as a reason; `None`: they have not.
    pub fn tries(&self) -> Option<Why> {
        let (count, last, next) = self.backoff.tries(self.now, self.vm.name())?;
        let next: Wall = self.now.wall_of(next.max(self.now.time));
        let next = Some(next);
        Some(Why::Tries { count, last, next })
    }
}

/// Does nothing speak against a host that has granted a reservation, but what the reservation itself takes?
fn is_still_fit(placement: &Placement, host: &HostName) -> bool {
    let is_own_doing = |why: &Why| {
        matches!(
            why,
            Why::HostFull { .. } | Why::HostLimit { .. } | Why::HostSlow { .. }
        )
    };
    match placement.of(host) {
        Some(Ok(_)) => true,
        Some(Err(refusals)) => refusals.iter().all(is_own_doing),
        None => false,
    }
}
