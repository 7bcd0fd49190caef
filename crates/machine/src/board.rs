//! The QEMU `virt` board: which device answers at which address, and which interrupt lines go to which hart.
//!
//! The board is the [`Bus`] of the harts: everything outside RAM that they can see. It stands between the
//! [`Machine`](crate::Machine), which hands it inputs and takes its effects, and the devices. The board
//! checks that an access is aligned and inside a window; the device knows its widths. An access to an address
//! where nothing answers faults. There is no flash, no PCI host and no fw_cfg: QEMU's windows for them are
//! unmapped.
//!
//! The board never decides when something happens: the machine calls it at a step.
//!
//! Source: QEMU `docs/system/riscv/virt.rst` and the memory map in `hw/riscv/virt.c`.

use hart::{Access, Bus, BusError, Lines, Ram, Step, Visit, Visitor, state::component};

use crate::{
    Config, DiskRequest, Input,
    config::VIRTIO_SLOTS,
    device::{Device, Reach, Shared},
    devices::{Aclint, Plic, Rtc, Syscon, Uart},
    irq::{IrqLines, hart_line},
    narrow::{index, wide},
    virtio::Slot,
};

/// Where the window of the syscon test device begins.
pub const TEST: u64 = 0x10_0000;
/// Where the window of the goldfish real-time clock begins.
pub const RTC: u64 = 0x10_1000;
/// Where the window of the CLINT begins.
pub const CLINT: u64 = 0x200_0000;
/// Bytes of the CLINT's window.
pub const CLINT_SIZE: u64 = 0x1_0000;
/// Where the window of the PLIC begins.
pub const PLIC: u64 = 0xc00_0000;
/// Bytes of the PLIC's window.
pub const PLIC_SIZE: u64 = 0x60_0000;
/// Where the window of the 16550A UART begins.
pub const UART: u64 = 0x1000_0000;
/// Bytes of the UART's window.
pub const UART_SIZE: u64 = 0x100;
/// Where the window of the first virtio-mmio slot begins. The others follow without a gap.
pub const VIRTIO: u64 = 0x1000_1000;
/// Bytes of one virtio-mmio slot's window, and of the test device's and the real-time clock's.
pub const SLOT_SIZE: u64 = 0x1000;

/// The first address after the last virtio-mmio slot.
const VIRTIO_END: u64 = VIRTIO + wide(VIRTIO_SLOTS) * SLOT_SIZE;

/// The slot of the entropy device, which every board has.
const ENTROPY_SLOT: usize = VIRTIO_SLOTS - 1;

/// The devices of the board, and what they share.
pub struct Board {
    /// Time, interrupt lines and effects: what every device reaches.
    pub shared: Shared,
    /// The serial line: console port 0.
    pub uart: Uart,
    /// The interrupt controller, which turns the devices' lines into external interrupts of the harts.
    pub plic: Plic,
    /// The timers and the software interrupts of the harts.
    pub aclint: Aclint,
    /// The clock on the wall.
    pub rtc: Rtc,
    /// The register by which the guest switches the machine off or resets it.
    pub syscon: Syscon,
    /// The virtio-mmio slots: disks from the first on, then network devices; entropy in the last.
    slots: [Slot; VIRTIO_SLOTS],
    /// The slot of the first network device, which is behind the last disk.
    first_net: usize,
    /// Whether the last access changed something for which the engine must return to the machine.
    attention: bool,
}

/// Which device answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Test,
    Rtc,
    Clint,
    Plic,
    Uart,
    /// The virtio-mmio slot of this number.
    Virtio(usize),
}

