//! `Slot`: one place for a virtio device on the board, and which device is in it.
//!
//! The board holds eight slots and calls each as a [`Device`]. What a configuration puts where is decided by
//! the board; a device is told its slot only to drive the slot's interrupt line.

use hart::{Visit, Visitor, Width};

use super::{
    blk::Block,
    mmio::{self, VirtioMmio},
    net::Net,
    rng::Entropy,
};
use crate::{
    DiskConfig, NetConfig, Transport,
    device::{Device, Reach},
};

/// One virtio-mmio slot of the board.
pub enum Slot {
    /// No device: the slot shows device ID 0 (VIRTIO 4.2.2).
    Empty(Transport),
    /// A disk: virtio-blk.
    Block(VirtioMmio<Block>),
    /// A network device: virtio-net.
    Net(VirtioMmio<Net>),
    /// The entropy device: virtio-rng.
    Entropy(VirtioMmio<Entropy>),
}

impl Slot {
    /// Slot `slot` of the board with disk `disk` of the configuration.
    #[must_use]
    pub fn block(slot: u8, transport: Transport, disk: u8, config: &DiskConfig) -> Slot {
        Slot::Block(VirtioMmio::new(slot, transport, Block::new(disk, config)))
    }

    /// Slot `slot` of the board with network device `port`.
    #[must_use]
    pub fn net(slot: u8, transport: Transport, port: u8, config: &NetConfig) -> Slot {
        Slot::Net(VirtioMmio::new(slot, transport, Net::new(port, config)))
    }

    /// Slot `slot` of the board with the entropy device.
    #[must_use]
    pub fn entropy(slot: u8, transport: Transport) -> Slot {
        Slot::Entropy(VirtioMmio::new(slot, transport, Entropy::default()))
    }

    /// The device in the slot, behind its registers.
    fn device(&mut self) -> Option<&mut dyn Device> {
        match self {
            Slot::Empty(_) => None,
            Slot::Block(device) => Some(device),
            Slot::Net(device) => Some(device),
            Slot::Entropy(device) => Some(device),
        }
    }
}

impl Device for Slot {
    fn read(&mut self, offset: u64, width: Width, reach: &mut Reach<'_>) -> Option<u64> {
        match self {
            Slot::Empty(transport) => Some(mmio::empty(*transport, offset, width)),
            _ => self.device()?.read(offset, width, reach),
        }
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, reach: &mut Reach<'_>) -> bool {
        match self.device() {
            Some(device) => device.write(offset, width, value, reach),
            None => true,
        }
    }

    fn deadline(&self) -> Option<u64> {
        None // No virtio device waits for a time.
    }

    fn wake(&mut self, _: &mut Reach<'_>) {}

    fn reset(&mut self) {
        if let Some(device) = self.device() {
            device.reset();
        }
    }
}

impl Visit for Slot {
    /// What is in a slot comes from the configuration; only the device's state is visited.
    fn visit(&mut self, v: &mut dyn Visitor) {
        if let Some(device) = self.device() {
            device.visit(v);
        }
    }
}
