//! `Scene`: everything that the mind has seen and decided at its last look, for whoever asks. A question is
//! answered from the scene alone, so nobody who asks holds the mind up.

use std::collections::BTreeMap;

use control::Status;
use messages::vm_name::VmName;
use os::sys::clock;
use plan::{Decision, Face, Host, HostName, Now, Placement, View, Vm, Wall};

use crate::VmFacts;
use crate::known::{Known, KnownVm};
use crate::sight::AllHeard;

/// A VM of the site.
#[derive(Clone, Debug)]
pub struct SceneVm {
    /// What the store holds of it.
    pub known: KnownVm,
    /// What its settings say, or what is wrong with them.
    pub facts: Result<VmFacts, String>,
    /// What the planner has looked at.
    pub vm: Vm,
    /// What it has decided.
    pub decision: Decision,
    /// How the hosts are judged for a further backup.
    pub placement: Placement,
    /// How the VM is.
    pub face: Face,
    /// What its live process has said last; `None`: none was seen.
    pub live: Option<(HostName, Status)>,
    /// What its backup has said last; `None`: none was seen.
    pub backup: Option<(HostName, Status)>,
}

impl SceneVm {
    /// The view of the process that shows the guest to the world; `None`: none was seen.
    #[must_use]
    pub fn live_view(&self) -> Option<&View> {
        let views = [&self.vm.seen.here, &self.vm.seen.elsewhere];
        let live = views.into_iter().flatten().filter(|view| view.process.is_live());
        live.max_by_key(|view| view.process.epoch)
    }

    /// Its owner's host, and what its live process has said last; `None`: it is not seen to run by now.
    #[must_use]
    pub fn running(&self) -> Option<&(HostName, Status)> {
        self.live.as_ref().filter(|_| self.face.observed.is_some())
    }

    /// The host of the VM's backup, as its owner says; `None`: it has none, or no owner was seen.
    #[must_use]
    pub fn member(&self) -> Option<&HostName> {
        self.live_view()?.process.member()
    }
}

/// What the mind has seen and decided at a look.
#[derive(Clone, Debug)]
pub struct Scene {
    /// When it looked.
    pub now: Now,
    /// This agent's host.
    pub me: HostName,
    /// What the site's store holds.
    pub known: Known,
    /// The hosts of the site.
    pub hosts: Vec<Host>,
    /// What was heard of each host.
    pub heard: AllHeard,
    /// The VMs of the site.
    pub vms: BTreeMap<VmName, SceneVm>,
    /// Since when the store cannot be read, and why not; `None`: it can be.
    pub directory_away: Option<(Wall, String)>,
    /// What the arbiter is, since when it does not answer, and why not; `None`: it answers.
    pub arbiter_away: Option<(Wall, String)>,
}

/// The present.
#[must_use]
pub fn now() -> Now {
    Now {
        time: clock::now(),
        wall: Wall(clock::wall_ns()),
    }
}

impl Scene {
    /// The scene before the first look.
    #[must_use]
    pub fn empty(now: Now, me: HostName) -> Scene {
        Scene {
            now,
            me,
            known: Known::default(),
            hosts: Vec::new(),
            heard: AllHeard::new(),
            vms: BTreeMap::new(),
            directory_away: Some((now.wall, "it was not read yet".into())),
            arbiter_away: None,
        }
    }
}
