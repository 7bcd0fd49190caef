//! The virtio-mmio transport, version 2 (VIRTIO 4.2): registers between the guest's driver and a
//! [`Function`]. Owns status, features, queues and interrupt bits, once for all devices.
//!
//! The driver's rule-breaking ends in DEVICE_NEEDS_RESET, never in an error of ours: from then on the
//! device touches neither guest memory nor the outside until it is reset. Accesses that the specification
//! forbids without saying what follows are ignored and read as 0, as QEMU does.

use hart::{Visit, Visitor, Width};

use super::{Broken, EVENT_IDX, Function, INDIRECT_DESC, Queue, Rings, VERSION_1, queue::Area};
use crate::{
    device::{Device, Reach},
    irq::Line,
};

/// "virt".
const MAGIC: u32 = 0x7472_6976;
/// Not a legacy device.
const VERSION: u32 = 2;
/// "LOCK": who made the device.
const VENDOR: u32 = 0x4b43_4f4c;
/// Where the configuration space begins.
const CONFIG: u64 = 0x100;

/// VIRTIO 2.1: device status bits that the device itself looks at.
pub mod status {
    /// The driver is set up.
    pub const DRIVER_OK: u8 = 4;
    /// Features are agreed.
    pub const FEATURES_OK: u8 = 8;
    /// The device has given up until a reset.
    pub const NEEDS_RESET: u8 = 64;
}

/// VIRTIO 4.2.2: InterruptStatus bits.
pub mod interrupt {
    /// A buffer was used.
    pub const USED: u8 = 1;
    /// Configuration or status changed.
    pub const CONFIG: u8 = 2;
}

/// VIRTIO 4.2.2: the control registers.
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
    /// An area's address; true: its high half.
    QueueAddress(Area, bool),
    /// Length and base of the selected shared memory region.
    SharedMemory,
    /// Also SHMSel, QueueReset and ConfigGeneration: written to no effect, read as 0.
    Other,
}

impl Register {
    fn decode(offset: u64) -> Register {
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
            0x80 => Register::QueueAddress(Area::Descriptors, false),
            0x84 => Register::QueueAddress(Area::Descriptors, true),
            0x90 => Register::QueueAddress(Area::Driver, false),
            0x94 => Register::QueueAddress(Area::Driver, true),
            0xa0 => Register::QueueAddress(Area::Device, false),
            0xa4 => Register::QueueAddress(Area::Device, true),
            0xb0 | 0xb4 | 0xb8 | 0xbc => Register::SharedMemory,
            _ => Register::Other,
        }
    }
}

/// A load from a slot without device: VIRTIO 4.2.2, device ID 0.
#[must_use]
pub fn empty(offset: u64, width: Width) -> u64 {
    match (Register::decode(offset), width) {
        (Register::Magic, Width::Word) => u64::from(MAGIC),
        (Register::Version, Width::Word) => u64::from(VERSION),
        _ => 0,
    }
}

/// One virtio device behind its registers.
pub struct VirtioMmio<F> {
    /// Which slot of the board. Part of the machine's build, not of its state.
    slot: u8,
    pub(super) function: F,
    /// VIRTIO 2.1. Bits are only ever added until a reset.
    status: u8,
    interrupt: u8,
    device_features_select: u32,
    driver_features_select: u32,
    /// What the driver wrote. Invariant: a subset of what is offered once FEATURES_OK is set.
    driver_features: u64,
    queue_select: u32,
    /// As many as [`Function::QUEUES`].
    queues: Vec<Queue>,
}

impl<F: Function> VirtioMmio<F> {
    /// The device in `slot` after reset.
    #[must_use]
    pub fn new(slot: u8, function: F) -> VirtioMmio<F> {
        VirtioMmio {
            slot,
            function,
            status: 0,
            interrupt: 0,
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues: F::QUEUES.iter().map(|&max| Queue::new(max)).collect(),
        }
    }

