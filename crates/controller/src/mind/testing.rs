//! Tests of a VM's protection: what the planner decides of one is carried out. That the process is killed on
//! purpose is written down before, so that nobody blames its host for it.

use messages::vm_name::VmName;
use plan::{Cause, Now, Vm};

use super::Mind;
use crate::limits::{KILL_PATIENCE, SWAP_NOTED_NS};
use crate::records::KindRecord;

impl Mind {
    /// Writes down that a VM's test is not cancelled any more, and if its owner is to die, that it goes to
    /// its member because somebody wants that: its host has not failed.
    pub(super) fn decide_test(&mut self, now: Now, vm: &Vm) {
        let name = vm.name().clone();
        let owner = vm.seen.here.as_ref().filter(|view| view.process.is_live());
        if let Some(member) = owner.and_then(|view| view.process.member()).cloned()
            && !self.is_swap_noted(now, &name)
        {
            // It is decided in a later look, which finds this noted.
            self.note_swap(now, &name, &member, Cause::Wanted);
            return;
        }
        let is_test = |kind: &KindRecord| {
            matches!(
                kind,
                KindRecord::TestFailover { .. } | KindRecord::TestBackup { .. }
            )
        };
        if let Some(operation) = self.number_of(&name, is_test) {
            self.confirm(&name, &operation);
        }
    }

    /// Was it noted a moment ago that the VM goes elsewhere? The clock is this host's own, since that of the
    /// host where the test was asked for may be ahead.
    fn is_swap_noted(&self, now: Now, vm: &VmName) -> bool {
        let known = self.known.vms.get(vm);
        let swaps = known
            .and_then(|known| known.place.as_ref())
            .map(|place| &place.value.swaps);
        let since = now.wall.0.saturating_sub(SWAP_NOTED_NS);
        let mut swaps = swaps.into_iter().flatten();
        swaps.any(|swap| swap.from == self.me.as_str() && swap.at_wall_ns >= since)
    }

    /// Has the process of this host killed that is a half of this epoch of the VM.
    pub(super) fn kill(&mut self, now: Now, vm: &Vm, epoch: u64) {
        let Some(view) = &vm.seen.here else {
            return;
        };
        let (name, is_owner) = (vm.name().clone(), view.process.is_live());
        let handled = self.handled.entry(name.clone()).or_default();
        let is_under_way = |at| now.time.since(at) < KILL_PATIENCE;
        if handled.killing.is_some_and(is_under_way) {
            return;
        }
        handled.killing = Some(now.time);
        let (sockets, happenings) = (self.sockets.clone(), self.happenings.clone());
        let thread = std::thread::Builder::new().name("kill".into()).spawn(move || {
            let half = if is_owner { "primary" } else { "backup" };
            match crate::killing::kill(&sockets, &name, epoch, is_owner) {
                Ok(pid) => {
                    let sentence = format!("the {half} of {name}, process {pid}, was killed to test the VM");
                    let at = os::sys::clock::wall_ns();
                    happenings.happened(at, Some(name.as_str()), "test-killed", sentence);
                }
                Err(why) => tracing::warn!("the {half} of {name} is not killed: {why}"),
            }
        });
        if let Err(error) = thread {
            tracing::warn!("this host gives no more threads: {error}");
        }
    }
}