/// The address map: the window in which an address lies and the offset into it; `None`: nothing answers.
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
    /// The board of a machine with this configuration, as it is after power-on.
    #[must_use]
    pub fn new(config: &Config) -> Board {
        Board {
            shared: Shared::default(),
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

    /// Presses the reset button of every device, at the step `now`. `mtime` begins anew (ACLINT
    /// specification, "MTIMER Device"); the clock behind it runs on, and effects are not lost.
    pub fn reset(&mut self, now: Step) {
        // By name, so that a new device is not forgotten here.
        let Board {
            shared,
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
        aclint.set_mtime(shared.clock.at(now), 0);
        rtc.reset();
        syscon.reset();
        for slot in slots {
            slot.reset();
        }
        shared.irq = IrqLines::default();
    }

    /// Something arrives from outside. What is for a device that does not exist is dropped.
    pub fn receive(&mut self, ram: &mut Ram, now: Step, input: Input) {
        let mut reach = self.shared.reach(ram, now);
        match input {
            Input::Console { port: 0, bytes } => self.uart.receive(&bytes, &mut reach),
            Input::NetFrame { port, frame } => {
                if let Some(Slot::Net(net)) = self.slots.get_mut(self.first_net + usize::from(port)) {
                    net.receive(frame, &mut reach);
                }
            }
            Input::DiskDone {
                disk,
                id,
                status,
                data,
            } => {
                if let Some(Slot::Block(block)) = self.slots.get_mut(usize::from(disk)) {
                    block.complete(id, status, &data, &mut reach);
                }
            }
            Input::Entropy { bytes } => {
                if let Some(Slot::Entropy(entropy)) = self.slots.get_mut(ENTROPY_SLOT) {
                    entropy.receive(&bytes, &mut reach);
                }
            }
            Input::Break { port: 0 } => self.uart.receive_break(&mut reach),
            Input::DiskSize { disk, sectors } => {
                if let Some(Slot::Block(block)) = self.slots.get_mut(usize::from(disk)) {
                    block.grow(sectors, &mut reach);
                }
            }
            Input::Console { .. } | Input::Break { .. } => {} // The UART is the only console.
            Input::Clock { .. } | Input::Control(_) => {}     // These act on the machine, not on a device.
        }
        self.plic.sample(self.shared.irq.0);
    }

    /// The disk requests that no input has answered, disk by disk in the order of submission.
    pub fn pending_disk(&self) -> impl Iterator<Item = DiskRequest> {
        self.slots.iter().flat_map(|slot| match slot {
            Slot::Block(block) => block.pending().collect(),
            _ => Vec::new(),
        })
    }

    /// How many random bytes the entropy device has asked for that no input has brought; `None`: it has not
    /// asked.
    pub fn pending_entropy(&self) -> Option<u32> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Entropy(entropy) => entropy.wanted(),
            _ => None,
        })
    }

    /// What the clock will show when `mtime`, which M-mode can set, reaches `timer`; `None`: it has reached
    /// it already, or never will.
    #[must_use]
    pub fn clock_at(&self, now: Step, timer: u64) -> Option<u64> {
        self.aclint.clock_at(self.shared.clock.at(now), timer)
    }

    /// The earliest reading of the clock at which a device must be woken; `None`: none waits for a time.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        [self.uart.deadline(), self.rtc.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Wakes every device whose deadline has come.
    pub fn wake(&mut self, ram: &mut Ram, now: Step) {
        let time = self.shared.clock.at(now);
        if self.deadline().is_none_or(|deadline| deadline > time) {
            return;
        }
        let mut reach = self.shared.reach(ram, now);
        let all: [&mut dyn Device; 2] = [&mut self.uart, &mut self.rtc];
        for device in all {
            if device.deadline().is_some_and(|deadline| deadline <= time) {
                device.wake(&mut reach);
            }
        }
        self.plic.sample(self.shared.irq.0);
    }

    /// A load or a store of a hart: finds the device, lets it `act`, and notes whether that needs attention.
    fn access<T>(
        &mut self,
        ram: &mut Ram,
        access: Access,
        act: impl FnOnce(&mut dyn Device, u64, &mut Reach<'_>) -> Option<T>,
    ) -> Result<T, BusError> {
        let (window, offset) = window(access.address).ok_or(BusError)?;
        if !access.address.is_multiple_of(access.width.bytes()) {
            return Err(BusError);
        }
        let timing = self.aclint.timing(access.hart);
        let device: &mut dyn Device = match window {
            Window::Test => &mut self.syscon,
            Window::Rtc => &mut self.rtc,
            Window::Clint => &mut self.aclint,
            Window::Plic => &mut self.plic,
            Window::Uart => &mut self.uart,
            Window::Virtio(slot) => self.slots.get_mut(slot).ok_or(BusError)?,
        };
        let deadline = device.deadline();
        let result = act(device, offset, &mut self.shared.reach(ram, access.now));
        let moved = device.deadline() != deadline;
        self.plic.sample(self.shared.irq.0);
        // A change of another hart's lines needs no attention: they are looked at when that hart runs.
        self.attention = moved
            || self.aclint.timing(access.hart) != timing
            || !self.shared.effects.is_empty()
            || self.syscon.is_asking();
        result.ok_or(BusError)
    }
}

