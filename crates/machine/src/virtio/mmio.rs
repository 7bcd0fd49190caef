//! The virtio-mmio transport, version 2 (VIRTIO 4.2): registers between the guest's driver and a
//! [`Function`].
//!
//! The transport owns status, features, queues and interrupt bits, once for all devices. The board calls it
//! as a [`Device`]; it calls the function when there is work, and settles the interrupt afterwards.
//!
//! A driver that breaks a rule meets DEVICE_NEEDS_RESET, never an error of ours: from then on the device
//! touches neither guest memory nor the outside until it is reset. Accesses that the specification forbids
//! without saying what follows are ignored and read as 0, as QEMU does.

use bitflags::bitflags;
use hart::{Visit, Visitor, Width};

use super::{
    Accepted, Broken, Function, Queue, Rings, TransportFeatures,
    queue::{Area, Half},
};
use crate::{
    device::{Device, Reach, visit_flags},
    irq::Line,
    narrow::{low8, low32, with_half},
};

/// MagicValue: "virt".
const MAGIC: u32 = 0x7472_6976;
/// Version: not a legacy device.
const VERSION: u32 = 2;
/// VendorID, which says who made the device: "QEMU", as on the board that ours is like. Kernels for that
/// board ask for it.
const VENDOR: u32 = u32::from_le_bytes(*b"QEMU");
/// The bit of a feature that no device here offers. A driver accepts it that accepts one beyond bit 63.
const NEVER_OFFERED: u64 = 1 << 62;
/// Offset of the device's configuration space.
const CONFIG: u64 = 0x100;

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

/// The control registers by their names in VIRTIO 4.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Magic,
    Version,
    DeviceId,
    VendorId,
    DeviceFeatures,
    DeviceFeaturesSelect,
    DriverFeatures,
    DriverFeaturesSelect,
    QueueSelect,
    QueueSizeMax,
    QueueSize,
    QueueReady,
    QueueNotify,
    InterruptStatus,
    InterruptAcknowledge,
    Status,
    /// QueueDescLow to QueueDeviceHigh: one half of the address of one area.
    QueueAddress(Area, Half),
    /// SHMLen and SHMBase: length and place of the selected shared memory region.
    SharedMemory,
    /// Nothing, or SHMSel, QueueReset or ConfigGeneration: written to no effect, read as 0.
    Other,
}

impl Register {
    fn at(offset: u64) -> Register {
        match offset {
            0x00 => Register::Magic,
            0x04 => Register::Version,
            0x08 => Register::DeviceId,
            0x0c => Register::VendorId,
            0x10 => Register::DeviceFeatures,
            0x14 => Register::DeviceFeaturesSelect,
            0x20 => Register::DriverFeatures,
            0x24 => Register::DriverFeaturesSelect,
            0x30 => Register::QueueSelect,
            0x34 => Register::QueueSizeMax,
            0x38 => Register::QueueSize,
            0x44 => Register::QueueReady,
            0x50 => Register::QueueNotify,
            0x60 => Register::InterruptStatus,
            0x64 => Register::InterruptAcknowledge,
            0x70 => Register::Status,
            0x80 => Register::QueueAddress(Area::Descriptors, Half::Low),
            0x84 => Register::QueueAddress(Area::Descriptors, Half::High),
            0x90 => Register::QueueAddress(Area::Driver, Half::Low),
            0x94 => Register::QueueAddress(Area::Driver, Half::High),
            0xa0 => Register::QueueAddress(Area::Device, Half::Low),
            0xa4 => Register::QueueAddress(Area::Device, Half::High),
            0xb0 | 0xb4 | 0xb8 | 0xbc => Register::SharedMemory,
            _ => Register::Other,
        }
    }
}

/// A load from a slot without a device, which has device ID 0 (VIRTIO 4.2.2).
#[must_use]
pub fn empty(offset: u64, width: Width) -> u64 {
    let word = |offset| match Register::at(offset) {
        Register::Magic => MAGIC,
        Register::Version => VERSION,
        Register::VendorId => VENDOR,
        _ => 0,
    };
    match width {
        Width::Word => u64::from(word(offset)),
        Width::Double => u64::from(word(offset)) | u64::from(word(offset.saturating_add(4))) << 32,
        Width::Byte | Width::Half => 0,
    }
}

