//! `Hart`: the state of one hart, which is everything that survives dropping every cache.
//!
//! An engine runs it, traps (`trap`) and CSR instructions (`csr/access.rs`) change it, and [`Visit`] saves
//! and restores it. It knows neither caches nor devices.

use crate::{
    Bus, Step, Visit, Visitor,
    csr::{Csrs, interrupt, status},
    pmp::Pmp,
    privilege::Privilege,
    state::{component, option_u64},
};

/// One hart: registers, CSRs, privilege, reservation.
#[derive(Default)]
#[repr(C)]
pub struct Hart {
    /// Integer registers; `x[0]` stays 0.
    pub x: [u64; 32],
    /// Floating-point registers; a single-precision value is NaN-boxed.
    pub f: [u64; 32],
    /// Program counter (virtual).
    pub pc: u64,
    /// Index of the hart, its `mhartid`.
    pub id: usize,
    /// Whether it is in WFI, waiting for an enabled interrupt to become pending (`mip & mie != 0`).
    pub waiting: bool,
    /// Current privilege mode.
    pub privilege: Privilege,
    /// The offset into RAM of the aligned doubleword that LR has reserved.
    pub(crate) reservation: Option<u64>,
    /// Steps this hart has attempted since reset. `mcycle` counts them.
    pub(crate) steps: u64,
    /// Steps that ended in an exception. `minstret` counts the others.
    pub(crate) exceptions: u64,
    /// Control and status registers.
    pub(crate) csr: Csrs,
    /// Physical memory protection.
    pub(crate) pmp: Pmp,
}

impl Hart {
    /// The hart `id` just after reset, about to fetch from `pc` in machine mode.
    #[must_use]
    pub fn new(id: usize, pc: u64) -> Hart {
        Hart {
            id,
            pc,
            csr: Csrs::new(),
            ..Hart::default()
        }
    }

    /// Is an enabled interrupt pending at `now`, so that WFI ends? Global enables and delegation do not
    /// matter (privileged manual, "Wait for Interrupt").
    #[must_use]
    pub fn wakes(&self, bus: &dyn Bus, now: Step) -> bool {
        self.pending(bus, now) & self.csr.mie != 0
    }

    /// The value of `mip` at `now`. The bits that hardware drives are not stored: the board's are asked of
    /// [`Bus::lines`], and STIP with Sstc follows from [`Bus::time`].
    pub(crate) fn pending(&self, bus: &dyn Bus, now: Step) -> u64 {
        let lines = bus.lines(self.id, now).0 & interrupt::LINES;
        let software = self.csr.mip;
        if !self.csr.has_sstc() {
            return software | lines;
        }
        let due = bus.time(now) >= self.csr.stimecmp;
        software & !interrupt::STI | lines | if due { interrupt::STI } else { 0 }
    }

    /// The `mtime` value from which on this hart's own timer (`stimecmp`, Sstc) is pending; `None` when it is
    /// off. It may lie in the past: then it is pending already.
    #[must_use]
    pub fn timer(&self) -> Option<u64> {
        self.csr.has_sstc().then_some(self.csr.stimecmp)
    }

    /// Does supervisor software keep its timer interrupt from being taken, although it wants that one? The
    /// interrupt is pending at `now`, delegated and enabled in `mie`, and the hart is in supervisor mode with
    /// interrupts off. Firmware's time and a hart that firmware has stopped are not meant.
    #[must_use]
    pub fn holds_off_timer(&self, bus: &dyn Bus, now: Step) -> bool {
        let is_off = self.privilege == Privilege::Supervisor && self.csr.mstatus & status::SIE == 0;
        is_off && self.pending(bus, now) & self.csr.mie & self.csr.mideleg & interrupt::STI != 0
    }

    /// Drops the LR/SC reservation, as another hart's turn or a device's write may have touched it.
    pub fn drop_reservation(&mut self) {
        self.reservation = None;
    }

    /// Steps this hart has attempted since reset.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }
}

impl Visit for Hart {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            x,
            f,
            pc,
            id: _,
            waiting,
            privilege,
            reservation,
            steps,
            exceptions,
            csr,
            pmp,
        } = self;
        for value in x.iter_mut() {
            v.u64("x", value);
        }
        for value in f.iter_mut() {
            v.u64("f", value);
        }
        v.u64("pc", pc);
        v.bool("waiting", waiting);
        let mut mode = *privilege as u8;
        v.u8("privilege", &mut mode);
        match Privilege::from_bits(u64::from(mode)) {
            Some(known) if mode <= 3 => *privilege = known,
            _ => v.reject("a privilege mode is neither U, S nor M"),
        }
        option_u64(v, "reservation", reservation);
        if reservation.is_some_and(|place| !place.is_multiple_of(8)) {
            v.reject("a reservation is not of a doubleword");
        }
        v.u64("steps", steps);
        v.u64("exceptions", exceptions);
        component(v, "csr", csr);
        component(v, "pmp", pmp);
        if x[0] != 0 || *pc & 1 != 0 {
            v.reject("x0 is not zero, or the program counter is odd");
        }
    }
}
