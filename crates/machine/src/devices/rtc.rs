//! Goldfish real-time clock: nanoseconds since 1970, and one alarm.
//!
//! The time is `base + 100 * mtime`, where `base` starts as [`Config::wall_clock_ns`](crate::Config) and moves
//! only when the guest sets the clock. So reading it needs no log entry.
//!
//! Source: "Goldfish virtual hardware" of the Android emulator documentation, section "Goldfish timer"
//! (registers), and what the Linux driver `rtc-goldfish` expects of them.

use hart::{Visit, Visitor, Width};

use crate::{
    device::{Device, Reach},
    irq::Line,
    narrow::{low32, with_half},
};

/// Nanoseconds in a tick of `mtime`.
const TICK_NS: u64 = 100;

/// The real-time clock.
#[derive(Clone, Debug, Default)]
pub struct Rtc {
    /// The time at `mtime` 0, in nanoseconds. Wraps like the register it stands for.
    base: u64,
    /// Upper half of the time, latched by the last read of the lower.
    time_high: u32,
    /// Upper half of the time to be set by the next store to the lower.
    set_high: u32,
    alarm: u64,
    alarm_armed: bool,
    interrupt_enabled: bool,
    interrupt_pending: bool,
}

impl Rtc {
    /// A clock that shows `wall_clock_ns` at `mtime` 0.
    #[must_use]
    pub fn new(wall_clock_ns: u64) -> Rtc {
        Rtc {
            base: wall_clock_ns,
            ..Rtc::default()
        }
    }

    fn time(&self, reach: &Reach<'_>) -> u64 {
        self.base
            .wrapping_add(reach.clock.at(reach.now).wrapping_mul(TICK_NS))
    }

    /// An armed alarm that is due fires.
    fn check(&mut self, reach: &mut Reach<'_>) {
        if self
            .deadline()
            .is_some_and(|deadline| deadline <= reach.clock.at(reach.now))
        {
            self.alarm_armed = false;
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
            0x00 => {
                let time = self.time(reach);
                self.time_high = low32(time >> 32);
                u64::from(low32(time))
            }
            0x04 => u64::from(self.time_high),
            0x08 => u64::from(low32(self.alarm)),
            0x0c => self.alarm >> 32,
            0x10 => u64::from(self.interrupt_enabled),
            0x18 => u64::from(self.alarm_armed),
            _ => 0,
        })
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, reach: &mut Reach<'_>) -> bool {
        if width != Width::Word {
            return false;
        }
        match offset {
            0x00 => {
                let time = u64::from(self.set_high) << 32 | u64::from(low32(value));
                self.base = self.base.wrapping_add(time.wrapping_sub(self.time(reach)));
            }
            0x04 => self.set_high = low32(value),
            0x08 => {
                self.alarm = with_half(self.alarm, 0, value);
                self.alarm_armed = true;
            }
            0x0c => self.alarm = with_half(self.alarm, 32, value),
            0x10 => self.interrupt_enabled = value & 1 != 0,
            0x14 => self.alarm_armed = false,
            0x1c => self.interrupt_pending = false,
            _ => {}
        }
        self.check(reach);
        true
    }

    fn deadline(&self) -> Option<u64> {
        // An alarm before `base` has passed already.
        let after = self.alarm.saturating_sub(self.base);
        self.alarm_armed.then_some(after.div_ceil(TICK_NS))
    }

    fn wake(&mut self, reach: &mut Reach<'_>) {
        self.check(reach);
    }

    /// The clock runs on a battery: the time survives.
    fn reset(&mut self) {
        *self = Rtc::new(self.base);
    }
}

impl Visit for Rtc {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            base,
            time_high,
            set_high,
            alarm,
            alarm_armed,
            interrupt_enabled,
            interrupt_pending,
        } = self;
        v.u64("base", base);
        v.u32("time_high", time_high);
        v.u32("set_high", set_high);
        v.u64("alarm", alarm);
        v.bool("alarm_armed", alarm_armed);
        v.bool("interrupt_enabled", interrupt_enabled);
        v.bool("interrupt_pending", interrupt_pending);
    }
}
