//! Software and timer interrupts: `msip` and `mtimecmp` of each hart, and `mtime`, in the SiFive CLINT layout.
//!
//! `mtime` is the machine's [`Clock`](crate::Clock) and is read-only: the host paces it and both replicas
//! compute it from the log, so stores to it are ignored. (Only M-mode firmware can reach it, and OpenSBI does
//! not write it.)
//!
//! Sources: RISC-V ACLINT Specification 1.0-rc4, section 5 (MTIMER and MSWI at the CLINT's offsets); SiFive
//! FU540-C000 manual, chapter 9.

use hart::{Visit, Visitor, Width};

use crate::{
    config::HARTS_MAX,
    device::{Device, Reach},
    narrow::{index, low32, with_half},
};

const MTIMECMP: u64 = 0x4000;
const MTIMECMP_END: u64 = MTIMECMP + 4095 * 8;
const MTIME: u64 = 0xbff8;

/// The CLINT.
#[derive(Clone, Debug)]
pub struct Aclint {
    harts: usize,
    msip: [bool; HARTS_MAX],
    mtimecmp: [u64; HARTS_MAX],
}

impl Aclint {
    /// A CLINT for `harts` harts, with no timer set.
    #[must_use]
    pub fn new(harts: usize) -> Aclint {
        Aclint {
            harts: harts.min(HARTS_MAX),
            msip: [false; HARTS_MAX],
            mtimecmp: [u64::MAX; HARTS_MAX],
        }
    }

    /// Is the software interrupt of this hart pending?
    #[must_use]
    pub fn software(&self, hart: usize) -> bool {
        self.msip.get(hart).copied().unwrap_or(false)
    }

    /// The `mtime` from which on the timer interrupt of this hart is pending; `u64::MAX` is as good as never.
    #[must_use]
    pub fn timer(&self, hart: usize) -> u64 {
        self.mtimecmp.get(hart).copied().unwrap_or(u64::MAX)
    }

    fn msip_mut(&mut self, offset: u64) -> Option<&mut bool> {
        self.msip.get_mut(..self.harts)?.get_mut(index(offset / 4))
    }

    fn mtimecmp_mut(&mut self, offset: u64) -> Option<&mut u64> {
        self.mtimecmp
            .get_mut(..self.harts)?
            .get_mut(index((offset - MTIMECMP) / 8))
    }
}

/// The part of a 64-bit register that an access of this width sees.
fn part(value: u64, offset: u64, width: Width) -> u64 {
    match (width, offset % 8) {
        (Width::Double, _) => value,
        (_, 4) => value >> 32,
        (_, _) => u64::from(low32(value)),
    }
}

impl Device for Aclint {
    fn read(&mut self, offset: u64, width: Width, reach: &mut Reach<'_>) -> Option<u64> {
        match (offset, width) {
            (_, Width::Byte | Width::Half) => None,
            (0..MTIMECMP, Width::Word) => Some(self.msip_mut(offset).map_or(0, |msip| u64::from(*msip))),
            (0..MTIMECMP, Width::Double) => None,
            (MTIMECMP..MTIMECMP_END, _) => Some(
                self.mtimecmp_mut(offset)
                    .map_or(0, |timer| part(*timer, offset, width)),
            ),
            (MTIME.., _) if offset < MTIME + 8 => Some(part(reach.clock.at(reach.now), offset, width)),
            _ => Some(0),
        }
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, _: &mut Reach<'_>) -> bool {
        match (offset, width) {
            (_, Width::Byte | Width::Half) | (0..MTIMECMP, Width::Double) => return false,
            (0..MTIMECMP, Width::Word) => {
                if let Some(msip) = self.msip_mut(offset) {
                    *msip = value & 1 != 0;
                }
            }
            (MTIMECMP..MTIMECMP_END, _) => {
                if let Some(timer) = self.mtimecmp_mut(offset) {
                    *timer = match (width, offset % 8) {
                        (Width::Double, _) => value,
                        (_, 4) => with_half(*timer, 32, value),
                        (_, _) => with_half(*timer, 0, value),
                    };
                }
            }
            _ => {} // mtime, and holes.
        }
        true
    }

    fn deadline(&self) -> Option<u64> {
        None // Timer interrupts are lines computed from the time; nothing happens in here when they rise.
    }

    fn wake(&mut self, _: &mut Reach<'_>) {}

    fn reset(&mut self) {
        *self = Aclint::new(self.harts);
    }
}

impl Visit for Aclint {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            harts,
            msip,
            mtimecmp,
        } = self;
        v.skipped("harts", "configuration");
        for (msip, timer) in msip.iter_mut().zip(mtimecmp).take(*harts) {
            v.bool("msip", msip);
            v.u64("mtimecmp", timer);
        }
    }
}
