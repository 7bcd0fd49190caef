//! The QEMU `virt` board: which device answers at which address, and which lines reach which hart.
//!
//! Everything outside RAM that the harts can see, as their [`Bus`]. The bus checks that an access is aligned
//! and inside a window; the device knows its widths. Unmapped addresses are access faults. There is no flash,
//! no PCI host and no fw_cfg: their windows are unmapped.

use hart::{Access, Bus, BusError, Lines, Ram, Step, Visit, Visitor, state::component};

use crate::{
    Clock, Config, DiskRequest, Effects, Input,
    config::VIRTIO_SLOTS,
    device::{Context, Device},
    devices::{Aclint, Plic, Rtc, Syscon, Uart},
    irq::IrqLines,
    narrow::{index, wide},
    virtio::Slot,
};

/// syscon test device.
pub const TEST: u64 = 0x10_0000;
/// goldfish-rtc.
pub const RTC: u64 = 0x10_1000;
/// CLINT.
pub const CLINT: u64 = 0x200_0000;
/// Bytes of the CLINT's window.
pub const CLINT_SIZE: u64 = 0x1_0000;
/// PLIC.
pub const PLIC: u64 = 0xc00_0000;
/// Bytes of the PLIC's window.
pub const PLIC_SIZE: u64 = 0x60_0000;
/// ns16550a.
pub const UART: u64 = 0x1000_0000;
/// Bytes of the UART's window.
pub const UART_SIZE: u64 = 0x100;
/// First virtio-mmio slot.
pub const VIRTIO: u64 = 0x1000_1000;
/// Bytes of one virtio-mmio slot, and of the test device's and the clock's windows.
pub const SLOT_SIZE: u64 = 0x1000;

const VIRTIO_END: u64 = VIRTIO + wide(VIRTIO_SLOTS) * SLOT_SIZE;

/// The entropy device's slot.
const ENTROPY_SLOT: usize = VIRTIO_SLOTS - 1;

const MSIP: u32 = 3;
const MTIP: u32 = 7;
const SEIP: u32 = 9;
const MEIP: u32 = 11;

/// The devices, and what they share.
pub struct Board {
    /// The time the guest sees.
    pub clock: Clock,
    /// Interrupt lines into the PLIC.
    pub irq: IrqLines,
    /// What waits to leave the guest. Not part of its state: it is taken before anything else happens.
    pub effects: Effects,
    /// Console port 0.
    pub uart: Uart,
    /// Interrupt controller.
    pub plic: Plic,
    /// Timers and software interrupts.
    pub aclint: Aclint,
    /// Wall clock.
    pub rtc: Rtc,
    /// Power and reset.
    pub syscon: Syscon,
    /// virtio-mmio slots: disks from the first, then networks; entropy in the last.
    pub slots: [Slot; VIRTIO_SLOTS],
    /// The slot of the first network.
    first_net: usize,
    /// After the last access: must the engine return?
    attention: bool,
}

/// Which device answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Test,
    Rtc,
    Clint,
    Plic,
    Uart,
    Virtio(usize),
}

/// The address map: the window and the offset into it.
fn window(address: u64) -> Option<(Window, u64)> {
    Some(match address {
        TEST..RTC => (Window::Test, address - TEST),
        RTC.. if address < RTC + SLOT_SIZE => (Window::Rtc, address - RTC),
        CLINT.. if address < CLINT + CLINT_SIZE => (Window::Clint, address - CLINT),
        PLIC.. if address < PLIC + PLIC_SIZE => (Window::Plic, address - PLIC),
        UART.. if address < UART + UART_SIZE => (Window::Uart, address - UART),
        VIRTIO..VIRTIO_END => {
            let offset = address - VIRTIO;
            (Window::Virtio(index(offset / SLOT_SIZE)), offset % SLOT_SIZE)
        }
        _ => return None,
    })
}

