//! `Device`: registers behind the bus. A plain struct; everything it may touch is an argument.
//!
//! No device holds an fd, a lock, a thread, a channel or a closure. What comes from outside reaches it by a
//! named method of its own (`uart.receive(..)`, `blk.complete(..)`), at an input's step.

use hart::{Ram, Step, Visit, Width};

use crate::{Clock, Effects, irq::IrqLines};

/// What a device may touch.
pub struct Context<'a> {
    /// The step at which this happens.
    pub now: Step,
    /// The time the guest sees.
    pub clock: &'a Clock,
    /// Guest memory (DMA).
    pub ram: &'a mut Ram,
    /// Interrupt lines towards the PLIC.
    pub irq: &'a mut IrqLines,
    /// Where effects go.
    pub effects: &'a mut Effects,
}

/// A device with registers.
pub trait Device: Visit {
    /// A load at a byte offset into the device's window. The bus has checked that the access is naturally
    /// aligned and inside the window. `None`: no register of this width here, which faults; return
    /// `Some(0)` where hardware would read as zero.
    fn read(&mut self, offset: u64, width: Width, cx: &mut Context<'_>) -> Option<u64>;

    /// A store. `false`: no register of this width here, which faults.
    fn write(&mut self, offset: u64, width: Width, value: u64, cx: &mut Context<'_>) -> bool;

    /// The `mtime` at which [`Device::wake`] must be called; `None`: never.
    fn deadline(&self) -> Option<u64>;

    /// The deadline has come.
    fn wake(&mut self, cx: &mut Context<'_>);

    /// The reset button.
    fn reset(&mut self);
}
