//! `TransportFeatures`: the features that every device here offers and whose work transport and queues do;
//! and `Accepted`, what came of an offer.
//!
//! The features of a single device stand with it ([`blk`](super::blk), [`net`](super::net)); the bits of both
//! together are what the driver is offered. The features are named here and obeyed in the transport and in
//! the queue.

use bitflags::{Flags, bitflags};

use crate::Transport;

bitflags! {
    /// The features of transport and queues that devices here offer (VIRTIO 6): `VIRTIO_F_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TransportFeatures: u64 {
        /// The device takes the pieces of a buffer in any layout. Legacy devices offer it; for all others it
        /// goes without saying.
        const ANY_LAYOUT = 1 << 27;
        /// Descriptors may refer to tables of descriptors.
        const INDIRECT_DESC = 1 << 28;
        /// Driver and device say from which buffer on they want to be notified.
        const EVENT_IDX = 1 << 29;
        /// The driver keeps to version 1 of the specification, and not to what was before it. A driver may
        /// leave it out (VIRTIO 6.1): then some structures have the size that they had before version 1.
        const VERSION_1 = 1 << 32;
    }
}

impl TransportFeatures {
    /// Those that a device of this transport offers.
    #[must_use]
    pub fn offered(transport: Transport) -> TransportFeatures {
        let always = TransportFeatures::INDIRECT_DESC | TransportFeatures::EVENT_IDX;
        match transport {
            Transport::Modern => always | TransportFeatures::VERSION_1,
            Transport::Legacy => always | TransportFeatures::ANY_LAYOUT,
        }
    }
}

/// The features of transport and function that driver and device have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted(pub(super) u64);

impl Accepted {
    /// Is this feature agreed on?
    #[must_use]
    pub fn has(self, feature: impl Flags<Bits = u64>) -> bool {
        self.0 & feature.bits() != 0
    }
}