impl Board {
    /// The board of this machine, after reset.
    #[must_use]
    pub fn new(config: &Config) -> Board {
        Board {
            clock: Clock::default(),
            irq: IrqLines::default(),
            effects: Effects::new(),
            uart: Uart::default(),
            plic: Plic::new(config.harts),
            aclint: Aclint::new(config.harts),
            rtc: Rtc::new(config.wall_clock_ns),
            syscon: Syscon::default(),
            slots: slots(config),
            first_net: config.disks.len(),
            attention: false,
        }
    }

    /// The reset button of every device. The clock runs on.
    pub fn reset(&mut self) {
        let Board {
            clock: _,
            irq,
            effects: _,
            uart,
            plic,
            aclint,
            rtc,
            syscon,
            slots,
            first_net: _,
            attention: _,
        } = self;
        uart.reset();
        plic.reset();
        aclint.reset();
        rtc.reset();
        syscon.reset();
        for slot in slots {
            slot.reset();
        }
        *irq = IrqLines::default();
    }

    /// Something arrives from outside. What is for no device that exists is dropped.
    pub fn receive(&mut self, ram: &mut Ram, now: Step, input: Input) {
        let Board {
            clock,
            irq,
            effects,
            uart,
            plic,
            slots,
            first_net,
            ..
        } = self;
        let mut cx = Context {
            now,
            clock,
            ram,
            irq,
            effects,
        };
        match input {
            Input::Console { port: 0, bytes } => uart.receive(&bytes, &mut cx),
            Input::NetFrame { port, frame } => {
                if let Some(Slot::Net(net)) = slots.get_mut(*first_net + usize::from(port)) {
                    net.receive(frame, &mut cx);
                }
            }
            Input::DiskDone {
                disk,
                id,
                status,
                data,
            } => {
                if let Some(Slot::Block(block)) = slots.get_mut(usize::from(disk)) {
                    block.complete(id, status, &data, &mut cx);
                }
            }
            Input::Entropy { bytes } => {
                if let Some(Slot::Entropy(entropy)) = slots.get_mut(ENTROPY_SLOT) {
                    entropy.receive(&bytes, &mut cx);
                }
            }
            Input::Console { .. } => {} // The UART is the only console.
            Input::Clock { .. } | Input::Control(_) => {} // The machine's own.
        }
        plic.sample(irq.0);
    }

    /// Disk requests that no input has answered, disk by disk in the order of submission.
    pub fn pending_disk(&self) -> impl Iterator<Item = DiskRequest> {
        self.slots.iter().flat_map(|slot| match slot {
            Slot::Block(block) => block.pending().collect(),
            _ => Vec::new(),
        })
    }

    /// Bytes of entropy wanted and not yet delivered.
    #[must_use]
    pub fn pending_entropy(&self) -> Option<u32> {
        match self.slots.get(ENTROPY_SLOT) {
            Some(Slot::Entropy(entropy)) => entropy.wanted(),
            _ => None,
        }
    }

    /// The earliest `mtime` at which a device must be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        [self.uart.deadline(), self.rtc.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Wakes every device whose deadline has come.
    pub fn wake(&mut self, ram: &mut Ram, now: Step) {
        let time = self.clock.at(now);
        if self.deadline().is_none_or(|deadline| deadline > time) {
            return;
        }
        let Board {
            clock,
            irq,
            effects,
            uart,
            plic,
            rtc,
            ..
        } = self;
        let mut cx = Context {
            now,
            clock,
            ram,
            irq,
            effects,
        };
        let all: [&mut dyn Device; 2] = [uart, rtc];
        for device in all {
            if device.deadline().is_some_and(|deadline| deadline <= time) {
                device.wake(&mut cx);
            }
        }
        plic.sample(irq.0);
    }