    /// Does the driver run it? Before, and after a broken rule, it may not touch the queues.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
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
            queues: &mut self.queues,
            features: self.driver_features,
        };
        let outcome = act(&mut self.function, &mut rings, reach);
        let mut settled = Ok(());
        for queue in &mut self.queues {
            match queue.settle(reach.ram) {
                Ok(true) => self.interrupt |= interrupt::USED,
                Ok(false) => {}
                Err(broken) => settled = Err(broken),
            }
        }
        if outcome.and(settled).is_err() {
            self.give_up();
        }
        self.drive_line(reach);
    }

    /// VIRTIO 2.1.2: a rule is broken; says so, with a configuration change notification once the driver
    /// is set up.
    fn give_up(&mut self) {
        self.status |= status::NEEDS_RESET;
        if self.status & status::DRIVER_OK != 0 {
            self.interrupt |= interrupt::CONFIG;
        }
    }

    fn drive_line(&self, reach: &mut Reach<'_>) {
        reach.irq.set(Line::Virtio(self.slot), self.interrupt != 0);
    }

    fn offered(&self) -> u64 {
        self.function.features() | VERSION_1 | INDIRECT_DESC | EVENT_IDX
    }

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
            Register::DeviceFeatures => half(self.offered(), self.device_features_select),
            Register::QueueSizeMax => self.selected().map_or(0, |queue| u32::from(queue.max())),
            Register::QueueReady => self.selected().map_or(0, |queue| u32::from(queue.is_ready())),
            Register::InterruptStatus => u32::from(self.interrupt),
            Register::Status => u32::from(self.status),
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
                let [acknowledged, ..] = value.to_le_bytes();
                self.interrupt &= !acknowledged;
                self.drive_line(reach);
            }
            Register::Status => self.set_status(value, reach),
            Register::QueueAddress(area, high) => {
                if let Some(queue) = self.selected() {
                    queue.set_address(area, high, value);
                }
            }
            _ => {}
        }
    }

    /// VIRTIO 2.2.1: the driver's choice; ignored once FEATURES_OK is set.
    fn accept_features(&mut self, value: u32) {
        if self.status & status::FEATURES_OK != 0 {
            return;
        }
        let value = u64::from(value);
        let features = self.driver_features;
        match self.driver_features_select {
            0 => self.driver_features = features & !0xffff_ffff | value,
            1 => self.driver_features = features & 0xffff_ffff | value << 32,
            // No feature above bit 63 is offered, so accepting one fails at FEATURES_OK.
            _ if value != 0 => self.driver_features = u64::MAX,
            _ => {}
        }
    }

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

    fn set_status(&mut self, value: u32, reach: &mut Reach<'_>) {
        let [written, ..] = value.to_le_bytes();
        if written == 0 {
            // VIRTIO 4.2.2.1: reset clears the interrupts too.
            self.clear();
            self.drive_line(reach);
            return;
        }
        // VIRTIO 2.1.1: the driver clears no bit but by a reset, and NEEDS_RESET is the device's own.
        let mut new = self.status | written & !status::NEEDS_RESET;
        let added = new & !self.status;
        if added & status::FEATURES_OK != 0 {
            if self.are_features_sound() {
                let indirect = self.driver_features & INDIRECT_DESC != 0;
                let event_index = self.driver_features & EVENT_IDX != 0;
                for queue in &mut self.queues {
                    queue.set_features(indirect, event_index);
                }
            } else {
                // VIRTIO 2.2.2: refused by leaving the bit clear.
                new &= !status::FEATURES_OK;
            }
        }
        self.status = new;
        if added & status::DRIVER_OK != 0 {
            self.start(reach);
        }
    }

    /// DRIVER_OK: what the driver made available before (and perhaps notified too early) is looked at.
    fn start(&mut self, reach: &mut Reach<'_>) {
        if self.status & status::FEATURES_OK == 0 {
            // VIRTIO 3.1.1: the driver may not go on without FEATURES_OK.
            self.give_up();
            self.drive_line(reach);
            return;
        }
        for index in 0..self.queues.len() {
            self.run(reach, |function, rings, reach| {
                function.notify(index, rings, reach)
            });
        }
    }

    /// VIRTIO 6.1: a subset of what is offered, with VIRTIO_F_VERSION_1.
    fn are_features_sound(&self) -> bool {
        self.driver_features & !self.offered() == 0 && self.driver_features & VERSION_1 != 0
    }

    /// VIRTIO 2.4: back to the state after reset.
    fn clear(&mut self) {
        self.function.reset();
        self.status = 0;
        self.interrupt = 0;
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
    /// Control registers answer to 32-bit accesses (VIRTIO 4.2.2.2), the configuration space to any.
    fn read(&mut self, offset: u64, width: Width, _: &mut Reach<'_>) -> Option<u64> {
        if let Some(config) = offset.checked_sub(CONFIG) {
            let mut bytes = [0; 8];
            let places = bytes.iter_mut().zip(config..config.saturating_add(width.bytes()));
            for (byte, offset) in places {
                *byte = self.function.config(offset);
            }
            return Some(u64::from_le_bytes(bytes));
        }
        match width {
            Width::Word => Some(u64::from(self.read_register(Register::decode(offset)))),
            _ => Some(0),
        }
    }

    /// No configuration space has a field for the driver to write.
    fn write(&mut self, offset: u64, width: Width, value: u64, reach: &mut Reach<'_>) -> bool {
        if offset < CONFIG && width == Width::Word {
            self.write_register(Register::decode(offset), half(value, 0), reach);
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
        v.u8("status", status);
        v.u8("interrupt", interrupt);
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

/// The 32 bits `word` of a 64-bit value: 0 low, 1 high, others none.
fn half(value: u64, word: u32) -> u32 {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = value.to_le_bytes();
    match word {
        0 => u32::from_le_bytes([b0, b1, b2, b3]),
        1 => u32::from_le_bytes([b4, b5, b6, b7]),
        _ => 0,
    }
}
