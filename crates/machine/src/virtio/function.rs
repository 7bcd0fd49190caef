//! `Function`: what makes the transport a certain device. The transport (`mmio`) calls it; it never calls the transport.

use hart::Visit;

use super::{chain::Broken, queue::Queue};
use crate::device::Reach;

/// VIRTIO_F_INDIRECT_DESC.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// VIRTIO_F_EVENT_IDX.
pub const EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_F_VERSION_1.
pub const VERSION_1: u64 = 1 << 32;

/// What makes a transport a device: its queues, features and configuration space.
///
/// A function holds only its own state; queues and features belong to the transport and are lent.
pub trait Function: Visit {
    /// VIRTIO 5: the device ID.
    const ID: u32;
    /// The largest size of each queue.
    const QUEUES: &'static [u16];

    /// Features offered beside those of the transport.
    fn features(&self) -> u64;

    /// One byte of the configuration space; 0 where there is none. It never changes, so neither does
    /// ConfigGeneration.
    fn config(&self, offset: u64) -> u8;

    /// The driver has made buffers available in `queue`.
    ///
    /// # Errors
    /// If the driver broke a rule: the transport sets DEVICE_NEEDS_RESET.
    fn notify(&mut self, queue: usize, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken>;

    /// The driver reset the device or stopped a queue: everything taken from the queues is forgotten.
    fn reset(&mut self);
}

/// What the transport lends a function.
pub struct Rings<'a> {
    pub(super) queues: &'a mut [Queue],
    pub(super) features: u64,
}

impl Rings<'_> {
    /// One queue.
    ///
    /// # Errors
    /// Never for an index below the length of [`Function::QUEUES`].
    pub fn queue(&mut self, index: usize) -> Result<&mut Queue, Broken> {
        self.queues.get_mut(index).ok_or(Broken("no such queue"))
    }

    /// Did the driver accept the feature?
    #[must_use]
    pub fn accepted(&self, feature: u64) -> bool {
        self.features & feature != 0
    }
}
