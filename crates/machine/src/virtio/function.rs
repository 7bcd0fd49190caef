//! `Function`: what makes the transport a certain device: disk, network, entropy.
//!
//! The transport ([`mmio`](super::mmio)) owns registers, features and queues. It calls the function when the
//! driver has made buffers available or resets the device, and lends it the queues for the call. A function
//! never calls the transport, and it keeps only its own state.

use hart::Visit;

use super::{chain::Broken, features::Accepted, queue::Queue};
use crate::device::Reach;

/// What makes a transport a device: its queues, features and configuration space.
///
/// A function holds only its own state; queues and features belong to the transport and are lent.
pub trait Function: Visit {
    /// The device ID (VIRTIO 5).
    const ID: u32;
    /// The largest size of each queue.
    const QUEUES: &'static [u16];

    /// The bits of the features that the device offers beside
    /// [`TransportFeatures`](super::TransportFeatures).
    fn features(&self) -> u64;

    /// One byte of the configuration space; 0 where there is none. Whoever changes it, but for the driver,
    /// tells the transport ([`VirtioMmio::config_changed`](super::VirtioMmio)).
    fn config(&self, offset: u64, accepted: Accepted) -> u8;

    /// The driver has written a byte of the configuration space. What it may not write stays as it is.
    fn set_config(&mut self, offset: u64, value: u8, accepted: Accepted);

    /// The driver has made buffers available in the queue of this index.
    ///
    /// # Errors
    /// If the driver broke a rule: the transport sets DEVICE_NEEDS_RESET.
    fn notify(&mut self, queue: usize, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken>;

    /// The driver reset the device or stopped a queue: everything taken from the queues is forgotten.
    fn reset(&mut self);
}

/// What the transport lends a function for one call.
pub struct Rings<'a> {
    /// As many queues as [`Function::QUEUES`] has sizes.
    pub(super) queues: &'a mut [Queue],
    /// The features that driver and device have agreed on.
    pub accepted: Accepted,
}

impl Rings<'_> {
    /// The queue of this index.
    ///
    /// # Errors
    /// Never for an index below the length of [`Function::QUEUES`].
    pub fn queue(&mut self, index: usize) -> Result<&mut Queue, Broken> {
        self.queues.get_mut(index).ok_or(Broken("no such queue"))
    }
}
