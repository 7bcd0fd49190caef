//! How much of its limited resources a gateway uses, for another thread that watches it: so far for tests of
//! the limits, by the feature `parts`.
//!
//! The loop (`event_loop`) sets the numbers at the end of each turn, and
//! [`GatewayReady`](super::GatewayReady) hands them out. Nothing may read them back to decide anything: they
//! are as old as the last turn.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// The number, as it was after the gateway's last turn.
    #[cfg(feature = "parts")]
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, number: usize) {
        self.0.store(number, Ordering::Relaxed);
    }
}

/// All numbers of a gateway.
#[derive(Debug, Default)]
pub struct Gauges {
    /// TCP connections that are served.
    pub connections: Gauge,
    /// Buffers of those connections, in use or spare.
    pub buffers: Gauge,
    /// TCP connections that are closed and only answer late segments.
    pub late: Gauge,
    /// Host sockets of closed connections whose last bytes the kernel still delivers.
    pub leaving: Gauge,
    /// Connections that made room for others because a table was full.
    pub evicted: Gauge,
    /// Clients of forwards that were reset since no guest was there, or nothing came from it.
    pub unserved: Gauge,
    /// Clients of forwards that a guest has refused.
    pub refused: Gauge,
    /// VMMs that are connected.
    pub peers: Gauge,
    /// Addresses that guests are known by.
    pub addresses: Gauge,
    /// Ports of guests that have a host socket for their datagrams.
    pub mappings: Gauge,
    /// Ports of this host that rest after such a socket.
    pub resting: Gauge,
    /// Clients of UDP forwards.
    pub clients: Gauge,
    /// Datagrams of those clients that a guest has refused.
    pub refused_datagrams: Gauge,
    /// Times that datagrams were dropped because no guest had their address.
    pub unclaimed: Gauge,
    /// Packets of which some fragments have come.
    pub fragmented: Gauge,
    /// Attempts of guests to reach a destination that is refused.
    pub forbidden: Gauge,
}
