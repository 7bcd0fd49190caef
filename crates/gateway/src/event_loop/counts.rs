//! The numbers of a running gateway, for whoever watches it (`gauges`).
//!
//! The loop calls this file at the end of a turn, before the frames of the turn leave, so that whoever has an
//! answer finds its numbers. Nothing here changes anything but the gauges.

use super::EventLoop;

impl EventLoop {
    /// Sets all numbers of the gateway as they are now.
    pub(super) fn show_gauges(&mut self) {
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let counts = self.tcp.counts();
        self.gauges.connections.set(counts.connections);
        self.gauges.buffers.set(counts.buffers);
        self.gauges.late.set(counts.late);
        self.gauges.leaving.set(counts.leaving);
        self.gauges.evicted.set(number(counts.evicted));
        self.gauges.unserved.set(number(self.tcp.forwards.unserved));
        self.gauges
            .refused
            .set(number(self.tcp.forwards.refused_by_guest));
        self.gauges.peers.set(self.segment.switch.len());
        self.gauges.addresses.set(self.segment.guests.len());
        let [mappings, resting] = self.udp.mappings.counts();
        self.gauges.mappings.set(mappings);
        self.gauges.resting.set(resting);
        self.gauges.clients.set(self.udp.clients.len());
        self.gauges.unclaimed.set(number(self.segment.unclaimed()));
        self.gauges.fragmented.set(self.fragments.len());
        self.gauges
            .refused_datagrams
            .set(number(self.udp.clients.refused()));
        self.gauges.forbidden.set(number(self.destinations.forbidden()));
    }
}
