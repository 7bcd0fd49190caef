//! The registers of virtio-mmio by their names, in both versions (VIRTIO 4.2.2 and 4.2.4), and the bits in
//! them.
//!
//! [`mmio`](super::mmio) does what a load or store of a register means. This file only says which register is
//! where, and holds no state.

use bitflags::bitflags;

use super::queue::{Area, Half};
use crate::Transport;

/// MagicValue: "virt".
pub const MAGIC: u32 = 0x7472_6976;
/// VendorID, which says who made the device: "QEMU", as on the board that ours is like. Kernels for that
/// board ask for it.
pub const VENDOR: u32 = u32::from_le_bytes(*b"QEMU");

bitflags! {
    /// VIRTIO 2.1: the device status field.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct DeviceStatus: u8 {
        /// The driver has noticed the device.
        const ACKNOWLEDGE = 1 << 0;
        /// The driver knows how to drive the device.
        const DRIVER = 1 << 1;
        /// The driver is set up: the device may use its queues.
        const DRIVER_OK = 1 << 2;
        /// Driver and device have agreed on the features.
        const FEATURES_OK = 1 << 3;
        /// The device has given up until a reset.
        const DEVICE_NEEDS_RESET = 1 << 6;
        /// The driver has given up.
        const FAILED = 1 << 7;
    }

    /// VIRTIO 4.2.2: InterruptStatus.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InterruptStatus: u8 {
        /// Used buffer notification: a buffer was given back.
        const USED_BUFFER = 1 << 0;
        /// Configuration change notification: the configuration space or the status has changed.
        const CONFIGURATION_CHANGE = 1 << 1;
    }
}

/// The control registers by their names in VIRTIO 4.2.2 and 4.2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// "virt".
    Magic,
    /// The version of the registers.
    Version,
    /// What the device is.
    DeviceId,
    /// Who made the device.
    VendorId,
    /// 32 bits of the features that the device offers.
    DeviceFeatures,
    /// Which 32 bits DeviceFeatures shows.
    DeviceFeaturesSelect,
    /// 32 bits of the features that the driver accepts.
    DriverFeatures,
    /// Which 32 bits DriverFeatures writes.
    DriverFeaturesSelect,
    /// Which queue the registers of queues mean.
    QueueSelect,
    /// The largest size of the queue: QueueNumMax.
    QueueSizeMax,
    /// The size of the queue that the driver chose: QueueNum.
    QueueSize,
    /// Whether the queue may be used.
    QueueReady,
    /// There are new buffers in this queue.
    QueueNotify,
    /// Why the interrupt line is high.
    InterruptStatus,
    /// What the driver has seen of that.
    InterruptAcknowledge,
    /// How far the driver has got.
    Status,
    /// QueueDescLow to QueueDeviceHigh: one half of the address of one area.
    QueueAddress(Area, Half),
    /// GuestPageSize of legacy devices: the unit of QueuePFN.
    GuestPageSize,
    /// QueueAlign of legacy devices: to what the used ring is aligned behind the available ring.
    QueueAlign,
    /// QueuePFN of legacy devices: the guest page in which the queue begins; 0: the queue is not used.
    QueuePage,
    /// SHMLen and SHMBase: length and place of the selected shared memory region.
    SharedMemory,
    /// ConfigGeneration of modern devices: another number after each change of the configuration space.
    ConfigGeneration,
    /// Nothing, or SHMSel or QueueReset: written to no effect, read as 0.
    Other,
}

impl Register {
    /// The register at `offset`. Those that the other transport has are [`Register::Other`].
    #[must_use]
    pub fn at(offset: u64, transport: Transport) -> Register {
        match (transport, offset) {
            (_, 0x00) => Register::Magic,
            (_, 0x04) => Register::Version,
            (_, 0x08) => Register::DeviceId,
            (_, 0x0c) => Register::VendorId,
            (_, 0x10) => Register::DeviceFeatures,
            (_, 0x14) => Register::DeviceFeaturesSelect,
            (_, 0x20) => Register::DriverFeatures,
            (_, 0x24) => Register::DriverFeaturesSelect,
            (Transport::Legacy, 0x28) => Register::GuestPageSize,
            (_, 0x30) => Register::QueueSelect,
            (_, 0x34) => Register::QueueSizeMax,
            (_, 0x38) => Register::QueueSize,
            (Transport::Legacy, 0x3c) => Register::QueueAlign,
            (Transport::Legacy, 0x40) => Register::QueuePage,
            (Transport::Modern, 0x44) => Register::QueueReady,
            (_, 0x50) => Register::QueueNotify,
            (_, 0x60) => Register::InterruptStatus,
            (_, 0x64) => Register::InterruptAcknowledge,
            (_, 0x70) => Register::Status,
            (Transport::Modern, 0x80) => Register::QueueAddress(Area::Descriptors, Half::Low),
            (Transport::Modern, 0x84) => Register::QueueAddress(Area::Descriptors, Half::High),
            (Transport::Modern, 0x90) => Register::QueueAddress(Area::Driver, Half::Low),
            (Transport::Modern, 0x94) => Register::QueueAddress(Area::Driver, Half::High),
            (Transport::Modern, 0xa0) => Register::QueueAddress(Area::Device, Half::Low),
            (Transport::Modern, 0xa4) => Register::QueueAddress(Area::Device, Half::High),
            (_, 0xb0 | 0xb4 | 0xb8 | 0xbc) => Register::SharedMemory,
            (Transport::Modern, 0xfc) => Register::ConfigGeneration,
            _ => Register::Other,
        }
    }
}
