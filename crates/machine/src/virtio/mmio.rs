//! The virtio-mmio transport (VIRTIO 4.2), in both versions: registers between the guest's driver and a
//! [`Function`].
//!
//! The transport owns status, features, queues and interrupt bits, once for all devices. The board calls it
//! as a [`Device`]; it calls the function when there is work, and settles the interrupt afterwards.
//!
//! A driver that breaks a rule meets DEVICE_NEEDS_RESET, never an error of ours: from then on the device
//! touches neither guest memory nor the outside until it is reset. Accesses that the specification forbids
//! without saying what follows are ignored and read as 0, as QEMU does.

use hart::{Visit, Visitor, Width};

use super::{
    Accepted, Broken, Function, Queue, Rings, TransportFeatures,
    registers::{DeviceStatus, InterruptStatus, MAGIC, Register, VENDOR},
};
use crate::{
    Transport,
    device::{Device, Reach, visit_flags},
    irq::Line,
    narrow::{low8, low32, with_half},
};

/// The bit of a feature that no device here offers. A driver accepts it that accepts one beyond bit 63.
const NEVER_OFFERED: u64 = 1 << 62;
/// Offset of the device's configuration space.
const CONFIG: u64 = 0x100;

/// A load from a slot without a device, which has device ID 0 (VIRTIO 4.2.2).
#[must_use]
pub fn empty(transport: Transport, offset: u64, width: Width) -> u64 {
    let word = |offset| match Register::at(offset, transport) {
        Register::Magic => MAGIC,
        Register::Version => u32::from(transport.version()),
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
    /// By which registers it is driven. Part of the machine's build too.
    transport: Transport,
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
    /// Bytes of what a legacy driver calls a page: a power of two. It outlives the driver's reset, as drivers
    /// of QEMU's board expect.
    guest_page_bytes: u32,
    /// How often the configuration space has changed, modulo 2^32. No reset sets it back.
    config_generation: u32,
    /// As many queues as [`Function::QUEUES`] has sizes.
    queues: Vec<Queue>,
}

impl<F: Function> VirtioMmio<F> {
    /// The device in `slot` after power-on.
    #[must_use]
    pub fn new(slot: u8, transport: Transport, function: F) -> VirtioMmio<F> {
        VirtioMmio {
            slot,
            transport,
            function,
            status: DeviceStatus::empty(),
            interrupt: InterruptStatus::empty(),
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
            guest_page_bytes: 1,
            config_generation: 0,
            queues: F::QUEUES.iter().map(|&max| Queue::new(max)).collect(),
        }
    }

    /// Does the driver run the device? Before that, and after a broken rule, the device may not touch the
    /// queues. Legacy drivers often use them before DRIVER_OK (VIRTIO 3.1.2).
    #[must_use]
    pub fn is_live(&self) -> bool {
        let runs = match self.transport {
            Transport::Modern => DeviceStatus::DRIVER_OK,
            Transport::Legacy => DeviceStatus::DRIVER,
        };
        self.status.contains(runs) && !self.status.contains(DeviceStatus::DEVICE_NEEDS_RESET)
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

    /// The function's configuration space has changed: VIRTIO 2.5.2 wants another generation, and 2.3 a
    /// notification of a driver that is set up.
    pub(super) fn config_changed(&mut self, reach: &mut Reach<'_>) {
        self.config_generation = self.config_generation.wrapping_add(1);
        if self.status.contains(DeviceStatus::DRIVER_OK) {
            self.interrupt.insert(InterruptStatus::CONFIGURATION_CHANGE);
            self.drive_line(reach);
        }
    }

    fn drive_line(&self, reach: &mut Reach<'_>) {
        reach.irq.set(Line::Virtio(self.slot), !self.interrupt.is_empty());
    }

    /// The bits of all features that the device offers. Legacy devices have 32.
    fn offered(&self) -> u64 {
        let features = self.function.features() | TransportFeatures::offered(self.transport).bits();
        match self.transport {
            Transport::Modern => features,
            Transport::Legacy => u64::from(low32(features)),
        }
    }

    /// The features that driver and device have agreed on: none before FEATURES_OK, however many the driver
    /// wrote. A driver that was refused FEATURES_OK and goes on all the same has what was offered of those,
    /// as on QEMU's board. Legacy drivers know no FEATURES_OK, and accept features by writing them.
    fn accepted(&self) -> Accepted {
        let is_agreed = self.transport == Transport::Legacy
            || self.status.contains(DeviceStatus::FEATURES_OK)
            || !self.are_features_sound();
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
            Register::Version => u32::from(self.transport.version()),
            Register::DeviceId => F::ID,
            Register::VendorId => VENDOR,
            Register::DeviceFeatures => match self.device_features_select {
                0 => low32(self.offered()),
                1 => low32(self.offered() >> 32),
                _ => 0,
            },
            Register::QueueSizeMax => self.selected().map_or(0, |queue| u32::from(queue.max())),
            Register::QueueReady => self.selected().map_or(0, |queue| u32::from(queue.is_ready())),
            Register::QueuePage => self.queue_page(),
            Register::InterruptStatus => u32::from(self.interrupt.bits()),
            Register::Status => u32::from(self.status.bits()),
            // VIRTIO 4.2.2.1: length -1 for a region that does not exist; its base does not matter.
            Register::SharedMemory => u32::MAX,
            Register::ConfigGeneration => self.config_generation,
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
            Register::QueueReady => self.set_queue_ready(value != 0, reach),
            Register::GuestPageSize => {
                // The lowest bit decides, as in QEMU; a value without one says nothing.
                self.guest_page_bytes = (value & value.wrapping_neg()).max(1);
            }
            Register::QueueAlign => {
                if let Some(queue) = self.selected() {
                    queue.set_alignment(value);
                }
            }
            Register::QueuePage => self.set_queue_page(value, reach),
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

    /// The driver has set the selected queue up, or is done with it.
    fn set_queue_ready(&mut self, ready: bool, reach: &mut Reach<'_>) {
        let accepted = self.accepted();
        let Some(queue) = self.selected() else {
            return;
        };
        match (ready, queue.is_ready()) {
            (false, true) => {
                queue.stop();
                // What was taken from the queue must not come back to it.
                self.function.reset();
            }
            (false, false) => {}
            (true, _) => {
                queue.set_features(accepted);
                if queue.start(reach.ram).is_err() {
                    self.give_up();
                    self.drive_line(reach);
                }
            }
        }
    }

    /// A store to QueuePFN: the queue begins in this page of the guest, or is not used any more.
    fn set_queue_page(&mut self, page: u32, reach: &mut Reach<'_>) {
        let address = u64::from(page).wrapping_mul(self.guest_page_bytes.into());
        if let Some(queue) = self.selected() {
            queue.lay_out(address);
        }
        self.set_queue_ready(page != 0, reach);
    }

    /// A load from QueuePFN.
    fn queue_page(&mut self) -> u32 {
        let bytes = u64::from(self.guest_page_bytes);
        let queue = self.selected().filter(|queue| queue.is_ready());
        let address = queue.map_or(0, |queue| queue.address());
        low32(address.checked_div(bytes).unwrap_or(0))
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
        // VIRTIO 2.2.2: features that are not offered are refused by leaving the bit clear. Legacy devices do
        // not know the bit, and keep it as written.
        if self.transport == Transport::Modern && !self.are_features_sound() {
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
        let transport = self.transport;
        let mut word = |offset| u64::from(self.read_register(Register::at(offset, transport)));
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
        let register = |offset| Register::at(offset, self.transport);
        let (low, high) = (register(offset), register(offset.saturating_add(4)));
        match width {
            Width::Word => self.write_register(low, low32(value), reach),
            Width::Double => {
                self.write_register(low, low32(value), reach);
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
        self.guest_page_bytes = 1;
    }
}

impl<F: Function> Visit for VirtioMmio<F> {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            slot: _,
            transport: _,
            function,
            status,
            interrupt,
            device_features_select,
            driver_features_select,
            driver_features,
            queue_select,
            guest_page_bytes,
            config_generation,
            queues,
        } = self;
        visit_flags(v, "status", status);
        visit_flags(v, "interrupt", interrupt);
        v.u32("device_features_select", device_features_select);
        v.u32("driver_features_select", driver_features_select);
        v.u64("driver_features", driver_features);
        v.u32("queue_select", queue_select);
        v.u32("guest_page_bytes", guest_page_bytes);
        v.u32("config_generation", config_generation);
        for queue in queues {
            hart::state::component(v, "queue", queue);
        }
        hart::state::component(v, "function", function);
    }
}