    fn access<T>(
        &mut self,
        ram: &mut Ram,
        access: Access,
        act: impl FnOnce(&mut dyn Device, u64, &mut Context<'_>) -> Option<T>,
    ) -> Result<T, BusError> {
        let (window, offset) = window(access.address).ok_or(BusError)?;
        if !access.address.is_multiple_of(access.width.bytes()) {
            return Err(BusError);
        }
        let timer = self.aclint.timer(access.hart);
        let Board {
            clock,
            irq,
            effects,
            uart,
            plic,
            aclint,
            rtc,
            syscon,
            slots,
            first_net: _,
            attention: _,
        } = self;
        let device: &mut dyn Device = match window {
            Window::Test => syscon,
            Window::Rtc => rtc,
            Window::Clint => aclint,
            Window::Plic => plic,
            Window::Uart => uart,
            Window::Virtio(slot) => slots.get_mut(slot).ok_or(BusError)?,
        };
        let deadline = device.deadline();
        let mut cx = Context {
            now: access.now,
            clock,
            ram,
            irq,
            effects,
        };
        let result = act(device, offset, &mut cx);
        let moved = device.deadline() != deadline;
        plic.sample(irq.0);
        // A change of another hart's lines needs no attention: they are looked at when it runs.
        self.attention = moved
            || self.aclint.timer(access.hart) != timer
            || !self.effects.is_empty()
            || self.syscon.is_asking();
        result.ok_or(BusError)
    }
}

impl Bus for Board {
    fn load(&mut self, ram: &mut Ram, access: Access) -> Result<u64, BusError> {
        let value = self.access(ram, access, |device, offset, cx| {
            device.read(offset, access.width, cx)
        })?;
        Ok(value & access.width.mask())
    }

    fn store(&mut self, ram: &mut Ram, access: Access, value: u64) -> Result<(), BusError> {
        let value = value & access.width.mask();
        self.access(ram, access, |device, offset, cx| {
            device.write(offset, access.width, value, cx).then_some(())
        })
    }

    fn time(&self, now: Step) -> u64 {
        self.clock.at(now)
    }

    fn lines(&self, hart: usize, now: Step) -> Lines {
        let (machine, supervisor) = self.plic.lines(hart);
        let timer = self.aclint.timer(hart) <= self.clock.at(now);
        Lines(
            u64::from(self.aclint.software(hart)) << MSIP
                | u64::from(timer) << MTIP
                | u64::from(supervisor) << SEIP
                | u64::from(machine) << MEIP,
        )
    }

    fn attention(&self) -> bool {
        self.attention
    }
}

impl Visit for Board {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            clock,
            irq,
            effects: _,
            uart,
            plic,
            aclint,
            rtc,
            syscon,
            slots,
            first_net: _,
            attention: _,
        } = self;
        component(v, "clock", clock);
        component(v, "irq", irq);
        component(v, "uart", uart);
        component(v, "plic", plic);
        component(v, "aclint", aclint);
        component(v, "rtc", rtc);
        component(v, "syscon", syscon);
        for (name, slot) in SLOT_NAMES.into_iter().zip(slots) {
            component(v, name, slot);
        }
        v.skipped("effects", "leave before anything else happens");
        v.skipped("attention", "derived at each access");
    }
}

const SLOT_NAMES: [&str; VIRTIO_SLOTS] = [
    "virtio0", "virtio1", "virtio2", "virtio3", "virtio4", "virtio5", "virtio6", "virtio7",
];

/// Which device is in which slot: the same at each boot, whatever else there is.
fn slots(config: &Config) -> [Slot; VIRTIO_SLOTS] {
    let mut slots = <[Slot; VIRTIO_SLOTS]>::default();
    let mut free = (0..).zip(&mut slots);
    for (disk, port) in config.disks.iter().zip(0..) {
        if let Some((number, slot)) = free.next() {
            *slot = Slot::block(number, port, disk);
        }
    }
    for (net, port) in config.nets.iter().zip(0..) {
        if let Some((number, slot)) = free.next() {
            *slot = Slot::net(number, port, net);
        }
    }
    if let Some((number, slot)) = free.last() {
        *slot = Slot::entropy(number);
    }
    slots
}

const _: () = assert!(wide(VIRTIO_SLOTS) * SLOT_SIZE == VIRTIO_END - VIRTIO);
