//! Interrupt lines from devices to the PLIC: levels, one bit per source.

use hart::{Visit, Visitor};

/// A PLIC source of the QEMU `virt` board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// virtio-mmio slot 0 to 7: sources 1 to 8.
    Virtio(u8),
    /// ns16550a: source 10.
    Uart,
    /// goldfish-rtc: source 11.
    Rtc,
}

impl Line {
    /// The PLIC source number.
    #[must_use]
    pub fn source(self) -> u32 {
        match self {
            Line::Virtio(slot) => 1 + u32::from(slot),
            Line::Uart => 10,
            Line::Rtc => 11,
        }
    }
}

/// Levels of all lines; bit n is source n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IrqLines(pub u64);

impl IrqLines {
    /// Drives one line.
    pub fn set(&mut self, line: Line, level: bool) {
        let bit = 1 << line.source();
        if level {
            self.0 |= bit;
        } else {
            self.0 &= !bit;
        }
    }

    /// Is the line high?
    #[must_use]
    pub fn is_set(&self, line: Line) -> bool {
        self.0 >> line.source() & 1 != 0
    }
}

impl Visit for IrqLines {
    fn visit(&mut self, v: &mut dyn Visitor) {
        v.u64("levels", &mut self.0);
    }
}