/// One virtio device behind its registers.
pub struct VirtioMmio<F> {
    /// The number of the device's slot on the board. Part of the machine's build, not of its state.
    slot: u8,
    /// What the device is behind its registers.
    pub(super) function: F,
    /// How far the driver has got. Bits are only ever added until a reset.
    status: DeviceStatus,
    /// Why the interrupt line is high; it is low when this is empty.
    interrupt: InterruptStatus,
    /// Which 32 of the offered features DeviceFeatures shows.
    device_features_select: u32,
    /// Which 32 of the accepted features DriverFeatures writes.
    driver_features_select: u32,
    /// The features that the driver wrote. Invariant: a subset of what is offered once FEATURES_OK is set.
    driver_features: u64,
    /// Which queue the queue registers mean; there need not be one.
    queue_select: u32,
    /// As many queues as [`Function::QUEUES`] has sizes.
    queues: Vec<Queue>,
}

impl<F: Function> VirtioMmio<F> {
    /// The device in `slot` after reset.
    #[must_use]
    pub fn new(slot: u8, function: F) -> VirtioMmio<F> {
        VirtioMmio {
            slot,
            function,
            status: DeviceStatus::empty(),
            interrupt: InterruptStatus::empty(),
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues: F::QUEUES.iter().map(|&max| Queue::new(max)).collect(),
        }
    }

