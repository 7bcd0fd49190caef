//! virtio devices behind virtio-mmio: block, network, console, entropy (VIRTIO 1.2).
//!
//! [`mmio`] is the transport, once; [`queue`] and [`chain`] turn guest memory into checked buffers; one
//! file per device function implements [`Function`]. A store to QueueNotify makes the function take every
//! buffer that is there and emit effects; answers come in later through the named methods of
//! [`VirtioMmio`] (`complete`, `receive`), at an input's step. Both happen on the guest's thread, and
//! guest memory is touched at no other time (FT 3.4-b).
//!
//! Nothing here may panic, loop without bound or allocate without bound, whatever the guest or a peer
//! sends: the backup would replay it (conventions E2).
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

pub mod blk;
pub mod chain;
pub mod console;
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod mmio;
pub mod net;
pub mod pending;
pub mod queue;
pub mod rng;

use hart::{Visit, Visitor, Width};

pub use blk::Block;
pub use chain::Broken;
pub use console::Console;
pub use mmio::VirtioMmio;
pub use net::Net;
pub use queue::Queue;
pub use rng::Entropy;

use crate::{
    DiskConfig, NetConfig,
    device::{Context, Device},
};

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
    fn notify(&mut self, queue: usize, rings: &mut Rings<'_>, cx: &mut Context<'_>) -> Result<(), Broken>;

    /// The driver reset the device or stopped a queue: everything taken from the queues is forgotten.
    fn reset(&mut self);
}

/// What the transport lends a function.
pub struct Rings<'a> {
    queues: &'a mut [Queue],
    features: u64,
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

/// One virtio-mmio slot of the board.
#[derive(Default)]
pub enum Slot {
    /// Nothing: device ID 0 (VIRTIO 4.2.2).
    #[default]
    Empty,
    /// virtio-blk.
    Block(VirtioMmio<Block>),
    /// virtio-net.
    Net(VirtioMmio<Net>),
    /// virtio-console.
    Console(VirtioMmio<Console>),
    /// virtio-rng.
    Entropy(VirtioMmio<Entropy>),
}

impl Slot {
    /// Slot `slot` of the board with disk `disk` of the configuration.
    #[must_use]
    pub fn block(slot: u8, disk: u8, config: &DiskConfig) -> Slot {
        Slot::Block(VirtioMmio::new(slot, Block::new(disk, config)))
    }

    /// Slot `slot` of the board with network device `port`.
    #[must_use]
    pub fn net(slot: u8, port: u8, config: &NetConfig) -> Slot {
        Slot::Net(VirtioMmio::new(slot, Net::new(port, config)))
    }

    /// Slot `slot` of the board with console `port`, at least 1.
    #[must_use]
    pub fn console(slot: u8, port: u8) -> Slot {
        Slot::Console(VirtioMmio::new(slot, Console::new(port)))
    }

    /// Slot `slot` of the board with the entropy device.
    #[must_use]
    pub fn entropy(slot: u8) -> Slot {
        Slot::Entropy(VirtioMmio::new(slot, Entropy::default()))
    }
}

impl Device for Slot {
    fn read(&mut self, offset: u64, width: Width, cx: &mut Context<'_>) -> Option<u64> {
        match self {
            Slot::Empty => Some(mmio::empty(offset, width)),
            Slot::Block(device) => device.read(offset, width, cx),
            Slot::Net(device) => device.read(offset, width, cx),
            Slot::Console(device) => device.read(offset, width, cx),
            Slot::Entropy(device) => device.read(offset, width, cx),
        }
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, cx: &mut Context<'_>) -> bool {
        match self {
            Slot::Empty => true,
            Slot::Block(device) => device.write(offset, width, value, cx),
            Slot::Net(device) => device.write(offset, width, value, cx),
            Slot::Console(device) => device.write(offset, width, value, cx),
            Slot::Entropy(device) => device.write(offset, width, value, cx),
        }
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn wake(&mut self, _: &mut Context<'_>) {}

    fn reset(&mut self) {
        match self {
            Slot::Empty => {}
            Slot::Block(device) => device.reset(),
            Slot::Net(device) => device.reset(),
            Slot::Console(device) => device.reset(),
            Slot::Entropy(device) => device.reset(),
        }
    }
}

impl Visit for Slot {
    /// What is in a slot comes from the configuration; only the device's state is visited.
    fn visit(&mut self, v: &mut dyn Visitor) {
        match self {
            Slot::Empty => {}
            Slot::Block(device) => device.visit(v),
            Slot::Net(device) => device.visit(v),
            Slot::Console(device) => device.visit(v),
            Slot::Entropy(device) => device.visit(v),
        }
    }
}
