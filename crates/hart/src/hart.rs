//! Architectural state of one hart.

use crate::{Bus, Step, Visit, Visitor};

/// One hart: registers, CSRs, privilege, reservation.
#[derive(Default)]
pub struct Hart {
    /// Index of the hart, its `mhartid`.
    pub id: usize,
    /// Program counter (virtual).
    pub pc: u64,
    /// Integer registers; `x[0]` stays 0.
    pub x: [u64; 32],
    /// In WFI, waiting for an enabled interrupt to become pending (`mip & mie != 0`).
    pub waiting: bool,
}

impl Hart {
    /// The hart `id` just after reset, about to fetch from `pc`.
    #[must_use]
    pub fn new(id: usize, pc: u64) -> Hart {
        Hart {
            id,
            pc,
            ..Hart::default()
        }
    }

    /// Is an enabled interrupt pending at `now`, so that WFI ends?
    #[must_use]
    pub fn wakes(&self, _bus: &dyn Bus, _now: Step) -> bool {
        false
    }

    /// The `mtime` value at which this hart's own timer (`stimecmp`, Sstc) becomes pending; `None` when it
    /// is off or cannot fire.
    #[must_use]
    pub fn timer(&self) -> Option<u64> {
        None
    }

    /// Drops the LR/SC reservation, as another hart's turn or a device's write may have touched it.
    pub fn drop_reservation(&mut self) {}
}

impl Visit for Hart {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            id: _,
            pc,
            x,
            waiting,
        } = self;
        v.u64("pc", pc);
        for value in x {
            v.u64("x", value);
        }
        v.bool("waiting", waiting);
    }
}