    /// Does the driver run the device? Before that, and after a broken rule, the device may not touch the
    /// queues.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.status.contains(DeviceStatus::DRIVER_OK)
            && !self.status.contains(DeviceStatus::DEVICE_NEEDS_RESET)
    }

    /// Lets the function act on its queues, if the device is live; then settles interrupts.
    pub(super) fn run(
        &mut self,
        reach: &mut Reach<'_>,
        act: impl FnOnce(&mut F, &mut Rings<'_>, &mut Reach<'_>) -> Result<(), Broken>,
    ) {
        if !self.is_live() {
            return;
        }
        let mut rings = Rings {
            accepted: self.accepted(),
            queues: &mut self.queues,
        };
        let outcome = act(&mut self.function, &mut rings, reach);
        let mut settled = Ok(());
        for queue in &mut self.queues {
            match queue.settle(reach.ram) {
                Ok(true) => self.interrupt.insert(InterruptStatus::USED_BUFFER),
                Ok(false) => {}
                Err(broken) => settled = Err(broken),
            }
        }
        if outcome.and(settled).is_err() {
            self.give_up();
        }
        self.drive_line(reach);
    }

    /// A rule is broken: says so, with a configuration change notification once the driver is set up
    /// (VIRTIO 2.1.2).
    fn give_up(&mut self) {
        self.status.insert(DeviceStatus::DEVICE_NEEDS_RESET);
        if self.status.contains(DeviceStatus::DRIVER_OK) {
            self.interrupt.insert(InterruptStatus::CONFIGURATION_CHANGE);
        }
    }

    fn drive_line(&self, reach: &mut Reach<'_>) {
        reach.irq.set(Line::Virtio(self.slot), !self.interrupt.is_empty());
    }

    /// The bits of all features that the device offers.
    fn offered(&self) -> u64 {
        self.function.features() | TransportFeatures::all().bits()
    }

    /// The features that driver and device have agreed on: none before FEATURES_OK, however many the driver
    /// wrote. A driver that was refused FEATURES_OK and goes on all the same has what was offered of those,
    /// as on QEMU's board.
    fn accepted(&self) -> Accepted {
        let is_refused = !self.are_features_sound();
        let is_agreed = self.status.contains(DeviceStatus::FEATURES_OK) || is_refused;
        Accepted(if is_agreed {
            self.driver_features & self.offered()
        } else {
            0
        })
    }

    /// The queue that QueueSel means, if there is one.
    fn selected(&mut self) -> Option<&mut Queue> {
        let index = usize::try_from(self.queue_select).ok()?;
        self.queues.get_mut(index)
    }

    fn read_register(&mut self, register: Register) -> u32 {
        match register {
            Register::Magic => MAGIC,
            Register::Version => VERSION,
            Register::DeviceId => F::ID,
            Register::VendorId => VENDOR,
            Register::DeviceFeatures => match self.device_features_select {
                0 => low32(self.offered()),
                1 => low32(self.offered() >> 32),
                _ => 0,
            },
            Register::QueueSizeMax => self.selected().map_or(0, |queue| u32::from(queue.max())),
            Register::QueueReady => self.selected().map_or(0, |queue| u32::from(queue.is_ready())),
            Register::InterruptStatus => u32::from(self.interrupt.bits()),
            Register::Status => u32::from(self.status.bits()),
            // VIRTIO 4.2.2.1: length -1 for a region that does not exist; its base does not matter.
            Register::SharedMemory => u32::MAX,
            _ => 0,
        }
    }

    fn write_register(&mut self, register: Register, value: u32, reach: &mut Reach<'_>) {
        match register {
            Register::DeviceFeaturesSelect => self.device_features_select = value,
            Register::DriverFeatures => self.accept_features(value),
            Register::DriverFeaturesSelect => self.driver_features_select = value,
            Register::QueueSelect => self.queue_select = value,
            Register::QueueSize => {
                if let Some(queue) = self.selected() {
                    queue.set_size(value);
                }
            }
            Register::QueueReady => self.set_queue_ready(value, reach),
            Register::QueueNotify => self.notify(value, reach),
            Register::InterruptAcknowledge => {
                let acknowledged = InterruptStatus::from_bits_retain(low8(u64::from(value)));
                self.interrupt.remove(acknowledged);
                self.drive_line(reach);
            }
            Register::Status => self.set_status(value, reach),
            Register::QueueAddress(area, half) => {
                if let Some(queue) = self.selected() {
                    queue.set_address(area, half, value);
                }
            }
            _ => {}
        }
    }

    /// A store to DriverFeatures: what the driver chose (VIRTIO 2.2.1). Ignored once FEATURES_OK is set.
    fn accept_features(&mut self, value: u32) {
        if self.status.contains(DeviceStatus::FEATURES_OK) {
            return;
        }
        let features = self.driver_features;
        match self.driver_features_select {
            0 => self.driver_features = with_half(features, 0, u64::from(value)),
            1 => self.driver_features = with_half(features, 32, u64::from(value)),
            // No feature above bit 63 is offered, so accepting one fails at FEATURES_OK.
            _ if value != 0 => self.driver_features |= NEVER_OFFERED,
            _ => {}
        }
    }

    /// A store to QueueReady.
    fn set_queue_ready(&mut self, value: u32, reach: &mut Reach<'_>) {
        let Some(queue) = self.selected() else {
            return;
        };
        match (value, queue.is_ready()) {
            (0, true) => {
                queue.stop();
                // What was taken from the queue must not come back to it.
                self.function.reset();
            }
            (0, false) => {}
            _ => {
                if queue.start(reach.ram).is_err() {
                    self.give_up();
                    self.drive_line(reach);
                }
            }
        }
    }

    /// A store to QueueNotify: the index of a queue, which need not exist.
    fn notify(&mut self, value: u32, reach: &mut Reach<'_>) {
        let Ok(index) = usize::try_from(value) else {
            return;
        };
        if index < self.queues.len() {
            self.run(reach, |function, rings, reach| {
                function.notify(index, rings, reach)
            });
        }
    }

    /// A store to Status.
    fn set_status(&mut self, value: u32, reach: &mut Reach<'_>) {
        let written = DeviceStatus::from_bits_retain(low8(u64::from(value)));
        if written.is_empty() {
            // VIRTIO 4.2.2.1: reset clears the interrupts too.
            self.clear();
            self.drive_line(reach);
            return;
        }
        // VIRTIO 2.1.1: the driver clears no bit but by a reset, and NEEDS_RESET is the device's own.
        let added = written
            .difference(DeviceStatus::DEVICE_NEEDS_RESET)
            .difference(self.status);
        self.status.insert(added);
        // VIRTIO 2.2.2: features that are not offered are refused by leaving the bit clear.
        if !self.are_features_sound() {
            self.status.remove(DeviceStatus::FEATURES_OK);
        }
        if added.contains(DeviceStatus::DRIVER_OK) {
            self.start(reach);
        }
    }

    /// The driver has set DRIVER_OK: looks at what it made available before, and perhaps notified too early.
    ///
    /// VIRTIO 3.1.1 asks the driver for FEATURES_OK before, but a device need not insist: a driver that never
    /// asked has accepted no feature.
    fn start(&mut self, reach: &mut Reach<'_>) {
        let accepted = self.accepted();
        for queue in &mut self.queues {
            queue.set_features(accepted);
        }
        for index in 0..self.queues.len() {
            self.run(reach, |function, rings, reach| {
                function.notify(index, rings, reach)
            });
        }
    }

    /// Did the driver accept a subset of what is offered? VIRTIO_F_VERSION_1 need not be in it: VIRTIO 6.1
    /// lets a device go on without, and drivers for QEMU's board leave it out.
    fn are_features_sound(&self) -> bool {
        self.driver_features & !self.offered() == 0
    }

    /// Back to the state after power-on (VIRTIO 2.4).
    fn clear(&mut self) {
        self.function.reset();
        self.status = DeviceStatus::empty();
        self.interrupt = InterruptStatus::empty();
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        for queue in &mut self.queues {
            queue.reset();
        }
    }
}