impl Bus for Board {
    fn load(&mut self, ram: &mut Ram, access: Access) -> Result<u64, BusError> {
        let value = self.access(ram, access, |device, offset, reach| {
            device.read(offset, access.width, reach)
        })?;
        Ok(value & access.width.mask())
    }

    fn store(&mut self, ram: &mut Ram, access: Access, value: u64) -> Result<(), BusError> {
        let value = value & access.width.mask();
        self.access(ram, access, |device, offset, reach| {
            device.write(offset, access.width, value, reach).then_some(())
        })
    }

    // Every window begins and ends between cache blocks, so the first byte of a block stands for all of it.
    fn answers(&self, address: u64) -> bool {
        window(address).is_some()
    }

    fn time(&self, now: Step) -> u64 {
        self.aclint.mtime(self.shared.clock.at(now))
    }

    fn lines(&self, hart: usize, now: Step) -> Lines {
        let (machine, supervisor) = self.plic.lines(hart);
        let timer = self.aclint.timer(hart) <= self.time(now);
        Lines(
            u64::from(self.aclint.software(hart)) << hart_line::MACHINE_SOFTWARE
                | u64::from(timer) << hart_line::MACHINE_TIMER
                | u64::from(supervisor) << hart_line::SUPERVISOR_EXTERNAL
                | u64::from(machine) << hart_line::MACHINE_EXTERNAL,
        )
    }

    fn attention(&self) -> bool {
        self.attention
    }
}

impl Visit for Board {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            shared:
                Shared {
                    clock,
                    irq,
                    effects: _,
                },
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

/// How digests and differences name the slots.
const SLOT_NAMES: [&str; VIRTIO_SLOTS] = [
    "virtio0", "virtio1", "virtio2", "virtio3", "virtio4", "virtio5", "virtio6", "virtio7",
];

/// Which device is in which slot: disks from the first on, then network devices, and entropy in the last
/// slot, so that a guest finds a device in the same place at each boot.
fn slots(config: &Config) -> [Slot; VIRTIO_SLOTS] {
    let transport = config.virtio;
    let mut slots = std::array::from_fn(|_| Slot::Empty(transport));
    let mut free = (0..).zip(&mut slots);
    for (disk, port) in config.disks.iter().zip(0..) {
        if let Some((number, slot)) = free.next() {
            *slot = Slot::block(number, transport, port, disk);
        }
    }
    for (net, port) in config.nets.iter().zip(0..) {
        if let Some((number, slot)) = free.next() {
            *slot = Slot::net(number, transport, port, net);
        }
    }
    if let Some((number, slot)) = free.last() {
        *slot = Slot::entropy(number, transport);
    }
    slots
}

const _: () = assert!(wide(VIRTIO_SLOTS) * SLOT_SIZE == VIRTIO_END - VIRTIO);
const _: () = assert!(
    (TEST | RTC | CLINT | CLINT_SIZE | PLIC | PLIC_SIZE | UART | UART_SIZE | VIRTIO | SLOT_SIZE)
        .is_multiple_of(hart::isa::BLOCK)
);
