//! `Device`: registers behind the bus. A device is a plain struct; everything it may touch is an argument.
//!
//! The board calls a device for each load and store of a hart in the device's window, and when the time that
//! the device asked for has come. What comes from outside reaches a device by a named method of its own
//! (`uart.receive(..)`, `disk.complete(..)`), at the step of an input.
//!
//! A device never holds a file descriptor, a lock, a thread, a channel or a closure, and it never waits for
//! an answer: it emits an effect, and the answer comes as an input at a later step.

use bitflags::Flags;
use hart::{Ram, Step, Visit, Visitor, Width};

use crate::{Clock, effect::Effects, irq::IrqLines};

/// What the devices of one board have in common.
#[derive(Default)]
pub struct Shared {
    /// The clock by which the guest's `mtime` and the devices go.
    pub clock: Clock,
    /// The interrupt lines from the devices to the PLIC.
    pub irq: IrqLines,
    /// What waits to leave the guest. Not part of the guest's state: it is taken before anything else
    /// happens.
    pub effects: Effects,
}

impl Shared {
    /// All that a device can reach in one call at the step `now`.
    pub fn reach<'a>(&'a mut self, ram: &'a mut Ram, now: Step) -> Reach<'a> {
        let Shared { clock, irq, effects } = self;
        Reach {
            now,
            clock,
            ram,
            irq,
            effects,
        }
    }
}

/// Everything that a device can reach during one call. What is not in here does not exist for a device, so
/// its state depends on nothing but the guest's accesses and the inputs.
pub struct Reach<'a> {
    /// The step at which the call happens.
    pub now: Step,
    /// The clock by which the guest's `mtime` and the devices go, for reading only.
    pub clock: &'a Clock,
    /// The guest's memory, which a device may read and write (DMA).
    pub ram: &'a mut Ram,
    /// The interrupt lines to the PLIC. A device drives its own line only.
    pub irq: &'a mut IrqLines,
    /// The queue of effects: a device adds at its end.
    pub effects: &'a mut Effects,
}

/// A device with registers.
pub trait Device: Visit {
    /// A load at a byte offset into the device's window. The bus has checked that the access is naturally
    /// aligned and inside the window. `None`: the device has no register of this width here, and the load
    /// faults. A device returns `Some(0)` where hardware would read as zero.
    fn read(&mut self, offset: u64, width: Width, reach: &mut Reach<'_>) -> Option<u64>;

    /// A store at a byte offset into the device's window, checked like a load. `false`: the device has no
    /// register of this width here, and the store faults.
    fn write(&mut self, offset: u64, width: Width, value: u64, reach: &mut Reach<'_>) -> bool;

    /// What the clock shows when [`Device::wake`] must be called; `None`: the device waits for no time.
    fn deadline(&self) -> Option<u64>;

    /// The board calls this at the first step at which the clock is not before [`Device::deadline`].
    fn wake(&mut self, reach: &mut Reach<'_>);

    /// The board's reset button was pressed: the device goes back to its state after power-on, but for what
    /// its own documentation says survives.
    fn reset(&mut self);
}

/// Visits a register of flags. Bits without a name are kept: a register may hold what a guest wrote there.
pub fn visit_flags<F: Flags<Bits = u8>>(v: &mut dyn Visitor, name: &'static str, flags: &mut F) {
    let mut bits = flags.bits();
    v.u8(name, &mut bits);
    *flags = F::from_bits_retain(bits);
}
