//! Software and timer interrupts: `msip` and `mtimecmp` of each hart, and `mtime`, in the layout of SiFive's
//! CLINT.
//!
//! The board turns what is here into the interrupt lines of each hart, and the machine ends a run where one
//! of them changes with the time. `mtime` is the machine's [`Clock`](crate::Clock), which the host paces and
//! both replicas compute from the log, plus an offset that is part of the guest's state. A store to `mtime`
//! moves the offset and never the clock, so what the host paces and devices count by goes on evenly.
//!
//! Sources: RISC-V privileged manual, 3.2.1 ("Machine Timer Registers"); RISC-V ACLINT Specification 1.0-rc4,
//! chapters 2 and 3 (MTIMER and MSWI at the CLINT's offsets); SiFive FU540-C000 manual, chapter 9.

use hart::{Visit, Visitor, Width};

use crate::{
    config::HARTS_MAX,
    device::{Device, Reach},
    narrow::{index, low32, with_half},
};

/// Offset of the `msip` registers, 4 bytes for each hart.
const MSIP: u64 = 0;
/// Bytes of one `msip` register.
const MSIP_BYTES: u64 = 4;
/// Offset of the `mtimecmp` registers, 8 bytes for each hart; those of `msip` end here.
const MTIMECMP: u64 = 0x4000;
/// Bytes of one `mtimecmp` register.
const MTIMECMP_BYTES: u64 = 8;
/// The ACLINT specification has room for this many timers.
const TIMERS_MAX: u64 = 4095;
/// The first offset after the `mtimecmp` registers, where `mtime` is.
const MTIME: u64 = MTIMECMP + TIMERS_MAX * MTIMECMP_BYTES;

/// Which register an offset means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    /// The software interrupt of this hart, which need not exist.
    Msip(usize),
    /// The timer of this hart, which need not exist, or one half of it.
    Mtimecmp(usize),
    /// The time, or one half of it.
    Mtime,
    /// Nothing: reads as zero, ignores stores.
    Reserved,
}

impl Register {
    fn at(offset: u64) -> Register {
        match offset {
            MSIP..MTIMECMP => Register::Msip(index((offset - MSIP) / MSIP_BYTES)),
            MTIMECMP..MTIME => Register::Mtimecmp(index((offset - MTIMECMP) / MTIMECMP_BYTES)),
            MTIME.. if offset < MTIME + 8 => Register::Mtime,
            _ => Register::Reserved,
        }
    }

    /// Does the register answer to an access of this width? The 64-bit ones also answer by halves.
    fn has(self, width: Width) -> bool {
        match self {
            Register::Msip(_) => width == Width::Word,
            _ => matches!(width, Width::Word | Width::Double),
        }
    }
}

/// The CLINT.
#[derive(Clone, Debug)]
pub struct Aclint {
    /// How many harts the board has; registers of others read as zero.
    harts: usize,
    /// For each hart: is its software interrupt pending?
    msip: [bool; HARTS_MAX],
    /// For each hart: the `mtime` from which on its timer interrupt is pending.
    mtimecmp: [u64; HARTS_MAX],
    /// How far `mtime` is ahead of the clock, in ticks, modulo 2^64: what stores to `mtime` have made of it.
    offset: u64,
}

impl Aclint {
    /// A CLINT for `harts` harts, with no timer set.
    #[must_use]
    pub fn new(harts: usize) -> Aclint {
        Aclint {
            harts: harts.min(HARTS_MAX),
            msip: [false; HARTS_MAX],
            mtimecmp: [u64::MAX; HARTS_MAX],
            offset: 0,
        }
    }

    /// `mtime` while the clock shows `clock`. It wraps, as the 64-bit counter that it stands for does.
    #[must_use]
    pub fn mtime(&self, clock: u64) -> u64 {
        clock.wrapping_add(self.offset)
    }

    /// Makes `mtime` this value while the clock shows `clock`.
    pub fn set_mtime(&mut self, clock: u64, mtime: u64) {
        self.offset = mtime.wrapping_sub(clock);
    }