impl<F: Function> Device for VirtioMmio<F> {
    /// Control registers answer to 32-bit accesses (VIRTIO 4.2.2.2), the configuration space to any. An
    /// access of 64 bits to control registers is one to each of two, as on QEMU's board.
    fn read(&mut self, offset: u64, width: Width, _: &mut Reach<'_>) -> Option<u64> {
        if let Some(config) = offset.checked_sub(CONFIG) {
            let accepted = self.accepted();
            let mut bytes = [0; 8];
            let places = bytes.iter_mut().zip(config..config.saturating_add(width.bytes()));
            for (byte, offset) in places {
                *byte = self.function.config(offset, accepted);
            }
            return Some(u64::from_le_bytes(bytes));
        }
        let mut word = |offset| u64::from(self.read_register(Register::at(offset)));
        Some(match width {
            Width::Word => word(offset),
            Width::Double => word(offset) | word(offset.saturating_add(4)) << 32,
            Width::Byte | Width::Half => 0,
        })
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, reach: &mut Reach<'_>) -> bool {
        if let Some(config) = offset.checked_sub(CONFIG) {
            let accepted = self.accepted();
            let places = config..config.saturating_add(width.bytes());
            for (offset, byte) in places.zip(value.to_le_bytes()) {
                self.function.set_config(offset, byte, accepted);
            }
            return true;
        }
        match width {
            Width::Word => self.write_register(Register::at(offset), low32(value), reach),
            Width::Double => {
                self.write_register(Register::at(offset), low32(value), reach);
                let high = Register::at(offset.saturating_add(4));
                self.write_register(high, low32(value >> 32), reach);
            }
            Width::Byte | Width::Half => {}
        }
        true
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn wake(&mut self, _: &mut Reach<'_>) {}

    /// The board clears the interrupt lines itself.
    fn reset(&mut self) {
        self.clear();
    }
}

impl<F: Function> Visit for VirtioMmio<F> {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            slot: _,
            function,
            status,
            interrupt,
            device_features_select,
            driver_features_select,
            driver_features,
            queue_select,
            queues,
        } = self;
        visit_flags(v, "status", status);
        visit_flags(v, "interrupt", interrupt);
        v.u32("device_features_select", device_features_select);
        v.u32("driver_features_select", driver_features_select);
        v.u64("driver_features", driver_features);
        v.u32("queue_select", queue_select);
        for queue in queues {
            hart::state::component(v, "queue", queue);
        }
        hart::state::component(v, "function", function);
    }
}
