//! The goldfish real-time clock: nanoseconds since 1970, and one alarm.
//!
//! The time is `base + 100 * clock`, where `clock` is the board's [`Clock`](crate::Clock) and `base` starts
//! as [`Config::wall_clock_ns`](crate::Config) and moves only when the guest sets the time. So reading the
//! time needs no log entry, and the device never asks the host for it. All sums wrap at 64 bits, so a guest
//! may set a time before that of the first step.
//!
//! Sources: "Goldfish virtual hardware" of the Android emulator's documentation, section "Goldfish timer",
//! for the registers; QEMU `hw/rtc/goldfish_rtc.c` for those that the documentation has not: stores to the
//! time, `IRQ_ENABLED` and `ALARM_STATUS`.

use hart::{Visit, Visitor, Width, state::option_u64};

use crate::{
    device::{Device, Reach},
    irq::Line,
    narrow::{low32, with_half},
};

/// The registers by the names of the goldfish documentation, each of 32 bits.
mod register {
    /// Reads the low half of the time, and latches the high half; a store sets the low half.
    pub const TIME_LOW: u64 = 0x00;
    /// Reads the high half of the time that was latched; a store sets the high half.
    pub const TIME_HIGH: u64 = 0x04;
    /// The low half of the alarm's time; a store arms the alarm.
    pub const ALARM_LOW: u64 = 0x08;
    /// The high half of the alarm's time.
    pub const ALARM_HIGH: u64 = 0x0c;
    /// Bit 0: the alarm may interrupt.
    pub const IRQ_ENABLED: u64 = 0x10;
    /// A store disarms the alarm.
    pub const CLEAR_ALARM: u64 = 0x14;
    /// Reads 1 while the alarm is armed.
    pub const ALARM_STATUS: u64 = 0x18;
    /// A store takes the interrupt back.
    pub const CLEAR_INTERRUPT: u64 = 0x1c;
}

/// Nanoseconds of one tick of `mtime`.
const TICK_NS: u64 = 100;

/// The real-time clock.
#[derive(Clone, Debug, Default)]
pub struct Rtc {
    /// The time when the clock shows 0, in nanoseconds since 1970, modulo 2^64.
    base: u64,
    /// The high half of the time, latched by the last load from `TIME_LOW`.
    time_high: u32,
    /// When the alarm goes off, in nanoseconds since 1970.
    alarm: u64,
    /// What the clock will show when the alarm goes off; `None`: the alarm is not armed, or has gone off.
    alarm_at: Option<u64>,
    /// The guest wants an interrupt when the alarm goes off.
    interrupt_enabled: bool,
    /// The alarm has gone off and the guest has not cleared its interrupt.
    interrupt_pending: bool,
}

impl Rtc {
    /// A real-time clock that shows `wall_clock_ns` when the board's clock shows 0.
    #[must_use]
    pub fn new(wall_clock_ns: u64) -> Rtc {
        Rtc {
            base: wall_clock_ns,
            ..Rtc::default()
        }
    }

    /// The time now, in nanoseconds since 1970.
    fn time(&self, reach: &Reach<'_>) -> u64 {
        self.base
            .wrapping_add(reach.clock.at(reach.now).wrapping_mul(TICK_NS))
    }

    /// Sets the time.
    fn set_time(&mut self, time: u64, reach: &Reach<'_>) {
        self.base = self.base.wrapping_add(time.wrapping_sub(self.time(reach)));
        if self.alarm_at.is_some() {
            self.arm(reach);
        }
    }

    /// Arms the alarm. One whose time has passed is due at once.
    fn arm(&mut self, reach: &Reach<'_>) {
        let ahead = self.alarm.saturating_sub(self.time(reach)).div_ceil(TICK_NS);
        self.alarm_at = Some(reach.clock.at(reach.now).saturating_add(ahead));
    }

    /// Lets an armed alarm that is due go off, and drives the interrupt line.
    fn check(&mut self, reach: &mut Reach<'_>) {
        if self
            .deadline()
            .is_some_and(|deadline| deadline <= reach.clock.at(reach.now))
        {
            self.alarm_at = None;
            self.interrupt_pending = true;
        }
        reach
            .irq
            .set(Line::Rtc, self.interrupt_pending && self.interrupt_enabled);
    }
}

impl Device for Rtc {
    fn read(&mut self, offset: u64, width: Width, reach: &mut Reach<'_>) -> Option<u64> {
        if width != Width::Word {
            return None;
        }
        Some(match offset {
            register::TIME_LOW => {
                let time = self.time(reach);
                self.time_high = low32(time >> 32);
                u64::from(low32(time))
            }
            register::TIME_HIGH => u64::from(self.time_high),
            register::ALARM_LOW => u64::from(low32(self.alarm)),
            register::ALARM_HIGH => self.alarm >> 32,
            register::IRQ_ENABLED => u64::from(self.interrupt_enabled),
            register::ALARM_STATUS => u64::from(self.alarm_at.is_some()),
            _ => 0,
        })
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, reach: &mut Reach<'_>) -> bool {
        if width != Width::Word {
            return false;
        }
        match offset {
            register::TIME_LOW => self.set_time(with_half(self.time(reach), 0, value), reach),
            register::TIME_HIGH => self.set_time(with_half(self.time(reach), 32, value), reach),
            register::ALARM_LOW => {
                self.alarm = with_half(self.alarm, 0, value);
                self.arm(reach);
            }
            register::ALARM_HIGH => self.alarm = with_half(self.alarm, 32, value),
            register::IRQ_ENABLED => self.interrupt_enabled = value & 1 != 0,
            register::CLEAR_ALARM => self.alarm_at = None,
            register::CLEAR_INTERRUPT => self.interrupt_pending = false,
            _ => {}
        }
        self.check(reach);
        true
    }

    fn deadline(&self) -> Option<u64> {
        self.alarm_at
    }

    fn wake(&mut self, reach: &mut Reach<'_>) {
        self.check(reach);
    }

    /// The clock has a battery: the time survives a reset, the alarm does not.
    fn reset(&mut self) {
        *self = Rtc::new(self.base);
    }
}

impl Visit for Rtc {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            base,
            time_high,
            alarm,
            alarm_at,
            interrupt_enabled,
            interrupt_pending,
        } = self;
        v.u64("base", base);
        v.u32("time_high", time_high);
        v.u64("alarm", alarm);
        option_u64(v, "alarm_at", alarm_at);
        v.bool("interrupt_enabled", interrupt_enabled);
        v.bool("interrupt_pending", interrupt_pending);
    }
}
