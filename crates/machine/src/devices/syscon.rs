//! The test device, one register to switch the machine off or reset it.
//!
//! The FDT points `syscon-poweroff` and `syscon-reboot` at it; OpenSBI's SRST and Linux use those.
//!
//! Source: SiFive's test finisher: low half 0x5555 pass, 0x3333 fail with a code in the high half, 0x7777 reset.

use hart::{Visit, Visitor, Width};

use crate::{
    PowerState,
    device::{Device, Reach},
    narrow::low16,
};

/// Value that switches off.
pub const OFF: u32 = 0x5555;
/// Value that switches off as failed, with a code above it.
pub const FAIL: u32 = 0x3333;
/// Value that resets.
pub const RESET: u32 = 0x7777;

/// What the guest wants of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Off, for good.
    Off(PowerState),
    /// The reset button.
    Reset,
}

/// The test device.
#[derive(Clone, Debug, Default)]
pub struct Syscon {
    /// Set by a store, taken by the machine before the next instruction.
    request: Option<Request>,
}

impl Syscon {
    /// Has the guest asked for something?
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.request.is_some()
    }

    /// What the guest has asked for.
    pub fn take_request(&mut self) -> Option<Request> {
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
        if offset == 0 {
            match u32::from(low16(value)) {
                OFF => self.request = Some(Request::Off(PowerState::Off)),
                FAIL => self.request = Some(Request::Off(PowerState::Failed(low16(value >> 16)))),
                RESET => self.request = Some(Request::Reset),
                _ => {} // As the device: nothing.
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
