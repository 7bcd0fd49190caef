//! Interrupt lines: those from devices to the PLIC, and the numbers of those from the board to a hart.
//!
//! A device drives its [`Line`] by level; the board has the PLIC sample all levels after each access, each
//! input and each wake-up of a device (`board.rs`). The device tree (`boot/fdt.rs`) names the same numbers to
//! the guest. Lines are guest state: nothing here may ever be derived from the devices again after a restore,
//! or depend on anything but the guest.

use hart::{Visit, Visitor};

/// The interrupts that the board raises in a hart, by their bit in `mip` (RISC-V privileged manual, "Machine
/// Interrupt Registers"). The device tree names them by the same numbers.
pub mod hart_line {
    /// MSIP: the CLINT's software interrupt.
    pub const MACHINE_SOFTWARE: u32 = 3;
    /// MTIP: the CLINT's timer.
    pub const MACHINE_TIMER: u32 = 7;
    /// SEIP: the PLIC's context of the hart's S-mode.
    pub const SUPERVISOR_EXTERNAL: u32 = 9;
    /// MEIP: the PLIC's context of the hart's M-mode.
    pub const MACHINE_EXTERNAL: u32 = 11;
}

/// The line of one device, which is a source of the PLIC on QEMU's `virt` board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The line of virtio-mmio slot 0 to 7: source 1 to 8.
    Virtio(u8),
    /// The line of the UART: source 10.
    Uart,
    /// The line of the real-time clock: source 11.
    Rtc,
}

impl Line {
    /// The number of the source at the PLIC.
    #[must_use]
    pub fn source(self) -> u32 {
        match self {
            Line::Virtio(slot) => 1 + u32::from(slot),
            Line::Uart => 10,
            Line::Rtc => 11,
        }
    }
}

/// The levels of all lines: bit n is the level of source n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IrqLines(pub u64);

impl IrqLines {
    /// Drives one line high (`true`) or low.
    pub fn set(&mut self, line: Line, level: bool) {
        let bit = 1 << line.source();
        if level {
            self.0 |= bit;
        } else {
            self.0 &= !bit;
        }
    }
}

impl Visit for IrqLines {
    fn visit(&mut self, v: &mut dyn Visitor) {
        v.u64("levels", &mut self.0);
    }
}