    /// What the clock, which shows `clock` now, will show when `mtime` reaches `timer`; `None`: `mtime` has
    /// reached it already, or the clock ends before.
    #[must_use]
    pub fn clock_at(&self, clock: u64, timer: u64) -> Option<u64> {
        let ticks = timer.checked_sub(self.mtime(clock)).filter(|&ticks| ticks > 0)?;
        clock.checked_add(ticks)
    }

    /// What the clock, which shows `clock` now, will show when `mtime` wraps to 0 and timer interrupts that
    /// are pending cease; `None`: the clock ends before.
    #[must_use]
    pub fn clock_at_wrap(&self, clock: u64) -> Option<u64> {
        let ticks = self.mtime(clock).wrapping_neg();
        clock.checked_add(ticks).filter(|_| ticks > 0)
    }

    /// All that decides when the timer interrupt of this hart is pending: a store that changes it concerns
    /// whoever has computed that step.
    #[must_use]
    pub fn timing(&self, hart: usize) -> (u64, u64) {
        (self.timer(hart), self.offset)
    }

    /// Is the software interrupt of this hart pending?
    #[must_use]
    pub fn software(&self, hart: usize) -> bool {
        self.msip.get(hart).copied().unwrap_or(false)
    }

    /// The `mtime` from which on the timer interrupt of this hart is pending.
    #[must_use]
    pub fn timer(&self, hart: usize) -> u64 {
        self.mtimecmp.get(hart).copied().unwrap_or(u64::MAX)
    }

    fn msip_mut(&mut self, hart: usize) -> Option<&mut bool> {
        self.msip.get_mut(..self.harts)?.get_mut(hart)
    }

    fn mtimecmp_mut(&mut self, hart: usize) -> Option<&mut u64> {
        self.mtimecmp.get_mut(..self.harts)?.get_mut(hart)
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

/// A 64-bit register that held `old` after a store of this width.
fn merged(old: u64, offset: u64, width: Width, value: u64) -> u64 {
    match (width, offset % 8) {
        (Width::Double, _) => value,
        (_, 4) => with_half(old, 32, value),
        (_, _) => with_half(old, 0, value),
    }
}

impl Device for Aclint {
    fn read(&mut self, offset: u64, width: Width, reach: &mut Reach<'_>) -> Option<u64> {
        let register = Register::at(offset);
        if !register.has(width) {
            return None;
        }
        Some(match register {
            Register::Msip(hart) => self.msip_mut(hart).map_or(0, |msip| u64::from(*msip)),
            Register::Mtimecmp(hart) => self
                .mtimecmp_mut(hart)
                .map_or(0, |timer| part(*timer, offset, width)),
            Register::Mtime => part(self.mtime(reach.clock.at(reach.now)), offset, width),
            Register::Reserved => 0,
        })
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, reach: &mut Reach<'_>) -> bool {
        let register = Register::at(offset);
        if !register.has(width) {
            return false;
        }
        match register {
            Register::Msip(hart) => {
                if let Some(msip) = self.msip_mut(hart) {
                    *msip = value & 1 != 0;
                }
            }
            Register::Mtimecmp(hart) => {
                if let Some(timer) = self.mtimecmp_mut(hart) {
                    *timer = merged(*timer, offset, width, value);
                }
            }
            Register::Mtime => {
                let clock = reach.clock.at(reach.now);
                self.set_mtime(clock, merged(self.mtime(clock), offset, width, value));
            }
            Register::Reserved => {}
        }
        true
    }

    fn deadline(&self) -> Option<u64> {
        None // The timers' lines are computed from the time; nothing happens in here when one rises.
    }

    fn wake(&mut self, _: &mut Reach<'_>) {}

    /// All but `mtime`, which the board sets to 0 as it knows what the clock shows.
    fn reset(&mut self) {
        *self = Aclint {
            offset: self.offset,
            ..Aclint::new(self.harts)
        };
    }
}

impl Visit for Aclint {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            harts,
            msip,
            mtimecmp,
            offset,
        } = self;
        v.skipped("harts", "configuration");
        for (msip, timer) in msip.iter_mut().zip(mtimecmp).take(*harts) {
            v.bool("msip", msip);
            v.u64("mtimecmp", timer);
        }
        v.u64("mtime_offset", offset);
    }
}
