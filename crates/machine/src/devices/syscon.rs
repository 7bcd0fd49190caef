//! The test device: one register by which the guest switches the machine off or resets it.
//!
//! The device tree points `syscon-poweroff` and `syscon-reboot` at the register; OpenSBI's SRST and Linux use
//! those. A store leaves a [`PowerRequest`], which the machine takes before the next instruction; the device
//! itself never touches the machine's power.
//!
//! Source: QEMU `hw/misc/sifive_test.c`, after SiFive's test finisher.

use hart::{Visit, Visitor, Width};

use crate::{
    PowerState,
    device::{Device, Reach},
    narrow::low16,
};

/// Where the register is in the device's window.
pub const FINISHER: u64 = 0;
/// `FINISHER_PASS` in the low half of the register switches the machine off.
pub const PASS: u32 = 0x5555;
/// `FINISHER_FAIL` in the low half switches the machine off as failed, with a code in the high half.
pub const FAIL: u32 = 0x3333;
/// `FINISHER_RESET` in the low half resets the machine.
pub const RESET: u32 = 0x7777;

/// What the guest wants of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRequest {
    /// The machine goes off, for good.
    Off(PowerState),
    /// The machine starts again, as if its reset button were pressed.
    Reset,
}

/// The test device.
#[derive(Clone, Debug, Default)]
pub struct Syscon {
    /// What the last store asked for. The machine takes it before the next instruction.
    request: Option<PowerRequest>,
}

impl Syscon {
    /// Has the guest asked for something?
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.request.is_some()
    }

    /// What the guest has asked for, once.
    pub fn take_request(&mut self) -> Option<PowerRequest> {
        self.request.take()
    }
}

impl Device for Syscon {
    fn read(&mut self, _: u64, width: Width, _: &mut Reach<'_>) -> Option<u64> {
        matches!(width, Width::Half | Width::Word).then_some(0)
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, _: &mut Reach<'_>) -> bool {
        if !matches!(width, Width::Half | Width::Word) {
            return false;
        }
        if offset == FINISHER {
            match u32::from(low16(value)) {
                PASS => self.request = Some(PowerRequest::Off(PowerState::Off)),
                FAIL => self.request = Some(PowerRequest::Off(PowerState::Failed(low16(value >> 16)))),
                RESET => self.request = Some(PowerRequest::Reset),
                _ => {} // Other values do nothing, as with QEMU's device.
            }
        }
        true
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn wake(&mut self, _: &mut Reach<'_>) {}

    fn reset(&mut self) {
        *self = Syscon::default();
    }
}

impl Visit for Syscon {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self { request: _ } = self;
        v.skipped("request", "taken by the machine before run or inject returns");
    }
}
