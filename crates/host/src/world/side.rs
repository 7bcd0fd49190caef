//! What `World` does to know how this side is off: it has ports, disks, arbiter and processor looked at, and
//! tells what changes. Whoever compares the two sides of a VM asks for it (docs/control.md); the node is not
//! told.

use replica::{RoleName, Time};

use super::World;
use control::Health;
use health::Way;
use os::sys::clock;
use report::Happening;

impl World {
    /// Looks, if it is time, how this side is off.
    pub(super) fn look_at_side(&mut self, now: Time) {
        if !self.health.is_due(now) {
            return;
        }
        self.disks.look_for_silence(self.live);
        if !self.live && self.health.is_probe_due(now) {
            self.disks.probe();
        }
        let way = Way::of(self.cables.ports(), now);
        let told = [self.health.sees_way(now, way), self.health.measures_load(now)];
        for change in told.into_iter().flatten() {
            self.reporter.happened(Happening::Health(change));
        }
        self.look_at_arbiter(now);
    }

    /// Looks, if it is time, whether the arbiter is there. While it is asked for a decision, that question
    /// shows it.
    fn look_at_arbiter(&mut self, now: Time) {
        let (Some(asker), Some(owned)) = (&self.arbiter, self.owned) else {
            return;
        };
        if self.reporter.role() != RoleName::Claiming && self.health.arbiter().begins(now) {
            asker.look(owned.epoch, owned.owner);
        }
        let place = self.arbiter_place().unwrap_or_default();
        if let Some(change) = self.health.arbiter().waits(now, &place) {
            self.reporter.happened(Happening::Health(change));
        }
    }

    /// Takes the answer to a look at the arbiter.
    pub(super) fn hear_of_arbiter(&mut self, found: Result<(), String>) {
        let place = self.arbiter_place().unwrap_or_default();
        if let Some(change) = self.health.arbiter().hears(clock::now(), &place, found) {
            self.reporter.happened(Happening::Health(change));
        }
    }

    /// Where the VM's arbiter is; `None`: it has none.
    #[must_use]
    pub fn arbiter_place(&self) -> Option<String> {
        let alone = self.control.as_ref().and_then(|socket| socket.arbiter());
        self.reporter.arbiter().or(alone).map(str::to_owned)
    }

    /// How this side is off.
    #[must_use]
    pub fn health(&self, now: Time) -> Health {
        self.health
            .health(now, clock::wall_ns(), self.reporter.waiting_since())
    }
}
